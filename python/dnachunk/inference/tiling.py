"""Long records in tiles: where the tiles lie, how they are run, and how their tokens are joined."""

import dataclasses
import functools
import itertools
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from dnachunk.alphabet import N_ID
from dnachunk.data.genome import Genome
from dnachunk.data.tiles import Span, tile_spans
from dnachunk.data.windows import Interval
from dnachunk.inference.tokens import encode_rows

PART_BP = 1 << 18
"""Bases of a part of a genome, which is computed by itself."""

_PIECE_BP = 1 << 20


@dataclass(frozen=True, slots=True)
class Tile:
    """A stretch of one strand of a record that a model reads at once.

    Attributes:
        record_index: Which record of the genome.
        start_bp: First base, 0-based, counted along the strand.
        end_bp: Base after the last.
        follows: Whether it overlaps, or touches, the tile before it; otherwise a run of N lies between.
    """

    record_index: int
    start_bp: int
    end_bp: int
    follows: bool


@dataclass(frozen=True, slots=True)
class TileTokens:
    """Tokens of a tile.

    Attributes:
        tile: The tile.
        edges: ``[L + 1]`` int64 on the CPU: where each token starts, and where the last ends, counted along
            the strand from the record's start.
        values: ``[L, D]`` vectors of the tokens, if they were asked for.
        finer_edges: Edges of each finer segmentation on the way to these tokens, if there are any.
        columns: More about each token by name, ``[L, …]`` each, if the model has more to say.
        boundary_probability: ``[n]`` of each base between the first and the last edge that a token of the
            finest segmentation begins there, if the model says.
    """

    tile: Tile
    edges: torch.Tensor
    values: torch.Tensor | None = None
    finer_edges: tuple[torch.Tensor, ...] = ()
    columns: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    boundary_probability: torch.Tensor | None = None

    def to_state(self) -> dict[str, Any]:
        """All of it as tensors, numbers, tuples and dicts, as :meth:`from_state` takes it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "TileTokens":
        """What :meth:`to_state` was called on."""
        return cls(**{**state, "tile": Tile(**state["tile"])})


class Share(NamedTuple):
    """What is cut of one strand of a record in a part of a genome.

    Attributes:
        record_index: Which record.
        own: Where its tiles begin.
        near: The bases whose tokens are asked for, of these tiles and of the next, which the last is joined
            with.
    """

    record_index: int
    own: Span
    near: Span


def check_tiling(function: str, window_bp: int, overlap_bp: int) -> None:
    """Raises :class:`ValueError` unless tiles of ``window_bp`` can overlap by ``overlap_bp``."""
    for name, value in (("window_bp", window_bp), ("overlap_bp", overlap_bp)):
        if not isinstance(value, numbers.Integral):
            raise ValueError(f"{function}: {name} must be a whole number, got {value!r}")
    if window_bp < 1:
        raise ValueError(f"{function}: window_bp must be at least 1, got {window_bp}")
    if not 0 <= 2 * overlap_bp <= window_bp:
        raise ValueError(
            f"{function}: overlap_bp must be from 0 to half of window_bp = {window_bp}, got {overlap_bp}"
        )


def record_tiles(
    genome: Genome,
    record_index: int,
    window_bp: int,
    overlap_bp: int,
    *,
    reverse: bool = False,
    near: Span | None = None,
) -> Iterator[Tile]:
    """The tiles of one strand of a record.

    Runs of N longer than a window are left out; each stretch between them is covered from its start by tiles
    of ``window_bp``, each overlapping the next by ``overlap_bp``. The last is moved back to be whole, and a
    stretch shorter than a window is one tile.

    Args:
        genome: The genome.
        record_index: Which record; the tiles depend on it and on the widths alone.
        window_bp: Bases of a tile.
        overlap_bp: Bases that two tiles share, at least; at most half of ``window_bp``.
        reverse: Whether to tile the reverse complement, as if it were a record.
        near: Only the tiles that decide the tokens of these bases of the strand.

    Returns:
        The tiles from left to right, made as they are asked for.

    Raises:
        ValueError: If the widths are out of range.
    """
    check_tiling("record_tiles", window_bp, overlap_bp)
    length_bp = genome.records[record_index].length_bp
    stretches = _stretches(length_bp, _long_runs_of_n(genome, record_index, window_bp))
    if reverse:
        stretches = [(length_bp - end_bp, length_bp - start_bp) for start_bp, end_bp in reversed(stretches)]
    return (
        Tile(record_index, start_bp, end_bp, follows)
        for stretch in stretches
        for start_bp, end_bp, follows in tile_spans(stretch, window_bp, overlap_bp, near)
    )


def fetch_tile(genome: Genome, tile: Tile, *, reverse: bool = False) -> torch.Tensor:
    """Ids of a tile, ``[n]`` uint8."""
    if not reverse:
        return genome.fetch(tile.record_index, tile.start_bp, tile.end_bp)[0]
    length_bp = genome.records[tile.record_index].length_bp
    start_bp, end_bp = length_bp - tile.end_bp, length_bp - tile.start_bp
    return genome.fetch(tile.record_index, start_bp, end_bp, reverse_complement=True)[0]


def join_tiles(tiles: Iterable[TileTokens]) -> Iterator[TileTokens]:
    """Joins the tokens of overlapping tiles, so that every base lies in one token.

    Two tiles are joined where both have a token edge, the one nearest to the middle of their overlap (of two
    as near, the left one). If they have none in common it is the left tile's nearest edge, and the right
    tile's token there is cut.

    Args:
        tiles: Tiles in order, of one strand; several records may follow each other. One more than is yielded
            is held.

    Yields:
        Each tile with the tokens that remain of it, and their vectors.
    """
    before: TileTokens | None = None
    start_bp = 0
    for tokens in tiles:
        if before is None or not tokens.tile.follows:
            joint_bp = tokens.tile.start_bp
            end_bp = before.tile.end_bp if before is not None else 0
        else:
            joint_bp = end_bp = _joint(before.edges, tokens.edges, start_bp)
        if before is not None:
            yield _trim(before, start_bp, end_bp)
        before, start_bp = tokens, joint_bp
    if before is not None:
        yield _trim(before, start_bp, before.tile.end_bp)


def tile_widths(model: Any, window_bp: int | None, overlap_bp: int | None) -> tuple[int, int]:
    """Bases of a tile and of an overlap; by default the model's training windows, and a quarter of a tile.

    Raises:
        ValueError: If they are out of range.
    """
    window_bp = model.config.train_length_bp if window_bp is None else window_bp
    overlap_bp = window_bp // 4 if overlap_bp is None else overlap_bp
    check_tiling("dnachunk", window_bp, overlap_bp)
    return window_bp, overlap_bp


def run_tiles(
    model: Any,
    genome: Genome,
    tiles: Iterable[Tile],
    *,
    tokens_per_base: float | None = None,
    batch_size: int = 8,
    vectors: bool = False,
    reverse: bool = False,
    bf16: bool = False,
) -> Iterator[TileTokens]:
    """Tokenizes tiles and joins them, a batch at a time.

    Args:
        model: What :func:`~dnachunk.load` gives.
        genome: Where the tiles lie.
        tiles: Tiles of one strand, in order.
        tokens_per_base: Tokens per base; None is as the model is configured.
        batch_size: Tiles that are run at once.
        vectors: Whether to run the whole model, for the tokens' vectors, or the tokenizer alone.
        reverse: Whether they are tiles of the reverse complement.
        bf16: Whether matrix products run in bfloat16; tokens may then be others.

    Raises:
        ValueError: If the keep ratio is out of reach, or the model has none.
    """

    def run() -> Iterator[TileTokens]:
        remaining = iter(tiles)
        while batch := list(itertools.islice(remaining, batch_size)):
            rows = [fetch_tile(genome, tile, reverse=reverse).long() for tile in batch]
            found = encode_rows(model, rows, tokens_per_base=tokens_per_base, vectors=vectors, bf16=bf16)
            lengths = [segmentation.lengths.cpu() for segmentation in found.segmentations]
            counts = [segmentation.num_tokens.tolist() for segmentation in found.segmentations]
            probability = found.boundary_probability
            for row, tile in enumerate(batch):
                *finer, edges = (
                    torch.nn.functional.pad(of_all[row, : of_rows[row]].cumsum(0), (1, 0)) + tile.start_bp
                    for of_all, of_rows in zip(lengths, counts, strict=True)
                )
                count = counts[-1][row]
                kept = None if found.vectors is None else found.vectors[row, :count].float().cpu()
                more = {
                    name: column[row, :count].cpu() + (tile.start_bp if name.endswith("_bp") else 0)
                    for name, column in found.columns.items()
                }
                of_bases = None if probability is None else probability[row, : len(rows[row])].float().cpu()
                yield TileTokens(tile, edges, kept, tuple(finer), more, of_bases)

    return join_tiles(run())


def genome_parts(
    genome: Genome, interval: Interval | None, window_bp: int, *, reverse: bool = False
) -> list[list[Share]]:
    """A genome in parts of :data:`PART_BP` bases, each of one record or of several short ones.

    Args:
        genome: The genome.
        interval: What of it; None is all.
        window_bp: Bases of a tile.
        reverse: Whether the strand is the reverse complement, on which bases are counted then.
    """
    spans = [(index, 0, record.length_bp) for index, record in enumerate(genome.records)]
    if interval is not None:
        spans = [(genome.index_of(interval.record), *span_of(genome, interval, reverse=reverse))]
    parts: list[list[Share]] = [[]]
    room_bp = PART_BP
    for index, start_bp, end_bp in spans:
        own_start_bp = start_bp
        while own_start_bp < end_bp:
            if not room_bp:
                parts.append([])
                room_bp = PART_BP
            own_end_bp = min(own_start_bp + room_bp, end_bp)
            near = (own_start_bp, min(own_end_bp + window_bp, end_bp))
            # Tiles before an interval decide on its first tokens too.
            own = (0 if own_start_bp == start_bp else own_start_bp, own_end_bp)
            parts[-1].append(Share(index, own, near))
            room_bp -= own_end_bp - own_start_bp
            own_start_bp = own_end_bp
    return parts


def part_length_bp(shares: Sequence[Share]) -> int:
    """Bases that one of the :func:`genome_parts` stands for."""
    return sum(share.own[1] - share.near[0] for share in shares)


def span_of(genome: Genome, interval: Interval, *, reverse: bool = False) -> Span:
    """Where an interval lies on a strand of its record."""
    length_bp = genome.records[genome.index_of(interval.record)].length_bp
    start_bp, end_bp = interval.start_bp, length_bp if interval.end_bp is None else interval.end_bp
    return (length_bp - end_bp, length_bp - start_bp) if reverse else (start_bp, end_bp)


def run_part(
    model: Any,
    genome: Genome,
    shares: Sequence[Share],
    window_bp: int,
    overlap_bp: int,
    *,
    reverse: bool = False,
    **options: Any,
) -> Iterator[TileTokens]:
    """The tokens of one of the :func:`genome_parts`, one tile after the other; the parts' are all there are.

    Args:
        model: What :func:`~dnachunk.load` gives.
        genome: The genome.
        shares: The part.
        window_bp: Bases of a tile.
        overlap_bp: Bases that two tiles share.
        reverse: As for :func:`genome_parts`.
        **options: Further arguments of :func:`run_tiles`.
    """
    tiles = itertools.chain.from_iterable(
        record_tiles(genome, share.record_index, window_bp, overlap_bp, reverse=reverse, near=share.near)
        for share in shares
    )
    own = {share.record_index: share.own for share in shares}
    for tokens in run_tiles(model, genome, tiles, reverse=reverse, **options):
        start_bp, end_bp = own[tokens.tile.record_index]
        if start_bp <= tokens.tile.start_bp < end_bp:
            yield tokens


def overlaps(edges: torch.Tensor, interval: Interval | None) -> torch.Tensor:
    """``[L]`` bool: which of the tokens with these edges touch the interval; all if there is none."""
    is_inside = torch.ones(len(edges) - 1, dtype=torch.bool)
    if interval is None:
        return is_inside
    if interval.end_bp is not None:
        is_inside &= edges[:-1] < interval.end_bp
    return is_inside & (edges[1:] > interval.start_bp)


def touching(tokens: TileTokens, genome: Genome, interval: Interval, *, reverse: bool = False) -> TileTokens:
    """A tile's tokens that touch an interval, of the last segmentation, with their vectors."""
    start_bp, end_bp = span_of(genome, interval, reverse=reverse)
    inside = overlaps(tokens.edges, Interval(interval.record, start_bp, end_bp)).nonzero()[:, 0]
    if not len(inside):
        return TileTokens(tokens.tile, tokens.edges[:1], None if tokens.values is None else tokens.values[:0])
    low, high = int(inside[0]), int(inside[-1]) + 1
    values = None if tokens.values is None else tokens.values[low:high]
    return TileTokens(tokens.tile, tokens.edges[low : high + 1], values)


