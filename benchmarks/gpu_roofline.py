"""How long every Triton kernel must take on an H100, by what it moves and computes: a model, no clock.

``python -m benchmarks.gpu_roofline`` writes ``docs/results/gpu_roofline.md``. Bytes are those of the tensors
that a launch is given, each once. Instructions are read from the binary for sm_90, loop by loop, and counted
as often as a loop runs at these sizes. What PyTorch launches for the eager form is given the same rates.
"""

import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import gpu_kernels
from benchmarks.gpu_kernels import Launch
from dnachunk import ops
from dnachunk.ops import use_backend
from dnachunk.random import counter_uniform

TABLE = gpu_kernels.TABLE.with_name("gpu_roofline.md")

TARGET = "sm_90"
BYTES_PER_SECOND = 3.35e12
# 132 multiprocessors of four schedulers, an instruction of a warp each, at 1.755 GHz.
INSTRUCTIONS_PER_SECOND = 132 * 4 * 1.755e9
LAUNCH_SECONDS = 5e-6

# Of a warp's 32 threads.
_FLOPS = {"FFMA": 64, "FADD": 32, "FMUL": 32, "MUFU": 32, "FMNMX": 32, "HMMA": 4096}


def _ceil(length: int, block: int) -> int:
    return -(-length // block)


def _in_fours(steps: int) -> tuple[int, int]:
    """A loop that the compiler unrolled by four, and the one for the rest."""
    return steps // 4, steps % 4


# Rounds of random scores at 512 positions; a base more or less to each window; halvings of 16,384 levels.
_ROUNDS, _HALVINGS = 18, 14


def _basic_units(a: dict[str, Any]) -> tuple[int, ...]:
    blocks = _ceil(a["N"], a["BLOCK"])
    many = _ROUNDS * blocks
    return blocks, _ROUNDS, many, many * a["WIDEST"], many * a["E"], many, many * a["WIDEST"], blocks, blocks


def _neighbor_match(a: dict[str, Any]) -> tuple[int, ...]:
    groups = _ceil(a["N"] // a["window"], a["ROWS"])
    blocks = _ceil(a["N"], a["BLOCK"])
    searches = (blocks, _HALVINGS * blocks, _HALVINGS, blocks, blocks)
    return groups, groups, groups * a["window"], *searches, blocks, groups


# How often a program runs each loop of a kernel's binary: by where they begin, outer ones first.
TRIPS: dict[str, Callable[[dict[str, Any]], tuple[float, ...]]] = {
    "selective_scan.states_kernel": lambda a: (a["BLOCK"],),
    "selective_scan.pass_kernel": lambda a: (a["blocks"],),
    "selective_scan.output_kernel": lambda a: (a["BLOCK"],),
    "selective_scan.adjoint_kernel": lambda a: (a["BLOCK"],),
    "selective_scan.backward_kernel": lambda a: (
        a["BLOCK"] // a["SUB_BLOCK"],
        a["BLOCK"],
        a["BLOCK"] // a["SUB_BLOCK"],
    ),
    "causal_conv.forward_kernel": lambda a: (a["BLOCK"],),
    "causal_conv.backward_kernel": lambda a: (a["BLOCK"] + 3,),
    "basic_units.basic_units_kernel": _basic_units,
    "neighbor_match.neighbor_match_kernel": _neighbor_match,
    "dechunk.ends_kernel": lambda a: (a["BLOCK"],) if a["ADJOINT"] else _in_fours(a["BLOCK"]),
    "dechunk.pass_kernel": lambda a: (*_in_fours(a["blocks"]), 0),
    "dechunk.output_kernel": lambda a: (*_in_fours(a["BLOCK"]), a["BLOCK"]),
    "dechunk.backward_kernel": lambda a: (a["BLOCK"], a["BLOCK"]),
    # Chunks of two bases at these sizes.
    "dechunk.values_kernel": lambda a: _in_fours(a["N"] // a["L"]),
    "dechunk.probability_kernel": lambda a: (a["tiles"],),
    # A binary search, then most tokens are one position.
    "token_merge.merge_kernel": lambda a: (
        math.log2(a["N"]),
        a["N"] / a["L"],
        a["N"] / a["L"],
        *_in_fours(1),
    ),
    "token_merge.means_kernel": lambda a: (math.log2(a["N"]), a["N"] / a["L"], *_in_fours(1)),
    "token_merge.scores_kernel": lambda a: (_ceil(a["D"], a["CHANNELS"]),),
    # Two merges to a window.
    "soft_assignment.assign_kernel": lambda _: (2,),
    "soft_assignment.adjoint_kernel": lambda _: (2, 2),
    "soft_merge.slopes_kernel": lambda a: (_ceil(a["D"], a["CHANNELS"]),),
    "window_center.center_kernel": lambda a: (_ceil(a["D"], a["CHANNELS"]),) * 2,
    "global_match.unit_kernel": lambda a: (_ceil(a["C"], a["CHANNELS"]),) * 2,
    "global_match.propose_kernel": lambda a: (
        _ceil(a["L"] // 2, a["TILE"]),
        _ceil(a["L"] // 2, a["TILE"]) * _ceil(a["C"], a["CHANNELS"]),
    ),
    "global_match.accept_kernel": lambda a: (_ceil(a["L"] // 2, a["TILE"]),),
    "global_match.number_kernel": lambda a: (_ceil(a["L"], a["BLOCK"]),) * 2,
    "boundary_routing.decide_kernel": lambda a: (_ceil(a["D"], a["CHANNELS"]),),
    "boundary_routing.number_kernel": lambda a: (_ceil(a["N"], a["BLOCK"]),),
    "deformable_conv.entries_kernel": lambda a: (_ceil(a["D"], a["CHANNELS"]),),
    "rms_norm.backward_kernel": lambda a: (_ceil(a["span"], a["ROWS"]),),
    # Each row is read by as many entries as there are taps.
    "deformable_conv.rows_kernel": lambda a: (a["taps"],),
}


@dataclass(frozen=True)
class Loop:
    """A loop of a binary: where it begins and ends, and its instructions, those of inner loops among them."""

    begin: int
    end: int
    instructions: list[tuple[int, str]]


def listing(sass: str) -> tuple[list[tuple[int, str]], list[Loop]]:
    """Addresses with opcodes, and the loops in order of where they begin, outer ones first."""
    found = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);", sass)
    lines = [(int(address, 16), opcode.split(".")[0], operands) for address, opcode, operands in found]
    code = [(address, opcode) for address, opcode, _ in lines if opcode != "NOP"]
    loops = []
    for address, opcode, operands in lines:
        target = re.search(r"(0x[0-9a-f]+)\s*$", operands)
        if opcode == "BRA" and target is not None and int(target[1], 16) < address:
            begin = int(target[1], 16)
            loops.append(Loop(begin, address, [line for line in code if begin <= line[0] <= address]))
    return code, sorted(loops, key=lambda loop: (loop.begin, -loop.end))


def executed(name: str, arguments: dict[str, Any], sass: str) -> tuple[float, float, list[int]]:
    """Instructions and floating-point operations of a warp, and the instructions of each loop.

    Raises:
        ValueError: If the binary has another number of loops than :data:`TRIPS` knows.
    """
    code, loops = listing(sass)
    trips = TRIPS[name](arguments) if name in TRIPS else ()
    if len(trips) != len(loops):
        sizes = [len(loop.instructions) for loop in loops]
        raise ValueError(f"{name} has loops of {sizes} instructions, and TRIPS tells of {len(trips)}")
    instructions = flops = 0.0
    for address, opcode in code:
        # The innermost loop is the last of those that hold the address to begin.
        inside = [
            count for loop, count in zip(loops, trips, strict=True) if loop.begin <= address <= loop.end
        ]
        times = inside[-1] if inside else 1
        instructions += times
        flops += times * _FLOPS.get(opcode, 0)
    return instructions, flops, [len(loop.instructions) for loop in loops]


@dataclass(frozen=True)
class Row:
    """One kernel in one pass of an operation: all its launches together.

    Attributes:
        launches: How often it is launched.
        bytes: Of the tensors it is given, each once.
        flops: Of all threads.
        instructions: Of a warp of one program.
        loops: Instructions of each loop.
        seconds: Modelled.
    """

    name: str
    launches: int
    bytes: int
    flops: float
    instructions: float
    loops: list[int]
    seconds: float


def _row(name: str, launches: list[Launch]) -> Row:
    tensors = {id(t): t for one in launches for t in one.arguments.values() if isinstance(t, torch.Tensor)}
    size = sum(t.numel() * t.itemsize for t in tensors.values())
    total = flops = instructions = 0.0
    loops: list[int] = []
    binaries: dict[str, str] = {}
    for launch in launches:
        source = launch.source()
        if source.hash() not in binaries:
            kernel = triton.compile(source, target=gpu_kernels.TARGETS[TARGET], options=launch.options)
            binaries[source.hash()] = gpu_kernels.cuobjdump(kernel.asm["cubin"], "-sass")
        instructions, of_warp, loops = executed(name, launch.arguments, binaries[source.hash()])
        warps = launch.programs * launch.options.get("num_warps", 4)
        total += warps * instructions
        flops += warps * of_warp
    busy = max(size / BYTES_PER_SECOND, total / INSTRUCTIONS_PER_SECOND)
    seconds = max(busy, LAUNCH_SECONDS * len(launches))
    return Row(name, len(launches), size, flops, instructions, loops, seconds)


_WITHOUT_A_KERNEL = {"_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


class _Eager(TorchDispatchMode):
    """Models what PyTorch launches: one for each call that gives new values, its tensors moved once."""

    def __init__(self) -> None:
        super().__init__()
        self.launches, self.seconds = 0, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        gives_views = any(value.alias_info is not None for value in func._schema.returns)
        namespace, name = func._schema.name.split("::")
        launches = func._schema.is_mutable or not gives_views
        if launches and namespace == "aten" and name not in _WITHOUT_A_KERNEL:
            leaves = torch.utils._pytree.tree_leaves((args, kwargs, result))
            sizes = {id(t): t.numel() * t.itemsize for t in leaves if isinstance(t, torch.Tensor)}
            self.launches += 1
            self.seconds += max(LAUNCH_SECONDS, sum(sizes.values()) / BYTES_PER_SECOND)
        return result


def _random(*shape: int, dtype: torch.dtype = torch.bfloat16, grad: bool = True) -> torch.Tensor:
    return torch.randn(shape).to(dtype).requires_grad_(grad)


def _eager_calls(op: str) -> Callable[[], Any]:
    """The operation at the sizes of :data:`benchmarks.gpu_kernels.CALLS`, on tensors of the current mode."""
    single = {"dtype": torch.float32}
    plain = {**single, "grad": False}

    def whole(batch: int, value: int) -> torch.Tensor:
        return torch.full((batch,), value)

    def index(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.int64)

    def flags(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.bool)

    if op == "selective_scan":
        B, N, D, S = 8, 8192, 1280, 16
        rows = (
            _random(B, N, D),
            _random(B, N, D),
            _random(D, S, **single),
            _random(B, N, S),
            _random(B, N, S),
        )
        rest = (_random(D, **single), _random(B, N, D), _random(D, **single), whole(B, N), True)
        return lambda: ops.selective_scan(*rows, *rest)
    if op == "causal_conv":
        x, weight, bias = _random(8, 8192, 1280), _random(1280, 4, **single), _random(1280, **single)
        return lambda: ops.causal_conv(x, weight, bias, whole(8, 8192), "silu")
    if op == "window_attention":
        qkv, angles = _random(8, 4096, 3, 16, 64), _random(1, 4096, 32, **plain)
        return lambda: ops.window_attention(qkv, angles, angles, whole(8, 4096), 16, 8)
    if op == "neighbor_match":
        scores, lengths = _random(8, 4096, **plain), whole(8, 4096)
        return lambda: ops.neighbor_match(scores, lengths, lengths // 8, 16, 8, "window")
    if op == "dechunk":
        values, probability = _random(8, 4096, 640), _random(8, 8192, **single)
        return lambda: ops.dechunk(values, probability, flags(8, 8192), index(8, 8192))
    if op == "rotary":
        qkv, angles = _random(8, 2048, 3, 16, 64), _random(1, 2048, 32, **plain)
        return lambda: ops.rotary(qkv, angles, angles)
    if op == "token_merge":
        x, scores = _random(8, 4096, 1024), _random(8, 4096, **single)
        threshold = _random(8, 4096, **plain)
        sizes = torch.ones(8, 4096, dtype=torch.int64)
        return lambda: ops.token_merge(x, sizes, index(8, 4096), 3444, scores, threshold, 16, 8)[0]
    if op == "soft_assignment":
        scores, lengths = _random(8, 4096, **single), whole(8, 4096)
        return lambda: ops.soft_assignment(scores, lengths, lengths // 8, 16, 8)
    if op == "soft_merge":
        x, shares = _random(8, 4096, 1024), _random(8, 4096, 2, **single)
        mass = _random(8, 4096, **single)
        return lambda: ops.soft_merge(x, mass, shares, index(8, 4096), 3444, 16, 8)[0]
    if op == "window_center":
        x = _random(8, 4096, 1024, grad=False)
        return lambda: ops.window_center(x, whole(8, 4096), 16, 8)
    if op == "global_match":
        return lambda: ops.global_match(_random(8, 2048, 64, grad=False), whole(8, 2048), whole(8, 51))
    if op == "boundary_routing":
        query, key = _random(8, 8192, 640), _random(8, 8192, 640)
        return lambda: ops.boundary_routing(query, key, whole(8, 8192), flags(8, 8192))[0]
    if op == "deformable_conv":
        x, offset, modulation = (
            _random(16, 512, 512),
            _random(16, 512, 3, **single),
            _random(16, 512, 3, **single),
        )
        weight = _random(512, 512, 3)
        return lambda: ops.deformable_conv(x, offset, modulation, weight, whole(16, 512))
    if op == "counter_uniform":
        return lambda: counter_uniform(index(16), 1 << 18, 1)
    if op == "rms_norm":
        x, weight = _random(8, 4096, 1024, **single), _random(1024, **single)
        return lambda: ops.rms_norm(x, weight, 1e-6, torch.bfloat16)
    if op == "swiglu":
        gate_up = _random(8, 4096, 2 * 2752)
        return lambda: ops.swiglu(gate_up)
    assert op == "basic_units", op
    return lambda: ops.basic_units(_random(16, 512, 10, **plain), range(1, 11), whole(16, 0), whole(16, 512))


def eager(op: str) -> list[tuple[int, float]]:
    """Launches and modelled seconds of the eager form, forward and, where there is a gradient, backward."""
    torch.manual_seed(0)
    # How often rounds of units go on depends on the values.
    with use_backend("torch"), torch.device("cpu") if op == "basic_units" else FakeTensorMode():
        call = _eager_calls(op)
        with _Eager() as forward:
            result = call()
        if not (isinstance(result, torch.Tensor) and result.requires_grad):
            return [(forward.launches, forward.seconds)]
        grad = torch.ones_like(result)
        with _Eager() as backward:
            result.backward(grad)
        return [(forward.launches, forward.seconds), (backward.launches, backward.seconds)]


@dataclass(frozen=True)
class Pass:
    """One pass of an operation: its kernels, and what PyTorch launches around them."""

    name: str
    rows: list[Row]
    launches_beside: int
    seconds_beside: float

    @property
    def launches(self) -> int:
        return sum(row.launches for row in self.rows) + self.launches_beside

    @property
    def seconds(self) -> float:
        return sum(row.seconds for row in self.rows) + self.seconds_beside


def measured(op: str) -> Iterator[Pass]:
    """The passes of an operation: forward, then backward or the forward pass with another option."""
    for call, name in zip(gpu_kernels.CALLS[op](), ("forward", "backward"), strict=False):
        by_name: dict[str, list[Launch]] = {}
        with _Eager() as beside:
            launches = gpu_kernels.recorded(call)
        for launch in launches:
            by_name.setdefault(launch.name, []).append(launch)
        rows = [_row(kernel, launches) for kernel, launches in by_name.items()]
        yield Pass(name, rows, beside.launches, beside.seconds)


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f}"


def lines(op: str) -> Iterator[str]:
    """The rows of an operation: its kernels, then both forms of each pass."""
    for (launches, seconds), ours in zip(eager(op), measured(op), strict=False):
        for row in ours.rows:
            loops = ", ".join(map(str, row.loops)) or "–"
            yield (
                f"| `{row.name}` | {row.launches} | {row.bytes / 1e6:,.1f} | {row.flops / 1e9:,.2f} | "
                f"{row.instructions:,.0f} | {loops} | {_time(row.seconds)} | |"
            )
        yield (
            f"| **{op}, {ours.name}** | {ours.launches} against {launches:,} | | | | | "
            f"**{_time(ours.seconds)}** | {_time(seconds)} ({seconds / ours.seconds:.1f}×) |"
        )


def header() -> str:
    """What stands above the rows of the table."""
    return (
        "# GPU kernels, modelled\n\n"
        "**Nothing here was timed.** For every Triton kernel, at the sizes of the published models in "
        "bfloat16: how often it is launched, the bytes of the tensors it is given, each once, the "
        "floating-point operations, the instructions that a warp of one program executes and those of each "
        f"loop, read from the binary for {TARGET} of Triton {triton.__version__}. The modelled time is the "
        f"longest of: bytes at {BYTES_PER_SECOND / 1e12:g} TB/s; instructions at one a cycle on each of an "
        f"H100's 528 schedulers at 1.755 GHz; {LAUNCH_SECONDS * 1e6:g} µs a launch. Waiting for memory, for "
        "other threads and for the next launch is not in it, so kernels of one program a sequence, which "
        "mostly wait, will take longer. The eager form is PyTorch's own operations under the same rules: "
        "each launch reads and writes its tensors once; what PyTorch launches around our kernels is counted "
        "so in the sums, but for the matrix product of `deformable_conv`, which is in the eager sums alone. "
        "`python -m benchmarks.gpu_roofline` writes this page.\n\n"
        "For comparison, mamba-ssm's scan compiled for the same target executes 363 instructions forward "
        "and about 1,135 backward for each step of 32 channels at 16 states; a step of ours is the loops "
        "of `states_kernel` and `output_kernel` together, and backward that of `adjoint_kernel`, the second "
        "of `backward_kernel` and a quarter of its others, which hold four steps.\n\n"
        "| kernel | launches | MB | GFLOP | instructions | loops | modelled µs | eager, modelled µs |\n"
        "|---|--:|--:|--:|--:|---|--:|--:|\n"
    )


def main() -> int:
    """Writes the table, or prints the rows of the operations that are named."""
    named = sys.argv[1:]
    rows = []
    for op in named or gpu_kernels.CALLS:
        for line in lines(op):
            print(line, flush=True)
            rows.append(line)
    if not named:
        TABLE.write_text(header() + "\n".join(rows) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
