"""``dnachunk tokenize``: a genome's tokens as a BED file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnachunk.cli.options import (
    AliasesOption,
    BatchSizeOption,
    Bf16Option,
    FastaOption,
    ModelOption,
    OnError,
    OverlapOption,
    ReadOnErrorOption,
    RegionOption,
    TokensPerBaseOption,
    WindowOption,
    output_file,
)
from dnachunk.cli.report import leave_process_group, numbers_beside
from dnachunk.errors import require_different_files
from dnachunk.files import beside, is_stream
from dnachunk.reporting import is_main_process, say

if TYPE_CHECKING:
    from dnachunk.inference import TokenStatistics

_JOB = "tokenize_genome"


def tokenize(
    model: ModelOption,
    fasta: FastaOption,
    output: Annotated[
        Path,
        typer.Option(
            help="BED file to write; one that ends in .gz is bgzip, with an index (.tbi, or .csi for records "
            "of 2^29 bases and more) beside it. A plot (.png) and numbers (.json) beside it. "
            "- is standard output, without these.",
            callback=output_file,
        ),
    ],
    window_bp: WindowOption = None,
    overlap_bp: OverlapOption = None,
    tokens_per_base: TokensPerBaseOption = None,
    region: RegionOption = None,
    aliases: AliasesOption = None,
    on_error: ReadOnErrorOption = OnError.fail,
    batch_size: BatchSizeOption = 8,
    bf16: Bf16Option = False,
    receptive_positions: Annotated[
        Path | None,
        typer.Option(
            help="TSV file to write: where in bases each tap of MxDNA's assembly reads, and how much.",
            callback=output_file,
        ),
    ] = None,
    boundary_probability: Annotated[
        Path | None,
        typer.Option(
            help="File to write: DNAChunker's boundary probabilities, bigWig if it ends in .bw, otherwise "
            "bedGraph (bgzip with an index if it ends in .gz).",
            callback=output_file,
        ),
    ] = None,
) -> None:
    """Cuts sequences into tokens and writes them as BED: record, start, end, the token's sequence, a colour.

    Every base lies in one token, but for runs of N longer than a window. Open the file in a genome browser:
    neighbours differ in colour. Of a model that chunks in two stages the first stage's chunks are in a second
    file, ….stage_0.bed. MxDNA's basic units have their expert as name, and the router's probability of it in
    thousandths as score.

    torchrun shares the work over processes and machines, and one writes what it would alone: torchrun
    --nproc-per-node 2 -m dnachunk tokenize ... Of a long run that is interrupted the finished parts are kept,
    and the same command goes on there.

    Example: dnachunk tokenize --model run --fasta chr21.fa --output tokens.bed
    """
    # Asked for now, not when the tokens are there and there is nothing to plot them with.
    import matplotlib  # noqa: F401

    from dnachunk.inference import tokenize_genome

    if output.suffix in (".json", ".png"):
        raise typer.BadParameter(f"--output must not end in {output.suffix}, which is written beside it")
    numbers, plot = _beside(output)
    require_different_files(
        output=[output, numbers, plot],
        receptive_positions=receptive_positions,
        boundary_probability=boundary_probability,
    )
    numbers_beside(output, _JOB, [plot])
    tokens = tokenize_genome(
        model,
        fasta,
        output,
        window_bp=window_bp,
        overlap_bp=overlap_bp,
        tokens_per_base=tokens_per_base,
        region=region,
        aliases=aliases,
        on_error=on_error.value,
        batch_size=batch_size,
        bf16=bf16,
        receptive_positions=receptive_positions,
        boundary_probability=boundary_probability,
        across_ranks=True,
    )
    assert tokens.statistics is not None
    if is_main_process():
        say(written(tokens.statistics, output))
    leave_process_group()


def _beside(output: Path) -> tuple[Path, Path]:
    """The numbers and the plot beside a file of tokens."""
    return beside(output, ".json"), beside(output, ".png")


def written(statistics: "TokenStatistics", output: Path) -> str:
    """Writes the numbers, and the plot of lengths, beside the tokens; a line that says what there is."""
    from dnachunk.reporting import write_results
    from dnachunk.visualization import plot_token_lengths
    from dnachunk.visualization.style import write_figure

    files, metrics = statistics.files, statistics.metrics
    if not is_stream(output):
        numbers, plot = _beside(output)
        write_results(numbers, _JOB, metrics)
        files = [*files, numbers]
        if statistics.num_tokens:
            write_figure(plot, plot_token_lengths(statistics.histograms))
            files.append(plot)
        else:
            # An earlier run's, of tokens that are there no more.
            plot.unlink(missing_ok=True)
    mean = metrics["mean_token_bp"]
    each = "" if mean is None else f", {mean:.2f} bases each on average"
    return f"{statistics.num_tokens:,} tokens{each}: {', '.join(map(str, files))}"
