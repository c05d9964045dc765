import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

import dnachunk
from dnachunk.data.labelled import SPLIT_NAMES
from dnachunk.evaluation.suites import find_tasks
from dnachunk.training import Plan, PreTrainer
from tests.cli.test_evaluate import refused, trainings  # noqa: F401
from tests.cli.test_finetune import toy_rows, write_table
from tests.data.test_dnalongbench import CHROMOSOME, gene, write
from tests.training.finetuning import random_sequences
from tests.training.runs import write_genome

pytestmark = pytest.mark.usefixtures("quick_collections")

ROOT = Path(__file__).parents[2]
PLANS = sorted((ROOT / "docs" / "plans").glob("*.toml"))
SMALL = [path for path in PLANS if "[small]" in path.read_text()]
SHARED = ROOT / ".." / "shared" / "data"
# What nothing is at hand of, or what a command makes.
MADE = {
    "dnachunker-bend",
    "dnachunker-dnalongbench",
    "mergedna-bulk-rna",
    "mergedna-eqtl",
    "mergedna-splicing",
}

PLAN = """
bases = 1000

[pretrain]
fasta = ["genomes/genome.fa"]
size = "micro"
window_bp = 64
per_device_train_batch_size = 4
eval_windows = 4
eval_on_start = false
use_cpu = true
config = { hidden_size = 32 }

[evaluate]
tasks = ["toy"]
seeds = 1
max_steps = 2
per_device_train_batch_size = 4
use_cpu = true

[models."MergeDNA, masked only"]
model = "mergedna"
config = { objective = "masked", num_latent_encoder_layers = 1, num_latent_decoder_layers = 1 }

[models.3mer]
model = "baseline"
tokenizer = "3mer"
config = { num_hidden_layers = 1 }
"""


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "genomes").mkdir(parents=True)
    write_genome(folder / "genomes" / "genome.fa")
    (folder / "toy").mkdir()
    for split, count in (("train", 20), ("test", 10)):
        write_table(folder / "toy" / f"{split}.csv", *toy_rows(count, count))
    return folder


@pytest.fixture
def write_plan(tmp_path):
    def write(*changes):
        text = PLAN
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "plan.toml"
        path.write_text(text)
        return path

    return write


def test_models_are_pretrained_on_as_many_bases_and_compared(run, write_plan, data, tmp_path, trainings):  # noqa: F811
    line = ["evaluate", "--plan", write_plan(), "--data", data, "--output-dir", tmp_path / "run"]
    trainings.stop_at = 1
    result = run(*line)
    assert result.status != 0
    folder = tmp_path / "run" / "models" / "MergeDNA, masked only"
    command = next(line for line in result.out.splitlines() if line.startswith("$ dnachunk pretrain "))
    assert f"--fasta {data}/genomes/genome.fa --size micro " in command
    assert "--config hidden_size=32 --config 'objective=\"masked\"' " in command
    assert command.endswith(f" --model mergedna --max-steps 3 --output-dir '{folder}'")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")}
    assert len(trainings) == 1

    trainings.stop_at = None
    result = run(*line)
    assert result.status == 0, result.err
    assert len(trainings) == 2
    assert "3mer is pre-trained: " in result.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")} == written
    config = json.loads((folder / "config.json").read_text())
    assert (config["objective"], config["hidden_size"], config["train_length_bp"]) == ("masked", 32, 64)
    for model in ("MergeDNA, masked only", "3mer"):
        state = json.loads(
            next((tmp_path / "run" / "models" / model).rglob("trainer_state.json")).read_text()
        )
        assert state["max_steps"] == 3
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert list(metrics["scores"]) == ["MergeDNA, masked only", "3mer"]
    assert list(metrics["floor"]) == ["k-mer naive Bayes", "k-mer linear"]
    assert metrics["models"]["3mer"]["pretraining"]["eval_compression"] == pytest.approx(3, abs=0.2)

    write_plan(("seeds = 1", "seeds = 1\nfloor = false"))
    assert run(*line).status == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]["floor"] == {}

    changed = write_plan(("bases = 1000", "bases = 2000"), ("hidden_size = 32", "hidden_size = 64"))
    refusal = refused(run(*line))
    assert "holds a model that was pre-trained with other bases, config than" in refusal
    assert str(changed) in refusal


def test_an_interrupted_pretraining_goes_on(run, write_plan, data, tmp_path, monkeypatch):
    steps, training_step = [], PreTrainer.training_step

    def counted(self, *args, **kwargs):
        if len(steps) == 2:
            raise KeyboardInterrupt
        steps.append(self.state.global_step)
        return training_step(self, *args, **kwargs)

    monkeypatch.setattr(PreTrainer, "training_step", counted)
    merge = PLAN[PLAN.index('[models."Merge') : PLAN.index("[models.3mer]")]
    plan = write_plan(("eval_windows = 4", "eval_windows = 4\nsave_steps = 1"), (merge, ""))
    line = ["evaluate", "--plan", plan, "--data", data, "--output-dir", tmp_path / "run"]
    assert run(*line).status != 0
    assert steps == [0, 1]
    assert not (tmp_path / "run" / "results.json").exists()
    steps.clear()
    result = run(*line)
    assert result.status == 0, result.err
    assert "--resume-from-checkpoint last" in result.out
    assert steps == [2]


