import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.utils import ModelOutput

from dnachunk.segmentation import Segmentation, write_bed

# [CLS] ACG TT GCA [SEP] beside A CGT [PAD]…
INDEX = torch.tensor([[-1, 0, 0, 0, 1, 1, 2, 2, 2, -1], [-1, 0, 1, 1, 1, -1, -1, -1, -1, -1]])


@pytest.fixture
def segmentation():
    return Segmentation(INDEX, torch.tensor([3, 2]))


def from_lengths(rows, width):
    """The segmentation of tokens of these lengths, padded to a width."""
    index = torch.full((len(rows), width), -1)
    for row, lengths in enumerate(rows):
        bases = [token for token, length in enumerate(lengths) for _ in range(length)]
        index[row, : len(bases)] = torch.tensor(bases, dtype=torch.int64)
    return Segmentation(index, torch.tensor([len(lengths) for lengths in rows], dtype=torch.int64))


def test_literal(segmentation):
    assert segmentation.validate() is segmentation
    assert len(segmentation) == 2
    assert segmentation.lengths.tolist() == [[3, 2, 3], [1, 3, 0]]
    assert segmentation.starts.tolist() == [[1, 4, 6], [1, 2, 0]]
    assert [row.nonzero().flatten().tolist() for row in segmentation.boundaries] == [[1, 4, 6], [1, 2]]
    assert segmentation.tokens("ACGTTGCA") == ["ACG", "TT", "GCA"]
    assert segmentation.tokens("acgt", row=1) == segmentation[1].tokens("acgt") == ["a", "cgt"]
    assert segmentation[-1].tokens("[CLS]AC[MASK]T[SEP][PAD]") == ["A", "C[MASK]T"]


def test_lengths_of_histogram(segmentation):
    assert segmentation.length_histogram().tolist() == [0, 1, 1, 3]
    assert segmentation.length_histogram(max_length=2).tolist() == [0, 1, 4]
    assert segmentation.length_histogram(max_length=5).tolist() == [0, 1, 1, 3, 0, 0]


def test_rows(segmentation):
    assert segmentation[0].num_tokens.tolist() == [3]
    assert torch.equal(segmentation[1].token_index, INDEX[1:])
    assert torch.equal(segmentation[:1].token_index, INDEX[:1])
    assert [one.num_tokens.item() for one in segmentation] == [3, 2]
    with pytest.raises(IndexError, match="row must be below 2, got 2"):
        segmentation[2]
    with pytest.raises(IndexError, match="row must be below 2, got -3"):
        segmentation.tokens("A", row=-3)


def test_tokens_of_another_sequence(segmentation):
    for sequence in ("ACGTTGC", "ACGTTGCAACG", ""):
        with pytest.raises(ValueError, match=f"must have 8 bases or 10 positions, got {len(sequence)}"):
            segmentation.tokens(sequence)


def test_bed(segmentation):
    assert list(segmentation.to_bed(["chr1", "chr2"])) == [
        "chr1\t0\t3\t0",
        "chr1\t3\t5\t1",
        "chr1\t5\t8\t2",
        "chr2\t0\t1\t0",
        "chr2\t1\t4\t1",
    ]
    lines = segmentation[1].to_bed(
        ["chr2"], offsets=[100], sequences=["ACGT"], scores=torch.tensor([[1.0, 0.2504]])
    )
    assert list(lines) == ["chr2\t100\t101\tA\t1000", "chr2\t101\t104\tCGT\t250"]
    unknown = segmentation[1].to_bed(["chr2"], scores=torch.tensor([[torch.nan, 2.0]]))
    assert [line.split("\t")[4] for line in unknown] == ["0", "1000"]
    with pytest.raises(ValueError, match="names must have 2 entries, got \\['chr1'\\]"):
        list(segmentation.to_bed(["chr1"]))
    with pytest.raises(ValueError, match=r"scores must be \[2, 3\], got \[2, 2\]"):
        list(segmentation.to_bed(["a", "b"], scores=torch.zeros(2, 2)))


