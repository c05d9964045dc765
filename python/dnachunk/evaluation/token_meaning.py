"""What tokens have to do with the sequence they cut: lengths by region, runs of letters, boundaries at sites.

Every count here is of bases, so that a token that lies partly in a region counts there by that part: over a
set of bases there are ``sum(1 / length of the base's token)`` tokens, and the tokens of disjoint sets add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F

from dnachunk.alphabet import N_ID
from dnachunk.data.annotation import Feature
from dnachunk.data.genome import Genome
from dnachunk.evaluation.motifs import Sites
from dnachunk.evaluation.run_lengths import RunCounts, Runs
from dnachunk.random import mix
from dnachunk.segmentation import TokenMap

ALL: Final = "all"
ELSEWHERE: Final = "elsewhere"
SOFT_MASKED: Final = "soft-masked"
NOT_SOFT_MASKED: Final = "not soft-masked"
"""Regions that all sequences have."""

DRAWS: Final = 1000
"""Bootstrap samples of a band."""

_DRAWN_AT_ONCE: Final = 1 << 22


def add_counts(counts: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
    """The sum of two histograms, the shorter of which lacks its last entries."""
    size = max(len(counts), len(more))
    return F.pad(counts, (0, size - len(counts))) + F.pad(more, (0, size - len(more)))


def token_counts(bases_by_length: torch.Tensor) -> torch.Tensor:
    """Tokens by length, ``[k]`` float64, of bases by the length of their token."""
    return bases_by_length.double() / torch.arange(len(bases_by_length)).clamp_min(1)


def bases_per_token(bases_by_length: torch.Tensor) -> float:
    """Mean length of the tokens of bases; NaN if there are none."""
    tokens = token_counts(bases_by_length).sum().item()
    return bases_by_length.sum().item() / tokens if tokens else float("nan")


def regions(
    features: Sequence[Feature], record_index: int, start_bp: int, end_bp: int
) -> dict[str, torch.Tensor]:
    """Which bases of a stretch of a record lie in features of each kind.

    Returns:
        ``[n]`` bool by kind; kinds may overlap, and those with no feature there are left out.
    """
    masks: dict[str, torch.Tensor] = {}
    for feature in features:
        first, last = max(feature.start_bp, start_bp), min(feature.end_bp, end_bp)
        if feature.record_index == record_index and first < last:
            mask = masks.setdefault(feature.kind, torch.zeros(end_bp - start_bp, dtype=torch.bool))
            mask[first - start_bp : last - start_bp] = True
    return masks


def feature_sites(features: Sequence[Feature], *, at_end: bool) -> Sites:
    """Where features start, or end, along their strands; each place once."""
    places = {
        (
            feature.record_index,
            feature.end_bp if at_end != feature.is_reverse else feature.start_bp,
            feature.is_reverse,
        )
        for feature in features
    }
    record_index, edge_bp, is_reverse = zip(*sorted(places), strict=True) if places else ((), (), ())
    return Sites(
        torch.tensor(record_index, dtype=torch.int64),
        torch.tensor(edge_bp, dtype=torch.int64),
        torch.tensor(is_reverse, dtype=torch.bool),
    )


@dataclass(frozen=True, slots=True, eq=False)
class TokenFigures:
    """What the tokens of sequences are like.

    Attributes:
        lengths: By region, bases by the length of their token.
        letters: Runs of one letter.
        tandems: Tandem runs, by their period.
    """

    lengths: Mapping[str, torch.Tensor]
    letters: RunCounts
    tandems: Mapping[int, RunCounts]

    @classmethod
    def of(
        cls, tokens: TokenMap, masks: Mapping[str, torch.Tensor], letters: Runs, tandems: Mapping[int, Runs]
    ) -> "TokenFigures":
        """Figures of one stretch.

        Args:
            tokens: Its tokens.
            masks: By region, which of its bases are in it.
            letters: Its runs of one letter.
            tandems: Its tandem runs, by their period.
        """
        return cls(
            {name: tokens.bases_by_length(mask) for name, mask in masks.items()},
            RunCounts.of(letters, tokens),
            {period: RunCounts.of(runs, tokens) for period, runs in tandems.items()},
        )

    def __add__(self, other: "TokenFigures") -> "TokenFigures":
        none = torch.zeros(1, dtype=torch.int64)
        return TokenFigures(
            {
                name: add_counts(self.lengths.get(name, none), other.lengths.get(name, none))
                for name in [*self.lengths, *(name for name in other.lengths if name not in self.lengths)]
            },
            self.letters + other.letters,
            {period: runs + other.tandems[period] for period, runs in self.tandems.items()},
        )


class SiteWindows(NamedTuple):
    """Stretches around sites, each read along its site's strand.

    Attributes:
        rows: Ids of each, int64.
        anchors: ``[S]`` int64: the base of the row behind the site.
        chosen: ``[S]`` int64: which of the sites it is.
    """

    rows: list[torch.Tensor]
    anchors: torch.Tensor
    chosen: torch.Tensor


def site_windows(
    genome: Genome, sites: Sites, window_bp: int, flank_bp: int, max_sites: int, seed: int
) -> SiteWindows:
    """Windows around sites drawn at random, the site anywhere in its window.

    So that what a model does at the same place of every window does not look like something it does at sites.
    Sites less than ``flank_bp`` from an end of their record, or with an N in their window, are not drawn.

    Args:
        genome: Where the sites lie.
        sites: The sites.
        window_bp: Bases of a window; less in a shorter record.
        flank_bp: Bases before and behind the site, at least.
        max_sites: Windows at most.
        seed: Of the draws.
    """
    order = torch.randperm(len(sites), generator=torch.Generator().manual_seed(seed)).tolist()
    rows: list[torch.Tensor] = []
    anchors: list[int] = []
    chosen: list[int] = []
    for index in order:
        record, edge_bp = int(sites.record_index[index]), int(sites.edge_bp[index])
        is_reverse = bool(sites.is_reverse[index])
        length_bp = genome.records[record].length_bp
        # One base more behind the site, so that either strand sees as many places.
        low, high = flank_bp + 1, window_bp - flank_bp - 1
        before = low + mix(seed, record, edge_bp, is_reverse) % max(1, high - low + 1)
        start_bp = max(0, min(edge_bp - before, length_bp - window_bp))
        end_bp = min(start_bp + window_bp, length_bp)
        if edge_bp - start_bp <= flank_bp or end_bp - edge_bp <= flank_bp:
            continue
        ids, _ = genome.fetch(record, start_bp, end_bp, reverse_complement=is_reverse)
        if (ids == N_ID).any():
            continue
        rows.append(ids.long())
        anchors.append(end_bp - edge_bp if is_reverse else edge_bp - start_bp)
        chosen.append(index)
        if len(rows) == max_sites:
            break
    return SiteWindows(
        rows, torch.tensor(anchors, dtype=torch.int64), torch.tensor(chosen, dtype=torch.int64)
    )


class Band(NamedTuple):
    """A mean over sites at each offset and where it lies with 95% confidence, ``[W]`` float64 each."""

    mean: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor


class Profile(NamedTuple):
    """What is around sites, and around the same sites with their letters shuffled.

    Attributes:
        num_sites: Sites.
        observed: ``[2 flank + 1]``, the site in the middle.
        control: The same of the shuffled sequence.
    """

    num_sites: int
    observed: Band
    control: Band

    @property
    def num_apart(self) -> int:
        """Offsets at which the two bands do not meet."""
        apart = (self.observed.low > self.control.high) | (self.observed.high < self.control.low)
        return int(apart.sum())

    @property
    def strongest(self) -> int:
        """The offset from the site at which the means differ most; of equals the one nearest to it."""
        difference = (self.observed.mean - self.control.mean).abs()
        offsets = (difference == difference.max()).nonzero()[:, 0] - len(difference) // 2
        return int(offsets[offsets.abs().argmin()])


Profiles = dict[str, dict[str, Profile]]
"""By kind of site, by label and what is shown of it."""


def around(values: Sequence[torch.Tensor], anchors: torch.Tensor, flank_bp: int) -> torch.Tensor:
    """``[S, 2 flank + 1]`` float64: of each row its values around its anchor."""
    return torch.stack(
        [
            row[anchor - flank_bp : anchor + flank_bp + 1].double()
            for row, anchor in zip(values, anchors.tolist(), strict=True)
        ]
    )


def bootstrap_band(values: torch.Tensor, seed: int = 0) -> Band:
    """The mean over sites, and the middle 95% of its means over resampled sites (Efron's percentiles).

    Args:
        values: ``[S, W]`` float64, S at least 1.
        seed: Of the resampling.
    """
    count = len(values)
    generator = torch.Generator().manual_seed(seed)
    # As many draws at once as do not take much memory; all one after the other are the same numbers.
    at_once = max(1, min(DRAWS, _DRAWN_AT_ONCE // count))
    means = []
    for first in range(0, DRAWS, at_once):
        drawn = torch.randint(count, (min(at_once, DRAWS - first), count), generator=generator)
        weights = torch.zeros(drawn.shape, dtype=torch.float64).scatter_add_(
            1, drawn, torch.full((1, 1), 1 / count, dtype=torch.float64).expand(drawn.shape)
        )
        means.append(weights @ values)
    low, high = torch.cat(means).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return Band(values.mean(dim=0), low, high)


def boundary_jaccard(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of the bases that begin a token in either of two segmentations, the share that do in both.

    Args:
        one: ``[n]`` bool: where tokens begin.
        other: The same of another segmentation.

    Returns:
        In [0, 1]; 1 where neither has a boundary.
    """
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 1.0


__all__ = [
    "Band",
    "Profile",
    "Profiles",
    "SiteWindows",
    "TokenFigures",
    "add_counts",
    "around",
    "bases_per_token",
    "bootstrap_band",
    "boundary_jaccard",
    "feature_sites",
    "regions",
    "site_windows",
    "token_counts",
]
