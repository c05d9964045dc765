"""Accuracy at ``[MASK]`` against tokens per base: what a model knows when it is asked for fewer tokens."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from dnachunk.errors import ArgumentError
from dnachunk.evaluation.masked_bases import MaskedBaseScores, evaluate_masked_bases
from dnachunk.models import DNAChunkerConfig
from dnachunk.models.configuration_common import DNAConfig
from dnachunk.tokenization import between_special_tokens

THRESHOLD, CONFIGURED, BUDGET = "threshold", "configured", "budget"
"""How a model comes to its number of tokens."""


class BudgetAccuracy(NamedTuple):
    """How well a model guesses masked bases, when it makes so many tokens.

    Attributes:
        reading: ``"budget"``: as many tokens as it is asked for; ``"threshold"``: of DNAChunker, wherever the
            boundary probability is at least 0.5; ``"configured"``: of another model, without being asked.
        asked: Tokens per base that it is asked for, if it is.
        tokens_per_base: Tokens that it makes of the masked sequences, over their bases.
        scores: At the bases that show ``[MASK]``.
    """

    reading: str
    asked: float | None
    tokens_per_base: float
    scores: MaskedBaseScores


def budget_accuracy(
    model: Any, rows: torch.Tensor, budgets: Sequence[float], *, seed: int = 0, batch_size: int = 8
) -> list[BudgetAccuracy]:
    """Masks bases as in pre-training, 15% of them selected, and scores a model under several budgets.

    The same bases are masked each time. Weights that were trained by DNAChunker's threshold and those that
    were trained under a budget are read in both ways. Its protected masks are chunks of their own, so that
    the threshold makes more tokens of masked sequences than of others; a budget is exact whatever is masked.

    Args:
        model: A masked language model of ours; its configuration is left as it was.
        rows: ``[B, N]`` int64 ids of bases alone, without padding.
        budgets: Tokens per base that it is asked for, if it can be.
        seed: Of the masks.
        batch_size: Sequences run at once.

    Returns:
        The threshold's, or what it makes as it is configured, first; then those of the budgets, from the
        fewest tokens on.

    Raises:
        ValueError: If the model has no head for bases, a budget is out of its reach, or nothing is masked.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, DNAConfig) or model.get_output_embeddings() is None:
        raise ArgumentError(f"`model` must be a masked language model of ours, got a {type(model).__name__}")
    readings: list[tuple[str, float | None, dict[str, Any]]] = [(CONFIGURED, None, {})]
    if isinstance(config, DNAChunkerConfig):
        readings = [(THRESHOLD, None, {"boundary_budget": None})]
    if config.can_be_asked:
        readings += [(BUDGET, each, config.budget_fields(each)) for each in sorted(set(budgets))]
    was_training = model.training
    model.eval()
    try:
        return [
            BudgetAccuracy(reading, asked, *_scores(model, fields, rows, seed, batch_size))
            for reading, asked, fields in readings
        ]
    finally:
        model.train(was_training)


def _scores(
    model: Any, fields: dict[str, Any], rows: torch.Tensor, seed: int, batch_size: int
) -> tuple[float, MaskedBaseScores]:
    """Tokens per base, and scores, under these fields of the configuration."""
    has_ends = model.config.model_type == "mxdna"
    num_tokens = 0

    def predict(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        nonlocal num_tokens
        ids, mask = (batch[name].to(model.device) for name in ("input_ids", "attention_mask"))
        if has_ends:
            ids, mask = between_special_tokens(ids, mask)
        output = model(input_ids=ids, attention_mask=mask)
        num_tokens += int(output.segmentation.num_tokens.sum())
        return output.logits[:, 1:-1] if has_ends else output.logits

    index = torch.arange(len(rows))
    batches = (
        {
            "input_ids": rows[first : first + batch_size],
            "attention_mask": torch.ones_like(rows[first : first + batch_size]),
            "sample_index": index[first : first + batch_size],
        }
        for first in range(0, len(rows), batch_size)
    )
    with _configured(model.config, fields):
        scores = evaluate_masked_bases(predict, batches, seed=seed)
    return num_tokens / max(rows.numel(), 1), scores


@contextlib.contextmanager
def _configured(config: Any, fields: dict[str, Any]) -> Iterator[None]:
    """Other fields of a configuration, for a while."""
    before = {name: getattr(config, name) for name in fields}
    try:
        for name, value in fields.items():
            setattr(config, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)


__all__ = ["BudgetAccuracy", "budget_accuracy"]
