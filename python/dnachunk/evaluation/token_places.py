"""How long tokens are by kind of place: families and ages of repeats, classes of labelled sequences."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import torch

from dnachunk.alphabet import is_base
from dnachunk.data.annotation import Feature
from dnachunk.data.contents import OnError
from dnachunk.data.labelled import read_labelled
from dnachunk.data.problem import Problem
from dnachunk.data.repeats import Repeat
from dnachunk.data.task import Task
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.token_meaning import add_counts, regions
from dnachunk.inference.segmenter import Segmenter
from dnachunk.ops import encode_dna
from dnachunk.random import mix
from dnachunk.reporting import say
from dnachunk.segmentation import TokenMap

Counts = Mapping[str, torch.Tensor]
"""By tokenizer, bases by the length of their token: entry k, int64, counts those in tokens of k bases."""

AGES: Final = (0, 5, 10, 15, 20, 25, 30)
"""Least divergence of each age, in percent."""

CLASS, FAMILY, AGE = "repeat class", "repeat family", "divergence of transposable elements"
"""What repeats are told apart by."""

# What RepeatMasker masks that was not copied from one ancestor: its divergence is no age.
_NO_ELEMENTS = ("Simple_repeat", "Low_complexity", "Satellite", "Segmental", "Other")


def repeat_kinds(repeats: Iterable[Repeat]) -> dict[str, list[Feature]]:
    """Repeats as features, by what they are told apart by.

    Args:
        repeats: As :func:`~dnachunk.data.repeats.read_repeats` gives them.

    Returns:
        :data:`CLASS`: each repeat, by its class; :data:`FAMILY`: those that have a family, by class and
        family; :data:`AGE`: transposable elements (no simple repeats, low complexity, satellites or RNA
        genes), by their divergence in steps of five percent.

    Example:
        >>> kinds = repeat_kinds([Repeat(0, 10, 90, "LINE/L1", 12.5)])
        >>> [features[0].kind for features in kinds.values()]
        ['LINE', 'LINE/L1', '10-15%']
    """
    kinds: dict[str, list[Feature]] = {CLASS: [], FAMILY: [], AGE: []}
    for each in repeats:
        place = each[:3]
        kinds[CLASS].append(Feature(*place, each.repeat_class, False))
        if "/" in each.family:
            kinds[FAMILY].append(Feature(*place, each.family, False))
        if not each.repeat_class.startswith(_NO_ELEMENTS) and not each.repeat_class.endswith("RNA"):
            kinds[AGE].append(Feature(*place, age_class(each.divergence), False))
    return {group: features for group, features in kinds.items() if features}


def age_class(divergence: float) -> str:
    """The age that a divergence in percent falls into, its lower end included.

    Example:
        >>> age_class(4.9), age_class(5.0), age_class(41.0)
        ('0-5%', '5-10%', '30% or more')
    """
    index = sum(divergence >= least for least in AGES) - 1
    return f"{AGES[-1]}% or more" if index == len(AGES) - 1 else f"{AGES[index]}-{AGES[index + 1]}%"


def lengths_by_place(
    tokens: TokenMap,
    features: Mapping[str, Mapping[str, Sequence[Feature]]],
    span: tuple[int, int, int],
    is_counted: torch.Tensor,
) -> dict[str, dict[str, torch.Tensor]]:
    """Bases of a stretch by the length of their token, for each kind of place.

    Args:
        tokens: The stretch's.
        features: By group, by kind. Kinds may overlap; a base that two features of one kind have counts once.
        span: The record, and the first base and the base after the last of the stretch.
        is_counted: ``[n]`` bool: which of its bases count.

    Returns:
        By group, by kind ``[k]`` int64, as :data:`Counts` has them; kinds without a base are left out.
    """
    found: dict[str, dict[str, torch.Tensor]] = {}
    for group, of_group in features.items():
        for kind, of_kind in of_group.items():
            # One at a time: a mask has as many bytes as the record has bases.
            for mask in regions(of_kind, *span).values():
                counts = tokens.bases_by_length(mask & is_counted)
                if counts.sum():
                    found.setdefault(group, {})[kind] = counts
    return found


class LabelledBases(NamedTuple):
    """Sequences of a labelled set, so many of each class.

    Attributes:
        rows: Ids of each, ``[n]`` int64.
        classes: By class, of the sequences drawn for it by their index in ``rows``, which bases have it:
            ``[n]`` bool, A, C, G and T alone.
    """

    rows: list[torch.Tensor]
    classes: Mapping[str, Mapping[int, torch.Tensor]]


def read_labelled_bases(
    path: str | os.PathLike[str],
    *,
    sequence_column: str = "sequence",
    label_columns: Sequence[str] = ("label",),
    max_sequences: int = 200,
    seed: int = 0,
    on_error: OnError = "fail",
) -> LabelledBases:
    """Reads a labelled set, and draws sequences of each class at random.

    Args:
        path: A file or folder that :func:`~dnachunk.data.labelled.read_labelled` reads.
        sequence_column: Column of the sequences.
        label_columns: Columns of labels.
        max_sequences: Sequences of each class, at most.
        seed: Of the draws.
        on_error: ``"skip"`` leaves out rows that cannot be read and says how many.

    Returns:
        The sequences by class; by label, where a sequence may have several; or by the class of each base.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no labelled set, or its labels are numbers.
    """
    read = read_labelled(
        Path(path), sequence_column=sequence_column, label_columns=label_columns, on_error=on_error
    )
    # Only classes are wanted of it, nothing is to be split off.
    task = Task.of({"train": read, "valid": read}, on_error=on_error)
    if task.problem is Problem.regression:
        raise ArgumentError(f"`labelled` {path} must have classes as labels, got numbers")
    skipped = task.skipped.get("train", [])
    if skipped:
        say(f"{path}: {len(skipped):,} rows that cannot be read are left out, the first: {skipped[0]}")
    examples = task.train
    chosen: dict[int, list[int]] = {}
    for index, target in enumerate(examples.targets):
        for label in _classes(task.problem, target):
            chosen.setdefault(label, []).append(index)
    for of_class in chosen.values():
        of_class.sort(key=lambda index: mix(seed, index))
        del of_class[max_sequences:]
    drawn = sorted({index for of_class in chosen.values() for index in of_class})
    place = {index: row for row, index in enumerate(drawn)}
    ids, _, offsets = encode_dna([examples.sequences[index] for index in drawn])
    rows = [row.long() for row in ids.split(offsets.diff().tolist())]

    def bases(index: int, label: int) -> torch.Tensor:
        is_letter = is_base(rows[place[index]])
        if task.problem is Problem.per_base:
            return is_letter & (torch.tensor(examples.targets[index]) == label)
        return is_letter

    return LabelledBases(
        rows,
        {
            name: {place[index]: bases(index, label) for index in sorted(chosen.get(label, ()))}
            for label, name in enumerate(task.names)
        },
    )


def _classes(problem: Problem, target: int | list[int] | list[float]) -> list[int]:
    """The classes that a sequence has."""
    if isinstance(target, int):
        return [target]
    if problem is Problem.multi_label:
        return [label for label, is_so in enumerate(target) if is_so]
    return sorted({int(label) for label in target if label >= 0})


def lengths_by_class(
    labelled: LabelledBases, segmenters: Sequence[Segmenter], batch_size: int
) -> dict[str, dict[str, torch.Tensor]]:
    """Bases of labelled sequences by the length of their token.

    Each sequence is cut as a whole, whatever its length.

    Args:
        labelled: The sequences.
        segmenters: What cuts them.
        batch_size: Sequences run at once.

    Returns:
        By class, by segmentation, as :data:`Counts` has them; classes without a base are left out.
    """
    counts: dict[str, dict[str, torch.Tensor]] = {name: {} for name in labelled.classes}
    for segmenter in segmenters:
        for row, (boundaries, _) in enumerate(segmenter.cut_rows(labelled.rows, batch_size)):
            length = len(labelled.rows[row])
            edges = (torch.cat([starts.nonzero()[:, 0], torch.tensor([length])]) for starts in boundaries)
            maps = [TokenMap.from_edges([each], 0, length) for each in edges]
            for name, of_class in labelled.classes.items():
                if row not in of_class or not of_class[row].any():
                    continue
                found = counts[name]
                for label, tokens in zip(segmenter.labels, maps, strict=True):
                    more = tokens.bases_by_length(of_class[row])
                    found[label] = add_counts(found[label], more) if label in found else more
    return {name: found for name, found in counts.items() if found}


__all__ = [
    "Counts",
    "LabelledBases",
    "age_class",
    "lengths_by_class",
    "lengths_by_place",
    "read_labelled_bases",
    "repeat_kinds",
]
