import gzip
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from dnachunk.data import Problem, Task, read_labelled, read_splits
from dnachunk.data.labelled import find_splits, join_sets
from dnachunk.data.task import infer_problem
from dnachunk.errors import ArgumentError

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
TABLE = "sequence,label\nACGT,1\nttuA,0\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def labelled(tmp_path, *rows, columns="sequence,label"):
    return read_labelled(
        write(tmp_path / "set.csv", "\n".join([columns, *rows])), label_columns=columns.split(",")[1:]
    )


def one_column(tmp_path, *cells):
    return labelled(tmp_path, *(f"ACGTA,{cell}" for cell in cells))


# Reading


@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt"])
def test_tables(tmp_path, suffix, packing):
    text = TABLE if suffix == ".csv" else TABLE.replace(",", "\t")
    read = read_labelled(write(tmp_path / f"train{suffix}{packing}", text))
    assert read.sequences == ["ACGT", "TTTA"]
    assert read.labels == [("1",), ("0",)]
    assert read.columns == ("label",)
    assert read.places[1] == f"{tmp_path}/train{suffix}{packing}, line 3"


def test_a_table_as_others_write_it(tmp_path):
    text = '\ufeffname,label, sequence\r\n"a, b",x,"ACGT"\r\n\r\nc,y,GG\r\n'
    read = read_labelled(write(tmp_path / "a.csv", text))
    assert read.sequences == ["ACGT", "GG"]
    assert read.labels == [("x",), ("y",)]
    assert read.places[1].endswith("line 4")


def test_a_field_of_any_length_is_read(tmp_path):
    sequence = "ACGGT" * 60_000
    assert read_labelled(write(tmp_path / "long.csv", f"sequence,label\n{sequence},1\n")).sequences == [
        sequence
    ]


def test_named_columns(tmp_path):
    path = write(tmp_path / "a.csv", "seq,one,two\nACGT,0,1\n")
    read = read_labelled(path, sequence_column="seq", label_columns=["two", "one"])
    assert read.labels == [("1", "0")]
    assert read.columns == ("two", "one")


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "sequence": ["acgt", "GG"],
        "label": [1, 0],
        "bases": [[0, 1, 1, 2], [2, 2]],
        "is_on": [True, None],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    read = read_labelled(tmp_path / "train.parquet", label_columns=["label", "bases", "is_on"])
    assert read.sequences == ["ACGT", "GG"]
    assert read.labels == [("1", "0 1 1 2", "1"), ("0", "2 2", "null")]
    assert read.places[0].endswith("train.parquet, row 1")
    with pytest.raises(ValueError, match=r"must have a column 'class'; its columns: sequence, label, bases"):
        read_labelled(tmp_path / "train.parquet", label_columns=["class"])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"bad.parquet cannot be read"):
        read_labelled(tmp_path / "bad.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pyarrow"):
        read_labelled(write(tmp_path / "a.parquet", ""))


def test_fasta_with_labels_in_headers(tmp_path):
    path = write(tmp_path / "train.fna.gz", ">chr1:5-9|sample|1\nACG\nTTT\n\n>b c|0\nGG\n")
    read = read_labelled(path)
    assert read.sequences == ["ACGTTT", "GG"]
    assert read.labels == [("1",), ("0",)]
    assert read.places[1] == f"{path}, record 2 (b c|0)"


def test_a_fasta_file_of_one_class(tmp_path):
    path = write(tmp_path / "x.fa", ">a\nACG\n>b\nGG\n")
    assert read_labelled(path, label="enhancer").labels == [("enhancer",)] * 2
    with pytest.raises(ValueError, match=r"record 1 \(a\): the header must end in \| and the label"):
        read_labelled(path)
    with pytest.raises(ValueError, match="label is for FASTA files"):
        read_labelled(write(tmp_path / "a.csv", TABLE), label="enhancer")


