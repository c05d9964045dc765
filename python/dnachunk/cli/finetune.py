"""``dnachunk finetune``: from a pre-trained model and labelled sequences to a model that predicts labels."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dnachunk.cli.arguments import read_searched_arguments
from dnachunk.cli.options import (
    AlphasOption,
    DecaysOption,
    EpochsOption,
    FoldsOption,
    LabelColumnOption,
    ModelOption,
    OnError,
    OnErrorOption,
    PaperGridOption,
    PatienceOption,
    ProblemOption,
    RanksOption,
    RatesOption,
    ReverseComplement,
    SequenceColumnOption,
    TileOption,
    TissueColumnOption,
    TokensPerBaseOption,
    TruncateOption,
    TrustRemoteCodeOption,
)
from dnachunk.cli.report import leave_process_group
from dnachunk.reporting import say


class Adapted(str, Enum):
    """Which parameters learn."""

    full = "full"
    probe = "probe"
    lora = "lora"
    ridge = "ridge"


FilesOption = list[str] | None


def finetune(
    context: typer.Context,
    model: ModelOption,
    output_dir: Annotated[Path, typer.Option(help="Folder for the model, its runs and results.json.")],
    train: Annotated[
        FilesOption,
        typer.Option(
            metavar="[CLASS=]FILE",
            help="Table (csv, tsv, parquet) with columns sequence and label, FASTA file whose headers end in "
            "|label, FASTA file of one class (CLASS=FILE), or folder of classes; .gz too; can be repeated.",
        ),
    ] = None,
    valid: Annotated[
        FilesOption,
        typer.Option(
            metavar="[CLASS=]FILE", help="The same to choose by. Default: --valid-share of --train."
        ),
    ] = None,
    test: Annotated[FilesOption, typer.Option(metavar="[CLASS=]FILE", help="The same to report on.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Instead of these, a folder with train, dev and test, as GUE, Genomic Benchmarks and the "
            "Nucleotide Transformer tasks have them, or the name of such a set on the Hugging Face hub, "
            "owner/name or owner/name:part."
        ),
    ] = None,
    problem: ProblemOption = None,
    sequence_column: SequenceColumnOption = None,
    tissue_column: TissueColumnOption = None,
    label_column: LabelColumnOption = None,
    on_error: OnErrorOption = OnError.fail,
    valid_share: Annotated[
        float, typer.Option(help="Share of --train to choose by where there is no --valid.")
    ] = 0.1,
    method: Annotated[
        Adapted | None,
        typer.Option(
            help="All parameters learn, the head alone, or LoRA; ridge: the head is solved for in closed "
            "form, its strength chosen on the validation set. Default: full, or lora with --lora-rank."
        ),
    ] = None,
    lora_rank: RanksOption = None,
    lora_alpha: AlphasOption = None,
    lora_dropout: Annotated[float, typer.Option(help="Dropout before the adapters.")] = 0.0,
    lora_target: Annotated[
        list[str] | None,
        typer.Option(help="Name of linear layers to adapt; can be repeated. Default: all outside the head."),
    ] = None,
    learning_rate: RatesOption = None,
    num_train_epochs: EpochsOption = None,
    weight_decay: DecaysOption = None,
    paper_grid: PaperGridOption = False,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What is compared on the validation set: accuracy, f1, mcc, auroc, auprc; of numbers "
            "spearman, r2; or loss. Default: mcc, of several labels auroc, of numbers spearman.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="How often the best is trained, from --seed on.", min=1)] = 1,
    folds: FoldsOption = None,
    patience: PatienceOption = 3,
    reverse_complement: Annotated[
        ReverseComplement, typer.Option(help="Whether both strands are run and averaged in evaluation.")
    ] = ReverseComplement.none,
    tokens_per_base: TokensPerBaseOption = None,
    truncate: TruncateOption = False,
    tile_bp: TileOption = None,
    trust_remote_code: TrustRemoteCodeOption = False,
) -> None:
    """Fine-tunes a pre-trained model on labelled sequences.

    Any flag of Hugging Face's TrainingArguments can be given by its name, such as
    --per-device-train-batch-size, --max-steps, --bf16, --seed or --resume-from-checkpoint last, which goes on
    with what an interrupted run left. The model in --output-dir loads, after `import dnachunk`, with
    AutoModelForSequenceClassification (…TokenClassification for bases).

    Example: dnachunk finetune --model run --train train.csv --test test.csv --output-dir enhancers
    --lora-rank 8 --lora-rank 16 --learning-rate 5e-4 --learning-rate 2e-3 --seeds 3
    """
    from dnachunk.training import finetune as run

    searched = {
        "learning_rate": learning_rate,
        "num_train_epochs": num_train_epochs,
        "weight_decay": weight_decay,
    }
    fields = read_searched_arguments(context.args, searched)
    result = run(
        model,
        output_dir,
        train=_files(train),
        valid=_files(valid),
        test=_files(test),
        data=data,
        problem=problem,
        sequence_column=sequence_column or "sequence",
        tissue_column=tissue_column,
        label_column=label_column or "label",
        on_error=on_error.value,
        valid_share=valid_share,
        method=None if method is None else method.value,
        lora_rank=lora_rank or None,
        lora_alpha=lora_alpha or None,
        lora_dropout=lora_dropout,
        lora_target=lora_target,
        paper_grid=paper_grid,
        metric=metric,
        seeds=seeds,
        folds=folds,
        patience=patience,
        reverse_complement=reverse_complement.value,
        tokens_per_base=tokens_per_base,
        truncate=truncate,
        tile_bp=tile_bp,
        trust_remote_code=trust_remote_code,
        **fields,
    )
    say(f"\n{result}")
    say(f"\nThe model is in {output_dir}; its numbers are in {output_dir / 'results.json'}")
    leave_process_group()


def _files(texts: FilesOption) -> "list[str | tuple[str, str]] | None":
    """Files, those of one class (``CLASS=FILE``) with the class behind them."""
    if texts is None:
        return None
    files: list[str | tuple[str, str]] = []
    for text in texts:
        label, equals, path = text.partition("=")
        files.append((path, label) if equals and not Path(text).exists() else text)
    return files