def test_write_bed(tmp_path, segmentation):
    path = tmp_path / "tokens.bed"
    write_bed(path, segmentation[1].to_bed(["chr2"]))
    assert path.read_text() == "chr2\t0\t1\t0\nchr2\t1\t4\t1\n"

    def interrupted():
        yield "chr2\t0\t1"
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_bed(path, interrupted())
    assert path.read_text() == "chr2\t0\t1\t0\nchr2\t1\t4\t1\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokens.bed"]
    with pytest.raises(OSError, match="missing"):
        write_bed(tmp_path / "missing" / "tokens.bed", [])


def test_from_boundaries():
    boundaries = torch.tensor([[0, 0, 1, 0, 1, 1], [1, 1, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1]]).bool()
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 0, 0]]).bool()
    segmentation = Segmentation.from_boundaries(boundaries, mask).validate()
    assert segmentation.token_index.tolist() == [
        [0, 0, 1, 1, -1, -1],
        [-1, 0, 0, -1, 1, 2],
        [-1, -1, -1, -1, -1, -1],
    ]
    assert segmentation.num_tokens.tolist() == [2, 3, 0]
    with pytest.raises(TypeError, match="boundaries and mask must be torch.bool, got torch.int64"):
        Segmentation.from_boundaries(boundaries.long(), mask)
    with pytest.raises(ValueError, match=r"must both be \[B, N\], got \[3, 6\] and \[3, 5\]"):
        Segmentation.from_boundaries(boundaries, mask[:, :5])


merged = st.lists(st.integers(1, 3), min_size=1, max_size=3)
rows_of_lengths = st.lists(st.lists(st.integers(1, 5), max_size=8), max_size=4)


@settings(deadline=None, max_examples=60)
@given(rows_of_lengths, st.integers(0, 3))
def test_derived_values_agree(rows, padding):
    width = max((sum(lengths) for lengths in rows), default=0) + padding
    segmentation = from_lengths(rows, width).validate()
    longest = max(map(len, rows), default=0)
    assert segmentation.lengths.tolist() == [lengths + [0] * (longest - len(lengths)) for lengths in rows]
    assert segmentation.boundaries.sum().item() == segmentation.num_tokens.sum().item()
    again = Segmentation.from_boundaries(segmentation.boundaries, segmentation.token_index >= 0)
    assert torch.equal(again.token_index, segmentation.token_index)
    assert torch.equal(again.num_tokens, segmentation.num_tokens)
    text = "ACGTN" * 10
    for row, lengths in enumerate(rows):
        sequence = text[: sum(lengths)]
        tokens = segmentation.tokens(sequence, row)
        assert "".join(tokens) == sequence
        assert [len(token) for token in tokens] == lengths
        starts = segmentation.starts[row, : len(lengths)].tolist()
        assert starts == [sum(lengths[:token]) for token in range(len(lengths))]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(merged, max_size=4), min_size=1, max_size=3))
def test_compose(nested):
    """Lengths nested twice: bases in tokens, tokens in coarser tokens."""
    fine = [[length for group in groups for length in group] for groups in nested]
    fine_segmentation = from_lengths(fine, max(map(sum, fine)) + 2)
    merges = from_lengths([[len(group) for group in groups] for groups in nested], max(map(len, fine)) + 1)
    composed = fine_segmentation.compose(merges).validate()
    expected = from_lengths([[sum(group) for group in groups] for groups in nested], max(map(sum, fine)) + 2)
    assert torch.equal(composed.token_index, expected.token_index)
    assert torch.equal(composed.num_tokens, expected.num_tokens)


def test_compose_needs_a_position_for_each_token(segmentation):
    with pytest.raises(ValueError, match=r"must be \[2, L\] with L of at least 3, got \[2, 2\]"):
        segmentation.compose(from_lengths([[2], [1, 1]], 2))


