"""Running a trained model over the records of a genome."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel

from dnachunk.alphabet import PAD_ID
from dnachunk.data import Genome, Interval
from dnachunk.data.tiling import Tile, TileTokens, check_tiling, fetch_tile, join_tiles
from dnachunk.segmentation import Segmentation
from dnachunk.training.checkpoints import load_pretrained

Encoded = tuple[Segmentation, torch.Tensor | None]
"""Tokens of a batch, and their vectors ``[B, L, D]``."""


def load_model(directory: Path) -> Any:
    """Loads a trained model for inference, onto a GPU where there is one.

    Raises:
        OSError: If the directory holds no model.
        ValueError: If its weights do not fit.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_pretrained(AutoModel, directory).eval().to(device)


def widths(model: Any, window_bp: int | None, overlap_bp: int | None) -> tuple[int, int]:
    """Bases of a tile and of an overlap; by default the model's training windows, and a quarter of a tile.

    Raises:
        ValueError: If they are out of range.
    """
    window_bp = model.config.train_length_bp if window_bp is None else window_bp
    overlap_bp = window_bp // 4 if overlap_bp is None else overlap_bp
    check_tiling("dnachunk", window_bp, overlap_bp)
    return window_bp, overlap_bp


def find_interval(genome: Genome, text: str) -> Interval:
    """Reads an interval of a genome as samtools writes it.

    Raises:
        ValueError: If it lies in no record.
    """
    interval = Interval.parse(text, [record.name for record in genome.records])
    if interval.record not in genome:
        raise ValueError(f"{genome.path} has no record {interval.record!r}")
    length_bp = genome.records[genome.index_of(interval.record)].length_bp
    if interval.start_bp >= length_bp or (interval.end_bp or 0) > length_bp:
        raise ValueError(f"{text} does not lie in its record of {length_bp} bases")
    return interval


def run_tiles(
    model: Any,
    genome: Genome,
    tiles: Iterable[Tile],
    *,
    keep_ratio: float | None,
    batch_size: int,
    vectors: bool,
    reverse: bool = False,
) -> Iterator[TileTokens]:
    """Tokenizes tiles and joins them, a batch at a time.

    Args:
        model: What :func:`load_model` gives.
        genome: Where the tiles lie.
        tiles: Tiles of one strand, in order.
        keep_ratio: Tokens per base; None is as the model is configured.
        batch_size: Tiles that are run at once.
        vectors: Whether to run the whole model, for the tokens' vectors, or the tokenizer alone.
        reverse: Whether they are tiles of the reverse complement.

    Raises:
        ValueError: If the keep ratio is out of reach.
    """
    encode = _ENCODERS[model.config.model_type]

    def run() -> Iterator[TileTokens]:
        remaining = iter(tiles)
        while batch := list(itertools.islice(remaining, batch_size)):
            rows = [fetch_tile(genome, tile, reverse=reverse).long() for tile in batch]
            masks = [torch.ones_like(row) for row in rows]
            inputs = {
                "input_ids": pad_sequence(rows, batch_first=True, padding_value=PAD_ID).to(model.device),
                "attention_mask": pad_sequence(masks, batch_first=True).to(model.device),
            }
            # Around the call, not the loop: a generator would leave the mode on for whoever iterates.
            with torch.inference_mode():
                segmentation, hidden = encode(model, inputs, keep_ratio, vectors)
            lengths = segmentation.lengths.cpu()
            for row, tile in enumerate(batch):
                count = int(segmentation.num_tokens[row])
                edges = torch.nn.functional.pad(lengths[row, :count].cumsum(0), (1, 0)) + tile.start_bp
                yield TileTokens(tile, edges, None if hidden is None else hidden[row, :count].float().cpu())

    return join_tiles(run())


def _encode_mergedna(
    model: Any, inputs: dict[str, torch.Tensor], keep_ratio: float | None, vectors: bool
) -> Encoded:
    if vectors:
        output = model(**inputs, keep_ratio=keep_ratio)
        return output.segmentation, output.last_hidden_state
    ratio = model.config.keep_ratio if keep_ratio is None else keep_ratio
    tokens, _ = model.tokenize(inputs["input_ids"], inputs["attention_mask"], None, ratio)
    return tokens.segmentation, None


_ENCODERS: dict[str, Callable[..., Encoded]] = {"mergedna": _encode_mergedna}
