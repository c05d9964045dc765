import bz2
import gzip
import lzma

import pytest

from dnachunk.data import Genome
from dnachunk.data.annotation import Feature, read_annotation

GFF = """##gff-version 3
# a remark

one\tsource\tgene\t3\t20\t.\t-\t.\tID=g1
one\tsource\tCDS\t3\t8\t0.5\t+\t0\tID=c1;note=x%09y
one\tother\tCDS\t3\t8\t.\t+\t0\tID=c2
two\tsource\tgene\t1\t4\t.\t?\t.\tID=g2
one\tsource\tregion\t1\t40\t.\t.\t.\tID=all
chrM\tsource\tgene\t1\t4\t.\t+\t.\tID=g3
##FASTA
>one
ACGT
"""


@pytest.fixture
def genome(tmp_path):
    (tmp_path / "genome.fa").write_text(">one\n" + "ACGT" * 10 + "\n>two\n" + "ACGTT" * 2 + "\n")
    return Genome(tmp_path / "genome.fa")


def write(path, text):
    data = text.encode("utf-8", "surrogateescape")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["genes.gff3", "genes.v2.GFF", "genes.gtf.gz"])
def test_gff(genome, tmp_path, name):
    found = read_annotation(write(tmp_path / name, GFF), genome)
    assert found.features == [
        Feature(0, 2, 8, "CDS", False),
        Feature(0, 2, 20, "gene", True),
        Feature(1, 0, 4, "gene", False),
    ]
    assert found.left_out == {"chrM": 1}


def test_features_have_names_where_they_are_asked_for(genome, tmp_path):
    attributes = ["ID=c1;Name=a%3Bb ", "locus_tag=x=1;gene=g;note", "Parent=p", "note=n"]
    lines = [
        f"one\ts\tCDS\t{place}\t{place + 1}\t.\t+\t.\t{text}\n"
        for place, text in enumerate(attributes, start=1)
    ]
    found = read_annotation(write(tmp_path / "a.gff3", "".join(lines)), genome, names=True)
    assert [feature.name for feature in found.features] == ["a;b", "g", "p", ""]
    assert {feature.name for feature in read_annotation(tmp_path / "a.gff3", genome).features} == {""}
    line = 'two\ts\texon\t1\t4\t.\t-\t.\ttranscript_id "t 1"; gene_name "MYC%20"; exon_number 2\n'
    found = read_annotation(write(tmp_path / "a.gtf", line), genome, names=True)
    assert found.features == [Feature(1, 0, 4, "exon", True, "MYC%20")]
    found = read_annotation(
        write(tmp_path / "a.bed", "one\t0\t4\tx\none\t0\t4\ty\none\t0\t4\n"), genome, names=True
    )
    assert [(feature.kind, feature.name) for feature in found.features] == [(".", ""), ("x", "x"), ("y", "y")]


def test_bed_names_are_kinds(genome, tmp_path):
    text = "track name=x\nbrowser position one\n#chrom\none\t0\t4\tLINE\t0\t-\r\none 5 6 SINE\ntwo\t0\t3\n"
    found = read_annotation(write(tmp_path / "repeats.bed", text), genome)
    assert found.features == [
        Feature(0, 0, 4, "LINE", True),
        Feature(0, 5, 6, "SINE", False),
        Feature(1, 0, 3, ".", False),
    ]


@pytest.mark.parametrize(
    "lines", [["one\t0\t4", "two\t1\t2"], [f"one\t{k}\t{k + 1}\tgene{k}\t0\t+" for k in range(17)]]
)
def test_a_bed_of_one_kind_has_the_files_name(genome, tmp_path, lines):
    found = read_annotation(write(tmp_path / "tata.v1.bed.gz", "\n".join(lines)), genome)
    assert len(found.features) == len(lines)
    assert {feature.kind for feature in found.features} == {"tata.v1"}