def test_folders_of_classes(tmp_path):
    write(tmp_path / "a" / "negative" / "1.txt", "AC\nGT\n")
    write(tmp_path / "a" / "negative" / "0.txt", "GGG")
    write(tmp_path / "a" / "positive" / "0.txt.gz", "TTT")
    write(tmp_path / "a" / ".cache" / "0.txt", "!")
    read = read_labelled(tmp_path / "a")
    assert read.sequences == ["GGG", "ACGT", "TTT"]
    assert read.labels == [("negative",), ("negative",), ("positive",)]
    assert read.places[2] == f"{tmp_path}/a/positive/0.txt.gz"
    write(tmp_path / "b" / "coding.fa.gz", ">x|7\nAC\n")
    write(tmp_path / "b" / "other.v2" / "y.fasta", ">y\nGG\n>z\nTT\n")
    assert read_labelled(tmp_path / "b").labels == [("coding",), ("other.v2",), ("other.v2",)]


def test_splits_of_gue(tmp_path):
    for name, rows in (("train", 3), ("dev", 2), ("test", 1)):
        write(tmp_path / f"{name}.csv", "sequence,label\n" + "ACGT,1\n" * rows)
    sizes = {split: len(part) for split, part in read_splits(tmp_path).items()}
    assert sizes == {"train": 3, "valid": 2, "test": 1}


def test_splits_of_genomic_benchmarks(tmp_path):
    for split in ("train", "test"):
        for name in ("negative", "positive"):
            write(tmp_path / split / name / "0.txt", "ACGT")
    splits = read_splits(tmp_path)
    assert set(splits) == {"train", "test"}
    assert splits["test"].labels == [("negative",), ("positive",)]


def test_splits_of_the_nucleotide_transformer(tmp_path):
    for name in ("train", "test"):
        write(tmp_path / "H3" / f"{name}.fna", f">{name}|1\nACGT\n")
        write(tmp_path / "H3" / f"{name}.parquet", "of the same")
        write(tmp_path / "H4" / f"{name}-00000-of-00002.parquet", "")
        write(tmp_path / "H4" / f"{name}-00001-of-00002.parquet", "")
    assert read_splits(tmp_path / "H3")["test"].labels == [("1",)]
    names = [path.name for path in find_splits(tmp_path / "H4")["train"]]
    assert names == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    with pytest.raises(ValueError, match="sets to choose from: H3, H4"):
        read_splits(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_every_set_of_the_shared_data_is_read():
    folders = sorted(path.parent for path in SHARED.glob("*/*/train.csv.gz"))
    assert len(folders) >= 20
    for folder in folders:
        task = Task.of(read_splits(folder))
        assert task.problem is Problem.single_label, folder
        assert task.names == tuple(map(str, range(len(task.names))))
        assert len(task.test) > 100


# Bad files


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "seq,class\nACGT,1\n", r"a.csv must have a column 'sequence'; its columns: seq, class"),
        ("a.csv", "", r"a.csv must have a column 'sequence'; its columns: none"),
        ("a.csv", "sequence,label\n", r"a.csv holds no sequence"),
        ("a.csv", "sequence,label\nAC,1\n ,0\n", r"a.csv, line 3: the sequence is empty"),
        ("a.csv", "sequence,label\nAC,1,2\n", r"a.csv, line 2: a row must have 2 fields, got 3"),
        ("a.csv", "sequence,label\nAC,1\nAC!T,1\n", r"a.csv, line 3: encode_dna: .*'!' at position 2"),
        (
            "a.csv",
            "sequence,label\nAC[MASK]T,1\n",
            r"line 2: a labelled sequence must be letters alone, got \[MASK\]",
        ),
        ("a.fa", "ACGT\n", r"a.fa: a FASTA file must begin with '>', got 'ACGT'"),
        ("a.fa", ">x|1\n>y|0\nAC\n", r"a.fa, record 1 \(x\|1\): the sequence is empty"),
        ("a.fa", "", r"a.fa holds no sequence"),
        ("a.json", "{}", r"path must be a folder or end in one of .csv, .tsv, .txt, .parquet, .fa"),
    ],
)
def test_bad_files(tmp_path, name, text, said):
    with pytest.raises(ValueError, match=said):
        read_labelled(write(tmp_path / name, text))


def test_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.csv"):
        read_labelled(tmp_path / "none.csv")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(TABLE.encode() * 50)[:-20])
    with pytest.raises(ValueError, match=r"cut.csv.gz is cut short or damaged"):
        read_labelled(tmp_path / "cut.csv.gz")
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match=r"binary.csv cannot be read"):
        read_labelled(tmp_path / "binary.csv")


