import gzip
import importlib
import json
import resource
import sys

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dnachunk import DNATokenizer
from dnachunk.training import Candidate
from tests.training.finetuning import rich_in, save_bert, save_small

pytestmark = pytest.mark.usefixtures("quick_collections")

QUICK = ["--max-steps", 2, "--per-device-train-batch-size", 4, "--use-cpu"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("pretrained"))


def write_table(path, *rows, header="sequence,label"):
    text = "\n".join([header, *rows]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def toy_rows(count, seed):
    rows = [f"{sequence},weak" for sequence in rich_in("AT", count, seed)]
    return rows + [f"{sequence},strong" for sequence in rich_in("CG", count, seed + 1)]


@pytest.fixture
def train(tmp_path):
    return write_table(tmp_path / "train.csv", *toy_rows(20, 1))


@pytest.fixture
def test_file(tmp_path):
    return write_table(tmp_path / "test.csv.gz", *toy_rows(10, 5))


def refused(result, status=1):
    """The one line of a refusal."""
    assert result.status == status
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("dnachunk finetune: ")
    return lines[0]


def test_it_trains_saves_and_tells(run, pretrained, train, test_file, tmp_path):
    words = ["--model", pretrained, "--train", train, "--test", test_file, "--output-dir", tmp_path / "run"]
    options = ["--learning-rate", 1e-7, "--learning-rate", 3e-3, "--lora-rank", 2, "--seeds", 2]
    result = run("finetune", *words, *options, *QUICK, "--seed", 5)
    assert result.status == 0, result.err
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").config.num_labels == 2
    assert isinstance(AutoTokenizer.from_pretrained(tmp_path / "run"), DNATokenizer)

    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results) == {"command", "versions", "metrics"}
    metrics = results["metrics"]
    scores = {"loss", "accuracy", "f1", "mcc", "auroc", "auprc"}
    for split in ("eval", "test"):
        assert {
            name
            for name in metrics
            if name.startswith(f"{split}_") and not name.endswith(("_std", "sequences"))
        } == {f"{split}_{name}" for name in scores}
    assert (metrics["problem"], metrics["classes"]) == ("single-label", ["strong", "weak"])
    assert [metrics[f"{split}_sequences"] for split in ("train", "eval", "test")] == [36, 4, 20]
    assert metrics["method"] == "lora"
    assert metrics["chosen_by"] == "eval_mcc"
    assert [entry["seed"] for entry in metrics["repeats"]] == [5, 6]
    each = [entry["test_accuracy"] for entry in metrics["repeats"]]
    assert metrics["test_accuracy"] == pytest.approx(sum(each) / 2)
    assert [entry["learning_rate"] for entry in metrics["search"]] == [1e-7, 3e-3]
    assert not [name for entry in metrics["search"] for name in entry if name.startswith("test_")]

    assert "Problem    single-label: strong, weak" in result.out
    assert "Sequences  train 36, validation 4, test 20" in result.out
    assert "Run 1 of 3: learning rate 1e-07, 10 epochs, rank 2, 2 steps at most, seed 5" in result.out
    assert f"{metrics['trained_parameters']:,} parameters of " in result.out
    assert "searched, on the validation set" in result.out
    row = next(line for line in result.out.splitlines() if line.startswith("accuracy "))
    assert row.split() == [
        "accuracy",
        *(
            word
            for split in ("eval", "test")
            for word in (
                f"{metrics[f'{split}_accuracy']:.4f}",
                "±",
                f"{metrics[f'{split}_accuracy_std']:.4f}",
            )
        ),
    ]


def test_a_run_is_resumed_and_never_written_over(run, pretrained, train, tmp_path):
    words = ["finetune", "--model", pretrained, "--train", train, "--output-dir", tmp_path / "run", *QUICK]
    assert run(*words).status == 0
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert "holds runs of a fine-tuning: resume it" in refused(run(*words))
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    again = run(*words, "--resume-from-checkpoint", "last", "--seeds", 2)
    assert again.status == 0, again.err
    assert "2 seeds" in again.out
    assert "Run 2 of 2" in again.out
    assert "seed 42" not in again.out
    after = (tmp_path / "run" / "model.safetensors").read_bytes()
    refusal = refused(run(*words, "--resume-from-checkpoint", "last", "--weight-decay", 0.5))
    assert "holds runs with other arguments" in refusal
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == after


