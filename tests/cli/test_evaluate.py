import json
import shutil

import pytest

from dnachunk.data.task import Examples
from dnachunk.evaluation.comparison import Score
from dnachunk.evaluation.kmer_floor import FLOORS, LINEAR, NAIVE_BAYES
from dnachunk.random import mix
from dnachunk.training import FineTuner, compare
from tests.cli.test_finetune import toy_rows, write_table
from tests.data.test_dnalongbench import CHROMOSOME, gene, write
from tests.training.finetuning import save_bert, save_small

pytestmark = pytest.mark.usefixtures("quick_collections")

QUICK = ["--max-steps", 2, "--per-device-train-batch-size", 4, "--use-cpu"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_small(folder / "merge")
    save_small(folder / "chunk", "dnachunker")
    metrics = {"eval_masked_accuracy": 0.315, "eval_masked_nats": 1.36, "eval_loss": 2.0}
    metrics |= {"eval_compression_0": 2.0, "eval_compression_1": 1.5}
    (folder / "chunk" / "results.json").write_text(json.dumps({"metrics": metrics}))
    return folder


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    for index, task in enumerate(("gue/tf_0", "genomic_benchmarks/worm")):
        (folder / task).mkdir(parents=True)
        for split, count in (("train", 20), ("test", 10)):
            write_table(folder / task / f"{split}.csv", *toy_rows(count, 10 * index + count))
    return folder


@pytest.fixture
def trainings(monkeypatch):
    """Counts trainings; ``trainings.stop_at`` is the one that is interrupted."""

    class Trainings(list):
        stop_at = None

    runs, train = Trainings(), FineTuner.train

    def counted(self, *args, **kwargs):
        if len(runs) == runs.stop_at:
            raise KeyboardInterrupt
        runs.append((self.args.output_dir, self.args.seed))
        return train(self, *args, **kwargs)

    monkeypatch.setattr(FineTuner, "train", counted)
    return runs


def words(models, suite, output_dir, *names):
    named = [word for name in names or ("merge", "chunk") for word in ("--model", models / name)]
    return ["evaluate", "--suite", suite, *named, "--output-dir", output_dir, *QUICK]


def refused(result, status=1):
    """The last line of a refusal."""
    assert result.status == status
    assert "Traceback" not in result.err
    return result.err.strip().splitlines()[-1]


def read(output_dir):
    results = json.loads((output_dir / "results.json").read_text())
    assert set(results) == {"command", "versions", "metrics"}
    return results["metrics"]


def test_a_part_is_drawn_at_random_and_keeps_its_order():
    names = [str(index) for index in range(50)]
    drawn = Examples(names, list(range(50)), names).draw(10, seed=1)
    assert drawn.targets == sorted(drawn.targets) == [int(name) for name in drawn.sequences]
    assert len(set(drawn.targets)) == 10
    assert drawn.targets != list(range(10))
    assert drawn.targets == Examples(names, list(range(50)), names).draw(10, seed=1).targets
    assert drawn.targets != Examples(names, list(range(50)), names).draw(10, seed=2).targets
    assert drawn.draw(11, seed=1) == drawn


def test_models_tasks_and_seeds_make_one_table(run, models, suite, tmp_path, trainings):
    result = run(*words(models, suite, tmp_path / "all"), "--seeds", 2, "--max-train", 12, "--seed", 3)
    assert result.status == 0, result.err
    assert len(trainings) == 8
    metrics = read(tmp_path / "all")
    assert (metrics["method"], metrics["seeds"], metrics["max_train"]) == ("full", 2, 12)
    tasks = {"genomic_benchmarks/worm": "accuracy", "gue/tf_0": "mcc"}
    assert {name: task["metric"] for name, task in metrics["tasks"].items()} == tasks
    sizes = {"train_sequences": 12, "eval_sequences": 4, "test_sequences": 20}
    assert sizes.items() <= metrics["tasks"]["gue/tf_0"].items()
    lines = (tmp_path / "all" / "results.md").read_text().splitlines()
    # More rows than tasks: tasks are columns.
    cells = {}
    for line in lines[2 : 4 + 2 + len(FLOORS)]:
        name, *values = (cell.strip(" *") for cell in line.split("|")[1:-1])
        cells[name] = values
    titles = {"genomic_benchmarks/worm": "accuracy", "gue/tf_0": "MCC"}
    assert cells[""] == [*(f"{task} ({title})" for task, title in titles.items()), "average", "average rank"]
    for column, (task, metric) in enumerate(tasks.items()):
        for row in FLOORS:
            assert cells[row][column] == str(Score.of([metrics["floor"][row][task]["test"][metric]]))
        for model in ("merge", "chunk"):
            reached = metrics["scores"][model][task]
            values = [repeat["test"][metric] for repeat in reached["repeats"]]
            assert [repeat["seed"] for repeat in reached["repeats"]] == [3, 4]
            assert reached[f"test_{metric}"] == pytest.approx(sum(values) / 2)
            assert cells[model][column] == str(Score.of(values))
    for model in ("merge", "chunk"):
        means = [metrics["scores"][model][task][f"test_{metric}"] for task, metric in tasks.items()]
        assert metrics["average"][model] == pytest.approx(sum(means) / 2)
    assert list(metrics["average_rank"]) == list(metrics["average"]) == ["merge", "chunk", *FLOORS]
    assert sum(metrics["average_rank"].values()) == 10
    # The second of the two tables that have a row for it.
    *_, chunk = (line for line in lines if line.startswith("| chunk "))
    parameters = metrics["models"]["chunk"]["backbone_parameters"]
    assert [cell.strip() for cell in chunk.split("|")[2:-1]] == [
        f"{parameters:,}",
        "31.50%",
        "1.3600",
        "3.00",
    ]
    assert (
        "means of 2 seeds ± sample deviation; fine-tuning: full; 12 training sequences at most."
        in " ".join(lines)
    )
    assert f"{metrics['date']}; dnachunk " in lines[-1]
    assert lines[2] in result.out
    assert "4/4  chunk, gue/tf_0: MCC " in result.out
    # Of the fine-tuned models only the numbers stay.
    assert not list((tmp_path / "all" / "cells").rglob("*.safetensors"))


def test_an_interrupted_suite_loses_nothing(run, models, suite, tmp_path, trainings):
    line = [*words(models, suite, tmp_path / "part"), "--tasks", "gue", "--seeds", 2]
    trainings.stop_at = 3
    result = run(*line)
    assert result.status != 0
    assert "Interrupted with 1 of 2 done; the same command goes on with the rest." in result.out
    metrics = read(tmp_path / "part")
    assert list(metrics["scores"]["merge"]) == ["gue/tf_0"]
    assert metrics["scores"]["chunk"] == {}
    assert "—" in (tmp_path / "part" / "results.md").read_text()
    first = list(trainings)

    trainings.stop_at = None
    result = run(*line)
    assert result.status == 0, result.err
    assert len(trainings) == 4
    assert set(trainings) > set(first)
    assert trainings[3][0].endswith("seed43")
    # To the same numbers as in one go.
    whole = run(*words(models, suite, tmp_path / "whole"), "--tasks", "gue", "--seeds", 2)
    assert whole.status == 0, whole.err
    assert read(tmp_path / "whole")["scores"] == read(tmp_path / "part")["scores"]

    # Once more: nothing is left to do. Seeds are added to what there is.
    trainings.clear()
    assert run(*line).status == 0
    assert not trainings
    assert run(*line[:-1], 3).status == 0
    assert [seed for _, seed in trainings] == [44, 44]
    assert run(*line, "--weight-decay", 0.3).status == 1


def test_a_floor_is_computed_once_and_can_be_left_out(run, models, suite, tmp_path, trainings, monkeypatch):
    line = [*words(models, suite, tmp_path / "run", "merge"), "--tasks", "gue/tf_0", "--seeds", 1]
    without = run(*line, "--no-floor")
    assert without.status == 0, without.err
    table = (tmp_path / "run" / "results.md").read_text()
    assert read(tmp_path / "run")["floor"] == {}
    assert "k-mer" not in table
    result = run(*line)
    assert result.status == 0, result.err
    assert len(trainings) == 1
    floor = read(tmp_path / "run")["floor"]
    assert list(floor) == [NAIVE_BAYES, LINEAR]
    lengths = {row: tasks["gue/tf_0"]["k"] for row, tasks in floor.items()}
    assert f"k = {lengths[NAIVE_BAYES]}" in result.out
    table = (tmp_path / "run" / "results.md").read_text()
    assert f"{NAIVE_BAYES}: {lengths[NAIVE_BAYES]} (gue/tf_0); {LINEAR}: {lengths[LINEAR]} (gue" in table

    fitted = []
    fit = compare.fit_floor
    monkeypatch.setattr(compare, "fit_floor", lambda *arguments: fitted.append(arguments) or fit(*arguments))
    assert run(*line).status == 0
    assert not fitted
    assert read(tmp_path / "run")["floor"] == floor
    # Of another model the same data is the same floor; of other data it is another.
    chunk = [*words(models, suite, tmp_path / "run", "chunk"), "--tasks", "gue/tf_0", "--seeds", 1]
    assert run(*chunk, "--max-train", 8).status == 0
    assert [arguments[0] for arguments in fitted] == [NAIVE_BAYES, LINEAR]
    taken = [*line[:3], "--model", f"{LINEAR}={models / 'merge'}", *line[5:]]
    assert "a model is called k-mer linear, as a row of the --floor" in refused(run(*taken), 2)


def test_changed_settings_are_refused(run, models, suite, tmp_path, trainings):
    shutil.copytree(models / "merge", tmp_path / "merge")
    line = [*words(tmp_path, suite, tmp_path / "run", "merge"), "--tasks", "gue/tf_0", "--seeds", 1]
    assert run(*line).status == 0
    before = (tmp_path / "run" / "results.json").read_bytes()
    for change, said in (
        (["--weight-decay", 0.5], "holds runs with other arguments: choose another folder"),
        (["--learning-rate", 0.5], "holds runs with other candidates"),
        (["--method", "probe", "--learning-rate", 5e-4], "holds runs with other method"),
        (["--max-train", 8], "holds runs with other data"),
    ):
        assert said in refused(run(*line, *change))
    assert "cells/merge holds runs of another model called merge" in refused(
        run(*line[:3], "--model", f"merge={models / 'chunk'}", *line[5:])
    )
    assert (tmp_path / "run" / "results.json").read_bytes() == before
    assert len(trainings) == 1
    # Another name has its own runs.
    result = run(*line[:3], "--model", f"old={tmp_path / 'merge'}", *line[3:])
    assert result.status == 0, result.err
    assert list(read(tmp_path / "run")["scores"]) == ["old", "merge"]
    assert len(trainings) == 2


def test_columns_and_problems_of_all_tasks(run, models, tmp_path, trainings):
    folder = tmp_path / "suite" / "toy"
    folder.mkdir(parents=True)
    for split, count in (("train", 20), ("test", 10)):
        rows = [row.replace("weak", "0").replace("strong", "1") for row in toy_rows(count, count)]
        write_table(folder / f"{split}.csv", *rows, header="dna,degree")
    line = [*words(models, tmp_path / "suite", tmp_path / "run", "merge"), "--seeds", 1]
    line += ["--sequence-column", "dna", "--label-column", "degree", "--problem", "regression"]
    result = run(*line)
    assert result.status == 0, result.err
    task = read(tmp_path / "run")["tasks"]["toy"]
    assert (task["problem"], task["metric"]) == ("regression", "spearman")
    # Naive Bayes predicts no numbers.
    assert list(read(tmp_path / "run")["floor"]) == [LINEAR]


def test_what_cannot_have_a_floor_has_none(run, models, tmp_path, trainings):
    for task, labels in (("classes", ("weak", "strong")), ("numbers", ("0.5", "1.25"))):
        (tmp_path / "tasks" / task).mkdir(parents=True)
        for split, count in (("train", 20), ("test", 10)):
            rows = [
                row.replace("weak", labels[0]).replace("strong", labels[1]) for row in toy_rows(count, count)
            ]
            write_table(tmp_path / "tasks" / task / f"{split}.csv", *rows)
    (tmp_path / "tasks" / "bases").mkdir()
    for split in ("train", "test"):
        sequences = [row.split(",")[0] for row in toy_rows(10, 1)]
        rows = [f"{sequence},{('01' * 100)[: len(sequence)]}" for sequence in sequences]
        write_table(tmp_path / "tasks" / "bases" / f"{split}.csv", *rows)
    result = run(*words(models, tmp_path / "tasks", tmp_path / "run", "merge"), "--seeds", 1)
    assert result.status == 0, result.err
    metrics = read(tmp_path / "run")
    assert {row: list(tasks) for row, tasks in metrics["floor"].items()} == {
        NAIVE_BAYES: ["classes"],
        LINEAR: ["classes", "numbers"],
    }
    assert list(metrics["average"]) == list(metrics["average_rank"]) == ["merge"]
    lines = (tmp_path / "run" / "results.md").read_text().splitlines()
    bases = next(line for line in lines if line.startswith("| bases "))
    assert [cell.strip() for cell in bases.split("|")[3:-1]] == ["—", "—"]


def test_rows_that_cannot_be_read_are_left_out_of_all_tasks(run, models, tmp_path, trainings):
    for task, bad in (("a", ["ACGT,NA", "NA,weak"]), ("b", [])):
        (tmp_path / "tasks" / task).mkdir(parents=True)
        write_table(tmp_path / "tasks" / task / "train.csv", *toy_rows(20, 1), *bad)
        write_table(tmp_path / "tasks" / task / "test.csv", *toy_rows(5, 2), *bad[:1])
    command = [*words(models, tmp_path / "tasks", tmp_path / "out", "merge"), "--seeds", 1]
    refusal = refused(run(*command))
    assert "task a: " in refusal
    assert "train.csv, line 43: the sequence is missing, got 'NA' (--on-error skip" in refusal
    result = run(*command, "--on-error", "skip")
    assert result.status == 0, result.err
    tasks = read(tmp_path / "out")["tasks"]
    assert {split: each["count"] for split, each in tasks["a"]["skipped"].items()} == {"train": 2, "test": 1}
    assert tasks["b"]["skipped"] == {}
    assert tasks["a"]["train_sequences"] == tasks["b"]["train_sequences"]
    assert (
        "Rows that could not be read were left out: a (3)." in (tmp_path / "out" / "results.md").read_text()
    )
    assert "Skipped    test: 1 rows" in result.out


def test_a_search_is_over_the_validation_set(run, models, suite, tmp_path, trainings):
    line = [*words(models, suite, tmp_path / "run", "merge"), "--tasks", "gue/tf_0", "--method", "lora"]
    line += ["--lora-rank", 2, "--lora-rank", 3, "--learning-rate", 1e-3, "--seeds", 2]
    assert run(*line).status == 0
    assert len(trainings) == 3
    repeats = read(tmp_path / "run")["scores"]["merge"]["gue/tf_0"]["repeats"]
    assert repeats[0]["candidate"] == repeats[1]["candidate"]
    assert repeats[0]["candidate"]["lora_rank"] in (2, 3)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (["--suite", "gue"], 2, "--suite gue needs --data, the folder of GUE (Zhou et al. 2024): EMP/H3/"),
        (["--suite", "glue"], 2, "splicing, bend, dnalongbench or a folder of tasks, got glue"),
        (["--tasks", "tf_9"], 1, "has no task 'tf_9'; it has genomic_benchmarks/worm, gue/tf_0"),
        (["--model", "nowhere"], 1, "directory must be one that holds a model, or one of "),
        (["--model", "a|b=."], 2, "--model must be NAME=DIR with a name for a table, got a|b=."),
        (["--lora-rank", "4"], 2, "--lora-rank needs --method lora, got full"),
        (["--data", "x"], 2, "--data is for a named suite"),
        (["--seeds", "0"], 2, "--seeds"),
        (["--max-train", "1"], 2, "--max-train"),
        (["--max-stepz", "1"], 2, "--max-stepz"),
        (["--metric", "f2"], 1, "task genomic_benchmarks/worm: --metric must be one of accuracy, f1"),
        (["--metric", "loss"], 1, "auprc where labels are single-label, got loss"),
        (["--metric", "f1", "--metric-for-best-model", "f1"], 2, "--metric and --metric-for-best-model are"),
        (["--resume-from-checkpoint", "last"], 2, "--resume-from-checkpoint is for finetune: what there is"),
        (["--label-column", "class"], 1, "must have a column 'class'"),
        (["--plan", "plan.toml"], 2, "the plan says all but --data and --output-dir, got --model"),
    ],
)  # fmt: skip
def test_wrong_command_lines(run, models, suite, tmp_path, change, status, said):
    line = words(models, suite, tmp_path / "run")
    if change[0] == "--suite":
        del line[1:3]
    result = run(*line, *change)
    assert said in refused(result, status)
    assert not (tmp_path / "run").exists()


