"""Zero-shot scores of the variants of a VCF file."""

import itertools
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnachunk.data.contents import OnError, listed, tell_skipped
from dnachunk.data.genome import Genome
from dnachunk.data.record_names import Aliases, some
from dnachunk.data.text import text_writer
from dnachunk.data.vcf import VCF, VCFRecord, other_allele
from dnachunk.data.windows import Interval
from dnachunk.errors import ArgumentError, require_at_least, require_different_files, require_one_of
from dnachunk.evaluation import zero_shot
from dnachunk.evaluation.classes import Classes, check_classes, separation_metrics, separation_report
from dnachunk.evaluation.zero_shot import REASONS, Unscorable, Variant, ZeroShotModel, read_variant
from dnachunk.evaluation.zero_shot_model import resolve_zero_shot
from dnachunk.files import output_file, replacing
from dnachunk.inference.embeddings import Strands
from dnachunk.inference.genome import find_interval, open_genome
from dnachunk.inference.parts import KeptParts, kept_parts, parts_of_first, run_parts
from dnachunk.inference.ranks import ALONE, Ranks, use_own_device
from dnachunk.inference.tiling import span_of
from dnachunk.models.loading import model_files
from dnachunk.reporting import Report, Table, progress

LLR, DISTANCE, REASON = "DNACHUNK_LLR", "DNACHUNK_DISTANCE", "DNACHUNK_REASON"
TSV_COLUMNS = ("chrom", "pos", "id", "ref", "alt", "llr", "distance", "reason")
_RECORDS_AT_ONCE = 4
"""Times the batch size: so many are scored together."""

PART_RECORDS = 256
"""Records of a part of the file, which one rank scores."""


class AlleleScores(NamedTuple):
    """What became of an alternate allele.

    Attributes:
        log_likelihood_ratio: In nats; None where there is no score, like the next.
        embedding_distance: In [0, 2].
        reason: Why there is no score, or what is to be known of it: one of
            :data:`~dnachunk.evaluation.zero_shot.REASONS`, or None.
    """

    log_likelihood_ratio: float | None
    embedding_distance: float | None
    reason: str | None


class ScoredAllele(NamedTuple):
    """An alternate allele and its scores.

    Attributes:
        contig: Its record.
        position: Of the reference allele's first base, from 1, as in the file.
        name: The variant's.
        reference: Letters of the reference allele.
        alternate: Of the alternate allele.
        log_likelihood_ratio: In nats; None where there is no score, like the next.
        embedding_distance: In [0, 2].
        reason: Why there is no score, or what is to be known of it: one of
            :data:`~dnachunk.evaluation.zero_shot.REASONS`, or None.
        is_positive: Its class; None of neither.
    """

    contig: str
    position: int
    name: str
    reference: str
    alternate: str
    log_likelihood_ratio: float | None
    embedding_distance: float | None
    reason: str | None
    is_positive: bool | None


@dataclass(frozen=True, slots=True)
class VariantSummary(Report):
    """What was scored of a file.

    Attributes:
        metrics: Counts and figures by name, as ``dnachunk score-variants`` writes them.
        has_classes: Whether positives and negatives were named.
    """

    metrics: dict[str, Any]
    has_classes: bool

    def report(self) -> list[Table | str]:
        """How many were scored, why others were not, and how well the classes are told apart."""
        first = f"{self.metrics['scored']:,} of {self.metrics['alleles']:,} alternate alleles scored"
        parts = [
            first,
            *reasons_table(self.metrics["reasons"]),
            *unknown_contigs_report(self.metrics["unknown_contigs"], self.metrics["records"]),
        ]
        return [*parts, separation_report(self.metrics)] if self.has_classes else parts


