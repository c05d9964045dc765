import math
import re

import pytest
import torch

from dnachunk.alphabet import reverse_complement
from dnachunk.data import Genome
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.boundary_survival import kmer_boundaries, text_boundaries
from dnachunk.evaluation.kept_whole import (
    ALL_MOTIFS,
    cut_figures,
    exact_interval,
    find_occurrences,
    motif_cuts,
)
from dnachunk.evaluation.motifs import find_matrix, log_odds
from tests.evaluation.test_motifs import ids_of

WINDOW_BP = 64


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """Two records, and their text."""
    generator = torch.Generator().manual_seed(4)
    text = "".join("ACGT"[i] for i in torch.randint(4, (3000,), generator=generator).tolist())
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text(f">one\n{text[:2000]}NN{text[2000:]}\n>two\n{text[:300]}\n")
    return Genome(path), [text[:2000] + "NN" + text[2000:], text[:300]]


def spans_of(genome):
    return [(index, 0, record.length_bp) for index, record in enumerate(genome.records)]


def stretches(occurrences):
    """``(record, start, end, is_reverse)`` of each."""
    sites, lengths = occurrences
    columns = (sites.record_index, sites.edge_bp, sites.is_reverse, lengths)
    return [
        (record, edge - length, edge, True) if is_reverse else (record, edge, edge + length, False)
        for record, edge, is_reverse, length in zip(*(column.tolist() for column in columns), strict=True)
    ]


def slow_score(counts, letters):
    """Score of a stretch, from 0, the lowest there is, to 1."""
    rows = [[math.log2((count + 0.2) / (sum(row) + 0.8) / 0.25) for count in row] for row in counts]
    low, high = sum(map(min, rows)), sum(map(max, rows))
    score = sum(row["ACGT".index(letter)] for row, letter in zip(rows, letters, strict=True))
    return (score - low) / (high - low)


COUNTS = [[9.0, 1, 0, 0], [0, 3, 5, 2], [0, 0, 0, 10], [2.5, 2.5, 2.5, 2.5], [0, 0, 9, 1]]


@pytest.mark.parametrize("least", [0, 0.6, 0.8, 1])
def test_matrices_match_where_their_score_says(genome, least):
    text = genome[1][0]
    scores = log_odds(torch.tensor(COUNTS, dtype=torch.float64))
    expected = [
        start
        for start in range(len(text) - 4)
        if "N" not in text[start : start + 5] and slow_score(COUNTS, text[start : start + 5]) >= least - 1e-9
    ]
    assert expected
    assert find_matrix(ids_of(text), scores, least).tolist() == expected
    assert find_matrix(ids_of("ACG"), scores, least).tolist() == []


def test_patterns_and_matrices_on_either_strand(genome, tmp_path):
    genome, texts = genome
    (tmp_path / "m.pfm").write_text(
        ">odd one\n" + "".join(" ".join(map(str, row)) + "\n" for row in zip(*COUNTS, strict=True))
    )
    found = find_occurrences(
        genome, spans_of(genome), ["acgk", "cut=GATC", "AUW", tmp_path / "m.pfm", "GGGGGGGGGGGG"], 0.8
    )
    assert list(found) == ["acgk".upper(), "cut", "ATW", "odd one", "GGGGGGGGGGGG"]
    for name, width, letters in (("ACGK", 4, "ACG[GT]"), ("cut", 4, "GATC"), ("ATW", 3, "AT[AT]")):
        expected = set()
        for record, text in enumerate(texts):
            for start in range(len(text) - width + 1):
                piece = text[start : start + width]
                if re.fullmatch(letters, piece):
                    expected.add((record, start, start + width, False))
                elif re.fullmatch(letters, reverse_complement(piece)):
                    expected.add((record, start, start + width, True))
        assert len(found[name].lengths) == len(expected) > 5
        assert set(stretches(found[name])) == expected
    # A palindrome is on both strands, and counts once.
    assert not found["cut"].sites.is_reverse.any()
    for record, start, end, is_reverse in stretches(found["odd one"]):
        piece = texts[record][start:end]
        piece = reverse_complement(piece) if is_reverse else piece
        assert slow_score(COUNTS, piece) >= 0.8 - 1e-9
    assert found["odd one"].sites.is_reverse.any()
    assert len(found["GGGGGGGGGGGG"].lengths) == 0


def test_places_of_a_bed_file(genome, tmp_path):
    genome, _ = genome
    names = "".join(f"one\t{start}\t{start + 9}\tTF{start}\t0\t-\n" for start in range(100, 120))
    path = tmp_path / "sites.bed"
    path.write_text(names + "two\t5\t9\ntwo\t7\t7\tempty\none\t100\t109\tTF100\none\t10\t20\tTF100\n")
    found = find_occurrences(genome, [(0, 50, 500), (1, 0, 300)], [path], 0.8)
    assert list(found) == [*(f"TF{start}" for start in range(100, 120)), "sites", "empty"]
    # One place is listed twice, and another lies outside.
    assert stretches(found["TF100"]) == [(0, 100, 109, True)]
    assert stretches(found["sites"]) == [(1, 5, 9, False)]
    assert stretches(found["empty"]) == []


