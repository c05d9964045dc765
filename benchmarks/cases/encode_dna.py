import itertools
import random

import torch

from benchmarks.case import Case, Work
from dnachunk.alphabet import TOKENS
from dnachunk.ops import encode_dna

IDS = bytearray(256)
for letter in "ACGTN":
    IDS[ord(letter)] = IDS[ord(letter.lower())] = TOKENS.index(letter)
IS_LOWER = bytes(chr(byte).islower() for byte in range(256))


def inputs(device, sequences, length):
    letters = random.Random(0).choices("ACGTacgtN", k=length)
    return {"sequences": ["".join(letters)] * sequences}


def translate(sequences):
    """No check of the letters, no special tokens: what a script would do that trusts its input."""
    text = bytearray("".join(sequences), "ascii")
    ids = torch.frombuffer(text.translate(IDS), dtype=torch.uint8)
    repeat_mask = torch.frombuffer(text.translate(IS_LOWER), dtype=torch.bool)
    return ids, repeat_mask, torch.tensor([0, *itertools.accumulate(map(len, sequences))])


CASE = Case(
    name="encode_dna",
    shapes=[
        {"sequences": 32, "length": 512},
        {"sequences": 32, "length": 4096},
        {"sequences": 1, "length": 1 << 26},
    ],
    inputs=inputs,
    ours=encode_dna,
    rivals={"bytes.translate": translate},
    forward_work=lambda sequences, length: Work(bytes=3 * sequences * length),
)
