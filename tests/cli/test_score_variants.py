import gzip
import importlib
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM

import dnachunk
from dnachunk import DNATokenizer, FixedTokenizer
from dnachunk.baselines import baseline_config
from dnachunk.data import Genome
from dnachunk.data.vcf import VCF
from dnachunk.evaluation import zero_shot
from dnachunk.evaluation.classes import Classes, Condition
from dnachunk.random import mix
from tests.cli.conftest import FAULTS
from tests.evaluation.variants import other_strand, slow_scores, small_model

SHARED = Path(__file__).parents[2] / "../shared/data/variants/1000g_chr20_1mb"
SEQUENCE = "".join("ACGT"[mix(3, place) % 4] for place in range(400))
HEADER = """##fileformat=VCFv4.2
##contig=<ID=z,length=400>
##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency">
##INFO=<ID=CLASS,Number=1,Type=String,Description="Class">
##INFO=<ID=DB,Number=0,Type=Flag,Description="Known">
##ALT=<ID=DEL,Description="Deletion">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tone\ttwo
"""


def base(position):
    """The letter at a position from 1."""
    return SEQUENCE[position - 1]


def others(position):
    return [letter for letter in "ACGT" if letter != base(position)]


def line(position, reference, alternate, info=".", contig="z", name="."):
    return f"{contig}\t{position}\t{name}\t{reference}\t{alternate}\t.\tPASS\t{info}\tGT\t0|1\t./.\n"


def variant_lines():
    """Lines, and for each of their alternate alleles the reason that must be told."""
    deleted = SEQUENCE[119:126]
    return [
        (line(100, base(100), others(100)[0], "AF=0.5;DB;DP=7", name="rs1"), [None]),
        (line(100, base(100), ",".join(others(100)), "AF=0.1,.,0.3"), [None] * 3),
        (line(1, base(1).lower(), others(1)[2].lower()), [None]),
        (line(400, base(400), base(400) + "GG", "CLASS=bad"), [None]),
        (line(120, deleted, f"{deleted[0]},*,{deleted}AA,<DEL>"), [None, "overlapping_deletion"] * 2),
        (line(130, base(130), f"<DEL>,]z:9]{base(130)},."), ["symbolic_allele", "breakend", "no_alternate"]),
        (line(131, others(131)[0], base(131)), ["reference_mismatch"]),
        (line(131, base(131), base(131)), ["same_as_reference"]),
        (line(132, base(132), "N"), ["ambiguous_base"]),
        (line(0, "N", "A"), ["outside_record"]),
        (line(400, base(400) + "A", "A"), ["outside_record"]),
        (line(10, base(10), others(10)[0], contig="chrZ"), ["unknown_contig"]),
        (line(200, base(200), base(200) + "ACGT" * 40), ["too_long"]),
        (line(8, "A", "G", contig="gap"), ["n_in_context"]),
        (line(1, "G", "A", contig="one"), ["no_context"]),
    ]


VARIANTS = variant_lines()
VARIANTS[4] = (VARIANTS[4][0], [None, "overlapping_deletion", None, "symbolic_allele"])
REASONS = [reason for _, reasons in VARIANTS for reason in reasons]


@pytest.fixture(scope="module")
def network():
    return small_model()


@pytest.fixture(scope="module")
def model(tmp_path_factory, network):
    directory = tmp_path_factory.mktemp("masked")
    network.save_pretrained(directory)
    DNATokenizer().save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    path = tmp_path_factory.mktemp("fasta") / "z.fa"
    path.write_text(f">z\n{SEQUENCE}\n>gap\nACGTACGANNNNACGTACGT\n>one\nG\n")
    return path


@pytest.fixture
def vcf(tmp_path):
    path = tmp_path / "variants.vcf"
    path.write_text(HEADER + "".join(text for text, _ in VARIANTS))
    return path


def succeeds(result):
    assert result.status == 0, result.err
    return result


def refused(result):
    assert result.status == 1
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("dnachunk score-variants: ")
    return lines[0]


