"""What pre-training asks of each model: the only part of training that differs between them."""

from typing import Any, Protocol

import torch

from dnachunk.alphabet import A_ID, IGNORE_INDEX, T_ID
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.evaluation.masked_bases import masked_base_sums
from dnachunk.random import mix

Batch = dict[str, torch.Tensor]


class Objective(Protocol):
    """Pre-training of one model; :func:`~dnachunk.training.objectives.objective_of` finds it.

    Attributes:
        predicts_bases: Whether :meth:`predict` can be asked.
    """

    predicts_bases: bool

    def collator(self, config: Any, seed: int, mask_probability: float = 0.15) -> Any:
        """What makes a training batch of windows, of whose bases so many are selected to be guessed."""

    def training_inputs(self, config: Any, batch: Batch, seed: int, step: int) -> dict[str, Any]:
        """Arguments of the model's ``forward`` for a batch of ``collator`` in one optimizer step.

        All draws are keyed by ``seed``, ``step`` and the samples' indices, and what one step's global batch
        has in common by ``seed`` and ``step`` alone.
        """

    def evaluation_inputs(self, config: Any, batch: Batch, seed: int) -> dict[str, Any]:
        """Arguments of ``forward`` for a batch of :class:`~dnachunk.data.WindowCollator` in evaluation."""

    def loss_weights(self, config: Any) -> dict[str, float]:
        """Of each named loss that there may be, its weight in the loss to minimise."""

    def loss_counts(self, config: Any, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Of each named loss in evaluation, how much it is a mean over: bases, their weight, or sequences."""

    def predict(self, model: Any, batch: Batch) -> torch.Tensor:
        """Logits ``[B, N, V]`` of every base that shows ``[MASK]`` in a corrupted batch."""

    def masked_sums(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """By name, ``masked_base_sums`` at kinds of masked bases that a model tells apart, in evaluation."""

    def ratios(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """In training, by the name of what is logged as a quotient of two sums, the two, ``[2]``.

        Compressions are such: positions, and the tokens they make.
        """

    def evaluation_ratios(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """The same in evaluation, always of the unmasked input."""


def model_inputs(batch: Batch) -> dict[str, Any]:
    """Ids, mask and labels of a batch."""
    return {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}


def masked_batch(batch: Batch, seed: int) -> Batch:
    """A batch with 15% of its bases selected, as :func:`~dnachunk.data.masking.mask_bases` does."""
    masked = mask_bases(batch["input_ids"], mask_seeds(seed, batch["sample_index"]))
    return {**batch, "input_ids": masked.input_ids, "labels": masked.labels}


def letter_sums(logits: torch.Tensor, labels: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """``masked_base_sums`` at labelled bases of ``where [B, N]`` bool."""
    is_scored = where & (labels != IGNORE_INDEX)
    return masked_base_sums(logits[..., A_ID : T_ID + 1][is_scored], labels[is_scored])


def sample_seeds(batch: Batch, seed: int, *path: int) -> torch.Tensor:
    """``[B]`` int64 seeds, one a sample, keyed by its index and ``path``."""
    index = batch["sample_index"]
    return torch.tensor([mix(seed, *path, sample) for sample in index.tolist()], device=index.device)


__all__ = ["Batch", "Objective", "letter_sums", "masked_batch", "model_inputs", "sample_seeds"]
