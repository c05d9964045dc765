"""Boundaries around motifs, and around where features start and end, beside shuffled sequence."""

from collections.abc import Mapping, Sequence

import torch

from dnachunk.data.annotation import Feature
from dnachunk.data.genome import Genome
from dnachunk.data.shuffle import dinucleotide_shuffle
from dnachunk.evaluation.motifs import Sites
from dnachunk.evaluation.token_meaning import (
    Profile,
    Profiles,
    around,
    bootstrap_band,
    feature_sites,
    site_windows,
)
from dnachunk.evaluation.token_tables import MIN_SITES
from dnachunk.inference.segmenter import Segmenter
from dnachunk.random import mix
from dnachunk.reporting import progress

FLANK_BP = 50
"""Bases that a profile shows on either side of a site."""


def edges_of_features(features: Sequence[Feature], spans: Sequence[tuple[int, int, int]]) -> dict[str, Sites]:
    """Starts and ends of each kind of feature, inside the spans."""
    bounds = {record: (start_bp, end_bp) for record, start_bp, end_bp in spans}
    found = {}
    for kind in dict.fromkeys(sorted(each.kind for each in features)):
        for name, at_end in (("start", False), ("end", True)):
            sites = feature_sites([each for each in features if each.kind == kind], at_end=at_end)
            is_inside = [
                bounds[index][0] <= edge_bp <= bounds[index][1]
                for index, edge_bp in zip(sites.record_index.tolist(), sites.edge_bp.tolist(), strict=True)
            ]
            found[f"{kind} {name}"] = sites.take(torch.tensor(is_inside, dtype=torch.bool))
    return found


def boundary_profiles(
    genome: Genome,
    sites: Mapping[str, Sites],
    segmenters: Sequence[Segmenter],
    max_sites: int,
    seed: int,
    batch_size: int,
    few_sites: list[str],
) -> Profiles:
    """Boundaries around each kind of site, along its strand, beside the same stretches shuffled.

    Args:
        genome: Where the sites lie.
        sites: By kind.
        segmenters: What cuts windows around them.
        max_sites: Sites of a kind that are looked at, drawn at random.
        seed: Of draws, shuffling and resampling.
        batch_size: Windows run at once.
        few_sites: Gets the kinds of which there are too few, and how many there are.

    Returns:
        By kind, by segmentation; of the finest its probabilities too, if it has any.
    """
    profiles: Profiles = {}
    flank_bp = min([FLANK_BP, *(each.window_bp // 4 for each in segmenters)])
    with progress(len(sites) * len(segmenters), "profiles", "profiles") as advance:
        for kind, of_kind in sites.items():
            curves: dict[str, Profile] = {}
            for segmenter in segmenters:
                rows, anchors, _ = site_windows(
                    genome, of_kind, segmenter.window_bp, flank_bp, max_sites, seed
                )
                advance(1)
                if len(rows) < MIN_SITES:
                    few_sites.append(f"{kind} ({len(rows)} of {len(of_kind)} found)")
                    break
                shuffled = []
                for index, (row, anchor) in enumerate(zip(rows, anchors.tolist(), strict=True)):
                    shown = slice(anchor - flank_bp, anchor + flank_bp + 1)
                    control = row.clone()
                    control[shown] = dinucleotide_shuffle(row[shown], mix(seed, index))
                    shuffled.append(control)
                bands = []
                for version in (rows, shuffled):
                    found, probabilities = zip(*segmenter.cut_rows(version, batch_size), strict=True)
                    values = dict(zip(segmenter.labels, zip(*found, strict=True), strict=True))
                    if segmenter.has_probability:
                        values[f"{segmenter.labels[0]}, probability"] = probabilities
                    bands.append(
                        {
                            label: bootstrap_band(around(of_label, anchors, flank_bp), seed)
                            for label, of_label in values.items()
                        }
                    )
                observed, controls = bands
                curves |= {
                    label: Profile(len(rows), band, controls[label]) for label, band in observed.items()
                }
            else:
                profiles[kind] = curves
    return profiles


__all__ = ["FLANK_BP", "boundary_profiles", "edges_of_features"]
