"""The metrics of the benchmarks, by scikit-learn and SciPy."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.data.problem import Problem

Array = npt.NDArray[np.float64]

DEFAULT_METRIC = {
    Problem.single_label: "mcc",
    Problem.multi_label: "auroc",
    Problem.regression: "spearman",
    Problem.per_base: "mcc",
}
"""What models are chosen by."""

METRICS = {
    Problem.single_label: ("accuracy", "f1", "mcc", "auroc", "auprc"),
    Problem.multi_label: ("accuracy", "f1", "mcc", "auroc", "auprc"),
    Problem.regression: ("spearman", "r2"),
    Problem.per_base: ("accuracy", "f1", "mcc", "auroc", "auprc"),
}
"""What :func:`score_predictions` computes of each problem."""


def score_predictions(
    problem: Problem, logits: npt.NDArray[np.floating], targets: npt.NDArray[np.generic]
) -> dict[str, float]:
    """Scores of predictions.

    - ``accuracy``: share of right classes; of several labels, share of sequences with all of them right.
    - ``f1``: F1, the mean over classes (macro), over those that occur among targets or predictions.
    - ``mcc``: Matthews correlation coefficient, for several classes as Gorodkin (2004); of several labels the
      mean over labels. 0 where predictions or targets are all alike.
    - ``auroc``, ``auprc``: area under the ROC curve, and average precision; of two classes for the last one,
      of more the mean over each class against the rest, of several labels the mean over labels.
    - ``spearman``, ``r2``: rank correlation (0 where predictions are all alike) and coefficient of
      determination; of several numbers the mean.

    Args:
        problem: What is predicted.
        logits: ``[B, K]`` outputs of a model before softmax or sigmoid, or numbers; ``[B, N, K]`` for bases.
            What is not finite, as of a training that diverged, counts as 0.
        targets: ``[B]`` classes; ``[B, K]`` 0 and 1, or numbers; ``[B, N]`` classes of bases, −100 where
            there is none.

    Returns:
        The scores by name. Classes and labels that all examples have or none has are left out of the mean of
        ``auroc`` and ``auprc``; a score that is then not defined is left out.

    Raises:
        ValueError: If the shapes do not fit, or nothing is labelled.
    """
    outputs = np.asarray(logits, dtype=np.float64)
    outputs = np.where(np.isfinite(outputs), outputs, 0.0)
    wanted = np.asarray(targets)
    if problem in (Problem.multi_label, Problem.regression):
        if outputs.ndim != 2 or wanted.shape != outputs.shape or not len(outputs):
            raise ValueError(
                "score_predictions: logits and targets must be [B, K], got "
                f"{list(outputs.shape)} and {list(wanted.shape)}"
            )
        score = _score_labels if problem is Problem.multi_label else _score_numbers
        return score(outputs, wanted.astype(np.float64))
    if outputs.ndim < 2 or wanted.shape != outputs.shape[:-1]:
        raise ValueError(
            "score_predictions: logits must be [..., K] and targets of the same shape without K, got "
            f"{list(outputs.shape)} and {list(wanted.shape)}"
        )
    is_labelled = wanted != IGNORE_INDEX
    if not is_labelled.any():
        raise ValueError("score_predictions: targets must hold a label at least, got none")
    return _score_classes(outputs[is_labelled], wanted[is_labelled].astype(np.int64))


def _score_classes(logits: Array, classes: npt.NDArray[np.int64]) -> dict[str, float]:
    from scipy.special import softmax
    from sklearn.metrics import f1_score

    predicted = logits.argmax(axis=1)
    probabilities = softmax(logits, axis=1)
    is_class = classes[:, None] == np.arange(logits.shape[1])
    first = 1 if logits.shape[1] == 2 else 0
    return {
        "accuracy": float((predicted == classes).mean()),
        "f1": float(f1_score(classes, predicted, average="macro", zero_division=0)),
        "mcc": _mcc(classes, predicted),
        **_rankings(is_class[:, first:], probabilities[:, first:]),
    }


def _score_labels(logits: Array, labels: Array) -> dict[str, float]:
    from scipy.special import expit
    from sklearn.metrics import f1_score

    predicted, is_present = logits > 0, labels > 0.5
    return {
        "accuracy": float((predicted == is_present).all(axis=1).mean()),
        "f1": float(
            np.mean(
                [f1_score(*pair, zero_division=0) for pair in zip(is_present.T, predicted.T, strict=True)]
            )
        ),
        "mcc": float(np.mean([_mcc(*pair) for pair in zip(is_present.T, predicted.T, strict=True)])),
        **_rankings(is_present, expit(logits)),
    }


def _score_numbers(predicted: Array, wanted: Array) -> dict[str, float]:
    from scipy.stats import spearmanr
    from sklearn.metrics import r2_score

    correlations = []
    for column, target in zip(predicted.T, wanted.T, strict=True):
        if np.ptp(target) == 0:
            continue
        correlations.append(float(spearmanr(column, target).statistic) if np.ptp(column) > 0 else 0.0)
    if not correlations:
        return {}
    return {"spearman": float(np.mean(correlations)), "r2": float(r2_score(wanted, predicted))}


def _mcc(wanted: npt.NDArray[np.generic], predicted: npt.NDArray[np.generic]) -> float:
    from sklearn.metrics import matthews_corrcoef

    if len(np.unique(wanted)) == 1 or len(np.unique(predicted)) == 1:
        return 0.0
    return float(matthews_corrcoef(wanted, predicted))


def _rankings(is_present: npt.NDArray[np.bool_], probabilities: Array) -> dict[str, float]:
    """Means over the columns that hold both kinds."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores: dict[str, Callable[..., float]] = {"auroc": roc_auc_score, "auprc": average_precision_score}
    pairs = [
        (column, probability)
        for column, probability in zip(is_present.T, probabilities.T, strict=True)
        if column.any() and not column.all()
    ]
    if not pairs:
        return {}
    return {name: float(np.mean([score(*pair) for pair in pairs])) for name, score in scores.items()}


__all__ = ["DEFAULT_METRIC", "METRICS", "score_predictions"]
