"""Where a genome's repeats are, and of which families: from its lower-case letters, or from RepeatMasker."""

import os
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from dnachunk.data.annotation import FaultyLineError, Line, bed_lines, body_lines, read_number
from dnachunk.data.contents import Contents, OnError, Skipped, unpacked_name
from dnachunk.data.genome import Genome
from dnachunk.data.record_names import some
from dnachunk.errors import ArgumentError, require_one_of

_PIECE_BP = 1 << 20
_MAX_PIECES = 64
_PERCENT = re.compile(r"\d{1,3}(\.\d{1,9})?", re.ASCII)


class Repeat(NamedTuple):
    """A stretch of a record that RepeatMasker found to be a repeat.

    Attributes:
        record_index: Which record of the genome.
        start_bp: First base, 0-based.
        end_bp: Base after the last.
        family: Its class and family as the table has them, ``"LINE/L1"``, or its class alone.
        divergence: Substitutions against the family's consensus, in percent: the older the copy, the more.
    """

    record_index: int
    start_bp: int
    end_bp: int
    family: str
    divergence: float

    @property
    def repeat_class(self) -> str:
        """The class alone, ``"LINE"``."""
        return self.family.partition("/")[0]


class _RepeatLine(NamedTuple):
    record: str
    start_bp: int
    stop_bp: int
    family: str
    divergence: float


_Read = TypeVar("_Read", Line, _RepeatLine)


def read_repeats(
    genome: Genome,
    paths: Sequence[str | os.PathLike[str]],
    *,
    option: str = "repeats",
    on_error: OnError = "fail",
) -> tuple[list[Repeat], list[Skipped]]:
    """Repeats of a genome with their families and divergences.

    Args:
        genome: The genome; lines of records that it does not have are left out.
        paths: RepeatMasker's own tables (``.out``), ``.gz`` or the like behind it or not.
        option: Of whose argument the paths are, for messages.
        on_error: What to do at a line that is malformed or reaches past its record: ``"fail"``, or ``"skip"``
            it and list it.

    Returns:
        The repeats in the order of the files, and the lines that could not be read, by their files and
        numbers.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If its name has another ending, a line cannot be read, or no record of it is the genome's.
    """
    require_one_of("on_error", on_error, ("fail", "skip"))
    repeats: list[Repeat] = []
    skipped: list[Skipped] = []
    for path in paths:
        if Path(unpacked_name(path)).suffix.lower() != ".out":
            raise ArgumentError(
                f"`{option}` {path} must be RepeatMasker's table, which ends in .out (and .gz): no other has "
                "families and divergences"
            )
        contents = Contents(path)
        lines = _table_lines(contents, _repeat_line)
        for (_, record_index), line in _intervals([genome], contents, lines, option, on_error, skipped):
            repeats.append(Repeat(record_index, *line[1:]))
    return repeats, skipped


def with_repeats(
    genomes: Sequence[Genome], paths: Sequence[str | os.PathLike[str]], *, on_error: OnError = "fail"
) -> tuple[list[Genome], list[Skipped]]:
    """Genomes whose ``repeat_mask`` is true in the intervals of files too.

    Args:
        genomes: The genomes; an interval is of the one that has such a record.
        paths: BED files, or RepeatMasker's own tables (``.out``); ``.gz`` or the like behind it or not.
        on_error: What to do at a line that is malformed or reaches past its record: ``"fail"``, or ``"skip"``
            it and list it.

    Returns:
        The genomes in their order, and the lines that could not be read, by their files and numbers.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If its name has another ending, a line cannot be read, no record of it is one of the
            genomes', or one is of several of them.
    """
    repeats, skipped = read_stretches(genomes, paths, "repeats", on_error)
    return [genome.with_repeats(each) for genome, each in zip(genomes, repeats, strict=True)], skipped


def read_stretches(
    genomes: Sequence[Genome],
    paths: Sequence[str | os.PathLike[str]],
    option: str,
    on_error: OnError = "fail",
) -> tuple[list[dict[int, torch.Tensor]], list[Skipped]]:
    """What intervals cover, as :func:`with_repeats` reads them.

    Args:
        genomes: See there, like ``paths`` and ``on_error``.
        paths: See there.
        option: Of whose argument the paths are, for messages.
        on_error: See there.

    Returns:
        For each genome by record index ``[2, n]`` int64: starts, 0-based, and ends of stretches, in order,
        none touching another; and the lines that could not be read.

    Raises:
        OSError: See there.
        ValueError: See there.
    """
    require_one_of("on_error", on_error, ("fail", "skip"))
    bounds: dict[tuple[int, int], tuple[array[int], array[int]]] = defaultdict(
        lambda: (array("q"), array("q"))
    )
    skipped: list[Skipped] = []
    for path in paths:
        contents = Contents(path)
        lines = _lines(contents, path, option)
        for place, line in _intervals(genomes, contents, lines, option, on_error, skipped):
            if line.start_bp < line.stop_bp:
                starts, ends = bounds[place]
                starts.append(line.start_bp)
                ends.append(line.stop_bp)
    stretches: list[dict[int, torch.Tensor]] = [{} for _ in genomes]
    for (genome_index, record_index), (starts, ends) in bounds.items():
        stretches[genome_index][record_index] = _joined(starts, ends)
    return stretches, skipped


