"""Windows of genomes for training and for evaluation, and the intervals that keep the two apart."""

import bisect
import itertools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from dnachunk.alphabet import IGNORE_INDEX, N_ID, PAD_ID, is_base
from dnachunk.data.genome import Genome
from dnachunk.errors import ArgumentError
from dnachunk.random import mix

Item = dict[str, torch.Tensor]
Span = tuple[int, int]

MAX_ATTEMPTS = 100
"""Draws of a place for one window before a genome counts as too full of N."""

MIN_HELD_OUT = 200
"""Windows below which figures of held-out sequence say little."""

MIN_RECORD_BP = 32
"""Bases below which a record shorter than a window has too little context to learn from, and is left out."""

# Streams of random numbers of one window.
_GENOME, _PLACE, _STRAND = range(3)


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of a record.

    Attributes:
        record: Name of the record.
        start_bp: First base, 0-based.
        end_bp: Base after the last; None is the end of the record.
        genome: Path of the genome that is meant; None is every genome that has such a record.

    Raises:
        ValueError: If the interval is empty or starts before the record.
    """

    record: str
    start_bp: int = 0
    end_bp: int | None = None
    genome: str | None = None

    def __post_init__(self) -> None:
        if self.start_bp < 0 or (self.end_bp is not None and self.end_bp <= self.start_bp):
            got = f"{self.start_bp}, {self.end_bp}"
            raise ValueError(f"Interval: start_bp, end_bp must be 0 <= start_bp < end_bp, got {got}")

    @classmethod
    def parse(cls, text: str, record_names: Collection[str] = ()) -> "Interval":
        """Reads an interval as samtools writes it: positions count from 1 and the last one is included.

        Args:
            text: ``"chrI"``, the whole record, ``"chrI:101-200"``, which is ``start_bp=100, end_bp=200``, or
                ``"chrI:101-"``, which goes to the record's end; thousands may be set apart by commas.
            record_names: Names that are taken whole, should one of them look like an interval.

        Returns:
            The interval.

        Raises:
            ValueError: If ``text`` is empty, or its positions are not ``1 <= start <= end``.
        """
        match = re.fullmatch(r"(.+):([\d,]*\d)-([\d,]*\d)?", text, flags=re.ASCII)
        if match is None or text in record_names:
            if not text:
                raise ValueError("Interval.parse: text must be 'name' or 'name:start-end', got ''")
            return cls(text)
        start = int(match[2].replace(",", ""))
        end = None if match[3] is None else int(match[3].replace(",", ""))
        if start < 1 or (end is not None and end < start):
            raise ValueError(f"Interval.parse: text must have positions 1 <= start <= end, got {text!r}")
        return cls(match[1], start - 1, end)

    def __str__(self) -> str:
        if self.end_bp is None:
            return self.record if self.start_bp == 0 else f"{self.record}:{self.start_bp + 1}-"
        return f"{self.record}:{self.start_bp + 1}-{self.end_bp}"


def default_holdout(genomes: Sequence[Genome], window_bp: int | None = None) -> list[Interval]:
    """What to keep from training where the user names nothing: about a tenth of each genome.

    Whole records from the file's end, and the end of one that would be too much; records under a hundredth of
    a genome's bases come last, and those shorter than a window do not count. Where a tenth has less than
    :data:`MIN_HELD_OUT` windows that can be evaluated on, as much more as it takes, up to a half; of genomes
    that are too small for that a tenth.

    Args:
        genomes: The genomes.
        window_bp: Bases of a window; without it a tenth is enough.

    Returns:
        Intervals of each genome, from its end.
    """
    if window_bp is None:
        return [interval for genome in genomes for interval in _last(genome, 10, 1)]
    small: list[Interval] = []
    for hundredths in range(10, 51, 5):
        holdout = [interval for genome in genomes for interval in _last(genome, hundredths, window_bp)]
        num_windows = _num_windows(genomes, holdout, window_bp)
        if num_windows >= MIN_HELD_OUT:
            return holdout
        if num_windows and not small:
            small = holdout
    return small


def _last(genome: Genome, hundredths: int, window_bp: int) -> list[Interval]:
    """The end of a genome: whole records, and a part of one."""
    from_end = [record for record in reversed(genome.records) if record.length_bp >= window_bp]
    total_bp = sum(record.length_bp for record in from_end)
    wanted_bp = missing_bp = -(-total_bp * hundredths // 100)
    intervals = []
    for record in sorted(from_end, key=lambda each: 100 * each.length_bp < total_bp):
        if 4 * missing_bp <= wanted_bp:
            break
        is_whole = 2 * record.length_bp <= 3 * missing_bp
        start_bp = 0 if is_whole else max(0, record.length_bp - max(missing_bp, window_bp))
        intervals.append(Interval(record.name, start_bp, record.length_bp, str(genome.path)))
        missing_bp -= record.length_bp - start_bp
    return intervals


def _num_windows(genomes: Sequence[Genome], holdout: Sequence[Interval], window_bp: int) -> int:
    try:
        return len(HeldOutWindows(genomes, window_bp, holdout))
    except ArgumentError:
        return 0


class WindowDataset(Dataset[Item]):
    """Windows drawn at random from genomes, none of which touches a held-out interval.

    Item ``index`` is a function of ``seed`` and ``index`` alone: the same for any number of workers or ranks
    and in any order, so that a run is resumed by skipping. A draw takes a genome by its weight, a place
    uniformly among all places where a whole window fits, and a strand. Where the window has too many N, the
    place is drawn again, in the same genome.

    With ``short_records``, a record shorter than a window, of :data:`MIN_RECORD_BP` or more, is a window of
    its own, as short as it is; what of it is not held out, if that is a part. So that a contig is not one
    place among a chromosome's thousands, a genome with such records gives each stretch draws in proportion to
    its bases, and the places of the stretch share them evenly.

    Items have ``input_ids`` ``[n]`` int64, ``repeat_mask`` ``[n]`` bool and ``sample_index`` ``[]`` int64,
    which is ``index``; ``n`` is ``window_bp``, or less where the record is shorter. Where a genome has
    regions, all have ``region_index`` ``[n]`` int64; see :meth:`Genome.region_index`.

    Attributes:
        num_short: Records that are shorter than a window and drawn.
        num_too_short: Records that are too short to be drawn.

    Args:
        genomes: Where the windows come from.
        window_bp: Bases of a window; a genome that may be drawn must have a record where one fits.
        weights: One for each genome, at least 0; None is in proportion to the genomes' bases.
        holdout: Intervals that no window overlaps.
        num_windows: Length of the dataset.
        seed: Keys every draw.
        reverse_complement: Draw either strand with probability ½ instead of the forward one.
        max_n_fraction: Share of N above which a window is drawn again.
        short_records: Whether records shorter than a window are drawn.

    Raises:
        ValueError: If an argument is out of its range, an interval lies in no record, or a genome that may be
            drawn has no place for a window. Getting an item raises it after 100 draws with too many N.
    """

    def __init__(
        self,
        genomes: Sequence[Genome],
        window_bp: int,
        *,
        weights: Sequence[float] | None = None,
        holdout: Sequence[Interval] = (),
        num_windows: int,
        seed: int,
        reverse_complement: bool = True,
        max_n_fraction: float = 0.1,
        short_records: bool = False,
    ) -> None:
        _check_common("WindowDataset", genomes, window_bp, max_n_fraction)
        if num_windows < 0:
            raise ValueError(f"WindowDataset: num_windows must be at least 0, got {num_windows}")
        self.genomes = list(genomes)
        self.has_regions = any(genome.regions for genome in genomes)
        self.window_bp = window_bp
        self.num_windows = num_windows
        self.seed = seed
        self.reverse_complement = reverse_complement
        self.max_n_fraction = max_n_fraction
        if weights is None:
            weights = [genome.length_bp for genome in genomes]
        is_valid = all(math.isfinite(weight) and weight >= 0 for weight in weights) and sum(weights) > 0
        if len(weights) != len(genomes) or not is_valid:
            raise ValueError(
                f"WindowDataset: weights must be {len(genomes)} finite numbers of at least 0 and not all 0, "
                f"got {list(weights)}"
            )
        self._cumulative_weights = list(itertools.accumulate(weights))
        held_out = held_out_spans(genomes, holdout, prefix="WindowDataset: ")
        self._places = [
            _Places(
                genome,
                spans,
                window_bp,
                may_be_empty=weight == 0,
                shortest_bp=_shortest(window_bp, short_records),
            )
            for genome, spans, weight in zip(genomes, held_out, weights, strict=True)
        ]
        self.num_short = sum(places.num_short for places in self._places)
        records = [record for genome in genomes for record in genome.records]
        shortest_bp = _shortest(window_bp, short_records)
        self.num_too_short = sum(record.length_bp < shortest_bp for record in records)

    def __len__(self) -> int:
        return self.num_windows

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < self.num_windows:
            raise IndexError(f"WindowDataset: index must be from 0 to {self.num_windows - 1}, got {index}")
        # 53 bits make an exact float below 1.
        uniform = (mix(self.seed, index, _GENOME) >> 10) / 2**53
        genome_index = bisect.bisect_right(self._cumulative_weights, uniform * self._cumulative_weights[-1])
        genome, places = self.genomes[genome_index], self._places[genome_index]
        is_reverse = self.reverse_complement and mix(self.seed, index, _STRAND) % 2 == 1
        for attempt in range(MAX_ATTEMPTS):
            record_index, start_bp, end_bp = places[mix(self.seed, index, _PLACE, attempt) % len(places)]
            place = (record_index, start_bp, end_bp)
            ids, repeat_mask = genome.fetch(*place, reverse_complement=is_reverse)
            if (ids == N_ID).sum().item() <= self.max_n_fraction * len(ids):
                item = _item(ids, repeat_mask, index)
                if self.has_regions:
                    item["region_index"] = genome.region_index(*place, reverse_complement=is_reverse)
                return item
        raise ValueError(
            f"WindowDataset: {MAX_ATTEMPTS} windows of {self.window_bp} bp drawn from {genome.path} for item "
            f"{index} all had more than {self.max_n_fraction:.0%} N"
        )


class HeldOutWindows(Dataset[Item]):
    """The windows that tile the held-out intervals from their starts, without overlap, on the forward strand.

    Intervals are joined where they touch or overlap; a rest shorter than a window is left out, as are windows
    with too many N. With ``short_records``, what is held out of a record shorter than a window is a window,
    as short as it is. Items are those of :class:`WindowDataset`.

    Attributes:
        genome_indices: ``[len(self)]`` int64: which of the genomes each window is of.

    Args:
        genomes: Where the windows come from.
        window_bp: Bases of a window.
        holdout: The intervals.
        max_windows: If there are more, as many of them, evenly spaced; None is all.
        max_n_fraction: Share of N above which a window is left out.
        short_records: Whether there are windows of records shorter than a window.

    Raises:
        ValueError: If an argument is out of its range, an interval lies in no record, or no window is left.
    """

    def __init__(
        self,
        genomes: Sequence[Genome],
        window_bp: int,
        holdout: Sequence[Interval],
        max_windows: int | None = None,
        max_n_fraction: float = 0.1,
        *,
        short_records: bool = False,
    ) -> None:
        _check_common("HeldOutWindows", genomes, window_bp, max_n_fraction)
        if max_windows is not None and max_windows < 1:
            raise ValueError(f"HeldOutWindows: max_windows must be at least 1, got {max_windows}")
        self.genomes = list(genomes)
        self.window_bp = window_bp
        held_out = held_out_spans(genomes, holdout, prefix="HeldOutWindows: ")
        shortest_bp = _shortest(window_bp, short_records)
        windows = [
            (genome_index, record_index, start_bp, end_bp)
            for genome_index, spans_of_record in enumerate(held_out)
            for record_index, spans in sorted(spans_of_record.items())
            for span in spans
            for start_bp, end_bp in _tile(
                genomes[genome_index], record_index, span, window_bp, max_n_fraction, shortest_bp
            )
        ]
        if not windows:
            wanted = f"a window of {window_bp} bp with at most {max_n_fraction:.0%} N"
            if not holdout:
                where = ", ".join(str(genome.path) for genome in genomes)
                raise ArgumentError(f"HeldOutWindows: there must be {wanted} to evaluate on, in {where}")
            got = [str(interval) for interval in holdout[:5]]
            raise ArgumentError(f"HeldOutWindows: `holdout` must hold {wanted}, got {got}")
        count = len(windows) if max_windows is None else min(max_windows, len(windows))
        self._windows = [windows[index * len(windows) // count] for index in range(count)]
        self.genome_indices = torch.tensor([genome_index for genome_index, *_ in self._windows])

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self._windows):
            raise IndexError(f"HeldOutWindows: index must be from 0 to {len(self._windows) - 1}, got {index}")
        genome_index, record_index, start_bp, end_bp = self._windows[index]
        ids, repeat_mask = self.genomes[genome_index].fetch(record_index, start_bp, end_bp)
        return _item(ids, repeat_mask, index)

    @property
    def intervals(self) -> list[Interval]:
        """Where the windows lie."""
        found = []
        for genome_index, record_index, start_bp, end_bp in self._windows:
            genome = self.genomes[genome_index]
            name = genome.records[record_index].name
            found.append(Interval(name, start_bp, end_bp, str(genome.path)))
        return found


class WindowCollator:
    """Makes a batch of windows: pads on the right to the longest and adds mask and labels.

    A batch has ``input_ids``, ``attention_mask`` and ``labels`` (the id at A, C, G and T, -100 elsewhere),
    each ``[B, N]`` int64, ``repeat_mask`` ``[B, N]`` bool and ``sample_index`` ``[B]`` int64; of windows
    that have it also ``region_index`` ``[B, N]`` int64.
    """

    def __call__(self, items: Sequence[Mapping[str, torch.Tensor]]) -> Item:
        """Joins the items of one batch.

        Args:
            items: At least one item of :class:`WindowDataset` or :class:`HeldOutWindows`.

        Returns:
            The batch.
        """

        def pad(values: list[torch.Tensor], padding: int) -> torch.Tensor:
            return pad_sequence(values, batch_first=True, padding_value=padding)

        input_ids = pad([item["input_ids"] for item in items], PAD_ID)
        regions = [item["region_index"] for item in items if "region_index" in item]
        return {
            "input_ids": input_ids,
            "attention_mask": pad([torch.ones_like(item["input_ids"]) for item in items], 0),
            "labels": input_ids.where(is_base(input_ids), IGNORE_INDEX),
            "repeat_mask": pad([item["repeat_mask"] for item in items], 0),
            "sample_index": torch.stack([item["sample_index"] for item in items]),
            **({"region_index": pad(regions, 0)} if regions else {}),
        }


class _Places:
    """All places of one genome where a window may lie, as a sequence of (record index, start, end)."""

    def __init__(
        self,
        genome: Genome,
        held_out: Mapping[int, list[Span]],
        window_bp: int,
        *,
        may_be_empty: bool,
        shortest_bp: int,
    ) -> None:
        # Record, start, bases of a window, and places, of each stretch.
        self._runs: list[tuple[int, int, int, int]] = []
        lengths: list[int] = []
        has_whole = False
        short: set[int] = set()
        for record_index, record in enumerate(genome.records):
            start_bp = 0
            for held_start_bp, held_end_bp in [*held_out.get(record_index, []), (record.length_bp, 0)]:
                run_bp = held_start_bp - start_bp
                length_bp = _window_length(record.length_bp, run_bp, window_bp, shortest_bp)
                if length_bp:
                    self._runs.append((record_index, start_bp, length_bp, run_bp - length_bp + 1))
                    lengths.append(run_bp)
                    has_whole |= length_bp == window_bp
                if 0 < length_bp < window_bp:
                    short.add(record_index)
                start_bp = held_end_bp
        self.num_short = len(short)
        self._ends = list(
            itertools.accumulate(lengths if short else [num_places for *_, num_places in self._runs])
        )
        if not has_whole and not may_be_empty:
            longest = max(genome.records, key=lambda record: record.length_bp)
            rest = "" if longest.length_bp < window_bp else ", outside the held-out intervals (`holdout`)"
            raise ArgumentError(
                f"WindowDataset: `window_bp` must fit into a record of {genome.path}{rest}; "
                f"the longest, {longest.name!r}, has {longest.length_bp} bp, got {window_bp}"
            )

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, place: int) -> tuple[int, int, int]:
        run = bisect.bisect_right(self._ends, place)
        record_index, first_bp, length_bp, num_places = self._runs[run]
        before = self._ends[run - 1] if run else 0
        start_bp = first_bp + (place - before) * num_places // (self._ends[run] - before)
        return record_index, start_bp, start_bp + length_bp


def _shortest(window_bp: int, short_records: bool) -> int:
    """Bases that a record must have to be drawn from."""
    return min(MIN_RECORD_BP, window_bp) if short_records else window_bp


def _window_length(record_bp: int, run_bp: int, window_bp: int, shortest_bp: int) -> int:
    """Bases of a window in a stretch of a record: all, fewer where the record is short, 0 where none fits."""
    if run_bp >= window_bp:
        return window_bp
    return run_bp if record_bp < window_bp and run_bp >= shortest_bp else 0


def _check_common(function: str, genomes: Sequence[Genome], window_bp: int, max_n_fraction: float) -> None:
    if not genomes:
        raise ValueError(f"{function}: genomes must be at least one Genome, got none")
    if window_bp < 1:
        raise ValueError(f"{function}: window_bp must be at least 1, got {window_bp}")
    if not 0 <= max_n_fraction <= 1:
        raise ValueError(f"{function}: max_n_fraction must be in [0, 1], got {max_n_fraction}")


def held_out_spans(
    genomes: Sequence[Genome], holdout: Sequence[Interval], *, prefix: str = ""
) -> list[dict[int, list[Span]]]:
    """Where held-out intervals lie.

    Args:
        genomes: The genomes.
        holdout: The intervals.
        prefix: What messages begin with.

    Returns:
        For each genome, by record index, spans in order, none touching another.

    Raises:
        ValueError: If an interval lies in no record.
    """
    spans: list[dict[int, list[Span]]] = [{} for _ in genomes]
    for interval in holdout:
        is_found = False
        for genome, spans_of_record in zip(genomes, spans, strict=True):
            if interval.genome not in (None, str(genome.path)) or interval.record not in genome:
                continue
            is_found = True
            record_index = genome.index_of(interval.record)
            length_bp = genome.records[record_index].length_bp
            end_bp = length_bp if interval.end_bp is None else interval.end_bp
            if not interval.start_bp < end_bp <= length_bp:
                raise ArgumentError(
                    f"{prefix}`holdout` must lie in its record, got {interval} "
                    f"of a record of {length_bp} bp in {genome.path}"
                )
            spans_of_record.setdefault(record_index, []).append((interval.start_bp, end_bp))
        if not is_found:
            where = interval.genome or ", ".join(str(genome.path) for genome in genomes)
            instead = "; ".join(
                genome.names.instead([interval.record])
                for genome in genomes
                if interval.genome in (None, str(genome.path))
            )
            raise ArgumentError(
                f"{prefix}`holdout` must name records of {where}, got {interval.record!r}"
                + (f": {instead}" if instead else "")
            )
    for spans_of_record in spans:
        for record_index, unmerged in spans_of_record.items():
            spans_of_record[record_index] = _merge(unmerged)
    return spans


def _merge(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start_bp, end_bp in sorted(spans):
        if merged and start_bp <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end_bp))
        else:
            merged.append((start_bp, end_bp))
    return merged


def _tile(
    genome: Genome, record_index: int, span: Span, window_bp: int, max_n_fraction: float, shortest_bp: int
) -> list[Span]:
    """Where the windows of a span lie that have few enough N."""
    record_bp = genome.records[record_index].length_bp
    length_bp = _window_length(record_bp, span[1] - span[0], window_bp, shortest_bp)
    if not length_bp:
        return []
    windows: list[Span] = []
    # Whole windows, about a million bases at once.
    piece_bp = max(1, (1 << 20) // length_bp) * length_bp
    end_bp = span[1] - (span[1] - span[0]) % length_bp
    for start_bp in range(span[0], end_bp, piece_bp):
        ids, _ = genome.fetch(record_index, start_bp, min(start_bp + piece_bp, end_bp))
        is_kept = (ids.view(-1, length_bp) == N_ID).sum(dim=1) <= max_n_fraction * length_bp
        starts = [start_bp + length_bp * window for window in is_kept.nonzero()[:, 0].tolist()]
        windows += [(first_bp, first_bp + length_bp) for first_bp in starts]
    return windows


def _item(ids: torch.Tensor, repeat_mask: torch.Tensor, index: int) -> Item:
    return {"input_ids": ids.long(), "repeat_mask": repeat_mask, "sample_index": torch.tensor(index)}
