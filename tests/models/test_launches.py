"""What a training step of each model would launch on a GPU, and how often it would wait: may only fall."""

import pytest
import torch
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForPreTraining
from transformers.initialization import no_init_weights

pytest.importorskip("triton")

from dnachunk import (
    DNAChunkerConfig,
    MergeDNAConfig,
    MergeDNAForMaskedLM,
    MergeDNAForSequenceClassification,
    MxDNAConfig,
    ops,
)
from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.ops._backend import INTERPRETED
from tests.support.launches import counting
from tests.support.newest import needs_newest_torch

pytestmark = [
    needs_newest_torch,
    pytest.mark.skipif(INTERPRETED, reason="counts the launches of compiled kernels"),
]

LENGTH = 512
# Model: configuration, sequences, launches, waits.
STEPS = {
    "mergedna": (MergeDNAConfig, 8, 1499, 0),
    # One wait for each stage's number of chunks.
    "dnachunker": (DNAChunkerConfig, 2, 982, 2),
    "mxdna": (MxDNAConfig, 8, 1038, 0),
}


def inputs(kind, batch):
    ids = torch.randint(5, 9, (batch, LENGTH))
    arguments = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    seeds = torch.arange(batch)
    if kind == "mergedna":
        return arguments | {"keep_ratio": 0.5, "sample_seeds": seeds}
    if kind == "mxdna":
        arguments["noise_seeds"] = seeds
    return arguments | {"labels": torch.where(ids == 5, ids, IGNORE_INDEX)}


def count_step(kind):
    config, batch, _, _ = STEPS[kind]
    with counting(answer=LENGTH // 3) as counter:
        # Truncated normal draws are looked at until they fit; values are fake here.
        with no_init_weights():
            model = AutoModelForPreTraining.from_config(config.tiny()).train()
        arguments = inputs(kind, batch)
        if kind == "mxdna":
            # The first call in a process takes the sizes to the device.
            sizes, zero = model.config.kernel_sizes, torch.zeros(1, dtype=torch.int64)
            ops.basic_units(torch.zeros(1, 1, len(sizes)), sizes, zero, zero)
        counter.launches.clear()
        counter.waits.clear()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**arguments).loss
        loss.backward()
    return counter


@pytest.mark.parametrize("kind", STEPS)
def test_training_step(kind):
    _, _, launches, waits = STEPS[kind]
    counter = count_step(kind)
    # What comes out lower is to be written down above, lest it rise again.
    assert counter.launches.total() <= launches, counter.launches.most_common()
    assert counter.waits.total() <= waits, counter.waits


def test_under_a_budget_nothing_waits():
    with counting() as counter:
        model = AutoModelForPreTraining.from_config(DNAChunkerConfig.tiny(boundary_budget=(0.5, 0.5))).train()
        arguments = inputs("dnachunker", 2)
        counter.waits.clear()
        model(**arguments).loss.backward()
    assert not counter.waits


def launched_by_inference(head, answer, **fields):
    """What a second call launches, when whatever is kept from the first is there, and how often it waits."""
    with counting(answer) as counter, torch.no_grad():
        with no_init_weights():
            model = head(MergeDNAConfig.tiny(**fields)).eval()
        ids = torch.randint(5, 9, (2, LENGTH))
        for _ in range(2):
            counter.sequence.clear()
            counter.waits.clear()
            with torch.autocast("cpu", torch.bfloat16):
                model(ids, torch.ones_like(ids))
    return counter


@pytest.mark.parametrize(
    "fields", [{}, {"shift_windows": True, "merge_budget": "sequence"}, {"boundaries": "fixed"}], ids=str
)
@pytest.mark.parametrize("head", [MergeDNAForMaskedLM, MergeDNAForSequenceClassification])
def test_inference_can_be_captured(head, fields):
    # A CUDA graph replays the same kernels over the same memory: none may hang on what a tensor holds, which
    # tensors here do not even have, nor on what the host was told of it.
    one, other = (launched_by_inference(head, answer, **fields) for answer in (1, 77))
    assert not one.waits
    assert one.sequence == other.sequence
    assert len(one.sequence) > 100
    sizes = [size for _, results in one.sequence for size in tree_leaves(results)]
    assert {type(size) for size in sizes} == {int}


def test_what_counts():
    with counting(answer=7) as counter:
        x = torch.randn(2, 3)
        counter.launches.clear()
        y = (x.view(3, 2).T + 1)[:1]
        assert counter.launches == {"add": 1}
        assert not counter.waits
        assert y.sum().item() == 7
        torch.tensor([1, 2])
        assert counter.waits == {"_local_scalar_dense": 1, "lift_fresh": 1}


def test_kernels_are_counted_by_what_launches_them():
    with counting() as counter:
        qkv, angles = torch.randn(1, 8, 3, 2, 4), torch.zeros(1, 8, 2)
        counter.launches.clear()
        ops.rotary(qkv.requires_grad_(), angles, angles).mul(2).sum().backward()
    assert counter.launches["rotary"] == counter.launches["rotary_backward"] == 1