def _joint(left: torch.Tensor, right: torch.Tensor, after_bp: int) -> int:
    """Where two tiles with these token edges are joined, not before ``after_bp``."""
    low, high = max(int(right[0]), after_bp), int(left[-1])
    candidates = left[(left >= low) & (left <= high)]
    common = candidates[torch.isin(candidates, right)]
    if len(common):
        candidates = common
    # Doubled, so that a middle between two bases is a whole number. argmin gives the first of equals.
    distance = (2 * candidates - (int(right[0]) + high)).abs()
    return int(candidates[distance.argmin()])


def _trim(tokens: TileTokens, start_bp: int, end_bp: int) -> TileTokens:
    def inside(edges: torch.Tensor) -> slice:
        first = int(torch.searchsorted(edges, start_bp, right=True)) - 1
        return slice(first, int(torch.searchsorted(edges, end_bp)))

    def trimmed(edges: torch.Tensor) -> torch.Tensor:
        kept = inside(edges)
        return edges[kept.start : kept.stop + 1].clamp(start_bp, end_bp)

    kept = inside(tokens.edges)
    first_bp, probability = int(tokens.edges[0]), tokens.boundary_probability
    return TileTokens(
        tokens.tile,
        trimmed(tokens.edges),
        None if tokens.values is None else tokens.values[kept],
        tuple(map(trimmed, tokens.finer_edges)),
        {name: column[kept] for name, column in tokens.columns.items()},
        None if probability is None else probability[start_bp - first_bp : end_bp - first_bp],
    )


