"""Counts of k-mers with classic models, against counts and Bayes' rule by hand."""

import math
import random
from collections import Counter

import numpy as np
import pytest

from dnachunk.data.problem import Problem
from dnachunk.data.task import Examples, Task
from dnachunk.evaluation import kmer_floor
from dnachunk.evaluation.kmer_floor import LINEAR, NAIVE_BAYES, fit_floor, has_floor, kmer_counts


def words(sequence, k):
    found = [sequence[start : start + k] for start in range(len(sequence) - k + 1)]
    return [word for word in found if set(word) <= set("ACGT")]


def column(word):
    return sum("ACGT".index(letter) * 4**place for place, letter in enumerate(reversed(word)))


def random_sequences(count, seed, letters="ACGT", length=40):
    source = random.Random(seed)
    return ["".join(source.choices(letters, k=length)) for _ in range(count)]


def examples(sequences, targets):
    return Examples(list(sequences), list(targets), ["here"] * len(sequences))


@pytest.mark.parametrize("k", [3, 5])
def test_counts(k):
    sequences = ["ACGTACGTACNGTACGT", "", "AC", "NNNNNNNN", "AAAAAAAA", *random_sequences(5, 0, "ACGTNR")]
    counts = kmer_counts(sequences, k).toarray()
    assert counts.shape == (10, 4**k)
    for sequence, row in zip(sequences, counts, strict=True):
        expected = Counter(words(sequence, k))
        assert row.sum() == sum(expected.values())
        assert all(row[column(word)] == count for word, count in expected.items())


def bayes_by_hand(train, classes, sequence, k):
    """Logarithms of the classes' probabilities, up to a constant, with every word counted once more."""
    scores = []
    for name in (0, 1):
        own = [text for text, of in zip(train, classes, strict=True) if of == name]
        counts = Counter(word for text in own for word in words(text, k))
        total = sum(counts.values()) + 4**k
        prior = math.log(len(own) / len(train))
        scores.append(prior + sum(math.log((counts[word] + 1) / total) for word in words(sequence, k)))
    return scores


def two_classes(count, seed):
    source = random.Random(seed)
    rows = [(text, source.randrange(2)) for text in random_sequences(count, seed)]
    rows = [(text[:20] + ("ACGGAC" if of else "TTAGCA") + text[20:], of) for text, of in rows]
    # Some are of the other class, so that no row is all right.
    rows = [(text, of if source.random() > 0.2 else 1 - of) for text, of in rows]
    return [text for text, _ in rows], [of for _, of in rows]


def task_of(problem, names, parts):
    return Task(problem, names, *(examples(*part) for part in parts))


def test_naive_bayes_by_hand(monkeypatch):
    monkeypatch.setattr(kmer_floor, "WORD_LENGTHS", (3,))
    parts = [two_classes(count, seed) for seed, count in enumerate((30, 20, 25))]
    found = fit_floor(NAIVE_BAYES, task_of(Problem.single_label, ("a", "b"), parts), "mcc")
    assert (found.k, found.strength) == (3, None)
    for (sequences, classes), reached in ((parts[1], found.eval), (parts[2], found.test)):
        scores = [bayes_by_hand(*parts[0], sequence, 3) for sequence in sequences]
        right = [int(one > zero) == of for (zero, one), of in zip(scores, classes, strict=True)]
        assert 0.5 < reached["accuracy"] < 1
        assert reached["accuracy"] == pytest.approx(sum(right) / len(right))
        pairs = [
            (one_score[1] - one_score[0]) > (other[1] - other[0])
            for one_score, is_one in zip(scores, classes, strict=True)
            for other, is_other in zip(scores, classes, strict=True)
            if is_one and not is_other
        ]
        assert reached["auroc"] == pytest.approx(sum(pairs) / len(pairs))


def test_the_length_of_words_is_chosen_by_the_validation_set():
    parts = [two_classes(count, seed) for seed, count in enumerate((60, 40, 40))]
    task = task_of(Problem.single_label, ("a", "b"), parts)
    for row in kmer_floor.FLOORS:
        found = fit_floor(row, task, "mcc")
        assert found == fit_floor(row, task, "mcc")
        # The same on a test set that is the validation set: nothing is chosen by the test set.
        other = fit_floor(row, task_of(Problem.single_label, ("a", "b"), [*parts[:2], parts[1]]), "mcc")
        assert (other.k, other.strength, other.eval) == (found.k, found.strength, found.eval)
        assert other.test == other.eval
        reached = []
        for k in kmer_floor.WORD_LENGTHS:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(kmer_floor, "WORD_LENGTHS", (k,))
                reached.append(fit_floor(row, task, "mcc").eval["mcc"])
        assert found.eval["mcc"] == max(reached)
        assert found.k == kmer_floor.WORD_LENGTHS[reached.index(max(reached))]


def test_ridge_regression_is_the_closed_form(monkeypatch):
    monkeypatch.setattr(kmer_floor, "WORD_LENGTHS", (3,))
    monkeypatch.setattr(kmer_floor, "STRENGTHS", (10.0,))
    parts = []
    for seed, count in enumerate((40, 20, 20)):
        sequences = random_sequences(count, seed)
        parts.append((sequences, [[float(text.count("A")), float(text.count("C"))] for text in sequences]))
    found = fit_floor(LINEAR, task_of(Problem.regression, ("a", "c"), parts), "r2")

    def features(sequences):
        counts = kmer_counts(sequences, 3).toarray()
        return np.sqrt(counts / counts.sum(axis=1, keepdims=True))

    train, wanted = features(parts[0][0]), np.array(parts[0][1])
    centred, mean = train - train.mean(axis=0), wanted.mean(axis=0)
    weights = np.linalg.solve(centred.T @ centred + 0.1 * np.eye(64), centred.T @ (wanted - mean))
    predicted = (features(parts[2][0]) - train.mean(axis=0)) @ weights + mean
    test = np.array(parts[2][1])
    r2 = 1 - ((predicted - test) ** 2).sum(axis=0) / ((test - test.mean(axis=0)) ** 2).sum(axis=0)
    assert found.test["r2"] == pytest.approx(r2.mean(), abs=1e-4)
    assert found.test["r2"] > 0.3


@pytest.mark.parametrize("row", kmer_floor.FLOORS)
def test_several_labels_and_classes_that_the_training_set_lacks(row):
    parts = [two_classes(count, seed) for seed, count in enumerate((30, 20, 20))]
    labels = [(texts, [[float(of), 1 - float(of), 1.0] for of in classes]) for texts, classes in parts]
    found = fit_floor(row, task_of(Problem.multi_label, ("a", "b", "c"), labels), "auroc")
    assert found.test["auroc"] > 0.6
    single = fit_floor(row, task_of(Problem.single_label, ("a", "b"), parts), "mcc")
    with_third = fit_floor(row, task_of(Problem.single_label, ("a", "b", "c"), parts), "mcc")
    assert with_third.test["mcc"] == single.test["mcc"]
    ones = [(texts, [1] * len(texts)) for texts, _ in parts]
    assert fit_floor(row, task_of(Problem.single_label, ("a", "b"), ones), "mcc").test["accuracy"] == 1


def test_what_has_no_floor():
    assert has_floor(LINEAR, Problem.regression)
    assert not has_floor(NAIVE_BAYES, Problem.regression)
    assert not has_floor(LINEAR, Problem.per_base)
    parts = [(random_sequences(3, 0), [[1.0]] * 3)] * 3
    with pytest.raises(ValueError, match="k-mer naive Bayes is not for regression"):
        fit_floor(NAIVE_BAYES, task_of(Problem.regression, ("a",), parts), "r2")
