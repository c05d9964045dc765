import pytest

from dnachunk.evaluation.comparison import Comparison, Score, TaskGroup, markdown_table


def compare(scores, models=("A", "B", "C"), metrics=None):
    """``scores`` by task: one for each model, None where there is none."""
    metrics = metrics or dict.fromkeys(scores, "mcc")
    known = {
        (model, task): score if isinstance(score, Score) else Score(score)
        for task, row in scores.items()
        for model, score in zip(models, row, strict=True)
        if score is not None
    }
    return Comparison(list(models), metrics, known)


def test_mean_and_sample_deviation():
    score = Score.of([0.5, 0.6, 0.7])
    assert score == (pytest.approx(0.6), pytest.approx(0.1))
    assert str(score) == "60.00 ± 10.00"
    assert Score.of([0.25]) == (0.25, None)
    assert str(Score(-0.000004)) == "0.00"
    assert str(Score(-0.125)) == "-12.50"


def test_the_table_of_known_numbers():
    comparison = compare(
        {
            "gue/tf_0": (Score(0.61, 0.012), Score(0.64, 0.003), Score(0.5, 0.1)),
            "worm": (Score(0.9, 0.0), Score(0.8, 0.02), Score(0.85, 0.01)),
        },
        metrics={"gue/tf_0": "mcc", "worm": "accuracy"},
    )
    assert comparison.ranks("gue/tf_0") == {"A": 2, "B": 1, "C": 3}
    assert comparison.ranks("worm") == {"A": 1, "B": 3, "C": 2}
    assert comparison.average_ranks == {"A": 1.5, "B": 2, "C": 2.5}
    assert {model: score.mean for model, score in comparison.averages.items()} == {
        "A": pytest.approx(0.755),
        "B": pytest.approx(0.72),
        "C": pytest.approx(0.675),
    }
    # With more models than tasks, models are rows.
    assert comparison.markdown().splitlines() == [
        "|     |   gue/tf_0 (MCC) |  worm (accuracy) |   average | average rank |",
        "| --- | ---------------: | ---------------: | --------: | -----------: |",
        "| A   |   *61.00 ± 1.20* | **90.00 ± 0.00** | **75.50** |     **1.50** |",
        "| B   | **64.00 ± 0.30** |     80.00 ± 2.00 |   *72.00* |       *2.00* |",
        "| C   |    50.00 ± 10.00 |   *85.00 ± 1.00* |     67.50 |         2.50 |",
    ]


def test_tasks_are_rows_where_there_are_as_many():
    lines = compare({"a": (0.1, 0.2), "b": (0.4, 0.3)}, ("A", "B")).markdown().splitlines()
    titles = ["", "a (MCC)", "b (MCC)", "average", "average rank"]
    assert [line.split("|")[1].strip() for line in (lines[0], *lines[2:])] == titles
    assert lines[2].split() == ["|", "a", "(MCC)", "|", "*10.00*", "|", "**20.00**", "|"]


def test_equal_models_share_rank_and_mark():
    comparison = compare({"a": (0.5, 0.7, 0.7), "b": (0.7, 0.4, 0.4), "c": (0.1, 0.1, 0.1)})
    assert comparison.ranks("a") == {"A": 3, "B": 1.5, "C": 1.5}
    assert comparison.ranks("b") == {"A": 1, "B": 2.5, "C": 2.5}
    assert comparison.ranks("c") == {"A": 2, "B": 2, "C": 2}
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in comparison.markdown().splitlines()]
    # Two are best: there is no second. Two are second: both are.
    assert rows[2] == ["50.00", "**70.00**", "**70.00**"]
    assert rows[3] == ["**70.00**", "*40.00*", "*40.00*"]
    assert rows[4] == ["**10.00**"] * 3
    assert rows[5] == ["**43.33**", "*40.00*", "*40.00*"]
    assert rows[6] == ["**2.00**"] * 3


def test_what_is_printed_alike_is_alike():
    comparison = compare({"a": (0.500001, 0.500049, 0.5001)})
    assert comparison.ranks("a") == {"A": 2.5, "B": 2.5, "C": 1}