def test_a_feature_across_the_origin_of_a_circle_is_two(genome, tmp_path):
    circle = gff_line(kind="region", start="1", end="40", attributes="ID=one;Is_circular=true")
    across = gff_line(start="31", end="45", strand="-")
    text = "\n".join([across.replace("one", "two").replace("31\t45", "9\t10"), circle, across])
    assert read_annotation(write(tmp_path / "a.gff3", text), genome).features == [
        Feature(0, 0, 5, "gene", True),
        Feature(0, 30, 40, "gene", True),
        Feature(1, 8, 10, "gene", True),
    ]
    for start, end in (("41", "45"), ("31", "81")):
        lines = "\n".join([circle, gff_line(start=start, end=end)])
        with pytest.raises(ValueError, match=f"line 2: a feature must end inside its record .* got {end}"):
            read_annotation(write(tmp_path / "a.gff3", lines), genome)


def gff_line(**columns):
    names = ["record", "source", "kind", "start", "end", "score", "strand", "phase", "attributes"]
    defaults = dict(zip(names, ["one", "s", "gene", "3", "20", ".", "+", ".", "ID=1"], strict=True))
    return "\t".join((defaults | columns).values())


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("a.gff", "one gene 3 20", "expected 9 columns between tabs, got 1: one gene 3 20"),
        ("a.gff", gff_line(start="x"), "start must be a whole number, got 'x'"),
        ("a.gff", gff_line(end="-5"), "end must be a whole number, got '-5'"),
        ("a.gff", gff_line(start="0"), "positions must be 1 <= start <= end, got 0, 20"),
        ("a.gff", gff_line(start="22"), "positions must be 1 <= start <= end, got 22, 20"),
        ("a.gff", gff_line(end="41"), "a feature must end inside its record of 40 bases, got 41"),
        ("a.gff", gff_line(strand="x"), "strand must be one of"),
        ("a.gff", gff_line(end="\udcff"), "end must be a whole number, got"),
        ("a.bed", "one\t3", "expected 3 or more columns, got 2: one\t3"),
        ("a.bed", "one\t5\t4", "positions must be 0 <= start <= end, got 5, 4"),
        ("a.bed", "one\t4\t41", "a feature must end inside its record of 40 bases, got 41"),
        ("a.bed", "one\t4\t5\tx\t0\tplus", "strand must be one of"),
    ],
)
def test_malformed_lines_are_named(genome, tmp_path, name, line, said):
    path = write(tmp_path / name, f"# first\n\n{line}\n")
    with pytest.raises(ValueError, match=rf"{name}, line 3: ") as error:
        read_annotation(path, genome)
    assert said in str(error.value)
    str(error.value).encode()


def test_features_on_records_of_other_names(tmp_path):
    (tmp_path / "genome.fa").write_text(">1\n" + "ACGT" * 10 + "\n>MT\n" + "ACGTT" * 2 + "\n")
    path = write(tmp_path / "a.bed", "chr1\t3\t4\tx\nchrM\t0\t2\tx\nchrX\t1\t2\tx\nchrX\t3\t4\tx\n")
    with pytest.raises(
        ValueError, match=r"names chr1, chrM, chrX, and the records are 1, MT \(aliases='chr'"
    ):
        read_annotation(path, Genome(tmp_path / "genome.fa"))
    found = read_annotation(path, Genome(tmp_path / "genome.fa", "chr"))
    assert found.features == [Feature(0, 3, 4, "x", False), Feature(1, 0, 2, "x", False)]
    assert found.left_out == {"chrX": 2}


@pytest.mark.parametrize(
    "program",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r"),
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\n \n" + text + b"\n\n\t\n",
        lambda text: gzip.compress(text) + bytes(600),
        bz2.compress,
        lzma.compress,
    ],
    ids=["mark", "returns", "both", "blank lines", "padded gzip", "bzip2", "xz"],
)
@pytest.mark.parametrize("name", ["a.gff3", "a.bed"])
def test_what_other_programs_write(genome, tmp_path, name, program):
    lines = {"a.bed": "one\t2\t20\tgene\t0\t-\ntwo\t0\t4\tCDS\n", "a.gff3": GFF.partition("one\tother")[0]}
    want = read_annotation(write(tmp_path / name, lines[name]), genome)
    assert len(want.features) == 2
    path = tmp_path / name.replace(".", "2.")
    path.write_bytes(program(lines[name].encode()))
    assert read_annotation(path, genome) == want
    for packed in (".bz2", ".XZ", ".gz"):
        assert read_annotation(path.rename(tmp_path / f"{name}{packed}"), genome) == want
        (tmp_path / f"{name}{packed}").rename(path)


