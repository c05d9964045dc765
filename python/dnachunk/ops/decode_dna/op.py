"""Public function of ``decode_dna``."""

import torch

from dnachunk._native import rust
from dnachunk.ops._check import check_shape


def decode_dna(
    ids: torch.Tensor, offsets: torch.Tensor, repeat_mask: torch.Tensor | None = None
) -> list[str]:
    """Text of sequences of ids: the inverse of :func:`~dnachunk.ops.encode_dna`.

    Args:
        ids: ``[total]`` uint8.
        offsets: ``[B + 1]`` int64, ascending: sequence b is ``ids[offsets[b]:offsets[b + 1]]``.
        repeat_mask: ``[total]`` bool: bases to write in lower case; none where absent.

    Returns:
        B strings. ``decode_dna`` of what ``encode_dna`` gave is the text after the reading rules.

    Raises:
        TypeError: If a dtype differs.
        ValueError: If a shape differs, the offsets do not ascend inside ``ids``, or an id is not of the
            alphabet.

    Example:
        >>> decode_dna(torch.tensor([5, 6, 4], dtype=torch.uint8), torch.tensor([0, 2, 3]))
        ['AC', '[MASK]']
    """
    check_shape("decode_dna", "ids", ids, ("total",))
    check_shape("decode_dna", "offsets", offsets, ("B + 1",))
    if repeat_mask is not None:
        check_shape("decode_dna", "repeat_mask", repeat_mask, (len(ids),))
    return rust.decode_dna(ids.cpu(), offsets.cpu(), None if repeat_mask is None else repeat_mask.cpu())
