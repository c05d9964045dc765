import itertools

import pytest
import torch

from dnachunk.ops import neighbor_match
from dnachunk.ops.neighbor_match import neighbor_match_naive
from tests.support import op_case

BUDGETS = ["window", "sequence"]


def capacity(length, window, shift):
    cuts = sorted({0, *range(shift or window, length, window), length})
    return sum((b - a + 1) // 2 for a, b in itertools.pairwise(cuts) if b - a > 1)


def sample(length=63, window=16, shift=0, budget="window", dtype=torch.float32):
    """Five sequences: full, shorter, one base, none, full with as many merges as fit; scores full of ties."""
    scores = (torch.randint(-6, 7, (5, length)) / 8).to(dtype)
    lengths = torch.tensor([length, length * 2 // 3, min(1, length), 0, length])
    most = torch.tensor([capacity(n, window, shift) for n in lengths.tolist()])
    num_merges = torch.stack([most[0] // 2, most[1] // 3, most[2], most[3], most[4]])
    names = {"window": window, "shift": shift, "budget": budget}
    return {"scores": scores, "lengths": lengths, "num_merges": num_merges, **names}


def test_literal():
    scores = torch.tensor([[0.5, 0.0, 0.25, 0.9, 0.125, 0.0, 0.0625, 0.0]])
    length, merges = torch.tensor([8]), torch.tensor([2])
    token_index, threshold = neighbor_match(scores, length, merges, window=4, budget="window")
    assert token_index.tolist() == [[0, 0, 1, 2, 3, 3, 4, 5]]
    assert threshold.tolist() == [[0.375] * 4 + [0.09375] * 4]
    token_index, threshold = neighbor_match(scores, length, merges, window=4, budget="sequence")
    assert token_index.tolist() == [[0, 0, 1, 1, 2, 3, 4, 5]]
    assert threshold.tolist() == [[0.1875] * 8]


def test_a_near_tie_on_the_grid_goes_left_and_then_low():
    scores = torch.tensor([[0.5, 0.5 + 2**-14, 0.5 - 2**-14, 0.0]])
    token_index, _ = neighbor_match(scores, torch.tensor([4]), torch.tensor([1]), window=4)
    assert token_index.tolist() == [[0, 0, 1, 2]]
    token_index, _ = neighbor_match(scores, torch.tensor([4]), torch.tensor([2]), window=4)
    assert token_index.tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize(("window", "shift"), [(16, 0), (16, 8), (5, 0), (5, 2), (2, 1), (1, 0)])
@pytest.mark.parametrize("length", [1, 2, 15, 17, 63, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_against_naive(length, window, shift, budget, dtype):
    kwargs = sample(length, window, shift, budget, dtype)
    op_case.check_against_naive(neighbor_match, neighbor_match_naive, kwargs, [], dtype, ["scores"])
    op_case.check_torch_form(neighbor_match, kwargs, [])


@pytest.mark.parametrize("budget", BUDGETS)
def test_budgets_are_exact_and_tokens_contiguous(budget):
    for length in (1, 2, 5, 17, 64, 333):
        most = capacity(length, 16, 0)
        merges = torch.arange(most + 1)
        scores = torch.randn(most + 1, length).tanh()
        token_index, _ = neighbor_match(scores, torch.full((most + 1,), length), merges, 16, 0, budget)
        assert torch.equal(token_index.amax(dim=1) + 1, length - merges)
        steps = token_index.diff(dim=1)
        assert ((steps == 0) | (steps == 1)).all()
        assert token_index[:, 0].eq(0).all()
        # A keeper takes at most the candidate on each side.
        assert all(torch.bincount(row).max() <= 3 for row in token_index)


def test_nan_is_the_worst_score():
    scores = torch.tensor([[float("nan"), -0.9, float("nan"), 0.0]])
    token_index, _ = neighbor_match(scores, torch.tensor([4]), torch.tensor([1]), window=4)
    assert token_index.tolist() == [[0, 1, 1, 2]]


def test_empty():
    for shape in ((0, 5), (2, 0)):
        zeros = torch.zeros(shape[0], dtype=torch.int64)
        token_index, threshold = neighbor_match(torch.zeros(shape), zeros, zeros)
        assert token_index.shape == threshold.shape == shape


def test_views():
    op_case.check_views(neighbor_match, sample(), [])


def test_threads():
    op_case.check_threads(neighbor_match, sample(length=1000), [])


def test_no_gradient():
    kwargs = sample()
    token_index, threshold = neighbor_match(**{**kwargs, "scores": kwargs["scores"].requires_grad_()})
    assert not token_index.requires_grad
    assert not threshold.requires_grad


@pytest.mark.parametrize("budget", BUDGETS)
def test_opcheck(budget):
    kwargs = sample(20, 4, 2, budget)
    op_case.opcheck("neighbor_match", *kwargs.values())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scores": torch.zeros(3)}, ValueError, r"scores must be \[B, N\], got \[3\]"),
        (
            {"scores": torch.zeros(1, 4).bfloat16()},
            TypeError,
            "scores must be float32 or float64, got torch.bf",
        ),
        ({"lengths": torch.tensor([5])}, ValueError, r"lengths must be in \[0, 4\], got 5"),
        ({"lengths": torch.tensor([-1])}, ValueError, r"lengths must be in \[0, 4\], got -1"),
        ({"lengths": torch.tensor([4.0])}, TypeError, "lengths must be torch.int64, got torch.float32"),
        ({"num_merges": torch.tensor([3])}, ValueError, r"num_merges must be in \[0, 2\] for 4 positions"),
        ({"num_merges": torch.tensor([-1])}, ValueError, r"num_merges must be in \[0, 2\] .* got -1"),
        ({"num_merges": torch.tensor([1, 1])}, ValueError, r"num_merges must be \[1\], got \[2\]"),
        ({"window": 0}, ValueError, "window must be at least 1"),
        ({"shift": 4}, ValueError, r"shift in \[0, window\), got 4 and 4"),
        ({"budget": "genome"}, ValueError, "budget must be 'window' or 'sequence', got 'genome'"),
    ],
)
def test_bad_input(change, error, message):
    good = {"scores": torch.zeros(1, 4), "lengths": torch.tensor([4]), "num_merges": torch.tensor([1])}
    with pytest.raises(error, match=f"neighbor_match: .*{message}"):
        neighbor_match(**{**good, "window": 4, **change})


def test_infinite_scores_are_the_highest_and_the_lowest():
    scores = torch.tensor([[0.5, 0.0, torch.inf, 0.0], [0.5, -torch.inf, 0.25, 0.0]])
    kwargs = {"scores": scores, "lengths": torch.tensor([4, 4]), "num_merges": torch.tensor([1, 2])}
    assert neighbor_match(**kwargs, window=4)[0].tolist() == [[0, 1, 2, 2], [0, 0, 1, 1]]
    op_case.check_against_naive(neighbor_match, neighbor_match_naive, kwargs, [], torch.float32, ["scores"])
    op_case.check_torch_form(neighbor_match, kwargs, [])


@pytest.mark.parametrize("batch", [0, 2])
def test_torch_form_without_positions(batch):
    none = torch.zeros(batch, dtype=torch.int64)
    for length in (0, 8) if not batch else (0,):
        kwargs = {"scores": torch.randn(batch, length), "lengths": none, "num_merges": none}
        op_case.check_torch_form(neighbor_match, kwargs, [])
