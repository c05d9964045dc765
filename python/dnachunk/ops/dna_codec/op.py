"""Public functions of ``dna_codec``."""

from collections.abc import Sequence

import torch

from dnachunk._native import rust
from dnachunk.ops._check import check_shape


def encode_dna(sequences: Sequence[str | bytes]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids and repeat flags of DNA strings, one sequence after the other.

    Upper and lower case read alike, ``U`` as ``T``, other IUPAC codes as ``N``; a special token written in
    the text, as in ``AC[MASK]GT``, is one id. Runs on all of torch's threads, also inside one long sequence,
    with the GIL released.

    Args:
        sequences: B strings or bytes.

    Returns:
        ``ids [total]`` uint8 (see :mod:`dnachunk.alphabet`); ``repeat_mask [total]`` bool, true where the
        base was written in lower case; ``offsets [B + 1]`` int64: sequence b is
        ``ids[offsets[b]:offsets[b + 1]]``.

    Raises:
        TypeError: If ``sequences`` is one string, or holds something that is neither str nor bytes.
        ValueError: If a byte is no IUPAC letter and no part of a special token; the message names sequence,
            position and byte.

    Example:
        >>> encode_dna(["AC[MASK]gt", "U"])[0]
        tensor([5, 6, 4, 7, 8, 8], dtype=torch.uint8)
    """
    if not isinstance(sequences, Sequence) or isinstance(sequences, (str, bytes)):
        raise TypeError(
            f"encode_dna: sequences must be a sequence of str or bytes, got {type(sequences).__name__}"
        )
    return rust.encode_dna(sequences)


def decode_dna(
    ids: torch.Tensor, offsets: torch.Tensor, repeat_mask: torch.Tensor | None = None
) -> list[str]:
    """Text of sequences of ids: the inverse of :func:`encode_dna`.

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
