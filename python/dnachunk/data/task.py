"""What is to be predicted: the kind of problem, its classes, and the examples to learn and to test with."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.data.contents import OnError
from dnachunk.data.labelled import LabelledSet, attempt, is_missing, require_alike
from dnachunk.data.problem import Problem
from dnachunk.errors import ArgumentError, require_at_least
from dnachunk.random import mix

Target = int | list[int] | list[float]

UNLABELLED = (".", str(IGNORE_INDEX))
"""A base without a label, among labels for each base."""

MAX_LISTED = 1000
"""Rows that were left out are all counted; so many of them are listed."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_LIST = re.compile(r"\[.*\]|\{.*\}|\(.*,.*\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Examples:
    """Sequences with their targets.

    Attributes:
        sequences: Upper-case letters.
        targets: A class; 0 and 1 for each label; numbers; or a class for each base, −100 where there is none.
        places: Where each of them stands, for messages.
        alternates: Of pairs of alleles, the alternate ones; the reference ones are ``sequences``.
        tissues: Of each pair, the index of its tissue in :attr:`Task.tissues`, where they have one.
    """

    sequences: list[str]
    targets: list[Any]
    places: list[str]
    alternates: list[str] | None = None
    tissues: list[int] | None = None

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, indices: Sequence[int]) -> "Examples":
        """Some of them."""
        return self._with(lambda own: [own[index] for index in indices])

    def draw(self, count: int, seed: int) -> "Examples":
        """At most so many of them, drawn at random, in their order."""
        drawn = sorted(range(len(self)), key=lambda index: mix(seed, index))[:count]
        return self.take(sorted(drawn))

    def joined(self, others: "Examples") -> "Examples":
        """These and others of the same kind."""
        return self._with(lambda own, more: own + more, others)

    def split(self, sequences: Collection[str]) -> tuple["Examples", "Examples"]:
        """Those of other sequences, and those of these; of pairs the reference counts."""
        is_theirs = [sequence in sequences for sequence in self.sequences]
        return (
            self.take([index for index, theirs in enumerate(is_theirs) if not theirs]),
            self.take([index for index, theirs in enumerate(is_theirs) if theirs]),
        )

    @property
    def alleles(self) -> list[tuple[str, ...]]:
        """Of each example its sequence, or the reference and the alternate allele."""
        if self.alternates is None:
            return [(sequence,) for sequence in self.sequences]
        return list(zip(self.sequences, self.alternates, strict=True))

    def _with(self, change: Callable[..., list[Any]], *others: "Examples") -> "Examples":
        """What ``change`` makes of each column that there is, and the same of others."""
        columns = {
            name: change(own, *(getattr(other, name) for other in others))
            for name in (column.name for column in fields(self))
            if (own := getattr(self, name)) is not None
        }
        return replace(self, **columns)


