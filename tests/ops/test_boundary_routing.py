import pytest
import torch
import torch.nn.functional as F

from dnachunk.ops import boundary_routing, use_backend
from dnachunk.ops.boundary_routing import boundary_routing_naive
from tests.support import op_case


def sample(length=63, channels=19):
    """Three sequences: full, shorter, empty; whole numbers, so that many cosines are exactly 0."""
    generator = torch.Generator().manual_seed(3)
    query, key = torch.randint(-2, 3, (2, 3, length, channels), generator=generator).float()
    return {
        "query": query,
        "key": key,
        "lengths": torch.tensor([length, (2 * length + 1) // 3, 0]),
        "is_protected": torch.rand(3, length, generator=generator) < 0.1,
    }


BOTH = pytest.mark.parametrize("backend", ["rust", "torch"])


def run(backend, *args):
    with use_backend(backend):
        return boundary_routing(*args)


@BOTH
def test_literal(backend):
    # 90°, 0°, 180°, 45° between a query and the key before it; the last position is padding.
    query = torch.tensor([[[9.0, 9.0], [0.0, 2.0], [1.0, 0.0], [3.0, 0.0], [1.0, 1.0], [1.0, 1.0]]])
    key = torch.tensor([[[4.0, 0.0], [2.0, 0.0], [-5.0, 0.0], [0.0, 7.0], [9.0, 9.0], [9.0, 9.0]]])
    p, is_boundary, is_forced, token_index, num_tokens = run(backend, query, key, torch.tensor([5]))
    expected = torch.tensor([[1.0, 0.5, 0.0, 1.0, 0.5 - 0.5**1.5, 0.0]])
    torch.testing.assert_close(p, expected, rtol=0, atol=1e-7)
    assert is_boundary.tolist() == [[True, True, False, True, False, False]]
    assert is_forced.tolist() == [[True, False, False, False, False, False]]
    assert token_index.tolist() == [[0, 1, 1, 2, 2, -1]]
    assert num_tokens.tolist() == [3]


@BOTH
def test_protected_positions_are_chunks_of_their_own(backend):
    x = torch.ones(2, 6, 2)
    is_protected = torch.tensor([[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]]).bool()
    p, is_boundary, is_forced, token_index, num_tokens = run(
        backend, x, x, torch.tensor([6, 4]), is_protected
    )
    forced = [[True, False, True, True, True, False], [True, False, False, True, False, False]]
    assert is_boundary.tolist() == forced
    assert is_forced.tolist() == forced
    assert token_index.tolist() == [[0, 0, 1, 2, 3, 3], [0, 0, 0, 1, -1, -1]]
    assert num_tokens.tolist() == [4, 2]
    assert torch.equal(p[is_forced], torch.ones(6))
    torch.testing.assert_close(p[~is_forced], torch.zeros(6), rtol=0, atol=1e-6)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_decision_is_by_the_rounded_cosine(backend, dtype):
    # Half a step of the grid rounds to 0, a boundary; more does not.
    cosine = torch.tensor([-1e-3, 0.0, 0.49, 0.51, 1.5], dtype=torch.float64) / 4096
    before = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(5, 1, 2)
    after = torch.stack([cosine, (1 - cosine**2).sqrt()], dim=-1)[:, None]
    x = torch.cat([before, after], dim=1).to(dtype)
    is_boundary = run(backend, x, x, torch.full((5,), 2))[1]
    assert is_boundary[:, 1].tolist() == [True, True, True, False, False]


@BOTH
def test_zero_vectors(backend):
    query = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [0.0, 1e-9]]], requires_grad=True)
    key = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [2.0, 0.0], [1.0, 0.0], [1.0, 1.0]]], requires_grad=True)
    p, is_boundary, *_ = run(backend, query, key, torch.tensor([5]))
    assert p.tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0]]
    assert is_boundary.tolist() == [[True, False, False, False, False]]
    for grad in torch.autograd.grad(p.sum(), [query, key]):
        assert torch.equal(grad, torch.zeros(1, 5, 2))


@BOTH
def test_tiny_vectors_are_compared_like_others(backend):
    kwargs = sample(length=40)
    scale = torch.tensor(2.0**-25)
    expected = run(backend, *kwargs.values())
    kwargs["query"] *= scale
    kwargs["key"] *= scale
    kwargs["query"].requires_grad_()
    results = run(backend, *kwargs.values())
    for got, want in zip(results, expected, strict=True):
        assert torch.equal(got, want)
    assert torch.autograd.grad(results[0].sum(), kwargs["query"])[0].isfinite().all()


@BOTH
def test_no_gradient_where_forced(backend):
    kwargs = sample(length=20, channels=3)
    for name in ("query", "key"):
        kwargs[name].requires_grad_()
    p, _, is_forced, *_ = run(backend, *kwargs.values())
    grads = torch.autograd.grad(p[is_forced].sum(), [kwargs["query"], kwargs["key"]])
    assert not any(grad.any() for grad in grads)


@BOTH
def test_padding_is_not_read(backend):
    kwargs = sample(length=30)
    is_padding = torch.arange(30) >= kwargs["lengths"][:, None]
    clean = run(backend, *kwargs.values())
    for name in ("query", "key"):
        kwargs[name][is_padding] = torch.nan
        kwargs[name].requires_grad_()
    kwargs["is_protected"][is_padding] = True
    dirty = run(backend, *kwargs.values())
    for got, want in zip(dirty, clean, strict=True):
        assert torch.equal(got, want)
    grads = torch.autograd.grad(dirty[0].sum(), [kwargs["query"], kwargs["key"]])
    assert all(grad.isfinite().all() and not grad[is_padding].any() for grad in grads)


