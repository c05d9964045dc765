import pytest
import torch

from dnachunk.segmentation import Segmentation

pytest.importorskip("matplotlib")

from dnachunk.visualization import plot_receptive_positions, plot_token_lengths, plot_token_strip


def from_lengths(lengths):
    index = torch.repeat_interleave(torch.tensor(lengths))
    return Segmentation(index[None], torch.tensor([len(lengths)]))


def drawn(figure, tmp_path):
    """The axes of a figure that can be written."""
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    return figure.axes[0]


def texts_of(axes):
    return [text.get_text() for text in axes.texts]


def boxes_of(axes):
    """``(left, right, top)`` of every token's box, in bases and rows."""
    patches = [patch for patch in axes.patches if patch.get_gid() == "token"]
    return [(patch.get_x(), patch.get_x() + patch.get_width(), patch.get_y()) for patch in patches]


def overlapping(texts):
    boxes = [text.get_window_extent() for text in texts]
    return [
        (a.get_text(), b.get_text())
        for i, a in enumerate(texts)
        for j, b in enumerate(texts[:i])
        if boxes[i].overlaps(boxes[j])
    ]


def test_token_lengths_of_two_groups(tmp_path):
    groups = {"promoters": from_lengths([1, 1, 2, 6]), "exons": torch.tensor([7, 0, 3, 1])}
    figure = plot_token_lengths(groups, max_length_bp=4)
    axes = drawn(figure, tmp_path)
    promoters, exons = axes.containers
    assert [bar.get_height() for bar in promoters] == pytest.approx([0.5, 0.25, 0, 0.25])
    assert [bar.get_height() for bar in exons] == pytest.approx([0, 0.75, 0.25, 0])
    for length in range(1, 5):
        left, right = promoters[length - 1], exons[length - 1]
        assert left.get_x() + left.get_width() < right.get_x()
        assert (left.get_x() + right.get_x() + right.get_width()) / 2 == pytest.approx(length)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "≥4"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "promoters (mean 2.5 bp)",
        "exons (mean 2.2 bp)",
    ]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Token length (bp)", "Share of tokens")


def test_token_lengths_without_longer_tokens(tmp_path):
    axes = drawn(plot_token_lengths({"all": from_lengths([16, 3])}), tmp_path)
    assert axes.get_xticklabels()[-1].get_text() == "16"
    assert sum(bar.get_height() for bar in axes.containers[0]) == pytest.approx(1)


def test_token_lengths_of_nothing():
    with pytest.raises(ValueError, match="groups must be 1 to 8, got 0"):
        plot_token_lengths({})
    with pytest.raises(ValueError, match=r"groups\['empty'\] must have tokens, got none"):
        plot_token_lengths({"empty": torch.tensor([5, 0])})
    with pytest.raises(ValueError, match="max_length_bp must be 1 or more, got 0"):
        plot_token_lengths({"one": torch.tensor([0, 1])}, max_length_bp=0)


def test_strip_boxes_letters_and_coordinates(tmp_path):
    segmentation = from_lengths([3, 2, 4, 1])
    axes = drawn(plot_token_strip("ACGttGC[MASK]AN", segmentation, start=1000, bases_per_row=6), tmp_path)
    top, below = sorted({box[2] for box in boxes_of(axes)})
    gap = 0.07
    expected = [(0, 3, top), (3, 5, top), (5, 6, top), (0, 3, below), (3, 4, below)]
    cuts = [(gap, gap), (gap, gap), (gap, 0), (0, gap), (gap, gap)]
    for box, want, (left, right) in zip(boxes_of(axes), expected, cuts, strict=True):
        assert box == pytest.approx((want[0] + left, want[1] - right, want[2]))
    assert texts_of(axes) == [*"ACGttGC?AN", "1,000", "1,006"]


def test_strip_colours_tell_lengths(tmp_path):
    figure = plot_token_strip("A" * 23, from_lengths([3, 3, 1, 16]))
    axes = drawn(figure, tmp_path)
    colours = [patch.get_facecolor() for patch in axes.patches]
    assert colours[0] == colours[1]
    assert len({colours[0], colours[2], colours[3]}) == 3
    luminance = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in colours]
    assert luminance[2] > luminance[0] > luminance[3] > 0.3
    assert "≥12" in [label.get_text() for label in figure.axes[1].get_yticklabels()]


