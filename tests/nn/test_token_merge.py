import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnachunk.nn import MergedTokens, TokenMerge, merge_schedule
from dnachunk.nn.token_merge import tied_candidates
from dnachunk.ops import neighbor_cosine, neighbor_match
from dnachunk.ops.neighbor_cosine import neighbor_cosine_naive
from dnachunk.ops.neighbor_match import neighbor_match_naive
from dnachunk.ops.token_merge import token_merge_naive
from dnachunk.segmentation import Segmentation

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)


def weighted_means(x, sizes, token_index, rows):
    """Size-weighted means by a matrix, as the paper writes them."""
    assignment = (token_index[..., None] == torch.arange(rows)).to(x)
    weight = assignment * sizes[..., None]
    return weight.transpose(1, 2) @ x / weight.sum(dim=1).clamp_min(1)[..., None]


def check_tokens(tokens, x, sizes, lengths, num_tokens):
    assert isinstance(tokens, MergedTokens)
    rows = tokens.values.shape[1]
    segmentation = Segmentation(tokens.token_index, tokens.lengths).validate()
    assert tokens.lengths.tolist() == num_tokens.tolist()
    assert torch.equal(tokens.token_index >= 0, torch.arange(x.shape[1]) < lengths[:, None])
    expected_sizes = torch.zeros(len(x), rows, dtype=torch.int64)
    for row in range(len(x)):
        real = slice(int(lengths[row]))
        expected_sizes[row].scatter_add_(0, tokens.token_index[row, real], sizes[row, real])
    assert torch.equal(tokens.sizes, expected_sizes)
    assert (segmentation.lengths <= 3).all()
    assert torch.equal(tokens.is_padding, torch.arange(rows) >= num_tokens[:, None])
    torch.testing.assert_close(tokens.values, weighted_means(x, sizes, tokens.token_index, rows))
    assert not tokens.values[tokens.is_padding].any()


def test_with_its_defaults():
    merge, x = TokenMerge(8), torch.randn(2, 40, 8)
    tokens = merge(x, 25)
    assert tokens.values.shape == (2, 25, 8)
    ones = torch.ones(2, 40, dtype=torch.int64)
    check_tokens(tokens, x, ones, torch.tensor([40, 40]), torch.tensor([25, 25]))
    assert merge.window == 16
    assert not list(merge.parameters())


