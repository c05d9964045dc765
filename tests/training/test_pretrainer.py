import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForPreTraining, AutoTokenizer, EarlyStoppingCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from dnachunk import DNATokenizer, MergeDNAForPreTraining
from dnachunk.alphabet import A_ID, IGNORE_INDEX, MASK_ID, T_ID
from dnachunk.data import Genome, HeldOutWindows, Interval, WindowCollator
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.models.mergedna.objective_mergedna import draw_keep_ratio
from dnachunk.nn import TokenMerge
from dnachunk.nn.token_merge import tied_candidates
from dnachunk.random import mix
from tests.training.runs import GLOBAL_BATCH, logged, make_trainer, write_genome

LOSSES = ("reconstruction_loss", "latent_reconstruction_loss", "masked_loss")


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("genome") / "genome.fa")


class Seen(TrainerCallback):
    """What the model was given, step by step."""

    def __init__(self):
        self.calls = []

    def watch(self, trainer):
        forward = trainer.model.forward

        def watched(**arguments):
            if trainer.model.training:
                self.calls.append({"step": trainer.state.global_step, **arguments})
            return forward(**arguments)

        trainer.model.forward = watched
        return trainer


def test_a_step_sees_the_windows_ratio_and_seeds_of_its_number(fasta, tmp_path):
    seen = Seen()
    trainer = seen.watch(make_trainer(fasta, tmp_path, max_steps=3, seed=5))
    trainer.train()
    assert [call["step"] for call in seen.calls] == [0, 1, 2]
    for step, call in enumerate(seen.calls):
        first = step * GLOBAL_BATCH
        windows = [trainer.train_dataset[first + place]["input_ids"] for place in range(GLOBAL_BATCH)]
        assert torch.equal(call["input_ids"], torch.stack(windows))
        assert call["keep_ratio"] == draw_keep_ratio(trainer.model.config, 5, step)
        assert call["sample_seeds"].tolist() == [mix(5, step, first + place) for place in range(GLOBAL_BATCH)]
        assert call["num_items_in_batch"] == GLOBAL_BATCH * 64
        assert not {"repeat_mask", "sample_index"} & set(call)


