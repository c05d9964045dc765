"""Long sequences in overlapping tiles: where the tiles lie, and which bases each of them answers for."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.data.task import Examples
from dnachunk.errors import ArgumentError, UsageError, require_at_least

Span = tuple[int, int]


class OwnTile(NamedTuple):
    """A tile of a sequence; bounds are counted from the sequence's first base, and half-open.

    Attributes:
        start_bp: First base.
        end_bp: Base after the last.
        own_start_bp: First of the bases that are its own.
        own_end_bp: Base after the last of these.
    """

    start_bp: int
    end_bp: int
    own_start_bp: int
    own_end_bp: int


def tile_spans(
    stretch: Span, window_bp: int, overlap_bp: int, near: Span | None = None
) -> Iterator[tuple[int, int, bool]]:
    """The tiles of a stretch: from its start on, each overlapping the next, the last moved back to be whole.

    Args:
        stretch: Its first base, and the base after its last.
        window_bp: Bases of a tile; a shorter stretch is one tile.
        overlap_bp: Bases that two tiles share, at least; at most half of ``window_bp``.
        near: Only the tiles that decide the tokens of these bases.

    Yields:
        First base, base after the last, and whether the tile follows one that was yielded.
    """
    first_bp, last_bp = stretch
    step_bp = window_bp - overlap_bp
    count = max(1, -(-(last_bp - first_bp - overlap_bp) // step_bp))
    last_start_bp = max(first_bp, last_bp - window_bp)
    chosen = range(count)
    if near is not None:
        start_bp, end_bp = near
        if start_bp >= last_bp or end_bp <= first_bp:
            return
        # The first that ends behind the start, and the two before it: where the last tile is moved back it
        # overlaps both. A tile that begins behind the end is joined there, where this one's tokens end.
        touching = max(0, (start_bp - first_bp - window_bp) // step_bp + 1)
        stop = count if end_bp > last_start_bp else -(-(end_bp - first_bp) // step_bp)
        chosen = range(max(0, min(touching, count - 1) - 2), stop)
    for place in chosen:
        start_bp = min(first_bp + place * step_bp, last_start_bp)
        yield start_bp, min(start_bp + window_bp, last_bp), place > chosen.start


def own_tiles(length_bp: int, tile_bp: int | None) -> list[OwnTile]:
    """The tiles that a sequence is read in, overlapping by half, as DNAChunker reads DNALongBench.

    Each base is some tile's own: that in which it is farthest from where the sequence is cut, of two as far
    the left one's.

    Args:
        length_bp: Bases of the sequence.
        tile_bp: Bases of a tile; None is the whole sequence.

    Returns:
        The tiles from left to right.
    """
    width_bp = length_bp if tile_bp is None else tile_bp
    spans = [
        (start_bp, end_bp) for start_bp, end_bp, _ in tile_spans((0, length_bp), width_bp, width_bp // 2)
    ]
    joints = [(left[1] + right[0] + 1) // 2 for left, right in itertools.pairwise(spans)]
    own = itertools.pairwise([0, *joints, length_bp])
    return [OwnTile(*span, *bases) for span, bases in zip(spans, own, strict=True)]


def tile_labelled_bases(examples: Examples, tile_bp: int | None) -> Examples:
    """Examples with labels of bases as examples of one tile each; a tile's own bases alone keep their labels.

    A tile without a label is left out.
    """
    if tile_bp is None:
        return examples
    tiled = Examples([], [], [])
    for sequence, target, place in zip(examples.sequences, examples.targets, examples.places, strict=True):
        tiles = own_tiles(len(sequence), tile_bp)
        for start, end, own_start, own_end in tiles:
            own = target[own_start:own_end]
            if len(tiles) == 1 or any(label != IGNORE_INDEX for label in own):
                tiled.sequences.append(sequence[start:end])
                tiled.targets.append(
                    [IGNORE_INDEX] * (own_start - start) + own + [IGNORE_INDEX] * (end - own_end)
                )
                tiled.places.append(place)
    return tiled


def alternate_tiles(tiles: Sequence[OwnTile], alternate_bp: int) -> list[Span]:
    """Where the tiles of an alternate allele lie: where the reference's do, the last up to its end.

    Args:
        tiles: Those of the reference, of :func:`own_tiles`.
        alternate_bp: Bases of the alternate allele.

    Raises:
        ArgumentError: If the last tile would leave out bases behind the one before it, as the alleles differ
            by more than half a tile.
    """
    *before, last = tiles
    end_bp = before[-1].end_bp if before else 0
    start_bp = max(0, alternate_bp - (last.end_bp - last.start_bp)) if before else 0
    if not (before[-1].start_bp if before else -1) < start_bp <= end_bp:
        raise ArgumentError(
            f"alleles that are read in tiles must differ by half a tile at most, got {last.end_bp:,} and "
            f"{alternate_bp:,} bases: give a larger `tile_bp`"
        )
    return [*(tile[:2] for tile in before), (start_bp, alternate_bp)]


def cut_in_tiles(alleles: Sequence[str], tile_bp: int | None) -> tuple[list[OwnTile], list[tuple[str, ...]]]:
    """A sequence, or a reference and an alternate allele, cut in tiles.

    Args:
        alleles: Letters of the sequence, or of both alleles.
        tile_bp: Bases of a tile; None is all.

    Returns:
        The tiles of the first, and what is read in each: letters of every allele.

    Raises:
        ArgumentError: As :func:`alternate_tiles`.
    """
    reference, *alternates = alleles
    tiles = own_tiles(len(reference), tile_bp)
    spans: list[list[Span]] = [[tile[:2] for tile in tiles]]
    spans += [alternate_tiles(tiles, len(alternate)) for alternate in alternates]
    parts = [
        tuple(allele[start_bp:end_bp] for allele, (start_bp, end_bp) in zip(alleles, of_alleles, strict=True))
        for of_alleles in zip(*spans, strict=True)
    ]
    return tiles, parts


def configured_tile(config: Any, tile_bp: int | None, truncate: bool) -> int | None:
    """Bases of a tile that are asked for, or else those that a model's configuration remembers.

    Raises:
        ArgumentError: If they are no whole number of at least 2.
        UsageError: If sequences are to be cut off as well.
    """
    if tile_bp is not None:
        require_at_least("tile_bp", tile_bp, 2)
        if truncate:
            raise UsageError("`tile_bp` reads what `truncate` cuts off: give one of them")
        return tile_bp
    return None if truncate else getattr(config, "tile_bp", None)


__all__ = [
    "OwnTile",
    "alternate_tiles",
    "configured_tile",
    "cut_in_tiles",
    "own_tiles",
    "tile_labelled_bases",
    "tile_spans",
]
