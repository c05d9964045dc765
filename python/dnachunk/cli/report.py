"""What commands print and write."""

import contextlib
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
from tqdm import tqdm  # type: ignore[import-untyped]

from dnachunk.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def leave_process_group() -> None:
    """Ends what ``torchrun`` began: a rank that exits with gloo's threads still running may abort."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def is_main_process() -> bool:
    """Whether this process prints and writes: all do but the later ranks under ``torchrun``."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str = "") -> None:
    """Prints to standard output, on the main process."""
    if is_main_process():
        print(text, flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned text: the first column to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )


@contextlib.contextmanager
def progress(total: int, title: str, unit: str = "bp") -> Iterator[Callable[[int], Any]]:
    """A bar on standard error, if that is a terminal; yields what moves it by so many bases (units)."""
    with tqdm(total=total, desc=title, unit=unit, unit_scale=True, disable=None, file=sys.stderr) as bar:
        yield bar.update


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    import torch
    import transformers

    return {
        "dnachunk": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def command_line() -> str:
    """The command that runs."""
    return shlex.join(["dnachunk", *sys.argv[1:]])


def write_results(path: Path, metrics: Mapping[str, Any]) -> None:
    """Writes ``{"command", "versions", "metrics"}`` as JSON, whole or not at all, on the main process.

    Raises:
        OSError: If it cannot be written.
    """
    if not is_main_process():
        return
    results = {"command": command_line(), "versions": versions(), "metrics": dict(metrics)}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def write_figure(path: Path, figure: "Figure") -> None:
    """Writes a plot in the format of its suffix, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."), dpi=150)


def beside(path: Path, ending: str) -> Path:
    """The file of the same name with another ending: ``tokens.json`` beside ``tokens.bed.gz``."""
    return path.with_name(Path(path.name.removesuffix(".gz")).stem + ending)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Another name beside ``path`` to write under; it takes its place if no exception is raised.

    Raises:
        OSError: If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    except safetensors.SafetensorError as error:
        raise OSError(f"{path} could not be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
