"""Where a genome's repeats are: from its lower-case letters, or from RepeatMasker's intervals."""

import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from dnachunk.data.annotation import (
    FaultyLineError,
    Feature,
    Line,
    Lines,
    bed_lines,
    body_lines,
    read_number,
)
from dnachunk.data.contents import Contents, OnError, Skipped, unpacked_name
from dnachunk.data.genome import Genome
from dnachunk.data.record_names import some
from dnachunk.errors import ArgumentError, require_one_of

_PIECE_BP = 1 << 20
_MAX_PIECES = 64


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
        for place, line in _intervals(genomes, path, option, on_error, skipped):
            starts, ends = bounds[place]
            starts.append(line.start_bp)
            ends.append(line.stop_bp)
    stretches: list[dict[int, torch.Tensor]] = [{} for _ in genomes]
    for (genome_index, record_index), (starts, ends) in bounds.items():
        stretches[genome_index][record_index] = _joined(starts, ends)
    return stretches, skipped


def read_repeats(
    path: str | os.PathLike[str], genome: Genome, *, on_error: OnError = "fail"
) -> tuple[list[Feature], list[Skipped]]:
    """Reads repeats one by one, as :func:`with_repeats` reads them together.

    Args:
        path: See there, like ``on_error``.
        genome: Where they lie.
        on_error: See there.

    Returns:
        The repeats in order of place, of kind ``"repeats"``, named as in BED or by RepeatMasker's class and
        family; and the lines that could not be read.

    Raises:
        OSError: See there.
        ValueError: See there.
    """
    require_one_of("on_error", on_error, ("fail", "skip"))
    skipped: list[Skipped] = []
    found = [
        Feature(
            record_index,
            line.start_bp,
            line.stop_bp,
            "repeats",
            line.is_reverse,
            "" if line.kind == "." else line.kind,
        )
        for (_, record_index), line in _intervals([genome], path, "repeats", on_error, skipped)
    ]
    return sorted(found), skipped


def _intervals(
    genomes: Sequence[Genome],
    path: str | os.PathLike[str],
    option: str,
    on_error: OnError,
    skipped: list[Skipped],
) -> Iterator[tuple[tuple[int, int], Line]]:
    """The lines of a file that cover a base, each with which genome's which record it lies on.

    Lines that cannot be read go to ``skipped``.
    """
    places: dict[str, tuple[int, int] | None] = {}
    unknown: Counter[str] = Counter()
    contents = Contents(path)
    for number, read in _lines(contents, path, option):
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
        if line.start_bp < line.stop_bp:
            yield place, line
    if not any(places.values()):
        told = "; ".join(f"of {genome.path} {genome.names.instead(unknown)}" for genome in genomes)
        raise ArgumentError(
            f"`{option}` {contents.path} has no interval on a record of the genomes: it names "
            f"{some(unknown) or 'none'}, and {told}"
        )


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


def _lines(contents: Contents, path: str | os.PathLike[str], option: str) -> Lines:
    suffix = Path(unpacked_name(path)).suffix.lower()
    if suffix == ".bed":
        return bed_lines(contents)
    if suffix == ".out":
        # Three lines of headings, of which no first word is a number.
        numbered = ((number, line.split()) for number, line in body_lines(contents))
        return ((number, partial(_out_line, words)) for number, words in numbered if words[0].isdigit())
    raise ArgumentError(f"`{option}` {path} must end in .bed or .out (and .gz), got {suffix or 'no ending'}")


def _out_line(words: list[str]) -> Line:
    if len(words) < 11:
        raise FaultyLineError(f"expected 11 or more columns, got {len(words)}: {' '.join(words):.80}")
    first, last = read_number("begin", words[5]), read_number("end", words[6])
    if not 1 <= first <= last:
        raise FaultyLineError(f"positions must be 1 <= begin <= end, got {first}, {last}")
    return Line(words[4], first - 1, last, words[10], words[8] == "C", False)


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


__all__ = ["has_repeats", "read_repeats", "read_stretches", "with_repeats"]