@pytest.mark.parametrize(
    ("name", "empty", "other"),
    [
        ("a.bed", ["one\t4\t4", "one\t0\t0\tx\t0\t+", "two\t10\t10"], "one\t4\t5"),
        ("a.gff", [gff_line(start="5", end="4"), gff_line(start="41", end="40")], gff_line()),
    ],
)
def test_features_without_a_base_are_counted(genome, tmp_path, name, empty, other):
    found = read_annotation(write(tmp_path / name, "\n".join([*empty, other])), genome)
    assert (len(found.features), found.num_empty, found.skipped) == (1, len(empty), ())
    with pytest.raises(
        ValueError, match=rf"has no feature .* names none, {len(empty)} have no base, and the"
    ):
        read_annotation(write(tmp_path / name, "\n".join(empty)), genome)


def test_faulty_lines_are_left_out(genome, tmp_path):
    lines = [
        "one\t0\t4",
        "one",
        "one\t9\t4",
        "one\t4\t41",
        "two\t\udcff\t4",
        "one\t4\t5\tx\t0\tplus",
        "two\t1\t2",
    ]
    path = write(tmp_path / "a.bed", "\n".join(lines))
    with pytest.raises(ValueError, match="line 2: expected 3 or more columns"):
        read_annotation(path, genome)
    found = read_annotation(path, genome, on_error="skip")
    assert [feature[:3] for feature in found.features] == [(0, 0, 4), (1, 1, 2)]
    assert found.skipped == (
        (2, "expected 3 or more columns, got 1: one"),
        (3, "positions must be 0 <= start <= end, got 9, 4"),
        (4, "a feature must end inside its record of 40 bases, got 41"),
        (5, r"start must be a whole number, got '\udcff'"),
        (6, "strand must be one of + - . ?, got 'plus'"),
    )
    with pytest.raises(ValueError, match="names none, 2 lines cannot be read, the first: expected 9 columns"):
        read_annotation(write(tmp_path / "a.gff", "one\none\n"), genome, on_error="skip")
    with pytest.raises(ValueError, match="on_error must be fail or skip, got None"):
        read_annotation(path, genome, on_error=None)


def test_files_without_a_feature(genome, tmp_path):
    path = write(tmp_path / "a.bed", "chr1\t3\t4\nchr2\t3\t4\nchr3\t3\t4\nchr4\t3\t4\n")
    with pytest.raises(
        ValueError,
        match=r"a\.bed has no feature on a record of .*: it names chr1, chr2, chr3, chr4, and the records "
        r"are one, two \(aliases takes a table of names that mean the same\)",
    ):
        read_annotation(path, genome)
    with pytest.raises(ValueError, match=r"a\.gff has no feature on .*: it names none"):
        read_annotation(write(tmp_path / "a.gff", "##gff-version 3\n"), genome)
    with pytest.raises(ValueError, match=r"must end in \.gff3, \.gff, \.gtf or \.bed .*got \.txt"):
        read_annotation(write(tmp_path / "a.txt.gz", GFF), genome)
    with pytest.raises(FileNotFoundError):
        read_annotation(tmp_path / "absent.gff", genome)
    with pytest.raises(ValueError, match=r"a\.bed: features must be parts of a record, and all 2 are whole"):
        read_annotation(write(tmp_path / "a.bed", "one\t0\t40\ntwo\t0\t10\n"), genome)
    cut = write(tmp_path / "cut.gff.gz", GFF.partition("##FASTA")[0])
    cut.write_bytes(cut.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"cut\.gff\.gz is cut short or damaged"):
        read_annotation(cut, genome)
