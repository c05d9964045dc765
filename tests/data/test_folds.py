from collections import Counter
from dataclasses import replace

import pytest

from dnachunk.data import Problem, Task
from dnachunk.errors import ArgumentError
from tests.training.finetuning import labelled, random_sequences

LABELS = ["a"] * 17 + ["b"] * 11 + ["c"] * 6


def make_task(problem=Problem.single_label, labels=LABELS, **splits):
    sequences = random_sequences(len(labels), 12, 1)
    if problem is Problem.regression:
        labels = [str(len(label) + row / 7) for row, label in enumerate(labels)]
    # The last two come once more, one of them under another class.
    rows = labelled([*sequences, *sequences[-2:]], [*labels, labels[0], labels[-1]])
    return Task.of({"train": rows, **splits}, problem, seed=3)


def rows(examples):
    return Counter(zip(examples.sequences, map(str, examples.targets), examples.places, strict=True))


@pytest.mark.parametrize("has_test", [False, True])
@pytest.mark.parametrize("problem", [Problem.single_label, Problem.regression])
def test_every_sequence_is_held_out_once(problem, has_test):
    cells = ["1", "2.5"] if problem is Problem.regression else ["a", "b"]
    test = labelled(["ACGT", "TTTT"], cells)
    task = make_task(problem, **({"test": test} if has_test else {}))
    folds = task.folds(5, seed=7)
    everything = rows(task.train) + rows(task.valid)
    held_out = [fold.valid if has_test else fold.test for fold in folds]
    assert sum(map(rows, held_out), Counter()) == everything
    for fold in folds:
        parts = [fold.train, fold.valid] + ([] if has_test else [fold.test])
        assert sum(map(rows, parts), Counter()) == everything
        sequences = [set(part.sequences) for part in parts]
        assert not any(a & b for a in sequences for b in sequences if a is not b), "equal ones in one part"
        assert (fold.problem, fold.names) == (task.problem, task.names)
        if has_test:
            assert fold.test is task.test
        else:
            assert 0 < len(fold.valid) < len(fold.train)
    sizes = [len(set(held.sequences)) for held in held_out]
    assert max(sizes) - min(sizes) <= 1


def test_folds_are_stratified():
    task = make_task()
    first = {}
    joined = task.train.joined(task.valid)
    for sequence, target in zip(joined.sequences, joined.targets, strict=True):
        first.setdefault(sequence, target)
    per_class = Counter(first.values())
    for fold in task.folds(5, seed=7):
        counts = Counter(first[sequence] for sequence in set(fold.test.sequences))
        for index, count in per_class.items():
            assert counts[index] in (count // 5, count // 5 + 1)


def test_folds_are_drawn_by_the_seed():
    task = make_task()
    one, same, other = ([fold.test.sequences for fold in task.folds(4, seed)] for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("problem", "count", "said"),
    [
        (Problem.single_label, 1, "folds must be a whole number of at least 2, got 1"),
        (Problem.single_label, 2.5, "folds must be a whole number of at least 2, got 2.5"),
        (Problem.single_label, 7, "folds must be 6 at most, as class 'c' has so many, got 7"),
        (Problem.regression, 35, "folds must be 34 at most, as there are so many, got 35"),
    ],
)
def test_folds_that_cannot_be(problem, count, said):
    with pytest.raises(ArgumentError, match=said):
        make_task(problem).folds(count, seed=0)


def test_the_share_to_choose_by_is_of_the_rest():
    task = make_task()
    small, large = (len(task.folds(3, 0, share)[0].valid) for share in (0.1, 0.4))
    assert small < large
    with pytest.raises(ValueError, match="valid_share must be between 0 and 1, got 1"):
        task.folds(3, 0, 1)
    # Of no use where there is a test set.
    tested = replace(task, test=task.valid)
    assert tested.folds(3, 0, 0.1) == tested.folds(3, 0, 0.4)
