"""Loads the compiled module, which finds its functions in the torch that is running."""

import importlib.metadata

import torch

from dnachunk import _rust

rust = _rust


def versions() -> dict[str, str]:
    """What this installation was built from and runs with.

    Returns:
        ``version`` of dnachunk, ``torch``: the range of releases that it runs with, ``torch_running``,
        ``profile`` and ``target`` of the Rust build, ``transformers`` installed.
    """
    return {
        **_rust.build_info(),
        "torch_running": torch.__version__,
        "transformers": importlib.metadata.version("transformers"),
    }
