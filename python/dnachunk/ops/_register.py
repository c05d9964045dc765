"""How an operation reaches torch: one declaration for schema, kernels, shape rule and gradient."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch

from dnachunk.ops._backend import HAS_TRITON, INTERPRETED, backend_of

FLOPS: dict[str, Callable[..., int]] = {}
"""Of operations by name their ``flops``, see :func:`register`."""


def register(
    name: str,
    schema: str,
    *,
    cpu: Callable[..., Any],
    fake: Callable[..., Any],
    cuda: str | None = None,
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., None] | None = None,
    flops: Callable[..., int] | None = None,
) -> None:
    """Registers ``torch.ops.dnachunk.<name>``.

    Args:
        name: The operation's one name.
        schema: Its arguments and results in torch's schema language, without the name.
        cpu: The Rust kernel's entry point.
        fake: The shape and dtype rule, on fake tensors.
        cuda: ``module:function`` that launches its Triton kernels, for CUDA and ROCm; imported by the first
            call, as Triton need not be installed.
        backward: ``(ctx, *grad_outputs) -> grads``; absent for operations that decide, and for a
            ``…_backward`` that has no gradient itself, where asking for one raises.
        setup_context: Saves what ``backward`` needs; by default all arguments, tensors then.
        flops: Floating-point operations, from the arguments with shapes in place of tensors, for torch's
            ``FlopCounterMode``: two for each product that is part of a sum or of a recurrence as it is
            defined, padding included, as torch counts matrix products. Absent where an operation decides,
            copies, adds up rows or works on elements alone: that counts nothing.
    """
    qualified_name = f"dnachunk::{name}"
    torch.library.define(qualified_name, schema)
    if cuda is not None:
        HAS_TRITON.add(name)
        triton_form = _triton_form(name, cuda)
        torch.library.impl(qualified_name, "CUDA", triton_form)
        if INTERPRETED:
            cpu = _either(name, cpu, triton_form)
    torch.library.impl(qualified_name, "CPU", cpu)
    torch.library.register_fake(qualified_name, fake)
    if flops is not None:
        FLOPS[name] = flops
    if backward is not None and setup_context is None:

        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            del output
            ctx.save_for_backward(*inputs)

    elif backward is None and name.endswith("_backward"):
        # Without it torch would take the second derivative for 0.
        def backward(_ctx: Any, *_grads: Any) -> None:
            raise RuntimeError(f"{name.removesuffix('_backward')} is differentiable once, not twice")

    if backward is not None:
        save, differentiate = setup_context, backward

        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            # Outputs without a gradient get None for it rather than zeros of their size.
            ctx.set_materialize_grads(False)
            ctx.num_inputs = len(inputs)
            if save is not None:
                save(ctx, inputs, output)

        def backward(ctx: Any, *grads: Any) -> Any:
            if all(grad is None for grad in grads):
                return (None,) * ctx.num_inputs
            return differentiate(ctx, *grads)

        torch.library.register_autograd(qualified_name, backward, setup_context=setup_context)


def _tensors(arguments: tuple[Any, ...]) -> list[torch.Tensor]:
    return [argument for argument in arguments if isinstance(argument, torch.Tensor)]


def _triton_form(name: str, home: str) -> Callable[..., Any]:
    module, _, function = home.partition(":")

    @functools.cache
    def load() -> Callable[..., Any]:
        form: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return form

    def run(*arguments: Any) -> Any:
        tensors = _tensors(arguments)
        if any(tensor.dtype == torch.float64 for tensor in tensors):
            raise TypeError(
                f"{name}: on a GPU all tensors must be narrower than float64; use_backend('torch')"
            )
        # Triton launches on the current device, which need not be the tensors'.
        with torch.cuda.device_of(tensors[0]):
            return load()(*arguments)

    return run


def _either(name: str, cpu: Callable[..., Any], triton_form: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        form = triton_form if backend_of(name, *_tensors(arguments)) == "triton" else cpu
        return form(*arguments)

    return run


__all__ = ["FLOPS", "register"]