def test_what_is_needed(run, models, suite, tmp_path):
    assert "give a --model" in refused(run("evaluate", "--suite", suite, "--output-dir", tmp_path / "run"), 2)
    line = ["evaluate", "--model", models / "merge", "--output-dir", tmp_path / "run"]
    assert "give --suite, genomic-benchmarks, gue" in refused(run(*line), 2)
    twice = run(*line, "--suite", suite, "--model", f"merge={models / 'chunk'}")
    assert "several models are called merge: give --model NAME=DIR" in refused(twice, 2)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no task; tasks are expected as NAME/train.csv"),
        ({"train": ["ACGT,1", "ACT,0", "A,1", "C,0"]}, "toy has no test split to compare models on"),
        (
            {"train": ["ACGT,1", "ACT,0", "A,1", "C,0"], "test": ["AC,2"]},
            "test.csv, line 2: label '2' is not among",
        ),
        ({"train": ["ACGT,1", "ACT,1"]}, "task toy: Task: the training set must have two classes at least"),
        (
            {"train": [f"{base}{tail},{base}" for base in "AC" for tail in "ACGT"], "test": ["AC,A", "AG,A"]},
            "task toy: auroc is not defined on the test set, whose targets are all alike",
        ),
        ({"train": ["ACGT", "ACT"]}, "train.csv, line 2: a row must have 2 fields, got 1"),
    ],
)
def test_bad_tasks_are_told_before_anything_is_trained(run, models, tmp_path, trainings, files, said):
    # A suite's own folder says by what its tasks are scored.
    folder = tmp_path / "long_range" / "toy"
    folder.mkdir(parents=True)
    for split, rows in files.items():
        write_table(folder / f"{split}.csv", *rows)
    assert said in refused(run(*words(models, tmp_path / "long_range", tmp_path / "run")))
    assert not trainings
    assert not (tmp_path / "run").exists()


