from pathlib import Path
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
    DNAChunkerConfig,
    DNAChunkerForMaskedLM,
    DNAChunkerForSequenceClassification,
    DNAChunkerForTokenClassification,
    DNAChunkerModel,
)
from dnachunk.alphabet import MASK_ID
from dnachunk.nn import BiMamba, Chunk, Dechunk, Router
from tests.nn.test_mamba import MAMBA_BIRTHS
from tests.support import births
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
    births={
        **MAMBA_BIRTHS,
        r"norm\.weight$": births.constant(1),
        r"embed_tokens\.weight$": births.normal(1),
        r"router\.[qk]_proj\.weight$": births.identity,
        r"residual\.weight$": births.constant(0),
        r"bias$": births.constant(0),
        r"weight$": births.normal(0.02),
    },
    resized={"num_encoder_layers": 2, "state_size": 8},
)


class TestDNAChunkerLaws(laws.ModelLaws):
    case = CASE
    variants: ClassVar = [
        {"chunk_pooling": "boundary"},
        {"backward_gate": "left"},
        {"boundaries": "fixed"},
        {"mask_protection": False},
        {"residual_gating": False},
        {"ratio_weight": 0.0},
    ]
    round_trip_fields: ClassVar = {
        "target_ratio": [0.3, 0.4],
        "mask_protection": False,
        "chunk_pooling": "boundary",
        "num_labels": 3,
    }


def chunk_and_dechunk(length):
    encode, route, chunk, dechunk = BiMamba(16, d_state=4), Router(16), Chunk(), Dechunk()
    x = encode(torch.randn(1, length, 16))
    routing = route(x)
    dechunk(chunk(x, routing).values, routing).square().sum().backward()


@pytest.mark.parametrize("training", [False, True])
def test_compile_into_one_graph(training):
    # With a symbol for the number of chunks.
    with torch._dynamo.config.patch(capture_scalar_outputs=True):
        laws.check_compile(CASE, "masked_lm", training=training, backend="aot_eager", lengths=[(61, 40)])


def test_graphs_are_cut_where_chunks_are_counted_alone():
    model, batch = CASE.build("base"), CASE.batch([61, 40])
    torch._dynamo.reset()
    try:
        with torch.no_grad():
            reasons = torch._dynamo.explain(model)(**batch).break_reasons
    finally:
        torch._dynamo.reset()
    innermost = [reason.user_stack[-1] for reason in reasons]
    assert innermost
    assert {(Path(place.filename).name, place.name) for place in innermost} == {("chunking.py", "forward")}


@pytest.mark.slow
def test_linear_memory():
    laws.check_linear_memory(chunk_and_dechunk)
