import math

import pytest
import torch

from dnachunk.alphabet import reverse_complement
from dnachunk.data import Genome
from dnachunk.data.annotation import Feature
from dnachunk.evaluation.motifs import Sites
from dnachunk.evaluation.run_lengths import LONGEST_RUN, RunCounts, Runs, letter_runs, tandem_runs
from dnachunk.evaluation.token_meaning import (
    Band,
    Profile,
    TokenFigures,
    add_counts,
    around,
    bases_per_token,
    bootstrap_band,
    feature_sites,
    regions,
    site_windows,
    token_counts,
)
from dnachunk.segmentation import TokenMap


def ids_of(text):
    return torch.tensor([5 + "ACGTN".index(letter) for letter in text], dtype=torch.uint8)


def map_of(*tokens, start=0):
    """Tokens of these lengths from ``start``."""
    edges = torch.tensor([0, *tokens]).cumsum(0) + start
    return TokenMap.from_edges([edges], start, int(edges[-1]))


def test_tokens_base_by_base():
    edges = [torch.tensor([10, 13, 14]), torch.tensor([14, 16]), torch.tensor([18, 22])]
    tokens = TokenMap.from_edges(edges, 9, 20)
    assert tokens.token_bp.tolist() == [0, 3, 3, 3, 1, 2, 2, 0, 0, 4, 4]
    assert tokens.is_start.tolist() == [0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0]
    # Tokens that reach out of the stretch keep their length, and begin where they begin.
    inside = TokenMap.from_edges(edges, 11, 13)
    assert (inside.token_bp.tolist(), inside.is_start.tolist()) == ([3, 3], [0, 0])
    assert TokenMap.from_edges(edges, 30, 32).token_bp.tolist() == [0, 0]
    assert TokenMap.from_edges([], 0, 2).is_start.tolist() == [0, 0]


def test_bases_count_by_the_length_of_their_token():
    tokens = map_of(3, 1, 2)
    mask = torch.tensor([0, 1, 1, 1, 0, 1], dtype=torch.bool)
    counts = tokens.bases_by_length(mask)
    assert counts.tolist() == [0, 1, 1, 2]
    assert token_counts(counts).tolist() == pytest.approx([0, 1, 1 / 2, 2 / 3])
    assert bases_per_token(counts) == pytest.approx(4 / (1 + 1 / 2 + 2 / 3))
    # Disjoint sets add up to the tokens there are.
    rest = tokens.bases_by_length(~mask)
    assert token_counts(add_counts(counts, rest)).sum() == pytest.approx(3)
    assert math.isnan(bases_per_token(tokens.bases_by_length(torch.zeros(6, dtype=torch.bool))))


def test_regions_of_a_stretch():
    features = [
        Feature(0, 2, 5, "CDS", False),
        Feature(0, 4, 8, "gene", True),
        Feature(1, 0, 9, "tRNA", False),
    ]
    found = regions(features, 0, 3, 7)
    assert {kind: mask.int().tolist() for kind, mask in found.items()} == {
        "CDS": [1, 1, 0, 0],
        "gene": [0, 1, 1, 1],
    }


def test_features_start_and_end_along_their_strand():
    features = [Feature(0, 2, 5, "x", False), Feature(0, 4, 8, "x", True), Feature(0, 2, 9, "x", False)]
    starts, ends = (feature_sites(features, at_end=at_end) for at_end in (False, True))
    assert (starts.edge_bp.tolist(), starts.is_reverse.tolist()) == ([2, 8], [False, True])
    assert (ends.edge_bp.tolist(), ends.is_reverse.tolist()) == ([4, 5, 9], [True, False, False])
    assert len(feature_sites([], at_end=False)) == 0


def spans_of(runs):
    return list(zip(runs.starts.tolist(), runs.lengths.tolist(), strict=True))


def test_runs_of_one_letter():
    assert spans_of(letter_runs(ids_of("AAACNNNGGA"))) == [(0, 3), (3, 1), (7, 2), (9, 1)]
    assert spans_of(letter_runs(ids_of(""))) == []
    assert spans_of(letter_runs(ids_of("NN"))) == []


@pytest.mark.parametrize(
    ("text", "period", "spans"),
    [
        ("TACACACAG", 2, [(1, 7)]),
        ("ACACA", 2, []),
        ("AAAAAAAA", 2, []),
        ("ACGACGACGAC", 3, [(0, 11)]),
        ("ACACACACACACAC", 4, []),
        ("AACAACAACGTGTGT", 3, [(0, 9)]),
        ("AACAACAACGTGTGT", 2, [(9, 6)]),
        ("NCNCNC", 2, []),
        ("ACACACNACACAC", 2, [(0, 6), (7, 6)]),
        ("", 2, []),
        ("A", 3, []),
    ],
)
def test_tandem_runs(text, period, spans):
    assert spans_of(tandem_runs(ids_of(text), period)) == spans


def test_how_runs_are_cut():
    # AAAA|C|CG|GT, of which the first token is a run and the last two cut one.
    runs = letter_runs(ids_of("AAAACCGGT"))
    counts = RunCounts.of(runs, map_of(4, 1, 2, 2))
    assert counts.figures(4) == {
        "runs": 1,
        "bases_per_token": 4,
        "uncut": 1,
        "whole": 1,
        "single_bases": 0,
    }
    assert counts.figures(2, 2) == pytest.approx(
        {"runs": 2, "bases_per_token": 4 / (1 + 3 / 2), "uncut": 0, "whole": 0, "single_bases": 1 / 4}
    )
    # The T is in one token, but is none.
    assert counts.figures(1, 1) == {
        "runs": 1,
        "bases_per_token": 2,
        "uncut": 1,
        "whole": 0,
        "single_bases": 0,
    }
    assert math.isnan(counts.figures(5)["uncut"])
    twice = counts + counts
    assert twice.runs[2] == 4
    assert twice.figures(1)["bases_per_token"] == counts.figures(1)["bases_per_token"]


