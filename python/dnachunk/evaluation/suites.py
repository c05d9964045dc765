"""Benchmark suites: folders of tasks, and what each task is scored by."""

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dnachunk.data.bend import find_bend_tasks, read_bend
from dnachunk.data.contents import OnError
from dnachunk.data.dnalongbench import find_dnalongbench_tasks, read_dnalongbench
from dnachunk.data.labelled import LabelledSet, find_splits
from dnachunk.data.problem import Problem
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.metrics import DEFAULT_METRIC
from dnachunk.reporting import say

MAX_DEPTH = 3
"""Folders between a suite's and a task's files, at most."""


class SuiteGroup(NamedTuple):
    """Tasks whose scores the papers average.

    Attributes:
        title: What they are called.
        num_tasks: How many the benchmark has.
        patterns: What their names, or the ends of their paths, fit.
    """

    title: str
    num_tasks: int
    patterns: tuple[str, ...]


Tasks = tuple[dict[str, Path], dict[str, str]]
"""Where the tasks of a folder lie, by name, and why others are not read."""


def _find_folders(folder: Path) -> Tasks:
    return {path.relative_to(folder).as_posix(): path for path in _task_folders(folder, MAX_DEPTH)}, {}


@dataclass(frozen=True, slots=True)
class Suite:
    """A published benchmark.

    Attributes:
        title: What it is called.
        num_tasks: Tasks that it has; 0 where that depends.
        layout: How its folder looks, for messages.
        named: Metrics of tasks whose name fits a pattern; the first that fits counts.
        by_problem: Metrics of the others; those of no problem here have the usual one.
        groups: Of tasks, as the papers average them.
        find: Finds the tasks of a folder; default folders with splits.
        read: Reads a task; default :func:`~dnachunk.data.read_splits`.
    """

    title: str
    num_tasks: int
    layout: str
    named: tuple[tuple[str, str], ...] = ()
    by_problem: dict[Problem, str] = field(default_factory=dict)
    groups: tuple[SuiteGroup, ...] = ()
    find: Callable[[Path], Tasks] = _find_folders
    read: Callable[[Path, OnError], dict[str, LabelledSet]] | None = None

    def metric(self, task: str, problem: Problem) -> str:
        """What a task is scored by."""
        for pattern, metric in self.named:
            if fnmatch.fnmatch(task.lower(), pattern):
                return metric
        return self.by_problem.get(problem, DEFAULT_METRIC[problem])

    def group(self, task: str) -> SuiteGroup | None:
        """The group of a task; the first that fits counts."""
        parts = task.lower().split("/")
        ends = ["/".join(parts[first:]) for first in range(len(parts))]
        for group in self.groups:
            if any(fnmatch.fnmatch(end, pattern) for end in ends for pattern in group.patterns):
                return group
        return None


# The ten histone marks; enhancers and their types; three sets of promoters; three of splice sites.
_NT_GROUPS = (
    SuiteGroup("histone marks", 10, ("h[234]*",)),
    SuiteGroup("enhancers", 2, ("enhancer*",)),
    SuiteGroup("promoters", 3, ("promoter*",)),
    SuiteGroup("splice sites", 3, ("splice*",)),
)

