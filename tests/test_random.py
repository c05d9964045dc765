import pytest
import torch

from dnachunk.random import counter_uniform, mix

SEEDS = [0, 1, -1, 12345, 2**63 - 1, -(2**63)]


def splitmix64(state):
    """One step after Vigna's splitmix64.c, from the state before it."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def reference(seed, *keys):
    state = splitmix64(seed % 2**64)
    for key in keys:
        state = splitmix64(state ^ (key % 2**64))
    return state >> 1


def test_published_first_values_of_splitmix64():
    # The generator's first output for seed 0, and for the published test seed 1234567.
    assert mix(0) == 0xE220A8397B1DCDAF >> 1
    assert mix(1234567) == 6457827717110365317 >> 1


@pytest.mark.parametrize("seed", SEEDS)
def test_mix_is_the_chain(seed):
    for keys in [(), (0,), (7, 0, 2**70 + 5), (-3, 9)]:
        assert mix(seed, *keys) == reference(seed, *keys)
        assert 0 <= mix(seed, *keys) < 2**63
    assert mix(seed, 1, 2) != mix(seed, 2, 1)
    assert mix(seed, 0) != mix(seed)


@pytest.mark.parametrize("stream", [0, 1, -7, 2**63 + 11])
def test_uniform_is_mix(stream):
    got = counter_uniform(torch.tensor(SEEDS), 5, stream)
    want = [[((mix(seed, stream, i) >> 11) + 0.5) / 2**52 for i in range(5)] for seed in SEEDS]
    assert got.dtype == torch.float64
    assert got.tolist() == want


def test_value_depends_on_neither_count_nor_batch():
    seeds = torch.tensor(SEEDS)
    long = counter_uniform(seeds, 1000, stream=3)
    assert torch.equal(counter_uniform(seeds, 17, stream=3), long[:, :17])
    assert torch.equal(counter_uniform(seeds[2:4], 1000, stream=3), long[2:4])
    assert counter_uniform(seeds, 0).shape == (len(SEEDS), 0)
    assert counter_uniform(seeds[:0], 4).shape == (0, 4)


@pytest.mark.cuda
def test_value_does_not_depend_on_the_device(device):
    seeds = torch.tensor(SEEDS)
    assert torch.equal(counter_uniform(seeds.to(device), 100, 5).cpu(), counter_uniform(seeds, 100, 5))


def test_arguments_stay_as_they_were():
    seeds = torch.tensor(SEEDS)
    counter_uniform(seeds, 10)
    assert seeds.tolist() == SEEDS


@pytest.mark.parametrize("axis", ["positions", "seeds", "streams"])
def test_uniform_and_independent(axis):
    count, bins = 200_000, 100
    if axis == "positions":
        values = counter_uniform(torch.tensor([42]), count)[0]
    elif axis == "seeds":
        values = counter_uniform(torch.arange(count), 1)[:, 0]
    else:
        values = torch.cat([counter_uniform(torch.tensor([42]), 1, stream)[0] for stream in range(2000)])
        count, bins = 2000, 20
    assert values.min() > 0
    assert values.max() < 1
    expected = count / bins
    chi_square = ((values * bins).long().bincount(minlength=bins) - expected).square().sum().item() / expected
    # Mean bins - 1, standard deviation sqrt(2 (bins - 1)); the draws are fixed, so this cannot flicker.
    assert abs(chi_square - (bins - 1)) < 4 * (2 * (bins - 1)) ** 0.5
    neighbours = torch.corrcoef(torch.stack([values[:-1], values[1:]]))[0, 1].item()
    assert abs(neighbours) < 4 / count**0.5


def test_bad_input():
    with pytest.raises(TypeError, match=r"counter_uniform: seeds must be torch.int64, got torch.int32"):
        counter_uniform(torch.zeros(2, dtype=torch.int32), 3)
    with pytest.raises(TypeError, match=r"seeds must be torch.int64, got list"):
        counter_uniform([1, 2], 3)
    with pytest.raises(ValueError, match=r"seeds must be \[B\], got \[\]"):
        counter_uniform(torch.tensor(1), 3)
    with pytest.raises(ValueError, match="count must be at least 0, got -1"):
        counter_uniform(torch.tensor([1]), -1)
