import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from dnachunk import (
    DNAChunkerConfig,
    DNAChunkerForMaskedLM,
    DNAChunkerForSequenceClassification,
    DNAChunkerForTokenClassification,
    DNAChunkerModel,
)
from dnachunk.alphabet import MASK_ID
from dnachunk.nn import BiMamba, Chunk, Dechunk, Router
from tests.support import model_laws as laws

SHAPE = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_encoder_layers": 1,
    "num_decoder_layers": 2,
    "state_size": 4,
}


def small_config(**fields):
    return DNAChunkerConfig(**{**SHAPE, **fields})


def hidden_shapes(model, output, batch):
    size, length = batch["input_ids"].shape
    chunks, tokens = (stage.num_tokens.max().item() for stage in output.stage_segmentations)
    # Embedding and encoder of bases, encoder of chunks, main network, decoder of chunks, decoder of bases.
    lengths = [length] * 2 + [chunks] + [tokens] * 2 + [chunks] * 2 + [length] * 2
    return [(size, length, model.config.hidden_size) for length in lengths]


CASE = laws.ModelCase(
    config=small_config,
    heads={
        "base": (DNAChunkerModel, AutoModel),
        "masked_lm": (DNAChunkerForMaskedLM, AutoModelForMaskedLM),
        "sequence": (DNAChunkerForSequenceClassification, AutoModelForSequenceClassification),
        "token": (DNAChunkerForTokenClassification, AutoModelForTokenClassification),
    },
    hidden_shapes=hidden_shapes,
    extents={"last_hidden_state": "bases", "chunk_hidden_state": "tokens", "logits": "bases"},
    loss_is_of_labels=False,
    beside_embeddings=lambda batch: {"is_masked": batch["input_ids"] == MASK_ID},
)
HEADS = list(CASE.heads)
DTYPES = [torch.float64, torch.float32]
# Every path that a field of the configuration opens, beside the default.
VARIANTS = [
    {"chunk_pooling": "boundary"},
    {"backward_gate": "left"},
    {"mask_protection": False},
    {"residual_gating": False},
    {"ratio_weight": 0.0},
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
    laws.check_config_round_trip(
        CASE, tmp_path, target_ratio=[0.3, 0.4], mask_protection=False, chunk_pooling="boundary", num_labels=3
    )


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
    def chunk_and_dechunk(length):
        encode, route, chunk, dechunk = BiMamba(16, d_state=4), Router(16), Chunk(), Dechunk()
        x = encode(torch.randn(1, length, 16))
        routing = route(x)
        dechunk(chunk(x, routing).values, routing).square().sum().backward()

    laws.check_linear_memory(chunk_and_dechunk)
