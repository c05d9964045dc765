import math
import random
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, TrainingArguments

from dnachunk import DNATokenizer, FixedTokenizer
from dnachunk.alphabet import A_ID, IGNORE_INDEX, MASK_ID, N_ID, T_ID
from dnachunk.baselines import baseline_config
from dnachunk.baselines.windows import tokenize_windows
from dnachunk.data import Genome, HeldOutWindows, WindowCollator, WindowDataset, default_holdout
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.data.token_windows import mask_windows
from dnachunk.evaluation.token_letters import hidden_base_logits
from dnachunk.models.loading import load_pretrained
from dnachunk.training import PreTrainer
from dnachunk.training.objectives import objective_of
from tests.training.runs import GLOBAL_BATCH, logged, write_genome

NAMES = ["base", "3mer", "3mer-overlapping", "bpe-40"]


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("genome") / "genome.fa")


def make_trainer(name, fasta, output_dir, *, max_steps=3, seed=0, **arguments):
    genomes = [Genome(fasta)]
    holdout = default_holdout(genomes)
    windows = WindowDataset(genomes, 64, holdout=holdout, num_windows=1000, seed=seed)
    texts = DNATokenizer().batch_decode([windows[index]["input_ids"] for index in range(20)])
    tokenizer = FixedTokenizer.from_name(name, texts)
    torch.manual_seed(0)
    config = baseline_config(
        "micro", len(tokenizer), hidden_size=32, num_hidden_layers=1, intermediate_size=64, train_length_bp=64
    )
    model = AutoModelForMaskedLM.from_config(config)
    defaults = {
        "max_steps": max_steps,
        "per_device_train_batch_size": GLOBAL_BATCH,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": seed,
    }
    args = TrainingArguments(str(output_dir), **{**defaults, **arguments})
    return PreTrainer(model, args, windows, HeldOutWindows(genomes, 64, holdout), tokenizer)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_masked_modelling_of_the_tokens(name, fasta, tmp_path):
    trainer = make_trainer(name, fasta, tmp_path, max_steps=2, seed=5)
    untrained = make_trainer(name, fasta, tmp_path, seed=5)
    trainer.train()
    ids = torch.stack([untrained.train_dataset[index]["input_ids"] for index in range(GLOBAL_BATCH)])
    seeds = mask_seeds(5, torch.arange(GLOBAL_BATCH))
    masked = mask_windows(untrained.processing_class, ids, seeds)
    logits = untrained.model(input_ids=masked.input_ids, attention_mask=masked.attention_mask).logits
    where = masked.labels != IGNORE_INDEX
    loss = torch.nn.functional.cross_entropy(logits[where], masked.labels[where]).item()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(loss, rel=1e-5)
    assert logged(trainer, "masked_loss") == logged(trainer, "loss")


@pytest.mark.parametrize("name", NAMES)
def test_evaluation(name, fasta, tmp_path):
    trainer = make_trainer(name, fasta, tmp_path, per_device_eval_batch_size=3)
    model, tokenizer = trainer.model.eval(), trainer.processing_class
    metrics = trainer.evaluate()
    batch = WindowCollator()([trainer.eval_dataset[index] for index in range(len(trainer.eval_dataset))])
    ids, seeds = batch["input_ids"], mask_seeds(0, batch["sample_index"])
    masked = mask_windows(tokenizer, ids, seeds)
    tokens = tokenize_windows(tokenizer, ids)
    with torch.no_grad():
        log_p = model(input_ids=masked.input_ids, attention_mask=masked.attention_mask).logits.log_softmax(-1)
    where = masked.labels != IGNORE_INDEX
    nats = -log_p.gather(-1, tokens.input_ids[..., None])[..., 0]
    assert metrics["eval_loss"] == pytest.approx(nats[where].mean().item(), rel=1e-5)
    assert metrics["eval_compression"] == pytest.approx(ids.numel() / tokens.attention_mask.sum().item())

    is_overlapping = "overlapping" in name
    assert ("eval_masked_token_nats" in metrics) == (not is_overlapping)
    if not is_overlapping:
        where &= masked.input_ids == MASK_ID
        num_bases = (tokens.ends - tokens.starts)[where]
        is_right = log_p.argmax(-1)[where] == tokens.input_ids[where]
        assert metrics["eval_masked_token_count"] == num_bases.sum()
        by_base = (nats[where].sum() / num_bases.sum()).item()
        assert metrics["eval_masked_token_nats"] == pytest.approx(by_base, rel=1e-5)
        accuracy = (num_bases * is_right).sum() / num_bases.sum()
        assert metrics["eval_masked_token_accuracy"] == pytest.approx(accuracy.item())

    assert ("eval_masked_nats" in metrics) == ("bpe" not in name)
    if "bpe" not in name:
        # The bases, and what is visible beside them, are those of every model.
        shown = mask_bases(ids, seeds).input_ids
        with torch.no_grad():
            share = 0.015 / 0.88
            logits = hidden_base_logits(model, tokenizer, shown, batch["attention_mask"], random_share=share)
        is_scored = shown == MASK_ID
        letters = ids[is_scored] - A_ID
        log_p = logits[is_scored][:, A_ID : T_ID + 1].log_softmax(-1)
        assert metrics["eval_masked_count"] == len(letters)
        nats = -log_p.gather(-1, letters[:, None]).mean().item()
        assert metrics["eval_masked_nats"] == pytest.approx(nats, rel=1e-5)
        accuracy = (log_p.argmax(-1) == letters).double().mean().item()
        assert metrics["eval_masked_accuracy"] == pytest.approx(accuracy)


