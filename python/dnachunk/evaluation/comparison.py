"""Models on tasks: means and deviations, ranks, and one table as the papers print it."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

METRIC_TITLES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "mcc": "MCC",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "spearman": "Spearman",
    "r2": "R²",
}
"""What the metrics of the benchmarks are called; of all of them more is better."""


class Score(NamedTuple):
    """What a model reached on a task.

    Attributes:
        mean: Over the seeds.
        deviation: Sample standard deviation over the seeds; None where there is one.
    """

    mean: float
    deviation: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Score":
        """Of the values of each seed."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    @property
    def printed(self) -> float:
        """The mean as it is printed, in hundredths."""
        return round(100 * self.mean, 2) + 0.0

    def __str__(self) -> str:
        spread = "" if self.deviation is None else f" ± {100 * self.deviation:.2f}"
        return f"{self.printed:.2f}{spread}"


class TaskGroup(NamedTuple):
    """Tasks that are averaged on their own.

    Attributes:
        tasks: Those of the table.
        num_tasks: How many the benchmark has.
    """

    tasks: tuple[str, ...]
    num_tasks: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores of models on tasks.

    Scores count as they are printed, in hundredths with two decimals: what looks equal is equal, and models
    that are equal share the mean of their ranks.

    Attributes:
        models: Their names, in order.
        metrics: For each task, in order, what it is scored by.
        scores: By model and task, as far as they are known.
        without: By model and task, where there can be no score; a model of which this is so on one of the
            tasks has no average and no rank.
        groups: Tasks that are averaged on their own too, by title.
        values: By model and task the scores of each seed, for the deviations of these averages.
    """

    models: Sequence[str]
    metrics: Mapping[str, str]
    scores: Mapping[tuple[str, str], Score]
    without: Collection[tuple[str, str]] = ()
    groups: Mapping[str, TaskGroup] = field(default_factory=dict)
    values: Mapping[tuple[str, str], Sequence[float]] = field(default_factory=dict)

    @property
    def ranked(self) -> list[str]:
        """The models that can have a score on every task."""
        return [
            model for model in self.models if not any((model, task) in self.without for task in self.metrics)
        ]

    def ranks(self, task: str) -> dict[str, float]:
        """The models' ranks on a task, 1 for the best; empty while a score is missing."""
        from scipy.stats import rankdata

        models = self.ranked
        if any((model, task) not in self.scores for model in models):
            return {}
        ranks = rankdata([-self.scores[model, task].printed for model in models])
        return dict(zip(models, ranks.tolist(), strict=True))

    @property
    def averages(self) -> dict[str, Score]:
        """Means over the tasks, of models that have them all."""
        return {
            model: Score(statistics.fmean(self.scores[model, task].mean for task in self.metrics))
            for model in self.models
            if all((model, task) in self.scores for task in self.metrics)
        }

    @property
    def average_ranks(self) -> dict[str, float]:
        """Means of the ranks over the tasks; empty while a score is missing."""
        ranks = [self.ranks(task) for task in self.metrics]
        if not all(ranks):
            return {}
        return {model: statistics.fmean(each[model] for each in ranks) for model in self.ranked}

    def group_averages(self, title: str) -> dict[str, Score]:
        """Means over the tasks of a group, of models that have them all, and how they spread over seeds.

        The deviation is that of the group's mean of each seed; None where there is one seed, or where the
        seeds of the tasks are not as many.
        """
        tasks = self.groups[title].tasks
        found = {}
        for model in self.models:
            if all((model, task) in self.scores for task in tasks):
                mean = statistics.fmean(self.scores[model, task].mean for task in tasks)
                seeds = [self.values.get((model, task), ()) for task in tasks]
                is_alike = len({len(each) for each in seeds}) == 1 and len(seeds[0]) > 1
                means = [statistics.fmean(each) for each in zip(*seeds, strict=True)] if is_alike else []
                found[model] = Score(mean, statistics.stdev(means) if means else None)
        return found

    def group_lines(self) -> list[list[str]]:
        """Cells of the table of averages by group, marked as :meth:`lines`; none where there is no group."""
        lines = [["average of", *self.models]]
        for title, (tasks, num_tasks) in self.groups.items():
            count = f"{len(tasks)} of {num_tasks}" if len(tasks) < num_tasks else f"{len(tasks)}"
            able = [
                model for model in self.models if not any((model, task) in self.without for task in tasks)
            ]
            word = "task" if count == "1" else "tasks"
            lines.append([f"{title} ({count} {word})", *self._cells(self.group_averages(title), able)])
        return lines if len(lines) > 1 else []

    def lines(self) -> list[list[str]]:
        """The table's cells, the first line the header.

        The best of each task is bold, the second best italic, — where a score is missing or cannot be; where
        several are best there is no second. Tasks are rows; columns where there are more models.
        """
        lines = [["", *self.models]]
        for task, metric in self.metrics.items():
            scores = {model: score for (model, of), score in self.scores.items() if of == task}
            able = [model for model in self.models if (model, task) not in self.without]
            lines.append([f"{task} ({METRIC_TITLES[metric]})", *self._cells(scores, able)])
        lines.append(["average", *self._cells(self.averages, self.ranked)])
        ranks = self.average_ranks
        marked = _marked([f"{rank:.2f}" for rank in ranks.values()], [-rank for rank in ranks.values()])
        texts = dict(zip(ranks, marked, strict=True))
        lines.append(["average rank", *(texts.get(model, "—") for model in self.models)])
        if len(self.models) > len(self.metrics):
            lines = [list(line) for line in zip(*lines, strict=True)]
        return lines

    def markdown(self) -> str:
        """:meth:`lines` as a table in Markdown, and below it :meth:`group_lines`, if there are any."""
        groups = self.group_lines()
        return "\n\n".join(map(markdown_table, [self.lines(), *([groups] if groups else [])]))

    def _cells(self, scores: Mapping[str, Score], able: Sequence[str]) -> list[str]:
        """A cell for each model; marked if all that can have a score do."""
        texts = {model: str(score) for model, score in scores.items()}
        if able and all(model in scores for model in able):
            marked = _marked([texts[model] for model in able], [scores[model].printed for model in able])
            texts = dict(zip(able, marked, strict=True))
        return [texts.get(model, "—") for model in self.models]


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells, the first one the header, as a Markdown table that reads well as plain text too."""
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(lines[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    rows = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]])


def _marked(texts: list[str], values: list[float]) -> list[str]:
    """Marks the highest values' texts bold, and, if that is one, the second highest ones' italic."""
    if len(values) < 2:
        return texts
    first, *others = sorted(values, reverse=True)
    marks = {first: "**"} if others[0] == first else {others[0]: "*", first: "**"}
    return [
        f"{marks.get(value, '')}{text}{marks.get(value, '')}"
        for text, value in zip(texts, values, strict=True)
    ]


__all__ = ["Comparison", "Score", "TaskGroup", "markdown_table"]