def unknown_contigs_of(variants: VCF, contigs: Counter[str], genome: Genome) -> dict[str, int]:
    """How many records of a file lie on contigs that a genome does not have, by these.

    Args:
        variants: The file.
        contigs: Its records by contig.
        genome: The genome.

    Raises:
        ValueError: If there is no record, or all of them do.
    """
    if not contigs:
        raise ValueError(f"{variants.path} holds no variant")
    unknown = {contig: count for contig, count in contigs.items() if contig not in genome}
    if len(unknown) == len(contigs):
        raise ArgumentError(
            f"{variants.path} has no variant on a record of {genome.path}: it names {some(contigs)}, and "
            f"{genome.names.instead(contigs)}"
        )
    return unknown


def unknown_contigs_report(unknown: Mapping[str, int], num_records: int) -> list[Table | str]:
    """A line about records on contigs that the genome does not have, if there are such."""
    if not unknown:
        return []
    named = some((f"{name} ({count:,})" for name, count in unknown.items()), 20)
    return [
        f"{sum(unknown.values()):,} of {num_records:,} records of the VCF lie on {len(unknown):,} contigs "
        f"that the FASTA does not have: {named}"
    ]


def reasons_table(reasons: Mapping[str, int], meanings: Mapping[str, str] = REASONS) -> list[Table | str]:
    """How often each reason was given, if any was."""
    rows = [
        [f"{reason}: {meanings[reason]}", f"{count:,}"] for reason, count in Counter(reasons).most_common()
    ]
    return [Table(["reason", "variants"], rows)] if rows else []