@BOTH
def test_nan_comes_through_and_is_no_boundary(backend):
    x = torch.ones(1, 4, 3)
    x[0, 2, 1] = torch.nan
    p, is_boundary, *_ = run(backend, x, x, torch.tensor([4]))
    assert p.isnan().tolist() == [[False, False, True, True]]
    assert is_boundary.tolist() == [[True, False, False, False]]


def test_is_half_of_one_minus_the_cosine():
    q, k = torch.randn(2, 2, 50, 16, dtype=torch.float64)
    p = boundary_routing(q, k, torch.tensor([50, 50]))[0]
    expected = (1 - F.cosine_similarity(q[:, 1:], k[:, :-1], dim=-1)) / 2
    torch.testing.assert_close(p[:, 1:], expected, rtol=0, atol=1e-14)


def test_mirroring_mirrors_the_boundaries():
    # With equal query and key, the boundary left of t becomes the one left of the position after it.
    x = torch.randn(1, 40, 8, dtype=torch.float64)
    lengths = torch.tensor([40])
    p, mirrored = boundary_routing(x, x, lengths)[0], boundary_routing(x.flip(1), x.flip(1), lengths)[0]
    assert torch.equal(mirrored[:, 1:], p[:, 1:].flip(1))


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 3, 63, 1000])
def test_against_naive(dtype, length):
    op_case.check_against_naive(
        boundary_routing, boundary_routing_naive, sample(length), ["query", "key"], dtype, ["query", "key"]
    )


def test_without_protection():
    kwargs = sample(40)
    kwargs["is_protected"] = None
    expected = boundary_routing(**{**kwargs, "is_protected": torch.zeros(3, 40, dtype=torch.bool)})
    for results in (boundary_routing(**kwargs), boundary_routing_naive(**kwargs)):
        for got, want in zip(results, expected, strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("batch", "length", "channels"), [(0, 4, 3), (2, 0, 3), (2, 4, 0)])
@BOTH
def test_empty(backend, batch, length, channels):
    x = torch.zeros(batch, length, channels, requires_grad=True)
    p, is_boundary, _, token_index, num_tokens = run(backend, x, x, torch.full((batch,), length))
    (grad,) = torch.autograd.grad(p.sum(), x, materialize_grads=True)
    assert torch.equal(grad, torch.zeros_like(x))
    assert torch.equal(token_index, torch.zeros(batch, length, dtype=torch.int64))
    assert torch.equal(num_tokens, torch.full((batch,), int(length > 0)))
    assert torch.equal(p, is_boundary.float())


def test_everything_else():
    op_case.check_torch_form(boundary_routing, sample(), ["query", "key"])
    op_case.check_views(boundary_routing, sample(), ["query", "key"])
    op_case.check_threads(boundary_routing, sample(length=2000), ["query", "key"])


def test_gradient():
    kwargs = sample(length=6, channels=3)
    kwargs["query"], kwargs["key"] = torch.randn(2, 3, 6, 3)
    kwargs["is_protected"] = torch.arange(6).expand(3, -1) == 3
    op_case.check_gradient(boundary_routing, kwargs, ["query", "key"], ["query", "key"])
    # Equal tensors: both gradients meet in one.
    x = torch.randn(1, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: boundary_routing(x, x, torch.tensor([5]))[0], x)


def test_opcheck():
    kwargs = sample(length=9, channels=3)
    query, key, lengths, is_protected = kwargs.values()
    op_case.opcheck("boundary_routing", query.requires_grad_(), key.requires_grad_(), lengths, is_protected)
    op_case.opcheck("boundary_routing", query, key, lengths, None)
    query, key = query.detach(), key.detach()
    p, *_, inverse_norms = torch.ops.dnachunk.boundary_routing(query, key, lengths, None)
    op_case.opcheck("boundary_routing_backward", torch.randn(3, 9), p, inverse_norms, query, key)


def test_bad_input():
    x, lengths = torch.randn(2, 4, 3), torch.tensor([4, 2])
    for args, message in (
        ((x[0], x[0], lengths), r"boundary_routing: query must be \[B, N, D\], got \[4, 3\]"),
        ((x, x[:, :3], lengths), r"boundary_routing: key must be \[2, 4, 3\], got \[2, 3, 3\]"),
        ((x, x, lengths[:1]), r"boundary_routing: lengths must be \[2\], got \[1\]"),
        ((x, x, torch.tensor([4, 5])), r"boundary_routing: lengths must be in \[0, 4\], got 5"),
        ((x, x, torch.tensor([-1, 4])), r"boundary_routing: lengths must be in \[0, 4\], got -1"),
        (
            (x, x, lengths, torch.zeros(2, 3).bool()),
            r"boundary_routing: is_protected must be \[2, 4\], got \[2, 3\]",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            boundary_routing(*args)
    for args, message in (
        ((x.long(), x, lengths), "query must be float32, .*, got torch.int64"),
        ((x, x.double(), lengths), "key must be torch.float32, got torch.float64"),
        ((x, x, lengths.int()), "lengths must be torch.int64, got torch.int32"),
        ((x, x, lengths, torch.zeros(2, 4)), "is_protected must be torch.bool, got torch.float32"),
    ):
        with pytest.raises(TypeError, match=f"boundary_routing: {message}"):
            boundary_routing(*args)


def test_any_byte_but_0_is_true():
    kwargs = sample()
    odd = (kwargs["is_protected"].to(torch.uint8) * 254).view(torch.bool)
    for got, want in zip(
        boundary_routing(**{**kwargs, "is_protected": odd}), boundary_routing(**kwargs), strict=True
    ):
        assert torch.equal(got, want)
