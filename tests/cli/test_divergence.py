"""A training that diverged ends, says so, and leaves nothing that looks like a model."""

import json
import math
import shutil

import pytest
import safetensors.torch
import torch

from dnachunk.reporting import to_json
from tests.cli.conftest import SMALL
from tests.training.finetuning import random_sequences

PRETRAIN = ["--eval-windows", 2, "--per-device-train-batch-size", 2, *SMALL]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    path = tmp_path_factory.mktemp("labelled") / "train.csv"
    rows = [f"{text},{index % 2}" for index, text in enumerate(random_sequences(24, 24, 1))]
    path.write_text("sequence,label\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def broken(model, tmp_path_factory):
    """A model with one weight that is no number."""
    folder = tmp_path_factory.mktemp("broken") / "model"
    shutil.copytree(model, folder)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    name = next(name for name in weights if "embed_tokens" in name)
    weights[name].view(-1)[1] = math.nan
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder, name


def finite(folder):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    return all(bool(torch.isfinite(weight).all()) for weight in weights.values())


def test_a_pretraining_that_diverges_keeps_its_last_whole_checkpoint(run, fasta, tmp_path):
    words = ["--fasta", fasta, "--output-dir", tmp_path / "run", *PRETRAIN]
    words += ["--save-strategy", "steps", "--save-steps", 2, "--max-steps", 40, "--warmup-steps", 30]
    # The rate grows to where the first step ends it, a few steps behind the first checkpoint.
    result = run("pretrain", *words, "--learning-rate", "1e22")
    assert result.status == 1
    assert "the training diverged at step " in result.err
    assert "Traceback" not in result.err
    assert "The model is in" not in result.out
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "results.json").exists()
    checkpoints = sorted((tmp_path / "run").glob("checkpoint-*"))
    said = "the last whole checkpoint is" if checkpoints else "nothing is saved"
    assert said in result.err
    assert all(finite(checkpoint) for checkpoint in checkpoints)


def test_a_finetuning_that_diverges_saves_nothing(run, model, labelled, tmp_path):
    words = ["--model", model, "--train", labelled, "--output-dir", tmp_path / "run", "--max-steps", 6]
    result = run("finetune", *words, "--learning-rate", "1e20", "--warmup-steps", 0)
    assert result.status == 1
    assert "the training diverged at step " in result.err
    assert "Try a lower learning_rate than 1e+20" in result.err
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_search_leaves_out_what_diverges(run, model, labelled, tmp_path):
    words = ["--model", model, "--train", labelled, "--output-dir", tmp_path / "run", "--max-steps", 3]
    rates = ["--learning-rate", "1e20", "--learning-rate", "1e-3"]
    result = run("finetune", *words, *rates, "--warmup-steps", 0)
    assert result.status == 0, result.err
    assert "learning rate 1e+20, 10 epochs is left out: the training diverged" in result.out
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert [each["learning_rate"] for each in metrics["search"]] == [1e-3]
    assert [each["learning_rate"] for each in metrics["diverged"]] == [1e20]
    assert finite(tmp_path / "run")


@pytest.mark.parametrize(
    "command", ["tokenize", "embed", "score-variants", "browse", "compare-tokens", "finetune"]
)
def test_a_model_that_diverged_is_not_loaded(run, broken, fasta, labelled, tmp_path, command):
    folder, name = broken
    vcf = tmp_path / "v.vcf"
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    letter = fasta.read_text().split("\n")[1][0].upper()
    vcf.write_text(f"{header}one\t1\t.\t{letter}\t{'A' if letter != 'A' else 'C'}\t.\t.\t.\n")
    of_genome = ["--fasta", fasta]
    words = {
        "tokenize": [*of_genome, "--output", tmp_path / "o.bed"],
        "embed": [*of_genome, "--output", tmp_path / "o.npz"],
        "score-variants": [*of_genome, "--vcf", vcf, "--output", tmp_path / "o.tsv"],
        "browse": [*of_genome, "--output", tmp_path / "o.html"],
        "compare-tokens": [*of_genome, "--output-dir", tmp_path / "o"],
        "finetune": ["--train", labelled, "--output-dir", tmp_path / "o"],
    }
    result = run(command, "--model", folder, *words[command])
    assert result.status == 1
    assert f"{name.removeprefix('model.')} is not finite" in result.err
    assert "of a training that diverged" in result.err
    assert not (tmp_path / "o").exists()


def test_json_has_no_nan():
    text = to_json({"a": math.nan, "b": [1.5, math.inf, {"c": -math.inf}], "d": (1, None, "NaN")})
    assert json.loads(text) == {"a": None, "b": [1.5, None, {"c": None}], "d": [1, None, "NaN"]}


def test_a_run_is_resumed_with_what_it_was_begun_with(run, fasta, tmp_path):
    words = ["--fasta", fasta, "--output-dir", tmp_path / "run", *PRETRAIN]
    begun = run("pretrain", *words, "--max-steps", 4, "--save-steps", 2, "--save-strategy", "steps")
    assert begun.status == 0, begun.err
    other = tmp_path / "other.fa"
    other.write_text(fasta.read_text().replace(">two", ">three"))
    resume = ["--resume-from-checkpoint", "last", "--max-steps", 6]
    for given, named in (
        (["--seed", 7], "seed"),
        (["--window-bp", 96], "config"),
        (["--weight", "2"], "weight"),
        (["--holdout", "one:1-600"], "holdout"),
        (["--learning-rate", "3e-4"], "learning_rate"),
        (["--gradient-accumulation-steps", 2], "windows a step"),
        (["--fasta", other], "fasta"),
    ):
        result = run("pretrain", *words, *resume, *given)
        assert result.status == 1
        assert "is of a run with other" in result.err
        assert named in result.err
    assert run("pretrain", *words, *resume).status == 0
