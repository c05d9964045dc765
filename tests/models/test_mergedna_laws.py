import math
from typing import ClassVar

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from dnachunk import (
    MergeDNAConfig,
    MergeDNAForMaskedLM,
    MergeDNAForPreTraining,
    MergeDNAForSequenceClassification,
    MergeDNAForTokenClassification,
    MergeDNAModel,
)
from dnachunk.nn import TokenMerge, WindowAttention
from tests.support import births
from tests.support import model_laws as laws

SHAPE = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_local_encoder_layers": 2,
    "num_latent_encoder_layers": 3,
    "num_latent_decoder_layers": 1,
    "num_local_decoder_layers": 1,
    "group_dim": 8,
}


def small_config(**fields):
    return MergeDNAConfig(**{**SHAPE, **fields})


def hidden_shapes(model, output, batch):
    size, length = batch["input_ids"].shape
    kept = output.segmentation.num_tokens.max().item()
    # One of two merging layers takes a sequence half of the way, on a logarithmic scale.
    lengths = [length, math.floor((length * kept) ** 0.5 + 0.5)] + [kept] * (1 + 3)
    return [(size, length, model.config.hidden_size) for length in lengths]


CASE = laws.ModelCase(
    config=small_config,
    heads={
        "base": (MergeDNAModel, AutoModel),
        "pretraining": (MergeDNAForPreTraining, AutoModelForPreTraining),
        "masked_lm": (MergeDNAForMaskedLM, AutoModelForMaskedLM),
        "sequence": (MergeDNAForSequenceClassification, AutoModelForSequenceClassification),
        "token": (MergeDNAForTokenClassification, AutoModelForTokenClassification),
    },
    hidden_shapes=hidden_shapes,
    extents={
        "last_hidden_state": "tokens",
        "logits": "bases",
        "masked_logits": "bases",
        "is_masked": "bases",
        "latent_index": "tokens",
    },
    draws=lambda head, size: (
        {"keep_ratio": 0.45, "sample_seeds": 100 + torch.arange(size)} if head == "pretraining" else {}
    ),
    births={
        r"norm\.weight$": births.constant(1),
        r"bias$": births.constant(0),
        r"grouping\.weight$": births.any_of(births.normal(0.02), births.uniform_of_fan_in),
        r"weight$": births.normal(0.02),
    },
    resized={"num_local_encoder_layers": 4, "intermediate_size": 64},
)


class TestMergeDNALaws(laws.ModelLaws):
    case = CASE
    variants: ClassVar = [
        {"shift_windows": True},
        {"boundaries": "fixed"},
        {"merge_budget": "sequence"},
        {"merge_gradient": "straight_through"},
        {"merge_gradient": "frozen"},
        {"proportional_attention": False},
    ]
    loss_head = "pretraining"
    embedding_heads: ClassVar = ["base", "masked_lm", "sequence", "token"]
    round_trip_fields: ClassVar = {
        "shift_windows": True,
        "merge_gradient": "frozen",
        "keep_ratio_range": [0.3, 0.7],
        "num_labels": 3,
    }

    def test_bf16_autocast(self):
        # What adaptive masking hides, and so the pre-training loss, hangs on the tokens.
        laws.check_bf16_autocast(self.case, "masked_lm", agreement=0.9, error=0.02)


@pytest.mark.parametrize("fields", [{}, {"shift_windows": True}], ids=str)
def test_compile_for_inference(fields):
    laws.check_compile(TestMergeDNALaws().varied(fields), "sequence", training=False, backend="aot_eager")


def test_compile_for_training():
    laws.check_compile(CASE, "pretraining", training=True, backend="aot_eager", lengths=[(61, 40)])


# Inductor warns of what it uses itself.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize(("head", "training"), [("masked_lm", False), ("pretraining", True), ("token", True)])
def test_compile_with_inductor(head, training):
    laws.check_compile(CASE, head, training=training, backend="inductor", lengths=[(61, 40)])


def test_export():
    laws.check_export(CASE, "masked_lm")


def merge_window(length):
    _merge(TokenMerge(8), length)


def merge_sequence(length):
    _merge(TokenMerge(8, budget="sequence"), length)


def _merge(layer, length):
    tokens = layer(torch.randn(1, length, 8, requires_grad=True), length * 7 // 10)
    tokens.values.square().sum().backward()


def attend(length):
    WindowAttention(16, 2)(torch.randn(1, length, 16)).square().sum().backward()


def local_autoencoder(length):
    config = small_config(hidden_size=16, num_local_encoder_layers=4, num_latent_encoder_layers=1)
    model = MergeDNAForMaskedLM(config)
    tokens, _ = model.model._tokenize(torch.randint(5, 9, (1, length)), None, None, 0.5)
    bases = model.local_decoder(tokens.values, tokens.segmentation)
    bases.square().sum().backward()


@pytest.mark.slow
@pytest.mark.parametrize("layer", [merge_window, merge_sequence, attend, local_autoencoder])
def test_linear_memory(layer):
    laws.check_linear_memory(layer)
