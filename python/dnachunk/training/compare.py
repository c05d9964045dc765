"""Models on the tasks of a suite, in one table."""

import copy
import datetime
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoModel, TrainingArguments

from dnachunk.data.contents import OnError
from dnachunk.data.examples import check_lengths
from dnachunk.data.labelled import read_splits
from dnachunk.data.task import Examples, Problem, Task
from dnachunk.data.tiles import configured_tile
from dnachunk.errors import ArgumentError, UsageError, require_at_least, require_one_of
from dnachunk.evaluation.comparison import METRIC_TITLES, Comparison, Score, TaskGroup, markdown_table
from dnachunk.evaluation.kmer_floor import FLOORS, STRENGTHS, WORD_LENGTHS, Floor, fit_floor, has_floor
from dnachunk.evaluation.strands import Strands
from dnachunk.evaluation.suites import SUITES, find_tasks, suite_of
from dnachunk.files import replacing, written_whole
from dnachunk.models.limits import length_limits
from dnachunk.models.loading import ask, check_code, load_pretrained, load_tokenizer, model_digest
from dnachunk.models.shipped import model_folder
from dnachunk.reporting import (
    Report,
    Table,
    command_line,
    is_main_process,
    require_own_files,
    say,
    to_json,
    versions,
    write_results,
)
from dnachunk.training.adaptation import LoRA, Method, is_of_head, pair_fields
from dnachunk.training.finetune import (
    FineTuned,
    check_metric,
    check_ridge,
    checked_method,
    choose_candidates,
    chosen_metric,
    describe_repeats,
    finetuning_arguments,
    run_search,
    several,
    task_digest,
    tell_skipped_rows,
    the_only,
)
from dnachunk.training.finetuner import FineTuner
from dnachunk.training.plan import MODEL_NAME, Plan
from dnachunk.training.progress import log_lines, quiet_files
from dnachunk.training.run_store import RUNS, Candidate

PathLike = str | os.PathLike[str]

CELLS = "cells"
"""Folder, in the output folder, of what was reached: by model and task."""

_JOB = "compare_models"
# What the arguments are that say which columns of a table are read, where none is given.
_OF_TABLES = ("sequence", None, "label")
_FLOOR = "floor.json"


@dataclass(frozen=True, slots=True)
class ModelComparison(Report):
    """What models reached on tasks.

    Attributes:
        comparison: Means and deviations over the seeds, averages and ranks.
        metrics: What ``results.json`` holds: the models, the tasks, and the scores of each run.
        output_dir: Where the table and the runs are.
    """

    comparison: Comparison
    metrics: Mapping[str, Any]
    output_dir: Path

    def report(self) -> list[Table | str]:
        """The table of scores, and that of averages by group."""
        tables = [self.comparison.lines(), self.comparison.group_lines()]
        return [Table(header, rows) for header, *rows in filter(None, tables)]

    def __str__(self) -> str:
        """The table in Markdown, which reads well as plain text too."""
        return self.comparison.markdown()


@dataclass(frozen=True, slots=True)
class Entry:
    """A task of the suite, and what it is scored by.

    Attributes:
        name: Its name.
        task: The task, whole.
        metric: What it is scored by.
        trained: What is trained and tested on: the task, or those of a cross-validation.
        group: Title and size of the group that it is averaged in.
    """

    name: str
    task: Task
    metric: str
    trained: Sequence[Task]
    group: tuple[str, int] | None = None

    @classmethod
    def of(
        cls, name: str, task: Task, metric: str, method: Method, seeds: int, folds: int | None, seed: int
    ) -> "Entry":
        """Makes it.

        Raises:
            ArgumentError: If it cannot be scored by the metric, be cut in folds, or be learned by the method.
        """
        try:
            if method == "ridge":
                check_ridge(task, seeds)
            trained = [task] if folds is None else task.folds(folds, seed)
            for each in trained:
                assert each.test is not None
                check_metric(metric, each, each.valid, "eval", may_be_loss=False)
                check_metric(metric, each, each.test, "test", may_be_loss=False)
        except ValueError as error:
            kind = UsageError if isinstance(error, UsageError) else ArgumentError
            raise kind(f"task {name}: {getattr(error, 'message', error)}") from error
        return cls(name, task, metric, trained)

    @property
    def parts(self) -> dict[str, Examples]:
        """Its examples."""
        task = self.task
        test = {} if task.test is None else {"test": task.test}
        return {"train": task.train, "eval": task.valid, **test}