def read_tsv(path):
    header, *rows = [line.split("\t") for line in path.read_text().splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize("pack", ["plain", "bgzip"])
def test_a_vcf_comes_back_with_scores(run, model, network, fasta, vcf, tmp_path, pack):
    output = tmp_path / ("scored.vcf" if pack == "plain" else "scored.vcf.gz")
    if pack == "bgzip":
        packed = gzip.compress(vcf.read_bytes())
        vcf = vcf.with_suffix(".vcf.gz")
        vcf.write_bytes(packed)
    words = ["--model", model, "--fasta", fasta, "--vcf", vcf, "--output", output]
    result = succeeds(run("score-variants", *words))
    text = output.read_text() if pack == "plain" else gzip.decompress(output.read_bytes()).decode()
    lines = text.splitlines(keepends=True)
    header = HEADER.splitlines(keepends=True)
    assert lines[:6] + lines[9:10] == header
    kinds = {"LLR": "Float", "DISTANCE": "Float", "REASON": "String"}
    for (name, kind), added in zip(kinds.items(), lines[6:9], strict=True):
        assert added.startswith(f"##INFO=<ID=DNACHUNK_{name},Number=A,Type={kind},Description=")
    scored = list(VCF(output))
    found = []
    for record, (original, reasons) in zip(scored, VARIANTS, strict=True):
        columns = original.rstrip("\n").split("\t")
        assert record.columns[:7] + record.columns[8:] == columns[:7] + columns[8:]
        info = record.info
        added = [info.pop(f"DNACHUNK_{name}").split(",") for name in ("LLR", "DISTANCE", "REASON")]
        assert record.columns[7].startswith("" if columns[7] == "." else columns[7] + ";DNACHUNK_LLR=")
        assert added[2] == [reason or "." for reason in reasons]
        for allele, ratio, distance, reason in zip(record.alternates, *added, strict=True):
            if reason not in (".", "n_in_context"):
                assert (ratio, distance) == (".", ".")
                continue
            found.append(reason)
            if record.contig == "z":
                alleles = [text.upper() for text in (record.reference, allele)]
                want = slow_scores(
                    network, DNATokenizer(), SEQUENCE, record.position - 1, *alleles, window_bp=64
                )
                assert float(ratio) == pytest.approx(want[0], rel=1e-4, abs=1e-5)
                assert float(distance) == pytest.approx(want[1], rel=1e-3, abs=1e-7)
    assert len(found) == REASONS.count(None) + 1

    results = json.loads((tmp_path / "scored.json").read_text())
    assert set(results) == {"command", "versions", "metrics"}
    assert results["metrics"] == {
        "records": len(VARIANTS),
        "alleles": len(REASONS),
        "scored": len(found),
        "reasons": {**Counter(reason for reason in REASONS if reason)},
        "unknown_contigs": {"chrZ": 1},
        "window_bp": 64,
        "reverse_complement": "none",
    }
    assert f"{len(found)} of {len(REASONS)} alternate alleles scored" in result.out
    assert any(
        row.startswith("reference_mismatch: ") and row.endswith(" 1") for row in result.out.splitlines()
    )
    assert {path.name for path in tmp_path.iterdir()} == {
        vcf.name,
        "variants.vcf",
        output.name,
        "scored.json",
    }


def test_a_table_has_a_row_for_each_allele(run, model, fasta, vcf, tmp_path):
    words = ["--model", model, "--fasta", fasta, "--vcf", vcf]
    succeeds(run("score-variants", *words, "--output", tmp_path / "s.tsv"))
    succeeds(run("score-variants", *words, "--output", tmp_path / "as_vcf.vcf"))
    rows = read_tsv(tmp_path / "s.tsv")
    assert list(rows[0]) == ["chrom", "pos", "id", "ref", "alt", "llr", "distance", "reason"]
    assert [row["reason"] for row in rows] == [reason or "." for reason in REASONS]
    assert rows[0]["id"] == "rs1"
    want = []
    for record in VCF(tmp_path / "as_vcf.vcf"):
        info = record.info
        for index, allele in enumerate(record.alternates):
            scores = [info[f"DNACHUNK_{name}"].split(",")[index] for name in ("LLR", "DISTANCE")]
            want.append([record.contig, str(record.position), record.reference, allele, *scores])
    assert [[row[name] for name in ("chrom", "pos", "ref", "alt", "llr", "distance")] for row in rows] == want


def test_scoring_again_gives_the_same_file(run, model, fasta, vcf, tmp_path):
    words = ["--model", model, "--fasta", fasta]
    succeeds(run("score-variants", *words, "--vcf", vcf, "--output", tmp_path / "once.vcf"))
    succeeds(
        run("score-variants", *words, "--vcf", tmp_path / "once.vcf", "--output", tmp_path / "twice.vcf")
    )
    assert (tmp_path / "twice.vcf").read_text() == (tmp_path / "once.vcf").read_text()


def test_batches_change_no_score(run, model, fasta, vcf, tmp_path):
    words = ["--model", model, "--fasta", fasta, "--vcf", vcf]
    tables = []
    for size in (1, 3, 64):
        succeeds(run("score-variants", *words, "--batch-size", size, "--output", tmp_path / "s.tsv"))
        tables.append(read_tsv(tmp_path / "s.tsv"))
    for rows in zip(*tables, strict=True):
        assert len({row["reason"] for row in rows}) == 1
        if rows[0]["llr"] != ".":
            ratios, distances = ([float(row[name]) for row in rows] for name in ("llr", "distance"))
            assert np.ptp(ratios) < 1e-5
            assert np.ptp(distances) < 1e-7 + 1e-3 * max(distances)


def test_averaged_strands_are_equal(run, model, network, fasta, tmp_path):
    header = HEADER.replace("\tFORMAT\tone\ttwo", "")
    here = [(150, base(150), others(150)[0]), (200, SEQUENCE[199:204], base(200))]
    here += [(250, base(250), base(250) + base(250) * 2)]
    there = []
    for start, reference, alternate in here:
        # The other strand's VCF puts the base before an insertion or deletion in front, there.
        end = start - 1 + len(reference)
        before = other_strand(SEQUENCE[end])
        alleles = [
            other_strand(allele[len(reference) != len(alternate) :]) for allele in (reference, alternate)
        ]
        if len(reference) != len(alternate):
            there.append((400 - end, *(before + allele for allele in alleles)))
        else:
            there.append((401 - start, *alleles))
    (tmp_path / "there.fa").write_text(f">z\n{other_strand(SEQUENCE)}\n")
    scores = {}
    for strands in ("none", "average"):
        for name, path, variants in (("here", fasta, here), ("there", tmp_path / "there.fa", there)):
            rows = ["z\t{}\t.\t{}\t{}\t.\t.\t.\n".format(*variant) for variant in variants]
            (tmp_path / "v.vcf").write_text(header + "".join(rows))
            words = ["--model", model, "--fasta", path, "--vcf", tmp_path / "v.vcf"]
            words += ["--output", tmp_path / "s.tsv", "--reverse-complement", strands]
            succeeds(run("score-variants", *words))
            columns = [(float(row["llr"]), float(row["distance"])) for row in read_tsv(tmp_path / "s.tsv")]
            scores[name, strands] = np.array(columns)
    one, other = (scores[name, "average"] for name in ("here", "there"))
    np.testing.assert_allclose(one[:, 0], other[:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one[:, 1], other[:, 1], rtol=1e-3, atol=1e-7)
    assert abs(scores["here", "none"] - scores["there", "none"])[:, 0].max() > 0.01
    want = [
        slow_scores(network, DNATokenizer(), SEQUENCE, start - 1, *alleles, 64, "+-")
        for start, *alleles in here
    ]
    np.testing.assert_allclose(one[:, 0], np.array(want)[:, 0], rtol=1e-4, atol=1e-5)


def test_figures_stand_beside_those_of_random_scores(run, model, fasta, tmp_path):
    lines, labels = [], []
    for position in range(10, 390, 8):
        frequencies = [mix(position, allele) % 100 / 100 for allele in range(2)]
        lines.append(
            line(position, base(position), ",".join(others(position)[:2]), "AF={},{}".format(*frequencies))
        )
        labels += [True if each >= 0.7 else False if each < 0.4 else None for each in frequencies]
    lines.append(line(131, others(131)[0], base(131), "AF=0.9"))
    lines.append(line(132, base(132), others(132)[0], "AF=."))
    (tmp_path / "v.vcf").write_text(HEADER + "".join(lines))
    words = ["--model", model, "--fasta", fasta, "--vcf", tmp_path / "v.vcf", "--output", tmp_path / "s.tsv"]
    words += ["--positive", "AF>=0.7", "--negative", "AF < 0.4"]
    result = succeeds(run("score-variants", *words))
    rows = read_tsv(tmp_path / "s.tsv")[: len(labels)]
    chosen = [(row, label) for row, label in zip(rows, labels, strict=True) if label is not None]
    is_positive = [label for _, label in chosen]
    metrics = json.loads((tmp_path / "s.json").read_text())["metrics"]
    assert metrics["positives"] == sum(is_positive) > 10
    assert metrics["negatives"] == len(chosen) - sum(is_positive) > 10
    printed = {row.split()[0]: row.split()[1:] for row in result.out.splitlines()}
    for name in ("llr", "distance"):
        scores = [float(row[name]) for row, _ in chosen]
        assert metrics[f"{name}_auroc"] == pytest.approx(roc_auc_score(is_positive, scores), abs=1e-3)
        assert metrics[f"{name}_auprc"] == pytest.approx(
            average_precision_score(is_positive, scores), abs=1e-3
        )
        assert printed[name] == [f"{metrics[f'{name}_{figure}']:.3f}" for figure in ("auroc", "auprc")]
    share = sum(is_positive) / len(chosen)
    assert metrics["random_auprc"] == pytest.approx(share)
    deviation = math.sqrt((len(chosen) + 1) / 12 / metrics["positives"] / metrics["negatives"])
    assert printed["random"] == ["0.500", "±", f"{deviation:.3f}", f"{share:.3f}"]


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("AF>=0.05", "0.05", True),
        ("AF>=0.05", "4e-2", False),
        ("AF>=0.05", ".", None),
        ("AF>=0.05", None, None),
        ("AF>=0.05", "often", None),
        ("AF<0.05", "0.05", False),
        ("AF<=0.05", "0.05", True),
        ("AF > 0.05", "0.05", False),
        ("CLASS=bad", "bad", True),
        ("CLASS=bad", "good", False),
        ("CLASS=bad", None, None),
        ("CLASS!=bad", "good", True),
        ("DB", "1", True),
        ("DB", None, False),
        ("DB", "0", False),
    ],
)
def test_conditions(text, value, holds):
    assert Condition.parse(text).holds(value) is holds


