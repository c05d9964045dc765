import itertools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnachunk.data import Genome, Interval
from dnachunk.inference import tiling
from dnachunk.inference.tiling import (
    Tile,
    TileTokens,
    fetch_tile,
    join_tiles,
    overlaps,
    record_tiles,
)
from dnachunk.inference.writers import item_rgb
from dnachunk.random import mix


def genome_of(tmp_path, *sequences):
    path = tmp_path / "genome.fa"
    path.write_text("".join(f">r{index}\n{sequence}\n" for index, sequence in enumerate(sequences)))
    return Genome(path)


def random_sequence(length, seed=0):
    return "".join("ACGT"[mix(seed, position) % 4] for position in range(length))


def spans(tiles):
    return [(tile.start_bp, tile.end_bp, tile.follows) for tile in tiles]


def toy_tokens(tile, cut):
    """Edges of a tokenizer that sees only coordinates and its tile."""
    inner = [edge for edge in range(tile.start_bp + 1, tile.end_bp) if cut(tile, edge)]
    edges = torch.tensor([tile.start_bp, *inner, tile.end_bp])
    return TileTokens(tile, edges, edges[:-1, None] * 10.0 + tile.start_bp % 7)


def test_tiles_of_a_record(tmp_path):
    genome = genome_of(tmp_path, "A" * 25, "C" * 10, "G" * 7)
    assert spans(record_tiles(genome, 0, 10, 2)) == [(0, 10, False), (8, 18, True), (15, 25, True)]
    assert spans(record_tiles(genome, 1, 10, 2)) == [(0, 10, False)]
    assert spans(record_tiles(genome, 2, 10, 2)) == [(0, 7, False)]
    assert spans(record_tiles(genome, 0, 10, 0)) == [(0, 10, False), (10, 20, True), (15, 25, True)]


def test_long_runs_of_n_are_left_out_and_short_ones_are_not(tmp_path):
    sequence = "N" * 11 + "A" * 5 + "N" * 10 + "A" * 3 + "N" * 12 + "ACGT" + "N" * 30
    genome = genome_of(tmp_path, sequence, "N" * 40)
    assert spans(record_tiles(genome, 0, 10, 4)) == [
        (11, 21, False),
        (17, 27, True),
        (19, 29, True),
        (41, 45, False),
    ]
    length = len(sequence)
    assert spans(record_tiles(genome, 0, 10, 4, reverse=True)) == [
        (length - 45, length - 41, False),
        (length - 29, length - 19, False),
        (length - 23, length - 13, True),
        (length - 21, length - 11, True),
    ]
    assert list(record_tiles(genome, 1, 10, 4)) == []


def test_runs_across_pieces_are_one(tmp_path, monkeypatch):
    monkeypatch.setattr("dnachunk.inference.tiling._PIECE_BP", 4)
    genome = genome_of(tmp_path, "ACNNNNNNNNNNNACNNNNNNA")
    assert spans(record_tiles(genome, 0, 8, 0)) == [(0, 2, False), (13, 21, False), (14, 22, True)]


def test_reverse_tiles_are_those_of_the_reverse_complement(tmp_path):
    sequence = random_sequence(40) + "N" * 13 + random_sequence(31, seed=1)
    other = sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))
    genome = genome_of(tmp_path, sequence, other)
    reverse = list(record_tiles(genome, 0, 12, 4, reverse=True))
    forward = list(record_tiles(genome, 1, 12, 4))
    assert spans(reverse) == spans(forward)
    for one, same in zip(reverse, forward, strict=True):
        assert torch.equal(fetch_tile(genome, one, reverse=True), fetch_tile(genome, same))


@pytest.mark.parametrize(("window_bp", "overlap_bp"), [(0, 0), (10, 6), (10, -1)])
def test_widths_out_of_range(tmp_path, window_bp, overlap_bp):
    with pytest.raises(ValueError, match="record_tiles: (window|overlap)_bp must be"):
        record_tiles(genome_of(tmp_path, "ACGT"), 0, window_bp, overlap_bp)


