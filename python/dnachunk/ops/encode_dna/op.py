"""Public function of ``encode_dna``."""

from collections.abc import Sequence

import torch

from dnachunk._native import rust


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
