import gzip

import pytest
import torch

from dnachunk.data.motif_matrices import read_motif_matrices

MEME = """MEME version 4

ALPHABET= ACGT

strands: + -

Background letter frequencies
A 0.25 C 0.25 G 0.25 T 0.25

MOTIF MA0001.1 AGL3
letter-probability matrix: alength= 4 w= 2 nsites= 10 E= 0
 0.5 0.5 0.0 0.0
 0.1 0.2 0.3 0.4
URL http://jaspar.genereg.net

MOTIF short
letter-probability matrix:
1 0 0 0
"""
JASPAR = """>MA0001.1\tAGL3
A  [ 0  3 ]
C  [94 75 ]
G  [ 1  0 ]
T  [ 2  19.5 ]
>raw
1 2 3
4 5 6
7 8 9
1 1 1
"""


def write(tmp_path, text, name="m.meme"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_meme(tmp_path):
    first, second = read_motif_matrices(write(tmp_path, MEME))
    assert (first.name, second.name) == ("MA0001.1 AGL3", "short")
    torch.testing.assert_close(first.counts, torch.tensor([[5, 5, 0, 0], [1, 2, 3, 4]], dtype=torch.float64))
    assert second.counts.tolist() == [[20, 0, 0, 0]]


def test_jaspar(tmp_path):
    first, second = read_motif_matrices(write(tmp_path, JASPAR, "m.jaspar"))
    assert (first.name, second.name) == ("MA0001.1 AGL3", "raw")
    assert first.counts.tolist() == [[0, 94, 1, 2], [3, 75, 0, 19.5]]
    assert second.counts.tolist() == [[1, 4, 7, 1], [2, 5, 8, 1], [3, 6, 9, 1]]
    packed = tmp_path / "m.jaspar.gz"
    packed.write_bytes(gzip.compress(JASPAR.replace("\n", "\r\n").encode()))
    assert read_motif_matrices(packed)[0].counts.tolist() == first.counts.tolist()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no motif"),
        ("\n\n", "has no motif"),
        ("MEME version 4\n", "has no motif"),
        ("ACGT\n", "line 1: expected 'MEME version', or '>' and a motif's name, got 'ACGT'"),
        (">\nA [1]\n", "line 1: expected 'MEME version', or '>' and a motif's name, got '>'"),
        (">x\nA [1 2]\nC [1 2]\nG [1]\nT [1 2]\n", "line 4: x: expected 2 counts, as of A, got 1"),
        (">x\nA [1 2]\nG [1 2]\n", r"line 3: x: expected the counts of C, got 'G \[1 2\]'"),
        (">x\nA [1 2]\nC [1 2\n", r"line 3: x: expected the counts of C, got 'C \[1 2'"),
        (">x\nA [1]\n\nC [1]\n", "line 4: x: expected the counts of G, got 'the end'"),
        (">x\nA [1 y]\n", "line 2: x: expected numbers from 0 to 1,000,000,000,000, got '1 y'"),
        (">x\nA [1 -2]\n", "line 2: x: expected numbers from 0 to 1,000,000,000,000, got '1 -2'"),
        (">x\nA [1 nan]\n", "line 2: x: expected numbers from 0 to 1,000,000,000,000"),
        (">x\nA [1 1_0]\n", "line 2: x: expected numbers from 0 to 1,000,000,000,000, got '1 1_0'"),
        (">x\nA [1 2e12]\n", "line 2: x: expected numbers from 0 to 1,000,000,000,000, got '1 2e12'"),
        (">x\nA []\n", "line 2: x: expected numbers from 0 to 1,000,000,000,000, got ''"),
        (">x\nA 1 0\nC 1 0\nG 1 0\nT 1 0\n", "line 5: x: every place must have counts, place 2 has none"),
        (MEME.replace("ACGT\n", "ACDEFGHIKLMNPQRSTVWY\n"), "line 3: expected ALPHABET= ACGT"),
        (MEME.replace("alength= 4", "alength= 20"), "line 11: MA0001.1 AGL3: alength must be 4, got '20'"),
        (MEME.replace("w= 2", "w= 3"), "line 14: MA0001.1 AGL3: expected 3 rows, got 2"),
        (
            MEME.replace("nsites= 10", "nsites= x"),
            "line 11: .*: expected numbers from 0 to 1,000,000,000,000, got 'x'",
        ),
        (MEME.replace("0.3 0.4", "0.3"), "line 13: .*: expected 4 probabilities that sum to 1, got '0.1"),
        (MEME.replace("0.3 0.4", "0.3 0.7"), "line 13: .*: expected 4 probabilities that sum to 1"),
        (MEME.replace("0.3 0.4", "0.3 zero"), "line 13: .*: expected numbers from 0 to 1,000,000,000,000"),
        (MEME.replace("MOTIF short", ""), "line 17: a matrix must follow a line MOTIF"),
        (MEME.replace("MOTIF short", "MOTIF"), "line 16: MOTIF must have a name"),
        (MEME.replace("MOTIF short", "MOTIF one\nMOTIF two"), "line 17: one: expected 'letter-probability"),
        (MEME + "MOTIF last\n", "line 19: last: expected 'letter-probability"),
        (MEME.replace("1 0 0 0\n", ""), "line 17: short: expected some rows, got 0"),
    ],
)
def test_malformed_files_are_told_with_the_line(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=said) as error:
        read_motif_matrices(path)
    assert str(path) in str(error.value)


def test_sites_that_are_not_known_are_twenty(tmp_path):
    text = MEME.replace("nsites= 10", "nsites= 0")
    assert read_motif_matrices(write(tmp_path, text))[0].counts[0].tolist() == [10, 10, 0, 0]
