"""Records that a FASTA file and another file call by different names."""

import json

import pytest
import torch

from dnachunk.data import Genome, Interval
from dnachunk.errors import ArgumentError
from dnachunk.inference.genome import find_interval, open_genome
from dnachunk.random import mix
from tests.cli.test_pretrain import QUICK

SEQUENCE = "".join("ACGT"[mix(5, place) % 4] for place in range(3000))
COMPLEMENT = dict(zip("ACGT", "TGCA", strict=True))
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"

# Of each spelling: the records, how other files call them, and what makes them the same.
SPELLINGS = {
    "chr in the other file": (("1", "MT"), ("chr1", "chrM"), "chr"),
    "chr in the FASTA": (("chr1", "chrM"), ("1", "MT"), "chr"),
    "version in the other file": (("NC_000001", "NC_012920"), ("NC_000001.11", "NC_012920.1"), "version"),
    "version in the FASTA": (("NC_000001.11", "NC_012920.1"), ("NC_000001", "NC_012920"), "version"),
    "a table": (("NC_000001.11", "NC_012920.1"), ("chr1", "chrM"), "names.tsv"),
}
COMMANDS = {
    "tokenize": ["--region", "{0}:101-200", "--output", "out.bed"],
    "browse, region": ["--region", "{0}:101-200", "--output", "out.html"],
    "browse, annotation": ["--annotation", "genes.bed", "--output", "out.html"],
    "browse, repeats": ["--repeats", "genes.bed", "--output", "out.html"],
    "browse, vcf": ["--vcf", "v.vcf", "--output", "out.html"],
    "compare-tokens, region": ["--region", "{0}:101-200", "--output-dir", "out"],
    "compare-tokens, annotation": ["--annotation", "genes.bed", "--output-dir", "out"],
    "compare-tokens, repeats": ["--repeats", "repeats.out", "--output-dir", "out"],
    "compare-tokens, motif": ["--motif", "genes.bed", "--output-dir", "out"],
    "compare-tokens, vcf": ["--vcf", "v.vcf", "--output-dir", "out"],
    "score-variants": ["--vcf", "v.vcf", "--output", "out.vcf"],
    "pretrain": ["--holdout", "{0}:1-300", "--output-dir", "out", *QUICK],
}


@pytest.fixture(params=SPELLINGS)
def files(request, tmp_path, monkeypatch):
    """Files in the current folder; gives the other names, and what makes them the same."""
    monkeypatch.chdir(tmp_path)
    records, others, aliases = SPELLINGS[request.param]
    (tmp_path / "x.fa").write_text(f">{records[0]}\n{SEQUENCE}\n>{records[1]}\n{SEQUENCE[:500]}\n")
    lines = [
        f"{other}\t{position}\t.\t{SEQUENCE[position - 1]}\t{COMPLEMENT[SEQUENCE[position - 1]]}\t.\t.\t.\n"
        for position, other in enumerate(others, start=100)
    ]
    (tmp_path / "v.vcf").write_text(VCF + "".join(lines))
    (tmp_path / "genes.bed").write_text("".join(f"{other}\t100\t160\tgene\n" for other in others))
    (tmp_path / "repeats.out").write_text(
        "".join(f"9 1.5 0 0 {other} 101 160 (0) + X LINE/L1 1 60 (0) 1\n" for other in others)
    )
    (tmp_path / "names.tsv").write_text(
        "".join("\t".join(pair) + "\n" for pair in zip(others, records, strict=True))
    )
    return records, others, aliases


