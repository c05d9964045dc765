import pytest
import torch

from dnachunk.nn import BasicUnits, GridUnits, SelectedUnits
from dnachunk.ops.basic_units import basic_units_naive
from dnachunk.random import counter_uniform

STARTS, ENDS = torch.tensor([1, 1]), torch.tensor([39, 20])


def assert_same(units, others, rows=slice(None), length=None):
    for name in SelectedUnits.__dataclass_fields__:
        got, want = getattr(units, name)[rows], getattr(others, name)
        got = got[:, :length] if got.dim() > 1 else got
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def test_scores_probabilities_and_units():
    select, x = BasicUnits(8).eval(), torch.randn(2, 40, 8)
    assert select.kernel_sizes == tuple(range(1, 11))
    assert [name for name, _ in select.named_parameters()] == ["scoring.weight"]
    units = select(x, STARTS, ENDS)
    is_base = (torch.arange(40) >= 1) & (torch.arange(40) < ENDS[:, None])
    scores = (x @ select.scoring.weight.T) * is_base[..., None]
    torch.testing.assert_close(units.scores, scores)
    torch.testing.assert_close(units.router_probability, scores.softmax(dim=-1))
    expected = basic_units_naive(units.scores, range(1, 11), STARTS, ENDS)
    decision = (units.token_index, units.num_tokens, units.token_center, units.token_expert)
    for got, want in zip(decision, expected, strict=True):
        assert torch.equal(got, want)
    assert torch.equal(units.segmentation.validate().token_index >= 0, is_base)


def test_the_whole_sequence_by_default():
    select, x = BasicUnits(8, [2, 1]).eval(), torch.randn(2, 40, 8)
    assert (select(x).token_index >= 0).all()
    assert_same(select(x), select(x, torch.tensor([0, 0]), torch.tensor([40, 40])))


def test_jitter_is_that_of_its_seeds():
    select, x, seeds = BasicUnits(8, jitter=0.25), torch.randn(2, 40, 8), torch.tensor([5, 9])
    units = select(x, noise_seeds=seeds)
    noise = 0.75 + 0.5 * counter_uniform(seeds, 40 * 8).view(2, 40, 8)
    torch.testing.assert_close(units.scores, (x * noise.float()) @ select.scoring.weight.T)
    quiet = x @ select.scoring.weight.T
    assert not torch.allclose(units.scores, quiet, atol=1e-3)
    assert_same(select(x, noise_seeds=seeds), units)
    torch.testing.assert_close(select.eval()(x, noise_seeds=seeds).scores, quiet)
    torch.testing.assert_close(BasicUnits(8, jitter=0.0).train()(x).scores.shape, (2, 40, 10))


def test_jitter_without_seeds_follows_the_global_generator():
    select, x = BasicUnits(8), torch.randn(2, 40, 8)
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(select(x).scores)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_no_jitter_draws_nothing():
    for select in (BasicUnits(8, jitter=0.0), BasicUnits(8).eval()):
        state = torch.get_rng_state()
        x = torch.ones(1, 12, 8)
        torch.testing.assert_close(select(x).scores, x @ select.scoring.weight.T)
        assert torch.equal(torch.get_rng_state(), state)


def test_padding_and_batch_order_are_inert():
    select, x, seeds = BasicUnits(8), torch.randn(2, 40, 8), torch.tensor([5, 9])
    units = select(x, STARTS, ENDS, seeds)
    alone = select(x[1:, :21], STARTS[1:], ENDS[1:], seeds[1:])
    assert_same(units, alone, slice(1, 2), 21)
    x[1, 20:] = 100.0
    x[:, 0] = -100.0
    assert_same(select(x, STARTS, ENDS, seeds), units)
    assert_same(
        select(x.flip(0), STARTS, ENDS.flip(0), seeds.flip(0)), select(x, STARTS, ENDS, seeds), [1, 0]
    )


def test_gradient():
    select, x = BasicUnits(4, [1, 3]).double(), torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)
    starts, ends, seeds = torch.tensor([1, 1]), torch.tensor([8, 5]), torch.tensor([3, 4])

    def probability(x, weight):
        units = torch.func.functional_call(
            select, {"scoring.weight": weight}, (x,), {"starts": starts, "ends": ends, "noise_seeds": seeds}
        )
        assert not units.token_index.requires_grad
        return units.router_probability

    assert torch.autograd.gradcheck(probability, (x, select.scoring.weight))
    (grad,) = torch.autograd.grad(probability(x, select.scoring.weight).square().sum(), x)
    assert grad[0, 1:8].any()
    assert not grad[:, 0].any()
    assert not grad[1, 5:].any()


