"""``dnachunk score-variants``: zero-shot scores of the variants of a VCF file."""

from pathlib import Path
from typing import Annotated

import typer

from dnachunk.cli.options import (
    AliasesOption,
    BatchSizeOption,
    Bf16Option,
    FastaOption,
    ModelOption,
    NegativeOption,
    OnError,
    PositiveOption,
    ReadOnErrorOption,
    ReverseComplement,
    ReverseComplementOption,
    TokensPerBaseOption,
    WindowOption,
    output_file,
)
from dnachunk.cli.report import leave_process_group, numbers_beside, say_report


def score_variants(
    model: ModelOption,
    fasta: FastaOption,
    vcf: Annotated[Path, typer.Option(help="Variants of these sequences: VCF, plain, gzip or bgzip.")],
    output: Annotated[
        Path,
        typer.Option(
            help="File to write: VCF if it ends in .vcf or .vcf.gz (bgzip), otherwise TSV; numbers (.json) "
            "beside it. - is standard output, TSV, without these.",
            callback=output_file,
        ),
    ],
    region: Annotated[
        str | None,
        typer.Option(help="Only variants that touch it: chr20, or chr20:101-200 (from 1, inclusive)."),
    ] = None,
    aliases: AliasesOption = None,
    on_error: ReadOnErrorOption = OnError.fail,
    window_bp: WindowOption = None,
    tokens_per_base: TokensPerBaseOption = None,
    reverse_complement: ReverseComplementOption = ReverseComplement.none,
    positive: PositiveOption = None,
    negative: NegativeOption = None,
    batch_size: BatchSizeOption = 8,
    bf16: Bf16Option = False,
) -> None:
    """Scores variants by how likely a model finds them, without training on any.

    For each alternate allele: the log-likelihood ratio of it to the reference allele, in nats, the bases in
    which they differ masked (of an insertion or deletion relative to chance, ln 1/4 a base); and the distance
    1 - cos between the mean vectors of the two windows. What cannot be scored keeps its line, with a reason.
    With --positive, AUROC and AUPRC of both scores are printed beside those of random ones.

    torchrun shares the work as for tokenize, and a run that was interrupted goes on.

    Example: dnachunk score-variants --model run --fasta chr20.fa --vcf chr20.vcf.gz --output scored.vcf.gz
    --positive "AF>=0.05" --negative "AF<0.001"
    """
    from dnachunk.evaluation import score_variants as score
    from dnachunk.reporting import write_results

    job = "score_variants"
    numbers = numbers_beside(output, job)
    scores = score(
        model,
        fasta,
        vcf,
        output,
        region=region,
        aliases=aliases,
        on_error=on_error.value,
        window_bp=window_bp,
        tokens_per_base=tokens_per_base,
        reverse_complement=reverse_complement.value,
        positive=positive,
        negative=negative,
        batch_size=batch_size,
        bf16=bf16,
        across_ranks=True,
    )
    summary = scores.summary
    assert summary is not None
    say_report(summary, output)
    if numbers is not None:
        write_results(numbers, job, summary.metrics)
    leave_process_group()
