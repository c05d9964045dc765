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
        ("promoter_all", "nt-revised", CLASSES, "mcc"),
        ("splicing/donor", None, CLASSES, "auroc"),
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
    assert list(SUITES) == [
        *("genomic-benchmarks", "gue", "nt", "nt-revised", "long-range", "splicing", "bend", "dnalongbench"),
    ]
    for suite in SUITES.values():
        assert "train" in suite.layout


HISTONES = ["H3", "H3K14ac", "H3K36me3", "H3K4me1", "H3K4me2", "H3K4me3", "H3K79me3", "H3K9ac", "H4", "H4ac"]
REVISED = [
    "H2AFZ",
    "H3K27ac",
    "H3K27me3",
    "H3K36me3",
    "H3K4me1",
    "H3K4me2",
    "H3K4me3",
    "H3K9ac",
    "H3K9me3",
    "H4K20me1",
]
OTHERS = {
    "enhancers": ["enhancers", "enhancers_types"],
    "promoters": ["promoter_all", "promoter_tata", "promoter_no_tata"],
    "splice sites": ["splice_sites_all", "splice_sites_acceptors", "splice_sites_donors"],
}
GROUPS = {
    "nt": {"histone marks": HISTONES, **OTHERS},
    "nt-revised": {"histone marks": REVISED, **OTHERS},
    "gue": {
        "epigenetic marks": [f"EMP/{mark}" for mark in HISTONES],
        "human transcription factors": [f"tf/{index}" for index in range(5)],
        "mouse transcription factors": [f"mouse/{index}" for index in range(5)],
        "core promoters": [f"prom/prom_core_{kind}" for kind in ("all", "notata", "tata")],
        "promoters": [f"prom/prom_300_{kind}" for kind in ("all", "notata", "tata")],
        "splice sites": ["splice/reconstructed"],
        "Covid variants": ["virus/covid"],
    },
    "genomic-benchmarks": {
        "enhancers": ["dummy_mouse_enhancers_ensembl", "human_enhancers_cohn", "human_enhancers_ensembl"],
        "species classification": ["demo_coding_vs_intergenomic_seqs", "demo_human_or_worm"],
        "regulatory elements": ["human_ensembl_regulatory", "human_ocr_ensembl", "human_nontata_promoters"],
    },
}


@pytest.mark.parametrize("name", GROUPS)
def test_every_task_of_a_suite_is_of_one_group_and_they_are_as_many_as_it_says(name):
    suite = SUITES[name]
    tasks = [task for tasks in GROUPS[name].values() for task in tasks]
    assert len(tasks) == len(set(tasks)) == suite.num_tasks
    for title, of_group in GROUPS[name].items():
        for task in of_group:
            for prefix in ("", "some/folder/"):
                group = suite.group(f"{prefix}{task}")
                assert (group.title, group.num_tasks) == (title, len(of_group))
    assert suite.group("something_else") is None


def test_parts_of_the_shared_data_are_of_their_groups():
    for task, title in (
        ("gue/emp_h3_part", "epigenetic marks"),
        ("gue/prom_300_tata", "promoters"),
        ("gue/prom_core_all", "core promoters"),
        ("gue/splice_reconstructed_part", "splice sites"),
        ("genomic_benchmarks/human_ocr_ensembl_chr21", "regulatory elements"),
    ):
        assert suite_of(task).group(task).title == title
    assert suite_of("uci/splice_junction").group("uci/splice_junction") is None
