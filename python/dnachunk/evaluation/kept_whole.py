"""How many tokens an occurrence of a motif is cut into, beside the same stretches shuffled."""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from dnachunk.alphabet import reverse_complement
from dnachunk.data.annotation import read_regions
from dnachunk.data.contents import OnError, tell_skipped, unpacked_name
from dnachunk.data.genome import Genome
from dnachunk.data.motif_matrices import read_motif_matrices
from dnachunk.data.shuffle import dinucleotide_shuffle
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.boundary_survival import Boundaries
from dnachunk.evaluation.motifs import IUPAC, Sites, find_matrix, find_motif, log_odds
from dnachunk.evaluation.token_meaning import Band, bootstrap_band, site_windows
from dnachunk.random import mix
from dnachunk.reporting import say

ALL_MOTIFS: Final = "all motifs"
"""What the occurrences of all motifs together are called."""

FIGURES: Final = ("tokens", "whole", "edges")
"""What is measured of an occurrence: tokens that have a base of it, whether that is one, and the share of its
two edges at which a token begins."""

_HALVINGS = 40

_MATRIX_SUFFIXES = (".meme", ".jaspar", ".pfm")

Span = tuple[int, int, int]
"""Which record, its first base and the base after its last."""


class Occurrences(NamedTuple):
    """Stretches of a genome that are of one kind.

    Attributes:
        sites: ``S`` places: where each begins along its strand.
        lengths: ``[S]`` int64: bases of each.
    """

    sites: Sites
    lengths: torch.Tensor


class Cuts(NamedTuple):
    """Means over occurrences, ``[3]`` each as :data:`FIGURES` names them, and over the same ones shuffled.

    Their intervals of 95% are exact for the share that is one token, and bootstrapped over occurrences for
    the others.
    """

    observed: Band
    shuffled: Band


class MotifCuts(NamedTuple):
    """How tokenizers cut the occurrences of a motif.

    Attributes:
        num_found: Occurrences in the sequences.
        num_sites: How many of them were looked at.
        tokenizers: By tokenizer; empty where too few could be looked at.
    """

    num_found: int
    num_sites: int
    tokenizers: Mapping[str, Cuts]


class _Scan(NamedTuple):
    """A motif that is looked for: its length, and what finds it on either strand of a stretch."""

    length_bp: int
    forward: Callable[[torch.Tensor], torch.Tensor]
    reverse: Callable[[torch.Tensor], torch.Tensor]


def find_occurrences(
    genome: Genome,
    spans: Sequence[Span],
    motifs: Iterable[str | os.PathLike[str]],
    least_score: float,
    on_error: OnError = "fail",
) -> dict[str, Occurrences]:
    """Where motifs occur, on either strand; a stretch that matches on both counts once, as forward.

    Args:
        genome: The genome.
        spans: Where to look; occurrences lie wholly inside one of them.
        motifs: IUPAC letters, alone or as ``NAME=LETTERS``; files of matrices (``.meme``, ``.jaspar``,
            ``.pfm``); or files of places (``.bed``), each of whose names is a motif, as many as there are.
            All of the files may be packed.
        least_score: Of matrices, as :func:`~dnachunk.evaluation.motifs.find_matrix` takes it.
        on_error: What to do at a line of a BED file that cannot be read.

    Returns:
        By name, in the order given; motifs that do not occur too.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If one is malformed, a pattern has other letters, or two motifs have one name.
    """
    scans: list[tuple[str, _Scan]] = []
    found: dict[str, Occurrences] = {}
    names: list[str] = []
    for motif in motifs:
        suffix = Path(unpacked_name(motif)).suffix.lower()
        if suffix == ".bed":
            listed = _listed_places(Path(motif), genome, spans, on_error)
            found |= listed
            names += listed
            continue
        if suffix in _MATRIX_SUFFIXES:
            matrices = read_motif_matrices(motif)
            new = [(each.name, _matrix_scan(log_odds(each.counts), least_score)) for each in matrices]
        else:
            new = [_pattern_scan(os.fspath(motif))]
        scans += new
        names += [name for name, _ in new]
    name, count = Counter([ALL_MOTIFS, *names]).most_common(1)[0]
    if count > 1:
        raise ArgumentError(f"every `motif` must have a name of its own, got {name!r} twice")
    parts: dict[str, list[Occurrences]] = {name: [] for name, _ in scans}
    for record_index, start_bp, end_bp in spans:
        ids, _ = genome.fetch(record_index, start_bp, end_bp)
        for name, scan in scans:
            parts[name].append(_scanned(ids, scan, record_index, start_bp))
    found |= {
        name: Occurrences(
            Sites.join([part.sites for part in of_spans]), torch.cat([part.lengths for part in of_spans])
        )
        for name, of_spans in parts.items()
    }
    return {name: found[name] for name in names}


