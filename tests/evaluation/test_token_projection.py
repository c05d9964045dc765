import math

import pytest
import torch

from dnachunk import DNAChunkerForMaskedLM
from dnachunk.data import Genome
from dnachunk.data.annotation import Feature
from dnachunk.evaluation.token_places import LabelledBases
from dnachunk.evaluation.token_projection import (
    MAX_PLACES,
    PlacedWindows,
    genome_windows,
    labelled_windows,
    neighbours_alike,
    project,
    project_tokens,
)
from dnachunk.inference.segmenter import Segmenter
from tests.training.runs import SMALL_CONFIGS


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    text = "".join("ACGT"[i] for i in torch.randint(4, (6000,), generator=generator).tolist())
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text(f">one\n{text[:2000]}{text[2000:4000].lower()}\n>two\n{text[4000:]}\n")
    return Genome(path)


SPANS = [(0, 0, 4000), (1, 0, 2000)]


def test_windows_lie_where_they_say(genome):
    features = [Feature(0, 500 * k, 500 * k + 200, "gene", False) for k in range(1, 8)]
    features += [Feature(0, start, start + 20, "exon", False) for start in range(500, 4000, 500)]
    found = genome_windows(genome, SPANS, features, window_bp=64, num_tokens=96, seed=1)
    # The kind of fewest bases goes before the others.
    assert found.names == ["exon", "gene", "elsewhere"]
    texts = {}
    for record in range(2):
        ids = genome.fetch(record, 0, genome.records[record].length_bp)[0].tolist()
        texts[record] = ids
    taken = []
    for row, place in zip(found.rows, found.places, strict=True):
        ((record, start),) = [
            (record, start)
            for record, ids in texts.items()
            for start in range(len(ids) - 63)
            if ids[start : start + 64] == row.tolist()
        ]
        for offset, kind in enumerate(place.tolist()):
            base = start + offset
            is_gene = record == 0 and base >= 500 and base % 500 < 200
            is_exon = record == 0 and base >= 500 and base % 500 < 20
            assert kind == (0 if is_exon else 1 if is_gene else 2)
        assert all(record != other or abs(start - first) >= 64 for other, first in taken)
        taken.append((record, start))
    # As many are drawn for each kind, as far as they do not overlap.
    assert len(found.rows) >= 8
    again = genome_windows(genome, SPANS, features, window_bp=64, num_tokens=96, seed=1)
    assert all(torch.equal(*pair) for pair in zip(found.rows, again.rows, strict=True))
    other = genome_windows(genome, SPANS, features, window_bp=64, num_tokens=96, seed=2)
    assert [row.tolist() for row in other.rows] != [row.tolist() for row in found.rows]


def test_without_features_soft_masking_tells_apart(genome):
    found = genome_windows(genome, SPANS, [], window_bp=64, num_tokens=400)
    assert found.names == ["soft-masked", "not soft-masked"]
    of_record = genome.fetch(0, 0, 4000)[0].tolist()
    masked = [row for row, place in zip(found.rows, found.places, strict=True) if (place == 0).all()]
    assert masked
    for row in masked:
        starts = [s for s in range(4000 - 63) if of_record[s : s + 64] == row.tolist()]
        assert all(start >= 2000 for start in starts)


def test_only_parts_in_the_stretches_and_most_kinds_are_looked_at(genome):
    features = [Feature(0, 0, 4000, "chromosome arm", False)]
    features += [Feature(1, 10 * k, 10 * k + k + 1, f"kind {k}", False) for k in range(1, 10)]
    spans = [(0, 1000, 1200), (1, 0, 2000)]
    found = genome_windows(genome, spans, features, window_bp=64, num_tokens=400)
    assert len(found.names) == MAX_PLACES
    assert found.names == [*(f"kind {k}" for k in range(4, 10)), "chromosome arm", "elsewhere"]


