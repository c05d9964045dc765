import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    RobertaConfig,
    RobertaForSequenceClassification,
    TrainerCallback,
)

from dnachunk import DNATokenizer, MergeDNAConfig, MergeDNAForSequenceClassification
from dnachunk.alphabet import reverse_complement
from dnachunk.data import Problem, Task
from dnachunk.evaluation import predict_logits, score_predictions
from dnachunk.models.limits import length_limits
from dnachunk.training import Candidate, FineTuner, LoRA, grid
from dnachunk.training import run_search as finetune
from dnachunk.training.adaptation import add_lora, called_linears, load_with_head
from dnachunk.training.finetuner import StopEarly
from tests.training.finetuning import (
    arguments,
    labelled,
    random_sequences,
    save_bert,
    save_small,
    toy_set,
    toy_task,
)
from tests.training.runs import SMALL_CONFIGS

pytestmark = pytest.mark.usefixtures("quick_collections")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("mergedna"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"))


def make_tuner(directory, task, output_dir, **options):
    trainer_options = {name: options.pop(name) for name in ("callbacks",) if name in options}
    tuning = {
        name: options.pop(name)
        for name in ("method", "lora", "reverse_complement", "truncate")
        if name in options
    }
    torch.manual_seed(0)
    return FineTuner(
        load_with_head(directory, task),
        arguments(output_dir, **options),
        task,
        AutoTokenizer.from_pretrained(directory),
        **tuning,
        **trainer_options,
    )


def predicted(directory, sequences, auto=AutoModelForSequenceClassification, **options):
    model = auto.from_pretrained(directory)
    return predict_logits(model, AutoTokenizer.from_pretrained(directory), sequences, **options)


def weights(directory):
    return safetensors.torch.load_file(directory / "model.safetensors")


# One run


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_toy_task_is_learned_and_the_model_loads(pretrained, tmp_path, method):
    task = toy_task()
    result = finetune(pretrained, task, arguments(tmp_path), method=method)
    metrics = result.metrics
    assert metrics["test_accuracy"] > 0.95
    assert metrics["test_mcc"] > 0.9
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(model) is MergeDNAForSequenceClassification
    assert model.config.id2label == {0: "strong", 1: "weak"}
    # The numbers are those of the model that was saved.
    logits = torch.stack(predicted(tmp_path, task.test.sequences)).numpy()
    scores = score_predictions(task.problem, logits, np.array(task.test.targets))
    assert {f"test_{name}": value for name, value in scores.items()} == pytest.approx(
        {name: value for name, value in metrics.items() if name.startswith("test_") and name != "test_loss"}
    )


def test_lora_trains_under_5_percent_of_a_tiny_model(tmp_path):
    task = toy_task(train=4, valid=4)
    model = MergeDNAForSequenceClassification(MergeDNAConfig.tiny(**task.config_fields))
    tuner = FineTuner(model, arguments(tmp_path), task, DNATokenizer(), method="lora")
    assert 0 < tuner.trained_parameters < 0.05 * tuner.num_parameters
    assert tuner.num_parameters == sum(parameter.numel() for parameter in model.parameters()) - sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if "lora_" in name or "modules_to_save" in name
    )


@pytest.mark.parametrize("system", ["pretrained", "bert"])
def test_lora_learns_merges_saves_and_reloads(request, tmp_path, system):
    directory = request.getfixturevalue(system)
    task = toy_task()
    tuner = make_tuner(directory, task, tmp_path, method="lora", lora=LoRA(rank=4), max_steps=6)
    before = {name: parameter.clone() for name, parameter in tuner.model.named_parameters()}
    tuner.train()
    for name, parameter in tuner.model.named_parameters():
        learns = "lora_" in name or "modules_to_save" in name
        assert parameter.requires_grad == learns, name
        # Every adapter is on the way of the gradient, and nothing else moves.
        assert torch.equal(parameter, before[name]) != learns, name
    with_adapters = tuner.predict(tuner.examples(task.test)).predictions
    tuner.merge()
    tuner.save_model(str(tmp_path / "merged"))
    assert not [name for name in weights(tmp_path / "merged") if "lora" in name]
    reloaded = torch.stack(predicted(tmp_path / "merged", task.test.sequences)).numpy()
    np.testing.assert_allclose(reloaded, with_adapters, rtol=1e-4, atol=1e-5)
    assert abs(reloaded).max() > 0.01