def compare_models(
    output_dir: PathLike,
    *,
    model: Mapping[str, PathLike] | Sequence[PathLike] | PathLike = (),
    suite: PathLike | None = None,
    data: PathLike | None = None,
    plan: PathLike | None = None,
    small: bool = False,
    tasks: str | Sequence[str] = (),
    problem: Problem | str | None = None,
    sequence_column: str | Sequence[str] = "sequence",
    tissue_column: str | None = None,
    label_column: str | Sequence[str] = "label",
    on_error: OnError = "fail",
    method: Method = "full",
    seeds: int | None = None,
    folds: int | None = None,
    max_train: int | None = None,
    learning_rate: float | Sequence[float] | None = None,
    num_train_epochs: float | Sequence[float] | None = None,
    weight_decay: float | Sequence[float] | None = None,
    lora_rank: int | Sequence[int] | None = None,
    lora_alpha: float | Sequence[float] | None = None,
    paper_grid: bool = False,
    metric: str | None = None,
    patience: int = 3,
    reverse_complement: Strands = "none",
    tokens_per_base: float | None = None,
    truncate: bool = False,
    tile_bp: int | None = None,
    trust_remote_code: bool = False,
    floor: bool = True,
    before_models: Callable[[], None] | None = None,
    **arguments: Any,
) -> ModelComparison:
    """Fine-tunes models on the tasks of a suite, and writes one table of what they reach.

    Runs every model on every task with every seed, and goes on where an interrupted call stopped; models,
    tasks and seeds can be added to a finished comparison, named beside those of before.

    Args:
        output_dir: Folder for ``results.json``, ``results.md`` and the runs.
        model: Folders of pre-trained models by what they are called in the table, or one folder or several,
            whose names these then are.
        suite: One of :data:`~dnachunk.evaluation.suites.SUITES`, such as ``"gue"``, or a folder of tasks:
            folders with train, dev and test. Below a folder called after a suite its metrics and its groups
            of tasks count.
        data: Folder of the tasks of a named suite, or of a plan's genomes and tasks.
        plan: Instead of all but ``data``, a TOML file: models that are pre-trained first, all on as many
            bases, and the tasks that they are then compared on; see :class:`~dnachunk.training.plan.Plan`.
        small: Whether the plan's table ``small`` goes before all else: a plan of a paper, at a size that runs
            anywhere.
        tasks: Task, perhaps with ``*`` and ``?``, or folder of tasks, or several; default all.
        problem: Kind of labels, as for :func:`~dnachunk.finetune`, like what follows unless it is said.
        sequence_column: Column of the sequences, or two of pairs of alleles.
        tissue_column: Column of the tissues of pairs of alleles.
        label_column: Column of labels, or several.
        on_error: ``"skip"`` leaves out, counts and lists rows that cannot be read; ``"fail"`` refuses them.
        method: ``"full"``, ``"probe"``, ``"lora"`` or ``"ridge"``.
        seeds: Runs of each model on each task, from ``seed`` on; default 3, and 1 with ``folds`` or
            ``"ridge"``.
        folds: Folds of a cross-validation, as for :func:`~dnachunk.finetune`: the table has means and
            deviations over them, and a task need have no test set. The floor is fitted on each.
        max_train: Sequences to train on, and to choose by, at most: a part drawn at random.
        learning_rate: See there.
        num_train_epochs: See there.
        weight_decay: See there.
        lora_rank: See there.
        lora_alpha: See there.
        paper_grid: See there.
        metric: What all tasks are scored by, and models chosen by, as for :func:`~dnachunk.finetune` but for
            the loss; default each task's own.
        patience: See there.
        reverse_complement: See there.
        tokens_per_base: See there; of the models that can be asked, the others are as they are.
        truncate: See there.
        tile_bp: See there.
        trust_remote_code: See there.
        floor: Whether counts of k-mers are rows as well, fitted on the same training sequences, whole and of
            one strand: with naive Bayes, and with logistic regression (of numbers, ridge regression). The
            length of the words, 3 to 6, and the regularization are chosen on the validation set. Labels of
            bases have none, numbers the second alone; what has no score on one of the tasks is not ranked.
        before_models: Called when the tasks have been read and checked, before a model is looked at.
        **arguments: Fields of Hugging Face's ``TrainingArguments``.

    Returns:
        The comparison.

    Raises:
        OSError: If a file cannot be read or written; what was finished remains.
        TypeError: If an argument is unknown.
        ValueError: If one is out of range, the data does not fit, or the folder holds runs of other models.
    """
    if plan is not None:
        if model or suite or tasks or before_models or arguments:
            raise UsageError("the plan says all but `data` and `output_dir`")
        return _run_plan(Plan.read(Path(plan), small=small), data, Path(output_dir))
    if small:
        raise UsageError("`small` is for a `plan`")
    how = checked_method(method)
    require_one_of("reverse_complement", reverse_complement, ("none", "average"))
    for name, value in (("lora_rank", lora_rank), ("lora_alpha", lora_alpha)):
        if value is not None and how != "lora":
            raise UsageError(f"`{name}` needs `method=lora`, got {how}")
    if seeds is None:
        seeds = 3 if folds is None and how != "ridge" else 1
    require_at_least("seeds", seeds, 1)
    if folds is not None:
        require_at_least("folds", folds, 2)
    if max_train is not None:
        require_at_least("max_train", max_train, 2)
    args = finetuning_arguments(output_dir, how, arguments)
    if args.resume_from_checkpoint is not None:
        raise UsageError("`resume_from_checkpoint` is for finetune: what there is is resumed")
    asked_metric = chosen_metric(args, metric)
    candidates = choose_candidates(
        args,
        learning_rate,
        num_train_epochs,
        lora_rank,
        weight_decay,
        lora_alpha,
        paper_grid,
        how,
    )
    models = _named(model)
    known, folder = _suite_and_folder(suite, data)
    if known and SUITES[known].read and (sequence_column, tissue_column, label_column) != _OF_TABLES:
        raise UsageError(
            "`sequence_column`, `tissue_column` and `label_column` are for tables: "
            f"`suite={known}` has columns of its own"
        )
    patterns = [tasks] if isinstance(tasks, str) else list(tasks)
    found = find_tasks(folder, patterns, known)
    columns = [label_column] if isinstance(label_column, str) else list(label_column)
    kind = None if problem is None else Problem(problem)
    entries = {}
    for task, path in found.items():
        read = {
            "sequence_column": sequence_column,
            "tissue_column": tissue_column,
            "label_columns": columns,
            "on_error": on_error,
        }
        may_lack_test = folds is not None
        examples = _read_task(
            task, path, known, kind, max_train, args.seed, read, may_lack_test=may_lack_test
        )
        of = suite_of(f"{folder.resolve().name}/{task}", known)
        metric_of_task = asked_metric or of.metric(task, examples.problem)
        entry = Entry.of(task, examples, metric_of_task, how, seeds, folds, args.seed)
        group = of.group(task)
        title = None if group is None else (f"{of.title}: {group.title}", group.num_tasks)
        entries[task] = replace(entry, group=title)
    if floor and (taken := [name for name in models if name in FLOORS]):
        raise UsageError(f"a model is called {taken[0]}, as a row of the `floor`: choose another name")
    if before_models is not None:
        before_models()
    with quiet_files():
        return _compare(
            models,
            entries,
            args,
            {
                "suite": known or str(folder),
                "method": how,
                "seeds": seeds,
                "folds": folds,
                "max_train": max_train,
            },
            method=how,
            lora=LoRA(alpha=the_only(several(lora_alpha))) if how == "lora" else None,
            candidates=candidates,
            seeds=seeds,
            folds=folds,
            patience=patience,
            reverse_complement=reverse_complement,
            tokens_per_base=tokens_per_base,
            truncate=truncate,
            tile_bp=tile_bp,
            trust_remote_code=trust_remote_code,
            floor=floor,
        )


