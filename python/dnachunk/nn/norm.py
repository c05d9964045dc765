"""Root-mean-square norm."""

import torch
from torch import nn

from dnachunk.ops import rms_norm


class RMSNorm(nn.Module):
    """``x / √(mean(x²) + ε) ⊙ weight`` over the last dimension, computed in float32 at least.

    Args:
        d_model: Channels.
        eps: ε.
    """

    def __init__(self, d_model: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [..., d_model]`` to the same shape and dtype."""
        return rms_norm(x, self.weight, self.eps)

    def before_projection(self, x: torch.Tensor) -> torch.Tensor:
        """The same in the dtype that autocast would give a following projection, in one pass."""
        device = x.device.type
        if x.dtype == torch.float32 and torch.is_autocast_enabled(device):
            return rms_norm(x, self.weight, self.eps, torch.get_autocast_dtype(device))
        return self(x)