def test_a_sequence_too_long_for_one_model_is_told_before_anything_is_trained(
    run, models, suite, tmp_path, trainings
):
    save_bert(tmp_path / "bert")
    folder = tmp_path / "suite" / "toy"
    folder.mkdir(parents=True)
    write_table(folder / "train.csv", *toy_rows(10, 1))
    write_table(folder / "test.csv", *toy_rows(3, 1), f"{'ACG' * 30},weak")
    line = words(models, tmp_path / "suite", tmp_path / "run", "merge")
    line += ["--model", tmp_path / "bert", "--seeds", 1]
    refusal = refused(run(*line))
    assert "test.csv, line 8: the sequence has 32 tokens, the model takes 24" in refusal
    assert not trainings
    too_wide = "test.csv, line 8: a tile of the sequence has 28 tokens, the model takes 24: give"
    assert too_wide in refused(run(*line, "--tile-bp", 78))
    assert "--tile-bp reads what --truncate cuts off" in refused(run(*line, "--tile-bp", 66, "--truncate"), 2)
    assert not trainings
    assert run(*line, "--tile-bp", 66).status == 0
    assert "holds runs with other truncate, tile_bp" in refused(run(*line, "--truncate"))
    shutil.rmtree(tmp_path / "run")
    assert run(*line, "--truncate").status == 0