SUITES = {
    "genomic-benchmarks": Suite(
        "Genomic Benchmarks (Grešová et al. 2023)",
        8,
        "human_enhancers_cohn/train/positive/*.txt, …/test/negative/*.txt, or tables train.csv, test.csv",
        by_problem={Problem.single_label: "accuracy"},
        # As MergeDNA's Table 1 has them.
        groups=(
            SuiteGroup("enhancers", 3, ("*_enhancers_*",)),
            SuiteGroup(
                "species classification", 2, ("demo_*", "coding_*", "human_or_worm*", "human_vs_worm*")
            ),
            SuiteGroup(
                "regulatory elements", 3, ("human_ensembl_regulatory*", "human_ocr*", "human_nontata*")
            ),
        ),
    ),
    # All but the variants of a virus are scored by MCC.
    "gue": Suite(
        "GUE (Zhou et al. 2024)",
        28,
        "EMP/H3/train.csv, …/dev.csv, …/test.csv, mouse/0/train.csv, prom/prom_core_all/train.csv",
        named=(("*covid*", "f1"),),
        groups=(
            SuiteGroup("epigenetic marks", 10, ("emp*",)),
            SuiteGroup("human transcription factors", 5, ("tf*",)),
            SuiteGroup("mouse transcription factors", 5, ("mouse*",)),
            SuiteGroup("core promoters", 3, ("prom_core*",)),
            SuiteGroup("promoters", 3, ("prom_300*",)),
            SuiteGroup("splice sites", 1, ("splice*",)),
            SuiteGroup("Covid variants", 1, ("*covid*",)),
        ),
    ),
    # As HyenaDNA, Caduceus and MxDNA report it, whose tables go on: F1 of promoters and of single splice
    # sites, accuracy of the three classes of splice sites.
    "nt": Suite(
        "Nucleotide Transformer tasks (Dalla-Torre et al. 2023)",
        18,
        "H3K4me1/train.fna, …/test.fna, promoter_all/train.fna, splice_sites_all/train.fna",
        named=(("*promoter*", "f1"), ("*splice_sites_all*", "accuracy"), ("*splice*", "f1")),
        groups=_NT_GROUPS,
    ),
    # Their second version, human sequences alone: all are scored by MCC.
    "nt-revised": Suite(
        "Nucleotide Transformer tasks, revised (Dalla-Torre et al. 2025)",
        18,
        "H2AFZ/train.fna, …/test.fna, promoter_all/train.fna, splice_sites_all/train.fna",
        groups=_NT_GROUPS,
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
    # As MergeDNA's Table 4, which averages donors and acceptors.
    "splicing": Suite(
        "splice sites by chromosomes (Jaganathan et al. 2019), as dnachunk splice-sites writes them",
        0,
        "donor/train.csv, …/dev.csv, …/test.csv, acceptor/train.csv",
        by_problem={Problem.single_label: "auroc"},
    ),
    "bend": Suite(
        "BEND (Marin et al. 2024)",
        0,
        "histone_modification/histone_modification.bed with columns split (train, …) and label; genomes/*.fa",
        by_problem={Problem.single_label: "auroc", Problem.multi_label: "auroc"},
        find=find_bend_tasks,
        read=read_bend,
    ),
    "dnalongbench": Suite(
        "DNALongBench (Cheng et al. 2025)",
        0,
        "eQTL/config/NAME.config and the files that it names (a table of train, …; BED, FASTA)",
        by_problem={Problem.single_label: "auroc"},
        find=find_dnalongbench_tasks,
        read=read_dnalongbench,
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
            :func:`~dnachunk.data.labelled.read_splits` takes it; or what the named suite finds there.
        patterns: Which of them, as names with ``*`` and ``?``, or the name of a folder of tasks, in this
            order; default all.
        name: Of the suite.

    Returns:
        Where the tasks lie, by their names, which are paths inside ``folder``.

    Raises:
        OSError: If there is no such folder.
        ValueError: If it has no task, or none that fits a pattern, or one is asked for that is not read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"find_tasks: folder must be one that holds tasks, got {folder}")
    suite = _ANY if name is None else SUITES[name]
    found, refused = suite.find(folder)
    for pattern in patterns:
        for task, reason in refused.items():
            if _fits(task, pattern) and not any(_fits(other, pattern) for other in found):
                raise ArgumentError(f"task {task} of {suite.title} cannot be read: {reason}")
    if not found:
        raise ValueError(f"{folder} holds no task; {suite.title} are expected as {suite.layout}")
    chosen: dict[str, Path] = {}
    for pattern in patterns:
        fitting = [task for task in found if _fits(task, pattern)]
        if not fitting:
            raise ValueError(f"{folder} has no task {pattern!r}; it has {', '.join(found)}")
        chosen |= {task: found[task] for task in fitting}
    for task, reason in refused.items() if not patterns else ():
        say(f"Left out   {task}: {reason}")
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


__all__ = ["SUITES", "Suite", "SuiteGroup", "find_tasks", "suite_of"]
