import gzip
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys

import pysam
import pytest
import safetensors.torch
import torch
from transformers import AutoModel

from dnachunk.data import Genome
from tests.cli.conftest import FAULTS


def read_bed(path):
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    assert all(row[4:8] == ["0", ".", row[1], row[2]] for row in rows)
    return [(name, int(start), int(end), text) for name, start, end, text, *_ in rows]


def refused(result):
    assert result.status == 1
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("dnachunk tokenize: ")
    return lines[0]


def test_every_base_is_in_one_token_with_its_letters(run, model, fasta, tmp_path):
    result = run("tokenize", "--model", model, "--fasta", fasta, "--output", tmp_path / "t.bed")
    assert result.status == 0, result.err
    rows = read_bed(tmp_path / "t.bed")
    genome = Genome(fasta)
    for index, record in enumerate(genome.records):
        ids, _ = genome.fetch(index, 0, record.length_bp)
        letters = "".join("ACGT"[base - 5] for base in ids.tolist())
        position = 0
        for name, start, end, text in rows:
            if name == record.name:
                assert start == position < end
                assert text == letters[start:end]
                position = end
        assert position == record.length_bp
    results = json.loads((tmp_path / "t.json").read_text())
    assert results["metrics"]["tokens"] == len(rows)
    assert results["metrics"]["bases"] == genome.length_bp
    lengths = torch.tensor([end - start for _, start, end, _ in rows])
    assert results["metrics"]["token_length_counts"] == lengths.bincount().tolist()
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    assert (results["metrics"]["window_bp"], results["metrics"]["overlap_bp"]) == (64, 16)
    assert {path.name for path in tmp_path.iterdir()} == {"t.bed", "t.json", "t.png"}


def test_one_window_is_the_models_own_segmentation(run, model, tmp_path):
    (tmp_path / "short.fa").write_text(">short\nACGTTGCAACGGATTACAGATTACACCAGT\n")
    words = ["tokenize", "--model", model, "--fasta", tmp_path / "short.fa", "--output", tmp_path / "t.bed"]
    assert run(*words, "--tokens-per-base", 0.6).status == 0
    ids, _ = Genome(tmp_path / "short.fa").fetch(0, 0, 30)
    output = AutoModel.from_pretrained(model)(ids[None].long(), keep_ratio=0.6)
    want = output.segmentation.tokens("ACGTTGCAACGGATTACAGATTACACCAGT")
    assert [text for *_, text in read_bed(tmp_path / "t.bed")] == want
    assert len(want) == 18


def test_batches_and_other_records_change_no_token(run, model, fasta, tmp_path):
    def tokens(name, fasta, *words):
        assert (
            run("tokenize", "--model", model, "--fasta", fasta, "--output", tmp_path / name, *words).status
            == 0
        )
        return read_bed(tmp_path / name)

    eight = tokens("eight.bed", fasta, "--window-bp", 128, "--overlap-bp", 32)
    one = tokens("one.bed", fasta, "--window-bp", 128, "--overlap-bp", 32, "--batch-size", 1)
    assert eight == one
    _, _, second = fasta.read_text().split(">")
    (tmp_path / "second.fa").write_text(">" + second)
    alone = tokens("alone.bed", tmp_path / "second.fa", "--window-bp", 128, "--overlap-bp", 32)
    assert alone == [row for row in eight if row[0] == "two"]


def test_a_region_has_the_tokens_of_the_whole_record(run, model, fasta, tmp_path):
    words = ["tokenize", "--model", model, "--fasta", fasta, "--window-bp", 128]
    assert run(*words, "--output", tmp_path / "all.bed").status == 0
    assert run(*words, "--output", tmp_path / "some.bed", "--region", "one:1,001-1,500").status == 0
    want = [
        row for row in read_bed(tmp_path / "all.bed") if row[0] == "one" and row[1] < 1500 and row[2] > 1000
    ]
    assert read_bed(tmp_path / "some.bed") == want


def test_packed_files_hold_the_same(run, model, fasta, tmp_path):
    words = ["tokenize", "--model", model, "--fasta", fasta]
    assert run(*words, "--output", tmp_path / "plain.bed").status == 0
    assert run(*words, "--output", tmp_path / "my.packed.bed.gz").status == 0
    packed = (tmp_path / "my.packed.bed.gz").read_bytes()
    assert packed[12:14] == b"BC"
    assert gzip.decompress(packed) == (tmp_path / "plain.bed").read_bytes()
    rows = [line.split("\t") for line in (tmp_path / "plain.bed").read_text().splitlines()]
    for before, after in itertools.pairwise(rows):
        assert before[8] != after[8] or before[0] != after[0]
    indexed = pysam.TabixFile(str(tmp_path / "my.packed.bed.gz"))
    assert list(indexed.fetch("one", 1000, 1001)) == [
        "\t".join(row) for row in rows if row[0] == "one" and int(row[1]) <= 1000 < int(row[2])
    ]
    assert (tmp_path / "my.packed.json").exists()
    assert (tmp_path / "my.packed.png").exists()


