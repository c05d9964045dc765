import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnachunk import DNATokenizer
from dnachunk.alphabet import reverse_complement
from dnachunk.data import Examples, Problem
from dnachunk.data.examples import ExampleCollator, ExampleDataset
from dnachunk.data.tiles import OwnTile, alternate_tiles, own_tiles, tile_labelled_bases


class Model:
    def forward(self, input_ids, attention_mask=None):
        pass


class PairModel:
    def forward(self, input_ids, attention_mask=None, tissue=None):
        pass


def test_tiles_by_hand():
    assert own_tiles(10, None) == [OwnTile(0, 10, 0, 10)]
    assert own_tiles(8, 8) == [OwnTile(0, 8, 0, 8)]
    # The second is moved back to be whole.
    assert own_tiles(9, 8) == [OwnTile(0, 8, 0, 5), OwnTile(1, 9, 5, 9)]
    assert own_tiles(16, 8) == [OwnTile(0, 8, 0, 6), OwnTile(4, 12, 6, 10), OwnTile(8, 16, 10, 16)]
    assert own_tiles(7, 3) == [OwnTile(0, 3, 0, 3), OwnTile(2, 5, 3, 5), OwnTile(4, 7, 5, 7)]


@given(length_bp=st.integers(1, 200), tile_bp=st.integers(2, 60))
def test_a_base_is_of_the_tile_in_which_it_is_farthest_from_a_cut(length_bp, tile_bp):
    tiles = own_tiles(length_bp, tile_bp)
    assert all(tile.end_bp - tile.start_bp == min(tile_bp, length_bp) for tile in tiles)
    for base in range(length_bp):

        def depth(tile, base=base):
            """How far the base is from where the sequence is cut; below 0 outside."""
            left = base - tile.start_bp if tile.start_bp > 0 else base
            right = tile.end_bp - 1 - base if tile.end_bp < length_bp else length_bp
            return min(left if tile.start_bp > 0 else length_bp, right) if left >= 0 else -1

        inside = [tile for tile in tiles if tile.start_bp <= base < tile.end_bp]
        # max gives the first of equals.
        best = max(inside, key=depth)
        assert [tile for tile in tiles if tile.own_start_bp <= base < tile.own_end_bp] == [best]


def test_labels_of_bases_are_in_one_tile_each():
    sequence, labels = "ACGTTGCAAC", [0, 1, -100, 1, 0, 0, 1, 1, 0, 1]
    examples = Examples([sequence, "ACG"], [labels, [1, 1, -100]], ["a", "b"])
    tiled = tile_labelled_bases(examples, 4)
    tiles = own_tiles(10, 4)
    assert tiled.sequences == [*(sequence[start:end] for start, end, _, _ in tiles), "ACG"]
    assert tiled.places == [*(["a"] * len(tiles)), "b"]
    found = [None] * 10
    for tile, target in zip(tiles, tiled.targets, strict=False):
        assert len(target) == 4
        for place, label in enumerate(target, start=tile.start_bp):
            if tile.own_start_bp <= place < tile.own_end_bp:
                assert found[place] is None
                found[place] = label
            else:
                assert label == -100
    assert found == labels
    assert tile_labelled_bases(examples, None) is examples
    # A tile that has no label is not run; a sequence without one stays as it is.
    bare = Examples([sequence, "ACG"], [[-100] * 9 + [1], [-100] * 3], ["a", "b"])
    assert tile_labelled_bases(bare, 4).sequences == ["GCAAC"[1:], "ACG"]


@pytest.mark.parametrize("both_strands", [False, True])
def test_a_batch_has_the_rows_of_all_tiles(both_strands):
    sequences = ["ACGTTGCAAC", "ACG", "TTGACA"]
    examples = Examples(sequences, [0, 1, 0], ["a", "b", "c"])
    dataset = ExampleDataset(examples, both_strands=both_strands)
    collate = ExampleCollator(DNATokenizer(), Model(), Problem.single_label, tile_bp=4)
    batch = collate([dataset[index] for index in range(3)])
    texts = [
        sequence[start:end] for sequence in sequences for start, end, _, _ in own_tiles(len(sequence), 4)
    ]
    assert len(texts) == 4 + 1 + 2
    decode = DNATokenizer().decode

    def rows(inputs):
        return [
            decode(ids[mask > 0])
            for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
        ]

    assert rows(batch) == texts
    assert batch["labels"].tolist() == [0, 1, 0]
    shares = [[0.3, 0.2, 0.2, 0.3, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0.5, 0.5]]
    torch.testing.assert_close(batch["tiles"], torch.tensor(shares))
    assert ("reverse" in batch) == both_strands
    if both_strands:
        assert rows(batch["reverse"]) == [reverse_complement(text) for text in texts]
    # Where nothing is cut a batch is as without tiles.
    assert "tiles" not in collate([dataset[1], dataset[1]])


def test_tiles_of_an_alternate_allele():
    tiles = own_tiles(40, 16)
    assert [tile[:2] for tile in tiles] == [(0, 16), (8, 24), (16, 32), (24, 40)]
    assert alternate_tiles(tiles, 40) == [(0, 16), (8, 24), (16, 32), (24, 40)]
    assert alternate_tiles(tiles, 43)[-1] == (27, 43)
    assert alternate_tiles(tiles, 37)[-1] == (21, 37)
    assert alternate_tiles(own_tiles(10, 16), 13) == [(0, 13)]
    for length_bp in (31, 49, 10):
        with pytest.raises(ValueError, match=f"half a tile at most, got 40 and {length_bp} bases"):
            alternate_tiles(tiles, length_bp)


@pytest.mark.parametrize("both_strands", [False, True])
def test_a_batch_has_pairs_of_tiles(both_strands):
    references, alternates = ["ACGTTGCAACGG", "GATTA"], ["ACGTTGCAACG", "GACTA"]
    examples = Examples(references, [0, 1], ["a", "b"], alternates, [1, 0])
    dataset = ExampleDataset(examples, both_strands=both_strands)
    collate = ExampleCollator(DNATokenizer(), PairModel(), Problem.single_label, tile_bp=8)
    batch = collate([dataset[0], dataset[1]])
    assert batch["tiles"].tolist() == [[0.5, 0.5, 0], [0, 0, 1]]
    assert batch["tissue"].tolist() == [1, 1, 0]
    want = [("ACGTTGCA", "ACGTTGCA"), ("TGCAACGG", "TTGCAACG"), ("GATTA", "GACTA")]
    for name, turn in (("input_ids", str), ("reverse", reverse_complement)):
        ids = batch["reverse"]["input_ids"] if name == "reverse" else batch[name]
        for row, pair in zip(ids, want, strict=True):
            found = DNATokenizer().batch_decode(row, skip_special_tokens=True)
            assert [text.replace(" ", "") for text in found] == [turn(text) for text in pair]
        if not both_strands:
            break
