import pytest
import torch

from dnachunk.ops import token_sum, token_unmerge
from dnachunk.ops.token_unmerge import token_unmerge_naive
from tests.support import op_case


def sample(length=63, num_tokens=20, channels=19):
    token_index = torch.randint(-1, num_tokens, (2, length))
    return {"x": torch.randn(2, num_tokens, channels), "token_index": token_index}


def test_literal():
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    out = token_unmerge(x, torch.tensor([[1, 0, 1, -1]]))
    assert out.tolist() == [[[3.0, 4.0], [1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]]


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 63, 1000])
def test_against_naive(length, dtype):
    op_case.check_against_naive(token_unmerge, token_unmerge_naive, sample(length), ["x"], dtype, ["x"])


def test_everything_else():
    op_case.check_torch_form(token_unmerge, sample(), ["x"])
    op_case.check_views(token_unmerge, sample(), ["x"])
    op_case.check_threads(token_unmerge, sample(2000), ["x"])
    op_case.check_gradient(token_unmerge, sample(6, 3, 2), ["x"], ["x"], second=True)


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
    out = token_unmerge(torch.randn(batch, tokens, channels), torch.full((batch, length), -1))
    assert torch.equal(out, torch.zeros(batch, length, channels))


def test_opcheck():
    kwargs = sample(9, 4, 3)
    op_case.opcheck("token_unmerge", kwargs["x"].requires_grad_(), kwargs["token_index"])


def test_bad_input():
    x, token_index = torch.zeros(1, 2, 3), torch.tensor([[0, 2]])
    with pytest.raises(ValueError, match=r"token_unmerge: token_index must be in \[-1, 2\), got 2"):
        token_unmerge(x, token_index)
    with pytest.raises(ValueError, match=r"token_unmerge: x must be \[B, L, D\], got \[2\]"):
        token_unmerge(torch.zeros(2), token_index)
    with pytest.raises(TypeError, match="token_unmerge: token_index must be torch.int64, got torch.float32"):
        token_unmerge(x, token_index.float())
