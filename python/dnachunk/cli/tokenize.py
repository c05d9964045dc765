"""``dnachunk tokenize``: a genome's tokens as a BED file."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnachunk.cli.options import (
    BatchSizeOption,
    FastaOption,
    KeepRatioOption,
    ModelOption,
    OverlapOption,
    WindowOption,
    output_file,
)
from dnachunk.cli.report import beside, progress, replacing, say, write_figure, write_results

if TYPE_CHECKING:
    import torch

    from dnachunk.data import Genome, Interval
    from dnachunk.data.tiling import Tile, TileTokens


def tokenize(
    model: ModelOption,
    fasta: FastaOption,
    output: Annotated[
        Path,
        typer.Option(
            help="BED file to write, bgzip if it ends in .gz; a plot (.png) and numbers (.json) beside it.",
            callback=output_file,
        ),
    ],
    window_bp: WindowOption = None,
    overlap_bp: OverlapOption = None,
    keep_ratio: KeepRatioOption = None,
    region: Annotated[
        str | None, typer.Option(help="Only tokens that touch it: chrI, or chrI:101-200 (from 1, inclusive).")
    ] = None,
    batch_size: BatchSizeOption = 8,
    receptive_positions: Annotated[
        Path | None,
        typer.Option(
            help="TSV file to write: where in bases each tap of MxDNA's assembly reads, and how much.",
            callback=output_file,
        ),
    ] = None,
) -> None:
    """Cuts sequences into tokens and writes them as BED: record, start, end, the token's sequence.

    Every base lies in one token, but for runs of N longer than a window. Open the file in a genome browser.
    Of a model that chunks in two stages the first stage's chunks are in a second file, ….stage_0.bed. MxDNA's
    basic units have their expert as name, and the router's probability of it in thousandths as score.

    Example: dnachunk tokenize --model run --fasta chr21.fa --output tokens.bed
    """
    from dnachunk.cli.inference import find_interval, load_model, widths
    from dnachunk.data import Genome

    if output.suffix in (".json", ".png"):
        raise typer.BadParameter(f"--output must not end in {output.suffix}, which is written beside it")
    network = load_model(model)
    window_bp, overlap_bp = widths(network, window_bp, overlap_bp)
    genome = Genome(fasta)
    interval = None if region is None else find_interval(genome, region)
    write_tokens(
        network, genome, output, interval, window_bp, overlap_bp, keep_ratio, batch_size, receptive_positions
    )


def write_tokens(
    network: Any,
    genome: "Genome",
    output: Path,
    interval: "Interval | None",
    window_bp: int,
    overlap_bp: int,
    keep_ratio: float | None = None,
    batch_size: int = 8,
    receptive_positions: Path | None = None,
) -> None:
    """Writes tokens as BED, a file for each stage, and beside it the histogram of lengths and the numbers.

    Args:
        network: A trained model.
        genome: What to tokenize.
        output: The BED file.
        interval: Where in it; None is all of it.
        window_bp: Bases of a tile.
        overlap_bp: Bases that two tiles share.
        keep_ratio: Tokens per base; None is as the model is configured.
        batch_size: Tiles that are run at once.
        receptive_positions: TSV file of where MxDNA's tokens read.

    Raises:
        ValueError: If only another kind of model could do what is asked.
    """
    # Asked for now, not when the tokens are there and there is nothing to plot them with.
    import matplotlib  # noqa: F401

    from dnachunk.cli.inference import run_tiles
    from dnachunk.visualization import plot_token_lengths

    model_type = network.config.model_type
    if receptive_positions is not None and model_type != "mxdna":
        raise ValueError(f"--receptive-positions is for mxdna; a {model_type} model reads its own bases")
    stages = len(getattr(network.config, "target_ratio", [None]))
    ending = output.name.removeprefix(beside(output, "").name)
    paths = [*(beside(output, f".stage_{stage}{ending}") for stage in range(stages - 1)), output]
    tiles = _tiles(genome, interval, window_bp, overlap_bp)
    joined = run_tiles(network, genome, tiles, keep_ratio=keep_ratio, batch_size=batch_size, vectors=False)
    *finer, counts = _write_files(joined, genome, interval, paths, receptive_positions)
    num_tokens, bases = _totals(counts)
    mean = bases / num_tokens if num_tokens else None
    metrics = {
        "bases": bases,
        "tokens": num_tokens,
        "mean_token_bp": mean,
        "token_length_counts": counts.tolist(),
        "window_bp": window_bp,
        "overlap_bp": overlap_bp,
    }
    for stage, finer_counts in enumerate(finer):
        finer_tokens, finer_bases = _totals(finer_counts)
        metrics[f"stage_{stage}_tokens"] = finer_tokens
        metrics[f"stage_{stage}_mean_token_bp"] = finer_bases / finer_tokens if finer_tokens else None
    written = [*paths, beside(output, ".json")]
    write_results(written[-1], metrics)
    if receptive_positions is not None:
        written.append(receptive_positions)
    if num_tokens:
        written.append(beside(output, ".png"))
        groups = {f"{genome.name}, stage {stage}": each for stage, each in enumerate(finer)}
        write_figure(written[-1], plot_token_lengths({**groups, genome.name: counts}))
    each = "" if mean is None else f", {mean:.2f} bases each on average"
    say(f"{num_tokens:,} tokens{each}: {', '.join(map(str, written))}")


def _tiles(
    genome: "Genome", interval: "Interval | None", window_bp: int, overlap_bp: int
) -> "Iterator[Tile]":
    from dnachunk.data.tiling import record_tiles, tiles_near

    if interval is None:
        for index in range(len(genome.records)):
            yield from record_tiles(genome, index, window_bp, overlap_bp)
    else:
        index = genome.index_of(interval.record)
        end_bp = interval.end_bp or genome.records[index].length_bp
        tiles = record_tiles(genome, index, window_bp, overlap_bp)
        yield from tiles_near(tiles, interval.start_bp, end_bp)


def _write_files(
    joined: "Iterator[TileTokens]",
    genome: "Genome",
    interval: "Interval | None",
    paths: list[Path],
    receptive_positions: Path | None,
) -> "list[torch.Tensor]":
    """Writes the tokens, all files or none; returns how many have each length, a count for each path."""
    import torch

    from dnachunk.data.text import text_writer
    from dnachunk.data.tiling import overlaps
    from dnachunk.ops import decode_dna

    counts = [torch.zeros(1, dtype=torch.int64) for _ in paths]
    with contextlib.ExitStack() as open_files:
        files = [
            open_files.enter_context(
                text_writer(open_files.enter_context(replacing(path)), bgzip=path.suffix == ".gz")
            )
            for path in [*paths, *([] if receptive_positions is None else [receptive_positions])]
        ]
        advance = open_files.enter_context(progress(genome.length_bp, "tokenize"))
        for tokens in joined:
            index, start_bp, end_bp = tokens.tile.record_index, int(tokens.edges[0]), int(tokens.edges[-1])
            ids, _ = genome.fetch(index, start_bp, end_bp)
            name = genome.records[index].name
            for stage, edges in enumerate((*tokens.finer_edges, tokens.edges)):
                labels = _labels(tokens) or decode_dna(ids, edges - start_bp)
                is_inside = overlaps(edges, interval)
                found = edges.diff()[is_inside].bincount(minlength=len(counts[stage]))
                found[: len(counts[stage])] += counts[stage]
                counts[stage] = found
                starts, ends = edges[:-1].tolist(), edges[1:].tolist()
                files[stage].writelines(
                    f"{name}\t{starts[place]}\t{ends[place]}\t{labels[place]}\n"
                    for place in is_inside.nonzero()[:, 0].tolist()
                )
            if receptive_positions is not None:
                is_inside = overlaps(tokens.edges, interval)
                files[-1].writelines(_receptive_lines(name, tokens, is_inside))
            advance(len(ids))
        # What a full disk refuses is known before the first file takes its place.
        for file in files:
            file.flush()
    return counts


def _totals(counts: "torch.Tensor") -> tuple[int, int]:
    """Tokens and bases, from how many tokens have each length."""
    return int(counts.sum()), sum(length * count for length, count in enumerate(counts.tolist()))


def _labels(tokens: "TileTokens") -> list[str] | None:
    """What stands behind a token's end in BED if it is not its sequence: name and score."""
    if "expert" not in tokens.columns:
        return None
    scores = (tokens.columns["score"].float() * 1000).round().int().tolist()
    experts = tokens.columns["expert"].tolist()
    return [
        f"expert_{expert}\t{score}" if expert >= 0 else "none\t0"
        for expert, score in zip(experts, scores, strict=True)
    ]


def _receptive_lines(record: str, tokens: "TileTokens", is_inside: "torch.Tensor") -> Iterator[str]:
    """Record, start, end, expert, then where in bases each tap reads (or NA), then the taps' weights."""
    columns, edges = tokens.columns, tokens.edges.tolist()
    places, weights = columns["reads_bp"].tolist(), columns["modulation"].tolist()
    experts = columns["expert"].tolist()
    for token in is_inside.nonzero()[:, 0].tolist():
        reads = ["NA" if math.isnan(place) else f"{place:.2f}" for place in places[token]]
        fields = [*reads, *(f"{weight:.3f}" for weight in weights[token])]
        yield "\t".join(map(str, [record, edges[token], edges[token + 1], experts[token], *fields])) + "\n"
