"""Cross-validation: a run for each fold, in one table."""

import json
import statistics

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import dnachunk
from dnachunk.data import Task
from dnachunk.errors import ArgumentError
from dnachunk.evaluation import predict_logits, score_predictions
from dnachunk.training import grid, run_search
from tests.training.finetuning import arguments, labelled, save_small, toy_set, toy_task

pytestmark = pytest.mark.usefixtures("quick_collections")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("mergedna"))


def without_test(count=48):
    return Task.of({"train": toy_set(count, 10)})


def test_the_best_of_the_first_fold_is_trained_on_all(pretrained, tmp_path):
    seen = []
    task = without_test()
    result = run_search(
        pretrained,
        task,
        arguments(tmp_path, seed=7),
        candidates=grid([1e-7, 5e-3], [2]),
        folds=3,
        before_run=lambda trainer, candidate, seed, fold: seen.append(
            (candidate.learning_rate, seed, fold, trainer.task)
        ),
    )
    assert [place[:3] for place in seen] == [(1e-7, 7, 1), (5e-3, 7, 1), (5e-3, 7, 2), (5e-3, 7, 3)]
    folds = task.folds(3, seed=7)
    assert [place[3] for place in seen] == [folds[0], *folds]
    assert [(run.seed, run.fold) for run in result.repeats] == [(7, 1), (7, 2), (7, 3)]
    each = [run.test["mcc"] for run in result.repeats]
    assert result.metrics["test_mcc"] == pytest.approx(statistics.fmean(each))
    assert result.metrics["test_mcc_std"] == pytest.approx(statistics.stdev(each))
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "settings.json",
        "rate1e-07_epochs2_seed7_fold1.json",
        *(f"rate0.005_epochs2_seed7_fold{fold}.json" for fold in (1, 2, 3)),
    }
    # The model is that of the fold that is best on its validation set, and the scores are of its own fold.
    best = max(result.repeats, key=lambda run: (run.eval["mcc"], -run.eval["loss"]))
    held_out = folds[best.fold - 1].test
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    logits = torch.stack(predict_logits(model, tokenizer, held_out.sequences)).numpy()
    scores = score_predictions(task.problem, logits, np.array(held_out.targets))
    assert scores == pytest.approx({name: best.test[name] for name in scores})
    assert str(result).splitlines()[-7].startswith("3 folds")
    assert [entry["fold"] for entry in result.summary["repeats"]] == [1, 2, 3]
    assert result.summary["folds"] == 3


def test_a_test_set_stays_and_folds_are_chosen_by(pretrained, tmp_path):
    task, seen = toy_task(24, 12, 16), []
    result = run_search(
        pretrained,
        task,
        arguments(tmp_path, max_steps=2),
        folds=2,
        seeds=2,
        before_run=lambda trainer, candidate, seed, fold: seen.append((seed, fold, trainer.task)),
    )
    assert [place[:2] for place in seen] == [(42, 1), (42, 2), (43, 1), (43, 2)]
    for _, fold, trained in seen:
        assert trained.test is task.test
        assert trained.valid == task.folds(2, seed=42)[fold - 1].valid
        assert len(trained.train) + len(trained.valid) == 36
    assert len(result.repeats) == 4
    assert "2 folds × 2 seeds" in str(result)


class StopError(Exception):
    """An interruption."""


@pytest.mark.parametrize("method", ["full", "ridge"])
def test_an_interrupted_cross_validation_goes_on_to_the_same_numbers(pretrained, tmp_path, method):
    def run(name, stop_at=None, resume=False, folds=3):
        seen = []

        def before_run(trainer, candidate, seed, fold):
            seen.append(fold)
            if fold == stop_at:
                raise StopError

        args = arguments(tmp_path / name, **({"max_steps": 3} if method == "full" else {}))
        options = {"method": method, "folds": folds, "resume": resume, "before_run": before_run}
        return run_search(pretrained, without_test(), args, **options), seen

    whole, places = run("whole")
    assert sorted(set(places)) == [1, 2, 3]
    with pytest.raises(StopError):
        run("part", stop_at=2)
    resumed, places = run("part", resume=True)
    assert places == [2, 3]
    assert resumed.metrics == pytest.approx(whole.metrics)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "part")]
    assert weights[0] == weights[1]
    with pytest.raises(ValueError, match="part holds runs with other folds: choose another folder"):
        run("part", resume=True, folds=4)
    assert run("part", resume=True) == (resumed, [])


def test_the_verb(pretrained, tmp_path):
    found = dnachunk.finetune(
        pretrained,
        tmp_path / "run",
        task=without_test(),
        folds=2,
        max_steps=2,
        per_device_train_batch_size=8,
        use_cpu=True,
    )
    assert str(found).startswith("2 folds")
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert metrics["folds"] == 2
    assert "test_mcc_std" in metrics
    assert "on 48 sequences, one of 2 folds held out: " in (tmp_path / "run" / "README.md").read_text()


def test_folds_that_cannot_be(pretrained, tmp_path):
    few = Task.of({"train": labelled(["AC", "GG", "TT", "CC", "GT"], ["a", "b", "a", "a", "b"])})
    with pytest.raises(ArgumentError, match="folds must be 2 at most, as class 'b' has so many, got 3"):
        run_search(pretrained, few, arguments(tmp_path / "run"), folds=3)
    with pytest.raises(ArgumentError, match="folds must be a whole number of at least 2, got 1"):
        dnachunk.finetune(pretrained, tmp_path / "run", task=few, folds=1, use_cpu=True)
    alike = Task.of({"train": labelled(["AC", "GG", "TT", "CC"] * 2, ["a", "b", "a", "b"] * 2)})
    with pytest.raises(ValueError, match="has one sequence, so none can be kept for validation"):
        run_search(pretrained, alike, arguments(tmp_path / "run"), folds=2)
    assert not (tmp_path / "run" / "runs").exists()
