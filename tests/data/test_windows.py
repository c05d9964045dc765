import collections
import pickle

import pytest
import torch
from torch.utils.data import DataLoader, Subset

from dnachunk.data import (
    Genome,
    HeldOutWindows,
    Interval,
    WindowCollator,
    WindowDataset,
    default_holdout,
    packaged_genome,
)
from dnachunk.random import mix

COMPLEMENT = torch.tensor([0, 1, 2, 3, 4, 8, 7, 6, 5, 9])


def counting_sequence(length):
    """A sequence without a repeated word of ten bases, so that a window tells where it lies."""
    return "".join("ACGT"[mix(3, i) % 4] for i in range(length))


@pytest.fixture
def write(tmp_path):
    def write(name, **records):
        path = tmp_path / name
        path.write_text("".join(f">{record}\n{sequence}\n" for record, sequence in records.items()))
        return Genome(path)

    return write


@pytest.fixture
def small(write):
    return write("small.fa", one=counting_sequence(60), two=counting_sequence(100)[60:], short="ACGTACG")


def place_finder(genome, window_bp):
    """Maps a window to (record index, start, whether on the reverse strand)."""
    places = {}
    for index, record in enumerate(genome.records):
        for start in range(record.length_bp - window_bp + 1):
            ids = genome.fetch(index, start, start + window_bp)[0].long()
            places.setdefault(tuple(ids.tolist()), []).append((index, start, False))
            places.setdefault(tuple(COMPLEMENT[ids].flip(0).tolist()), []).append((index, start, True))

    def place_of(item):
        (place,) = places[tuple(item["input_ids"].tolist())]
        return place

    return place_of


def items_equal(left, right):
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("chrI", Interval("chrI")),
        ("chrI:1-100", Interval("chrI", 0, 100)),
        ("chrI:5-5", Interval("chrI", 4, 5)),
        ("chrI:1,001-2,000", Interval("chrI", 1000, 2000)),
        ("chrI:101-", Interval("chrI", 100, None)),
        ("HLA:A*01:2-3", Interval("HLA:A*01", 1, 3)),
        ("HLA:A", Interval("HLA:A")),
    ],
)
def test_interval_text(text, interval):
    assert Interval.parse(text) == interval
    assert Interval.parse(str(interval)) == interval


def test_interval_whose_record_looks_like_one():
    name = "chr21:14338130-36338129"
    assert Interval.parse(name, [name]) == Interval(name)
    assert Interval.parse(f"{name}:1-10", [name]) == Interval(name, 0, 10)
    assert Interval.parse(name) == Interval("chr21", 14338129, 36338129)


@pytest.mark.parametrize("text", ["chrI:0-5", "chrI:6-5", "chrI:0-"])
def test_bad_interval_text(text):
    message = f"Interval.parse: text must have positions 1 <= start <= end, got '{text}'"
    with pytest.raises(ValueError, match=message):
        Interval.parse(text)


def test_bad_interval():
    with pytest.raises(ValueError, match=r"text must be 'name' or 'name:start-end', got ''"):
        Interval.parse("")
    with pytest.raises(ValueError, match="must be 0 <= start_bp < end_bp, got 5, 5"):
        Interval("chrI", 5, 5)
    with pytest.raises(ValueError, match="got -1, 5"):
        Interval("chrI", -1, 5)


def test_default_holdout(write):
    def kept(window_bp=None, **records):
        genome = write("x.fa", **records)
        return [(each.record, each.start_bp, each.end_bp) for each in default_holdout([genome], window_bp)]

    assert kept(a="A" * 90, b="C" * 9) == [("b", 0, 9)]
    assert kept(a="A" * 90, b="C" * 14) == [("b", 0, 14)]
    assert kept(a="A" * 80, b="C" * 20) == [("b", 10, 20)]
    assert kept(a="A" * 80, b="C" * 10, c="G" * 5, d="T" * 5) == [("d", 0, 5), ("c", 0, 5)]
    assert kept(a="A" * 90, b="C" * 6, c="G" * 4) == [("c", 0, 4), ("b", 0, 6)]
    assert kept(a="A" * 94, b="C" * 6) == [("b", 0, 6), ("a", 90, 94)]
    assert kept(a="ACGT" * 24) == [("a", 86, 96)]
    assert kept(a="ACG") == [("a", 2, 3)]
    # Small records come last, and those without a window never.
    small = {f"s{index}": "T" * 9 for index in range(200)}
    assert kept(a="A" * 900, b="C" * 300, **small) == [("b", 0, 300)]
    assert kept(a="A" * 9000, b="C" * 800, **small) == [("b", 0, 800), ("a", 8640, 9000)]
    assert kept(**small) == [(f"s{index}", 0, 9) for index in range(199, 184, -1)]
    assert kept(window_bp=10, a="A" * 90, **small) == [("a", 80, 90)]