def test_long_runs_are_counted_together():
    runs = Runs(torch.tensor([0, 20]), torch.tensor([LONGEST_RUN, LONGEST_RUN + 4]))
    counts = RunCounts.of(runs, map_of(*[1] * 40))
    assert counts.runs[LONGEST_RUN] == 2
    assert counts.bases[LONGEST_RUN] == 2 * LONGEST_RUN + 4
    assert counts.figures(1)["single_bases"] == 1
    assert counts.uncut_by_chance(1, 0.5) == pytest.approx(0.5 ** (LONGEST_RUN - 1))


def test_figures_of_stretches_add_up():
    text, tokens = "AACCCGTGTGTGT", [2, 3, 4, 4]
    whole = map_of(*tokens)

    def figures(first, end):
        part = TokenMap(whole.is_start[first:end], whole.token_bp[first:end])
        ids = ids_of(text)[first:end]
        mask = torch.ones(end - first, dtype=torch.bool)
        masks = {"all": mask} | ({"tail": mask} if first else {})
        return TokenFigures.of(part, masks, letter_runs(ids), {2: tandem_runs(ids, 2)})

    total = figures(0, 5) + figures(5, 13)
    assert total.lengths["all"].tolist() == figures(0, 13).lengths["all"].tolist() == [0, 0, 2, 3, 8]
    assert total.lengths["tail"].tolist() == [0, 0, 0, 0, 8]
    assert torch.equal(total.letters.whole, figures(0, 13).letters.whole)
    assert total.tandems[2].figures(0)["bases_per_token"] == 4


@pytest.fixture
def genome(tmp_path):
    generator = torch.Generator().manual_seed(0)
    text = "".join("ACGT"[i] for i in torch.randint(4, (400,), generator=generator).tolist())
    (tmp_path / "genome.fa").write_text(
        f">one\n{text}\n>short\nACGTACGTACGTTTACG\n>n\n{text[:60]}NN{text[:60]}\n"
    )
    return Genome(tmp_path / "genome.fa"), text


def sites_at(record, edges, is_reverse=False):
    count = len(edges)
    return Sites(torch.full((count,), record), torch.tensor(edges), torch.full((count,), is_reverse))


@pytest.mark.parametrize("is_reverse", [False, True])
def test_windows_have_the_site_behind_their_anchor(genome, is_reverse):
    genome, text = genome
    edges = list(range(30, 370))
    rows, anchors, _ = site_windows(genome, sites_at(0, edges, is_reverse), 64, 8, 1000, seed=1)
    assert len(rows) == len(edges)
    found = []
    for row, anchor in zip(rows, anchors.tolist(), strict=True):
        letters = "".join("ACGT"[index - 5] for index in row.tolist())
        forward = reverse_complement(letters) if is_reverse else letters
        assert text.count(forward) == 1
        found.append(text.index(forward) + (len(letters) - anchor if is_reverse else anchor))
    assert sorted(found) == edges
    # Anywhere in the window, with room on either side.
    assert anchors.min() == 9
    assert anchors.max() == 64 - 9
    assert anchors.float().std() > 10


def test_sites_without_room_or_with_n_are_left_out(genome):
    genome, _ = genome

    def kept(record, edges, window_bp=64, flank_bp=8):
        rows, anchors, _ = site_windows(genome, sites_at(record, edges), window_bp, flank_bp, 100, seed=1)
        assert all(row.dtype == torch.int64 for row in rows)
        return len(anchors)

    assert kept(0, [0, 8, 9, 391, 392, 400]) == 2
    assert kept(1, [8, 9]) == 0
    assert kept(1, [8, 9], flank_bp=7) == 2
    assert kept(2, [58, 61, 64]) == 0
    assert kept(2, [20, 100], window_bp=20) == 2
    assert kept(0, []) == 0
    rows, _, _ = site_windows(genome, sites_at(0, list(range(50, 350))), 64, 8, 7, seed=1)
    assert len(rows) == 7


def test_values_around_anchors():
    values = [torch.arange(10), torch.arange(20, 28)]
    assert around(values, torch.tensor([4, 5]), 2).tolist() == [[2, 3, 4, 5, 6], [23, 24, 25, 26, 27]]


def test_bands():
    values = torch.zeros(400, 3, dtype=torch.float64)
    values[:100, 0] = 1
    values[:, 1] = 0.25
    mean, low, high = bootstrap_band(values)
    assert mean.tolist() == [0.25, 0.25, 0]
    # As the normal approximation of a binomial share has it.
    half = 1.96 * (0.25 * 0.75 / 400) ** 0.5
    assert low[0].item() == pytest.approx(0.25 - half, abs=0.006)
    assert high[0].item() == pytest.approx(0.25 + half, abs=0.006)
    assert low[1:].tolist() == pytest.approx([0.25, 0])
    assert high[1:].tolist() == pytest.approx([0.25, 0])
    again = bootstrap_band(values)
    assert torch.equal(again.low, low)
    assert bootstrap_band(values[:1]).high.tolist() == pytest.approx([1, 0.25, 0])


def test_where_a_profile_differs():
    def band(*values):
        mean = torch.tensor(values, dtype=torch.float64)
        return Band(mean, mean - 0.1, mean + 0.1)

    profile = Profile(20, band(0.5, 0.1, 0.5, 0.9, 0.5), band(0.5, 0.5, 0.35, 0.5, 0.5))
    assert profile.num_apart == 2
    assert profile.strongest == -1
    assert Profile(20, profile.control, profile.control).strongest == 0
