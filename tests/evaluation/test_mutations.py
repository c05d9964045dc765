import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from dnachunk.data import Genome
from dnachunk.evaluation.against_random import rank_correlation
from dnachunk.evaluation.mutations import (
    GENETIC_CODE,
    cross_validated_ridge,
    measurements,
    nearest_codon,
    read_mutations,
    site_groups,
)
from dnachunk.ops import decode_dna

DMS = Path(__file__).parents[2] / "../shared/data/dms"
# M A H K * F, and a codon with an N.
CODING = "ATGGCTCACAAATAATTCGNA"


@pytest.fixture
def coding(tmp_path):
    (tmp_path / "cds.fa").write_text(f">gene\n{CODING}\n")
    return Genome(tmp_path / "cds.fa")


def table(tmp_path, text, name="table.csv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def text_of(ids):
    return decode_dna(ids, torch.tensor([0, len(ids)]))[0]


def edits(row):
    return [(edit.start_bp, text_of(edit.reference), text_of(edit.alternate)) for edit in row.variant.edits]


def test_the_genetic_code():
    counts = Counter(GENETIC_CODE.values())
    assert len(GENETIC_CODE) == 64
    assert {letter: counts[letter] for letter in "MWFILSR*"} == {
        **{"M": 1, "W": 1, "F": 2, "I": 3, "L": 6, "S": 6, "R": 6, "*": 3}
    }
    coded = {"ATG": "M", "TGG": "W", "TAA": "*", "TGA": "*", "CAC": "H", "GCT": "A", "AAA": "K", "TTC": "F"}
    assert {codon: GENETIC_CODE[codon] for codon in coded} == coded
    assert GENETIC_CODE["AGC"] == GENETIC_CODE["TCA"] == "S"


@pytest.mark.parametrize(
    ("codon", "amino_acid", "nearest"),
    [
        ("CAC", "R", "CGC"),
        ("CAC", "H", "CAC"),
        # TAA, TAG and TGA: two changes from TAC's, one from the first two.
        ("TAC", "*", "TAA"),
        # AGC and TCC are as near.
        ("CAC", "S", "AGC"),
        ("ATG", "L", "CTG"),
        ("AAA", "W", "TGG"),
    ],
)
def test_nearest_codons(codon, amino_acid, nearest):
    assert nearest_codon(codon, amino_acid) == nearest


def test_no_amino_acid():
    with pytest.raises(ValueError, match=r"nearest_codon: amino_acid must be one of the 20 or '\*', got 'X'"):
        nearest_codon("ATG", "X")


@pytest.mark.parametrize("form", ["csv", "tsv", "gzip", "mark and returns"])
def test_tables_of_mutants(tmp_path, coding, form):
    lines = [
        "mutant,note,score",
        'A2G,"a, b",0.5',
        "K4N:M1V,,1",
        "F6*,,2",
        "A2A,,0",
        "H2Q,,3",
        "A8G,,4",
        "A7G,,5",
    ]
    text = "\n".join(lines) + "\n"
    if form == "tsv":
        text = text.replace('"a, b"', "a; b").replace(",", "\t")
    if form == "mark and returns":
        text = "\ufeff" + text.replace("\n", "\r\n") + "\r\n"
    path = table(tmp_path, text)
    if form == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes()))
    rows, _ = read_mutations(path, coding)
    assert edits(rows[0]) == [(3, "GCT", "GGT")]
    # In the order of the sequence.
    assert edits(rows[1]) == [(0, "ATG", "GTG"), (9, "AAA", "AAC")]
    assert edits(rows[2]) == [(15, "TTC", "TAA")]
    assert edits(rows[3]) == [(3, "GCT", "GCT")]
    assert [row.variant for row in rows[4:]] == ["reference_mismatch", "outside_record", "ambiguous_base"]
    assert [row.line_number for row in rows] == list(range(2, 9))
    assert [row.sites for row in rows] == [(3,), (0, 9), (15,), (3,), (3,), (21,), (18,)]
    assert rows[0].cells == {"mutant": "A2G", "note": "a; b" if form == "tsv" else "a, b", "score": "0.5"}
    assert measurements(rows, ["score"]).tolist() == [0.5, 1, 2, 0, 3, 4, 5]


