"""The tool that makes of a pre-training what ships."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import dnachunk
from dnachunk.cli import main
from dnachunk.data import Genome, HeldOutWindows, WindowCollator, default_holdout
from dnachunk.errors import ArgumentError
from dnachunk.evaluation import evaluate_masked_bases
from dnachunk.models.loading import load_tokenizer
from dnachunk.training.objectives import objective_of
from tests.cli.conftest import SMALL
from tests.support.scripts import load_script
from tests.training.runs import write_genome

TOOL = Path(__file__).parents[1] / "tools" / "ship.py"


@pytest.fixture(scope="module")
def tool():
    return load_script(TOOL)


@pytest.fixture(scope="module")
def genomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genomes")
    return [write_genome(folder / f"{name}.fa", seed=seed) for seed, name in enumerate(("first", "second"))]


@pytest.fixture(scope="module")
def trained(genomes, tmp_path_factory):
    """The folder of a run of a few steps."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = [
        *("pretrain", "--fasta", genomes[0], "--fasta", genomes[1], "--weight", 1, "--weight", 3),
        *("--output-dir", folder, "--size", "micro", *SMALL, "--max-steps", 6, "--seed", 7, "--use-cpu"),
        *("--per-device-train-batch-size", 2, "--learning-rate", 0.01, "--logging-steps", 1),
        *("--eval-windows", 6),
    ]
    assert main([str(word) for word in words]) == 0
    return folder


@pytest.fixture
def ship(tool, genomes, tmp_path, monkeypatch):
    """Runs the tool; gives the folder that it makes."""

    def run(folder, fasta=genomes, remark=()):
        words = ["ship.py", folder, "toy-micro", "--purpose", "To be tried.", "--into", tmp_path / "packaged"]
        words += remark
        words += [word for path in fasta for word in ("--fasta", path)]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        tool.main()
        return tmp_path / "packaged" / "toy-micro"

    return run


def test_weights_are_rounded_and_figures_are_theirs(ship, trained, genomes):
    folder = ship(trained)
    before, after = (load_file(path / "model.safetensors") for path in (trained, folder))
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor.bfloat16(), after[name]) for name, tensor in before.items())
    network = dnachunk.load(folder, device="cpu")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}

    read = [Genome(path) for path in genomes]
    windows = HeldOutWindows(read, 64, default_holdout(read, 64), max_windows=6)
    objective = objective_of(network.config, load_tokenizer(folder))
    batch = WindowCollator()([windows[index] for index in range(6)])
    found = evaluate_masked_bases(lambda inputs: objective.predict(network, inputs), [batch], seed=7)
    first, then = (json.loads((path / "results.json").read_text()) for path in (trained, folder))
    assert then["metrics"]["eval_masked_nats"] == pytest.approx(found.masked_nats, rel=1e-5)
    assert then["metrics"]["eval_masked_nats"] != first["metrics"]["eval_masked_nats"]
    kept = {name: value for name, value in first["metrics"].items() if not name.startswith("eval_")}
    assert kept.items() <= then["metrics"].items()
    assert (then["genomes"], then["purpose"]) == (["first", "second"], "To be tried.")
    assert "`. Its weights are stored in bfloat16" in (folder / "README.md").read_text()


def test_the_card_says_how(ship, trained):
    card = (ship(trained, remark=["--remark", "It was begun twice."]) / "README.md").read_text()
    assert "# toy-micro\n" in card
    assert "`. It was begun twice. Its weights are stored in bfloat16" in card
    assert "To be tried. The models that ship are for looking at tokens" in card
    assert (
        "`dnachunk pretrain --fasta first.fa --fasta second.fa --weight 1 --weight 3 --output-dir run "
        in card
    )
    assert str(trained.parent) not in card
    assert "with seed 7. Held out by default: " in card
    assert "\nseed = 7\n" in card
    history = json.loads((trained / "checkpoint-6" / "trainer_state.json").read_text())["log_history"]
    losses = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
    assert sorted(losses) == [1, 2, 3, 4, 5, 6]
    assert all(f"\n| {step} | {loss:.4f} |" in card for step, loss in losses.items())
    # The model that the run left has the same card, but for what is of shipping.
    own = (trained / "README.md").read_text()
    assert "with seed 7. Held out by default: " in own
    assert "\nseed = 7\n" in own
    assert "What it is for" not in own
    assert 'dnachunk.load("this folder")' in own


def test_what_does_not_fit_is_refused(ship, tool, trained, genomes, tmp_path, monkeypatch):
    with pytest.raises(ArgumentError, match="of a run with other fasta"):
        ship(trained, genomes[::-1])
    monkeypatch.setattr(tool, "MAX_BYTES", 1000)
    with pytest.raises(SystemExit, match="must have at most 1,000 bytes, got "):
        ship(trained)
    monkeypatch.undo()
    unfinished = tmp_path / "unfinished"
    shutil.copytree(trained, unfinished)
    state = unfinished / "checkpoint-6" / "trainer_state.json"
    state.write_text(state.read_text().replace('"max_steps": 6', '"max_steps": 9'))
    with pytest.raises(SystemExit, match="must be finished, got 6 of 9 steps"):
        ship(unfinished)
    for checkpoint in unfinished.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    with pytest.raises(SystemExit, match="must hold a checkpoint"):
        ship(unfinished)
    assert not (tmp_path / "packaged").exists()
    folder = ship(trained)
    before = (folder / "README.md").read_bytes()
    with pytest.raises(SystemExit, match="is there: remove it first"):
        ship(trained)
    assert (folder / "README.md").read_bytes() == before
    assert list(folder.parent.iterdir()) == [folder]