def _run_plan(plan: Plan, data: PathLike | None, output_dir: Path) -> ModelComparison:
    """Pre-trains the models of a plan and compares them; goes on where an interrupted call stopped."""
    if data is None:
        raise UsageError("`plan` needs `data`, the folder of the plan's genomes and tasks")
    data = Path(data)
    folders: dict[str, PathLike] = {name: output_dir / "models" / name for name in plan.models}
    paths = {name: Path(folder) for name, folder in folders.items()}
    plan.check(data, paths)
    suite = plan.evaluate.get("suite")
    source = {"suite": data} if suite is None else {"suite": suite, "data": data}
    with plan.told("evaluate"):
        return compare_models(
            output_dir,
            model=folders,
            before_models=lambda: plan.pretrain_all(data, paths),
            **{**plan.evaluate, **source},
        )


def _named(model: Mapping[str, PathLike] | Sequence[PathLike] | PathLike) -> dict[str, Path]:
    """The models' folders by name."""
    pairs: Iterable[tuple[str, PathLike]]
    if isinstance(model, Mapping):
        pairs = model.items()
    else:
        folders = [model] if isinstance(model, str | os.PathLike) else list(model)
        for folder in folders:
            if not isinstance(folder, str | os.PathLike):
                raise ArgumentError(f"`model` must be folders of models, got a {type(folder).__name__}")
        pairs = [(Path(folder).resolve().name, folder) for folder in folders]
    models: dict[str, Path] = {}
    for name, folder in pairs:
        if MODEL_NAME.fullmatch(name) is None:
            raise UsageError(f"`model` must be NAME=DIR with a name for a table, got {name}={folder}")
        if name in models:
            raise UsageError(f"several models are called {name}: give them names of their own")
        models[name] = Path(folder)
    if not models:
        raise UsageError("give a `model` at least")
    return models