def test_fasta_files_of_classes(run, pretrained, tmp_path):
    for name, letters in (("weak", "AT"), ("strong", "CG")):
        records = [f">{index}\n{sequence}\n" for index, sequence in enumerate(rich_in(letters, 10, 3))]
        (tmp_path / f"{name}.fa").write_text("".join(records))
    words = [word for name in ("weak", "strong") for word in ("--train", f"{name}={tmp_path}/{name}.fa")]
    result = run(
        "finetune", "--model", pretrained, *words, "--output-dir", tmp_path / "run", *QUICK,
        "--method", "probe", "--valid-share", 0.3, "--reverse-complement", "average",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert "Sequences  train 14, validation 6" in result.out
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert metrics["classes"] == ["strong", "weak"]
    assert metrics["test_sequences"] == 0
    assert not [name for name in metrics if name.startswith("test_") and name != "test_sequences"]


def test_a_folder_of_splits(run, pretrained, tmp_path):
    for split in ("train", "test"):
        for name, letters in (("negative", "AT"), ("positive", "CG")):
            folder = tmp_path / "set" / split / name
            folder.mkdir(parents=True)
            for index, sequence in enumerate(rich_in(letters, 6, 3)):
                (folder / f"{index}.txt").write_text(sequence)
    words = ["finetune", "--model", pretrained, "--data", tmp_path / "set", "--output-dir", tmp_path / "run"]
    result = run(*words, *QUICK)
    assert result.status == 0, result.err
    assert "Sequences  train 10, validation 2, test 12" in result.out
    assert run(*words, "--train", tmp_path).status == 2


def test_columns_and_problems(run, pretrained, tmp_path):
    rows = [f"{sequence},{index % 2},{index / 2}" for index, sequence in enumerate(rich_in("AT", 12, 1))]
    path = write_table(tmp_path / "t.csv", *rows, header="seq,a,b")
    words = ["finetune", "--model", pretrained, "--train", path, "--sequence-column", "seq", *QUICK]
    words += ["--valid-share", 0.3]
    result = run(*words, "--label-column", "a", "--label-column", "b", "--output-dir", tmp_path / "two")
    assert result.status == 0, result.err
    assert "Problem    regression: a, b" in result.out
    assert "spearman" in result.out
    result = run(*words, "--label-column", "a", "--problem", "regression", "--output-dir", tmp_path / "one")
    assert result.status == 0, result.err
    assert "Problem    regression: a\n" in result.out


def captured(run, monkeypatch, *words):
    """What a command line asks for, without doing it."""
    module = importlib.import_module("dnachunk.training.finetune")
    calls = []

    def run_search(model, task, args, **options):
        calls.append((args, options))
        raise SystemExit(0)

    monkeypatch.setattr(module, "run_search", run_search)
    result = run("finetune", *words)
    assert result.status == 0, result.err
    return calls[0]


def test_defaults_are_the_methods_and_the_papers(run, monkeypatch, pretrained, train, tmp_path):
    words = ["--model", pretrained, "--train", train, "--output-dir", tmp_path / "run"]
    args, options = captured(run, monkeypatch, *words)
    assert (options["method"], options["lora"]) == ("full", None)
    assert options["candidates"] == [Candidate(5e-4, 10)]
    assert args.per_device_train_batch_size == 32
    assert (args.weight_decay, args.warmup_steps) == (0.01, 0.1)
    assert "adamw" in args.optim
    _, options = captured(
        run, monkeypatch, *words, "--lora-rank", 4, "--lora-alpha", 12, "--lora-target", "qkv"
    )
    assert options["candidates"] == [Candidate(2e-3, 10, 4)]
    assert (options["lora"].alpha, options["lora"].target_modules) == (12, ["qkv"])
    _, options = captured(run, monkeypatch, *words, "--method", "probe", "--num-train-epochs", 3)
    assert options["candidates"] == [Candidate(1e-2, 3)]
    _, options = captured(run, monkeypatch, *words, "--method", "lora", "--learning_rate", "7e-4")
    assert options["candidates"] == [Candidate(7e-4, 10, 8)]
    _, options = captured(run, monkeypatch, *words, "--paper-grid", "--method", "lora")
    assert len(set(options["candidates"])) == 300
    assert {candidate.weight_decay for candidate in options["candidates"]} == {0, 0.01}
    assert {candidate.lora_alpha for candidate in options["candidates"]} == {8, 16, 24, 48, 96}
    assert {candidate.learning_rate for candidate in options["candidates"]} == {1e-5, 5e-5, 1e-4}
    assert {candidate.lora_rank for candidate in options["candidates"]} == {4, 8, 16, 24, 48}
    assert {candidate.num_train_epochs for candidate in options["candidates"]} == {5, 10}
    _, options = captured(
        run, monkeypatch, *words, "--paper-grid", "--num-train-epochs", 2, "--metric-for-best-model", "f1"
    )
    rates = (1e-5, 5e-5, 1e-4)
    assert options["candidates"] == [Candidate(rate, 2, None, decay) for decay in (0, 0.01) for rate in rates]
    assert options["metric"] == "f1"
    _, options = captured(run, monkeypatch, *words, "--metric", "auprc")
    assert options["metric"] == "auprc"
    # What is given is not searched over, and what is the same for all is no candidate's own.
    for flag in ("--weight-decay", "--weight_decay"):
        more = [flag, 0.3, "--lora-alpha", 12, "--method", "lora", "--paper-grid"]
        args, options = captured(run, monkeypatch, *words, *more)
        assert (args.weight_decay, options["lora"].alpha) == (0.3, 12)
        assert {(each.weight_decay, each.lora_alpha) for each in options["candidates"]} == {(None, None)}
    more = [
        "--weight-decay",
        0,
        "--weight-decay",
        0.1,
        "--lora-alpha",
        4,
        "--lora-alpha",
        6,
        "--lora-rank",
        2,
    ]
    _, options = captured(run, monkeypatch, *words, *more)
    assert [(each.weight_decay, each.lora_alpha) for each in options["candidates"]] == [
        (0, 4),
        (0.1, 4),
        (0, 6),
        (0.1, 6),
    ]


@pytest.mark.parametrize(
    ("rows", "header", "test_rows", "said"),
    [
        (["ACGT,1"], "seq,class", [], "train.csv must have a column 'sequence'; its columns: seq, class"),
        (["ACGT,1", ",0"], "sequence,label", [], "train.csv, line 3: the sequence is empty"),
        (["ACGT,1", "AC-T,0"], "sequence,label", [], "train.csv, line 3: encode_dna: "),
        (["ACGT,1", "ACT,1"], "sequence,label", [], "the training set must have two classes at least, got 1"),
        (["ACGT,1", "ACT,1", "GG,0"], "sequence,label", [], "class '0' has one sequence"),
        (
            ["AC,0", "AT,0", "GG,1", "GC,1"],
            "sequence,label",
            ["ACC,1", "AT,2"],
            "test.csv, line 3: label '2' is not among",
        ),
    ],
)
def test_bad_sets(run, pretrained, tmp_path, rows, header, test_rows, said):
    words = ["--train", write_table(tmp_path / "train.csv", *rows, header=header)]
    if test_rows:
        words += ["--test", write_table(tmp_path / "test.csv", *test_rows)]
    result = run("finetune", "--model", pretrained, *words, "--output-dir", tmp_path / "run", *QUICK)
    assert said in refused(result)
    assert not (tmp_path / "run").exists()


def test_rows_that_cannot_be_read_are_refused_or_left_out(run, pretrained, tmp_path):
    sequence = rich_in("AT", 1, 9)[0]
    bad = [f"{sequence},NA", f"{sequence},", "NA,weak", f"{sequence[:9]}!,weak", f"{sequence},[weak]"]
    bad += [f"{sequence},weak,1", f"{sequence},none", f"{sequence},None"]
    train = write_table(tmp_path / "train.csv", *toy_rows(10, 1), *bad)
    test = write_table(tmp_path / "test.csv", *toy_rows(5, 5), f"{sequence},other")
    words = [
        "--model",
        pretrained,
        "--train",
        train,
        "--test",
        test,
        "--output-dir",
        tmp_path / "run",
        *QUICK,
    ]
    for place in range(len(bad)):
        one = write_table(tmp_path / "one.csv", *toy_rows(10, 1), bad[place])
        refusal = refused(run("finetune", *words, "--train", one))
        assert f"{train}, line" in refusal
        alone = ["--model", pretrained, "--train", one, "--output-dir", tmp_path / "run", *QUICK]
        refusal = refused(run("finetune", *alone))
        assert f"{one}, line 22: " in refusal
        assert "(--on-error skip leaves such rows out)" in refusal
    assert not (tmp_path / "run").exists()
    result = run("finetune", *words, "--on-error", "skip")
    assert result.status == 0, result.err
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert metrics["classes"] == ["strong", "weak"]
    assert [metrics[f"{split}_sequences"] for split in ("train", "eval", "test")] == [18, 2, 10]
    assert {split: each["count"] for split, each in metrics["skipped"].items()} == {"train": 8, "test": 1}
    assert "Skipped    train: 8 rows" in result.out
    assert (
        f"{test}, line 12: label 'other' is not among those of the training set: strong, weak" in result.out
    )
    assert metrics["skipped"]["test"]["rows"][0] in result.out
    card = " ".join((tmp_path / "run" / "README.md").read_text().split())
    assert "9 rows that could not be read were left out." in card


def test_an_empty_class(run, pretrained, tmp_path):
    (tmp_path / "weak.fa").write_text(">a\nACGT\n")
    (tmp_path / "strong.fa").write_text("")
    words = [word for name in ("weak", "strong") for word in ("--train", f"{name}={tmp_path}/{name}.fa")]
    result = run("finetune", "--model", pretrained, *words, "--output-dir", tmp_path / "run")
    assert "strong.fa holds no sequence" in refused(result)


def test_a_sequence_longer_than_the_model_takes(run, train, tmp_path):
    long = write_table(tmp_path / "long.csv", *toy_rows(3, 1), f"{'ACG' * 30},weak")
    words = ["finetune", "--model", save_bert(tmp_path / "bert"), "--train", train, "--test", long]
    words += ["--output-dir", tmp_path / "run", *QUICK]
    refusal = refused(run(*words))
    assert "long.csv, line 8: the sequence has 32 tokens, the model takes 24; 1 of 7 sequences" in refusal
    assert "--truncate" in refusal
    assert not (tmp_path / "run").exists()
    result = run(*words, "--truncate")
    assert result.status == 0, result.err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--method", "full", "--lora-rank", "4"], 2, "need --method lora, got full"),
        (["--lora-rank", "0"], 1, "lora_rank must be finite and above 0, got 0"),
        (["--method", "all"], 2, "all"),
        (["--learning-rate", "much"], 2, "--learning-rate"),
        (["--learning-rate", "0"], 1, "learning_rate must be finite and above 0, got 0"),
        (["--num-train-epochs", "inf"], 1, "num_train_epochs must be finite and above 0, got inf"),
        (["--max-stepz", "3"], 2, "--max-stepz"),
        (["--seeds", "0"], 2, "--seeds"),
        (["--valid-share", "2"], 1, "valid_share must be between 0 and 1, got 2.0"),
        (["--resume-from-checkpoint", "runs"], 2, "--resume-from-checkpoint must be last, got runs"),
        (["--metric-for-best-model", "r2"], 1, "--metric must be one of accuracy, f1, mcc"),
        (["--metric", "r2"], 1, "auprc, loss where labels are single-label, got r2"),
        (
            ["--metric", "f1", "--metric-for-best-model", "f1"],
            2,
            "--metric and --metric-for-best-model are",
        ),
        (["--tile-bp", "24", "--truncate"], 2, "--tile-bp reads what --truncate cuts off: give one of them"),
        (["--tile-bp", "1"], 2, "--tile-bp"),
        (["--folds", "1"], 2, "--folds"),
        (["--folds", "30"], 1, "--folds must be 20 at most, as class 'weak' has so many, got 30"),
        (
            ["--method", "ridge"],
            2,
            "--max-steps is of trainings, and --method ridge trains nothing: leave it",
        ),
        (["--method", "ridge", "--weight-decay", "0"], 2, "--weight-decay is of trainings"),
        (["--method", "ridge", "--lora-rank", "4"], 2, "need --method lora, got ridge"),
        (["--lora-target", "query", "--method", "lora"], 1, "target_modules must name"),
        (["--problem", "regression"], 1, "must hold a finite number, got 'weak'"),
    ],
)
def test_wrong_command_lines(run, pretrained, train, tmp_path, words, status, said):
    result = run(
        "finetune", "--model", pretrained, "--train", train, "--output-dir", tmp_path / "run", *QUICK, *words
    )
    assert result.status == status
    assert said in result.err.strip().splitlines()[-1]
    assert "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