def has_repeats(genome: Genome) -> bool:
    """Whether any base of a genome counts as a repeat, of 64 million spread over it at most."""
    if genome.repeats:
        return True
    pieces = [
        (index, start_bp, min(start_bp + _PIECE_BP, record.length_bp))
        for index, record in enumerate(genome.records)
        for start_bp in range(0, record.length_bp, _PIECE_BP)
    ]
    step = max(1, -(-len(pieces) // _MAX_PIECES))
    return any(bool(genome.fetch(*piece)[1].any()) for piece in pieces[::step])


def _intervals(
    genomes: Sequence[Genome],
    contents: Contents,
    lines: Iterable[tuple[int, Callable[[], _Read]]],
    option: str,
    on_error: OnError,
    skipped: list[Skipped],
) -> Iterator[tuple[tuple[int, int], _Read]]:
    """Of each line on a record of the genomes which of them and which record, and what it says."""
    places: dict[str, tuple[int, int] | None] = {}
    unknown: Counter[str] = Counter()
    for number, read in lines:
        try:
            line = read()
            if line.record not in places:
                places[line.record] = _place(genomes, line.record, contents.path, option)
            place = places[line.record]
            if place is None:
                unknown[line.record] += 1
                continue
            length_bp = genomes[place[0]].records[place[1]].length_bp
            if line.stop_bp > length_bp:
                raise FaultyLineError(
                    f"an interval must end inside its record of {length_bp} bases, got {line.stop_bp}"
                )
        except FaultyLineError as error:
            if on_error == "fail":
                raise ValueError(f"{contents.path}, line {number}: {error}") from None
            skipped.append(Skipped(f"{Path(contents.path).name}, line {number}", str(error)))
            continue
        yield place, line
    if not any(places.values()):
        told = "; ".join(f"of {genome.path} {genome.names.instead(unknown)}" for genome in genomes)
        raise ArgumentError(
            f"`{option}` {contents.path} has no interval on a record of the genomes: it names "
            f"{some(unknown) or 'none'}, and {told}"
        )


def _lines(
    contents: Contents, path: str | os.PathLike[str], option: str
) -> Iterable[tuple[int, Callable[[], Line]]]:
    suffix = Path(unpacked_name(path)).suffix.lower()
    if suffix == ".bed":
        return bed_lines(contents)
    if suffix == ".out":
        return _table_lines(contents, _out_line)
    raise ArgumentError(f"`{option}` {path} must end in .bed or .out (and .gz), got {suffix or 'no ending'}")


def _table_lines(
    contents: Contents, read: Callable[[list[str]], _Read]
) -> Iterator[tuple[int, Callable[[], _Read]]]:
    # Three lines of headings, of which no first word is a number.
    numbered = ((number, line.split()) for number, line in body_lines(contents))
    return ((number, partial(read, words)) for number, words in numbered if words[0].isdigit())


def _out_line(words: list[str]) -> Line:
    if len(words) < 11:
        raise FaultyLineError(f"expected 11 or more columns, got {len(words)}: {' '.join(words):.80}")
    first, last = read_number("begin", words[5]), read_number("end", words[6])
    if not 1 <= first <= last:
        raise FaultyLineError(f"positions must be 1 <= begin <= end, got {first}, {last}")
    return Line(words[4], first - 1, last, words[10], words[8] == "C", False)


def _repeat_line(words: list[str]) -> _RepeatLine:
    line = _out_line(words)
    if _PERCENT.fullmatch(words[1]) is None:
        raise FaultyLineError(f"perc div. must be a number, got {words[1]!r:.40}")
    return _RepeatLine(line.record, line.start_bp, line.stop_bp, line.kind, float(words[1]))


def _place(
    genomes: Sequence[Genome], record: str, path: str | os.PathLike[str], option: str
) -> tuple[int, int] | None:
    """Which genome and record a name means."""
    places = [(index, genome.index_of(record)) for index, genome in enumerate(genomes) if record in genome]
    if len(places) > 1:
        files = ", ".join(str(genomes[index].path) for index, _ in places)
        raise ArgumentError(f"`{option}` {path} must name records of one genome, got {record!r}, of {files}")
    return places[0] if places else None


def _joined(starts: "array[int]", ends: "array[int]") -> torch.Tensor:
    """``[2, n]``: starts and ends of the stretches that intervals cover, in order."""
    start, order = torch.tensor(starts).sort(stable=True)
    end = torch.tensor(ends)[order].cummax(0).values
    is_first = torch.ones_like(start, dtype=torch.bool)
    is_first[1:] = start[1:] > end[:-1]
    is_last = is_first.roll(-1)
    return torch.stack([start[is_first], end[is_last]])


__all__ = ["Repeat", "has_repeats", "read_repeats", "read_stretches", "with_repeats"]
