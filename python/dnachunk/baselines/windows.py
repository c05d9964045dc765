"""Windows of bases as the tokens of a fixed tokenizer."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from dnachunk.alphabet import A_ID, MASK_ID, PAD_ID
from dnachunk.ops import decode_dna


class WindowTokens(NamedTuple):
    """Tokens of B windows, ``[B, L]`` each, padded on the right.

    Attributes:
        input_ids: int64.
        attention_mask: int64.
        starts: int64: first base of each token; 0 at padding.
        ends: int64: base after its last; 0 at padding.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    starts: torch.Tensor
    ends: torch.Tensor

    def have(self, is_marked: torch.Tensor) -> torch.Tensor:
        """``[B, L]`` bool: the tokens that have one of the marked bases, ``[B, N]`` bool."""
        before = F.pad(is_marked.long().cumsum(dim=1), (1, 0))
        return before.gather(1, self.ends) > before.gather(1, self.starts)


def tokenize_windows(tokenizer: Any, input_ids: torch.Tensor) -> WindowTokens:
    """Tokens of windows of bases; a token that has a ``[MASK]`` among its bases shows ``[MASK]``.

    Where words begin does not depend on the letters under ``[MASK]``, for words of fixed length; for
    byte-pair encoding there is no such rule.

    Args:
        tokenizer: A :class:`~dnachunk.FixedTokenizer`.
        input_ids: ``[B, N]`` int64 on the CPU: ids of bases and ``[MASK]``, padded on the right.

    Raises:
        ValueError: If a base shows ``[MASK]`` and the tokenizer is byte-pair encoding.
    """
    is_hidden = input_ids == MASK_ID
    if tokenizer.kind.k is None and is_hidden.any():
        raise ValueError("tokenize_windows: byte-pair encoding has no token for a base that shows [MASK]")
    is_real = input_ids != PAD_ID
    lengths = is_real.sum(dim=1)
    letters = input_ids.masked_fill(is_hidden, A_ID)[is_real].to(torch.uint8)
    encoded = tokenizer(
        decode_dna(letters, F.pad(lengths.cumsum(0), (1, 0))),
        padding=True,
        padding_side="right",
        return_offsets_mapping=True,
        return_tensors="pt",
        verbose=False,
    )
    starts, ends = encoded["offset_mapping"].unbind(dim=-1)
    tokens = WindowTokens(encoded["input_ids"], encoded["attention_mask"], starts, ends)
    return tokens._replace(input_ids=tokens.input_ids.masked_fill(tokens.have(is_hidden), MASK_ID))


__all__ = ["WindowTokens", "tokenize_windows"]
