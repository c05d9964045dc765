"""Masked language models as what the zero-shot scores ask: any of Hugging Face's on bases or k-mers."""

import os
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForMaskedLM

from dnachunk.baselines import FixedTokenizer
from dnachunk.baselines.windows import tokenize_windows
from dnachunk.errors import ArgumentError, require_at_least
from dnachunk.evaluation.token_letters import hidden_base_logits
from dnachunk.evaluation.zero_shot import Batch, ZeroShotModel
from dnachunk.inference.tokens import mean_vectors
from dnachunk.models.limits import length_limits
from dnachunk.models.loading import ask, best_device, bf16_products, load_pretrained, load_tokenizer
from dnachunk.models.modeling_common import DNAPreTrainedModel
from dnachunk.tokenization import DNATokenizer


def load_zero_shot(
    directory: str | os.PathLike[str],
    window_bp: int | None = None,
    tokens_per_base: float | None = None,
    *,
    bf16: bool = False,
) -> tuple[ZeroShotModel, int]:
    """Loads a masked language model, onto a GPU where there is one, and finds how wide a window it reads.

    Args:
        directory: What a training run wrote.
        window_bp: Bases of a window; None is as the model was trained.
        tokens_per_base: In (0, 1], of MergeDNA and DNAChunker; None is as the model is configured.
        bf16: Whether matrix products run in bfloat16.

    Raises:
        OSError: If the directory holds no model or no tokenizer.
        ValueError: If the weights do not fit, the model is no masked language model, its tokenizer is none of
            single bases or k-mers, nothing says how wide a window is, or it has more positions than the
            model.
    """
    network = load_pretrained(AutoModelForMaskedLM, directory).eval().to(best_device())
    ask(network, tokens_per_base)
    return make_zero_shot_model(network, load_tokenizer(directory), window_bp, str(directory), bf16=bf16)


def make_zero_shot_model(
    network: Any,
    tokenizer: Any,
    window_bp: int | None = None,
    name: str = "the model",
    *,
    bf16: bool = False,
) -> tuple[ZeroShotModel, int]:
    """What the scores need of a masked language model, and how wide a window it reads.

    Args:
        network: The model, in evaluation mode.
        tokenizer: Its tokenizer.
        window_bp: Bases of a window; None is as the model was trained.
        name: What it is called in a message.
        bf16: Whether matrix products run in bfloat16.

    Raises:
        ValueError: As :func:`load_zero_shot`, but for the weights.
    """
    is_fixed = isinstance(tokenizer, FixedTokenizer)
    if is_fixed and tokenizer.kind.k is None:
        raise ValueError(f"{name}: byte-pair encoding gives no probability of a single base")
    if not is_fixed and not isinstance(tokenizer, DNATokenizer):
        raise ValueError(
            f"{name}: the tokenizer must be a DNATokenizer, a base an id, got {type(tokenizer).__name__}"
        )
    if window_bp is None:
        window_bp = getattr(network.config, "train_length_bp", None)
    if window_bp is None:
        raise ArgumentError(f"`window_bp` must be given: {name} does not say how long windows were")
    require_at_least("window_bp", window_bp, 1)
    max_length_bp, max_tokens = length_limits(network, tokenizer)
    if max_tokens is not None:
        # Fixed words are no more than bases.
        max_tokens -= tokenizer.num_special_tokens_to_add()
    most = min((limit for limit in (max_length_bp, max_tokens) if limit is not None), default=window_bp)
    if window_bp > most:
        raise ArgumentError(f"`window_bp` must be at most {most} for {name}, got {window_bp}")

    def moved(batch: Batch) -> Batch:
        return {name: tensor.to(network.device) for name, tensor in batch.items()}

    def predict(batch: Batch) -> torch.Tensor:
        return network(**moved(batch)).logits

    def embed(batch: Batch) -> torch.Tensor:
        return mean_vectors(network.base_model, moved(batch), cls_sep=tokenizer.cls_sep)

    def predict_words(batch: Batch) -> torch.Tensor:
        inputs = moved(batch)
        return hidden_base_logits(network, tokenizer, inputs["input_ids"], inputs["attention_mask"])

    def embed_words(batch: Batch) -> torch.Tensor:
        tokens = tokenize_windows(tokenizer, batch["input_ids"])
        words = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
        return mean_vectors(network.base_model, moved(words))

    def asked(answer: Callable[[Batch], torch.Tensor]) -> Callable[[Batch], torch.Tensor]:
        def run(batch: Batch) -> torch.Tensor:
            with bf16_products(network, bf16):
                return answer(batch)

        return run

    if is_fixed:
        return ZeroShotModel(asked(predict_words), asked(embed_words), False, network, bf16), window_bp
    return ZeroShotModel(asked(predict), asked(embed), tokenizer.cls_sep, network, bf16), window_bp


def resolve_zero_shot(
    model: Any, window_bp: int | None, tokens_per_base: float | None, *, bf16: bool = False
) -> tuple[ZeroShotModel, int]:
    """A masked language model from its folder, or from a loaded model of ours.

    Raises:
        OSError: As :func:`load_zero_shot`.
        ValueError: See there; or if a loaded model is none of ours, or has no head for bases.
    """
    if isinstance(model, str | os.PathLike):
        return load_zero_shot(model, window_bp, tokens_per_base, bf16=bf16)
    if not isinstance(model, DNAPreTrainedModel) or model.get_output_embeddings() is None:
        raise ArgumentError(
            "`model` must be a masked language model of ours, or the folder of one, "
            f"got a {type(model).__name__}"
        )
    ask(model, tokens_per_base)
    return make_zero_shot_model(
        model.eval(), DNATokenizer(cls_sep=model.config.model_type == "mxdna"), window_bp, bf16=bf16
    )


__all__ = ["load_zero_shot", "make_zero_shot_model", "resolve_zero_shot"]
