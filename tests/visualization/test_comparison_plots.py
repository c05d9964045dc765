import pytest
import torch

pytest.importorskip("matplotlib")

from dnachunk.evaluation.budget_accuracy import BudgetAccuracy
from dnachunk.evaluation.cost import Cost, CostProfile, ModelCost
from dnachunk.evaluation.masked_bases import MaskedBaseScores
from dnachunk.evaluation.run_lengths import LONGEST_RUN, RunCounts, letter_runs
from dnachunk.evaluation.token_meaning import Band, Profile
from dnachunk.evaluation.token_projection import TokenProjection
from dnachunk.segmentation import Segmentation
from dnachunk.visualization import (
    Estimate,
    plot_boundary_profiles,
    plot_boundary_survival,
    plot_budget_accuracy,
    plot_cost,
    plot_intervals,
    plot_lengths_by_region,
    plot_run_lengths,
    plot_token_maps,
    plot_token_passes,
    plot_token_places,
)
from tests.evaluation.test_token_meaning import map_of
from tests.visualization.test_plots import drawn


def line_of(axes, index=0):
    return dict(axes.lines[index].get_xydata().tolist())


def test_lengths_by_region(tmp_path):
    tokenizers = {
        "one": {"CDS": torch.tensor([0, 3.0, 1.0]), "elsewhere": torch.tensor([0, 0, 0, 0.5, 0, 0.5])},
        "two": {"CDS": torch.tensor([0, 1]), "elsewhere": torch.tensor([0, 0, 1])},
    }
    figure = plot_lengths_by_region(tokenizers, max_length_bp=4)
    first = drawn(figure, tmp_path)
    assert line_of(first) == {1: 0.75, 2: 0.25, 3: 0, 4: 0}
    assert line_of(first, 1) == {1: 0, 2: 0, 3: 0.5, 4: 0.5}
    legend = [text.get_text() for text in first.get_legend().get_texts()]
    assert legend == ["CDS (mean 1.25 bp)", "elsewhere (mean 4.00 bp)"]
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["1", "≥4"]


def test_panels_that_nothing_fills_are_not_seen(tmp_path):
    counts = {"all": torch.tensor([0, 1])}
    figure = plot_lengths_by_region({str(index): counts for index in range(4)})
    drawn(figure, tmp_path)
    assert [axes.get_visible() for axes in figure.axes] == [True] * 4 + [False] * 2


def band(mean, spread):
    mean = torch.tensor(mean, dtype=torch.float64)
    return Band(mean, mean - spread, mean + spread)


def test_profiles(tmp_path):
    observed, control = band([0.2, 0.9, 0.4], 0.05), band([0.3, 0.3, 0.3], 0.1)
    other = Profile(7, band([0.5] * 3, 0.1), band([0.4] * 3, 0.1))
    profiles = {
        "TATA box": {"run": Profile(1234, observed, control), "6mer": other},
        "CDS start": {"run": other, "6mer": other},
    }
    figure = plot_boundary_profiles(profiles)
    first = drawn(figure, tmp_path)
    assert len(figure.axes) == 4
    assert line_of(first) == pytest.approx({-1: 0.3, 0: 0.3, 1: 0.3})
    assert line_of(first, 1) == pytest.approx({-1: 0.2, 0: 0.9, 1: 0.4})
    assert first.get_ylabel() == "TATA box\n(1,234 sites)"
    assert [axes.get_title() for axes in figure.axes[:2]] == ["run", "6mer"]
    bands = [points.get_paths()[0].get_extents() for points in first.collections]
    assert [(each.y0, each.y1) for each in bands] == [
        pytest.approx((0.2, 0.4)),
        pytest.approx((0.15, 0.95)),
    ]
    # Nothing is cut off, whichever row it is in.
    assert first.get_ylim()[0] == 0
    assert first.get_ylim()[1] > 0.95
    assert figure.axes[2].get_ylim() == first.get_ylim()


def test_runs(tmp_path):
    ids = torch.tensor([5] * 4 + [6] * 2 + [7] * 2 + [8] * (LONGEST_RUN + 2))
    counts = RunCounts.of(letter_runs(ids), map_of(4, 1, 3, LONGEST_RUN + 2))
    figure = plot_run_lengths({"run": (counts, 0.25)})
    means = drawn(figure, tmp_path)
    assert line_of(means) == pytest.approx({2: 2, 4: 4, LONGEST_RUN: LONGEST_RUN + 2})
    shares = figure.axes[1]
    assert line_of(shares) == {2: 0.5, 4: 1, LONGEST_RUN: 1}
    (band,) = (points.get_paths()[0].get_extents() for points in shares.collections)
    # One of two, and one of one, by Wilson's formula: 0.0945 to 0.9055, 0.2065 to 1.
    assert (band.y0, band.y1) == pytest.approx((0.0945, 1), abs=1e-4)
    assert line_of(shares, 1) == pytest.approx({2: 0.75, 4: 0.75**3, LONGEST_RUN: 0.75**15})
    assert [label.get_text() for label in means.get_xticklabels()] == ["2", "4", f"≥{LONGEST_RUN}"]


