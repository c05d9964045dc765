import multiprocessing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnachunk.alphabet import SPECIAL_TOKENS
from dnachunk.ops import encode_dna
from dnachunk.ops.encode_dna import encode_dna_naive

LETTERS = "ACGTUNRYSWKMBDHV"
symbols = st.sampled_from([*LETTERS, *LETTERS.lower(), *SPECIAL_TOKENS])
texts = st.lists(st.lists(symbols, max_size=40).map("".join), max_size=6)


def assert_same(got, want):
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


def test_literal():
    ids, repeat_mask, offsets = encode_dna(["ACGTUN", "", "ac[MASK]R", b"[CLS]t[SEP][PAD][UNK]"])
    assert ids.tolist() == [5, 6, 7, 8, 8, 9, 5, 6, 4, 9, 2, 8, 3, 0, 1]
    assert repeat_mask.nonzero().flatten().tolist() == [6, 7, 11]
    assert offsets.tolist() == [0, 6, 6, 10, 15]


def test_every_byte():
    for byte in range(256):
        sequence = bytes([byte])
        if byte < 128 and chr(byte).upper() in LETTERS:
            assert_same(encode_dna([sequence]), encode_dna_naive([sequence]))
            continue
        with pytest.raises(ValueError, match=rf"byte 0x{byte:02x}.* at position 0 of sequence 0"):
            encode_dna([sequence])


@settings(deadline=None)
@given(texts)
def test_against_naive(sequences):
    encoded = encode_dna(sequences)
    assert_same(encoded, encode_dna_naive(sequences))
    assert_same(encode_dna([sequence.encode() for sequence in sequences]), encoded)


def long_sequences():
    generator = torch.Generator().manual_seed(3)
    letters = torch.frombuffer(bytearray(b"ACGTacgtNnRyu"), dtype=torch.uint8)
    long = bytes(letters[torch.randint(len(letters), (700_000,), generator=generator)].tolist())
    plain = long.translate(bytes.maketrans(b"RyuN", b"AcgT"))
    masked = b"".join(plain[i : i + 50] + b"[MASK][MASK]" for i in range(0, 500_000, 50))
    return [b"ACGT", long, masked, b"", plain]


def test_long_sequences_and_threads():
    sequences = long_sequences()
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(encode_dna(sequences))
    finally:
        torch.set_num_threads(before)
    for result in results:
        assert_same(result, encode_dna_naive(sequences))


@pytest.mark.parametrize("position", [0, 1, 8_191, 8_192, 262_143, 262_144, 699_999])
def test_an_unreadable_byte_is_named_wherever_it_is(position):
    text = bytearray(b"ACGTacgtNN" * 70_000)
    text[position] = ord("-")
    with pytest.raises(ValueError, match=rf"got byte 0x2d '-' at position {position} of sequence 1$"):
        encode_dna([b"ACGT", bytes(text), b"!"])


@pytest.mark.parametrize(
    ("text", "position"), [("AC[mask]", 2), ("[MASK", 0), ("AC]", 2), ("[CLS][X]", 5), ("ACé", 2), ("A C", 1)]
)
def test_what_only_looks_like_dna(text, position):
    with pytest.raises(ValueError, match=rf"at position {position} of sequence 0"):
        encode_dna([text])


def test_empty():
    ids, repeat_mask, offsets = encode_dna([])
    assert (ids.tolist(), repeat_mask.tolist(), offsets.tolist()) == ([], [], [0])


def test_bad_input():
    with pytest.raises(TypeError, match="encode_dna: sequences must be a sequence of str or bytes, got str"):
        encode_dna("ACGT")
    with pytest.raises(TypeError, match="sequences must be str or bytes, got int at index 1"):
        encode_dna(["A", 5])
    with pytest.raises(ValueError, match="lone surrogate in sequence 0"):
        encode_dna(["A\ud800"])


def _encode_in_child(queue, sequences):
    queue.put([tensor.tolist() for tensor in encode_dna(sequences)])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_after_fork():
    sequences = [b"ACGTn" * 20_000, b"ac[MASK]"]
    expected = [tensor.tolist() for tensor in encode_dna(sequences)]
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_encode_in_child, args=(queue, sequences))
    child.start()
    assert queue.get() == expected
    child.join()
    assert child.exitcode == 0