def cut_figures(starts: torch.Tensor, anchor: int, length_bp: int) -> torch.Tensor:
    """:data:`FIGURES` of a stretch, ``[3]`` float64.

    Args:
        starts: ``[n]`` bool: where tokens begin in a sequence.
        anchor: The stretch's first base.
        length_bp: Its bases, at least one; the sequence has a base behind it.
    """
    inside = int(starts[anchor + 1 : anchor + length_bp].sum())
    edges = (int(starts[anchor]) + int(starts[anchor + length_bp])) / 2
    return torch.tensor([1 + inside, inside == 0, edges], dtype=torch.float64)


def exact_interval(count: int, total: int) -> tuple[float, float]:
    """Where a share lies with 95% confidence (Clopper & Pearson 1934, Biometrika 26:404).

    Args:
        count: How many of them are so.
        total: How many there are, at least one.
    """
    numbers = torch.arange(total + 1, dtype=torch.float64)
    ways = math.lgamma(total + 1) - torch.lgamma(numbers + 1) - torch.lgamma(total - numbers + 1)

    def share(tail: slice, is_too_low: Callable[[float], bool]) -> float:
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            logs = ways + numbers * math.log(middle) + (total - numbers) * math.log1p(-middle)
            low, high = (middle, high) if is_too_low(logs[tail].exp().sum().item()) else (low, middle)
        return (low + high) / 2

    return (
        share(slice(count, None), lambda tail: tail < 0.025) if count else 0.0,
        share(slice(count + 1), lambda tail: tail > 0.025) if count < total else 1.0,
    )


