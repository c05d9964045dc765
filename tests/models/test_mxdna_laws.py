import dataclasses
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
    DNATokenizer,
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


ABLATIONS = [
    {"deformable_kernel_size": 0},
    {"boundaries": "fixed"},
    {"boundaries": "every_base"},
    {"boundaries": "every_base", "kernel_sizes": [3, 5]},
    {"boundaries": "every_base", "kernel_sizes": [], "deformable_kernel_size": 0},
]


class TestMxDNALaws(laws.ModelLaws):
    case = CASE
    variants: ClassVar = [
        *ABLATIONS,
        {"cross_attention_position": "index"},
        {"kernel_sizes": [3, 5]},
        {"deformable_kernel_size": 5},
        {"load_balancing_weight": 0.0},
        {"router_jitter": 0.0},
    ]
    round_trip_fields: ClassVar = {
        "boundaries": "fixed",
        "classifier_head": "dense",
        "classifier_load_balancing_weight": 0.1,
        "deformable_kernel_size": 0,
        "kernel_sizes": [2, 4],
        "pooling": "mean",
        "cross_attention_position": "index",
        "num_labels": 3,
    }


HEADS = {"classifier_head": "dense", "classifier_load_balancing_weight": 0.1, "classifier_dropout": 0.1}


@pytest.mark.parametrize("fields", [*ABLATIONS, HEADS], ids=str)
@pytest.mark.parametrize("head", ["sequence", "token"])
def test_laws_of_classifiers(head, fields, tmp_path):
    case = dataclasses.replace(CASE, config=lambda **more: small_config(**{**fields, **more}))
    laws.check_padding_is_inert(case, head, torch.float64)
    laws.check_batch_order(case, head, torch.float64)
    laws.check_save_load(case, head, tmp_path)
    laws.check_every_parameter_learns(case, head, bf16=False)
    laws.check_empty_batch(case, head)
    laws.check_pipeline(case, head, DNATokenizer(cls_sep=True))
    laws.check_peft_by_task(case, head)
    if fields is HEADS:
        laws.check_births(case, head)


@pytest.mark.parametrize("fields", [ABLATIONS[1], ABLATIONS[3]], ids=str)
def test_an_ablation_compiles(fields):
    case = dataclasses.replace(CASE, config=lambda **more: small_config(**{**fields, **more}))
    laws.check_compile(case, "masked_lm", training=True, backend="aot_eager", lengths=[(61, 40)])


def test_compile_for_training():
    laws.check_compile(CASE, "masked_lm", training=True, backend="aot_eager", lengths=[(61, 40)])


def tokenize(length):
    tokens = LearntTokenization(16)(torch.randn(1, length, 16))
    tokens.values.square().sum().backward()


@pytest.mark.slow
def test_linear_memory():
    laws.check_linear_memory(tokenize)