def test_accumulation_splits_a_global_batch_and_keeps_its_ratio(fasta, tmp_path):
    seen = Seen()
    trainer = seen.watch(
        make_trainer(
            fasta,
            tmp_path,
            max_steps=2,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=GLOBAL_BATCH,
        )
    )
    trainer.train()
    assert [call["step"] for call in seen.calls] == [0] * GLOBAL_BATCH + [1] * GLOBAL_BATCH
    assert len({call["keep_ratio"] for call in seen.calls[:GLOBAL_BATCH]}) == 1
    indices = [mix(trainer.args.seed, index // GLOBAL_BATCH, index) for index in range(2 * GLOBAL_BATCH)]
    assert [int(call["sample_seeds"]) for call in seen.calls] == indices


def test_the_log_is_what_the_model_computes(fasta, tmp_path):
    trainer = make_trainer(fasta, tmp_path, max_steps=1)
    untrained = make_trainer(fasta, tmp_path, max_steps=1)
    trainer.train()
    batch = untrained.data_collator([untrained.train_dataset[index] for index in range(GLOBAL_BATCH)])
    inputs = untrained.objective.training_inputs(untrained.model.config, batch, untrained.args.seed, 0)
    untrained.model.train()
    output = untrained.model(**inputs)
    entry = trainer.state.log_history[0]
    assert entry["loss"] == pytest.approx(output.loss.item(), rel=1e-6)
    for name in LOSSES:
        assert entry[name] == pytest.approx(output.losses[name.removesuffix("_loss")].item(), rel=1e-6)
    assert entry["keep_ratio"] == inputs["keep_ratio"]
    assert entry["compression"] == 64 / math.ceil(64 * inputs["keep_ratio"])
    assert entry["mask_rate"] == pytest.approx(output.mask_rate.item())


def test_log_entries_are_means_over_their_steps(fasta, tmp_path):
    every = make_trainer(fasta, tmp_path, max_steps=4)
    some = make_trainer(fasta, tmp_path, max_steps=4, logging_steps=2)
    every.train()
    some.train()
    for name in ("loss", *LOSSES, "keep_ratio", "mask_rate"):
        ones = logged(every, name)
        want = [(ones[0] + ones[1]) / 2, (ones[2] + ones[3]) / 2]
        assert logged(some, name) == pytest.approx(want, rel=1e-5), name


def test_a_resumed_run_is_the_uninterrupted_one(fasta, tmp_path):
    arguments = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "lr_scheduler_type": "cosine"}
    whole = make_trainer(fasta, tmp_path / "whole", **arguments)
    whole.train()
    resumed = make_trainer(fasta, tmp_path / "resumed", **arguments)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    for name in ("loss", *LOSSES, "learning_rate", "grad_norm", "keep_ratio"):
        assert logged(resumed, name) == logged(whole, name), name
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


def test_accumulation_gives_the_losses_of_one_batch(fasta, tmp_path):
    # Adaptive masking is a mean of each micro-batch, so it is left out here and tested on its own.
    config = {"masked_weight": 0.0}
    one = make_trainer(fasta, tmp_path, config=config)
    split = make_trainer(
        fasta,
        tmp_path,
        config=config,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=GLOBAL_BATCH,
    )
    one.train()
    split.train()
    for name in ("loss", "grad_norm", *LOSSES[:2]):
        assert logged(split, name) == pytest.approx(logged(one, name), rel=1e-5), name


def test_accumulated_adaptive_masking_is_weighted_by_labelled_bases(fasta, tmp_path):
    trainer = make_trainer(
        fasta, tmp_path, max_steps=1, per_device_train_batch_size=1, gradient_accumulation_steps=GLOBAL_BATCH
    )
    untrained = make_trainer(fasta, tmp_path, max_steps=1)
    trainer.train()
    means = []
    for index in range(GLOBAL_BATCH):
        batch = untrained.data_collator([untrained.train_dataset[index]])
        inputs = untrained.objective.training_inputs(untrained.model.config, batch, untrained.args.seed, 0)
        means.append(untrained.model.train()(**inputs).losses["masked"].item())
    assert logged(trainer, "masked_loss") == pytest.approx([sum(means) / GLOBAL_BATCH], rel=1e-5)
    entry = trainer.state.log_history[0]
    total = entry["reconstruction_loss"] + 0.25 * entry["latent_reconstruction_loss"] + entry["masked_loss"]
    assert entry["loss"] == pytest.approx(total, rel=1e-5)


OF_EACH = {
    "mergedna": (*LOSSES, "compression", "mask_rate", "keep_ratio", "eval_amtm_nats", "eval_amtm_count"),
    "dnachunker": ("masked_loss", "ratio_0_loss", "ratio_1_loss", "compression_0", "compression_1"),
    "mxdna": ("masked_loss", "load_balancing_loss", "compression", "expert_0_share"),
}
"""What the log holds beside what all models log."""


@pytest.mark.parametrize("kind", sorted(OF_EACH))
def test_two_ranks_give_the_losses_of_one_process(fasta, tmp_path, kind):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tests.training.ranks", kind, str(fasta), str(tmp_path / "ranks")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(root), *sys.path]),
    }
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = json.loads((tmp_path / "ranks" / "history.json").read_text())
    one = make_trainer(fasta, tmp_path / "one", kind=kind, eval_strategy="steps", eval_steps=3)
    one.train()
    for name in ("loss", "grad_norm", "eval_loss", "eval_masked_nats", "eval_masked_count", *OF_EACH[kind]):
        got, want = [entry[name] for entry in ranks if name in entry], logged(one, name)
        assert want, name
        assert got == pytest.approx(want, rel=1e-4 if name.startswith("eval") else 1e-5), name
    files = {path.name for path in (tmp_path / "ranks" / "checkpoint-6").iterdir()}
    assert {"model.safetensors", "trainer_state.json", "rng_state_0.pth", "rng_state_1.pth"} <= files
    assert not (tmp_path / "ranks" / ".incomplete").exists()


@pytest.mark.parametrize("kind", sorted(OF_EACH))
def test_each_genome_has_metrics_of_its_own(tmp_path, kind):
    genomes = [Genome(write_genome(tmp_path / f"{name}.fa", seed=seed)) for seed, name in enumerate("ab")]
    trainer = make_trainer(genomes[0].path, tmp_path, kind=kind, per_device_eval_batch_size=3)
    holdout = [Interval("two", genome=str(genome.path)) for genome in genomes]
    # Seven windows of the one and four of the other, so that a batch has some of both.
    holdout[1] = Interval("two", 0, 256, str(genomes[1].path))
    both = HeldOutWindows(genomes, 64, holdout)
    assert both.genome_indices.tolist() == [0] * 7 + [1] * 4
    pooled = trainer.evaluate(both)
    first = trainer.evaluate(HeldOutWindows(genomes, 64, holdout[:1]))
    own = {name.removesuffix("/a"): value for name, value in pooled.items() if name.endswith("/a")}
    assert own.keys() == {
        name
        for name in first
        if name.startswith("eval_") and name.split("_")[-1] not in ("runtime", "second")
    }
    for name, value in own.items():
        assert value == pytest.approx(first[name], rel=1e-5), name
    assert not any("/" in name for name in first)
    counts = [pooled[f"eval_masked_count/{name}"] for name in "ab"]
    assert sum(counts) == pooled["eval_masked_count"]
    nats = [pooled[f"eval_masked_nats/{name}"] for name in "ab"]
    mean = sum(count * each for count, each in zip(counts, nats, strict=True)) / sum(counts)
    assert pooled["eval_masked_nats"] == pytest.approx(mean, rel=1e-9)
    assert nats[0] != nats[1]


