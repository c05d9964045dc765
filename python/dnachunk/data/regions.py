"""Stretches of genomes that have a target ratio of their own."""

import os
from collections.abc import Sequence

from dnachunk.data.contents import OnError, Skipped
from dnachunk.data.genome import Genome
from dnachunk.data.repeats import read_stretches


def with_regions(
    genomes: Sequence[Genome], paths: Sequence[str | os.PathLike[str]], *, on_error: OnError = "fail"
) -> tuple[list[Genome], list[Skipped]]:
    """Genomes that tell the ``g``-th file's intervals by ``g``; where several overlap, the last counts.

    Args:
        genomes: The genomes; an interval is of the one that has such a record.
        paths: BED files; ``.gz`` or the like behind it or not.
        on_error: What to do at a line that is malformed or reaches past its record: ``"fail"``, or ``"skip"``
            it and list it.

    Returns:
        The genomes in their order, and the lines that could not be read, by their files and numbers.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If its name has another ending, a line cannot be read, no record of it is one of the
            genomes', or one is of several of them.
    """
    of_files, skipped = [], []
    for path in paths:
        stretches, faulty = read_stretches(genomes, [path], "region_ratio", on_error)
        of_files.append(stretches)
        skipped += faulty
    return [
        genome.with_regions(regions)
        for genome, regions in zip(genomes, zip(*of_files, strict=True), strict=True)
    ], skipped


__all__ = ["with_regions"]
