"""Runs of one letter and tandem runs in sequences, and how they are cut into tokens."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F

from dnachunk.alphabet import is_base
from dnachunk.segmentation import TokenMap

LONGEST_RUN: Final = 16
"""Runs of one letter as long as this or longer are counted together."""

TANDEM_PERIODS: Final = (2, 3, 4, 5, 6)
TANDEM_COPIES: Final = 3
"""Copies of a unit in a row from which they are a tandem run."""


class Runs(NamedTuple):
    """Stretches of a sequence: first base and length of each, ``[R]`` int64."""

    starts: torch.Tensor
    lengths: torch.Tensor


def letter_runs(ids: torch.Tensor) -> Runs:
    """The longest runs of one letter, those of a single one too, of A, C, G and T.

    Args:
        ids: ``[n]``.

    Example:
        >>> letter_runs(torch.tensor([5, 5, 9, 8, 8, 8]))
        Runs(starts=tensor([0, 3]), lengths=tensor([2, 3]))
    """
    edges = F.pad(ids.long(), (1, 1), value=-1).diff().nonzero()[:, 0]
    runs = Runs(edges[:-1], edges.diff())
    chosen = is_base(ids[runs.starts])
    return Runs(runs.starts[chosen], runs.lengths[chosen])


def tandem_runs(ids: torch.Tensor, period: int) -> Runs:
    """The longest runs of three or more copies of a unit, the last of which may be cut short.

    A unit that is itself copies of a shorter one does not count.

    Args:
        ids: ``[n]``.
        period: Bases of the unit, 2 or more.

    Example:
        >>> tandem_runs(torch.tensor([8, 5, 6, 5, 6, 5, 6, 5, 7]), 2)
        Runs(starts=tensor([1]), lengths=tensor([7]))
    """
    is_repeated = (ids[period:] == ids[:-period]) & is_base(ids[period:])
    edges = F.pad(is_repeated.to(torch.int8), (1, 1)).diff().nonzero()[:, 0]
    starts, lengths = edges[::2], edges[1::2] - edges[::2] + period
    is_long = lengths >= TANDEM_COPIES * period
    starts, lengths = starts[is_long], lengths[is_long]
    units = ids[starts[:, None] + torch.arange(period)]
    is_own = torch.ones(len(starts), dtype=torch.bool)
    for shorter in range(1, period):
        if period % shorter == 0:
            is_own &= (units != units.roll(-shorter, dims=1)).any(dim=1)
    return Runs(starts[is_own], lengths[is_own])


@dataclass(slots=True, eq=False)
class RunCounts:
    """How runs are cut into tokens, by their length up to :data:`LONGEST_RUN` (and longer ones there).

    Attributes:
        runs: ``[17]`` float64, like all others: how many there are.
        bases: Bases of them.
        tokens: Tokens of these bases.
        uncut: Runs in which no token begins behind their first base.
        whole: Runs that are a token, no more and no less.
        single_bases: Bases of them that are a token.
    """

    runs: torch.Tensor
    bases: torch.Tensor
    tokens: torch.Tensor
    uncut: torch.Tensor
    whole: torch.Tensor
    single_bases: torch.Tensor

    @classmethod
    def of(cls, runs: Runs, tokens: TokenMap) -> "RunCounts":
        """Counts the runs of one stretch, and their tokens."""
        starts, lengths = runs
        ends = starts + lengths
        # Whatever follows, a token ends where the stretch does.
        begun = F.pad(tokens.is_start.long(), (0, 1), value=1)
        begun_before = F.pad(begun.cumsum(0), (1, 0))
        inverse = F.pad((1 / tokens.token_bp.clamp_min(1).double()).cumsum(0), (1, 0))
        single = F.pad((tokens.token_bp == 1).cumsum(0), (1, 0))
        is_uncut = begun_before[ends] == begun_before[starts + 1]
        is_whole = is_uncut & (begun[starts] > 0) & (begun[ends] > 0)
        group = lengths.clamp(max=LONGEST_RUN)

        def total(values: torch.Tensor) -> torch.Tensor:
            return torch.zeros(LONGEST_RUN + 1, dtype=torch.float64).index_add(0, group, values.double())

        return cls(
            runs=total(torch.ones_like(group)),
            bases=total(lengths),
            tokens=total(inverse[ends] - inverse[starts]),
            uncut=total(is_uncut),
            whole=total(is_whole),
            single_bases=total(single[ends] - single[starts]),
        )

    def __add__(self, other: "RunCounts") -> "RunCounts":
        return RunCounts(
            self.runs + other.runs,
            self.bases + other.bases,
            self.tokens + other.tokens,
            self.uncut + other.uncut,
            self.whole + other.whole,
            self.single_bases + other.single_bases,
        )

    def uncut_by_chance(self, length: int, boundary_frequency: float) -> float:
        """The share of runs of at least this length that would be uncut if each base began a token alike.

        Args:
            length: The least length.
            boundary_frequency: Chance that a base begins a token.
        """
        inner = torch.arange(LONGEST_RUN + 1, dtype=torch.float64).sub(1).clamp_min(0)
        chance = (1 - boundary_frequency) ** inner
        return ((chance * self.runs)[length:].sum() / self.runs[length:].sum()).item()

    def figures(self, shortest: int, longest: int = LONGEST_RUN) -> dict[str, float]:
        """Figures of all runs of these lengths.

        Returns:
            ``runs``, ``bases_per_token``, of the runs the shares ``uncut`` and ``whole``, and of their bases
            the share ``single_bases``; NaN where there is no run.
        """
        chosen = slice(shortest, longest + 1)
        runs, bases = self.runs[chosen].sum(), self.bases[chosen].sum()
        return {
            "runs": runs.item(),
            "bases_per_token": (bases / self.tokens[chosen].sum()).item(),
            "uncut": (self.uncut[chosen].sum() / runs).item(),
            "whole": (self.whole[chosen].sum() / runs).item(),
            "single_bases": (self.single_bases[chosen].sum() / bases).item(),
        }


__all__ = ["RunCounts", "Runs", "letter_runs", "tandem_runs"]
