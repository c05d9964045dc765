"""``dnachunk tokenize``: a genome's tokens as a BED file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnachunk.cli.report import progress, say, write_figure, write_results

if TYPE_CHECKING:
    from dnachunk.data import Genome, Interval

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
BatchSizeOption = Annotated[int, typer.Option(help="Windows run at once; changes no token.", min=1)]


def tokenize(
    model: ModelOption,
    fasta: FastaOption,
    output: Annotated[
        Path, typer.Option(help="BED file to write; a plot (.png) and numbers (.json) beside it.")
    ],
    window_bp: WindowOption = None,
    overlap_bp: OverlapOption = None,
    keep_ratio: KeepRatioOption = None,
    region: Annotated[
        str | None, typer.Option(help="Only tokens that touch it: chrI, or chrI:101-200 (from 1, inclusive).")
    ] = None,
    batch_size: BatchSizeOption = 8,
) -> None:
    """Cuts sequences into tokens and writes them as BED: record, start, end, the token's sequence.

    Every base lies in one token, but for runs of N longer than a window. Open the file in a genome browser.

    Example: dnachunk tokenize --model run --fasta chr21.fa --output tokens.bed
    """
    from dnachunk.cli.inference import find_interval, load_model, widths
    from dnachunk.data import Genome

    network = load_model(model)
    window_bp, overlap_bp = widths(network, window_bp, overlap_bp)
    genome = Genome(fasta)
    interval = None if region is None else find_interval(genome, region)
    write_tokens(network, genome, output, interval, window_bp, overlap_bp, keep_ratio, batch_size)


def write_tokens(
    network: Any,
    genome: "Genome",
    output: Path,
    interval: "Interval | None",
    window_bp: int,
    overlap_bp: int,
    keep_ratio: float | None = None,
    batch_size: int = 8,
) -> None:
    """Writes tokens as BED, and beside it the histogram of their lengths and the numbers.

    Args:
        network: A trained model.
        genome: What to tokenize.
        output: The BED file.
        interval: Where in it; None is all of it.
        window_bp: Bases of a tile.
        overlap_bp: Bases that two tiles share.
        keep_ratio: Tokens per base; None is as the model is configured.
        batch_size: Tiles that are run at once.
    """
    # Asked for now, not when the tokens are there and there is nothing to plot them with.
    import matplotlib  # noqa: F401
    import torch

    from dnachunk.cli.inference import run_tiles
    from dnachunk.data.tiling import Tile, overlaps, record_tiles, tiles_near
    from dnachunk.ops import decode_dna
    from dnachunk.segmentation import write_bed
    from dnachunk.visualization import plot_token_lengths

    histogram = torch.zeros(1, dtype=torch.int64)

    def tiles() -> Iterator[Tile]:
        if interval is None:
            for index in range(len(genome.records)):
                yield from record_tiles(genome, index, window_bp, overlap_bp)
        else:
            index = genome.index_of(interval.record)
            end_bp = interval.end_bp or genome.records[index].length_bp
            yield from tiles_near(
                record_tiles(genome, index, window_bp, overlap_bp), interval.start_bp, end_bp
            )

    def lines() -> Iterator[str]:
        nonlocal histogram
        joined = run_tiles(
            network, genome, tiles(), keep_ratio=keep_ratio, batch_size=batch_size, vectors=False
        )
        with progress(genome.length_bp, "tokenize") as advance:
            for tokens in joined:
                index, edges = tokens.tile.record_index, tokens.edges
                ids, _ = genome.fetch(index, int(edges[0]), int(edges[-1]))
                advance(len(ids))
                texts = decode_dna(ids, edges - edges[0])
                is_inside = overlaps(edges, interval)
                counts = edges.diff()[is_inside].bincount(minlength=len(histogram))
                counts[: len(histogram)] += histogram
                histogram = counts
                name, starts, ends = genome.records[index].name, edges[:-1].tolist(), edges[1:].tolist()
                for place in is_inside.nonzero()[:, 0].tolist():
                    yield f"{name}\t{starts[place]}\t{ends[place]}\t{texts[place]}"

    write_bed(output, lines())
    num_tokens = int(histogram.sum())
    num_bases = int((histogram * torch.arange(len(histogram))).sum())
    metrics = {
        "bases": num_bases,
        "tokens": num_tokens,
        "mean_token_bp": num_bases / num_tokens if num_tokens else None,
        "token_length_counts": histogram.tolist(),
        "window_bp": window_bp,
        "overlap_bp": overlap_bp,
    }
    written = [output, output.with_suffix(".json")]
    write_results(written[1], metrics)
    if num_tokens:
        written.append(output.with_suffix(".png"))
        write_figure(written[2], plot_token_lengths({genome.name: histogram}))
    mean = f", {num_bases / num_tokens:.2f} bases each on average" if num_tokens else ""
    say(f"{num_tokens:,} tokens{mean}: {', '.join(map(str, written))}")
