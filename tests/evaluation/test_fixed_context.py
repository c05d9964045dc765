import math
from pathlib import Path

import pytest
import torch

from dnachunk.alphabet import A_ID, CLS_ID, IGNORE_INDEX, MASK_ID, N_ID, PAD_ID, T_ID
from dnachunk.data.genome import Genome
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.evaluation import FixedContextModel, best_fixed_context, fixed_context, letter_frequency_scores

YEAST = Path(__file__).parents[2] / "../shared/data/genomes/yeast_s288c_r64/yeast_s288c_r64.fa.gz"
IDS = {"A": 5, "C": 6, "G": 7, "T": 8, "N": 9, "?": MASK_ID, ".": PAD_ID}


def sequence(text):
    return torch.tensor([IDS[letter] for letter in text], dtype=torch.uint8)


def shown(text):
    return sequence(text).long()[None]


def probabilities(model, text):
    return model.predict(shown(text))[0].exp()


def assert_smoothed(got, counts):
    expected = (torch.tensor(counts, dtype=torch.float64) + 0.5) / (sum(counts) + 2)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=0)


def random_sequence(length, num_unknown=0):
    ids = torch.randint(A_ID, T_ID + 1, (length,), dtype=torch.uint8)
    ids[torch.randperm(length)[:num_unknown]] = N_ID
    return ids


def reverse_complement(text):
    return text[::-1].translate(str.maketrans("ACGT", "TGCA"))


def test_literal():
    # A?C: positions 0, 2, 4 of ACACAC lie left of a C, 2 and 4 right of one too.
    model = FixedContextModel.fit([sequence("ACACAC")], 1, both_strands=False)
    for text, counts in [
        ("C?C", [2, 0, 0, 0]),
        ("A?A", [0, 2, 0, 0]),
        ("C??", [2, 0, 0, 0]),
        ("A??", [0, 3, 0, 0]),
        ("??C", [3, 0, 0, 0]),
        ("N?C", [3, 0, 0, 0]),
        ("???", [3, 3, 0, 0]),
        ("G?G", [0, 0, 0, 0]),
        ("C?.", [2, 0, 0, 0]),
    ]:
        assert_smoothed(probabilities(model, text)[1], counts)
    # Outside the sequence is unknown; what a position shows is not read.
    assert_smoothed(probabilities(model, "AC")[0], [3, 0, 0, 0])


def test_literal_both_strands():
    # AACG and its complement CGTT: every letter twice; left of G stands C on both.
    sequences = [sequence("AACG")]
    assert FixedContextModel.fit(sequences, 0).counts.tolist() == [2, 2, 2, 2]
    assert FixedContextModel.fit(sequences, 0, both_strands=False).counts.tolist() == [2, 1, 1, 0]
    model = FixedContextModel.fit(sequences, 1)
    for text, counts in [("??G", [0, 2, 0, 0]), ("C?T", [0, 0, 1, 0]), ("A??", [1, 1, 0, 0])]:
        assert_smoothed(probabilities(model, text)[1], counts)


@pytest.mark.parametrize("width", [1, 2])
def test_marginals_by_brute_force(width):
    texts = ["".join("ACGTN"[i] for i in torch.randint(0, 5, (60,))) for _ in range(3)]
    strands = [*texts, *map(reverse_complement, texts)]
    query = "".join("ACGTACGT??N"[i] for i in torch.randint(0, 11, (80,)))
    offsets = [offset for offset in range(-width, width + 1) if offset != 0]

    def neighbours(text, position):
        around = [position + offset for offset in offsets]
        return [text[i] if 0 <= i < len(text) and text[i] in "ACGT" else None for i in around]

    model = FixedContextModel.fit(map(sequence, texts), width)
    got = probabilities(model, query)
    for position in range(len(query)):
        context = neighbours(query, position)
        counts = [0, 0, 0, 0]
        for text in strands:
            for center, base in enumerate(text):
                fits = all(
                    want in (None, have) for want, have in zip(context, neighbours(text, center), strict=True)
                )
                if fits and base in "ACGT":
                    counts["ACGT".index(base)] += 1
        assert_smoothed(got[position], counts)