@dataclass(slots=True, eq=False, repr=False)
class VariantScores:
    """Scores of a VCF file's variants; iterating scores them anew each time, few of them at once.

    Made by :func:`score_variants`.

    Attributes:
        model: The model.
        genome: Where the variants lie.
        variants: The file.
        interval: Where in the genome; None is all of it.
        classes: Which are positives and which negatives, if that was said.
        num_records: Records of the file, in the interval.
        unknown_contigs: How many of them lie on contigs that the genome does not have, by these.
        window_bp: Bases of a window.
        reverse_complement: Whether both strands are averaged.
        batch_size: Windows that are run at once.
        across_ranks: Whether the ranks that ``torchrun`` started share the work of :meth:`write`.
        summary: What :meth:`write` found; None before.
    """

    model: ZeroShotModel
    genome: Genome
    variants: VCF
    interval: Interval | None
    classes: Classes | None
    num_records: int
    unknown_contigs: dict[str, int]
    window_bp: int
    reverse_complement: Strands
    batch_size: int
    across_ranks: bool = False
    summary: VariantSummary | None = None

    def __repr__(self) -> str:
        return (
            f"VariantScores({str(self.variants.path)!r}: {self.num_records:,} records; iterate over their "
            "alleles, or write(path) them)"
        )

    def records(
        self, ranks: Ranks = ALONE, kept: KeptParts | None = None
    ) -> Iterator[tuple[VCFRecord, list[AlleleScores], list[bool | None]]]:
        """Each record, what became of its alternate alleles, and their classes; on the first rank.

        Args:
            ranks: Who shares the work.
            kept: Where finished parts are kept.
        """
        chunks = _chunks(self._chosen(), PART_RECORDS)
        kept = kept or KeptParts()
        starts = parts_of_first(self._starts(), kept, ranks)
        own_records = sum(min(PART_RECORDS, self.num_records - start) for start in starts)
        with progress(own_records, "score-variants", "variants") as advance:

            def compute(records: list[VCFRecord]) -> list[tuple[float | None, float | None, str | None]]:
                found: list[tuple[float | None, float | None, str | None]] = []
                for few in _chunks(records, _RECORDS_AT_ONCE * self.batch_size):
                    alleles = [
                        variant_of(self.genome, record, allele)
                        for record in few
                        for allele in record.alternates
                    ]
                    for score, reason in zero_shot.score_alleles(
                        self.model,
                        self.genome,
                        alleles,
                        self.window_bp,
                        both_strands=self.reverse_complement == "average",
                        batch_size=self.batch_size,
                    ):
                        ratio, distance, _ = (None, None, None) if score is None else score
                        found.append((ratio, distance, reason))
                    advance(len(few))
                return found

            for records, found in run_parts(chunks, compute, ranks, kept):
                outcomes = itertools.starmap(AlleleScores, found)
                for record in records:
                    own = list(itertools.islice(outcomes, len(record.alternates)))
                    yield record, own, _labels(self.variants, record, self.classes)

    def _starts(self) -> range:
        """The first record of each part."""
        return range(0, self.num_records, PART_RECORDS)

    def _chosen(self) -> Iterator[VCFRecord]:
        return (record for record in self.variants if touches(record, self.genome, self.interval))

    def __iter__(self) -> Iterator[ScoredAllele]:
        """The alternate alleles in the file's order."""
        for record, outcomes, labels in self.records():
            contig, _, name, reference, _ = record.columns[:5]
            for allele, outcome, label in zip(record.alternates, outcomes, labels, strict=True):
                yield ScoredAllele(contig, record.position, name, reference, allele, *outcome, label)

    def write(self, output: str | os.PathLike[str]) -> VariantSummary:
        """Scores all and writes them, whole or not at all.

        With :attr:`across_ranks` all ranks must call it; the first one writes, the same as one alone. A run
        that was interrupted leaves what it finished in a folder beside ``output``, ``.NAME.parts``; the same
        run goes on from there, and removes it.

        Args:
            output: VCF if it ends in ``.vcf`` or ``.vcf.gz`` (bgzip): the file as it was, with three INFO
                fields more; otherwise TSV, a line for each alternate allele.

        Returns:
            Counts and figures; :attr:`summary` too. On later ranks there is nothing in it.

        Raises:
            OSError: If a file cannot be read or written.
        """
        output = Path(output)
        require_different_files(fasta=self.genome, vcf=self.variants, output=output)
        is_vcf = output.name.endswith((".vcf", ".vcf.gz"))
        ranks = Ranks.of_torchrun() if self.across_ranks else ALONE
        settings = {
            "interval": repr(self.interval),
            "records": self.num_records,
            "unknown_contigs": self.unknown_contigs,
            "window_bp": self.window_bp,
            "reverse_complement": self.reverse_complement,
            "batch_size": self.batch_size,
            "bf16": self.model.bf16,
        }
        inputs = [self.model.network, self.genome.path, self.variants.path]
        with kept_parts(output, len(self._starts()), ranks, inputs, **settings) as kept:
            scored = self.records(ranks, kept)
            if not ranks.is_first:
                self.summary = self._summary((found, labels) for _, found, labels in scored)
                return self.summary
            with (
                replacing(output) as temporary,
                text_writer(temporary, bgzip=output.suffix == ".gz") as file,
            ):
                file.writelines(_header(self.variants) if is_vcf else ["\t".join(TSV_COLUMNS) + "\n"])

                def written() -> Iterator[tuple[list[AlleleScores], list[bool | None]]]:
                    for record, found, labels in scored:
                        file.writelines([_vcf_line(record, found)] if is_vcf else _tsv_lines(record, found))
                        yield found, labels

                self.summary = self._summary(written())
        return self.summary

    def _summary(self, scored: Iterable[tuple[list[AlleleScores], list[bool | None]]]) -> VariantSummary:
        reasons: Counter[str] = Counter()
        num_alleles = num_scored = 0
        # Of the alleles of either class: they are ranked when all are there.
        ratios, distances, is_positive = array("d"), array("d"), array("b")
        for outcomes, labels in scored:
            for outcome, label in zip(outcomes, labels, strict=True):
                num_alleles += 1
                if outcome.reason is not None:
                    reasons[outcome.reason] += 1
                if outcome.log_likelihood_ratio is None or outcome.embedding_distance is None:
                    continue
                num_scored += 1
                if label is not None:
                    ratios.append(outcome.log_likelihood_ratio)
                    distances.append(outcome.embedding_distance)
                    is_positive.append(label)
        metrics: dict[str, Any] = {
            "records": self.num_records,
            "alleles": num_alleles,
            "scored": num_scored,
            "reasons": dict(reasons),
            "unknown_contigs": self.unknown_contigs,
            "window_bp": self.window_bp,
            "reverse_complement": self.reverse_complement,
            **listed(self.genome.skipped, "records"),
            **listed(self.variants.skipped, "lines"),
        }
        if self.classes:
            scores = {"llr": np.array(ratios), "distance": np.array(distances)}
            metrics |= separation_metrics(scores, np.array(is_positive) > 0)
        return VariantSummary(metrics, self.classes is not None)


