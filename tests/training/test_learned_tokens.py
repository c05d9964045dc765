"""Pre-training of the models that learn how many tokens to make: DNAChunker and MxDNA."""

from types import SimpleNamespace

import pytest
import torch

from dnachunk.alphabet import CLS_ID, IGNORE_INDEX, MASK_ID, SEP_ID
from dnachunk.data import WindowCollator
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.evaluation import evaluate_masked_bases
from dnachunk.training.objectives import objective_of
from tests.training.runs import GLOBAL_BATCH, SMALL_CONFIGS, logged, make_trainer, write_genome

KINDS = ["dnachunker", "mxdna"]
LOSSES = {"dnachunker": ("masked", "ratio_0", "ratio_1"), "mxdna": ("masked", "load_balancing")}
RATIOS = {"dnachunker": ("compression_0", "compression_1"), "mxdna": ("compression", "expert_0_share")}


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    path = write_genome(tmp_path_factory.mktemp("genome") / "genome.fa")
    # Some of it soft-masked.
    path.write_text(path.read_text().replace("ACG", "acg"))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_and_the_metrics(fasta, tmp_path, kind):
    trainer = make_trainer(fasta, tmp_path, kind=kind, max_steps=2)
    trainer.train()
    for name in LOSSES[kind]:
        assert len(logged(trainer, f"{name}_loss")) == 2
    for name in RATIOS[kind]:
        assert all(value > 0 for value in logged(trainer, name))
    config, weights = trainer.model.config, trainer.objective.loss_weights(trainer.model.config)
    entry = trainer.state.log_history[0]
    total = sum(weights[name] * entry[f"{name}_loss"] for name in LOSSES[kind])
    assert entry["loss"] == pytest.approx(total, rel=1e-5)

    metrics = trainer.evaluate()
    total = sum(weights[name] * metrics[f"eval_{name}_loss"] for name in LOSSES[kind])
    assert metrics["eval_loss"] == pytest.approx(total)
    batch = WindowCollator()([trainer.eval_dataset[i] for i in range(len(trainer.eval_dataset))])
    scores = evaluate_masked_bases(
        lambda b: objective_of(config).predict(trainer.model.eval(), b), [batch], seed=trainer.args.seed
    )
    assert metrics["eval_masked_nats"] == pytest.approx(scores.masked_nats, rel=1e-5)
    assert metrics["eval_masked_accuracy"] == pytest.approx(scores.masked_accuracy)


def test_repeats_are_told_apart(fasta, tmp_path):
    trainer = make_trainer(fasta, tmp_path, kind="dnachunker", max_steps=1)
    metrics = trainer.evaluate()
    counts = [metrics[f"eval_masked_{where}_repeats_count"] for where in ("in", "outside")]
    assert sum(counts) == metrics["eval_masked_count"]
    assert min(counts) > 0
    by_part = [
        metrics[f"eval_masked_{where}_repeats_accuracy"] * count
        for where, count in zip(("in", "outside"), counts, strict=True)
    ]
    assert sum(by_part) == pytest.approx(metrics["eval_masked_accuracy"] * sum(counts))