def test_bad_folders(tmp_path):
    (tmp_path / "a" / "positive").mkdir(parents=True)
    write(tmp_path / "a" / "negative" / "0.txt", "ACGT")
    with pytest.raises(ValueError, match=r"a/positive: class 'positive' has no sequence"):
        read_labelled(tmp_path / "a")
    write(tmp_path / "b" / "negative.fa", "")
    with pytest.raises(ValueError, match=r"b/negative.fa: class 'negative' has no sequence"):
        read_labelled(tmp_path / "b")
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match=r"c must hold a folder or a FASTA file for each class"):
        read_labelled(tmp_path / "c")
    write(tmp_path / "d" / "test.csv", TABLE)
    with pytest.raises(ValueError, match=r"d has no train.csv, .*; it holds test.csv"):
        read_splits(tmp_path / "d")
    with pytest.raises(FileNotFoundError, match="must be a folder or owner/name"):
        read_splits(tmp_path / "e")


def test_sets_of_other_columns_are_not_joined(tmp_path):
    first = labelled(tmp_path, "AC,1")
    second = labelled(tmp_path, "AC,1", columns="sequence,class")
    assert len(join_sets([first, first])) == 2
    with pytest.raises(ValueError, match="must have the same label columns"):
        join_sets([first, second])


# The Hugging Face hub


class Rows(dict):
    """What the tests need of a split of ``datasets``."""

    @property
    def column_names(self):
        return list(self)

    def filter(self, function, input_columns):
        kept = [index for index, value in enumerate(self[input_columns]) if function(value)]
        return Rows({name: [values[index] for index in kept] for name, values in self.items()})


@pytest.fixture
def hub(monkeypatch):
    module = ModuleType("datasets")
    rows = Rows(sequence=["ACGT", "GGG", "TT"], label=[1, 0, 1], task=["H3", "H4", "H3"])
    asked = []

    def load_dataset(name, part):
        asked.append((name, part))
        if name == "nobody/nothing":
            raise ConnectionError("no route to host")
        if name == "old/script":
            raise RuntimeError("Dataset scripts are no longer supported")
        return {"train": rows, "validation": rows, "extra": rows}

    module.load_dataset = load_dataset
    module.get_dataset_config_names = lambda name: ["promoters"]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return SimpleNamespace(asked=asked, rows=rows)


def test_sets_of_the_hub(hub):
    splits = read_splits("owner/name")
    assert set(splits) == {"train", "valid"}
    assert splits["train"].labels == [("1",), ("0",), ("1",)]
    assert splits["valid"].places[2] == "owner/name, validation, row 3"
    assert read_splits("owner/name:H3")["train"].sequences == ["ACGT", "TT"]
    read_splits("owner/name:promoters")
    assert hub.asked == [("owner/name", None), ("owner/name", None), ("owner/name", "promoters")]
    with pytest.raises(ValueError, match=r"owner/name:H9, train holds no sequence"):
        read_splits("owner/name:H9")
    with pytest.raises(ValueError, match=r"must have a column 'seq'; its columns: sequence, label, task"):
        read_splits("owner/name", sequence_column="seq")
    with pytest.raises(OSError, match=r"old/script is no folder here .*: Dataset scripts are no longer"):
        read_splits("old/script")
    with pytest.raises(OSError, match=r"nobody/nothing is no folder here and could not be fetched.*no route"):
        read_splits("nobody/nothing")


def test_lists_are_bases_columns_or_several_labels(hub):
    columns = ["bases", "numbers", "one", "tags"]
    hub.rows |= {
        "bases": [[0, 1, 1, 0], [1, 1, 0], [0, 0]],
        "numbers": [[0.5, -1], [2, 3.5], [0, 0]],
        "one": [[0.5], [1], [2]],
        "tags": [["a", "b"], [], ["b"]],
    }
    splits = read_splits("owner/name", label_columns=columns)
    assert splits["train"].columns == ("bases", "numbers_0", "numbers_1", "one", "tags")
    assert splits["train"].labels == [
        ("0 1 1 0", "0.5", "-1", "0.5", "a|b"),
        ("1 1 0", "2", "3.5", "1", ""),
        ("0 0", "0", "0", "2", "b"),
    ]
    numbers = read_splits("owner/name", label_columns=["numbers"])
    task = Task.of(numbers)
    assert (task.problem, task.names) == (Problem.regression, ("numbers_0", "numbers_1"))
    tags = Task.of(read_splits("owner/name", label_columns=["tags"]))
    assert (tags.problem, tags.names) == (Problem.multi_label, ("a", "b"))