def _suite_and_folder(suite: PathLike | None, data: PathLike | None) -> tuple[str | None, Path]:
    known = ", ".join(SUITES)
    if suite is None:
        raise UsageError(f"give `suite`, {known} or a folder of tasks; or `plan`")
    if suite not in SUITES:
        if not Path(suite).is_dir():
            raise UsageError(f"`suite` must be {known} or a folder of tasks, got {suite}")
        if data is not None:
            raise UsageError(f"`data` is for a named suite, got {data} beside the folder {suite}")
        return None, Path(suite)
    if data is None:
        raise UsageError(
            f"`suite={suite}` needs `data`, the folder of {SUITES[suite].title}: {SUITES[suite].layout}"
        )
    return str(suite), Path(data)


def _read_task(
    name: str,
    folder: Path,
    suite: str | None,
    problem: Problem | None,
    max_train: int | None,
    seed: int,
    columns: dict[str, Any],
    *,
    may_lack_test: bool,
) -> Task:
    on_error, read = columns["on_error"], None if suite is None else SUITES[suite].read
    try:
        splits = read_splits(folder, **columns) if read is None else read(folder, on_error)
        task = Task.of(splits, problem, seed=seed, on_error=on_error)
    except ValueError as error:
        raise ArgumentError(f"task {name}: {getattr(error, 'message', error)}") from error
    if task.test is None and not may_lack_test:
        raise ArgumentError(
            f"task {name}: {folder} has no test split to compare models on; `folds` needs none"
        )
    if max_train is not None:
        task = replace(task, train=task.train.draw(max_train, seed), valid=task.valid.draw(max_train, seed))
    return task


