"""Lines of text files, plain or compressed, and text files that indexers can enter in their middle."""

import contextlib
import gzip
import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK_BYTES = 0xFF00
"""Bytes of a bgzip block before compression: what is left of 64 KiB if they cannot be compressed."""

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
        path: The file; replaced where it exists.
        bgzip: Whether to write it as ``bgzip`` does, for ``tabix`` and the like.

    Raises:
        OSError: If it cannot be written.
    """
    with path.open("wb") as raw:
        packed: Any = io.BufferedWriter(BgzipWriter(raw), _BLOCK_BYTES) if bgzip else raw
        with io.TextIOWrapper(packed, **_ENCODING) as text:
            yield text


class BgzipWriter(io.RawIOBase):
    """Writes BGZF (SAM specification, Sec. 4.1): gzip in blocks that say how long they are.

    Args:
        file: Where to; left open.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: Any) -> int:
        """Writes bytes as one or more blocks."""
        view = memoryview(data)
        for start in range(0, len(view), _BLOCK_BYTES):
            self._file.write(_block(view[start : start + _BLOCK_BYTES]))
        return len(view)

    def close(self) -> None:
        """Writes the empty block that says that the file is whole."""
        if not self.closed:
            try:
                self._file.write(_block(b""))
            finally:
                super().close()


def _block(data: bytes | memoryview) -> bytes:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    # gzip's header with one extra field, "BC": the block's bytes less one.
    header = struct.pack("<4BI2BH2B2H", 31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, len(body) + 25)
    return header + body + struct.pack("<2I", zlib.crc32(data), len(data))
