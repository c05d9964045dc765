"""The models where padding is told to attention as spans, as on a GPU."""

from unittest import mock

import pytest
import torch

from dnachunk.nn import attention
from tests.models import test_dnachunker_laws, test_mergedna_laws, test_mxdna_laws
from tests.support import model_laws as laws
from tests.support.spans import attending_to_spans, needs_varlen

CASES = {
    "mergedna": test_mergedna_laws.CASE,
    "dnachunker": test_dnachunker_laws.CASE,
    "mxdna": test_mxdna_laws.CASE,
}


@needs_varlen
@pytest.mark.parametrize("name", CASES)
def test_padding_is_inert(name):
    attend = attention._attend_to_spans
    with attending_to_spans(), mock.patch.object(attention, "_attend_to_spans", side_effect=attend) as called:
        laws.check_padding_is_inert(CASES[name], "masked_lm", torch.float64)
    assert called.called


@needs_varlen
@pytest.mark.parametrize("name", CASES)
def test_checkpointing(name):
    with attending_to_spans():
        laws.check_checkpointing(CASES[name], "masked_lm")


@needs_varlen
@pytest.mark.parametrize("name", CASES)
def test_written_out_attention_takes_a_mask(name):
    with attending_to_spans():
        laws.check_attn_implementation(CASES[name], "masked_lm")
