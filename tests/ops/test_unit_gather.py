import pytest
import torch

from dnachunk.ops import unit_gather
from dnachunk.ops.unit_gather import unit_gather_naive
from tests.support import op_case


def sample(length=63, units=80, channels=19):
    """Some rows several times, some not at all."""
    return {"x": torch.randn(2, length, channels), "position": torch.randint(0, 2 * length, (units,))}


def test_literal():
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], requires_grad=True)
    rows = unit_gather(x, torch.tensor([3, 0, 3]))
    assert rows.tolist() == [[7.0, 8.0], [1.0, 2.0], [7.0, 8.0]]
    (grad,) = torch.autograd.grad(rows, x, torch.tensor([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]))
    assert grad.tolist() == [[[10.0, 20.0], [0.0, 0.0]], [[0.0, 0.0], [101.0, 202.0]]]


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 63, 1000])
def test_against_naive(length, dtype):
    op_case.check_against_naive(unit_gather, unit_gather_naive, sample(length, length), ["x"], dtype, ["x"])


def test_everything_else():
    op_case.check_torch_form(unit_gather, sample(), ["x"])
    op_case.check_views(unit_gather, sample(), ["x"])
    op_case.check_threads(unit_gather, sample(2000, 3000), ["x"])
    op_case.check_gradient(unit_gather, sample(6, 5, 2), ["x"], ["x"], second=True)


@pytest.mark.parametrize(
    ("length", "units", "channels"),
    [(0, 0, 3), (4, 0, 3), (4, 3, 0)],
    ids=["no rows", "no units", "no channels"],
)
def test_empty(length, units, channels):
    kwargs = {**sample(max(length, 1), units, channels), "x": torch.randn(2, length, channels)}
    (out,), grads = op_case.run(unit_gather, kwargs, ["x"])
    (want,), expected = op_case.run(unit_gather_naive, kwargs, ["x"])
    assert torch.equal(out, want)
    assert torch.equal(grads["x"], expected["x"])


def test_opcheck():
    kwargs = sample(9, 5, 3)
    op_case.opcheck("unit_gather", kwargs["x"].requires_grad_(), kwargs["position"])
    op_case.opcheck("unit_gather_backward", torch.randn(5, 3).requires_grad_(), kwargs["position"], 2, 9)


def test_bad_input():
    x, position = sample(7, 5, 3).values()
    with pytest.raises(ValueError, match=r"unit_gather: x must be \[B, N, D\], got \[7, 3\]"):
        unit_gather(x[0], position)
    with pytest.raises(TypeError, match=r"unit_gather: position must be torch.int64, got torch.int32"):
        unit_gather(x, position.int())
    for wrong in (-1, 14):
        with pytest.raises(ValueError, match=rf"unit_gather: position must be in \[0, 14\), got {wrong}"):
            unit_gather(x, torch.tensor([0, wrong]))
