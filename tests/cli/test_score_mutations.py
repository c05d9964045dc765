import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from dnachunk import DNATokenizer
from dnachunk.evaluation import zero_shot
from dnachunk.evaluation.mutations import GENETIC_CODE, nearest_codon
from dnachunk.random import mix
from tests.evaluation.variants import slow_scores, small_model

SHARED = Path(__file__).parents[2] / "../shared/data/dms"
CODONS = [codon for codon, coded in GENETIC_CODE.items() if coded != "*"]
CODING = "".join(CODONS[mix(5, place) % len(CODONS)] for place in range(30))
ADDED = [f"dnachunk_{name}" for name in ("llr", "distance", "ridge", "ridge_new_sites", "reason")]


def wildtype(site):
    return GENETIC_CODE[CODING[3 * site - 3 : 3 * site]]


def mutants():
    """A table of two substitutions at each site, a double mutant, and what cannot be scored."""
    texts = []
    for site in range(1, 31):
        letters = [letter for letter in "ACDEFGHIKLMNPQRSTVWY" if letter != wildtype(site)]
        texts += [f"{wildtype(site)}{site}{letters[mix(site, draw) % 19]}" for draw in range(2)]
    texts.append(f"{wildtype(4)}4W:{wildtype(20)}20*")
    texts += [f"{'A' if wildtype(5) != 'A' else 'C'}5W", "A31C"]
    return texts


MUTANTS = mutants()
REASONS = [""] * 61 + ["reference_mismatch", "outside_record"]


@pytest.fixture(scope="module")
def network():
    return small_model()


@pytest.fixture(scope="module")
def model(tmp_path_factory, network):
    directory = tmp_path_factory.mktemp("masked")
    network.save_pretrained(directory)
    DNATokenizer().save_pretrained(directory)
    return directory


@pytest.fixture
def fasta(tmp_path):
    (tmp_path / "cds.fa").write_text(f">cds\n{CODING}\n")
    return tmp_path / "cds.fa"


@pytest.fixture
def table(tmp_path):
    rows = [f"{text},{mix(9, row) % 1000 / 1000},x{row}" for row, text in enumerate(MUTANTS)]
    rows[7] = f"{MUTANTS[7]},,x7"
    (tmp_path / "dms.csv").write_text("\n".join(["mutant,score,note", *rows]) + "\n")
    return tmp_path / "dms.csv"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "scan"


def succeeds(result):
    assert result.status == 0, result.err
    return result


def refused(result):
    assert result.status == 1
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("dnachunk score-mutations: ")
    return lines[0]


