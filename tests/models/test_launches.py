"""What a training step of each model would launch on a GPU, and how often it would wait: may only fall."""

import pytest
import torch
from transformers import AutoModelForPreTraining
from transformers.initialization import no_init_weights

pytest.importorskip("triton")

from dnachunk import DNAChunkerConfig, MergeDNAConfig, MxDNAConfig, ops
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
    "mxdna": (MxDNAConfig, 8, 1035, 0),
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
