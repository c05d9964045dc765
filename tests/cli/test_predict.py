import csv
import gzip
import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

import dnachunk
from dnachunk.alphabet import reverse_complement
from dnachunk.data import Problem, Task
from dnachunk.evaluation import predict_logits
from dnachunk.models.loading import load_pretrained
from dnachunk.training.adaptation import load_with_head
from tests.training.finetuning import labelled, random_sequences, save_bert, save_small

SEQUENCES = random_sequences(7, 40, 1)
LABELS = {
    Problem.single_label: ["no", "yes"] * 10,
    Problem.multi_label: ["a|b", "b", "c|a", "b|c"] * 5,
    Problem.regression: [("1.5", "0"), ("2.5", "1")] * 10,
    Problem.per_base: ["01" * 10, "10" * 10] * 10,
}


def save_head(folder, problem, kind="mergedna"):
    """A model with a head for the problem, as fine-tuning leaves it but for what was learned."""
    if kind == "bert":
        save_bert(folder, 1 if problem is Problem.per_base else 3)
    else:
        save_small(folder, kind)
    columns = ("height", "weight") if problem is Problem.regression else ("label",)
    rows = labelled(random_sequences(20, 20, 2), LABELS[problem], columns)
    torch.manual_seed(2)
    task = Task.of({"train": rows}, problem, valid_share=0.2)
    load_with_head(folder, task).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """By problem, the folder of a model."""
    folder = tmp_path_factory.mktemp("heads")
    return {problem: save_head(folder / problem.name, problem) for problem in Problem}


def own_logits(folder, sequences):
    kind = json.loads((folder / "config.json").read_text())["architectures"][0]
    of_bases = kind.endswith("ForTokenClassification")
    auto_class = AutoModelForTokenClassification if of_bases else AutoModelForSequenceClassification
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return predict_logits(load_pretrained(auto_class, folder), tokenizer, sequences)


def write_table(path, delimiter=","):
    rows = [["id", "sequence"], *([f"s{index}", text] for index, text in enumerate(SEQUENCES))]
    path.write_text("\n".join(delimiter.join(row) for row in rows) + "\n")
    return path


def read(path, delimiter="\t"):
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_classes_and_their_probabilities(run, heads, tmp_path):
    table, output = write_table(tmp_path / "new.csv"), tmp_path / "out.tsv"
    folder = heads[Problem.single_label]
    words = ("--model", folder, "--sequences", table, "--keep-column", "id", "--output", output)
    result = run("predict", *words)
    assert result.status == 0, result.err
    for index, (row, logits) in enumerate(zip(read(output), own_logits(folder, SEQUENCES), strict=True)):
        probability = logits.softmax(-1)
        assert (row["line"], row["id"]) == (str(index + 2), f"s{index}")
        assert row["predicted_label"] == ("no", "yes")[int(logits.argmax())]
        assert float(row["probability_yes"]) == pytest.approx(float(probability[1]), rel=1e-4)
        assert float(row["probability_no"]) == pytest.approx(float(probability[0]), rel=1e-4)
    metrics = json.loads((tmp_path / "out.json").read_text())["metrics"]
    assert metrics["sequences"] == 7
    assert sum(metrics["predicted"].values()) == 7
    assert result.out.startswith("7 sequences predicted: ")


def test_sequences_of_a_list_that_cannot_be_read(heads):
    folder = heads[Problem.single_label]
    texts = ["ACGTACGT", "AC!T", "TTTT", None]
    with pytest.raises(
        ValueError, match=r"index 1: .*'!' at position 2.*on_error='skip' leaves such rows out"
    ):
        list(dnachunk.predict(folder, texts))
    predictions = dnachunk.predict(folder, texts, on_error="skip")
    assert [(each.place, each.positions_bp) for each in predictions] == [
        (("0",), range(8)),
        (("2",), range(4)),
    ]
    assert [text.partition(":")[0] for text in predictions.skipped] == ["index 1", "index 3"]


