import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnachunk._native import rust
from dnachunk.ops import basic_units, use_backend
from dnachunk.ops.basic_units import basic_units_naive, basic_units_torch
from dnachunk.segmentation import Segmentation
from tests.support import op_case

FORMS = [basic_units, basic_units_torch, basic_units_naive]


def bounds(*values):
    return torch.tensor(values, dtype=torch.int64)


def sample(length=63, kernel_sizes=(1, 2, 3, 4, 5), levels=None):
    """Four sequences of ``[CLS]``, bases, ``[SEP]`` and padding; with few levels most scores tie."""
    scores = torch.randn(4, length, len(kernel_sizes))
    if levels is not None:
        scores = (scores * levels).round() / levels
    # Exact in half types too.
    scores = scores.half().float()
    ends = bounds(length - 1, length - 1, length // 2, 1).clamp_min(0)
    return {
        "scores": scores,
        "kernel_sizes": list(kernel_sizes),
        "starts": ends.clamp_max(1),
        "ends": ends,
    }


def assert_equal(decision, expected):
    for got, want in zip(decision, expected, strict=True):
        assert got.dtype == torch.int64
        assert torch.equal(got, want)


@pytest.mark.parametrize("form", FORMS)
def test_literal(form):
    scores = torch.full((1, 8, 2), -9.0)
    # Size 4 at 4 covers 2 … 5, so size 3 at 2 is too late and size 4 at 1 would leave the range.
    scores[0, 4, 1], scores[0, 2, 0], scores[0, 1, 1] = 3.0, 2.0, 1.0
    index, count, center, expert = form(scores, [3, 4], bounds(1), bounds(7))
    assert index.tolist() == [[-1, 0, 1, 1, 1, 1, 2, -1]]
    assert count.tolist() == [3]
    assert center.tolist() == [[1, 4, 6, -1, -1, -1, -1, -1]]
    assert expert.tolist() == [[-1, 1, -1, -1, -1, -1, -1, -1]]


@pytest.mark.parametrize("form", FORMS)
def test_a_unit_reaches_half_its_size_to_the_left(form):
    for size, first in ((1, 5), (2, 4), (3, 4), (4, 3), (5, 3), (64, -27)):
        scores = torch.zeros(1, 64, 2)
        scores[0, 5, 0] = 1.0
        index, _, center, expert = form(scores, [size, 1], bounds(0), bounds(64))
        token = int(index[0, 5])
        if first < 0:
            assert int(expert[0, token]) == 1
            continue
        assert (index[0] == token).nonzero()[:, 0].tolist() == list(range(first, first + size))
        assert center[0, token] == 5


@pytest.mark.parametrize("form", FORMS)
def test_ties_go_to_the_lower_position_then_to_the_lower_expert(form):
    scores = torch.zeros(1, 7, 3)
    _, _, center, expert = form(scores, [3, 2, 3], bounds(0), bounds(7))
    # Position 0 has room for no expert; 1 takes the first of size 3, so 4 does; at 6 nothing fits.
    assert center.tolist() == [[1, 4, 6, -1, -1, -1, -1]]
    assert expert.tolist() == [[0, 0, -1, -1, -1, -1, -1]]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_a_number_is_minus_infinity_and_minus_zero_is_zero(form):
    values = {"nan": torch.nan, "minus infinity": -torch.inf}
    decisions = []
    for value in values.values():
        scores = torch.full((1, 12, 2), value)
        scores[0, 5] = torch.tensor([-0.0, 0.0])
        scores[0, 9, 0] = torch.inf
        decisions.append(form(scores, [3, 2], bounds(0), bounds(12)))
    assert_equal(decisions[0], decisions[1])
    _, _, center, expert = decisions[0]
    # What counts as −∞ is taken like any score, where it has room.
    assert center[0].tolist() == [1, 3, 5, 7, 9, 11, -1, -1, -1, -1, -1, -1]
    assert expert[0, :6].tolist() == [0, -1, 0, -1, 0, -1]


def random_case(case):
    """Sizes in any order, some twice, with and without 1; scores distinct, tied, sloped or not numbers."""
    generator = torch.Generator().manual_seed(case)

    def draw(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    experts, length = int(draw(1, 6)), int(draw(0, 80))
    largest = (4, 11, 65)[case % 3]
    scores = torch.randn(2, length, experts, generator=generator)
    kind = case % 7
    if kind in (1, 2):
        scores = (scores * kind).round()
    elif kind == 3:
        scores = torch.arange(length * experts).view(1, length, experts).expand(2, -1, -1) // 3
        scores = scores * (1.0 if case % 2 else -1.0)
    elif kind == 4:
        strange = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0])
        scores = strange[draw(0, 5, *scores.shape)]
    bases = draw(0, length + 1, 2, 2).sort(dim=0).values
    return scores, draw(1, largest, experts).tolist(), bases[0], bases[1]


