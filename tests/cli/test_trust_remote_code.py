"""Models whose code lies in their folders, in the commands that take any model."""

import csv
import json
import shutil
import sys

import pytest
import safetensors.torch
import transformers

from dnachunk.errors import ArgumentError
from dnachunk.models.loading import load_config, load_pretrained, load_tokenizer, model_digest, own_code
from tests.cli.test_finetune import toy_rows, write_table
from tests.training.finetuning import save_bert, save_small
from tests.training.own_code import save_with_code

QUICK = ["--max-steps", 12, "--per-device-train-batch-size", 8, "--learning-rate", 0.05, "--use-cpu"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """What transformers imports from folders lies in the test's own."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("transformers_modules"):
            del sys.modules[name]


@pytest.fixture
def suite(tmp_path):
    folder = tmp_path / "suite" / "toy"
    folder.mkdir(parents=True)
    write_table(folder / "train.csv", *toy_rows(20, 1))
    write_table(folder / "test.csv", *toy_rows(10, 5))
    return tmp_path / "suite"


def one_line(result):
    (line,) = [line for line in result.err.splitlines() if line.strip()]
    return line


# A model that calls itself as one of transformers does is no such model.
@pytest.mark.parametrize("model_type", ["toy_dna", "bert"])
def test_own_code_is_run_only_where_it_is_trusted(run, suite, tmp_path, model_type):
    model = save_with_code(tmp_path / "model", model_type)
    tuning = [
        "finetune",
        "--model",
        model,
        "--data",
        suite / "toy",
        "--output-dir",
        tmp_path / "tuned",
        *QUICK,
    ]
    refused = run(*tuning)
    assert refused.status == 1
    said = one_line(refused)
    assert f"{model} holds a model with code of its own (modeling_toy, tokenization_toy), " in said
    assert "which runs only if you trust it: --trust-remote-code, of finetune, evaluate and predict" in said
    assert not (tmp_path / "tuned").exists()

    result = run(*tuning, "--trust-remote-code")
    assert result.status == 0, result.err
    warning = f"Warning    the code in {model} runs as yours would: modeling_toy, tokenization_toy"
    assert [line for line in result.out.splitlines() if line.startswith("Warning")] == [warning]
    metrics = json.loads((tmp_path / "tuned" / "results.json").read_text())["metrics"]
    assert metrics["test_accuracy"] > 0.8

    # The model that is left has its code beside it, and is taken under the same condition.
    assert (tmp_path / "tuned" / "modeling_toy.py").read_text() == (model / "modeling_toy.py").read_text()
    asking = ["predict", "--model", tmp_path / "tuned", "--sequences", suite / "toy" / "test.csv"]
    asking += ["--keep-column", "label", "--output", tmp_path / "predicted.tsv"]
    refused = run(*asking)
    assert refused.status == 1
    assert "--trust-remote-code" in one_line(refused)
    assert not (tmp_path / "predicted.tsv").exists()
    result = run(*asking, "--trust-remote-code")
    assert result.status == 0, result.err
    rows = list(csv.DictReader((tmp_path / "predicted.tsv").read_text().splitlines(), delimiter="\t"))
    hits = [row["predicted_label"] == row["label"] for row in rows]
    assert sum(hits) / len(hits) == pytest.approx(metrics["test_accuracy"])


def test_labels_of_bases_through_own_code(run, tmp_path):
    model = save_with_code(tmp_path / "model")
    rows = [row.split(",")[0] for row in toy_rows(12, 1)]
    labels = ["".join("1" if base == "G" else "0" for base in row) for row in rows]
    write_table(tmp_path / "train.csv", *(f"{row},{label}" for row, label in zip(rows, labels, strict=True)))
    words = ["finetune", "--model", model, "--train", tmp_path / "train.csv", "--method", "probe"]
    result = run(*words, "--output-dir", tmp_path / "tuned", *QUICK, "--trust-remote-code")
    assert result.status == 0, result.err
    metrics = json.loads((tmp_path / "tuned" / "results.json").read_text())["metrics"]
    assert metrics["eval_auroc"] > 0.9


def test_a_row_of_a_table(run, suite, tmp_path):
    model, merge = save_with_code(tmp_path / "toy"), save_small(tmp_path / "merge")
    words = [
        "evaluate",
        "--model",
        merge,
        "--model",
        model,
        "--suite",
        suite,
        "--output-dir",
        tmp_path / "run",
    ]
    words += [*QUICK, "--seeds", 1, "--no-floor"]
    refused = run(*words)
    assert refused.status == 1
    assert f"{model} holds a model with code of its own" in one_line(refused)
    assert not (tmp_path / "run" / "cells" / "merge" / "toy").exists(), "told before anything is trained"
    result = run(*words, "--trust-remote-code")
    assert result.status == 0, result.err
    assert sum(line.startswith("Warning") for line in result.out.splitlines()) == 1
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert metrics["models"]["toy"]["backbone_parameters"] == 8 * 16 + 48 * 16 + 16
    assert metrics["scores"]["toy"]["toy"]["test_mcc"] > 0.6


def test_what_a_folder_says_of_its_code(tmp_path):
    model = save_with_code(tmp_path / "model")
    assert own_code(model) == ["modeling_toy", "tokenization_toy"]
    for load in (load_config, load_tokenizer, lambda folder: load_pretrained(transformers.AutoModel, folder)):
        with pytest.raises(ArgumentError, match="runs only if you trust it: trust_remote_code, of finetune"):
            load(model)
    assert own_code(save_bert(tmp_path / "bert")) == []
    assert own_code(tmp_path / "nowhere") == []
    (tmp_path / "damaged").mkdir()
    for text in ("{", "[1]", '{"model_type": [1]}', '{"auto_map": null}', "[" * 100_000):
        (tmp_path / "damaged" / "config.json").write_text(text)
        assert own_code(tmp_path / "damaged") == []
    # Ours that are saved with their code need none of it.
    ours = save_small(tmp_path / "ours")
    config = json.loads((ours / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_mergedna.MergeDNAModel"}
    (ours / "config.json").write_text(json.dumps(config))
    assert own_code(ours) == []
    assert load_config(ours).model_type == "mergedna"


def test_other_code_is_another_model(tmp_path):
    model = save_with_code(tmp_path / "model")
    copy = shutil.copytree(model, tmp_path / "copy")
    assert model_digest(copy) == model_digest(model)
    (copy / "modeling_toy.py").write_text((copy / "modeling_toy.py").read_text() + "\n")
    assert model_digest(copy) != model_digest(model)


def test_weights_that_lack_a_tensor_are_refused_whatever_the_code(tmp_path):
    model = save_with_code(tmp_path / "model")
    weights = safetensors.torch.load_file(model / "model.safetensors")
    del weights["toy.mix.weight"]
    safetensors.torch.save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="mix.weight is missing"):
        load_pretrained(transformers.AutoModel, model, trust_remote_code=True)


def test_ridge_with_a_head_that_scores_positions_before_it_pools(run, suite, tmp_path):
    model = save_with_code(tmp_path / "model")
    words = ["finetune", "--model", model, "--data", suite / "toy", "--output-dir", tmp_path / "tuned"]
    result = run(*words, "--method", "ridge", "--tile-bp", 24, "--use-cpu", "--trust-remote-code")
    assert result.status == 0, result.err
    metrics = json.loads((tmp_path / "tuned" / "results.json").read_text())["metrics"]
    # The layer has no bias.
    assert metrics["trained_parameters"] == 2 * 16
    assert metrics["test_mcc"] > 0.6
    asking = ["predict", "--model", tmp_path / "tuned", "--sequences", suite / "toy" / "test.csv"]
    asking += ["--keep-column", "label", "--output", tmp_path / "predicted.tsv", "--trust-remote-code"]
    assert run(*asking).status == 0
    rows = [line.split("\t") for line in (tmp_path / "predicted.tsv").read_text().splitlines()[1:]]
    hits = [row[1] == row[2] for row in rows]
    assert sum(hits) / len(hits) == pytest.approx(metrics["test_accuracy"])
