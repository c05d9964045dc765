"""How long a sequence a model takes, whoever made it."""

from typing import Any


def length_limits(model: Any, tokenizer: Any) -> tuple[int | None, int | None]:
    """Bases and ids of the longest sequence that a model takes; None where nothing limits them."""
    limits = []
    if tokenizer.model_max_length < 1 << 40:
        limits.append(int(tokenizer.model_max_length))
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # RoBERTa and its kin count positions on from the padding's id.
        offsets = [
            module.padding_idx + 1
            for name, module in model.named_modules()
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
        ]
        limits.append(positions - max(offsets, default=0))
    return getattr(model.config, "max_length_bp", None), min(limits, default=None)


__all__ = ["length_limits"]
