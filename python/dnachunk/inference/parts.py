"""Long jobs in parts: shared by ranks, given in order, and kept when the job is interrupted.

What the parts are depends on the input alone, and each is computed by itself: so the results of one rank and
of several, and of a run that was interrupted and one that was not, are the same to the last bit.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from dnachunk.files import is_stream, replacing
from dnachunk.inference.ranks import ALONE, Ranks
from dnachunk.reporting import say
from dnachunk.version import __version__

Part = TypeVar("Part")
Result = TypeVar("Result")

_JOB, _ENDING = "job.json", ".pt"
_PART = re.compile(r"\d+\.pt")
# What a run that was killed was writing ends in the number of its process.
_OWN = re.compile(r"job\.json|\d+\.pt|\.(job\.json|\d+\.pt)\.\d+")


class KeptParts:
    """Results of finished parts in a folder beside the output, ``.NAME.parts``, until the job is done.

    The folder is one job's at a time: it is locked, where the file system has locks.

    Attributes:
        folder: Where they are; None keeps nothing.
        places: Which parts are there.
    """

    def __init__(self, folder: Path | None = None, job: str = "") -> None:
        """Finds what an interrupted run of the same job has left; what another job left is removed.

        Args:
            folder: See the attribute; made if it is not there.
            job: What decides the results, as text.

        Raises:
            OSError: If the folder is no such one, cannot be read or written, or is in use.
        """
        self.folder = folder
        self.places: set[int] = set()
        self._lock: int | None = None
        if folder is None:
            return
        folder.mkdir(exist_ok=True)
        self._lock = _locked(folder)
        try:
            self._find(folder, job)
        except BaseException:
            os.close(self._lock)
            # Somebody else's holds something.
            with contextlib.suppress(OSError):
                folder.rmdir()
            raise

    def _find(self, folder: Path, job: str) -> None:
        names = os.listdir(folder)
        unknown = sorted(name for name in names if _OWN.fullmatch(name) is None)
        if unknown:
            raise FileExistsError(
                f"{folder} is needed for what is finished, and holds something else, {unknown[0]}: "
                "move that away"
            )
        text = folder / _JOB
        if _JOB in names and text.read_text(encoding="utf-8", errors="replace") == job:
            self.places = {int(Path(name).stem) for name in names if _PART.fullmatch(name)}
            return
        for name in names:
            (folder / name).unlink()
        with replacing(text) as temporary:
            temporary.write_text(job, encoding="utf-8")

    def close(self) -> None:
        """Gives the folder free; without a part in it, it is removed."""
        if self.folder is None or self._lock is None:
            return
        if not self.places:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)
        self._lock = None

    def save(self, place: int, result: Any) -> None:
        """Keeps a part's result: tensors, numbers and text in lists, tuples and dicts.

        Raises:
            OSError: If it cannot be written.
        """
        if self.folder is None:
            return
        with replacing(self.folder / f"{place}{_ENDING}") as temporary:
            torch.save(result, temporary)
        self.places.add(place)

    def load(self, place: int) -> Any:
        """What :meth:`save` kept.

        Raises:
            OSError: If it cannot be read; then it is removed.
        """
        assert self.folder is not None
        path = self.folder / f"{place}{_ENDING}"
        try:
            return torch.load(path, weights_only=True)
        except (EOFError, LookupError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
            path.unlink()
            self.places.discard(place)
            reason = str(error) or type(error).__name__
            raise OSError(
                f"{path} could not be read, and was removed; the same again computes it anew: {reason}"
            ) from error


def _locked(folder: Path) -> int:
    """A descriptor that holds the folder's lock until it is closed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise BlockingIOError(f"{folder} is in use: another run is writing the same output") from None
    except OSError:
        # Some network file systems have no locks.
        pass
    return descriptor