def test_survival(tmp_path):
    survival = {
        "run": {"substitution": 0.9, "deletion": 0.5},
        "6mer": {"substitution": 1.0, "deletion": 0.25},
    }
    axes = drawn(plot_boundary_survival(survival), tmp_path)
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[0.9, 1], [0.5, 0.25]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["run", "6mer"]


def test_intervals(tmp_path):
    panels = {
        "tokens": {
            "TATA": {"run": Estimate(2, 1, 4, 3), "6mer": Estimate(5, 4, 7, 5.5)},
            "GATC": {"run": Estimate(1, 0.5, 1.5, 2), "6mer": Estimate(6, 5, 6.5, 4)},
        },
        "whole": {
            row: {name: Estimate(0.5, 0.25, 0.75) for name in ("run", "6mer")} for row in ("TATA", "GATC")
        },
    }
    figure = plot_intervals(panels)
    tokens = drawn(figure, tmp_path)
    whole = figure.axes[1]
    # A row's dots lie side by side around it, the first tokenizer's above.
    assert line_of(tokens) == pytest.approx({2: -0.2, 1: 0.8})
    assert line_of(tokens, 1) == pytest.approx({3: -0.2, 2: 0.8})
    assert line_of(tokens, 2) == pytest.approx({5: 0.2, 6: 1.2})
    segments = [path.vertices[:, 0].tolist() for path in tokens.collections[0].get_paths()]
    assert segments == [[1, 4], [0.5, 1.5]]
    assert len(whole.lines) == 2
    assert [label.get_text() for label in tokens.get_yticklabels()] == ["TATA", "GATC"]
    assert (tokens.get_xlabel(), whole.get_xlabel()) == ("tokens", "whole")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["run", "6mer"]


def test_bad_input():
    estimate = Estimate(1, 0, 2)
    for panels in ({}, {"a": {"x": {"t": estimate}}, "b": {"y": {"t": estimate}}}):
        with pytest.raises(ValueError, match="panels must have the same groups and tokenizers"):
            plot_intervals(panels)
    with pytest.raises(ValueError, match="tokenizers must be 1 to 8, got 0"):
        plot_intervals({"a": {"x": {}}})
    with pytest.raises(ValueError, match="regions must be 1 to 8, got 0"):
        plot_lengths_by_region({})
    with pytest.raises(ValueError, match="regions must be 1 to 8, got 9"):
        plot_lengths_by_region({"a": {str(index): torch.ones(2) for index in range(9)}})
    with pytest.raises(ValueError, match="a, none must have tokens, got none"):
        plot_lengths_by_region({"a": {"none": torch.tensor([3, 0])}})
    profile = Profile(3, band([0.5], 0), band([0.5], 0))
    for profiles in ({}, {"x": {}}, {"x": {"a": profile}, "y": {"b": profile}}):
        with pytest.raises(ValueError, match="must have the same curves for each kind of site, at least one"):
            plot_boundary_profiles(profiles)
    none = RunCounts(*[torch.zeros(LONGEST_RUN + 1, dtype=torch.float64)] * 6)
    with pytest.raises(ValueError, match=r"tokenizers\['a'\] must have runs, got none"):
        plot_run_lengths({"a": (none, 0.5)})
    with pytest.raises(ValueError, match="tokenizers must be 1 to 8, got 0"):
        plot_run_lengths({})
    for survival in ({}, {"a": {}}, {"a": {"x": 1}, "b": {"y": 1}}):
        with pytest.raises(ValueError, match="must have the same kinds for each tokenizer"):
            plot_boundary_survival(survival)


def test_costs_against_length(tmp_path):
    with_backward = Cost(32, 1000, 2000, 4_000_000, 9_000_000, 0.5, 2.0)
    alone = Cost(32, 1000, None, 4_000_000, None, 0.5, None)
    models = {
        "one": ModelCost(7, {64: with_backward}),
        "two": ModelCost(7, {64: with_backward, 128: with_backward}),
    }
    figure = plot_cost(CostProfile(models, "a CPU", is_on_gpu=False))
    drawn(figure, tmp_path)
    flops, memory, speed = figure.axes
    assert [line_of(axes, 1) for axes in (flops, memory, speed)] == [
        {64: 1000, 128: 1000},
        {64: 9, 128: 9},
        {64: 32, 128: 64},
    ]
    assert "forward and backward" in memory.get_ylabel()
    assert [label.get_text() for label in flops.get_xticklabels()] == ["64", "128"]
    figure = plot_cost(CostProfile({"one": ModelCost(7, {64: alone})}, "a CPU", is_on_gpu=False))
    assert [line_of(axes) for axes in figure.axes] == [{64: 1000}, {64: 4}, {64: 128}]
    assert "backward" not in figure.axes[1].get_ylabel()


