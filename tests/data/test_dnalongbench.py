"""DNALongBench's tables: enhancers with their genes, and eQTLs as pairs of alleles, on a literal genome."""

import gzip

import pytest

from dnachunk.alphabet import reverse_complement
from dnachunk.data import Problem, Task
from dnachunk.data.dnalongbench import find_dnalongbench_tasks, read_dnalongbench
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.suites import find_tasks
from tests.training.finetuning import random_sequences

CHROMOSOME = random_sequences(1, 120, 4)[0]
COLUMNS = "gene_chrom gene_start gene_end gene_strand region_chrom region_start region_end target subset"
CONFIG = """genome_fa seqs/g.fa str
{kind}_file table.tsv str
{masks} masks.bed.gz str
seq_len_cutoff {cutoff} int
tss_flank_upstream 3 int
tss_flank_downstream 2 int
region_flank_upstream 1 int
region_flank_downstream 4 int
"""


def write(folder, rows, *, alleles=False, cutoff=80, masks=""):
    (folder / "seqs").mkdir(parents=True)
    (folder / "config").mkdir()
    (folder / "seqs" / "g.fa").write_text(f">chr1\n{CHROMOSOME}\n>chr2\n{CHROMOSOME}\n")
    header = [*COLUMNS.split(), *(["allele1", "allele2"] if alleles else [])]
    table = ["\t".join(header), *("\t".join(map(str, row)) for row in rows)]
    (folder / "table.tsv").write_text("\n".join(table) + "\n")
    (folder / "masks.bed.gz").write_bytes(gzip.compress(masks.encode()))
    kind, key = ("eQTL", "eQTL_tabix_file") if alleles else ("EPI", "enhancer_tabix_file")
    path = folder / "config" / "set.config"
    path.write_text(CONFIG.format(kind=kind, masks=key, cutoff=cutoff))
    return path


def gene(start, end, strand="+", record="chr1"):
    return (record, start, end, strand)


def test_sequences_read_from_the_gene_to_the_region_with_their_flanks(tmp_path):
    path = write(
        tmp_path / "enhancer_target_gene",
        [
            (*gene(20, 30), "chr1", 60, 66, "positive", "train"),
            (*gene(70, 91, "-"), "chr1", 30, 36, "negative", "train"),
            (*gene(2, 9), "chr1", 40, 44, "negative", "valid"),
            (*gene(100, 118, "-"), "chr1", 112, 116, "positive", "test"),
        ],
    )
    found = read_dnalongbench(path)
    assert list(found) == ["train", "valid", "test"]
    forward, backward = found["train"].sequences
    # The gene's start at 20: from 3 before it to 4 behind the region.
    assert forward == CHROMOSOME[17:70]
    # The gene's start is its last base, 90, and the region lies before it.
    assert backward == reverse_complement(CHROMOSOME[29:93])
    # What reaches past the record is N.
    assert found["valid"].sequences == ["N" + CHROMOSOME[:48]]
    assert found["test"].sequences == [CHROMOSOME[111:120]]
    assert [labelled.labels for labelled in found.values()] == [
        [("positive",), ("negative",)],
        [("negative",)],
        [("positive",)],
    ]
    assert found["train"].alternates is None
    task = Task.of(found)
    assert (task.problem, task.names) == (Problem.single_label, ("negative", "positive"))


def test_what_lies_between_is_masked_and_the_rest_cut_off(tmp_path):
    masks = "chr1\t0\t22\nchr1\t30\t34\nchr1\t40\t43\nchr1\t68\t75\nchr2\t50\t52\n"
    rows = [(*gene(20, 30), "chr1", 60, 66, "positive", "train")]
    path = write(tmp_path / "a", rows, masks=masks, cutoff=40)
    (text,) = read_dnalongbench(path)["train"].sequences
    whole = CHROMOSOME[17:30] + "NNNN" + CHROMOSOME[34:40] + "NNN" + CHROMOSOME[43:70]
    assert text == whole[:40]


@pytest.mark.parametrize("strand", ["+", "-"])
def test_variants_are_pairs_of_alleles(tmp_path, strand):
    start = 60
    of_gene = gene(20, 30) if strand == "+" else gene(80, 100, "-")
    allele, other = CHROMOSOME[start], "ACGT".replace(CHROMOSOME[start], "")[0] + "GG"
    row = (*of_gene, "chr1", start, start + 1, "positive", "train", allele, other)
    path = write(tmp_path / "eQTL", [row], alleles=True, masks="chr1\t60\t61\n")
    found = read_dnalongbench(path)["train"]
    first, last = (17, 65) if strand == "+" else (59, 102)
    reference = CHROMOSOME[first:last]
    alternate = CHROMOSOME[first:60] + other + CHROMOSOME[61:last]
    if strand == "-":
        reference, alternate = reverse_complement(reference), reverse_complement(alternate)
    assert (found.sequences, found.alternates) == ([reference], [alternate])