@contextlib.contextmanager
def kept_parts(
    output: Path | None, num_parts: int, ranks: Ranks, inputs: Sequence[Any], **settings: Any
) -> Iterator[KeptParts]:
    """Keeps the finished parts of a job beside its output, and removes them when the job is done.

    Nothing is kept of one part, of what goes to a stream or is read from one, and on no rank but the first.

    Args:
        output: The file that the job writes; None keeps nothing.
        num_parts: How many parts there are.
        ranks: Who shares them.
        inputs: What is read: files, which are known by size and time, and models, by what they hold.
        **settings: What else decides the results, as JSON takes it.

    Raises:
        OSError: If the folder cannot be read or written.
    """
    is_known = all(
        isinstance(each, torch.nn.Module) or (isinstance(each, str | os.PathLike) and Path(each).is_file())
        for each in inputs
    )
    if output is None or is_stream(output) or num_parts < 2 or not is_known or not ranks.is_first:
        yield KeptParts()
        return
    folder = output.with_name(f".{output.name}.parts")
    versions = {"dnachunk": __version__, "torch": torch.__version__}
    job = {**versions, "inputs": [_identity(each) for each in inputs], **settings}
    kept = KeptParts(folder, json.dumps(job, indent=2, sort_keys=True))
    if kept.places:
        say(f"Goes on    {len(kept.places):,} of {num_parts:,} parts are there, of an interrupted run")
    try:
        yield kept
    except BaseException:
        if kept.places:
            say(
                f"Stopped    {len(kept.places):,} of {num_parts:,} parts are kept in {folder}; "
                "the same again goes on from there"
            )
        raise
    else:
        kept.places.clear()
    finally:
        kept.close()


def _identity(each: Any) -> list[Any]:
    if not isinstance(each, torch.nn.Module):
        status = os.stat(each)
        return [os.path.realpath(each), status.st_size, status.st_mtime_ns]
    digest = hashlib.sha256(each.config.to_json_string().encode())  # type: ignore[operator, union-attr]
    for name, tensor in each.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return [type(each).__name__, next(each.parameters()).device.type, digest.hexdigest()]


def parts_of_first(parts: Iterable[Part], kept: KeptParts, ranks: Ranks) -> list[Part]:
    """Those of the parts that the first rank is to compute, for a bar of its progress."""
    return [part for place, part in enumerate(parts) if place not in kept.places][:: ranks.num_ranks]


def run_parts(
    parts: Iterable[Part],
    compute: Callable[[Part], Result],
    ranks: Ranks = ALONE,
    kept: KeptParts | None = None,
) -> Iterator[tuple[Part, Result]]:
    """Computes parts, each on one of the ranks.

    All ranks must take all that they are given. No more is held than a result of each rank.

    Args:
        parts: The same on all ranks; taken few at a time.
        compute: The result of a part, as :meth:`KeptParts.save` takes it; depends on nothing else.
        ranks: Who shares them.
        kept: Where finished ones are kept; that of the first rank counts.

    Yields:
        Each part and its result, in order, on the first rank; nothing on the others.
    """
    kept = kept or KeptParts()
    there = ranks.of_first(frozenset(kept.places))
    waiting: list[tuple[int, Part]] = []
    for place, part in enumerate(parts):
        waiting.append((place, part))
        if sum(each not in there for each, _ in waiting) in (0, ranks.num_ranks):
            yield from _finished(waiting, there, compute, ranks, kept)
            waiting = []
    yield from _finished(waiting, there, compute, ranks, kept)


def _finished(
    waiting: Sequence[tuple[int, Part]],
    there: frozenset[int],
    compute: Callable[[Part], Result],
    ranks: Ranks,
    kept: KeptParts,
) -> Iterator[tuple[Part, Result]]:
    """Computes those that are missing, at most one for each rank, and gives all."""
    missing = [place for place, _ in waiting if place not in there]
    own = dict(waiting)[missing[ranks.rank]] if ranks.rank < len(missing) else None
    new: dict[int, Any] = {}
    if missing:
        found = ranks.gather(None if own is None else compute(own))
        new = dict(zip(missing, found, strict=False))
    if not ranks.is_first:
        return
    for place, result in new.items():
        kept.save(place, result)
    for place, part in waiting:
        yield part, new.pop(place) if place in new else kept.load(place)


__all__ = ["KeptParts", "kept_parts", "parts_of_first", "run_parts"]