@pytest.mark.parametrize(
    ("index", "count", "message"),
    [
        ([0, 0, 2], 2, "got 2 at position 2 of sequence 1, after token 0"),
        ([1, 1, 2], 2, "got 1 at position 0 of sequence 1, after token -1"),
        ([0, 1, 0], 2, "got 0 at position 2 of sequence 1, after token 1"),
        ([0, -1, 0], 1, "got 0 at position 2 of sequence 1, after token 0"),
        ([0, -2, -1], 1, "got -2 at position 1 of sequence 1, after token 0"),
        ([0, 1, 1], 3, "num_tokens must be 2 for sequence 1, got 3"),
        ([-1, -1, -1], 1, "num_tokens must be 0 for sequence 1, got 1"),
    ],
)
def test_validate(index, count, message):
    with pytest.raises(ValueError, match=message):
        Segmentation(torch.tensor([[0, 1, -1], index]), torch.tensor([2, count])).validate()


def test_validate_types_and_shapes():
    with pytest.raises(TypeError, match=r"token_index must be torch.int64, got torch.int32"):
        Segmentation(INDEX.int(), torch.tensor([3, 2])).validate()
    with pytest.raises(ValueError, match=r"num_tokens must be \[B\], got \[3\]"):
        Segmentation(INDEX, torch.tensor([3, 2, 1])).validate()
    with pytest.raises(ValueError, match=r"token_index must be \[B, N\], got \[10\]"):
        Segmentation(INDEX[0], torch.tensor([3])).validate()


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (0, 0)])
def test_empty(shape):
    segmentation = Segmentation.from_boundaries(torch.ones(shape).bool(), torch.ones(shape).bool())
    segmentation.validate()
    assert segmentation.lengths.shape == segmentation.starts.shape == (shape[0], 0)
    assert segmentation.length_histogram().sum() == 0
    assert list(segmentation.to_bed(["record"] * shape[0])) == []
    assert segmentation.compose(segmentation).token_index.shape == shape


def test_field_of_a_model_output(segmentation):
    @dataclasses.dataclass
    class Output(ModelOutput):
        logits: torch.Tensor | None = None
        segmentation: Segmentation | None = None

    output = Output(logits=torch.zeros(2), segmentation=segmentation)
    assert output["segmentation"] is output[1] is segmentation
    assert output.segmentation[0].tokens("ACGTTGCA") == ["ACG", "TT", "GCA"]
    doubled = torch.utils._pytree.tree_map(lambda tensor: tensor.clone(), segmentation)
    assert torch.equal(doubled.token_index, INDEX)


def test_frozen_and_moved(segmentation, device):
    with pytest.raises(dataclasses.FrozenInstanceError):
        segmentation.num_tokens = torch.zeros(2)
    moved = segmentation.to(device)
    assert moved.token_index.device.type == moved.num_tokens.device.type == device.type
    assert torch.equal(moved.lengths.cpu(), segmentation.lengths)
    assert torch.equal(moved.starts.cpu(), segmentation.starts)
    assert moved.tokens("ACGT", 1) == ["A", "CGT"]


def test_compiles():
    @torch.compile(fullgraph=True, backend="eager")
    def cut(boundaries, mask):
        segmentation = Segmentation.from_boundaries(boundaries, mask)
        return segmentation.token_index * 2, segmentation

    mask = torch.ones(2, 6, dtype=torch.bool)
    boundaries = torch.tensor([[1, 0, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1]]).bool()
    doubled, segmentation = cut(boundaries, mask)
    assert torch.equal(doubled, segmentation.token_index * 2)
    assert segmentation.num_tokens.tolist() == [2, 6]


def test_memory_is_linear():
    """A dense map of half a million bases to tokens would not fit."""
    length = 1 << 19
    mask = torch.ones(1, length, dtype=torch.bool)
    segmentation = Segmentation.from_boundaries(torch.rand(1, length) < 0.4, mask)
    segmentation.validate()
    assert segmentation.lengths.sum() == length
    assert torch.equal(segmentation.starts[0].diff(), segmentation.lengths[0, :-1])
