"""MxDNA's objective."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.data.masking import MaskingCollator
from dnachunk.models.mxdna.modeling_mxdna import expert_counts
from dnachunk.segmentation import Segmentation
from dnachunk.tokenization import between_special_tokens
from dnachunk.training.objectives.base import Batch, masked_batch, sample_seeds


class MxDNAObjective:
    """MxDNA's masked language modelling with load balancing, between ``[CLS]`` and ``[SEP]``."""

    predicts_bases = True

    def collator(self, config: Any, seed: int, mask_probability: float = 0.15) -> MaskingCollator:
        """See :class:`Objective`."""
        del config
        return MaskingCollator(mask_probability, seed)

    def training_inputs(self, config: Any, batch: Batch, seed: int, step: int) -> dict[str, Any]:
        """See :class:`Objective`; the router's jitter is drawn."""
        del config
        return {**_between_special_tokens(batch), "noise_seeds": sample_seeds(batch, seed, step)}

    def evaluation_inputs(self, config: Any, batch: Batch, seed: int) -> dict[str, Any]:
        """See :class:`Objective`; without jitter."""
        del config
        return _between_special_tokens(masked_batch(batch, seed))

    def loss_weights(self, config: Any) -> dict[str, float]:
        """See :class:`Objective`."""
        return {"masked": 1.0, "load_balancing": config.load_balancing_weight}

    def loss_counts(self, config: Any, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; balance is a mean over units."""
        del config
        units = (output.tokens.units.token_expert >= 0).sum()
        return {"masked": (arguments["labels"] != IGNORE_INDEX).sum(), "load_balancing": units}

    def predict(self, model: Any, batch: Batch) -> torch.Tensor:
        """See :class:`Objective`."""
        ids, mask = between_special_tokens(batch["input_ids"], batch["attention_mask"])
        return model(ids, mask).logits[:, 1:-1]

    def masked_sums(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; there are none."""
        del output, arguments
        return {}

    def ratios(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; compression, and the share of the units that each expert has."""
        del arguments
        units = output.tokens.units
        return _ratios(units.segmentation, list(expert_counts(units)))

    def evaluation_ratios(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """See :class:`Objective`."""
        tokens = model.encode_tokens(batch["input_ids"], batch["attention_mask"], vectors=False)
        num_experts = len(model.config.kernel_sizes)
        experts = tokens.columns["expert"]
        counts = [(experts == expert).sum() for expert in range(num_experts)]
        return _ratios(tokens.segmentation, counts)


def _ratios(segmentation: Segmentation, counts: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Compression, and the shares of the experts of so many units each."""
    num_units = segmentation.num_tokens.sum()
    ratios = {"compression": torch.stack([(segmentation.token_index >= 0).sum(), num_units])}
    for expert, count in enumerate(counts):
        ratios[f"expert_{expert}_share"] = torch.stack([count, num_units])
    return ratios


def _between_special_tokens(batch: Batch) -> dict[str, Any]:
    ids, mask = between_special_tokens(batch["input_ids"], batch["attention_mask"])
    labels = F.pad(batch["labels"], (1, 1), value=IGNORE_INDEX)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


__all__ = ["MxDNAObjective"]
