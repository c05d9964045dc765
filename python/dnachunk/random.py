"""Random numbers keyed by what they are for: no state, so no dependence on workers, ranks or order.

Both functions are one chain of SplitMix64 steps (Steele, Lea & Flood 2014, "Fast splittable pseudorandom
number generators"): ``state = step(seed)``, then ``state = step(state ^ key)`` for each key.
"""

from typing import Final

import torch

from dnachunk.ops._backend import backend_of
from dnachunk.ops._register import register

_MASK: Final = (1 << 64) - 1
_INCREMENT: Final = 0x9E3779B97F4A7C15
_MULTIPLIERS: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT: Final = 31


def mix(seed: int, *keys: int) -> int:
    """One number of 63 random bits for a seed and a path of keys.

    Args:
        seed: Any integer; taken modulo 2⁶⁴, like every key.
        keys: What the number is for, from the outside in: a sample's index, then an attempt, and so on. Their
            order and number matter.

    Returns:
        An integer in ``[0, 2**63)``.

    Example:
        >>> mix(0) == mix(0), mix(0, 1, 2) == mix(0, 2, 1)
        (True, False)
    """
    state = _step(seed & _MASK)
    for key in keys:
        state = _step(state ^ (key & _MASK))
    return state >> 1


def counter_uniform(seeds: torch.Tensor, count: int, stream: int = 0) -> torch.Tensor:
    """Uniform numbers for each seed, each a function of its seed, the stream and its position alone.

    ``u[b, i] = (m + ½) / 2⁵²`` with ``m`` the upper 52 bits of ``mix(seeds[b], stream, i)``.

    Args:
        seeds: ``[B]`` int64, on any device that has int64 and float64: one seed a sample.
        count: Numbers a seed.
        stream: Tells apart what the numbers are for; any integer.

    Returns:
        ``[B, count]`` float64 in the open interval (0, 1), on the device of ``seeds``. A longer count,
        another batch or another device changes no value.

    Raises:
        TypeError: If ``seeds`` is not int64.
        ValueError: If ``seeds`` is not of rank 1, or ``count`` is negative.
    """
    if not isinstance(seeds, torch.Tensor) or seeds.dtype != torch.int64:
        got = seeds.dtype if isinstance(seeds, torch.Tensor) else type(seeds).__name__
        raise TypeError(f"counter_uniform: seeds must be torch.int64, got {got}")
    if seeds.dim() != 1:
        raise ValueError(f"counter_uniform: seeds must be [B], got {list(seeds.shape)}")
    if count < 0:
        raise ValueError(f"counter_uniform: count must be at least 0, got {count}")
    if backend_of("counter_uniform", seeds) == "triton":
        return torch.ops.dnachunk.counter_uniform(seeds, count, _signed(stream))
    return _counter_uniform_torch(seeds, count, _signed(stream))


def _counter_uniform_torch(seeds: torch.Tensor, count: int, stream: int) -> torch.Tensor:
    state = _step_tensor(_step_tensor(seeds) ^ stream)
    positions = torch.arange(count, dtype=torch.int64, device=seeds.device)
    bits = _shift_right(_step_tensor(state[:, None] ^ positions), 12)
    return bits.double().add_(0.5).mul_(2.0**-52)


def _step(state: int) -> int:
    state = (state + _INCREMENT) & _MASK
    for shift, multiplier in _MULTIPLIERS:
        state = ((state ^ (state >> shift)) * multiplier) & _MASK
    return state ^ (state >> _LAST_SHIFT)


def _step_tensor(state: torch.Tensor) -> torch.Tensor:
    state = state + _signed(_INCREMENT)
    for shift, multiplier in _MULTIPLIERS:
        state.bitwise_xor_(_shift_right(state, shift)).mul_(_signed(multiplier))
    return state.bitwise_xor_(_shift_right(state, _LAST_SHIFT))


def _shift_right(bits: torch.Tensor, shift: int) -> torch.Tensor:
    # int64's own shift copies the sign bit into the vacated places.
    return (bits >> shift).bitwise_and_((1 << (64 - shift)) - 1)


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


register(
    "counter_uniform",
    "(Tensor seeds, SymInt count, int stream) -> Tensor",
    cpu=_counter_uniform_torch,
    cuda="dnachunk._random_triton:forward",
    fake=lambda seeds, count, _stream: seeds.new_empty((seeds.shape[0], count), dtype=torch.float64),
)
