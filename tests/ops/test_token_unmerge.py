import pytest
import torch

from dnachunk.ops import token_sum, token_unmerge
from dnachunk.ops.token_unmerge import token_sum_naive, token_unmerge_naive
from tests.support import op_case


def unmerge_sample(length=63, num_tokens=20, channels=19):
    token_index = torch.randint(-1, num_tokens, (2, length))
    return {"x": torch.randn(2, num_tokens, channels), "token_index": token_index}


def sum_sample(length=63, num_tokens=20, channels=19):
    token_index = torch.randint(-1, num_tokens, (2, length))
    return {"x": torch.randn(2, length, channels), "token_index": token_index, "num_tokens": num_tokens}


PAIR = [
    pytest.param(token_unmerge, token_unmerge_naive, unmerge_sample, id="unmerge"),
    pytest.param(token_sum, token_sum_naive, sum_sample, id="sum"),
]


def test_literal():
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    out = token_unmerge(x, torch.tensor([[1, 0, 1, -1]]))
    assert out.tolist() == [[[3.0, 4.0], [1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]]
    back = token_sum(out, torch.tensor([[1, 0, 1, -1]]), 3)
    assert back.tolist() == [[[1.0, 2.0], [6.0, 8.0], [0.0, 0.0]]]


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 63, 1000])
@pytest.mark.parametrize(("op", "naive", "sample"), PAIR)
def test_against_naive(op, naive, sample, dtype, length):
    op_case.check_against_naive(op, naive, sample(length), ["x"], dtype, ["x"])


@pytest.mark.parametrize(("op", "naive", "sample"), PAIR)
def test_everything_else(op, naive, sample):
    op_case.check_torch_form(op, sample(), ["x"])
    op_case.check_views(op, sample(), ["x"])
    op_case.check_threads(op, sample(2000), ["x"])
    op_case.check_gradient(op, sample(6, 3, 2), ["x"], ["x"], second=True)


def test_an_adjoint_pair():
    token_index = torch.randint(-1, 20, (2, 63))
    tokens = torch.randn(2, 20, 5, dtype=torch.float64)
    positions = torch.randn(2, 63, 5, dtype=torch.float64)
    there = (token_unmerge(tokens, token_index) * positions).sum()
    back = (tokens * token_sum(positions, token_index, 20)).sum()
    torch.testing.assert_close(there, back, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("batch", "length", "tokens", "channels"), [(0, 4, 2, 3), (2, 0, 2, 3), (2, 4, 0, 3), (2, 4, 2, 0)]
)
def test_empty(batch, length, tokens, channels):
    token_index = torch.full((batch, length), -1)
    out = token_unmerge(torch.randn(batch, tokens, channels), token_index)
    assert torch.equal(out, torch.zeros(batch, length, channels))
    assert torch.equal(token_sum(out, token_index, tokens), torch.zeros(batch, tokens, channels))


def test_opcheck():
    kwargs = unmerge_sample(9, 4, 3)
    op_case.opcheck("token_unmerge", kwargs["x"].requires_grad_(), kwargs["token_index"])
    kwargs = sum_sample(9, 4, 3)
    op_case.opcheck("token_sum", kwargs["x"].requires_grad_(), kwargs["token_index"], 4)


def test_bad_input():
    x, token_index = torch.zeros(1, 2, 3), torch.tensor([[0, 2]])
    with pytest.raises(ValueError, match=r"token_unmerge: token_index must be in \[-1, 2\), got 2"):
        token_unmerge(x, token_index)
    with pytest.raises(ValueError, match=r"token_sum: token_index must be in \[-1, 2\), got 2"):
        token_sum(x, token_index, 2)
    with pytest.raises(ValueError, match=r"token_unmerge: x must be \[B, L, D\], got \[2\]"):
        token_unmerge(torch.zeros(2), token_index)
    with pytest.raises(ValueError, match=r"token_sum: token_index must be \[1, 2\], got \[1, 3\]"):
        token_sum(x, torch.zeros(1, 3).long(), 2)
    with pytest.raises(TypeError, match="token_unmerge: token_index must be torch.int64, got torch.float32"):
        token_unmerge(x, token_index.float())