BAD_PLANS = [
    ("bases = 1000", "bases = 1000\nbudget = 3", "plan.toml: a plan must have bases, pretrain, evaluate"),
    ("bases = 1000", "", "plan.toml: bases must be a whole number above 0, got none"),
    ("bases = 1000", "bases = 1e3", "plan.toml: bases must be a whole number above 0, got 1000.0"),
    ("bases = 1000", "bases = 100", "plan.toml: bases must be a step of 256 at least, got 100"),
    ("bases = 1000", "bases = ", "plan.toml is no TOML"),
    ("window_bp = 64", "", "window_bp of MergeDNA, masked only must be a whole number above 0, got None"),
    ("[models.3mer]", '[models."../3mer"]', "a model's name must begin with a letter or digit"),
    ("seeds = 1", "seeds = 1\nmodel = 'x'", "model is settled by the plan, leave it out of evaluate"),
    ('tokenizer = "3mer"', "max_steps = 3", "max_steps is settled by the plan, leave it out of 3mer"),
    ('tokenizer = "3mer"', "step_bp = 3", "step_bp is settled by the plan, leave it out of 3mer"),
    (
        "seeds = 1",
        "seed_count = 1",
        "plan.toml, evaluate: arguments must be fields of TrainingArguments, got seed_count",
    ),
    ('"toy"', '"tox"', "data has no task 'tox'; it has toy"),
    ('"masked"', '"mask"', "objective must be 'merge' or 'masked', got 'mask'"),
    (
        "eval_windows = 4",
        "eval_windows = 'x'",
        "masked only: eval_windows must be a whole number of at least 1",
    ),
    ("genomes/genome.fa", "genome.fa", "data/genome.fa"),
    (
        "use_cpu = true\nconfig",
        "gpu = true\nconfig",
        "masked only: arguments must be fields of TrainingArgu",
    ),
    ('"3mer"', '"9mer"', "plan.toml, 3mer: tokenizer must be base, 1mer to 8mer"),
]


@pytest.mark.parametrize(("old", "new", "said"), BAD_PLANS)
def test_bad_plans_are_told_before_anything_is_trained(
    run, write_plan, data, tmp_path, monkeypatch, old, new, said
):
    monkeypatch.setattr(PreTrainer, "train", lambda *args, **kwargs: pytest.fail("trained"))
    plan = write_plan((old, new))
    assert said in refused(run("evaluate", "--plan", plan, "--data", data, "--output-dir", tmp_path / "run"))


def test_what_a_plan_needs(run, write_plan, data, tmp_path):
    line = ["evaluate", "--plan", write_plan(), "--output-dir", tmp_path / "run"]
    assert "--plan needs --data" in refused(run(*line), 2)
    assert "got --seeds" in refused(run(*line, "--data", data, "--seeds", 2), 2)
    assert "got --bf16" in refused(run(*line, "--data", data, "--bf16"), 2)
    missing = ["evaluate", "--plan", tmp_path / "none.toml", "--data", data, "--output-dir", tmp_path / "run"]
    assert "none.toml" in refused(run(*missing))


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_packaged_plans_are_plans(path):
    plan = Plan.read(path)
    assert "/work" not in path.read_text()
    for name in plan.models:
        arguments = plan.pretrain_arguments(name, Path("data"), Path("out"))
        assert arguments["max_steps"] == plan.max_steps(name) > 0
        assert all(path.startswith("data/genomes/") for path in arguments["fasta"])


def test_there_are_plans():
    assert {path.stem for path in PLANS} >= {"micro", "ablations"}
    # Each of the papers' tables that is of labelled data.
    assert len(SMALL) == 17
    listed = (ROOT / "docs" / "plans" / "README.md").read_text()
    for path in PLANS:
        assert f"`{path.name}`" in listed


SMALL_PLAN = """
[small]
bases = 512

[small.pretrain]
window_bp = 32
config = { hidden_size = 16 }

[small.evaluate]
max_steps = 1
"""


