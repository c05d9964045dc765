"""``dnachunk pretrain``: from FASTA files to a pre-trained model."""

import json
import os
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from dnachunk.cli.arguments import read_training_arguments
from dnachunk.cli.options import AliasesOption, OnError, ReadOnErrorOption
from dnachunk.cli.report import leave_process_group
from dnachunk.errors import ArgumentError
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


def _list_recipes(name: str | None) -> str | None:
    if name == "list":
        from dnachunk.training import list_recipes

        say(list_recipes())
        raise typer.Exit
    return name


def pretrain(
    context: typer.Context,
    fasta: Annotated[list[Path], typer.Option(help="Genome, plain, gzip or bgzip; can be repeated.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for the model, its checkpoints and results.json.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml|list",
            callback=_list_recipes,
            is_eager=True,
            help="What the pre-training is done with where other options say nothing: a paper's "
            "(dnachunker), one that was measured (mxdna-tiny), or a file, such as the recipe.toml beside a "
            "pre-trained model. list shows them. Default: the paper's with --size base, else none.",
        ),
    ] = None,
    model: Annotated[
        Kind | None, typer.Option(help="Which model. Default: the recipe's, or mergedna.")
    ] = None,
    size: Annotated[Size | None, typer.Option(help="How large. Default: the recipe's, or tiny.")] = None,
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
    repeats: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.bed|FILE.out",
            help="RepeatMasker's intervals, where a genome has no lower-case letters: their bases weigh a "
            "DNAChunker's repeat_weight; can be repeated.",
        ),
    ] = None,
    region_ratio: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.bed=RATIO",
            help="Stretches with a target ratio of their own, in (0, 1), at both stages of a DNAChunker; "
            "can be repeated.",
        ),
    ] = None,
    on_error: ReadOnErrorOption = OnError.fail,
    window_bp: Annotated[
        int | None, typer.Option(help="Bases of a window. Default: the configuration's train_length_bp.")
    ] = None,
    step_bp: Annotated[
        int | None,
        typer.Option(
            help="Bases of a step, over all processes: the gradients of as many batches are accumulated. "
            "Default: the recipe's, or one batch of each process."
        ),
    ] = None,
    mask_probability: Annotated[
        float | None,
        typer.Option(
            help="Share of the bases that masked modelling selects. Default: the recipe's, or 0.15."
        ),
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

    Example: torchrun --nproc-per-node 8 -m dnachunk pretrain --recipe dnachunker --fasta hg38.fa
    --output-dir run

    Example: dnachunk pretrain --model baseline --tokenizer 6mer --fasta genome.fa.gz --output-dir run
    """
    # What is imported at the top of a command's module is what `dnachunk --help` waits for.
    from dnachunk.training import pretrain as run

    fields = read_training_arguments(context.args)
    result = run(
        fasta,
        output_dir,
        recipe=recipe,
        model=None if model is None else model.value,
        size=None if size is None else size.value,
        tokenizer=tokenizer,
        weight=weight,
        holdout=holdout,
        aliases=aliases,
        repeats=repeats,
        region_ratio=_ratios(region_ratio or []),
        on_error=on_error.value,
        window_bp=window_bp,
        step_bp=step_bp,
        mask_probability=mask_probability,
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


def _ratios(given: list[str]) -> dict[str | os.PathLike[str], float] | None:
    ratios: dict[str | os.PathLike[str], float] = {}
    for text in given:
        file, _, ratio = text.rpartition("=")
        try:
            ratios[Path(file)] = float(ratio)
        except ValueError:
            raise ArgumentError(f"`region_ratio` must be FILE.bed=RATIO, got {text}") from None
        if not file:
            raise ArgumentError(f"`region_ratio` must be FILE.bed=RATIO, got {text}")
    return ratios or None