def test_tokens_per_base_are_asked_of_those_that_can_be(run, models, suite, tmp_path, monkeypatch):
    save_small(tmp_path / "units", "mxdna")
    asked = {}
    train = FineTuner.train

    def noted(self, *args, **kwargs):
        asked[self.model.config.model_type] = (
            getattr(self.model.config, "boundary_budget", None),
            getattr(self.model.config, "keep_ratio", None),
        )
        return train(self, *args, **kwargs)

    monkeypatch.setattr(FineTuner, "train", noted)
    command = [*words(models, suite, tmp_path / "out"), "--model", tmp_path / "units", "--no-floor"]
    result = run(*command, "--tasks", "gue/*", "--seeds", 1, "--tokens-per-base", 0.36)
    assert result.status == 0, result.err
    assert asked["dnachunker"] == (pytest.approx([0.6, 0.6]), None)
    assert asked["mergedna"] == (None, 0.36)
    assert asked["mxdna"] == (None, None)
    described = json.loads((tmp_path / "out" / "results.json").read_text())["metrics"]["models"]
    assert {name: each["tokens_per_base"] for name, each in described.items()} == {
        **{"merge": 0.36, "chunk": 0.36, "units": None},
    }
    table = (tmp_path / "out" / "results.md").read_text()
    assert "merge at 0.36 tokens per base; chunk at 0.36 tokens per base" in table
    # Runs under another budget are others.
    again = run(*command, "--tasks", "gue/*", "--seeds", 1)
    assert again.status == 1
    assert "tokens_per_base" in again.err


