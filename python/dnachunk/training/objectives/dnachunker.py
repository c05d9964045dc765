"""DNAChunker's objective."""

from typing import Any

import torch

from dnachunk.alphabet import IGNORE_INDEX, MASK_ID
from dnachunk.data.masking import MaskingCollator
from dnachunk.ops._lengths import real_positions
from dnachunk.training.objectives.base import Batch, letter_sums, masked_batch, model_inputs


class DNAChunkerObjective:
    """DNAChunker's masked language modelling, its repeats weighing less, and its ratio losses."""

    predicts_bases = True

    def collator(self, config: Any, seed: int, mask_probability: float = 0.15) -> MaskingCollator:
        """See :class:`Objective`."""
        del config
        return MaskingCollator(mask_probability, seed)

    def training_inputs(self, config: Any, batch: Batch, seed: int, step: int) -> dict[str, Any]:
        """See :class:`Objective`; nothing is drawn."""
        del config, seed, step
        regions = {name: batch[name] for name in ("region_index",) if name in batch}
        return {**model_inputs(batch), "repeat_mask": batch["repeat_mask"], **regions}

    def evaluation_inputs(self, config: Any, batch: Batch, seed: int) -> dict[str, Any]:
        """See :class:`Objective`."""
        return self.training_inputs(config, masked_batch(batch, seed), seed, 0)

    def loss_weights(self, config: Any) -> dict[str, float]:
        """See :class:`Objective`."""
        return {"masked": 1.0, "ratio_0": config.ratio_weight, "ratio_1": config.ratio_weight}

    def loss_counts(self, config: Any, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; the masked loss is over weights, the ratio losses over sequences."""
        labels = arguments["labels"]
        weight = torch.where(arguments["repeat_mask"], config.repeat_weight, 1.0)
        counts = dict.fromkeys(output.losses, torch.tensor(len(labels)))
        return {**counts, "masked": (weight * (labels != IGNORE_INDEX)).sum()}

    def predict(self, model: Any, batch: Batch) -> torch.Tensor:
        """See :class:`Objective`."""
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits

    def masked_sums(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; where ``[MASK]`` is shown, inside repeats and outside of them."""
        shows_mask, is_repeat = arguments["input_ids"] == MASK_ID, arguments["repeat_mask"]
        kinds = {"masked_in_repeats": is_repeat, "masked_outside_repeats": ~is_repeat}
        return {
            name: letter_sums(output.logits, arguments["labels"], shows_mask & where)
            for name, where in kinds.items()
        }

    def ratios(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; over boundaries that no ``[MASK]`` forced, so masking counts little."""
        lengths = (arguments["attention_mask"].sum(dim=1), output.stage_segmentations[0].num_tokens)
        counts = {}
        for stage, (probability, length) in enumerate(
            zip(output.boundary_probabilities, lengths, strict=True)
        ):
            is_real = real_positions(length, probability.shape[1])
            is_free = is_real & (probability < 1)
            counts[f"compression_{stage}"] = torch.stack(
                [is_free.sum(), (is_free & (probability >= 0.5)).sum().clamp_min(1)]
            )
        return counts

    def evaluation_ratios(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """See :class:`Objective`."""
        tokens = model.encode_tokens(batch["input_ids"], batch["attention_mask"], vectors=False)
        segmentations = tokens.segmentations
        sums = [batch["attention_mask"].sum(), *(stage.num_tokens.sum() for stage in segmentations)]
        return {f"compression_{i}": torch.stack(sums[i : i + 2]) for i in range(2)}


__all__ = ["DNAChunkerObjective"]
