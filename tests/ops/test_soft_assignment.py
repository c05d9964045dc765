import math

import pytest
import torch

from dnachunk.ops import neighbor_match, soft_assignment
from dnachunk.ops.soft_assignment import soft_assignment_naive
from tests.support import op_case


def sample(length=63, window=16, shift=0, temperature=0.3, merges_of=3):
    """A full, a shorter and an empty sequence, as a merging layer meets them."""
    lengths = torch.tensor([length, length // 2, 0])
    generator = torch.Generator().manual_seed(length)
    return {
        "scores": 2 * torch.rand(3, length, generator=generator) - 1,
        "lengths": lengths,
        "num_merges": lengths // merges_of,
        "window": window,
        "shift": shift,
        "temperature": temperature,
    }


def test_literal():
    scores = torch.tensor([[0.5, 0.5, 0.5, 0.0]])
    # Candidates 0 and 2 have one better score, and 2 likes both its keepers alike.
    given = soft_assignment(scores, torch.tensor([4]), torch.tensor([1]), window=4)
    torch.testing.assert_close(given, torch.tensor([[[0.0, 0.5], [0.0, 0.0], [0.25, 0.25], [0.0, 0.0]]]))
    # The first position is a window of its own, and no candidate.
    given = soft_assignment(scores, torch.tensor([4]), torch.tensor([1]), window=4, shift=1)
    torch.testing.assert_close(given, torch.tensor([[[0.0, 0.0], [0.0, 0.5], [0.0, 0.0], [0.5, 0.0]]]))


def test_literal_second_step():
    # p = (1/4, 3/4), then odds of 3/4 to 3 · 1/4: halves. The second would give more than it has.
    scores = torch.tensor([[0.0, -50.0, math.log(3), 0.0]])
    given = soft_assignment(scores, torch.tensor([4]), torch.tensor([2]), window=4, temperature=1.0)
    torch.testing.assert_close(given[0, ::2, 1], torch.tensor([0.75, 0.999]))
    # Half of the second step.
    lengths, merges = torch.tensor([8]), torch.tensor([3])
    given = soft_assignment(scores.repeat(1, 2), lengths, merges, window=4, temperature=1.0)
    torch.testing.assert_close(given[0, ::2, 1], torch.tensor([0.5, 0.999, 0.5, 0.999]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("window", "shift"), [(16, 0), (5, 2), (2, 1), (1, 0)])
@pytest.mark.parametrize("length", [1, 2, 17, 63])
def test_against_naive(dtype, length, window, shift):
    kwargs = sample(length, window, shift, merges_of=3 if window > 1 else 1000)
    op_case.check_against_naive(soft_assignment, soft_assignment_naive, kwargs, ["scores"], dtype, ["scores"])
    op_case.check_torch_form(soft_assignment, op_case.cast(kwargs, dtype, ["scores"]), ["scores"])


@pytest.mark.parametrize("merges", [0, 1, 15, 31, 32])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0, 30.0])
def test_budgets_and_temperatures(merges, temperature):
    kwargs = sample(temperature=temperature) | {"num_merges": torch.tensor([merges, merges // 2, 0])}
    op_case.check_against_naive(
        soft_assignment, soft_assignment_naive, kwargs, ["scores"], torch.float64, ["scores"]
    )
    given = soft_assignment(**kwargs).sum(dim=(1, 2))
    # As much is given away as is merged, but for what would be more than all of a candidate.
    assert (given <= kwargs["num_merges"] + 1e-4).all()
    if temperature >= 1 and merges <= 15:
        torch.testing.assert_close(given, kwargs["num_merges"].float(), rtol=0.02, atol=0)


def test_many_windows_beside_each_other():
    kwargs = sample(length=700, window=6, shift=5, temperature=0.1)
    op_case.check_against_naive(
        soft_assignment, soft_assignment_naive, kwargs, ["scores"], torch.float64, ["scores"]
    )


def test_wide_windows():
    # Wider than the sequence; wider than the kernels take.
    for window in (100, 512, 513):
        kwargs = sample(window=window)
        op_case.check_against_naive(
            soft_assignment, soft_assignment_naive, kwargs, ["scores"], torch.float64, ["scores"]
        )


def test_small_temperatures_give_what_the_hard_decision_merges():
    kwargs = sample(48, temperature=0.005)
    # Far apart in every window; a whole share for each, so that nothing is left to the best of the sequence.
    order = torch.rand(3, 3, 16, generator=torch.Generator().manual_seed(0)).argsort(dim=2)
    kwargs["scores"] = order.flatten(1) * 0.12 - 0.9
    kwargs["lengths"] = torch.tensor([48, 16, 0])
    kwargs["num_merges"] = torch.tensor([9, 3, 0])
    given = soft_assignment(**kwargs)
    index, _ = neighbor_match(*list(kwargs.values())[:3])
    hard = torch.zeros_like(given)
    hard[:, 1:, 0] = (index[:, 1:] == index[:, :-1]).float()
    hard[:, :-1, 1] = (index[:, 1:] == index[:, :-1]).float()
    hard[:, 1::2] = 0
    hard[index < 0] = 0
    assert hard.sum(dim=(1, 2)).tolist() == [9, 3, 0]
    torch.testing.assert_close(given, hard, rtol=0, atol=2e-3)


def test_equal_scores_share_the_gradient():
    scores = torch.tensor([[0.5, 0.5, 0.5, 0.0]], dtype=torch.float64)
    kwargs = {
        "scores": scores,
        "lengths": torch.tensor([4]),
        "num_merges": torch.tensor([1]),
        "window": 4,
        "temperature": 0.1,
    }
    for operation in (soft_assignment, soft_assignment_naive):
        _, grads = op_case.run(operation, kwargs, ["scores"], [torch.ones(1, 4, 2)])
        # What one candidate gives more, the other gives less; together they give all there is.
        torch.testing.assert_close(grads["scores"], torch.zeros_like(scores))
        weights = torch.tensor([[[0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
        _, grads = op_case.run(operation, kwargs, ["scores"], [weights])
        # p (1 − p) / τ = 2.5.
        torch.testing.assert_close(
            grads["scores"], torch.tensor([[2.5, -1.25, -1.25, 0.0]], dtype=torch.float64)
        )


@pytest.mark.parametrize(("batch", "length"), [(0, 4), (2, 0)])
def test_empty(batch, length):
    scores = torch.randn(batch, length, requires_grad=True)
    nothing = torch.zeros(batch, dtype=torch.int64)
    given = soft_assignment(scores, nothing, nothing)
    given.sum().backward()
    assert given.shape == (batch, length, 2)
    assert scores.grad.shape == scores.shape


def test_padding_is_ignored():
    kwargs = sample()
    spoiled = dict(kwargs)
    # The score of the last real position and the next is padding too.
    behind = torch.arange(63) >= kwargs["lengths"][:, None] - 1
    spoiled["scores"] = kwargs["scores"].masked_fill(behind, math.nan)
    outputs, grads = op_case.run(soft_assignment, spoiled, ["scores"])
    expected, expected_grads = op_case.run(soft_assignment, kwargs, ["scores"])
    assert torch.equal(outputs[0], expected[0])
    assert torch.equal(grads["scores"], expected_grads["scores"])
    op_case.check_torch_form(soft_assignment, spoiled, ["scores"])


def test_views():
    op_case.check_views(soft_assignment, sample(), ["scores"])


def test_threads():
    op_case.check_threads(soft_assignment, sample(length=3000), ["scores"])


@pytest.mark.parametrize(("window", "shift"), [(8, 3), (7, 0)])
def test_gradient(window, shift):
    kwargs = sample(20, window, shift, temperature=0.5)
    op_case.check_gradient(soft_assignment, kwargs, ["scores"], ["scores"])


def test_compiles_whole():
    kwargs = sample(20, 4, 2)
    compiled = torch.compile(soft_assignment, fullgraph=True, backend="aot_eager")
    outputs, grads = op_case.run(compiled, kwargs, ["scores"])
    expected, expected_grads = op_case.run(soft_assignment, kwargs, ["scores"])
    assert torch.equal(outputs[0], expected[0])
    assert torch.equal(grads["scores"], expected_grads["scores"])


def test_opcheck():
    scores, *rest = sample(20, 4, 2).values()
    op_case.opcheck("soft_assignment", scores.requires_grad_(), *rest)
    op_case.opcheck("soft_assignment_backward", torch.randn(3, 20, 2), scores.detach(), *rest)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scores": torch.zeros(4)}, ValueError, r"scores must be \[B, N\], got \[4\]"),
        (
            {"scores": torch.zeros(1, 4).half()},
            TypeError,
            "scores must be float32 or float64, got torch.float16",
        ),
        ({"lengths": torch.tensor([4, 4])}, ValueError, r"lengths must be \[1\], got \[2\]"),
        ({"lengths": torch.tensor([4.0])}, TypeError, "lengths must be torch.int64"),
        ({"lengths": torch.tensor([5])}, ValueError, r"lengths must be in \[0, 4\], got 5"),
        ({"num_merges": torch.tensor([[1]])}, ValueError, r"num_merges must be \[1\], got \[1, 1\]"),
        ({"num_merges": torch.tensor([1.0])}, TypeError, "num_merges must be torch.int64"),
        (
            {"num_merges": torch.tensor([3])},
            ValueError,
            r"num_merges must be in \[0, 2\] for 4 positions in windows of 4, got 3",
        ),
        ({"num_merges": torch.tensor([-1])}, ValueError, r"num_merges must be in \[0, 2\]"),
        ({"window": 0}, ValueError, "window must be at least 1"),
        ({"shift": 4}, ValueError, r"shift in \[0, window\)"),
        ({"temperature": 0.0}, ValueError, "temperature must be above 0, got 0.0"),
        ({"temperature": math.nan}, ValueError, "temperature must be above 0, got nan"),
    ],
)
def test_bad_input(change, error, message):
    good = {"scores": torch.zeros(1, 4), "lengths": torch.tensor([4]), "num_merges": torch.tensor([1])}
    with pytest.raises(error, match=f"soft_assignment: .*{message}"):
        soft_assignment(**{**good, "window": 4, **change})
