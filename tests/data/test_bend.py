"""BEND's BED files: labels, strands and splits, on a literal genome."""

import pytest

from dnachunk.alphabet import reverse_complement
from dnachunk.data import Problem, Task
from dnachunk.data.bend import find_bend_tasks, read_bend
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.suites import find_tasks

CHROMOSOME = "ACGTTGCAACGGTTTACGATCGATCGAACGTT"
BED = """chromosome\tstart\tend\tsplit\tlabel\tstrand
chr1\t0\t8\ttrain\t0,2\t+
chr1\t4\t12\ttrain\t1\t-
chr1\t8\t16\ttrain\t\t+
chr1\t2\t10\tvalid\t2\t-
chr1\t16\t24\ttest\t1,0\t.
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "genomes").mkdir()
    (tmp_path / "genomes" / "GRCh38.fa").write_text(f">chr1\n{CHROMOSOME}\n")
    (tmp_path / "genomes" / "GRCh37.no-chr.fa").write_text(f">1\n{CHROMOSOME}\n")
    (tmp_path / "histone_modification").mkdir()
    (tmp_path / "histone_modification" / "histone_modification.bed").write_text(BED)
    return tmp_path


def test_labels_strands_and_splits(folder):
    found = read_bend(folder / "histone_modification" / "histone_modification.bed")
    assert list(found) == ["train", "valid", "test"]
    assert found["train"].sequences == [
        *(CHROMOSOME[0:8], reverse_complement(CHROMOSOME[4:12]), CHROMOSOME[8:16]),
    ]
    assert found["valid"].sequences == [reverse_complement(CHROMOSOME[2:10])]
    assert found["train"].labels == [("0|2",), ("1",), ("",)]
    assert found["test"].places[0].endswith("histone_modification.bed, line 6")
    task = Task.of(found)
    assert (task.problem, task.names) == (Problem.multi_label, ("0", "1", "2"))
    assert task.train.targets == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert task.test.targets == [[1, 1, 0]]


def test_labels_of_one_class_each(folder):
    path = folder / "plain.bed"
    path.write_text(
        "chrom\tstart\tend\tsplit\tlabel\n1\t0\t8\ttrain\t1\n1\t8\t16\ttrain\t0\n1\t1\t9\ttest\t1\n"
    )
    found = read_bend(path)
    assert found["train"].labels == [("1",), ("0",)]
    # Without a column of strands all are forward, and the genome is the one that has the record.
    assert found["test"].sequences == [CHROMOSOME[1:9]]


def test_what_is_no_task_is_told(folder):
    (folder / "gene_finding").mkdir()
    (folder / "gene_finding" / "gene_finding.bed").write_text(
        "chromosome\tstart\tend\tsplit\nchr1\t0\t4\ttrain\n"
    )
    (folder / "variant_effects.bed").write_text(
        "chromosome\tstart\tend\tref\talt\tlabel\nchr1\t3\t4\tT\tA\t1\n"
    )
    found, refused = find_bend_tasks(folder)
    assert list(found) == ["histone_modification"]
    assert refused == {
        "gene_finding": "its labels are in an hdf5 file, which is not read",
        "variant_effects": "its BED file has no column split: BEND scores variants without any training",
    }
    assert list(find_tasks(folder, name="bend")) == ["histone_modification"]
    assert list(find_tasks(folder, ["histone*"], "bend")) == ["histone_modification"]
    with pytest.raises(
        ArgumentError, match=r"task gene_finding of BEND .* cannot be read: its labels are in an"
    ):
        find_tasks(folder, ["gene_finding"], "bend")
    with pytest.raises(ValueError, match="has no task 'nothing'; it has histone_modification"):
        find_tasks(folder, ["nothing"], "bend")
    with pytest.raises(
        ValueError, match=r"holds no task; BEND \(Marin et al. 2024\) are expected as histone"
    ):
        find_tasks(folder / "genomes", name="bend")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("chr1\t4", "chr2\t4", "line 3: .*GRCh38.fa has no record 'chr2'"),
        ("4\t12", "four\t12", "line 3: start must be a whole number, got 'four'"),
        ("4\t12", "4\t99", "line 3: .*99"),
        ("\t1\t-", "\t1", "line 3: a line must have 6 fields, got 5"),
    ],
)
def test_bad_lines_are_refused_or_left_out(folder, old, new, said):
    path = folder / "histone_modification" / "histone_modification.bed"
    path.write_text(BED.replace(old, new, 1))
    with pytest.raises(ValueError, match=said):
        read_bend(path)
    found = read_bend(path, "skip")
    assert [len(found[split]) for split in found] == [2, 1, 1]
    assert len(found["train"].skipped) == 1


def test_splits_and_genomes_that_do_not_fit(folder):
    path = folder / "histone_modification" / "histone_modification.bed"
    path.write_text(BED.replace("\tlabel", "\tlabels"))
    with pytest.raises(ValueError, match="must have a column 'label' in its first line"):
        read_bend(path)
    path.write_text(BED.replace("valid", "part3"))
    with pytest.raises(ValueError, match="line 5: split must be one of train, valid, test, got 'part3'"):
        read_bend(path)
    path.write_text(BED.replace("train", "test"))
    with pytest.raises(ValueError, match="has no sample whose split is train"):
        read_bend(path)
    path.write_text(BED.replace("chr1", "chrX"))
    with pytest.raises(ArgumentError, match="needs one FASTA file with the record 'chrX' .* got 0 of GRCh37"):
        read_bend(path)
    (folder / "genomes" / "again.fa").write_text(f">chr1\n{CHROMOSOME}\n")
    path.write_text(BED)
    with pytest.raises(ArgumentError, match="needs one FASTA file with the record 'chr1' .* got 2 of GRCh37"):
        read_bend(path)
