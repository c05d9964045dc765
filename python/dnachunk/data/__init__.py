"""From files to training windows and labelled examples: genomes, tasks, datasets and collators."""

from dnachunk.data.genome import Genome, Piece, Record, packaged_genome
from dnachunk.data.labelled import LabelledSet, read_labelled, read_splits
from dnachunk.data.task import Examples, Problem, Task
from dnachunk.data.windows import HeldOutWindows, Interval, WindowCollator, WindowDataset, default_holdout

__all__ = [
    "Examples",
    "Genome",
    "HeldOutWindows",
    "Interval",
    "LabelledSet",
    "Piece",
    "Problem",
    "Record",
    "Task",
    "WindowCollator",
    "WindowDataset",
    "default_holdout",
    "packaged_genome",
    "read_labelled",
    "read_splits",
]
