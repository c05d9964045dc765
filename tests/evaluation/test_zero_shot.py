import math

import pytest
import torch

from dnachunk import DNATokenizer
from dnachunk.alphabet import A_ID, CLS_ID, MASK_ID, N_ID, NUM_IDS, PAD_ID, SEP_ID, T_ID
from dnachunk.data import Genome
from dnachunk.evaluation.zero_shot import (
    REASONS,
    Edit,
    Unscorable,
    Variant,
    ZeroShotModel,
    allele_pair,
    masked_log_probabilities,
    model_inputs,
    read_variant,
    score_alleles,
)
from dnachunk.ops import decode_dna, encode_dna
from dnachunk.random import mix
from tests.evaluation.variants import other_strand, slow_scores, small_model, zero_shot_model

LETTERS = [0.5, 0.25, 0.125, 0.125]
SEQUENCE = "".join("ACGT"[mix(7, place) % 4] for place in range(90)) + "CACACACAGTTTTTTTTTTTTG"
SEQUENCE += "".join("ACGT"[mix(8, place) % 4] for place in range(38))
# Where, from 0, and the two alleles.
VARIANTS = [
    (60, SEQUENCE[60], "ACGT"[("ACGT".index(SEQUENCE[60]) + 1) % 4]),
    (0, SEQUENCE[0], "ACGT"[("ACGT".index(SEQUENCE[0]) + 2) % 4]),
    (149, SEQUENCE[149], "ACGT"[("ACGT".index(SEQUENCE[149]) + 3) % 4]),
    (30, SEQUENCE[30:34], other_strand(SEQUENCE[30:34])[::-1]),
    (20, SEQUENCE[20], SEQUENCE[20] + "GATTACA"),
    (0, SEQUENCE[0], "TTGACC" + SEQUENCE[0]),
    (149, SEQUENCE[149], SEQUENCE[149] + "CGA"),
    (40, SEQUENCE[40:46], SEQUENCE[40]),
    (0, SEQUENCE[0:4], SEQUENCE[3]),
    (50, SEQUENCE[50:55], other_strand(SEQUENCE[50])[0] + "A" + other_strand(SEQUENCE[54])[0]),
    (92, "CACAC", "CAC"),
    (101, "TTT", "TTTTT"),
]


def encode(text):
    return encode_dna([text])[0]


def decode(ids):
    return decode_dna(ids.to(torch.uint8), torch.tensor([0, len(ids)]))[0]


def write(path, sequence, name="z"):
    path.write_text(f">{name}\n{sequence}\n")
    return Genome(path)


def fixed_model(letters=LETTERS, cls_sep=False):
    """Gives every masked base the same probabilities, whatever is around it."""

    def predict(batch):
        logits = torch.full((*batch["input_ids"].shape, NUM_IDS), 9.0)
        logits[..., A_ID : T_ID + 1] = torch.tensor(letters).log() + 3.0
        return logits

    def embed(batch):
        counts = torch.nn.functional.one_hot(batch["input_ids"], NUM_IDS)
        return counts[..., A_ID : N_ID + 1].sum(dim=1).float()

    return ZeroShotModel(predict, embed, cls_sep)


@pytest.fixture(scope="module")
def network():
    return small_model()


@pytest.fixture
def genome(tmp_path):
    return write(tmp_path / "z.fa", SEQUENCE)


def scored(model, genome, variants, window_bp=64, both_strands=False, batch_size=8):
    read = [read_variant(genome, "z", *variant) for variant in variants]
    outcomes = score_alleles(model, genome, read, window_bp, both_strands=both_strands, batch_size=batch_size)
    return [outcome.score[:2] for outcome in outcomes]


