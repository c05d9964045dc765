"""Pairs of alleles, and the tissues that they are seen in: read, learned, predicted, and their floor."""

import csv
import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import dnachunk
from dnachunk.alphabet import reverse_complement
from dnachunk.data import Problem, Task, read_labelled, read_splits
from dnachunk.data.examples import ExampleCollator, ExampleDataset
from dnachunk.data.labelled import join_sets
from dnachunk.data.tiles import alternate_tiles, own_tiles
from dnachunk.errors import ArgumentError, UsageError
from dnachunk.evaluation.kmer_floor import LINEAR, NAIVE_BAYES, fit_floor, kmer_counts
from dnachunk.evaluation.kmer_floor import _features as floor_features
from dnachunk.training.adaptation import load_with_head
from tests.training.finetuning import random_sequences, save_bert, save_small

pytestmark = pytest.mark.usefixtures("quick_collections")

KINDS = ["mergedna", "dnachunker", "mxdna"]
COLUMNS = ("ref", "alt")
TISSUES = ("blood", "liver", "skin")


def pairs(count, seed, length_bp=30):
    """Sequences, and the same with their middle base exchanged, or two bases more."""
    references = random_sequences(count, length_bp, seed)
    middle = length_bp // 2
    return [
        (
            text,
            text[:middle]
            + ("ACGT".replace(text[middle], ""))[row % 3]
            + "GG" * (row % 2)
            + text[middle + 1 :],
        )
        for row, text in enumerate(references)
    ]


def write_pairs(path, alleles, labels, tissues=None):
    header = ["ref", "alt", *([] if tissues is None else ["tissue"]), "label"]
    lines = [",".join(header)]
    for row, ((reference, alternate), label) in enumerate(zip(alleles, labels, strict=True)):
        lines.append(",".join([reference, alternate, *([] if tissues is None else [tissues[row]]), label]))
    path.write_text("\n".join(lines) + "\n")
    return path


def by_tissue(count):
    """Tissues in turn, and labels that follow from them: in liver alone a variant is causal."""
    tissues = [TISSUES[row % 3] for row in range(count)]
    return tissues, ["yes" if tissue == "liver" else "no" for tissue in tissues]


