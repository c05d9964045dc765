"""What this installation is made of, and which form of each operation this machine runs."""

from typing import Any

import torch

from dnachunk import ops
from dnachunk._native import versions
from dnachunk.ops._backend import HAS_TRITON, triton_fault

_NO_OPERATIONS = ("backend_of", "use_backend")
_ON_THE_HOST = ("encode_dna", "decode_dna")


def build_info() -> dict[str, Any]:
    """What this installation is made of, and which form of each operation this machine runs.

    Probes Triton on each CUDA or ROCm device: it compiles and launches a kernel that does nothing.

    Returns:
        ``version`` of dnachunk, ``torch``: the range of releases that it runs with, ``torch_running``,
        ``profile`` and ``target`` of the Rust build, ``transformers`` installed; ``backends``: for each
        device of this machine, under the name of each operation, ``"rust"``, ``"triton"`` or ``"torch"``,
        the last with the reason behind a colon.
    """
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return {
        **versions(),
        "backends": {device: _backends(torch.device(device)) for device in devices},
    }


def _backends(device: torch.device) -> dict[str, str]:
    fault = None if device.type == "cpu" else triton_fault(device.index)
    backends = {}
    for name in sorted(set(ops.__all__) - set(_NO_OPERATIONS)):
        if device.type == "cpu" or name in _ON_THE_HOST:
            backends[name] = "rust"
        elif name not in HAS_TRITON:
            backends[name] = "torch: a kernel of ours would save little"
        else:
            backends[name] = "triton" if fault is None else f"torch: {fault}"
    return backends


__all__ = ["build_info"]