def close(got, want):
    got, want = torch.tensor(got, dtype=torch.float64), torch.tensor(want, dtype=torch.float64)
    torch.testing.assert_close(got[:, 0], want[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got[:, 1], want[:, 1], rtol=1e-3, atol=1e-7)


def test_known_probabilities_give_the_known_ratios(tmp_path):
    genome = write(tmp_path / "z.fa", "ACGTTGCAACGGATTACAGA")
    a, c, g, t = (math.log(4 * p) for p in LETTERS)
    cases = [
        ((4, "T", "A"), math.log(0.5 / 0.125)),
        ((4, "T", "G"), 0.0),
        ((2, "GT", "AC"), a + c - g - t),
        # VCF's base before an insertion is left out; so are all letters in common.
        ((1, "C", "CTT"), 2 * t),
        ((2, "GTT", "G"), -2 * t),
        ((2, "GTTG", "GACG"), a + c - 2 * t),
        ((4, "TGC", "TAAC"), 2 * a - g),
        ((9, "CGG", ""), -c - 2 * g),
        ((9, "", "ACG"), a + c + g),
    ]
    got = scored(fixed_model(), genome, [case for case, _ in cases])
    for (case, want), (ratio, _) in zip(cases, got, strict=True):
        assert ratio == pytest.approx(want, abs=1e-6), case
    uniform = scored(fixed_model([0.25] * 4), genome, [case for case, _ in cases])
    assert all(abs(ratio) < 1e-6 for ratio, _ in uniform)


def test_known_vectors_give_the_known_distance(tmp_path):
    # The vectors count the letters A C G T N: 2 2 1 1 0, and then 3 2 1 1 0.
    genome = write(tmp_path / "z.fa", "AACCGT")
    ((_, distance),) = scored(fixed_model(), genome, [(0, "", "A")])
    cosine = (2 * 3 + 2 * 2 + 1 + 1) / math.sqrt((4 + 4 + 1 + 1) * (9 + 4 + 1 + 1))
    assert distance == pytest.approx(1 - cosine, rel=1e-9)
    genome = write(tmp_path / "other.fa", "AACCGT")
    (outcome,) = score_alleles(
        fixed_model(), genome, [read_variant(genome, "z", 5, "T", "G")], 6, both_strands=True, batch_size=1
    )
    # The other strand reads ACGGTT, then CCGGTT.
    assert outcome.score.embedding_distance == pytest.approx(1 - 10 / math.sqrt(10 * 12), rel=1e-9)
    assert outcome.score.vector.tolist() == [(2 + 0) / 2, (2 + 2) / 2, (2 + 2) / 2, (0 + 2) / 2, 0]


@pytest.mark.parametrize("cls_sep", [False, True])
@pytest.mark.parametrize("strands", ["+", "+-"])
def test_scores_are_those_of_the_definition(network, genome, cls_sep, strands):
    tokenizer = DNATokenizer(cls_sep=cls_sep)
    for window_bp in (21, 64, 200):
        want = [slow_scores(network, tokenizer, SEQUENCE, *each, window_bp, strands) for each in VARIANTS]
        model = zero_shot_model(network, cls_sep=cls_sep)
        close(scored(model, genome, VARIANTS, window_bp, both_strands=strands == "+-"), want)
        assert min(abs(ratio) for ratio, _ in want) > 1e-4
        assert min(distance for _, distance in want) > 1e-6


def test_batches_change_no_score(network, genome):
    model = zero_shot_model(network)
    want = scored(model, genome, VARIANTS, both_strands=True, batch_size=1)
    for batch_size in (2, 7, 100):
        close(scored(model, genome, VARIANTS, both_strands=True, batch_size=batch_size), want)
    alone = [scored(model, genome, [variant], both_strands=True)[0] for variant in VARIANTS]
    close(alone, want)


def test_strands_are_equal(network, genome, tmp_path):
    mirrored = write(tmp_path / "mirrored.fa", other_strand(SEQUENCE))
    there = [
        (len(SEQUENCE) - start - len(reference), other_strand(reference), other_strand(alternate))
        for start, reference, alternate in VARIANTS
    ]
    model = zero_shot_model(network)
    close(
        scored(model, mirrored, there, both_strands=True), scored(model, genome, VARIANTS, both_strands=True)
    )
    forward, backward = scored(model, genome, VARIANTS), scored(model, mirrored, there)
    assert max(abs(one[0] - other[0]) for one, other in zip(forward, backward, strict=True)) > 0.01


def test_the_spelling_of_an_indel_changes_nothing(network, genome):
    model = zero_shot_model(network)
    # One CA less, and one T more, each written at every place and with bases around it.
    for spellings in (
        [(start, SEQUENCE[start : start + 3], SEQUENCE[start]) for start in range(89, 96)],
        [(start, SEQUENCE[start], SEQUENCE[start] + "T") for start in range(98, 111)],
        [(98, SEQUENCE[98:108], SEQUENCE[98:108] + "T"), (99, "", "T"), (108, "TT", "TTT")],
    ):
        alternates = {SEQUENCE[:at] + new + SEQUENCE[at + len(old) :] for at, old, new in spellings}
        assert len(alternates) == 1
        for both_strands in (False, True):
            first, *others = scored(model, genome, spellings, both_strands=both_strands)
            close(others, [first] * len(others))


def test_long_repeats_are_left_behind(tmp_path):
    sequence = "G" + "CA" * 3000 + "GT"
    genome = write(tmp_path / "z.fa", sequence)
    pair = allele_pair(genome, read_variant(genome, "z", 5998, "ACA", "A"), 12)
    assert decode(pair.reference.ids) == sequence[:12]
    assert pair.reference.changed.tolist() == [1, 2]
    pair = allele_pair(genome, read_variant(genome, "z", 3, "", "CA"), 12, reverse=True)
    # Along the other strand the repeat begins behind AC.
    assert decode(pair.alternate.ids) == "ACTGTGTGTGTG"
    assert pair.alternate.changed.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("variant", "reference", "alternate", "places"),
    [
        # In the middle, one more to the right where the flanks cannot be equal; at the ends moved inwards.
        ((9, "C", "T"), "TGCAACGGATTA", "TGCAATGGATTA", ([5], [5])),
        ((0, "A", "T"), "ACGTTGCAACGG", "TCGTTGCAACGG", ([0], [0])),
        ((19, "A", "C"), "ACGGATTACAGA", "ACGGATTACAGC", ([11], [11])),
        ((9, "C", "CTTT"), "CAACGGATT", "CAACTTTGGATT", ([], [4, 5, 6])),
        ((0, "", "GG"), "ACGTTGCAAC", "GGACGTTGCAAC", ([], [0, 1])),
        ((9, "CGG", "C"), "GCAACGGATTAC", "GCAACATTAC", ([5, 6], [])),
    ],
)
def test_windows(tmp_path, variant, reference, alternate, places):
    genome = write(tmp_path / "z.fa", "ACGTTGCAACGGATTACAGA")
    pair = allele_pair(genome, read_variant(genome, "z", *variant), 12)
    assert decode(pair.reference.ids) == reference
    assert decode(pair.alternate.ids) == alternate
    assert (pair.reference.changed.tolist(), pair.alternate.changed.tolist()) == places
    # The window of the whole record, if that is shorter.
    pair = allele_pair(genome, read_variant(genome, "z", *variant), 50)
    assert decode(pair.reference.ids) == "ACGTTGCAACGGATTACAGA"