@dataclass(frozen=True, slots=True)
class Task:
    """A problem and the examples of it.

    Attributes:
        problem: Its kind.
        names: Its classes, labels or numbers. Classes are in numerical order where all are numbers, and else
            in alphabetical order; of two, the last is the positive one.
        train: Examples to learn from.
        valid: Examples to choose by.
        test: Examples to report on, if there are any.
        skipped: Of each split that rows were left out of, where each stands and what is wrong with it.
        tissues: Of pairs of alleles, the tissues that they are seen in, in alphabetical order: those of the
            training set.
    """

    problem: Problem
    names: tuple[str, ...]
    train: Examples
    valid: Examples
    test: Examples | None = None
    skipped: Mapping[str, list[str]] = field(default_factory=dict)
    tissues: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        splits: Mapping[str, LabelledSet],
        problem: Problem | None = None,
        *,
        valid_share: float = 0.1,
        seed: int = 0,
        on_error: OnError = "fail",
    ) -> "Task":
        """Reads the labels, as :class:`Problem` says.

        Args:
            splits: Sets by ``"train"`` and perhaps ``"valid"`` and ``"test"``.
            problem: Its kind; by default what the labels of the training set look like, those that are
                missing left aside: 0 and 1 or numbers in several columns are several labels or numbers; in
                one column, digits for each base are labels of bases, cells with ``|`` several labels, numbers
                (nine tenths of the cells at least) that are not all whole (``2`` and ``2.0`` are) a
                regression, and anything else classes.
            valid_share: Where there is no ``"valid"``, what share of the training set becomes it: of each
                class alike, equal sequences on one side.
            seed: Which of them.
            on_error: ``"skip"`` leaves out rows with a label that is missing, does not fit the problem or is
                unknown in the training set, as a tissue may be; ``"fail"`` refuses them.

        Raises:
            ValueError: If a row is refused (the message names file and row), there are too few, some sets
                are of pairs of alleles or have tissues and others not, or bases of pairs are labelled.
        """
        train = splits["train"]
        require_alike(splits, "Task")
        if problem is None:
            problem = infer_problem(train)
        if problem is Problem.per_base and train.alternates is not None:
            raise ValueError("Task: a pair of alleles must have labels for the pair, got per-base labels")
        skipped = {split: list(labelled.skipped) for split, labelled in splits.items()}
        read = {
            split: _read(labelled, problem, on_error, skipped[split]) for split, labelled in splits.items()
        }
        names = _names(train, problem, read["train"])
        tissues = tuple(sorted(set(train.tissues or ())))
        examples = {
            split: _encode(labelled, problem, names, tissues, read[split], on_error, skipped[split])
            for split, labelled in splits.items()
        }
        if problem is Problem.multi_label:
            for name, values in zip(names, zip(*examples["train"].targets, strict=True), strict=True):
                if not any(values):
                    raise ValueError(f"Task: label {name!r} is 1 in no row of the training set")
        if "valid" not in examples:
            examples["train"], examples["valid"] = _split_off(
                examples["train"], problem, names, valid_share, seed
            )
        return cls(
            problem,
            names,
            **examples,
            skipped={split: rows for split, rows in skipped.items() if rows},
            tissues=tissues,
        )

    def folds(self, count: int, seed: int, valid_share: float = 0.1) -> list["Task"]:
        """Tasks of a cross-validation, in each of which another part of the sequences is held out.

        Training and validation set together are cut in folds: of each class alike, equal sequences in one.
        Where there is a test set, the fold that is held out is what is chosen by, and all are tested on that
        set, as the Nucleotide Transformer's tasks are; where there is none, it is the test set, and a share
        of the rest is chosen by.

        Args:
            count: Folds, at least 2.
            seed: Which sequence is in which.
            valid_share: Share of the rest, where there is no test set.

        Raises:
            ValueError: If an argument is out of range, or there are fewer sequences, of a class or of all,
                than folds.
        """
        require_at_least("folds", count, 2)
        examples = self.train.joined(self.valid)
        is_stratified = self.problem is Problem.single_label
        fold_of: dict[str, int] = {}
        for index, sequences in _strata(examples, is_stratified).items():
            if len(sequences) < count:
                what = f"class {self.names[index]!r} has" if is_stratified else "there are"
                raise ArgumentError(
                    f"`folds` must be {len(sequences)} at most, as {what} so many, got {count}"
                )
            # Counted on from class to class, so that folds are of one size too.
            for sequence in _in_random_order(sequences, seed, index):
                fold_of[sequence] = len(fold_of) % count
        folds = []
        for fold in range(count):
            rest, held_out = examples.split({text for text, of in fold_of.items() if of == fold})
            if self.test is not None:
                folds.append(replace(self, train=rest, valid=held_out))
            else:
                train, valid = _split_off(rest, self.problem, self.names, valid_share, seed)
                folds.append(replace(self, train=train, valid=valid, test=held_out))
        return folds

    @property
    def is_of_pairs(self) -> bool:
        """Whether the examples are pairs of alleles."""
        return self.train.alternates is not None

    @property
    def skipped_rows(self) -> dict[str, Any]:
        """For JSON: by split how many rows were left out, and what is wrong with the first of them."""
        return {
            split: {"count": len(rows), "rows": rows[:MAX_LISTED]} for split, rows in self.skipped.items()
        }

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
    """The kind of problem that labels look like, as :meth:`Task.of` says."""
    cells = [cell for labels in labelled.labels for cell in labels]
    is_label = [
        not (is_missing(cell) or _INFINITE.fullmatch(cell) or _LIST.fullmatch(cell)) for cell in cells
    ]
    if len(labelled.columns) > 1:
        numbers = {_number(cell) for cell, is_one in zip(cells, is_label, strict=True) if is_one}
        return Problem.multi_label if numbers <= {0, 1} else Problem.regression
    pairs = [
        (cell, sequence)
        for cell, sequence, is_one in zip(cells, labelled.sequences, is_label, strict=True)
        if is_one
    ]
    digits = re.compile(r"[\d.]+")
    is_per_base = [
        cell.count(" ") == len(sequence) - 1
        if " " in cell
        else len(cell) == len(sequence) and digits.fullmatch(cell) is not None
        for cell, sequence in pairs
    ]
    if all(is_per_base) and max((len(sequence) for _, sequence in pairs), default=0) > 1:
        return Problem.per_base
    if any("|" in cell for cell, _ in pairs):
        return Problem.multi_label
    found = [number for cell, _ in pairs if (number := _number(cell)) is not None]
    if all(map(float.is_integer, found)) or 0.9 * len(pairs) >= len(found):
        return Problem.single_label
    return Problem.regression


