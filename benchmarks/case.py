"""What a benchmark declares."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Shape = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Work:
    """The least that a computation has to do, whichever way it goes about it.

    Attributes:
        bytes: Read from and written to memory: each input once, each result once.
        flops: Multiplications and additions of matrix products.
        dtype: What the products are computed in.
    """

    bytes: float = 0.0
    flops: float = 0.0
    dtype: torch.dtype = torch.float32

    def __add__(self, other: "Work") -> "Work":
        return Work(self.bytes + other.bytes, self.flops + other.flops, self.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One computation, our form of it and the others.

    Attributes:
        name: The operation's name, or that of the end-to-end job.
        shapes: Each is a set of keyword arguments for the functions below.
        inputs: ``(device, **shape)`` to the keyword arguments of every form.
        ours: Our form: tensors, or a tuple of them.
        rivals: The other forms by name. The one called ``"eager"`` also runs under ``torch.compile``, as
            ``"compiled"``.
        forward_work: ``(**shape)`` to the work of the forward pass.
        differentiable: Arguments that take a gradient; with none, only the forward pass is timed.
        backward_work: ``(**shape)`` to the work of the backward pass alone.
        skips: ``(**shape)`` to whether the rival of this name is left out.
        breakdown: Whether to say which operations our form spends its time in.
    """

    name: str
    shapes: Sequence[Shape]
    inputs: Callable[..., dict[str, Any]]
    ours: Callable[..., Any]
    rivals: Mapping[str, Callable[..., Any]]
    forward_work: Callable[..., Work]
    differentiable: Sequence[str] = ()
    backward_work: Callable[..., Work] | None = None
    skips: Mapping[str, Callable[..., bool]] = dataclasses.field(default_factory=dict)
    breakdown: bool = False

    def forms(self, shape: Shape) -> dict[str, Callable[..., Any]]:
        """All forms for this shape, ours first."""
        forms = {"ours": self.ours, **self.rivals}
        if "eager" in forms:
            forms["compiled"] = torch.compile(forms["eager"], dynamic=False)
        return {
            name: form
            for name, form in forms.items()
            if name not in self.skips or not self.skips[name](**shape)
        }
