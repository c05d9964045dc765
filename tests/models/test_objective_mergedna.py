import itertools
import math

import pytest
import torch

from dnachunk import MergeDNAConfig, MergeDNAForPreTraining
from dnachunk.models.mergedna.objective_mergedna import (
    draw_keep_ratio,
    random_mask,
    sample_tokens,
)

CONFIG = MergeDNAConfig()


def test_keep_ratios_lie_in_their_range():
    ratios = torch.tensor([draw_keep_ratio(CONFIG, 3, step) for step in range(2000)])
    assert ratios.min() >= 0.4
    assert ratios.max() <= 0.6
    # A normal of deviation 0.05 cut at two deviations keeps 0.774 of its variance.
    assert ratios.mean().item() == pytest.approx(0.5, abs=0.004)
    assert ratios.std().item() == pytest.approx(0.05 * 0.774**0.5, rel=0.06)
    assert len(set(ratios.tolist())) == 2000


def test_keep_ratios_are_a_function_of_seed_and_step():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw_keep_ratio(CONFIG, 3, 7)
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator is left alone"
    torch.manual_seed(2)
    assert draw_keep_ratio(CONFIG, 3, 7) == first
    assert draw_keep_ratio(CONFIG, 3, 8) != first
    assert draw_keep_ratio(CONFIG, 4, 7) != first


def test_keep_ratios_without_spread_or_far_from_the_mean():
    assert draw_keep_ratio(MergeDNAConfig(keep_ratio_std=0.0), 0, 0) == 0.5
    far = MergeDNAConfig(keep_ratio=0.5, keep_ratio_std=0.01, keep_ratio_range=(0.9, 1.0))
    assert draw_keep_ratio(far, 0, 0) == 0.9
    near = MergeDNAConfig(keep_ratio_range=(0.3, 0.4))
    assert 0.3 <= draw_keep_ratio(near, 0, 0) <= 0.4


def inclusion_probabilities(weights, draws):
    """Of drawing one after the other without replacement, each with probability by weight; by enumeration."""
    chance = torch.zeros(len(weights), dtype=torch.float64)
    for order in itertools.permutations(range(len(weights)), draws):
        left, probability = sum(weights), 1.0
        for token in order:
            probability *= weights[token] / left
            left -= weights[token]
        chance[list(order)] += probability
    return chance


@pytest.mark.parametrize("groups", [[0, 1, 1, 2, 3, 3, 3], [0, 0, 0, 0, 0, 1], [2, 1, 0, 2, 2]], ids=str)
def test_frequencies_are_those_of_inverse_square_weights(groups):
    sizes = [groups.count(group) for group in groups]
    draws, trials = (len(groups) + 1) // 2, 20_000
    expected = inclusion_probabilities([1 / size**2 for size in sizes], draws)
    sampled = sample_tokens(
        torch.tensor(groups).expand(trials, -1),
        torch.full((trials,), len(groups)),
        torch.full((trials,), draws),
        torch.arange(trials),
    )
    assert (sampled.sum(dim=1) == draws).all()
    deviation = (expected * (1 - expected) / trials).sqrt()
    error = (sampled.double().mean(dim=0) - expected).abs() / deviation
    assert error.max() < 4, error
    # Weights 1 or 1/g would lie far off.
    for power in (0, 1):
        other = inclusion_probabilities([1 / size**power for size in sizes], draws)
        assert ((other - expected).abs() / deviation).max() > 8


def test_pairs_too_are_drawn_without_replacement():
    groups, trials = [0, 1, 1, 2], 20_000
    sampled = sample_tokens(
        torch.tensor(groups).expand(trials, -1),
        torch.full((trials,), 4),
        torch.full((trials,), 2),
        torch.arange(trials),
    )
    weights = [1.0, 0.25, 0.25, 1.0]
    for one, two in itertools.combinations(range(4), 2):
        chance = sum(weights[a] / 2.5 * weights[b] / (2.5 - weights[a]) for a, b in ((one, two), (two, one)))
        share = (sampled[:, one] & sampled[:, two]).double().mean().item()
        assert abs(share - chance) < 4 * math.sqrt(chance * (1 - chance) / trials), (one, two)


def test_samples_hang_on_their_own_seed_and_sequence_alone():
    index = torch.tensor([[0, 1, 1, 2, 0, 3], [0, 0, 1, 2, -1, -1], [0, 1, 2, 2, 3, 4]])
    lengths, draws, seeds = torch.tensor([6, 4, 6]), torch.tensor([3, 2, 3]), torch.tensor([5, -9, 1 << 60])
    sampled = sample_tokens(index, lengths, draws, seeds)
    assert sampled.dtype == torch.bool
    assert sampled.sum(dim=1).tolist() == draws.tolist()
    assert not sampled[1, 4:].any()
    assert torch.equal(sample_tokens(index, lengths, draws, seeds), sampled)
    order = torch.tensor([2, 0, 1])
    assert torch.equal(
        sample_tokens(index[order], lengths[order], draws[order], seeds[order]), sampled[order]
    )
    alone = sample_tokens(index[1:2, :4], lengths[1:2], draws[1:2], seeds[1:2])
    assert torch.equal(alone, sampled[1:2, :4])
    others = [sample_tokens(index, lengths, draws, seeds + i) for i in range(1, 6)]
    assert any(not torch.equal(other, sampled) for other in others)


def test_all_or_none():
    index, lengths = torch.tensor([[0, 1, 1]]), torch.tensor([3])
    for draws in (0, 3):
        assert sample_tokens(index, lengths, torch.tensor([draws]), torch.tensor([1])).sum() == draws
    empty = sample_tokens(index[:, :0], torch.tensor([0]), torch.tensor([0]), torch.tensor([1]))
    assert empty.shape == (1, 0)


def test_random_mask():
    index = torch.zeros(4000, 50, dtype=torch.int64)
    index[:, 40:] = -1
    is_random, at_random = random_mask(index, torch.arange(4000), 0.25)
    assert is_random.double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert at_random[:, :40].double().mean().item() == pytest.approx(0.15, abs=0.005)
    assert not at_random[:, 40:].any()
    for share in (0.0, 1.0):
        assert (random_mask(index, torch.arange(4000), share)[0] == bool(share)).all()
    part = random_mask(index[7:8, :30], torch.tensor([7]), 0.25)
    assert part[0][0] == is_random[7]
    assert torch.equal(part[1][0], at_random[7, :30])


def test_random_masks_replace_sampled_tokens_in_training_alone():
    torch.manual_seed(0)
    config = MergeDNAConfig.micro(random_mask_share=0.5, num_latent_encoder_layers=1)
    model = MergeDNAForPreTraining(config)
    input_ids, seeds = torch.randint(5, 9, (16, 256)), torch.arange(16)
    attention_mask = (torch.arange(256) < torch.tensor([200] + [256] * 15)[:, None]).long()

    def masked():
        with torch.no_grad():
            return model(input_ids, attention_mask, keep_ratio=0.5, sample_seeds=seeds).is_masked

    trained, evaluated = masked(), model.eval() and masked()
    index = torch.where(attention_mask == 1, 0, -1)
    is_random, at_random = random_mask(index, seeds, 0.5)
    assert 0 < is_random.sum() < 16
    assert torch.equal(trained[is_random], at_random[is_random])
    assert torch.equal(trained[~is_random], evaluated[~is_random])
    assert not torch.equal(trained[is_random], evaluated[is_random])
    assert not at_random[0, 200:].any()
    assert at_random.sum() / attention_mask.sum() == pytest.approx(0.15, abs=0.02)
