"""Tokens and vectors as files: BED, bedGraph, tables of receptive positions, safetensors and npz."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dnachunk.files import replacing
from dnachunk.inference.tiling import TileTokens

EMBEDDING_SUFFIXES = (".safetensors", ".npz")


def expert_labels(tokens: TileTokens) -> list[str] | None:
    """The expert and the score of basic units, as they stand behind a token's end in BED; None without."""
    if "expert" not in tokens.columns:
        return None
    scores = (tokens.columns["score"].float() * 1000).round().int().tolist()
    experts = tokens.columns["expert"].tolist()
    return [
        f"expert_{expert}\t{score}" if expert >= 0 else "none\t0"
        for expert, score in zip(experts, scores, strict=True)
    ]


def receptive_lines(record: str, tokens: TileTokens, is_chosen: torch.Tensor) -> Iterator[str]:
    """Lines of MxDNA's tokens: record, start, end, expert, where in bases each tap reads, the taps' weights.

    Args:
        record: The record's name.
        tokens: Its tokens.
        is_chosen: ``[L]`` bool: which of them.

    Yields:
        Lines separated by tabs; NA where a tap reads outside of the tile.
    """
    columns, edges = tokens.columns, tokens.edges.tolist()
    places, weights = columns["reads_bp"].tolist(), columns["modulation"].tolist()
    experts = columns["expert"].tolist()
    for token in is_chosen.nonzero()[:, 0].tolist():
        reads = ["NA" if math.isnan(place) else f"{place:.2f}" for place in places[token]]
        fields = [*reads, *(f"{weight:.3f}" for weight in weights[token])]
        yield "\t".join(map(str, [record, edges[token], edges[token + 1], experts[token], *fields])) + "\n"


def bedgraph_lines(record: str, start_bp: int, values: torch.Tensor) -> Iterator[str]:
    """Lines of bedGraph: the values of a stretch, joined where they are alike; none where they are NaN.

    Args:
        record: The record's name.
        start_bp: Where the stretch begins.
        values: ``[n]``, a value for each base.
    """
    for value, run in itertools.groupby(f"{value:.4g}" for value in values.tolist()):
        end_bp = start_bp + sum(1 for _ in run)
        if value != "nan":
            yield f"{record}\t{start_bp}\t{end_bp}\t{value}\n"
        start_bp = end_bp


def write_embeddings(path: Path, tensors: Mapping[str, torch.Tensor], records: Sequence[str]) -> None:
    """Writes tensors and the records' names, whole or not at all.

    Args:
        path: Ends in ``.safetensors``, where the names are a JSON list in the metadata, or in ``.npz``, where
            they are the array ``records``.
        tensors: By name.
        records: The names.

    Raises:
        OSError: If it cannot be written.
        ValueError: If it ends otherwise.
    """
    import numpy as np
    from safetensors.torch import save_file

    if path.suffix not in EMBEDDING_SUFFIXES:
        raise ValueError(f"output must end in {' or '.join(EMBEDDING_SUFFIXES)}, got {path}")
    with replacing(path) as temporary:
        if path.suffix == ".npz":
            arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
            with temporary.open("wb") as file:
                np.savez(file, records=np.array(records), **arrays)
        else:
            save_file(dict(tensors), temporary, metadata={"records": json.dumps(list(records))})


__all__ = ["EMBEDDING_SUFFIXES", "bedgraph_lines", "expert_labels", "receptive_lines", "write_embeddings"]
