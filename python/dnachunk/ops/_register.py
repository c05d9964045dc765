"""How an operation reaches torch: one declaration for schema, kernel, shape rule and gradient."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch

Backend = Literal["rust", "torch"]

# A plain thread-local, because torch.compile traces and guards its attribute but no context variable.
_forced = threading.local()


def register(
    name: str,
    schema: str,
    *,
    cpu: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., None] | None = None,
) -> None:
    """Registers ``torch.ops.dnachunk.<name>``.

    Args:
        name: The operation's one name.
        schema: Its arguments and results in torch's schema language, without the name.
        cpu: The Rust kernel's entry point.
        fake: The shape and dtype rule, on fake tensors.
        backward: ``(ctx, *grad_outputs) -> grads``; absent for operations that decide, and for a
            ``…_backward`` that has no gradient itself, where asking for one raises.
        setup_context: Saves what ``backward`` needs; by default all arguments, tensors then.
    """
    qualified_name = f"dnachunk::{name}"
    torch.library.define(qualified_name, schema)
    torch.library.impl(qualified_name, "CPU", cpu)
    torch.library.register_fake(qualified_name, fake)
    if backward is not None and setup_context is None:

        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            del output
            ctx.save_for_backward(*inputs)

    elif backward is None and name.endswith("_backward"):
        # Without it torch would take the second derivative for 0.
        def backward(_ctx: Any, *_grads: Any) -> None:
            raise RuntimeError(f"{name.removesuffix('_backward')} is differentiable once, not twice")

    if backward is not None:
        torch.library.register_autograd(qualified_name, backward, setup_context=setup_context)


def backend_of(*tensors: torch.Tensor | None) -> Backend:
    """Which form an operation takes on these arguments.

    Args:
        tensors: The tensor arguments of the call; ``None`` stands for an absent optional one.

    Returns:
        ``"rust"``, the kernel, when all are on the CPU; ``"torch"``, the vectorised PyTorch form, on every
        other device or inside :func:`use_backend`.
    """
    forced: Backend | None = getattr(_forced, "backend", None)
    if forced is not None:
        return forced
    on_cpu = all(tensor is None or tensor.device.type == "cpu" for tensor in tensors)
    return "rust" if on_cpu else "torch"


@contextlib.contextmanager
def use_backend(backend: Backend) -> Iterator[None]:
    """Makes every operation inside the block take one form: for comparisons and for finding faults.

    Args:
        backend: ``"rust"`` (CPU tensors only) or ``"torch"``.

    Raises:
        ValueError: If ``backend`` is neither.
    """
    if backend not in ("rust", "torch"):
        raise ValueError(f"use_backend: backend must be 'rust' or 'torch', got {backend!r}")
    before = getattr(_forced, "backend", None)
    _forced.backend = backend
    try:
        yield
    finally:
        _forced.backend = before
