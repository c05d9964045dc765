"""Checks, times and reports cases."""

import importlib
import pkgutil
import statistics
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import torch

import benchmarks.cases
from benchmarks.case import Case, Shape
from benchmarks.machine import Limits
from benchmarks.timing import sample_times

# Largest difference allowed between two forms, relative to the largest value: two roundings, not one.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}


class DisagreementError(Exception):
    """Two forms of one computation gave different results."""


def find_cases(parts: Iterable[str] = ("",)) -> list[Case]:
    """The cases under ``benchmarks/cases`` with any of these in their name, in order of their files."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.cases.__path__))
    cases = [importlib.import_module(f"benchmarks.cases.{name}").CASE for name in names]
    return [case for case in cases if any(part in case.name for part in parts)]


def run_case(
    case: Case,
    shape: Shape,
    device: torch.device,
    limits: Limits,
    repeats: int,
    without: Collection[str] = (),
) -> Iterator[dict[str, Any]]:
    """Times one case at one shape.

    Args:
        case: The case.
        shape: One of its shapes.
        device: Where the inputs live.
        limits: Rates of this device.
        repeats: Samples of each form, at most.
        without: Forms to leave out.

    Yields:
        One record for the forward pass or the whole call and, where there is a gradient, one for both passes.

    Raises:
        DisagreementError: If a rival does not give what ours gives.
    """
    torch.manual_seed(0)
    torch.compiler.reset()
    arguments = case.inputs(device, **shape)
    for name in case.differentiable:
        arguments[name].requires_grad_()
    forms = {name: form for name, form in case.forms(shape).items() if name not in without}
    forward = {name: _forward_step(form, arguments) for name, form in forms.items()}
    passes = {"forward" if case.differentiable else "call": (forward, case.forward_work(**shape))}
    if case.differentiable:
        both = {name: _training_step(form, arguments, case.differentiable) for name, form in forms.items()}
        work = case.forward_work(**shape)
        if case.backward_work is not None:
            work = work + case.backward_work(**shape)
        passes["forward + backward"] = (both, work)
    for steps, work in passes.values():
        _check_agreement({form: step() for form, step in steps.items()}, work.dtype)
    for name, (steps, work) in passes.items():
        limit, probe, count = limits.probe(work)
        samples = sample_times({**steps, limit: probe}, device, repeats)
        samples[limit] = [count * seconds for seconds in samples[limit]]
        ours, least_time = (statistics.median(samples[form]) for form in ("ours", limit))
        yield {
            "case": case.name,
            "shape": {key: _plain(value) for key, value in shape.items()},
            "pass": name,
            "limit": limit,
            "forms": {form: _summary(times, ours, least_time) for form, times in samples.items()},
            "breakdown": _breakdown(steps["ours"], device) if case.breakdown else {},
        }


def _breakdown(step: Callable[[], Any], device: torch.device) -> dict[str, float]:
    """Share of the time of one call that each operation takes itself, the largest first."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        step()
    times = {
        event.key: event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        for event in profile.key_averages()
    }
    total = sum(times.values())
    return {name: time / total for name, time in sorted(times.items(), key=lambda item: -item[1])[:12]}


def _summary(times: list[float], ours: float, least_time: float) -> dict[str, float | int]:
    first_quartile, median, third_quartile = statistics.quantiles(times, n=4, method="inclusive")
    return {
        "median_s": median,
        "first_quartile_s": first_quartile,
        "third_quartile_s": third_quartile,
        "repeats": len(times),
        "ratio": median / ours,
        "share_of_limit": least_time / median,
    }


def _plain(value: Any) -> Any:
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value


def _tensors(result: Any) -> tuple[torch.Tensor, ...]:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _forward_step(
    form: Callable[..., Any], arguments: dict[str, Any]
) -> Callable[[], tuple[torch.Tensor, ...]]:
    # A form that runs its own backward needs gradients; one whose inputs are to be differentiated is timed
    # as at inference.
    records_gradients = not any(
        isinstance(value, torch.Tensor) and value.requires_grad for value in arguments.values()
    )

    def step() -> tuple[torch.Tensor, ...]:
        with torch.set_grad_enabled(records_gradients):
            return _tensors(form(**arguments))

    return step


def _training_step(
    form: Callable[..., Any], arguments: dict[str, Any], differentiable: Any
) -> Callable[[], tuple[torch.Tensor, ...]]:
    leaves = [arguments[name] for name in differentiable]
    grad_outputs: list[torch.Tensor] = []

    def step() -> tuple[torch.Tensor, ...]:
        outputs = [output for output in _tensors(form(**arguments)) if output.requires_grad]
        if not grad_outputs:
            generator = torch.Generator().manual_seed(1)
            grad_outputs.extend(torch.randn(o.shape, generator=generator).to(o) for o in outputs)
        return torch.autograd.grad(outputs, leaves, grad_outputs)

    return step


def _check_agreement(results: dict[str, tuple[torch.Tensor, ...]], dtype: torch.dtype) -> None:
    """``dtype`` is what products are computed in: under autocast, coarser than the results."""
    expected = results.pop("ours")
    for name, actual in results.items():
        if len(actual) != len(expected):
            raise DisagreementError(f"{name} gives {len(actual)} results, ours {len(expected)}")
        for index, (got, want) in enumerate(zip(actual, expected, strict=True)):
            if got.shape != want.shape or got.dtype != want.dtype:
                raise DisagreementError(
                    f"result {index} of {name} is {got.dtype} {list(got.shape)}, "
                    f"of ours {want.dtype} {list(want.shape)}"
                )
            if not want.numel():
                continue
            relative = max(TOLERANCE[want.dtype], TOLERANCE[dtype]) if want.is_floating_point() else 0.0
            allowed = relative * want.detach().abs().max().item() if relative else 0.0
            error = (got.detach().double() - want.detach().double()).abs().max().item()
            # Written so that NaN is a disagreement.
            if not error <= allowed:
                raise DisagreementError(
                    f"result {index} of {name} differs from ours by {error:.3g} > {allowed:.3g}"
                )


def format_record(record: dict[str, Any]) -> str:
    """One table of plain text: a line per form, its ratio to ours and its share of the machine's limit."""
    shape = " ".join(f"{key}={value}" for key, value in record["shape"].items())
    header = ("", "median", "quartiles", "ratio", f"of {record['limit']}")
    rows = [header]
    for form, summary in record["forms"].items():
        quartiles = f"{_time(summary['first_quartile_s'])} – {_time(summary['third_quartile_s'])}"
        share = f"{summary['share_of_limit']:.0%}"
        rows.append((form, _time(summary["median_s"]), quartiles, f"{summary['ratio']:.2f}", share))
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [f"{record['case']}  {shape}  ({record['pass']})"]
    for name, *cells in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join(["", name.ljust(widths[0]), *aligned]))
    if record["breakdown"]:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in record["breakdown"].items())
        lines.append(f"  time of ours: {shares}")
    return "\n".join([*lines, ""])


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
