"""Rotary positions in base coordinates."""

import torch
from torch import nn

Rotation = tuple[torch.Tensor, torch.Tensor]


def token_positions(sizes: torch.Tensor) -> torch.Tensor:
    """Mean base coordinate of each of a sequence's contiguous tokens.

    Args:
        sizes: ``[B, L]`` int64, bases per token, tokens in order; 0 on padding.

    Returns:
        ``[B, L]`` float32: a token of bases ``a … b`` sits at ``(a + b) / 2``, so distances are in base pairs
        at every level of merging.
    """
    ends = sizes.cumsum(dim=1)
    return ends.float() - (sizes.float() + 1) / 2


class RotaryEmbedding(nn.Module):
    """Angles of rotary position embedding (Su et al. 2021), ``position · base^(−2i/d)``.

    Args:
        head_dim: Channels of a head, even.
        base: Wavelength base.

    Raises:
        ValueError: If ``head_dim`` is odd or not positive.
    """

    def __init__(self, head_dim: int, base: float = 10_000.0) -> None:
        super().__init__()
        if head_dim < 2 or head_dim % 2:
            raise ValueError(f"RotaryEmbedding: head_dim must be even and positive, got {head_dim}")
        self.head_dim = head_dim
        self.base = base

    def forward(self, positions: torch.Tensor) -> Rotation:
        """Angles of positions.

        Args:
            positions: ``[B, L]`` of any dtype, in base pairs.

        Returns:
            Cosine and sine, ``[B, L, head_dim / 2]`` each, float32 (float64 for float64 positions) whatever
            autocast says.
        """
        dtype = torch.float64 if positions.dtype == torch.float64 else torch.float32
        # Built here rather than kept as a buffer: no dtype cast of the module can round it.
        exponent = torch.arange(0, -self.head_dim, -2, device=positions.device, dtype=dtype) / self.head_dim
        angles = positions.to(dtype)[..., None] * self.base**exponent
        return angles.cos(), angles.sin()
