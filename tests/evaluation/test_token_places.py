import pytest
import torch

from dnachunk import FixedTokenizer
from dnachunk.data.annotation import Feature
from dnachunk.data.repeats import Repeat
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.token_places import (
    age_class,
    lengths_by_class,
    lengths_by_place,
    read_labelled_bases,
    repeat_kinds,
)
from dnachunk.inference.segmenter import Segmenter
from tests.evaluation.test_token_meaning import map_of


def test_kinds_of_repeats():
    repeats = [
        Repeat(0, 10, 20, "LINE/L1", 12.0),
        Repeat(0, 15, 30, "LINE/L2", 4.9),
        Repeat(1, 0, 5, "LTR", 30.0),
        Repeat(1, 6, 9, "Simple_repeat", 2.0),
        Repeat(1, 9, 10, "Satellite/centr", 2.0),
        Repeat(1, 11, 19, "snRNA", 2.0),
        Repeat(1, 20, 29, "RC/Helitron", 20.0),
    ]
    kinds = {group: [each.kind for each in found] for group, found in repeat_kinds(repeats).items()}
    assert kinds == {
        "repeat class": ["LINE", "LINE", "LTR", "Simple_repeat", "Satellite", "snRNA", "RC"],
        "repeat family": ["LINE/L1", "LINE/L2", "Satellite/centr", "RC/Helitron"],
        "divergence of transposable elements": ["10-15%", "0-5%", "30% or more", "20-25%"],
    }
    assert repeat_kinds(repeats)["repeat class"][1] == Feature(0, 15, 30, "LINE", False)
    assert list(repeat_kinds(repeats[3:4])) == ["repeat class"]
    assert repeat_kinds([]) == {}


@pytest.mark.parametrize(
    ("divergence", "age"),
    [(0, "0-5%"), (4.99, "0-5%"), (5, "5-10%"), (29.9, "25-30%"), (30, "30% or more"), (100, "30% or more")],
)
def test_ages(divergence, age):
    assert age_class(divergence) == age


def test_lengths_by_place_base_by_base():
    # Bases 100 to 112, in tokens of 3, 1, 5 and 3; two are not counted.
    tokens = map_of(3, 1, 5, 3, start=100)
    is_counted = torch.ones(12, dtype=torch.bool)
    is_counted[[1, 11]] = False
    features = {
        "family": {
            # Overlapping ones of a kind count once; one reaches out, one lies in another record.
            "A": [Feature(0, 90, 103, "A", False), Feature(0, 102, 105, "A", False)],
            "B": [Feature(0, 104, 106, "B", True)],
            "C": [Feature(0, 112, 120, "C", False), Feature(1, 100, 110, "C", False)],
            "D": [Feature(0, 111, 112, "D", False)],
        },
        "age": {"old": [Feature(0, 108, 112, "old", False)]},
    }
    found = lengths_by_place(tokens, features, (0, 100, 112), is_counted)
    lengths = [3, 3, 3, 1, 5, 5, 5, 5, 5, 3, 3, 3]
    want = {
        "family": {"A": [0, 2, 3, 4], "B": [4, 5]},
        "age": {"old": [8, 9, 10]},
    }
    assert {group: list(kinds) for group, kinds in found.items()} == {
        group: list(kinds) for group, kinds in want.items()
    }
    for group, kinds in want.items():
        for kind, bases in kinds.items():
            naive = torch.tensor([lengths[base] for base in bases]).bincount()
            assert found[group][kind].tolist() == naive.tolist()


def write(path, rows):
    path.write_text("sequence,label\n" + "".join(f"{sequence},{label}\n" for sequence, label in rows))
    return path


def test_classes_of_a_labelled_set(tmp_path):
    rows = [("ACGTACGTAC", "yes"), ("ACGTN", "no"), ("ACGTAC", "no"), ("NNN", "no"), ("AC", "yes")]
    labelled = read_labelled_bases(write(tmp_path / "a.csv", rows))
    assert [len(row) for row in labelled.rows] == [10, 5, 6, 3, 2]
    assert {name: list(of_class) for name, of_class in labelled.classes.items()} == {
        "no": [1, 2, 3],
        "yes": [0, 4],
    }
    segmenters = [Segmenter.of(name, FixedTokenizer.from_name(name)) for name in ("4mer", "base")]
    found = lengths_by_class(labelled, segmenters, batch_size=2)
    # Four letters are a word, what is left single ones; N counts nowhere.
    assert {
        name: {label: counts.tolist() for label, counts in each.items()} for name, each in found.items()
    } == {
        "no": {"4mer": [0, 2, 0, 0, 8], "base": [0, 10]},
        "yes": {"4mer": [0, 4, 0, 0, 8], "base": [0, 12]},
    }


def test_classes_are_drawn_alike_and_by_the_seed(tmp_path):
    rows = [("ACGT" * (1 + index), "ab"[index % 3 == 0]) for index in range(30)]
    path = write(tmp_path / "a.csv", rows)
    one, same, other = (read_labelled_bases(path, max_sequences=4, seed=seed) for seed in (1, 1, 2))
    assert [len(of_class) for of_class in one.classes.values()] == [4, 4]
    assert len(one.rows) == 8
    lengths = [[len(row) for row in each.rows] for each in (one, same, other)]
    assert lengths[0] == lengths[1] != lengths[2]
    for name, of_class in one.classes.items():
        assert {("ab"[(len(one.rows[row]) // 4 - 1) % 3 == 0]) for row in of_class} == {name}


def test_several_labels_and_labels_of_bases(tmp_path):
    rows = [("ACGTAC", "x|y"), ("GGG", "y"), ("TTTT", "x")]
    labelled = read_labelled_bases(write(tmp_path / "a.csv", rows))
    assert {name: list(of_class) for name, of_class in labelled.classes.items()} == {
        "x": [0, 2],
        "y": [0, 1],
    }
    rows = [("ACGTAC", "00110."), ("GNG", "111")]
    labelled = read_labelled_bases(write(tmp_path / "b.csv", rows))
    assert {
        name: {row: mask.int().tolist() for row, mask in of_class.items()}
        for name, of_class in labelled.classes.items()
    } == {"0": {0: [1, 1, 0, 0, 1, 0]}, "1": {0: [0, 0, 1, 1, 0, 0], 1: [1, 0, 1]}}


def test_what_has_no_classes_is_refused(tmp_path, caplog):
    with pytest.raises(ArgumentError, match=r"a\.csv must have classes as labels, got numbers"):
        read_labelled_bases(write(tmp_path / "a.csv", [("ACGT", 0.5), ("ACG", 1.25)]))
    with pytest.raises(FileNotFoundError):
        read_labelled_bases(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match="must have a column 'dna'"):
        read_labelled_bases(write(tmp_path / "c.csv", [("ACGT", "a"), ("ACG", "b")]), sequence_column="dna")
    path = write(tmp_path / "d.csv", [("ACGT", "a"), ("AC!T", "a"), ("ACG", "b")])
    with pytest.raises(ValueError, match=r"d\.csv"):
        read_labelled_bases(path)
    with caplog.at_level("INFO", "dnachunk"):
        assert len(read_labelled_bases(path, on_error="skip").rows) == 2
    assert "1 rows that cannot be read are left out" in caplog.text