def test_the_joint_is_the_common_edge_nearest_to_the_middle():
    # Common are 12, 14 and 16; 14 and 16 are as near to 15, and the left one is taken.
    left = TileTokens(
        Tile(0, 0, 20, False), torch.tensor([0, 9, 12, 14, 16, 18, 20]), torch.arange(6.0)[:, None]
    )
    right = TileTokens(
        Tile(0, 10, 30, True), torch.tensor([10, 12, 14, 16, 30]), torch.arange(10.0, 14)[:, None]
    )
    first, second = join_tiles([left, right])
    assert first.edges.tolist() == [0, 9, 12, 14]
    assert first.values.squeeze(1).tolist() == [0, 1, 2]
    assert second.edges.tolist() == [14, 16, 30]
    assert second.values.squeeze(1).tolist() == [12, 13]


def test_finer_edges_are_cut_at_the_same_joint():
    left = TileTokens(
        Tile(0, 0, 20, False), torch.tensor([0, 9, 14, 20]), None, (torch.tensor([0, 4, 9, 11, 14, 17, 20]),)
    )
    right = TileTokens(
        Tile(0, 10, 30, True),
        torch.tensor([10, 14, 30]),
        None,
        (torch.tensor([10, 12, 14, 22, 30]),),
        {"score": torch.tensor([[1, 2], [3, 4]])},
    )
    first, second = join_tiles([left, right])
    assert second.columns["score"].tolist() == [[3, 4]]
    assert [edges.tolist() for edges in (first.edges, *first.finer_edges)] == [[0, 9, 14], [0, 4, 9, 11, 14]]
    assert [edges.tolist() for edges in (second.edges, *second.finer_edges)] == [[14, 30], [14, 22, 30]]


def test_probabilities_are_cut_at_the_same_joint():
    bases = torch.arange(40)
    left = TileTokens(Tile(0, 0, 20, False), torch.tensor([0, 14, 20]), boundary_probability=bases[:20])
    right = TileTokens(
        Tile(0, 10, 30, True), torch.tensor([10, 14, 25, 30]), boundary_probability=bases[10:30]
    )
    last = TileTokens(Tile(0, 20, 40, True), torch.tensor([20, 25, 40]), boundary_probability=bases[20:])
    joined = [tokens.boundary_probability.tolist() for tokens in join_tiles([left, right, last])]
    assert joined == [list(range(14)), list(range(14, 25)), list(range(25, 40))]


def test_without_a_common_edge_the_right_tiles_token_is_cut():
    left = TileTokens(Tile(0, 0, 20, False), torch.tensor([0, 11, 13, 17, 20]))
    right = TileTokens(Tile(0, 10, 30, True), torch.tensor([10, 12, 18, 30]))
    first, second = join_tiles([left, right])
    assert first.edges.tolist() == [0, 11, 13]
    assert second.edges.tolist() == [13, 18, 30]


def test_stretches_and_records_are_not_joined():
    tiles = [Tile(0, 0, 4, False), Tile(0, 30, 34, False), Tile(1, 0, 3, False)]
    joined = list(join_tiles(toy_tokens(tile, lambda *_: True) for tile in tiles))
    assert [tokens.edges.tolist() for tokens in joined] == [
        [0, 1, 2, 3, 4],
        [30, 31, 32, 33, 34],
        [0, 1, 2, 3],
    ]
    assert list(join_tiles([])) == []