def test_what_is_needed(run, monkeypatch, pretrained, train, tmp_path):
    result = run("finetune", "--model", pretrained, "--output-dir", tmp_path / "run")
    assert result.status == 2
    assert "give --train, or --data" in result.err
    words = ["finetune", "--train", train, "--output-dir", tmp_path / "run"]
    assert "nowhere" in refused(run(*words, "--model", tmp_path / "nowhere"))
    words = ["finetune", "--model", pretrained, "--output-dir", tmp_path / "run"]
    assert "must be a folder or owner/name" in refused(run(*words, "--data", tmp_path / "nowhere"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    refusal = refused(run(*words, "--data", "owner/name"))
    assert refusal.endswith("sets of the Hugging Face hub need datasets: pip install datasets")


def test_a_full_disk_is_told_and_leaves_nothing_half(run, pretrained, train, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        result = run(
            "finetune", "--model", pretrained, "--train", train, "--output-dir", tmp_path / "run", *QUICK
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result.status == 1
    line = result.err.strip().splitlines()[-1]
    assert line.startswith("dnachunk finetune: checkpoint-2 could not be saved in ")
    left = [
        str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()
    ]
    assert left == ["runs/settings.json"]
    assert (
        run(
            "finetune", "--model", pretrained, "--train", train, "--output-dir", tmp_path / "run", *QUICK
        ).status
        == 0
    )


def test_folds_and_ridge_are_told_and_predicted_with(run, pretrained, train, tmp_path):
    words = ["--model", pretrained, "--train", train, "--output-dir", tmp_path / "run", "--use-cpu"]
    result = run("finetune", *words, "--method", "ridge", "--folds", 4, "--metric", "auroc", "--tile-bp", 24)
    assert result.status == 0, result.err
    assert "Run 1 of 13: regularization 0.001, seed 42, fold 1 of 4" in result.out
    assert "Run 13 of 13: regularization " in result.out
    table = result.out.partition("\n4 folds")[2]
    assert "±" in next(line for line in table.splitlines() if line.startswith("auroc"))
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert (metrics["folds"], metrics["chosen_by"]) == (4, "eval_auroc")
    assert [entry["fold"] for entry in metrics["repeats"]] == [1, 2, 3, 4]
    # Once more: what there is is taken over.
    again = run("finetune", *words, "--method", "ridge", "--folds", 4, "--metric", "auroc", "--tile-bp", 24,
                "--resume-from-checkpoint", "last")  # fmt: skip
    assert again.status == 0, again.err
    assert "Run 1 of" not in again.out
    asking = ["--model", tmp_path / "run", "--sequences", train, "--output", tmp_path / "predicted.tsv"]
    assert run("predict", *asking, "--keep-column", "label").status == 0
    rows = [line.split("\t") for line in (tmp_path / "predicted.tsv").read_text().splitlines()[1:]]
    assert sum(row[1] == row[2] for row in rows) > 0.8 * len(rows)
