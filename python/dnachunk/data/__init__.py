"""From files to training windows: genomes, held-out intervals, datasets and collators."""

from dnachunk.data.genome import Genome, Piece, Record, packaged_genome
from dnachunk.data.windows import HeldOutWindows, Interval, WindowCollator, WindowDataset, default_holdout

__all__ = [
    "Genome",
    "HeldOutWindows",
    "Interval",
    "Piece",
    "Record",
    "WindowCollator",
    "WindowDataset",
    "default_holdout",
    "packaged_genome",
]