def test_default_holdout_of_several_genomes(write):
    left, right = write("left.fa", a="A" * 90, b="C" * 10), write("right.fa", b="ACGT" * 24)
    assert default_holdout([left, right]) == [
        Interval("b", 0, 10, str(left.path)),
        Interval("b", 86, 96, str(right.path)),
    ]


@pytest.mark.parametrize(
    ("windows", "share"),
    [
        # In hundredths of so many windows of 10 bp.
        (2000, 10),
        (1999, 15),
        (1334, 15),
        (1000, 20),
        (400, 50),
        (399, 10),
        (20, 10),
    ],
)
def test_default_holdout_has_some_hundreds_of_windows(write, windows, share):
    genome = write("x.fa", a=counting_sequence(10 * windows))
    (interval,) = default_holdout([genome], 10)
    held_bp = -(-10 * windows * share // 100)
    assert interval == Interval("a", 10 * windows - held_bp, 10 * windows, str(genome.path))
    held_out = HeldOutWindows([genome], 10, [interval])
    assert (len(held_out) >= 200) == (windows >= 400)


def test_default_holdout_of_an_assembly_that_ends_in_a_scaffold(write):
    chromosomes = {f"chr{index}": counting_sequence(20_000) for index in range(5)}
    genome = write("x.fa", **chromosomes, scaffold=counting_sequence(732))
    holdout = default_holdout([genome], 50)
    assert [str(interval) for interval in holdout] == ["chr4:9927-20000"]
    assert len(HeldOutWindows([genome], 50, holdout)) == 201
    assert [str(interval) for interval in default_holdout([genome], 1000)] == ["chr4:10001-20000"]


def test_default_holdout_of_yeast_is_its_last_chromosome(write):
    # In kb; documented figures are of this one.
    sizes = [230, 813, 317, 1532, 577, 270, 1091, 563, 440, 746, 667, 1078, 924, 784, 1091, 948]
    genome = write("x.fa", **{f"chr{index}": "A" * size for index, size in enumerate(sizes, start=1)})
    assert default_holdout([genome]) == [Interval("chr16", 0, 948, str(genome.path))]


def test_default_holdout_counts_no_window_of_n(write):
    genome = write("x.fa", a=counting_sequence(8000) + "N" * 2000)
    assert default_holdout([genome], 10) == [Interval("a", 6000, 10_000, str(genome.path))]
    small = write("small.fa", a=counting_sequence(80) + "N" * 20)
    assert default_holdout([small], 10) == [Interval("a", 70, 100, str(small.path))]
    assert default_holdout([write("n.fa", a="N" * 100)], 10) == []
    assert default_holdout([write("short.fa", a="ACGT")], 10) == []


def test_literal_item(write):
    genome = write("x.fa", a="ACgtN")
    dataset = WindowDataset([genome], 5, num_windows=3, seed=0, reverse_complement=False, max_n_fraction=0.2)
    assert len(dataset) == 3
    for index in range(3):
        item = dataset[index]
        assert item["input_ids"].dtype == torch.int64
        assert item["input_ids"].tolist() == [5, 6, 7, 8, 9]
        assert item["repeat_mask"].tolist() == [False, False, True, True, False]
        assert item["sample_index"].dtype == torch.int64
        assert item["sample_index"].item() == index
        assert item["sample_index"].shape == ()


def test_every_place_is_drawn_equally_often(small):
    dataset = WindowDataset([small], 30, num_windows=4200, seed=5)
    counts = collections.Counter(map(place_finder(small, 30), dataset))
    # 31 places in "one", 11 in "two", none in "short", on two strands.
    want = {(0, start) for start in range(31)} | {(1, start) for start in range(11)}
    assert set(counts) == {(*place, is_reverse) for place in want for is_reverse in (False, True)}
    expected = 4200 / 84
    chi_square = sum((count - expected) ** 2 for count in counts.values()) / expected
    assert abs(chi_square - 83) < 4 * (2 * 83) ** 0.5


HOLDOUTS = [
    [],
    [Interval("one", 20, 21)],
    [Interval("one", 0, 5), Interval("one", 30, 40)],
    [Interval("one", 30, 40), Interval("one", 35, 50), Interval("one", 50, 52), Interval("two", 39, None)],
    [Interval("one", 13, 14), Interval("one", 24, 25), Interval("one", 10, 14)],
    [Interval("one", 10, 30), Interval("one", 12, 15)],
    [Interval("two")],
]


@pytest.mark.parametrize("holdout", HOLDOUTS, ids=str)
@pytest.mark.parametrize("window_bp", [10, 17])
def test_no_window_overlaps_a_held_out_interval(small, holdout, window_bp):
    held_out = {
        (small.index_of(interval.record), position)
        for interval in holdout
        for position in range(
            interval.start_bp, interval.end_bp or small.records[small.index_of(interval.record)].length_bp
        )
    }
    allowed = {
        (index, start)
        for index, record in enumerate(small.records)
        for start in range(record.length_bp - window_bp + 1)
        if not any((index, start + step) in held_out for step in range(window_bp))
    }
    dataset = WindowDataset([small], window_bp, holdout=holdout, num_windows=1500, seed=1)
    # With at most 75 places and 1500 draws, every allowed one comes up, and no other.
    place_of = place_finder(small, window_bp)
    assert {place_of(item)[:2] for item in dataset} == allowed

    if not any(interval.start_bp + window_bp <= (interval.end_bp or 40) for interval in holdout):
        return
    windows = HeldOutWindows([small], window_bp, holdout)
    for item in windows:
        index, start, is_reverse = place_of(item)
        assert not is_reverse
        assert all((index, start + step) in held_out for step in range(window_bp))


def test_strands_are_reverse_complements(write):
    genome = write("x.fa", a="ACGTTNaacc")
    dataset = WindowDataset([genome], 10, num_windows=400, seed=2, max_n_fraction=0.1)
    forward = ([5, 6, 7, 8, 8, 9, 5, 5, 6, 6], [False] * 6 + [True] * 4)
    reverse = ([7, 7, 8, 8, 9, 5, 5, 6, 7, 8], [True] * 4 + [False] * 6)
    seen = [(item["input_ids"].tolist(), item["repeat_mask"].tolist()) for item in dataset]
    assert {str(pair) for pair in seen} == {str(forward), str(reverse)}
    assert 150 < seen.count(reverse) < 250


def test_item_depends_on_seed_and_index_alone(small):
    def dataset(**changes):
        return WindowDataset([small], 20, **{"num_windows": 50, "seed": 9, **changes})

    first = [dataset()[index] for index in range(50)]
    again = dataset()
    for index in [49, 0, 17, 17]:
        assert items_equal(again[index], first[index])
    longer = dataset(num_windows=10**12)
    assert all(items_equal(longer[index], first[index]) for index in range(50))
    other = dataset(seed=10)
    assert sum(torch.equal(other[index]["input_ids"], first[index]["input_ids"]) for index in range(50)) < 10


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_and_ranks_change_nothing(small, workers):
    dataset = WindowDataset([small], 20, num_windows=23, seed=4)
    want = WindowCollator()([dataset[index] for index in range(23)])
    context = "fork" if workers else None

    def load(indices):
        loader = DataLoader(
            Subset(dataset, indices),
            batch_size=4,
            num_workers=workers,
            multiprocessing_context=context,
            collate_fn=WindowCollator(),
        )
        batches = list(loader)
        return {name: torch.cat([batch[name] for batch in batches]) for name in want}

    assert items_equal(load(range(23)), want)
    # Two ranks with every second sample each, and a run resumed after 12 samples.
    for rank in range(2):
        part = load(range(rank, 23, 2))
        assert all(torch.equal(part[name], want[name][rank::2]) for name in want)
    resumed = load(range(12, 23))
    assert all(torch.equal(resumed[name], want[name][12:]) for name in want)


def test_spawned_workers_open_the_genome_themselves(small):
    dataset = WindowDataset([small], 20, num_windows=23, seed=4, holdout=[Interval("two")])
    copy = pickle.loads(pickle.dumps(dataset))
    assert all(items_equal(copy[index], dataset[index]) for index in range(23))
    held_out = HeldOutWindows([small], 10, [Interval("two")])
    assert items_equal(pickle.loads(pickle.dumps(held_out))[3], held_out[3])


def shares(genomes, **arguments):
    """Share of the windows from each genome, which are told apart by their one letter."""
    dataset = WindowDataset(genomes, 10, num_windows=3000, seed=6, reverse_complement=False, **arguments)
    first_ids = torch.stack([dataset[index]["input_ids"][0] for index in range(3000)])
    return [(first_ids == token).double().mean().item() for token in (5, 6, 7)]


def test_weights(write):
    genomes = [
        write("a.fa", a="A" * 600),
        write("b.fa", b="C" * 100, b2="C" * 200),
        write("c.fa", c="G" * 100),
    ]
    # Three standard deviations of a share of 3000 draws are at most 0.027.
    assert shares(genomes) == pytest.approx([0.6, 0.3, 0.1], abs=0.027)
    assert shares(genomes, weights=[1, 1, 2]) == pytest.approx([0.25, 0.25, 0.5], abs=0.027)
    assert shares(genomes, weights=[0, 0.5, 0])[1] == 1
    # A genome without a place for a window may be given where it is never drawn.
    tiny = write("tiny.fa", t="A")
    assert shares([tiny, *genomes[1:]], weights=[0, 1, 3]) == pytest.approx([0, 0.25, 0.75], abs=0.027)


def test_redraws_do_not_change_the_weights(write):
    full_of_n = write("n.fa", a="A" * 110 + "N" * 890)
    clean = write("c.fa", c="C" * 1000)
    assert shares([full_of_n, clean], max_n_fraction=0) == pytest.approx([0.5, 0.5, 0], abs=0.027)


def test_windows_with_many_n_are_drawn_again(write):
    genome = write("x.fa", a="A" * 100 + "N" * 100 + "A" * 100)
    dataset = WindowDataset([genome], 20, num_windows=500, seed=0, max_n_fraction=0.25)
    counts = [(item["input_ids"] == 9).sum().item() for item in dataset]
    assert max(counts) == 5
    whole = WindowDataset([genome], 300, num_windows=1, seed=0, max_n_fraction=0.34)[0]
    strands = [[base] * 100 + [9] * 100 + [base] * 100 for base in (5, 8)]
    assert whole["input_ids"].tolist() in strands


def test_genome_of_n(write):
    genome = write("n.fa", a="N" * 50)
    dataset = WindowDataset([genome], 20, num_windows=5, seed=0)
    message = r"WindowDataset: 100 windows of 20 bp drawn from .*n\.fa for item 3 all had more than 10% N"
    with pytest.raises(ValueError, match=message):
        dataset[3]


def test_held_out_windows_tile(small):
    holdout = [Interval("two", 5, 29), Interval("one", 1, 12), Interval("one", 12, 31)]
    windows = HeldOutWindows([small], 10, holdout)
    places = list(map(place_finder(small, 10), windows))
    assert places == [(0, 1, False), (0, 11, False), (0, 21, False), (1, 5, False), (1, 15, False)]
    assert [item["sample_index"].item() for item in windows] == [0, 1, 2, 3, 4]
    assert windows[0]["repeat_mask"].dtype == torch.bool
    path, names = str(small.path), [record.name for record in small.records]
    assert windows.intervals == [
        Interval(names[index], start, start + 10, path) for index, start, _ in places
    ]


def test_held_out_windows_at_most(write):
    genome = write("x.fa", a=counting_sequence(200))
    place_of = place_finder(genome, 10)

    def starts(max_windows):
        windows = HeldOutWindows([genome], 10, [Interval("a")], max_windows)
        return [place_of(item)[1] for item in windows]

    assert starts(None) == starts(20) == starts(99) == list(range(0, 200, 10))
    assert starts(5) == [0, 40, 80, 120, 160]
    assert starts(3) == [0, 60, 130]
    assert starts(1) == [0]


def test_held_out_windows_leave_out_n(write):
    genome = write("x.fa", a="A" * 10 + "N" * 10 + "C" * 9 + "N" + "G" * 8 + "NN" + "T" * 5)
    windows = HeldOutWindows([genome], 10, [Interval("a")])
    assert [item["input_ids"][0].item() for item in windows] == [5, 6]
    windows = HeldOutWindows([genome], 10, [Interval("a")], max_n_fraction=0.2)
    assert [item["input_ids"][0].item() for item in windows] == [5, 6, 7]


def test_holdout_of_one_of_two_genomes_with_equal_names(write):
    left, right = write("left.fa", a="A" * 40), write("right.fa", a="C" * 40)
    only_right = [Interval("a", 0, 30, str(right.path))]
    assert {item["input_ids"][0].item() for item in HeldOutWindows([left, right], 10, only_right)} == {6}
    assert len(HeldOutWindows([left, right], 10, [Interval("a", 0, 30)])) == 6
    assert len(HeldOutWindows([left, right], 2, default_holdout([left, right]))) == 4
    with pytest.raises(
        ValueError, match=r"got 'chra': the records are a \(aliases='chr' .*; the records are a"
    ):
        HeldOutWindows([left, right], 10, [Interval("chra")])


def test_holdouts_by_other_names(write):
    genome = Genome(write("x.fa", **{"1": "A" * 40, "MT": "C" * 40}).path, aliases="chr")
    assert {item["input_ids"][0].item() for item in HeldOutWindows([genome], 10, [Interval("chrM")])} == {6}
    dataset = WindowDataset(
        [genome], 10, holdout=[Interval("chrM")], num_windows=50, seed=0, reverse_complement=False
    )
    assert {item["input_ids"][0].item() for item in dataset} == {5}


def test_default_holdout_of_the_packaged_genome_keeps_training_and_evaluation_apart():
    genome = Genome(packaged_genome())
    holdout = default_holdout([genome], 512)
    assert holdout == default_holdout([genome])
    held_out = HeldOutWindows([genome], 512, holdout)
    assert len(held_out) == 104_252 // 512
    assert torch.equal(held_out[0]["input_ids"], genome.fetch(0, 938_267, 938_779)[0].long())


def test_collator():
    items = [
        {
            "input_ids": torch.tensor([5, 9, 4, 8]),
            "repeat_mask": torch.tensor([True, False, True, True]),
            "sample_index": torch.tensor(7),
        },
        {
            "input_ids": torch.tensor([6, 7]),
            "repeat_mask": torch.tensor([False, True]),
            "sample_index": torch.tensor(2),
        },
    ]
    batch = WindowCollator()(items)
    assert {name: value.tolist() for name, value in batch.items()} == {
        "input_ids": [[5, 9, 4, 8], [6, 7, 0, 0]],
        "attention_mask": [[1, 1, 1, 1], [1, 1, 0, 0]],
        "labels": [[5, -100, -100, 8], [6, 7, -100, -100]],
        "repeat_mask": [[True, False, True, True], [False, True, False, False]],
        "sample_index": [7, 2],
    }
    assert {name: value.dtype for name, value in batch.items()} == {
        "input_ids": torch.int64,
        "attention_mask": torch.int64,
        "labels": torch.int64,
        "repeat_mask": torch.bool,
        "sample_index": torch.int64,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"genomes": []}, "WindowDataset: genomes must be at least one Genome, got none"),
        ({"window_bp": 0}, "window_bp must be at least 1, got 0"),
        (
            {"window_bp": 61},
            r"must fit into a record of .*small\.fa; the longest, 'one', has 60 bp, got 61",
        ),
        (
            {"holdout": [Interval("one", 25, 30), Interval("two")], "window_bp": 40},
            r"small\.fa, outside the held-out intervals \(holdout\); the longest, 'one', has 60 bp, got 40",
        ),
        ({"holdout": [Interval("three")]}, r"holdout must name records of .*small\.fa, got 'three'"),
        (
            {"holdout": [Interval("one", 0, 5, "other.fa")]},
            r"must name records of other\.fa, got 'one'",
        ),
        (
            {"holdout": [Interval("one", 0, 61)]},
            "must lie in its record, got one:1-61 of a record of 60 bp",
        ),
        ({"holdout": [Interval("one", 60)]}, "must lie in its record, got one:61- of a record of 60 bp in"),
        ({"weights": [1, 1]}, r"weights must be 1 finite numbers of at least 0 and not all 0, got \[1, 1\]"),
        ({"weights": [0]}, r"not all 0, got \[0\]"),
        ({"weights": [-1]}, r"got \[-1\]"),
        ({"weights": [float("nan")]}, r"got \[nan\]"),
        ({"num_windows": -1}, "num_windows must be at least 0, got -1"),
        ({"max_n_fraction": 1.5}, r"max_n_fraction must be in \[0, 1\], got 1.5"),
    ],
)
def test_bad_dataset(small, changes, message):
    arguments = {"genomes": [small], "window_bp": 20, "num_windows": 5, "seed": 0, **changes}
    with pytest.raises(ValueError, match=message):
        WindowDataset(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"genomes": []}, "HeldOutWindows: genomes must be at least one Genome, got none"),
        ({"window_bp": -3}, "window_bp must be at least 1, got -3"),
        ({"holdout": []}, r"there must be a window of 20 bp with at most 10% N to evaluate on, in .*\.fa"),
        ({"holdout": [Interval("one", 3, 22)]}, r"must hold a window of 20 bp .* got \['one:4-22'\]"),
        ({"holdout": [Interval("three")]}, r"holdout must name records of .*small\.fa, got 'three'"),
        ({"max_windows": 0}, "max_windows must be at least 1, got 0"),
        ({"max_n_fraction": -0.1}, r"max_n_fraction must be in \[0, 1\], got -0.1"),
    ],
)
def test_bad_held_out_windows(small, changes, message):
    arguments = {"genomes": [small], "window_bp": 20, "holdout": [Interval("one")], **changes}
    with pytest.raises(ValueError, match=message):
        HeldOutWindows(**arguments)