def test_unknown_neighbours_are_summed_over_every_filling():
    model = FixedContextModel.fit([random_sequence(5000)], 2)
    for a in range(4):
        summed = sum(model.counts[left, a, right, 1] for left in range(4) for right in range(4))
        # The ends of the sequence add contexts that no filling has.
        assert 0 <= (model.counts[4, a, 4, 1] - summed).sum() <= 4
    inner = model.counts[:4, :4, :4, :4]
    assert inner.sum() == 2 * (5000 - 4)
    assert model.counts[4, 4, 4, 4].sum() == 2 * 5000


@pytest.mark.parametrize("width", range(4))
def test_narrow_is_what_fit_gives(width):
    sequences = [random_sequence(500, 20), random_sequence(3), random_sequence(0), sequence("NNNN")]
    narrowed = FixedContextModel.fit(sequences, 4).narrow(width)
    fitted = FixedContextModel.fit(sequences, width)
    assert narrowed.width == fitted.width == width
    assert torch.equal(narrowed.counts, fitted.counts)
    ids = torch.randint(MASK_ID, N_ID + 1, (3, 40))
    assert torch.equal(narrowed.predict(ids), fitted.predict(ids))


def test_pieces_change_nothing(monkeypatch):
    sequences = [random_sequence(100, 5), random_sequence(7)]
    whole = FixedContextModel.fit(sequences, 3).counts
    monkeypatch.setattr(fixed_context, "_PIECE_BP", 7)
    assert torch.equal(FixedContextModel.fit(sequences, 3).counts, whole)


def test_strands_are_symmetric():
    model = FixedContextModel.fit([random_sequence(2000, 30)], 2)
    query = "ACG?TTNA?GGCA"
    forward = probabilities(model, query)
    backward = probabilities(model, reverse_complement(query))
    assert torch.equal(backward.flip(0, 1), forward)


def test_nothing_to_fit_gives_uniform():
    model = FixedContextModel.fit([], 5)
    assert torch.equal(model.predict(shown("ACGTNACGTACG")), torch.full((1, 12, 4), 0.25).double().log())


def test_special_tokens_are_unknown():
    model = FixedContextModel.fit([random_sequence(300)], 1)
    want = model.predict(torch.tensor([[A_ID, MASK_ID, MASK_ID]]))[0, 1]
    assert torch.equal(model.predict(torch.tensor([[A_ID, MASK_ID, CLS_ID]]))[0, 1], want)


def test_padding_is_inert():
    model = FixedContextModel.fit([random_sequence(300)], 3)
    together = model.predict(torch.cat([shown("ACG?TTA......"), shown("TTTACGAC??GAA")]))
    assert torch.equal(model.predict(shown("ACG?TTA"))[0], together[0, :7])


def test_best_fixed_context():
    # The first C and the first T of each repeat are hidden. The text is its own reverse complement.
    train = [sequence("AACCGGTT" * 100)]
    labels = shown("AACCGGTT" * 10)
    is_scored = torch.zeros_like(labels, dtype=torch.bool)
    is_scored[:, 10::12] = True
    input_ids = labels.masked_fill(is_scored, MASK_ID)
    known = labels.masked_fill(~is_scored, IGNORE_INDEX)
    width, scores = best_fixed_context(train, input_ids, known, is_scored)
    # Frequencies tie, and so do two letters between A and C, or G and T; the first is guessed and is wrong.
    # Two neighbours on each side settle it: 200 times for C, 198 for T, whose last is too near the end.
    nats = [math.log(4), -math.log(200.5 / 402), -(math.log(200.5 / 202) + math.log(198.5 / 200)) / 2]
    assert [score.masked_nats for score in scores[:3]] == pytest.approx(nats, rel=1e-12)
    assert [score.masked_accuracy for score in scores] == [0, 0, 1, 1, 1, 1]
    assert [score.masked_count for score in scores] == [6] * 6
    assert width == 2
    assert scores[0] == letter_frequency_scores(train, input_ids, labels, is_scored)