@pytest.mark.parametrize("form", FORMS[:2] + FORMS[3:])
def test_equals_the_sequential_reference_on_1000_random_cases(form):
    for case in range(1000):
        arguments = random_case(case)
        try:
            assert_equal(form(*arguments), basic_units_naive(*arguments))
        except AssertionError:
            pytest.fail(f"case {case}")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    length=st.integers(0, 200),
    kernel_sizes=st.lists(st.integers(1, 64), min_size=1, max_size=12),
    levels=st.sampled_from([0, 1, 1000]),
    seed=st.integers(0, 99),
)
def test_every_base_is_covered_once(length, kernel_sizes, levels, seed):
    torch.manual_seed(seed)
    scores = (torch.randn(3, length, len(kernel_sizes)) * levels).round()
    edges = torch.randint(0, length + 1, (2, 3)).sort(dim=0).values
    index, count, center, expert = basic_units(scores, kernel_sizes, *edges)
    segmentation = Segmentation(index, count).validate()
    places = torch.arange(length)
    in_range = (places >= edges[0][:, None]) & (places < edges[1][:, None])
    assert torch.equal(index >= 0, in_range)
    for row in range(3):
        tokens = int(count[row])
        assert (center[row, tokens:] == -1).all()
        assert (expert[row, tokens:] == -1).all()
        experts, sizes = expert[row, :tokens], torch.tensor(kernel_sizes)
        lengths = torch.where(experts >= 0, sizes[experts], 1)
        assert torch.equal(segmentation.lengths[row, :tokens], lengths)
        assert torch.equal(segmentation.starts[row, :tokens] + lengths // 2, center[row, :tokens])
        if 1 in kernel_sizes:
            assert (experts >= 0).all()


@pytest.mark.parametrize("shape", ["random", "tie", "up", "down", "saw"])
def test_a_long_sequence(shape):
    length, sizes = 20_000, [3, 1, 10, 2]
    ramp = torch.arange(length * 4.0)
    scores = {
        "random": torch.randn(length * 4),
        "tie": ramp * 0,
        "up": ramp,
        "down": -ramp,
        "saw": ramp % 997 + ramp / 1e4,
    }[shape].view(1, length, 4)
    arguments = (scores, sizes, bounds(1), bounds(length - 1))
    assert_equal(basic_units(*arguments), basic_units_naive(*arguments))


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 63, 300])
def test_against_naive(dtype, length):
    kwargs = sample(length, levels=4)
    op_case.check_against_naive(basic_units, basic_units_naive, kwargs, [], dtype, ["scores"])


def test_doubles_that_floats_cannot_tell_apart():
    scores = torch.tensor([[[1.0], [1.0 + 1e-12], [1.0]]], dtype=torch.float64)
    for form in FORMS:
        assert form(scores, [2], bounds(0), bounds(3))[2].tolist() == [[1, 2, -1]]
        assert form(scores.flip(1), [2], bounds(0), bounds(3))[2].tolist() == [[1, 2, -1]]
    scores[0, 2] = 2.0
    for form in FORMS:
        assert form(scores, [2], bounds(0), bounds(3))[2].tolist() == [[0, 2, -1]]


@pytest.mark.parametrize("levels", [None, 1])
def test_everything_else(levels):
    op_case.check_torch_form(basic_units, sample(200, range(1, 11), levels), [])
    op_case.check_views(basic_units, sample(levels=levels), [])
    op_case.check_threads(basic_units, sample(9000, levels=levels), [])


