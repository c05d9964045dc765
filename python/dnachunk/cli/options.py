"""Options that several commands have."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class ReverseComplement(str, Enum):
    """What is done with the other strand."""

    none = "none"
    average = "average"


ModelOption = Annotated[Path, typer.Option(help="Folder of a model, such as pretrain's --output-dir.")]
FastaOption = Annotated[Path, typer.Option(help="Sequences, plain, gzip or bgzip.")]
WindowOption = Annotated[
    int | None, typer.Option(help="Bases read at once. Default: as in the model's training.", min=1)
]
OverlapOption = Annotated[
    int | None,
    typer.Option(help="Bases that two windows share; joined near its middle. Default: a quarter.", min=0),
]
KeepRatioOption = Annotated[
    float | None, typer.Option(help="Tokens per base, in (0, 1]. Default: the model's configuration.")
]
BatchSizeOption = Annotated[int, typer.Option(help="Windows run at once; changes no result.", min=1)]
ReverseComplementOption = Annotated[
    ReverseComplement, typer.Option(help="Whether both strands are run and averaged.")
]
PositiveOption = Annotated[
    str | None,
    typer.Option(help="Which are positives, by a field or column: AF>=0.05, class=LOF, or FLAG alone."),
]
NegativeOption = Annotated[
    str | None, typer.Option(help="Which are negatives, written alike. Default: all that are no positives.")
]
