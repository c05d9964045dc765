"""Which form of an operation runs: the Rust kernel, the Triton kernel, or PyTorch."""

import contextlib
import functools
import importlib
import importlib.util
import os
import sysconfig
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

Backend = Literal["rust", "triton", "torch"]

# Triton decides by this whether kernels are compiled or interpreted, on the CPU too; for tests.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

# A plain thread-local, because torch.compile traces and guards its attribute but no context variable.
_forced = threading.local()

# Operations with a Triton kernel; `register` adds them.
HAS_TRITON: set[str] = set()


def backend_of(op: str, *tensors: torch.Tensor | None) -> Backend:
    """Which form an operation takes on these arguments.

    Args:
        op: The operation's name.
        tensors: The tensor arguments of the call; ``None`` stands for an absent optional one.

    Returns:
        ``"rust"``, the kernel, when all are on the CPU. ``"triton"``, the GPU's kernel, when the operation
        has one, all are on one CUDA or ROCm device, none is float64, and Triton works there; where it does
        not, the first call warns of the fault. ``"torch"``, the vectorised PyTorch form, everywhere else.
        Inside :func:`use_backend` that form, and ``"torch"`` for what has no Triton kernel.
    """
    forced: Backend | None = getattr(_forced, "backend", None)
    if forced is not None and forced != "triton":
        return forced
    devices = {tensor.device for tensor in tensors if tensor is not None}
    if forced is None and all(device.type == "cpu" for device in devices):
        return "rust"
    if op not in HAS_TRITON or len(devices) != 1:
        return "torch"
    if any(tensor is not None and tensor.dtype == torch.float64 for tensor in tensors):
        return "torch"
    (device,) = devices
    if device.type == "cpu":
        return "triton" if INTERPRETED else "torch"
    if device.type != "cuda":
        return "torch"
    # With an index: tensors have one, and the device of another call may be current.
    return "triton" if forced == "triton" or _triton_works(device.index or 0) else "torch"


def reads_values(tensor: torch.Tensor) -> bool:
    """Whether what a tensor holds may be looked at, to check it or for a shape that hangs on it.

    True where that costs nothing: on the CPU. False on other devices, which the host would wait for, on the
    CPU in their place inside ``use_backend("triton")``, and while ``torch.compile`` traces, whose graph it
    would cut.
    """
    is_traced = torch.compiler.is_compiling()
    return tensor.device.type == "cpu" and not is_traced and getattr(_forced, "backend", None) != "triton"


@contextlib.contextmanager
def use_backend(backend: Backend) -> Iterator[None]:
    """Makes every operation inside the block take one form: for comparisons and for finding faults.

    Args:
        backend: ``"rust"`` (CPU tensors only), ``"triton"`` (where an operation has such a kernel, else
            ``"torch"``; without a probe whether Triton works) or ``"torch"``. In a process that began with
            ``TRITON_INTERPRET=1`` in its environment, ``"triton"`` runs the kernels on CPU tensors, in
            Triton's interpreter.

    Raises:
        ValueError: If ``backend`` is none of them.
    """
    if backend not in ("rust", "triton", "torch"):
        raise ValueError(f"use_backend: backend must be 'rust', 'triton' or 'torch', got {backend!r}")
    before = getattr(_forced, "backend", None)
    _forced.backend = backend
    try:
        yield
    finally:
        _forced.backend = before


@functools.cache
def triton_fault(device_index: int) -> str | None:
    """Why Triton does not work on a CUDA or ROCm device, and the remedy; None where it does.

    Compiles and launches a kernel that does nothing, once in a process.

    Args:
        device_index: The device's number.

    Returns:
        A sentence without a full stop.
    """
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed: pip install triton"
    try:
        probe = importlib.import_module("dnachunk.ops._triton").probe
        with torch.cuda.device(device_index):
            probe()
    # Whatever fails, the PyTorch form serves.
    except Exception as error:
        return _with_remedy(error)
    return None


def _with_remedy(error: Exception) -> str:
    message = " ".join(str(error).split())
    told = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if "C compiler" in message:
        return f"Triton finds no C compiler: install gcc or clang, or name one in CC ({told})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return f"Triton finds no Python headers: install python3-dev or python3-devel ({told})"
    if isinstance(error, OSError):
        return f"Triton cannot write its cache: set TRITON_CACHE_DIR to a folder that can be written ({told})"
    return f"Triton does not work on this device ({told})"


@functools.cache
def _warn_of(fault: str) -> None:
    warnings.warn(
        f"dnachunk runs on PyTorch's operations here, several times slower than its kernels: {fault}. "
        "`dnachunk doctor` tells which form each operation takes.",
        stacklevel=4,
    )


# torch.compile takes the answer for a constant instead of tracing the probe.
@torch.compiler.assume_constant_result
def _triton_works(device_index: int) -> bool:
    fault = triton_fault(device_index)
    if fault is not None:
        _warn_of(fault)
    return fault is None


__all__ = [
    "Backend",
    "backend_of",
    "reads_values",
    "triton_fault",
    "use_backend",
]
