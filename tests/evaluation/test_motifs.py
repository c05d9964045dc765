import re

import pytest
import torch

from dnachunk.alphabet import reverse_complement
from dnachunk.evaluation.motifs import IUPAC, MOTIFS, Motif, Sites, find_motif, motif_sites


def ids_of(text):
    return torch.tensor([5 + "ACGTN".index(letter) for letter in text], dtype=torch.uint8)


@pytest.mark.parametrize(
    ("text", "pattern", "starts"),
    [
        ("AAAA", "AA", [0, 1, 2]),
        ("ATGNATGATNATG", "ATG", [0, 4, 10]),
        ("ACGTN", "N", [0, 1, 2, 3]),
        ("TATAAAAG", "TATAWAWR", [0]),
        ("TATACAAG", "TATAWAWR", []),
        ("AC", "ACG", []),
        ("", "A", []),
    ],
)
def test_where_a_pattern_stands(text, pattern, starts):
    assert find_motif(ids_of(text), pattern).tolist() == starts


@pytest.mark.parametrize("motif", MOTIFS, ids=lambda motif: motif.name)
def test_as_a_regular_expression_finds_it(motif):
    text = "".join("ACGT"[i] for i in torch.randint(4, (60_000,)).tolist())

    def starts(pattern):
        letters = "".join(f"[{IUPAC[letter]}]" for letter in pattern)
        return [match.start() for match in re.finditer(f"(?={letters})", text)]

    found = motif_sites(ids_of(text), motif, 3, 1000)
    expected = [(1000 + start + motif.anchor, False) for start in starts(motif.pattern)]
    reverse = starts(reverse_complement(motif.pattern))
    expected += [(1000 + start + len(motif.pattern) - motif.anchor, True) for start in reverse]
    assert len(expected) > 0
    assert list(zip(found.edge_bp.tolist(), found.is_reverse.tolist(), strict=True)) == expected
    assert found.record_index.tolist() == [3] * len(expected)


def test_the_anchor_is_where_it_is_meant_to_be():
    places = {
        motif.name: f"{motif.pattern[: motif.anchor]}|{motif.pattern[motif.anchor :]}" for motif in MOTIFS
    }
    assert places == {
        "TATA box": "|TATAWAWR",
        "Kozak": "RCC|ATGG",
        "splice donor": "MAG|GTRAGT",
        "splice acceptor": "YYYYYYYYNYAG|G",
        "start codon": "|ATG",
    }


def test_on_the_reverse_strand_the_anchor_is_before_the_same_letters():
    text = "GGGACCATCCTTAC"
    motif = Motif("start", "GGATGG", 2)
    (edge,) = motif_sites(ids_of(text), motif, 0, 0).edge_bp.tolist()
    assert reverse_complement(text)[len(text) - edge :].startswith("ATGG")


def test_sites_are_joined_and_taken():
    sites = motif_sites(ids_of("ATGCAT"), Motif("start", "ATG", 0), 1, 0)
    both = Sites.join([sites, sites.take(torch.tensor([1]))])
    assert both.edge_bp.tolist() == [0, 6, 6]
    assert both.is_reverse.tolist() == [False, True, True]
    assert len(both.take(both.edge_bp > 9)) == 0


@pytest.mark.parametrize("pattern", ["", "AXG", "a"])
def test_bad_patterns(pattern):
    with pytest.raises(ValueError, match="pattern must be IUPAC letters"):
        find_motif(ids_of("ACGT"), pattern)
    with pytest.raises(ValueError, match=r"ids must be \[n\]"):
        find_motif(ids_of("ACGT")[None], "A")
