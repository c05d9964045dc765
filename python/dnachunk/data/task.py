"""What is to be predicted: the kind of problem, its classes, and the examples to learn and to test with."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.data.labelled import LabelledSet
from dnachunk.data.problem import Problem
from dnachunk.random import mix

Target = int | list[int] | list[float]

UNLABELLED = "."
"""A base without a label, among labels for each base."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Sequences with their targets.

    Attributes:
        sequences: Upper-case letters.
        targets: A class; 0 and 1 for each label; numbers; or a class for each base, −100 where there is none.
        places: Where each of them stands, for messages.
    """

    sequences: list[str]
    targets: list[Any]
    places: list[str]

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, indices: Sequence[int]) -> "Examples":
        """Some of them."""
        return Examples(*([values[index] for index in indices] for values in self._columns()))

    def draw(self, count: int, seed: int) -> "Examples":
        """At most so many of them, drawn at random, in their order."""
        drawn = sorted(range(len(self)), key=lambda index: mix(seed, index))[:count]
        return self.take(sorted(drawn))

    def _columns(self) -> tuple[list[Any], ...]:
        return self.sequences, self.targets, self.places


@dataclass(frozen=True, slots=True)
class Task:
    """A problem and the examples of it.

    Attributes:
        problem: Its kind.
        names: Its classes, labels or numbers. Classes are in numerical order where all are whole numbers, and
            else in alphabetical order; of two, the last is the positive one.
        train: Examples to learn from.
        valid: Examples to choose by.
        test: Examples to report on, if there are any.
    """

    problem: Problem
    names: tuple[str, ...]
    train: Examples
    valid: Examples
    test: Examples | None = None

    @classmethod
    def of(
        cls,
        splits: Mapping[str, LabelledSet],
        problem: Problem | None = None,
        *,
        valid_share: float = 0.1,
        seed: int = 0,
    ) -> "Task":
        """Reads the labels.

        Args:
            splits: Sets by ``"train"`` and perhaps ``"valid"`` and ``"test"``.
            problem: Its kind; by default what the labels of the training set look like: 0 and 1 or numbers in
                several columns are several labels or numbers; in one column, digits for each base are labels
                of bases, cells with ``|`` several labels, numbers that are not all whole (``2`` and ``2.0``
                are) a regression, and anything else classes.
            valid_share: Where there is no ``"valid"``, what share of the training set becomes it: of each
                class alike, equal sequences on one side.
            seed: Which of them.

        Raises:
            ValueError: If a label does not fit the problem, is unknown in the training set, or there are too
                few; the message names file and row.
        """
        train = splits["train"]
        if problem is None:
            problem = infer_problem(train)
        names = _names(train, problem)
        examples = {split: _encode(labelled, problem, names) for split, labelled in splits.items()}
        if problem is Problem.multi_label:
            for name, values in zip(names, zip(*examples["train"].targets, strict=True), strict=True):
                if not any(values):
                    raise ValueError(f"Task: label {name!r} is 1 in no row of the training set")
        if "valid" not in examples:
            examples["train"], examples["valid"] = _split_off(
                examples["train"], problem, names, valid_share, seed
            )
        return cls(problem, names, **examples)

    @property
    def config_fields(self) -> dict[str, Any]:
        """What a Hugging Face configuration says of it."""
        kind = {
            Problem.multi_label: "multi_label_classification",
            Problem.regression: "regression",
        }.get(self.problem, "single_label_classification")
        return {
            "problem_type": kind,
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
        }


def infer_problem(labelled: LabelledSet) -> Problem:
    """The kind of problem that labels look like, as :meth:`Task.of` says.

    Raises:
        ValueError: If nearly all are numbers, not whole ones, and some are none.
    """
    cells = [cell for labels in labelled.labels for cell in labels]
    if len(labelled.columns) > 1:
        return Problem.multi_label if set(cells) <= {"0", "1"} else Problem.regression
    digits = re.compile(r"[\d.]+")
    is_per_base = [
        cell.count(" ") == len(sequence) - 1
        if " " in cell
        else len(cell) == len(sequence) and digits.fullmatch(cell) is not None
        for cell, sequence in zip(cells, labelled.sequences, strict=True)
    ]
    if all(is_per_base) and max(map(len, labelled.sequences)) > 1:
        return Problem.per_base
    if any("|" in cell for cell in cells):
        return Problem.multi_label
    is_number = [_number(cell) is not None for cell in cells]
    if not all(_is_whole(cell) for cell, is_one in zip(cells, is_number, strict=True) if is_one):
        if all(is_number):
            return Problem.regression
        if 0.9 * len(cells) < sum(is_number):
            row = is_number.index(False)
            raise ValueError(
                f"{labelled.places[row]}: a label must be a finite number, as nearly all are, "
                f"got {cells[row]!r}"
            )
    return Problem.single_label


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_whole(cell: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.0+)?", cell, re.ASCII) is not None


def _ordered(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=float if all(map(_is_whole, names)) else None))


def _split_labels(cell: str) -> list[str]:
    return [label.strip() for label in cell.split("|") if label.strip()]


def _words(cell: str) -> list[str]:
    """The labels of the bases."""
    return cell.split() if " " in cell else list(cell)


def _names(train: LabelledSet, problem: Problem) -> tuple[str, ...]:
    is_table = len(train.columns) > 1
    if is_table and problem in (Problem.single_label, Problem.per_base):
        raise ValueError(
            f"Task: {problem.value} labels must be in one column, got {', '.join(train.columns)}"
        )
    if problem is Problem.regression or (is_table and problem is Problem.multi_label):
        return train.columns
    if problem is Problem.per_base:
        names = {word for (cell,) in train.labels for word in _words(cell)} - {UNLABELLED}
    elif problem is Problem.multi_label:
        names = {label for (cell,) in train.labels for label in _split_labels(cell)}
    else:
        names = {cell for (cell,) in train.labels}
    if len(names) < 2 and problem is not Problem.multi_label:
        got = ", ".join(sorted(names)) or "none"
        raise ValueError(f"Task: the training set must have two classes at least, got {got}")
    return _ordered(names)


def _encode(labelled: LabelledSet, problem: Problem, names: tuple[str, ...]) -> Examples:
    is_table = len(labelled.columns) > 1
    index_of = {name: index for index, name in enumerate(names)}

    def known(label: str, place: str) -> int:
        if not label:
            raise ValueError(f"{place}: there is no label")
        if label not in index_of:
            shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
            raise ValueError(f"{place}: label {label!r} is not among those of the training set: {shown}")
        return index_of[label]

    def multi_label(cells: tuple[str, ...], place: str) -> list[float]:
        if is_table:
            for name, cell in zip(names, cells, strict=True):
                if cell not in ("0", "1"):
                    raise ValueError(f"{place}: column {name!r} must hold 0 or 1, got {cell!r}")
            return [float(cell) for cell in cells]
        present = {known(label, place) for label in _split_labels(cells[0])}
        return [float(index in present) for index in range(len(names))]

    def numbers(cells: tuple[str, ...], place: str) -> list[float]:
        values = [_number(cell) for cell in cells]
        for name, cell, value in zip(labelled.columns, cells, values, strict=True):
            if value is None:
                raise ValueError(f"{place}: column {name!r} must hold a finite number, got {cell!r}")
        return [value for value in values if value is not None]

    def per_base(cells: tuple[str, ...], place: str, sequence: str) -> list[int]:
        words = _words(cells[0])
        if len(words) != len(sequence):
            raise ValueError(
                f"{place}: there must be a label for each of {len(sequence)} bases, got {len(words)}"
            )
        return [IGNORE_INDEX if word == UNLABELLED else known(word, place) for word in words]

    targets: list[Target] = []
    for cells, place, sequence in zip(labelled.labels, labelled.places, labelled.sequences, strict=True):
        if problem is Problem.multi_label:
            targets.append(multi_label(cells, place))
        elif problem is Problem.regression:
            targets.append(numbers(cells, place))
        elif problem is Problem.per_base:
            targets.append(per_base(cells, place, sequence))
        else:
            targets.append(known(cells[0], place))
    return Examples(labelled.sequences, targets, labelled.places)


def _split_off(
    examples: Examples, problem: Problem, names: tuple[str, ...], share: float, seed: int
) -> tuple[Examples, Examples]:
    """What remains, and a share of each class; equal sequences stay together."""
    if not 0 < share < 1:
        raise ValueError(f"Task: valid_share must be between 0 and 1, got {share}")
    is_stratified = problem is Problem.single_label
    class_of: dict[str, int] = {}
    for sequence, target in zip(examples.sequences, examples.targets, strict=True):
        class_of.setdefault(sequence, target if is_stratified else 0)
    strata = defaultdict(list)
    for sequence, index in class_of.items():
        strata[index].append(sequence)
    held_out: set[str] = set()
    for index, sequences in strata.items():
        if len(sequences) < 2:
            what = f"class {names[index]!r}" if is_stratified else "the training set"
            raise ValueError(
                f"Task: {what} has one sequence, so none can be kept for validation; give a validation set"
            )
        order = sorted(range(len(sequences)), key=lambda place: mix(seed, index, place))
        count = min(max(1, round(share * len(sequences))), len(sequences) - 1)
        held_out.update(sequences[place] for place in order[:count])
    is_held_out = [sequence in held_out for sequence in examples.sequences]
    return (
        examples.take([index for index, held in enumerate(is_held_out) if not held]),
        examples.take([index for index, held in enumerate(is_held_out) if held]),
    )


__all__ = ["Examples", "Problem", "Task", "infer_problem"]
