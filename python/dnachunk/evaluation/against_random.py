"""How well scores order what was measured, each figure beside what random scores would give."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Separation(NamedTuple):
    """How well scores tell positives from negatives; the positives are taken to score higher.

    Attributes:
        auroc: Chance that a positive scores higher than a negative; ties count half.
        auprc: Average precision.
    """

    auroc: float
    auprc: float


class RandomSeparation(NamedTuple):
    """What scores that know nothing of the classes give.

    Attributes:
        auroc: 0.5.
        auroc_deviation: Its standard deviation over random scores.
        auprc: The share of the positives.
    """

    auroc: float
    auroc_deviation: float
    auprc: float


def separation(scores: Floats, is_positive: Flags) -> Separation:
    """Figures of scores with two classes.

    Args:
        scores: ``[n]``, finite.
        is_positive: ``[n]``.

    Raises:
        ValueError: If a class is empty.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    random_separation(is_positive)
    return Separation(
        float(roc_auc_score(is_positive, scores)), float(average_precision_score(is_positive, scores))
    )


def random_separation(is_positive: Flags) -> RandomSeparation:
    """What random scores give with these classes.

    Args:
        is_positive: ``[n]``.

    Raises:
        ValueError: If a class is empty.
    """
    total, positives = len(is_positive), int(is_positive.sum())
    negatives = total - positives
    if not positives or not negatives:
        raise ValueError(f"there must be positives and negatives, got {positives} and {negatives}")
    # The variance of the Mann-Whitney statistic.
    deviation = math.sqrt((total + 1) / (12 * positives * negatives))
    return RandomSeparation(0.5, deviation, positives / total)


def rank_correlation(scores: Floats, measured: Floats) -> float:
    """Spearman's rank correlation; NaN where either is constant, or there are fewer than two.

    Args:
        scores: ``[n]``, finite.
        measured: ``[n]``, finite.
    """
    from scipy.stats import spearmanr

    # scipy warns of a constant.
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(measured) == 0:
        return math.nan
    return float(spearmanr(scores, measured).statistic)


def random_correlation_deviation(count: int) -> float:
    """Standard deviation of Spearman's correlation of random scores; their mean is 0."""
    return 1 / math.sqrt(count - 1) if count > 1 else math.nan