def test_the_hub_without_datasets_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match="owner/name is no folder here, .*pip install datasets"):
        read_splits("owner/name")


# Problems


@pytest.mark.parametrize(
    ("cells", "problem", "names"),
    [
        (["10", "2", "-1"], Problem.single_label, ("-1", "2", "10")),
        (["b", "a", "10"], Problem.single_label, ("10", "a", "b")),
        (["x|y", "", "y"], Problem.multi_label, ("x", "y")),
        (["x | y", " ", "y|"], Problem.multi_label, ("x", "y")),
        (["1.0", "0", "10.0"], Problem.single_label, ("0", "1", "10")),
        (["1", "0.5", "-2e3"], Problem.regression, ("label",)),
        (["01.12", "00000"], Problem.per_base, ("0", "1", "2")),
        (["a b a a .", "b b b b b"], Problem.per_base, ("a", "b")),
        (["1 2 10 2 .", "01120"], Problem.per_base, ("0", "1", "2", "10")),
        (["promo", "other"], Problem.single_label, ("other", "promo")),
    ],
)
def test_problems_are_inferred_from_the_labels(tmp_path, cells, problem, names):
    read = one_column(tmp_path, *cells)
    assert infer_problem(read) is problem
    assert Task.of({"train": read, "valid": read}).names == names


def test_a_number_that_is_none_is_told(tmp_path):
    cells = [f"0.{index}" for index in range(1, 11)]
    for cell, said in (
        ("x", "must hold a finite number"),
        ("nan", "is missing"),
        ("inf", "must hold a finite"),
    ):
        read = one_column(tmp_path, *cells, cell)
        assert infer_problem(read) is Problem.regression
        with pytest.raises(ValueError, match=rf"set.csv, line 12: .*'label' {said}.*, got '{cell}'"):
            Task.of({"train": read})
    # Classes of which some look like numbers.
    assert infer_problem(one_column(tmp_path, *cells, *"abcde")) is Problem.single_label


def test_several_columns(tmp_path):
    labels = labelled(tmp_path, "AC,0,1", "AG,1,1", columns="sequence,a,b")
    task = Task.of({"train": labels, "valid": labels})
    assert (task.problem, task.names) == (Problem.multi_label, ("a", "b"))
    assert task.train.targets == [[0.0, 1.0], [1.0, 1.0]]
    numbers = labelled(tmp_path, "AC,0,1.5", "AG,1,1", columns="sequence,a,b")
    task = Task.of({"train": numbers, "valid": numbers})
    assert (task.problem, task.names) == (Problem.regression, ("a", "b"))
    assert task.train.targets == [[0.0, 1.5], [1.0, 1.0]]
    with pytest.raises(ValueError, match="single-label labels must be in one column, got a, b"):
        Task.of({"train": labels}, Problem.single_label)


@pytest.mark.parametrize(
    ("cells", "problem", "targets"),
    [
        (["b", "a"], Problem.single_label, [1, 0]),
        (["x|y", "", "y|y"], Problem.multi_label, [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]),
        (["3", "-1"], Problem.regression, [[3.0], [-1.0]]),
        (["EEII.", "IIIIE"], Problem.per_base, [[0, 0, 1, 1, -100], [1, 1, 1, 1, 0]]),
    ],
)
def test_targets(tmp_path, cells, problem, targets):
    read = one_column(tmp_path, *cells)
    task = Task.of({"train": read, "valid": read}, problem)
    assert task.train.targets == targets
    assert task.config_fields["num_labels"] == len(task.names)
    kind = {"multi-label": "multi_label_classification", "regression": "regression"}
    assert task.config_fields["problem_type"] == kind.get(problem.value, "single_label_classification")
    assert task.config_fields["label2id"][task.names[-1]] == len(task.names) - 1


