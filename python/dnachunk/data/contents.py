"""Where the bytes of a file are: here, or behind a URL; as they stand, or packed."""

import bz2
import contextlib
import gzip
import lzma
import os
import re
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import weakref
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from dnachunk.reporting import progress, say

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]
except ModuleNotFoundError:
    zstd = None

OnError = Literal["fail", "skip"]
"""What to do about a record or a line that cannot be read: end with an error, or leave it out and list it."""

PACKED_SUFFIXES = (".gz", ".bgz", ".bz2", ".xz", ".zst")
"""Endings of the names of packed files. What a file is, its first bytes say."""

_PACKINGS: dict[bytes, Any] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
# What a decoder says of bad data; an OSError of that kind has no number of the system's.
_DAMAGE: tuple[type[Exception], ...] = (EOFError, zlib.error, lzma.LZMAError, OSError)
if zstd is not None:
    _PACKINGS[b"\x28\xb5\x2f\xfd"] = zstd.ZstdFile
    _DAMAGE += (zstd.ZstdError,)
_GZIP_MAGIC = b"\x1f\x8b"

_BY_URLLIB = ("http", "https", "ftp")
_BY_FSSPEC = ("s3", "s3a", "gs", "gcs", "hf", "az", "abfs", "abfss", "adl", "sftp", "ssh", "hdfs", "memory")
# pathlib makes one slash of two, and puts the working directory before what it takes for a relative path.
_URL = re.compile(rf"(?:.*/)?({'|'.join((*_BY_URLLIB, *_BY_FSSPEC, 'file'))}):/+(.+)", re.DOTALL)
_TIMEOUT_SECONDS = 60
_PIECE_BYTES = 1 << 20


class Skipped(NamedTuple):
    """What was left out of a file.

    Attributes:
        where: A record's name, or a line's number from 1.
        reason: What is wrong with it.
    """

    where: str | int
    reason: str


def tell_skipped(skipped: Sequence[Skipped], what: str) -> None:
    """Logs how many were left out, and the first of them."""
    if skipped:
        first = "; ".join(f"{where}: {reason}" for where, reason in skipped[:3])
        say(f"Left out   {len(skipped):,} {what}: {first}{'; …' if len(skipped) > 3 else ''}")


def listed(skipped: Sequence[Skipped], what: str) -> dict[str, list[str]]:
    """What was left out as results have it, under ``skipped_…``; nothing if nothing was."""
    return {f"skipped_{what}": [f"{where}: {reason}" for where, reason in skipped]} if skipped else {}


def locate(path: str | os.PathLike[str]) -> tuple[str, bool]:
    """Where a file is.

    Args:
        path: A path, or a URL, perhaps as :mod:`pathlib` writes it.

    Returns:
        The path, or the URL as it was, and whether it is the latter. ``file://`` is a path.
    """
    text = os.fspath(path)
    match = _URL.fullmatch(text)
    if match is None or os.path.lexists(text):
        return text, False
    protocol, rest = match.groups()
    return (f"/{rest}", False) if protocol == "file" else (f"{protocol}://{rest}", True)


def unpacked_name(path: str | os.PathLike[str]) -> str:
    """The file's name without folders, the query of a URL, and the ending of a packed file."""
    where, is_url = locate(path)
    if is_url:
        where = where.partition("?")[0].partition("#")[0]
    name = Path(where).name
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in PACKED_SUFFIXES else name


