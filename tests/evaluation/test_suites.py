import pytest

from dnachunk.data.problem import Problem
from dnachunk.evaluation.metrics import METRICS
from dnachunk.evaluation.suites import SUITES, find_tasks, suite_of

CLASSES = Problem.single_label


@pytest.fixture
def folder(tmp_path):
    for task in ("gue/tf_0", "gue/tf_1", "gue/EMP/H3", "genomic_benchmarks/worm"):
        (tmp_path / task).mkdir(parents=True)
        (tmp_path / task / "train.csv").touch()
    # Neither a task nor a folder of tasks.
    (tmp_path / "genomes").mkdir()
    (tmp_path / "README.md").touch()
    (tmp_path / ".cache" / "hidden").mkdir(parents=True)
    (tmp_path / ".cache" / "hidden" / "train.csv").touch()
    return tmp_path


def test_tasks_are_found_at_any_depth(folder):
    found = find_tasks(folder)
    assert list(found) == ["genomic_benchmarks/worm", "gue/EMP/H3", "gue/tf_0", "gue/tf_1"]
    assert found["gue/EMP/H3"] == folder / "gue" / "EMP" / "H3"
    assert list(find_tasks(folder / "gue")) == ["EMP/H3", "tf_0", "tf_1"]


def test_a_task_of_class_folders_is_one_task(tmp_path):
    (tmp_path / "cohn" / "train" / "positive").mkdir(parents=True)
    (tmp_path / "cohn" / "train" / "negative").mkdir()
    assert list(find_tasks(tmp_path)) == ["cohn"]


def test_patterns_choose_in_their_order(folder):
    assert list(find_tasks(folder, ["gue/tf_*", "*/worm"])) == [
        "gue/tf_0",
        "gue/tf_1",
        "genomic_benchmarks/worm",
    ]
    assert list(find_tasks(folder, ["gue/tf_1", "gue"])) == ["gue/tf_1", "gue/EMP/H3", "gue/tf_0"]
    with pytest.raises(ValueError, match=r"has no task 'tf_0'; it has genomic_benchmarks/worm, gue/EMP/H3"):
        find_tasks(folder, ["gue/tf_0", "tf_0"])


def test_folders_without_tasks(folder):
    with pytest.raises(ValueError, match=r"genomes holds no task; GUE .* are expected as EMP/H3/train.csv"):
        find_tasks(folder / "genomes", name="gue")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_tasks(folder / "nowhere")


@pytest.mark.parametrize(
    ("task", "name", "problem", "metric"),
    [
        ("human_enhancers_cohn", "genomic-benchmarks", CLASSES, "accuracy"),
        ("genomic_benchmarks/human_enhancers_cohn_part", None, CLASSES, "accuracy"),
        ("GUE/tf/0", None, CLASSES, "mcc"),
        ("gue/virus/covid", None, CLASSES, "f1"),
        ("virus/covid", "gue", CLASSES, "f1"),
        ("H3K4me1", "nt", CLASSES, "mcc"),
        ("enhancers_types", "nt", CLASSES, "mcc"),
        ("promoter_no_tata", "nt", CLASSES, "f1"),
        ("splice_sites_donors", "nt", CLASSES, "f1"),
        ("splice_sites_all", "nt", CLASSES, "accuracy"),
        ("causal_eqtl", "long-range", CLASSES, "auroc"),
        ("bulk_rna_expression", "long-range", Problem.regression, "r2"),
        ("uci/splice_junction", None, CLASSES, "mcc"),
        ("anything", None, Problem.regression, "spearman"),
    ],
)
def test_tasks_are_scored_as_their_benchmark_says(task, name, problem, metric):
    assert suite_of(task, name).metric(task, problem) == metric
    assert metric in METRICS[problem]


def test_suites_say_how_their_folder_looks():
    assert list(SUITES) == ["genomic-benchmarks", "gue", "nt", "long-range"]
    for suite in SUITES.values():
        assert "train" in suite.layout
