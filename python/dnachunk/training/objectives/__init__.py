"""Pre-training objectives, by the kind of model: a new one is a module here and a line below."""

from typing import Any

from dnachunk.baselines import FixedTokenizer
from dnachunk.training.objectives.base import Batch, Objective
from dnachunk.training.objectives.dnachunker import DNAChunkerObjective
from dnachunk.training.objectives.fixed import FixedTokenObjective
from dnachunk.training.objectives.mergedna import MergeDNAObjective
from dnachunk.training.objectives.mxdna import MxDNAObjective

_OBJECTIVES: dict[str, Objective] = {
    "dnachunker": DNAChunkerObjective(),
    "mergedna": MergeDNAObjective(),
    "mxdna": MxDNAObjective(),
}


def objective_of(config: Any, tokenizer: Any = None) -> Objective:
    """The pre-training objective of a model.

    Args:
        config: The model's; its ``model_type`` says which objective it is.
        tokenizer: The model's; with a :class:`~dnachunk.baselines.FixedTokenizer` it is masked language
            modelling of its tokens, whatever the model.

    Raises:
        ValueError: If this kind of model has none.
    """
    if isinstance(tokenizer, FixedTokenizer):
        return FixedTokenObjective(tokenizer)
    try:
        return _OBJECTIVES[config.model_type]
    except KeyError:
        known = ", ".join(map(repr, _OBJECTIVES))
        raise ValueError(
            f"objective_of: config.model_type must be of {known}, got {config.model_type!r}"
        ) from None


__all__ = ["Batch", "Objective", "objective_of"]
