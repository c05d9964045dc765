"""Files and folders that are written whole or not at all; streams, which are written as they come."""

import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import safetensors

STAGING = ".incomplete"
"""Name of the folder, inside the one that is meant, where files lie until all are written."""

_STANDARD_OUTPUT = frozenset({"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})


def is_standard_output(path: str | os.PathLike[str]) -> bool:
    """Whether a path is ``-`` or ``/dev/stdout``."""
    return str(path) in _STANDARD_OUTPUT


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether a path is standard output (``-``), a pipe or a device, which nothing can take the place of."""
    if is_standard_output(path):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def output_file(path: str | os.PathLike[str]) -> Path:
    """A path that a file can be written to; asked for before anything is computed.

    Raises:
        OSError: If it is a folder, lies in none, or must not be written.
    """
    path = Path(path)
    if is_stream(path):
        return path
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; it must be a file to write")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")
    for place in (folder, path):
        if place.exists() and not os.access(place, os.W_OK):
            raise PermissionError(f"{path} cannot be written: {place} is read-only")
    return path


def output_folder(path: str | os.PathLike[str]) -> Path:
    """A folder to write into, which need not be there yet; asked for before anything is computed.

    Raises:
        OSError: If it cannot be made or written into.
    """
    path = Path(path)
    if is_standard_output(path):
        raise NotADirectoryError(f"a folder must be named to write into, got {path}")
    place = path.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(f"{path} must be a folder to write into, and {place} is a file")
    if not os.access(place, os.W_OK):
        raise PermissionError(f"{path} cannot be written into: {place} is read-only")
    return path


def open_output(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file for writing, or standard output where that is meant.

    Raises:
        OSError: If it cannot be opened.
    """
    if not is_standard_output(path):
        return Path(path).open("wb")
    sys.stdout.flush()
    return os.fdopen(os.dup(1), "wb")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Another name beside ``path`` to write under; it takes its place if no exception is raised.

    A link is followed, so that it stays one. A stream is itself written to, as nothing can take its place.

    Raises:
        OSError: If it cannot be written.
    """
    path = Path(path)
    if is_stream(path):
        yield path
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except safetensors.SafetensorError as error:
        raise OSError(f"{path} could not be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def written_whole(directory: Path) -> Iterator[Path]:
    """A directory to write into; its files are moved into ``directory`` if no exception is raised.

    Otherwise all that was written is deleted and ``directory`` is as it was.
    """
    staging = directory / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        for path in staging.iterdir():
            os.replace(path, directory / path.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def require_own(path: Path, owner: Path) -> None:
    """Refuses to write ``path`` beside ``owner`` where it belongs to something else.

    Raises:
        FileExistsError: If it is there and ``owner`` is not.
    """
    if path.exists() and not owner.exists():
        raise FileExistsError(
            f"{path} is not of an earlier {owner.name}, and would be replaced: remove it, or choose another "
            "name"
        )


def beside(path: Path, ending: str) -> Path:
    """The file of the same name with another ending: ``tokens.json`` beside ``tokens.bed.gz``."""
    return path.with_name(Path(path.name.removesuffix(".gz")).stem + ending)


__all__ = [
    "STAGING",
    "beside",
    "is_standard_output",
    "is_stream",
    "open_output",
    "output_file",
    "output_folder",
    "replacing",
    "require_own",
    "written_whole",
]
