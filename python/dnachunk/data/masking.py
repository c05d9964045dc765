"""Masked bases: which bases a model has to guess, and what it sees in their place."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from dnachunk.alphabet import A_ID, BASES, IGNORE_INDEX, MASK_ID, is_base
from dnachunk.data.windows import WindowCollator
from dnachunk.ops._check import check_dtype, check_shape
from dnachunk.random import counter_uniform, mix


class MaskedBases(NamedTuple):
    """What :func:`mask_bases` gives.

    Attributes:
        input_ids: ``[B, N]`` int64: the ids a model sees.
        labels: ``[B, N]`` int64: the true id where selected, -100 elsewhere.
        is_selected: ``[B, N]`` bool.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    is_selected: torch.Tensor


def mask_seeds(seed: int, sample_index: torch.Tensor) -> torch.Tensor:
    """One seed per sample for :func:`mask_bases`.

    Args:
        seed: The run's seed.
        sample_index: ``[B]`` int64: the samples' global indices.

    Returns:
        ``[B]`` int64 on the CPU, each a function of ``seed`` and its own index alone.
    """
    return torch.tensor([mix(seed, index) for index in sample_index.tolist()], dtype=torch.int64)


def mask_bases(
    input_ids: torch.Tensor,
    sample_seeds: torch.Tensor,
    *,
    probability: float = 0.15,
    mask_fraction: float = 0.8,
    random_fraction: float = 0.1,
    span_bp: int = 1,
) -> MaskedBases:
    """Selects bases and corrupts them as BERT does (Devlin et al. 2019, Sec. 3.1), over the four letters.

    Each A, C, G or T is selected independently with ``probability``. A selected base shows ``[MASK]`` with
    probability ``mask_fraction``, one of the four letters drawn uniformly (its own included) with
    ``random_fraction``, and itself otherwise. ``N``, special tokens and padding are never selected.

    Args:
        input_ids: ``[B, N]`` int64.
        sample_seeds: ``[B]`` int64. A base's fate depends on its sample's seed and its position alone: not on
            the other samples, the padding, or any global random state.
        probability: Of being selected, in [0, 1].
        mask_fraction: Share of the selected that show ``[MASK]``.
        random_fraction: Share of the selected that show a random letter.
        span_bp: Bases, counted from the sequence's first, that are selected together and have one fate.

    Returns:
        The corrupted ids, the labels and the selection; ``input_ids`` is left as it is.

    Raises:
        TypeError: If ``input_ids`` or ``sample_seeds`` is not int64.
        ValueError: If a shape does not fit, or a probability is outside [0, 1].
    """
    check_shape("mask_bases", "input_ids", input_ids, ("B", "N"))
    check_dtype("mask_bases", "input_ids", input_ids, torch.int64)
    check_shape("mask_bases", "sample_seeds", sample_seeds, (input_ids.shape[0],))
    check_dtype("mask_bases", "sample_seeds", sample_seeds, torch.int64)
    if not 0 <= probability <= 1:
        raise ValueError(f"mask_bases: probability must be in [0, 1], got {probability}")
    if not (mask_fraction >= 0 and random_fraction >= 0 and mask_fraction + random_fraction <= 1):
        raise ValueError(
            "mask_bases: mask_fraction and random_fraction must be at least 0 and sum to at most 1, "
            f"got {mask_fraction} and {random_fraction}"
        )
    if span_bp < 1:
        raise ValueError(f"mask_bases: span_bp must be at least 1, got {span_bp}")
    selection, fate, letter = (
        counter_uniform(sample_seeds, input_ids.shape[1], stream=stream).to(input_ids.device)
        for stream in range(3)
    )
    if span_bp > 1:
        first = torch.arange(input_ids.shape[1], device=input_ids.device) // span_bp * span_bp
        selection, fate = selection[:, first], fate[:, first]
    is_selected = is_base(input_ids) & (selection < probability)
    shows_mask = is_selected & (fate < mask_fraction)
    shows_random = is_selected & ~shows_mask & (fate < mask_fraction + random_fraction)
    random_ids = A_ID + (letter * len(BASES)).long()
    corrupted = torch.where(shows_random, random_ids, input_ids).masked_fill(shows_mask, MASK_ID)
    return MaskedBases(corrupted, input_ids.masked_fill(~is_selected, IGNORE_INDEX), is_selected)


class MaskingCollator:
    """Makes a batch of windows for masked modelling: ``WindowCollator``'s, under :func:`mask_bases`.

    ``input_ids`` is the corrupted input and ``labels`` the true id where a base is selected, -100 elsewhere;
    the rest is as :class:`~dnachunk.data.WindowCollator` gives it. A window's mask is a function of ``seed``
    and its ``sample_index`` alone.

    Args:
        probability: Of a base being selected, in [0, 1].
        seed: Keys every draw.
    """

    def __init__(self, probability: float = 0.15, seed: int = 0) -> None:
        self.probability = probability
        self.seed = seed
        self._collate = WindowCollator()

    def __call__(self, items: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Joins and masks the items of one batch.

        Args:
            items: At least one item of :class:`~dnachunk.data.WindowDataset` or ``HeldOutWindows``.

        Returns:
            The batch.

        Raises:
            ValueError: If ``probability`` is out of range.
        """
        batch = self._collate(items)
        seeds = mask_seeds(self.seed, batch["sample_index"])
        masked = mask_bases(batch["input_ids"], seeds, probability=self.probability)
        return {**batch, "input_ids": masked.input_ids, "labels": masked.labels}
