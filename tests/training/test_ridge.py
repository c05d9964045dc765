"""Ridge regression on frozen embeddings, against its definition."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import dnachunk
from dnachunk.data import Problem, Task
from dnachunk.errors import ArgumentError, UsageError
from dnachunk.evaluation import score_predictions
from dnachunk.training import FineTuner, run_search
from dnachunk.training.adaptation import load_with_head
from dnachunk.training.ridge import RIDGE_ALPHAS, RidgeHead
from tests.training.finetuning import arguments, labelled, save_bert, save_small, toy_set, toy_task
from tests.training.runs import SMALL_CONFIGS

pytestmark = pytest.mark.usefixtures("quick_collections")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("mergedna"))


def make_set(problem, count, seed):
    toy = toy_set(count, seed)
    shares = [[sequence.count(base) / len(sequence) for base in "AC"] for sequence in toy.sequences]
    if problem is Problem.regression:
        return labelled(toy.sequences, [tuple(map(str, each)) for each in shares], ("a", "c"))
    if problem is Problem.multi_label:
        cells = [
            "|".join(name for name, share in zip("ac", each, strict=True) if share > 0.2) for each in shares
        ]
        return labelled(toy.sequences, cells)
    # Three classes.
    return labelled(toy.sequences, ["acg"[min(2, int(6 * a))] for a, _ in shares])


def make_task(problem, count=60):
    sets = {name: make_set(problem, count, seed) for name, seed in (("train", 1), ("valid", 2), ("test", 3))}
    return Task.of(sets, problem)


def make_tuner(directory, task, output_dir, **options):
    torch.manual_seed(0)
    return FineTuner(
        load_with_head(directory, task),
        arguments(output_dir),
        task,
        AutoTokenizer.from_pretrained(directory),
        method="ridge",
        **options,
    )


def naive_features(model, tokenizer, sequences):
    """What MergeDNA's head reads: the mean over latent tokens, one sequence at a time."""
    rows = []
    with torch.no_grad():
        for sequence in sequences:
            encoded = model.model(**tokenizer([sequence], return_tensors="pt"))
            rows.append(encoded.last_hidden_state[0, : encoded.segmentation.num_tokens[0]].mean(0))
    return torch.stack(rows).double().numpy()


def naive_ridge(features, targets, alpha):
    """The normal equations, on features of variance 1, the intercept apart."""
    mean, scale = features.mean(0), features.std(0)
    x, y = (features - mean) / scale, targets - targets.mean(0)
    solution = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ y)
    return lambda rows: (rows - mean) / scale @ solution + targets.mean(0)


@pytest.mark.parametrize("problem", [Problem.single_label, Problem.multi_label, Problem.regression])
def test_the_head_is_the_solution(pretrained, tmp_path, problem):
    task = make_task(problem)
    tuner = make_tuner(pretrained, task, tmp_path)
    head = RidgeHead(tuner)
    head.fit(10.0)
    targets = np.array(task.train.targets, dtype=float)
    if problem is Problem.single_label:
        targets = np.eye(len(task.names))[task.train.targets]
    if problem is not Problem.regression:
        targets = 2 * targets - 1
    features = [
        naive_features(tuner.model, tuner.processing_class, part.sequences)
        for part in (task.train, task.valid)
    ]
    expected = naive_ridge(features[0], targets, 10.0)(features[1])
    logits, labels = tuner.run(task.valid)
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(labels.numpy(), task.valid.targets, rtol=1e-6)
    scores = score_predictions(problem, expected, np.array(task.valid.targets))
    found = head.scores(task.valid)
    assert {name: found[name] for name in scores} == pytest.approx(scores, abs=1e-4)
    evaluated = tuner.evaluate()
    assert {f"eval_{name}": value for name, value in found.items()} == pytest.approx(
        {name: value for name, value in evaluated.items() if name.removeprefix("eval_") in found}, abs=1e-4
    )
    if problem is Problem.single_label:
        mean, scale = features[0].mean(0), features[0].std(0)
        classifier = RidgeClassifier(alpha=10.0).fit((features[0] - mean) / scale, task.train.targets)
        decision = classifier.decision_function((features[1] - mean) / scale)
        np.testing.assert_allclose(logits.numpy(), decision, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [*sorted(SMALL_CONFIGS), "bert"])
