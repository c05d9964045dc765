"""Loads the compiled module, after making sure that it fits the torch that is running."""

import importlib.metadata

import torch

_REQUIRED_TORCH = "2.11.0"


def _check_torch() -> None:
    running = torch.__version__.split("+")[0]
    if running != _REQUIRED_TORCH:
        raise ImportError(
            f"dnachunk was built for torch {_REQUIRED_TORCH}, but torch {torch.__version__} is installed; "
            f"install torch=={_REQUIRED_TORCH}, or build dnachunk against another torch from source"
        )


_check_torch()

from dnachunk import _rust  # noqa: E402  (torch must be loaded and checked first)

rust = _rust


def build_info() -> dict[str, str]:
    """What this installation is made of.

    Returns:
        ``version`` of dnachunk, ``torch`` it was built for, ``torch_running``, ``profile`` and ``target`` of
        the Rust build, ``transformers`` installed.
    """
    return {
        **_rust.build_info(),
        "torch_running": torch.__version__,
        "transformers": importlib.metadata.version("transformers"),
    }
