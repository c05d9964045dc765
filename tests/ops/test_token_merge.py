import pytest
import torch

from dnachunk.ops import neighbor_match, token_merge
from dnachunk.ops.token_merge import token_merge_naive
from tests.support import op_case


def sample(length=63, channels=19, window=16, shift=0, with_scores=True):
    """A full, a shorter and an empty sequence, as a merging layer meets them."""
    lengths = torch.tensor([length, length // 2, 0])
    scores = torch.randn(3, length).tanh()
    token_index, threshold = neighbor_match(scores, lengths, lengths // 3, window, shift, "sequence")
    kwargs = {
        "x": torch.randn(3, length, channels),
        "sizes": torch.randint(1, 5, (3, length)),
        "token_index": token_index,
        "num_tokens": length,
    }
    if with_scores:
        kwargs |= {"scores": scores, "threshold": threshold, "window": window, "shift": shift}
    return kwargs


def far_sample():
    """Tokens of positions that are not neighbours, as latent merging makes them."""
    token_index = torch.randint(-1, 9, (2, 40))
    sizes = torch.randint(1, 5, (2, 40))
    return {"x": torch.randn(2, 40, 7), "sizes": sizes, "token_index": token_index, "num_tokens": 9}


def test_literal():
    x = torch.tensor([[[1.0, 2.0], [5.0, 6.0], [8.0, 9.0], [7.0, 7.0]]])
    merged, sizes = token_merge(x, torch.tensor([[3, 1, 2, 9]]), torch.tensor([[0, 0, 1, -1]]), 3)
    assert merged.tolist() == [[[2.0, 3.0], [8.0, 9.0], [0.0, 0.0]]]
    assert sizes.tolist() == [[4, 2, 0]]


def test_literal_straight_through_gradient():
    # One candidate (0), one keeper (1), merged; y = (x0 + x1) / 2 = 3, so dy/da = s0 / S (x0 - y) = -1.
    # One edge: preference 1, gate at its threshold: sigma' / tau = 2.5.
    x = torch.tensor([[[1.0], [5.0]]], requires_grad=True)
    scores = torch.tensor([[0.5, 0.0]], requires_grad=True)
    threshold = torch.full((1, 2), 0.5)
    merged, _ = token_merge(
        x, torch.ones(1, 2, dtype=torch.int64), torch.zeros(1, 2).long(), 1, scores, threshold
    )
    merged.sum().backward()
    assert x.grad.flatten().tolist() == [0.5, 0.5]
    torch.testing.assert_close(scores.grad, torch.tensor([[-2.5, 0.0]]))


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize(("window", "shift"), [(16, 0), (5, 2)])
@pytest.mark.parametrize("length", [1, 2, 17, 63])
def test_against_naive(dtype, length, window, shift):
    kwargs = sample(length, window=window, shift=shift)
    differentiable, accumulators = ["x", "scores"], ["scores", "threshold"]
    op_case.check_against_naive(
        token_merge, token_merge_naive, kwargs, differentiable, dtype, ["x"], accumulators
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_scores_of_like_neighbours_learn_in_float32(dtype):
    # Their mean in half precision would differ from them by its rounding alone.
    kwargs = sample()
    kwargs["x"] = (torch.randn(3, 1, 19) + 0.02 * torch.randn(3, 63, 19)).to(dtype)
    gradient = torch.randint(-2, 3, (3, 63, 19)).double()
    _, grads = op_case.run(token_merge, kwargs, ["scores"], [gradient])
    exact = op_case.cast(kwargs, torch.float64, ["x", "scores", "threshold"])
    _, expected = op_case.run(token_merge_naive, exact, ["scores"], [gradient])
    error = (grads["scores"] - expected["scores"]).norm() / expected["scores"].norm()
    assert error < 1e-5


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
def test_distant_positions_against_naive(dtype):
    op_case.check_against_naive(token_merge, token_merge_naive, far_sample(), ["x"], dtype, ["x"])


@pytest.mark.parametrize(
    "kwargs", [sample(), sample(window=5, shift=2), far_sample()], ids=["16", "5+2", "far"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_torch_form(kwargs, dtype):
    kwargs = op_case.cast(kwargs, dtype, ["x", "scores", "threshold"])
    op_case.check_torch_form(token_merge, kwargs, ["x", "scores"] if "scores" in kwargs else ["x"])


@pytest.mark.parametrize(
    ("batch", "length", "channels", "tokens"), [(0, 4, 3, 2), (2, 0, 3, 2), (2, 4, 0, 4), (1, 4, 3, 0)]
)
def test_empty(batch, length, channels, tokens):
    x = torch.randn(batch, length, channels, requires_grad=True)
    token_index = torch.full((batch, length), min(tokens, 1) - 1)
    merged, sizes = token_merge(x, torch.ones_like(token_index), token_index, tokens)
    merged.sum().backward()
    assert merged.shape == (batch, tokens, channels)
    assert sizes.sum() == (batch * length if tokens else 0)
    assert x.grad.shape == x.shape


def test_padding_is_ignored():
    kwargs = sample()
    spoiled = dict(kwargs)
    padding = kwargs["token_index"] < 0
    spoiled["x"] = kwargs["x"].masked_fill(padding[..., None], float("nan"))
    spoiled["scores"] = kwargs["scores"].masked_fill(padding, float("nan"))
    spoiled["sizes"] = kwargs["sizes"].masked_fill(padding, 77)
    for got, want in zip(token_merge(**spoiled), token_merge(**kwargs), strict=True):
        assert torch.equal(got, want)
    _, grads = op_case.run(token_merge, spoiled, ["x", "scores"])
    _, expected = op_case.run(token_merge, kwargs, ["x", "scores"])
    for name in grads:
        assert torch.equal(grads[name], expected[name])


def test_views():
    op_case.check_views(token_merge, sample(), ["x", "scores"])


def test_threads():
    op_case.check_threads(token_merge, sample(length=2000), ["x", "scores"])


def test_gradient_of_values():
    kwargs = sample(9, 3, window=4, with_scores=False)
    op_case.check_gradient(token_merge, kwargs, ["x"], ["x"])


def test_opcheck():
    kwargs = sample(20, 3, 4, 2)
    x, scores = kwargs["x"].requires_grad_(), kwargs["scores"].requires_grad_()
    tail = (kwargs["threshold"], 4, 2, 0.1)
    head = (kwargs["sizes"], kwargs["token_index"], 20)
    op_case.opcheck("token_merge", x, *head, scores, *tail)
    op_case.opcheck("token_merge", x, *head, None, None, 4, 2, 0.1)
    merged, sizes = torch.ops.dnachunk.token_merge(x.detach(), *head, None, None, 4, 2, 0.1)
    saved = (torch.randn_like(merged), sizes, x.detach(), *head[:2])
    op_case.opcheck("token_merge_backward", *saved, scores.detach(), *tail)
    op_case.opcheck("token_merge_backward", *saved, None, None, 4, 2, 0.1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(4, 3)}, ValueError, r"x must be \[B, N, D\], got \[4, 3\]"),
        ({"x": torch.zeros(1, 4, 3).long()}, TypeError, "x must be float32"),
        ({"sizes": torch.ones(1, 3).long()}, ValueError, r"sizes must be \[1, 4\], got \[1, 3\]"),
        ({"sizes": torch.ones(1, 4)}, TypeError, "sizes must be torch.int64, got torch.float32"),
        (
            {"token_index": torch.tensor([[0, 1, 2, 3]])},
            ValueError,
            r"token_index must be in \[-1, 2\), got 2",
        ),
        (
            {"token_index": torch.tensor([[0, 0, 0, -2]])},
            ValueError,
            r"token_index must be in \[-1, 2\), got -2",
        ),
        ({"scores": torch.zeros(1, 4)}, ValueError, "scores and threshold must be given together"),
        (
            {"scores": torch.zeros(1, 4).double(), "threshold": torch.zeros(1, 4)},
            TypeError,
            "scores must be torch.float32, got torch.float64",
        ),
        ({"temperature": 0.0}, ValueError, "temperature must be above 0, got 0.0"),
        ({"window": 0}, ValueError, "window must be at least 1"),
    ],
)
def test_bad_input(change, error, message):
    good = {"x": torch.zeros(1, 4, 3), "sizes": torch.ones(1, 4).long(), "num_tokens": 2}
    with pytest.raises(error, match=f"token_merge: .*{message}"):
        token_merge(**{**good, "token_index": torch.tensor([[0, 0, 1, -1]]), **change})
