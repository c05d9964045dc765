"""Recipes: those of the package, reading, writing, and what a run takes from them."""

import json
import re

import pytest
import torch

import dnachunk
from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.data import Genome, WindowDataset
from dnachunk.errors import ArgumentError, UsageError
from dnachunk.models import MODEL_TYPES
from dnachunk.training import Plan, PreTrainer, Recipe, list_recipes
from dnachunk.training.pretrain import make_config, prepare_pretraining
from dnachunk.training.recipe import FIELDS, PACKAGED, recipe_names, write_recipe
from tests.test_verbs import SIZES
from tests.training.runs import write_genome

NAMES = [f"{kind}{size}" for kind in sorted(MODEL_TYPES) for size in ("", "-micro", "-tiny")]


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("genome") / "genome.fa", length_bp=80_000)


def prepare(fasta, output_dir, **arguments):
    return prepare_pretraining(fasta, output_dir, use_cpu=True, bf16=False, **arguments)


def test_there_is_one_for_each_model_and_size():
    assert recipe_names() == sorted(NAMES)
    table = str(list_recipes())
    for name in NAMES:
        assert re.search(rf"^{name} ", table, flags=re.MULTILINE)
    assert re.search(
        r"^dnachunker +dnachunker +base +8,192 +1,048,576 +50,000 +5e-05 +warmup_stable", table, re.M
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_says_where_its_values_are_from(name):
    fields = Recipe.read(name).fields
    kind, _, size = name.partition("-")
    assert (fields["model"], fields["size"]) == (kind, size or "base")
    wanted = set(FIELDS) - {"tokenizer", "fp16", "seed", "lr_scheduler_kwargs", "mask_probability"}
    assert wanted <= set(fields)
    # Every assignment but the model's name has its source in a remark behind it.
    for line in (PACKAGED / f"{name}.toml").read_text().splitlines():
        if "=" in line.split("#")[0] and not line.startswith("model ="):
            source = line.partition(" # ")[2]
            assert re.match(
                r"paper, |chosen here|authors' public code|specification|docs/|models/|as Merge", source
            ), line


@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_made(fasta, tmp_path, name):
    fields = Recipe.read(name).fields
    prepared = prepare(fasta, tmp_path, recipe=name)
    args = prepared.args
    assert prepared.config.model_type == fields["model"]
    assert prepared.window_bp == fields["window_bp"]
    windows = args.per_device_train_batch_size * args.gradient_accumulation_steps
    assert windows * fields["window_bp"] == fields["step_bp"]
    for field in (
        "max_steps",
        "learning_rate",
        "adam_beta2",
        "weight_decay",
        "max_grad_norm",
        "warmup_steps",
    ):
        assert getattr(args, field) == fields[field], field
    assert args.lr_scheduler_type == fields["lr_scheduler_type"]
    # The paper's model is the class's default, the others are the sizes of ours.
    kind, size = fields["model"], fields["size"]
    plain = make_config(kind, size, {}, fields["window_bp"])
    if name == "mergedna-tiny":
        plain.objective = "masked"
    assert prepared.config.to_dict() == plain.to_dict()


def test_the_papers_schedule(fasta, tmp_path):
    args = prepare(fasta, tmp_path, recipe="dnachunker").args
    assert args.lr_scheduler_kwargs == {"num_decay_steps": 5000, "decay_type": "linear"}
    short = prepare(fasta, tmp_path, recipe="dnachunker", max_steps=25).args
    assert short.lr_scheduler_kwargs["num_decay_steps"] == 3
    # Another schedule takes nothing of this one.
    other = prepare(fasta, tmp_path, recipe="dnachunker", lr_scheduler_type="cosine").args
    assert not other.lr_scheduler_kwargs


def test_the_papers_recipe_is_that_of_its_size(fasta, tmp_path):
    for kind, steps in (("mergedna", 100_000), ("dnachunker", 50_000), ("mxdna", 500_000)):
        assert prepare(fasta, tmp_path, model=kind, size="base").args.max_steps == steps
    assert prepare(fasta, tmp_path, size="base").config.model_type == "mergedna"
    for size in ("micro", "tiny"):
        args = prepare(fasta, tmp_path, size=size).args
        assert (args.max_steps, args.learning_rate, args.per_device_train_batch_size) == (2000, 1e-3, 8)
        assert args.gradient_accumulation_steps == 1


def test_what_is_given_goes_before_the_recipe(fasta, tmp_path):
    prepared = prepare(
        fasta,
        tmp_path,
        recipe="dnachunker",
        size="micro",
        window_bp=128,
        step_bp=1280,
        learning_rate=3e-4,
        max_steps=7,
        mask_probability=0.2,
        holdout="two",
        config={"ratio_weight": 0.0},
    )
    args, config = prepared.args, prepared.config
    assert (args.learning_rate, args.weight_decay, args.max_steps) == (3e-4, 0.1, 7)
    # The largest divisor of ten windows that is no more than eight.
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (5, 2)
    assert (config.hidden_size, config.ratio_weight, config.target_ratio) == (128, 0.0, [0.33, 0.33])
    assert prepared.mask_probability == 0.2
    assert [str(each) for each in prepared.holdout] == ["two"]


def test_accumulation_follows(fasta, tmp_path, monkeypatch):
    def batches(**arguments):
        args = prepare(fasta, tmp_path, recipe="mergedna-micro", **arguments).args
        return args.per_device_train_batch_size, args.gradient_accumulation_steps

    assert batches() == (8, 4)
    assert batches(per_device_train_batch_size=32) == (32, 1)
    assert batches(per_device_train_batch_size=2) == (2, 16)
    # A user who says both says the step.
    assert batches(per_device_train_batch_size=3, gradient_accumulation_steps=2) == (3, 2)
    with pytest.raises(UsageError, match="step_bp settles gradient_accumulation_steps: give one"):
        batches(step_bp=512, gradient_accumulation_steps=2)
    with pytest.raises(
        ArgumentError, match="must divide the 32 windows that a rank has of step_bp 16384, got 5"
    ):
        batches(per_device_train_batch_size=5)
    with pytest.raises(
        ArgumentError, match="must be a multiple of 500, a window of 500 bases for each of 1 ranks"
    ) as error:
        batches(window_bp=500)
    assert "got 16384; the nearest is 16500" in str(error.value)
    for wrong in (0, "many", 1.5):
        with pytest.raises((ArgumentError, TypeError, ValueError), match="step_bp"):
            batches(step_bp=wrong)
    monkeypatch.setattr("transformers.TrainingArguments.world_size", 4)
    assert batches() == (8, 1)
    assert batches(per_device_train_batch_size=2) == (2, 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "model = 'mxdna'\nlearning_rat = 1",
            r"r\.toml: fields of a recipe must be of .*, got 'learning_rat'; did you mean learning_rate\?",
        ),
        ("model = 'mxdna'\nfasta = 'x.fa'", "got 'fasta'"),
        ("model = 'mxdna'\nmax_steps = '7'", 'max_steps must be a whole number, got "7"'),
        ("model = 'mxdna'\nmax_steps = 7.5", "max_steps must be a whole number, got 7.5"),
        ("model = 'mxdna'\nlearning_rate = true", "learning_rate must be a number, got true"),
        ("model = 'mxdna'\nbf16 = 1", "bf16 must be true or false, got 1"),
        ("model = 'mxdna'\nholdout = 'chrI'", 'holdout must be a list of texts, got "chrI"'),
        ("model = 'mxdna'\nconfig = 3", "config must be a table, got 3"),
        ("learning_rate = 1", "a recipe must say its model, got none"),
        ("model = ", r"r\.toml is no TOML"),
        ("model = 'mydna'", "model must be one of .*, got 'mydna'"),
        ("model = 'mxdna'\nsize = 'huge'", "size must be one of micro, tiny, base, got 'huge'"),
        ("model = 'mxdna'\n[config]\nrouter_jiter = 0.1", "got router_jiter=0.1; did you mean router_jitter"),
        ("model = 'mxdna'\nmask_probability = 1", "mask_probability must be a number between 0 and 1, got 1"),
        ("model = 'mergedna'\nmask_probability = 0.1", "mask_probability is for masked modelling"),
        ("model = 'mxdna'\nlr_scheduler_type = 'cosin'", "cosin"),
        ("model = 'mxdna'\nmax_steps = 0", "max_steps must be at least 1, got 0"),
    ],
)
def test_bad_recipes(fasta, tmp_path, text, said):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(ValueError, match=said):
        prepare(fasta, tmp_path / "run", recipe=tmp_path / "r.toml")
    assert not (tmp_path / "run").exists()


