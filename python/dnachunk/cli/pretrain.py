"""``dnachunk pretrain``: from FASTA files to a pre-trained model."""

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from dnachunk.cli.arguments import read_training_arguments
from dnachunk.cli.options import AliasesOption, OnError, ReadOnErrorOption
from dnachunk.cli.report import leave_process_group
from dnachunk.reporting import say


class Kind(str, Enum):
    """Models that can be pre-trained."""

    mergedna = "mergedna"
    dnachunker = "dnachunker"
    mxdna = "mxdna"
    baseline = "baseline"


class Size(str, Enum):
    """Named configurations; ``base`` is the paper's."""

    micro = "micro"
    tiny = "tiny"
    base = "base"


def pretrain(
    context: typer.Context,
    fasta: Annotated[list[Path], typer.Option(help="Genome, plain, gzip or bgzip; can be repeated.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for the model, its checkpoints and results.json.")],
    model: Annotated[Kind, typer.Option(help="Which model.")] = Kind.mergedna,
    size: Annotated[Size, typer.Option(help="How large.")] = Size.tiny,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of a baseline: base, 6mer (1 to 8), 6mer-overlapping, or bpe-1024 (ids in all), which is "
            "trained on the training windows.",
        ),
    ] = None,
    weight: Annotated[
        list[float] | None,
        typer.Option(help="How often each --fasta is drawn from, in their order. Default: by length."),
    ] = None,
    holdout: Annotated[
        list[str] | None,
        typer.Option(
            help="Record (chrXVI) or interval (chr1:1-1000000) kept for evaluation; can be repeated. "
            "Default: about a tenth of each genome, from its end (more of a small one, for 200 windows)."
        ),
    ] = None,
    aliases: AliasesOption = None,
    on_error: ReadOnErrorOption = OnError.fail,
    window_bp: Annotated[
        int | None, typer.Option(help="Bases of a window. Default: the configuration's train_length_bp.")
    ] = None,
    eval_windows: Annotated[int, typer.Option(help="Held-out windows to evaluate on, at most.", min=1)] = 256,
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Field of the configuration; can be repeated."),
    ] = None,
) -> None:
    """Pre-trains a model on genomes.

    A baseline is an off-the-shelf encoder (EuroBERT) on the tokens of a fixed tokenizer, as wide and as deep
    as MergeDNA's encoders of that size; it is pre-trained on the same windows by masked language modelling.

    Any flag of Hugging Face's TrainingArguments can be given by its name, such as --max-steps,
    --per-device-train-batch-size, --learning-rate, --bf16, --seed, --eval-steps or
    --resume-from-checkpoint (a path, or "last"). Under torchrun it trains on several processes.

    Example: dnachunk pretrain --size tiny --fasta genome.fa.gz --output-dir run --max-steps 2000 --bf16

    Example: dnachunk pretrain --model baseline --tokenizer 6mer --fasta genome.fa.gz --output-dir run
    """
    # What is imported at the top of a command's module is what `dnachunk --help` waits for.
    from dnachunk.training import pretrain as run

    fields = read_training_arguments(context.args)
    result = run(
        fasta,
        output_dir,
        model=model.value,
        size=size.value,
        tokenizer=tokenizer,
        weight=weight,
        holdout=holdout,
        aliases=aliases,
        on_error=on_error.value,
        window_bp=window_bp,
        eval_windows=eval_windows,
        config=read_fields(config or []),
        **fields,
    )
    say(f"\n{result}")
    say(f"\nThe model is in {output_dir}; its numbers are in {output_dir / 'results.json'}")
    leave_process_group()


def read_fields(texts: list[str]) -> dict[str, Any]:
    """Fields of a configuration written ``field=value``; values are JSON, or else text.

    Raises:
        typer.BadParameter: If one is not written so.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"--config must be FIELD=VALUE, got {text}")
        try:
            values[name] = json.loads(value)
        except json.JSONDecodeError:
            values[name] = value
    return values
