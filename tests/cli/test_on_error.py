"""What cannot be read is refused, or left out, counted and listed; pipes are read like files."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from dnachunk import DNATokenizer, FixedTokenizer
from tests.cli.conftest import SMALL
from tests.training.finetuning import random_sequences

GOOD = random_sequences(1, 600, 3)[0]
HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def other(base):
    return "A" if base != "A" else "C"


@pytest.fixture
def files(tmp_path):
    """A FASTA file with a stray byte in its second record, and tables with a line that is none."""
    fasta = tmp_path / "genome.fa"
    fasta.write_text(f">one\n{GOOD}\n>two\nACGT!ACGT\n>three\n{GOOD[::-1]}\n")
    vcf = tmp_path / "v.vcf"
    line = f"one\t5\tx\t{GOOD[4]}\t{other(GOOD[4])}\t.\t.\t.\n"
    vcf.write_text(f"{HEADER}{line}one\tfive\tx\tA\tC\t.\t.\t.\n{line}")
    bed = tmp_path / "a.bed"
    bed.write_text("one\t10\t50\tgene\none\tten\t50\tgene\nthree\t10\t50\tgene\n")
    repeats = tmp_path / "r.out"
    row = "9 {} 0 0 one 11 50 (0) + X LTR 1 9 (0) 1\n"
    repeats.write_text(row.format("2.5") + row.format("-"))
    table = tmp_path / "labelled.csv"
    table.write_text(f"sequence,label\n{GOOD[:60]},a\n{GOOD[60:90]}!,b\n{GOOD[90:150]},b\n")
    cds = tmp_path / "cds.fa"
    cds.write_text(">cds\nATGAAAGCTTGGTAA\n")
    scan = tmp_path / "scan.csv"
    scan.write_text("mutant,score\nK2R,0.5\nK2N,0.5,1\nA3V,0.1\n")
    gff = tmp_path / "a.gff3"
    exon = "{}\tx\texon\t{}\t{}\t.\t+\t.\tParent={}\n"
    rows = [exon.format(name, start, start + 19, name) for name in ("one", "three") for start in (11, 61)]
    gff.write_text("".join([*rows, exon.format("one", "ten", 50, "one")]))
    return {
        **{"fasta": fasta, "vcf": vcf, "bed": bed, "cds": cds, "scan": scan},
        **{"gff": gff, "repeats": repeats, "labelled": table},
    }


def words_of(command, files, model, output):
    of_genome = ["--model", model, "--fasta", files["fasta"]]
    return {
        "tokenize": [*of_genome, "--output", output / "o.bed"],
        "embed": [*of_genome, "--output", output / "o.npz"],
        "score-variants": [*of_genome, "--vcf", files["vcf"], "--output", output / "o.tsv"],
        "browse": [
            *(*of_genome, "--annotation", files["bed"], "--repeats", files["bed"], "--vcf", files["vcf"]),
            *("--output", output / "o.html"),
        ],
        "compare-tokens": [
            *(*of_genome, "--annotation", files["bed"], "--output-dir", output, "--mutated-windows", 2),
            *("--vcf", files["vcf"], "--motif", files["bed"], "--repeats", files["repeats"]),
            *("--labelled", files["labelled"]),
        ],
        "pretrain": [
            *("--fasta", files["fasta"], "--output-dir", output, "--eval-windows", 2, "--max-steps", 1),
            *("--per-device-train-batch-size", 2, *SMALL),
        ],
        "splice-sites": [
            *("--fasta", files["fasta"], "--annotation", files["gff"], "--test", "three"),
            *("--window-bp", 8, "--output-dir", output),
        ],
        "score-mutations": [
            *("--model", model, "--fasta", files["cds"], "--variants", files["scan"], "--output-dir", output)
        ],
    }[command]


@pytest.mark.parametrize(
    ("command", "numbers", "skipped"),
    [
        ("tokenize", "o.json", {"skipped_records": ["two: "]}),
        ("embed", "o.json", {"skipped_records": ["two: "]}),
        ("score-variants", "o.json", {"skipped_records": ["two: "], "skipped_lines": ["4: POS"]}),
        ("browse", None, None),
        ("compare-tokens", None, None),
        ("pretrain", None, None),
        ("score-mutations", "results.json", {"skipped_lines": ["3: "]}),
        ("splice-sites", "results.json", {"skipped_lines": ["5: start must"]}),
    ],
)
def test_what_cannot_be_read(run, files, model, tmp_path, command, numbers, skipped):
    output = tmp_path / "out"
    output.mkdir()
    words = words_of(command, files, model, output)
    result = run(command, *words)
    assert result.status == 1
    assert re.search("--on-error skip leaves such (records|lines) out", result.err)
    assert not list(output.iterdir())
    result = run(command, *words, "--on-error", "skip")
    assert result.status == 0, result.err
    assert "Left out   1 " in result.out
    if numbers is not None:
        metrics = json.loads((output / numbers).read_text())["metrics"]
        for name, starts in skipped.items():
            assert len(metrics[name]) == len(starts)
            assert all(text.startswith(start) for text, start in zip(metrics[name], starts, strict=True))


def test_records_that_can_be_read_are(run, files, model, tmp_path):
    words = [
        "--model",
        model,
        "--fasta",
        files["fasta"],
        "--output",
        tmp_path / "o.bed",
        "--on-error",
        "skip",
    ]
    assert run("tokenize", *words).status == 0
    rows = [line.split("\t") for line in (tmp_path / "o.bed").read_text().splitlines()]
    for name, sequence in (("one", GOOD), ("three", GOOD[::-1])):
        assert "".join(row[3] for row in rows if row[0] == name) == sequence
    assert {row[0] for row in rows} == {"one", "three"}


def test_records_without_a_vector_are_told(run, model, tmp_path):
    fasta = tmp_path / "n.fa"
    fasta.write_text(f">one\n{GOOD}\n>gap\n{'N' * 900}\n>empty\n>two\n{GOOD}\n")
    result = run("embed", "--model", model, "--fasta", fasta, "--output", tmp_path / "o.npz")
    assert result.status == 0
    assert result.out.startswith("2 vectors of ")
    assert "Records without a vector, as there is no A, C, G or T to read: 2 (gap, empty)" in result.out
    found = np.load(tmp_path / "o.npz")
    assert found["has_vector"].tolist() == [True, False, False, True]
    assert np.isnan(found["embeddings"]).any(axis=1).tolist() == [False, True, True, False]
    metrics = json.loads((tmp_path / "o.json").read_text())["metrics"]
    assert metrics["vectors"] == 2
    assert metrics["records_without_vector"] == ["gap", "empty"]
    words = ("--model", model, "--fasta", fasta, "--per", "token", "--output", tmp_path / "t.npz")
    assert run("embed", *words).status == 0
    assert np.load(tmp_path / "t.npz")["has_vector"].tolist() == [True, False, False, True]


@pytest.mark.parametrize("source", ["standard input", "named pipe"])
def test_genomes_and_variants_come_from_pipes(model, files, tmp_path, source):
    fasta = tmp_path / "whole.fa"
    fasta.write_text(f">one\n{GOOD}\n")
    vcf = HEADER + f"one\t5\tx\t{GOOD[4]}\t{other(GOOD[4])}\t.\t.\t.\n"
    (tmp_path / "whole.vcf").write_text(vcf)

    def call(command, *words, text=None):
        return subprocess.run(
            [sys.executable, "-m", "dnachunk", command, "--model", model, *words, "--output", "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def piped(option, path, *words):
        command = "tokenize" if option == "--fasta" else "score-variants"
        if source == "standard input":
            return call(command, option, "-", *words, text=path.read_text())
        pipe = tmp_path / f"pipe{path.suffix}"
        os.mkfifo(pipe)
        writer = subprocess.Popen(["cp", path, pipe])
        try:
            return call(command, option, pipe, *words)
        finally:
            writer.wait()

    assert piped("--fasta", fasta) == call("tokenize", "--fasta", fasta)
    words = ("--fasta", fasta)
    expected = call("score-variants", "--vcf", tmp_path / "whole.vcf", *words)
    assert piped("--vcf", tmp_path / "whole.vcf", *words) == expected


@pytest.mark.parametrize("make", [DNATokenizer, lambda: FixedTokenizer.from_name("6mer")])
def test_a_token_that_is_refused_leaves_the_tokenizer_whole(tmp_path, make):
    tokenizer = make()
    before = tokenizer.special_tokens_map
    for tokens in (
        {"bos_token": "<s>"},
        {"bos_token": "A", "eos_token": "</s>"},
        {"extra_special_tokens": ["<x>"]},
    ):
        with pytest.raises(ValueError, match="the vocabulary is fixed, got the new token"):
            tokenizer.add_special_tokens(tokens)
    with pytest.raises(ValueError, match="the vocabulary is fixed"):
        tokenizer.bos_token = "<s>"
    assert tokenizer.special_tokens_map == before
    tokenizer.save_pretrained(tmp_path)
    assert type(tokenizer).from_pretrained(tmp_path).special_tokens_map == before
