"""``dnachunk evaluate``: models on the tasks of a suite, in one table."""

import copy
import datetime
import json
import math
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnachunk.cli.arguments import read_training_arguments
from dnachunk.cli.finetune import DEFAULTS, Adapted, choose_candidates
from dnachunk.cli.options import (
    EpochsOption,
    LabelColumnOption,
    PaperGridOption,
    PatienceOption,
    ProblemOption,
    RanksOption,
    RatesOption,
    ReverseComplement,
    SequenceColumnOption,
    TruncateOption,
)
from dnachunk.cli.plan import MODEL_NAME, run_plan
from dnachunk.cli.report import (
    command_line,
    is_main_process,
    leave_process_group,
    replacing,
    say,
    versions,
    write_results,
)
from dnachunk.data.problem import Problem

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from dnachunk.data.task import Examples, Task
    from dnachunk.evaluation.comparison import Comparison
    from dnachunk.training.finetune import Candidate, FineTuned, FineTuner

CELLS = "cells"
"""Folder, in the output folder, of what was reached: by model and task."""


def evaluate(
    context: typer.Context,
    output_dir: Annotated[Path, typer.Option(help="Folder for results.json, results.md and the runs.")],
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            help="genomic-benchmarks, gue, nt, long-range, or a folder of tasks: folders with train, dev and "
            "test, as finetune's --data takes them. Below a folder called after a suite its metrics count.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the tasks of a named suite, or of a plan's data.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]DIR",
            help="Folder of a pre-trained model, and what it is called in the table; can be repeated. "
            "Default: the folder's name.",
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
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Task, perhaps with * and ?, or folder of tasks; can be repeated. Default: all.",
        ),
    ] = None,
    problem: ProblemOption = None,
    sequence_column: SequenceColumnOption = "sequence",
    label_column: LabelColumnOption = None,
    method: Annotated[
        Adapted, typer.Option(help="All parameters learn, the head alone, or LoRA.")
    ] = Adapted.full,
    seeds: Annotated[int, typer.Option(help="Runs of each model on each task, from --seed on.", min=1)] = 3,
    max_train: Annotated[
        int | None,
        typer.Option(help="Sequences to train on, and to choose by, at most: a part drawn at random.", min=2),
    ] = None,
    learning_rate: RatesOption = None,
    num_train_epochs: EpochsOption = None,
    lora_rank: RanksOption = None,
    paper_grid: PaperGridOption = False,
    patience: PatienceOption = 3,
    reverse_complement: Annotated[
        ReverseComplement, typer.Option(help="Whether both strands are run and averaged in evaluation.")
    ] = ReverseComplement.none,
    truncate: TruncateOption = False,
) -> None:
    """Fine-tunes models on the tasks of a suite, and writes one table of what they reach.

    Runs every model on every task with every seed, and goes on where an interrupted call stopped; models,
    tasks and seeds can be added to a finished comparison, named beside those of before. Any flag of Hugging
    Face's TrainingArguments can be given by its name, as to finetune. Where there is no validation set, a
    tenth of the training set is it.

    Example: dnachunk evaluate --suite gue --data GUE --tasks 'prom/*' --model mergedna --model 6mer=runs/6mer
    --output-dir promoters --seeds 3

    Example: dnachunk evaluate --plan docs/plans/micro.toml --data data --output-dir micro
    """
    if plan is not None:
        given = [name for name in context.params if _is_given(context, name)]
        others = sorted(set(given) - {"plan", "data", "output_dir"})
        if others or context.args:
            words = [f"--{name.replace('_', '-')}" for name in others] + context.args
            raise typer.BadParameter(f"the plan says all but --data and --output-dir, got {words[0]}")
        if data is None:
            raise typer.BadParameter("--plan needs --data, the folder of the plan's genomes and tasks")
        run_plan(plan, data, output_dir)
        return

    from dnachunk.evaluation.suites import find_tasks, suite_of
    from dnachunk.training.adaptation import LoRA
    from dnachunk.training.finetune import LEARNING_RATES

    is_lora = method is Adapted.lora
    if lora_rank and not is_lora:
        raise typer.BadParameter(f"--lora-rank needs --method lora, got {method.value}")
    args = read_training_arguments(
        context.args, output_dir, {**DEFAULTS, "learning_rate": LEARNING_RATES[method.value]}
    )
    for name in ("metric_for_best_model", "resume_from_checkpoint"):
        if getattr(args, name) is not None:
            reason = "each task has a metric" if name.startswith("metric") else "what there is is resumed"
            raise typer.BadParameter(f"--{name.replace('_', '-')} is for finetune: {reason}")
    candidates = choose_candidates(args, learning_rate, num_train_epochs, lora_rank, paper_grid, is_lora)
    systems = [System.parse(text) for text in model or []]
    names = [system.name for system in systems]
    if not systems:
        raise typer.BadParameter("give a --model at least")
    for name in names:
        if names.count(name) > 1:
            raise typer.BadParameter(f"several models are called {name}: give --model NAME=DIR")
    known, folder = _suite_and_folder(suite, data)
    found = find_tasks(folder, tasks or (), known)
    columns = {"sequence_column": sequence_column, "label_columns": label_column or ["label"]}
    entries = {}
    for task, path in found.items():
        examples = _read_task(task, path, problem, max_train, args.seed, columns)
        metric = suite_of(f"{folder.resolve().name}/{task}", known).metric(task, examples.problem)
        entries[task] = Entry(task, examples, metric)
    if context.obj is not None:
        # A plan's pre-training: what is wrong with the tasks has shown before.
        context.obj()
    _compare(
        systems,
        entries,
        args,
        {"suite": known or str(folder), "method": method.value, "seeds": seeds, "max_train": max_train},
        method=method.value,
        lora=LoRA() if is_lora else None,
        candidates=candidates,
        seeds=seeds,
        patience=patience,
        reverse_complement=reverse_complement.value,
        truncate=truncate,
    )
    leave_process_group()


