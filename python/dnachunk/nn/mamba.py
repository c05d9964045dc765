"""Selective state spaces: Mamba's mixer, in one direction and in both."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization

from dnachunk.nn.start import StartsItself
from dnachunk.ops import causal_conv, selective_scan
from dnachunk.ops._check import accumulator_dtype

# Range of the steps at the start, and the least that a draw may give.
_STEP_RANGE = (1e-3, 1e-1)
_LEAST_STEP = 1e-4


def _check_sizes(owner: str, d_model: int, d_state: int, d_conv: int, expand: int) -> None:
    for name, size in (("d_model", d_model), ("d_state", d_state), ("expand", expand)):
        if size < 1:
            raise ValueError(f"{owner}: {name} must be at least 1, got {size}")
    if d_conv not in (2, 3, 4):
        raise ValueError(f"{owner}: d_conv must be 2, 3 or 4, got {d_conv}")


class _CausalConvolution(StartsItself, nn.Module):
    """Depthwise causal convolution and SiLU, with the parameters of an ``nn.Conv1d``.

    Args:
        channels: Channels in and out.
        width: Positions that the convolution sees.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, width))
        self.bias = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws both uniform in ±1/√width, as ``nn.Conv1d`` does."""
        bound = self.weight.shape[2] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None, reverse: bool) -> torch.Tensor:
        return causal_conv(x, self.weight.squeeze(1), self.bias, lengths, "silu", reverse)


class _StepProjection(StartsItself, nn.Module):
    """The steps of a scan, ``W x`` and the bias apart: the scan adds them in float32, whatever autocast says.

    Args:
        rank: Channels in.
        channels: Channels out.
    """

    def __init__(self, rank: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, rank))
        self.bias = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws ``W`` uniform in ±1/√rank, and a bias whose softplus is log-uniform in [0.001, 0.1]."""
        bound = self.weight.shape[1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        low, high = (math.log(step) for step in _STEP_RANGE)
        draw = torch.rand(self.bias.shape, device=self.bias.device)
        step = (low + (high - low) * draw).exp().clamp_min(_LEAST_STEP)
        # The inverse of softplus.
        initialization.copy_(self.bias, step + (-torch.expm1(-step)).log())

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return F.linear(x, self.weight), self.bias


class _SelectiveStateSpace(StartsItself, nn.Module):
    """What lies between the projections of a Mamba mixer: one direction's convolution and scan.

    Steps start log-uniform between 0.001 and 0.1, rates at −1, …, −S, skips at 1, as Mamba's authors start
    them.

    Args:
        d_model: Channels of the mixer.
        d_state: States of a channel, ``S``.
        d_conv: Positions that the convolution sees, 2 to 4.
        expand: Inner channels per channel of the mixer.
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2) -> None:
        super().__init__()
        d_inner, self.dt_rank, self.d_state = expand * d_model, math.ceil(d_model / 16), d_state
        self.conv1d = _CausalConvolution(d_inner, d_conv)
        self.x_proj = nn.Linear(d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = _StepProjection(self.dt_rank, d_inner)
        self.A_log = nn.Parameter(torch.empty(d_inner, d_state))
        self.D = nn.Parameter(torch.empty(d_inner))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the states' rates and the skips."""
        rates = torch.arange(1, self.d_state + 1, dtype=torch.float32, device=self.A_log.device)
        initialization.copy_(self.A_log, rates.log().expand_as(self.A_log))
        nn.init.ones_(self.D)

    def scan(
        self, x: torch.Tensor, gate: torch.Tensor, lengths: torch.Tensor | None, reverse: bool = False
    ) -> torch.Tensor:
        """``x`` and ``gate [B, N, d_inner]`` to the gated result, before the out-projection."""
        x = self.conv1d(x, lengths, reverse)
        step, inputs, outputs = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        delta, bias = self.dt_proj(step)
        state_matrix = -self.A_log.to(accumulator_dtype(self.A_log.dtype)).exp()
        return selective_scan(x, delta, state_matrix, inputs, outputs, self.D, gate, bias, lengths, reverse)


class _Direction(_SelectiveStateSpace):
    """One direction of :class:`BiMamba`."""

    def forward(
        self, x: torch.Tensor, gate: torch.Tensor, lengths: torch.Tensor | None, reverse: bool
    ) -> torch.Tensor:
        return self.scan(x, gate, lengths, reverse)


class Mamba(_SelectiveStateSpace):
    """Mamba's mixer (Gu & Dao 2023), from left to right; linear in length, on any device.

    In-projection to ``x`` and a gate, causal depthwise convolution, SiLU, selective scan, gate,
    out-projection. Loads the state dict of ``transformers``' ``MambaMixer`` as it is and gives what that
    gives. States, steps and gates are computed in float32 (float64 for float64) under any autocast.

    Args:
        d_model: Channels in and out.
        d_state: States of a channel.
        d_conv: Positions that the convolution sees, 2 to 4.
        expand: Inner channels per channel.

    Raises:
        ValueError: If a size is out of range.

    Example:
        >>> Mamba(8)(torch.randn(2, 40, 8)).shape
        torch.Size([2, 40, 8])
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2) -> None:
        _check_sizes("Mamba", d_model, d_state, d_conv, expand)
        super().__init__(d_model, d_state, d_conv, expand)
        self.in_proj = nn.Linear(d_model, 2 * expand * d_model, bias=False)
        self.out_proj = nn.Linear(expand * d_model, d_model, bias=False)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Mixes.

        Args:
            x: ``[B, N, d_model]``.
            lengths: ``[B]`` int64 real positions; default all.

        Returns:
            ``[B, N, d_model]``, 0 on padding.
        """
        x, gate = self.in_proj(x).chunk(2, dim=-1)
        return self.out_proj(self.scan(x, gate, lengths))


class BiMamba(nn.Module):
    """Mamba's mixer run from left to right and from right to left, and added.

    The directions share the projections in and out, and have their own convolution, steps and states. Neither
    norm nor residual: those belong to the layer around it.

    Args:
        d_model: Channels in and out.
        d_state: States of a channel and direction.
        d_conv: Positions that a convolution sees, 2 to 4.
        expand: Inner channels per channel.

    Raises:
        ValueError: If a size is out of range.

    Example:
        >>> BiMamba(8)(torch.randn(2, 40, 8)).shape
        torch.Size([2, 40, 8])
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2) -> None:
        super().__init__()
        _check_sizes("BiMamba", d_model, d_state, d_conv, expand)
        self.forward_scan = _Direction(d_model, d_state, d_conv, expand)
        self.reverse_scan = _Direction(d_model, d_state, d_conv, expand)
        self.in_proj = nn.Linear(d_model, 2 * expand * d_model, bias=False)
        self.out_proj = nn.Linear(expand * d_model, d_model, bias=False)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Mixes.

        Args:
            x: ``[B, N, d_model]``.
            lengths: ``[B]`` int64 real positions; default all.

        Returns:
            ``[B, N, d_model]``, 0 on padding.
        """
        x, gate = self.in_proj(x).chunk(2, dim=-1)
        before = self.forward_scan(x, gate, lengths, reverse=False)
        return self.out_proj(before + self.reverse_scan(x, gate, lengths, reverse=True))
