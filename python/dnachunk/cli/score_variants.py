"""``dnachunk score-variants``: zero-shot scores of the variants of a VCF file."""

import itertools
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnachunk.cli.options import (
    BatchSizeOption,
    FastaOption,
    ModelOption,
    NegativeOption,
    PositiveOption,
    ReverseComplement,
    ReverseComplementOption,
    WindowOption,
    output_file,
)
from dnachunk.cli.report import beside, progress, replacing, say, write_results

if TYPE_CHECKING:
    from dnachunk.cli.zero_shot import Classes
    from dnachunk.data import Genome
    from dnachunk.data.vcf import VCF, VCFRecord
    from dnachunk.evaluation.zero_shot import Outcome, Variant

LLR, DISTANCE, REASON = "DNACHUNK_LLR", "DNACHUNK_DISTANCE", "DNACHUNK_REASON"
TSV_COLUMNS = ("chrom", "pos", "id", "ref", "alt", "llr", "distance", "reason")
_RECORDS_AT_ONCE = 4
"""Times the batch size: so many are held, however many there are."""


def score_variants(
    model: ModelOption,
    fasta: FastaOption,
    vcf: Annotated[Path, typer.Option(help="Variants of these sequences: VCF, plain, gzip or bgzip.")],
    output: Annotated[
        Path,
        typer.Option(
            help="File to write: VCF if it ends in .vcf or .vcf.gz (bgzip), otherwise TSV.",
            callback=output_file,
        ),
    ],
    window_bp: WindowOption = None,
    reverse_complement: ReverseComplementOption = ReverseComplement.none,
    positive: PositiveOption = None,
    negative: NegativeOption = None,
    batch_size: BatchSizeOption = 8,
) -> None:
    """Scores variants by how likely a model finds them, without training on any.

    For each alternate allele: the log-likelihood ratio of it to the reference allele, in nats, the bases in
    which they differ masked (of an insertion or deletion relative to chance, ln 1/4 a base); and the distance
    1 - cos between the mean vectors of the two windows. What cannot be scored keeps its line, with a reason.
    With --positive, AUROC and AUPRC of both scores are printed beside those of random ones.

    Example: dnachunk score-variants --model run --fasta chr20.fa --vcf chr20.vcf.gz --output scored.vcf.gz
    --positive "AF>=0.05" --negative "AF<0.001"
    """
    import numpy as np

    from dnachunk.cli.zero_shot import (
        Classes,
        check_classes,
        load_zero_shot,
        say_reasons,
        separation_metrics,
    )
    from dnachunk.data import Genome
    from dnachunk.data.text import text_writer
    from dnachunk.data.vcf import VCF
    from dnachunk.evaluation import zero_shot

    classes = Classes.parse(positive, negative)
    variants = VCF(vcf)
    # Every line is looked at before the first is scored, which takes long.
    num_records, labels = 0, Counter[bool | None]()
    for record in variants:
        num_records += 1
        labels.update(_labels(variants, record, classes))
    if not num_records:
        raise ValueError(f"{vcf} holds no variant")
    if classes:
        unknown = [field for field in classes.fields if field not in variants.info_numbers]
        if unknown:
            raise ValueError(f"{vcf} has no INFO field {unknown[0]!r} in its header")
        check_classes(labels)
    genome = Genome(fasta)
    network, window_bp = load_zero_shot(model, window_bp)

    reasons: Counter[str] = Counter()
    num_alleles = num_scored = 0
    # Of the alleles of either class: they are ranked when all are there.
    ratios, distances, is_positive = array("d"), array("d"), array("b")
    is_vcf = output.name.endswith((".vcf", ".vcf.gz"))
    with (
        replacing(output) as temporary,
        text_writer(temporary, bgzip=output.suffix == ".gz") as file,
        progress(num_records, "score-variants", "variants") as advance,
    ):
        file.writelines(_header(variants) if is_vcf else ["\t".join(TSV_COLUMNS) + "\n"])
        for records in _chunks(variants, _RECORDS_AT_ONCE * batch_size):
            alleles = [_variant(genome, record, allele) for record in records for allele in record.alternates]
            outcomes = iter(
                zero_shot.score_variants(
                    network,
                    genome,
                    alleles,
                    window_bp,
                    both_strands=reverse_complement is ReverseComplement.average,
                    batch_size=batch_size,
                )
            )
            for record in records:
                found = list(itertools.islice(outcomes, len(record.alternates)))
                file.writelines([_vcf_line(record, found)] if is_vcf else _tsv_lines(record, found))
                for outcome, label in zip(found, _labels(variants, record, classes), strict=True):
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
            advance(len(records))

    say(f"{num_scored:,} of {num_alleles:,} alternate alleles scored: {output}")
    say_reasons(reasons)
    metrics: dict[str, Any] = {
        "records": num_records,
        "alleles": num_alleles,
        "scored": num_scored,
        "reasons": dict(reasons),
        "window_bp": window_bp,
        "reverse_complement": reverse_complement.value,
    }
    if classes:
        scores = {"llr": np.array(ratios), "distance": np.array(distances)}
        metrics |= separation_metrics(scores, np.array(is_positive) > 0)
    write_results(beside(output, ".json"), metrics)


def _labels(vcf: "VCF", record: "VCFRecord", classes: "Classes | None") -> "list[bool | None]":
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


def _chunks(records: "Iterable[VCFRecord]", size: int) -> "Iterator[list[VCFRecord]]":
    remaining = iter(records)
    while chunk := list(itertools.islice(remaining, size)):
        yield chunk


def _variant(genome: "Genome", record: "VCFRecord", allele: str) -> "Variant | str":
    """The variant, or the reason that it cannot be scored."""
    from dnachunk.data.vcf import other_allele
    from dnachunk.evaluation.zero_shot import Unscorable, read_variant

    try:
        return other_allele(allele) or read_variant(
            genome, record.contig, record.position - 1, record.reference, allele
        )
    except Unscorable as error:
        return error.reason


def _header(vcf: "VCF") -> "Iterable[str]":
    from dnachunk.evaluation.zero_shot import REASONS

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


def _cells(outcome: "Outcome") -> tuple[str, str, str]:
    if outcome.score is None:
        return ".", ".", outcome.reason or "."
    ratio, distance, _ = outcome.score
    return f"{ratio:.6g}", f"{distance:.6g}", outcome.reason or "."


def _vcf_line(record: "VCFRecord", outcomes: "list[Outcome]") -> str:
    columns = map(",".join, zip(*map(_cells, outcomes), strict=True))
    return record.with_info(dict(zip((LLR, DISTANCE, REASON), columns, strict=True)))


def _tsv_lines(record: "VCFRecord", outcomes: "list[Outcome]") -> Iterator[str]:
    contig, position, name, reference, _ = record.columns[:5]
    for allele, outcome in zip(record.alternates, outcomes, strict=True):
        yield "\t".join([contig, position, name, reference, allele, *_cells(outcome)]) + "\n"
