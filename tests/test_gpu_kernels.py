"""What the GPU's kernels take and how long they must: committed tables, on request the compiler again."""

import dataclasses

import pytest
import torch

pytest.importorskip("triton")

from benchmarks import gpu_kernels, gpu_roofline

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


def test_the_modelled_times_are_of_the_same_kernels_and_say_that_they_are_modelled():
    text = gpu_roofline.TABLE.read_text(encoding="utf-8")
    assert text.startswith(gpu_roofline.header())
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith(("| `", "| **"))]
    assert {row[0].strip(" `") for row in rows if "`" in row[0]} == committed().keys()
    passes = [row for row in rows if "**" in row[0]]
    assert {row[0].strip(" *").split(",")[0] for row in passes} == gpu_kernels.CALLS.keys()
    for row in passes:
        launches, eager_launches = (int(n.replace(",", "")) for n in row[1].split(" against "))
        ours, eager = (float(cell.strip(" *").split()[0].replace(",", "")) for cell in row[6:8])
        assert launches < eager_launches
        assert ours < eager


# Two loops of which one holds the other, a jump ahead, and a jump to itself behind the end.
SASS = """
        /*0000*/                   IMAD.MOV.U32 R1, RZ, RZ, c[0x0][0x28] ;
        /*0010*/              @!P0 BRA 0x90 ;
        /*0020*/                   FADD R2, R2, R3 ;
        /*0030*/                   FFMA R2, R2, R3, R4 ;
        /*0040*/               @P1 BRA 0x30 ;
        /*0050*/                   MUFU.EX2 R2, R2 ;
        /*0060*/              @!P2 BRA 0x20 ;
        /*0090*/                   EXIT ;
        /*00a0*/                   BRA 0xa0;
        /*00b0*/                   NOP;
"""


def test_instructions_are_counted_as_often_as_their_loops_run(monkeypatch):
    monkeypatch.setitem(gpu_roofline.TRIPS, "op.kernel", lambda a: (a["outer"], a["outer"] * a["inner"]))
    instructions, flops, loops = gpu_roofline.executed("op.kernel", {"outer": 3, "inner": 5}, SASS)
    assert loops == [5, 2]
    assert instructions == 4 + 3 * 3 + 15 * 2
    assert flops == 3 * (32 + 32) + 15 * 64
    with pytest.raises(ValueError, match=r"loops of \[5, 2\] instructions, and TRIPS tells of 1"):
        gpu_roofline.executed("selective_scan.states_kernel", {"BLOCK": 64}, SASS)


def test_what_pytorch_launches_moves_its_tensors_once():
    x = torch.zeros(1 << 20)
    with gpu_roofline._Eager() as counted:
        (x.view(2, -1).T + 1).sum()
    assert counted.launches == 2
    assert counted.seconds == pytest.approx(2 * gpu_roofline.LAUNCH_SECONDS)
    large = torch.zeros(1 << 26, device="meta")
    with gpu_roofline._Eager() as counted:
        large.neg()
    assert counted.seconds == pytest.approx(2 * large.nbytes / gpu_roofline.BYTES_PER_SECOND)


@pytest.mark.slow
@pytest.mark.parametrize("op", gpu_kernels.CALLS)
def test_modelled_again(op):
    text = gpu_roofline.TABLE.read_text(encoding="utf-8")
    assert all(line in text for line in gpu_roofline.lines(op))


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
