import math

import pytest
import torch

from dnachunk.ops import neighbor_match, soft_merge, token_merge, use_backend
from dnachunk.ops.soft_merge import soft_merge_naive
from tests.support import op_case

DIFFERENTIABLE = ["x", "mass", "assignment"]
ACCUMULATORS = ["mass", "assignment"]


def sample(length=63, channels=19, window=16, shift=0, merges_of=3):
    """A full, a shorter and an empty sequence, with shares as candidates give them."""
    lengths = torch.tensor([length, length // 2, 0])
    generator = torch.Generator().manual_seed(length)
    scores = 2 * torch.rand(3, length, generator=generator) - 1
    token_index, _ = neighbor_match(scores, lengths, lengths // merges_of, window, shift, "window")
    place = (torch.arange(length) - shift) % window
    if shift:
        place[:shift] = torch.arange(min(shift, length))
    shares = 0.5 * torch.rand(3, length, 2, generator=generator)
    shares[:, place % 2 == 1] = 0
    shares[:, place == 0, 0] = 0
    shares[:, torch.arange(length) % 5 == 0] = 0
    return {
        "x": torch.randn(3, length, channels, generator=generator),
        "mass": 3 * torch.rand(3, length, generator=generator) + 0.5,
        "assignment": shares,
        "token_index": token_index,
        "num_tokens": length,
        "window": window,
        "shift": shift,
    }


def test_literal():
    # Of 2, half goes from 0 to 1; of 4, a quarter goes from 2 to either side, and 2 stays with the rest.
    x = torch.tensor([[[4.0, 0.0], [8.0, 1.0], [2.0, 2.0], [6.0, 3.0], [math.nan, math.nan]]])
    mass = torch.tensor([[2.0, 3.0, 4.0, 1.0, math.nan]])
    assignment = torch.tensor([[[0.0, 0.5], [0.0, 0.0], [0.25, 0.25], [0.0, 0.0], [math.nan, math.nan]]])
    merged, sizes = soft_merge(x, mass, assignment, torch.tensor([[0, 0, 1, 2, -1]]), 4, window=4)
    assert sizes.tolist() == [[5.0, 2.0, 2.0, 0.0]]
    torch.testing.assert_close(
        merged, torch.tensor([[[(4 + 24 + 2) / 5, 5 / 5], [2.0, 2.0], [4.0, 2.5], [0.0, 0.0]]])
    )


def test_literal_gradients():
    # y = (3 · 8 + 1 · 4) / 4 = 7: of the weights 1 (4 − 7) / 4 and 1 (8 − 7) / 4.
    x = torch.tensor([[[4.0], [8.0]]], requires_grad=True)
    mass = torch.tensor([[2.0, 3.0]], requires_grad=True)
    assignment = torch.tensor([[[0.0, 0.5], [0.0, 0.0]]], requires_grad=True)
    merged, sizes = soft_merge(x, mass, assignment, torch.tensor([[0, 0]]), 1, window=4)
    (merged.sum() + sizes.sum()).backward()
    assert x.grad.flatten().tolist() == [0.25, 0.75]
    torch.testing.assert_close(mass.grad, torch.tensor([[0.5 * 0.25, 1.25]]))
    torch.testing.assert_close(assignment.grad[0, 0, 1], torch.tensor(2 * 0.25))


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize(("window", "shift"), [(16, 0), (5, 2)])
@pytest.mark.parametrize("length", [1, 2, 17, 63])
def test_against_naive(dtype, length, window, shift):
    kwargs = sample(length, window=window, shift=shift)
    op_case.check_against_naive(
        soft_merge, soft_merge_naive, kwargs, DIFFERENTIABLE, dtype, ["x"], ACCUMULATORS
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_shares_of_like_neighbours_learn_in_float32(dtype):
    # Their mean in half precision would differ from them by its rounding alone.
    kwargs = sample()
    generator = torch.Generator().manual_seed(0)
    common, own = (torch.randn(3, n, 19, generator=generator) for n in (1, 63))
    kwargs["x"] = (common + 0.02 * own).to(dtype)
    gradients = [
        torch.randint(-2, 3, (3, 63, 19), generator=generator).double(),
        torch.zeros(3, 63).double(),
    ]
    _, grads = op_case.run(soft_merge, kwargs, ACCUMULATORS, gradients)
    exact = op_case.cast(kwargs, torch.float64, DIFFERENTIABLE)
    _, expected = op_case.run(soft_merge_naive, exact, ACCUMULATORS, gradients)
    for name in ACCUMULATORS:
        error = (grads[name] - expected[name]).norm() / expected[name].norm()
        assert error < 1e-5, name


@pytest.mark.parametrize(("window", "shift"), [(16, 0), (5, 2), (1, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_torch_form(window, shift, dtype):
    kwargs = sample(window=window, shift=shift, merges_of=3 if window > 1 else 1000)
    kwargs = op_case.cast(kwargs, dtype, DIFFERENTIABLE)
    op_case.check_torch_form(soft_merge, kwargs, DIFFERENTIABLE)


def test_without_shares_a_token_is_the_position_that_stays():
    kwargs = sample()
    kwargs["assignment"].zero_()
    merged, mass = soft_merge(**kwargs)
    index = kwargs["token_index"]
    for row, token in ((0, 3), (0, 30), (1, 0)):
        members = (index[row] == token).nonzero().flatten().tolist()
        # A candidate alone, or the keeper: an odd place in windows of an even number.
        (stays,) = members if len(members) == 1 else [i for i in members if i % 2]
        assert torch.equal(merged[row, token], kwargs["x"][row, stays])
        assert mass[row, token] == kwargs["mass"][row, stays]


def test_whole_shares_merge_as_the_hard_decision_does():
    kwargs = sample()
    index = kwargs["token_index"]
    same = (index[:, 1:] == index[:, :-1]) & (index[:, 1:] >= 0)
    shares = torch.zeros_like(kwargs["assignment"])
    shares[:, 1:, 0] = same.float()
    shares[:, :-1, 1] = same.float()
    shares[:, 1::2] = 0
    sizes = torch.randint(1, 5, index.shape, generator=torch.Generator().manual_seed(0))
    kwargs |= {"assignment": shares, "mass": sizes.float()}
    merged, mass = soft_merge(**kwargs)
    expected, expected_sizes = token_merge(kwargs["x"], sizes, index, kwargs["num_tokens"])
    assert torch.equal(mass, expected_sizes.float())
    torch.testing.assert_close(merged, expected)


@pytest.mark.parametrize(
    ("batch", "length", "channels", "tokens"), [(0, 4, 3, 2), (2, 0, 3, 2), (2, 4, 0, 4), (1, 4, 3, 0)]
)
def test_empty(batch, length, channels, tokens):
    x = torch.randn(batch, length, channels, requires_grad=True)
    token_index = torch.arange(length).expand(batch, length) if tokens else torch.full((batch, length), -1)
    mass = torch.ones(batch, length, requires_grad=True)
    assignment = torch.zeros(batch, length, 2, requires_grad=True)
    merged, masses = soft_merge(x, mass, assignment, token_index, tokens, 4)
    (merged.sum() + masses.sum()).backward()
    assert merged.shape == (batch, tokens, channels)
    assert masses.sum() == (batch * length if tokens else 0)
    for leaf in (x, mass, assignment):
        assert leaf.grad.shape == leaf.shape
        assert leaf.grad.isfinite().all()
    if not tokens:
        assert not mass.grad.any()


@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_padding_is_ignored(backend):
    kwargs = sample()
    spoiled = dict(kwargs)
    padding = kwargs["token_index"] < 0
    for name in DIFFERENTIABLE:
        mask = padding.view(*padding.shape, *[1] * (kwargs[name].dim() - 2))
        spoiled[name] = kwargs[name].masked_fill(mask, math.nan)
    with use_backend(backend):
        outputs, grads = op_case.run(soft_merge, spoiled, DIFFERENTIABLE)
        expected, expected_grads = op_case.run(soft_merge, kwargs, DIFFERENTIABLE)
    for got, want in zip(outputs, expected, strict=True):
        assert torch.equal(got, want)
    for name in DIFFERENTIABLE:
        assert torch.equal(grads[name], expected_grads[name])
        assert not grads[name][padding].any()


def test_one_result_is_enough_for_a_gradient():
    kwargs = op_case.cast(sample(), torch.float64, DIFFERENTIABLE)
    for chosen in (0, 1):
        leaves = [kwargs[name].clone().requires_grad_() for name in DIFFERENTIABLE]
        named = dict(zip(DIFFERENTIABLE, leaves, strict=True))
        grads, expected = (
            torch.autograd.grad(
                form(**{**kwargs, **named})[chosen].square().sum(), leaves, materialize_grads=True
            )
            for form in (soft_merge, soft_merge_naive)
        )
        for got, want in zip(grads, expected, strict=True):
            torch.testing.assert_close(got, want)


def test_views():
    op_case.check_views(soft_merge, sample(), DIFFERENTIABLE)


def test_threads():
    op_case.check_threads(soft_merge, sample(length=2000), DIFFERENTIABLE)


@pytest.mark.parametrize("shift", [0, 3])
def test_gradient(shift):
    kwargs = sample(20, 3, window=8, shift=shift)
    op_case.check_gradient(soft_merge, kwargs, DIFFERENTIABLE, DIFFERENTIABLE)


def test_compiles_whole():
    kwargs = sample(20, 3, 4, 2)
    compiled = torch.compile(soft_merge, fullgraph=True, backend="aot_eager")
    outputs, grads = op_case.run(compiled, kwargs, DIFFERENTIABLE)
    expected, expected_grads = op_case.run(soft_merge, kwargs, DIFFERENTIABLE)
    for got, want in zip(outputs, expected, strict=True):
        assert torch.equal(got, want)
    for name in DIFFERENTIABLE:
        assert torch.equal(grads[name], expected_grads[name])


def test_opcheck():
    kwargs = sample(20, 3, 4, 2)
    x, mass, assignment, *rest = kwargs.values()
    leaves = [tensor.requires_grad_() for tensor in (x, mass, assignment)]
    op_case.opcheck("soft_merge", *leaves, *rest)
    token_index, num_tokens, *windows = rest
    gradients = (torch.randn(3, num_tokens, 3), torch.randn(3, num_tokens))
    saved = [tensor.detach() for tensor in leaves]
    op_case.opcheck("soft_merge_backward", *gradients, *saved, token_index, *windows)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(4, 3)}, ValueError, r"x must be \[B, N, D\], got \[4, 3\]"),
        ({"x": torch.zeros(1, 4, 3).long()}, TypeError, "x must be float32"),
        ({"mass": torch.ones(1, 3)}, ValueError, r"mass must be \[1, 4\], got \[1, 3\]"),
        ({"mass": torch.ones(1, 4).double()}, TypeError, "mass must be torch.float32, got torch.float64"),
        ({"assignment": torch.zeros(1, 4)}, ValueError, r"assignment must be \[1, 4, 2\], got \[1, 4\]"),
        ({"assignment": torch.zeros(1, 4, 2).half()}, TypeError, "assignment must be torch.float32"),
        ({"token_index": torch.zeros(1, 4)}, TypeError, "token_index must be torch.int64, got torch.float32"),
        (
            {"token_index": torch.tensor([[0, 1, 2, 3]])},
            ValueError,
            r"token_index must be in \[-1, 2\), got 2",
        ),
        (
            {"token_index": torch.tensor([[0, 0, 0, 0]])},
            ValueError,
            "token_index must be what neighbor_match makes in these windows, got other tokens",
        ),
        (
            {"token_index": torch.tensor([[0, -1, 1, 1]])},
            ValueError,
            "token_index must be what neighbor_match",
        ),
        ({"num_tokens": -1}, ValueError, "num_tokens must be at least 0, got -1"),
        ({"window": 0}, ValueError, "window must be at least 1"),
        ({"window": 4, "shift": 4}, ValueError, r"shift in \[0, window\)"),
    ],
)
def test_bad_input(change, error, message):
    good = {
        "x": torch.zeros(1, 4, 3),
        "mass": torch.ones(1, 4),
        "assignment": torch.zeros(1, 4, 2),
        "token_index": torch.tensor([[0, 0, 1, 1]]),
        "num_tokens": 2,
        "window": 4,
    }
    with pytest.raises(error, match=f"soft_merge: .*{message}"):
        soft_merge(**{**good, **change})
