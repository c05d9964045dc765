"""Files and folders that are written whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import safetensors

STAGING = ".incomplete"
"""Name of the folder, inside the one that is meant, where files lie until all are written."""


def output_file(path: str | os.PathLike[str]) -> Path:
    """A path that a file can be written to; asked for before anything is computed.

    Raises:
        OSError: If it is a folder, or lies in none.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; it must be a file to write")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")
    return path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Another name beside ``path`` to write under; it takes its place if no exception is raised.

    Raises:
        OSError: If it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
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


def beside(path: Path, ending: str) -> Path:
    """The file of the same name with another ending: ``tokens.json`` beside ``tokens.bed.gz``."""
    return path.with_name(Path(path.name.removesuffix(".gz")).stem + ending)


__all__ = ["STAGING", "beside", "output_file", "replacing", "written_whole"]