def test_classes():
    values = {"AF": "0.2", "DB": None}
    assert Classes.parse(None, None) is None
    assert Classes.parse("AF>0.1", None).of(values.get) is True
    assert Classes.parse("AF>0.3", None).of(values.get) is False
    assert Classes.parse("AF>0.3", "DB").of(values.get) is None
    assert Classes.parse("AF>0.3", "AF<0.25").of(values.get) is False
    # A missing value is in neither class.
    assert Classes.parse("CLASS=bad", None).of(values.get) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--positive", "AF>=often"], "must be written FIELD, FIELD=text or FIELD>=number, got 'AF>=often'"),
        (["--positive", ">=1"], "must be written FIELD, FIELD=text or FIELD>=number, got '>=1'"),
        (["--negative", "AF<1"], "--negative needs --positive beside it"),
        (["--positive", "MAF>=0.5"], "has no INFO field 'MAF' in its header"),
        (["--positive", "AF>0.4", "--negative", "CLASS=worse"], "both find variants, got 1 positives and 0"),
        (["--positive", "AF>5", "--negative", "AF<=5"], "both find variants, got 0 positives and 3"),
    ],
)
def test_classes_that_cannot_be_told_apart(run, model, fasta, vcf, tmp_path, words, said):
    words = ["--model", model, "--fasta", fasta, "--vcf", vcf, "--output", tmp_path / "s.vcf", *words]
    assert said in refused(run("score-variants", *words))
    assert [path.name for path in tmp_path.iterdir()] == ["variants.vcf"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "bad.vcf is empty"),
        (HEADER, "bad.vcf holds no variant"),
        ("chr1\t1\t.\tA\tC\t.\t.\t.\n", "bad.vcf, line 1: expected '##fileformat=VCF…'"),
        (
            HEADER + VARIANTS[0][0] + "z 12 . A C . . .\n",
            "bad.vcf, line 9: expected 11 columns between tabs, got 1",
        ),
        (
            HEADER + VARIANTS[0][0] * 40 + line("x", "A", "C"),
            "bad.vcf, line 48: POS must be a whole number, got 'x'",
        ),
        (HEADER + line(5, "A!", "C"), "bad.vcf, line 8: REF must be nucleotide letters, got 'A!'"),
        (HEADER + line(5, "A", "C,"), "bad.vcf, line 8: ALT must be alleles, got 'C,'"),
        (None, "missing.vcf"),
        (
            gzip.compress((HEADER + VARIANTS[0][0] * 40).encode(), mtime=0)[:-30],
            "bad.vcf is cut short or damaged",
        ),
    ],
)
def test_bad_variants(run, model, fasta, tmp_path, text, said):
    path = tmp_path / ("missing.vcf" if text is None else "bad.vcf")
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    words = ["--model", model, "--fasta", fasta, "--vcf", path, "--output", tmp_path / "scored.vcf.gz"]
    assert said in refused(run("score-variants", *words))
    assert not list(tmp_path.glob("*scored.vcf*")) + list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_sequences(run, bad_fasta, model, vcf, tmp_path, fault):
    path, said = bad_fasta(fault)
    words = ["--model", model, "--fasta", path, "--vcf", vcf, "--output", tmp_path / "scored.vcf"]
    assert said in refused(run("score-variants", *words))
    assert not list(tmp_path.glob("*scored.vcf*"))