@pytest.mark.parametrize(
    ("name", "budget", "said"),
    [
        ("merge", 0.1, "--tokens-per-base must be at least 0.25 with 2 merging blocks, got 0.1"),
        ("chunk", 1.5, "--tokens-per-base must be in (0, 1], got 1.5"),
        ("units", 0.5, "--tokens-per-base is for mergedna and dnachunker, got 0.5 for neither"),
    ],
)
def test_tokens_per_base_out_of_reach(run, models, suite, tmp_path, trainings, name, budget, said):
    save_small(tmp_path / "units", "mxdna")
    folder = tmp_path / name if name == "units" else models / name
    command = ["evaluate", "--suite", suite, "--model", folder, "--output-dir", tmp_path / "out", *QUICK]
    result = run(*command, "--tokens-per-base", budget)
    assert result.status in (1, 2)
    assert said in " ".join(result.err.split())
    assert not trainings


def test_one_metric_for_all_tasks(run, models, suite, tmp_path, trainings):
    line = [*words(models, suite, tmp_path / "run", "merge"), "--seeds", 1, "--metric", "auprc"]
    result = run(*line)
    assert result.status == 0, result.err
    metrics = read(tmp_path / "run")
    assert {task["metric"] for task in metrics["tasks"].values()} == {"auprc"}
    table = (tmp_path / "run" / "results.md").read_text()
    assert "gue/tf_0 (AUPRC)" in table
    reached = metrics["scores"]["merge"]["gue/tf_0"]["test_auprc"]
    assert str(Score.of([reached])) in table
    # The floor is chosen by it, and runs that were chosen by another are not taken for these.
    floor = metrics["floor"][LINEAR]["gue/tf_0"]["test"]["auprc"]
    assert str(Score.of([floor])) in table
    assert "holds runs with other metric" in refused(run(*line[:-1], "f1"))


