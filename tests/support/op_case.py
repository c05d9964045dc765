"""The checks that every operation gets: a test file declares samples, these functions do the rest."""

import pytest
import torch

from dnachunk.ops import backend_of, use_backend
from tests.support.asserts import assert_close_to_reference

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def _tuple(result):
    return result if isinstance(result, tuple) else (result,)


def _is_float(value):
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def cast(kwargs, dtype, names):
    """The same sample with the named tensors in ``dtype``."""
    return {k: v.to(dtype) if k in names else v for k, v in kwargs.items()}


def _leaves(kwargs, differentiable):
    copies = {k: v.detach().clone() if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}
    for name in differentiable:
        copies[name].requires_grad_()
    return copies


def run(op, kwargs, differentiable, grad_outputs=None):
    """Outputs and the gradients of the named arguments under seeded output gradients."""
    leaves = _leaves(kwargs, differentiable)
    outputs = _tuple(op(**leaves))
    if not differentiable:
        return outputs, {}
    floats = [o for o in outputs if o.requires_grad]
    if grad_outputs is None:
        generator = torch.Generator().manual_seed(1)
        grad_outputs = [torch.randn(o.shape, generator=generator, dtype=torch.float64) for o in floats]
    grads = torch.autograd.grad(
        floats,
        [leaves[name] for name in differentiable],
        [g.to(o) for g, o in zip(grad_outputs, floats, strict=True)],
        materialize_grads=True,
    )
    return outputs, dict(zip(differentiable, grads, strict=True))


def check_against_naive(op, naive, kwargs, differentiable, dtype, floats, accumulators=()):
    """Values and gradients in ``dtype`` against the float64 naive form on the same rounded inputs.

    ``floats`` are rounded to ``dtype``; ``accumulators`` stay float32 beside half types.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    rounded = cast(cast(kwargs, dtype, floats), wide, accumulators)
    exact = cast(rounded, torch.float64, [*floats, *accumulators])
    outputs, grads = run(op, rounded, differentiable)
    expected, expected_grads = run(naive, exact, differentiable)
    for index, (got, want) in enumerate(zip(outputs, expected, strict=True)):
        assert_close_to_reference(f"output {index}", got, want, dtype=dtype if _is_float(got) else None)
    for name in differentiable:
        assert grads[name].dtype == rounded[name].dtype
        assert_close_to_reference(f"grad {name}", grads[name], expected_grads[name], dtype=dtype)


def check_torch_form(op, kwargs, differentiable):
    """The form for devices without a kernel gives what the kernel gives."""
    outputs, grads = run(op, kwargs, differentiable)
    with use_backend("torch"):
        others, other_grads = run(op, kwargs, differentiable)
    for index, (got, want) in enumerate(zip(outputs, others, strict=True)):
        assert got.dtype == want.dtype
        assert_close_to_reference(f"output {index}", got, want)
    for name in differentiable:
        assert_close_to_reference(f"grad {name}", grads[name], other_grads[name])


def check_views(op, kwargs, differentiable):
    """Non-contiguous and offset views give exactly what contiguous copies give."""

    def view(value):
        if not isinstance(value, torch.Tensor) or value.dim() == 0:
            return value
        widened = torch.stack([value, value], dim=-1).transpose(0, -1).contiguous()
        return widened.transpose(0, -1)[..., 1]

    outputs, grads = run(op, kwargs, differentiable)
    strided = {k: view(v) for k, v in kwargs.items()}
    for name in differentiable:
        strided[name] = strided[name].detach().requires_grad_()
    others = _tuple(op(**strided))
    for got, want in zip(others, outputs, strict=True):
        assert torch.equal(got, want)
    if differentiable:
        floats = [o for o in others if o.requires_grad]
        generator = torch.Generator().manual_seed(1)
        grad_outputs = [torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o) for o in floats]
        leaves = [strided[name] for name in differentiable]
        other_grads = torch.autograd.grad(floats, leaves, grad_outputs, materialize_grads=True)
        for name, got in zip(differentiable, other_grads, strict=True):
            assert torch.equal(got, grads[name])


def check_threads(op, kwargs, differentiable):
    """The same bits on one thread and on several."""
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(op, kwargs, differentiable))
    finally:
        torch.set_num_threads(before)
    for outputs, grads in results[1:]:
        for got, want in zip(outputs, results[0][0], strict=True):
            assert torch.equal(got, want)
        for name in differentiable:
            assert torch.equal(grads[name], results[0][1][name])


def check_gradient(op, kwargs, differentiable, floats, *, second=False):
    """``gradcheck`` in float64, and ``gradgradcheck`` for adjoint pairs; other kernels refuse it."""
    kwargs = cast(kwargs, torch.float64, floats)
    names = list(differentiable)

    def function(*values):
        outputs = _tuple(op(**{**kwargs, **dict(zip(names, values, strict=True))}))
        return tuple(o for o in outputs if o.is_floating_point() and o.requires_grad)

    values = [kwargs[name].detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(function, values)
    if second:
        assert torch.autograd.gradgradcheck(function, values)
    if second or backend_of(getattr(op, "__name__", ""), *values) == "torch":
        return
    squares = sum(output.square().sum() for output in function(*values))
    grads = torch.autograd.grad(squares, values, create_graph=True)
    with pytest.raises(RuntimeError, match="is differentiable once, not twice"):
        torch.autograd.grad(sum(grad.square().sum() for grad in grads), values)


def opcheck(name, *args):
    """``torch.library.opcheck`` of ``dnachunk::name``."""
    torch.library.opcheck(getattr(torch.ops.dnachunk, name).default, args)
