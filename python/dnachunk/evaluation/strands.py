"""Predictions of classification heads, of one strand or averaged over both."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch

from dnachunk.alphabet import reverse_complement as other_strand
from dnachunk.data.examples import model_arguments

Strands = Literal["none", "average"]


def average_strands(
    logits: torch.Tensor, reverse_logits: torch.Tensor, lengths: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean of what a model makes of sequences and of their reverse complements.

    Args:
        logits: ``[B, K]``, or ``[B, N, K]`` for bases.
        reverse_logits: The same of the reverse complements.
        lengths: ``[B]`` real positions; needed for bases, whose order is turned around.

    Returns:
        The mean; positions of padding keep ``logits``.
    """
    if logits.dim() == 2:
        return (logits + reverse_logits) / 2
    assert lengths is not None
    positions = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
    is_real = positions < lengths[:, None]
    opposite = torch.where(is_real, lengths[:, None] - 1 - positions, positions)
    turned = reverse_logits.gather(1, opposite[..., None].expand_as(reverse_logits))
    return torch.where(is_real[..., None], (logits + turned) / 2, logits)


def strand_logits(
    logits: torch.Tensor, model: Any, inputs: dict[str, torch.Tensor], reverse: dict[str, torch.Tensor] | None
) -> torch.Tensor:
    """Logits of a batch, averaged with those of its reverse complements where these are given.

    Args:
        logits: What ``model(**inputs)`` gave.
        model: The model.
        inputs: Tokenized sequences, padded on the right.
        reverse: Tokenized reverse complements.
    """
    if reverse is None:
        return logits
    reverse_logits = model(**reverse).logits
    if logits.dim() == 2:
        return average_strands(logits, reverse_logits)
    ids = inputs["input_ids"]
    mask = inputs.get("attention_mask", torch.ones_like(ids))
    return average_strands(logits, reverse_logits, mask.sum(dim=1))


def tile_logits(
    model: Any, inputs: dict[str, torch.Tensor], tiles: torch.Tensor, rows_at_once: int
) -> torch.Tensor:
    """Logits of sequences that are cut in tiles: means of the tiles' logits, in which each base counts once.

    Where the head is linear and reads a mean over tokens, as MergeDNA's and DNAChunker's do, that is the head
    on the mean of the tiles' representations: DNAChunker reads DNALongBench so. With any other head, too, it
    is one number for each class, and no part of the model sees more than a tile.

    Args:
        model: The model.
        inputs: The rows of all tiles.
        tiles: ``[B, tiles]``, how much each counts in which sequence; see
            :class:`~dnachunk.data.examples.ExampleCollator`.
        rows_at_once: Tiles that are run at once; changes no result beyond rounding.

    Returns:
        ``[B, K]`` float32.
    """
    rows = [
        model(**{name: value[first : first + rows_at_once] for name, value in inputs.items()}).logits
        for first in range(0, tiles.shape[1], rows_at_once)
    ]
    # Autocast would round the shares.
    with torch.autocast(tiles.device.type, enabled=False):
        return tiles @ torch.cat(rows).float()


@torch.no_grad()
def predict_logits(
    model: Any,
    tokenizer: Any,
    sequences: Sequence[str],
    *,
    reverse_complement: Strands = "none",
    batch_size: int = 32,
) -> list[torch.Tensor]:
    """Logits of sequences.

    Args:
        model: A sequence or token classification model of Hugging Face's kind; it is set to evaluation mode.
        tokenizer: Its tokenizer, one that pads on the right.
        sequences: DNA.
        reverse_complement: ``"average"`` runs both strands, so that the result is equal for a sequence and
            its reverse complement (for bases, with their order turned around).
        batch_size: Sequences that are run at once.

    Returns:
        For each sequence ``[K]``, or ``[n, K]`` for bases, float32 on the CPU.

    Raises:
        ValueError: If ``reverse_complement`` is neither ``"none"`` nor ``"average"``; as the tokenizer.
    """
    if reverse_complement not in get_args(Strands):
        allowed = " or ".join(map(repr, get_args(Strands)))
        raise ValueError(f"predict_logits: reverse_complement must be {allowed}, got {reverse_complement!r}")
    accepted = model_arguments(model)
    model.eval()

    def tokenize(strands: list[str]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        encoded = tokenizer(strands, padding=True, return_tensors="pt", return_special_tokens_mask=True)
        inputs = {name: value.to(model.device) for name, value in encoded.items() if name in accepted}
        return inputs, encoded["special_tokens_mask"] == 0

    results: list[torch.Tensor] = []
    for first in range(0, len(sequences), batch_size):
        batch = list(sequences[first : first + batch_size])
        inputs, is_base = tokenize(batch)
        logits = model(**inputs).logits
        if reverse_complement == "average":
            reverse, _ = tokenize([other_strand(sequence) for sequence in batch])
            logits = strand_logits(logits, model, inputs, reverse)
        logits = logits.float().cpu()
        results += [row[mask] if row.dim() == 2 else row for row, mask in zip(logits, is_base, strict=True)]
    return results


__all__ = ["Strands", "average_strands", "predict_logits", "strand_logits", "tile_logits"]
