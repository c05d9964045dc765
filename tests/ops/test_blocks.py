"""The element-wise operations of Transformer blocks: ``swiglu``, ``rms_norm``, ``rotary``."""

import pytest
import torch

from dnachunk.ops import rms_norm, rotary, swiglu
from dnachunk.ops.rms_norm import rms_norm_naive
from dnachunk.ops.rotary import rotary_naive
from dnachunk.ops.swiglu import swiglu_naive
from tests.support import op_case
from tests.support.asserts import assert_close_to_reference


def swiglu_sample(rows=63, width=19):
    return {"gate_up": 4 * torch.randn(2, rows, 2 * width)}


def rms_norm_sample(rows=63, width=19):
    return {"x": torch.randn(2, rows, width), "weight": torch.randn(width)}


def rotary_sample(length=63, half=5, shared=False):
    angles = torch.randn(1 if shared else 2, length, half)
    return {"qkv": torch.randn(2, length, 3, 2, 2 * half), "cos": angles.cos(), "sin": angles.sin()}


# op, naive, sample, differentiable, rounded to the dtype, accumulator-typed
CASES = [
    pytest.param(swiglu, swiglu_naive, swiglu_sample, ["gate_up"], [], id="swiglu"),
    pytest.param(rms_norm, rms_norm_naive, rms_norm_sample, ["x", "weight"], [], id="rms_norm"),
    pytest.param(rotary, rotary_naive, rotary_sample, ["qkv"], ["cos", "sin"], id="rotary"),
]
each_op = pytest.mark.parametrize(("op", "naive", "sample", "differentiable", "accumulators"), CASES)


@each_op
@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 63, 1000])
def test_against_naive(op, naive, sample, differentiable, accumulators, dtype, length):
    kwargs = sample(length)
    op_case.check_against_naive(op, naive, kwargs, differentiable, dtype, differentiable, accumulators)


@each_op
def test_everything_else(op, naive, sample, differentiable, accumulators):
    op_case.check_torch_form(op, sample(), differentiable)
    op_case.check_views(op, sample(), differentiable)
    op_case.check_threads(op, sample(700), differentiable)
    op_case.check_gradient(op, sample(3, 2), differentiable, [*differentiable, *accumulators])


@each_op
def test_empty(op, naive, sample, differentiable, accumulators):
    for kwargs in (sample(0, 4), sample(3, 0)):
        outputs, grads = op_case.run(op, kwargs, differentiable)
        assert outputs[0].numel() == 0
        assert all(grads[name].shape == kwargs[name].shape for name in differentiable)


def test_swiglu_literal():
    gated = swiglu(torch.tensor([0.0, 200.0, -200.0, 3.0, 2.0, 2.0]))
    assert gated.tolist() == pytest.approx([0.0, 400.0, 0.0], abs=1e-30)


def test_swiglu_far_from_zero():
    gate_up = torch.tensor([-1e4, 1e4, 1.0, 1.0], requires_grad=True)
    swiglu(gate_up).sum().backward()
    torch.testing.assert_close(gate_up.grad, torch.tensor([0.0, 1.0, 0.0, 1e4]))


def test_rms_norm_literal():
    x, weight = torch.tensor([[1.0, 7.0]]), torch.tensor([1.0, 2.0])
    torch.testing.assert_close(rms_norm(x, weight, 0.0), torch.tensor([[0.2, 2.8]]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_rms_norm_narrows(dtype):
    kwargs = rms_norm_sample()
    outputs, grads = op_case.run(rms_norm, {**kwargs, "dtype": dtype}, ["x", "weight"])
    expected, expected_grads = op_case.run(rms_norm_naive, {**kwargs, "dtype": dtype}, ["x", "weight"])
    assert outputs[0].dtype == dtype
    assert_close_to_reference("out", outputs[0], expected[0])
    for name, grad in grads.items():
        assert grad.dtype == torch.float32
        assert_close_to_reference(name, grad, expected_grads[name])


def test_rotary_literal():
    qkv = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).view(1, 1, 3, 1, 2)
    turned = rotary(qkv, torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    assert turned.flatten().tolist() == [-2.0, 1.0, -4.0, 3.0, 5.0, 6.0]


def test_rotary_shares_angles():
    kwargs = rotary_sample(shared=True)
    expanded = {**kwargs, "cos": kwargs["cos"].expand(2, -1, -1), "sin": kwargs["sin"].expand(2, -1, -1)}
    assert torch.equal(rotary(**kwargs), rotary(**expanded))


def test_opcheck():
    gate_up, x = torch.randn(5, 6, requires_grad=True), torch.randn(5, 6, requires_grad=True)
    op_case.opcheck("swiglu", gate_up)
    op_case.opcheck("swiglu_backward", gate_up.detach(), torch.randn(5, 3))
    op_case.opcheck("rms_norm", x, torch.randn(6, requires_grad=True), 1e-6, "float32")
    op_case.opcheck("rms_norm", x, torch.randn(6), 1e-6, "bfloat16")
    op_case.opcheck("rms_norm_backward", x.detach(), torch.randn(6), torch.rand(5), torch.randn(5, 6))
    kwargs = rotary_sample(4, 3)
    op_case.opcheck("rotary", kwargs["qkv"].requires_grad_(), kwargs["cos"], kwargs["sin"])
    op_case.opcheck("rotary_backward", torch.randn(2, 4, 3, 2, 6), kwargs["cos"], kwargs["sin"])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: swiglu(torch.zeros(3)), ValueError, r"swiglu: gate_up must be \[..., 2 F\], got \[3\]"),
        (lambda: swiglu(torch.zeros(4).long()), TypeError, "swiglu: gate_up must be float32"),
        (lambda: swiglu([1.0, 2.0]), TypeError, r"swiglu: gate_up must be a torch.Tensor, got list"),
        (lambda: rms_norm(torch.tensor(1.0), torch.ones(1)), ValueError, r"x must be \[..., D\], got \[\]"),
        (
            lambda: rms_norm(torch.zeros(3), torch.zeros(4)),
            ValueError,
            r"rms_norm: weight must be \[3\], got",
        ),
        (
            lambda: rms_norm(torch.zeros(3), torch.zeros(3), -1.0),
            ValueError,
            "epsilon must be at least 0, got -1",
        ),
        (
            lambda: rms_norm(torch.zeros(3).bfloat16(), torch.zeros(3), dtype=torch.float32),
            TypeError,
            "rms_norm: dtype must be torch.bfloat16, or a half type of torch.float32, got torch.float32",
        ),
        (
            lambda: rotary(torch.zeros(1, 2, 3, 1, 3), torch.zeros(1, 2, 1), torch.zeros(1, 2, 1)),
            ValueError,
            "rotary: qkv must have an even number of channels, got 3",
        ),
        (
            lambda: rotary(torch.zeros(1, 2, 3, 1, 4), torch.zeros(1, 2, 1), torch.zeros(1, 2, 2)),
            ValueError,
            r"rotary: cos must be \[1, 2, 2\], got \[1, 2, 1\]",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