def test_evaluation_scores_the_bases_shown_as_mask(fasta, tmp_path):
    trainer = make_trainer(fasta, tmp_path, per_device_eval_batch_size=3)
    metrics = trainer.evaluate(metric_key_prefix="test")
    model = trainer.model.eval()
    batch = trainer.get_eval_dataloader().collate_fn(
        [trainer.eval_dataset[i] for i in range(len(trainer.eval_dataset))]
    )
    masked = mask_bases(batch["input_ids"], mask_seeds(trainer.args.seed, batch["sample_index"]))
    with torch.no_grad():
        logits = trainer.objective.predict(model, {**batch, "input_ids": masked.input_ids})
        output = model(**trainer.objective.evaluation_inputs(model.config, batch, trainer.args.seed))
    is_scored = masked.input_ids == MASK_ID
    letters = (batch["input_ids"][is_scored] - A_ID).tolist()
    log_p = logits[is_scored][:, A_ID : T_ID + 1].log_softmax(dim=-1)
    assert metrics["test_masked_count"] == len(letters)
    assert metrics["test_masked_accuracy"] == pytest.approx(
        (log_p.argmax(dim=-1) == torch.tensor(letters)).double().mean().item()
    )
    nats = -sum(row[letter].item() for row, letter in zip(log_p, letters, strict=True)) / len(letters)
    assert metrics["test_masked_nats"] == pytest.approx(nats, rel=1e-5)
    assert metrics["test_loss"] == pytest.approx(output.loss.item(), rel=1e-5)
    assert metrics["test_amtm_count"] == int((output.is_masked & (batch["labels"] != IGNORE_INDEX)).sum())
    assert model.training is False


def test_the_masked_path_is_the_masked_lm_models(fasta, tmp_path):
    from dnachunk import MergeDNAForMaskedLM

    trainer = make_trainer(fasta, tmp_path)
    trainer.save_model(str(tmp_path / "saved"))
    masked_lm = MergeDNAForMaskedLM.from_pretrained(tmp_path / "saved")
    ids = torch.randint(A_ID, T_ID + 1, (2, 64))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        torch.testing.assert_close(
            trainer.objective.predict(trainer.model.eval(), batch), masked_lm.eval()(**batch).logits
        )


def test_evaluation_does_not_change_training(fasta, tmp_path):
    plain = make_trainer(fasta, tmp_path, max_steps=4)
    evaluated = make_trainer(
        fasta, tmp_path, max_steps=4, eval_strategy="steps", eval_steps=1, eval_on_start=True
    )
    plain.train()
    evaluated.train()
    assert logged(evaluated, "loss") == logged(plain, "loss")
    assert len(logged(evaluated, "eval_masked_nats")) == 5


def test_masked_objective_trains_and_learns_what_was_masked(fasta, tmp_path):
    seen = Seen()
    trainer = seen.watch(make_trainer(fasta, tmp_path, max_steps=2, config={"objective": "masked"}))
    trainer.train()
    call = seen.calls[1]
    is_selected = call["labels"] != IGNORE_INDEX
    assert 0.05 < is_selected.double().mean() < 0.3
    assert ((call["input_ids"] == MASK_ID) <= is_selected).all()
    assert call["num_items_in_batch"] == is_selected.sum()
    assert logged(trainer, "masked_loss") == logged(trainer, "loss")
    assert "reconstruction_loss" not in trainer.state.log_history[0]
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] == metrics["eval_masked_loss"]
    assert "eval_amtm_nats" not in metrics


