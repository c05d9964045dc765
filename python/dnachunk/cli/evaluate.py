"""``dnachunk evaluate``: models on the tasks of a suite, in one table."""

from pathlib import Path
from typing import Annotated

import typer

from dnachunk.cli.arguments import read_named_models, read_searched_arguments
from dnachunk.cli.finetune import Adapted
from dnachunk.cli.options import (
    AlphasOption,
    DecaysOption,
    EpochsOption,
    FoldsOption,
    LabelColumnOption,
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


def evaluate(
    context: typer.Context,
    output_dir: Annotated[Path, typer.Option(help="Folder for results.json, results.md and the runs.")],
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            help="genomic-benchmarks, gue, nt, nt-revised, long-range, splicing, bend, dnalongbench, or a "
            "folder of tasks: folders with train, dev and test, as finetune's --data takes them. Below a "
            "folder called after a suite its metrics and its groups of tasks count.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the tasks of a named suite, or of a plan's data.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]DIR",
            help="Folder of a pre-trained model, or a name that dnachunk models lists, and what it is called "
            "in the table; can be repeated. Default: the folder's name.",
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Instead of --suite and --model, a plan: models that are pre-trained first, all on as many "
            "bases, and the tasks that they are then compared on.",
        ),
    ] = None,
    small: Annotated[
        bool,
        typer.Option("--small", help="The plan at the size of its table small, which runs anywhere."),
    ] = False,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Task, perhaps with * and ?, or folder of tasks; can be repeated. Default: all.",
        ),
    ] = None,
    problem: ProblemOption = None,
    sequence_column: SequenceColumnOption = None,
    tissue_column: TissueColumnOption = None,
    label_column: LabelColumnOption = None,
    on_error: OnErrorOption = OnError.fail,
    method: Annotated[
        Adapted,
        typer.Option(
            help="All parameters learn, the head alone, or LoRA; ridge: the head is solved for in closed "
            "form, its strength chosen on the validation set."
        ),
    ] = Adapted.full,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Runs of each model on each task, from --seed on. Default: 3, of folds and ridge 1.", min=1
        ),
    ] = None,
    folds: FoldsOption = None,
    max_train: Annotated[
        int | None,
        typer.Option(help="Sequences to train on, and to choose by, at most: a part drawn at random.", min=2),
    ] = None,
    learning_rate: RatesOption = None,
    num_train_epochs: EpochsOption = None,
    weight_decay: DecaysOption = None,
    lora_rank: RanksOption = None,
    lora_alpha: AlphasOption = None,
    paper_grid: PaperGridOption = False,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What all tasks are scored by, and models chosen by: accuracy, f1, mcc, auroc, auprc; of "
            "numbers spearman, r2. Default: each task's own.",
        ),
    ] = None,
    patience: PatienceOption = 3,
    reverse_complement: Annotated[
        ReverseComplement, typer.Option(help="Whether both strands are run and averaged in evaluation.")
    ] = ReverseComplement.none,
    tokens_per_base: TokensPerBaseOption = None,
    truncate: TruncateOption = False,
    tile_bp: TileOption = None,
    trust_remote_code: TrustRemoteCodeOption = False,
    floor: Annotated[
        bool,
        typer.Option(
            help="Whether counts of k-mers (one strand, k from 3 to 6, chosen on the validation set) are "
            "rows too: with naive Bayes, and with logistic regression, of numbers ridge regression. Labels "
            "of bases have none."
        ),
    ] = True,
) -> None:
    """Fine-tunes models on the tasks of a suite, and writes one table of what they reach.

    Runs every model on every task with every seed, and goes on where an interrupted call stopped; models,
    tasks and seeds can be added to a finished comparison, named beside those of before. Any flag of Hugging
    Face's TrainingArguments can be given by its name, as to finetune. Where there is no validation set, a
    tenth of the training set is it.

    Example: dnachunk evaluate --suite gue --data GUE --tasks 'prom/*' --model mergedna --model 6mer=runs/6mer
    --output-dir promoters --seeds 3

    Example: dnachunk evaluate --plan docs/plans/micro.toml --data data --output-dir micro

    Example: dnachunk evaluate --plan docs/plans/mergedna-gue.toml --small --data data --output-dir small
    """
    if plan is not None:
        given = [name for name in context.params if _is_given(context, name)]
        others = sorted(set(given) - {"plan", "data", "output_dir", "small"})
        if others or context.args:
            words = [f"--{name.replace('_', '-')}" for name in others] + context.args
            raise typer.BadParameter(f"the plan says all but --data and --output-dir, got {words[0]}")
    from dnachunk.training import compare_models

    if plan is not None:
        result = compare_models(output_dir, plan=plan, data=data, small=small)
    else:
        searched = {
            "learning_rate": learning_rate,
            "num_train_epochs": num_train_epochs,
            "weight_decay": weight_decay,
        }
        fields = read_searched_arguments(context.args, searched)
        result = compare_models(
            output_dir,
            model=read_named_models(model or []),
            suite=suite,
            data=data,
            small=small,
            tasks=tasks or (),
            problem=problem,
            sequence_column=sequence_column or "sequence",
            tissue_column=tissue_column,
            label_column=label_column or "label",
            on_error=on_error.value,
            method=method.value,
            seeds=seeds,
            folds=folds,
            max_train=max_train,
            lora_rank=lora_rank or None,
            lora_alpha=lora_alpha or None,
            paper_grid=paper_grid,
            metric=metric,
            patience=patience,
            reverse_complement=reverse_complement.value,
            tokens_per_base=tokens_per_base,
            truncate=truncate,
            tile_bp=tile_bp,
            trust_remote_code=trust_remote_code,
            floor=floor,
            **fields,
        )
    say(f"\n{result}")
    say(f"\nThe table is in {output_dir / 'results.md'}; its numbers are in {output_dir / 'results.json'}")
    leave_process_group()


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
