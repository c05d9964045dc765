"""A floor under every table of models: counts of k-mers with classic models, which learn in seconds.

Counts are of the words of one strand, the sequence as it is given: what lies on which strand tells classes
apart in many tasks. A word with another letter than A, C, G and T is not counted. Of pairs of alleles the
difference is counted: words that the alternate one has more often, and words that it has less often.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from dnachunk.alphabet import BASES
from dnachunk.data.problem import Problem
from dnachunk.data.task import Examples, Task
from dnachunk.evaluation.metrics import score_predictions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Array = npt.NDArray[np.float64]

NAIVE_BAYES: Final = "k-mer naive Bayes"
LINEAR: Final = "k-mer linear"
FLOORS: Final = (NAIVE_BAYES, LINEAR)
"""The rows: multinomial naive Bayes; and logistic regression, of numbers ridge regression."""

WORD_LENGTHS: Final = (3, 4, 5, 6)
"""Lengths of words that are tried."""

STRENGTHS: Final = (1.0, 10.0, 100.0)
"""Inverse regularization that is tried: ``C`` of logistic regression; of ridge, ``alpha`` is one over it."""

# What a class that cannot be has in place of the logarithm of its probability.
_NEVER = -1e9


@dataclass(frozen=True, slots=True)
class Floor:
    """What a row reached on a task.

    Attributes:
        k: Length of the words.
        strength: Inverse regularization; of naive Bayes, which smooths counts by 1, None.
        eval: Scores on the validation set, by name.
        test: Scores on the test set.
    """

    k: int
    strength: float | None
    eval: dict[str, float]
    test: dict[str, float]

    @property
    def fields(self) -> dict[str, Any]:
        """Its values by name."""
        return asdict(self)


def has_floor(row: str, problem: Problem) -> bool:
    """Whether a row has a score: labels of bases have no floor, and naive Bayes predicts no numbers."""
    return problem is not Problem.per_base and (row == LINEAR or problem is not Problem.regression)


def kmer_counts(sequences: Sequence[str], k: int) -> "csr_matrix":
    """How often each word occurs in each sequence.

    Args:
        sequences: Upper-case letters.
        k: Length of the words.

    Returns:
        ``[B, 4**k]`` float64; a word's column is its letters read as digits to base 4.
    """
    from scipy.sparse import csr_matrix

    digit = np.full(256, -1, dtype=np.int64)
    digit[list(BASES.encode())] = np.arange(4)
    columns, counts, ends = [], [], [0]
    for sequence in sequences:
        digits = digit[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
        windows = (
            np.lib.stride_tricks.sliding_window_view(digits, k) if len(digits) >= k else digits[:0, None]
        )
        words = windows[(windows >= 0).all(axis=1)] @ 4 ** np.arange(windows.shape[1])[::-1]
        found, count = np.unique(words, return_counts=True)
        columns.append(found)
        counts.append(count.astype(np.float64))
        ends.append(ends[-1] + len(found))
    return csr_matrix(
        (np.concatenate(counts), np.concatenate(columns), np.array(ends)), shape=(len(sequences), 4**k)
    )


def fit_floor(row: str, task: Task, metric: str) -> Floor:
    """Fits a row on the training set, and chooses by the validation set; the same every time.

    Naive Bayes is scikit-learn's ``MultinomialNB`` on the counts, the linear model its
    ``LogisticRegression`` or ``Ridge`` on the square roots of the words' shares (rows of length 1). Of pairs
    of alleles both read how many words the alternate allele gains and how many it loses, and the tissue as
    one of as many words. Several labels have a model each.

    Args:
        row: One of :data:`FLOORS`.
        task: The task; it must have a test set.
        metric: What the length of words and the regularization are chosen by; of equal ones the first.

    Returns:
        What it reached.

    Raises:
        ValueError: If the row has no score for such a problem.
    """
    if not has_floor(row, task.problem):
        raise ValueError(f"fit_floor: {row} is not for {task.problem.value}")
    assert task.test is not None
    strengths: Sequence[float | None] = (None,) if row == NAIVE_BAYES else STRENGTHS
    best, highest = None, -np.inf
    for k in WORD_LENGTHS:
        parts = [_features(row, part, k, len(task.tissues)) for part in (task.train, task.valid, task.test)]
        for strength in strengths:
            valid_outputs, test_outputs = _predict(task, parts, strength)
            scores = _scores(task.problem, valid_outputs, task.valid)
            reached = scores.get(metric, -np.inf)
            if best is None or reached > highest:
                best, highest = (
                    Floor(k, strength, scores, _scores(task.problem, test_outputs, task.test)),
                    reached,
                )
    assert best is not None
    return best


def _features(row: str, examples: Examples, k: int, num_tissues: int) -> "csr_matrix":
    counts = kmer_counts(examples.sequences, k)
    if examples.alternates is not None:
        from scipy.sparse import hstack

        change = kmer_counts(examples.alternates, k) - counts
        parts = [change.maximum(0), (-change).maximum(0)]
        if examples.tissues is not None:
            parts.append(np.eye(num_tissues)[examples.tissues])
        return hstack(parts, format="csr")
    if row == NAIVE_BAYES:
        return counts
    totals = np.asarray(counts.sum(axis=1)).ravel()
    counts.data = np.sqrt(counts.data / np.repeat(totals, np.diff(counts.indptr)))
    return counts


def _scores(problem: Problem, outputs: Array, examples: Examples) -> dict[str, float]:
    return score_predictions(problem, outputs, np.array(examples.targets))


def _predict(task: Task, parts: Sequence[Any], strength: float | None) -> list[Array]:
    """Outputs as a model's head has them, of the validation and the test set."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.naive_bayes import MultinomialNB

    train, *others = parts
    targets = np.array(task.train.targets)
    if task.problem is Problem.regression:
        assert strength is not None
        model = Ridge(alpha=1 / strength, solver="lsqr", tol=1e-6).fit(train, targets)
        return [model.predict(part).reshape(len(part.indptr) - 1, -1) for part in others]

    def make() -> Any:
        return MultinomialNB() if strength is None else LogisticRegression(C=strength, max_iter=2000)

    if task.problem is Problem.single_label:
        return _log_probabilities(make, train, targets, len(task.names), others)
    by_label = [_log_probabilities(make, train, column > 0.5, 2, others) for column in targets.T]
    return [
        np.stack([label[:, 1] - label[:, 0] for label in part], axis=1)
        for part in zip(*by_label, strict=True)
    ]


def _log_probabilities(
    make: Callable[[], Any], train: Any, classes: npt.NDArray[Any], num_classes: int, others: Sequence[Any]
) -> list[Array]:
    """``[B, K]`` of each part; a class that the training set lacks has next to none."""
    seen = np.unique(classes.astype(np.int64))
    model = make().fit(train, classes.astype(np.int64)) if len(seen) > 1 else None
    outputs = []
    for part in others:
        logits = np.full((part.shape[0], num_classes), _NEVER)
        if model is None:
            logits[:, seen] = 0
        else:
            with np.errstate(divide="ignore"):
                logits[:, seen] = np.maximum(model.predict_log_proba(part), _NEVER)
        outputs.append(logits)
    return outputs


__all__ = ["FLOORS", "Floor", "fit_floor", "has_floor", "kmer_counts"]