@dataclass(frozen=True, slots=True)
class System:
    """A model that is compared.

    Attributes:
        name: What it is called.
        folder: Where it is.
    """

    name: str
    folder: Path

    @classmethod
    def parse(cls, text: str) -> "System":
        """Reads ``NAME=DIR`` or ``DIR``.

        Raises:
            typer.BadParameter: If it cannot be called so.
        """
        name, equals, path = text.partition("=")
        folder = Path(path if equals and not Path(text).exists() else text)
        if folder == Path(text):
            name = folder.resolve().name
        if MODEL_NAME.fullmatch(name) is None:
            raise typer.BadParameter(f"--model must be NAME=DIR with a name for a table, got {text}")
        return cls(name, folder)


@dataclass(frozen=True, slots=True)
class Entry:
    """A task of the suite, and what it is scored by.

    Raises:
        ValueError: If it cannot be.
    """

    name: str
    task: "Task"
    metric: str

    def __post_init__(self) -> None:
        from dnachunk.training.finetune import check_metric

        for split in ("eval", "test"):
            try:
                check_metric(self.metric, self.task, self.parts[split], split)
            except ValueError as error:
                raise ValueError(f"task {self.name}: {error}") from error

    @property
    def parts(self) -> "dict[str, Examples]":
        """Its examples."""
        task = self.task
        assert task.test is not None
        return {"train": task.train, "eval": task.valid, "test": task.test}


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _suite_and_folder(suite: str | None, data: Path | None) -> tuple[str | None, Path]:
    from dnachunk.evaluation.suites import SUITES

    known = ", ".join(SUITES)
    if suite is None:
        raise typer.BadParameter(f"give --suite, {known} or a folder of tasks; or --plan")
    if suite not in SUITES:
        if not Path(suite).is_dir():
            raise typer.BadParameter(f"--suite must be {known} or a folder of tasks, got {suite}")
        if data is not None:
            raise typer.BadParameter(f"--data is for a named suite, got {data} beside the folder {suite}")
        return None, Path(suite)
    if data is None:
        raise typer.BadParameter(
            f"--suite {suite} needs --data, the folder of {SUITES[suite].title}: {SUITES[suite].layout}"
        )
    return suite, data