def test_short_records_are_windows_of_their_own(write):
    text = counting_sequence(500)
    parts = {
        "long": text[:120],
        "a": text[120:155],
        "b": text[155:218],
        "tiny": text[300:331],
        "held": text[400:440],
    }
    genome = write("contigs.fa", **parts, empty="")
    holdout = [Interval("held"), Interval("b", 0, 23)]
    dataset = WindowDataset(
        [genome], 64, holdout=holdout, num_windows=3000, seed=3, reverse_complement=False, short_records=True
    )
    assert (dataset.num_short, dataset.num_too_short) == (2, 2)
    counts = collections.Counter()
    for item in dataset:
        assert len(item["repeat_mask"]) == len(item["input_ids"])
        counts["".join("ACGT"[base - 5] for base in item["input_ids"].tolist())] += 1
    # What of "b" is not held out, whole, and "a"; of "long" every place.
    short = [parts["a"], parts["b"][23:]]
    whole = {parts["long"][start : start + 64] for start in range(57)}
    assert set(counts) == {*short, *whole}
    # In proportion to bases: 120, 35 and 40 of 195.
    for text, expected in zip(short, (35, 40), strict=True):
        share = 3000 * expected / 195
        assert abs(counts[text] - share) < 5 * share**0.5
    # Every place of the long one, whose 120 draws are shared by 57 places, two or three each.
    assert all(10 < counts[text] < 75 for text in whole)
    assert all(
        items_equal(one, other)
        for one, other in zip(dataset, pickle.loads(pickle.dumps(dataset)), strict=True)
    )