def test_tables_of_codons(tmp_path, coding):
    text = "ambler,codon_index,wildtype_aa,mutant_aa\n26,3,H,R\n26,3,M,R\n26,0,M,R\n"
    rows, _ = read_mutations(table(tmp_path, text), coding)
    assert edits(rows[0]) == [(6, "CAC", "CGC")]
    assert [row.variant for row in rows[1:]] == ["reference_mismatch", "outside_record"]


@pytest.mark.parametrize(
    "columns", ["pos,ref,alt", "ng_pos,ng_ref,ng_alt", "pos,ref,alt,ng_pos,ng_ref,ng_alt"]
)
def test_tables_of_bases(tmp_path, columns):
    (tmp_path / "gene.fa").write_text(">gene\nACGTA\n")
    # The genome's coordinates are not those of the gene.
    before = "9,T,G," if columns.startswith("pos,ref,alt,") else ""
    text = f"{columns}\n{before}2,C,A\n{before}3,g,GTT\n{before}3,T,A\n{before}6,A,C\n"
    rows, _ = read_mutations(table(tmp_path, text), Genome(tmp_path / "gene.fa"))
    assert edits(rows[0]) == [(1, "C", "A")]
    assert edits(rows[1]) == [(3, "", "TT")]
    assert [row.variant for row in rows[2:]] == ["reference_mismatch", "outside_record"]
    assert [row.sites for row in rows] == [(1,), (2,), (2,), (5,)]


def test_measurements(tmp_path, coding):
    text = "mutant,one,two\nA2G,1,2\nA2C,NA,2\nA2D,3,.\nA2E,1e2,-1\nA2F,,nan\n"
    rows, _ = read_mutations(table(tmp_path, text), coding)
    np.testing.assert_equal(measurements(rows, ["one"]), [1, np.nan, 3, 100, np.nan])
    np.testing.assert_equal(measurements(rows, ["one", "two"]), [1.5, np.nan, np.nan, 49.5, np.nan])
    with pytest.raises(ValueError, match="there is no column 'three'; the table has mutant, one, two"):
        measurements(rows, ["one", "three"])
    for cell in ("high", "inf"):
        rows, _ = read_mutations(table(tmp_path, f"mutant,one\nA2G,1\nA2C,{cell}\n"), coding)
        with pytest.raises(ValueError, match=f"line 3: one must be a number, got '{cell}'"):
            measurements(rows, ["one"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"must have the columns mutant or codon_index, .*; got none"),
        ("mutation,score\nA2G,1\n", r"must have the columns mutant or .*; got mutation, score"),
        ("mutant,score\n", r"table\.csv has no row"),
        ("mutant,score\nA2G,1\nA2G\n", r"table\.csv, line 3: expected 2 cells, got 1"),
        ("mutant,score\nA2G,1\nAlaGly,1\n", r"line 3: a mutant must be written like .*, got 'AlaGly'"),
        ("mutant\nA2G:K4\n", r"line 2: a mutant must be written like A24G or A24G:K30R"),
        ("mutant\nA2G:A2C\n", r"line 2: a mutant must .* each codon once, got 'A2G:A2C'"),
        ("mutant\nA2X\n", r"line 2: a mutant must be written like"),
        ("codon_index,wildtype_aa,mutant_aa\n3.0,H,R\n", r"line 2: codon_index must be a whole number"),
        ("codon_index,wildtype_aa,mutant_aa\n3,His,R\n", r"line 2: a mutant must be .*, got 'His3R'"),
        ("pos,ref,alt\n2,C,\n", r"line 2: alt must be letters A C G T, got ''"),
        ("pos,ref,alt\n2,C,<DEL>\n", r"line 2: alt must be letters A C G T, got '<DEL>'"),
        ("pos,ref,alt\n-2,C,A\n", r"line 2: pos must be a whole number, got '-2'"),
        ('mutant,note\nA2G,"a" b\n', r"table\.csv, line 2: "),
        ("mutant,score,rep,rep\nA2G,1,2,3\n", r"table\.csv must have each column once, got 'rep' twice"),
    ],
)
def test_bad_tables(tmp_path, coding, text, said):
    with pytest.raises(ValueError, match=said):
        read_mutations(table(tmp_path, text), coding)


