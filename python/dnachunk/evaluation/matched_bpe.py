"""Byte-pair encoding that compresses as much as another tokenizer."""

import functools
from collections.abc import Sequence

import torch

from dnachunk.alphabet import NUM_IDS
from dnachunk.baselines import FixedTokenizer
from dnachunk.baselines.tokenizers import MAX_BPE_SIZE
from dnachunk.evaluation.boundary_survival import Boundaries, text_boundaries

_FIRST_SIZE = 64
_GROWTH = 4


def mean_token_bp(boundaries: Boundaries, windows: torch.Tensor) -> float:
    """Bases per token of a tokenizer on windows, ``[W, N]`` int64."""
    begun = sum(int(row.sum()) for row in boundaries(list(windows)))
    return windows.numel() / begun


def matched_bpe(
    texts: Sequence[str], windows: torch.Tensor, targets: Sequence[float]
) -> list[FixedTokenizer]:
    """Trains byte-pair encodings, each to compress windows to a number of bases per token, or nearly.

    Their size is found by bisection, in which the compression is taken to grow with it. The closest there is
    may be far off: single letters and one pair compress least, and training ends where no pair is left that
    occurs twice.

    Args:
        texts: What they are trained on, in pieces of some hundred letters.
        windows: ``[W, N]`` int64 ids of A, C, G, T, on which compression is measured.
        targets: Bases per token.

    Returns:
        For each target a tokenizer; its name, ``tokenizer.init_kwargs["tokenization"]``, has its size.
    """

    @functools.cache
    def trained(size: int) -> tuple[FixedTokenizer, float]:
        tokenizer = FixedTokenizer.from_name(f"bpe-{size}", texts)
        return tokenizer, mean_token_bp(text_boundaries(tokenizer.tokenize), windows)

    def closest(target: float) -> FixedTokenizer:
        low, high = NUM_IDS + 1, _FIRST_SIZE
        while trained(high)[1] < target and len(trained(high)[0]) == high and high < MAX_BPE_SIZE:
            low, high = high, min(high * _GROWTH, MAX_BPE_SIZE)
        while high - low > 1:
            middle = (low + high) // 2
            if trained(middle)[1] < target:
                low = middle
            else:
                high = middle
        return min((trained(low), trained(high)), key=lambda found: abs(found[1] - target))[0]

    return [closest(target) for target in targets]


__all__ = ["matched_bpe", "mean_token_bp"]
