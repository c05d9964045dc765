"""Stretches with a target ratio of their own, from files to windows."""

import pickle

import pytest
import torch

from dnachunk.data import Genome, WindowCollator, WindowDataset
from dnachunk.data.regions import with_regions


@pytest.fixture
def genome(tmp_path):
    (tmp_path / "g.fa").write_text(">a\n" + "ACGT" * 50 + "\n>b\n" + "GATTACA" * 20 + "\n")
    return Genome(tmp_path / "g.fa")


def bed(path, *lines):
    path.write_text("".join(f"{record}\t{start}\t{end}\n" for record, start, end in lines))
    return path


def test_regions_are_told_by_their_files(genome, tmp_path):
    first = bed(tmp_path / "1.bed", ("a", 10, 20), ("a", 15, 30), ("b", 0, 5))
    second = bed(tmp_path / "2.bed", ("a", 25, 40), ("a", 60, 60))
    (marked,), skipped = with_regions([genome], [first, second])
    assert skipped == []
    want = torch.zeros(200, dtype=torch.int64)
    want[10:30] = 1
    want[25:40] = 2
    for start, end in ((0, 200), (12, 28), (39, 41), (40, 60)):
        assert torch.equal(marked.region_index(0, start, end), want[start:end])
        backward = marked.region_index(0, start, end, reverse_complement=True)
        assert torch.equal(backward, want[start:end].flip(0))
    assert marked.region_index(1, 3, 8).tolist() == [1, 1, 0, 0, 0]
    copied = pickle.loads(pickle.dumps(marked))
    assert torch.equal(copied.region_index(0, 0, 200), want)
    assert torch.equal(marked.with_aliases({"one": "a"}).region_index(0, 0, 200), want)
    assert not genome.region_index(0, 0, 200).any()


def test_windows_carry_them(genome, tmp_path):
    (marked,), _ = with_regions([genome], [bed(tmp_path / "1.bed", ("a", 10, 90))])
    windows = WindowDataset([marked], 50, num_windows=20, seed=0)
    plain = WindowDataset([genome], 50, num_windows=20, seed=0)
    assert {"region_index"} == set(windows[0]) - set(plain[0])
    for index in range(20):
        assert torch.equal(windows[index]["input_ids"], plain[index]["input_ids"])
    assert any(windows[index]["region_index"].any() for index in range(20))
    batch = WindowCollator()(
        [windows[0], {name: value[:30] if value.dim() else value for name, value in windows[1].items()}]
    )
    assert torch.equal(batch["region_index"][0], windows[0]["region_index"])
    assert batch["region_index"].shape == batch["input_ids"].shape
    assert "region_index" not in WindowCollator()([plain[0]])


def test_what_does_not_fit_is_told(genome, tmp_path):
    with pytest.raises(
        ValueError, match=r"region_ratio .*other.bed has no interval on a record of the genomes: it names z"
    ):
        with_regions([genome], [bed(tmp_path / "other.bed", ("z", 0, 5))])
    with pytest.raises(
        ValueError, match="line 1: an interval must end inside its record of 200 bases, got 201"
    ):
        with_regions([genome], [bed(tmp_path / "long.bed", ("a", 0, 201))])
    _, skipped = with_regions(
        [genome], [bed(tmp_path / "both.bed", ("a", 0, 201), ("a", 1, 5))], on_error="skip"
    )
    assert len(skipped) == 1
