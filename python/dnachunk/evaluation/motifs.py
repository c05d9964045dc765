"""Sequence motifs that mark places in genes, and where they occur."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch

from dnachunk.alphabet import A_ID, BASES, is_base, reverse_complement
from dnachunk.ops._check import check_shape

IUPAC: Final = {
    "A": "A",
    "C": "C",
    "G": "G",
    "T": "T",
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
    "N": "ACGT",
}
"""The bases that each letter of a pattern stands for."""


class Motif(NamedTuple):
    """A pattern and the place in it that matters.

    Attributes:
        name: What it marks.
        pattern: IUPAC letters, along the strand.
        anchor: Letters before the place that matters.
    """

    name: str
    pattern: str
    anchor: int


PSEUDOCOUNTS: Final = 0.8
"""What is added to the counts of a place of a matrix, a quarter to each letter."""

MOTIFS: Final = (
    # Basehoar, Zanton & Pugh 2004, Cell 116:699.
    Motif("TATA box", "TATAWAWR", 0),
    # Kozak 1986, Cell 44:283; at the start codon.
    Motif("Kozak", "RCCATGG", 3),
    # Shapiro & Senapathy 1987, Nucleic Acids Res. 15:7155; at the ends of the intron.
    Motif("splice donor", "MAGGTRAGT", 3),
    Motif("splice acceptor", "YYYYYYYYNYAGG", 12),
    Motif("start codon", "ATG", 0),
)
"""Every motif that tokens are looked at around."""


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """Places between two bases, each read along a strand.

    Attributes:
        record_index: ``[S]`` int64.
        edge_bp: ``[S]`` int64: the base after the place, on the forward strand.
        is_reverse: ``[S]`` bool.
    """

    record_index: torch.Tensor
    edge_bp: torch.Tensor
    is_reverse: torch.Tensor

    def __len__(self) -> int:
        return len(self.edge_bp)

    def take(self, chosen: torch.Tensor) -> "Sites":
        """The sites at these places, or where this is true."""
        return Sites(self.record_index[chosen], self.edge_bp[chosen], self.is_reverse[chosen])

    @classmethod
    def join(cls, parts: Sequence["Sites"]) -> "Sites":
        """All sites of several."""
        return cls(
            torch.cat([part.record_index for part in parts]),
            torch.cat([part.edge_bp for part in parts]),
            torch.cat([part.is_reverse for part in parts]),
        )


def find_motif(ids: torch.Tensor, pattern: str) -> torch.Tensor:
    """Where a pattern stands, matches that overlap included.

    Args:
        ids: ``[n]`` uint8.
        pattern: IUPAC letters; none of them stands for an N of the sequence.

    Returns:
        First base of each match, ascending, int64.

    Raises:
        ValueError: If the pattern is empty or has another letter.

    Example:
        >>> find_motif(torch.tensor([8, 5, 8, 5, 8], dtype=torch.uint8), "TW")
        tensor([0, 2])
    """
    check_shape("find_motif", "ids", ids, ("n",))
    if not pattern or not set(pattern) <= set(IUPAC):
        raise ValueError(f"find_motif: pattern must be IUPAC letters, got {pattern!r}")
    count = max(0, len(ids) - len(pattern) + 1)
    is_match = torch.ones(count, dtype=torch.bool)
    codes = torch.where(is_base(ids), ids - A_ID, len(BASES)).long()
    for offset, letter in enumerate(pattern):
        allowed = torch.tensor([base in IUPAC[letter] for base in BASES] + [False])
        is_match &= allowed[codes[offset : offset + count]]
    return is_match.nonzero()[:, 0]


def log_odds(counts: torch.Tensor) -> torch.Tensor:
    """A motif's matrix of scores: log2 of how much likelier each letter is there than one in four.

    With 0.8 pseudocounts a place, as TFBSTools (Tan & Lenhard 2016, Bioinformatics 32:1555) has it.

    Args:
        counts: ``[w, 4]`` float64: sites with A, C, G, T at each place.

    Returns:
        ``[w, 4]`` float64.
    """
    total = counts.sum(dim=1, keepdim=True) + PSEUDOCOUNTS
    return torch.log2((counts + PSEUDOCOUNTS / len(BASES)) / total * len(BASES))


def find_matrix(ids: torch.Tensor, scores: torch.Tensor, least: float) -> torch.Tensor:
    """Where a motif given by a matrix stands, matches that overlap included.

    Args:
        ids: ``[n]`` uint8; a stretch with an N does not match.
        scores: ``[w, 4]`` float64, as :func:`log_odds` gives it; a stretch scores the sum over its letters.
        least: The score of a match, in [0, 1] from the lowest that a stretch can have to the highest.

    Returns:
        First base of each match, ascending, int64.

    Raises:
        ValueError: If a shape does not fit.
    """
    check_shape("find_matrix", "ids", ids, ("n",))
    check_shape("find_matrix", "scores", scores, ("w", len(BASES)))
    low, high = scores.amin(dim=1).sum(), scores.amax(dim=1).sum()
    codes = torch.where(is_base(ids), ids - A_ID, len(BASES)).int()
    count = max(0, len(ids) - len(scores) + 1)
    total = torch.zeros(count, dtype=torch.float64)
    for offset, of_letters in enumerate(torch.nn.functional.pad(scores, (0, 1), value=-torch.inf)):
        total += of_letters[codes[offset : offset + count]]
    # The best stretch is a match at 1, however its sum is rounded.
    return (total >= low + least * (high - low) - 1e-9).nonzero()[:, 0]


def motif_sites(ids: torch.Tensor, motif: Motif, record_index: int, start_bp: int) -> Sites:
    """Where a motif's anchor lies, on either strand.

    Args:
        ids: ``[n]`` uint8 of a stretch of the forward strand.
        motif: The motif.
        record_index: The record that the stretch is of.
        start_bp: Its first base.
    """
    forward = find_motif(ids, motif.pattern) + motif.anchor
    reverse = find_motif(ids, reverse_complement(motif.pattern)) + len(motif.pattern) - motif.anchor
    edges = torch.cat([forward, reverse]) + start_bp
    is_reverse = torch.arange(len(edges)) >= len(forward)
    return Sites(torch.full_like(edges, record_index), edges, is_reverse)
