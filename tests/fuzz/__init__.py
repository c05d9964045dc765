"""Readers on mutated files. Each file is a function of the seed, the reader and its number."""

import random
import resource


def run(target, count, seed, first=0):
    """Runs a reader on ``count`` files; whatever it raises names the seed and the file's number."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, first + count):
        try:
            target.run(random.Random(f"{seed} {target.name} {number}"))
        except Exception as error:
            error.add_note(f"seed {seed}, {target.name}, file {number}")
            raise
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < target.memory_mib, f"{target.name}: memory has grown by {grown:.0f} MiB"
