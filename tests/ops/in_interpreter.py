"""The GPU's kernels in Triton's interpreter: values and gradients against the definitions.

`test_triton.py` starts a process for this file. What the interpreter cannot show (races, layouts, reads out
of bounds) waits for a GPU: `test_cuda.py`.
"""

import pytest
import torch

from dnachunk import ops
from dnachunk.random import counter_uniform
from tests.ops.kernel_cases import CASES, DTYPES, SMALL_CASES
from tests.support import op_case


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name in CASES for dtype in (DTYPES if CASES[name]().differentiable else DTYPES[:1])],
)
def test_against_the_definition(name, dtype):
    case = CASES[name]()
    tensors = [value for value in case.kwargs.values() if isinstance(value, torch.Tensor)]
    assert ops.backend_of(case.op, *tensors) == "triton"
    op_case.check_against_naive(
        case.function, case.naive, case.kwargs, case.differentiable, dtype, case.floats, case.accumulators
    )


@pytest.mark.parametrize("name", SMALL_CASES)
def test_views(name):
    case = CASES[name]()
    op_case.check_views(case.function, case.kwargs, case.differentiable)


@pytest.mark.parametrize("name", SMALL_CASES)
def test_compiled_whole(name):
    case = CASES[name]()
    compiled = torch.compile(case.function, fullgraph=True, backend="aot_eager", dynamic=True)
    outputs, grads = op_case.run(compiled, case.kwargs, case.differentiable)
    expected, expected_grads = op_case.run(case.function, case.kwargs, case.differentiable)
    for got, want in zip(outputs, expected, strict=True):
        assert torch.equal(got, want)
    for argument in case.differentiable:
        assert torch.equal(grads[argument], expected_grads[argument])


@pytest.mark.parametrize("stream", [0, -7, 2**63 + 11])
def test_keyed_numbers(stream):
    seeds, count = torch.tensor([0, 1, -1, 12345, 2**63 - 1, -(2**63)])[::2], 2500
    with ops.use_backend("torch"):
        expected = counter_uniform(seeds, count, stream)
    assert ops.backend_of("counter_uniform", seeds) == "triton"
    assert torch.equal(counter_uniform(seeds, count, stream), expected)
    compiled = torch.compile(counter_uniform, fullgraph=True, backend="aot_eager", dynamic=False)
    assert torch.equal(compiled(seeds, count, stream), expected)
    assert counter_uniform(seeds, 0).shape == (3, 0)
