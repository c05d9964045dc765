"""Commands that are killed, lack room or lose an input: what was there stays, the same again succeeds."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.test_outputs import (
    FILES,
    FOLDERS,
    classifier,  # noqa: F401
    commands,  # noqa: F401
    contents,
    labelled,  # noqa: F401
    scan,  # noqa: F401
    vcf,  # noqa: F401
)

MOMENTS = 20
TRAININGS = ["pretrain", "finetune"]


def start(command, words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "dnachunk", command, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def finish(command, words, **options):
    process = start(command, words, **options)
    out, err = process.communicate()
    return process.returncode, out, err


def visible(folder):
    """Files but for those under a name that begins with a dot, which are not yet what they will be."""
    return {
        path: content
        for path, content in contents(folder).items()
        if not any(part.startswith(".") for part in path.parts)
    }


def output_words(command, folder):
    return ["--output", folder / FILES[command]] if command in FILES else ["--output-dir", folder / "out"]


def again(command, words, folder):
    """The words that go on with what there is."""
    resume = ["--resume-from-checkpoint", "last"]
    if command == "pretrain" and list((folder / "out").glob("checkpoint-*")):
        return [*words, *resume]
    if command == "finetune" and (folder / "out" / "runs").is_dir():
        return [*words, *resume]
    return words


@pytest.mark.slow
@pytest.mark.parametrize("command", [*FILES, *FOLDERS])
def test_killed_at_twenty_moments(commands, tmp_path, command):  # noqa: F811
    words, inputs = commands[command]
    if command in TRAININGS:
        words = [*words, "--save-strategy", "steps", "--save-steps", 1]
    before = {path: path.read_bytes() for path in inputs}
    folder = tmp_path / "outputs"
    folder.mkdir()
    # What an earlier run left, of what can be computed again; what was trained is not trained again.
    started = time.monotonic()
    status, _, err = finish(command, [*words, *output_words(command, folder)])
    seconds = time.monotonic() - started
    assert status == 0, err
    if command in TRAININGS:
        shutil.rmtree(folder / "out")
    whole = visible(folder)
    for moment in range(MOMENTS):
        line = again(command, [*words, *output_words(command, folder)], folder)
        process = start(command, line)
        time.sleep(seconds * (0.4 + 0.6 * moment / MOMENTS))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert {path: path.read_bytes() for path in inputs} == before
        if command not in TRAININGS:
            # Times of day, and of runs, differ; the rest is what it was, or new and whole.
            assert visible(folder).keys() >= whole.keys()
        if command in FILES:
            name = output_words(command, folder)[1].relative_to(folder)
            assert visible(folder)[name] == whole[name]
        if command in TRAININGS and (folder / "out" / "model.safetensors").is_file():
            shutil.rmtree(folder / "out")
    status, _, err = finish(command, again(command, [*words, *output_words(command, folder)], folder))
    assert status == 0, err


@pytest.mark.parametrize("command", [*FILES, "score-mutations", "compare-tokens", "profile", "splice-sites"])
def test_no_room_is_told_and_leaves_what_was_there(commands, tmp_path, command):  # noqa: F811
    words, inputs = commands[command]
    before = {path: path.read_bytes() for path in inputs}
    folder = tmp_path / "outputs"
    folder.mkdir()
    full = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))}
    status, _, err = finish(command, [*words, *output_words(command, folder)], **full)
    assert status == 1, err
    assert "Traceback" not in err
    assert "File too large" in err or "could not be written" in err or "File size limit" in err
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert left == []
    assert {path: path.read_bytes() for path in inputs} == before
    status, _, err = finish(command, [*words, *output_words(command, folder)])
    assert status == 0, err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("command", [*FILES, *FOLDERS])
def test_a_folder_that_is_read_only_is_told_at_once(run, commands, tmp_path, command):  # noqa: F811
    words, _ = commands[command]
    folder = tmp_path / "outputs"
    folder.mkdir(mode=0o500)
    result = run(command, *words, *output_words(command, folder))
    assert result.status in (1, 2)
    assert "read-only" in result.err


@pytest.mark.parametrize("command", ["tokenize", "embed"])
def test_an_input_that_vanishes_is_read_to_its_end_or_told(run, model, fasta, tmp_path, command):
    """An open file outlives its name."""
    genome = tmp_path / "genome.fa"
    shutil.copy(fasta, genome)
    words = ["--model", model, "--fasta", genome, "--output", tmp_path / FILES[command]]
    assert run(command, *words).status == 0
    before = (tmp_path / FILES[command]).read_bytes()
    genome.unlink()
    result = run(command, *words)
    assert result.status == 1
    assert f"{genome}" in result.err
    assert (tmp_path / FILES[command]).read_bytes() == before