def test_folds_of_a_table(run, models, suite, tmp_path, trainings):
    folder = tmp_path / "tasks" / "whole"
    folder.mkdir(parents=True)
    write_table(folder / "train.csv", *toy_rows(30, 1))
    shutil.copytree(suite / "gue" / "tf_0", tmp_path / "tasks" / "tested")
    line = [*words(models, tmp_path / "tasks", tmp_path / "run", "merge"), "--method", "probe"]
    refusal = refused(run(*line))
    assert "task whole: " in refusal
    assert "has no test split to compare models on; --folds needs none" in refusal
    trainings.stop_at = 4
    assert run(*line, "--folds", 3).status != 0
    trainings.stop_at = None
    result = run(*line, "--folds", 3)
    assert result.status == 0, result.err
    # Three folds of each task, one seed each; the one that was interrupted is begun again.
    assert [seed for _, seed in trainings] == [42] * 6
    metrics = read(tmp_path / "run")
    assert (metrics["folds"], metrics["seeds"]) == (3, 1)
    assert "test_sequences" not in metrics["tasks"]["whole"]
    table = (tmp_path / "run" / "results.md").read_text()
    assert "Test sets, in hundredths; means of 3 folds ± sample deviation; fine-tuning: probe." in table
    for task, reached in metrics["scores"]["merge"].items():
        repeats = reached["repeats"]
        assert [repeat["fold"] for repeat in repeats] == [1, 2, 3]
        assert str(Score.of([repeat["test"]["mcc"] for repeat in repeats])) in table
        floors = metrics["floor"][LINEAR][task]
        assert len(floors) == 3
        assert str(Score.of([floor["test"]["mcc"] for floor in floors])) in table
    assert "holds runs with other folds" in refused(run(*line, "--folds", 2))