def test_an_index_that_is_of_nothing_here_stays(run, model, fasta, tmp_path):
    (tmp_path / "t.bed.gz.tbi").write_text("mine")
    words = ["tokenize", "--model", model, "--fasta", fasta, "--output", tmp_path / "t.bed.gz"]
    assert "t.bed.gz.tbi is not of an earlier t.bed.gz" in refused(run(*words))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"t.bed.gz.tbi": "mine"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "folder is a folder; it must be a file to write"),
        ("absent/t.bed", "absent to write t.bed into"),
        ("t.json", "must not end in .json, which is written beside it"),
        ("t.png", "must not end in .png"),
    ],
)
def test_what_cannot_be_written_is_told_at_once(run, model, fasta, tmp_path, name, said):
    (tmp_path / "folder").mkdir()
    result = run("tokenize", "--model", model, "--fasta", fasta, "--output", tmp_path / name)
    assert result.status == 2
    assert said in " ".join(result.err.split())
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_long_runs_of_n_have_no_token(run, model, tmp_path):
    (tmp_path / "n.fa").write_text(
        ">n\n" + "ACGGT" * 20 + "N" * 200 + "ACN" * 30 + "\n>all\n" + "N" * 80 + "\n"
    )
    words = ["--fasta", tmp_path / "n.fa", "--output", tmp_path / "t.bed"]
    assert run("tokenize", "--model", model, *words).status == 0
    rows = read_bed(tmp_path / "t.bed")
    assert sum(end - start for _, start, end, _ in rows) == 100 + 90
    assert not [row for row in rows if row[2] > 100 and row[1] < 300]
    assert {row[0] for row in rows} == {"n"}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files(run, bad_fasta, model, tmp_path, fault):
    path, said = bad_fasta(fault)
    refusal = refused(run("tokenize", "--model", model, "--fasta", path, "--output", tmp_path / "t.bed"))
    assert said in refusal
    assert not list(tmp_path.glob("*t.bed*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tokens-per-base", 1.5], "--tokens-per-base must be in (0, 1], got 1.5"),
        (
            ["--tokens-per-base", 0.1],
            "--tokens-per-base must be at least 0.25 with 2 merging blocks, got 0.1",
        ),
        (
            ["--window-bp", 64, "--overlap-bp", 40],
            "overlap_bp must be from 0 to half of window_bp = 64, got 40",
        ),
        (["--region", "chrQ:1-5"], "no record 'chrQ'"),
        (["--region", "two:400-900"], "two:400-900"),
    ],
)
def test_values_out_of_range(run, model, fasta, tmp_path, words, said):
    refusal = refused(
        run("tokenize", "--model", model, "--fasta", fasta, "--output", tmp_path / "t.bed", *words)
    )
    assert said in refusal
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["missing tensor", "wrong shape", "truncated", "no directory", "no model"])
def test_bad_models(run, model, fasta, tmp_path, fault):
    broken = tmp_path / "broken"
    if fault != "no directory":
        shutil.copytree(model, broken)
    weights = broken / "model.safetensors"
    name = "model.local_encoder.blocks.0.attention.attention.qkv.weight"
    if fault in ("missing tensor", "wrong shape"):
        tensors = safetensors.torch.load_file(weights)
        tensor = tensors.pop(name)
        if fault == "wrong shape":
            tensors[name] = tensor[:-1].clone()
        safetensors.torch.save_file(tensors, weights, metadata={"format": "pt"})
        said = "local_encoder.blocks.0.attention.attention.qkv.weight is "
        said += "missing" if fault == "missing tensor" else "[95, 32] and must be [96, 32]"
    elif fault == "truncated":
        weights.write_bytes(weights.read_bytes()[:-9])
        said = "cannot be read"
    elif fault == "no model":
        (broken / "config.json").unlink()
        said = "holds no model"
    else:
        said = "broken"
    refusal = refused(run("tokenize", "--model", broken, "--fasta", fasta, "--output", tmp_path / "t.bed"))
    assert said in refusal
    assert not list(tmp_path.glob("*t.bed*"))


def test_a_full_disk_is_told_and_leaves_the_old_file(model, fasta, tmp_path):
    (tmp_path / "t.bed").write_text("old")
    words = ["tokenize", "--model", model, "--fasta", fasta, "--output", tmp_path / "t.bed"]
    done = subprocess.run(
        [sys.executable, "-m", "dnachunk", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000)),
    )
    assert done.returncode == 1, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("dnachunk tokenize: ")
    assert "File too large" in line
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"t.bed": "old"}