def test_scores_keep_their_precision():
    x = torch.randn(1, 200, 16)
    select = BasicUnits(16).eval()
    expected = select(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(select(x), expected)
        assert select(x).scores.dtype == torch.float32
    half = select.bfloat16()(x.bfloat16())
    assert half.scores.dtype == torch.float32
    assert half.scores.unique().numel() > 1500, "more values than bfloat16 tells apart"


def assert_around_every_base(units, sizes, length):
    """Each base is a token; its expert is the first of the highest score among those that fit."""
    scores = units.scores.detach().tolist()
    for b, (start, end) in enumerate(zip(STARTS.tolist(), ENDS.tolist(), strict=True)):
        experts = []
        for place in range(start, end):
            fit = [
                (scores[b][place][j], -j)
                for j, size in enumerate(sizes)
                if place - size // 2 >= start and place - size // 2 + size <= end
            ]
            experts.append(-max(fit)[1] if fit else -1)
        count = end - start
        assert units.num_tokens[b] == count
        assert units.token_expert[b].tolist() == experts + [-1] * (length - count)
        assert units.token_center[b].tolist() == [*range(start, end)] + [-1] * (length - count)
        of_base = [-1] * start + [*range(count)] + [-1] * (length - end)
        assert units.token_index[b].tolist() == of_base


@pytest.mark.parametrize("sizes", [[1, 2, 3], [4, 7], [2, 2, 64]], ids=str)
def test_a_unit_around_every_base(sizes):
    select, x = BasicUnits(8, sizes, every_base=True), torch.randn(2, 40, 8)
    x[0, 7] = 0.0  # all scores alike
    units = select(x, STARTS, ENDS, torch.tensor([3, 4]))
    assert_around_every_base(units, sizes, 40)
    x[0, 9] = float("nan")
    assert select(x, STARTS, ENDS).token_expert[0, 8] in (-1, *range(len(sizes)))
    learned = BasicUnits(8, sizes)
    learned.load_state_dict(select.state_dict())
    torch.testing.assert_close(learned.eval()(x).scores, select.eval()(x).scores, equal_nan=True)


@pytest.mark.parametrize("sizes", [[1, 2, 3], [4, 2], [5, 1, 5], list(range(1, 11))], ids=str)
def test_experts_take_turns_on_a_grid(sizes):
    x = torch.randn(2, 40, 8)
    units = GridUnits(sizes)(x, STARTS, ENDS)
    assert not list(GridUnits(sizes).parameters())
    for b, (start, end) in enumerate(zip(STARTS.tolist(), ENDS.tolist(), strict=True)):
        place, spans = start, []
        while place + sizes[len(spans) % len(sizes)] <= end:
            spans.append((place, sizes[len(spans) % len(sizes)], len(spans) % len(sizes)))
            place += spans[-1][1]
        # What is left is cut as scores that are all alike are.
        rest = basic_units_naive(
            torch.zeros(1, 40, len(sizes)), sizes, torch.tensor([place]), torch.tensor([end])
        )
        count = len(spans) + int(rest[1])
        experts = [expert for _, _, expert in spans] + rest[3][0, : int(rest[1])].tolist()
        centers = [first + size // 2 for first, size, _ in spans] + rest[2][0, : int(rest[1])].tolist()
        assert units.num_tokens[b] == count
        assert units.token_expert[b, :count].tolist() == experts
        assert units.token_center[b, :count].tolist() == centers
        for token, (first, size, expert) in enumerate(spans):
            own = slice(first, first + size)
            assert (units.token_index[b, own] == token).all()
            assert torch.equal(
                units.router_probability[b, own], torch.eye(len(sizes))[expert].expand(size, -1)
            )
        assert not units.router_probability[b, [0, *range(end, 40)]].any()
    units.segmentation.validate()
    assert_same(GridUnits(sizes)(2 * x, STARTS, ENDS), units)


def test_a_grid_of_no_experts_is_every_base():
    x = torch.randn(2, 40, 8, dtype=torch.float64)
    units = GridUnits([])(x, STARTS, ENDS)
    assert units.router_probability.shape == (2, 40, 0)
    assert units.router_probability.dtype == torch.float64
    assert_around_every_base(units, [], 40)


def test_errors():
    with pytest.raises(ValueError, match=r"GridUnits: kernel_sizes must be in \[1, 64\], got \[1, 65\]"):
        GridUnits([1, 65])
    for wrong in ([], [0, 1], [65]):
        with pytest.raises(
            ValueError, match=r"BasicUnits: kernel_sizes must be one or more in \[1, 64\], got"
        ):
            BasicUnits(8, wrong)
    for wrong in (-0.1, 1.0):
        with pytest.raises(ValueError, match=rf"BasicUnits: jitter must be in \[0, 1\), got {wrong}"):
            BasicUnits(8, jitter=wrong)
    with pytest.raises(ValueError, match="0 <= start <= end <= 12 for sequence 0, got 0 and 13"):
        BasicUnits(8)(torch.randn(1, 12, 8), ends=torch.tensor([13]))
