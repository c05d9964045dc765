"""Compiles every Triton kernel for GPUs that need not be here, and tells what each takes.

``python -m benchmarks.gpu_kernels`` writes ``docs/results/gpu_kernels.md``. Launches are recorded from the
operations' own entry points on tensors without memory, at the sizes of the published models; so tiles and
constants are those of real calls.
"""

import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

TABLE = Path(__file__).parents[1] / "docs" / "results" / "gpu_kernels.md"

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
SHARED_KIB = {"sm_80": 164, "sm_90": 228, "sm_100": 228, "gfx942": 64}

_TYPES = {
    torch.float64: "*fp64",
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int16: "*i16",
    torch.int8: "*i8",
    torch.bool: "*i1",
}


@dataclass(frozen=True)
class Launch:
    """One kernel as an operation launches it."""

    kernel: Any
    arguments: dict[str, Any]
    options: dict[str, int]
    programs: int

    @property
    def name(self) -> str:
        module = self.kernel.fn.__module__.removesuffix("_triton").removesuffix(".triton")
        return f"{module.split('.')[-1].lstrip('_')}.{self.kernel.fn.__name__}"

    def source(self) -> ASTSource:
        """The kernel with types and hints as Triton's launcher gives them."""
        signature, constants, hints = {}, {}, {}
        for index, parameter in enumerate(self.kernel.params):
            value = self.arguments[parameter.name]
            if parameter.is_constexpr or value is None:
                signature[parameter.name], constants[parameter.name] = "constexpr", value
            elif isinstance(value, torch.Tensor):
                signature[parameter.name] = _TYPES[value.dtype]
                hints[index,] = [["tt.divisibility", 16]]
            elif isinstance(value, int) and value == 1 and not parameter.do_not_specialize:
                signature[parameter.name], constants[parameter.name] = "constexpr", 1
            elif isinstance(value, int):
                signature[parameter.name] = "i32" if abs(value) < 1 << 31 else "i64"
                if value % 16 == 0 and not parameter.do_not_specialize:
                    hints[index,] = [["tt.divisibility", 16]]
            else:
                signature[parameter.name] = "fp32"
        return ASTSource(self.kernel, signature, constants, hints)


@dataclass(frozen=True)
class Resources:
    """What a compiled kernel takes of a multiprocessor."""

    registers: int
    spilled_bytes: int
    shared_bytes: int
    warps: int
    occupancy: float