def read(path, **options):
    return read_labelled(path, sequence_column=COLUMNS, tissue_column="tissue", **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A set of pairs with tissues, in three splits."""
    folder = tmp_path_factory.mktemp("pairs")
    for split, count, seed in (("train", 48, 1), ("dev", 12, 2), ("test", 15, 3)):
        tissues, labels = by_tissue(count)
        write_pairs(folder / f"{split}.csv", pairs(count, seed), labels, tissues)
    return folder


@pytest.fixture(scope="module")
def task(folder):
    return Task.of(read_splits(folder, sequence_column=COLUMNS, tissue_column="tissue"))


def test_pairs_and_tissues_are_read(folder, task):
    found = read(folder / "test.csv")
    assert (found.sequences[4], found.alternates[4]) == pairs(15, 3)[4]
    assert found.tissues == by_tissue(15)[0]
    assert (task.is_of_pairs, task.tissues, task.names) == (True, TISSUES, ("no", "yes"))
    assert task.train.tissues == [row % 3 for row in range(48)]
    assert task.train.alleles == pairs(48, 1)
    taken = task.train.take([5, 2])
    assert (taken.alleles, taken.tissues) == ([pairs(48, 1)[5], pairs(48, 1)[2]], [2, 2])
    without = read_labelled(folder / "test.csv", sequence_column=COLUMNS)
    assert (without.alternates, without.tissues) == (found.alternates, None)
    assert Task.of({"train": without}, valid_share=0.3).tissues == ()
    both = join_sets([found, found])
    assert (both.alternates[15:], both.tissues[:15]) == (found.alternates, found.tissues)


def test_a_pair_in_several_tissues_stays_on_one_side(tmp_path):
    alleles = [pair for pair in pairs(20, 4) for _ in TISSUES]
    path = write_pairs(tmp_path / "t.csv", alleles, by_tissue(60)[1], by_tissue(60)[0])
    split = Task.of({"train": read(path)}, valid_share=0.25)
    assert not set(split.train.sequences) & set(split.valid.sequences)


def test_parquet_has_pairs_too(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = pairs(3, 1)
    table = pyarrow.table(
        {
            "ref": [a for a, _ in rows],
            "alt": [b for _, b in rows],
            "tissue": ["x", "y", None],
            "label": [0, 1, 1],
        }
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="row 3: the tissue in column 'tissue' is missing"):
        read(tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet", on_error="skip")
    assert list(zip(found.sequences, found.alternates, strict=True)) == rows[:2]
    assert found.tissues == ["x", "y"]
    assert found.labels == [("0",), ("1",)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ref,alt", "ref,alternate", "must have a column 'alt'; its columns: ref, alternate, tissue, label"),
        ("tissue,label", "organ,label", "must have a column 'tissue'"),
        (",liver,", ",,", "line 3: the tissue in column 'tissue' is missing, got ''"),
        (",liver,", ",NA,", "line 3: the tissue in column 'tissue' is missing, got 'NA'"),
    ],
)
def test_bad_tables_are_refused(folder, tmp_path, old, new, said):
    path = tmp_path / "bad.csv"
    path.write_text((folder / "test.csv").read_text().replace(old, new))
    with pytest.raises(ValueError, match=said):
        read(path)


@pytest.mark.parametrize("allele", [0, 1])
@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("", "the sequence is empty"),
        ("NA", "the sequence is missing, got 'NA'"),
        ("AC!T", "'!' at position 2"),
    ],
)
def test_both_alleles_are_looked_at(tmp_path, allele, cell, said):
    rows = [list(pair) for pair in pairs(3, 1)]
    rows[1][allele] = cell
    path = write_pairs(tmp_path / "bad.csv", rows, ["a", "b", "a"])
    with pytest.raises(ValueError, match=f"line 3.*{said}"):
        read_labelled(path, sequence_column=COLUMNS)
    found = read_labelled(path, sequence_column=COLUMNS, on_error="skip")
    assert (len(found), len(found.alternates), len(found.skipped)) == (2, 2, 1)


def test_columns_that_do_not_go_together(folder, tmp_path):
    path = folder / "test.csv"
    for columns in (("ref", "ref"), ("ref", "alt", "label"), ()):
        with pytest.raises(
            UsageError, match="sequence_column must be one, or two of the reference and the al"
        ):
            read_labelled(path, sequence_column=columns)
    with pytest.raises(UsageError, match="tissue_column is for pairs of alleles: give sequence_column twice"):
        read_labelled(path, sequence_column="ref", tissue_column="tissue")
    (tmp_path / "a.fa").write_text(">a|1\nACGT\n")
    with pytest.raises(ArgumentError, match="sequence_column twice is for tables of pairs"):
        read_labelled(tmp_path / "a.fa", sequence_column=COLUMNS)


def test_splits_must_be_alike(folder):
    full = read(folder / "train.csv")
    bare = read_labelled(folder / "test.csv", sequence_column=COLUMNS)
    single = read_labelled(folder / "test.csv", sequence_column="ref")
    with pytest.raises(ValueError, match="must have a column of tissues or none: train has, test has not"):
        Task.of({"train": full, "test": bare})
    with pytest.raises(ValueError, match="must have pairs of alleles or none: train has, test has not"):
        Task.of({"train": bare, "test": single})
    with pytest.raises(ValueError, match="join_sets: all sets must have a column of tissues or none"):
        join_sets([full, bare])
    with pytest.raises(ValueError, match="must have labels for the pair, got per-base labels"):
        Task.of({"train": bare}, Problem.per_base)


def test_a_tissue_that_is_new_in_the_test_set_is_refused_or_left_out(folder, tmp_path):
    path = tmp_path / "test.csv"
    path.write_text((folder / "test.csv").read_text().replace("skin", "brain"))
    splits = {"train": read(folder / "train.csv"), "test": read(path)}
    with pytest.raises(
        ValueError, match="line 4: tissue 'brain' is not among those of the training set: blood, liver, skin"
    ):
        Task.of(splits)
    left = Task.of(splits, on_error="skip")
    assert len(left.test) == 10
    assert len(left.skipped["test"]) == 5
    assert left.test.tissues == [0, 1] * 5


def save_pair_model(directory, task, kind):
    save_small(directory, kind)
    torch.manual_seed(2)
    load_with_head(directory, task).save_pretrained(directory)
    return directory


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_reads_the_difference_and_the_tissue(tmp_path, task, kind):
    save_pair_model(tmp_path, task, kind)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    collate = ExampleCollator(tokenizer, model, task.problem)
    dataset = ExampleDataset(task.train, both_strands=True)
    batch = collate([dataset[index] for index in range(6)])
    assert batch["input_ids"].shape[:2] == (6, 2)
    assert batch["tissue"].tolist() == [0, 1, 2, 0, 1, 2]
    assert set(batch["reverse"]) == {"input_ids", "attention_mask", "tissue"}
    reverse = batch.pop("reverse")

    def pooled(sequence):
        encoded = tokenizer([sequence], return_tensors="pt")
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        return model.features(model.model(**inputs))[0]

    with torch.no_grad():
        output = model(**batch)
        turned = model(**reverse)
        for row, (reference, alternate) in enumerate(task.train.alleles[:6]):
            one_hot = torch.eye(3)[row % 3]
            wanted = torch.cat([pooled(alternate) - pooled(reference), one_hot])
            torch.testing.assert_close(output.logits[row], model.classifier(wanted), rtol=1e-4, atol=1e-5)
            wanted = torch.cat(
                [pooled(reverse_complement(alternate)) - pooled(reverse_complement(reference)), one_hot]
            )
            torch.testing.assert_close(turned.logits[row], model.classifier(wanted), rtol=1e-4, atol=1e-5)
    wanted = torch.nn.functional.cross_entropy(output.logits, batch["labels"])
    torch.testing.assert_close(output.loss, wanted)


def test_a_dense_head_reads_pairs_too(tmp_path, task):
    save_small(tmp_path, "mxdna")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "classifier_head": "dense"}))
    model = load_with_head(tmp_path, task).eval()
    tissue = torch.tensor([0, 2])
    ids = AutoTokenizer.from_pretrained(tmp_path)(["ACGTACGT"] * 4, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        output = model(ids.unflatten(0, (2, 2)), tissue=tissue)
        # Both alleles are alike: the head reads the tissue alone.
        wanted = torch.cat([torch.zeros(2, config["hidden_size"]), torch.eye(3)[tissue]], dim=1)
        torch.testing.assert_close(output.logits, model.classifier(wanted), rtol=1e-4, atol=1e-6)


def test_what_a_model_of_pairs_refuses(tmp_path, task):
    save_pair_model(tmp_path, task, "mergedna")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    ids, tissue = torch.full((2, 2, 8), 5), torch.tensor([0, 1])
    for inputs, said in (
        ({"input_ids": ids[:, 0], "tissue": tissue}, r"input_ids must be \[B, 2, N\], .* got \[2, 8\]"),
        ({"input_ids": ids}, r"tissue must be \[2\], got none"),
        ({"input_ids": ids, "tissue": tissue[:1]}, r"tissue must be \[2\], got \[1\]"),
        ({"input_ids": ids, "tissue": tissue + 2}, r"tissue must be in \[0, 3\), got \[2, 3\]"),
        ({"inputs_embeds": torch.zeros(4, 8, 32), "tissue": tissue}, r"inputs_embeds must be \[B, 2, N, D\]"),
    ):
        with pytest.raises(ValueError, match=said):
            model(**inputs)
    config = model.config
    for fields, said in (
        ({"tissues": ["a", "a"]}, r"tissues must be different names, .* got \['a', 'a'\]"),
        ({"allele_pairs": False}, "none unless allele_pairs is True"),
        ({"allele_pairs": 1}, "allele_pairs must be a bool, got 1"),
    ):
        with pytest.raises(ValueError, match=said):
            type(config)(**{**config.to_diff_dict(), **fields, "model_type": config.model_type})
    with pytest.raises(ValueError, match="allele_pairs must be False: a pair has no bases of its own"):
        dnachunk.MergeDNAForTokenClassification(config)
    # What was trained on pairs can be trained on single sequences.
    single = Task.of({"train": read_labelled(write_single(tmp_path / "s.csv"))}, valid_share=0.3)
    again = load_with_head(tmp_path, single)
    assert (again.config.allele_pairs, again.config.tissues) == (False, [])
    with pytest.raises(ValueError, match="tissue must be left out, as config.tissues is empty"):
        again(input_ids=ids[:, 0], tissue=tissue)


def write_single(path):
    rows = [f"{text},{row % 2}" for row, text in enumerate(random_sequences(10, 20, 8))]
    path.write_text("\n".join(["sequence,label", *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("kind", "method"),
    [("mergedna", "probe"), ("dnachunker", "lora"), ("mxdna", "full"), ("mergedna", "lora")],
)
def test_every_method_learns_what_the_tissue_says(run, folder, tmp_path, kind, method):
    model, output = save_small(tmp_path / "model", kind), tmp_path / "run"
    words = ["--model", model, "--data", folder, "--output-dir", output, "--method", method]
    words += ["--sequence-column", "ref", "--sequence-column", "alt", "--tissue-column", "tissue"]
    learning = ["--learning-rate", 0.05, "--num-train-epochs", 15, "--patience", 15]
    result = run("finetune", *words, *learning, "--per-device-train-batch-size", 8, "--use-cpu")
    assert result.status == 0, result.err
    assert "Alleles    train 48, validation 12, test 15" in result.out
    assert "Tissues    blood, liver, skin" in result.out
    metrics = json.loads((output / "results.json").read_text())["metrics"]
    assert metrics["test_accuracy"] == 1
    assert metrics["tissues"] == list(TISSUES)
    config = json.loads((output / "config.json").read_text())
    assert (config["allele_pairs"], config["tissues"]) == (True, list(TISSUES))
    found = [each.label for each in dnachunk.predict(output, [(*pairs(1, 9)[0], name) for name in TISSUES])]
    assert found == ["no", "yes", "no"]


def test_the_difference_is_learned(tmp_path):
    """Whether the alternate allele has a stretch of A more, or the reference has it."""
    shorts = random_sequences(80, 24, 5, "CGT")
    longs = [text[:12] + "AAAA" + text[12:] for text in shorts]
    alleles = [
        (short, long) if row % 2 else (long, short)
        for row, (short, long) in enumerate(zip(shorts, longs, strict=True))
    ]
    labels = [("loss", "gain")[row % 2] for row in range(80)]
    train = write_pairs(tmp_path / "train.csv", alleles[:60], labels[:60])
    test = write_pairs(tmp_path / "test.csv", alleles[60:], labels[60:])
    found = dnachunk.finetune(
        save_small(tmp_path / "model"),
        tmp_path / "run",
        train=train,
        test=test,
        sequence_column=COLUMNS,
        method="probe",
        learning_rate=0.05,
        num_train_epochs=10,
        per_device_train_batch_size=8,
        use_cpu=True,
    )
    assert found.metrics["test_accuracy"] > 0.9


def test_other_models_are_refused_before_anything_is_trained(run, folder, tmp_path):
    bert = save_bert(tmp_path / "bert")
    columns = ["--sequence-column", "ref", "--sequence-column", "alt"]
    said = "pairs of alleles need a model of dnachunker, mergedna or mxdna, got bert"
    words = ["--model", bert, "--data", folder, "--output-dir", tmp_path / "run", "--use-cpu", *columns]
    assert said in run("finetune", *words).err
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "eqtl").symlink_to(folder)
    words = ["--model", bert, "--suite", tmp_path / "suite", "--output-dir", tmp_path / "all", *columns]
    assert said in run("evaluate", *words).err
    assert not (tmp_path / "all").exists()


def test_evaluate_compares_on_pairs_above_their_floor(run, folder, tmp_path):
    model = save_small(tmp_path / "model")
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "eqtl").symlink_to(folder)
    words = ["--model", model, "--suite", tmp_path / "suite", "--output-dir", tmp_path / "all", "--use-cpu"]
    words += ["--sequence-column", "ref", "--sequence-column", "alt", "--tissue-column", "tissue"]
    result = run("evaluate", *words, "--seeds", 1, "--max-steps", 2)
    assert result.status == 0, result.err
    metrics = json.loads((tmp_path / "all" / "results.json").read_text())["metrics"]
    assert metrics["tasks"]["eqtl"]["tissues"] == list(TISSUES)
    # The tissue is one of the floor's words, and says the label.
    assert metrics["floor"][LINEAR]["eqtl"]["test"]["mcc"] == 1
    assert (
        "the counts that the alternate one gains and loses" in (tmp_path / "all" / "results.md").read_text()
    )


def test_the_floor_reads_what_is_gained_and_lost(task):
    for row in (NAIVE_BAYES, LINEAR):
        features = floor_features(row, task.test, 3, 3).toarray()
        change = (kmer_counts(task.test.alternates, 3) - kmer_counts(task.test.sequences, 3)).toarray()
        assert np.array_equal(features[:, :64], np.where(change > 0, change, 0))
        assert np.array_equal(features[:, 64:128], np.where(change < 0, -change, 0))
        assert np.array_equal(features[:, 128:], np.eye(3)[task.test.tissues])
        assert features[:, :128].sum() > 0
        reached = fit_floor(row, task, "mcc")
        assert reached.k in (3, 4, 5, 6)
    assert reached.test["mcc"] == 1


@pytest.fixture(scope="module")
def model_of_pairs(tmp_path_factory, task):
    return save_pair_model(tmp_path_factory.mktemp("model"), task, "mergedna")


def test_predict_writes_what_the_model_says(run, folder, model_of_pairs, task, tmp_path):
    output = tmp_path / "out.tsv"
    words = ["--model", model_of_pairs, "--sequences", folder / "test.csv", "--output", output]
    columns = ["--sequence-column", "ref", "--sequence-column", "alt", "--tissue-column", "tissue"]
    result = run("predict", *words, *columns, "--keep-column", "label", "--batch-size", 4)
    assert result.status == 0, result.err
    rows = list(csv.DictReader(output.read_text().splitlines(), delimiter="\t"))
    assert len(rows) == 15
    model = AutoModelForSequenceClassification.from_pretrained(model_of_pairs).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_of_pairs)
    for index, (row, pair) in enumerate(zip(rows, task.test.alleles, strict=True)):
        encoded = tokenizer(list(pair), padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(
                encoded["input_ids"][None], encoded["attention_mask"][None], tissue=torch.tensor([index % 3])
            ).logits[0]
        assert (row["line"], row["label"]) == (str(index + 2), by_tissue(15)[1][index])
        assert float(row["probability_yes"]) == pytest.approx(float(logits.softmax(-1)[1]), rel=1e-3)
    lists = [(*pair, TISSUES[index % 3]) for index, pair in enumerate(task.test.alleles)]
    both = dnachunk.predict(model_of_pairs, lists, reverse_complement="average")
    turned = [(*map(reverse_complement, pair), tissue) for *pair, tissue in lists]
    other = dnachunk.predict(model_of_pairs, turned, reverse_complement="average")
    for one, another in zip(both, other, strict=True):
        torch.testing.assert_close(one.values, another.values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--model reads pairs of alleles: give a table and --sequence-column twice"),
        (["--sequence-column", "ref"], "--model reads pairs of alleles"),
        (
            ["--sequence-column", "ref", "--sequence-column", "alt"],
            "of blood, liver, skin: give --tissue-column",
        ),
    ],
)
def test_predict_asks_for_what_is_missing(run, folder, model_of_pairs, tmp_path, words, said):
    if not words:
        (tmp_path / "a.fa").write_text(">a\nACGT\n")
    sequences = folder / "test.csv" if words else tmp_path / "a.fa"
    result = run("predict", "--model", model_of_pairs, "--sequences", sequences, "--output", "-", *words)
    assert result.status == 1
    assert said in result.err


def test_predict_refuses_what_the_model_does_not_read(folder, model_of_pairs, tmp_path, task):
    columns = {"sequence_column": COLUMNS, "tissue_column": "tissue"}
    path = tmp_path / "new.csv"
    path.write_text((folder / "test.csv").read_text().replace("skin", "brain"))
    with pytest.raises(ValueError, match="line 4: tissue 'brain' is not among those of the training set"):
        list(dnachunk.predict(model_of_pairs, path, **columns))
    predictions = dnachunk.predict(model_of_pairs, path, **columns, on_error="skip")
    assert len(list(predictions)) == 10
    assert len(predictions.skipped) == 5
    with pytest.raises(
        ArgumentError, match="sequences must be texts, or tuples all of .*, got 2 and 3 parts"
    ):
        dnachunk.predict(model_of_pairs, [("A", "C"), ("A", "C", "skin")])
    with pytest.raises(ArgumentError, match="sequence_column is for a table"):
        dnachunk.predict(model_of_pairs, [("A", "C", "skin")], sequence_column=COLUMNS)
    (tmp_path / "plain").mkdir()
    rows = read_labelled(write_single(tmp_path / "s.csv"))
    save_pair_model(tmp_path / "plain", Task.of({"train": rows}, valid_share=0.3), "mergedna")
    with pytest.raises(ArgumentError, match="model reads single sequences, got pairs of alleles"):
        dnachunk.predict(tmp_path / "plain", [("A", "C")])
    (tmp_path / "bare").mkdir()
    bare = Task.of({"train": read_labelled(folder / "train.csv", sequence_column=COLUMNS)}, valid_share=0.3)
    save_pair_model(tmp_path / "bare", bare, "mergedna")
    with pytest.raises(ArgumentError, match="model reads no tissue, got tissue_column"):
        dnachunk.predict(tmp_path / "bare", folder / "test.csv", **columns)
    assert len(list(dnachunk.predict(tmp_path / "bare", [("ACGT", "ACGA")]))) == 1


def test_pairs_longer_than_a_window_are_read_in_tiles(run, folder, model_of_pairs, task, tmp_path):
    def margins(found):
        return torch.stack([each.values.log() for each in found]).diff(dim=1)[:, 0]

    lists = [(*pair, TISSUES[index % 3]) for index, pair in enumerate(task.test.alleles)]
    tiled = margins(dnachunk.predict(model_of_pairs, lists, tile_bp=20))
    expected = torch.zeros(len(lists))
    for row, (reference, alternate, tissue) in enumerate(lists):
        tiles = own_tiles(len(reference), 20)
        parts = [
            (reference[tile.start_bp : tile.end_bp], alternate[slice(*span)], tissue)
            for tile, span in zip(tiles, alternate_tiles(tiles, len(alternate)), strict=True)
        ]
        own = torch.tensor([tile.own_end_bp - tile.own_start_bp for tile in tiles]) / len(reference)
        assert len(tiles) == 2
        expected[row] = own @ margins(dnachunk.predict(model_of_pairs, parts))
    torch.testing.assert_close(tiled, expected, rtol=1e-4, atol=1e-5)
    assert (tiled - margins(dnachunk.predict(model_of_pairs, lists))).abs().max() > 1e-3
    with pytest.raises(ArgumentError, match=r"index 0: alleles that are read in tiles must differ by half"):
        list(dnachunk.predict(model_of_pairs, [("ACGT" * 10, "ACGT", "skin")], tile_bp=20))

    line = ["--sequence-column", "ref", "--sequence-column", "alt", "--tissue-column", "tissue"]
    line += ["--tile-bp", 20, "--max-steps", 2, "--use-cpu", "--output-dir", tmp_path / "run"]
    result = run("finetune", "--model", model_of_pairs, "--data", folder, *line)
    assert result.status == 0, result.err
    # The folder remembers its tiles.
    found = dnachunk.predict(tmp_path / "run", lists)
    again = dnachunk.predict(tmp_path / "run", lists, tile_bp=20)
    assert [each.label for each in found] == [each.label for each in again]
    torch.testing.assert_close(margins(found), margins(again))