def test_scores_by_hand():
    # A 3, C 1 on one strand; with T 3, G 1: p(A) = p(T) = 3.5/10, p(C) = p(G) = 1.5/10.
    train = [sequence("AACA")]
    labels = shown("ACTGG")
    is_scored = torch.tensor([[True, True, True, False, True]])
    scores = letter_frequency_scores(train, shown("?????"), labels, is_scored)
    assert scores.masked_accuracy == 0.25
    assert scores.masked_nats == pytest.approx(-(2 * math.log(0.35) + 2 * math.log(0.15)) / 4, rel=1e-12)
    assert scores.masked_count == 4


def test_bad_input():
    model = FixedContextModel.fit([sequence("ACGT")], 1)
    ids, is_scored = shown("A?G"), torch.tensor([[False, True, False]])
    for width in (-1, 6):
        with pytest.raises(ValueError, match=f"fit: width must be from 0 to 5, got {width}"):
            FixedContextModel.fit([], width)
    with pytest.raises(ValueError, match=r"FixedContextModel.narrow: width must be from 0 to 1, got 2"):
        model.narrow(2)
    with pytest.raises(TypeError, match=r"sequences\[i\] must be torch.uint8, got torch.int64"):
        FixedContextModel.fit([torch.zeros(3, dtype=torch.int64)], 1)
    with pytest.raises(ValueError, match=r"sequences\[i\] must be \[N\], got \[1, 3\]"):
        FixedContextModel.fit([torch.zeros(1, 3, dtype=torch.uint8)], 1)
    with pytest.raises(ValueError, match=r"FixedContextModel.predict: input_ids must be \[B, N\], got \[3\]"):
        model.predict(ids[0])
    with pytest.raises(TypeError, match=r"FixedContextModel.predict: input_ids must be torch.int64"):
        model.predict(ids.int())
    with pytest.raises(ValueError, match=r"letter_frequency_scores: labels must be \[1, 3\], got \[1, 2\]"):
        letter_frequency_scores([], ids, ids[:, :2], is_scored)
    with pytest.raises(TypeError, match=r"best_fixed_context: is_scored must be torch.bool, got torch.int64"):
        best_fixed_context([], ids, ids, ids)
    with pytest.raises(ValueError, match=r"at least one base must be scored, got none"):
        letter_frequency_scores([], ids, ids, torch.zeros_like(is_scored))
    with pytest.raises(ValueError, match=r"labels must be ids of A, C, G or T, got 4"):
        letter_frequency_scores([], ids, ids, is_scored)


@pytest.mark.slow
def test_yeast():
    if not YEAST.exists():
        pytest.skip("../shared/data is absent")
    genome = Genome(YEAST)
    records = [genome.fetch(i, 0, r.length_bp)[0] for i, r in enumerate(genome.records)]
    held_out = records.pop()
    num_windows = len(held_out) // 512
    labels = held_out[: num_windows * 512].view(num_windows, 512).long()
    masked = mask_bases(labels, mask_seeds(0, torch.arange(num_windows)))
    is_scored = masked.is_selected & (masked.input_ids == MASK_ID)
    width, scores = best_fixed_context(records, masked.input_ids, labels, is_scored)
    # Over six masks the best width is 4 with 36.2 ± 0.1 % and 1.333 ± 0.001 nats.
    assert width == 4
    assert scores[4].masked_accuracy == pytest.approx(0.362, abs=0.004)
    assert scores[4].masked_nats == pytest.approx(1.333, abs=0.004)
    assert scores[0].masked_accuracy == pytest.approx(0.312, abs=0.004)
