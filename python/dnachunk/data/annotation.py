"""Annotated features of a genome: GFF3, GTF and BED files, checked line by line."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from dnachunk.data.contents import Contents, OnError, Skipped, unpacked_name
from dnachunk.data.genome import Genome
from dnachunk.data.record_names import some
from dnachunk.data.text import read_lines
from dnachunk.errors import ArgumentError, require_one_of

MAX_BED_NAMES = 16
"""Different names in a BED file up to which each is a kind of feature."""

_GFF_COLUMNS = 9
# What GFF3 and GTF call a feature by, the most readable first.
_NAMES = ("Name", "gene_name", "gene", "locus_tag", "gene_id", "transcript_id", "ID", "Parent")


class Feature(NamedTuple):
    """A stretch of a record that is of some kind.

    Attributes:
        record_index: Which record of the genome.
        start_bp: First base, 0-based.
        end_bp: Base after the last.
        kind: What it is.
        is_reverse: Whether it reads along the reverse strand, so that it starts at ``end_bp``.
        name: What it is called, where names were asked for; empty if it has none.
    """

    record_index: int
    start_bp: int
    end_bp: int
    kind: str
    is_reverse: bool
    name: str = ""


class Annotation(NamedTuple):
    """What a file says of a genome.

    Attributes:
        features: In order of place, each once.
        left_out: Features on records that the genome does not have, by the record's name.
        num_empty: Features without a base, such as the place of an insertion, which are left out.
        skipped: Lines that could not be read, by their numbers.
    """

    features: list[Feature]
    left_out: Counter[str]
    num_empty: int = 0
    skipped: tuple[Skipped, ...] = ()


def read_annotation(
    path: str | os.PathLike[str], genome: Genome, *, names: bool = False, on_error: OnError = "fail"
) -> Annotation:
    """Reads features, as :func:`~dnachunk.data.text.open_text` opens a file or URL.

    The kind of a feature is its type in GFF3 and GTF, and its name in BED; where a BED file has no names, or
    more than 16 different ones (of genes, say), all are of one kind that has the file's name. Strands other
    than ``-`` count as forward. A feature that spans its whole record is left out: it says where nothing is.
    One across the origin of a record that GFF3 calls circular, whose end counts on past it, is two features.

    Args:
        path: The file: ``.gff3``, ``.gff``, ``.gtf`` or ``.bed``, and ``.gz`` or the like behind it or not.
        genome: What it annotates.
        names: Whether features have their names: of GFF3 and GTF the first attribute of ``Name``,
            ``gene_name``, ``gene``, ``locus_tag``, ``gene_id``, ``transcript_id``, ``ID`` and ``Parent`` that
            there is. Otherwise features that differ in nothing else are one.
        on_error: What to do at a line that is malformed or reaches past its record: ``"fail"``, or ``"skip"``
            it and list it in ``skipped``.

    Raises:
        OSError: If it cannot be read.
        ValueError: If its name has another ending, a line is malformed or reaches past its record (the
            message has the line's number), or no feature lies on a record of the genome.
        ModuleNotFoundError: If fetching a URL needs a package that is missing.
    """
    require_one_of("on_error", on_error, ("fail", "skip"))
    file_name = unpacked_name(path)
    suffix = Path(file_name).suffix.lower()
    if suffix not in (".gff3", ".gff", ".gtf", ".bed"):
        raise ValueError(
            f"{path} must end in .gff3, .gff, .gtf or .bed (and .gz), got {suffix or 'no ending'}"
        )
    contents = Contents(path)
    lines = bed_lines(contents) if suffix == ".bed" else gff_lines(contents)
    features: set[Feature] = set()
    left_out: Counter[str] = Counter()
    circular: set[str] = set()
    skipped: list[Skipped] = []
    num_whole = num_empty = 0
    for number, read in lines:
        try:
            parsed = read()
            if parsed.is_circular:
                circular.add(parsed.record)
            if parsed.record not in genome:
                left_out[parsed.record] += 1
                continue
            name = _name(parsed) if names else ""
            found = _features(parsed, genome, parsed.record in circular, name)
        except FaultyLineError as error:
            if on_error == "fail":
                raise ArgumentError(
                    f"{contents.path}, line {number}: {error} (`on_error=skip` leaves such lines out)"
                ) from None
            skipped.append(Skipped(number, str(error)))
            continue
        num_empty += parsed.start_bp == parsed.stop_bp
        num_whole += not found and parsed.start_bp < parsed.stop_bp
        features.update(found)
    if num_whole and not features:
        raise ValueError(
            f"{contents.path}: features must be parts of a record, and all {num_whole:,} are whole ones"
        )
    if not features:
        details = [f"it names {some(left_out) or 'none'}"]
        details += [f"{num_empty:,} have no base"] if num_empty else []
        details += (
            [f"{len(skipped):,} lines cannot be read, the first: {skipped[0].reason}"] if skipped else []
        )
        raise ArgumentError(
            f"{contents.path} has no feature on a record of {genome.path}: {', '.join(details)}, and "
            f"{genome.names.instead(left_out)}"
        )
    if suffix == ".bed" and not 1 <= len({feature.kind for feature in features} - {"."}) <= MAX_BED_NAMES:
        features = {feature._replace(kind=Path(file_name).stem) for feature in features}
    return Annotation(sorted(features), left_out, num_empty, tuple(skipped))


class Regions(NamedTuple):
    """The stretches of a genome that a BED file lists.

    Attributes:
        regions: In the file's order, as often as they are listed.
        skipped: Lines that could not be read, by their numbers.
    """

    regions: list[Feature]
    skipped: tuple[Skipped, ...] = ()


def read_regions(path: str | os.PathLike[str], genome: Genome, *, on_error: OnError = "fail") -> Regions:
    """Reads a BED file for the stretches that it lists, as :func:`read_annotation` does for features.

    Args:
        path: The file or URL.
        genome: Where they lie.
        on_error: What to do at a line that is malformed, reaches past its record, or lies on a record that
            the genome does not have: ``"fail"``, or ``"skip"`` it and list it in ``skipped``.

    Raises:
        OSError: If it cannot be read.
        ValueError: If a line cannot be read, or there is none.
    """
    require_one_of("on_error", on_error, ("fail", "skip"))
    contents = Contents(path)
    regions: list[Feature] = []
    skipped: list[Skipped] = []
    unknown: Counter[str] = Counter()
    for number, read in bed_lines(contents):
        try:
            parsed = read()
            if parsed.record not in genome:
                unknown[parsed.record] += 1
                raise FaultyLineError(f"there is no record {parsed.record!r}")
            index = genome.index_of(parsed.record)
            if parsed.stop_bp > genome.records[index].length_bp:
                raise FaultyLineError(
                    f"a region must end inside its record of {genome.records[index].length_bp} bases, got "
                    f"{parsed.stop_bp}"
                )
        except FaultyLineError as error:
            if on_error == "fail" and not unknown:
                raise ArgumentError(
                    f"{contents.path}, line {number}: {error} (`on_error=skip` leaves such lines out)"
                ) from None
            skipped.append(Skipped(number, str(error)))
            continue
        regions.append(Feature(index, *parsed[1:5]))
    if unknown and (on_error == "fail" or not regions):
        raise ArgumentError(
            f"{contents.path} has regions on records that {genome.path} does not have: it names "
            f"{some(unknown)}, and {genome.names.instead(unknown)}"
        )
    if not regions:
        raise ValueError(f"{contents.path} lists no region{_first_of(skipped)}")
    return Regions(regions, tuple(skipped))


def _first_of(skipped: list[Skipped]) -> str:
    return f" that can be read, the first: line {skipped[0].where}: {skipped[0].reason}" if skipped else ""


class Line(NamedTuple):
    """What a line says, whatever the genome; ``attributes`` are those of GFF3 and GTF."""

    record: str
    start_bp: int
    stop_bp: int
    kind: str
    is_reverse: bool
    is_circular: bool
    attributes: str = ""


class FaultyLineError(Exception):
    """A line is malformed, or does not fit the genome."""

    def __str__(self) -> str:
        return super().__str__().encode("utf-8", "backslashreplace").decode()


Lines = Iterator[tuple[int, Callable[[], Line]]]
"""The number of each line that is no remark, and what reads it or raises :class:`FaultyLineError`."""


def gff_lines(contents: Contents) -> Lines:
    """The lines of a GFF3 or GTF file that list something."""
    return ((number, partial(_gff_line, line)) for number, line in gff_texts(contents))


def bed_lines(contents: Contents) -> Lines:
    """The lines of a BED file that list something."""
    return ((number, partial(_bed_line, line)) for number, line in bed_texts(contents))


def gff_texts(contents: Contents) -> Iterator[tuple[int, str]]:
    """The same lines of a GFF3 or GTF file as they stand there."""
    for number, line in body_lines(contents):
        if line.startswith(("##FASTA", ">")):
            return
        if not line.startswith("#"):
            yield number, line


def bed_texts(contents: Contents) -> Iterator[tuple[int, str]]:
    """The same lines of a BED file, columns between tabs."""
    for number, line in body_lines(contents):
        if not line.startswith("#") and line.split(None, 1)[0] not in ("track", "browser"):
            yield number, line if "\t" in line else "\t".join(line.split())


def body_lines(contents: Contents) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, without their ends, with their numbers from 1."""
    for number, text in enumerate(read_lines(contents), start=1):
        line = text.rstrip("\r\n")
        if line.strip():
            yield number, line


def _name(line: Line) -> str:
    """What a line calls its feature."""
    if not line.attributes:
        return "" if line.kind == "." else line.kind
    found: dict[str, str] = {}
    for entry in line.attributes.split(";"):
        key, equals, value = entry.strip().partition("=")
        if equals:
            value = unquote(value)
        else:
            key, _, value = key.partition(" ")
            value = value.strip('" ')
        found.setdefault(key, value)
    return next((found[key] for key in _NAMES if found.get(key)), "")


def _features(line: Line, genome: Genome, is_circular: bool, name: str) -> list[Feature]:
    """A line's feature; none if it has no base or is the whole record, two across the origin of a circle."""
    index = genome.index_of(line.record)
    length_bp = genome.records[index].length_bp

    def feature(start_bp: int, end_bp: int) -> list[Feature]:
        if start_bp == end_bp or end_bp - start_bp == length_bp:
            return []
        return [Feature(index, start_bp, end_bp, line.kind, line.is_reverse, name)]

    if line.start_bp < length_bp < line.stop_bp < 2 * length_bp and is_circular:
        return feature(line.start_bp, length_bp) + feature(0, line.stop_bp - length_bp)
    if line.stop_bp > length_bp:
        raise FaultyLineError(
            f"a feature must end inside its record of {length_bp} bases, got {line.stop_bp}"
        )
    return feature(line.start_bp, line.stop_bp)


def _gff_line(line: str) -> Line:
    columns = line.split("\t")
    if len(columns) != _GFF_COLUMNS:
        raise FaultyLineError(f"expected {_GFF_COLUMNS} columns between tabs, got {len(columns)}: {line:.80}")
    record, _, kind, start, end, _, strand, _, attributes = columns
    first, last = read_number("start", start), read_number("end", end)
    # Where an end stands before its start, the place between the two is meant.
    if not 1 <= first <= last + 1:
        raise FaultyLineError(f"positions must be 1 <= start <= end, got {first}, {last}")
    _check_strand(strand)
    is_circular = "Is_circular=true" in attributes.split(";")
    return Line(record, first - 1, last, kind, strand == "-", is_circular, attributes)


def _bed_line(line: str) -> Line:
    columns = line.split("\t")
    if len(columns) < 3:
        raise FaultyLineError(f"expected 3 or more columns, got {len(columns)}: {line:.80}")
    start, end = read_number("start", columns[1]), read_number("end", columns[2])
    if start > end:
        raise FaultyLineError(f"positions must be 0 <= start <= end, got {start}, {end}")
    name = (columns[3] if len(columns) > 3 else "") or "."
    strand = columns[5] if len(columns) > 5 else "."
    _check_strand(strand)
    return Line(columns[0], start, end, name, strand == "-", False)


def read_number(name: str, text: str) -> int:
    """Reads a position; raises :class:`FaultyLineError` on anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise FaultyLineError(f"{name} must be a whole number, got {text!r:.40}")
    return int(text)


def _check_strand(strand: str) -> None:
    if strand not in ("+", "-", ".", "?"):
        raise FaultyLineError(f"strand must be one of + - . ?, got {strand!r:.40}")
