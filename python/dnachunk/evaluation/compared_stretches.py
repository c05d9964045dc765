"""What of a genome tokenizers are compared on: its stretches, the features there, and windows."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from dnachunk.data import Genome, HeldOutWindows, Interval, WindowDataset
from dnachunk.data.annotation import Feature, read_annotation
from dnachunk.data.contents import OnError, tell_skipped
from dnachunk.data.record_names import some
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.token_meaning import ALL, ELSEWHERE, NOT_SOFT_MASKED, SOFT_MASKED
from dnachunk.ops import decode_dna
from dnachunk.reporting import say

TRAINING_BP = 1 << 20
"""Bases that byte-pair encoding is trained on, at most."""


class Span(NamedTuple):
    """A stretch of a record."""

    record_index: int
    start_bp: int
    end_bp: int


class MutationWindows(NamedTuple):
    """Windows to mutate, ``[W, N]`` int64 ids, and texts from elsewhere to train on, if there is anything."""

    windows: torch.Tensor
    texts: list[str]


def spans_of(genome: Genome, interval: Interval | None) -> list[Span]:
    """An interval of a genome, or all of its records that have bases."""
    if interval is None:
        return [
            Span(index, 0, record.length_bp)
            for index, record in enumerate(genome.records)
            if record.length_bp > 0
        ]
    index = genome.index_of(interval.record)
    return [Span(index, interval.start_bp, interval.end_bp or genome.records[index].length_bp)]


def read_features(
    genome: Genome, paths: Sequence[Path], kinds: Sequence[str], spans: Sequence[Span], on_error: OnError
) -> list[Feature]:
    """Features of these kinds, or of all, that touch the spans."""
    found: set[Feature] = set()
    for path in paths:
        annotation = read_annotation(path, genome, on_error=on_error)
        found.update(annotation.features)
        tell_skipped(annotation.skipped, f"lines of {path}")
        if annotation.num_empty:
            say(f"{path}: {annotation.num_empty:,} features without a base are left out")
        if annotation.left_out:
            say(
                f"{path}: {annotation.left_out.total():,} features are left out, on "
                f"{len(annotation.left_out):,} records that {genome.path.name} does not have: "
                f"{some(annotation.left_out, 20)}"
            )
    present = {each.kind for each in found}
    unknown = [kind for kind in kinds if kind not in present]
    if unknown:
        there = ", ".join(sorted(present)) or "none, without `annotation`"
        raise ArgumentError(f"`feature` {unknown[0]!r} is no type of the annotation; there are {there}")
    taken = present & {ALL, ELSEWHERE, SOFT_MASKED, NOT_SOFT_MASKED}
    if taken:
        raise ArgumentError(
            f"a type of `annotation` must not be called {taken.pop()!r}, which all sequences have"
        )
    inside = features_inside([each for each in sorted(found) if not kinds or each.kind in kinds], spans)
    if paths and not inside:
        say("No feature of the annotation lies in the region.")
    return inside


def features_inside(features: Sequence[Feature], spans: Sequence[Span]) -> list[Feature]:
    """Those of the features that have a base in the stretches."""
    by_record = {span.record_index: span for span in spans}
    return [
        each
        for each in features
        if (span := by_record.get(each.record_index))
        and each.start_bp < span.end_bp
        and each.end_bp > span.start_bp
    ]


def mutation_windows(
    genome: Genome, spans: Sequence[Span], window_bp: int, count: int, seed: int
) -> MutationWindows | None:
    """Windows of the spans, evenly spaced, and other ones of the genome; None if not one fits."""
    # A record shorter than a window would be a window as short.
    intervals = [
        Interval(genome.records[span.record_index].name, span.start_bp, span.end_bp)
        for span in spans
        if span.end_bp - span.start_bp >= window_bp
    ]
    try:
        total = len(HeldOutWindows([genome], window_bp, intervals, max_n_fraction=0))
    except ArgumentError:
        say(f"No boundary survival: there are no {window_bp:,} bases in a row without N to mutate.")
        return None
    # Where all windows of a genome would be mutated, every second is, and the others are trained on.
    for most in (min(count, total), min(count, -(-total // 2))):
        chosen = HeldOutWindows([genome], window_bp, intervals, most, max_n_fraction=0)
        windows = torch.stack([chosen[index]["input_ids"] for index in range(len(chosen))])
        with contextlib.suppress(ValueError):
            others = WindowDataset(
                [genome],
                window_bp,
                holdout=chosen.intervals,
                num_windows=-(-min(TRAINING_BP, genome.length_bp) // window_bp),
                seed=seed,
                reverse_complement=False,
            )
            ids = [others[index]["input_ids"] for index in range(len(others))]
            offsets = torch.tensor([0, *map(len, ids)]).cumsum(0)
            return MutationWindows(windows, decode_dna(torch.cat(ids).to(torch.uint8), offsets))
    return MutationWindows(windows, [])


__all__ = ["MutationWindows", "Span", "features_inside", "mutation_windows", "read_features", "spans_of"]
