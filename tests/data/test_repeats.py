import gzip
import pickle

import pytest

from dnachunk.data import Genome, WindowDataset
from dnachunk.data.repeats import Repeat, has_repeats, read_repeats, with_repeats

OUT = """   SW   perc perc perc  query  position in query    matching repeat       position in repeat
score   div. del. ins.  sequence  begin end (left)   repeat   class/family  begin end (left) ID

  463   1.3  0.6  1.7  one    3    6  (14) + (TAACCC)n Simple_repeat      1  463    (0)      1
   21  24.5  1.0  0.0  two   10   12   (0) C MER5A     DNA/hAT-Charlie (23)  165     92      2 *
"""


@pytest.fixture
def genome(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(">one\nACGTACGTACGTACGTACGT\n>two\nACGTAcgtACGT\n")
    return Genome(path)


def flags(genome, *span, **options):
    return "".join(".x"[flag] for flag in genome.fetch(*span, **options)[1].tolist())


def test_intervals_are_repeats_beside_lower_case(genome, tmp_path):
    bed = tmp_path / "r.bed"
    # Overlapping, touching, in no order, one without a base, one of another genome.
    bed.write_text("one\t10\t14\tAlu\none\t2\t5\none\t5\t6\none\t12\t15\ntwo\t0\t2\ntwo\t9\t9\nthree\t0\t9\n")
    (masked,), skipped = with_repeats([genome], [bed])
    assert skipped == []
    assert masked.repeats[0].tolist() == [[2, 10], [6, 15]]
    assert flags(masked, 0, 0, 20) == "..xxxx....xxxxx....."
    assert flags(masked, 0, 4, 12) == "xx....xx"
    assert flags(masked, 0, 6, 10) == "...."
    assert flags(masked, 0, 11, 13) == "xx"
    assert flags(masked, 0, 4, 12, reverse_complement=True) == "xx....xx"[::-1]
    assert flags(masked, 1, 0, 12) == "xx...xxx...."
    assert flags(pickle.loads(pickle.dumps(masked)), 0, 0, 20) == "..xxxx....xxxxx....."
    # The one that was given stays as it is.
    assert flags(genome, 0, 0, 20) == "." * 20
    dataset = WindowDataset([masked], 20, num_windows=1, seed=0, reverse_complement=False)
    assert "".join(".x"[flag] for flag in dataset[0]["repeat_mask"].tolist()) == "..xxxx....xxxxx....."


def test_repeatmaskers_own_table(genome, tmp_path):
    (tmp_path / "g.fa.out").write_text(OUT)
    (masked,), _ = with_repeats([genome], [tmp_path / "g.fa.out"])
    assert flags(masked, 0, 0, 20) == "..xxxx.............."
    assert flags(masked, 1, 0, 12) == ".....xxx.xxx"


def test_other_names_of_records(genome, tmp_path):
    bed = tmp_path / "r.bed"
    bed.write_text("chrone\t0\t2\n")
    (masked,), _ = with_repeats([genome.with_aliases("chr")], [bed])
    assert flags(masked, 0, 0, 4) == "xx.."
    with pytest.raises(
        ValueError, match=r"it names chrone, and of .*g\.fa the records are one, two"
    ) as error:
        with_repeats([genome], [bed])
    assert "`aliases=chr` takes such names for the same" in error.value.message
    assert error.value.as_options().startswith("--repeats ")


def test_several_genomes(genome, tmp_path):
    other = tmp_path / "h.fa"
    other.write_text(">three\nACGTACGT\n")
    bed = tmp_path / "r.bed"
    bed.write_text("three\t1\t3\none\t0\t1\n")
    first, second = with_repeats([genome, Genome(other)], [bed])[0]
    assert (flags(first, 0, 0, 4), flags(second, 0, 0, 4)) == ("x...", ".xx.")
    with pytest.raises(ValueError, match=r"must name records of one genome, got 'one', of .*g\.fa, .*g\.fa"):
        with_repeats([genome, genome], [bed])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("r.bed", "one\t5\n", r"r\.bed, line 1: expected 3 or more columns, got 2"),
        ("r.bed", "one\t5\t21\n", "line 1: an interval must end inside its record of 20 bases, got 21"),
        ("r.bed", "one\t0\t1\none\tx\t2\n", "line 2: start must be a whole number, got 'x'"),
        ("r.bed", "", "it names none"),
        ("r.out", "12 1 0 0 one 5 4 (1) + A B 1 2 (3) 1\n", "positions must be 1 <= begin <= end, got 5, 4"),
        ("r.out", "12 1 0 0 one 5\n", "expected 11 or more columns, got 6"),
        ("r.txt", "one\t0\t1\n", r"must end in \.bed or \.out \(and \.gz\), got \.txt"),
    ],
)
def test_bad_files(genome, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        with_repeats([genome], [tmp_path / name])


def test_lines_are_skipped_where_that_is_asked_for(genome, tmp_path):
    (tmp_path / "r.bed").write_text("one\t5\none\t0\t2\none\t5\t21\n")
    (masked,), skipped = with_repeats([genome], [tmp_path / "r.bed"], on_error="skip")
    assert flags(masked, 0, 0, 4) == "xx.."
    assert [each.where for each in skipped] == ["r.bed, line 1", "r.bed, line 3"]


def test_whether_there_are_repeats(genome, tmp_path):
    plain = tmp_path / "plain.fa"
    plain.write_text(">one\nACGTACGTAC\n>none\n\n")
    (tmp_path / "r.bed").write_text("one\t0\t2\n")
    assert has_repeats(genome)
    assert not has_repeats(Genome(plain))
    assert has_repeats(with_repeats([Genome(plain)], [tmp_path / "r.bed"])[0][0])


def test_families_and_ages_of_repeats(genome, tmp_path):
    with gzip.open(tmp_path / "g.fa.out.gz", "wt") as file:
        file.write(OUT + "  9  7.0  0  0  three  1  2  (0) + X LTR 1 2 (0) 3\n")
    other = tmp_path / "more.out"
    other.write_text("  9  30  0  0  one  1  20  (0) + X LINE/L1 1 2 (0) 3\n")
    repeats, skipped = read_repeats(genome, [tmp_path / "g.fa.out.gz", other])
    assert skipped == []
    assert repeats == [
        Repeat(0, 2, 6, "Simple_repeat", 1.3),
        Repeat(1, 9, 12, "DNA/hAT-Charlie", 24.5),
        Repeat(0, 0, 20, "LINE/L1", 30.0),
    ]
    assert [each.repeat_class for each in repeats] == ["Simple_repeat", "DNA", "LINE"]
    assert read_repeats(genome, []) == ([], [])


def test_families_of_another_genome(genome, tmp_path):
    table = tmp_path / "r.out"
    table.write_text(OUT.replace("  one  ", "  chrone  ").replace("  two  ", "  chrtwo  "))
    with pytest.raises(
        ValueError, match=r"it names chrone, chrtwo, and of .*g\.fa the records are one, two"
    ) as error:
        read_repeats(genome, [table])
    assert "`aliases=chr` takes such names for the same" in error.value.message
    assert len(read_repeats(genome.with_aliases("chr"), [table])[0]) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("9  -  0  0  one  1  2  (0) + X LTR 1", r"r\.out, line 4: perc div\. must be a number, got '-'"),
        ("9  nan  0  0  one  1  2  (0) + X LTR 1", r"perc div\. must be a number, got 'nan'"),
        ("9  1  0  0  one  2  1  (0) + X LTR 1", "positions must be 1 <= begin <= end, got 2, 1"),
        ("9  1  0  0  one  1  21  (0) + X LTR 1", "must end inside its record of 20 bases, got 21"),
        ("9  1  0  0  one  1  2", "expected 11 or more columns, got 7"),
    ],
)
def test_faulty_lines_of_families(genome, tmp_path, line, said):
    table = tmp_path / "r.out"
    table.write_text("\n\n\n" + line + "\n" + OUT.splitlines()[3] + "\n")
    with pytest.raises(ValueError, match=said):
        read_repeats(genome, [table])
    repeats, skipped = read_repeats(genome, [table], on_error="skip")
    assert [each.family for each in repeats] == ["Simple_repeat"]
    assert [each.where for each in skipped] == ["r.out, line 4"]


def test_only_a_table_has_families(genome, tmp_path):
    (tmp_path / "r.bed").write_text("one\t1\t5\tAlu\n")
    with pytest.raises(
        ValueError, match=r"repeats .*r\.bed must be RepeatMasker's table, which ends in \.out"
    ):
        read_repeats(genome, [tmp_path / "r.bed"])
    with pytest.raises(FileNotFoundError):
        read_repeats(genome, [tmp_path / "absent.out"])