def test_several_labels(run, heads, tmp_path):
    folder = heads[Problem.multi_label]
    found = list(dnachunk.predict(folder, SEQUENCES))
    for index, (prediction, logits) in enumerate(zip(found, own_logits(folder, SEQUENCES), strict=True)):
        assert prediction.place == (str(index),)
        torch.testing.assert_close(prediction.values, logits.sigmoid(), rtol=1e-4, atol=1e-6)
        assert prediction.label == tuple(
            name for name, value in zip("abc", logits.tolist(), strict=True) if value >= 0
        )
    write_table(tmp_path / "new.tsv", "\t")
    words = ("--model", folder, "--sequences", tmp_path / "new.tsv", "--output", tmp_path / "out.csv.gz")
    assert run("predict", *words).status == 0
    rows = read(tmp_path / "out.csv.gz", ",")
    assert [row["predicted_label"] for row in rows] == ["|".join(each.label) for each in found]


def test_numbers(run, heads, tmp_path):
    folder = heads[Problem.regression]
    fasta = tmp_path / "new.fa"
    fasta.write_text("".join(f">r{index} words\n{text}\n" for index, text in enumerate(SEQUENCES)))
    assert run("predict", "--model", folder, "--sequences", fasta, "--output", tmp_path / "o.tsv").status == 0
    rows = read(tmp_path / "o.tsv")
    assert [row["record"] for row in rows] == [f"r{index}" for index in range(7)]
    for row, logits in zip(rows, own_logits(folder, SEQUENCES), strict=True):
        numbers = [float(row["predicted_height"]), float(row["predicted_weight"])]
        assert numbers == pytest.approx(logits.tolist(), rel=1e-4)


def test_labels_of_bases_in_regions_along_their_strand(run, heads, tmp_path):
    folder, chromosome = heads[Problem.per_base], random_sequences(1, 300, 5)[0]
    fasta, bed = tmp_path / "genome.fa", tmp_path / "peaks.bed"
    fasta.write_text(f">chr1\n{chromosome}\n")
    one = "chr1\t10\t50\tone\t0\t+\n"
    bed.write_text(f"{one}chr1\t200\t230\ttwo\t0\t-\n{one}")
    words = ("--model", folder, "--sequences", fasta, "--regions", bed, "--output", tmp_path / "o.tsv")
    assert run("predict", *words).status == 0
    rows = read(tmp_path / "o.tsv")
    assert len(rows) == 40 + 30 + 40
    one, two = own_logits(folder, [chromosome[10:50], reverse_complement(chromosome[200:230])])
    for row, position, logits in zip(rows[:40], range(10, 50), one, strict=True):
        assert (row["record"], row["start_bp"], row["end_bp"], row["name"]) == ("chr1", "10", "50", "one")
        assert int(row["position_bp"]) == position
        assert row["predicted_label"] == str(int(logits.argmax()))
    assert [int(row["position_bp"]) for row in rows[40:70]] == list(range(229, 199, -1))
    assert [row["predicted_label"] for row in rows[40:70]] == [str(int(each.argmax())) for each in two]
    assert rows[70:] == rows[:40]


@pytest.mark.parametrize("kind", ["dnachunker", "mxdna", "bert"])
@pytest.mark.parametrize("problem", [Problem.single_label, Problem.per_base])
def test_every_model_predicts(tmp_path, kind, problem):
    folder = save_head(tmp_path / "model", problem, kind)
    texts = [text[:20] for text in SEQUENCES]
    found = list(dnachunk.predict(folder, texts, batch_size=3))
    for prediction, logits in zip(found, own_logits(folder, texts), strict=True):
        torch.testing.assert_close(prediction.values, logits.softmax(-1), rtol=1e-4, atol=1e-5)


