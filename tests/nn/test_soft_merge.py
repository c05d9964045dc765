"""Merging by shares against loops over candidates."""

import itertools
import math

import pytest
import torch

from dnachunk.nn import TokenMerge
from dnachunk.nn.soft_merge import distinct, soft_assignment, soft_merge
from dnachunk.ops import neighbor_match

CUTS = [(16, 0), (8, 3), (6, 5)]


def windows_of(length, window, shift):
    cuts = sorted({0, *range(shift or window, length, window), length})
    return list(itertools.pairwise(cuts))


def assignment_naive(scores, length, merges, window, shift, temperature):
    """One sequence: what each candidate gives, by (candidate, keeper)."""
    edges = {}
    for start, end in windows_of(length, window, shift):
        for i in range(start, end, 2):
            own = [(i - 1, i - 1)] * (i > start) + [(i + 1, i)] * (i + 1 < end)
            if own:
                edges[i] = [(keeper, scores[place]) for keeper, place in own]
    given = {}
    for start, end in windows_of(length, window, shift):
        own = [i for i in edges if start <= i < end]
        left = merges * len(own) / max(len(edges), 1)
        logits = {i: max(cosine for _, cosine in edges[i]) for i in own}
        shares = dict.fromkeys(own, 0.0)
        while left > 1e-9 and own:
            total = sum(math.exp(logit / temperature) for logit in logits.values())
            p = {i: math.exp(logits[i] / temperature) / total for i in own}
            for i in own:
                shares[i] += min(left, 1) * p[i]
                logits[i] += math.log(max(1 - p[i], 1e-30))
            left -= 1
        for i in own:
            total = sum(math.exp(cosine / temperature) for _, cosine in edges[i])
            for keeper, cosine in edges[i]:
                given[i, keeper] = min(shares[i], 0.999) * math.exp(cosine / temperature) / total
    return given


def sample(length=50, lengths=(50, 31, 2, 1, 0), channels=5):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(lengths), length, channels, generator=generator, dtype=torch.float64)
    scores = torch.rand(len(lengths), length, generator=generator, dtype=torch.float64) * 2 - 1
    return x, scores, torch.tensor(lengths)


@pytest.mark.parametrize(("window", "shift"), CUTS)
def test_assignments(window, shift):
    _, scores, lengths = sample()
    merges = torch.tensor([13, 4, 1, 0, 0])
    got = soft_assignment(scores, lengths, merges, window, shift, 0.3)
    want = torch.zeros_like(got)
    for row, (length, count) in enumerate(zip(lengths.tolist(), merges.tolist(), strict=True)):
        given = assignment_naive(scores[row].tolist(), length, count, window, shift, 0.3)
        for (i, keeper), share in given.items():
            want[row, i, int(keeper > i)] = share
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
    # As much is given away as is merged, but for what would be more than all of a candidate.
    assert 12 < got[0].sum() <= 13


def test_small_temperatures_give_what_the_hard_decision_merges():
    x, _, lengths = sample(lengths=(48, 48, 32, 16, 0))
    # Far apart in every window.
    order = torch.rand(5, 4, 16, generator=torch.Generator().manual_seed(0)).argsort(dim=2)
    scores = (order.flatten(1)[:, :50] * 0.12 - 0.9).double()
    # A whole share for each window, so that nothing is left to the best of the sequence.
    merges = lengths // 16 * 3
    token_index, _ = neighbor_match(scores.float(), lengths, merges, 16, 0, "window")
    assignment = soft_assignment(scores, lengths, merges, 16, 0, 0.01)
    most = int((lengths - merges).max())
    values, mass = soft_merge(x, (token_index >= 0).double(), assignment, token_index, most, 16, 0)
    for row in range(3):
        for token in range(int(lengths[row] - merges[row])):
            members = x[row, token_index[row] == token]
            assert mass[row, token] == pytest.approx(len(members), abs=0.02)
            torch.testing.assert_close(values[row, token], members.mean(dim=0), rtol=0, atol=0.02)
    assert not values[4].any()
    assert not mass[4].any()


