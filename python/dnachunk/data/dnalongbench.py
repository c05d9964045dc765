"""Tasks of DNALongBench (Cheng et al. 2025) that are tables: enhancers with their target genes, and eQTLs."""

import bisect
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import torch

from dnachunk.alphabet import reverse_complement
from dnachunk.data.annotation import FaultyLineError, read_number
from dnachunk.data.contents import OnError
from dnachunk.data.genome import Genome
from dnachunk.data.labelled import Columns, LabelledSet, Row, checked_set
from dnachunk.data.record_names import some
from dnachunk.data.text import read_lines
from dnachunk.errors import ArgumentError
from dnachunk.ops import decode_dna

SPLITS = ("train", "valid", "test")

_NOT_READ = (
    "its targets are tracks or maps of numbers along the genome; of DNALongBench, the tables of enhancers "
    "with their target genes and of eQTLs are read"
)
_MAPS = (
    "contact_map_prediction",
    "regulatory_sequence_activity_prediction",
    "transcription_initiation_signal_prediction",
)
_FLANKS = ("tss_flank_upstream", "tss_flank_downstream", "region_flank_upstream", "region_flank_downstream")
_CELLS = (
    *("gene_chrom", "gene_start", "gene_end", "gene_strand"),
    *("region_chrom", "region_start", "region_end", "target", "subset"),
)