def test_ridge_in_a_table(run, models, suite, tmp_path, trainings):
    line = [word for word in words(models, suite, tmp_path / "run") if word not in QUICK[:2]]
    line += ["--method", "ridge", "--tasks", "gue"]
    result = run(*line)
    assert result.status == 0, result.err
    assert not trainings
    metrics = read(tmp_path / "run")
    assert (metrics["method"], metrics["seeds"]) == ("ridge", 1)
    for model in ("merge", "chunk"):
        (repeat,) = metrics["scores"][model]["gue/tf_0"]["repeats"]
        assert list(repeat["candidate"]) == ["ridge_alpha"]
        assert repeat["test"]["mcc"] > 0.5
    assert "in hundredths; one seed; fine-tuning: ridge" in (tmp_path / "run" / "results.md").read_text()
    said = "--seeds is 1 where --method ridge, which is the same each time, got 2"
    assert said in refused(run(*line, "--seeds", 2), 2)
    assert "--max-steps is of trainings, and --method ridge trains nothing" in refused(
        run(*line, "--max-steps", 2), 2
    )


def test_ridge_is_not_for_labels_of_bases(run, models, tmp_path, trainings):
    (tmp_path / "tasks" / "bases").mkdir(parents=True)
    for split in ("train", "test"):
        sequences = [row.split(",")[0] for row in toy_rows(10, 1)]
        rows = [f"{sequence},{('01' * 100)[: len(sequence)]}" for sequence in sequences]
        write_table(tmp_path / "tasks" / "bases" / f"{split}.csv", *rows)
    line = ["evaluate", "--model", models / "merge", "--suite", tmp_path / "tasks", "--method", "ridge"]
    refusal = refused(run(*line, "--output-dir", tmp_path / "run", "--use-cpu"))
    assert "task bases: --method ridge is for labels of sequences, got labels of bases" in refusal
    assert not (tmp_path / "run").exists()


