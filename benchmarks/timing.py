"""The one way in which times are taken."""

import gc
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

# A sample repeats a short step until it is long against the clock and a scheduler's interruption.
_SAMPLE_SECONDS = 0.01

# All samples of one table: slow forms get fewer repeats, but never less than three.
_TABLE_SECONDS = 30.0
_LEAST_REPEATS = 3


def _seconds(step: Callable[[], Any], calls: int, device: torch.device) -> float:
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        step()
    _synchronize(device)
    return (time.perf_counter() - start) / calls


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def sample_times(
    steps: Mapping[str, Callable[[], Any]], device: torch.device, repeats: int
) -> dict[str, list[float]]:
    """Seconds per call of every step, in samples that take turns.

    Taking turns lets a disturbance of the machine meet all forms alike.

    Args:
        steps: What to time, by name.
        device: Waited for at both ends of a sample.
        repeats: Samples of each; fewer where they would take too long together.

    Returns:
        The samples of each step.
    """
    estimates = {}
    for name, step in steps.items():
        step()
        estimates[name] = _seconds(step, 1, device)
    calls = {name: math.ceil(_SAMPLE_SECONDS / max(seconds, 1e-7)) for name, seconds in estimates.items()}
    round_seconds = sum(max(seconds, _SAMPLE_SECONDS) for seconds in estimates.values())
    repeats = min(repeats, max(_LEAST_REPEATS, int(_TABLE_SECONDS / round_seconds)))
    samples: dict[str, list[float]] = {name: [] for name in steps}
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name, step in steps.items():
                samples[name].append(_seconds(step, calls[name], device))
    finally:
        gc.enable()
    return samples