def test_padding_and_special_positions_are_not_read():
    kwargs = sample(120, (2, 5, 9))
    clean = basic_units(**kwargs)
    places = torch.arange(120)
    outside = (places < kwargs["starts"][:, None]) | (places >= kwargs["ends"][:, None])
    for garbage in (torch.nan, torch.inf, 1e30):
        dirty = {**kwargs, "scores": kwargs["scores"].masked_fill(outside[..., None], garbage)}
        for form in FORMS:
            assert_equal(form(**dirty), clean)
    for row, end in enumerate(kwargs["ends"].tolist()):
        alone = {name: value[row : row + 1] for name, value in kwargs.items() if name != "kernel_sizes"}
        alone["scores"] = alone["scores"][:, : end + 1]
        index, count, center, _ = basic_units(**alone, kernel_sizes=kwargs["kernel_sizes"])
        assert torch.equal(clean[0][row, : end + 1], index[0])
        assert clean[1][row] == count[0]
        assert torch.equal(clean[2][row, : end + 1], center[0])


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3), (2, 4, 0)])
def test_empty(shape):
    arguments = (torch.randn(shape), [2, 1, 3][: shape[2]], bounds(0, 0)[: shape[0]], bounds(shape[1], 0))
    arguments = (*arguments[:3], arguments[3][: shape[0]])
    for form in FORMS:
        index, count, center, expert = form(*arguments)
        assert index.shape == center.shape == expert.shape == shape[:2]
        if shape[2] == 0:
            assert index.tolist() == center.tolist() == [[0, 1, 2, 3], [-1] * 4]
            assert count.tolist() == [4, 0]
            assert (expert == -1).all()


def test_gives_no_gradient():
    kwargs = sample(9)
    kwargs["scores"].requires_grad_()
    for backend in ("rust", "torch"):
        with use_backend(backend):
            assert not any(result.requires_grad for result in basic_units(**kwargs))


def test_compiles_whole():
    kwargs = sample(40)
    compiled = torch.compile(basic_units, fullgraph=True, backend="aot_eager")
    assert_equal(compiled(**kwargs), basic_units(**kwargs))


def test_opcheck():
    op_case.opcheck("basic_units", *sample(11).values())


def test_bad_input():
    kwargs = sample(7)
    with pytest.raises(ValueError, match=r"basic_units: scores must be \[B, N, E\], got \[7, 5\]"):
        basic_units(**{**kwargs, "scores": kwargs["scores"][0]})
    with pytest.raises(TypeError, match="scores must be float32, .*, got torch.int64"):
        basic_units(**{**kwargs, "scores": kwargs["scores"].long()})
    with pytest.raises(ValueError, match=r"kernel_sizes must be one for each of 5 experts, got \[1, 2\]"):
        basic_units(**{**kwargs, "kernel_sizes": [1, 2]})
    for wrong in (0, 65, -3):
        with pytest.raises(ValueError, match=rf"kernel_sizes must be in \[1, 64\], got \[1, 2, {wrong}"):
            basic_units(**{**kwargs, "kernel_sizes": [1, 2, wrong, 4, 5]})
        with pytest.raises(ValueError, match=rf"kernel_sizes must be numbers in \[1, 64\], got {wrong}"):
            rust.basic_units_forward(*{**kwargs, "kernel_sizes": [1, 2, wrong, 4, 5]}.values())
    with pytest.raises(ValueError, match=r"starts must be \[4\], got \[3\]"):
        basic_units(**{**kwargs, "starts": kwargs["starts"][:3]})
    with pytest.raises(TypeError, match=r"ends must be torch.int64, got torch.int32"):
        basic_units(**{**kwargs, "ends": kwargs["ends"].int()})
    for starts, ends in (
        ((0, 0, 0, 0), (7, 8, 7, 7)),
        ((0, -1, 0, 0), (7, 7, 7, 7)),
        ((0, 5, 0, 0), (7, 4, 7, 7)),
    ):
        message = f"0 <= start <= end <= 7 for sequence 1, got {starts[1]} and {ends[1]}"
        with pytest.raises(ValueError, match=message):
            basic_units(**{**kwargs, "starts": bounds(*starts), "ends": bounds(*ends)})