def test_recipes_of_something_else(fasta, tmp_path):
    with pytest.raises(UsageError, match="recipe mergedna is for model='mergedna', got mxdna") as error:
        prepare(fasta, tmp_path, recipe="mergedna", model="mxdna")
    assert error.value.as_options() == "--recipe mergedna is for --model mergedna, got mxdna"
    with pytest.raises(
        UsageError, match=r"must be one of dnachunker, .*, got 'mergdna'; did you mean mergedna\?"
    ):
        prepare(fasta, tmp_path, recipe="mergdna")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.toml"):
        prepare(fasta, tmp_path, recipe=tmp_path / "nowhere.toml")
    with pytest.raises(UsageError, match="repeats is for model='dnachunker'"):
        prepare(fasta, tmp_path, recipe="mxdna-micro", repeats="r.bed")


def test_what_is_written_is_read(tmp_path):
    fields = {
        "model": "dnachunker",
        "tokenizer": None,
        "holdout": ['chr "I":1-10', "chrÄ\\"],
        "learning_rate": 1e-08,
        "weight_decay": 0.0,
        "max_steps": 5,
        "bf16": False,
        "lr_scheduler_kwargs": {"num_decay_steps": 0.1, "decay_type": "linear"},
        "config": {"target_ratio": [0.5, 0.25], "mask_protection": True},
    }
    write_recipe(tmp_path / "r.toml", fields, "A remark.")
    del fields["tokenizer"]
    assert Recipe.read(tmp_path / "r.toml").fields == fields


