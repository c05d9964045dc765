"""Every operation and the model on a CUDA device give what they give on the CPU."""

import pytest
import torch

from dnachunk import MergeDNAConfig, MergeDNAForPreTraining
from dnachunk import ops as dnachunk_ops
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


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
def test_pretraining_step(autocast):
    model = MergeDNAForPreTraining(MergeDNAConfig.micro()).eval()
    input_ids, seeds = torch.randint(5, 9, (4, 256)), torch.arange(4)
    expected = model(input_ids, sample_seeds=seeds)
    model.cuda()
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        output = model(input_ids.cuda(), sample_seeds=seeds.cuda())
    output.loss.backward()
    assert torch.equal(output.segmentation.num_tokens.cpu(), expected.segmentation.num_tokens)
    # Near-ties of the grouping may fall otherwise: losses agree, single tokens need not.
    torch.testing.assert_close(output.loss.cpu(), expected.loss, rtol=2e-2, atol=0)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