@pytest.mark.parametrize(("window", "shift"), CUTS)
def test_merging_by_shares(window, shift):
    x, scores, lengths = sample()
    merges = torch.tensor([13, 4, 1, 0, 0])
    token_index, _ = neighbor_match(scores.float(), lengths, merges, window, shift, "window")
    mass = torch.rand(x.shape[:2], dtype=torch.float64) + 0.5
    mass[token_index < 0] = 0
    assignment = soft_assignment(scores, lengths, merges, window, shift, 0.3)
    most = int((lengths - merges).max())
    values, merged = soft_merge(x, mass, assignment, token_index, most, window, shift)
    for row, (length, count) in enumerate(zip(lengths.tolist(), merges.tolist(), strict=True)):
        given = assignment_naive(scores[row].tolist(), length, count, window, shift, 0.3)
        index = token_index[row].tolist()
        gone = {i for i, keeper in given if index[i] == index[keeper]}
        for token in range(length - count):
            (place,) = [i for i in range(length) if index[i] == token and i not in gone]
            parts = {
                place: (1 - sum(given.get((place, k), 0) for k in (place - 1, place + 1))) * mass[row, place]
            }
            for i in (place - 1, place + 1):
                if (i, place) in given:
                    parts[i] = given[i, place] * mass[row, i]
            total = sum(parts.values())
            assert merged[row, token] == pytest.approx(total.item())
            mean = sum(part * x[row, i] for i, part in parts.items()) / total
            torch.testing.assert_close(values[row, token], mean)
        assert not values[row, length - count :].any()
        assert not merged[row, length - count :].any()


def test_gradients():
    x, scores, lengths = sample(20, (20, 13, 1))
    merges = torch.tensor([6, 3, 0])
    token_index, _ = neighbor_match(scores.float(), lengths, merges, 8, 3, "window")
    mass = (token_index >= 0).double()

    def merge(x, mass, scores):
        assignment = soft_assignment(scores, lengths, merges, 8, 3, 0.5)
        return soft_merge(x, mass * (token_index >= 0), assignment, token_index, 14, 8, 3)

    arguments = [t.clone().requires_grad_() for t in (x, mass, scores)]
    assert torch.autograd.gradcheck(merge, arguments)


@pytest.mark.parametrize(("window", "shift"), CUTS)
def test_what_is_distinct_has_no_common_part(window, shift):
    x, _, lengths = sample()
    found = distinct(x + 100.0 * torch.ones(5), lengths, window, shift)
    for row, length in enumerate(lengths.tolist()):
        for start, end in windows_of(length, window, shift):
            unit = torch.nn.functional.rms_norm(x[row, start:end] + 100.0, (5,), eps=1e-6)
            torch.testing.assert_close(found[row, start:end], unit - unit.mean(dim=0))
        assert not found[row, length:].any()


def test_a_layer_merges_softly_in_training_and_exactly_always():
    x = torch.randn(2, 40, 8)
    merge = TokenMerge(8, merge_gradient="soft")
    soft = merge(x, 25)
    assert soft.values.shape == (2, 25, 8)
    assert soft.sizes.sum(dim=1).tolist() == [40, 40]
    assert (soft.mass > 0).all()
    hard = merge.eval()(x, 25)
    assert torch.equal(hard.token_index, soft.token_index)
    assert torch.equal(hard.sizes, soft.sizes)
    assert torch.equal(hard.mass, hard.sizes.float())
    assert not torch.equal(hard.values, soft.values)
    soft.values.square().sum().backward()
    assert merge.grouping.weight.grad.any()


def test_the_grouping_reads_and_gives_no_gradient():
    x = torch.randn(2, 40, 8, requires_grad=True)
    merge = TokenMerge(8, merge_gradient="soft")
    merge(x, 25).mass.square().sum().backward()
    assert merge.grouping.weight.grad.any()
    assert x.grad is None


def test_errors():
    with pytest.raises(
        ValueError, match="budget must be 'window' with merge_gradient='soft', got 'sequence'"
    ):
        TokenMerge(8, merge_gradient="soft", budget="sequence")
