"""What the machine is, and how fast it is at its best."""

import datetime
import os
import pathlib
import platform
import subprocess
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.case import Work
from benchmarks.timing import sample_times
from dnachunk import build_info

_REPEATS = 25


class Limits:
    """Best measured rates of a device: copying memory, and matrix products."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        source = torch.randn(1 << (26 if device.type == "cpu" else 29), device=device)
        target = torch.empty_like(source)
        self.bytes_per_second = 2 * source.nbytes / _best(lambda: target.copy_(source), device)
        self.flops_per_second = {}
        for dtype in (torch.float32, torch.bfloat16):
            matrix = self._matrix(dtype)
            seconds = _best(lambda matrix=matrix: matrix @ matrix, device)
            self.flops_per_second[dtype] = 2 * len(matrix) ** 3 / seconds

    def probe(self, work: Work) -> tuple[str, Callable[[], torch.Tensor], float]:
        """What ``work`` cannot be faster than.

        How fast a shared machine is changes while it is used: the probe is to be timed in turn with the work.

        Returns:
            The name of the rate that decides, a call that runs at it, and how many such calls the work is.
        """
        copying = work.bytes / self.bytes_per_second
        multiplying = work.flops / self.flops_per_second[work.dtype]
        if copying > multiplying:
            source = torch.ones(int(work.bytes) // 2, dtype=torch.uint8, device=self.device)
            target = source.clone()
            return "copy", lambda: target.copy_(source), 1.0
        matrix = self._matrix(work.dtype)
        return f"{_name(work.dtype)} matmul", lambda: matrix @ matrix, work.flops / (2 * len(matrix) ** 3)

    def _matrix(self, dtype: torch.dtype) -> torch.Tensor:
        size = 2048 if self.device.type == "cpu" else 8192
        return torch.randn(size, size, device=self.device, dtype=dtype)

    def as_json(self) -> dict[str, float]:
        """Rates in units per second."""
        rates = {f"{_name(dtype)}_flops": rate for dtype, rate in self.flops_per_second.items()}
        return {"copy_bytes": self.bytes_per_second, **rates}

    def __str__(self) -> str:
        rates = [f"{rate / 1e9:.0f} GFLOP/s {_name(dtype)}" for dtype, rate in self.flops_per_second.items()]
        return ", ".join([f"{self.bytes_per_second / 1e9:.1f} GB/s copied", *rates])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _best(step: Callable[[], Any], device: torch.device) -> float:
    return min(sample_times({"step": step}, device, _REPEATS)["step"])


def _cpu_model() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _git_revision() -> str | None:
    folder = pathlib.Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def facts(device: torch.device) -> dict[str, Any]:
    """Where and with what the numbers were taken."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "versions": build_info(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "git_revision": _git_revision(),
    }