def test_literal():
    merge = TokenMerge(2, group_dim=2, window=4, merge_gradient="straight_through")
    with torch.no_grad():
        merge.grouping.weight.copy_(torch.eye(2))
    # The second and third position point the same way; sizes weigh the mean.
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 5.0], [-1.0, 0.0]]])
    tokens = merge(x, 3, sizes=torch.tensor([[2, 3, 1, 4]]))
    assert tokens.token_index.tolist() == [[0, 1, 1, 2]]
    assert tokens.values.tolist() == [[[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]]
    assert tokens.sizes.tolist() == [[2, 4, 4]]


def test_nothing_to_merge():
    x = torch.randn(2, 17, 8)
    tokens = TokenMerge(8)(x, 17)
    assert torch.equal(tokens.values, x)
    assert torch.equal(tokens.token_index, torch.arange(17).expand(2, -1))
    assert TokenMerge(8)(x[:, :0], 0).values.shape == (2, 0, 8)
    assert TokenMerge(8)(x[:0], 10).values.shape == (0, 10, 8)


def test_sizes_lengths_and_a_tensor_of_counts():
    x, lengths, num_tokens = torch.randn(3, 50, 8), torch.tensor([50, 33, 1]), torch.tensor([30, 33, 1])
    sizes = torch.randint(1, 9, (3, 50)) * (torch.arange(50) < lengths[:, None])
    tokens = TokenMerge(8)(x, num_tokens, padded_tokens=35, sizes=sizes, lengths=lengths)
    assert tokens.values.shape == (3, 35, 8)
    check_tokens(tokens, x, sizes, lengths, num_tokens)


def test_padding_is_not_read():
    merge, x, lengths = TokenMerge(8), torch.randn(2, 40, 8), torch.tensor([40, 21])
    x[1, 21:] = torch.nan
    tokens = merge(x, torch.tensor([25, 15]), padded_tokens=25, lengths=lengths)
    alone = merge(x[1:, :21], 15)
    assert torch.equal(tokens.values[1:, :15], alone.values)
    assert torch.equal(tokens.token_index[1:, :21], alone.token_index)


@PROPERTY
@given(
    lengths=st.lists(st.integers(0, 70), min_size=1, max_size=3),
    shares=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    window=st.integers(2, 20),
    shifted=st.booleans(),
    budget=st.sampled_from(["window", "sequence"]),
    seed=st.integers(0, 99),
)
def test_counts_are_exact(lengths, shares, window, shifted, budget, seed):
    torch.manual_seed(seed)
    shift = window // 2 if shifted else 0
    x = torch.randn(len(lengths), max(lengths), 4)
    capacity = [max_merges(length, window, shift) for length in lengths]
    merged = [round(share * most) for share, most in zip(shares, capacity, strict=False)]
    num_tokens = torch.tensor(lengths) - torch.tensor(merged)
    sizes = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    merge = TokenMerge(4, window, shift, 3, budget, merge_gradient="straight_through")
    tokens = merge(x, num_tokens, padded_tokens=int(num_tokens.max()), lengths=torch.tensor(lengths))
    check_tokens(tokens, x, sizes, torch.tensor(lengths), num_tokens)
    window_of = (torch.arange(max(lengths)) + (window - shift if shift else 0)) // window
    joined = (tokens.token_index[:, 1:] == tokens.token_index[:, :-1]) & (tokens.token_index[:, 1:] >= 0)
    assert not (joined & (window_of[1:] != window_of[:-1])).any(), "a token across windows"


def max_merges(length, window, shift):
    """Candidates (1st, 3rd, … of a window) that have a keeper (2nd, 4th, …), counted one by one."""
    count, place, start = 0, 0, 0
    while start < length:
        end = min(start + (shift if shift and start == 0 else window), length)
        for place in range(0, end - start, 2):
            count += place > 0 or start + place + 1 < end
        start = end
    return count


@pytest.mark.parametrize("budget", ["window", "sequence"])
def test_the_decision_is_that_of_the_operations(budget):
    merge, x = TokenMerge(8, shift=8, budget=budget), torch.randn(2, 60, 8)
    scores = neighbor_cosine(x)
    lengths = torch.tensor([60, 60])
    index, _ = neighbor_match(scores, lengths, torch.tensor([17, 17]), 16, 8, budget)
    assert torch.equal(merge(x, 43).token_index, index)


def test_budgets_differ_where_one_window_is_denser():
    x = torch.randn(1, 32, 8)
    x[:, :16] = torch.randn(8)
    counts = {}
    for budget in ("window", "sequence"):
        torch.manual_seed(0)
        tokens = TokenMerge(8, budget=budget)(x, 24)
        counts[budget] = int(tokens.token_index[0, 15]) + 1
    assert counts == {"window": 12, "sequence": 8}


def straight_through_reference(merge, x, num_tokens):
    lengths = torch.full((x.shape[0],), x.shape[1])
    scores = neighbor_cosine_naive(x @ merge.grouping.weight.T)
    index, threshold = neighbor_match_naive(
        scores.detach(), lengths, lengths - num_tokens, merge.window, merge.shift, merge.budget
    )
    ones = torch.ones(x.shape[:2], dtype=torch.int64)
    soft = (scores, threshold, merge.window, merge.shift, merge.temperature)
    return token_merge_naive(x, ones, index, num_tokens, *soft)[0]


@pytest.mark.parametrize(("budget", "shift"), [("window", 0), ("sequence", 3)])
def test_straight_through_gradient_is_that_of_the_definition(budget, shift):
    merge = TokenMerge(4, 6, shift, 3, budget, merge_gradient="straight_through", temperature=0.3).double()
    x = torch.randn(2, 20, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 14, 4, dtype=torch.float64)
    inputs = [x, merge.grouping.weight]
    got = torch.autograd.grad((merge(x, 14).values * weights).sum(), inputs)
    want = torch.autograd.grad((straight_through_reference(merge, x, 14) * weights).sum(), inputs)
    for one, other in zip(got, want, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other)


def test_gradients_of_the_other_kinds():
    x = torch.randn(2, 40, 8, requires_grad=True)
    frozen = TokenMerge(8, merge_gradient="frozen")
    none = TokenMerge(8, merge_gradient="none")
    assert none.grouping is None
    assert not list(none.parameters())
    assert not frozen.grouping.weight.requires_grad
    tokens = frozen(x, 25)
    same = none(x, 25, metric=frozen.grouping(x))
    learning = TokenMerge(8, merge_gradient="straight_through")
    learning.load_state_dict(frozen.state_dict())
    assert torch.equal(tokens.values, same.values)
    assert torch.equal(tokens.values, learning(x, 25).values), "the kinds differ in gradients alone"
    weights = torch.randn_like(tokens.values)
    grads = [torch.autograd.grad((t.values * weights).sum(), x)[0] for t in (tokens, same, learning(x, 25))]
    assert torch.equal(grads[0], grads[1])
    assert not torch.allclose(grads[0], grads[2])
    assert frozen.grouping.weight.grad is None


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


def test_the_metric_decides_when_there_is_no_grouping():
    x, metric = torch.randn(1, 16, 8), torch.zeros(1, 16, 2)
    metric[0, :, 0] = 1.0
    metric[0, 1::2, :] = torch.tensor([0.0, 1.0])
    metric[0, 9, :] = metric[0, 8, :]
    tokens = TokenMerge(8)(x, 15, metric=metric)
    assert tokens.token_index[0, 8] == tokens.token_index[0, 9]
    x[0, 3] = 2 * x[0, 2]
    tokens = TokenMerge(8)(x, 15)
    assert tokens.token_index[0, 2] == tokens.token_index[0, 3]


def test_in_somebody_elses_model():
    merge = TokenMerge(16, merge_gradient="straight_through")
    trunk = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    x = torch.randn(2, 40, 16, requires_grad=True)
    tokens = merge(x, torch.tensor([25, 10]), padded_tokens=25, lengths=torch.tensor([40, 13]))
    output = trunk(tokens.values, src_key_padding_mask=tokens.is_padding)
    output[~tokens.is_padding].square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert not x.grad[1, 13:].any()
    assert merge.grouping.weight.grad.any()


def test_errors():
    x, merge = torch.randn(2, 40, 8), TokenMerge(8)
    with pytest.raises(ValueError, match="padded_tokens must be given with a tensor num_tokens, got None"):
        merge(x, torch.tensor([20, 20]))
    with pytest.raises(ValueError, match="metric must be None where a grouping embedding is compared"):
        TokenMerge(8, merge_gradient="frozen")(x, 25, metric=x)
    for wrong in (19, 41, 25.0, None):
        said = f"TokenMerge: num_tokens must be an int from 20 to 40 for 40 positions .*, got {wrong}"
        with pytest.raises(ValueError, match=said):
            merge(x, wrong)
    with pytest.raises(ValueError, match="num_tokens must be an int from 9 to 17 for 17 positions"):
        merge(x[:, :17], 8)
    assert merge(x[:, :17], 9).values.shape == (2, 9, 8)
    with pytest.raises(ValueError, match="num_merges must be in .*, got 21"):
        merge(x, torch.tensor([25, 19]), padded_tokens=25)
    with pytest.raises(ValueError, match=r"TokenMerge: x must be \[B, N, d_model\], got \[40, 8\]"):
        merge(x[0], 25)
    with pytest.raises(
        ValueError, match="merge_gradient must be .*'straight_through', 'frozen', 'none'.*got 'hard'"
    ):
        TokenMerge(8, merge_gradient="hard")
    with pytest.raises(
        ValueError, match="budget must be 'window' with merge_gradient='soft', got 'sequence'"
    ):
        TokenMerge(8, merge_gradient="soft", budget="sequence")
    for fields, message in (
        ({"budget": "token"}, "budget must be 'window' or 'sequence', got 'token'"),
        ({"window": 0}, "window must be at least 1"),
        ({"window": 4, "shift": 4}, r"shift in \[0, window\), got 4 and 4"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            TokenMerge(8, **fields)(x, 38)


def test_schedule_literal():
    # 100 · 2^(−l/4): 84.09, 70.71, 59.46, 50.
    assert merge_schedule(100, 0.5, 16, [0] * 4) == [84, 71, 59, 50]
    # 10 · 0.6^(l/2): 7.75, 6.
    assert merge_schedule(10, 0.6, 16, [0, 0]) == [8, 6]
    # √(9 · 4) = 6 exactly; ⌈0.4 · 9⌉ = 4.
    assert merge_schedule(9, 0.4, 16, [0, 0]) == [6, 4]
    # √(5 · 4) = 4.47 and √(13 · 12) = 12.49 round down, √(3 · 2) = 2.45 too.
    assert [merge_schedule(n, 0.8, 16, [0, 0]) for n in (5, 13)] == [[4, 4], [12, 11]]
    assert merge_schedule(7, 1.0, 16, [0] * 3) == [7, 7, 7]


def test_schedule_of_short_sequences():
    for shifts in ([0] * 4, [0, 8] * 2):
        assert merge_schedule(0, 0.5, 16, shifts) == [0] * 4
        assert merge_schedule(1, 0.5, 16, shifts) == [1] * 4
        assert merge_schedule(2, 0.5, 16, shifts)[-1] == 1
    counts = merge_schedule(torch.tensor([0, 1, 2, 3]), 0.5, 16, [0] * 4)
    assert counts[-1].tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("keep_ratio", [0.07, 0.29, 0.55, 0.57, 0.58, 0.1 + 0.2, 1 / 3])
def test_a_ratio_that_floats_cannot_hold_is_not_rounded_up(keep_ratio):
    exact = {0.1 + 0.2: 300}.get(keep_ratio, round(keep_ratio * 1000, 6))
    assert merge_schedule(1000, keep_ratio, 16, [0] * 4)[-1] == math.ceil(exact)


@PROPERTY
@given(
    n=st.integers(0, 5000),
    layers=st.integers(1, 5),
    share=st.floats(0, 1),
    half=st.integers(1, 16),
    shifted=st.booleans(),
)
def test_schedule_properties(n, layers, share, half, shifted):
    window = 2 * half
    shifts = [half if shifted and layer % 2 else 0 for layer in range(layers)]
    # Shifted windows cost up to a token a layer; then the least ratio is not in reach of every length.
    least = 2.0**-layers
    keep_ratio = min(1.0, least + share * (1 - least))
    try:
        schedule = merge_schedule(n, keep_ratio, window, shifts)
    except ValueError:
        assert shifted
        assert keep_ratio < 2 * least or n < 4 * window
        return
    assert schedule[-1] == math.ceil(keep_ratio * n - 1e-9)
    before = n
    for kept, shift in zip(schedule, shifts, strict=True):
        assert 0 <= before - kept <= max_merges(before, window, shift)
        before = kept


@PROPERTY
@given(
    lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=6),
    keep_ratio=st.floats(0.1, 1),
    shift=st.sampled_from([0, 8]),
)
def test_numbers_and_tensors_have_one_schedule(lengths, keep_ratio, shift):
    shifts = [0, shift, 0, shift]
    try:
        ours = merge_schedule(torch.tensor(lengths), keep_ratio, 16, shifts)
    except ValueError:
        return
    for row, length in enumerate(lengths):
        assert [counts[row].item() for counts in ours] == merge_schedule(length, keep_ratio, 16, shifts)
    for counts, bound in zip(ours, merge_schedule(max(lengths), keep_ratio, 16, shifts), strict=True):
        assert counts.dtype == torch.int64
        assert counts.max() <= bound


@pytest.mark.parametrize("keep_ratio", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shift", [0, 8])
def test_the_schedule_of_a_longer_sequence_is_an_upper_bound(keep_ratio, shift):
    counts = torch.stack(merge_schedule(torch.arange(65, 2000), keep_ratio, 16, [0, shift] * 2))
    assert (counts.diff(dim=1) >= 0).all()


@pytest.mark.parametrize("keep_ratio", [0.0, -0.5, 1.01, math.nan, math.inf])
def test_a_ratio_out_of_range(keep_ratio):
    with pytest.raises(ValueError, match=rf"keep_ratio must be in \(0, 1\], got {keep_ratio}"):
        merge_schedule(100, keep_ratio, 16, [0] * 4)


@pytest.mark.parametrize("lengths", [1000, torch.tensor([1000, 3])], ids=["number", "tensor"])
def test_a_ratio_out_of_reach(lengths):
    assert torch.as_tensor(merge_schedule(lengths, 1 / 4, 16, [0, 0])[-1]).max() == 250
    with pytest.raises(ValueError, match=r"keep_ratio must be within reach of 2 merging layers .*, got 0.24"):
        merge_schedule(lengths, 0.24, 16, [0, 0])
    with pytest.raises(ValueError, match="keep_ratio"):
        merge_schedule(lengths, 0.5, 1, [0, 0])


def tied_by_hand(scores, lengths, merges, window, shift, budget):
    """Tied candidates and all, proposal by proposal: those that swapping two equals would change."""
    token_index, _ = neighbor_match_naive(scores, lengths, merges, window, shift, budget)
    tied = total = 0
    for row, length in enumerate(lengths.tolist()):
        cuts = sorted({0, *range(shift or window, length, window), length})
        groups = []
        for first, end in itertools.pairwise(cuts):
            groups.append([])
            for candidate in range(first, end, 2):
                sides = []
                if candidate > first:
                    sides.append((round(scores[row, candidate - 1].item() * 4096), 1, candidate - 1))
                if candidate + 1 < end:
                    sides.append((round(scores[row, candidate].item() * 4096), 0, candidate + 1))
                if sides:
                    score, _, keeper = max(sides)
                    merged = bool(token_index[row, candidate] == token_index[row, keeper])
                    groups[-1].append((score, merged))
        for group in groups if budget == "window" else [[*itertools.chain(*groups)]]:
            total += len(group)
            for score, _ in group:
                tied += {merged for other, merged in group if other == score} == {True, False}
    return token_index, [tied, total]


@pytest.mark.parametrize("budget", ["window", "sequence"])
@pytest.mark.parametrize(("window", "shift"), [(16, 0), (16, 5), (5, 2), (2, 0), (1, 0)])
def test_tied_candidates_are_those_that_place_alone_decides(window, shift, budget):
    generator = torch.Generator().manual_seed(window)
    # Of few scores, many are equal; and equal on the grid alone.
    levels = torch.randint(0, 2, (4, 40), generator=generator) * 0.25
    scores = levels + torch.rand(levels.shape, generator=generator) * 1e-4 * (levels > 0)
    lengths = torch.tensor([40, 33, 1, 0])
    merges = (lengths * 0.3).long() if window > 1 else torch.zeros_like(lengths)
    token_index, want = tied_by_hand(scores, lengths, merges, window, shift, budget)
    assert tied_candidates(scores, lengths, token_index, window, shift, budget).tolist() == want
    if window > 2:
        assert 0 < want[0] < want[1]


def test_scores_that_all_differ_are_not_tied():
    scores = torch.linspace(-0.9, 0.9, 32)[None]
    tokens = TokenMerge(4, window=16)(torch.randn(1, 32, 4, generator=torch.Generator().manual_seed(0)), 24)
    assert tokens.scores.shape == (1, 32)
    lengths = torch.tensor([32])
    index, _ = neighbor_match(scores, lengths, torch.tensor([8]), 16)
    assert tied_candidates(scores, lengths, index, 16).tolist() == [0, 16]
    # All alike: each window's candidates are tied, unless all of them merge or none.
    alike = torch.zeros(1, 32)
    for merges, tied in ((0, 0), (8, 16), (16, 0)):
        index, _ = neighbor_match(alike, lengths, torch.tensor([merges]), 16)
        assert tied_candidates(alike, lengths, index, 16).tolist() == [tied, 16]
