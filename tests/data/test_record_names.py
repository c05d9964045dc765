import pickle

import pytest

from dnachunk.data import Genome
from dnachunk.data.record_names import RecordNames, some
from dnachunk.errors import ArgumentError

CHROM_ALIAS = """# sequenceName\talias names\tUCSC database: hg38
chr1\t1\tCM000663.2\tNC_000001.11
chr2\t2\tCM000664.2\tNC_000002.12
chrM\tMT\tJ01415.2\tNC_012920.1

chrUn_x\tHSCHRUN_1
"""


@pytest.mark.parametrize(
    ("records", "aliases", "found"),
    [
        (["1", "2"], None, {"1": 0, "2": 1, "chr1": None, "01": None, "": None}),
        (["1", "X", "MT"], "chr", {"chr1": 0, "Chr1": 0, "chrX": 1, "chrM": 2, "M": 2, "chr2": None}),
        (["chr1", "chrM"], "chr", {"1": 0, "MT": 1, "M": 1, "chr1": 0, "Chr1": 0, "m": 1, "2": None}),
        (["M"], "chr", {"MT": 0, "chrM": 0}),
        (["NC_000001.11", "NC_2"], "version", {"NC_000001": 0, "NC_000001.10": None, "NC_2.4": 1}),
        (["1", "chr1"], "chr", {"1": 0, "chr1": 1}),
        (["NC_000001.11", "NC_012920.1"], "TABLE", {"chr1": 0, "1": 0, "MT": 1, "NC_012920.1": 1, "2": None}),
        (["1", "MT"], "TABLE", {"chr1": 0, "CM000663.2": 0, "chrM": 1, "HSCHRUN_1": None}),
        (["1", "2"], {"I": "1", "II": "2", "III": "3"}, {"I": 0, "II": 1, "III": None, "1": 0}),
    ],
)  # fmt: skip
def test_names_are_found_by_what_is_asked_for_and_by_nothing_else(tmp_path, records, aliases, found):
    if aliases == "TABLE":
        aliases = tmp_path / "chromAlias.txt"
        aliases.write_text(CHROM_ALIAS)
    names = RecordNames(records, aliases)
    assert {name: names.find(name) for name in found} == found


@pytest.mark.parametrize(
    ("records", "aliases", "name"),
    [
        (["1", "chr1"], "chr", "Chr1"),
        (["a.1", "a.2"], "version", "a"),
        (["1", "2"], "table", "x"),
    ],
)
def test_a_name_of_two_records_is_refused(tmp_path, monkeypatch, records, aliases, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table").write_text("1 x\n2 x\n")
    names = RecordNames(records, aliases)
    with pytest.raises(
        ValueError, match=rf"aliases: '{name}' must mean one record, got {', '.join(records)}"
    ):
        names.find(name)
    assert [names.find(record) for record in records] == [0, 1]


def test_tables_as_others_write_them(tmp_path):
    path = tmp_path / "names.tsv"
    path.write_bytes(b"\xef\xbb\xbfone\t1\r\n\r\n# a remark\r\n2 two\r\n")
    names = RecordNames(["1", "2"], path)
    assert (names.find("one"), names.find("two")) == (0, 1)
    path.write_text("one\t1\nalone\n")
    with pytest.raises(
        ValueError, match=r"names.tsv, line 2: a line must have two names or more, got 'alone'"
    ):
        RecordNames(["1"], path)
    with pytest.raises(FileNotFoundError):
        RecordNames(["1"], tmp_path / "absent.tsv")


def test_what_is_said_instead():
    def said(*names, records=("1", "2", "3", "4", "5", "6"), aliases=None):
        return str(ArgumentError(RecordNames(records, aliases).instead(names)))

    assert said("chrX", "chr2") == (
        "the records are 1, 2, 3, 4, 5, … (aliases='chr' takes such names for the same)"
    )
    assert said("a.1", records=["a"]) == "the records are a (aliases='version' takes such names for the same)"
    assert said("a.1", records=["a", "a.2"]).endswith("(aliases='version' takes such names for the same)")
    assert said("x", records=["1"]) == (
        "the records are 1 (aliases takes a table of names that mean the same)"
    )
    assert said("x", records=["1"], aliases={}) == "the records are 1 (aliases does not join them)"
    assert some([]) == ""


def test_a_genome_is_asked_by_other_names(tmp_path):
    (tmp_path / "x.fa").write_text(">1\nACGT\n>MT\nGG\n")
    assert "chr1" not in Genome(tmp_path / "x.fa")
    genome = Genome(tmp_path / "x.fa", "chr")
    assert "chr1" in genome
    assert 1 not in genome
    assert genome.index_of("chrM") == 1
    with pytest.raises(KeyError, match="has no record 'chrX'"):
        genome.index_of("chrX")
    assert pickle.loads(pickle.dumps(genome)).index_of("chrM") == 1