def test_windows_of_several_edits(tmp_path):
    genome = write(tmp_path / "z.fa", "ACGTTGCAACGGATTACAGA")
    edits = (Edit(3, encode("TTG"), encode("CCC")), Edit(9, encode("CGG"), encode("TTT")))
    pair = allele_pair(genome, Variant(0, edits), 13)
    assert decode(pair.reference.ids) == "CGTTGCAACGGAT"
    assert decode(pair.alternate.ids) == "CGCCCCAATTTAT"
    assert pair.reference.changed.tolist() == pair.alternate.changed.tolist() == [2, 3, 4, 8, 9, 10]
    pair = allele_pair(genome, Variant(0, edits), 13, reverse=True)
    assert decode(pair.alternate.ids) == other_strand("CGCCCCAATTTAT")
    assert pair.alternate.changed.tolist() == [2, 3, 4, 8, 9, 10]
    with pytest.raises(Unscorable, match="too_long"):
        allele_pair(genome, Variant(0, edits), 8)


@pytest.mark.parametrize(
    ("contig", "start", "reference", "alternate", "reason"),
    [
        ("y", 0, "A", "C", "unknown_contig"),
        ("z", -1, "A", "C", "outside_record"),
        ("z", 11, "T", "C", "outside_record"),
        ("z", 9, "AAA", "A", "outside_record"),
        ("z", 2, "A", "C", "reference_mismatch"),
        ("z", 4, "A", "C", "reference_mismatch"),
        ("z", 4, "N", "C", "ambiguous_base"),
        ("z", 1, "C", "N", "ambiguous_base"),
        ("z", 1, "C", "R", "ambiguous_base"),
        ("z", 3, "TN", "T", "ambiguous_base"),
        ("z", 1, "CG", "cg", "same_as_reference"),
        ("z", 2, "G", "G" + "A" * 13, "too_long"),
    ],
)
def test_what_cannot_be_scored_has_a_reason(tmp_path, contig, start, reference, alternate, reason):
    genome = write(tmp_path / "z.fa", "acGTNTTGCAA")
    with pytest.raises(Unscorable, match=f"{reason}: ") as caught:
        allele_pair(genome, read_variant(genome, contig, start, reference, alternate), 12)
    assert caught.value.reason == reason
    assert REASONS[reason] in str(caught.value)


def test_context_of_n(tmp_path):
    path = tmp_path / "n.fa"
    path.write_text(">z\nNNNNNNNACNNNNNNN\n>alone\nG\n>edge\nNACGTACGTACGT\n")
    genome = Genome(path)
    reads = [
        read_variant(genome, "z", 7, "AC", "GT"),
        read_variant(genome, "alone", 0, "G", "A"),
        read_variant(genome, "z", 7, "A", "G"),
        # The anchor may be N; the bases that change are not.
        read_variant(genome, "edge", 0, "NA", "N"),
        read_variant(genome, "edge", 9, "A", "C"),
        "breakend",
    ]
    outcomes = score_alleles(fixed_model(), genome, reads, 7, both_strands=False, batch_size=4)
    assert [outcome.reason for outcome in outcomes] == [
        "no_context",
        "no_context",
        "n_in_context",
        "n_in_context",
        None,
        "breakend",
    ]
    assert [outcome.score is None for outcome in outcomes] == [True, True, False, False, False, True]