def _number(cell: str) -> float | None:
    """A finite number, or None."""
    number = float(cell) if _NUMBER.fullmatch(cell) else math.inf
    return number if math.isfinite(number) else None


def _class_name(cell: str) -> str:
    """A class as it is called where all are numbers."""
    number = _number(cell)
    if number is None:
        return cell
    if re.fullmatch(r"[+-]?\d+", cell):
        return str(int(cell))
    return str(int(number)) if number.is_integer() else repr(number)


def _words(cell: str, problem: Problem) -> list[str]:
    """The classes or labels in a cell."""
    if problem is Problem.single_label:
        return [cell]
    if problem is Problem.multi_label:
        return [label.strip() for label in cell.split("|") if label.strip()]
    return cell.split() if " " in cell else list(cell)


def _is_table_of_numbers(labelled: LabelledSet, problem: Problem) -> bool:
    return problem is Problem.regression or (problem is Problem.multi_label and len(labelled.columns) > 1)


def _read(labelled: LabelledSet, problem: Problem, on_error: OnError, skipped: list[str]) -> list[Any]:
    """The words or numbers of each row; None where it is left out."""
    if len(labelled.columns) > 1 and problem in (Problem.single_label, Problem.per_base):
        raise ValueError(
            f"Task: {problem.value} labels must be in one column, got {', '.join(labelled.columns)}"
        )

    def numbers(cells: tuple[str, ...], place: str, _: str) -> list[float]:
        values = []
        for name, cell in zip(labelled.columns, cells, strict=True):
            value = _number(cell)
            if is_missing(cell):
                raise ValueError(f"{place}: the label in column {name!r} is missing, got {cell!r}")
            if value is None or (problem is Problem.multi_label and value not in (0, 1)):
                kind = "0 or 1" if problem is Problem.multi_label else "a finite number"
                raise ValueError(f"{place}: column {name!r} must hold {kind}, got {cell!r}")
            values.append(value)
        return values

    def words(cells: tuple[str, ...], place: str, sequence: str) -> list[str]:
        (cell,) = cells
        if _LIST.fullmatch(cell):
            raise ValueError(
                f"{place}: a label must be no list, got {cell[:80]!r}; several are written a|b, or in a "
                "column of 0 and 1 for each, and those of bases as words with spaces between"
            )
        found = _words(cell, problem)
        for word in dict.fromkeys(found if problem is Problem.multi_label else [cell, *found]):
            if problem is Problem.per_base and word in UNLABELLED:
                continue
            if is_missing(word):
                raise ValueError(f"{place}: the label is missing, got {word!r}")
            if _INFINITE.fullmatch(word):
                raise ValueError(f"{place}: a label must be finite, got {word!r}")
        if problem is Problem.per_base and len(found) != len(sequence):
            raise ValueError(
                f"{place}: there must be a label for each of {len(sequence)} bases, got {len(found)}"
            )
        return found

    read = numbers if _is_table_of_numbers(labelled, problem) else words
    rows = zip(labelled.labels, labelled.places, labelled.sequences, strict=True)
    return [attempt(on_error, skipped, read, *row) for row in rows]


def _names(train: LabelledSet, problem: Problem, read: Sequence[list[str] | None]) -> tuple[str, ...]:
    if _is_table_of_numbers(train, problem):
        return train.columns
    names = {word for words in read if words is not None for word in words}
    if problem is Problem.per_base:
        names.difference_update(UNLABELLED)
    numbers = [name for name in sorted(names) if _number(name) is not None]
    are_numbers = len(numbers) == len(names)
    if are_numbers:
        names = set(map(_class_name, names))
    elif len(set(map(_class_name, numbers))) < len(numbers):
        raise ValueError(
            f"Task: a number must be written in one way beside classes that are text, such as "
            f"{min(names.difference(numbers))!r}, got {', '.join(numbers)}"
        )
    if len(names) < 2 and problem is not Problem.multi_label:
        got = ", ".join(sorted(names)) or "none"
        raise ValueError(f"Task: the training set must have two classes at least, got {got}")
    # By the text too: long numbers that differ can be one float.
    return tuple(sorted(names, key=lambda name: (float(name), name) if are_numbers else (0.0, name)))


