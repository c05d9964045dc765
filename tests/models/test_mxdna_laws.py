from typing import ClassVar

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from dnachunk import (
    MxDNAConfig,
    MxDNAForMaskedLM,
    MxDNAForSequenceClassification,
    MxDNAForTokenClassification,
    MxDNAModel,
)
from dnachunk.alphabet import CLS_ID, SEP_ID
from dnachunk.nn import LearntTokenization
from tests.support import births
from tests.support import model_laws as laws

SHAPE = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_nucleotide_layers": 1,
    "num_token_layers": 2,
    "kernel_sizes": [1, 2, 3],
}


def small_config(**fields):
    return MxDNAConfig(**{**SHAPE, **fields})


def hidden_shapes(model, output, batch):
    size, length = batch["input_ids"].shape
    tokens = output.segmentation.num_tokens.max().item() + 2
    return [(size, n, model.config.hidden_size) for n in [length] * 2 + [tokens] * 3]


CASE = laws.ModelCase(
    config=small_config,
    heads={
        "base": (MxDNAModel, AutoModel),
        "masked_lm": (MxDNAForMaskedLM, AutoModelForMaskedLM),
        "sequence": (MxDNAForSequenceClassification, AutoModelForSequenceClassification),
        "token": (MxDNAForTokenClassification, AutoModelForTokenClassification),
    },
    hidden_shapes=hidden_shapes,
    # Of the tokens, [CLS] and units.
    extents={"last_hidden_state": "tokens", "nucleotide_hidden_state": "bases", "logits": "bases"},
    draws=lambda head, size: {"noise_seeds": 100 + torch.arange(size)},
    loss_is_of_labels=False,
    prefix=(CLS_ID,),
    suffix=(SEP_ID,),
    births={
        r"norm\.weight$|lm_head\.2\.weight$": births.constant(1),
        r"bias$|(offset|modulation)_weight$": births.constant(0),
        r"weight$": births.truncated_normal(0.02),
    },
    resized={"kernel_sizes": [1, 2, 3, 5], "deformable_kernel_size": 5, "num_token_layers": 3},
)


class TestMxDNALaws(laws.ModelLaws):
    case = CASE
    variants: ClassVar = [
        {"cross_attention_position": "index"},
        {"kernel_sizes": [3, 5]},
        {"deformable_kernel_size": 5},
        {"load_balancing_weight": 0.0},
        {"router_jitter": 0.0},
    ]
    round_trip_fields: ClassVar = {
        "kernel_sizes": [2, 4],
        "pooling": "mean",
        "cross_attention_position": "index",
        "num_labels": 3,
    }


def test_compile_for_training():
    laws.check_compile(CASE, "masked_lm", training=True, backend="aot_eager", lengths=[(61, 40)])


def tokenize(length):
    tokens = LearntTokenization(16)(torch.randn(1, length, 16))
    tokens.values.square().sum().backward()


@pytest.mark.slow
def test_linear_memory():
    laws.check_linear_memory(tokenize)
