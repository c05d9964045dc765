"""Masked language modelling of a fixed tokenizer's tokens, with any such model of Hugging Face's."""

from typing import Any

import torch

from dnachunk.alphabet import IGNORE_INDEX, MASK_ID
from dnachunk.baselines import FixedTokenizer
from dnachunk.baselines.windows import tokenize_windows
from dnachunk.data.masking import mask_seeds
from dnachunk.data.token_windows import TokenMaskingCollator, mask_windows
from dnachunk.evaluation.token_letters import hidden_base_logits
from dnachunk.training.objectives.base import Batch

# Of the bases that do not show [MASK] where 15% are selected, those that show a random letter.
_RANDOM_SHARE = 0.15 * 0.1 / (1 - 0.15 * 0.8)


class FixedTokenObjective:
    """Pre-training of a baseline, as :class:`~dnachunk.training.objectives.base.Objective` asks for it.

    Args:
        tokenizer: Of the model's tokens.
    """

    def __init__(self, tokenizer: FixedTokenizer) -> None:
        self.tokenizer = tokenizer
        self.predicts_bases = tokenizer.kind.k is not None

    def collator(self, config: Any, seed: int, mask_probability: float = 0.15) -> TokenMaskingCollator:
        """See :class:`Objective`."""
        del config
        return TokenMaskingCollator(self.tokenizer, seed, mask_probability)

    def training_inputs(self, config: Any, batch: Batch, seed: int, step: int) -> dict[str, Any]:
        """See :class:`Objective`; nothing is drawn."""
        del config, seed, step
        return batch

    def evaluation_inputs(self, config: Any, batch: Batch, seed: int) -> dict[str, Any]:
        """See :class:`Objective`; tokens are hidden as in training."""
        del config
        seeds = mask_seeds(seed, batch["sample_index"])
        masked = mask_windows(self.tokenizer, batch["input_ids"].cpu(), seeds)
        arguments = {name: value.to(batch["input_ids"].device) for name, value in masked._asdict().items()}
        # The mean over no token is 0.
        return {**arguments, "num_items_in_batch": _num_labelled(arguments).clamp_min(1)}

    def loss_weights(self, config: Any) -> dict[str, float]:
        """See :class:`Objective`."""
        del config
        return {"masked": 1.0}

    def loss_counts(self, config: Any, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; the loss is a mean over tokens."""
        del config, output
        return {"masked": _num_labelled(arguments)}

    def predict(self, model: Any, batch: Batch) -> torch.Tensor:
        """See :class:`Objective`; where ``[MASK]`` is shown."""
        return hidden_base_logits(
            model, self.tokenizer, batch["input_ids"], batch["attention_mask"], random_share=_RANDOM_SHARE
        )

    def masked_sums(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; ``masked_token``: at tokens that show ``[MASK]``, per base of them.

        A base is right where its whole token is the likeliest of the vocabulary, and its nats are its share
        of its token's. Overlapping words, which would count a base several times, have none.
        """
        if self.tokenizer.kind.is_overlapping:
            return {}
        labels = arguments["labels"]
        is_scored = (labels != IGNORE_INDEX) & (arguments["input_ids"] == MASK_ID)
        logits, labels = output.logits[is_scored].float(), labels[is_scored]
        lengths = self._lengths()[labels.cpu()].to(labels.device)
        nats = torch.nn.functional.cross_entropy(logits, labels, reduction="none").double()
        correct = (logits.argmax(dim=-1) == labels) * lengths
        return {
            "masked_token": torch.stack([correct.sum().double(), nats.sum(), lengths.sum().double()]).cpu()
        }

    def ratios(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; there are none."""
        del output, arguments
        return {}

    def evaluation_ratios(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; bases per token."""
        del model
        tokens = tokenize_windows(self.tokenizer, batch["input_ids"].cpu())
        bases = batch["attention_mask"].sum().cpu()
        return {"compression": torch.stack([bases, tokens.attention_mask.sum()])}

    def _lengths(self) -> torch.Tensor:
        """Bases of each id."""
        return torch.tensor(
            [len(token) for token in self.tokenizer.convert_ids_to_tokens(range(len(self.tokenizer)))]
        )


def _num_labelled(arguments: dict[str, Any]) -> torch.Tensor:
    return (arguments["labels"] != IGNORE_INDEX).sum()


__all__ = ["FixedTokenObjective"]
