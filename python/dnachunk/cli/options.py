"""Options that several commands have."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dnachunk import files
from dnachunk.cli.report import log_to_standard_error
from dnachunk.data.problem import Problem


class ReverseComplement(str, Enum):
    """What is done with the other strand."""

    none = "none"
    average = "average"


class OnError(str, Enum):
    """What becomes of what cannot be read."""

    fail = "fail"
    skip = "skip"


def output_file(path: Path | None) -> Path | None:
    """Refuses a path that no file can be written to, before anything is computed.

    Where it is standard output, the command's own lines go to standard error from here on.

    Raises:
        typer.BadParameter: If it is a folder, or lies in none.
    """
    if path is None:
        return None
    if files.is_standard_output(path):
        log_to_standard_error()
    try:
        return files.output_file(path)
    except OSError as error:
        raise typer.BadParameter(str(error)) from None


ModelOption = Annotated[
    Path,
    typer.Option(
        help="Folder of a model, such as pretrain's --output-dir, or a name that dnachunk models lists."
    ),
]
FastaOption = Annotated[Path, typer.Option(help="Sequences, plain, gzip or bgzip.")]
AliasesOption = Annotated[
    str | None,
    typer.Option(
        metavar="chr|version|FILE",
        help="Names of records that mean the same. chr: with chr or without it (chr1, 1; chrM, MT). version: "
        "with a version or without it (NC_000001.11, NC_000001). FILE: a line for each record with its names "
        "between tabs, in any order, such as UCSC's chromAlias.txt. Default: none but equal ones.",
    ),
]
WindowOption = Annotated[
    int | None, typer.Option(help="Bases read at once. Default: as in the model's training.", min=1)
]
OverlapOption = Annotated[
    int | None,
    typer.Option(help="Bases that two windows share; joined near its middle. Default: a quarter.", min=0),
]
TokensPerBaseOption = Annotated[
    float | None,
    typer.Option(help="In (0, 1], of MergeDNA and DNAChunker. Default: as the model is configured."),
]
RegionOption = Annotated[
    str | None, typer.Option(help="Only tokens that touch it: chrI, or chrI:101-200 (from 1, inclusive).")
]
BatchSizeOption = Annotated[int, typer.Option(help="Windows run at once; changes no result.", min=1)]
Bf16Option = Annotated[
    bool,
    typer.Option(
        "--bf16",
        help="Run matrix products in bfloat16, faster on GPUs and on CPUs that have them; what comes out may "
        "differ from float32, tokens too.",
    ),
]
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
RanksOption = Annotated[
    list[int] | None, typer.Option(help="Rank of LoRA (default 8); given several times, searched over.")
]
AlphasOption = Annotated[
    list[float] | None,
    typer.Option(help="Weight of LoRA; given several times, searched over. Default: twice the rank."),
]
RatesOption = Annotated[
    list[float] | None,
    typer.Option(help="Given several times, searched over. Default: 5e-4, LoRA 2e-3, probe 1e-2."),
]
EpochsOption = Annotated[
    list[float] | None, typer.Option(help="Given several times, searched over. Default: 10.")
]
DecaysOption = Annotated[
    list[float] | None, typer.Option(help="Given several times, searched over. Default: 0.01.")
]
PaperGridOption = Annotated[
    bool,
    typer.Option(
        "--paper-grid",
        help="Search over what MergeDNA's paper does: learning rates 1e-5, 5e-5, 1e-4, weight decays 0, "
        "0.01, epochs 5, 10, and LoRA's ranks 4, 8, 16, 24, 48 and alphas 8, 16, 24, 48, 96, as far as they "
        "are not given.",
    ),
]
PatienceOption = Annotated[
    int, typer.Option(help="Evaluations without a better one after which a run stops.", min=1)
]
TruncateOption = Annotated[
    bool, typer.Option("--truncate", help="Cut off sequences longer than the model takes.")
]
FoldsOption = Annotated[
    int | None,
    typer.Option(
        help="Folds of a cross-validation, which training and validation set are cut in: each in turn is "
        "chosen by, or, where there is no test set, reported on; means and deviations are over them.",
        min=2,
    ),
]
TileOption = Annotated[
    int | None,
    typer.Option(
        help="Bases of the tiles, overlapping by half, that longer sequences are read in (8192 in "
        "DNAChunker's paper): logits are averaged, each base counting once; labels of bases are those of the "
        "tile in which a base is farthest from a cut. Default: as the model was fine-tuned, or none.",
        min=2,
    ),
]
TrustRemoteCodeOption = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Load a model with code of its own in its folder (DNABERT-2, HyenaDNA, Caduceus) by that code, "
        "which runs with all rights that you have.",
    ),
]
ProblemOption = Annotated[
    Problem | None,
    typer.Option(
        help="Kind of labels. Default: what they look like. multi-label: a|b, or a column of 0 and 1 for "
        "each; per-base: a character for each base, or words with spaces between; . is none. Classes that "
        "are all numbers are read as numbers: 1.0 is 1."
    ),
]
OnErrorOption = Annotated[
    OnError,
    typer.Option(
        help="Whether rows that cannot be read (no label, such as NA; no sequence, or letters that are no "
        "bases; too few cells) are refused, or left out, counted and listed."
    ),
]
ReadOnErrorOption = Annotated[
    OnError,
    typer.Option(
        help="Whether records, lines and rows that cannot be read are refused, or left out, counted and "
        "listed."
    ),
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]DIR",
        help="Folder of a model, or of a baseline and its tokenizer, or a name that dnachunk models lists, "
        "and what it is called; can be repeated. Default: the folder's name.",
    ),
]
AnnotationsOption = Annotated[
    list[Path] | None,
    typer.Option(help="Features of the sequences: GFF3, GTF or BED, plain or gzip; can be repeated."),
]
VariantsOption = Annotated[
    Path | None, typer.Option(help="Variants of the sequences: VCF, plain, gzip or bgzip.")
]
SequenceColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Column of the sequences; given twice, of the reference and the alternate allele, whose "
        "difference is then read. Default: sequence."
    ),
]
TissueColumnOption = Annotated[
    str | None, typer.Option(help="Column of the tissues that pairs of alleles are seen in.")
]
LabelColumnOption = Annotated[
    list[str] | None, typer.Option(help="Column of labels; can be repeated. Default: label.")
]
