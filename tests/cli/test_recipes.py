"""``pretrain --recipe``, and options that are given twice, in every command."""

import json

import pytest

from dnachunk.cli import main
from dnachunk.cli.app import app
from dnachunk.training import Recipe
from dnachunk.training.recipe import recipe_names
from tests.cli.conftest import SMALL

QUICK = [*SMALL, "--max-steps", 2, "--use-cpu", "--eval-windows", 3, "--bf16", "false"]


def test_the_list_needs_nothing_else(run):
    result = run("pretrain", "--recipe", "list")
    assert result.status == 0, result.err
    for name in recipe_names():
        assert f"\n{name} " in result.out
    assert "warmup_stable_decay" in result.out


def test_options_go_before_the_recipe_and_the_run_leaves_its_own(run, fasta, tmp_path):
    words = ["pretrain", "--recipe", "mergedna", "--size", "micro", "--window-bp", 64, "--step-bp", 256]
    result = run(*words, "--fasta", fasta, "--output-dir", tmp_path / "run", *QUICK)
    assert result.status == 0, result.err
    assert "Recipe     mergedna" in result.out
    assert "Training   2 steps of 4 windows of 64 bases" in result.out
    used = Recipe.read(tmp_path / "run" / "recipe.toml").fields
    assert (used["learning_rate"], used["max_steps"], used["window_bp"], used["step_bp"]) == (
        1e-4,
        2,
        64,
        256,
    )
    words = ["pretrain", "--recipe", tmp_path / "run" / "recipe.toml", "--fasta", fasta, "--eval-windows", 3]
    result = run(*words, "--output-dir", tmp_path / "again", "--use-cpu")
    assert result.status == 0, result.err
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "again")]
    assert weights[0] == weights[1]


def test_repeats_and_metrics_of_each_genome(run, fasta, tmp_path):
    other = tmp_path / "Other.fa"
    other.write_text(">three\n" + "ACGGTTAC" * 200 + "\n")
    bed = tmp_path / "r.bed"
    bed.write_text("two\t0\t9\nthree\t0\t900\n")
    config = ["hidden_size=32", "num_attention_heads=2", "num_hidden_layers=1", "state_size=4"]
    words = ["pretrain", "--model", "dnachunker", *(word for each in config for word in ("--config", each))]
    words += ["--fasta", fasta, "--fasta", other, "--window-bp", 64, "--max-steps", 1, "--use-cpu"]
    words += ["--holdout", "two:1-192", "--holdout", "three:1-128"]
    result = run(*words, "--repeats", bed, "--output-dir", tmp_path / "run")
    assert result.status == 0, result.err
    assert "Repeats " not in result.out
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert (
        metrics["eval_masked_count/genome"] + metrics["eval_masked_count/Other"]
        == metrics["eval_masked_count"]
    )
    assert {"eval_compression_0/Other", "eval_loss/genome", "start_eval_masked_nats/Other"} <= set(metrics)
    lines = [line.split() for line in result.out.splitlines()]
    for name in ("genome", "Other"):
        assert [
            name,
            f"{metrics[f'eval_masked_accuracy/{name}']:.2%}",
            f"{metrics[f'eval_masked_nats/{name}']:.4f}",
        ] in lines
    bed.write_text("chr9\t0\t9\n")
    result = run(*words, "--repeats", bed, "--output-dir", tmp_path / "other")
    assert result.status == 1
    assert "--repeats " in result.err
    assert "it names chr9" in result.err
    assert "the records are one, two (--aliases takes a table" in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--recipe", "mergdna"], "did you mean mergedna?"),
        (
            ["--recipe", "mergedna", "--model", "mxdna"],
            "--recipe mergedna is for --model mergedna, got mxdna",
        ),
        (["--recipe", "nowhere/r.toml"], "nowhere/r.toml"),
        (["--recipe", "mergedna", "--window-bp", "1000"], "--step-bp must be a multiple of 1000"),
        (
            ["--step-bp", "64", "--gradient-accumulation-steps", "2"],
            "--step-bp settles --gradient-accumulation",
        ),
        (["--mask-probability", "0.2"], "--mask-probability is for masked modelling"),
        (
            ["--mask-probability", "2", "--model", "mxdna"],
            "--mask-probability must be a number between 0 and 1",
        ),
        (["--repeats", "r.bed"], "--repeats is for --model dnachunker"),
    ],
)
def test_refusals(run, fasta, tmp_path, words, said):
    result = run("pretrain", "--fasta", fasta, "--output-dir", tmp_path / "run", *words)
    assert result.status in (1, 2)
    assert said in result.err.strip().splitlines()[-1]
    assert not (tmp_path / "run").exists()


def single_valued():
    """Every option of every command that takes one value, with two values for it."""
    import typer

    for name, command in typer.main.get_command(app).commands.items():
        for option in command.params:
            if option.expose_value and not option.multiple and not option.is_eager:
                value = [] if option.is_flag else ["1"]
                yield name, [option.opts[0], *value, option.opts[0], *value]


@pytest.mark.parametrize(("command", "words"), list(single_valued()))
def test_an_option_given_twice_is_refused(capfd, command, words):
    assert main([command, *words]) == 2
    assert f"{words[0]} is given 2 times, and takes one value" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-steps", "3", "--max_steps=4"], "--max-steps is given 2 times"),
        (["--bf16", "--bf16"], "--bf16 is given 2 times"),
        (["--recipe", "mergedna", "--recipe", "mxdna"], "--recipe is given 2 times"),
    ],
)
def test_so_are_flags_of_the_trainer(run, fasta, tmp_path, words, said):
    result = run("pretrain", "--fasta", fasta, "--output-dir", tmp_path / "run", *words)
    assert result.status == 2
    assert said in result.err


def test_both_ways_to_write_an_option_are_one(run, model, tmp_path):
    words = ["--model", model, "--train", "t.csv", "--output-dir", tmp_path / "run"]
    result = run("finetune", *words, "--learning-rate", "1e-3", "--learning_rate", "1e-4")
    assert result.status == 2
    assert "--learning-rate and --learning_rate are the same: give one of them" in result.err
