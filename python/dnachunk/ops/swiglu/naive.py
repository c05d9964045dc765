"""The definition of ``swiglu``, which also serves devices without a kernel."""

import torch
import torch.nn.functional as F


def swiglu_naive(gate_up: torch.Tensor) -> torch.Tensor:
    """See :func:`dnachunk.ops.swiglu`."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up