@pytest.mark.parametrize("kind", sorted(SMALL_CONFIGS))
@pytest.mark.parametrize("labels", ["sequences", "bases"])
def test_every_system_takes_adapters(tmp_path, kind, labels):
    directory = save_small(tmp_path / kind, kind)
    task = toy_task(train=16, valid=8, test=8)
    if labels == "bases":
        task = Task.of({"train": base_set(16, 1), "valid": base_set(8, 2), "test": base_set(8, 3)})
    tuner = make_tuner(directory, task, tmp_path, method="lora", max_steps=2, reverse_complement="average")
    before = {name: parameter.clone() for name, parameter in tuner.model.named_parameters()}
    tuner.train()
    adapters = [name for name in before if "lora_B" in name]
    assert len(adapters) > 5
    idle = [name for name, value in tuner.model.named_parameters() if name in adapters and not value.any()]
    # Of MxDNA's experts only those learn that had a unit to embed.
    assert [name for name in idle if ".experts." not in name] == []
    scores = tuner.evaluate()
    tuner.merge()
    tuner.save_model(str(tmp_path / "merged"))
    auto = AutoModelForTokenClassification if labels == "bases" else AutoModelForSequenceClassification
    logits = predicted(tmp_path / "merged", task.valid.sequences, auto, reverse_complement="average")
    targets = np.concatenate([np.atleast_1d(target) for target in task.valid.targets])
    again = score_predictions(task.problem, torch.cat([row.view(-1, 2) for row in logits]).numpy(), targets)
    assert {name: scores[f"eval_{name}"] for name in again} == pytest.approx(again, abs=1e-4)


@pytest.mark.parametrize("system", ["pretrained", "bert"])
def test_a_probe_leaves_the_backbone_untouched(request, tmp_path, system):
    directory = request.getfixturevalue(system)
    finetune(directory, toy_task(test=8), arguments(tmp_path, num_train_epochs=1), method="probe")
    before, after = weights(directory), weights(tmp_path)
    backbone = [name for name in after if name in before]
    assert len(backbone) > 10
    for name in backbone:
        assert torch.equal(before[name], after[name]), name
    new = {name.split(".")[0] for name in set(after) - set(before) if "pooler" not in name}
    assert new == {"classifier"}


def test_a_probe_runs_its_backbone_without_dropout(bert, tmp_path):
    tuner = make_tuner(bert, toy_task(), tmp_path, method="probe")
    batch = tuner.data_collator([tuner.train_dataset[index] for index in range(4)])
    model = tuner.model.train()
    tuner.compute_loss(model, batch)
    assert not model.bert.encoder.layer[0].attention.self.dropout.training
    assert model.dropout.training
    assert model.bert.pooler.training


def test_chosen_targets_alone_are_adapted(pretrained, bert, tmp_path):
    task = toy_task(train=4, valid=4, test=4)
    lora = LoRA(rank=2, target_modules=["query", "value"])
    tuner = make_tuner(bert, task, tmp_path, method="lora", lora=lora)
    adapted = {
        name.split(".lora_")[0].rpartition(".")[2]
        for name, _ in tuner.model.named_parameters()
        if ".lora_" in name
    }
    assert adapted == {"query", "value"}
    with pytest.raises(ValueError, match=r"target_modules must name .* got 'query'; there are .*qkv"):
        make_tuner(pretrained, task, tmp_path, method="lora", lora=lora)


def test_only_modules_that_are_called_with_a_gradient_are_adapted():
    class Inner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.called = torch.nn.Linear(4, 4)
            self.taken_apart = torch.nn.Linear(4, 4)
            self.undifferentiated = torch.nn.Linear(4, 4)
            self.classifier = torch.nn.Linear(4, 2)

        def forward(self, x):
            with torch.no_grad():
                self.undifferentiated(x)
            return self.classifier(torch.nn.functional.linear(self.called(x), self.taken_apart.weight))

    model = Inner().train()
    assert called_linears(model, {"x": torch.randn(2, 4)}) == ["called"]
    assert model.training
    wrapped = add_lora(model, LoRA(rank=1), {"x": torch.randn(2, 4)})
    learning = {
        name.split(".")[2] for name, parameter in wrapped.named_parameters() if parameter.requires_grad
    }
    assert learning == {"called", "classifier"}