def motif_cuts(
    genome: Genome,
    occurrences: Mapping[str, Occurrences],
    tokenizers: Mapping[str, Boundaries],
    *,
    window_bp: int,
    flank_bp: int,
    min_sites: int,
    max_sites: int,
    seed: int,
    advance: Callable[[int], Any],
) -> dict[str, MotifCuts]:
    """Cuts windows around occurrences, the same for every tokenizer, and these with their middles shuffled.

    Occurrences longer than a quarter of a window are not looked at, and those near an end of their record or
    with an N in their window.

    Args:
        genome: Where they lie.
        occurrences: By motif.
        tokenizers: What cuts them, by name.
        window_bp: Bases of a window.
        flank_bp: Bases that are shuffled on either side of the longest occurrence, or less in short windows.
        min_sites: Occurrences of a motif that are needed.
        max_sites: Occurrences of a motif that are looked at, drawn at random.
        seed: Of draws, shuffling and resampling.
        advance: Is told of each motif that is done.

    Returns:
        By motif; of more than one, behind them :data:`ALL_MOTIFS`, a mean over the occurrences looked at.
    """
    cuts: dict[str, MotifCuts] = {}
    pooled: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {name: [] for name in tokenizers}
    for motif, (sites, of_sites) in occurrences.items():
        fits = (of_sites <= window_bp // 4).nonzero()[:, 0]
        lengths = of_sites[fits]
        around_bp = min(flank_bp + int(lengths.max()), window_bp // 4) if len(fits) else 0
        rows, anchors, chosen = site_windows(genome, sites.take(fits), window_bp, around_bp, max_sites, seed)
        found: dict[str, Cuts] = {}
        if len(rows) >= min_sites:
            stretches = list(zip(anchors.tolist(), lengths[chosen].tolist(), strict=True))
            shuffled = []
            for index, (row, (anchor, _)) in enumerate(zip(rows, stretches, strict=True)):
                middle = slice(anchor - around_bp, anchor + around_bp + 1)
                control = row.clone()
                control[middle] = dinucleotide_shuffle(row[middle], mix(seed, index))
                shuffled.append(control)
            for name, boundaries in tokenizers.items():
                pair = tuple(
                    torch.stack(
                        [
                            cut_figures(starts, *stretch)
                            for starts, stretch in zip(boundaries(version), stretches, strict=True)
                        ]
                    )
                    for version in (rows, shuffled)
                )
                pooled[name].append((pair[0], pair[1]))
                found[name] = Cuts(*(_band(values, seed) for values in pair))
        cuts[motif] = MotifCuts(len(sites), len(rows), found)
        advance(1)
    looked_at = [each for each in cuts.values() if each.tokenizers]
    if len(looked_at) > 1:
        cuts[ALL_MOTIFS] = MotifCuts(
            sum(each.num_found for each in looked_at),
            sum(each.num_sites for each in looked_at),
            {
                name: Cuts(*(_band(torch.cat(values), seed) for values in zip(*of_motifs, strict=True)))
                for name, of_motifs in pooled.items()
            },
        )
    return cuts


def _band(values: torch.Tensor, seed: int) -> Band:
    """Means over occurrences: bootstrap intervals, and an exact one of those that are one token."""
    band = bootstrap_band(values, seed)
    whole = FIGURES.index("whole")
    band.low[whole], band.high[whole] = exact_interval(int(values[:, whole].sum()), len(values))
    return band


def _pattern_scan(text: str) -> tuple[str, _Scan]:
    name, is_named, letters = text.rpartition("=")
    pattern = letters.upper().replace("U", "T")
    wrong = [letter for letter in pattern if letter not in IUPAC]
    if wrong or not pattern or (is_named and not name):
        said = f": {wrong[0]!r} is no IUPAC letter" if wrong else ""
        raise ArgumentError(
            "`motif` must be IUPAC letters, NAME=LETTERS, or a file that ends in "
            f"{', '.join(_MATRIX_SUFFIXES)} or .bed, got {text!r:.80}{said}"
        )
    other = reverse_complement(pattern)
    scan = _Scan(len(pattern), partial(find_motif, pattern=pattern), partial(find_motif, pattern=other))
    return name or pattern, scan


def _matrix_scan(scores: torch.Tensor, least: float) -> _Scan:
    # The bases stand in the order of their complements' reversed.
    other = scores.flip(0, 1)
    return _Scan(
        len(scores),
        partial(find_matrix, scores=scores, least=least),
        partial(find_matrix, scores=other, least=least),
    )


def _scanned(ids: torch.Tensor, scan: _Scan, record_index: int, start_bp: int) -> Occurrences:
    forward, reverse = scan.forward(ids), scan.reverse(ids)
    reverse = reverse[~torch.isin(reverse, forward)]
    edges = torch.cat([forward, reverse + scan.length_bp]) + start_bp
    is_reverse = torch.arange(len(edges)) >= len(forward)
    sites = Sites(torch.full_like(edges, record_index), edges, is_reverse)
    return Occurrences(sites, torch.full_like(edges, scan.length_bp))


def _listed_places(
    path: Path, genome: Genome, spans: Sequence[Span], on_error: OnError
) -> dict[str, Occurrences]:
    listed, skipped = read_regions(path, genome, on_error=on_error)
    tell_skipped(skipped, f"lines of {path}")
    num_empty = sum(each.start_bp == each.end_bp for each in listed)
    if num_empty:
        say(f"{path}: {num_empty:,} places without a base are left out")
    of_records = {record_index: (start_bp, end_bp) for record_index, start_bp, end_bp in spans}
    by_name: dict[str, dict[tuple[int, int, int], bool]] = {}
    for record_index, start_bp, end_bp, name, is_reverse, *_ in listed:
        places = by_name.setdefault(Path(unpacked_name(path)).stem if name == "." else name, {})
        first, last = of_records.get(record_index, (0, 0))
        if first <= start_bp < end_bp <= last:
            places.setdefault((record_index, start_bp, end_bp), is_reverse)
    return {
        name: Occurrences(
            Sites(
                torch.tensor([record for record, _, _ in places], dtype=torch.int64),
                torch.tensor(
                    [end if is_reverse else start for (_, start, end), is_reverse in places.items()],
                    dtype=torch.int64,
                ),
                torch.tensor(list(places.values()), dtype=torch.bool),
            ),
            torch.tensor([end - start for _, start, end in places], dtype=torch.int64),
        )
        for name, places in by_name.items()
    }


__all__ = [
    "ALL_MOTIFS",
    "Cuts",
    "MotifCuts",
    "Occurrences",
    "cut_figures",
    "find_occurrences",
    "motif_cuts",
]