@pytest.mark.parametrize(
    ("train", "test", "problem", "said"),
    [
        (
            ["0", "1"],
            ["0", "2"],
            None,
            r"set.csv, line 3: label '2' is not among those of the training set: 0, 1",
        ),
        (["0", "1"], ["0", ""], None, r"line 3: the label is missing, got ''"),
        (["0", "0"], ["0"], None, r"must have two classes at least, got 0"),
        (["a|b", "b"], ["c|a"], None, r"line 2: label 'c' is not among those of the training set: a, b"),
        (
            ["0.5", "x"],
            ["1"],
            Problem.regression,
            r"line 3: column 'label' must hold a finite number, got 'x'",
        ),
        (
            ["0.5", "inf"],
            ["1"],
            Problem.regression,
            r"line 3: column 'label' must hold a finite number, got 'inf'",
        ),
        (
            ["00110", "0110"],
            ["00000"],
            Problem.per_base,
            r"line 3: there must be a label for each of 5 bases, got 4",
        ),
        (
            ["00110", "01100"],
            ["00003"],
            None,
            r"line 2: label '3' is not among those of the training set: 0, 1",
        ),
        (["....."], ["....."], Problem.per_base, r"must have two classes at least, got none"),
    ],
)
def test_bad_labels(tmp_path, train, test, problem, said):
    splits = {
        "train": one_column(tmp_path, *train),
        "valid": one_column(tmp_path, *train),
        "test": one_column(tmp_path, *test),
    }
    with pytest.raises(ValueError, match=said):
        Task.of(splits, problem)


def test_bad_label_columns(tmp_path):
    with pytest.raises(ValueError, match=r"label 'b' is 1 in no row of the training set"):
        Task.of({"train": labelled(tmp_path, "AC,0,0", "AG,1,0", columns="sequence,a,b")})
    with pytest.raises(ValueError, match=r"line 3: column 'b' must hold 0 or 1, got '2'"):
        Task.of(
            {"train": labelled(tmp_path, "AC,0,0", "AG,1,2", columns="sequence,a,b")}, Problem.multi_label
        )


# One reading of tables

NO_VALUE = ["", ".", "NA", "na", "N/A", "#N/A", "<NA>", "nan", "NaN", "-nan", "None", "none", "null", "NULL"]
# Of each problem: cells for ACGTA, the same as targets, and what stands for a row without a value.
PROBLEMS = {
    "single-label": (["a", "b"], [0, 1], NO_VALUE),
    "classes that are numbers": (["1", "0"], [1, 0], NO_VALUE),
    "multi-label": (["a|b", ""], [[1.0, 1.0], [0.0, 0.0]], NO_VALUE[1:]),
    "regression": (["0.5", "-2e-1"], [[0.5], [-0.2]], NO_VALUE),
    "per-base": (["01120", "0 1 1 . -100"], [[0, 1, 1, 2, 0], [0, 1, 1, -100, -100]], NO_VALUE),
}
OTHERS = ["[0, 1]", "[0 1 1 0 1]", "{0}", "(0, 1)", "inf", "-inf", "Infinity"]


def rows_of_a_table(path, rows):
    """Writes rows of a sequence and label columns in a format that is named by the path's ending."""
    columns = ["sequence", *(f"label{index}" for index in range(1, len(rows[0])))]
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        values = {name: [row[index] for row in rows] for index, name in enumerate(columns)}
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(values), path)
    elif path.suffix == ".fa":
        write(path, "".join(f">x|{label}\n{sequence}\n" for sequence, label in rows))
    else:
        separator = "," if path.suffix == ".csv" else "\t"
        quote = '"' if path.suffix == ".csv" else ""
        lines = [separator.join(f"{quote}{cell}{quote}" for cell in row) for row in rows]
        write(path, "\n".join([separator.join(columns), *lines]))
    return read_labelled(path, label_columns=columns[1:])


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".fa"])
@pytest.mark.parametrize("kind", PROBLEMS)
def test_no_value_is_no_label(tmp_path, kind, suffix):
    cells, targets, missing = PROBLEMS[kind]
    good = [("ACGTA", cell) for cell in cells]
    problem = None if kind.startswith("classes") else Problem(kind)
    if (kind, suffix) == ("multi-label", ".fa"):
        pytest.skip("a header ends in one label")
    for cell in [*missing, *OTHERS]:
        if kind == "per-base" and cell.startswith("[0 1"):
            continue
        read = rows_of_a_table(tmp_path / f"set{suffix}", [*good, ("ACGTA", cell), ("GGGGG", cells[0])])
        place = read.places[2]
        # A point alone is a base without a label, of too few.
        said = "missing" if cell in missing and (kind, cell) != ("per-base", ".") else "got"
        with pytest.raises(ValueError, match=rf"^{re.escape(place)}: .*{said}.* \(on_error='skip' leaves"):
            Task.of({"train": read, "valid": read}, problem)
        task = Task.of({"train": read, "valid": read}, problem, on_error="skip")
        assert task.train.targets == [*targets, targets[0]], cell
        assert task.train.sequences == ["ACGTA", "ACGTA", "GGGGG"]
        assert [row.startswith(f"{place}: ") for row in task.skipped["train"]] == [True]
        assert task.skipped_rows["train"]["count"] == task.skipped_rows["valid"]["count"] == 1
        # What the labels look like is not for such a cell to say.
        assert infer_problem(read) is infer_problem(rows_of_a_table(tmp_path / f"good{suffix}", good))