@pytest.mark.parametrize(("lora", "scale"), [(LoRA(rank=4), 2), (LoRA(rank=4, alpha=2), 0.5)])
def test_adapters_are_scaled_by_alpha_over_rank(lora, scale):
    class Inner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def forward(self, x):
            return self.linear(x)

    wrapped, x = add_lora(Inner(), lora, {"x": torch.randn(2, 4)}), torch.randn(3, 4)
    linear = wrapped.base_model.model.linear
    down, up = linear.lora_A["default"].weight, linear.lora_B["default"].weight
    torch.nn.init.normal_(up)
    torch.testing.assert_close(wrapped(x), linear.base_layer(x) + scale * x @ down.T @ up.T)


@pytest.mark.parametrize("values", [{"rank": 0}, {"dropout": 1.0}])
def test_lora_out_of_range(values):
    with pytest.raises(ValueError, match=r"LoRA: (rank|dropout) must be"):
        LoRA(**values)


def test_adapters_learn_under_checkpointing_too(pretrained, tmp_path):
    plain = make_tuner(pretrained, toy_task(), tmp_path / "a", method="lora", max_steps=2)
    spared = make_tuner(
        pretrained, toy_task(), tmp_path / "b", method="lora", max_steps=2, activation_checkpointing=True
    )
    losses = [tuner.train().training_loss for tuner in (plain, spared)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


# Problems


def test_several_labels(pretrained, tmp_path):
    def make(count, seed):
        first, second = (toy_set(count, seed + index) for index in range(2))
        # The first's classes take turns, the second's follow each other: either, or both.
        others = [*range(0, count, 2), *range(1, count, 2)]
        sequences = [a + second.sequences[b] for a, b in zip(first.sequences, others, strict=True)]
        rows = zip(first.labels, others, strict=True)
        return labelled(sequences, ["|".join({*a, *second.labels[b]}) for a, b in rows])

    task = Task.of({"train": make(32, 1), "valid": make(16, 2), "test": make(16, 3)})
    assert task.problem is Problem.multi_label
    result = finetune(pretrained, task, arguments(tmp_path, max_steps=2), metric="f1")
    names = {"accuracy", "f1", "mcc", "auroc", "auprc", "loss"}
    assert set(result.metrics) == {f"{split}_{name}" for split in ("eval", "test") for name in names}
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert model.config.problem_type == "multi_label_classification"


@pytest.mark.parametrize("system", ["pretrained", "bert"])
@pytest.mark.parametrize("columns", [("label",), ("a", "b")])
def test_numbers(request, tmp_path, system, columns):
    def make(count, seed):
        toy = toy_set(count, seed)
        shares = [sequence.count("A") / len(sequence) for sequence in toy.sequences]
        return labelled(toy.sequences, [tuple(str(share) for _ in columns) for share in shares], columns)

    task = Task.of({"train": make(96, 1), "valid": make(32, 2), "test": make(32, 3)})
    assert task.problem is Problem.regression
    metrics = finetune(request.getfixturevalue(system), task, arguments(tmp_path, num_train_epochs=4)).metrics
    assert metrics["test_spearman"] > 0.5
    assert "test_r2" in metrics


def base_set(count, seed):
    """Which bases are G; the third is not labelled."""
    sequences = [sequence[: 20 + row % 8] for row, sequence in enumerate(random_sequences(count, 28, seed))]
    cells = ["".join("1" if base == "G" else "0" for base in sequence) for sequence in sequences]
    return labelled(sequences, [f"{cell[:2]}.{cell[3:]}" for cell in cells])


@pytest.mark.parametrize("system", ["mergedna", "single-base bert"])
def test_labels_of_bases(tmp_path, pretrained, system):
    directory = pretrained if system == "mergedna" else save_bert(tmp_path / "bert", k=1)
    if system != "mergedna":
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 24}))
    task = Task.of({"train": base_set(64, 1), "valid": base_set(16, 2), "test": base_set(16, 3)})
    assert task.problem is Problem.per_base
    result = finetune(directory, task, arguments(tmp_path / "run", num_train_epochs=8), truncate=True)
    assert result.metrics["test_accuracy"] > 0.85, "77% are not G"
    assert result.metrics["test_auroc"] > 0.95
    logits = predicted(tmp_path / "run", task.test.sequences[:1], AutoModelForTokenClassification)[0]
    assert logits.shape == (20, 2)
    is_g = torch.tensor([base == "G" for base in task.test.sequences[0]])
    assert (logits.argmax(dim=1) == is_g).float().mean() >= 0.9