def test_the_best_model_is_loaded_and_stopping_early_works(fasta, tmp_path):
    trainer = make_trainer(
        fasta,
        tmp_path,
        max_steps=30,
        learning_rate=0.3,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        save_total_limit=2,
        load_best_model_at_end=True,
        callbacks=[EarlyStoppingCallback(2)],
    )
    trainer.train()
    losses = logged(trainer, "eval_loss")
    best = losses.index(min(losses)) + 1
    assert trainer.state.global_step == best + 2 < 30
    assert trainer.state.best_model_checkpoint == str(tmp_path / f"checkpoint-{best}")
    assert trainer.evaluate()["eval_loss"] == min(losses)
    kept = {path.name for path in tmp_path.glob("checkpoint-*")}
    assert kept == {f"checkpoint-{best}", f"checkpoint-{best + 2}"}
    state = json.loads((tmp_path / f"checkpoint-{best}" / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(tmp_path / f"checkpoint-{best}")


def test_what_is_saved_loads_by_the_auto_classes(fasta, tmp_path):
    trainer = make_trainer(fasta, tmp_path / "run", max_steps=1)
    trainer.train()
    trainer.save_model()
    model = AutoModelForPreTraining.from_pretrained(tmp_path / "run")
    assert isinstance(model, MergeDNAForPreTraining)
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name
    assert isinstance(AutoTokenizer.from_pretrained(tmp_path / "run"), DNATokenizer)
    assert not (tmp_path / "run" / ".incomplete").exists()


@pytest.mark.parametrize("failing", ["model", "optimizer", "state"])
def test_a_failed_checkpoint_leaves_the_last_one_whole(fasta, tmp_path, monkeypatch, failing):
    trainer = make_trainer(fasta, tmp_path, max_steps=4, save_strategy="steps", save_steps=2)

    def full(*_args, **_kwargs):
        for directory in (tmp_path / ".incomplete").glob("checkpoint-*"):
            (directory / "half").write_text("half")
        raise OSError(28, "No space left on device")

    class FillDisk(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step != 4:
                return
            target = {
                "model": (trainer.model, "save_pretrained"),
                "optimizer": (trainer, "_save_optimizer_and_scheduler"),
                "state": (trainer.state, "save_to_json"),
            }[failing]
            monkeypatch.setattr(*target, full)

    trainer.add_callback(FillDisk())
    with pytest.raises(OSError, match=r"^checkpoint-4 could not be saved in .*No space left.*checkpoint-2$"):
        trainer.train()
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-2"}
    assert get_last_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoint-2")
    resumed = make_trainer(fasta, tmp_path, max_steps=4)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 4


def test_a_failed_final_save_leaves_the_old_model(fasta, tmp_path, monkeypatch):
    trainer = make_trainer(fasta, tmp_path, max_steps=1)
    trainer.save_model()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    trainer.train()

    def full(*_args, **_kwargs):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed\nat frame #0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"^the model could not be saved in .*file write failed$"):
        trainer.save_model()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_resuming_from_weights_that_do_not_fit_is_refused(fasta, tmp_path):
    make_trainer(fasta, tmp_path, max_steps=1, save_strategy="steps", save_steps=1).train()
    checkpoint = str(tmp_path / "checkpoint-1")
    deeper = make_trainer(fasta, tmp_path / "deeper", config={"num_latent_encoder_layers": 2})
    with pytest.raises(ValueError, match=r"missing model.latent_encoder.blocks.1"):
        deeper.train(resume_from_checkpoint=checkpoint)
    wider = make_trainer(fasta, tmp_path / "wider", config={"hidden_size": 64})
    with pytest.raises(ValueError, match=r"(?s)do not fit the model.*size mismatch for model.embed_tokens"):
        wider.train(resume_from_checkpoint=checkpoint)


def test_bf16_autocast_runs_and_stays_close(fasta, tmp_path):
    wide = make_trainer(fasta, tmp_path, max_steps=2)
    narrow = make_trainer(fasta, tmp_path, max_steps=2, bf16=True)
    wide.train()
    narrow.train()
    assert logged(narrow, "loss") == pytest.approx(logged(wide, "loss"), rel=0.02)
    assert logged(narrow, "loss") != logged(wide, "loss")


@pytest.mark.parametrize("objective", ["merge", "masked"])
def test_ties_of_merging_are_those_of_each_layer(fasta, tmp_path, objective):
    trainer = make_trainer(fasta, tmp_path, max_steps=1, config={"objective": objective})
    metrics = trainer.evaluate()
    batch = WindowCollator()([trainer.eval_dataset[i] for i in range(len(trainer.eval_dataset))])
    found = []

    def note(merge, args, kwargs, merged):
        pair = tied_candidates(
            merged.scores, kwargs["lengths"], merged.token_index, merge.window, merge.shift
        )
        found.append((pair[0] / pair[1]).item())

    layers = [layer for layer in trainer.model.modules() if isinstance(layer, TokenMerge)]
    for layer in layers:
        layer.register_forward_hook(note, with_kwargs=True)
    trainer.model.eval().encode_tokens(batch["input_ids"], batch["attention_mask"], vectors=False)
    names = [name for name in metrics if name.startswith("eval_tied_candidates_")]
    assert names == [f"eval_tied_candidates_{layer}" for layer in range(len(layers))]
    assert [metrics[name] for name in names] == pytest.approx(found)
    # An untrained model has few scores in its first layer: position decides.
    assert found[0] > 0