QUICK = {"max_steps": 2, "use_cpu": True, "bf16": False, "save_strategy": "no", "eval_windows": 4}


@pytest.mark.parametrize("kind", [*sorted(MODEL_TYPES), "baseline"])
def test_a_run_leaves_its_recipe_and_can_be_repeated_by_it(fasta, tmp_path, kind):
    given = {"recipe": f"{kind}-micro"} if kind != "baseline" else {"model": kind, "size": "micro"}
    given |= {"tokenizer": "3mer"} if kind == "baseline" else {"config": SIZES[kind]}
    first = dnachunk.pretrain(
        fasta, tmp_path / "one", window_bp=64, step_bp=256, holdout="two:1-900", seed=7, **given, **QUICK
    )
    used = Recipe.read(tmp_path / "one" / "recipe.toml").fields
    assert (used["model"], used["size"], used["step_bp"]) == (kind, "micro", 256)
    assert (used["holdout"], used["seed"], used["max_steps"]) == (["two:1-900"], 7, 2)
    second = dnachunk.pretrain(
        fasta, tmp_path / "two", recipe=tmp_path / "one" / "recipe.toml", **{**QUICK, "max_steps": 2}
    )
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    recipes = [(tmp_path / name / "recipe.toml").read_text() for name in ("one", "two")]
    assert recipes[0] == recipes[1]
    # A model that goes on learning has a recipe that makes one like it.
    if kind != "baseline":
        dnachunk.pretrain(fasta, tmp_path / "three", model=first.model, window_bp=64, **QUICK)
        again = prepare(fasta, tmp_path / "four", recipe=tmp_path / "three" / "recipe.toml")
        for field in type(first.model.config).__annotations__:
            assert getattr(again.config, field) == getattr(first.model.config, field), field


def test_nothing_else_is_replaced(fasta, tmp_path):
    (tmp_path / "recipe.toml").write_text("mine = true\n")
    with pytest.raises(FileExistsError, match=r"recipe\.toml is not of an earlier"):
        dnachunk.pretrain(fasta, tmp_path, recipe="mergedna-micro", **QUICK)
    assert (tmp_path / "recipe.toml").read_text() == "mine = true\n"


