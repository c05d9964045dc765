import re

import pytest
import torch
from hypothesis import given, settings

from dnachunk.alphabet import SPECIAL_TOKENS
from dnachunk.ops import decode_dna, encode_dna
from dnachunk.ops.decode_dna import decode_dna_naive
from tests.ops.test_encode_dna import long_sequences, texts


def as_read(text):
    """The text after the reading rules."""
    table = str.maketrans("Uu" + "RYSWKMBDHV" + "ryswkmbdhv", "Tt" + "N" * 10 + "n" * 10)
    parts = re.split(f"({'|'.join(map(re.escape, SPECIAL_TOKENS))})", text)
    return "".join(part if part in SPECIAL_TOKENS else part.translate(table) for part in parts)


def test_literal():
    ids = torch.tensor([5, 6, 7, 8, 8, 9, 5, 6, 4, 9, 2, 8, 3, 0, 1], dtype=torch.uint8)
    offsets, repeat_mask = torch.tensor([0, 6, 6, 10, 15]), torch.zeros(15, dtype=torch.bool)
    repeat_mask[[6, 7, 11]] = True
    assert decode_dna(ids, offsets) == ["ACGTTN", "", "AC[MASK]N", "[CLS]T[SEP][PAD][UNK]"]
    assert decode_dna(ids, offsets, repeat_mask) == ["ACGTTN", "", "ac[MASK]N", "[CLS]t[SEP][PAD][UNK]"]


@settings(deadline=None)
@given(texts)
def test_against_naive_and_back(sequences):
    ids, repeat_mask, offsets = encode_dna(sequences)
    for flags in (None, repeat_mask):
        assert decode_dna(ids, offsets, flags) == decode_dna_naive(ids, offsets, flags)
    assert decode_dna(ids, offsets, repeat_mask) == [as_read(sequence) for sequence in sequences]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_long_sequences_and_threads(threads):
    sequences = long_sequences()
    ids, repeat_mask, offsets = encode_dna(sequences)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        decoded = decode_dna(ids, offsets, repeat_mask)
    finally:
        torch.set_num_threads(before)
    assert decoded == [as_read(sequence.decode()) for sequence in sequences]


def test_empty():
    assert decode_dna(torch.tensor([], dtype=torch.uint8), torch.tensor([0])) == []


def test_any_byte_but_0_is_true():
    flags = torch.tensor([0, 1, 2, 255], dtype=torch.uint8).view(torch.bool)
    ids = torch.tensor([5, 5, 6, 7], dtype=torch.uint8)
    assert decode_dna(ids, torch.tensor([0, 4]), flags) == ["Aacg"]


def test_part_of_the_ids_decodes():
    ids, _, _ = encode_dna(["ACGTACGT"])
    assert decode_dna(ids, torch.tensor([2, 4, 5])) == ["GT", "A"]
    assert decode_dna(ids[::2], torch.tensor([0, 4])) == ["AGAG"]


def test_bad_input():
    ids = torch.tensor([5, 6, 10], dtype=torch.uint8)
    with pytest.raises(ValueError, match="ids of the alphabet, 0 to 9, got 10 at position 1 of sequence 1"):
        decode_dna(ids, torch.tensor([0, 1, 3]))
    for offsets in ([0, 2, 1], [-1, 2], [0, 4], []):
        with pytest.raises(ValueError, match=r"offsets must be B \+ 1 ascending places in the 3 ids"):
            decode_dna(ids, torch.tensor(offsets, dtype=torch.int64))
    with pytest.raises(TypeError, match="ids must be uint8, got int64"):
        decode_dna(ids.long(), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=r"repeat_mask must be \[3\], got \[2\]"):
        decode_dna(ids, torch.tensor([0, 3]), torch.tensor([True, False]))
