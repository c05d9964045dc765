"""What could not be saved, said in one way."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import safetensors
from transformers.trainer_utils import get_last_checkpoint


def last_checkpoint(directory: str | os.PathLike[str]) -> str | None:
    """The last whole checkpoint in a folder that need not be there."""
    return get_last_checkpoint(str(directory)) if Path(directory).is_dir() else None


@contextlib.contextmanager
def saving(what: str, directory: Path) -> Iterator[None]:
    """Says what could not be saved, and what there still is; the libraries' errors are of many kinds.

    Raises:
        OSError: On any of them.
    """
    try:
        yield
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        last = last_checkpoint(directory)
        kept = f"; the last whole checkpoint is {last}" if last else ""
        raise OSError(f"{what} could not be saved in {directory}: {reason}{kept}") from error