@pytest.mark.parametrize("kind", [*sorted(MODEL_TYPES), "3mer", "bpe-40", "2mer-overlapping"])
def test_contigs_are_trained_on(tmp_path, kind, caplog):
    genome = Genome(write_genome(tmp_path / "g.fa", length_bp=1000))
    text = "".join("ACGTN"[base - 5] for base in genome.fetch(0, 0, 1000)[0].tolist())
    contigs = [
        f">long\n{text[:300]}\n",
        *(f">c{at}\n{text[at : at + 40 + at % 20]}\n" for at in range(0, 900, 37)),
    ]
    (tmp_path / "contigs.fa").write_text("".join(contigs) + ">tiny\nACGT\n")
    given = (
        {"model": kind, "config": SIZES[kind]} if kind in SIZES else {"model": "baseline", "tokenizer": kind}
    )
    caplog.set_level("INFO", logger="dnachunk")
    result = dnachunk.pretrain(
        tmp_path / "contigs.fa",
        tmp_path / "run",
        size="micro",
        window_bp=64,
        holdout=["long:201-300", "c37", "c74"],
        per_device_train_batch_size=8,
        **given,
        **QUICK,
    )
    assert result.metrics["holdout_windows"] == 3
    assert all(torch.isfinite(value).all() for value in result.model.state_dict().values())
    assert "Records    23 are shorter than a window" in caplog.text
    assert "Records    1 have less than 32 bases, too few to train on" in caplog.text
    assert "up to" in (tmp_path / "run" / "README.md").read_text()


def test_where_no_repeats_are_marked_that_is_told(fasta, tmp_path, caplog):
    caplog.set_level("INFO", logger="dnachunk")

    def told(name, **more):
        caplog.clear()
        arguments = {"model": "dnachunker", "size": "micro", "window_bp": 64, "config": SIZES["dnachunker"]}
        result = dnachunk.pretrain(fasta, tmp_path / name, **{**arguments, **QUICK, **more})
        assert ("eval_masked_in_repeats_nats" in result.metrics) == ("repeats" in more)
        return [
            record.getMessage() for record in caplog.records if record.getMessage().startswith("Repeats ")
        ]

    (line,) = told("one")
    assert "genome.fa: none, neither by lower-case letters nor by a file of repeats" in line
    assert told("two", config={**SIZES["dnachunker"], "repeat_weight": 1.0}) == []
    (tmp_path / "r.bed").write_text("two\t0\t9000\n")
    assert told("three", repeats=tmp_path / "r.bed") == []
    metrics = json.loads((tmp_path / "three" / "results.json").read_text())["metrics"]
    assert metrics["eval_masked_in_repeats_count"] > 0


def test_a_plan_settles_the_steps_of_a_recipe(fasta, tmp_path):
    text = """bases = 40_000
[pretrain]
fasta = "genome.fa"
recipe = "dnachunker"
size = "micro"
window_bp = 64
per_device_train_batch_size = 16
use_cpu = true
bf16 = false
[evaluate]
tasks = ["x"]
[models.one]
[models.two]
learning_rate = 1e-3
"""
    (tmp_path / "plan.toml").write_text(text.replace("[models.one]", "[models.one]\nseed = 1"))
    plan = Plan.read(tmp_path / "plan.toml")
    prepared = plan.prepare("one", fasta.parent, tmp_path / "one")
    args = prepared.args
    assert (args.max_steps, args.per_device_train_batch_size, args.gradient_accumulation_steps) == (39, 16, 1)
    assert (args.learning_rate, prepared.recipe["step_bp"]) == (5e-5, 1024)
    assert args.lr_scheduler_kwargs["num_decay_steps"] == 4
    assert plan.prepare("two", fasta.parent, tmp_path / "two").args.learning_rate == 1e-3


def test_masking_of_a_recipe_goes_with_its_objective(fasta, tmp_path):
    prepared = prepare(fasta, tmp_path, recipe="mergedna-tiny", config={"objective": "merge"})
    assert prepared.recipe["mask_probability"] is None
    assert prepare(fasta, tmp_path, recipe="mergedna-tiny", mask_probability=0.3).mask_probability == 0.3


def test_more_is_masked_where_that_is_asked_for(fasta, tmp_path):
    def selected(**arguments):
        arguments["eval_strategy"] = "no"
        prepared = prepare(fasta, tmp_path, model="mxdna", size="micro", **arguments)
        network, tokenizer = prepared.build()
        probability = prepared.mask_probability
        trainer = PreTrainer(network, prepared.args, tokenizer=tokenizer, mask_probability=probability)
        windows = WindowDataset(prepared.genomes, 510, num_windows=16, seed=0)
        labels = trainer.data_collator([windows[index] for index in range(16)])["labels"]
        return (labels != IGNORE_INDEX).float().mean().item()

    assert abs(selected() - 0.15) < 0.02
    assert abs(selected(mask_probability=0.4) - 0.4) < 0.02