@pytest.mark.parametrize("fault", ["no directory", "no model", "no weights", "truncated", "other tokenizer"])
def test_bad_models(run, model, fasta, vcf, tmp_path, fault):
    broken = tmp_path / "broken"
    if fault != "no directory":
        shutil.copytree(model, broken)
    said = {"no directory": "broken", "no model": "holds no model", "truncated": "cannot be read"}.get(
        fault, ""
    )
    if fault == "no model":
        (broken / "config.json").unlink()
    elif fault == "no weights":
        (broken / "model.safetensors").unlink()
        said = "model.safetensors"
    elif fault == "truncated":
        weights = broken / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-9])
    elif fault == "other tokenizer":
        (broken / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
        (broken / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nA\n")
        said = "must be DNATokenizer(cls_sep=False), which a mergedna model reads, got BertTokenizer"
    words = ["--model", broken, "--fasta", fasta, "--vcf", vcf, "--output", tmp_path / "scored.vcf"]
    assert said in refused(run("score-variants", *words))
    assert not list(tmp_path.glob("*scored.vcf*"))


def test_what_fails_midway_leaves_the_old_file(run, model, fasta, vcf, tmp_path, monkeypatch):
    calls, score = [], zero_shot.score_alleles

    def failing(*arguments, **options):
        calls.append(arguments)
        if len(calls) > 2:
            raise OSError("the disk is gone")
        return score(*arguments, **options)

    monkeypatch.setattr(zero_shot, "score_alleles", failing)
    (tmp_path / "s.vcf").write_text("old")
    words = ["--model", model, "--fasta", fasta, "--vcf", vcf, "--output", tmp_path / "s.vcf"]
    assert "the disk is gone" in refused(run("score-variants", *words, "--batch-size", 1))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "s.vcf": "old",
        "variants.vcf": vcf.read_text(),
    }


def test_few_records_are_held_at_once(run, model, fasta, tmp_path, monkeypatch):
    held, seen, module = [], [], importlib.import_module("dnachunk.evaluation.variant_scores")
    num_records = 100
    monkeypatch.setattr(module, "PART_RECORDS", 24)
    (tmp_path / "v.vcf").write_text(HEADER + line(100, base(100), ",".join(others(100))) * num_records)
    iterate = VCF.__iter__

    def counting(vcf):
        for record in iterate(vcf):
            held.append(record)
            yield record

    def nothing(_network, _genome, variants, *_, **__):
        seen.append((len(held), len(variants)))
        return [zero_shot.Outcome(None, "breakend") for _ in variants]

    monkeypatch.setattr(VCF, "__iter__", counting)
    monkeypatch.setattr(zero_shot, "score_alleles", nothing)
    words = ["--model", model, "--fasta", fasta, "--vcf", tmp_path / "v.vcf", "--output", tmp_path / "s.tsv"]
    succeeds(run("score-variants", *words, "--batch-size", 2))
    size = 2 * module._RECORDS_AT_ONCE
    # The first hundred are those of the check; a part is held.
    part = module.PART_RECORDS
    assert part > 2 * size
    assert len(seen) == -(-num_records // size)
    assert max(records - num_records - size * place for place, (records, _) in enumerate(seen)) <= part
    assert {alleles for _, alleles in seen} == {3 * size, 3 * (100 % size) or 3 * size}
    assert len(read_tsv(tmp_path / "s.tsv")) == 300


SYSTEMS = sorted(
    name.removesuffix("Config") for name in dnachunk.__all__ if name.endswith("Config") and name != "Config"
)


def save_micro(system, directory):
    """A model of a system, or a baseline on fixed words, with random weights."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_attention_heads": 2, "train_length_bp": 64, "initializer_range": 0.2}
    if system in SYSTEMS:
        config = getattr(dnachunk, f"{system}Config").micro(**shape)
        getattr(dnachunk, f"{system}ForMaskedLM")(config).save_pretrained(directory)
        DNATokenizer(cls_sep=system == "MxDNA").save_pretrained(directory)
        return
    tokenizer = FixedTokenizer.from_name(system)
    config = baseline_config("micro", len(tokenizer), num_hidden_layers=2, **shape)
    AutoModelForMaskedLM.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@pytest.mark.parametrize("system", [*SYSTEMS, "base", "3mer"])
def test_every_system_is_scored(run, system, fasta, tmp_path):
    save_micro(system, tmp_path / "model")
    lines = [line(10 * n, base(10 * n), others(10 * n)[n % 3]) for n in range(1, 12)]
    (tmp_path / "v.vcf").write_text(HEADER + "".join(lines))
    tables = []
    for size in (1, 8):
        words = ["--model", tmp_path / "model", "--fasta", fasta, "--vcf", tmp_path / "v.vcf"]
        words += ["--output", tmp_path / "s.tsv", "--batch-size", size]
        succeeds(run("score-variants", *words))
        tables.append(
            [[float(row[name]) for name in ("llr", "distance")] for row in read_tsv(tmp_path / "s.tsv")]
        )
    one, eight = map(np.array, tables)
    assert (abs(one[:, 0]) > 1e-6).all()
    assert (one[:, 1] > 0).all()
    np.testing.assert_allclose(one[:, 0], eight[:, 0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(one[:, 1], eight[:, 1], rtol=1e-2, atol=1e-6)


def test_a_model_of_somebody_else(run, fasta, vcf, tmp_path):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=10,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        initializer_range=0.3,
    )
    network = BertForMaskedLM(config).eval()
    network.save_pretrained(tmp_path / "bert")
    DNATokenizer(cls_sep=True).save_pretrained(tmp_path / "bert")
    words = ["--model", tmp_path / "bert", "--fasta", fasta, "--vcf", vcf, "--output", tmp_path / "s.tsv"]
    assert "--window-bp must be given" in refused(run("score-variants", *words))
    said = "--window-bp must be at most 38"
    assert said in refused(run("score-variants", *words, "--window-bp", 39))
    succeeds(run("score-variants", *words, "--window-bp", 30))
    row = read_tsv(tmp_path / "s.tsv")[0]
    vectors = []
    for letter in (row["ref"], row["alt"]):
        text = SEQUENCE[85:99] + letter + SEQUENCE[100:115]
        inputs = DNATokenizer(cls_sep=True)([text], return_tensors="pt")
        with torch.no_grad():
            # [CLS] and [SEP] are left out.
            vectors.append(network.base_model(**inputs).last_hidden_state[0, 1:-1].double().mean(dim=0))
    distance = 1 - float(torch.cosine_similarity(*vectors, dim=0))
    assert float(row["distance"]) == pytest.approx(distance, rel=1e-3)


def test_the_1000_genomes_agree_with_their_sequence():
    if not SHARED.exists():
        pytest.skip("../shared/data is absent")
    module = importlib.import_module("dnachunk.evaluation.variant_scores")
    genome, variants = Genome(SHARED / "z.fa.gz"), VCF(SHARED / "z.vcf.gz")
    reads = [module.variant_of(genome, record, allele) for record in variants for allele in record.alternates]
    reasons = Counter(read for read in reads if isinstance(read, str))
    assert reasons == {"symbolic_allele": 24}
    assert len(reads) == 29_144
    is_single = [
        len(read.edits[0].reference) == len(read.edits[0].alternate) == 1
        for read in reads
        if not isinstance(read, str)
    ]
    assert sum(is_single) >= 28_191