def test_bad_sequences(tmp_path):
    path = table(tmp_path, "mutant\nM1V\n")
    (tmp_path / "two.fa").write_text(">a\nATG\n>b\nATG\n")
    with pytest.raises(ValueError, match=r"two\.fa must hold one sequence, got 2"):
        read_mutations(path, Genome(tmp_path / "two.fa"))
    (tmp_path / "odd.fa").write_text(">a\nATGA\n")
    with pytest.raises(ValueError, match=r"odd\.fa must be a coding sequence of whole codons, got 4 bases"):
        read_mutations(path, Genome(tmp_path / "odd.fa"))
    with pytest.raises(FileNotFoundError, match=r"missing\.csv"):
        read_mutations(tmp_path / "missing.csv", Genome(tmp_path / "odd.fa"))


def test_ridge_finds_what_is_there_and_nothing_else():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(300, 20)) * np.logspace(-3, 3, 20)
    signal = (vectors / np.logspace(-3, 3, 20)) @ generator.normal(size=20)
    measured = signal + 0.3 * generator.normal(size=300)
    sites = np.repeat(np.arange(60), 5)
    for groups in (None, sites):
        predicted = cross_validated_ridge(vectors, measured, groups)
        assert rank_correlation(predicted, measured) > 0.95
        np.testing.assert_array_equal(predicted, cross_validated_ridge(vectors, measured, groups))
        noise = cross_validated_ridge(vectors, generator.normal(size=300), groups)
        assert abs(rank_correlation(noise, measured)) < 0.25


def test_sites_are_kept_apart():
    # The vectors say which site it is, and nothing else; what is measured is a property of the site.
    generator = np.random.default_rng(1)
    sites = np.repeat(np.arange(40), 5)
    vectors = np.eye(40)[sites] + 0.01 * generator.normal(size=(200, 40))
    measured = generator.normal(size=40)[sites]
    assert rank_correlation(cross_validated_ridge(vectors, measured), measured) > 0.9
    assert rank_correlation(cross_validated_ridge(vectors, measured, sites), measured) < 0.3


def test_multiple_mutants_tie_their_sites_together(tmp_path, coding):
    path = table(tmp_path, "mutant\nM1V\nF6*\nA2G:K4N\nK4N\nA2G\nM1V:F6*\nH3R\n")
    groups = site_groups(read_mutations(path, coding)[0]).tolist()
    assert groups[0] == groups[1] == groups[5]
    assert groups[2] == groups[3] == groups[4]
    assert len({groups[0], groups[2], groups[6]}) == 3
    assert site_groups([]).tolist() == []


def test_too_few_rows_for_folds():
    assert cross_validated_ridge(np.ones((9, 2)), np.arange(9.0)) is None
    assert cross_validated_ridge(np.ones((20, 2)), np.arange(20.0), np.arange(20) % 4) is None


def test_tem1():
    folder = DMS / "tem1_stiffler2015"
    if not folder.exists():
        pytest.skip("../shared/data is absent")
    genome = Genome(folder / "tem1_coding_sequence.fa.gz")
    rows, _ = read_mutations(folder / "tem1_dms_scores.csv.gz", genome)
    assert len(rows) == 4997
    assert all(len(row.variant.edits) == 1 for row in rows)
    assert len(np.unique(site_groups(rows))) == 263
    for row in rows[::97]:
        ((_, codon, mutant),) = edits(row)
        assert codon == row.cells["wildtype_codon"]
        assert GENETIC_CODE[mutant] == row.cells["mutant_aa"]
    measured = measurements(rows, ["score_trial1_amp2500", "score_trial2_amp2500"])
    assert np.isfinite(measured).sum() == 4978


def test_brca1():
    folder = DMS / "brca1_sge_findlay2018"
    if not folder.exists():
        pytest.skip("../shared/data is absent")
    genome = Genome(folder / "brca1_NG_005905.2.fa.gz")
    rows, _ = read_mutations(folder / "brca1_sge_scores.csv.gz", genome)
    assert len(rows) == 3893
    assert not [row.variant for row in rows if isinstance(row.variant, str)]
    assert np.isfinite(measurements(rows, ["function_score_mean"])).all()
