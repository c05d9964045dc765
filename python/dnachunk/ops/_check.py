"""The checks that every public operation makes of its arguments."""

import contextlib
from collections.abc import Sequence
from typing import Any

import torch


def _check_tensor(op: str, argument: str, tensor: object) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{op}: {argument} must be a torch.Tensor, got {type(tensor).__name__}")


def check_shape(op: str, argument: str, tensor: torch.Tensor, shape: Sequence[int | str]) -> None:
    """Raises unless ``tensor`` has this shape.

    Args:
        op: The operation, for the message.
        argument: The argument's name.
        tensor: The argument.
        shape: A number where the dimension is fixed, a letter where it is free.

    Raises:
        TypeError: If ``tensor`` is no tensor.
        ValueError: If a dimension differs.
    """
    _check_tensor(op, argument, tensor)
    fits = tensor.dim() == len(shape) and all(
        isinstance(want, str) or want == got for want, got in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        want = ", ".join(str(dimension) for dimension in shape)
        raise ValueError(f"{op}: {argument} must be [{want}], got {list(tensor.shape)}")


def check_float(op: str, argument: str, tensor: torch.Tensor) -> None:
    """Raises :class:`TypeError` unless ``tensor`` is a tensor of a floating-point dtype."""
    _check_tensor(op, argument, tensor)
    if not tensor.is_floating_point():
        raise TypeError(f"{op}: {argument} must be float32, float64, bfloat16 or float16, got {tensor.dtype}")


def check_dtype(op: str, argument: str, tensor: torch.Tensor, dtype: torch.dtype) -> None:
    """Raises :class:`TypeError` unless ``tensor`` is a tensor of ``dtype``."""
    _check_tensor(op, argument, tensor)
    if tensor.dtype != dtype:
        raise TypeError(f"{op}: {argument} must be {dtype}, got {tensor.dtype}")


def check_same_device(op: str, **tensors: torch.Tensor | None) -> None:
    """Raises :class:`ValueError` unless all tensors that are given share a device."""
    devices = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
    if len(set(devices.values())) > 1:
        got = ", ".join(f"{name}={device}" for name, device in devices.items())
        raise ValueError(f"{op}: all tensors must be on one device, got {got}")


def check_windows(op: str, window: int, shift: int) -> None:
    """Raises :class:`ValueError` unless windows of ``window`` positions can be cut short by ``shift``."""
    if window < 1 or not 0 <= shift < window:
        raise ValueError(
            f"{op}: window must be at least 1 and shift in [0, window), got {window} and {shift}"
        )


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Where tensors keep their dtype; the device ``meta`` knows no autocast."""
    if device.type == "meta":
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that sums over elements of ``dtype`` run in: float64 for float64, float32 otherwise."""
    return torch.float64 if dtype == torch.float64 else torch.float32
