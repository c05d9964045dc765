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
from dnachunk.errors import ArgumentError, require_at_least, require_different_files, require_one_of
from dnachunk.evaluation import zero_shot
from dnachunk.evaluation.classes import Classes, check_classes, separation_metrics, separation_report
from dnachunk.evaluation.zero_shot import REASONS, Outcome, Unscorable, Variant, ZeroShotModel, read_variant
from dnachunk.evaluation.zero_shot_model import resolve_zero_shot
from dnachunk.files import output_file, replacing
from dnachunk.inference.genome import Strands, open_genome
from dnachunk.inference.pipeline import read_ahead, write_behind
from dnachunk.models.loading import model_files
from dnachunk.reporting import Report, Table, progress

Scored = tuple[list[Outcome], list[bool | None]]
"""What became of the alternate alleles of a record, and their classes."""

LLR, DISTANCE, REASON = "DNACHUNK_LLR", "DNACHUNK_DISTANCE", "DNACHUNK_REASON"
TSV_COLUMNS = ("chrom", "pos", "id", "ref", "alt", "llr", "distance", "reason")
_RECORDS_AT_ONCE = 4
"""Times the batch size: so many are held, however many there are."""


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
        classes: Which are positives and which negatives, if that was said.
        num_records: Records of the file.
        unknown_contigs: How many of them lie on contigs that the genome does not have, by these.
        window_bp: Bases of a window.
        reverse_complement: Whether both strands are averaged.
        batch_size: Windows that are run at once.
        summary: What :meth:`write` found; None before.
    """

    model: ZeroShotModel
    genome: Genome
    variants: VCF
    classes: Classes | None
    num_records: int
    unknown_contigs: dict[str, int]
    window_bp: int
    reverse_complement: Strands
    batch_size: int
    summary: VariantSummary | None = None

    def __repr__(self) -> str:
        return (
            f"VariantScores({str(self.variants.path)!r}: {self.num_records:,} records; iterate over their "
            "alleles, or write(path) them)"
        )

    def records(self) -> Iterator[tuple[VCFRecord, list[Outcome], list[bool | None]]]:
        """Each record of the file, what became of its alternate alleles, and their classes."""

        def read() -> Iterator[tuple[list[VCFRecord], list[Variant | str]]]:
            for records in _chunks(self.variants, _RECORDS_AT_ONCE * self.batch_size):
                yield (
                    records,
                    [
                        variant_of(self.genome, record, allele)
                        for record in records
                        for allele in record.alternates
                    ],
                )

        with progress(self.num_records, "score-variants", "variants") as advance:
            for records, alleles in read_ahead(read(), 1):
                outcomes = iter(
                    zero_shot.score_alleles(
                        self.model,
                        self.genome,
                        alleles,
                        self.window_bp,
                        both_strands=self.reverse_complement == "average",
                        batch_size=self.batch_size,
                    )
                )
                for record in records:
                    found = list(itertools.islice(outcomes, len(record.alternates)))
                    yield record, found, _labels(self.variants, record, self.classes)
                advance(len(records))

    def __iter__(self) -> Iterator[ScoredAllele]:
        """The alternate alleles in the file's order."""
        for record, outcomes, labels in self.records():
            contig, _, name, reference, _ = record.columns[:5]
            for allele, (score, reason), label in zip(record.alternates, outcomes, labels, strict=True):
                ratio, distance, _ = (None, None, None) if score is None else score
                yield ScoredAllele(
                    contig, record.position, name, reference, allele, ratio, distance, reason, label
                )

    def write(self, output: str | os.PathLike[str]) -> VariantSummary:
        """Scores all and writes them, whole or not at all.

        Args:
            output: VCF if it ends in ``.vcf`` or ``.vcf.gz`` (bgzip): the file as it was, with three INFO
                fields more; otherwise TSV, a line for each alternate allele.

        Returns:
            Counts and figures; :attr:`summary` too.

        Raises:
            OSError: If a file cannot be read or written.
        """
        output = Path(output)
        require_different_files(fasta=self.genome, vcf=self.variants, output=output)
        is_vcf = output.name.endswith((".vcf", ".vcf.gz"))
        with (
            replacing(output) as temporary,
            text_writer(temporary, bgzip=output.suffix == ".gz") as file,
        ):
            file.writelines(_header(self.variants) if is_vcf else ["\t".join(TSV_COLUMNS) + "\n"])

            def write(scored: tuple[VCFRecord, list[Outcome]]) -> None:
                file.writelines([_vcf_line(*scored)] if is_vcf else _tsv_lines(*scored))

            with write_behind(output, write, _RECORDS_AT_ONCE * self.batch_size) as put:

                def written() -> Iterator[Scored]:
                    for record, found, labels in self.records():
                        put((record, found))
                        yield found, labels

                self.summary = self._summary(written())
        return self.summary

    def _summary(self, scored: Iterable[Scored]) -> VariantSummary:
        reasons: Counter[str] = Counter()
        num_alleles = num_scored = 0
        # Of the alleles of either class: they are ranked when all are there.
        ratios, distances, is_positive = array("d"), array("d"), array("b")
        for outcomes, labels in scored:
            for outcome, label in zip(outcomes, labels, strict=True):
                num_alleles += 1
                if outcome.reason is not None:
                    reasons[outcome.reason] += 1
                if outcome.score is None:
                    continue
                num_scored += 1
                if label is not None:
                    ratios.append(outcome.score.log_likelihood_ratio)
                    distances.append(outcome.score.embedding_distance)
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
    aliases: Aliases | None = None,
    on_error: OnError = "fail",
    window_bp: int | None = None,
    tokens_per_base: float | None = None,
    reverse_complement: Strands = "none",
    positive: str | None = None,
    negative: str | None = None,
    batch_size: int = 8,
    bf16: bool = False,
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
    # Every line is looked at before the first is scored, which takes long.
    contigs, labels = Counter[str](), Counter[bool | None]()
    for record in variants:
        contigs[record.contig] += 1
        labels.update(_labels(variants, record, classes))
    tell_skipped(variants.skipped, f"lines of {vcf}")
    genome = open_genome(fasta, aliases, on_error=on_error)
    unknown_contigs = unknown_contigs_of(variants, contigs, genome)
    if classes:
        unknown = [name for name in classes.fields if name not in variants.info_numbers]
        if unknown:
            raise ValueError(f"{vcf} has no INFO field {unknown[0]!r} in its header")
        check_classes(labels)
    network, window_bp = resolve_zero_shot(model, window_bp, tokens_per_base, bf16=bf16)
    scores = VariantScores(
        network,
        genome,
        variants,
        classes,
        contigs.total(),
        unknown_contigs,
        window_bp,
        reverse_complement,
        batch_size,
    )
    if output is not None:
        scores.write(output)
    return scores


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


def _cells(outcome: Outcome) -> tuple[str, str, str]:
    if outcome.score is None:
        return ".", ".", outcome.reason or "."
    ratio, distance, _ = outcome.score
    return f"{ratio:.6g}", f"{distance:.6g}", outcome.reason or "."


def _vcf_line(record: VCFRecord, outcomes: list[Outcome]) -> str:
    columns = map(",".join, zip(*map(_cells, outcomes), strict=True))
    return record.with_info(dict(zip((LLR, DISTANCE, REASON), columns, strict=True)))


def _tsv_lines(record: VCFRecord, outcomes: list[Outcome]) -> Iterator[str]:
    contig, position, name, reference, _ = record.columns[:5]
    for allele, outcome in zip(record.alternates, outcomes, strict=True):
        yield "\t".join([contig, position, name, reference, allele, *_cells(outcome)]) + "\n"


__all__ = ["ScoredAllele", "VariantScores", "VariantSummary", "score_variants"]
