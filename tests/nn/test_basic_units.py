import pytest
import torch

from dnachunk.nn import BasicUnits, SelectedUnits
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


def test_errors():
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