def test_bases_are_right_where_their_whole_token_is():
    tokenizer = FixedTokenizer.from_name("3mer")
    tokens = tokenizer.convert_tokens_to_ids(["ACG", "T", "CCC", "GGG", "TTT"])
    labels = torch.tensor([[*tokens[:4], IGNORE_INDEX]])
    input_ids = torch.tensor([[MASK_ID, MASK_ID, MASK_ID, tokens[3], MASK_ID]])
    # Each is predicted with certainty: the first two, and one that is visible, rightly.
    predicted = torch.tensor([[tokens[0], tokens[1], tokens[4], tokens[3], tokens[4]]])
    logits = 50.0 * torch.nn.functional.one_hot(predicted, len(tokenizer))
    arguments = {"labels": labels, "input_ids": input_ids}
    sums = objective_of(object(), tokenizer).masked_sums(SimpleNamespace(logits=logits), arguments)
    assert sums["masked_token"].tolist() == pytest.approx([3 + 1, 50, 3 + 1 + 3])


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_a_genome_that_repeats_itself(name, tmp_path):
    generator = random.Random(0)
    words = "".join(generator.choice(["AACCA", "GGTTGT"]) for _ in range(400))
    (tmp_path / "genome.fa").write_text(f">one\n{words}\n")
    trainer = make_trainer(name, tmp_path / "genome.fa", tmp_path, max_steps=100, learning_rate=1e-2)
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_loss"] < 0.85 * before["eval_loss"]
    if "bpe" not in name:
        assert after["eval_masked_nats"] < 0.75 * math.log(4) < before["eval_masked_nats"]
        assert after["eval_masked_accuracy"] > 0.5


def test_accumulation_workers_and_resuming_change_no_number(fasta, tmp_path):
    name = "3mer-overlapping"
    whole = make_trainer(name, fasta, tmp_path / "whole", max_steps=4, save_strategy="steps", save_steps=2)
    whole.train()
    split = make_trainer(
        name,
        fasta,
        tmp_path / "split",
        max_steps=4,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=GLOBAL_BATCH,
        dataloader_num_workers=2,
    )
    split.train()
    resumed = make_trainer(name, fasta, tmp_path / "resumed", max_steps=4)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    for quantity in ("loss", "grad_norm", "masked_loss"):
        assert logged(split, quantity) == pytest.approx(logged(whole, quantity), rel=1e-5)
        assert logged(resumed, quantity) == logged(whole, quantity)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole" / "checkpoint-4")
    assert isinstance(tokenizer, FixedTokenizer)
    loaded = load_pretrained(AutoModelForMaskedLM, tmp_path / "whole" / "checkpoint-4").state_dict()
    assert all(torch.equal(loaded[key], weight) for key, weight in whole.model.state_dict().items())
    assert tokenizer.kind == whole.processing_class.kind


def test_nothing_selected_is_a_loss_of_zero(fasta, tmp_path):
    trainer = make_trainer("bpe-40", fasta, tmp_path)
    ids = torch.full((2, 64), N_ID)
    items = [
        {"input_ids": row, "repeat_mask": torch.zeros(64, dtype=torch.bool), "sample_index": torch.tensor(0)}
        for row in ids
    ]
    batch = trainer.data_collator(items)
    assert (batch["labels"] == IGNORE_INDEX).all()
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(0))
    loss.backward()
    assert loss == 0
    assert all(parameter.grad.isfinite().all() for parameter in trainer.model.parameters())
    trainer.eval_dataset = items
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] == 0
    assert "eval_masked_token_nats" not in metrics


def test_any_masked_language_model_has_the_objective():
    tokenizer = FixedTokenizer.from_name("3mer")
    assert objective_of(object(), tokenizer).tokenizer is tokenizer
    with pytest.raises(ValueError, match="config.model_type must be of .*, got 'eurobert'"):
        objective_of(baseline_config("micro"), DNATokenizer())
