import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from dnachunk.ops import rms_norm, use_backend
from dnachunk.ops.rms_norm import rms_norm_naive
from tests.support import op_case
from tests.support.asserts import assert_close_to_reference

DIFFERENTIABLE = ["x", "weight"]


def sample(rows=63, width=19):
    return {"x": torch.randn(2, rows, width), "weight": torch.randn(width)}


def test_literal():
    x, weight = torch.tensor([[1.0, 7.0]]), torch.tensor([1.0, 2.0])
    torch.testing.assert_close(rms_norm(x, weight, 0.0), torch.tensor([[0.2, 2.8]]))


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("rows", [1, 2, 63, 1000])
def test_against_naive(rows, dtype):
    op_case.check_against_naive(rms_norm, rms_norm_naive, sample(rows), DIFFERENTIABLE, dtype, DIFFERENTIABLE)


def test_everything_else():
    op_case.check_torch_form(rms_norm, sample(), DIFFERENTIABLE)
    op_case.check_views(rms_norm, sample(), DIFFERENTIABLE)
    op_case.check_threads(rms_norm, sample(700), DIFFERENTIABLE)
    op_case.check_gradient(rms_norm, sample(3, 2), DIFFERENTIABLE, DIFFERENTIABLE)


@pytest.mark.parametrize(("rows", "width"), [(0, 4), (3, 0)])
def test_empty(rows, width):
    kwargs = sample(rows, width)
    outputs, grads = op_case.run(rms_norm, kwargs, DIFFERENTIABLE)
    assert outputs[0].shape == (2, rows, width)
    assert all(grads[name].shape == kwargs[name].shape for name in DIFFERENTIABLE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_narrows(dtype):
    kwargs = {**sample(), "dtype": dtype}
    outputs, grads = op_case.run(rms_norm, kwargs, DIFFERENTIABLE)
    expected, expected_grads = op_case.run(rms_norm_naive, kwargs, DIFFERENTIABLE)
    assert outputs[0].dtype == dtype
    assert_close_to_reference("out", outputs[0], expected[0])
    for name, grad in grads.items():
        assert grad.dtype == torch.float32
        assert_close_to_reference(name, grad, expected_grads[name])


def test_opcheck():
    x = torch.randn(5, 6, requires_grad=True)
    op_case.opcheck("rms_norm", x, torch.randn(6, requires_grad=True), 1e-6, "float32")
    op_case.opcheck("rms_norm", x, torch.randn(6), 1e-6, "bfloat16")
    op_case.opcheck("rms_norm_backward", torch.randn(5, 6), torch.rand(5), x.detach(), torch.randn(6))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.tensor(1.0), torch.ones(1)), ValueError, r"x must be \[..., D\], got \[\]"),
        ((torch.zeros(3), torch.zeros(4)), ValueError, r"rms_norm: weight must be \[3\], got"),
        ((torch.zeros(3), torch.zeros(3), -1.0), ValueError, "epsilon must be at least 0, got -1"),
        (
            (torch.zeros(3).bfloat16(), torch.zeros(3), 1e-6, torch.float32),
            TypeError,
            "rms_norm: dtype must be torch.bfloat16, or a half type of torch.float32, got torch.float32",
        ),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        rms_norm(*arguments)


def test_torch_form_is_fused_on_cuda():
    seen = []

    class Launches(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with FakeTensorMode(), Launches(), use_backend("torch"):
        x, weight = torch.empty(3, 8, device="cuda"), torch.empty(8, device="cuda")
        assert rms_norm(x, weight, dtype=torch.bfloat16).dtype == torch.bfloat16
    assert torch.ops.aten._fused_rms_norm.default in seen
