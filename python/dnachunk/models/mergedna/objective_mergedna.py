"""MergeDNA's random draws and token masks as pure functions of seeds."""

import torch

from dnachunk.models.mergedna.configuration_mergedna import MergeDNAConfig
from dnachunk.ops._lengths import real_positions
from dnachunk.random import counter_uniform, mix


def draw_keep_ratio(config: MergeDNAConfig, seed: int, step: int) -> float:
    """Draws the keep ratio of one optimizer step.

    Normal around ``config.keep_ratio``, redrawn until inside ``config.keep_ratio_range`` (Sec. 3.3,
    "compression ratio sampling"). A function of ``seed`` and ``step`` alone, so that all ranks agree.
    """
    low, high = config.keep_ratio_range
    generator = torch.Generator().manual_seed(mix(seed, step))
    # The bounds may lie far from the mean; then the nearer bound is the most likely value.
    for _ in range(1000):
        ratio = config.keep_ratio + config.keep_ratio_std * float(torch.randn((), generator=generator))
        if low <= ratio <= high:
            return ratio
    return min(max(config.keep_ratio, low), high)


def sample_tokens(
    latent_index: torch.Tensor, lengths: torch.Tensor, num_sampled: torch.Tensor, seeds: torch.Tensor
) -> torch.Tensor:
    """Samples the tokens that adaptive masking hides (Sec. 3.4).

    A token of a latent group of ``g`` tokens has weight ``1 / g²``; exactly ``num_sampled`` tokens are drawn
    without replacement with those probabilities, as the largest of ``log weight + Gumbel noise``.

    Args:
        latent_index: ``[B, L]`` int64, latent token of each token, −1 on padding.
        lengths: ``[B]`` int64 real tokens.
        num_sampled: ``[B]`` int64 tokens to draw, at most ``lengths``.
        seeds: ``[B]`` int64, one a sequence; the noise of a token depends on its place and this alone.

    Returns:
        ``[B, L]`` bool.
    """
    length = latent_index.shape[1]
    is_real = real_positions(lengths, length)
    slot = latent_index.clamp_min(0)
    group_sizes = torch.zeros_like(slot).scatter_add(1, slot, is_real.long()).gather(1, slot)
    noise = -(-counter_uniform(seeds, length).log()).log()
    key = noise - 2 * group_sizes.clamp_min(1).to(noise.dtype).log()
    key = torch.where(is_real, key, -torch.inf)
    rank = key.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return is_real & (rank < num_sampled[:, None])


def random_mask(
    token_index: torch.Tensor, seeds: torch.Tensor, share: float, rate: float = 0.15
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws which sequences hide single bases instead of tokens, and which bases.

    Args:
        token_index: ``[B, N]`` int64, −1 on padding.
        seeds: ``[B]`` int64, one a sequence.
        share: Of the sequences, in [0, 1].
        rate: Of their bases, in [0, 1].

    Returns:
        ``[B]`` bool sequences and ``[B, N]`` bool bases.
    """
    is_random = counter_uniform(seeds, 1, stream=1)[:, 0] < share
    return is_random, (counter_uniform(seeds, token_index.shape[1], stream=2) < rate) & (token_index >= 0)
