import functools

import torch

from benchmarks.case import Case, Work
from dnachunk.alphabet import TOKENS
from dnachunk.data import Genome, packaged_genome

IDS = bytearray(256)
for letter in "ACGTN":
    IDS[ord(letter)] = IDS[ord(letter.lower())] = TOKENS.index(letter)


@functools.cache
def genome():
    return Genome(packaged_genome())


@functools.cache
def text():
    """The same genome as a string in memory, as a script would hold it."""
    ids = genome().fetch(0, 0, genome().length_bp)[0]
    return "".join(TOKENS[index] for index in ids.tolist())


def inputs(device, windows, length):
    generator = torch.Generator().manual_seed(0)
    starts = torch.randint(genome().length_bp - length, (windows,), generator=generator)
    text()
    return {"starts": starts.tolist(), "length": length}


def from_file(starts, length):
    """Positioned reads of the unpacked file: the genome is not in memory."""
    return torch.stack([genome().fetch(0, start, start + length)[0] for start in starts])


def from_string(starts, length):
    windows = [text()[start : start + length].encode().translate(IDS) for start in starts]
    return torch.frombuffer(bytearray(b"".join(windows)), dtype=torch.uint8).view(len(starts), length)


CASE = Case(
    name="read_windows",
    shapes=[{"windows": 8, "length": 512}, {"windows": 8, "length": 4096}],
    inputs=inputs,
    ours=from_file,
    rivals={"string in memory": from_string},
    forward_work=lambda windows, length: Work(bytes=2 * windows * length),
)
