"""Maps of tokens: the vectors that a model gives them, on a plane, told apart by where they lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from dnachunk.alphabet import is_base
from dnachunk.data.annotation import Feature
from dnachunk.data.genome import Genome
from dnachunk.evaluation.motifs import Sites
from dnachunk.evaluation.token_meaning import (
    ELSEWHERE,
    NOT_SOFT_MASKED,
    SOFT_MASKED,
    regions,
    site_windows,
)
from dnachunk.evaluation.token_places import LabelledBases
from dnachunk.inference.segmenter import Segmenter
from dnachunk.inference.tokens import encode_rows

MIN_TOKENS = 10
"""Tokens below which there is no map."""

MAX_PLACES = 8
"""Kinds of places that a map tells apart."""

_PERPLEXITY = 30.0
# Few from each window, so that a map is not of a handful of them.
_TOKENS_OF_A_WINDOW = 8
# Places for each window that is wanted: some have an N or a window before them.
_DRAWS = 2


class PlacedWindows(NamedTuple):
    """Windows whose bases lie in kinds of places.

    Attributes:
        rows: Ids of each, ``[n]`` int64.
        places: Of each, ``[n]`` int64: the place of each base by its index in ``names``, −1 of none.
        names: The places.
    """

    rows: list[torch.Tensor]
    places: list[torch.Tensor]
    names: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class TokenProjection:
    """Tokens on a plane.

    Attributes:
        coordinates: ``[T, 2]`` float64, of no scale: what is near was near among the vectors.
        places: Of each token the place.
        neighbours_alike: Share of the tokens whose nearest token of another window, by the vectors'
            Euclidean distance, is of the same place.
        by_chance: The same of a token of another window drawn at random.
    """

    coordinates: torch.Tensor
    places: Sequence[str]
    neighbours_alike: float
    by_chance: float


def project(vectors: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
    """Puts vectors on a plane by t-SNE (van der Maaten & Hinton 2008), as scikit-learn computes it.

    From the first two principal components on, with a perplexity of 30, or less for fewer than 91 vectors.

    Args:
        vectors: ``[T, D]`` floating point, T at least 4.
        seed: Of what scikit-learn draws; the same seed and vectors give the same plane.

    Returns:
        ``[T, 2]`` float64.

    Raises:
        ValueError: On fewer vectors, or another shape.
    """
    if vectors.dim() != 2 or len(vectors) < 4:
        raise ValueError(f"project: vectors must be [T, D] with T at least 4, got {list(vectors.shape)}")
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed % 2**32)
    return torch.from_numpy(tsne.fit_transform(vectors.double().numpy())).double()


def genome_windows(
    genome: Genome,
    spans: Sequence[tuple[int, int, int]],
    features: Sequence[Feature],
    *,
    window_bp: int,
    num_tokens: int,
    seed: int = 0,
) -> PlacedWindows:
    """Draws windows of a genome, around features of each kind and elsewhere.

    A base in features of several kinds is of the kind with fewest bases. Of more than seven kinds those
    with most bases count. No two windows overlap: a token's neighbours are not itself, read once more.

    Args:
        genome: The genome.
        spans: Record, first base and base after the last of where windows are drawn.
        features: Features that have bases there; without any, soft-masked bases and others are told apart.
        window_bp: Bases of a window.
        num_tokens: Tokens that are wanted.
        seed: Of the draws.
    """
    bounds = {record: (start_bp, end_bp) for record, start_bp, end_bp in spans}
    kinds: dict[str, list[Feature]] = {}
    for each in features:
        low, high = bounds[each.record_index]
        part = each._replace(start_bp=max(low, each.start_bp), end_bp=min(high, each.end_bp))
        kinds.setdefault(each.kind, []).append(part)
    sizes = {kind: sum(each.end_bp - each.start_bp for each in found) for kind, found in kinds.items()}
    # The smallest first, which go before the others.
    names = sorted(sorted(sizes, key=sizes.__getitem__)[-(MAX_PLACES - 1) :], key=sizes.__getitem__)
    shown = [each for name in names for each in kinds[name]]
    per_kind = -(-num_tokens // ((len(names) + 1) * _TOKENS_OF_A_WINDOW))
    generator = torch.Generator().manual_seed(seed)

    def sites(stretches: Sequence[tuple[int, int, int]], weights: torch.Tensor) -> Sites:
        count = _DRAWS * per_kind
        drawn = torch.multinomial(weights.double(), count, replacement=True, generator=generator)
        share = torch.rand(len(drawn), generator=generator).tolist()
        chosen = [stretches[index] for index in drawn.tolist()]
        places = [
            start_bp + int(part * (end_bp - start_bp))
            for part, (_, start_bp, end_bp) in zip(share, chosen, strict=True)
        ]
        record_index = torch.tensor([record for record, _, _ in chosen])
        return Sites(record_index, torch.tensor(places), torch.zeros(len(chosen), dtype=torch.bool))

    rows: list[torch.Tensor] = []
    places: list[torch.Tensor] = []
    drawn = [sites([each[:3] for each in kinds[name]], torch.ones(len(kinds[name]))) for name in names]
    drawn.append(sites(spans, torch.tensor([end_bp - start_bp for _, start_bp, end_bp in spans])))
    taken: dict[int, list[tuple[int, int]]] = {}
    others = [ELSEWHERE] if names else [SOFT_MASKED, NOT_SOFT_MASKED]
    for of_kind in drawn:
        found, anchors, chosen = site_windows(genome, of_kind, window_bp, 0, per_kind, seed)
        for row, anchor, site in zip(found, anchors.tolist(), chosen.tolist(), strict=True):
            record, start_bp = int(of_kind.record_index[site]), int(of_kind.edge_bp[site]) - anchor
            stretch = record, start_bp, start_bp + len(row)
            of_record = taken.setdefault(record, [])
            if any(first < stretch[2] and start_bp < last for first, last in of_record):
                continue
            of_record.append(stretch[1:])
            masks = regions(shown, *stretch)
            place = torch.full((len(row),), len(names))
            if not names:
                place[~genome.fetch(*stretch)[1]] = 1
            for index, name in reversed(list(enumerate(names))):
                if name in masks:
                    place[masks[name]] = index
            rows.append(row)
            places.append(place)
    return PlacedWindows(rows, places, [*names, *others])


def labelled_windows(labelled: LabelledBases) -> PlacedWindows:
    """Labelled sequences as windows; of several classes of a base the last counts.

    Of more than eight classes the first eight are told apart.
    """
    names = list(labelled.classes)[:MAX_PLACES]
    places = [torch.full((len(row),), -1) for row in labelled.rows]
    for index, name in enumerate(names):
        for row, mask in labelled.classes[name].items():
            places[row][mask] = index
    return PlacedWindows(labelled.rows, places, names)


def project_tokens(
    segmenter: Segmenter, windows: PlacedWindows, *, num_tokens: int, seed: int = 0, batch_size: int = 8
) -> TokenProjection | None:
    """Puts tokens of a model on a plane, as many of each place, drawn at random (MxDNA, Figure 5).

    A token lies where its middle base does; its vector is what ``dnachunk embed --per token`` gives.

    Args:
        segmenter: A model with vectors.
        windows: What it reads.
        num_tokens: Tokens that are drawn, at most.
        seed: Of the draws and of the plane.
        batch_size: Windows run at once.

    Returns:
        The plane; None if there are fewer than ten tokens.
    """
    vectors: list[torch.Tensor] = []
    places: list[torch.Tensor] = []
    origins: list[torch.Tensor] = []
    for first in range(0, len(windows.rows), batch_size):
        batch = windows.rows[first : first + batch_size]
        encoded = encode_rows(segmenter.model, batch, tokens_per_base=segmenter.tokens_per_base, vectors=True)
        assert encoded.vectors is not None
        starts, lengths = encoded.segmentation.starts.cpu(), encoded.segmentation.lengths.cpu()
        for row, count in enumerate(encoded.segmentation.num_tokens.tolist()):
            middle = starts[row, :count] + (lengths[row, :count] - 1) // 2
            is_letter = is_base(batch[row])[middle]
            place = torch.where(is_letter, windows.places[first + row][middle], -1)
            vectors.append(encoded.vectors[row, :count].float().cpu())
            places.append(place)
            origins.append(torch.full((count,), first + row))
    if not vectors:
        return None
    place, origin = torch.cat(places), torch.cat(origins)
    chosen = _draw(place, len(windows.names), num_tokens, seed)
    if len(chosen) < MIN_TOKENS:
        return None
    drawn, place, origin = torch.cat(vectors)[chosen], place[chosen], origin[chosen]
    alike, by_chance = neighbours_alike(drawn, place, origin)
    return TokenProjection(
        project(drawn, seed=seed), [windows.names[index] for index in place.tolist()], alike, by_chance
    )


def _draw(place: torch.Tensor, num_places: int, count: int, seed: int) -> torch.Tensor:
    """Indices of tokens, at most ``count``, as many of each place as there are, in their order."""
    generator = torch.Generator().manual_seed(seed)
    of_places = [(place == index).nonzero()[:, 0] for index in range(num_places)]
    present = [found[torch.randperm(len(found), generator=generator)] for found in of_places if len(found)]
    if not present:
        return place.new_zeros(0)
    return torch.cat([found[: max(1, count // len(present))] for found in present]).sort().values


def neighbours_alike(vectors: torch.Tensor, place: torch.Tensor, origin: torch.Tensor) -> tuple[float, float]:
    """Share of the tokens whose nearest token of another window is of the same place, and that by chance.

    Args:
        vectors: ``[T, D]`` floating point.
        place: ``[T]`` int64.
        origin: ``[T]`` int64: the window of each token.

    Returns:
        Both shares, over the tokens that have one of another window; NaN where there is none. Of equally near
        ones the first counts.
    """
    is_other = origin[:, None] != origin
    is_alike = (place[:, None] == place) & is_other
    has_other = is_other.any(dim=1)
    distances = torch.cdist(vectors.double(), vectors.double()).masked_fill(~is_other, torch.inf)
    nearest = distances.argmin(dim=1)
    alike = (place[nearest] == place)[has_other].double().mean().item()
    chance = is_alike.sum(dim=1)[has_other] / is_other.sum(dim=1)[has_other]
    return alike, chance.double().mean().item()


__all__ = [
    "PlacedWindows",
    "TokenProjection",
    "genome_windows",
    "labelled_windows",
    "neighbours_alike",
    "project",
    "project_tokens",
]