def test_missing_scores():
    comparison = compare({"a": (0.5, None, 0.6), "b": (0.5, 0.6, 0.7)})
    assert comparison.ranks("a") == {}
    assert comparison.ranks("b") == {"A": 3, "B": 2, "C": 1}
    assert comparison.average_ranks == {}
    assert comparison.averages == {"A": (0.5, None), "C": (pytest.approx(0.65), None)}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in comparison.markdown().splitlines()]
    assert [row[0] for row in rows] == ["", "---", "A", "B", "C"]
    assert [row[1] for row in rows[2:]] == ["50.00", "—", "60.00"]
    assert [row[2] for row in rows[2:]] == ["50.00", "*60.00*", "**70.00**"]
    assert [row[3] for row in rows[2:]] == ["50.00", "—", "65.00"]
    assert [row[4] for row in rows[2:]] == ["—"] * 3


def test_a_single_model_is_not_marked():
    assert "*" not in compare({"a": (0.5,)}, ("A",)).markdown()


def test_markdown_table():
    assert markdown_table([["", "n"], ["long", "1"]]) == "|      |   n |\n| ---- | --: |\n| long |   1 |"


def test_what_can_have_no_score_is_not_ranked():
    known = {("A", "a"): Score(0.5), ("B", "a"): Score(0.7), ("C", "a"): Score(0.6)}
    known |= {("A", "b"): Score(0.5), ("B", "b"): Score(0.4)}
    comparison = Comparison(["A", "B", "C"], {"a": "mcc", "b": "r2"}, known, {("C", "b")})
    assert comparison.ranks("a") == {"A": 2, "B": 1}
    assert comparison.average_ranks == {"A": 1.5, "B": 1.5}
    assert list(comparison.averages) == ["A", "B"]
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in comparison.markdown().splitlines()]
    # More models than tasks: models are rows.
    assert rows[2:] == [
        ["50.00", "**50.00**", "*50.00*", "**1.50**"],
        ["**70.00**", "*40.00*", "**55.00**", "**1.50**"],
        ["*60.00*", "—", "—", "—"],
    ]


def test_averages_by_group_are_of_models_that_have_all_its_tasks():
    seeds = {("A", "a"): [0.5, 0.7], ("A", "b"): [0.1, 0.1], ("B", "a"): [0.4, 0.8], ("B", "c"): [0.3]}
    seeds |= {("C", "a"): [0.2], ("C", "b"): [0.6, 0.8], ("A", "c"): [0.9, 0.5]}
    comparison = Comparison(
        ["A", "B", "C", "D"],
        dict.fromkeys("abc", "mcc"),
        {key: Score.of(values) for key, values in seeds.items()},
        {("D", "c")},
        {"marks": TaskGroup(("a", "b"), 10), "sites": TaskGroup(("c",), 1)},
        seeds,
    )
    marks = comparison.group_averages("marks")
    assert list(marks) == ["A", "C"]
    # 0.3 with one seed, 0.4 with the other.
    assert marks["A"] == (pytest.approx(0.35), pytest.approx(0.05 * 2**0.5))
    # Its tasks have not as many seeds.
    assert marks["C"] == (pytest.approx(0.45), None)
    assert comparison.group_averages("sites") == {
        "A": (pytest.approx(0.7), pytest.approx(0.2 * 2**0.5)),
        "B": (0.3, None),
    }
    assert comparison.group_lines() == [
        ["average of", "A", "B", "C", "D"],
        ["marks (2 of 10 tasks)", "35.00 ± 7.07", "—", "45.00", "—"],
        ["sites (1 task)", "70.00 ± 28.28", "30.00", "—", "—"],
    ]
    table, groups = comparison.markdown().split("\n\n")
    assert table == markdown_table(comparison.lines())
    assert groups == markdown_table(comparison.group_lines())


def test_averages_by_group_are_marked_and_absent_without_groups():
    comparison = compare({"a": (0.5, 0.7), "b": (0.3, 0.3)}, ("A", "B"))
    assert comparison.group_lines() == []
    assert "average of" not in comparison.markdown()
    known = {(model, task): Score(value) for model, task, value in (("A", "a", 0.5), ("B", "a", 0.7))}
    grouped = Comparison(["A", "B"], {"a": "mcc"}, known, (), {"marks": TaskGroup(("a",), 1)})
    assert grouped.group_lines()[1] == ["marks (1 task)", "*50.00*", "**70.00**"]
