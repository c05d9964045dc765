"""Whether MxDNA cuts a sequence alike twice: two passes as in training, each with its own jitter."""

from dataclasses import dataclass
from typing import Any

import torch

from dnachunk.errors import ArgumentError
from dnachunk.evaluation.token_meaning import Band, bootstrap_band, boundary_jaccard
from dnachunk.models import MxDNAConfig
from dnachunk.ops import decode_dna
from dnachunk.random import mix
from dnachunk.segmentation import Segmentation
from dnachunk.tokenization import between_special_tokens


@dataclass(frozen=True, slots=True, eq=False)
class JitterAgreement:
    """Two passes over sequences, each with its own jitter (MxDNA, Figure 3).

    Attributes:
        jitter: Half width ε of the noise in ``[1 − ε, 1 + ε]`` that multiplies what the router scores.
        passes: The tokens of both passes, of the same sequences.
        first_sequence: Letters of the first of these.
        agreement: Mean over sequences and its 95% interval, ``[1]`` each: of the boundaries that either pass
            has inside a sequence, the share that both have, 1 where neither has any.
    """

    jitter: float
    passes: tuple[Segmentation, Segmentation]
    first_sequence: str
    agreement: Band


def jitter_agreement(
    model: Any, rows: torch.Tensor, *, seed: int = 0, batch_size: int = 8
) -> JitterAgreement:
    """Cuts sequences into tokens twice as in training, where a random jitter multiplies the router's input.

    In evaluation, and in all that the commands write, there is no jitter: the same sequence has the same
    tokens.

    Args:
        model: An MxDNA model; its mode is left as it was.
        rows: ``[B, N]`` int64 ids of bases alone, without padding.
        seed: Of both passes' noise, and of the interval's resampling.
        batch_size: Sequences run at once.

    Returns:
        Both passes' tokens and how far they agree.

    Raises:
        ValueError: If the model is no MxDNA, or there is no sequence.
    """
    if not isinstance(getattr(model, "config", None), MxDNAConfig):
        raise ArgumentError(
            f"`model` must be of mxdna, whose router has a jitter, got {type(model).__name__}"
        )
    if not len(rows):
        raise ArgumentError("`rows` must hold a sequence at least, got none")
    base = model.base_model
    was_training = base.training
    base.train()
    try:
        first, second = (_pass(base, rows, mix(seed, number), batch_size) for number in range(2))
    finally:
        base.train(was_training)
    shares = [
        boundary_jaccard(one[1:], other[1:])
        for one, other in zip(first.boundaries, second.boundaries, strict=True)
    ]
    band = bootstrap_band(torch.tensor(shares, dtype=torch.float64)[:, None], seed)
    (text,) = decode_dna(rows[0].to(torch.uint8), torch.tensor([0, rows.shape[1]]))
    return JitterAgreement(model.config.router_jitter, (first, second), text, band)


def _pass(base: Any, rows: torch.Tensor, seed: int, batch_size: int) -> Segmentation:
    """The tokens of one pass."""
    index: list[torch.Tensor] = []
    counts: list[torch.Tensor] = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size].to(base.device)
        ids, mask = between_special_tokens(batch, torch.ones_like(batch))
        # Keyed by the sequence: batches change nothing.
        seeds = torch.tensor([mix(seed, start + row) for row in range(len(batch))], device=base.device)
        with torch.no_grad():
            found = base(ids, mask, noise_seeds=seeds, return_dict=True).segmentation
        index.append(found.token_index[:, 1:-1].cpu())
        counts.append(found.num_tokens.cpu())
    return Segmentation(torch.cat(index), torch.cat(counts))


__all__ = ["JitterAgreement", "jitter_agreement"]