def read_scores(folder):
    with (folder / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(rows, column):
    return np.array([float(row[column] or "nan") for row in rows])


def edited(mutant):
    """Where, and from what to what, as one stretch of codons."""
    sites = {int(text[1:-1]): text[-1] for text in mutant.split(":")}
    first, last = min(sites), max(sites)
    codons = [CODING[3 * site - 3 : 3 * site] for site in range(first, last + 1)]
    changed = [
        nearest_codon(codon, sites[site]) if site in sites else codon
        for site, codon in enumerate(codons, start=first)
    ]
    return 3 * (first - 1), "".join(codons), "".join(changed)


@pytest.mark.parametrize("strands", ["none", "average"])
def test_scores_are_those_of_the_definition(run, model, network, fasta, table, folder, strands):
    words = ["--model", model, "--fasta", fasta, "--variants", table, "--output-dir", folder]
    succeeds(run("score-mutations", *words, "--window-bp", 60, "--reverse-complement", strands))
    rows = read_scores(folder)
    assert list(rows[0]) == ["mutant", "score", "note", *ADDED]
    assert [row["mutant"] for row in rows] == MUTANTS
    assert [row["note"] for row in rows] == [f"x{number}" for number in range(len(MUTANTS))]
    assert [row["dnachunk_reason"] for row in rows] == REASONS
    sides = "+-" if strands == "average" else "+"
    for row, mutant in zip(rows[:60:3], MUTANTS[:60:3], strict=True):
        want = slow_scores(network, DNATokenizer(), CODING, *edited(mutant), 60, sides, trim=False)
        assert float(row["dnachunk_llr"]) == pytest.approx(want[0], rel=1e-4, abs=1e-5), mutant
        assert float(row["dnachunk_distance"]) == pytest.approx(want[1], rel=1e-3, abs=1e-7)
    assert {path.name for path in folder.iterdir()} == {"scores.csv", "results.json"}


def test_a_double_mutant_hides_both_codons(run, model, network, fasta, table, folder):
    words = ["--model", model, "--fasta", fasta, "--variants", table, "--output-dir", folder]
    succeeds(run("score-mutations", *words, "--window-bp", 90))
    ratio = float(read_scores(folder)[60]["dnachunk_llr"])
    tokenizer, total = DNATokenizer(), 0.0
    text = CODING[:9] + "[MASK]" * 3 + CODING[12:57] + "[MASK]" * 3 + CODING[60:]
    ids = tokenizer([text], return_tensors="pt")
    with torch.no_grad():
        logs = network(**ids).logits[0, :, 5:9].double().log_softmax(dim=-1)
    for start, mutant in ((9, "W"), (57, "*")):
        codon = CODING[start : start + 3]
        for place, (old, new) in enumerate(zip(codon, nearest_codon(codon, mutant), strict=True), start):
            total += float(logs[place, "ACGT".index(new)] - logs[place, "ACGT".index(old)])
    assert ratio == pytest.approx(total, rel=1e-4)
    # In a window of 50 bases they do not fit together.
    succeeds(run("score-mutations", *words, "--window-bp", 50))
    assert read_scores(folder)[60]["dnachunk_reason"] == "too_long"


def test_figures_stand_beside_those_of_random_scores(run, model, fasta, table, folder):
    words = ["--model", model, "--fasta", fasta, "--variants", table, "--output-dir", folder]
    result = succeeds(run("score-mutations", *words, "--positive", "score>=0.6"))
    rows = read_scores(folder)
    results = json.loads((folder / "results.json").read_text())
    assert set(results) == {"command", "versions", "metrics"}
    metrics = results["metrics"]
    assert (metrics["variants"], metrics["scored"], metrics["measured"]) == (63, 61, 60)
    assert metrics["reasons"] == {"reference_mismatch": 1, "outside_record": 1}
    assert metrics["measured_columns"] == ["score"]
    assert metrics["window_bp"] == 64
    printed = {line.split()[0]: line.split()[1:] for line in result.out.splitlines() if line.split()}
    measured = numbers(rows[:61], "score")
    is_measured = np.isfinite(measured)
    assert is_measured.sum() == 60
    for name in ("llr", "distance", "ridge", "ridge_new_sites"):
        scores = numbers(rows[:61], f"dnachunk_{name}")
        want = spearmanr(scores[is_measured], measured[is_measured]).statistic
        assert metrics[f"{name}_spearman"] == pytest.approx(want, abs=2e-3)
        # The table of Spearman's stands first; that of classes has two of the names again.
        line = next(line for line in result.out.splitlines() if line.split()[:1] == [name])
        assert line.split()[1] == f"{metrics[f'{name}_spearman']:.3f}"
    assert metrics["random_spearman"] == 0
    assert metrics["random_spearman_deviation"] == pytest.approx(1 / np.sqrt(59))
    assert "0 ± 0.130" in result.out
    ratios = numbers(rows[:61], "dnachunk_llr")[is_measured]
    auroc = roc_auc_score(measured[is_measured] >= 0.6, ratios)
    assert metrics["llr_auroc"] == pytest.approx(auroc, abs=1e-3)
    assert printed["random"][-1] == f"{metrics['random_auprc']:.3f}"


def test_regressions_are_on_the_mutants_vectors(run, model, fasta, table, folder, monkeypatch):
    # The measurement is a channel of the mutant's vector: a regression on the vectors finds it.
    words = [
        "--model",
        model,
        "--fasta",
        fasta,
        "--variants",
        table,
        "--output-dir",
        folder,
        "--window-bp",
        90,
    ]
    seen, score = [], zero_shot.score_alleles

    def keeping(*arguments, **options):
        outcomes = score(*arguments, **options)
        seen.extend(outcomes)
        return outcomes

    monkeypatch.setattr(zero_shot, "score_alleles", keeping)
    succeeds(run("score-mutations", *words))
    channel = [float(outcome.score.vector[3]) if outcome.score else 0 for outcome in seen]
    rows = [f"{text},{value!r}" for text, value in zip(MUTANTS, channel, strict=True)]
    table.write_text("\n".join(["mutant,DMS_score", *rows]) + "\n")
    succeeds(run("score-mutations", *words))
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    assert metrics["ridge_spearman"] > 0.95
    assert metrics["ridge_new_sites_spearman"] > 0.95
    assert metrics["measured_columns"] == ["DMS_score"]


def test_bases_of_a_gene_and_several_measurements(run, model, network, fasta, tmp_path, folder):
    lines = ["ng_pos\tng_ref\tng_alt\tone\ttwo\tclass"]
    for place in range(0, 90, 4):
        old = CODING[place]
        new = "ACGT"[("ACGT".index(old) + 1) % 4]
        lines.append(f"{place + 1}\t{old}\t{new}\t{place}\t{place + 1}\t{'LOF' if place % 3 else 'FUNC'}")
    (tmp_path / "sge.tsv").write_text("\n".join(lines) + "\n")
    words = ["--model", model, "--fasta", fasta, "--variants", tmp_path / "sge.tsv", "--output-dir", folder]
    words += ["--measured", "one", "--measured", "two", "--positive", "class=LOF", "--negative", "class=FUNC"]
    result = succeeds(run("score-mutations", *words))
    rows = read_scores(folder)
    for row in rows[::5]:
        place = int(row["ng_pos"]) - 1
        want = slow_scores(network, DNATokenizer(), CODING, place, row["ng_ref"], row["ng_alt"], 64)
        assert float(row["dnachunk_llr"]) == pytest.approx(want[0], rel=1e-4, abs=1e-5)
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    assert metrics["measured_columns"] == ["one", "two"]
    assert metrics["positives"] + metrics["negatives"] == len(rows) == 23
    ratios = numbers(rows, "dnachunk_llr")
    assert metrics["llr_spearman"] == pytest.approx(spearmanr(ratios, np.arange(23)).statistic, abs=2e-3)
    assert "15 positives, 8 negatives" in result.out


def test_scoring_again_replaces_the_columns(run, model, fasta, table, folder):
    words = ["--model", model, "--fasta", fasta, "--output-dir", folder]
    succeeds(run("score-mutations", *words, "--variants", table))
    first = folder / "scores.csv"
    scored = first.rename(table.with_name("scored.csv"))
    succeeds(run("score-mutations", *words, "--variants", scored))
    assert first.read_text() == scored.read_text()


def test_foreign_bytes_stay_and_equal_measurements_are_told(run, model, fasta, table, folder):
    rows = [f"{text},1,\xb5M" for text in MUTANTS[:12]]
    table.write_bytes("\n".join(["mutant,score,note", *rows]).encode("latin-1"))
    words = ["--model", model, "--fasta", fasta, "--variants", table, "--output-dir", folder]
    result = succeeds(run("score-mutations", *words))
    assert (folder / "scores.csv").read_bytes().splitlines()[1].split(b",")[2] == b"\xb5M"
    assert "llr                  all alike" in result.out


def test_too_few_for_a_regression(run, model, fasta, table, folder):
    table.write_text("\n".join(table.read_text().splitlines()[:4]) + "\n")
    words = ["--model", model, "--fasta", fasta, "--variants", table, "--output-dir", folder]
    result = succeeds(run("score-mutations", *words))
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    assert metrics["ridge_spearman"] is None
    assert [line.split()[1:] for line in result.out.splitlines() if line.startswith("ridge")] == [
        ["too", "few"]
    ] * 2
    assert {row["dnachunk_ridge"] for row in read_scores(folder)} == {""}


def test_nothing_that_can_be_scored(run, model, fasta, table, folder):
    table.write_text("mutant,score\nA31C,1\nA32C,2\n")
    words = ["--model", model, "--fasta", fasta, "--variants", table, "--output-dir", folder]
    result = succeeds(run("score-mutations", *words))
    assert "0 of 2 variants scored" in result.out
    assert "nan" not in result.out
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    assert metrics["llr_spearman"] is None
    assert metrics["random_spearman_deviation"] is None


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        (None, [], "missing.csv"),
        ("", [], "dms.csv must have the columns mutant or "),
        ("mutant,score\n", [], "dms.csv has no row"),
        (f"mutant,score\n{MUTANTS[0]},1\nAla2Gly,2\n", [], "dms.csv, line 3: a mutant must be written like"),
        (f"mutant,score\n{MUTANTS[0]}\n", [], "dms.csv, line 2: expected 2 cells, got 1"),
        (f"mutant,score\n{MUTANTS[0]},high\n", [], "line 2: score must be a number, got 'high'"),
        (
            f"mutant,fitness\n{MUTANTS[0]},1\n",
            [],
            "has no column score or DMS_score; name it with --measured",
        ),
        (f"mutant,score\n{MUTANTS[0]},1\n", ["--measured", "fit"], "there is no column 'fit'; the table has"),
        (f"mutant,score\n{MUTANTS[0]},1\n", ["--positive", "class=x"], "has no column 'class'"),
        (f"mutant,score\n{MUTANTS[0]},1\n", ["--positive", "score>0"], "got 1 positives and 0 negatives"),
        (f"mutant,score\n{MUTANTS[0]},1\n", ["--negative", "score>0"], "--negative needs --positive"),
        (f"mutant,score\n{MUTANTS[0]},1\n", ["--model", "nowhere"], "nowhere"),
    ],
)
def test_bad_input(run, model, fasta, table, folder, text, words, said):
    path = table.with_name("missing.csv") if text is None else table
    if text is not None:
        table.write_text(text)
    which = [] if "--model" in words else ["--model", model]
    words = [*which, "--fasta", fasta, "--variants", path, "--output-dir", folder, *words]
    assert said in refused(run("score-mutations", *words))
    assert not folder.exists()