def test_windows_in_common_are_run_once(genome):
    rows = {"predict": [], "embed": []}
    model = fixed_model()

    def counting(name, function):
        def call(batch):
            rows[name].append(len(batch["input_ids"]))
            return function(batch)

        return call

    model = ZeroShotModel(counting("predict", model.predict), counting("embed", model.embed))
    letter = SEQUENCE[60]
    variants = [(60, letter, other) for other in "ACGT" if other != letter]
    assert len({ratio for ratio, _ in scored(model, genome, variants)}) >= 2
    assert rows == {"predict": [1], "embed": [4]}


def test_log_probabilities_by_place():
    windows = [encode("ACGTA"), encode("GG"), encode("TTTT")]
    hidden = [torch.tensor([4, 0]), torch.tensor([], dtype=torch.int64), torch.tensor([1])]
    seen = []

    def predict(batch):
        assert not torch.is_grad_enabled()
        seen.append(batch)
        # A position's letters have its number in common, times 1, 2, 3, 4.
        places = torch.arange(batch["input_ids"].shape[1])[None, :, None]
        logits = torch.zeros(*batch["input_ids"].shape, NUM_IDS)
        logits[..., A_ID : T_ID + 1] = places * torch.tensor([0.1, 0.2, 0.3, 0.4])
        return logits

    for cls_sep in (False, True):
        got = masked_log_probabilities(predict, windows, hidden, cls_sep=cls_sep)
        assert [table.shape for table in got] == [(2, 4), (0, 4), (1, 4)]
        for table, places in zip(got, hidden, strict=True):
            assert table.dtype == torch.float64
            for row, place in zip(table, places.tolist(), strict=True):
                want = ((place + cls_sep) * torch.tensor([0.1, 0.2, 0.3, 0.4])).double().log_softmax(dim=-1)
                torch.testing.assert_close(row, want, rtol=1e-6, atol=1e-7)
    m, c, s, p = MASK_ID, CLS_ID, SEP_ID, PAD_ID
    assert seen[0]["input_ids"].tolist() == [[m, 6, 7, 8, m], [7, 7, p, p, p], [8, m, 8, 8, p]]
    want = [[c, m, 6, 7, 8, m, s], [c, 7, 7, s, p, p, p], [c, 8, m, 8, 8, s, p]]
    assert seen[1]["input_ids"].tolist() == want
    assert seen[1]["attention_mask"].tolist() == [[1] * 7, [1] * 4 + [0] * 3, [1] * 6 + [0]]
    assert set(seen[1]) == {"input_ids", "attention_mask"}


def test_inputs_are_what_the_tokenizer_makes():
    texts = ["ACGTN", "GG", "TTTAC[MASK]"]
    for cls_sep in (False, True):
        made = model_inputs([encode(text) for text in texts], cls_sep=cls_sep)
        want = DNATokenizer(cls_sep=cls_sep)(texts, padding=True, return_tensors="pt")
        assert set(made) == set(want)
        assert all(torch.equal(made[name], want[name]) for name in made)


def test_bad_input():
    window, place = encode("ACGT"), torch.tensor([1])

    def answer(*shape):
        return lambda _: torch.zeros(shape)

    with pytest.raises(ValueError, match=r"masked_log_probabilities: hidden must be from 0 to 3, got \[4\]"):
        masked_log_probabilities(answer(1, 4, NUM_IDS), [window], [torch.tensor([4])])
    with pytest.raises(ValueError, match=r"hidden must be from 0 to 3, got \[-1\]"):
        masked_log_probabilities(answer(1, 4, NUM_IDS), [window], [torch.tensor([-1])])
    with pytest.raises(TypeError, match=r"hidden\[i\] must be torch.int64, got torch.int32"):
        masked_log_probabilities(answer(1, 4, NUM_IDS), [window], [place.int()])
    with pytest.raises(ValueError, match=r"windows\[i\] must be \[n\], got \[1, 4\]"):
        masked_log_probabilities(answer(1, 4, NUM_IDS), [window[None]], [place])
    with pytest.raises(ValueError, match=r"logits must be \[1, 6, V\], got \[1, 4, 10\]"):
        masked_log_probabilities(answer(1, 4, NUM_IDS), [window], [place], cls_sep=True)
    with pytest.raises(ValueError, match=r"logits must cover the ids of A, C, G, T \(5 to 8\), got 8 ids"):
        masked_log_probabilities(answer(1, 4, 8), [window], [place])


def test_bad_vectors(genome):
    model = ZeroShotModel(fixed_model().predict, lambda batch: torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"score_pairs: embed's vectors must be \[2, D\], got \[1, 3\]"):
        scored(model, genome, VARIANTS[:1])