def test_the_masked_loss_is_weighted_over_the_global_batch(fasta, tmp_path):
    trainer = make_trainer(fasta, tmp_path, kind="dnachunker", max_steps=1)
    batch = WindowCollator()([trainer.eval_dataset[i] for i in range(len(trainer.eval_dataset))])
    masked = mask_bases(batch["input_ids"], mask_seeds(trainer.args.seed, batch["sample_index"]))
    with torch.no_grad():
        logits = trainer.model.eval()(masked.input_ids, batch["attention_mask"]).logits
    nats = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), masked.labels.flatten(), ignore_index=IGNORE_INDEX, reduction="none"
    )
    weight = torch.where(batch["repeat_mask"], 0.1, 1.0) * (masked.labels != IGNORE_INDEX)
    expected = (nats.view_as(weight) * weight).sum() / weight.sum()
    # Evaluated in batches of two, whose weights differ.
    trainer.args.per_device_eval_batch_size = 2
    assert trainer.evaluate()["eval_masked_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_the_logged_compression_leaves_out_forced_boundaries_and_padding():
    output = SimpleNamespace(
        boundary_probabilities=(
            torch.tensor([[1.0, 1.0, 0.5, 0.4, 0.6, 0.9], [1.0, 0.3, 0.2, 0.1, 0.7, 0.8]]),
            torch.tensor([[1.0, 0.2, 0.9], [1.0, 0.1, 0.9]]),
        ),
        stage_segmentations=(SimpleNamespace(num_tokens=torch.tensor([3, 2])),),
    )
    arguments = {"attention_mask": (torch.arange(6) < torch.tensor([[6], [4]])).long()}
    ratios = objective_of(SMALL_CONFIGS["dnachunker"]).ratios(output, arguments)
    assert {name: pair.tolist() for name, pair in ratios.items()} == {
        "compression_0": [4 + 3, 3 + 0],
        "compression_1": [2 + 1, 1 + 0],
    }


def test_compression_is_of_the_unmasked_input(fasta, tmp_path):
    for kind in KINDS:
        trainer = make_trainer(fasta, tmp_path, kind=kind, max_steps=1)
        batch = WindowCollator()([trainer.eval_dataset[i] for i in range(len(trainer.eval_dataset))])
        metrics, model = trainer.evaluate(), trainer.model.model.eval()
        bases = batch["attention_mask"].sum().item()
        if kind == "dnachunker":
            fine, coarse = model(batch["input_ids"], batch["attention_mask"]).stage_segmentations
            fine, coarse = fine.num_tokens.sum().item(), coarse.num_tokens.sum().item()
            assert metrics["eval_compression_0"] == pytest.approx(bases / fine)
            assert metrics["eval_compression_1"] == pytest.approx(fine / coarse)
        else:
            ids = torch.nn.functional.pad(batch["input_ids"], (1, 1), value=SEP_ID)
            ids[:, 0] = CLS_ID
            units = model(ids).tokens.units
            total = units.num_tokens.sum().item()
            assert metrics["eval_compression"] == pytest.approx(bases / total)
            shares = [metrics[f"eval_expert_{expert}_share"] for expert in range(10)]
            assert sum(shares) == pytest.approx(1)
            assert shares[3] == pytest.approx((units.token_expert == 3).sum().item() / total)


@pytest.mark.parametrize("kind", KINDS)
def test_accumulation_gives_the_losses_of_one_batch(fasta, tmp_path, kind):
    config = (
        {"load_balancing_weight": 0.0} if kind == "mxdna" else {"repeat_weight": 1.0, "ratio_weight": 0.0}
    )
    whole = make_trainer(fasta, tmp_path / "whole", kind=kind, max_steps=2, config=config)
    parts = make_trainer(
        fasta,
        tmp_path / "parts",
        kind=kind,
        max_steps=2,
        config=config,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=GLOBAL_BATCH,
    )
    for trainer in (whole, parts):
        trainer.train()
    assert logged(parts, "loss") == pytest.approx(logged(whole, "loss"), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_resumes_to_the_same_numbers(fasta, tmp_path, kind):
    whole = make_trainer(fasta, tmp_path / "whole", kind=kind, max_steps=4)
    whole.train()
    first = make_trainer(
        fasta, tmp_path / "parts", kind=kind, max_steps=4, save_strategy="steps", save_steps=2
    )
    first.train()
    resumed = make_trainer(fasta, tmp_path / "parts", kind=kind, max_steps=4)
    resumed.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-2"))
    assert logged(resumed, "loss")[-2:] == logged(whole, "loss")[-2:]


def test_mxdna_reads_its_windows_between_special_tokens():
    objective = objective_of(SMALL_CONFIGS["mxdna"])
    batch = {
        "input_ids": torch.tensor([[5, 4, 7], [8, 9, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "labels": torch.tensor([[-100, 6, -100], [-100, -100, -100]]),
        "sample_index": torch.tensor([3, 4]),
    }
    inputs = objective.training_inputs(SMALL_CONFIGS["mxdna"], batch, 1, 2)
    assert inputs["input_ids"].tolist() == [[2, 5, MASK_ID, 7, 3], [2, 8, 9, 3, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert inputs["labels"].tolist() == [[-100, -100, 6, -100, -100], [-100] * 5]
    again = objective.training_inputs(SMALL_CONFIGS["mxdna"], batch, 1, 3)
    assert (again["noise_seeds"] != inputs["noise_seeds"]).all(), "jitter is drawn anew at each step"
