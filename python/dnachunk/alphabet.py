"""The alphabet's ids: the one place in Python where their numbers stand (in Rust, ``src/alphabet.rs``).

Reading a string or a file, upper and lower case are alike, ``U`` is ``T``, other IUPAC codes are ``N``; lower
case is soft-masking and sets a base's repeat flag.
"""

from typing import Final

import torch

PAD_ID: Final = 0
UNK_ID: Final = 1
CLS_ID: Final = 2
SEP_ID: Final = 3
MASK_ID: Final = 4
A_ID: Final = 5
C_ID: Final = 6
G_ID: Final = 7
T_ID: Final = 8
N_ID: Final = 9

NUM_IDS: Final = 10

SPECIAL_TOKENS: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Special tokens as they are written; the index is the id."""

BASES: Final = "ACGT"
"""The four letters a base is drawn from; their ids are consecutive from ``A_ID``."""

TOKENS: Final = (*SPECIAL_TOKENS, *BASES, "N")
"""Every token as it is written; the index is the id."""

COMPLEMENT: Final = (PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID, T_ID, G_ID, C_ID, A_ID, N_ID)
"""Id of the complementary base by id; ``torch.tensor(COMPLEMENT)[ids]`` complements a tensor."""

IGNORE_INDEX: Final = -100
"""The label of a position that is in no loss, as in PyTorch and Hugging Face."""


def is_base(ids: torch.Tensor) -> torch.Tensor:
    """Where ``ids`` shows A, C, G or T: bool, of the same shape."""
    return (ids >= A_ID) & (ids <= T_ID)


_COMPLEMENT_LETTERS = str.maketrans("ACGTURYSWKMBDHVNacgturyswkmbdhvn", "TGCAAYRSWMKVHDBNtgcaayrswmkvhdbn")


def reverse_complement(sequence: str) -> str:
    """The other strand of a sequence of IUPAC letters, case kept.

    Example:
        >>> reverse_complement("AACGTr")
        'yACGTT'
    """
    return sequence[::-1].translate(_COMPLEMENT_LETTERS)
