"""Sequences that are read in tiles, in training, evaluation and prediction."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

import dnachunk
from dnachunk.alphabet import reverse_complement
from dnachunk.data import Problem, Task
from dnachunk.data.tiles import own_tiles
from dnachunk.errors import ArgumentError, UsageError
from dnachunk.evaluation import predict_logits, score_predictions
from dnachunk.training import FineTuner, LoRA, run_search
from dnachunk.training.adaptation import load_with_head
from tests.training.finetuning import arguments, labelled, random_sequences, save_bert, save_small, toy_task
from tests.training.runs import SMALL_CONFIGS

pytestmark = pytest.mark.usefixtures("quick_collections")

TILE_BP = 24


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("mergedna"))


def base_set(count, seed):
    """Which bases are G, of sequences of one to three tiles and more."""
    sequences = [
        sequence[: 20 + 9 * (row % 8)] for row, sequence in enumerate(random_sequences(count, 90, seed))
    ]
    cells = ["".join("1" if base == "G" else "0" for base in sequence) for sequence in sequences]
    return labelled(sequences, [f"{cell[:2]}.{cell[3:]}" for cell in cells])


def make_task(problem):
    if problem is Problem.per_base:
        return Task.of({"train": base_set(16, 1), "valid": base_set(8, 2), "test": base_set(8, 3)})
    task = toy_task(24, 8, 8)
    names = {Problem.multi_label: ("|".join, "ab"), Problem.regression: (lambda of: str(len(of) / 3), "ab")}
    if problem is Problem.single_label:
        return task
    say, letters = names[problem]
    cells = ["".join(letters[: 1 + (row + (row > 7)) % 2]) for row in range(24)]
    rows = labelled(task.train.sequences, [say(cell) for cell in cells])
    return Task.of({"train": rows, "valid": rows, "test": rows}, problem)


def joined(logits_of, sequence, of_bases=False):
    """By the definition: a mean in which each base counts once, or each base from its own tile."""
    tiles = own_tiles(len(sequence), TILE_BP)
    rows = [logits_of(sequence[tile.start_bp : tile.end_bp]) for tile in tiles]
    if not of_bases:
        return sum(
            (tile.own_end_bp - tile.own_start_bp) / len(sequence) * row
            for row, tile in zip(rows, tiles, strict=True)
        )
    return torch.stack(
        [
            row[base - tile.start_bp]
            for row, tile in zip(rows, tiles, strict=True)
            for base in range(tile.own_start_bp, tile.own_end_bp)
        ]
    )


def naive_loss(problem, logits, target):
    target = torch.tensor(target)
    if problem is Problem.regression:
        return torch.nn.functional.mse_loss(logits, target.reshape(logits.shape))
    if problem is Problem.multi_label:
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    return torch.nn.functional.cross_entropy(logits, target)


def make_tuner(directory, task, output_dir, **options):
    torch.manual_seed(0)
    own = ("method", "lora", "reverse_complement", "truncate")
    tuning = {name: options.pop(name) for name in own if name in options}
    return FineTuner(
        load_with_head(directory, task),
        arguments(output_dir, per_device_train_batch_size=4, per_device_eval_batch_size=5, **options),
        task,
        AutoTokenizer.from_pretrained(directory),
        tile_bp=TILE_BP,
        **tuning,
    )


@pytest.mark.parametrize("kind", sorted(SMALL_CONFIGS))
@pytest.mark.parametrize("problem", [Problem.single_label, Problem.multi_label, Problem.regression])
def test_the_loss_and_its_gradient_are_those_of_the_mean_of_tiles(tmp_path, kind, problem):
    directory, task = save_small(tmp_path / kind, kind), make_task(problem)
    tuner = make_tuner(directory, task, tmp_path / "run")
    batch = tuner.data_collator([tuner.train_dataset[index] for index in range(4)])
    assert batch["tiles"].shape[1] > 4
    model = tuner.model.eval()
    loss, output = tuner.compute_loss(model, batch, return_outputs=True)
    loss.backward()
    got = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}

    def logits_of(text):
        inputs = tuner.processing_class([text], return_tensors="pt")
        return model(**inputs).logits[0]

    model.zero_grad()
    logits = torch.stack([joined(logits_of, sequence) for sequence in task.train.sequences[:4]])
    expected = naive_loss(problem, logits, task.train.targets[:4])
    expected.backward()
    torch.testing.assert_close(output["logits"], logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    wanted = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert wanted["classifier.weight"].abs().max() > 1e-3
    assert sorted(wanted) == sorted(got)
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("strands", ["none", "average"])
@pytest.mark.parametrize("problem", list(Problem))
def test_scores_and_predictions_are_of_joined_tiles(pretrained, tmp_path, problem, strands):
    of_bases, task = problem is Problem.per_base, make_task(problem)
    result = run_search(
        pretrained, task, arguments(tmp_path, max_steps=3), tile_bp=TILE_BP, reverse_complement=strands
    )
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["tile_bp"] == TILE_BP
    auto = AutoModelForTokenClassification if of_bases else AutoModelForSequenceClassification
    model, tokenizer = auto.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)

    def logits_of(text):
        return predict_logits(model, tokenizer, [text], reverse_complement=strands)[0]

    logits = [joined(logits_of, sequence, of_bases) for sequence in task.test.sequences]
    assert [len(row) for row in logits] == [
        len(s) if of_bases else len(task.names) for s in task.test.sequences
    ]
    targets = np.concatenate(task.test.targets) if of_bases else np.array(task.test.targets)
    outputs = (torch.cat if of_bases else torch.stack)(logits).numpy()
    scores = score_predictions(problem, outputs, targets)
    assert {name: result.metrics[f"test_{name}"] for name in scores} == pytest.approx(scores, abs=1e-4)
    # The folder remembers its tiles; others can be asked for.
    found = list(dnachunk.predict(tmp_path, task.test.sequences, reverse_complement=strands, batch_size=3))
    link = {
        Problem.regression: lambda row: row,
        Problem.multi_label: torch.sigmoid,
    }.get(problem, lambda row: row.softmax(-1))
    for prediction, row in zip(found, logits, strict=True):
        torch.testing.assert_close(prediction.values, link(row), rtol=1e-4, atol=1e-5)
        assert len(prediction.positions_bp) == (len(row) if of_bases else len(prediction.positions_bp))
    others = list(dnachunk.predict(tmp_path, task.test.sequences, reverse_complement=strands, tile_bp=200))
    assert max((a.values - b.values).abs().max() for a, b in zip(found, others, strict=True)) > 1e-4


def test_both_strands_of_each_tile_are_run(pretrained, tmp_path):
    tuner = make_tuner(pretrained, make_task(Problem.single_label), tmp_path, reverse_complement="average")
    examples = tuner.task.valid
    found = tuner.predict(tuner.examples(examples)).predictions
    tokenizer = tuner.processing_class

    def logits_of(text):
        strands = [text, reverse_complement(text)]
        return sum(predict_logits(tuner.model, tokenizer, [strand])[0] for strand in strands) / 2

    expected = torch.stack([joined(logits_of, sequence) for sequence in examples.sequences]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_sequences_of_one_tile_are_trained_on_as_without(pretrained, tmp_path):
    for name, tile_bp in (("plain", None), ("tiled", 55)):
        run_search(pretrained, toy_task(24, 8, 8), arguments(tmp_path / name, max_steps=3), tile_bp=tile_bp)
    plain, tiled = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "tiled"))
    assert plain == tiled
    assert "tile_bp" not in json.loads((tmp_path / "plain" / "config.json").read_text())


@pytest.mark.parametrize("method", ["full", "probe", "lora"])
@pytest.mark.parametrize("labels", ["sequences", "bases"])
def test_every_method_learns_from_tiles(pretrained, tmp_path, method, labels):
    task = make_task(Problem.per_base) if labels == "bases" else toy_task(48, 16, 32)
    lora = LoRA(rank=2) if method == "lora" else None
    args = arguments(tmp_path, num_train_epochs=6, learning_rate=2e-2 if method == "probe" else 5e-3)
    result = run_search(pretrained, task, args, method=method, lora=lora, tile_bp=TILE_BP)
    # The bases of the decoder that a probe of bases reads are those of a model with random weights.
    least = 0.6 if (method, labels) == ("probe", "bases") else 0.8
    assert result.metrics["test_auroc"] > least


def test_label_smoothing_is_of_the_joined_logits(pretrained, tmp_path):
    task = make_task(Problem.single_label)
    losses = []
    for smoothing in (0.0, 0.3):
        tuner = make_tuner(pretrained, task, tmp_path, label_smoothing_factor=smoothing)
        batch = tuner.data_collator([tuner.train_dataset[index] for index in range(4)])
        loss, output = tuner.compute_loss(tuner.model.eval(), batch, return_outputs=True)
        targets = torch.tensor(task.train.targets[:4])
        expected = torch.nn.functional.cross_entropy(output["logits"], targets, label_smoothing=smoothing)
        torch.testing.assert_close(loss, expected)
        losses.append(loss)
    assert losses[0] != losses[1]


def test_a_tile_must_fit_the_model(tmp_path):
    bert, task = (
        save_bert(tmp_path / "bert"),
        Task.of(
            {
                "train": labelled(["ACG" * 30, "ACG" * 10], ["a", "b"]),
                "valid": labelled(["AC", "G"], ["a", "b"]),
            }
        ),
    )
    with pytest.raises(
        ArgumentError, match="line 2: the sequence has 32 tokens.*cut them in tiles with tile_bp"
    ):
        run_search(bert, task, arguments(tmp_path / "run", max_steps=1))
    with pytest.raises(
        ArgumentError, match="line 2: a tile of the sequence has 28 tokens, the model takes 24: "
    ):
        run_search(bert, task, arguments(tmp_path / "run", max_steps=1), tile_bp=78)
    result = run_search(bert, task, arguments(tmp_path / "run", max_steps=1), tile_bp=66)
    assert result.repeats[0].steps == 1
    long = [text for text in task.train.sequences if len(text) > 66]
    assert len(list(dnachunk.predict(tmp_path / "run", long))) == 1
    with pytest.raises(
        ArgumentError, match="index 0: a tile of the sequence has 28 tokens, .*smaller tile_bp"
    ):
        list(dnachunk.predict(tmp_path / "run", long, tile_bp=78))
    # What is asked for goes before what is remembered.
    mixed = random_sequences(1, 90, 4)
    cut, whole = (
        next(iter(dnachunk.predict(tmp_path / "run", mixed, truncate=truncate))).values
        for truncate in (True, False)
    )
    assert (cut - whole).abs().max() > 1e-5


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (
            {"tile_bp": 24, "truncate": True},
            UsageError,
            "tile_bp reads what truncate cuts off: give one of them",
        ),
        ({"tile_bp": 1}, ArgumentError, "tile_bp must be a whole number of at least 2, got 1"),
        ({"tile_bp": 24.5}, ArgumentError, "tile_bp must be a whole number of at least 2, got 24.5"),
    ],
)
def test_tiles_that_cannot_be(pretrained, tmp_path, options, error, said):
    with pytest.raises(error, match=said):
        run_search(pretrained, toy_task(8, 8, 8), arguments(tmp_path / "run"), **options)
    with pytest.raises(error, match=said):
        dnachunk.predict(load_with_head(pretrained, toy_task(8, 8, 8)), ["ACGT"], **options)
    assert not (tmp_path / "run").exists()


def test_a_fine_tuned_model_is_tuned_again_with_its_tiles(pretrained, tmp_path):
    model, task = load_with_head(pretrained, toy_task(8, 8, 8)), toy_task(8, 8, 8)
    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    first = FineTuner(model, arguments(tmp_path), task, tokenizer, tile_bp=TILE_BP)
    first.save_model(str(tmp_path / "first"))
    for options, expected in (({}, TILE_BP), ({"tile_bp": 30}, 30), ({"truncate": True}, None)):
        again = FineTuner(
            load_with_head(tmp_path / "first", task), arguments(tmp_path), task, tokenizer, **options
        )
        assert again.tile_bp == again.model.config.tile_bp == expected
        batch = again.data_collator([again.train_dataset[index] for index in range(2)])
        lengths = [len(sequence) for sequence in task.train.sequences[:2]]
        rows = sum(len(own_tiles(length, expected)) for length in lengths)
        assert len(batch["input_ids"]) == rows
