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

    Arguments, results and errors are those of :func:`~dnachunk.data.repeats.with_repeats`.
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
