"""``dnachunk finetune``: from a pre-trained model and labelled sequences to a model that predicts labels."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnachunk.cli.arguments import read_training_arguments
from dnachunk.cli.options import (
    EpochsOption,
    LabelColumnOption,
    ModelOption,
    PaperGridOption,
    PatienceOption,
    ProblemOption,
    RanksOption,
    RatesOption,
    ReverseComplement,
    SequenceColumnOption,
    TruncateOption,
)
from dnachunk.cli.report import leave_process_group, say, table, write_results

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from dnachunk.data.labelled import LabelledSet
    from dnachunk.data.task import Task
    from dnachunk.training.finetune import Candidate, FineTuned, FineTuner

DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 10,
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 64,
    "weight_decay": 0.01,
    "warmup_steps": 0.1,
    "logging_strategy": "epoch",
    "eval_strategy": "epoch",
    "report_to": "none",
}
"""Defaults of ``TrainingArguments`` here: the batch and the optimizer of the papers (AdamW)."""

PAPER_RATES = (1e-5, 5e-5, 1e-4)
PAPER_EPOCHS = (5.0, 10.0)
PAPER_RANKS = (4, 8, 16, 24, 48)
"""What the papers search over, on the validation set."""


class Adapted(str, Enum):
    """Which parameters learn."""

    full = "full"
    probe = "probe"
    lora = "lora"


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
    sequence_column: SequenceColumnOption = "sequence",
    label_column: LabelColumnOption = None,
    valid_share: Annotated[
        float, typer.Option(help="Share of --train to choose by where there is no --valid.")
    ] = 0.1,
    method: Annotated[
        Adapted | None,
        typer.Option(
            help="All parameters learn, the head alone, or LoRA. Default: lora with --lora-rank, else full."
        ),
    ] = None,
    lora_rank: RanksOption = None,
    lora_alpha: Annotated[float | None, typer.Option(help="Default: twice the rank.")] = None,
    lora_dropout: Annotated[float, typer.Option(help="Dropout before the adapters.")] = 0.0,
    lora_target: Annotated[
        list[str] | None,
        typer.Option(help="Name of linear layers to adapt; can be repeated. Default: all outside the head."),
    ] = None,
    learning_rate: RatesOption = None,
    num_train_epochs: EpochsOption = None,
    paper_grid: PaperGridOption = False,
    seeds: Annotated[int, typer.Option(help="How often the best is trained, from --seed on.", min=1)] = 1,
    patience: PatienceOption = 3,
    reverse_complement: Annotated[
        ReverseComplement, typer.Option(help="Whether both strands are run and averaged in evaluation.")
    ] = ReverseComplement.none,
    truncate: TruncateOption = False,
) -> None:
    """Fine-tunes a pre-trained model on labelled sequences.

    Any flag of Hugging Face's TrainingArguments can be given by its name, such as
    --per-device-train-batch-size, --max-steps, --bf16, --seed, --metric-for-best-model or
    --resume-from-checkpoint last, which goes on with what an interrupted run left. The model in --output-dir
    loads, after `import dnachunk`, with AutoModelForSequenceClassification (…TokenClassification for bases).

    Example: dnachunk finetune --model run --train train.csv --test test.csv --output-dir enhancers
    --lora-rank 8 --lora-rank 16 --learning-rate 5e-4 --learning-rate 2e-3 --seeds 3
    """
    from dnachunk.data.task import Task
    from dnachunk.training.adaptation import LoRA
    from dnachunk.training.finetune import LEARNING_RATES

    how = method or (Adapted.lora if lora_rank else Adapted.full)
    is_lora = how is Adapted.lora
    if not is_lora and (lora_rank or lora_alpha is not None or lora_dropout or lora_target):
        raise typer.BadParameter(f"the --lora- options need --method lora, got {how.value}")
    args = read_training_arguments(
        context.args, output_dir, {**DEFAULTS, "learning_rate": LEARNING_RATES[how.value]}
    )
    if args.resume_from_checkpoint not in (None, "last"):
        raise typer.BadParameter(f"--resume-from-checkpoint must be last, got {args.resume_from_checkpoint}")
    splits = _read_splits(data, train, valid, test, sequence_column, label_column or ["label"])
    task = Task.of(splits, problem, valid_share=valid_share, seed=args.seed)
    lora = LoRA(alpha=lora_alpha, dropout=lora_dropout, target_modules=lora_target) if is_lora else None
    candidates = choose_candidates(args, learning_rate, num_train_epochs, lora_rank, paper_grid, is_lora)
    run_finetuning(
        model,
        task,
        args,
        method=how.value,
        lora=lora,
        candidates=candidates,
        seeds=seeds,
        metric=args.metric_for_best_model,
        patience=patience,
        reverse_complement=reverse_complement.value,
        truncate=truncate,
        resume=args.resume_from_checkpoint == "last",
    )
    leave_process_group()


def choose_candidates(
    args: "TrainingArguments",
    learning_rates: list[float] | None,
    epochs: list[float] | None,
    ranks: list[int] | None,
    paper_grid: bool,
    is_lora: bool,
) -> "list[Candidate]":
    """What is searched over: what is given, or else the papers' grid or the defaults in ``args``."""
    from dnachunk.training.finetune import grid

    if paper_grid:
        learning_rates, epochs = learning_rates or list(PAPER_RATES), epochs or list(PAPER_EPOCHS)
        ranks = ranks or list(PAPER_RANKS)
    return grid(
        learning_rates or [args.learning_rate],
        epochs or [args.num_train_epochs],
        (ranks or [8]) if is_lora else (),
    )