def _compare(
    models: dict[str, Path],
    entries: dict[str, Entry],
    args: TrainingArguments,
    settings: dict[str, Any],
    *,
    floor: bool,
    tokens_per_base: float | None,
    **options: Any,
) -> ModelComparison:
    output_dir = Path(args.output_dir)
    require_own_files(output_dir / "results.json", _JOB, [output_dir / "results.md"])
    looked_for = {name: options[name] for name in ("truncate", "tile_bp", "trust_remote_code")}
    described = {
        name: _look_at(folder, entries, tokens_per_base=tokens_per_base, **looked_for)
        for name, folder in models.items()
    }
    asked = {name: model["tokens_per_base"] for name, model in described.items()}
    if tokens_per_base is not None and not any(asked.values()):
        raise UsageError(
            f"`tokens_per_base` is for mergedna and dnachunker, got {tokens_per_base} for neither"
        )
    for name, folder in models.items():
        _check_unchanged(output_dir / CELLS / name, described[name].pop("sha256"), name, folder)
    metrics: dict[str, Any] = {
        **settings,
        "models": described,
        "tasks": {name: _describe(entry) for name, entry in entries.items()},
        "scores": {name: {} for name in models},
        "floor": {},
    }
    scores: dict[tuple[str, str], Score] = {}
    values: dict[tuple[str, str], list[float]] = {}
    floors = {
        row: [name for name, entry in entries.items() if has_floor(row, entry.task.problem)] for row in FLOORS
    }
    floors = {row: names for row, names in floors.items() if floor and names}
    comparison = Comparison(
        [*described, *floors],
        {name: entry.metric for name, entry in entries.items()},
        scores,
        {(row, name) for row, names in floors.items() for name in entries if name not in names},
        _groups(entries),
        values,
    )
    done, total = 0, len(models) * len(entries)
    try:
        for name, entry in entries.items():
            say(f"\nTask {name}: {', '.join(f'{part} {len(of):,}' for part, of in entry.parts.items())}")
            tell_skipped_rows(entry.task)
            for row in (row for row, names in floors.items() if name in names):
                reached = _floor(row, entry, output_dir / CELLS / row / name)
                scores[row, name] = Score.of([each.test[entry.metric] for each in reached])
                fields = [each.fields for each in reached]
                metrics["floor"].setdefault(row, {})[name] = fields if options["folds"] else fields[0]
                title = METRIC_TITLES[entry.metric]
                say(f"{row}, {name}: {title} {scores[row, name]}, k = {_lengths(fields)}")
            for model, folder in models.items():
                cell_args = copy.copy(args)
                cell_args.output_dir = str(output_dir / CELLS / model / name)
                result = run_search(
                    folder,
                    entry.task,
                    cell_args,
                    metric=entry.metric,
                    resume=True,
                    before_run=_announce(model, name),
                    tokens_per_base=asked[model],
                    **options,
                )
                _drop_models(Path(cell_args.output_dir))
                values[model, name] = [(run.test or {})[entry.metric] for run in result.repeats]
                scores[model, name] = Score.of(values[model, name])
                metrics["scores"][model][name] = _cell_metrics(result)
                done += 1
                _write(output_dir, metrics, comparison)
                title = METRIC_TITLES[entry.metric]
                say(f"{done}/{total}  {model}, {name}: {title} {scores[model, name]}")
    except KeyboardInterrupt:
        say(f"\nInterrupted with {done} of {total} done; the same command goes on with the rest.")
        raise
    return ModelComparison(comparison, metrics, output_dir)


