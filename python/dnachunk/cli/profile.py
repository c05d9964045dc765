"""``dnachunk profile``: what models cost against the length of a sequence."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dnachunk.cli.arguments import read_named_models
from dnachunk.cli.options import TokensPerBaseOption
from dnachunk.reporting import say


class Size(str, Enum):
    """How large an untrained model is."""

    micro = "micro"
    tiny = "tiny"
    base = "base"


def profile(
    output_dir: Annotated[Path, typer.Option(help="Folder for results.json and the plot.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]DIR",
            help="Folder of a model, or of a baseline and its tokenizer, or a name that dnachunk models "
            "lists, and what it is called in the table; or mergedna, dnachunker, mxdna, untrained; can be "
            "repeated.",
        ),
    ] = None,
    tokenizer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A baseline beside them, the untrained encoder on fixed tokens: base, 6mer (1 to 8), "
            "6mer-overlapping, or bpe-1024, trained on the genome; can be repeated.",
        ),
    ] = None,
    size: Annotated[Size, typer.Option(help="Of what is untrained; base is the papers'.")] = Size.tiny,
    fasta: Annotated[
        Path | None,
        typer.Option(help="Genome, plain, gzip or bgzip. Default: the one that ships with the package."),
    ] = None,
    length_bp: Annotated[
        list[int] | None,
        typer.Option(help="Bases of the sequence; can be repeated. Default: 1024, 4096, 16384.", min=1),
    ] = None,
    tokens_per_base: TokensPerBaseOption = None,
    backward: Annotated[bool, typer.Option(help="Whether the backward pass is run too.")] = True,
    repeats: Annotated[
        int, typer.Option(help="Timed passes of each, of which the median counts.", min=1)
    ] = 3,
    seed: Annotated[int, typer.Option(help="Of untrained weights.")] = 0,
) -> None:
    """Tells what models and baselines cost against the length of a sequence, side by side.

    Counts floating-point operations, forward and backward, parameters and tokens, and measures the highest
    memory and bases a second, of one sequence of a genome at a time, on a GPU where there is one. Operations
    are two for each product in matrix products, convolutions, attention and the recurrences of scans and of
    smoothing; the rest counts nothing. Memory is what is allocated on a GPU, on a CPU that of the tensors
    alive. Untrained models cost what trained ones do, but for DNAChunker and MxDNA, whose tokens are then
    those of chance.

    Example: dnachunk profile --model mergedna --model run --tokenizer base --tokenizer 6mer --length-bp 1024
    --length-bp 8192 --output-dir cost
    """
    # Asked for now, not when there is a profile and nothing to plot it with.
    import matplotlib  # noqa: F401

    from dnachunk.evaluation.cost import PLOT
    from dnachunk.evaluation.cost import profile as measure
    from dnachunk.visualization import plot_cost

    lengths = {} if not length_bp else {"length_bp": length_bp}
    result = measure(
        output_dir,
        model=read_named_models(model or []),
        tokenizer=tokenizer or (),
        size=size.value,
        fasta=fasta,
        tokens_per_base=tokens_per_base,
        backward=backward,
        repeats=repeats,
        seed=seed,
        draw=plot_cost,
        **lengths,
    )
    say(result)
    say(f"\n{output_dir}: results.json, {PLOT}")