def test_places_beside_all_bases(tmp_path):
    groups = {
        "repeat family": {
            "LINE/L1": {"run": 1.2, "6mer": 1.0},
            "SINE/Alu": {"run": 0.9, "6mer": float("nan")},
        },
        "class of a.csv": {"0": {"run": 1.1, "6mer": 1.0}},
    }
    figure = plot_token_places(groups)
    first = drawn(figure, tmp_path)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(groups)
    assert first.lines[0].get_xydata().tolist() == [[1.2, 0], [0.9, 1]]
    assert first.lines[1].get_xydata()[0].tolist() == [1.0, 0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["LINE/L1", "SINE/Alu"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["run", "6mer"]
    for wrong, said in (
        ({}, "got no place"),
        ({"g": {"a": {"run": 1.0}, "b": {"other": 1.0}}}, "places must have the same tokenizers"),
        ({"g": {"a": {}}}, "tokenizers must be 1 to 8, got 0"),
    ):
        with pytest.raises(ValueError, match=said):
            plot_token_places(wrong)


def segmentation_of(*lengths):
    index = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    return Segmentation(index[None], torch.tensor([len(lengths)]))


def test_two_passes_one_above_the_other(tmp_path):
    # Boundaries at 0, 2, 5 and at 0, 3, 5, in rows of four bases.
    passes = segmentation_of(2, 3, 2), segmentation_of(3, 2, 2)
    figure = plot_token_passes("ACGTACG", passes, bases_per_row=4)
    axes = drawn(figure, tmp_path)
    lines = {
        kind: [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_gid() == kind]
        for kind in ("both", "one")
    }
    assert lines["both"] == [(0, 0), (1, pytest.approx(3.6))]
    assert lines["one"] == [(2, 0), (3, 2)]
    assert all(
        line.get_ydata()[1] - line.get_ydata()[0] == pytest.approx(3 if line.get_gid() == "both" else 1)
        for line in axes.lines
    )
    boxes = {
        strip: [
            (round(box.get_x()), round(box.get_y(), 1), round(box.get_width()))
            for box in axes.patches
            if box.get_gid() == f"token {strip}"
        ]
        for strip in range(2)
    }
    # A token that goes on in the next row is two boxes.
    assert boxes[0] == [(0, 0, 2), (2, 0, 2), (0, 3.6, 1), (1, 3.6, 2)]
    assert boxes[1] == [(0, 2, 3), (3, 2, 1), (0, 5.6, 1), (1, 5.6, 2)]
    texts = [text.get_text() for text in axes.texts]
    assert texts == [*"ACGTACG", "first", "second", "first", "second"]
    with pytest.raises(ValueError, match="must not be empty, got 7 bases and bases_per_row=0"):
        plot_token_passes("ACGTACG", passes, bases_per_row=0)
    with pytest.raises(ValueError, match="sequence"):
        plot_token_passes("ACG", passes)


def test_accuracy_against_tokens(tmp_path):
    def point(reading, asked, tokens, accuracy):
        return BudgetAccuracy(reading, asked, tokens, MaskedBaseScores(accuracy, 1 + accuracy, 10))

    models = {
        "chunk": [
            point("threshold", None, 0.4, 0.3),
            point("budget", 0.1, 0.11, 0.2),
            point("budget", 0.5, 0.5, 0.35),
        ],
        "units": [point("configured", None, 0.2, 0.25)],
    }
    figure = plot_budget_accuracy(models)
    first = drawn(figure, tmp_path)
    assert line_of(first) == {0.11: 0.2, 0.5: 0.35}
    assert line_of(first, 1) == {0.4: 0.3}
    assert line_of(first, 3) == {0.2: 0.25}
    assert line_of(figure.axes[1], 1) == {0.4: 1.3}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["chunk", "chunk, by the threshold", "units, as it is"]
    with pytest.raises(ValueError, match="models must be one or more"):
        plot_budget_accuracy({})


def test_maps_of_tokens(tmp_path):
    plane = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    maps = {"run, features": TokenProjection(plane, ["gene", "elsewhere", "gene"], 0.75, 0.5)}
    figure = plot_token_maps({**maps, "a" * 30 + " " + "b" * 30: maps["run, features"]})
    first = drawn(figure, tmp_path)
    assert first.get_title() == "run, features\nnearest alike 75%, by chance 50%"
    assert figure.axes[1].get_title().count("\n") == 2
    assert {line.get_label(): line.get_xydata().tolist() for line in first.lines} == {
        "elsewhere": [[2.0, 3.0]],
        "gene": [[0.0, 1.0], [4.0, 5.0]],
    }
    assert not first.get_xticks().size
    with pytest.raises(ValueError, match="projections must be one or more"):
        plot_token_maps({})
    many = TokenProjection(torch.zeros(9, 2), list("abcdefghi"), 0.5, 0.5)
    with pytest.raises(ValueError, match="places must be at most 8, got 9 in 'many'"):
        plot_token_maps({"many": many})