def _groups(entries: dict[str, Entry]) -> dict[str, TaskGroup]:
    """The groups of the tasks, if there is more than one task."""
    if len(entries) < 2:
        return {}
    titles = dict.fromkeys(entry.group for entry in entries.values() if entry.group is not None)
    return {
        title: TaskGroup(
            tuple(name for name, entry in entries.items() if entry.group == (title, num_tasks)), num_tasks
        )
        for title, num_tasks in titles
    }


def _floor(row: str, entry: Entry, folder: Path) -> list[Floor]:
    """What a row of the floor reached on each fold, if the folder has it, or else computed and noted."""
    path = folder / _FLOOR
    settings = {
        "data": [task_digest(task) for task in entry.trained],
        "metric": entry.metric,
        "word_lengths": list(WORD_LENGTHS),
        "strengths": list(STRENGTHS),
    }
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["settings"] == settings:
            return [Floor(**fields) for fields in before["reached"]]
    reached = [fit_floor(row, task, entry.metric) for task in entry.trained]
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder) as staging:
            (staging / _FLOOR).write_text(
                to_json({"settings": settings, "reached": [each.fields for each in reached]}),
                encoding="utf-8",
            )
    return reached


def _lengths(floors: Sequence[Mapping[str, Any]]) -> str:
    """The lengths of words that a row has on the folds."""
    return "/".join(str(k) for k in sorted({fields["k"] for fields in floors}))


def _announce(system: str, task: str) -> Any:
    def before_run(trainer: FineTuner, candidate: Candidate, seed: int, fold: int | None) -> None:
        log_lines(trainer)
        place = f"seed {seed}" + ("" if fold is None else f", fold {fold}")
        say(f"{system}, {task}: {candidate}, {place}, {trainer.trained_parameters:,} parameters learn")

    return before_run