@pytest.mark.parametrize("command", COMMANDS)
def test_other_names_are_refused_until_they_are_asked_for(run, model, files, tmp_path, command):
    records, others, aliases = files
    words = [str(word).format(*others) for word in COMMANDS[command]]
    name = command.partition(",")[0]
    if name != "pretrain":
        words = ["--model", model, *words]
    before = {path.name for path in tmp_path.iterdir()}
    result = run(name, "--fasta", "x.fa", *words)
    assert result.status == 1
    (line,) = [line for line in result.err.splitlines() if line.strip()]
    assert others[0] in line
    assert f"the records are {', '.join(records)}" in line
    wanted = "--aliases takes a table" if aliases == "names.tsv" else f"--aliases {aliases} takes such names"
    assert wanted in line
    if name == "pretrain":
        assert "--holdout must name records of" in line
    assert {path.name for path in tmp_path.iterdir()} == before

    result = run(name, "--fasta", "x.fa", *words, "--aliases", aliases)
    assert result.status == 0, result.err
    if name == "tokenize":
        rows = [line.split("\t") for line in (tmp_path / "out.bed").read_text().splitlines()]
        assert {row[0] for row in rows} == {records[0]}
        assert int(rows[0][1]) <= 100
        assert int(rows[-1][2]) >= 200
    elif name == "score-variants":
        metrics = json.loads((tmp_path / "out.json").read_text())["metrics"]
        assert (metrics["scored"], metrics["unknown_contigs"]) == (2, {})
        assert (tmp_path / "out.vcf").read_text().splitlines()[-1].startswith(f"{others[1]}\t101\t")
    elif name == "pretrain":
        metrics = json.loads((tmp_path / "out" / "results.json").read_text())["metrics"]
        assert metrics["holdout"] == [{"genome": "x.fa", "record": records[0], "start_bp": 0, "end_bp": 300}]
        assert not metrics["holdout_is_default"]
    elif command.endswith("annotation"):
        assert "gene" in result.out
    elif command == "compare-tokens, repeats":
        assert "LINE/L1" in result.out


def test_an_opened_genome_is_asked_by_other_names_too(tmp_path):
    (tmp_path / "x.fa").write_text(f">1\n{SEQUENCE}\n>2\nACGT\n")
    genome = Genome(tmp_path / "x.fa")
    assert open_genome(genome) is genome
    renamed = open_genome(genome, {"I": "1"})
    assert find_interval(renamed, "I:11-20") == Interval("I", 10, 20)
    assert renamed.index_of("I") == 0
    assert torch.equal(renamed.fetch(0, 0, 9)[0], genome.fetch(0, 0, 9)[0])
    (tmp_path / "faulty.fa").write_text(">1\nACGT\n>2\nAC!T\n>3\nGG\n")
    kept = open_genome(Genome(tmp_path / "faulty.fa", on_error="skip"), "chr")
    assert [kept.names.find(name) for name in ("chr1", "chr2", "chr3")] == [0, None, 1]
    with pytest.raises(
        ArgumentError, match=r"x.fa has no record 'I': the records are 1, 2 \(aliases takes a"
    ):
        find_interval(genome, "I:11-20")
    with pytest.raises(ArgumentError, match=r"has no record 'II': .* \(aliases does not join them\)"):
        find_interval(renamed, "II")


def test_what_only_some_records_lack_is_counted_and_named(run, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.fa").write_text(f">1\n{SEQUENCE}\n")
    lines = [f"{name}\t100\t.\t{SEQUENCE[99]}\tN\t.\t.\t.\n" for name in ("1", "chrUn_7", "chrUn_7", "X")]
    (tmp_path / "v.vcf").write_text(VCF + "".join(lines))
    result = run("score-variants", "--model", model, "--fasta", "x.fa", "--vcf", "v.vcf", "--output", "o.tsv")
    assert result.status == 0, result.err
    assert (
        "3 of 4 records of the VCF lie on 2 contigs that the FASTA does not have: chrUn_7 (2), X (1)"
        in result.out
    )
    metrics = json.loads((tmp_path / "o.json").read_text())["metrics"]
    assert metrics["unknown_contigs"] == {"chrUn_7": 2, "X": 1}
    assert metrics["reasons"]["unknown_contig"] == 3

    (tmp_path / "g.bed").write_text(
        "1\t10\t30\tgene\nchrUn_7\t1\t9\tgene\nchrUn_7\t3\t9\tgene\nX\t1\t9\tgene\n"
    )
    words = ["--model", model, "--fasta", "x.fa", "--annotation", "g.bed", "--output-dir", "out"]
    result = run("compare-tokens", *words)
    assert result.status == 0, result.err
    assert "3 features are left out, on 2 records that x.fa does not have: chrUn_7, X" in result.out