@pytest.mark.parametrize("problem", [Problem.multi_label, Problem.regression])
def test_no_value_in_one_of_several_columns(tmp_path, problem):
    for cell in [*NO_VALUE, *OTHERS, "x"]:
        rows = [("AC", "0", "1.0"), ("AG", "1", cell), ("AT", "1.0", "0"), ("AA", cell, cell)]
        read = rows_of_a_table(tmp_path / "set.tsv", rows)
        with pytest.raises(ValueError, match=r"line 3: .*column 'label2' .*got"):
            Task.of({"train": read, "valid": read}, problem)
        task = Task.of({"train": read, "valid": read}, problem, on_error="skip")
        assert task.train.targets == [[0.0, 1.0], [1.0, 0.0]]
        assert len(task.skipped["train"]) == 2
        if cell != "x":
            assert infer_problem(read) is Problem.multi_label


def test_labels_without_a_value_among_several(tmp_path):
    read = one_column(tmp_path, "a|b", "a|NA", "b| none", "b")
    task = Task.of({"train": read, "valid": read}, on_error="skip")
    assert (task.names, task.train.targets) == (("a", "b"), [[1.0, 1.0], [0.0, 1.0]])
    assert [row.partition(": ")[2] for row in task.skipped["train"]] == [
        "the label is missing, got 'NA'",
        "the label is missing, got 'none'",
    ]
    bases = one_column(tmp_path, "0 1 1 0 1", "0 1 NA 0 1")
    with pytest.raises(ValueError, match=r"line 3: the label is missing, got 'NA'"):
        Task.of({"train": bases, "valid": bases})


def test_values_that_are_none_in_a_column(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "sequence": ["ACGA", "GGGG", "TTTT", None, "NaN"],
        "label": [1.0, 0.0, None, 1.0, 0.0],
        "measured": [0.5, float("nan"), float("inf"), 1.0, 2.0],
        "numbers": [[0.5, 1.0], [1.5, None], None, [1.0, 1.0], [1.0, 1.0]],
        "tags": [["a", "b"], [], None, ["b"], ["b"]],
        "bases": [[0, 1, 1, 1], [1, -100, 1, 1], None, None, None],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")

    def task(column):
        read = read_labelled(tmp_path / "train.parquet", label_columns=[column], on_error="skip")
        assert [row.partition(", row ")[2] for row in read.skipped] == [
            "4: the sequence is empty",
            "5: the sequence is missing, got 'NaN'",
        ]
        found = Task.of({"train": read, "valid": read}, on_error="skip")
        return found.problem.value, found.train.targets, len(found.skipped["train"])

    assert task("label") == ("single-label", [1, 0], 3)
    assert task("numbers") == ("regression", [[0.5, 1.0]], 4)
    assert task("tags") == ("multi-label", [[1.0, 1.0], [0.0, 0.0]], 3)
    assert task("bases") == ("per-base", [[0, 1, 1, 1], [1, -100, 1, 1]], 3)
    assert task("measured") == ("regression", [[0.5]], 4)


@pytest.mark.parametrize(
    ("cells", "names", "targets"),
    [
        (["0", "1.0", "1", "0.0"], ("0", "1"), [0, 1, 1, 0]),
        (["01", "1", "+1", "2.00", "2e0"], ("1", "2"), [0, 0, 0, 1, 1]),
        (["-0", "0", "1.000000000000000000e+00"], ("0", "1"), [0, 0, 1]),
        (["123456789012345678", "123456789012345679"], ("123456789012345678", "123456789012345679"), [0, 1]),
        (["10", "9", "2.0"], ("2", "9", "10"), [2, 1, 0]),
        (["1_0", "10"], ("10", "1_0"), [1, 0]),
        (["1.0", "other"], ("1.0", "other"), [0, 1]),
        (["True", "False"], ("False", "True"), [1, 0]),
    ],
)
def test_classes_that_are_numbers_are_read_as_numbers(tmp_path, cells, names, targets):
    read = one_column(tmp_path, *cells)
    task = Task.of({"train": read, "valid": read}, Problem.single_label)
    assert (task.names, task.train.targets) == (names, targets)
    assert infer_problem(read) is Problem.single_label
    # Also those of a set that is written otherwise.
    if names == ("0", "1"):
        test = Task.of({"train": read, "valid": read, "test": one_column(tmp_path, "1.00", "-0.0")}).test
        assert test.targets == [1, 0]


def test_numbers_among_several_labels_and_of_bases(tmp_path):
    read = one_column(tmp_path, "1|2", "1.0", "2.0|10")
    task = Task.of({"train": read, "valid": read})
    assert (task.names, task.train.targets) == (
        ("1", "2", "10"),
        [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0]],
    )
    read = one_column(tmp_path, "1 1.0 2 2 2.0")
    task = Task.of({"train": read, "valid": read})
    assert (task.problem, task.names, task.train.targets) == (Problem.per_base, ("1", "2"), [[0, 0, 1, 1, 1]])
    read = one_column(tmp_path, "0.5", "0.50", "1.5")
    assert Task.of({"train": read, "valid": read}, Problem.single_label).names == ("0.5", "1.5")


