"""``dnachunk score-mutations``: zero-shot scores of a deep mutational scan."""

from pathlib import Path
from typing import Annotated

import typer

from dnachunk.cli.options import (
    BatchSizeOption,
    Bf16Option,
    ModelOption,
    NegativeOption,
    OnError,
    PositiveOption,
    ReadOnErrorOption,
    ReverseComplement,
    ReverseComplementOption,
    TokensPerBaseOption,
    WindowOption,
)
from dnachunk.cli.report import say_report


def score_mutations(
    model: ModelOption,
    fasta: Annotated[Path, typer.Option(help="The coding sequence, or of a table of bases the gene.")],
    variants: Annotated[Path, typer.Option(help="Table of variants and measurements, CSV or TSV.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for scores.csv and results.json.")],
    measured: Annotated[
        list[str] | None,
        typer.Option(help="Column of the measurement; of several the mean. Default: score, or DMS_score."),
    ] = None,
    on_error: ReadOnErrorOption = OnError.fail,
    window_bp: WindowOption = None,
    tokens_per_base: TokensPerBaseOption = None,
    reverse_complement: ReverseComplementOption = ReverseComplement.none,
    positive: PositiveOption = None,
    negative: NegativeOption = None,
    batch_size: BatchSizeOption = 8,
    bf16: Bf16Option = False,
) -> None:
    """Scores the variants of one gene and compares them with what was measured.

    The table has a column "mutant" (A24G, or A24G:K30R, in codons from 1), or "codon_index", "wildtype_aa"
    and "mutant_aa", or, for bases of a gene, "ng_pos", "ng_ref" and "ng_alt", or "pos", "ref" and "alt", from
    1. A mutant amino acid is written as the codon with the fewest changed bases.

    Four scores: the masked log-likelihood ratio over the mutated codons; 1 - cos between mean vectors; and a
    ridge regression on the mutants' mean vectors, predicted in five folds, drawn at random, and by sites, so
    that no site of the predicted fifth was trained on. Spearman's correlation of each is printed beside that
    of random scores; with --positive also AUROC and AUPRC.

    Example: dnachunk score-mutations --model run --fasta cds.fa --variants dms.csv --output-dir scan
    """
    from dnachunk.evaluation import score_mutations as score

    scores = score(
        model,
        fasta,
        variants,
        output_dir,
        measured=measured,
        on_error=on_error.value,
        window_bp=window_bp,
        tokens_per_base=tokens_per_base,
        reverse_complement=reverse_complement.value,
        positive=positive,
        negative=negative,
        batch_size=batch_size,
        bf16=bf16,
    )
    say_report(scores, output_dir / "scores.csv")