def run_finetuning(
    model: Path,
    task: "Task",
    args: "TrainingArguments",
    *,
    candidates: "list[Candidate]",
    seeds: int,
    **options: Any,
) -> dict[str, Any]:
    """Fine-tunes, and says on what, how, and how far.

    Args:
        model: Folder of a pre-trained model and its tokenizer.
        task: The problem and its examples.
        args: Hugging Face's arguments.
        candidates: What is searched.
        seeds: How many seeds.
        **options: Other arguments of :func:`~dnachunk.training.finetune.finetune`.

    Returns:
        The metrics that ``results.json`` in ``args.output_dir`` holds, where the model is saved too.
    """
    from transformers.utils import logging

    from dnachunk.cli.progress import log_lines
    from dnachunk.training.finetune import finetune

    # Hugging Face draws a bar for each file of weights.
    logging.disable_progress_bar()
    names = ", ".join(task.names[:20]) + (", …" if len(task.names) > 20 else "")
    say(f"Problem    {task.problem.value}: {names}")
    sizes = {"train": task.train, "validation": task.valid, "test": task.test}
    counts = ", ".join(f"{name} {len(part):,}" for name, part in sizes.items() if part is not None)
    say(f"Sequences  {counts}")
    total = len(candidates) + seeds - 1

    def before_run(trainer: "FineTuner", candidate: "Candidate", seed: int) -> None:
        number = candidates.index(candidate) + 1 if seed == args.seed else len(candidates) + seed - args.seed
        log_lines(trainer)
        trained, whole = trainer.trained_parameters, trainer.num_parameters
        steps = f", {args.max_steps:,} steps at most" if args.max_steps > 0 else ""
        say(f"\nRun {number} of {total}: {candidate}{steps}, seed {seed}")
        say(f"{trained:,} parameters of {whole:,} learn ({trained / whole:.1%})")

    result = finetune(model, task, args, candidates=candidates, seeds=seeds, before_run=before_run, **options)
    metrics = _metrics(task, result, options["method"])
    write_results(Path(args.output_dir) / "results.json", metrics)
    if len(result.search) > 1:
        rows = [[str(run.candidate), f"{run.eval[result.metric]:.4f}"] for run in result.search]
        say("\n" + table(["searched, on the validation set", result.metric], rows))
    say("\n" + _result_table(result))
    say(f"\nThe model is in {args.output_dir}; its numbers are in {Path(args.output_dir) / 'results.json'}")
    return metrics


def _read_splits(
    data: str | None,
    train: FilesOption,
    valid: FilesOption,
    test: FilesOption,
    sequence_column: str,
    label_columns: list[str],
) -> "dict[str, LabelledSet]":
    from dnachunk.data.labelled import join_sets, read_labelled, read_splits

    given = {"train": train, "valid": valid, "test": test}
    if data is not None:
        if any(given.values()):
            raise typer.BadParameter("--data has all splits: give it, or --train, --valid and --test")
        return read_splits(data, sequence_column=sequence_column, label_columns=label_columns)
    if not train:
        raise typer.BadParameter("give --train, or --data")

    def read(text: str) -> "LabelledSet":
        label, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            return read_labelled(text, sequence_column=sequence_column, label_columns=label_columns)
        return read_labelled(path, label=label)

    return {split: join_sets(list(map(read, texts))) for split, texts in given.items() if texts}


def _metrics(task: "Task", result: "FineTuned", method: str) -> dict[str, Any]:
    def entry(run: Any) -> dict[str, Any]:
        scores = {f"eval_{name}": value for name, value in run.eval.items()}
        scores |= {f"test_{name}": value for name, value in (run.test or {}).items()}
        candidate = {
            "learning_rate": run.candidate.learning_rate,
            "num_train_epochs": run.candidate.num_train_epochs,
        }
        if run.candidate.lora_rank is not None:
            candidate["lora_rank"] = run.candidate.lora_rank
        return {**candidate, "seed": run.seed, "steps": run.steps, **scores}

    return {
        **result.metrics,
        "problem": task.problem.value,
        "classes": list(task.names),
        "train_sequences": len(task.train),
        "eval_sequences": len(task.valid),
        "test_sequences": 0 if task.test is None else len(task.test),
        "method": method,
        "trained_parameters": result.repeats[0].trained_parameters,
        "chosen_by": f"eval_{result.metric}",
        "repeats": [entry(run) for run in result.repeats],
        # What another candidate than the best reached on the test set is nobody's to choose by.
        "search": [
            {name: value for name, value in entry(run).items() if not name.startswith("test_")}
            for run in result.search
        ],
    }


def _result_table(result: "FineTuned") -> str:
    metrics = result.metrics
    splits = {"eval": "validation"} | ({"test": "test"} if "test_loss" in metrics else {})

    def cell(name: str) -> str:
        if name not in metrics:
            return "—"
        deviation = metrics.get(f"{name}_std")
        return f"{metrics[name]:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")

    names = [name.removeprefix("eval_") for name in metrics if name.startswith("eval_")]
    rows = [
        [name, *(cell(f"{split}_{name}") for split in splits)] for name in names if not name.endswith("_std")
    ]
    seeds = len(result.repeats)
    title = f"{seeds} seed{'s' if seeds > 1 else ''}"
    return table([title, *splits.values()], rows)
