import pytest
import torch

from dnachunk.ops import neighbor_cosine
from dnachunk.ops.neighbor_cosine import neighbor_cosine_naive
from tests.support import op_case


def sample(batch=2, length=63, channels=19):
    return {"grouping": torch.randn(batch, length, channels)}


def test_literal():
    g = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.0, 3.0], [0.0, -1.0]]])
    assert neighbor_cosine(g).tolist() == [[0.0, 1.0, -1.0, 0.0]]


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 63, 1000])
def test_against_naive(dtype, length):
    kwargs = sample(length=length)
    op_case.check_against_naive(
        neighbor_cosine, neighbor_cosine_naive, kwargs, ["grouping"], dtype, ["grouping"]
    )


@pytest.mark.parametrize(("batch", "length", "channels"), [(0, 4, 3), (2, 0, 3), (2, 4, 0)])
def test_empty(batch, length, channels):
    g = torch.randn(batch, length, channels, requires_grad=True)
    scores = neighbor_cosine(g)
    scores.sum().backward()
    assert torch.equal(scores, torch.zeros(batch, length))
    assert torch.equal(g.grad, torch.zeros_like(g))


def test_zero_vector_has_a_finite_gradient():
    g = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]], requires_grad=True)
    neighbor_cosine(g).sum().backward()
    torch.testing.assert_close(g.grad, torch.tensor([[[0.6e8, 0.8e8], [0.0, 0.0]]]))


def test_views():
    op_case.check_views(neighbor_cosine, sample(), ["grouping"])


def test_threads():
    op_case.check_threads(neighbor_cosine, sample(length=3000), ["grouping"])


def test_gradient():
    op_case.check_gradient(neighbor_cosine, sample(length=5, channels=3), ["grouping"], ["grouping"])


def test_opcheck():
    g = torch.randn(2, 7, 3, requires_grad=True)
    op_case.opcheck("neighbor_cosine", g)
    scores, norms = torch.ops.dnachunk.neighbor_cosine(g.detach())
    op_case.opcheck("neighbor_cosine_backward", torch.randn(2, 7), scores, norms, g.detach())


def test_bad_input():
    with pytest.raises(ValueError, match=r"neighbor_cosine: grouping must be \[B, N, G\], got \[4, 3\]"):
        neighbor_cosine(torch.randn(4, 3))
    with pytest.raises(
        TypeError, match="grouping must be float32, float64, bfloat16 or float16, got torch.int64"
    ):
        neighbor_cosine(torch.zeros(1, 2, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"grouping must be a torch.Tensor, got list"):
        neighbor_cosine([[1.0]])


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 4, 3), (2, 1, 3)])
def test_torch_form_without_neighbours(shape):
    op_case.check_torch_form(neighbor_cosine, {"grouping": torch.randn(shape)}, ["grouping"])
