"""Lines of text files, plain or compressed, and text files that indexers can enter in their middle."""

import contextlib
import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TextIO

from dnachunk._native import rust
from dnachunk.data.contents import Contents
from dnachunk.files import open_output

Layout = Literal["bed", "gff", "vcf"]
"""How lines say which interval they are about: as those of BED, of GFF3 and GTF, or of VCF."""

# What is no UTF-8 comes out of a file as it went in.
_ENCODING: dict[str, Any] = {"errors": "surrogateescape"}
_START_BYTES = 512


@contextlib.contextmanager
def open_text(path: str | os.PathLike[str] | Contents, **encoding: Any) -> Iterator[TextIO]:
    """Opens a text file for reading: plain, or packed by gzip, bgzip, bzip2 or xz (from Python 3.14, zstd).

    Its first bytes say which it is, not its name.

    Args:
        path: The file or URL, as :class:`~dnachunk.data.contents.Contents` takes it.
        **encoding: As :class:`io.TextIOWrapper` takes it: ``encoding``, ``errors``, ``newline``.

    Raises:
        OSError: If it cannot be read.
        ValueError: If compressed data, where it is read, is cut short or damaged; or if it is of another
            kind, such as a zip archive, BAM or a web page: the message says which, and what to do.
        ModuleNotFoundError: If fetching it needs a package that is missing.
    """
    contents = path if isinstance(path, Contents) else Contents(path)
    with contents.open() as unpacked:
        foreign = rust.foreign_file(unpacked.peek(_START_BYTES)[:_START_BYTES])
        if foreign is not None:
            raise ValueError(f"{contents.path}: {foreign}")
        with io.TextIOWrapper(unpacked, **encoding) as text:
            yield text


def read_lines(path: str | os.PathLike[str] | Contents) -> Iterator[str]:
    r"""The lines of a text file, as :func:`open_text` opens it, with their ends.

    Lines end in ``\n``, with ``\r`` before it or not; where the first line ends in ``\r`` alone, all do. A
    byte order mark at the start is left out.

    Args:
        path: The file or URL.

    Yields:
        Lines; bytes that are no UTF-8 come as surrogates, which :func:`text_writer` writes back.

    Raises:
        OSError: If the file cannot be read.
        ValueError: As :func:`open_text`; or if a line ends in ``\n`` and the first one in ``\r`` alone.
    """
    with open_text(path, encoding="utf-8-sig", newline="", **_ENCODING) as pieces:
        first = list(itertools.islice(pieces, 1))
        while first and (piece := next(pieces, None)) is not None:
            first.append(piece)
            if piece != "\r":
                break
        if first and first[0].endswith("\r") and not (len(first) > 1 and first[-1] == "\r\n"):
            for line in itertools.chain(first, pieces):
                if line.endswith("\n"):
                    name = path.path if isinstance(path, Contents) else path
                    raise ValueError(f"{name}: a line ends in \\n, and the first one in \\r alone")
                yield line
            return
        held: list[str] = []
        for piece in itertools.chain(first, pieces):
            # A carriage return inside a line.
            if piece.endswith("\r"):
                held.append(piece)
                continue
            yield "".join([*held, piece])
            held.clear()
        if held:
            yield "".join(held)


def index_ending(longest_bp: int) -> str:
    """How the name of an index ends: tabix's, or CSI's where a record has 2²⁹ bases or more.

    Args:
        longest_bp: Bases of the longest record.
    """
    return rust.BgzipWriter.index_ending(longest_bp)


@contextlib.contextmanager
def text_writer(
    path: Path,
    *,
    bgzip: bool = False,
    index_path: Path | None = None,
    longest_bp: int = 0,
    layout: Layout = "bed",
) -> Iterator[TextIO]:
    """Opens a text file for writing.

    Args:
        path: The file; replaced where it exists. ``-`` is standard output.
        bgzip: Whether to write it as ``bgzip`` does, for ``tabix`` and the like.
        index_path: Where the index of a bgzip file is written when it is closed. Its lines must be intervals,
            each record's together and sorted by start, or remarks, which begin with ``#``.
        longest_bp: Bases of the longest record of an indexed file.
        layout: How its lines say where they lie.

    Raises:
        OSError: If it cannot be written, or not be indexed.
    """
    binary: Any = rust.BgzipWriter(path, index_path, longest_bp, layout) if bgzip else open_output(path)
    with io.TextIOWrapper(binary, encoding="utf-8", newline="\n", **_ENCODING) as text:
        yield text