def score_variants(
    model: Any,
    fasta: str | os.PathLike[str] | Genome,
    vcf: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    region: str | Interval | None = None,
    aliases: Aliases | None = None,
    on_error: OnError = "fail",
    window_bp: int | None = None,
    tokens_per_base: float | None = None,
    reverse_complement: Strands = "none",
    positive: str | None = None,
    negative: str | None = None,
    batch_size: int = 8,
    bf16: bool = False,
    across_ranks: bool = False,
) -> VariantScores:
    """Scores variants by how likely a model finds them, without training on any.

    For each alternate allele: the log-likelihood ratio of it to the reference allele, in nats, the bases in
    which they differ masked (of an insertion or deletion relative to chance, ln 1/4 a base); and the distance
    1 − cos between the mean vectors of the two windows (:mod:`dnachunk.evaluation.zero_shot`).

    Args:
        model: Folder of a masked language model and its tokenizer, or a loaded model of ours.
        fasta: The sequences: plain, gzip or bgzip.
        vcf: Variants of these sequences: plain, gzip or bgzip.
        output: File to write; see :meth:`VariantScores.write`. Default: nothing is written.
        region: Only variants whose reference allele touches it, ``"chr20"`` or ``"chr20:101-200"`` (from 1,
            inclusive).
        aliases: Names of records that mean the same: ``"chr"``, ``"version"``, a table or a mapping; see
            :class:`~dnachunk.data.record_names.RecordNames`.
        on_error: ``"skip"``: records and lines that cannot be read are left out, counted and listed;
            ``"fail"``: they are refused.
        window_bp: Bases read at once; default as in the model's training.
        tokens_per_base: In (0, 1], of MergeDNA and DNAChunker, whose configuration it changes where a loaded
            model is given; default as the model is configured.
        reverse_complement: ``"average"``: both strands are run and averaged.
        positive: Which variants are positives, by an INFO field: ``"AF>=0.05"``, ``"class=LOF"``, ``"FLAG"``.
        negative: Which are negatives, written alike; default all that are no positives.
        batch_size: Windows run at once; changes no score beyond rounding.
        bf16: Whether matrix products run in bfloat16, which is faster where the machine has them; scores
            may differ from those in float32.
        across_ranks: Whether the ranks that ``torchrun`` started share the work, and the first one writes
            what one alone would; all must call it. Without ``torchrun`` nothing changes.

    Returns:
        The scores, to iterate over or to write.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If an argument is out of range, the file holds no variant, none on a record of the
            sequences, or no positives or negatives.
    """
    require_one_of("reverse_complement", reverse_complement, ("none", "average"))
    require_different_files(model=model_files(model), fasta=fasta, aliases=aliases, vcf=vcf, output=output)
    require_at_least("batch_size", batch_size, 1)
    if output is not None:
        output_file(output)
    classes = Classes.parse(positive, negative)
    variants = VCF(vcf, on_error=on_error)
    genome = open_genome(fasta, aliases, on_error=on_error)
    interval = None if region is None else find_interval(genome, region)
    # Every line is looked at before the first is scored, which takes long.
    contigs, labels, num_records = Counter[str](), Counter[bool | None](), 0
    for record in variants:
        contigs[record.contig] += 1
        if touches(record, genome, interval):
            num_records += 1
            labels.update(_labels(variants, record, classes))
    tell_skipped(variants.skipped, f"lines of {vcf}")
    unknown_contigs = unknown_contigs_of(variants, contigs, genome)
    if not num_records:
        raise ArgumentError(f"{vcf} has no variant in {region}")
    if classes:
        unknown = [name for name in classes.fields if name not in variants.info_numbers]
        if unknown:
            raise ValueError(f"{vcf} has no INFO field {unknown[0]!r} in its header")
        check_classes(labels)
    if across_ranks:
        use_own_device()
    network, window_bp = resolve_zero_shot(model, window_bp, tokens_per_base, bf16=bf16)
    scores = VariantScores(
        network,
        genome,
        variants,
        interval,
        classes,
        num_records,
        unknown_contigs,
        window_bp,
        reverse_complement,
        batch_size,
        across_ranks,
    )
    if output is not None:
        scores.write(output)
    return scores