def test_classes_are_windows():
    rows = [torch.full((4,), 5), torch.full((2,), 6)]
    masks = {"a": {0: torch.tensor([1, 1, 1, 0]).bool()}, "b": {0: torch.tensor([0, 0, 1, 0]).bool()}}
    found = labelled_windows(LabelledBases(rows, masks))
    assert found.names == ["a", "b"]
    assert [place.tolist() for place in found.places] == [[0, 0, 1, -1], [-1, -1]]


def test_nearest_of_another_window_by_hand():
    # On a line: 0 and 1 of one window, 2 and 4 of another, 9 alone.
    vectors = torch.tensor([[0.0], [1.0], [2.0], [4.0], [9.0]])
    place, origin = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 1, 2])
    alike, chance = neighbours_alike(vectors, place, origin)
    # 0 -> 2 yes, 1 -> 2 yes, 2 -> 1 yes, 4 -> 1 no, 9 -> 4 yes.
    assert alike == pytest.approx(4 / 5)
    assert chance == pytest.approx((1 / 3 + 1 / 3 + 2 / 3 + 1 / 3 + 1 / 4) / 5)
    assert all(map(math.isnan, neighbours_alike(vectors, place, torch.zeros(5))))


def test_clusters_stay_clusters_on_the_plane():
    generator = torch.Generator().manual_seed(0)
    centres = 20 * torch.eye(3, 10).repeat_interleave(20, dim=0)
    vectors = centres + torch.randn(60, 10, generator=generator)
    plane = project(vectors, seed=5)
    assert plane.shape == (60, 2)
    nearest = torch.cdist(plane, plane).fill_diagonal_(torch.inf).argmin(dim=1)
    assert torch.equal(nearest // 20, torch.arange(60) // 20)
    assert torch.equal(plane, project(vectors, seed=5))
    with pytest.raises(ValueError, match=r"vectors must be \[T, D\] with T at least 4, got \[3, 10\]"):
        project(vectors[:3])


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return Segmenter.of("chunk", DNAChunkerForMaskedLM(SMALL_CONFIGS["dnachunker"]).eval())


def test_tokens_of_a_model_lie_where_their_middle_does(segmenter):
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(5, 9, (64,), generator=generator) for _ in range(6)]
    # Of each window the first half is of one place, and the rest of another but for four bases of none.
    place = torch.tensor([0] * 32 + [1] * 28 + [-1] * 4)
    windows = PlacedWindows(rows, [place] * 6, ["left", "right"])
    found = project_tokens(segmenter, windows, num_tokens=1000, batch_size=4)
    counts = {"left": 0, "right": 0}
    for row in rows:
        lengths = segmenter.model.encode_tokens(row[None]).segmentation.lengths[0].tolist()
        start = 0
        for length in lengths:
            middle = start + (length - 1) // 2
            start += length
            if place[middle] >= 0:
                counts["left" if middle < 32 else "right"] += 1
    assert {name: found.places.count(name) for name in counts} == counts
    assert found.coordinates.shape == (sum(counts.values()), 2)
    few = project_tokens(segmenter, windows, num_tokens=20, seed=1)
    assert [few.places.count(name) for name in counts] == [10, 10]
    again = project_tokens(segmenter, windows, num_tokens=20, seed=1, batch_size=1)
    torch.testing.assert_close(few.coordinates, again.coordinates, rtol=1e-3, atol=1e-3)
    assert 0 <= few.neighbours_alike <= 1
    assert few.by_chance == pytest.approx(0.5, abs=0.1)


def test_too_few_tokens_are_no_map(segmenter):
    assert project_tokens(segmenter, PlacedWindows([], [], ["a"]), num_tokens=50) is None
    rows = [torch.full((64,), 5)]
    nowhere = PlacedWindows(rows, [torch.full((64,), -1)], ["a"])
    assert project_tokens(segmenter, nowhere, num_tokens=50) is None
    row = torch.randint(5, 9, (64,), generator=torch.Generator().manual_seed(0))
    some = PlacedWindows([row], [torch.zeros(64, dtype=torch.int64)], ["a"])
    assert project_tokens(segmenter, some, num_tokens=9) is None