def test_the_folder_is_a_model_like_others(tmp_path, kind):
    directory = save_bert(tmp_path / kind) if kind == "bert" else save_small(tmp_path / kind, kind)
    task = toy_task(64, 24, 48)
    result = run_search(directory, task, arguments(tmp_path / "run"), method="ridge")
    assert result.metrics["test_mcc"] > 0.5
    assert [run.candidate.ridge_alpha for run in result.search] == list(RIDGE_ALPHAS)
    best = max(run.eval["mcc"] for run in result.search)
    assert best == result.repeats[0].eval["mcc"]
    names = {path.name for path in (tmp_path / "run" / "runs").glob("ridge*.json")}
    assert names == {f"ridge{alpha:g}_seed42.json" for alpha in RIDGE_ALPHAS}
    found = list(dnachunk.predict(tmp_path / "run", task.test.sequences))
    right = [
        task.names.index(each.label) == target for each, target in zip(found, task.test.targets, strict=True)
    ]
    assert np.mean(right) == pytest.approx(result.metrics["test_accuracy"])
    # The backbone is as it was, and the same call gives the same bytes.
    again = run_search(directory, task, arguments(tmp_path / "again"), method="ridge")
    assert again.metrics == result.metrics
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "again")]
    assert weights[0] == weights[1]
    tuned = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").state_dict()
    before = load_with_head(directory, task).state_dict()
    same = [name for name in tuned if torch.equal(tuned[name], before[name])]
    assert {"classifier.weight", "classifier.bias"} == {
        n for n in set(tuned) - set(same) if "pooler" not in n
    }


def test_a_finished_search_is_read_back(pretrained, tmp_path):
    seen = []
    task = toy_task(32, 16, 16)
    for resume in (False, True):
        result = run_search(
            pretrained,
            task,
            arguments(tmp_path),
            method="ridge",
            resume=resume,
            before_run=lambda *place: seen.append(place[1].ridge_alpha),
        )
    assert seen == list(RIDGE_ALPHAS)
    assert result.candidate.ridge_alpha in RIDGE_ALPHAS
    entry = result.summary["search"][0]
    assert (entry["ridge_alpha"], entry["steps"]) == (RIDGE_ALPHAS[0], 0)
    assert "learning_rate" not in entry


@pytest.mark.parametrize("options", [{"tile_bp": 24}, {"reverse_complement": "average"}])
def test_features_are_of_tiles_and_strands_as_they_are_evaluated(pretrained, tmp_path, options):
    task = toy_task(48, 16, 32)
    result = run_search(pretrained, task, arguments(tmp_path), method="ridge", **options)
    strands = {name: value for name, value in options.items() if name != "tile_bp"}
    found = list(dnachunk.predict(tmp_path, task.test.sequences, **strands))
    logits = torch.stack([each.values for each in found]).log().numpy()
    scores = score_predictions(task.problem, logits, np.array(task.test.targets))
    assert {name: result.metrics[f"test_{name}"] for name in scores} == pytest.approx(scores, abs=1e-5)
    plain = run_search(pretrained, task, arguments(tmp_path / "plain"), method="ridge")
    assert plain.metrics["test_loss"] != pytest.approx(result.metrics["test_loss"], abs=1e-4)


def test_a_feature_that_does_not_differ_says_nothing(pretrained, tmp_path):
    tuner = make_tuner(pretrained, make_task(Problem.single_label), tmp_path)
    head = RidgeHead(tuner)
    features, targets = head._run(tuner.task.train)
    wide = np.concatenate([features[:, :-1], np.full((len(features), 1), 3.0)], axis=1)
    head._features[id(tuner.task.train)] = wide, targets
    head.fit(1.0)
    weight = tuner.model.classifier.weight
    assert weight.isfinite().all()
    assert weight[:, -1].abs().max() < 1e-6


