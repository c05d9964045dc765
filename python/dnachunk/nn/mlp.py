"""Feed-forward network."""

import torch
from torch import nn

from dnachunk.ops import swiglu


class SwiGLU(nn.Module):
    """``W_down (silu(W_gate x) ⊙ W_up x)`` (Shazeer 2020), without biases.

    Args:
        d_model: Channels in and out.
        d_inner: Channels in between.
    """

    def __init__(self, d_model: int, d_inner: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(d_model, 2 * d_inner, bias=False)
        self.down = nn.Linear(d_inner, d_model, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [..., d_model]`` to ``[..., d_model]``."""
        return self.down(swiglu(self.gate_up(x)))
