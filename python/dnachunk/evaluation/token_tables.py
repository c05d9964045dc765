"""What is printed and written of a comparison of tokenizers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dnachunk.evaluation.boundary_survival import Survival
from dnachunk.evaluation.budget_accuracy import BudgetAccuracy
from dnachunk.evaluation.jitter_agreement import JitterAgreement
from dnachunk.evaluation.kept_whole import FIGURES, Cuts, MotifCuts
from dnachunk.evaluation.run_lengths import LONGEST_RUN, TANDEM_COPIES, TANDEM_PERIODS
from dnachunk.evaluation.token_meaning import (
    ALL,
    SOFT_MASKED,
    Band,
    Profile,
    Profiles,
    TokenFigures,
    bases_per_token,
)
from dnachunk.evaluation.token_places import Counts
from dnachunk.evaluation.token_projection import TokenProjection
from dnachunk.evaluation.variant_scores import reasons_table, unknown_contigs_report
from dnachunk.evaluation.variant_stability import AGREEMENT, REASONS, VariantStability
from dnachunk.reporting import Table, finite

MIN_SITES = 10
"""Sites below which there is no profile."""

LONG_RUN_BP = 8
"""Length from which a run of one letter is said to be long."""

MOST_PLACES = 24
"""Places of a kind that are printed and drawn; all are written."""


def lengths_table(figures: Mapping[str, TokenFigures], regions: Sequence[str]) -> Table:
    """Lengths of tokens by region."""
    first = next(iter(figures.values()))
    rows = []
    for name in regions:
        bases = int(first.lengths[name].sum())
        means = [f"{bases_per_token(found.lengths[name]):.3f}" for found in figures.values()]
        rows.append([name, f"{bases:,}", *means])
    has_repeats = SOFT_MASKED in regions
    note = None if has_repeats else "There are no soft-masked bases (lower case) to compare with the others."
    return Table(["region: bases per token", "bases", *figures], rows, note)


def runs_tables(figures: Mapping[str, TokenFigures]) -> list[Table | str]:
    """Lengths of tokens in runs of one letter and in tandem runs, and what becomes of long runs."""

    def row(name: str, of_labels: Sequence[dict[str, float]]) -> list[str]:
        means = [f"{each['bases_per_token']:.3f}" for each in of_labels]
        return [name, f"{int(of_labels[0]['runs']):,}", *means]

    rows = [
        row(
            f"{length} or more" if length == LONGEST_RUN else str(length),
            [found.letters.figures(length, length) for found in figures.values()],
        )
        for length in range(1, LONGEST_RUN + 1)
    ]
    parts: list[Table | str] = [
        Table(["run of one letter: bases per token", "runs", *figures], _without_none(rows))
    ]
    rows = [
        row(f"unit of {period}", [found.tandems[period].figures(0) for found in figures.values()])
        for period in TANDEM_PERIODS
    ]
    title = f"tandem run, {TANDEM_COPIES} copies or more: bases per token"
    parts.append(Table([title, "runs", *figures], _without_none(rows)))
    first = next(iter(figures.values()))
    if not first.letters.runs[LONG_RUN_BP:].sum():
        return [*parts, f"There is no run of one letter of {LONG_RUN_BP} bp or more."]
    rows = []
    for label, found in figures.items():
        long = found.letters.figures(LONG_RUN_BP)
        chance = found.letters.uncut_by_chance(LONG_RUN_BP, 1 / bases_per_token(found.lengths[ALL]))
        verdict = "kept together" if long["uncut"] > 0.5 else "cut"
        if long["single_bases"] > 0.5:
            verdict = "cut letter by letter"
        shares = [long["uncut"], chance, long["whole"], long["single_bases"]]
        rows.append([label, *(f"{share:.1%}" for share in shares), verdict])
    runs = int(first.letters.runs[LONG_RUN_BP:].sum())
    header = ["in one token", "if cut at random", "the token is the run", "bases alone", "most are"]
    title = f"{runs:,} runs of one letter of {LONG_RUN_BP} bp or more"
    return [*parts, Table([title, *header], rows)]


def profiles_table(profiles: Profiles) -> list[Table]:
    """Boundaries at sites and where they differ most from shuffled sequence; none without a site."""

    def shown(profile: Profile, offset: int) -> list[str]:
        place = len(profile.observed.mean) // 2 + offset
        return [
            f"{band.mean[place]:.3f} ({band.low[place]:.3f}-{band.high[place]:.3f})"
            for band in (profile.observed, profile.control)
        ]

    rows = [
        [
            f"{kind} | {label}",
            f"{profile.num_sites:,}",
            *shown(profile, 0),
            f"{profile.strongest:+d}",
            *shown(profile, profile.strongest),
            f"{profile.num_apart} of {len(profile.observed.mean)}",
        ]
        for kind, curves in profiles.items()
        for label, profile in curves.items()
    ]
    if not rows:
        return []
    header = ["sites", "at the site", "shuffled", "farthest", "there", "shuffled", "apart"]
    note = (
        "apart: offsets at which the two bands do not meet; by chance one in a hundred, with fewer than "
        "50 sites up to one in twenty"
    )
    return [Table(["a token begins (95% bootstrap band over sites)", *header], rows, note)]


def survival_table(survival: Mapping[str, Survival], mutated_windows: int, mutated_window_bp: int) -> Table:
    """Boundaries that survive a mutation."""
    rows = [
        [
            name,
            f"{found.bases_per_token:.3f}",
            *(
                "none" if math.isnan(share) else f"{share:.1%}"
                for share in [*found.shares.values(), 1 / found.bases_per_token]
            ),
        ]
        for name, found in survival.items()
    ]
    kinds = next(iter(survival.values())).shares
    title = f"boundaries that survive, {mutated_windows:,} windows of {mutated_window_bp:,} bp"
    return Table([title, "bases per token", *kinds, "by chance"], rows)


def motifs_tables(motifs: Mapping[str, MotifCuts], motif_score: float) -> list[Table | str]:
    """How occurrences of motifs are cut, and which motifs are not looked at."""
    rows = [
        [
            f"{motif} | {name}",
            f"{found.num_found:,}",
            f"{found.num_sites:,}",
            *(
                text
                for index in range(len(FIGURES))
                for text in (_interval(cuts.observed, index), _interval(cuts.shuffled, index))
            ),
        ]
        for motif, found in motifs.items()
        for name, cuts in found.tokenizers.items()
    ]
    absent = [name for name, found in motifs.items() if not found.num_found]
    few = [
        f"{name} ({found.num_sites:,} of {found.num_found:,} found)"
        for name, found in motifs.items()
        if found.num_found and not found.tokenizers
    ]
    parts: list[Table | str] = []
    if rows:
        header = ["occurrences", "looked at", "tokens each", "shuffled", "in one token", "shuffled"]
        note = (
            "begin at edges: the share of the two edges of an occurrence at which a token begins; a matrix "
            f"matches from {motif_score:g} of the way from its lowest score to its highest"
        )
        title = "motif (95% interval over occurrences)"
        parts.append(Table([title, *header, "begin at edges", "shuffled"], rows, note))
    if absent:
        parts.append(f"Motifs that do not occur: {', '.join(absent)}")
    if few:
        parts.append(
            f"Motifs not looked at, {MIN_SITES} occurrences are needed away from N and the records' ends, no "
            f"longer than a quarter of a window: {', '.join(few)}"
        )
    return parts


def variants_tables(variants: VariantStability) -> list[Table | str]:
    """How alike the tokens of two alleles are, and which are not looked at."""
    sample = variants.sample
    rows = [
        [
            f"{kind} | {name}",
            f"{found.num_found:,}",
            f"{found.num_variants:,}",
            *(_interval(band, index) for index in range(len(AGREEMENT))),
        ]
        for kind, found in variants.kinds.items()
        for name, band in found.tokenizers.items()
    ]
    few = [
        f"{kind} ({found.num_variants:,})" for kind, found in variants.kinds.items() if not found.tokenizers
    ]
    parts: list[Table | str] = []
    if rows:
        title = "variant (95% bootstrap interval over variants)"
        parts.append(Table([title, "alleles", "looked at", "boundary Jaccard", "edit similarity"], rows))
    if few:
        parts.append(f"Variants not looked at, {MIN_SITES} of a kind and size are needed: {', '.join(few)}")
    if not variants.kinds:
        parts.append("There is no variant whose alleles' tokens can be compared.")
    parts += reasons_table(sample.reasons, REASONS)
    return [*parts, *unknown_contigs_report(sample.unknown_contigs, sample.num_records)]


def places_tables(places: Mapping[str, Mapping[str, Counts]], labels: Sequence[str]) -> list[Table | str]:
    """Lengths of tokens by kind of place, those with most bases."""
    parts: list[Table | str] = []
    for group, of_group in places.items():
        shown = shown_places(of_group)
        rows = [
            [
                name,
                f"{int(next(iter(of_group[name].values())).sum()):,}",
                *(f"{bases_per_token(of_group[name][label]):.3f}" for label in labels),
            ]
            for name in shown
        ]
        left_out = len(of_group) - len(shown)
        note = f"{left_out:,} others have fewer bases; results.json has all" if left_out else None
        parts.append(Table([f"{group}: bases per token", "bases", *labels], rows, note))
    return parts


def shown_places(of_group: Mapping[str, Counts]) -> list[str]:
    """The places of a kind that have most bases, at most so many as are shown, in their order."""
    bases = {name: int(next(iter(counts.values())).sum()) for name, counts in of_group.items()}
    most = set(sorted(bases, key=lambda name: -bases[name])[:MOST_PLACES])
    return [name for name in of_group if name in most]


def jitter_table(jitter: Mapping[str, JitterAgreement]) -> Table:
    """How far two passes with jitter agree."""
    rows = [
        [name, f"{found.jitter:g}", f"{len(found.passes[0]):,}", _interval(found.agreement, 0)]
        for name, found in jitter.items()
    ]
    note = "of the boundaries that either pass has inside a window, the share that both have"
    title = "two passes as in training (95% bootstrap interval over windows)"
    return Table([title, "jitter", "windows", "boundary Jaccard"], rows, note)


def accuracy_table(accuracy: Mapping[str, Sequence[BudgetAccuracy]]) -> Table:
    """Accuracy at masked bases against tokens per base."""
    rows = [
        [
            f"{name} | {each.reading}" + ("" if each.asked is None else f" {each.asked:g}"),
            f"{each.tokens_per_base:.4f}",
            f"{each.scores.masked_accuracy:.2%}",
            f"{each.scores.masked_nats:.4f}",
            f"{each.scores.masked_count:,}",
        ]
        for name, points in accuracy.items()
        for each in points
    ]
    title = "bases that show [MASK], by how tokens are decided"
    return Table([title, "tokens per base", "accuracy", "nats", "bases"], rows)


def projections_table(projections: Mapping[str, Mapping[str, TokenProjection]]) -> Table:
    """Whether tokens of one kind of place lie together."""
    rows = [
        [
            f"{name} | {of}",
            f"{len(found.places):,}",
            f"{found.neighbours_alike:.1%}",
            f"{found.by_chance:.1%}",
        ]
        for name, of_model in projections.items()
        for of, found in of_model.items()
    ]
    header = ["tokens", "nearest of another window is of the same place", "by chance"]
    return Table(["tokens on a map, by place", *header], rows)


def _interval(band: Band, index: int) -> str:
    return f"{band.mean[index]:.3f} ({band.low[index]:.3f}-{band.high[index]:.3f})"


def _without_none(rows: list[list[str]]) -> list[list[str]]:
    """The rows that count something."""
    return [row for row in rows if row[1] != "0"]


def figures_metrics(found: TokenFigures) -> dict[str, Any]:
    """Of :func:`lengths_table` and :func:`runs_tables`, for JSON, like the others."""
    return {
        "regions": {name: lengths_metrics(counts) for name, counts in found.lengths.items() if counts.sum()},
        "letter_runs": {
            length: finite_values(found.letters.figures(length, length))
            for length in range(1, LONGEST_RUN + 1)
        },
        "tandem_runs": {period: finite_values(counts.figures(0)) for period, counts in found.tandems.items()},
    }


def profile_metrics(profile: Profile) -> dict[str, Any]:
    """Of :func:`profiles_table`."""
    bands = {"observed": profile.observed, "shuffled": profile.control}
    return {
        "sites": profile.num_sites,
        "offsets_apart": profile.num_apart,
        **{
            name: {part: values.tolist() for part, values in band._asdict().items()}
            for name, band in bands.items()
        },
    }


def motif_metrics(found: MotifCuts) -> dict[str, Any]:
    """Of :func:`motifs_tables`."""

    def of_bands(cuts: Cuts) -> dict[str, Any]:
        return {name: _band_metrics(band, FIGURES) for name, band in cuts._asdict().items()}

    return {
        "occurrences": found.num_found,
        "sites": found.num_sites,
        "tokenizers": {name: of_bands(cuts) for name, cuts in found.tokenizers.items()},
    }


def variants_metrics(variants: VariantStability) -> dict[str, Any]:
    """Of :func:`variants_tables`."""
    return {
        "records": variants.sample.num_records,
        "unknown_contigs": variants.sample.unknown_contigs,
        "reasons": variants.sample.reasons,
        "kinds": {
            kind: {
                "alleles": found.num_found,
                "variants": found.num_variants,
                "tokenizers": {
                    name: _band_metrics(band, AGREEMENT) for name, band in found.tokenizers.items()
                },
            }
            for kind, found in variants.kinds.items()
        },
    }


def places_metrics(places: Mapping[str, Mapping[str, Counts]]) -> dict[str, Any]:
    """Of :func:`places_tables`."""
    return {
        group: {
            name: {label: lengths_metrics(counts) for label, counts in of_labels.items()}
            for name, of_labels in of_group.items()
        }
        for group, of_group in places.items()
    }


def lengths_metrics(counts: torch.Tensor) -> dict[str, Any]:
    """Of bases by the length of their token."""
    return {
        "bases": int(counts.sum()),
        "bases_per_token": bases_per_token(counts),
        "bases_by_token_length": counts.tolist(),
    }


def jitter_metrics(found: JitterAgreement) -> dict[str, Any]:
    """Of :func:`jitter_table`."""
    return {
        "jitter": found.jitter,
        "windows": len(found.passes[0]),
        **_band_metrics(found.agreement, ("boundary_jaccard",)),
    }


def accuracy_metrics(points: Sequence[BudgetAccuracy]) -> list[dict[str, Any]]:
    """Of :func:`accuracy_table`."""
    return [
        {
            "reading": each.reading,
            "asked": each.asked,
            "tokens_per_base": each.tokens_per_base,
            **each.scores._asdict(),
        }
        for each in points
    ]


def projection_metrics(found: TokenProjection) -> dict[str, Any]:
    """Of :func:`projections_table`, and the map."""
    return {
        "neighbours_alike": finite(found.neighbours_alike),
        "by_chance": finite(found.by_chance),
        "places": list(found.places),
        "coordinates": found.coordinates.tolist(),
    }


def _band_metrics(band: Band, names: Sequence[str]) -> dict[str, dict[str, float]]:
    return {
        name: {part: values[index].item() for part, values in band._asdict().items()}
        for index, name in enumerate(names)
    }


def finite_values(values: Mapping[Any, float]) -> dict[Any, float | None]:
    """Numbers for JSON, which knows no NaN."""
    return {name: finite(value) for name, value in values.items()}


__all__ = [
    "LONG_RUN_BP",
    "MIN_SITES",
    "MOST_PLACES",
    "accuracy_metrics",
    "accuracy_table",
    "figures_metrics",
    "finite_values",
    "jitter_metrics",
    "jitter_table",
    "lengths_metrics",
    "lengths_table",
    "motif_metrics",
    "motifs_tables",
    "places_metrics",
    "places_tables",
    "profile_metrics",
    "profiles_table",
    "projection_metrics",
    "projections_table",
    "runs_tables",
    "shown_places",
    "survival_table",
    "variants_metrics",
    "variants_tables",
]
