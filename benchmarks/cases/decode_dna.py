import itertools

import torch

from benchmarks.case import Case, Work
from dnachunk.alphabet import TOKENS
from dnachunk.ops import decode_dna

LETTERS = bytes(ord(token) if len(token) == 1 else 0 for token in TOKENS).ljust(256, b"\0")


def inputs(device, sequences, length):
    return {
        "ids": torch.randint(5, 10, (sequences * length,), dtype=torch.uint8),
        "offsets": torch.arange(sequences + 1) * length,
    }


def as_bytes(texts):
    """What the forms are compared by; a copy that each pays alike."""
    return torch.frombuffer(bytearray("".join(texts), "ascii"), dtype=torch.uint8)


def ours(ids, offsets):
    return as_bytes(decode_dna(ids, offsets))


def translate(ids, offsets):
    """No check of the ids, no special tokens: what a script would do that trusts its input."""
    text = ids.numpy().tobytes().translate(LETTERS).decode("ascii")
    return as_bytes([text[start:end] for start, end in itertools.pairwise(offsets.tolist())])


CASE = Case(
    name="decode_dna",
    shapes=[
        {"sequences": 32, "length": 512},
        {"sequences": 32, "length": 4096},
        {"sequences": 1, "length": 1 << 24},
    ],
    inputs=inputs,
    ours=ours,
    rivals={"bytes.translate": translate},
    forward_work=lambda sequences, length: Work(bytes=2 * sequences * length),
)