def _stretches(length_bp: int, runs: list[Span]) -> list[Span]:
    """What lies between the runs."""
    edges = [0, *(edge for run in runs for edge in run), length_bp]
    return [
        (start_bp, end_bp)
        for start_bp, end_bp in zip(edges[::2], edges[1::2], strict=True)
        if end_bp > start_bp
    ]


@functools.lru_cache(maxsize=16)
def _long_runs_of_n(genome: Genome, record_index: int, longer_than_bp: int) -> list[Span]:
    """Runs of N of more than so many bases, in order; a record is read once, in pieces, for all its parts."""
    length_bp = genome.records[record_index].length_bp
    runs: list[Span] = []
    for start_bp in range(0, length_bp, _PIECE_BP):
        ids, _ = genome.fetch(record_index, start_bp, min(start_bp + _PIECE_BP, length_bp))
        # A run that is long enough shows at one of these.
        if not (ids[::longer_than_bp] == N_ID).any() and ids[-1] != N_ID:
            continue
        is_n = torch.nn.functional.pad((ids == N_ID).to(torch.int8), (1, 1))
        edges = (is_n.diff().nonzero()[:, 0] + start_bp).tolist()
        for run_start_bp, run_end_bp in zip(edges[::2], edges[1::2], strict=True):
            if runs and runs[-1][1] == run_start_bp:
                runs[-1] = (runs[-1][0], run_end_bp)
            else:
                runs.append((run_start_bp, run_end_bp))
        # Only the last one can go on in the next piece.
        runs = [run for run in runs[:-1] if run[1] - run[0] > longer_than_bp] + runs[-1:]
    return [run for run in runs if run[1] - run[0] > longer_than_bp]
