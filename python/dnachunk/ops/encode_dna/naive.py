"""The definition of ``encode_dna`` in plain Python."""

import re
from collections.abc import Sequence

import torch

from dnachunk.alphabet import N_ID, SPECIAL_TOKENS, T_ID, TOKENS

_SYMBOL = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)) + "|.", re.DOTALL)
_ID_OF_SYMBOL = {token: index for index, token in enumerate(TOKENS)}
_ID_OF_SYMBOL |= dict.fromkeys("RYSWKMBDHV", N_ID) | {"U": T_ID}


def encode_dna_naive(sequences: Sequence[str | bytes]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dnachunk.ops.encode_dna`."""
    ids: list[int] = []
    repeat_mask: list[bool] = []
    offsets = [0]
    for index, sequence in enumerate(sequences):
        text = sequence if isinstance(sequence, str) else sequence.decode("latin-1")
        for match in _SYMBOL.finditer(text):
            symbol = match.group()
            is_repeat = len(symbol) == 1 and symbol.islower()
            code = _ID_OF_SYMBOL.get(symbol.upper() if is_repeat else symbol)
            if code is None:
                raise ValueError(f"encode_dna: {symbol!r} at position {match.start()} of sequence {index}")
            ids.append(code)
            repeat_mask.append(is_repeat)
        offsets.append(len(ids))
    return (
        torch.tensor(ids, dtype=torch.uint8),
        torch.tensor(repeat_mask, dtype=torch.bool),
        torch.tensor(offsets, dtype=torch.int64),
    )