def _read_task(
    name: str,
    folder: Path,
    problem: Problem | None,
    max_train: int | None,
    seed: int,
    columns: dict[str, Any],
) -> "Task":
    from dnachunk.data.labelled import read_splits
    from dnachunk.data.task import Task

    try:
        task = Task.of(read_splits(folder, **columns), problem, seed=seed)
    except ValueError as error:
        raise ValueError(f"task {name}: {error}") from error
    if task.test is None:
        raise ValueError(f"task {name}: {folder} has no test split to compare models on")
    if max_train is not None:
        task = replace(task, train=task.train.draw(max_train, seed), valid=task.valid.draw(max_train, seed))
    return task


def _compare(
    systems: list[System],
    entries: dict[str, Entry],
    args: "TrainingArguments",
    settings: dict[str, Any],
    **options: Any,
) -> None:
    from transformers.utils import logging

    from dnachunk.evaluation.comparison import METRIC_TITLES, Comparison, Score
    from dnachunk.training.finetune import finetune

    # Hugging Face draws a bar for each file of weights.
    logging.disable_progress_bar()
    output_dir = Path(args.output_dir)
    described = {system.name: _look_at(system, entries, options["truncate"]) for system in systems}
    for system in systems:
        _check_unchanged(output_dir / CELLS / system.name, described[system.name].pop("sha256"), system)
    metrics: dict[str, Any] = {
        **settings,
        "models": described,
        "tasks": {name: _describe(entry) for name, entry in entries.items()},
        "scores": {system.name: {} for system in systems},
    }
    scores: dict[tuple[str, str], Score] = {}
    comparison = Comparison(list(described), {name: entry.metric for name, entry in entries.items()}, scores)
    done, total = 0, len(systems) * len(entries)
    try:
        for name, entry in entries.items():
            say(f"\nTask {name}: {', '.join(f'{part} {len(of):,}' for part, of in entry.parts.items())}")
            for system in systems:
                cell_args = copy.copy(args)
                cell_args.output_dir = str(output_dir / CELLS / system.name / name)
                result = finetune(
                    system.folder,
                    entry.task,
                    cell_args,
                    metric=entry.metric,
                    resume=True,
                    before_run=_announce(system.name, name),
                    **options,
                )
                _drop_models(Path(cell_args.output_dir))
                scores[system.name, name] = Score.of(
                    [(run.test or {})[entry.metric] for run in result.repeats]
                )
                metrics["scores"][system.name][name] = _cell_metrics(result)
                done += 1
                _write(output_dir, metrics, comparison)
                say(
                    f"{done}/{total}  {system.name}, {name}: {METRIC_TITLES[entry.metric]} "
                    f"{scores[system.name, name]}"
                )
    except KeyboardInterrupt:
        say(f"\nInterrupted with {done} of {total} done; the same command goes on with the rest.")
        raise
    say(f"\n{comparison.markdown()}")
    say(f"\nThe table is in {output_dir / 'results.md'}; its numbers are in {output_dir / 'results.json'}")


def _announce(system: str, task: str) -> Any:
    from dnachunk.cli.progress import log_lines

    def before_run(trainer: "FineTuner", candidate: "Candidate", seed: int) -> None:
        log_lines(trainer)
        say(f"{system}, {task}: {candidate}, seed {seed}, {trainer.trained_parameters:,} parameters learn")

    return before_run


def _look_at(system: System, entries: dict[str, Entry], truncate: bool) -> dict[str, Any]:
    """Loads a model, and checks that it takes the tasks' sequences: before anything is trained."""
    from transformers import AutoModel, AutoTokenizer

    from dnachunk.training.adaptation import is_of_head
    from dnachunk.training.checkpoints import load_pretrained, model_digest
    from dnachunk.training.finetune import check_lengths, length_limits

    # Without the head the backbone's names are short.
    network = load_pretrained(
        AutoModel, system.folder, may_be_new=lambda name: is_of_head(f"{AutoModel.__name__}.{name}")
    )
    tokenizer = AutoTokenizer.from_pretrained(system.folder, local_files_only=True)
    if not truncate:
        limits = length_limits(network, tokenizer)
        for entry in entries.values():
            for examples in entry.parts.values():
                check_lengths(examples, tokenizer, *limits)
    return {
        "folder": str(system.folder),
        "sha256": model_digest(system.folder),
        "backbone_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "pretraining": _pretraining(system.folder),
    }