@pytest.mark.parametrize(
    ("motifs", "said"),
    [
        (["TATAXX"], "got 'TATAXX': 'X' is no IUPAC letter"),
        ([""], "motif must be IUPAC letters, NAME=LETTERS, or a file that ends in .meme"),
        (["name="], "motif must be IUPAC letters"),
        (["=ACG"], "motif must be IUPAC letters"),
        (["motifs.txt"], "'O' is no IUPAC letter"),
        (["ACG", "acg"], "every motif must have a name of its own, got 'ACG' twice"),
        ([f"{ALL_MOTIFS}=ACG"], "every motif must have a name of its own, got 'all motifs' twice"),
    ],
)
def test_bad_motifs(genome, motifs, said):
    with pytest.raises(ArgumentError, match=said):
        find_occurrences(genome[0], spans_of(genome[0]), motifs, 0.8)


def test_figures_of_a_stretch():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        starts = torch.rand(30, generator=generator) < 0.3
        starts[0] = True
        token_of = starts.cumsum(0).tolist()
        for anchor in range(1, 20):
            for length in (1, 2, 7):
                tokens = len(set(token_of[anchor : anchor + length]))
                edges = [starts[place].item() for place in (anchor, anchor + length)]
                found = cut_figures(starts, anchor, length).tolist()
                assert found == [tokens, tokens == 1, sum(edges) / 2]


def cuts_of(genome, motifs, tokenizers, **options):
    given = {"window_bp": WINDOW_BP, "flank_bp": 8, "min_sites": 5, "max_sites": 10_000, "seed": 0}
    occurrences = find_occurrences(genome, spans_of(genome), motifs, 0.8)
    cuts = motif_cuts(genome, occurrences, tokenizers, advance=lambda _: None, **given | options)
    return occurrences, cuts


def around_motif(text):
    """Tokens of a tokenizer that knows GATC and single letters."""
    return re.findall("GATC|.", text)


def test_a_tokenizer_that_knows_the_motif_keeps_it_whole(genome):
    genome, _ = genome
    tokenizers = {"knows": text_boundaries(around_motif), "letters": kmer_boundaries(1)}
    occurrences, cuts = cuts_of(genome, ["GATC", "CCGG", "ACGTACGTACGT"], tokenizers)
    found = cuts["GATC"]
    assert found.num_found == len(occurrences["GATC"].lengths) >= found.num_sites > 5
    assert found.tokenizers["knows"].observed.mean.tolist() == [1, 1, 1]
    assert found.tokenizers["letters"].observed.mean.tolist() == [4, 0, 1]
    shuffled = found.tokenizers["knows"].shuffled.mean
    assert shuffled[0] > 2
    assert shuffled[1] < 0.5
    assert found.tokenizers["letters"].shuffled.mean.tolist() == [4, 0, 1]
    low, high = exact_interval(found.num_sites, found.num_sites)
    assert (found.tokenizers["knows"].observed.low[1], high) == (pytest.approx(low), 1)
    assert cuts["CCGG"].tokenizers["knows"].observed.mean[0] == 4
    assert (cuts["ACGTACGTACGT"].num_found, dict(cuts["ACGTACGTACGT"].tokenizers)) == (0, {})
    both = cuts[ALL_MOTIFS]
    sites = [cuts[name].num_sites for name in ("GATC", "CCGG")]
    assert both.num_sites == sum(sites)
    expected = (sites[0] * 1 + sites[1] * 4) / sum(sites)
    assert both.tokenizers["knows"].observed.mean[0].item() == pytest.approx(expected)
    assert cuts_of(genome, ["GATC", "CCGG"], tokenizers)[1][ALL_MOTIFS].tokenizers[
        "knows"
    ].shuffled.low.tolist() == pytest.approx(both.tokenizers["knows"].shuffled.low.tolist())


def test_words_cut_motifs_by_their_frame(genome):
    """A word of k letters whose window begins anywhere cuts a motif of w in 1 + (w - 1) / k on average."""
    genome, _ = genome
    _, cuts = cuts_of(genome, ["NNNNNN"], {"6mer": kmer_boundaries(6)}, window_bp=100)
    observed = cuts["NNNNNN"].tokenizers["6mer"].observed
    assert observed.mean.tolist() == pytest.approx([1 + 5 / 6, 1 / 6, 1 / 6], abs=0.04)
    assert (observed.low <= observed.mean).all()
    assert (observed.mean <= observed.high).all()
    assert ALL_MOTIFS not in cuts


def test_long_and_few_occurrences_are_not_looked_at(genome, tmp_path):
    genome, _ = genome
    lines = [f"one\t{start}\t{start + 17}\tlong\n" for start in range(100, 400, 10)]
    lines += [f"one\t{start}\t{start + 16}\tfits\n" for start in range(100, 400, 10)]
    lines += [f"one\t{start}\t{start + 4}\tedge\n" for start in range(6)]
    (tmp_path / "s.bed").write_text("".join(lines))
    _, cuts = cuts_of(genome, [tmp_path / "s.bed"], {"6mer": kmer_boundaries(6)}, max_sites=12)
    numbers = {name: (found.num_found, found.num_sites) for name, found in cuts.items()}
    assert numbers == {"long": (30, 0), "fits": (30, 12), "edge": (6, 0)}
    assert [name for name, found in cuts.items() if found.tokenizers] == ["fits"]


@pytest.mark.parametrize(
    ("count", "total"), [(0, 1), (1, 1), (0, 36), (36, 36), (3, 10), (50, 200), (7, 5000)]
)
def test_exact_intervals(count, total):
    beta = pytest.importorskip("scipy.stats").beta
    low = beta.ppf(0.025, count, total - count + 1) if count else 0
    high = beta.ppf(0.975, count + 1, total - count) if count < total else 1
    assert exact_interval(count, total) == pytest.approx((low, high), abs=1e-9)