def _encode(
    labelled: LabelledSet,
    problem: Problem,
    names: tuple[str, ...],
    tissues: tuple[str, ...],
    read: Sequence[Any],
    on_error: OnError,
    skipped: list[str],
) -> Examples:
    index_of = {name: index for index, name in enumerate(names)}
    are_numbers = all(_number(name) is not None for name in names)

    def known(label: str, place: str) -> int:
        name = _class_name(label) if are_numbers else label
        if name not in index_of:
            shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
            raise ValueError(f"{place}: label {label!r} is not among those of the training set: {shown}")
        return index_of[name]

    def target(found: list[Any], place: str) -> Target:
        if _is_table_of_numbers(labelled, problem):
            return found
        if problem is Problem.per_base:
            return [IGNORE_INDEX if word in UNLABELLED else known(word, place) for word in found]
        if problem is Problem.multi_label:
            present = {known(label, place) for label in found}
            return [float(index in present) for index in range(len(names))]
        return known(found[0], place)

    def encoded(found: list[Any], place: str, tissue: str | None) -> tuple[Target, int]:
        return target(found, place), 0 if tissue is None else tissue_index(tissue, tissues, place)

    kept, encodings = [], []
    of_rows: Sequence[str | None] = labelled.tissues or [None] * len(labelled)
    for index, (found, place, tissue) in enumerate(zip(read, labelled.places, of_rows, strict=True)):
        value = None if found is None else attempt(on_error, skipped, encoded, found, place, tissue)
        if value is not None:
            kept.append(index)
            encodings.append(value)
    examples = Examples(
        [labelled.sequences[index] for index in kept],
        [value for value, _ in encodings],
        [labelled.places[index] for index in kept],
        None if labelled.alternates is None else [labelled.alternates[index] for index in kept],
        None if labelled.tissues is None else [tissue for _, tissue in encodings],
    )
    if not len(examples):
        raise ValueError(f"Task: no row is left of {len(skipped):,}; the first: {skipped[0]}")
    return examples


def tissue_index(tissue: str, tissues: Sequence[str], place: str) -> int:
    """The index of a tissue.

    Raises:
        ValueError: If it is none of those that there are; the message begins with ``place``.
    """
    if tissue not in tissues:
        shown = ", ".join(tissues[:20]) + (", …" if len(tissues) > 20 else "")
        raise ValueError(f"{place}: tissue {tissue!r} is not among those of the training set: {shown}")
    return tissues.index(tissue)


def _split_off(
    examples: Examples, problem: Problem, names: tuple[str, ...], share: float, seed: int
) -> tuple[Examples, Examples]:
    """What remains, and a share of each class; equal sequences stay together."""
    if not 0 < share < 1:
        raise ValueError(f"Task: valid_share must be between 0 and 1, got {share}")
    is_stratified = problem is Problem.single_label
    held_out: set[str] = set()
    for index, sequences in _strata(examples, is_stratified).items():
        if len(sequences) < 2:
            what = f"class {names[index]!r}" if is_stratified else "the training set"
            raise ValueError(
                f"Task: {what} has one sequence, so none can be kept for validation; give a validation set"
            )
        count = min(max(1, round(share * len(sequences))), len(sequences) - 1)
        held_out.update(_in_random_order(sequences, seed, index)[:count])
    return examples.split(held_out)


def _strata(examples: Examples, by_class: bool) -> dict[int, list[str]]:
    """Sequences, each once, by the class that each has first; all under 0 where they have none."""
    class_of: dict[str, int] = {}
    for sequence, target in zip(examples.sequences, examples.targets, strict=True):
        class_of.setdefault(sequence, target if by_class else 0)
    strata = defaultdict(list)
    for sequence, index in class_of.items():
        strata[index].append(sequence)
    return strata


def _in_random_order(sequences: list[str], seed: int, index: int) -> list[str]:
    order = sorted(range(len(sequences)), key=lambda place: mix(seed, index, place))
    return [sequences[place] for place in order]


__all__ = ["Examples", "Problem", "Task", "infer_problem", "tissue_index"]