def test_strip_annotations_take_lanes(tmp_path):
    annotations = [(12, 15, "TATA"), (13, 14, "a longer label"), (18, 27, "exon"), (90, 95, "elsewhere")]
    figure = plot_token_strip(
        "ACGT" * 5, from_lengths([5] * 4), start=10, bases_per_row=10, annotations=annotations
    )
    axes = drawn(figure, tmp_path)
    bars = [line for line in axes.lines if line.get_gid() == "annotation"]
    spans = [tuple(line.get_xdata()) for line in bars]
    assert sorted(spans) == [(0, 7), (2, 5), (3, 4), (8, 10)]
    height = {span: line.get_ydata()[0] for span, line in zip(spans, bars, strict=True)}
    assert height[3, 4] < height[2, 5]
    assert height[0, 7] > height[2, 5]
    labels = [text for text in axes.texts if text.get_text() in {label for *_, label in annotations}]
    assert [text.get_text() for text in labels] == ["TATA", "a longer label", "exon"]
    assert overlapping(axes.texts) == []


def test_strip_boundary_probabilities(tmp_path):
    probabilities = torch.linspace(0, 1, 7)
    figure = plot_token_strip(
        "ACGTACG", from_lengths([3, 4]), bases_per_row=4, boundary_probabilities=probabilities
    )
    axes = drawn(figure, tmp_path)
    bars = [bar for container in axes.containers for bar in container]
    heights = [-bar.get_height() for bar in bars]
    assert torch.tensor(heights) / heights[-1] == pytest.approx(probabilities)
    places = [
        round(bar.get_x() + bar.get_width() / 2, 3) for container in axes.containers for bar in container
    ]
    assert places == [0.5, 1.5, 2.5, 3.5, 0.5, 1.5, 2.5]


def test_strip_row_of_a_batch(tmp_path):
    batch = Segmentation(torch.tensor([[0, 1, 1], [-1, 0, 0]]), torch.tensor([2, 1]))
    assert len(boxes_of(drawn(plot_token_strip("AC", batch, row=1), tmp_path))) == 1


def test_strip_bad_input():
    segmentation = from_lengths([3, 2])
    with pytest.raises(ValueError, match="must have 5 bases or 5 positions, got 4"):
        plot_token_strip("ACGT", segmentation)
    with pytest.raises(ValueError, match=r"boundary_probabilities must be \[5\], got \[4\]"):
        plot_token_strip("ACGTA", segmentation, boundary_probabilities=torch.zeros(4))
    with pytest.raises(ValueError, match="annotations must not be empty, got \\(4, 4, 'x'\\)"):
        plot_token_strip("ACGTA", segmentation, annotations=[(4, 4, "x")])
    with pytest.raises(ValueError, match="got 5 bases and bases_per_row=0"):
        plot_token_strip("ACGTA", segmentation, bases_per_row=0)


def test_receptive_positions(tmp_path):
    nan = float("nan")
    positions = torch.tensor([[nan, 1.0, 4.5], [1.0, 3.0, 7.0], [3.0, 5.5, nan]])
    modulation = torch.tensor([[1.0, 0.5, 2.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    axes = drawn(
        plot_receptive_positions("ACGTAC", from_lengths([3, 2, 1]), positions, modulation, start=100),
        tmp_path,
    )
    assert [text.get_text() for text in axes.texts] == list("ACGTAC")
    units = [patch for patch in axes.patches if patch.get_gid() == "unit"]
    assert [round(patch.get_x() + 0.45) for patch in units] == [0, 3, 5]
    assert [list(line.get_xdata()) for line in axes.lines] == [[1.0, 4.5], [1.0, 3.0, 7.0], [3.0, 5.5]]
    # A ring and the dots of each token, in this order: first all rings.
    rings, dots = axes.collections[:3], axes.collections[3:]
    assert [ring.get_offsets().tolist() for ring in rings] == [[[1, 1]], [[3.5, 2]], [[5, 3]]]
    assert [dot.get_offsets()[:, 1].tolist() for dot in dots] == [[1.0] * 2, [2.0] * 3, [3.0] * 2]
    assert dots[0].get_sizes().tolist() == pytest.approx([4.5, 18.0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100"]


@pytest.mark.parametrize(
    ("sequence", "rows", "message"),
    [
        ("ACGTAC", 2, r"positions must be \[3, f\], got \[2, 3\]"),
        ("", 3, "sequence"),
    ],
)
def test_receptive_positions_that_do_not_fit(sequence, rows, message):
    reads = torch.zeros(rows, 3)
    with pytest.raises(ValueError, match=message):
        plot_receptive_positions(sequence, from_lengths([3, 2, 1]), reads, reads)
