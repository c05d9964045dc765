"""The definition of ``selective_scan``, and its vectorised form for devices without a kernel."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from dnachunk.ops._check import accumulator_dtype
from dnachunk.ops._lengths import full_lengths, real_positions
from dnachunk.ops._rows import pad_rows

# From here on softplus is linear in float64 too, and the exponential in its definition not yet infinite.
_LINEAR_FROM = 40.0

# A chunk of the vectorised form: its rows go through their positions side by side.
_ROWS, _COLUMNS = 8, 16

_Scan = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _run(
    scan: _Scan,
    x: torch.Tensor,
    delta: torch.Tensor,
    state_matrix: torch.Tensor,
    input_matrix: torch.Tensor,
    output_matrix: torch.Tensor,
    skip: torch.Tensor,
    gate: torch.Tensor | None,
    delta_bias: torch.Tensor | None,
    lengths: torch.Tensor | None,
    reverse: bool,
) -> torch.Tensor:
    """All but the recurrence, which ``scan(step, x, A, B, C)`` runs from left to right."""
    length = x.shape[1]
    dtype = accumulator_dtype(x.dtype)
    if lengths is None:
        lengths = full_lengths(x)
    real = real_positions(lengths, length)[:, :, None]

    def clean(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(dtype).where(real, 0)

    wide = clean(x)
    shifted = clean(delta) if delta_bias is None else clean(delta) + delta_bias.to(dtype)
    # Without a step and a drive, padding leaves the states alone, so a flip may put it first.
    step = F.softplus(shifted, threshold=_LINEAR_FROM).where(real, 0)
    rows = (step, wide, clean(input_matrix), clean(output_matrix))
    step, driven, inputs, outputs = (row.flip(1) for row in rows) if reverse else rows
    y = scan(step, driven, state_matrix.to(dtype), inputs, outputs)
    y = (y.flip(1) if reverse else y) + skip.to(dtype) * wide
    if gate is not None:
        y = y * F.silu(clean(gate))
    return y.where(real, 0).to(x.dtype)


def _scan_in_sequence(
    step: torch.Tensor, x: torch.Tensor, matrix: torch.Tensor, inputs: torch.Tensor, outputs: torch.Tensor
) -> torch.Tensor:
    state = step.new_zeros(step.shape[0], *matrix.shape)
    rows = []
    for position in range(step.shape[1]):
        decay = torch.exp(step[:, position, :, None] * matrix)
        drive = (step * x)[:, position, :, None] * inputs[:, position, None]
        state = decay * state + drive
        rows.append((state * outputs[:, position, None]).sum(dim=-1))
    return torch.stack(rows, dim=1) if rows else step


def _scan_chunk(
    state: torch.Tensor,
    matrix: torch.Tensor,
    step: torch.Tensor,
    x: torch.Tensor,
    inputs: torch.Tensor,
    outputs: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One chunk, ``[B, rows * columns, …]``, from the ``state [B, D, S]`` before it to that after it."""

    def split(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.unflatten(1, (tensor.shape[1] // _COLUMNS, _COLUMNS))

    step, drives = split(step), split(step * x)[..., None] * split(inputs)[:, :, :, None]
    # Taken apart at once: the gradient of an index is zeros of the whole and a copy.
    first, *columns = drives.unbind(2)
    states = [first]
    for drive, decay in zip(columns, torch.exp(step[..., None] * matrix).unbind(2)[1:], strict=True):
        states.append(torch.addcmul(drive, decay, states[-1]))
    alone = torch.stack(states, dim=2)
    # Steps are summed before they meet the matrix: exponents stay at most 0, whatever the length.
    decays = torch.exp(step.cumsum(dim=2)[..., None] * matrix)
    before = []
    for last, decay in zip(states[-1].unbind(1), decays[:, :, -1].unbind(1), strict=True):
        before.append(state)
        state = torch.addcmul(last, decay, state)
    all_states = torch.addcmul(alone, decays, torch.stack(before, dim=1)[:, :, None])
    # Not a matrix product: autocast would round it.
    y = (all_states * split(outputs)[:, :, :, None]).sum(dim=-1)
    return y.flatten(1, 2), state


def _scan_in_chunks(
    step: torch.Tensor, x: torch.Tensor, matrix: torch.Tensor, inputs: torch.Tensor, outputs: torch.Tensor
) -> torch.Tensor:
    length = step.shape[1]
    if not length:
        return step
    state = step.new_zeros(step.shape[0], *matrix.shape)
    missing, span = -length % _COLUMNS, _ROWS * _COLUMNS
    chunks = [pad_rows(rows, 0, missing).split(span, dim=1) for rows in (step, x, inputs, outputs)]
    results = []
    for chunk in zip(*chunks, strict=True):
        # Recomputed for the backward pass: all states of a sequence would not fit.
        y, state = checkpoint(
            _scan_chunk, state, matrix, *chunk, use_reentrant=False, preserve_rng_state=False
        )
        results.append(y)
    return torch.cat(results, dim=1)[:, :length]


def selective_scan_naive(
    x: torch.Tensor,
    delta: torch.Tensor,
    state_matrix: torch.Tensor,
    input_matrix: torch.Tensor,
    output_matrix: torch.Tensor,
    skip: torch.Tensor,
    gate: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    reverse: bool = False,
) -> torch.Tensor:
    """See :func:`dnachunk.ops.selective_scan`."""
    return _run(
        _scan_in_sequence,
        *(x, delta, state_matrix, input_matrix, output_matrix),
        *(skip, gate, delta_bias, lengths, reverse),
    )


def selective_scan_torch(
    x: torch.Tensor,
    delta: torch.Tensor,
    state_matrix: torch.Tensor,
    input_matrix: torch.Tensor,
    output_matrix: torch.Tensor,
    skip: torch.Tensor,
    gate: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    reverse: bool = False,
) -> torch.Tensor:
    """See :func:`dnachunk.ops.selective_scan`; here rows of 16 positions run side by side, 8 to a chunk."""
    return _run(
        _scan_in_chunks,
        *(x, delta, state_matrix, input_matrix, output_matrix),
        *(skip, gate, delta_bias, lengths, reverse),
    )