def recorded(call: Callable[[], Any]) -> list[Launch]:
    """The kernels that ``call`` launches, none of which runs."""
    launches: list[Launch] = []

    def record(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        del warmup
        names = [parameter.name for parameter in self.params]
        arguments = dict(zip(names, args, strict=False)) | {k: v for k, v in kwargs.items() if k in names}
        options = {k: v for k, v in kwargs.items() if k not in names}
        launches.append(Launch(self, arguments, options, math.prod(grid)))

    run = JITFunction.run
    JITFunction.run = record
    try:
        call()
    finally:
        JITFunction.run = run
    return launches


def compiled(launch: Launch, target: str) -> Resources:
    """Compiles a launch for a target and reads what it takes from the binary."""
    kernel = triton.compile(launch.source(), target=TARGETS[target], options=launch.options)
    warps, shared = kernel.metadata.num_warps, kernel.metadata.shared
    if target.startswith("gfx"):
        text = kernel.asm["amdgcn"]

        def field(name: str) -> int:
            found = re.search(rf"\.{name}:\s+(\d+)", text)
            assert found is not None, name
            return int(found[1])

        registers = field("vgpr_count")
        spilled = 4 * field("vgpr_spill_count")
        # 512 registers a lane of a SIMD unit, in eights; 8 waves at most; 4 units share the LDS.
        waves = min(8, 512 // max(8, -(-registers // 8) * 8))
        groups = (
            4 * waves // warps if not shared else min(4 * waves // warps, SHARED_KIB[target] * 1024 // shared)
        )
        return Resources(registers, spilled, shared, warps, groups * warps / 32)
    told = cuobjdump(kernel.asm["cubin"], "-res-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", told)
    assert found is not None, told
    registers, stack = int(found[1]), int(found[2])
    # 65,536 registers, given to a warp in 256s; 64 warps and 32 blocks at most; 1 KiB of each is reserved.
    groups = min(32, 64 // warps, 65536 // (-(-registers * 32 // 256) * 256 * warps))
    groups = min(groups, SHARED_KIB[target] * 1024 // (shared + 1024))
    return Resources(registers, stack, shared, warps, groups * warps / 64)


def cuobjdump(cubin: bytes, flag: str) -> str:
    """What NVIDIA's tool, which comes with Triton, tells of a binary."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([tool, flag, file.name], capture_output=True, text=True, check=True).stdout


def _meta(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _selective_scan() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.selective_scan.triton import BLOCK, backward, forward

    B, N, D, S = 8, 8192, 1280, 16
    x, gate = _meta(B, N, 2 * D).chunk(2, dim=-1)
    parameters = (_meta(D, dtype=torch.float32), gate, _meta(D, dtype=torch.float32))
    matrix, lengths = _meta(D, S, dtype=torch.float32), _meta(B, dtype=torch.int64)
    arguments = (x, _meta(B, N, D), matrix, _meta(B, N, S), _meta(B, N, S), *parameters, lengths, True)
    states = _meta(B, N // BLOCK, S, D, dtype=torch.float32)
    yield lambda: forward(*arguments)
    yield lambda: backward(_meta(B, N, D), states, *arguments)


def _causal_conv() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.causal_conv.triton import backward, forward

    B, N, D = 8, 8192, 1280
    x, parameters = (
        _meta(B, N, 2 * D)[..., :D],
        (_meta(D, 4, dtype=torch.float32), _meta(D, dtype=torch.float32)),
    )
    arguments = (x, *parameters, _meta(B, dtype=torch.int64), True, False)
    yield lambda: forward(*arguments)
    yield lambda: backward(_meta(B, N, D), *arguments)


def _basic_units() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.basic_units.triton import forward

    B, N, E = 16, 512, 10
    ends = _meta(B, dtype=torch.int64)
    yield lambda: forward(_meta(B, N, E, dtype=torch.float32), list(range(1, E + 1)), ends, ends)


def _neighbor_match() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.neighbor_match.triton import forward

    B, N = 8, 4096
    lengths = _meta(B, dtype=torch.int64)
    arguments = (_meta(B, N, dtype=torch.float32), lengths, lengths, 16, 8)
    yield lambda: forward(*arguments, "window")
    yield lambda: forward(*arguments, "sequence")


def _window_attention() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.window_attention.triton import backward, forward

    B, N, H, d = 8, 4096, 16, 64
    angles = _meta(1, N, d // 2, dtype=torch.float32)
    arguments = (_meta(B, N, 3, H, d), angles, angles, _meta(B, dtype=torch.int64), 16, 8)
    bias = _meta(B, N, dtype=torch.float32)
    yield lambda: forward(*arguments, None)
    yield lambda: backward(_meta(B, N, H, d), *arguments, None)
    yield lambda: forward(*arguments, bias)
    yield lambda: backward(_meta(B, N, H, d), *arguments, bias)


def _rotary() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.rotary.triton import forward

    B, N, H, d = 8, 2048, 16, 64
    angles = _meta(1, N, d // 2, dtype=torch.float32)
    yield lambda: forward(_meta(B, N, 3, H, d), angles, angles)


def _rms_norm() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.rms_norm.triton import backward, forward

    rows, weight = _meta(8 * 4096, 1024, dtype=torch.float32), _meta(1024, dtype=torch.float32)
    yield lambda: forward(rows, weight, 1e-6, "bfloat16")
    yield lambda: backward(_meta(8 * 4096, 1024), weight.new_empty(8 * 4096), rows, weight)


def _swiglu() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.swiglu.triton import backward, forward

    rows = _meta(8 * 4096, 2 * 2752)
    yield lambda: forward(rows)
    yield lambda: backward(_meta(8 * 4096, 2752), rows)


def _dechunk() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.dechunk.triton import backward, forward

    B, N, D = 8, 8192, 640
    flags, index = _meta(B, N, dtype=torch.bool), _meta(B, N, dtype=torch.int64)
    arguments = (_meta(B, N // 2, D), _meta(B, N, dtype=torch.float32), flags, index, "right")
    yield lambda: forward(*arguments)
    yield lambda: backward(_meta(B, N, D), *arguments)


def _boundary_routing() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.boundary_routing.triton import backward, forward

    B, N, D = 8, 8192, 640
    rows, floats = _meta(B, N, D), _meta(B, N, dtype=torch.float32)
    yield lambda: forward(rows, rows, _meta(B, dtype=torch.int64), _meta(B, N, dtype=torch.bool))
    yield lambda: backward(floats, floats, _meta(B, N, 2, dtype=torch.float32), rows, rows)


def _token_merge() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.token_merge.triton import backward, forward

    B, N, L, D = 8, 4096, 3444, 1024
    scores, index = _meta(B, N, dtype=torch.float32), _meta(B, N, dtype=torch.int64)
    soft = (scores, scores, 16, 8, 0.1)
    yield lambda: forward(_meta(B, N, D), index, index, L, *soft)
    yield lambda: backward(_meta(B, L, D), index[:, :L], _meta(B, N, D), index, index, *soft)


def _soft_assignment() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.soft_assignment.triton import backward, forward

    B, N = 8, 4096
    lengths = _meta(B, dtype=torch.int64)
    arguments = (_meta(B, N, dtype=torch.float32), lengths, lengths, 16, 8, 0.1)
    yield lambda: forward(*arguments)
    yield lambda: backward(_meta(B, N, 2, dtype=torch.float32), *arguments)


def _soft_merge() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.soft_merge.triton import backward, forward

    B, N, L, D = 8, 4096, 3444, 1024
    mass, shares = _meta(B, N, dtype=torch.float32), _meta(B, N, 2, dtype=torch.float32)
    arguments = (_meta(B, N, D), mass, shares, _meta(B, N, dtype=torch.int64))
    yield lambda: forward(*arguments, L, 16, 8)
    yield lambda: backward(_meta(B, L, D), _meta(B, L, dtype=torch.float32), *arguments, 16, 8)


def _window_center() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.window_center.triton import forward

    yield lambda: forward(_meta(8, 4096, 1024), _meta(8, dtype=torch.int64), 16, 8)


def _deformable_conv() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.deformable_conv.triton import backward, forward

    B, K, D, taps = 16, 512, 512, 3
    offset = _meta(B, K, taps, dtype=torch.float32)
    arguments = (_meta(B, K, D), offset, offset, _meta(B, dtype=torch.int64))
    yield lambda: forward(*arguments)
    yield lambda: backward(_meta(B, K, taps, D), *arguments)


def _global_match() -> Iterator[Callable[[], Any]]:
    from dnachunk.ops.global_match.triton import forward

    lengths = _meta(8, dtype=torch.int64)
    yield lambda: forward(_meta(8, 2048, 64), lengths, lengths)


def _counter_uniform() -> Iterator[Callable[[], Any]]:
    from dnachunk._random_triton import forward

    yield lambda: forward(_meta(16, dtype=torch.int64), 1 << 18, 1)


CALLS: dict[str, Callable[[], Iterator[Callable[[], Any]]]] = {
    "selective_scan": _selective_scan,
    "causal_conv": _causal_conv,
    "basic_units": _basic_units,
    "window_attention": _window_attention,
    "neighbor_match": _neighbor_match,
    "dechunk": _dechunk,
    "rotary": _rotary,
    "counter_uniform": _counter_uniform,
    "token_merge": _token_merge,
    "soft_assignment": _soft_assignment,
    "soft_merge": _soft_merge,
    "window_center": _window_center,
    "global_match": _global_match,
    "boundary_routing": _boundary_routing,
    "deformable_conv": _deformable_conv,
    "rms_norm": _rms_norm,
    "swiglu": _swiglu,
}


def launches(op: str) -> dict[str, list[Launch]]:
    """The kernels of an operation's forward and backward pass by name, each with its sets of constants."""
    found: dict[str, dict[str, Launch]] = {}
    for call in CALLS[op]():
        for launch in recorded(call):
            found.setdefault(launch.name, {})[launch.source().hash()] = launch
    return {name: list(unlike.values()) for name, unlike in found.items()}


def measured(ops: Iterable[str] = tuple(CALLS)) -> Iterator[tuple[str, dict[str, Resources]]]:
    """Each kernel and, for each target, what the most demanding of its sets of constants takes."""
    for op in ops:
        for name, unlike in launches(op).items():
            yield (
                name,
                {
                    target: min((compiled(launch, target) for launch in unlike), key=lambda r: r.occupancy)
                    for target in TARGETS
                },
            )


def format_row(name: str, by_target: dict[str, Resources]) -> str:
    """A line of the table."""
    cells = []
    for taken in by_target.values():
        spilled = f" + {taken.spilled_bytes} B" if taken.spilled_bytes else ""
        cells.append(f"{taken.registers}{spilled}, {taken.shared_bytes / 1024:g} KiB, {taken.occupancy:.0%}")
    warps = next(iter(by_target.values())).warps
    return f"| `{name}` | {warps} | {' | '.join(cells)} |"


def parse_row(line: str) -> tuple[str, dict[str, Resources]]:
    """What :func:`format_row` wrote."""
    name, warps, *cells = (cell.strip() for cell in line.strip().strip("|").split("|"))
    by_target = {}
    for target, cell in zip(TARGETS, cells, strict=True):
        found = re.fullmatch(r"(\d+)(?: \+ (\d+) B)?, ([\d.]+) KiB, (\d+)%", cell)
        assert found is not None, line
        shared, occupancy = int(float(found[3]) * 1024), int(found[4]) / 100
        by_target[target] = Resources(int(found[1]), int(found[2] or 0), shared, int(warps), occupancy)
    return name.strip("`"), by_target


def header() -> str:
    """What stands above the rows of the table."""
    told = (
        f"What every Triton kernel takes of a GPU, read from the binaries of Triton {triton.__version__} "
        "without running them: registers a thread, bytes spilled to memory, shared memory of a block, and "
        "the share of a multiprocessor's warps that fit at once. Sizes, tiles and types are those of the "
        "published models in bfloat16. Nothing here was timed. `python -m benchmarks.gpu_kernels` writes "
        "this page."
    )
    columns = f"| kernel | warps | {' | '.join(TARGETS)} |\n|---|--:|{'---|' * len(TARGETS)}\n"
    return f"# GPU kernels, compiled\n\n{told}\n\n{columns}"


def main() -> int:
    """Writes the table, or prints the rows of the operations that are named."""
    named = sys.argv[1:]
    rows = []
    for name, by_target in measured(named or CALLS):
        rows.append(format_row(name, by_target))
        print(rows[-1], flush=True)
    if not named:
        TABLE.write_text(header() + "\n".join(rows) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