def test_a_number_in_two_ways_beside_text_is_refused(tmp_path):
    read = one_column(tmp_path, "1", "1.0", "other")
    said = "must be written in one way beside classes that are text, such as 'other', got 1, 1.0"
    with pytest.raises(ValueError, match=said):
        Task.of({"train": read, "valid": read})
    with pytest.raises(ValueError, match="must have two classes at least, got 1"):
        Task.of({"train": one_column(tmp_path, "1", "1.0", "01")})


def test_rows_that_cannot_be_read(tmp_path):
    text = (
        "sequence,label\nAC,1\n,0\nNA,0\nnan,1\nNone,1\nAC,1,2\nAC!,1\nAC[MASK],1\n   \nNAN,0\nGG,NA\nGT,0\n"
    )
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(
        ValueError, match=r"line 3: the sequence is empty \(on_error='skip' leaves such rows out"
    ):
        read_labelled(path)
    with pytest.raises(ArgumentError) as error:
        read_labelled(write(tmp_path / "b.csv", "sequence,label\nNA,1\n"))
    assert error.value.as_options() == (
        f"{tmp_path}/b.csv, line 2: the sequence is missing, got 'NA' (--on-error skip leaves such rows out)"
    )
    read = read_labelled(path, on_error="skip")
    assert (read.sequences, read.labels) == (["AC", "GG", "GT"], [("1",), ("NA",), ("0",)])
    said = [row.removeprefix(f"{path}, line ") for row in read.skipped]
    assert [row[:34] for row in said] == [
        "3: the sequence is empty",
        "4: the sequence is missing, got 'N",
        "5: the sequence is missing, got 'n",
        "6: the sequence is missing, got 'N",
        "7: a row must have 2 fields, got 3",
        "11: the sequence is missing, got '",
        "8: encode_dna: sequences must be D",
        "9: a labelled sequence must be let",
    ]
    task = Task.of({"train": read, "valid": read}, on_error="skip")
    assert task.train.sequences == ["AC", "GT"]
    assert task.skipped_rows["valid"]["count"] == 9
    assert task.skipped_rows["train"]["rows"][-1].endswith("line 12: the label is missing, got 'NA'")
    with pytest.raises(
        ValueError, match=r"c.csv holds no sequence that can be read; of 1 the first: .*line 2"
    ):
        read_labelled(write(tmp_path / "c.csv", "sequence,label\nNA,1\n"), on_error="skip")
    with pytest.raises(ValueError, match="on_error must be fail or skip, got ignore"):
        read_labelled(path, on_error="ignore")