def test_rows_that_the_benchmark_leaves_out_are_listed(tmp_path):
    rows = [
        (*gene(20, 30), "chr1", 60, 66, "positive", "train"),
        (*gene(20, 30), "chr2", 60, 66, "positive", "train"),
        (*gene(20, 30, "."), "chr1", 60, 66, "positive", "train"),
        (*gene(5, 9), "chr1", 110, 114, "positive", "train"),
    ]
    found = read_dnalongbench(write(tmp_path / "a", rows))["train"]
    assert len(found) == 1
    assert [text.partition(", ")[2] for text in found.skipped] == [
        "line 3: the gene and the region lie on different records",
        "line 4: the gene has no strand",
        "line 5: 101 bases lie between the gene and the region",
    ]


GOOD = (*gene(20, 30), "chr1", 60, 61, "positive", "train", CHROMOSOME[60], "A")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (9, "NN", r"line 3: allele1 is 'NN', and the genome has '[ACGT]' there"),
        (1, "x", "line 3: gene_start must be a whole number, got 'x'"),
        (2, "130", "line 3: the gene must lie inside its record of 120 bases, got 20 to 130"),
        (6, "60", "line 3: the region must lie inside its record of 120 bases, got 60 to 60"),
        (8, "train\tmore", "line 3: a row must have 11 fields, got 12"),
        (5, "70000", "line 3"),
    ],
)
def test_bad_rows_are_refused_or_left_out(tmp_path, column, value, said):
    bad = [*GOOD]
    bad[column] = value
    if column == 5:
        bad[0] = bad[4] = "chr9"
        bad[5], said = "60", "line 3: .*g.fa has no record 'chr9'"
    path = write(tmp_path / "a", [GOOD, bad], alleles=True)
    with pytest.raises(ValueError, match=said):
        read_dnalongbench(path)
    found = read_dnalongbench(path, "skip")["train"]
    assert (len(found), len(found.skipped)) == (1, 1)


def test_configurations_and_tables_that_lack_something(tmp_path):
    path = write(tmp_path / "a", [GOOD], alleles=True)
    text = path.read_text()
    for old, new, said in (
        ("genome_fa", "genome", "must say genome_fa, got genome, eQTL_file"),
        ("eQTL_tabix_file", "tabix", "must say eQTL_tabix_file"),
        ("cutoff 80", "cutoff many", "seq_len_cutoff must be a whole number below a billion, got 'many'"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(ArgumentError, match=said):
            read_dnalongbench(path)
    path.write_text(text)
    (tmp_path / "a" / "masks.bed.gz").write_text("chr1\tx\t3\n")
    with pytest.raises(ValueError, match=r"masks.bed.gz, line 1: start must be a whole number, got 'x'"):
        read_dnalongbench(path)
    (tmp_path / "a" / "masks.bed.gz").write_text("#nothing\n")
    table = tmp_path / "a" / "table.tsv"
    rows = table.read_text()
    table.write_text(rows.replace("allele2", "alt"))
    with pytest.raises(ValueError, match="must have a column 'allele2'"):
        read_dnalongbench(path)
    table.write_text(rows.replace("\ttrain\t", "\tdev\t"))
    with pytest.raises(ValueError, match="line 2: subset must be one of train, valid, test, got 'dev'"):
        read_dnalongbench(path)
    table.write_text(rows.replace("\ttrain\t", "\ttest\t"))
    with pytest.raises(ValueError, match="has no row whose subset is train"):
        read_dnalongbench(path)


def test_tables_are_found_and_maps_refused(tmp_path):
    write(tmp_path / "eQTL", [GOOD], alleles=True)
    (tmp_path / "contact_map_prediction").mkdir()
    found, refused = find_dnalongbench_tasks(tmp_path)
    assert found == {"eQTL/set": tmp_path / "eQTL" / "config" / "set.config"}
    assert list(refused) == ["contact_map_prediction"]
    assert list(find_dnalongbench_tasks(tmp_path / "eQTL")[0]) == ["set"]
    assert list(find_tasks(tmp_path, name="dnalongbench")) == ["eQTL/set"]
    with pytest.raises(
        ArgumentError, match="contact_map_prediction of DNALongBench .* targets are tracks or ma"
    ):
        find_tasks(tmp_path, ["contact_map_prediction"], "dnalongbench")