def test_averages_by_group_are_printed_below_the_table(run, models, tmp_path):
    for index, task in enumerate(("gue/tf_0", "gue/tf_1", "gue/mouse_0", "other")):
        (tmp_path / "suite" / task).mkdir(parents=True)
        for split, count in (("train", 20), ("test", 10)):
            write_table(tmp_path / "suite" / task / f"{split}.csv", *toy_rows(count, 10 * index + count))
    result = run(*words(models, tmp_path / "suite", tmp_path / "all", "merge"), "--seeds", 2)
    assert result.status == 0, result.err
    metrics = read(tmp_path / "all")
    human = "GUE (Zhou et al. 2024): human transcription factors"
    assert list(metrics["groups"]) == ["GUE (Zhou et al. 2024): mouse transcription factors", human]
    group = metrics["groups"][human]
    assert (group["tasks"], group["tasks_of_benchmark"]) == (["gue/tf_0", "gue/tf_1"], 5)
    reached = [metrics["scores"]["merge"][task] for task in group["tasks"]]
    by_seed = [sum(cell["repeats"][seed]["test"]["mcc"] for cell in reached) / 2 for seed in (0, 1)]
    assert group["average"]["merge"] == pytest.approx(sum(by_seed) / 2)
    assert group["deviation"].get("merge", 0) == pytest.approx(abs(by_seed[0] - by_seed[1]) / 2**0.5)
    assert list(group["average"]) == ["merge", *FLOORS]
    text = (tmp_path / "all" / "results.md").read_text()
    line = next(line for line in text.splitlines() if human in line)
    assert f"{human} (2 of 5 tasks)" in line
    assert str(Score.of(by_seed)) in line
    assert "± is how the group's mean deviates over seeds." in text
    assert line in result.out


def test_bends_bed_files_and_dnalongbenchs_tables_are_suites(run, models, tmp_path):
    text = "".join("ACGT"[mix(7, place) % 4] for place in range(400))
    bend = tmp_path / "bend"
    (bend / "histone_modification").mkdir(parents=True)
    (bend / "gene_finding").mkdir()
    (bend / "genomes").mkdir()
    (bend / "genomes" / "g.fa").write_text(f">chr1\n{text}\n")
    header = "chromosome\tstart\tend\tsplit"
    rows = [
        f"chr1\t{start}\t{start + 40}\t{split}\t{label}"
        for split in ("train", "valid", "test")
        for start, label in ((0, "0,1"), (50, "1"), (100, "0"), (150, ""))
    ]
    (bend / "histone_modification" / "histone_modification.bed").write_text(
        "\n".join([f"{header}\tlabel", *rows])
    )
    (bend / "gene_finding" / "gene_finding.bed").write_text(f"{header}\nchr1\t0\t40\ttrain\n")
    line = ["evaluate", "--suite", "bend", "--data", bend, "--model", models / "merge", "--seeds", 1, *QUICK]
    result = run(*line, "--output-dir", tmp_path / "of_bend")
    assert result.status == 0, result.err
    assert "Left out   gene_finding: its labels are in an hdf5 file" in result.out
    task = read(tmp_path / "of_bend")["tasks"]["histone_modification"]
    assert (task["metric"], task["problem"], task["classes"]) == ("auroc", "multi-label", ["0", "1"])

    long = tmp_path / "dnalongbench"
    rows = [
        (
            *gene(20 + 10 * row, 90),
            "chr1",
            60,
            61,
            ("positive", "negative")[row % 2],
            split,
            CHROMOSOME[60],
            "A",
        )
        for split in ("train", "valid", "test")
        for row in range(4)
    ]
    write(long / "eQTL", rows, alleles=True)
    (long / "contact_map_prediction").mkdir()
    line[2:5] = ["dnalongbench", "--data", long]
    result = run(*line, "--output-dir", tmp_path / "of_long")
    assert result.status == 0, result.err
    assert "Left out   contact_map_prediction: its targets are tracks or maps" in result.out
    task = read(tmp_path / "of_long")["tasks"]["eQTL/set"]
    assert (task["metric"], task["classes"]) == ("auroc", ["negative", "positive"])
    result = run(*line, "--tasks", "contact_map_prediction", "--output-dir", tmp_path / "no")
    assert "contact_map_prediction of DNALongBench (Cheng et al. 2025) cannot be read" in refused(result)
    result = run(*line, "--label-column", "target", "--output-dir", tmp_path / "no")
    assert "--label-column are for tables: --suite dnalongbench has columns of its own" in refused(result, 2)
    assert not (tmp_path / "no").exists()