def _look_at(
    folder: Path,
    entries: dict[str, Entry],
    *,
    tokens_per_base: float | None,
    truncate: bool,
    tile_bp: int | None,
    trust_remote_code: bool,
) -> dict[str, Any]:
    """Loads a model, and checks that it takes the sequences and the budget: before anything is trained."""
    check_code(folder, trust_remote_code)
    # Without the head the backbone's names are short.
    network = load_pretrained(
        AutoModel,
        folder,
        may_be_new=lambda name: is_of_head(f"{AutoModel.__name__}.{name}"),
        trust_remote_code=trust_remote_code,
    )
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    for entry in entries.values():
        pair_fields(network.config, entry.task)
    asked = tokens_per_base if getattr(network.config, "can_be_asked", False) else None
    ask(network, asked)
    tile_bp = configured_tile(network.config, tile_bp, truncate)
    if not truncate:
        limits = length_limits(network, tokenizer)
        for entry in entries.values():
            for examples in entry.parts.values():
                check_lengths(examples, tokenizer, *limits, tile_bp)
    return {
        "folder": str(folder),
        "tokens_per_base": asked,
        "sha256": model_digest(folder),
        "backbone_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "pretraining": _pretraining(model_folder(folder)),
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


def _check_unchanged(cells: Path, sha256: str, name: str, folder: Path) -> None:
    """Refuses runs of another model of the same name; notes the model where there are none.

    Raises:
        ValueError: If the model is not the one that the folder's runs are of.
    """
    path = cells / "model.json"
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8"))["sha256"] != sha256:
            raise ArgumentError(
                f"{cells} holds runs of another model called {name}, or {folder} has changed "
                "since: choose another name or `output_dir`, or delete the runs"
            )
    elif is_main_process():
        cells.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(to_json({"sha256": sha256}), encoding="utf-8")


def _drop_models(folder: Path) -> None:
    """Deletes what a fine-tuning saved but for the numbers of its runs."""
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
    return {
        "metric": entry.metric,
        "problem": task.problem.value,
        "classes": list(task.names),
        **({"tissues": list(task.tissues)} if task.tissues else {}),
        **sizes,
        "skipped": task.skipped_rows,
    }


def _cell_metrics(result: FineTuned) -> dict[str, Any]:
    return {**result.metrics, "repeats": [run.fields for run in result.repeats]}


def _write(output_dir: Path, metrics: dict[str, Any], comparison: Comparison) -> None:
    """Writes both tables; what is not there yet is left out."""
    if not is_main_process():
        return
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    averages = {model: score.mean for model, score in comparison.averages.items()}
    results = {
        **metrics,
        "average": averages,
        "average_rank": comparison.average_ranks,
        "groups": {title: _describe_group(comparison, title) for title in comparison.groups},
        "date": date,
    }
    write_results(output_dir / "results.json", _JOB, results)

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
    seeds, folds = metrics["seeds"], metrics["folds"]
    spread = (
        f"; means of {describe_repeats(seeds, folds)} ± sample deviation"
        if seeds > 1 or folds
        else "; one seed"
    )
    part = f"; {metrics['max_train']:,} training sequences at most" if metrics["max_train"] else ""
    of_groups = " Averages by group are those of models that have all its tasks" if comparison.groups else ""
    if of_groups:
        over = "seeds" if folds is None else "folds"
        of_groups += f"; ± is how the group's mean deviates over {over}." if seeds > 1 or folds else "."
    for name, model in metrics["models"].items():
        if model["tokens_per_base"] is not None:
            part += f"; {name} at {model['tokens_per_base']:g} tokens per base"
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    paragraphs = [
        f"# {output_dir.resolve().name}",
        comparison.markdown(),
        f"Test sets, in hundredths{spread}; fine-tuning: {metrics['method']}{part}. **Best**, *second best*; "
        f"models that are equal share the mean of their ranks.{of_groups}",
        markdown_table(lines),
        "Parameters are those of the model without heads; the other columns are of held-out sequence at the "
        "end of pre-training.",
        f"    {command_line.get() or 'dnachunk.compare_models'}",
        f"{date}; {used}.",
    ]
    if metrics["floor"]:
        paragraphs.insert(3, _describe_floor(metrics))
    skipped = {
        name: sum(each["count"] for each in task["skipped"].values())
        for name, task in metrics["tasks"].items()
        if task["skipped"]
    }
    if skipped:
        counts = ", ".join(f"{name} ({count:,})" for name, count in skipped.items())
        paragraphs.insert(3, f"Rows that could not be read were left out: {counts}.")
    text = "\n\n".join(paragraphs) + "\n"
    with replacing(output_dir / "results.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _describe_group(comparison: Comparison, title: str) -> dict[str, Any]:
    group, averages = comparison.groups[title], comparison.group_averages(title)
    return {
        "tasks": list(group.tasks),
        "tasks_of_benchmark": group.num_tasks,
        "average": {model: score.mean for model, score in averages.items()},
        "deviation": {model: score.deviation for model, score in averages.items() if score.deviation},
    }


def _describe_floor(metrics: dict[str, Any]) -> str:
    """What the floor's rows are, and the length of words that each has."""
    chosen = []
    for row, tasks in metrics["floor"].items():
        lengths = ", ".join(
            f"{_lengths(reached if isinstance(reached, list) else [reached])} ({name})"
            for name, reached in tasks.items()
        )
        chosen.append(f"{row}: {lengths}")
    least, most = WORD_LENGTHS[0], WORD_LENGTHS[-1]
    return (
        "The floor is fitted on the same training sequences, one strand, whatever the seed: naive Bayes on "
        "counts of k-mers, and logistic regression (of numbers, ridge regression) on the square roots of "
        "their shares; of pairs of alleles, both on the counts that the alternate one gains and loses. "
        f"k, {least} to {most}, is chosen on the validation set: {'; '.join(chosen)}. Labels of bases have "
        "no floor."
    )


__all__ = ["ModelComparison", "compare_models"]
