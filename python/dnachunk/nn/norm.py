"""Root-mean-square norm."""

import torch
from torch import nn

from dnachunk.nn.start import StartsItself
from dnachunk.ops import rms_norm


def projection_dtype(x: torch.Tensor) -> torch.dtype:
    """The dtype that a projection computes ``x`` in: autocast's, where that is on and takes it."""
    if x.dtype == torch.float32 and torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


class RMSNorm(StartsItself, nn.Module):
    """``x / √(mean(x²) + ε) ⊙ weight`` over the last dimension, computed in float32 at least.

    Args:
        d_model: Channels.
        eps: ε.
    """

    def __init__(self, d_model: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def reset_parameters(self) -> None:
        """Sets the weight to 1."""
        nn.init.ones_(self.weight)

    def forward(self, x: torch.Tensor, before_projection: bool = False) -> torch.Tensor:
        """Norms.

        Args:
            x: ``[..., d_model]``.
            before_projection: Whether to give the result in the dtype that autocast would give a following
                projection, in one pass.

        Returns:
            The shape of ``x``, in its dtype unless said otherwise.
        """
        return rms_norm(x, self.weight, self.eps, projection_dtype(x) if before_projection else None)