def test_labels_of_bases_need_an_id_for_each(bert, tmp_path):
    task = Task.of({"train": base_set(8, 1), "valid": base_set(8, 2)})
    with pytest.raises(ValueError, match=r"one id for each base, got \d ids for 2\d bases"):
        finetune(bert, task, arguments(tmp_path))


# Both strands


@pytest.mark.parametrize("system", ["pretrained", "bert"])
def test_averaged_strands_are_equal(request, tmp_path, system):
    directory = request.getfixturevalue(system)
    model = load_with_head(directory, toy_task())
    tokenizer = AutoTokenizer.from_pretrained(directory)
    sequences = toy_set(6, 1).sequences
    others = [reverse_complement(sequence) for sequence in sequences]
    one, other = (
        torch.stack(predict_logits(model, tokenizer, strand, reverse_complement="average", batch_size=4))
        for strand in (sequences, others)
    )
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    forward, backward = (
        torch.stack(predict_logits(model, tokenizer, strand)) for strand in (sequences, others)
    )
    assert (forward - backward).abs().max() > 1e-3
    torch.testing.assert_close(one, (forward + backward) / 2, rtol=1e-5, atol=1e-6)


def test_averaged_bases_are_equal(pretrained, tmp_path):
    task = Task.of({"train": base_set(8, 1), "valid": base_set(8, 2)})
    model = load_with_head(pretrained, task)
    model.save_pretrained(tmp_path)
    sequences = task.train.sequences
    others = [reverse_complement(sequence) for sequence in sequences]
    for tokenizer in (DNATokenizer(), DNATokenizer(cls_sep=True)):
        one, other = (
            predict_logits(model, tokenizer, strand, reverse_complement="average")
            for strand in (sequences, others)
        )
        forward, backward = (predict_logits(model, tokenizer, strand) for strand in (sequences, others))
        for row, sequence in enumerate(sequences):
            assert one[row].shape == (len(sequence), 2)
            torch.testing.assert_close(one[row], other[row].flip(0), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                one[row], (forward[row] + backward[row].flip(0)) / 2, rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("kind", ["sequences", "bases"])
def test_a_trainer_scores_what_both_strands_give(pretrained, tmp_path, kind):
    task = toy_task() if kind == "sequences" else Task.of({"train": base_set(8, 1), "valid": base_set(8, 2)})
    tuner = make_tuner(pretrained, task, tmp_path, reverse_complement="average")
    got = tuner.evaluate()
    logits = predict_logits(tuner.model, DNATokenizer(), task.valid.sequences, reverse_complement="average")
    targets = np.concatenate([np.atleast_1d(target) for target in task.valid.targets])
    scores = score_predictions(task.problem, torch.cat([row.view(-1, 2) for row in logits]).numpy(), targets)
    assert {name: got[f"eval_{name}"] for name in scores} == pytest.approx(scores)
    one_strand = make_tuner(pretrained, task, tmp_path).evaluate()
    assert one_strand["eval_auroc"] != got["eval_auroc"]


def test_strands_are_none_or_average(pretrained):
    with pytest.raises(ValueError, match="must be 'none' or 'average', got 'both'"):
        predict_logits(None, DNATokenizer(), ["AC"], reverse_complement="both")


# Lengths


def test_a_sequence_longer_than_the_model_takes(bert, tmp_path):
    task = Task.of(
        {
            "train": labelled(["ACG" * 22, "ACG" * 22 + "AC", "ACG" * 30], ["a", "b", "a"]),
            "valid": labelled(["AC", "G"], ["a", "b"]),
        }
    )
    said = r"toy.csv, line 3: the sequence has 25 tokens, the model takes 24; 2 of 3 sequences are too long"
    with pytest.raises(ValueError, match=said):
        finetune(bert, task, arguments(tmp_path))
    assert not list(tmp_path.iterdir())
    tuner = make_tuner(bert, task, tmp_path, truncate=True, max_steps=1)
    tuner.train()
    batch = tuner.data_collator([tuner.train_dataset[2]])
    assert batch["input_ids"].shape == (1, 24)
    assert batch["input_ids"][0, -1] == 3


def test_a_limit_in_bases(pretrained, tmp_path):
    task = toy_task(train=8, valid=8, test=8)
    model = load_with_head(pretrained, task)
    model.config.max_length_bp = 41
    with pytest.raises(ValueError, match=r"toy.csv, line \d: the sequence has 4\d bases, the model takes 41"):
        FineTuner(model, arguments(tmp_path), task, DNATokenizer())
    tuner = FineTuner(
        model, arguments(tmp_path), task, DNATokenizer(), truncate=True, reverse_complement="average"
    )
    sequence = task.valid.sequences[6]
    batch = tuner.data_collator([tuner.examples(task.valid)[6]])
    ids = [batch["input_ids"], batch["reverse"]["input_ids"]]
    strands = [sequence, reverse_complement(sequence)]
    assert [DNATokenizer().decode(row[0]) for row in ids] == [strand[:41] for strand in strands]


def test_limits_of_models_and_tokenizers():
    model = SimpleNamespace(config=SimpleNamespace(), named_modules=lambda: [])
    assert length_limits(model, DNATokenizer()) == (None, None)
    assert length_limits(model, DNATokenizer(model_max_length=512)) == (None, 512)
    config = RobertaConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    model = RobertaForSequenceClassification(config)
    assert length_limits(model, DNATokenizer(model_max_length=512)) == (None, 32)
    model.eval()
    assert model(torch.full((1, 32), 5)).logits.shape == (1, 2)
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 33), 5))


