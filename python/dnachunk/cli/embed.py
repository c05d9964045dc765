"""``dnachunk embed``: vectors of records or of tokens."""

import itertools
import json
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnachunk.cli.options import (
    BatchSizeOption,
    FastaOption,
    KeepRatioOption,
    ModelOption,
    OverlapOption,
    ReverseComplement,
    ReverseComplementOption,
    WindowOption,
    output_file,
)
from dnachunk.cli.report import progress, replacing, say, write_results

if TYPE_CHECKING:
    import torch

    from dnachunk.data import Genome
    from dnachunk.data.tiling import TileTokens

    # Starts, ends and vectors of a record's tokens.
    Tokens = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

SUFFIXES = (".safetensors", ".npz")


class Per(str, Enum):
    """What a vector stands for."""

    record = "record"
    token = "token"


def embed(
    model: ModelOption,
    fasta: FastaOption,
    output: Annotated[
        Path,
        typer.Option(help="File to write, .safetensors or .npz; a .json beside it.", callback=output_file),
    ],
    per: Annotated[Per, typer.Option(help="A vector for each record, or for each token.")] = Per.record,
    reverse_complement: ReverseComplementOption = ReverseComplement.none,
    window_bp: WindowOption = None,
    overlap_bp: OverlapOption = None,
    keep_ratio: KeepRatioOption = None,
    batch_size: BatchSizeOption = 8,
) -> None:
    """Turns sequences into vectors of the model's width, float32.

    The file holds "embeddings" and the records' names: "records" in .npz, a JSON list of that name in the
    metadata of .safetensors. A record's vector is the mean of its latent tokens (of a long record, the mean
    of its windows' means, weighted by their bases). With --per token there are "record_index", "start_bp" and
    "end_bp" beside it; averaged over strands, a vector stands for bases that lie in one token on either.

    Example: dnachunk embed --model run --fasta promoters.fa --output promoters.safetensors
    """
    from dnachunk.cli.inference import load_model, widths
    from dnachunk.data import Genome

    if output.suffix not in SUFFIXES:
        raise typer.BadParameter(f"--output must end in {' or '.join(SUFFIXES)}, got {output}")
    network = load_model(model)
    window_bp, overlap_bp = widths(network, window_bp, overlap_bp)
    genome = Genome(fasta)

    def strand(reverse: bool) -> "Iterator[TileTokens]":
        from dnachunk.cli.inference import run_tiles
        from dnachunk.data.tiling import record_tiles

        indices = range(len(genome.records))
        tiles = itertools.chain.from_iterable(
            record_tiles(genome, index, window_bp, overlap_bp, reverse=reverse) for index in indices
        )
        return run_tiles(
            network,
            genome,
            tiles,
            keep_ratio=keep_ratio,
            batch_size=batch_size,
            vectors=True,
            reverse=reverse,
        )

    strands = [False, True] if reverse_complement is ReverseComplement.average else [False]
    with progress(genome.length_bp * len(strands), "embed") as advance:
        runs = [_advancing(strand(reverse), advance) for reverse in strands]
        if per is Per.record:
            tensors = _record_vectors(genome, network.config.hidden_size, runs)
        else:
            tensors = _token_vectors(genome, runs)
    _write(output, tensors, [record.name for record in genome.records])
    metrics = {
        "records": len(genome.records),
        "vectors": len(tensors["embeddings"]),
        "channels": network.config.hidden_size,
        "reverse_complement": reverse_complement.value,
        "window_bp": window_bp,
        "overlap_bp": overlap_bp,
    }
    write_results(output.with_suffix(".json"), metrics)
    say(f"{metrics['vectors']:,} vectors of {metrics['channels']} channels: {output}")


def _advancing(run: "Iterator[TileTokens]", advance: Callable[[int], Any]) -> "Iterator[TileTokens]":
    for tokens in run:
        advance(int(tokens.edges[-1] - tokens.edges[0]))
        yield tokens


def _record_vectors(
    genome: "Genome", channels: int, runs: "list[Iterator[TileTokens]]"
) -> "dict[str, torch.Tensor]":
    """A vector for each record: NaN where there is nothing but N."""
    import torch

    means = []
    for run in runs:
        sums = torch.zeros(len(genome.records), channels, dtype=torch.float64)
        bases = torch.zeros(len(genome.records), 1, dtype=torch.float64)
        for tokens in run:
            assert tokens.values is not None
            if len(tokens.values):
                num_bases = float(tokens.edges[-1] - tokens.edges[0])
                sums[tokens.tile.record_index] += num_bases * tokens.values.double().mean(dim=0)
                bases[tokens.tile.record_index] += num_bases
        means.append(sums / bases)
    return {"embeddings": torch.stack(means).mean(dim=0).float()}


def _token_vectors(genome: "Genome", runs: "list[Iterator[TileTokens]]") -> "dict[str, torch.Tensor]":
    """A vector for each token, with its place on the forward strand."""
    import torch

    columns: dict[str, list[torch.Tensor]] = {
        name: [] for name in ("record_index", "start_bp", "end_bp", "embeddings")
    }
    for index, *strands in zip(itertools.count(), *(_by_record(genome, run) for run in runs), strict=False):
        tokens = strands[0]
        if tokens is None:
            continue
        if len(strands) == 2:
            length_bp = genome.records[index].length_bp
            starts, ends, values = (part.flip(0) for part in strands[1])
            tokens = _average(tokens, (length_bp - ends, length_bp - starts, values))
        starts, ends, values = tokens
        columns["record_index"].append(torch.full_like(starts, index))
        columns["start_bp"].append(starts)
        columns["end_bp"].append(ends)
        columns["embeddings"].append(values)
    if not columns["embeddings"]:
        raise ValueError(f"there is no A, C, G or T in {genome.path}")
    return {name: torch.cat(parts) for name, parts in columns.items()}


def _by_record(genome: "Genome", run: "Iterator[TileTokens]") -> "Iterator[Tokens | None]":
    """For each record the starts and ends of all its tokens, and their vectors; None if it is all N."""
    import torch

    groups = itertools.groupby(run, key=lambda tokens: tokens.tile.record_index)
    group = next(groups, None)
    for index in range(len(genome.records)):
        if group is None or group[0] != index:
            yield None
            continue
        tiles = list(group[1])
        starts = torch.cat([tile.edges[:-1] for tile in tiles])
        ends = torch.cat([tile.edges[1:] for tile in tiles])
        yield starts, ends, torch.cat([tile.values for tile in tiles if tile.values is not None])
        group = next(groups, None)


def _average(tokens: "Tokens", others: "Tokens") -> "Tokens":
    """The common refinement of two segmentations of the same bases, and the mean of their vectors."""
    import torch

    edges = torch.cat([*tokens[:2], *others[:2]]).unique()
    places = [torch.searchsorted(starts, edges[:-1], right=True) - 1 for starts, _, _ in (tokens, others)]
    # Between two stretches there are bases of no token.
    is_inside = tokens[1][places[0]] > edges[:-1]
    mean = (tokens[2][places[0]] + others[2][places[1]]) / 2
    return edges[:-1][is_inside], edges[1:][is_inside], mean[is_inside]


def _write(path: Path, tensors: "dict[str, torch.Tensor]", records: list[str]) -> None:
    import numpy as np
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        if path.suffix == ".npz":
            arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
            with temporary.open("wb") as file:
                np.savez(file, records=np.array(records), **arrays)
        else:
            save_file(tensors, temporary, metadata={"records": json.dumps(records)})
