"""The definition of ``decode_dna`` in plain Python."""

import itertools

import torch

from dnachunk.alphabet import TOKENS


def decode_dna_naive(
    ids: torch.Tensor, offsets: torch.Tensor, repeat_mask: torch.Tensor | None = None
) -> list[str]:
    """See :func:`dnachunk.ops.decode_dna`."""
    is_repeat = [False] * len(ids) if repeat_mask is None else repeat_mask.tolist()
    symbols = [TOKENS[index] for index in ids.tolist()]
    shown = [s.lower() if low and len(s) == 1 else s for s, low in zip(symbols, is_repeat, strict=True)]
    places = offsets.tolist()
    return ["".join(shown[start:end]) for start, end in itertools.pairwise(places)]
