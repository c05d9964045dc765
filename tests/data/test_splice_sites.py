"""Splice sites on literal genomes of both strands, and on yeast's."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from dnachunk import splice_site_sets
from dnachunk.alphabet import reverse_complement
from dnachunk.data import Genome, SpliceSite, Task, read_splits
from dnachunk.errors import ArgumentError, UsageError

YEAST = Path(__file__).parents[2] / ".." / "shared" / "data" / "genomes" / "yeast_s288c_r64"

EXON, INTRON = "ACCACCACCACCACCACCAC", "GTCCCCCCCCCCCCCCCCAG"
# Behind the intron a GT begins at 45, and an AG ends at 52: no splice sites.
GENE = EXON + INTRON + "ACCACGTCCCAGACCACCAC"
SITES = [(20, "donor", "CCACGTCC"), (40, "acceptor", "CCAGACCA")]
OTHERS = [(45, "neither", "CCACGTCC"), (52, "neither", "CCAGACCA")]

GFF = "{record}\tx\t{kind}\t{start}\t{end}\t.\t{strand}\t.\t{attributes}\n"


def lines(record, exons, strand="+", kind="exon", attributes="Parent=t1"):
    return "".join(
        GFF.format(record=record, kind=kind, start=start + 1, end=end, strand=strand, attributes=attributes)
        for start, end in exons
    )


def turned(exons, length_bp=60):
    return [(length_bp - end, length_bp - start) for start, end in exons]


EXONS = [(0, 20), (40, 60)]


@pytest.fixture
def genome(tmp_path):
    """The gene on either strand, and twice more for other sets."""
    records = {"one": GENE, "two": reverse_complement(GENE), "three": GENE, "four": "ACGT" * 20}
    (tmp_path / "g.fa").write_text("".join(f">{name}\n{text}\n" for name, text in records.items()))
    return Genome(tmp_path / "g.fa")


def write(tmp_path, text, name="a.gff3"):
    path = tmp_path / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def both_strands(**options):
    return "".join(
        [
            lines("one", EXONS, **options),
            lines("two", turned(EXONS), "-", **options),
            lines("three", EXONS, **options),
        ]
    )


def rows(found, split):
    return [
        (site.border_bp, site.label, sequence)
        for site, sequence in zip(found.sites[split], found.sets[split].sequences, strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.gff3", {}),
        ("a.gff", {"attributes": "note=x; Parent=t1,t2"}),
        ("a.gff3.gz", {"attributes": "ID=e;gene=g", "kind": "CDS"}),
        ("a.gtf", {"attributes": 'gene_id "g"; transcript_id "t.1";'}),
    ],
)
def test_windows_read_along_the_strand_with_the_border_in_their_middle(tmp_path, genome, name, options):
    path = write(tmp_path, both_strands(**options), name)
    found = splice_site_sets(genome, path, test="two", valid="three", window_bp=8)
    assert list(found.sets) == ["train", "valid", "test"]
    assert rows(found, "train") == rows(found, "valid") == SITES + OTHERS
    # The other strand shows the same, from the other end.
    expected = sorted((60 - border, label, sequence) for border, label, sequence in SITES + OTHERS)
    assert rows(found, "test") == expected
    assert found.sites["test"][0] == SpliceSite(1, 8, True, "neither")
    assert found.sets["train"].labels == [("donor",), ("acceptor",), ("neither",), ("neither",)]
    assert found.sets["test"].places[0].endswith("g.fa, two:8-")
    assert found.counts("train") == {"donor": 1, "acceptor": 1, "neither": 2}
    assert found.num_cut == 0


def test_one_kind_and_no_negatives(tmp_path, genome):
    path = write(tmp_path, both_strands())
    for kind, index in (("donor", 0), ("acceptor", 1)):
        found = splice_site_sets(genome, path, test="two", kinds=kind, window_bp=8)
        assert rows(found, "train")[:2] == [SITES[index], OTHERS[index]]
    found = splice_site_sets(genome, path, test="three", train="one", negatives=0, window_bp=8)
    assert rows(found, "train") == SITES
    assert rows(found, "test") == SITES


def test_exons_go_before_coding_regions_and_short_gaps_are_no_introns(tmp_path, genome):
    coding = lines("one", [(2, 18), (42, 58)], kind="CDS")
    path = write(tmp_path, both_strands() + coding)
    assert rows(splice_site_sets(genome, path, test="two", negatives=0, window_bp=8), "train")[:2] == SITES
    gaps = lines("one", [(0, 20), (34, 60)], attributes="Parent=frame") + lines("two", turned(EXONS), "-")
    path = write(tmp_path, gaps + lines("three", [(0, 10), (12, 20), (40, 50), (49, 60)]))
    found = splice_site_sets(genome, path, test="two", negatives=0, window_bp=8)
    assert [(site.record_index, site.border_bp) for site in found.sites["train"]] == [(2, 20), (2, 40)]


def test_sites_of_several_transcripts_count_once_and_ambiguous_ones_not(tmp_path, genome):
    text = both_strands() + lines("one", EXONS, attributes="Parent=t2")
    path = write(tmp_path, text)
    found = splice_site_sets(genome, path, test="two", negatives=5, window_bp=8)
    # There are no more places that look like sites.
    assert rows(found, "train") == (SITES + OTHERS) * 2
    # What one transcript's intron begins with, another's ends with.
    text = lines("one", [(0, 20), (40, 60)], attributes="Parent=a")
    text += lines("one", [(0, 4), (20, 60)], attributes="Parent=b") + lines("two", turned(EXONS), "-")
    found = splice_site_sets(genome, write(tmp_path, text), test="two", train="one", negatives=9, window_bp=8)
    assert [row[:2] for row in rows(found, "train")] == [
        *((4, "donor"), (40, "acceptor"), (45, "neither"), (52, "neither")),
    ]


def test_windows_past_the_record_are_left_out_and_counted(tmp_path, genome):
    found = splice_site_sets(genome, write(tmp_path, both_strands()), test="two", window_bp=32)
    assert [row[0] for row in rows(found, "train")] == [20, 40] * 2
    assert found.num_cut == 6
    assert "6 windows reach past their record and are left out" in str(found)


def test_the_seed_draws_other_places(tmp_path):
    exon = "ACGTCCAGAC" * 40
    (tmp_path / "g.fa").write_text(f">a\n{exon + INTRON + exon}\n>b\n{exon + INTRON + exon}\n")
    text = lines("a", [(0, 400), (420, 820)]) + lines("b", [(0, 400), (420, 820)])
    path = write(tmp_path, text)

    def drawn(seed):
        found = splice_site_sets(tmp_path / "g.fa", path, test="b", negatives=3, seed=seed, window_bp=8)
        return found.sites["train"]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert Counter(site.label for site in drawn(1)) == {"donor": 1, "acceptor": 1, "neither": 6}


def test_tables_are_a_task(tmp_path, genome):
    path = write(tmp_path, both_strands())
    found = splice_site_sets(genome, path, tmp_path / "task", test="two", valid="three", window_bp=8)
    splits = read_splits(tmp_path / "task")
    for split, labelled in found.sets.items():
        assert (splits[split].sequences, splits[split].labels) == (labelled.sequences, labelled.labels)
    task = Task.of(splits)
    assert task.names == ("acceptor", "donor", "neither")
    written = (tmp_path / "task" / "test.csv").read_text().splitlines()
    assert written[:2] == ["sequence,label,record,border_bp,strand", "CCAGACCA,neither,two,8,-"]
    results = json.loads((tmp_path / "task" / "results.json").read_text())
    assert results["metrics"] == found.metrics
    assert found.metrics["windows"]["train"] == {"acceptor": 1, "donor": 1, "neither": 2}
    # Without a validation set, none is left from before.
    splice_site_sets(genome, path, tmp_path / "task", test="two", window_bp=8)
    assert sorted(file.name for file in (tmp_path / "task").iterdir()) == [
        *("results.json", "test.csv", "train.csv"),
    ]
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "train.csv").write_text("the user's own")
    with pytest.raises(FileExistsError, match="train.csv is not of an earlier splice-sites"):
        splice_site_sets(genome, path, tmp_path / "theirs", test="two", window_bp=8)
    assert (tmp_path / "theirs" / "train.csv").read_text() == "the user's own"


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"test": "five"}, ArgumentError, "test must name records, got 'five': the records are one, two"),
        ({"test": ()}, UsageError, "test must name a record at least"),
        ({"test": "two", "valid": ["one", "two"]}, UsageError, "test names two, which is of the valid set"),
        ({"test": ["one", "two"], "valid": ["three", "four"]}, UsageError, "none is left to train on"),
        ({"test": "two", "window_bp": 7}, ArgumentError, "window_bp must be even, .* got 7"),
        ({"test": "two", "window_bp": 0}, ArgumentError, "window_bp must be a whole number of at least 2"),
        ({"test": "two", "negatives": -1}, ArgumentError, "negatives must be a whole number of at least 0"),
        ({"test": "two", "kinds": "all"}, ArgumentError, "kinds must be both or donor or acceptor, got all"),
        ({"test": "four", "window_bp": 8}, ValueError, "has no splice site on the records of the test set"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, genome, options, error, said):
    path = write(tmp_path, both_strands())
    with pytest.raises(error, match=said):
        splice_site_sets(genome, path, tmp_path / "task", **options)
    assert not (tmp_path / "task").exists()


def test_bad_annotations_are_refused_or_left_out(tmp_path, genome):
    for text, said in (
        (
            lines("chr1", EXONS),
            "has no exon or CDS of a transcript on a record .* it names chr1, and the rec",
        ),
        (lines("one", EXONS, kind="gene"), "has no exon or CDS of a transcript"),
        (
            both_strands() + lines("one", [(50, 70)]),
            "line 7: a feature must end inside its record of 60 bases",
        ),
        (both_strands() + "one\tx\n", "line 7: expected 9 columns .*on_error='skip'"),
    ):
        with pytest.raises(ValueError, match=said):
            splice_site_sets(genome, write(tmp_path, text), test="two", window_bp=8)
    found = splice_site_sets(
        genome, write(tmp_path, both_strands() + "one\tx\n"), test="two", window_bp=8, on_error="skip"
    )
    assert [each.where for each in found.skipped] == [7]
    assert found.metrics["skipped_lines"][0].startswith("7: expected 9 columns")
    with pytest.raises(ArgumentError, match=r"annotation must end in .gff3, .gff or .gtf"):
        splice_site_sets(genome, write(tmp_path, "one\t0\t4\n", "a.bed"), test="two")


def test_records_go_by_other_names(tmp_path, genome):
    text = both_strands().replace("one\t", "chrone\t").replace("two\t", "chrtwo\t")
    path = write(tmp_path, text)
    with pytest.raises(ArgumentError, match="aliases='chr'"):
        splice_site_sets(genome, path, test="chrtwo", window_bp=8)
    found = splice_site_sets(genome.path, path, test="chrtwo", window_bp=8, aliases="chr")
    assert len(found.sites["test"]) == 4


@pytest.mark.skipif(not YEAST.is_dir(), reason="../shared/data is not here")
def test_yeast():
    found = splice_site_sets(
        YEAST / "yeast_s288c_r64.fa.gz", YEAST / "yeast_s288c_r64.gff3.gz", valid="chrXV", test="chrXVI"
    )
    for split, labelled in found.sets.items():
        counts = found.counts(split)
        assert counts["donor"] == counts["acceptor"]
        assert counts["neither"] == 2 * counts["donor"]
        for label, middle, letters in (("donor", slice(200, 202), "GT"), ("acceptor", slice(198, 200), "AG")):
            shown = [
                text[middle]
                for text, (of,) in zip(labelled.sequences, labelled.labels, strict=True)
                if of == label
            ]
            assert shown.count(letters) >= 0.95 * len(shown) > 0
        for text, (of,) in zip(labelled.sequences, labelled.labels, strict=True):
            assert len(text) == 400
            assert of != "neither" or text[200:202] == "GT" or text[198:200] == "AG"
    # Introns are in some 300 of yeast's 6,000 genes.
    assert found.counts("train")["donor"] == 241
