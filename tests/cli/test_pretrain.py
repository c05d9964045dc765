import json
import os
import resource
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForPreTraining, AutoTokenizer

from dnachunk import DNATokenizer, MergeDNAForPreTraining
from dnachunk.alphabet import MASK_ID
from dnachunk.cli.arguments import read_training_arguments
from dnachunk.data import Genome, HeldOutWindows, Interval, WindowCollator
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.evaluation import letter_frequency_scores
from dnachunk.random import mix
from dnachunk.training.arguments import training_arguments
from dnachunk.training.pretrain import DEFAULTS
from tests.cli.conftest import FAULTS, SMALL

QUICK = [*SMALL, "--max-steps", 4, "--per-device-train-batch-size", 2, "--use-cpu", "--eval-windows", 5]


def last_line(text):
    return text.strip().splitlines()[-1]


def refused(result, status=1):
    """The one line of a refusal."""
    assert result.status == status
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("dnachunk pretrain: ")
    return lines[0]


def test_it_trains_saves_and_tells(run, fasta, tmp_path):
    result = run("pretrain", "--fasta", fasta, "--output-dir", tmp_path / "run", "--size", "micro", *QUICK)
    assert result.status == 0, result.err
    model = AutoModelForPreTraining.from_pretrained(tmp_path / "run")
    assert isinstance(model, MergeDNAForPreTraining)
    assert model.config.hidden_size == 32
    assert isinstance(AutoTokenizer.from_pretrained(tmp_path / "run"), DNATokenizer)

    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results) == {"command", "versions", "metrics"}
    assert results["versions"]["torch"] == torch.__version__
    metrics = results["metrics"]
    assert all(name == name.lower() for name in metrics)
    state = json.loads((tmp_path / "run" / "checkpoint-4" / "trainer_state.json").read_text())
    evaluations = [entry for entry in state["log_history"] if "eval_masked_nats" in entry]
    assert [entry["step"] for entry in evaluations] == [0, 1, 2, 3, 4]
    for name in ("eval_loss", "eval_masked_accuracy", "eval_masked_nats", "eval_amtm_nats"):
        assert metrics[name] == evaluations[-1][name]
        assert metrics[f"start_{name}"] == evaluations[0][name]

    state = torch.load(tmp_path / "run" / "checkpoint-4" / "optimizer.pt", weights_only=True)
    for group in state["param_groups"]:
        assert (group["initial_lr"], group["betas"]) == (1e-3, (0.9, 0.95))
    assert {group["weight_decay"] for group in state["param_groups"]} == {0.0, 1e-8}

    # The baselines read what the model read.
    genome = Genome(fasta)
    held_out = HeldOutWindows([genome], 64, [Interval("two")], max_windows=5)
    batch = WindowCollator()([held_out[index] for index in range(5)])
    masked = mask_bases(batch["input_ids"], mask_seeds(42, batch["sample_index"]))
    is_scored = masked.input_ids == MASK_ID
    letters = letter_frequency_scores(
        [genome.fetch(0, 0, genome.records[0].length_bp)[0]], masked.input_ids, batch["input_ids"], is_scored
    )
    assert metrics["letters_eval_masked_nats"] == letters.masked_nats
    assert metrics["letters_eval_masked_accuracy"] == letters.masked_accuracy
    assert metrics["eval_masked_count"] == letters.masked_count
    assert metrics["baseline_eval_masked_nats"] <= letters.masked_nats
    for name in ("start", "end", "letter frequencies"):
        assert any(line.startswith(name) and "%" in line for line in result.out.splitlines()), result.out
    assert f"{letters.masked_nats:.4f}" in result.out
    assert "4,500 bases, records: 2" in result.out
    assert "by default, two:1-500: 5 windows" in result.out
    assert metrics["holdout"] == [{"genome": "genome.fa", "record": "two", "start_bp": 0, "end_bp": 500}]
    assert metrics["holdout_is_default"]
    assert metrics["holdout_windows"] == 5
    assert "Held out by default: two:1-500." in (tmp_path / "run" / "README.md").read_text()
    # Five were asked for, and there are more.
    assert "holdout_warning" not in metrics
    assert "Too little is held out" not in result.out


def test_too_little_to_evaluate_on_is_told(run, fasta, tmp_path):
    words = ["--fasta", fasta, "--output-dir", tmp_path / "run", *QUICK[:-1], 256]
    result = run("pretrain", *words, "--holdout", "two")
    assert result.status == 0, result.err
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    warning = metrics["holdout_warning"]
    assert (metrics["holdout_windows"], metrics["holdout_is_default"]) == (7, False)
    count = metrics["eval_masked_count"]
    chance = 1.96 * (2 / 9 / count) ** 0.5
    assert warning.startswith(
        f"Too little is held out for these figures: 7 windows with {count} hidden bases, by which an "
        f"accuracy is known to ± {chance:.1%}."
    )
    # Before the training, and below the figures.
    assert result.out.count(warning) == 2
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"Held out: two. {warning}" in " ".join(card.split())


