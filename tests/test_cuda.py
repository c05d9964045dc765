"""Every operation and the model on a CUDA device give what they give on the CPU."""

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForPreTraining

from dnachunk import DNAChunkerConfig, MergeDNAConfig, MxDNAConfig
from dnachunk import ops as dnachunk_ops
from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.data.masking import mask_bases
from dnachunk.tokenization import between_special_tokens
from tests.ops import (
    test_basic_units,
    test_blocks,
    test_boundary_routing,
    test_causal_conv,
    test_chunk_pool,
    test_dechunk,
    test_deformable_conv,
    test_global_match,
    test_neighbor_cosine,
    test_neighbor_match,
    test_selective_scan,
    test_token_merge,
    test_token_unmerge,
    test_unit_gather,
    test_window_attention,
)
from tests.support import op_case
from tests.support.asserts import assert_close_to_reference

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

# name: sample, differentiable arguments
OPERATIONS = {
    "neighbor_cosine": (test_neighbor_cosine.sample, ["grouping"]),
    "neighbor_match": (test_neighbor_match.sample, []),
    "global_match": (test_global_match.sample, []),
    "token_merge": (test_token_merge.sample, ["x", "scores"]),
    "token_unmerge": (test_token_unmerge.unmerge_sample, ["x"]),
    "token_sum": (test_token_unmerge.sum_sample, ["x"]),
    "window_attention": (test_window_attention.sample, ["qkv"]),
    "deformable_conv": (test_deformable_conv.sample, ["x", "offset", "modulation", "weight"]),
    "basic_units": (test_basic_units.sample, []),
    "unit_gather": (test_unit_gather.gather_sample, ["x"]),
    "unit_scatter": (test_unit_gather.scatter_sample, ["residual", "values", "weight"]),
    "boundary_routing": (test_boundary_routing.sample, ["query", "key"]),
    "chunk_pool": (test_chunk_pool.sample, ["x"]),
    "dechunk": (test_dechunk.sample, test_dechunk.FLOATS),
    "causal_conv": (test_causal_conv.sample, test_causal_conv.DIFFERENTIABLE),
    "selective_scan": (test_selective_scan.sample, test_selective_scan.DIFFERENTIABLE),
    "swiglu": (test_blocks.swiglu_sample, ["gate_up"]),
    "rms_norm": (test_blocks.rms_norm_sample, ["x", "weight"]),
    "rotary": (test_blocks.rotary_sample, ["qkv"]),
}


def test_every_operation_is_here():
    elsewhere = {"backend_of", "use_backend", "encode_dna", "decode_dna"}
    assert set(OPERATIONS) == set(dnachunk_ops.__all__) - elsewhere


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name):
    sample, differentiable = OPERATIONS[name]
    operation, kwargs = getattr(dnachunk_ops, name), sample()
    expected, expected_grads = op_case.run(operation, kwargs, differentiable)
    moved = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}
    generator = torch.Generator().manual_seed(1)
    grad_outputs = [
        torch.randn(o.shape, generator=generator, dtype=torch.float64).cuda()
        for o in expected
        if o.requires_grad
    ]
    outputs, grads = op_case.run(operation, moved, differentiable, grad_outputs)
    for index, (got, want) in enumerate(zip(outputs, expected, strict=True)):
        assert got.is_cuda
        assert_close_to_reference(f"output {index}", got.cpu(), want)
    for argument in differentiable:
        assert_close_to_reference(argument, grads[argument].cpu(), expected_grads[argument])


def pretraining_inputs(kind):
    input_ids, seeds = torch.randint(5, 9, (4, 256)), torch.arange(4)
    if kind == "mergedna":
        return {"input_ids": input_ids, "sample_seeds": seeds}
    masked = mask_bases(input_ids, seeds)
    if kind == "dnachunker":
        return {"input_ids": masked.input_ids, "labels": masked.labels, "repeat_mask": input_ids == 5}
    ids, _ = between_special_tokens(masked.input_ids, torch.ones_like(input_ids))
    labels = F.pad(masked.labels, (1, 1), value=IGNORE_INDEX)
    return {"input_ids": ids, "labels": labels, "noise_seeds": seeds}


CONFIGS = {"mergedna": MergeDNAConfig, "dnachunker": DNAChunkerConfig, "mxdna": MxDNAConfig}


def pretraining_step(kind, device, autocast=False):
    torch.manual_seed(0)
    model = AutoModelForPreTraining.from_config(CONFIGS[kind].micro()).to(device)
    inputs = {name: value.to(device) for name, value in pretraining_inputs(kind).items()}
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        output = model(**inputs)
    output.loss.backward()
    return model, output


@pytest.mark.parametrize(
    ("device", "autocast"),
    [
        ("cpu", True),
        pytest.param("cuda", False, marks=[needs_cuda, pytest.mark.cuda]),
        pytest.param("cuda", True, marks=[needs_cuda, pytest.mark.cuda]),
    ],
)
@pytest.mark.parametrize("kind", CONFIGS)
def test_pretraining_step(kind, device, autocast):
    _, expected = pretraining_step(kind, "cpu")
    model, output = pretraining_step(kind, device, autocast)
    if kind == "mergedna":
        assert torch.equal(output.segmentation.num_tokens.cpu(), expected.segmentation.num_tokens)
    # Near-ties may fall otherwise: losses agree, single tokens need not.
    torch.testing.assert_close(output.loss.cpu(), expected.loss, rtol=2e-2, atol=0)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
