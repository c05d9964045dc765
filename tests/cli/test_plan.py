import json
from pathlib import Path

import pytest

from dnachunk.training import Plan, PreTrainer
from tests.cli.test_evaluate import refused, trainings  # noqa: F401
from tests.cli.test_finetune import toy_rows, write_table
from tests.training.runs import write_genome

pytestmark = pytest.mark.usefixtures("quick_collections")

ROOT = Path(__file__).parents[2]
PLANS = sorted((ROOT / "docs" / "plans").glob("*.toml"))

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
