"""What pre-training asks of each model: the only part of training that differs between them."""

from typing import Any, Protocol

import torch

from dnachunk.alphabet import A_ID, IGNORE_INDEX, T_ID
from dnachunk.data.masking import MaskingCollator, mask_bases, mask_seeds
from dnachunk.data.windows import WindowCollator
from dnachunk.evaluation.masked_bases import masked_base_sums
from dnachunk.models.mergedna.objective_mergedna import draw_keep_ratio
from dnachunk.random import mix

Batch = dict[str, torch.Tensor]


class Objective(Protocol):
    """Pre-training of one model; :func:`objective_of` finds it by the configuration's ``model_type``."""

    def collator(self, config: Any, seed: int) -> Any:
        """What makes a training batch of windows."""

    def training_inputs(self, config: Any, batch: Batch, seed: int, step: int) -> dict[str, Any]:
        """Arguments of the model's ``forward`` for a batch of ``collator`` in one optimizer step.

        All draws are keyed by ``seed``, ``step`` and the samples' indices, and what one step's global batch
        has in common by ``seed`` and ``step`` alone.
        """

    def evaluation_inputs(self, config: Any, batch: Batch, seed: int) -> dict[str, Any]:
        """Arguments of ``forward`` for a batch of :class:`~dnachunk.data.WindowCollator` in evaluation."""

    def loss_weights(self, config: Any) -> dict[str, float]:
        """Of each named loss that there may be, its weight in the loss to minimise."""

    def loss_counts(self, output: Any, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Of each named loss in evaluation, the number of bases that it is a mean over."""

    def predict(self, model: Any, batch: Batch) -> torch.Tensor:
        """Logits ``[B, N, V]`` of every base of a corrupted batch."""

    def masked_sums(self, output: Any, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """By name, ``masked_base_sums`` at the bases that the model masked itself, in evaluation."""


class MergeDNAObjective:
    """MergeDNA's three passes (Eq. 8), or masked modelling with ``objective="masked"``."""

    def collator(self, config: Any, seed: int) -> WindowCollator | MaskingCollator:
        """See :class:`Objective`."""
        return MaskingCollator(seed=seed) if config.objective == "masked" else WindowCollator()

    def training_inputs(self, config: Any, batch: Batch, seed: int, step: int) -> dict[str, Any]:
        """See :class:`Objective`; the keep ratio is one draw for the global batch."""
        return {
            **_model_inputs(batch),
            "keep_ratio": draw_keep_ratio(config, seed, step),
            "sample_seeds": _sample_seeds(batch, seed, step),
        }

    def evaluation_inputs(self, config: Any, batch: Batch, seed: int) -> dict[str, Any]:
        """See :class:`Objective`; at the configuration's keep ratio."""
        inputs = _model_inputs(batch)
        if config.objective == "masked":
            masked = mask_bases(batch["input_ids"], mask_seeds(seed, batch["sample_index"]))
            inputs.update(input_ids=masked.input_ids, labels=masked.labels)
        return {**inputs, "keep_ratio": config.keep_ratio, "sample_seeds": _sample_seeds(batch, seed)}

    def loss_weights(self, config: Any) -> dict[str, float]:
        """See :class:`Objective`; those of Eq. 8."""
        if config.objective == "masked":
            return {"masked": 1.0}
        names = ("reconstruction", "latent_reconstruction", "masked")
        return {name: getattr(config, f"{name}_weight") for name in names}

    def loss_counts(self, output: Any, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """See :class:`Objective`."""
        is_labelled = labels != IGNORE_INDEX
        counts = dict.fromkeys(output.losses, is_labelled.sum())
        if output.is_masked is not None:
            counts["masked"] = (is_labelled & output.is_masked).sum()
        return counts

    def predict(self, model: Any, batch: Batch) -> torch.Tensor:
        """See :class:`Objective`; the first pass's path, which is what the masked-LM model computes."""
        ratio = model.config.keep_ratio
        tokens, is_full = model.model.tokenize(batch["input_ids"], batch["attention_mask"], None, ratio)
        return model.decode(model.model.latent_encoder(tokens, is_full), tokens, is_full)

    def masked_sums(self, output: Any, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; ``amtm``, at the mask rate of adaptive masking."""
        if output.masked_logits is None:
            return {}
        is_scored = output.is_masked & (labels != IGNORE_INDEX)
        letter_logits = output.masked_logits[..., A_ID : T_ID + 1][is_scored]
        return {"amtm": masked_base_sums(letter_logits, labels[is_scored])}


def objective_of(config: Any) -> Objective:
    """The pre-training objective of a model.

    Raises:
        ValueError: If this kind of model has none.
    """
    try:
        return _OBJECTIVES[config.model_type]
    except KeyError:
        known = ", ".join(map(repr, _OBJECTIVES))
        raise ValueError(
            f"objective_of: config.model_type must be of {known}, got {config.model_type!r}"
        ) from None


def _model_inputs(batch: Batch) -> dict[str, Any]:
    return {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}


def _sample_seeds(batch: Batch, seed: int, *path: int) -> torch.Tensor:
    index = batch["sample_index"]
    return torch.tensor([mix(seed, *path, sample) for sample in index.tolist()], device=index.device)


_OBJECTIVES: dict[str, Objective] = {"mergedna": MergeDNAObjective()}