def test_a_layer_without_a_bias_has_no_intercept(pretrained, tmp_path):
    task = make_task(Problem.regression)
    tuner = make_tuner(pretrained, task, tmp_path)
    tuner.model.classifier.bias = None
    RidgeHead(tuner).fit(10.0)
    features = [
        naive_features(tuner.model, tuner.processing_class, part.sequences)
        for part in (task.train, task.valid)
    ]
    x, scale = features[0] / features[0].std(0), features[0].std(0)
    y = np.array(task.train.targets)
    solution = np.linalg.solve(x.T @ x + 10.0 * np.eye(x.shape[1]), x.T @ y)
    logits, _ = tuner.run(task.valid)
    np.testing.assert_allclose(logits.numpy(), features[1] / scale @ solution, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("change", ["none", "after"])
def test_a_head_that_is_not_linear_in_its_last_layer_is_refused(pretrained, tmp_path, change):
    tuner = make_tuner(pretrained, make_task(Problem.single_label), tmp_path)
    classifier = tuner.model.classifier
    others = {"none": torch.nn.Identity(), "after": torch.nn.Sequential(classifier, torch.nn.Sigmoid())}
    tuner.model.classifier = others[change]
    with pytest.raises(
        ArgumentError, match="method='ridge' needs a head that ends in a linear layer, got a MergeDNAFor"
    ):
        RidgeHead(tuner)


def test_what_ridge_is_not_for(pretrained, tmp_path):
    bases = labelled(["ACGT"] * 4, ["0101", "1010"] * 2)
    with pytest.raises(ArgumentError, match="method='ridge' is for labels of sequences, got labels of bases"):
        run_search(
            pretrained, Task.of({"train": bases, "valid": bases}), arguments(tmp_path / "run"), method="ridge"
        )
    with pytest.raises(
        UsageError, match="seeds is 1 where method='ridge', which is the same each time, got 2"
    ):
        run_search(pretrained, toy_task(8, 8, 8), arguments(tmp_path / "run"), method="ridge", seeds=2)
    for name, value in (
        ("learning_rate", 1e-3),
        ("num_train_epochs", 3),
        ("weight_decay", [0.0, 0.1]),
        ("paper_grid", True),
        ("max_steps", 5),
    ):
        with pytest.raises(UsageError, match=f"{name} is of trainings, and method='ridge' trains nothing"):
            dnachunk.finetune(
                pretrained, tmp_path / "run", task=toy_task(8, 8, 8), method="ridge", **{name: value}
            )
    assert not (tmp_path / "run" / "runs").exists()


def test_the_verb(pretrained, tmp_path):
    found = dnachunk.finetune(
        pretrained, tmp_path / "run", task=toy_task(32, 16, 16), method="ridge", metric="auroc", use_cpu=True
    )
    assert "searched, on the validation set" in str(found)
    assert "regularization 0.001" in str(found)
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert (metrics["method"], metrics["chosen_by"]) == ("ridge", "eval_auroc")
    assert metrics["trained_parameters"] == 2 * 32 + 2
    assert "(ridge, regularization " in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.slow
def test_two_ranks_solve_the_same(pretrained, tmp_path):
    for name, count, seed in (("train", 62, 1), ("test", 42, 5)):
        toy = toy_set(count, seed)
        rows = [f"{sequence},{label}" for sequence, (label,) in zip(toy.sequences, toy.labels, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["sequence,label", *rows]))
    words = ["--model", pretrained, "--train", tmp_path / "train.csv", "--test", tmp_path / "test.csv"]
    words += ["--method", "ridge", "--tile-bp", 24, "--per-device-eval-batch-size", 8, "--use-cpu"]
    found = []
    for ranks in (1, 2):
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", ranks, "-m", "dnachunk"]
        output = ["--output-dir", tmp_path / f"run{ranks}", "--ddp-backend", "gloo"]
        command = [str(word) for word in (*launch, "finetune", *words, *output)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found.append(json.loads((tmp_path / f"run{ranks}" / "results.json").read_text())["metrics"])
    for name in ("eval_loss", "test_loss", "test_mcc", "test_auroc"):
        assert found[0][name] == pytest.approx(found[1][name], abs=1e-4)