def test_both_strands(heads):
    folder = heads[Problem.single_label]
    others = [reverse_complement(text) for text in SEQUENCES]
    one, other = (
        torch.stack([each.values for each in dnachunk.predict(folder, texts, reverse_complement="average")])
        for texts in (SEQUENCES, others)
    )
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_standard_input_and_output(heads, tmp_path):
    fasta = "".join(f">r{index}\n{text}\n" for index, text in enumerate(SEQUENCES))
    words = ["--model", str(heads[Problem.single_label]), "--sequences", "-", "--output", "-"]
    done = subprocess.run(
        [sys.executable, "-m", "dnachunk", "predict", *words],
        input=fasta,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    rows = list(csv.DictReader(done.stdout.splitlines(), delimiter="\t"))
    assert [row["record"] for row in rows] == [f"r{index}" for index in range(7)]
    assert "7 sequences predicted" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_bad_sequences_are_refused_or_left_out(run, heads, tmp_path):
    table = tmp_path / "bad.csv"
    table.write_text("sequence\nACGTACGT\nNA\nAC!T\n\nTTTT\n")
    words = ("--model", heads[Problem.per_base], "--sequences", table, "--output", tmp_path / "o.tsv")
    result = run("predict", *words)
    assert result.status == 1
    assert "line 3" in result.err
    assert "--on-error skip" in result.err
    assert not (tmp_path / "o.tsv").exists()
    result = run("predict", *words, "--on-error", "skip")
    assert result.status == 0
    rows = read(tmp_path / "o.tsv")
    assert [(int(row["line"]), int(row["position_bp"])) for row in rows] == [
        *((2, position) for position in range(8)),
        *((6, position) for position in range(4)),
    ]
    skipped = json.loads((tmp_path / "o.json").read_text())["metrics"]["skipped"]
    assert [each.partition("line ")[2].partition(":")[0] for each in skipped] == ["3", "4"]
    assert "2 left out, the first: " in result.out


def test_sequences_too_long_are_refused_left_out_tiled_or_cut_off(run, tmp_path):
    folder = save_head(tmp_path / "bert", Problem.single_label, "bert")
    fasta = tmp_path / "long.fa"
    fasta.write_text(f">short\n{'ACG' * 5}\n>long\n{'ACG' * 50}\n")
    words = ("--model", folder, "--sequences", fasta, "--output", tmp_path / "o.tsv")
    result = run("predict", *words)
    assert result.status == 1
    said = (
        "record long: the sequence has 52 tokens, the model takes 24: cut it in tiles with --tile-bp, or off "
    )
    assert said in result.err
    assert run("predict", *words, "--on-error", "skip").status == 0
    assert [row["record"] for row in read(tmp_path / "o.tsv")] == ["short"]
    for tile_bp, said in ((78, "record long: a tile of the sequence has 28 tokens, "), (1, "--tile-bp")):
        assert said in run("predict", *words, "--tile-bp", tile_bp).err
    refused = run("predict", *words, "--tile-bp", 66, "--truncate")
    assert "--tile-bp reads what --truncate cuts off: give one of them" in refused.err
    assert run("predict", *words, "--tile-bp", 66).status == 0
    tiled = read(tmp_path / "o.tsv")
    assert [row["record"] for row in tiled] == ["short", "long"]
    # All tiles of a periodic sequence are alike, and so is their mean.
    (tile,) = dnachunk.predict(folder, ["ACG" * 22])
    assert float(tiled[1]["probability_yes"]) == pytest.approx(float(tile.values[1]), abs=1e-5)
    assert run("predict", *words, "--truncate").status == 0
    assert [row["record"] for row in read(tmp_path / "o.tsv")] == ["short", "long"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--keep-column", "nothing"], "must have a column 'nothing'"),
        (["--keep-column", "id", "--keep-column", "id"], "--keep-column must name each column once"),
        (["--sequence-column", "dna"], "must have a column 'dna'"),
        (["--regions", "peaks.bed"], "--regions are of a FASTA file"),
    ],
)
def test_what_does_not_fit_is_told(run, heads, tmp_path, words, said):
    table = write_table(tmp_path / "new.csv")
    folder = heads[Problem.single_label]
    result = run("predict", "--model", folder, "--sequences", table, "--output", tmp_path / "o.tsv", *words)
    assert result.status == 1
    assert said in result.err
    assert not (tmp_path / "o.tsv").exists()


@pytest.mark.parametrize("column", ["line", "predicted_label", "probability_yes"])
def test_a_column_is_not_written_twice(run, heads, tmp_path, column):
    table = tmp_path / "new.csv"
    table.write_text(f"{column},sequence\n7,ACGTACGT\n")
    words = ("--model", heads[Problem.single_label], "--sequences", table, "--keep-column", column)
    result = run("predict", *words, "--output", tmp_path / "o.tsv")
    assert result.status == 1
    assert f"none that the output has, got '{column}'" in result.err
    assert not (tmp_path / "o.tsv").exists()


def test_a_model_without_a_head_is_refused(run, model, tmp_path):
    table = write_table(tmp_path / "new.csv")
    result = run("predict", "--model", model, "--sequences", table, "--output", tmp_path / "o.tsv")
    assert result.status == 1
    assert "--model must have a classification head" in result.err