# Search, repeats, interruption


def test_a_search_takes_the_best_on_validation_and_repeats_it(pretrained, tmp_path):
    seen = []
    candidates = grid([1e-7, 5e-3], [2])
    result = finetune(
        pretrained,
        toy_task(),
        arguments(tmp_path, seed=7),
        candidates=candidates,
        seeds=2,
        before_run=lambda trainer, candidate, seed, fold: seen.append((candidate.learning_rate, seed)),
    )
    assert seen == [(1e-7, 7), (5e-3, 7), (5e-3, 8)]
    assert result.candidate == Candidate(5e-3, 2)
    assert [run.seed for run in result.repeats] == [7, 8]
    assert [run.candidate for run in result.search] == candidates
    each = [run.test["accuracy"] for run in result.repeats]
    assert result.metrics["test_accuracy"] == pytest.approx(np.mean(each))
    assert result.metrics["test_accuracy_std"] == pytest.approx(np.std(each, ddof=1))
    names = {path.name for path in (tmp_path / "runs").iterdir()}
    assert names == {
        "settings.json",
        "rate1e-07_epochs2_seed7.json",
        "rate0.005_epochs2_seed7.json",
        "rate0.005_epochs2_seed8.json",
    }
    # The model is the repeat that is best on the validation set.
    best = max(result.repeats, key=lambda run: run.eval["mcc"])
    logits = torch.stack(predicted(tmp_path, toy_task().test.sequences)).numpy()
    scores = score_predictions(Problem.single_label, logits, np.array(toy_task().test.targets))
    assert scores == pytest.approx({name: best.test[name] for name in scores})


