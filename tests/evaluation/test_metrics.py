import numpy as np
import pytest

from dnachunk.data import Problem
from dnachunk.evaluation import score_predictions
from dnachunk.evaluation.metrics import DEFAULT_METRIC, METRICS

# Class 1 against class 0 by the difference of the logits.
BINARY = np.array([[0, -2], [0, 1], [0, 3], [0, 0.5], [0, -1]])
BINARY_TARGETS = np.array([0, 0, 1, 1, 1])
BINARY_SCORES = {
    "accuracy": 3 / 5,
    "f1": (4 / 6 + 2 / 4) / 2,
    "mcc": (2 * 1 - 1 * 1) / 6,
    "auroc": 4 / 6,
    "auprc": (1 + 2 / 3 + 3 / 4) / 3,
}
THREE = np.array([[2, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0]])
THREE_TARGETS = np.array([0, 1, 2, 2])


def test_two_classes():
    assert score_predictions(Problem.single_label, BINARY, BINARY_TARGETS) == pytest.approx(BINARY_SCORES)


def test_three_classes():
    scores = score_predictions(Problem.single_label, THREE, THREE_TARGETS)
    want = {
        "accuracy": 2 / 4,
        "f1": (1 + 0 + 1 / 2) / 3,
        # Gorodkin's: (c s - Σ p t) / √((s² - Σ p²) (s² - Σ t²)).
        "mcc": (2 * 4 - 6) / 10,
        "auroc": (1 + 2 / 3 + 3 / 4) / 3,
        "auprc": (1 + 1 / 2 + (1 + 2 / 3) / 2) / 3,
    }
    assert scores == pytest.approx(want)


def test_a_class_that_no_example_has_is_in_no_mean():
    scores = score_predictions(Problem.single_label, THREE[:2], np.array([0, 2]))
    assert scores == pytest.approx({"accuracy": 1, "f1": 1, "mcc": 1, "auroc": 1, "auprc": 1})


@pytest.mark.parametrize("logits", [BINARY[:2], -np.ones((2, 2)) * [0, 5]])
def test_targets_of_one_class(logits):
    scores = score_predictions(Problem.single_label, logits, np.array([0, 0]))
    accuracy = (logits.argmax(axis=1) == 0).mean()
    assert set(scores) == {"accuracy", "f1", "mcc"}
    assert (scores["accuracy"], scores["mcc"]) == (accuracy, 0)


def test_a_constant_prediction_scores_0():
    scores = score_predictions(Problem.single_label, np.zeros((4, 2)), np.array([0, 1, 0, 0]))
    assert scores == pytest.approx({"accuracy": 3 / 4, "f1": 3 / 7, "mcc": 0, "auroc": 1 / 2, "auprc": 1 / 4})


def test_what_is_not_finite_counts_as_0():
    targets = np.array([0, 1, 0, 0])
    for value in (np.nan, np.inf, -np.inf):
        scores = score_predictions(Problem.single_label, np.full((4, 2), value), targets)
        assert scores == score_predictions(Problem.single_label, np.zeros((4, 2)), targets)
    numbers = score_predictions(Problem.regression, np.full((3, 1), np.nan), np.array([[-1.0], [0], [1]]))
    assert numbers == {"spearman": 0, "r2": 0}


def test_bases_are_scored_where_they_are_labelled():
    logits = np.stack([np.concatenate([BINARY, np.full((2, 2), 9.0)]), np.full((7, 2), -9.0)])
    targets = np.full((2, 7), -100)
    targets[0, :5] = BINARY_TARGETS
    assert score_predictions(Problem.per_base, logits, targets) == pytest.approx(BINARY_SCORES)


def test_several_labels():
    logits = np.array([[0.2, -0.2, -1], [0.2, 2, -1], [-2, 1, -1], [-0.2, 3, -1]])
    labels = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0]])
    scores = score_predictions(Problem.multi_label, logits, labels)
    want = {
        "accuracy": 1 / 4,
        "f1": (1 / 2 + 4 / 5 + 0) / 3,
        "mcc": (0 + (2 * 1 - 0) / np.sqrt(3 * 2 * 2 * 1) + 0) / 3,
        # The third label is on no example; of the first a positive and a negative tie.
        "auroc": ((1 / 2 + 1 + 0 + 1) / 4 + 1) / 2,
        "auprc": ((1 / 2 * 1 / 2 + 1 / 2 * 2 / 3) + 1) / 2,
    }
    assert scores == pytest.approx(want)


def test_numbers():
    predicted, wanted = np.array([[1.0], [2], [3], [4]]), np.array([[1.0], [3], [2], [5]])
    scores = score_predictions(Problem.regression, predicted, wanted)
    assert scores == pytest.approx({"spearman": 1 - 6 * 2 / (4 * 15), "r2": 1 - 3 / 8.75})
    both = score_predictions(Problem.regression, np.hstack([predicted, wanted]), np.hstack([wanted, wanted]))
    assert both == pytest.approx({"spearman": (0.8 + 1) / 2, "r2": (1 - 3 / 8.75 + 1) / 2})


def test_constant_numbers():
    ones, wanted = np.ones((3, 1)), np.array([[1.0], [2], [3]])
    assert score_predictions(Problem.regression, ones, wanted) == pytest.approx({"spearman": 0, "r2": -1.5})
    assert score_predictions(Problem.regression, wanted, ones) == {}


def test_half_precision_is_scored_alike():
    scores = score_predictions(Problem.single_label, BINARY.astype(np.float16), BINARY_TARGETS)
    assert scores == pytest.approx(BINARY_SCORES)


def test_every_problem_has_its_metrics():
    for problem in Problem:
        assert DEFAULT_METRIC[problem] in METRICS[problem]
    assert set(METRICS[Problem.single_label]) == set(BINARY_SCORES)


@pytest.mark.parametrize(
    ("problem", "logits", "targets", "said"),
    [
        (Problem.single_label, np.zeros((2, 3)), np.zeros(3), r"got \[2, 3\] and \[3\]"),
        (Problem.single_label, np.zeros(2), np.zeros(()), r"logits must be \[..., K\]"),
        (Problem.per_base, np.zeros((1, 2, 3)), np.full((1, 2), -100), "must hold a label at least"),
        (
            Problem.multi_label,
            np.zeros((2, 3)),
            np.zeros((2, 2)),
            r"must be \[B, K\], got \[2, 3\] and \[2, 2\]",
        ),
        (Problem.regression, np.zeros((0, 1)), np.zeros((0, 1)), r"must be \[B, K\], got \[0, 1\]"),
    ],
)
def test_bad_input(problem, logits, targets, said):
    with pytest.raises(ValueError, match=said):
        score_predictions(problem, logits, targets)