def test_bad_sequences(run, model, fasta, table, folder):
    words = ["--model", model, "--fasta", fasta, "--variants", table, "--output-dir", folder]
    fasta.write_text(">one\nATG\n>two\nATG\n")
    assert "cds.fa must hold one sequence, got 2" in refused(run("score-mutations", *words))
    fasta.write_text(">one\nATGA\n")
    assert "must be a coding sequence of whole codons, got 4 bases" in refused(run("score-mutations", *words))
    fasta.unlink()
    assert "cds.fa" in refused(run("score-mutations", *words))
    assert not folder.exists()


def test_what_fails_midway_leaves_the_old_files(run, model, fasta, table, folder, monkeypatch):
    words = ["--model", model, "--fasta", fasta, "--variants", table, "--output-dir", folder]
    succeeds(run("score-mutations", *words))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def failing(*_, **__):
        raise OSError("the disk is gone")

    monkeypatch.setattr(zero_shot, "score_alleles", failing)
    assert "the disk is gone" in refused(run("score-mutations", *words))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("scan", ["tem1", "brca1"])
def test_scans_of_the_shared_data(run, model, tmp_path, folder, scan):
    if not SHARED.exists():
        pytest.skip("../shared/data is absent")
    sources = {
        "tem1": ("tem1_stiffler2015/tem1_coding_sequence.fa.gz", "tem1_stiffler2015/tem1_dms_scores.csv.gz"),
        "brca1": (
            "brca1_sge_findlay2018/brca1_NG_005905.2.fa.gz",
            "brca1_sge_findlay2018/brca1_sge_scores.csv.gz",
        ),
    }
    fasta, variants = (SHARED / name for name in sources[scan])
    with gzip.open(variants, "rt") as file:
        lines = file.readlines()
    (tmp_path / "some.csv").write_text("".join(lines[:1] + lines[1 :: len(lines) // 40]))
    columns = ["score_trial1_amp2500", "score_trial2_amp2500"] if scan == "tem1" else ["function_score_mean"]
    words = ["--model", model, "--fasta", fasta, "--variants", tmp_path / "some.csv", "--output-dir", folder]
    words += [word for column in columns for word in ("--measured", column)]
    result = succeeds(run("score-mutations", *words))
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    assert metrics["scored"] == metrics["variants"] >= 40
    assert metrics["reasons"] == {}
    assert all(metrics[f"{name}_spearman"] is not None for name in ("llr", "distance", "ridge"))
    assert "random" in result.out
