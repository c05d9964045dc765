"""Models that ship, by their names."""

import shutil

import pytest

import dnachunk
from dnachunk.models import shipped
from tests.cli.test_outputs import (
    FILES,
    classifier,  # noqa: F401
    commands,  # noqa: F401
    labelled,  # noqa: F401
    scan,  # noqa: F401
    vcf,  # noqa: F401
)

READING = [
    *("tokenize", "embed", "score-variants", "score-mutations", "predict", "browse", "compare-tokens"),
    *("profile", "finetune", "evaluate"),
]
"""Commands that take the folder of a model."""


def test_models_are_listed(run):
    result = run("models")
    assert result.status == 0
    assert result.out == f"{dnachunk.list_models()}\n"


@pytest.mark.parametrize("command", READING)
def test_a_name_is_taken_for_a_folder(run, commands, model, classifier, tmp_path, monkeypatch, command):  # noqa: F811
    packaged = tmp_path / "packaged"
    given = classifier if command == "predict" else model
    shutil.copytree(given, packaged / "toy-micro")
    monkeypatch.setattr(shipped, "PACKAGED", packaged)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words, _ = commands[command]
    assert given in words
    output = (
        ["--output", tmp_path / FILES[command]] if command in FILES else ["--output-dir", tmp_path / "out"]
    )
    missing = run(command, *("toy-mikro" if word == given else word for word in words), *output)
    assert missing.status == 1
    assert "toy-micro, got toy-mikro; did you mean toy-micro?" in missing.err
    result = run(command, *("toy-micro" if word == given else word for word in words), *output)
    assert result.status == 0, result.err


def test_every_command_that_reads_a_model_is_tried(commands):  # noqa: F811
    assert [command for command, (words, _) in commands.items() if "--model" in words] == READING


def test_its_files_are_not_written_over(run, commands, model, tmp_path, monkeypatch):  # noqa: F811
    shutil.copytree(model, tmp_path / "packaged" / "toy-micro")
    monkeypatch.setattr(shipped, "PACKAGED", tmp_path / "packaged")
    words, _ = commands["tokenize"]
    weights = tmp_path / "packaged" / "toy-micro" / "model.safetensors"
    before = weights.read_bytes()
    result = run("tokenize", "--model", "toy-micro", *words[2:], "--output", weights)
    assert "--model and --output must be different files" in result.err
    assert weights.read_bytes() == before
