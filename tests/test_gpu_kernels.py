"""What the GPU's kernels take of a multiprocessor: the committed table, and on request the compiler again."""

import dataclasses

import pytest

pytest.importorskip("triton")

from benchmarks import gpu_kernels

from dnachunk import ops
from dnachunk.ops._backend import HAS_TRITON

# The scan's backward pass holds the states of four steps: the one kernel that fills the registers.
LARGEST = "selective_scan.backward_kernel"


def committed():
    lines = gpu_kernels.TABLE.read_text(encoding="utf-8").splitlines()
    return dict(gpu_kernels.parse_row(line) for line in lines if line.startswith("| `"))


def check_limits(name, by_target):
    for target, taken in by_target.items():
        spilled, occupancy = (64, 0.12) if name == LARGEST else (0, 0.25)
        assert taken.spilled_bytes <= spilled, (name, target, taken)
        assert taken.occupancy >= occupancy, (name, target, taken)


def test_every_operation_has_its_calls():
    # Keyed numbers are no operation of the package's.
    assert set(gpu_kernels.CALLS) == HAS_TRITON & set(ops.__all__) | {"counter_uniform"}


def test_the_committed_table_has_every_kernel_within_limits():
    table = committed()
    launched = [name for op in gpu_kernels.CALLS for name in gpu_kernels.launches(op)]
    assert list(table) == launched
    for name, by_target in table.items():
        check_limits(name, by_target)


def test_a_row_is_read_as_it_was_written():
    taken = {
        t: gpu_kernels.Resources(40 + i, 8 * i, 512 * i, 4, 0.25) for i, t in enumerate(gpu_kernels.TARGETS)
    }
    assert gpu_kernels.parse_row(gpu_kernels.format_row("op.kernel", taken)) == ("op.kernel", taken)


@pytest.mark.slow
@pytest.mark.parametrize("op", gpu_kernels.CALLS)
def test_compiled_again(op):
    for name, by_target in gpu_kernels.measured([op]):
        check_limits(name, by_target)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("op", gpu_kernels.CALLS)
def test_compiled_for_unusual_sizes(op, size):
    """Of 1, which Triton takes for a constant, and odd ones, which leave it without hints."""
    for launches in gpu_kernels.launches(op).values():
        arguments = {
            parameter.name: size if type(value) is int and not parameter.is_constexpr else value
            for parameter in launches[0].kernel.params
            for value in [launches[0].arguments[parameter.name]]
        }
        changed = dataclasses.replace(launches[0], arguments=arguments)
        assert gpu_kernels.compiled(changed, "sm_90").registers > 0