def test_a_grid_is_all_combinations():
    assert grid([1e-5, 1e-4], [5, 10], [4, 8])[:3] == [
        Candidate(1e-5, 5, 4),
        Candidate(1e-4, 5, 4),
        Candidate(1e-5, 10, 4),
    ]
    assert len(grid([1e-5, 5e-5, 1e-4], [5, 10], [4, 8, 16, 24, 48])) == 30
    assert grid([1e-5], [5]) == [Candidate(1e-5, 5)]
    assert grid([1e-5], [5], [4], [0.0, 0.01], [8.0, 16.0]) == [
        Candidate(1e-5, 5, 4, decay, alpha) for alpha in (8.0, 16.0) for decay in (0.0, 0.01)
    ]
    assert (
        str(Candidate(1e-5, 5, 4, 0.0, 8.0))
        == "learning rate 1e-05, weight decay 0, 5 epochs, rank 4, alpha 8"
    )
    names = {candidate.run_name(1) for candidate in grid([1e-5], [5], [4], [0.0, 0.01], [8.0, 16.0])}
    assert len(names) == 4
    assert "rate1e-05_decay0.01_epochs5_rank4_alpha16_seed1" in names
    for wrong in ({"weight_decay": -0.1}, {"lora_alpha": 0.0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            Candidate(1e-5, 5, 4, **wrong)


def test_each_candidate_has_its_own_decay_and_alpha(pretrained, tmp_path):
    seen = []

    def before_run(trainer, candidate, seed, fold):
        adapters = trainer.model.peft_config["default"]
        seen.append((trainer.args.weight_decay, adapters.lora_alpha, adapters.r))

    options = {
        "method": "lora",
        "lora": LoRA(dropout=0.1),
        "candidates": grid([1e-3], [1], [4], [0.0, 0.02], [8.0, 24.0]),
    }
    result = finetune(pretrained, toy_task(), arguments(tmp_path), before_run=before_run, **options)
    assert seen == [(0.0, 8.0, 4), (0.02, 8.0, 4), (0.0, 24.0, 4), (0.02, 24.0, 4)]
    # Finished runs are read back as they were.
    again = finetune(pretrained, toy_task(), arguments(tmp_path), resume=True, **options)
    assert len(seen) == 4
    assert [run.candidate for run in again.search] == [run.candidate for run in result.search]
    entry = result.summary["search"][1]
    assert (entry["weight_decay"], entry["lora_alpha"]) == (0.02, 8.0)


class Interrupt(TrainerCallback):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("method", ["full", "lora"])
def test_an_interrupted_search_goes_on_to_the_same_numbers(pretrained, tmp_path, method):
    def run(name, before_run=None, **options):
        settings = {
            "candidates": grid([2e-3, 5e-3], [2], [4] if method == "lora" else ()),
            "seeds": 2,
            **options,
        }
        return finetune(
            pretrained,
            toy_task(48, 16, 16),
            arguments(tmp_path / name),
            method=method,
            before_run=before_run,
            **settings,
        )

    def interrupt(trainer, candidate, seed, fold):
        if candidate.learning_rate == 5e-3:
            trainer.add_callback(Interrupt(5))

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("part", interrupt)
    left = {str(path.relative_to(tmp_path / "part")) for path in (tmp_path / "part").rglob("*")}
    assert not [name for name in left if "incomplete" in name]
    assert "model.safetensors" not in left, "a model is there when it is the best of all"
    assert "runs/best/model.safetensors" in left
    rank = "_rank4" if method == "lora" else ""
    assert f"runs/rate0.005_epochs2{rank}_seed42/checkpoint-3" in left
    assert f"runs/rate0.005_epochs2{rank}_seed42.json" not in left

    with pytest.raises(ValueError, match=r"part holds runs of a fine-tuning: resume it"):
        run("part")
    with pytest.raises(ValueError, match=r"part holds runs with other truncate: choose another folder"):
        run("part", truncate=True, resume=True)
    seen = []
    resumed = run(
        "part",
        lambda trainer, candidate, seed, fold: seen.append((candidate.learning_rate, seed)),
        resume=True,
    )
    assert seen[0] == (5e-3, 42)
    assert resumed.metrics == pytest.approx(whole.metrics, rel=1e-6)
    assert (tmp_path / "part" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()
    files = [
        {str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*")}
        for name in ("whole", "part")
    ]
    assert files[0] == files[1]
    # More seeds go on from there.
    more = run("part", seeds=3, resume=True)
    assert more.repeats[:2] == resumed.repeats


class Spoil(TrainerCallback):
    """Makes the model worse from a step on."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step >= self.step:
            model.classifier.weight.data.fill_(9.0)
            model.classifier.bias.data.copy_(torch.tensor([99.0, -99.0]))


def test_a_run_in_a_moved_folder_still_has_its_best_weights(pretrained, tmp_path):
    def run(name, *callbacks, **options):
        def before_run(trainer, candidate, seed, fold):
            for callback in callbacks:
                trainer.add_callback(callback)

        values = arguments(tmp_path / name, num_train_epochs=3)
        task = toy_task(48, 16, 16)
        return finetune(pretrained, task, values, metric="loss", before_run=before_run, **options)

    whole = run("whole", Spoil(4))
    assert whole.metrics["eval_loss"] < 5
    with pytest.raises(KeyboardInterrupt):
        run("part", Spoil(4), Interrupt(5))
    (tmp_path / "part").rename(tmp_path / "moved")
    assert run("moved", Spoil(4), resume=True).metrics == pytest.approx(whole.metrics, rel=1e-6)


def test_of_equal_scores_the_lower_loss_is_better(pretrained, tmp_path):
    options = {"metric_for_best_model": "mcc", "greater_is_better": True, "save_strategy": "best"}
    tuner = make_tuner(pretrained, toy_task(8, 8, 8), tmp_path, **options)
    tuner.state.log_history = [{"step": 3, "eval_loss": 2.0, "eval_mcc": 0.0}, {"step": 3, "loss": 1.0}]
    tuner.state.best_metric, tuner.state.best_global_step, tuner.state.global_step = 0.0, 3, 6
    for mcc, loss, is_better in ((0.0, 2.5, False), (-0.1, 1.0, False), (0.0, 1.5, True), (0.1, 9.0, True)):
        tuner.state.best_global_step = 3
        assert tuner._determine_best_metric({"eval_mcc": mcc, "eval_loss": loss}, None) is is_better
        assert tuner.state.best_global_step == (6 if is_better else 3)


def test_a_candidate_that_diverges_does_not_win(pretrained, tmp_path):
    for metric in ("mcc", "loss"):
        result = finetune(
            pretrained,
            toy_task(48, 16, 16),
            arguments(tmp_path / metric, max_steps=9),
            candidates=grid([1e18, 5e-3], [3]),
            metric=metric,
        )
        assert [each.learning_rate for each in result.diverged] == [1e18]
        assert [run.candidate.learning_rate for run in result.search] == [5e-3]
        assert result.candidate.learning_rate == 5e-3
        assert all(torch.isfinite(weight).all() for weight in weights(tmp_path / metric).values())


def test_runs_are_of_one_model_wherever_it_lies(pretrained, tmp_path):
    task = toy_task(8, 8, 8)
    first = shutil.copytree(pretrained, tmp_path / "first")
    done = finetune(first, task, arguments(tmp_path / "run", max_steps=1))
    second = shutil.copytree(pretrained, tmp_path / "second")
    assert finetune(second, task, arguments(tmp_path / "run", max_steps=1), resume=True) == done
    noisy = arguments(tmp_path / "run", max_steps=1, neftune_noise_alpha=5)
    with pytest.raises(ValueError, match="run holds runs with other arguments"):
        finetune(second, task, noisy, resume=True)
    for name in ("model.safetensors", "tokenizer_config.json"):
        (second / name).write_bytes((second / name).read_bytes() + b" ")
        with pytest.raises(ValueError, match="run holds runs with other model"):
            finetune(second, task, arguments(tmp_path / "run", max_steps=1), resume=True)


def test_a_pretrained_model_is_never_written_over(pretrained, tmp_path):
    model = shutil.copytree(pretrained, tmp_path / "model")
    before = (model / "model.safetensors").read_bytes()
    for options in ({}, {"resume": True}):
        with pytest.raises(ValueError, match="model holds a model: choose another folder"):
            finetune(model, toy_task(8, 8, 8), arguments(model, max_steps=1), **options)
    assert (model / "model.safetensors").read_bytes() == before
    assert not (model / "runs").exists()


def test_a_run_stops_when_neither_score_nor_loss_gets_better():
    def stops(scores, losses, metric="mcc"):
        control = SimpleNamespace(should_training_stop=False)
        history = [{"loss": 1.0}]
        for score, loss in zip(scores, losses, strict=True):
            history += [{"eval_loss": loss, **({} if metric == "loss" else {f"eval_{metric}": score})}]
        StopEarly(metric, 2).on_evaluate(None, SimpleNamespace(log_history=history), control)
        return control.should_training_stop

    assert not stops([0, 0, 0, 0], [4, 3, 2, 1])
    assert not stops([0.1, 0.3, 0.2], [1, 2, 3])
    assert stops([0.3, 0.1, 0.2], [1, 2, 3])
    assert not stops([0.3, 0.1, 0.4], [1, 2, 3])
    assert stops([0, 0, 0], [1, 2, 3], "loss")
    assert not stops([0, 0, 0], [1, 0.5, 3], "loss")


# Bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"metric": "spearman"},
            "metric must be one of accuracy, f1, mcc, auroc, auprc, loss where labels are single-label",
        ),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
    ],
)
def test_values_out_of_range(pretrained, tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        finetune(pretrained, toy_task(8, 8, 8), arguments(tmp_path), **options)
    assert not list(tmp_path.iterdir())


def test_a_metric_that_the_validation_set_does_not_define(pretrained, tmp_path):
    task = Task.of({"train": toy_set(8, 1), "valid": labelled(["AC", "GG"], ["weak", "weak"])})
    with pytest.raises(
        ValueError, match="auroc is not defined on the validation set, whose targets are all alike"
    ):
        finetune(pretrained, task, arguments(tmp_path), metric="eval_auroc")


def test_models_that_do_not_fit(pretrained, tmp_path):
    task = toy_task(8, 8, 8)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        finetune(tmp_path / "nowhere", task, arguments(tmp_path / "run"))
    broken = shutil.copytree(pretrained, tmp_path / "broken")
    tensors = weights(broken)
    tensors.pop("model.embed_tokens.weight")
    safetensors.torch.save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"do not fit: model.embed_tokens.weight is missing"):
        finetune(broken, task, arguments(tmp_path / "run"))
    (broken / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(
        ValueError, match=r"broken holds a model that AutoModelForSequenceClassification does not"
    ):
        finetune(broken, task, arguments(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_fine_tuned_model_is_fine_tuned_again_to_other_classes(pretrained, tmp_path):
    finetune(pretrained, toy_task(16, 8, 8), arguments(tmp_path / "two", max_steps=1))
    three = labelled(["AC", "GG", "TT"] * 4, ["a", "b", "c"] * 4)
    finetune(
        tmp_path / "two",
        Task.of({"train": three, "valid": three}),
        arguments(tmp_path / "three", max_steps=1),
    )
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "three").config.num_labels == 3


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_two_ranks_score_the_model_that_is_saved(pretrained, tmp_path, method):
    for name, count, seed in (("train", 60, 1), ("test", 40, 5)):
        toy = toy_set(count, seed)
        rows = [f"{sequence},{label}" for sequence, (label,) in zip(toy.sequences, toy.labels, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["sequence,label", *rows]))
    words = ["--model", pretrained, "--train", tmp_path / "train.csv", "--test", tmp_path / "test.csv"]
    # At this rate the last epoch is not the best one.
    words += ["--output-dir", tmp_path / "run", "--method", method, "--learning-rate", 0.05, "--use-cpu"]
    words += ["--per-device-train-batch-size", 8, "--num-train-epochs", 4, "--ddp-backend", "gloo"]
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "-m",
        "dnachunk",
        "finetune",
    ]
    done = subprocess.run([*launch, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Could not locate" not in done.stderr
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    toy = toy_set(40, 5)
    logits = torch.stack(predicted(tmp_path / "run", toy.sequences)).numpy()
    targets = np.array([metrics["classes"].index(label) for (label,) in toy.labels])
    scores = score_predictions(Problem.single_label, logits, targets)
    assert {name: metrics[f"test_{name}"] for name in scores} == pytest.approx(scores)
