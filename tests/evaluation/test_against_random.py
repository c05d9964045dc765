import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from dnachunk.evaluation.against_random import (
    random_correlation_deviation,
    random_separation,
    rank_correlation,
    separation,
)


def test_separation_by_hand():
    is_positive = np.array([True, False, True, False, False])
    # Of six pairs the positives win 3 (0.9 over all) + 1 (0.4 over 0.1), and tie once.
    found = separation(np.array([0.9, 0.5, 0.4, 0.4, 0.1]), is_positive)
    assert found.auroc == pytest.approx((3 + 1 + 0.5) / 6)
    # Recall 1/2 at precision 1, the rest at 2 of 4.
    assert found.auprc == pytest.approx(1 / 2 + 1 / 2 * 2 / 4)


def test_random_separation_is_what_random_scores_give():
    generator = np.random.default_rng(0)
    is_positive = np.arange(60) < 12
    random = random_separation(is_positive)
    found = [separation(generator.normal(size=60), is_positive) for _ in range(400)]
    aurocs, auprcs = np.array(found).T
    assert random.auroc == 0.5
    assert random.auprc == 0.2
    assert aurocs.mean() == pytest.approx(0.5, abs=4 * random.auroc_deviation / 20)
    assert aurocs.std() == pytest.approx(random.auroc_deviation, rel=0.12)
    # Of few positives the mean lies a little above the share.
    assert 0.2 < auprcs.mean() < 0.28


@pytest.mark.parametrize("positives", [0, 4])
def test_a_class_alone_is_refused(positives):
    is_positive = np.arange(4) < positives
    for call in (lambda: separation(np.zeros(4), is_positive), lambda: random_separation(is_positive)):
        with pytest.raises(ValueError, match=f"got {positives} and {4 - positives}"):
            call()


def test_rank_correlation():
    generator = np.random.default_rng(1)
    for _ in range(20):
        x, y = generator.integers(0, 8, 30).astype(float), generator.normal(size=30)
        assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 10, 1000])) == pytest.approx(1)
    assert math.isnan(rank_correlation(np.ones(5), np.arange(5.0)))
    assert math.isnan(rank_correlation(np.ones(0), np.ones(0)))
    assert math.isnan(rank_correlation(np.ones(1), np.ones(1)))


def test_deviation_of_random_correlations():
    generator = np.random.default_rng(2)
    found = [rank_correlation(generator.normal(size=26), np.arange(26.0)) for _ in range(500)]
    assert random_correlation_deviation(26) == pytest.approx(0.2)
    assert np.std(found) == pytest.approx(0.2, rel=0.12)
    assert math.isnan(random_correlation_deviation(1))
