"""Long jobs in parts: shared by ranks, given in order, and kept when the job is interrupted.

What the parts are depends on the input alone, and each is computed by itself: so the results of one rank and
of several, and of a run that was interrupted and one that was not, are the same to the last bit.
"""

import contextlib
import hashlib
import json
import os
import pickle
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


class KeptParts:
    """Results of finished parts in a folder beside the output, ``.NAME.parts``, until the job is done.

    Attributes:
        folder: Where they are; None keeps nothing.
        places: Which parts are there.
    """

    def __init__(self, folder: Path | None = None, job: str = "") -> None:
        """Finds what an interrupted run of the same job has left; what another job left is removed.

        Args:
            folder: See the attribute.
            job: What decides the results, as text.

        Raises:
            OSError: If the folder is no such one, or cannot be read.
        """
        self.folder, self._job = folder, job
        self.places: set[int] = set()
        if folder is None or not folder.exists():
            return
        names = os.listdir(folder)
        if names and _JOB not in names:
            raise FileExistsError(f"{folder} is needed for what is finished, and holds something else")
        if names and (folder / _JOB).read_text(encoding="utf-8", errors="replace") == job:
            self.places = {int(Path(name).stem) for name in names if name.endswith(_ENDING)}
        else:
            shutil.rmtree(folder)

    def save(self, place: int, result: Any) -> None:
        """Keeps a part's result: tensors, numbers and text in lists, tuples and dicts.

        Raises:
            OSError: If it cannot be written.
        """
        if self.folder is None:
            return
        if not self.folder.exists():
            self.folder.mkdir()
            with replacing(self.folder / _JOB) as temporary:
                temporary.write_text(self._job, encoding="utf-8")
        with replacing(self.folder / f"{place}{_ENDING}") as temporary:
            torch.save(result, temporary)
        self.places.add(place)

    def load(self, place: int) -> Any:
        """What :meth:`save` kept.

        Raises:
            OSError: If it cannot be read.
        """
        assert self.folder is not None
        path = self.folder / f"{place}{_ENDING}"
        try:
            return torch.load(path, weights_only=True)
        except (EOFError, LookupError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
            raise OSError(f"{path} cannot be read ({error}): remove {self.folder} to start anew") from error


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
    shutil.rmtree(folder, ignore_errors=True)


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