def test_an_assembly_that_ends_in_scaffolds(run, tmp_path):
    sequence = "".join("ACGT"[mix(3, place) % 4] for place in range(20_000))
    scaffold = sequence[:732]
    (tmp_path / "x.fa").write_text(f">chr1\n{sequence}\n>scaffold_1\n{scaffold}\n>scaffold_2\nACGT\n")
    words = ["--fasta", tmp_path / "x.fa", "--output-dir", tmp_path / "run", *QUICK]
    result = run("pretrain", *words, "--window-bp", 1000)
    assert result.status == 0, result.err
    assert "by default, chr1:18001-20000: 2 windows of 1,000 bases" in result.out
    words[3] = tmp_path / "other"
    for holdout in ("scaffold_2", "chr1:1-999"):
        refusal = refused(run("pretrain", *words, "--window-bp", 1000, "--holdout", holdout))
        assert f"--holdout must hold a window of 1000 bp with at most 10% N, got ['{holdout}']" in refusal
    refusal = refused(run("pretrain", *words, "--window-bp", 1000, "--holdout", "chr1"))
    assert "--window-bp must fit into a record of" in refusal
    assert "outside the held-out intervals (--holdout)" in refusal


def test_a_resumed_command_ends_as_the_whole_one(run, fasta, tmp_path):
    words = ["pretrain", "--fasta", fasta, *QUICK, "--save-steps", 2, "--eval-strategy", "no"]
    assert run(*words, "--output-dir", tmp_path / "whole").status == 0
    (tmp_path / "part").mkdir()
    os.rename(tmp_path / "whole" / "checkpoint-2", tmp_path / "part" / "checkpoint-2")
    refusal = refused(run(*words, "--output-dir", tmp_path / "part"))
    assert "holds a run up to checkpoint-2" in refusal
    result = run(*words, "--output-dir", tmp_path / "part", "--resume-from-checkpoint", "last")
    assert result.status == 0, result.err
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "part")]
    assert weights[0] == weights[1]


def test_two_genomes_with_weights(run, fasta, tmp_path):
    other = tmp_path / "other.fa"
    other.write_text(">three\n" + "ACGGT" * 300 + "\n")
    words = ["--fasta", fasta, "--fasta", other, "--holdout", "two", "--holdout", "three:1-500"]
    result = run("pretrain", *words, "--weight", 1, "--weight", 3, "--output-dir", tmp_path / "run", *QUICK)
    assert result.status == 0, result.err
    assert "two, three:1-500: 5 windows" in result.out
    assert "weights must be 2" in refused(
        run("pretrain", *words, "--weight", 1, "--output-dir", tmp_path / "other", *QUICK)
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files(run, bad_fasta, tmp_path, fault):
    path, said = bad_fasta(fault)
    refusal = refused(run("pretrain", "--fasta", path, "--output-dir", tmp_path / "run", *QUICK))
    assert said in refusal
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--window-bp", 5000], "the longest, 'one', has 4000 bp, got 5000"),
        (["--config", "keep_ratio=2"], "keep_ratio must be a float in (0, 1], got 2"),
        (["--config", "colour=3"], "colour=3"),
        (["--config", "keep_ratio_range=5"], "keep_ratio_range"),
        (["--holdout", "chrQ"], "got 'chrQ'"),
        (["--holdout", "two:400-900"], "two:400-900"),
        (["--resume-from-checkpoint", "last"], "no whole checkpoint"),
        (["--resume-from-checkpoint", "nowhere"], "nowhere"),
    ],
)
def test_values_out_of_range(run, fasta, tmp_path, words, said):
    refusal = refused(run("pretrain", "--fasta", fasta, "--output-dir", tmp_path / "run", *QUICK, *words))
    assert said in refusal
    assert not list(tmp_path.glob("run/*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-stepz", "3"], "--max-stepz"),
        (["--max-step", "3"], "--max-step"),
        (["--max-steps", "many"], "invalid int value: 'many'"),
        (["--max-steps", "0"], "--max-steps"),
        (["--num-train-epochs", "3"], "there are no epochs, got --num-train-epochs 3"),
        (["--config", "keep_ratio"], "FIELD=VALUE"),
        (["stray"], "stray"),
        (["--size", "huge"], "huge"),
    ],
)
def test_wrong_command_lines(run, fasta, tmp_path, words, said):
    result = run("pretrain", "--fasta", fasta, "--output-dir", tmp_path / "run", *words)
    assert result.status == 2
    assert said in last_line(result.err)
    assert "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


def test_training_arguments_by_their_names(tmp_path):
    words = [
        "--learning-rate",
        "3e-4",
        "--adam_beta2=0.9",
        "--bf16",
        "--lr-scheduler-type",
        "linear",
        "--seed",
        "7",
    ]
    args = training_arguments(tmp_path, DEFAULTS, read_training_arguments([*words, "--use-cpu"]))
    assert (args.learning_rate, args.adam_beta2, args.bf16, args.seed) == (3e-4, 0.9, True, 7)
    assert args.lr_scheduler_type == "linear"
    # What is not said is as the paper has it, not as Hugging Face.
    assert (args.weight_decay, args.adam_beta1, args.max_grad_norm) == (1e-8, 0.9, 1.0)
    assert args.output_dir == str(tmp_path)


def test_a_full_disk_is_told_and_leaves_nothing_half(fasta, tmp_path):
    words = ["pretrain", "--fasta", str(fasta), "--output-dir", str(tmp_path / "run"), *map(str, QUICK)]
    done = subprocess.run(
        [sys.executable, "-m", "dnachunk", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 1, done.stderr
    line = last_line(done.stderr)
    assert line.startswith("dnachunk pretrain: checkpoint-1 could not be saved in ")
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "run").iterdir()) == []
