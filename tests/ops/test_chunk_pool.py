import pytest
import torch

from dnachunk.ops import chunk_pool, use_backend
from dnachunk.ops.chunk_pool import chunk_pool_naive
from tests.support import op_case

BOTH = pytest.mark.parametrize("backend", ["rust", "torch"])
POOLINGS = pytest.mark.parametrize("pooling", ["mean", "boundary"])


def runs(lengths, length, share=0.4):
    """Chunks of random sizes, the first position of each sequence always one's beginning."""
    is_real = torch.arange(length) < torch.tensor(lengths)[:, None]
    begins = torch.rand(is_real.shape, generator=torch.Generator().manual_seed(5)) < share
    begins[:, :1] = True
    return torch.where(is_real, begins.long().cumsum(dim=1) - 1, -1)


def sample(length=63, channels=19, pooling="mean"):
    """Three sequences: full, shorter, empty; two rows more than the most chunks."""
    token_index = runs([length, (2 * length + 1) // 3, 0], length)
    return {
        "x": torch.randn(3, length, channels),
        "token_index": token_index,
        "max_tokens": int(token_index.max()) + 3,
        "pooling": pooling,
    }


@BOTH
def test_literal(backend):
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 0.0], [1.0, 1.0], [9.0, 9.0]]], requires_grad=True)
    token_index = torch.tensor([[0, 1, 1, 1, -1]])
    grad = torch.tensor([[[2.0, 4.0], [3.0, 6.0], [7.0, 7.0]]])
    for pooling, pooled, expected_grad in (
        (
            "mean",
            [[1.0, 2.0], [3.0, 5.0 / 3], [0.0, 0.0]],
            [[2.0, 4.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [0.0, 0.0]],
        ),
        (
            "boundary",
            [[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]],
            [[2.0, 4.0], [3.0, 6.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
        ),
    ):
        with use_backend(backend):
            out = chunk_pool(x, token_index, 3, pooling)
        torch.testing.assert_close(out, torch.tensor([pooled]), rtol=1e-7, atol=0)
        torch.testing.assert_close(
            torch.autograd.grad(out, x, grad)[0], torch.tensor([expected_grad]), rtol=1e-6, atol=0
        )


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 3, 63, 1000])
@POOLINGS
def test_against_naive(pooling, dtype, length):
    op_case.check_against_naive(
        chunk_pool, chunk_pool_naive, sample(length, pooling=pooling), ["x"], dtype, ["x"]
    )


@POOLINGS
def test_everything_else(pooling):
    op_case.check_torch_form(chunk_pool, sample(pooling=pooling), ["x"])
    op_case.check_views(chunk_pool, sample(pooling=pooling), ["x"])
    op_case.check_threads(chunk_pool, sample(2000, pooling=pooling), ["x"])
    op_case.check_gradient(chunk_pool, sample(7, 2, pooling), ["x"], ["x"], second=True)


@BOTH
@POOLINGS
def test_padding_is_not_read(backend, pooling):
    kwargs = sample(pooling=pooling)
    is_padding = kwargs["token_index"] < 0
    with use_backend(backend):
        expected = chunk_pool(**kwargs)
        kwargs["x"][is_padding] = torch.nan
        x = kwargs["x"].requires_grad_()
        out = chunk_pool(**kwargs)
        # What comes back for rows past the chunks goes nowhere.
        has_chunk = torch.arange(out.shape[1]) <= kwargs["token_index"].amax(dim=1, keepdim=True)
        (grad,) = torch.autograd.grad(
            out, x, torch.where(has_chunk[..., None], 1.0, torch.nan).expand_as(out)
        )
    assert torch.equal(out, expected)
    assert not out[~has_chunk].any()
    assert grad.isfinite().all()
    assert not grad[is_padding].any()


def test_half_types_are_summed_in_float32():
    # In bfloat16 a sum of ones stays at 256.
    x = torch.ones(1, 2000, 1, dtype=torch.bfloat16)
    assert chunk_pool(x, torch.zeros(1, 2000, dtype=torch.int64), 1).item() == 1.0


@BOTH
@POOLINGS
@pytest.mark.parametrize(
    ("batch", "length", "tokens", "channels"), [(0, 4, 2, 3), (2, 0, 2, 3), (2, 4, 0, 3), (2, 4, 2, 0)]
)
def test_empty(backend, pooling, batch, length, tokens, channels):
    x = torch.randn(batch, length, channels, requires_grad=True)
    with use_backend(backend):
        out = chunk_pool(x, torch.full((batch, length), -1), tokens, pooling)
        (grad,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(out, torch.zeros(batch, tokens, channels))
    assert torch.equal(grad, torch.zeros_like(x))


@POOLINGS
def test_opcheck(pooling):
    kwargs = sample(9, 3, pooling)
    op_case.opcheck("chunk_pool", kwargs["x"].requires_grad_(), *list(kwargs.values())[1:])
    grad = torch.randn(3, kwargs["max_tokens"], 3, requires_grad=True)
    op_case.opcheck("chunk_pool_backward", grad, kwargs["token_index"], pooling)


def test_bad_input():
    x, token_index = torch.randn(1, 4, 3), torch.tensor([[0, 1, 1, -1]])
    for args, message in (
        ((x[0], token_index, 2), r"x must be \[B, N, D\], got \[4, 3\]"),
        ((x, token_index[:, :3], 2), r"token_index must be \[1, 4\], got \[1, 3\]"),
        ((x, token_index, 1), r"token_index must be in \[-1, 1\), got 1"),
        ((x, token_index, -1), "max_tokens must be at least 0, got -1"),
        ((x, token_index, 2, "max"), "pooling must be 'mean' or 'boundary', got 'max'"),
        ((x, torch.tensor([[0, 2, 2, 3]]), 4), "token_index must be 0, …, 0, 1, .* got 2 after 0"),
        ((x, torch.tensor([[0, 1, 0, 1]]), 4), "token_index must be 0, …, 0, 1, .* got 0 after 1"),
        ((x, torch.tensor([[-1, 0, 0, 1]]), 4), "token_index must be 0, …, 0, 1, .* got 0 after -1"),
    ):
        with pytest.raises(ValueError, match=f"chunk_pool: {message}"):
            chunk_pool(*args)
    with pytest.raises(TypeError, match="chunk_pool: token_index must be torch.int64, got torch.int32"):
        chunk_pool(x, token_index.int(), 2)
    with pytest.raises(TypeError, match="chunk_pool: x must be float32, .*, got torch.int64"):
        chunk_pool(x.long(), token_index, 2)


def test_tensors_without_elements_take_no_memory():
    index = torch.empty(2**45, 0, dtype=torch.int64)
    assert chunk_pool(torch.empty(2**45, 0, 4), index, 0).shape == (2**45, 0, 4)
    with pytest.raises(RuntimeError):
        chunk_pool(torch.empty(2**45, 0, 4), index, 2)
