"""The GPU's kernels in Triton's interpreter: values and gradients against the definitions, on small shapes.

The interpreter must be asked for before Triton is imported: the suite starts a process for this file alone,
where `conftest.py` makes every operation take its kernel and shrinks their blocks. What the interpreter
cannot show (races, layouts, reads out of bounds) waits for a GPU: `test_cuda.py`.
"""

import math
import os
import subprocess
import sys
from dataclasses import dataclass, field

import pytest
import torch

from dnachunk import ops
from dnachunk.ops._backend import HAS_TRITON, INTERPRETED
from dnachunk.ops.selective_scan import selective_scan_naive
from tests.ops import test_selective_scan
from tests.support import op_case

TIMEOUT_S = 600
DTYPES = [torch.float32, torch.bfloat16, torch.float16]

interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in a process with TRITON_INTERPRET=1")


@dataclass
class Case:
    """What the checks need to know of a call."""

    op: str
    naive: object
    kwargs: dict
    differentiable: list = field(default_factory=list)
    floats: list = field(default_factory=list)
    accumulators: list = field(default_factory=list)
    # Not a number behind each sequence's end.
    padded: list = field(default_factory=list)

    def __post_init__(self):
        if self.padded:
            for name in self.padded:
                for row, real in enumerate(self.lengths().tolist()):
                    self.kwargs[name][row, real:] = math.nan

    def lengths(self):
        if "lengths" in self.kwargs:
            return self.kwargs["lengths"]
        return (self.kwargs["token_index"] >= 0).sum(dim=1)

    @property
    def function(self):
        return getattr(ops, self.op)


def scan(lengths=(21, 10, 0), without=(), channels=5, states=3, **changes):
    kwargs = test_selective_scan.sample(lengths, max(lengths), channels, states, **changes)
    kwargs |= dict.fromkeys(without)
    rows, parameters = (
        [name for name in names if name not in without]
        for names in (test_selective_scan.ROWS, test_selective_scan.PARAMETERS)
    )
    return Case("selective_scan", selective_scan_naive, kwargs, rows + parameters, rows, parameters, rows)


CASES = {
    "selective_scan": scan,
    "selective_scan in reverse": lambda: scan(reverse=True),
    "selective_scan of more channels than lanes": lambda: scan((9, 3), channels=33, states=4),
    "selective_scan ungated": lambda: scan((9, 8), without=("gate", "delta_bias"), reverse=True),
}
# The first case of each operation.
SMALL_CASES = [name for name in CASES if " " not in name]


@pytest.mark.skipif(INTERPRETED, reason="this is that process")
def test_in_a_process_of_its_own():
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert result.returncode == 0, result.stdout[-20000:]


def test_every_kernel_is_here():
    assert {CASES[name]().op for name in CASES} == HAS_TRITON & set(ops.__all__)


@interpreted
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_against_the_definition(name, dtype):
    case = CASES[name]()
    assert (
        ops.backend_of(case.op, *(v for v in case.kwargs.values() if isinstance(v, torch.Tensor))) == "triton"
    )
    op_case.check_against_naive(
        case.function, case.naive, case.kwargs, case.differentiable, dtype, case.floats, case.accumulators
    )


@interpreted
@pytest.mark.parametrize("name", SMALL_CASES)
def test_views(name):
    case = CASES[name]()
    op_case.check_views(case.function, case.kwargs, case.differentiable)


@interpreted
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
