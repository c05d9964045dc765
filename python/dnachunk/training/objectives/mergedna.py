"""MergeDNA's objective."""

from typing import Any

import torch

from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.data.masking import MaskingCollator
from dnachunk.data.windows import WindowCollator
from dnachunk.models.mergedna.objective_mergedna import draw_keep_ratio
from dnachunk.nn.token_merge import MergedTokens, TokenMerge, tied_candidates
from dnachunk.training.objectives.base import Batch, letter_sums, masked_batch, model_inputs, sample_seeds


class MergeDNAObjective:
    """MergeDNA's three passes (Eq. 8), or masked modelling with ``objective="masked"``."""

    predicts_bases = True

    def collator(
        self, config: Any, seed: int, mask_probability: float = 0.15
    ) -> WindowCollator | MaskingCollator:
        """See :class:`Objective`; adaptive masking draws its own."""
        if config.objective == "masked":
            return MaskingCollator(mask_probability, seed)
        return WindowCollator()

    def training_inputs(self, config: Any, batch: Batch, seed: int, step: int) -> dict[str, Any]:
        """See :class:`Objective`; the keep ratio is one draw for the global batch."""
        return {
            **model_inputs(batch),
            "keep_ratio": draw_keep_ratio(config, seed, step),
            "sample_seeds": sample_seeds(batch, seed, step),
        }

    def evaluation_inputs(self, config: Any, batch: Batch, seed: int) -> dict[str, Any]:
        """See :class:`Objective`; at the configuration's keep ratio."""
        inputs = model_inputs(batch)
        if config.objective == "masked":
            inputs = model_inputs(masked_batch(batch, seed))
        return {**inputs, "keep_ratio": config.keep_ratio, "sample_seeds": sample_seeds(batch, seed)}

    def loss_weights(self, config: Any) -> dict[str, float]:
        """See :class:`Objective`; those of Eq. 8."""
        if config.objective == "masked":
            return {"masked": 1.0}
        names = ("reconstruction", "latent_reconstruction", "masked")
        return {name: getattr(config, f"{name}_weight") for name in names}

    def loss_counts(self, config: Any, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`."""
        del config
        is_labelled = arguments["labels"] != IGNORE_INDEX
        counts = dict.fromkeys(output.losses, is_labelled.sum())
        if output.is_masked is not None:
            counts["masked"] = (is_labelled & output.is_masked).sum()
        return counts

    def predict(self, model: Any, batch: Batch) -> torch.Tensor:
        """See :class:`Objective`; the first pass's path, which is what the masked-LM model computes."""
        return model.predict_bases(batch["input_ids"], batch["attention_mask"])

    def masked_sums(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; ``amtm``, at the mask rate of adaptive masking."""
        if output.masked_logits is None:
            return {}
        return {"amtm": letter_sums(output.masked_logits, arguments["labels"], output.is_masked)}

    def ratios(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`."""
        bases = arguments["attention_mask"].sum()
        return {"compression": torch.stack([bases, output.segmentation.num_tokens.sum()])}

    def evaluation_ratios(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; of each merging layer the share of candidates tied at the threshold.

        ``tied_candidates_0`` and so on, by :func:`~dnachunk.nn.token_merge.tied_candidates`. Budgets are
        exact, so that nothing is to be found out of compression.
        """
        shares: list[torch.Tensor] = []

        def count(merge: TokenMerge, args: Any, kwargs: dict[str, Any], merged: MergedTokens) -> None:
            del args
            assert merged.scores is not None
            shares.append(
                tied_candidates(
                    merged.scores,
                    kwargs["lengths"],
                    merged.token_index,
                    merge.window,
                    merge.shift,
                    merge.budget,
                )
            )

        layers = [module for module in model.modules() if isinstance(module, TokenMerge)]
        hooks = [layer.register_forward_hook(count, with_kwargs=True) for layer in layers]
        try:
            model.encode_tokens(batch["input_ids"], batch["attention_mask"], vectors=False)
        finally:
            for hook in hooks:
                hook.remove()
        return {f"tied_candidates_{layer}": share for layer, share in enumerate(shares)}


__all__ = ["MergeDNAObjective"]
