"""From files to training windows and labelled examples: genomes, tasks, datasets and collators."""

from typing import TYPE_CHECKING

from dnachunk._lazy import lazy_names

if TYPE_CHECKING:
    from dnachunk.data.genome import Genome, Piece, Record, packaged_genome
    from dnachunk.data.labelled import LabelledSet, read_labelled, read_splits
    from dnachunk.data.problem import Problem
    from dnachunk.data.splice_sites import SpliceSite, SpliceSiteSets, splice_site_sets
    from dnachunk.data.task import Examples, Task
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
    "SpliceSite",
    "SpliceSiteSets",
    "Task",
    "WindowCollator",
    "WindowDataset",
    "default_holdout",
    "packaged_genome",
    "read_labelled",
    "read_splits",
    "splice_site_sets",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(("Genome", "Piece", "Record", "packaged_genome"), "dnachunk.data.genome"),
        **dict.fromkeys(("LabelledSet", "read_labelled", "read_splits"), "dnachunk.data.labelled"),
        "Problem": "dnachunk.data.problem",
        **dict.fromkeys(("SpliceSite", "SpliceSiteSets", "splice_site_sets"), "dnachunk.data.splice_sites"),
        **dict.fromkeys(("Examples", "Task"), "dnachunk.data.task"),
        **dict.fromkeys(
            ("HeldOutWindows", "Interval", "WindowCollator", "WindowDataset", "default_holdout"),
            "dnachunk.data.windows",
        ),
    },
)
