"""Benchmark suites: folders of tasks, and what each task is scored by."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnachunk.data.labelled import find_splits
from dnachunk.data.problem import Problem
from dnachunk.evaluation.metrics import DEFAULT_METRIC

MAX_DEPTH = 3
"""Folders between a suite's and a task's files, at most."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A published benchmark.

    Attributes:
        title: What it is called.
        num_tasks: Tasks that it has; 0 where that depends.
        layout: How its folder looks, for messages.
        named: Metrics of tasks whose name fits a pattern; the first that fits counts.
        by_problem: Metrics of the others; those of no problem here have the usual one.
    """

    title: str
    num_tasks: int
    layout: str
    named: tuple[tuple[str, str], ...] = ()
    by_problem: dict[Problem, str] = field(default_factory=dict)

    def metric(self, task: str, problem: Problem) -> str:
        """What a task is scored by."""
        for pattern, metric in self.named:
            if fnmatch.fnmatch(task.lower(), pattern):
                return metric
        return self.by_problem.get(problem, DEFAULT_METRIC[problem])


SUITES = {
    "genomic-benchmarks": Suite(
        "Genomic Benchmarks (Grešová et al. 2023)",
        8,
        "human_enhancers_cohn/train/positive/*.txt, …/test/negative/*.txt, or tables train.csv, test.csv",
        by_problem={Problem.single_label: "accuracy"},
    ),
    # All but the variants of a virus are scored by MCC.
    "gue": Suite(
        "GUE (Zhou et al. 2024)",
        28,
        "EMP/H3/train.csv, …/dev.csv, …/test.csv, mouse/0/train.csv, prom/prom_core_all/train.csv",
        named=(("*covid*", "f1"),),
    ),
    # As HyenaDNA, Caduceus and MxDNA report it, whose tables go on: F1 of promoters and of single splice
    # sites, accuracy of the three classes of splice sites.
    "nt": Suite(
        "Nucleotide Transformer tasks (Dalla-Torre et al. 2023)",
        18,
        "H3K4me1/train.fna, …/test.fna, promoter_all/train.fna, splice_sites_all/train.fna",
        named=(("*promoter*", "f1"), ("*splice_sites_all*", "accuracy"), ("*splice*", "f1")),
    ),
    "long-range": Suite(
        "long-range tasks (Trop et al. 2024; Cheng et al. 2025)",
        0,
        "bulk_rna_expression/train.parquet, …/test.parquet, regulatory_element/train.csv",
        by_problem={
            Problem.single_label: "auroc",
            Problem.multi_label: "auroc",
            Problem.per_base: "auroc",
            Problem.regression: "r2",
        },
    ),
}
"""The named suites."""

_ANY = Suite("tasks", 0, "NAME/train.csv, …/dev.csv, …/test.csv")


def suite_of(task: str, name: str | None = None) -> Suite:
    """The suite of a task: the named one, else the one that a folder on the way to the task is called after.

    So the task ``gue/tf_0`` of any folder is one of GUE's. A task of no suite is scored by
    :data:`~dnachunk.evaluation.metrics.DEFAULT_METRIC`.
    """
    if name is not None:
        return SUITES[name]
    for part in task.lower().replace("_", "-").split("/"):
        if part in SUITES:
            return SUITES[part]
    return _ANY


def find_tasks(folder: str | Path, patterns: Sequence[str] = (), name: str | None = None) -> dict[str, Path]:
    """Finds the tasks in a folder.

    Args:
        folder: Holds the tasks, at most :data:`MAX_DEPTH` folders deep, each of them a folder with splits as
            :func:`~dnachunk.data.labelled.read_splits` takes it.
        patterns: Which of them, as names with ``*`` and ``?``, or the name of a folder of tasks, in this
            order; default all.
        name: Of the suite, for messages.

    Returns:
        The tasks' folders by their names, which are their paths inside ``folder``.

    Raises:
        OSError: If there is no such folder.
        ValueError: If it has no task, or none that fits a pattern.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"find_tasks: folder must be one that holds tasks, got {folder}")
    found = {path.relative_to(folder).as_posix(): path for path in _task_folders(folder, MAX_DEPTH)}
    if not found:
        suite = _ANY if name is None else SUITES[name]
        raise ValueError(f"{folder} holds no task; {suite.title} are expected as {suite.layout}")
    chosen: dict[str, Path] = {}
    for pattern in patterns:
        fitting = [task for task in found if _fits(task, pattern)]
        if not fitting:
            raise ValueError(f"{folder} has no task {pattern!r}; it has {', '.join(found)}")
        chosen |= {task: found[task] for task in fitting}
    return chosen or found


def _fits(task: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(task, pattern) or task.startswith(f"{pattern}/")


def _task_folders(folder: Path, depth: int) -> list[Path]:
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    tasks = []
    for path in folders:
        if "train" in find_splits(path):
            tasks.append(path)
        elif depth > 1:
            tasks += _task_folders(path, depth - 1)
    return tasks


__all__ = ["SUITES", "Suite", "find_tasks", "suite_of"]
