import pytest
import torch

from dnachunk.ops import token_sum
from dnachunk.ops.token_sum import token_sum_naive
from tests.support import op_case


def sample(length=63, num_tokens=20, channels=19):
    token_index = torch.randint(-1, num_tokens, (2, length))
    return {"x": torch.randn(2, length, channels), "token_index": token_index, "num_tokens": num_tokens}


def test_literal():
    x = torch.tensor([[[3.0, 4.0], [1.0, 2.0], [3.0, 4.0], [7.0, 7.0]]])
    out = token_sum(x, torch.tensor([[1, 0, 1, -1]]), 3)
    assert out.tolist() == [[[1.0, 2.0], [6.0, 8.0], [0.0, 0.0]]]


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 63, 1000])
def test_against_naive(length, dtype):
    op_case.check_against_naive(token_sum, token_sum_naive, sample(length), ["x"], dtype, ["x"])


def test_everything_else():
    op_case.check_torch_form(token_sum, sample(), ["x"])
    op_case.check_views(token_sum, sample(), ["x"])
    op_case.check_threads(token_sum, sample(2000), ["x"])
    op_case.check_gradient(token_sum, sample(6, 3, 2), ["x"], ["x"], second=True)


@pytest.mark.parametrize(
    ("batch", "length", "tokens", "channels"), [(0, 4, 2, 3), (2, 0, 2, 3), (2, 4, 0, 3), (2, 4, 2, 0)]
)
def test_empty(batch, length, tokens, channels):
    out = token_sum(torch.randn(batch, length, channels), torch.full((batch, length), -1), tokens)
    assert torch.equal(out, torch.zeros(batch, tokens, channels))


def test_opcheck():
    kwargs = sample(9, 4, 3)
    op_case.opcheck("token_sum", kwargs["x"].requires_grad_(), kwargs["token_index"], 4)


def test_bad_input():
    x, token_index = torch.zeros(1, 2, 3), torch.tensor([[0, 2]])
    with pytest.raises(ValueError, match=r"token_sum: token_index must be in \[-1, 2\), got 2"):
        token_sum(x, token_index, 2)
    with pytest.raises(ValueError, match=r"token_sum: token_index must be \[1, 2\], got \[1, 3\]"):
        token_sum(x, torch.zeros(1, 3).long(), 2)
    with pytest.raises(TypeError, match="token_sum: x must be float32"):
        token_sum(x.long(), token_index, 2)