@given(
    runs=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), max_size=4),
    tail=st.integers(1, 60),
    window_bp=st.integers(1, 24),
    overlap=st.floats(0, 0.5),
    share=st.floats(0, 1),
    seed=st.integers(0, 5),
)
@settings(deadline=None, max_examples=150)
def test_every_base_is_in_one_token(tmp_path_factory, runs, tail, window_bp, overlap, share, seed):
    sequence = "".join("A" * bases + "N" * run for bases, run in runs) + "A" * tail
    genome = genome_of(tmp_path_factory.mktemp("genome"), sequence)
    tiles = list(record_tiles(genome, 0, window_bp, int(overlap * window_bp)))
    assert all(0 < tile.end_bp - tile.start_bp <= window_bp for tile in tiles)

    # Mostly the tiles agree where tokens begin, at times they do not.
    def cut(tile, edge):
        return mix(seed, edge, tile.start_bp if mix(seed, edge) % 5 == 0 else -1) < share * 2**63

    covered = torch.zeros(len(sequence), dtype=torch.int64)
    for tokens in join_tiles(toy_tokens(tile, cut) for tile in tiles):
        assert len(tokens.values) == len(tokens.edges) - 1
        assert (tokens.edges.diff() > 0).all()
        if len(tokens.edges) > 1:
            assert tokens.tile.start_bp <= tokens.edges[0]
            assert tokens.edges[-1] <= tokens.tile.end_bp
            covered[tokens.edges[0] : tokens.edges[-1]] += 1
    want = torch.ones(len(sequence), dtype=torch.int64)
    position = 0
    for bases, run in runs:
        position += bases
        end = position + run
        # Runs that touch are one.
        while end < len(sequence) and sequence[end] == "N":
            end += 1
        begin = position
        while begin > 0 and sequence[begin - 1] == "N":
            begin -= 1
        if end - begin > window_bp:
            want[begin:end] = 0
        position += run
    assert torch.equal(covered, want)


@pytest.mark.parametrize(("window_bp", "overlap_bp"), [(12, 4), (10, 5), (12, 0)])
def test_the_tiles_near_an_interval_give_its_tokens(tmp_path, window_bp, overlap_bp):
    genome = genome_of(tmp_path, random_sequence(50) + "N" * 30 + random_sequence(70))
    tiles = list(record_tiles(genome, 0, window_bp, overlap_bp))

    def cut(tile, edge):
        return mix(edge, tile.start_bp if edge % 3 == 0 else -1) % 2 == 0

    def tokens_in(tiles, interval):
        joined = list(join_tiles(toy_tokens(tile, cut) for tile in tiles))
        return [
            (tokens.edges[index].item(), tokens.edges[index + 1].item(), tokens.values[index].item())
            for tokens in joined
            for index in overlaps(tokens.edges, interval).nonzero()[:, 0].tolist()
        ]

    for start_bp in range(149):
        interval = Interval("r0", start_bp, min(start_bp + 9, 150))
        span = (interval.start_bp, interval.end_bp)
        near = list(record_tiles(genome, 0, window_bp, overlap_bp, near=span))
        assert len(near) <= 6
        assert tokens_in(near, interval) == tokens_in(tiles, interval)


def test_a_stretch_of_a_long_record_makes_its_own_tiles_alone(tmp_path, monkeypatch):
    genome = genome_of(tmp_path, random_sequence(20_000))
    made = []
    tile = tiling.Tile
    monkeypatch.setattr(tiling, "Tile", lambda *fields: made.append(fields) or tile(*fields))
    list(record_tiles(genome, 0, 10, 2, near=(10_000, 10_010)))
    assert len(made) <= 5


def test_neighbours_differ_in_colour():
    random_ = random.Random(0)
    start_bp, colours = 0, []
    for _ in range(2000):
        end_bp = start_bp + random_.randint(1, 255)
        colours.append(item_rgb(start_bp, end_bp))
        start_bp = end_bp
    assert all(before != after for before, after in itertools.pairwise(colours))
    # Of one expert, whose units are of one length.
    units = [item_rgb(start_bp, start_bp + 6, 5) for start_bp in range(1, 200, 6)]
    assert set(units) == {"148,123,20", "201,189,137"}
    assert all(before != after for before, after in itertools.pairwise(units))
    assert item_rgb(7, 8, -1) == "127,184,216"