def test_short_records_can_be_held_out(write):
    text = counting_sequence(300)
    genome = write("contigs.fa", long=text[:100], short=text[100:150], tiny=text[150:170], n="N" * 40)
    holdout = [Interval("short", 0, 40), Interval("tiny"), Interval("n"), Interval("long", 20, 95)]
    held_out = HeldOutWindows([genome], 64, holdout, short_records=True)
    # Of a whole-length record a rest is left out, as ever.
    assert [str(each) for each in held_out.intervals] == ["long:21-84", "short:1-40"]
    assert [len(held_out[index]["input_ids"]) for index in range(2)] == [64, 40]
    assert held_out.genome_indices.tolist() == [0, 0]
    batch = WindowCollator()([held_out[index] for index in range(2)])
    assert batch["attention_mask"].sum(dim=1).tolist() == [64, 40]
    assert len(HeldOutWindows([genome], 64, holdout)) == 1
    with pytest.raises(ValueError, match="must hold a window of 64 bp"):
        HeldOutWindows([genome], 64, [Interval("tiny")], short_records=True)


def test_short_records_change_no_window_of_another_genome(write):
    whole = write("whole.fa", a=counting_sequence(200))
    contigs = write("contigs.fa", a=counting_sequence(100), b=counting_sequence(50))
    arguments = {"weights": [1, 1], "num_windows": 40, "seed": 1}
    alone = WindowDataset([whole], 64, num_windows=40, seed=1)
    beside = WindowDataset([whole, contigs], 64, **arguments, short_records=True)
    of_whole = [index for index in range(40) if mix(1, index, 0) >> 62 == 0]
    assert 5 < len(of_whole) < 35
    assert all(items_equal(alone[index], beside[index]) for index in of_whole)


def test_bad_index(small):
    dataset = WindowDataset([small], 20, num_windows=5, seed=0)
    windows = HeldOutWindows([small], 20, [Interval("one")])
    for index in (-1, 5):
        with pytest.raises(IndexError, match=f"index must be from 0 to 4, got {index}"):
            dataset[index]
    for index in (-1, 3):
        with pytest.raises(IndexError, match=f"index must be from 0 to 2, got {index}"):
            windows[index]