def test_small_goes_before_all_else(run, write_plan, data, tmp_path):
    path = write_plan()
    path.write_text(PLAN.replace('model = "mergedna"', 'model = "mergedna"\nwindow_bp = 128') + SMALL_PLAN)
    whole, small = Plan.read(path), Plan.read(path, small=True)
    name = "MergeDNA, masked only"
    assert (whole.bases, whole.options(name)["window_bp"], whole.max_steps(name)) == (1000, 128, 1)
    assert (small.bases, small.options(name)["window_bp"], small.max_steps(name)) == (512, 32, 4)
    assert small.options(name)["config"] == {**whole.options(name)["config"], "hidden_size": 16}
    assert (whole.evaluate["max_steps"], small.evaluate) == (2, {**whole.evaluate, "max_steps": 1})
    line = ["evaluate", "--plan", path, "--data", data, "--output-dir", tmp_path / "run"]
    result = run(*line, "--small")
    assert result.status == 0, result.err
    config = json.loads((tmp_path / "run" / "models" / "3mer" / "config.json").read_text())
    assert (config["hidden_size"], config["train_length_bp"]) == (16, 32)
    assert "holds a model that was pre-trained with other bases, config, window_bp" in refused(run(*line))


def test_small_needs_a_plan_that_has_it(run, write_plan, data, tmp_path):
    line = ["evaluate", "--plan", write_plan(), "--data", data, "--output-dir", tmp_path / "run", "--small"]
    assert "--small is for a plan with a table of that name" in refused(run(*line))
    line[1:3] = ["--suite", data]
    assert "--small is for a --plan" in refused(run(*line[:3], *line[5:]), 2)
    path = write_plan(("bases = 1000", "bases = 1000\nsmall = 3"))
    with pytest.raises(ValueError, match="small must be a table of bases, pretrain and evaluate, got 3"):
        Plan.read(path)


def fill(folder, plan):
    """Genomes and tasks that a plan names, made up."""
    for options in [plan.options(name) for name in plan.models]:
        for name in options["fasta"]:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(f">one\n{random_sequences(1, 40_000, 1)[0]}\n".encode()))
    evaluate = plan.evaluate
    if evaluate.get("suite") == "bend":
        (folder / "genomes" / "g.fa").write_text(f">chr1\n{random_sequences(1, 900, 2)[0]}\n")
        (folder / "histone_modification").mkdir()
        rows = ["chromosome\tstart\tend\tsplit\tlabel"]
        rows += [
            f"chr1\t{start}\t{start + 40}\t{split}\t{label}"
            for split in ("train", "valid", "test")
            for start, label in ((0, "0,1"), (50, "1"), (100, "0"), (150, ""))
        ]
        (folder / "histone_modification" / "histone_modification.bed").write_text("\n".join(rows))
        return
    if evaluate.get("suite") == "dnalongbench":
        kinds = ("positive", "negative")
        rows = [
            (*gene(20 + row, 90), "chr1", 60, 61, kinds[row % 2], split, CHROMOSOME[60], "A")
            for split in ("train", "valid", "test")
            for row in range(6)
        ]
        write(folder / "eQTL", rows, alleles=True)
        return
    for task in evaluate["tasks"]:
        # A folder of tasks holds one of them.
        path = folder / (task if "/" in task else f"{task}/one")
        path.mkdir(parents=True)
        for split, count in (("train", 24), ("test", 12)):
            write_rows(path / split, evaluate, count)


def write_rows(path, evaluate, count):
    sequences = random_sequences(count, 60, count)
    columns = evaluate.get("sequence_column")
    if columns is not None:
        header = ",".join([*columns, evaluate["tissue_column"], "label"])
        rows = [f"{text},{text[:30]}A{text[31:]},skin,{row % 2}" for row, text in enumerate(sequences)]
        write_table(path.with_suffix(".csv"), *rows, header=header)
    elif evaluate.get("problem") == "regression":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        labels = [[text.count("A") / 60, text.count("C") / 60] for text in sequences]
        table = pyarrow.table({"sequence": sequences, evaluate["label_column"]: labels})
        parquet.write_table(table, path.with_suffix(".parquet"))
    else:
        write_table(path.with_suffix(".csv"), *toy_rows(count, count))


@pytest.mark.slow
@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_each_paper_s_table_runs_small(path, tmp_path, monkeypatch):
    plan = Plan.read(path, small=True)
    data = tmp_path / "data"
    fill(data, plan)
    name = next(iter(plan.models))
    one = replace(
        plan,
        bases=256 * 16,
        models={name: plan.models[name]},
        small={**plan.small, "use_cpu": True},
        evaluate={**plan.evaluate, "use_cpu": True, "max_steps": 1},
    )
    monkeypatch.setattr(Plan, "read", classmethod(lambda cls, path, *, small=False: one))
    result = dnachunk.compare_models(tmp_path / "run", plan=path, small=True, data=data)
    for task in result.metrics["tasks"]:
        assert (name, task) in result.comparison.scores


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent")
def test_small_plans_name_data_at_hand(path):
    plan = Plan.read(path, small=True)
    for name in plan.models:
        assert all((SHARED / genome).is_file() for genome in plan.options(name)["fasta"])
    if path.stem not in MADE:
        found = find_tasks(SHARED, plan.evaluate["tasks"])
        assert list(found) == plan.evaluate["tasks"]
        for task in found.values():
            assert any(list(task.glob(f"{word}.*")) for word in SPLIT_NAMES["test"])
