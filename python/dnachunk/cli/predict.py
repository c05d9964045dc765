"""``dnachunk predict``: labels of new sequences, by a fine-tuned model."""

from pathlib import Path
from typing import Annotated

import typer

from dnachunk.cli.options import (
    AliasesOption,
    Bf16Option,
    OnError,
    ReverseComplement,
    ReverseComplementOption,
    SequenceColumnOption,
    TileOption,
    TissueColumnOption,
    TokensPerBaseOption,
    TruncateOption,
    TrustRemoteCodeOption,
    output_file,
)
from dnachunk.cli.report import numbers_beside, say_report


def predict(
    model: Annotated[
        Path, typer.Option(help="Folder of a fine-tuned model, such as finetune's --output-dir.")
    ],
    sequences: Annotated[
        Path,
        typer.Option(
            help="FASTA file, each record a sequence; or a table (csv, tsv, txt, parquet) with a column of "
            "sequences; .gz too."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="File to write: CSV if it ends in .csv or .csv.gz, else TSV; numbers (.json) beside it. "
            "- is standard output, TSV, without these.",
            callback=output_file,
        ),
    ],
    regions: Annotated[
        Path | None,
        typer.Option(help="BED file of stretches of the FASTA file to predict for, each along its strand."),
    ] = None,
    sequence_column: SequenceColumnOption = None,
    tissue_column: TissueColumnOption = None,
    keep_column: Annotated[
        list[str] | None, typer.Option(help="Column of the table to copy; can be repeated.")
    ] = None,
    aliases: AliasesOption = None,
    on_error: Annotated[
        OnError,
        typer.Option(
            help="Whether sequences that cannot be read, or are too long, are refused, or left out, counted "
            "and listed."
        ),
    ] = OnError.fail,
    reverse_complement: ReverseComplementOption = ReverseComplement.none,
    tokens_per_base: TokensPerBaseOption = None,
    truncate: TruncateOption = False,
    tile_bp: TileOption = None,
    trust_remote_code: TrustRemoteCodeOption = False,
    batch_size: Annotated[int, typer.Option(help="Sequences run at once; changes no result.", min=1)] = 32,
    bf16: Bf16Option = False,
) -> None:
    """Predicts labels of sequences with a fine-tuned model: classes, labels, numbers, or classes of bases.

    Writes a line for each sequence, or for each base where these have labels: what tells it from the others,
    then "predicted_label" and "probability_CLASS" of each class, or "predicted_NAME" of each number.

    Example: dnachunk predict --model enhancers --sequences candidates.fa --output predictions.tsv

    Example: dnachunk predict --model enhancers --sequences genome.fa --regions peaks.bed --output peaks.tsv
    """
    from dnachunk.evaluation import predict as run
    from dnachunk.reporting import write_results

    job = "predict"
    numbers = numbers_beside(output, job)
    found = run(
        model,
        sequences,
        output,
        regions=regions,
        sequence_column=sequence_column or "sequence",
        tissue_column=tissue_column,
        keep_column=keep_column or (),
        aliases=aliases,
        on_error=on_error.value,
        reverse_complement=reverse_complement.value,
        tokens_per_base=tokens_per_base,
        truncate=truncate,
        tile_bp=tile_bp,
        trust_remote_code=trust_remote_code,
        batch_size=batch_size,
        bf16=bf16,
    )
    say_report(found, output)
    if numbers is not None:
        write_results(numbers, job, found.metrics)
