"""Annotated features of a genome: GFF3, GTF and BED files, checked line by line."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from dnachunk.data.genome import Genome
from dnachunk.data.record_names import some
from dnachunk.data.text import read_lines
from dnachunk.errors import ArgumentError

MAX_BED_NAMES = 16
"""Different names in a BED file up to which each is a kind of feature."""

_GFF_COLUMNS = 9
_PACKED = (".gz", ".bgz")


class Feature(NamedTuple):
    """A stretch of a record that is of some kind.

    Attributes:
        record_index: Which record of the genome.
        start_bp: First base, 0-based.
        end_bp: Base after the last.
        kind: What it is.
        is_reverse: Whether it reads along the reverse strand, so that it starts at ``end_bp``.
    """

    record_index: int
    start_bp: int
    end_bp: int
    kind: str
    is_reverse: bool


class Annotation(NamedTuple):
    """What a file says of a genome.

    Attributes:
        features: In order of place, each once.
        left_out: Features on records that the genome does not have, by the record's name.
    """

    features: list[Feature]
    left_out: Counter[str]


def read_annotation(path: str | os.PathLike[str], genome: Genome) -> Annotation:
    """Reads features, plain, gzip or bgzip.

    The kind of a feature is its type in GFF3 and GTF, and its name in BED; where a BED file has no names, or
    more than 16 different ones (of genes, say), all are of one kind that has the file's name. Strands other
    than ``-`` count as forward. A feature that spans its whole record is left out: it says where nothing is.
    One across the origin of a record that GFF3 calls circular, whose end counts on past it, is two features.

    Args:
        path: The file: ``.gff3``, ``.gff``, ``.gtf`` or ``.bed``, and ``.gz`` or ``.bgz`` behind it or not.
        genome: What it annotates.

    Raises:
        OSError: If it cannot be read.
        ValueError: If its name has another ending, a line is malformed or reaches past its record (the
            message has the line's number), or no feature lies on a record of the genome.
    """
    path = Path(path)
    suffixes = [suffix for suffix in path.suffixes if suffix not in _PACKED]
    suffix = suffixes[-1].lower() if suffixes else ""
    if suffix not in (".gff3", ".gff", ".gtf", ".bed"):
        raise ValueError(
            f"{path} must end in .gff3, .gff, .gtf or .bed (and .gz), got {suffix or 'no ending'}"
        )
    lines = _bed_lines(path) if suffix == ".bed" else _gff_lines(path)
    features: set[Feature] = set()
    left_out: Counter[str] = Counter()
    circular: set[str] = set()
    num_whole = 0
    for number, record, start_bp, stop_bp, kind, is_reverse, is_circular in lines:
        if is_circular:
            circular.add(record)
        if record not in genome:
            left_out[record] += 1
            continue
        index = genome.index_of(record)
        length_bp = genome.records[index].length_bp
        end_bp = min(stop_bp, length_bp)
        if start_bp < length_bp < stop_bp < 2 * length_bp and record in circular:
            features.add(Feature(index, 0, stop_bp - length_bp, kind, is_reverse))
        elif stop_bp > length_bp:
            _fail(path, number, f"a feature must end inside its record of {length_bp} bases, got {stop_bp}")
        if end_bp - start_bp < length_bp:
            features.add(Feature(index, start_bp, end_bp, kind, is_reverse))
        else:
            num_whole += 1
    if num_whole and not features:
        raise ValueError(f"{path}: features must be parts of a record, and all {num_whole:,} are whole ones")
    if not features:
        raise ArgumentError(
            f"{path} has no feature on a record of {genome.path}: it names "
            f"{some(left_out) or 'none'}, and {genome.names.instead(left_out)}"
        )
    if suffix == ".bed" and not 1 <= len({feature.kind for feature in features} - {"."}) <= MAX_BED_NAMES:
        stem = path.stem if path.suffix in _PACKED else path.name
        features = {feature._replace(kind=Path(stem).stem) for feature in features}
    return Annotation(sorted(features), left_out)


_Line = tuple[int, str, int, int, str, bool, bool]


def _gff_lines(path: Path) -> Iterator[_Line]:
    for number, line in _body(path):
        if line.startswith(("##FASTA", ">")):
            return
        if line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != _GFF_COLUMNS:
            _fail(
                path, number, f"expected {_GFF_COLUMNS} columns between tabs, got {len(columns)}: {line:.80}"
            )
        record, _, kind, start, end, _, strand, _, attributes = columns
        first, last = _number(path, number, "start", start), _number(path, number, "end", end)
        if not 1 <= first <= last:
            _fail(path, number, f"positions must be 1 <= start <= end, got {first}, {last}")
        _check_strand(path, number, strand)
        is_circular = "Is_circular=true" in attributes.split(";")
        yield number, record, first - 1, last, kind, strand == "-", is_circular


def _bed_lines(path: Path) -> Iterator[_Line]:
    for number, line in _body(path):
        if line.startswith("#") or line.split(None, 1)[0] in ("track", "browser"):
            continue
        columns = line.split("\t") if "\t" in line else line.split()
        if len(columns) < 3:
            _fail(path, number, f"expected 3 or more columns, got {len(columns)}: {line:.80}")
        start, end = _number(path, number, "start", columns[1]), _number(path, number, "end", columns[2])
        if start >= end:
            _fail(path, number, f"positions must be 0 <= start < end, got {start}, {end}")
        name = (columns[3] if len(columns) > 3 else "") or "."
        strand = columns[5] if len(columns) > 5 else "."
        _check_strand(path, number, strand)
        yield number, columns[0], start, end, name, strand == "-", False


def _body(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, without their ends, with their numbers from 1."""
    for number, line in enumerate(read_lines(path), start=1):
        text = line.rstrip("\r\n")
        if text.strip():
            yield number, text


def _number(path: Path, number: int, name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        _fail(path, number, f"{name} must be a whole number, got {text!r:.40}")
    return int(text)


def _check_strand(path: Path, number: int, strand: str) -> None:
    if strand not in ("+", "-", ".", "?"):
        _fail(path, number, f"strand must be one of + - . ?, got {strand!r:.40}")


def _fail(path: Path, number: int, message: str) -> NoReturn:
    shown = message.encode("utf-8", "backslashreplace").decode()
    raise ValueError(f"{path}, line {number}: {shown}")