def find_dnalongbench_tasks(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The configurations ``config/*.config`` of a folder, and of the folders in it.

    Returns:
        Paths by the configurations' names, such as ``eQTL/gtex_hg38.Whole_Blood``, and why others are not
        read.
    """
    found = {}
    for path in sorted([*folder.glob("config/*.config"), *folder.glob("*/config/*.config")]):
        parts = path.relative_to(folder).parts
        found["/".join([*parts[:-2], path.stem])] = path
    return found, {name: _NOT_READ for name in _MAPS if (folder / name).is_dir()}


class _Settings(NamedTuple):
    """What a configuration says."""

    table: Path
    masks: Path
    genome: Path
    most_bp: int
    flanks_bp: tuple[int, ...]
    is_of_pairs: bool


def read_dnalongbench(path: Path, on_error: OnError = "fail") -> dict[str, LabelledSet]:
    """Reads a task of DNALongBench, as its data loaders do.

    A row is a gene and a region, or a variant: the sequence reads from the gene's start to it, each with its
    flanks, on the strand on which the gene comes first; other enhancers, or eQTLs, between them are masked by
    N. A variant is a pair of alleles. What is longer than the configuration's ``seq_len_cutoff`` is cut off;
    shorter sequences are not filled with N, as a batch masks its padding. Rows whose gene and region lie on
    different records or too far apart, or whose gene has no strand, are left out, as the benchmark does.

    Args:
        path: A configuration, ``config/NAME.config``: a name, a value and a type on each line; the files that
            it names lie beside its folder.
        on_error: ``"skip"`` leaves out rows that cannot be read; ``"fail"`` refuses them.

    Returns:
        The sets by ``"train"``, ``"valid"`` and ``"test"``; ``skipped`` lists what was left out.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If the configuration lacks an entry, the table a column, or a row is refused.
    """
    settings = _read_settings(path)
    genome, masks = Genome(settings.genome), _read_masks(settings.masks)
    columns = Columns(
        ("reference", "alternate") if settings.is_of_pairs else ("sequence",), None, ("target",)
    )
    wanted = (*_CELLS, *(("allele1", "allele2") if settings.is_of_pairs else ()))
    lines = read_lines(settings.table)
    header = next(lines, "").rstrip("\r\n").split("\t")
    missing = [name for name in wanted if name not in header]
    if missing:
        raise ValueError(f"{settings.table} must have a column {missing[0]!r}")
    rows: dict[str, list[Row | ValueError]] = defaultdict(list)
    left_out: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(lines, start=2):
        fields = line.rstrip("\r\n").split("\t")
        if not line.strip():
            continue
        place = f"{settings.table}, line {number}"
        if len(fields) != len(header):
            fault = ValueError(f"{place}: a row must have {len(header)} fields, got {len(fields)}")
            rows["train"].append(fault)
            continue
        cells = dict(zip(header, fields, strict=True))
        split = cells["subset"]
        if split not in SPLITS:
            raise ValueError(f"{place}: subset must be one of {', '.join(SPLITS)}, got {split!r:.80}")
        try:
            reason = _why_left_out(cells, settings)
            if reason is not None:
                left_out[split].append(f"{place}: {reason}")
                continue
            rows[split].append(Row(place, _alleles(cells, settings, genome, masks), (cells["target"],)))
        except (FaultyLineError, ValueError) as error:
            rows[split].append(ValueError(f"{place}: {error}"))
    if "train" not in rows:
        raise ValueError(f"{settings.table} has no row whose subset is train")
    sets = {}
    for split in SPLITS:
        if split in rows:
            sets[split] = checked_set(
                rows[split], ("target",), f"{settings.table}, {split}", on_error, columns
            )
            sets[split].skipped.extend(left_out[split])
    return sets


def _read_settings(path: Path) -> _Settings:
    fields: dict[str, str] = {}
    for line in read_lines(path):
        words = line.split()
        if len(words) >= 2:
            fields[words[0]] = words[1]
    kind = "eQTL" if "eQTL_file" in fields else "EPI"
    masks = "eQTL_tabix_file" if kind == "eQTL" else "enhancer_tabix_file"
    wanted = (f"{kind}_file", masks, "genome_fa", *_FLANKS)
    missing = [name for name in wanted if name not in fields]
    if missing:
        raise ArgumentError(f"{path} must say {missing[0]}, got {some(fields) or 'nothing'}")
    numbers = {name: fields.get(name, "450000") for name in ("seq_len_cutoff", *_FLANKS)}
    for name, text in numbers.items():
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise ArgumentError(f"{path}: {name} must be a whole number below a billion, got {text!r:.80}")
    folder = path.parent.parent
    table, masked, genome = (folder / fields[name] for name in (f"{kind}_file", masks, "genome_fa"))
    flanks = tuple(int(numbers[name]) for name in _FLANKS)
    return _Settings(table, masked, genome, int(numbers["seq_len_cutoff"]), flanks, kind == "eQTL")


def _read_masks(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Stretches by record, in order."""
    masks: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, line in enumerate(read_lines(path), start=1):
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) < 3 or line.startswith("#"):
            continue
        try:
            masks[cells[0]].append((read_number("start", cells[1]), read_number("end", cells[2])))
        except FaultyLineError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    for stretches in masks.values():
        stretches.sort()
    return masks


class _Spans(NamedTuple):
    """Where a gene's start and its region lie, with their flanks, and how far apart."""

    gene: tuple[int, int]
    region: tuple[int, int]
    distance_bp: int


def _spans(cells: dict[str, str], settings: _Settings) -> _Spans:
    before_bp, behind_bp, region_before_bp, region_behind_bp = settings.flanks_bp
    is_forward = cells["gene_strand"] == "+"
    start_bp = _number(cells, "gene_start") if is_forward else _number(cells, "gene_end") - 1
    gene = (start_bp - before_bp, start_bp + 1 + behind_bp)
    region = (
        _number(cells, "region_start") - region_before_bp,
        _number(cells, "region_end") + region_behind_bp,
    )
    return _Spans(gene, region, max(0, max(gene[0], region[0]) - min(gene[1], region[1])))


def _number(cells: dict[str, str], name: str) -> int:
    return read_number(name, cells[name])


def _why_left_out(cells: dict[str, str], settings: _Settings) -> str | None:
    if cells["gene_chrom"] != cells["region_chrom"]:
        return "the gene and the region lie on different records"
    if cells["gene_strand"] not in ("+", "-"):
        return "the gene has no strand"
    distance_bp = _spans(cells, settings).distance_bp
    if distance_bp > settings.most_bp:
        return f"{distance_bp:,} bases lie between the gene and the region"
    return None


def _alleles(
    cells: dict[str, str],
    settings: _Settings,
    genome: Genome,
    masks: dict[str, list[tuple[int, int]]],
) -> tuple[str, ...]:
    """The sequence from the region to the gene, or that of both alleles."""
    gene, region, distance_bp = _spans(cells, settings)
    _check_inside(cells, genome)
    first_bp, last_bp = min(gene[0], region[0]), max(gene[1], region[1])
    letters = list(_padded(genome, cells["region_chrom"], first_bp, last_bp))
    start_bp, end_bp = _number(cells, "region_start") - first_bp, _number(cells, "region_end") - first_bp
    reference = "".join(letters[start_bp:end_bp])
    if settings.is_of_pairs and reference != cells["allele1"].upper():
        raise ValueError(f"allele1 is {cells['allele1']!r:.80}, and the genome has {reference!r:.80} there")
    if distance_bp > 0:
        between = (region[1], gene[0]) if gene[0] > region[1] else (gene[1], region[0])
        stretches = masks.get(cells["region_chrom"], [])
        for mask_start_bp, mask_end_bp in stretches[: bisect.bisect_left(stretches, (between[1], 0))]:
            if mask_end_bp > between[0] and first_bp < mask_start_bp and mask_end_bp < last_bp:
                inside = slice(mask_start_bp - first_bp, mask_end_bp - first_bp)
                letters[inside] = "N" * (mask_end_bp - mask_start_bp)
    text = "".join(letters)
    texts = [text]
    if settings.is_of_pairs:
        texts.append(text[:start_bp] + cells["allele2"].upper() + text[end_bp:])
    if _number(cells, "gene_start") > region[1]:
        texts = [reverse_complement(each) for each in texts]
    return tuple(each[: settings.most_bp] for each in texts)


def _check_inside(cells: dict[str, str], genome: Genome) -> None:
    """Raises :class:`ValueError` unless a gene and a region lie in their record."""
    record = cells["region_chrom"]
    if record not in genome:
        raise ValueError(f"{genome.path} has no record {record!r:.80}")
    length_bp = genome.records[genome.index_of(record)].length_bp
    for name in ("gene", "region"):
        start_bp, end_bp = _number(cells, f"{name}_start"), _number(cells, f"{name}_end")
        if not start_bp < end_bp <= length_bp:
            raise ValueError(
                f"the {name} must lie inside its record of {length_bp} bases, got {start_bp} to {end_bp}"
            )


def _padded(genome: Genome, record: str, start_bp: int, end_bp: int) -> str:
    """A stretch, with N where its flanks reach past its record."""
    index = genome.index_of(record)
    inside = max(start_bp, 0), min(end_bp, genome.records[index].length_bp)
    ids, _ = genome.fetch(index, *inside)
    text = decode_dna(ids, torch.tensor([0, len(ids)]))[0]
    return "N" * (inside[0] - start_bp) + text + "N" * (end_bp - inside[1])


__all__ = ["find_dnalongbench_tasks", "read_dnalongbench"]
