import pytest
import torch

from dnachunk.ops import swiglu
from dnachunk.ops.swiglu import swiglu_naive
from tests.support import op_case


def sample(rows=63, width=19):
    return {"gate_up": 4 * torch.randn(2, rows, 2 * width)}


def test_literal():
    gated = swiglu(torch.tensor([0.0, 200.0, -200.0, 3.0, 2.0, 2.0]))
    assert gated.tolist() == pytest.approx([0.0, 400.0, 0.0], abs=1e-30)


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("rows", [1, 2, 63, 1000])
def test_against_naive(rows, dtype):
    op_case.check_against_naive(swiglu, swiglu_naive, sample(rows), ["gate_up"], dtype, ["gate_up"])


def test_everything_else():
    op_case.check_torch_form(swiglu, sample(), ["gate_up"])
    op_case.check_views(swiglu, sample(), ["gate_up"])
    op_case.check_threads(swiglu, sample(700), ["gate_up"])
    op_case.check_gradient(swiglu, sample(3, 2), ["gate_up"], ["gate_up"])


@pytest.mark.parametrize(("rows", "width"), [(0, 4), (3, 0)])
def test_empty(rows, width):
    kwargs = sample(rows, width)
    outputs, grads = op_case.run(swiglu, kwargs, ["gate_up"])
    assert outputs[0].shape == (2, rows, width)
    assert grads["gate_up"].shape == kwargs["gate_up"].shape


def test_far_from_zero():
    gate_up = torch.tensor([-1e4, 1e4, 1.0, 1.0], requires_grad=True)
    swiglu(gate_up).sum().backward()
    torch.testing.assert_close(gate_up.grad, torch.tensor([0.0, 1.0, 0.0, 1e4]))


def test_opcheck():
    gate_up = torch.randn(5, 6, requires_grad=True)
    op_case.opcheck("swiglu", gate_up)
    op_case.opcheck("swiglu_backward", torch.randn(5, 3), gate_up.detach())


@pytest.mark.parametrize(
    ("gate_up", "error", "message"),
    [
        (torch.zeros(3), ValueError, r"swiglu: gate_up must be \[..., 2 F\], got \[3\]"),
        (torch.zeros(4).long(), TypeError, "swiglu: gate_up must be float32"),
        ([1.0, 2.0], TypeError, r"swiglu: gate_up must be a torch.Tensor, got list"),
    ],
)
def test_bad_input(gate_up, error, message):
    with pytest.raises(error, match=message):
        swiglu(gate_up)