def test_bases_that_spell_no_value_are_bases_in_a_fasta_file(tmp_path):
    read = read_labelled(write(tmp_path / "a.fa", ">x|1\nNA\n>y|0\nnan\n>z\nAC\n>w|1\n"), on_error="skip")
    assert read.sequences == ["NA", "NAN"]
    assert [row.partition(": ")[2] for row in read.skipped] == [
        "the header must end in | and the label",
        "the sequence is empty",
    ]
    write(tmp_path / "classes" / "a" / "0.txt", "NA")
    write(tmp_path / "classes" / "a" / "1.txt", "")
    write(tmp_path / "classes" / "b.fa", ">x\nAC\n>y\nA-C\n")
    read = read_labelled(tmp_path / "classes", on_error="skip")
    assert (read.sequences, read.labels) == (["NA", "AC"], [("a",), ("b",)])
    assert len(read.skipped) == 2


def test_labels_of_the_other_splits(tmp_path):
    splits = {"train": one_column(tmp_path, "0", "1"), "test": one_column(tmp_path, "1", "2", "NA", "0.0")}
    splits["valid"] = splits["train"]
    task = Task.of(splits, on_error="skip")
    assert task.test.targets == [1, 0]
    assert list(task.skipped) == ["test"]
    splits["test"] = one_column(tmp_path, "2", "NA")
    with pytest.raises(ValueError, match=r"no row is left of 2; the first: .*line 3: the label is missing"):
        Task.of(splits, on_error="skip")


def test_skipped_rows_of_splits(tmp_path):
    write(tmp_path / "train.csv", "sequence,label\nAC,1\nNA,1\nAG,0\nAT,1\nAA,0\n")
    write(tmp_path / "test.csv", "sequence,label\nAC,1\nAG,?\nA-,0\n")
    with pytest.raises(ValueError, match=r"train.csv, line 3"):
        read_splits(tmp_path)
    splits = read_splits(tmp_path, on_error="skip")
    assert {split: len(part.skipped) for split, part in splits.items()} == {"train": 1, "test": 1}
    assert len(join_sets([splits["train"], splits["test"]]).skipped) == 2


def test_a_column_that_is_there_twice(tmp_path):
    with pytest.raises(ValueError, match=r"a.csv must have the column 'label' once, got it 2 times"):
        read_labelled(write(tmp_path / "a.csv", "label,sequence,label\n1,AC,0\n"))


# The validation split


def numbered(count, label):
    return [
        f"{''.join('ACGT'[index >> 2 * place & 3] for place in range(5))},{label}" for index in range(count)
    ]


def test_the_validation_split_is_stratified_seeded_and_apart(tmp_path):
    rows = [*numbered(100, "many"), *(f"GG{row}" for row in numbered(10, "few"))]
    train = labelled(tmp_path, *rows, *rows[:20])
    task = Task.of({"train": train}, valid_share=0.2, seed=3)
    assert len(task.train) + len(task.valid) == 130
    assert not set(task.train.sequences) & set(task.valid.sequences)
    distinct = set(zip(task.valid.sequences, task.valid.targets, strict=True))
    assert sorted(target for _, target in distinct) == [0] * 2 + [1] * 20
    again = Task.of({"train": train}, valid_share=0.2, seed=3)
    other = Task.of({"train": train}, valid_share=0.2, seed=4)
    assert again.valid == task.valid
    assert other.valid.sequences != task.valid.sequences
    for examples in (task.train, task.valid):
        for sequence, target, place in zip(
            *(getattr(examples, name) for name in ("sequences", "targets", "places")), strict=True
        ):
            row = train.places.index(place)
            assert train.sequences[row] == sequence
            assert train.labels[row] == (task.names[target],)


def test_a_class_too_small_to_split(tmp_path):
    train = labelled(tmp_path, "AC,a", "AG,a", "AT,b")
    with pytest.raises(ValueError, match="class 'b' has one sequence, so none can be kept for validation"):
        Task.of({"train": train})
    task = Task.of({"train": labelled(tmp_path, "AC,a", "AG,a", "AT,b", "TT,b")}, valid_share=0.9)
    assert sorted(task.train.targets) == sorted(task.valid.targets) == [0, 1]
    with pytest.raises(ValueError, match="valid_share must be between 0 and 1, got 1.0"):
        Task.of({"train": train}, valid_share=1.0)