def touches(record: VCFRecord, genome: Genome, interval: Interval | None) -> bool:
    """Whether a record's reference allele has a base in an interval; always, if there is none."""
    if interval is None:
        return True
    if record.contig not in genome or genome.index_of(record.contig) != genome.index_of(interval.record):
        return False
    start_bp, end_bp = span_of(genome, interval)
    return record.position - 1 < end_bp and record.position - 1 + len(record.reference) > start_bp


def _labels(vcf: VCF, record: VCFRecord, classes: Classes | None) -> list[bool | None]:
    """The class of each alternate allele."""
    if classes is None:
        return [None] * len(record.alternates)
    info = record.info

    def value_of(field: str, allele: int) -> str | None:
        value = info.get(field)
        if value == "":
            return "1"
        if value is not None and vcf.info_numbers.get(field) == "A":
            values = value.split(",")
            return values[allele] if allele < len(values) else None
        return value

    return [classes.of(partial(value_of, allele=allele)) for allele in range(len(record.alternates))]


def _chunks(records: Iterable[VCFRecord], size: int) -> Iterator[list[VCFRecord]]:
    remaining = iter(records)
    while chunk := list(itertools.islice(remaining, size)):
        yield chunk


def variant_of(genome: Genome, record: VCFRecord, allele: str) -> Variant | str:
    """An alternate allele as a variant, or the reason that it is none: one of :data:`REASONS`."""
    try:
        return other_allele(allele) or read_variant(
            genome, record.contig, record.position - 1, record.reference, allele
        )
    except Unscorable as error:
        return error.reason


def _header(vcf: VCF) -> Iterable[str]:
    meanings = "; ".join(f"{reason}: {meaning}" for reason, meaning in REASONS.items())
    fields = {
        LLR: ("Float", "Masked log-likelihood ratio of the alternate to the reference allele, in nats"),
        DISTANCE: ("Float", "1 - cosine between the mean vectors of the two alleles' windows"),
        REASON: ("String", f"Why there is no score, or what is to be known of it: {meanings}"),
    }
    return vcf.header_with(
        {
            name: f'##INFO=<ID={name},Number=A,Type={kind},Description="{text}">'
            for name, (kind, text) in fields.items()
        }
    )


def _cells(scores: AlleleScores) -> tuple[str, str, str]:
    ratio, distance, reason = scores
    return (
        "." if ratio is None else f"{ratio:.6g}",
        "." if distance is None else f"{distance:.6g}",
        reason or ".",
    )


def _vcf_line(record: VCFRecord, outcomes: list[AlleleScores]) -> str:
    columns = map(",".join, zip(*map(_cells, outcomes), strict=True))
    return record.with_info(dict(zip((LLR, DISTANCE, REASON), columns, strict=True)))


def _tsv_lines(record: VCFRecord, outcomes: list[AlleleScores]) -> Iterator[str]:
    contig, position, name, reference, _ = record.columns[:5]
    for allele, outcome in zip(record.alternates, outcomes, strict=True):
        yield "\t".join([contig, position, name, reference, allele, *_cells(outcome)]) + "\n"


__all__ = ["ScoredAllele", "VariantScores", "VariantSummary", "score_variants"]
