import math

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
)
HEADS = list(CASE.heads)
OF_IDS_OR_EMBEDDINGS = [head for head in HEADS if head != "pretraining"]
DTYPES = [torch.float64, torch.float32]
# Every path that a field of the configuration opens, beside the default.
VARIANTS = [
    {"shift_windows": True},
    {"merge_budget": "sequence"},
    {"merge_gradient": "none"},
    {"merge_gradient": "frozen"},
    {"proportional_attention": False},
]


def variant(**fields):
    return laws.dataclasses.replace(CASE, config=lambda **more: small_config(**{**fields, **more}))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("head", HEADS)
def test_padding_is_inert(head, dtype):
    laws.check_padding_is_inert(CASE, head, dtype)


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_padding_is_inert_in_every_variant(fields):
    laws.check_padding_is_inert(variant(**fields), "pretraining", torch.float64)


@pytest.mark.parametrize("head", HEADS)
def test_batch_order(head):
    laws.check_batch_order(CASE, head, torch.float64)


@pytest.mark.parametrize("head", HEADS)
def test_save_load(head, tmp_path):
    laws.check_save_load(CASE, head, tmp_path)


def test_config_round_trip(tmp_path):
    laws.check_config_round_trip(CASE, tmp_path)
    fields = {
        "shift_windows": True,
        "merge_gradient": "none",
        "keep_ratio_range": [0.3, 0.7],
        "num_labels": 3,
    }
    laws.check_config_round_trip(CASE, tmp_path, **fields)


def test_unknown_config_field():
    laws.check_unknown_config_field(CASE)


@pytest.mark.parametrize("head", HEADS)
def test_determinism_over_threads(head):
    laws.check_determinism_over_threads(CASE, head)


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_learns(head, bf16):
    laws.check_every_parameter_learns(CASE, head, bf16=bf16)


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_every_parameter_learns_in_every_variant(fields):
    laws.check_every_parameter_learns(CASE, "pretraining", bf16=True, **fields)


def test_bf16_autocast():
    laws.check_bf16_autocast(CASE, "pretraining", agreement=0.9, error=0.02)


@pytest.mark.parametrize("head", HEADS)
def test_checkpointing(head):
    laws.check_checkpointing(CASE, head)


@pytest.mark.parametrize("head", OF_IDS_OR_EMBEDDINGS)
def test_inputs_embeds(head):
    laws.check_inputs_embeds(CASE, head)


@pytest.mark.parametrize("head", HEADS)
def test_bad_input_ids(head):
    laws.check_bad_input_ids(CASE, head)


@pytest.mark.parametrize("head", HEADS)
def test_return_dict(head):
    laws.check_return_dict(CASE, head)


@pytest.mark.parametrize("head", HEADS)
def test_output_hidden_states(head):
    laws.check_output_hidden_states(CASE, head)


@pytest.mark.parametrize("head", ["base", "pretraining"])
def test_attn_implementation(head):
    laws.check_attn_implementation(CASE, head)


@pytest.mark.parametrize("head", HEADS)
def test_left_padding(head):
    laws.check_left_padding_error(CASE, head)


@pytest.mark.parametrize("head", HEADS)
def test_unknown_argument(head):
    laws.check_unknown_argument(CASE, head)


@pytest.mark.parametrize("head", HEADS)
def test_empty_batch(head):
    laws.check_empty_batch(CASE, head)


@pytest.mark.parametrize("fields", [{}, {"shift_windows": True}], ids=str)
def test_compile_for_inference(fields):
    laws.check_compile(variant(**fields), "sequence", training=False, backend="aot_eager")


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
    tokens, _ = model.model.tokenize(torch.randint(5, 9, (1, length)), None, None, 0.5)
    bases = model.local_decoder(tokens.values, tokens.segmentation)
    bases.square().sum().backward()


@pytest.mark.slow
@pytest.mark.parametrize("layer", [merge_window, merge_sequence, attend, local_autoencoder])
def test_linear_memory(layer):
    laws.check_linear_memory(layer)
