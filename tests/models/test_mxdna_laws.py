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
)
HEADS = list(CASE.heads)
DTYPES = [torch.float64, torch.float32]
# Every path that a field of the configuration opens, beside the default.
VARIANTS = [
    {"cross_attention_position": "index"},
    {"kernel_sizes": [3, 5]},
    {"deformable_kernel_size": 5},
    {"load_balancing_weight": 0.0},
    {"router_jitter": 0.0},
]


def variant(**fields):
    return laws.dataclasses.replace(CASE, config=lambda **more: small_config(**{**fields, **more}))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("head", HEADS)
def test_padding_is_inert(head, dtype):
    laws.check_padding_is_inert(CASE, head, dtype)


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_padding_is_inert_in_every_variant(fields):
    laws.check_padding_is_inert(variant(**fields), "masked_lm", torch.float64)


@pytest.mark.parametrize("head", HEADS)
def test_batch_order(head):
    laws.check_batch_order(CASE, head, torch.float64)


@pytest.mark.parametrize("head", HEADS)
def test_save_load(head, tmp_path):
    laws.check_save_load(CASE, head, tmp_path)


def test_config_round_trip(tmp_path):
    laws.check_config_round_trip(CASE, tmp_path)
    fields = {"kernel_sizes": [2, 4], "pooling": "mean", "cross_attention_position": "index", "num_labels": 3}
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
    laws.check_every_parameter_learns(CASE, "masked_lm", bf16=True, **fields)


def test_bf16_autocast():
    laws.check_bf16_autocast(CASE, "masked_lm", agreement=0.9, error=0.02)


@pytest.mark.parametrize("head", HEADS)
def test_checkpointing(head):
    laws.check_checkpointing(CASE, head)


@pytest.mark.parametrize("head", HEADS)
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


@pytest.mark.parametrize("head", HEADS)
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


@pytest.mark.slow
def test_linear_memory():
    def tokenize(length):
        tokens = LearntTokenization(16)(torch.randn(1, length, 16))
        tokens.values.square().sum().backward()

    laws.check_linear_memory(tokenize)