class Contents:
    """The bytes of a file, which a path on this machine leads to.

    Standard input (``-``) and pipes are read, and what lies behind a URL is fetched, once and whole, into a
    temporary file without a name, in ``TMPDIR``, that lasts as long as this object: by ``urllib`` over
    ``https``, ``http`` and ``ftp``, and by ``fsspec`` from ``s3://``, ``gs://``, ``hf://`` and other stores,
    with the package that it asks for (``dnachunk[remote]`` brings those of the first two). Sent to another
    process of this machine, it is the same file.

    Attributes:
        path: The file or URL, for messages.
        place: Where the bytes can be read.

    Args:
        path: The file or URL, perhaps as :mod:`pathlib` writes it.

    Raises:
        OSError: If a URL cannot be fetched, or not whole.
        ModuleNotFoundError: If fetching it needs a package that is missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, is_url = locate(path)
        self.place = Path(self.path)
        self._descriptor: int | None = None
        if is_url or _is_pipe(self.place):
            with tempfile.TemporaryFile() as file:
                if is_url:
                    _fetch(self.path, file)
                else:
                    is_input = is_standard_input(self.path)
                    with os.fdopen(os.dup(0), "rb") if is_input else self.place.open("rb") as pipe:
                        shutil.copyfileobj(pipe, file, _PIECE_BYTES)
                self._keep(file)

    def _keep(self, file: IO[bytes]) -> None:
        file.flush()
        self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self.place = Path(f"/proc/self/fd/{self._descriptor}")

    @contextlib.contextmanager
    def open(self) -> Iterator[Any]:
        """Opens the bytes for reading, those of gzip, bzip2 and xz unpacked; of Zstandard, from Python 3.14.

        Yields:
            A binary file with ``peek``.

        Raises:
            OSError: If it cannot be read.
            ValueError: If what is packed is, where it is read, cut short or damaged.
        """
        with self.place.open("rb") as raw:
            start = raw.peek(8)
            unpack = next((unpack for magic, unpack in _PACKINGS.items() if start.startswith(magic)), None)
            try:
                with contextlib.closing(unpack(raw)) if unpack else contextlib.nullcontext(raw) as unpacked:
                    yield unpacked
            except _DAMAGE as error:
                if unpack is None or getattr(error, "errno", None) is not None:
                    raise
                raise ValueError(f"{self.path} is cut short or damaged: {error}") from error

    def unpack(self) -> None:
        """Unpacks bzip2, xz and the like, but not gzip, into a temporary file without a name.

        Raises:
            OSError: If the file cannot be read, or there is no room.
            ValueError: If it is cut short or damaged.
        """
        if not self.place.is_file():
            return
        with self.place.open("rb") as raw:
            start = raw.peek(8)
        is_packed = any(start.startswith(magic) for magic in _PACKINGS) and not start.startswith(_GZIP_MAGIC)
        if is_packed:
            with self.open() as unpacked, tempfile.TemporaryFile() as file:
                shutil.copyfileobj(unpacked, file, _PIECE_BYTES)
                self._keep(file)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._descriptor is None:
            return (Contents, (self.path,))
        status = os.fstat(self._descriptor)
        place = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        return (_received, (self.path, place, (status.st_dev, status.st_ino, status.st_size)))


def is_standard_input(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is ``-``."""
    return os.fspath(path) == "-"


def _is_pipe(place: Path) -> bool:
    """Whether what is read there can be read once only."""
    if is_standard_input(place):
        return True
    try:
        mode = place.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _received(path: str, place: str, identity: tuple[int, int, int]) -> Contents:
    """Contents that another process had, opened again; fetched or unpacked anew if that process is gone."""
    with contextlib.suppress(OSError), Path(place).open("rb") as file:
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino, status.st_size) == identity:
            contents = Contents.__new__(Contents)
            contents.path = path
            contents._keep(file)
            return contents
    contents = Contents(path)
    contents.unpack()
    return contents


def _fetch(url: str, file: IO[bytes]) -> None:
    with _remote(url) as (stream, size):
        told = "" if size is None else f" ({size / 2**20:,.1f} MiB)"
        say(f"Fetching   {url}{told}")
        count = 0
        with progress(size or 0, "fetch", "B") as advance:
            while piece := stream.read(_PIECE_BYTES):
                file.write(piece)
                count += len(piece)
                advance(len(piece))
    if size is not None and count != size:
        raise OSError(f"{url} cannot be fetched whole: {count:,} of {size:,} bytes came")


@contextlib.contextmanager
def _remote(url: str) -> Iterator[tuple[Any, int | None]]:
    """What lies behind a URL, and its size in bytes where that is known."""
    with contextlib.ExitStack() as stack:
        try:
            if url.partition(":")[0] in _BY_URLLIB:
                request = urllib.request.Request(url, headers={"User-Agent": "dnachunk"})
                stream: Any = stack.enter_context(urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS))
                length = stream.headers.get("Content-Length")
                size = int(length) if length and length.isdigit() else None
            else:
                import fsspec  # type: ignore[import-untyped, unused-ignore]

                system, place = fsspec.core.url_to_fs(url)
                size = system.info(place).get("size")
                stream = stack.enter_context(system.open(place, "rb"))
            yield stream, size
        except ImportError as error:
            raise ModuleNotFoundError(
                f"{url}: {error}; pip install 'dnachunk[remote]', or fetch the file first", name=error.name
            ) from error
        except FileNotFoundError:
            raise FileNotFoundError(f"{url}: there is no such file") from None
        except urllib.error.HTTPError as error:
            kind = FileNotFoundError if error.code in (404, 410) else OSError
            raise kind(f"{url} cannot be fetched: {error}") from error
        # Each store has errors of its own.
        except Exception as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise
            raise OSError(f"{url} cannot be fetched: {error}") from error


__all__ = [
    "Contents",
    "OnError",
    "Skipped",
    "is_standard_input",
    "listed",
    "locate",
    "tell_skipped",
    "unpacked_name",
]
