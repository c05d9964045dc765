"""Every operation and the model on a CUDA device give what they give on the CPU."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForPreTraining

from dnachunk import DNAChunkerConfig, MergeDNAConfig, MxDNAConfig
from dnachunk import ops as dnachunk_ops
from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.data.masking import mask_bases
from dnachunk.ops import backend_of
from dnachunk.tokenization import between_special_tokens
from tests.ops import (
    kernel_cases,
    test_basic_units,
    test_boundary_routing,
    test_causal_conv,
    test_chunk_pool,
    test_dechunk,
    test_deformable_conv,
    test_global_match,
    test_neighbor_cosine,
    test_neighbor_match,
    test_rms_norm,
    test_rotary,
    test_selective_scan,
    test_soft_assignment,
    test_soft_merge,
    test_swiglu,
    test_token_merge,
    test_token_sum,
    test_token_unmerge,
    test_unit_gather,
    test_unit_scatter,
    test_window_attention,
    test_window_center,
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
    "soft_assignment": (test_soft_assignment.sample, ["scores"]),
    "soft_merge": (test_soft_merge.sample, test_soft_merge.DIFFERENTIABLE),
    "token_unmerge": (test_token_unmerge.sample, ["x"]),
    "token_sum": (test_token_sum.sample, ["x"]),
    "window_attention": (test_window_attention.sample, test_window_attention.DIFFERENTIABLE),
    "window_center": (test_window_center.sample, []),
    "deformable_conv": (test_deformable_conv.sample, ["x", "offset", "modulation", "weight"]),
    "basic_units": (test_basic_units.sample, []),
    "unit_gather": (test_unit_gather.sample, ["x"]),
    "unit_scatter": (test_unit_scatter.sample, ["residual", "values", "weight"]),
    "boundary_routing": (test_boundary_routing.sample, ["query", "key"]),
    "chunk_pool": (test_chunk_pool.sample, ["x"]),
    "dechunk": (test_dechunk.sample, test_dechunk.FLOATS),
    "causal_conv": (test_causal_conv.sample, test_causal_conv.DIFFERENTIABLE),
    "selective_scan": (test_selective_scan.sample, test_selective_scan.DIFFERENTIABLE),
    "swiglu": (test_swiglu.sample, ["gate_up"]),
    "rms_norm": (test_rms_norm.sample, ["x", "weight"]),
    "rotary": (test_rotary.sample, ["qkv"]),
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


def on_cuda(kwargs):
    return {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("dtype", kernel_cases.DTYPES, ids=str)
@pytest.mark.parametrize("name", kernel_cases.CASES)
def test_kernel_against_the_definition(name, dtype):
    case = kernel_cases.CASES[name]()
    if dtype != torch.float32 and not case.differentiable:
        pytest.skip("a decision, of one dtype")
    kwargs = on_cuda(case.kwargs)
    assert backend_of(case.op, *(v for v in kwargs.values() if isinstance(v, torch.Tensor))) == "triton"
    op_case.check_against_naive(
        case.function, case.naive, kwargs, case.differentiable, dtype, case.floats, case.accumulators
    )


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("name", kernel_cases.CASES)
def test_kernel_gives_the_same_bits_twice(name):
    case = kernel_cases.CASES[name]()
    kwargs = on_cuda(case.kwargs)
    first, first_grads = op_case.run(case.function, kwargs, case.differentiable)
    for _ in range(3):
        outputs, grads = op_case.run(case.function, kwargs, case.differentiable)
        assert all(torch.equal(got, want) for got, want in zip(outputs, first, strict=True))
        assert all(torch.equal(grads[argument], first_grads[argument]) for argument in case.differentiable)


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("name", kernel_cases.CASES)
def test_kernel_reads_nothing_back(name):
    case = kernel_cases.CASES[name]()
    kwargs = on_cuda(case.kwargs)
    # What is kept on the device is copied there by the first call.
    op_case.run(case.function, kwargs, case.differentiable)
    leaves = {k: v.requires_grad_() if k in case.differentiable else v for k, v in kwargs.items()}
    torch.cuda.set_sync_debug_mode("error")
    try:
        outputs = case.function(**leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        floats = [output for output in outputs if output.requires_grad]
        if floats:
            torch.autograd.backward(floats, [torch.ones_like(output) for output in floats])
    finally:
        torch.cuda.set_sync_debug_mode("default")


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


def counted_waits(step):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [str(warning.message) for warning in caught if "synchronizing" in str(warning.message)]


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_step_waits_for_no_more_than_the_number_of_chunks(kind):
    model = AutoModelForPreTraining.from_config(CONFIGS[kind].micro()).cuda()
    inputs = {name: value.cuda() for name, value in pretraining_inputs(kind).items()}

    def step():
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(**inputs).loss
        loss.backward()

    # What is kept on the device is copied there by the first step.
    step()
    if kind == "dnachunker":
        waits = counted_waits(step)
        assert len(waits) <= 2, waits
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