def _pretraining(folder: Path) -> dict[str, float]:
    """What pre-training says of a model's held-out sequence, as far as it was pre-trained here."""
    try:
        metrics = json.loads((folder / "results.json").read_text(encoding="utf-8"))["metrics"]
    except (OSError, ValueError, KeyError):
        return {}
    names = ("eval_masked_accuracy", "eval_masked_nats", "eval_masked_token_nats", "train_runtime")
    found = {name: metrics[name] for name in names if name in metrics}
    # DNAChunker's two stages follow each other.
    stages = [value for name, value in metrics.items() if name.startswith("eval_compression")]
    return {**found, **({"eval_compression": math.prod(stages)} if stages else {})}


def _check_unchanged(folder: Path, sha256: str, system: System) -> None:
    """Refuses runs of another model of the same name; notes the model where there are none.

    Raises:
        ValueError: If the model is not the one that the folder's runs are of.
    """
    path = folder / "model.json"
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8"))["sha256"] != sha256:
            raise ValueError(
                f"{folder} holds runs of another model called {system.name}, or {system.folder} has changed "
                "since: choose another name or --output-dir, or delete the runs"
            )
    elif is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"sha256": sha256}) + "\n", encoding="utf-8")


def _drop_models(folder: Path) -> None:
    """Deletes what a fine-tuning saved but for the numbers of its runs."""
    from dnachunk.training.finetune import RUNS

    if not is_main_process():
        return
    for path in folder.iterdir():
        if path.is_dir() and path.name != RUNS:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def _describe(entry: Entry) -> dict[str, Any]:
    sizes = {f"{part}_sequences": len(examples) for part, examples in entry.parts.items()}
    task = entry.task
    return {"metric": entry.metric, "problem": task.problem.value, "classes": list(task.names), **sizes}


def _cell_metrics(result: "FineTuned") -> dict[str, Any]:
    return {**result.metrics, "repeats": [asdict(run) for run in result.repeats]}


def _write(output_dir: Path, metrics: dict[str, Any], comparison: "Comparison") -> None:
    """Writes both tables; what is not there yet is left out."""
    from dnachunk.evaluation.comparison import markdown_table

    if not is_main_process():
        return
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    averages = {model: score.mean for model, score in comparison.averages.items()}
    results = {**metrics, "average": averages, "average_rank": comparison.average_ranks, "date": date}
    write_results(output_dir / "results.json", results)

    def shown(value: float | None, form: str) -> str:
        return "—" if value is None else format(value, form)

    lines = [["model", "parameters", "accuracy at [MASK]", "nats at [MASK]", "bases per token"]]
    for name, model in metrics["models"].items():
        before = model["pretraining"]
        lines.append(
            [
                name,
                f"{model['backbone_parameters']:,}",
                shown(before.get("eval_masked_accuracy"), ".2%"),
                shown(before.get("eval_masked_nats"), ".4f"),
                shown(before.get("eval_compression"), ".2f"),
            ]
        )
    seeds = metrics["seeds"]
    spread = f"; means of {seeds} seeds ± sample deviation" if seeds > 1 else "; one seed"
    part = f"; {metrics['max_train']:,} training sequences at most" if metrics["max_train"] else ""
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    paragraphs = [
        f"# {output_dir.resolve().name}",
        comparison.markdown(),
        f"Test sets, in hundredths{spread}; fine-tuning: {metrics['method']}{part}. **Best**, *second best*; "
        "models that are equal share the mean of their ranks.",
        markdown_table(lines),
        "Parameters are those of the model without heads; the other columns are of held-out sequence at the "
        "end of pre-training.",
        f"    {command_line()}",
        f"{date}; {used}.",
    ]
    text = "\n\n".join(paragraphs) + "\n"
    with replacing(output_dir / "results.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
