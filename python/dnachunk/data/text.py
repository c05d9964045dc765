"""Lines of text files, plain or compressed, and text files that indexers can enter in their middle."""

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from dnachunk._native import rust
from dnachunk.files import open_output

_GZIP_MAGIC = b"\x1f\x8b"

# What is no UTF-8 comes out of a file as it went in.
_ENCODING: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}


@contextlib.contextmanager
def open_text(path: str | os.PathLike[str], **encoding: Any) -> Iterator[TextIO]:
    """Opens a text file for reading, plain, gzip or bgzip by its first bytes.

    Args:
        path: The file.
        **encoding: As :class:`io.TextIOWrapper` takes it: ``encoding``, ``errors``, ``newline``.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If compressed data, where it is read, is cut short or damaged.
    """
    with Path(path).open("rb") as raw:
        is_gzip = raw.peek(2)[:2] == _GZIP_MAGIC
        unpacked: Any = gzip.GzipFile(fileobj=raw) if is_gzip else raw
        try:
            with io.TextIOWrapper(unpacked, **encoding) as text:
                yield text
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} is cut short or damaged: {error}") from error


def read_lines(path: str | os.PathLike[str]) -> Iterator[str]:
    r"""The lines of a text file, as :func:`open_text` opens it, with their ends (``\r`` too).

    Args:
        path: The file.

    Yields:
        Lines; bytes that are no UTF-8 come as surrogates, which :func:`text_writer` writes back.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If compressed data is cut short or damaged.
    """
    with open_text(path, **_ENCODING) as lines:
        yield from lines


@contextlib.contextmanager
def text_writer(path: Path, *, bgzip: bool = False) -> Iterator[TextIO]:
    """Opens a text file for writing.

    Args:
        path: The file; replaced where it exists. ``-`` is standard output.
        bgzip: Whether to write it as ``bgzip`` does, for ``tabix`` and the like.

    Raises:
        OSError: If it cannot be written.
    """
    binary: Any = rust.BgzipWriter(path) if bgzip else open_output(path)
    with io.TextIOWrapper(binary, **_ENCODING) as text:
        yield text
