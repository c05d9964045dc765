"""The encoder of the baselines, sized like the models that it is compared with.

It is ``transformers``' own EuroBERT, untouched, whose block is the one that MergeDNA's latent encoder is made
of: pre-norm attention with rotary positions over all tokens, SwiGLU, RMSNorm, no biases. It loads by the
``AutoModel…`` classes where ``dnachunk`` is not installed.
"""

from typing import Any, Final, Literal, get_args

from huggingface_hub.errors import StrictDataclassError
from transformers import EuroBertConfig

from dnachunk.alphabet import MASK_ID, NUM_IDS, PAD_ID

Size = Literal["micro", "tiny", "base"]

# As many blocks as MergeDNA of that size has in its two encoders, which are what is fine-tuned, and as wide.
_SIZES: Final[dict[Size, dict[str, int]]] = {
    "micro": {"hidden_size": 128, "num_attention_heads": 4, "num_hidden_layers": 8, "train_length_bp": 512},
    "tiny": {"hidden_size": 256, "num_attention_heads": 8, "num_hidden_layers": 10, "train_length_bp": 512},
    "base": {
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "train_length_bp": 4096,
    },
}


def baseline_config(size: Size, vocab_size: int = NUM_IDS, **fields: Any) -> EuroBertConfig:
    """Configuration of the encoder: the same trunk for every tokenizer, with embeddings for its tokens.

    Without the embeddings it has 1.7M (``micro``), 8.0M (``tiny``) or 303M (``base``) parameters.

    Args:
        size: How large.
        vocab_size: Ids of the tokenizer; its ``len``.
        **fields: Fields of ``EuroBertConfig``, or ``train_length_bp``, the bases of a pre-training window.

    Raises:
        ValueError: On an unknown size or field, or a value that the configuration refuses.
    """
    if size not in get_args(Size):
        raise ValueError(f"baseline_config: size must be of {', '.join(get_args(Size))}, got {size!r}")
    of_tokenizer = {
        "vocab_size": vocab_size,
        "pad_token_id": PAD_ID,
        "mask_token_id": MASK_ID,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    values: dict[str, Any] = {
        **_SIZES[size],
        "tie_word_embeddings": True,
        "classifier_pooling": "mean",
        # Rotary positions have no last one.
        "max_position_embeddings": 1 << 20,
    }
    known = {*values, *EuroBertConfig().to_dict()} - {*of_tokenizer}
    unknown = [f"{name}={value!r}" for name, value in fields.items() if name not in known]
    if unknown:
        raise ValueError(
            "baseline_config: fields must be those of EuroBertConfig that the tokenizer does not settle, "
            f"got {', '.join(unknown)}"
        )
    values |= fields
    if type(values["train_length_bp"]) is not int or values["train_length_bp"] < 1:
        raise ValueError(
            "baseline_config: train_length_bp must be an int of at least 1, "
            f"got {values['train_length_bp']!r}"
        )
    if isinstance(values["hidden_size"], int):
        # The inner width of MergeDNA's blocks.
        values.setdefault("intermediate_size", -(-8 * values["hidden_size"] // (3 * 64)) * 64)
    try:
        return EuroBertConfig(**values, **of_tokenizer)
    except StrictDataclassError as error:
        raise ValueError(f"baseline_config: {error}") from error


def forward_flops(config: EuroBertConfig, num_tokens: int) -> int:
    """Floating-point operations of the masked language model on one sequence, counted over matrix products.

    Args:
        config: The encoder's.
        num_tokens: Tokens of the sequence; over its bases it gives operations per base.
    """
    width, heads = config.hidden_size, config.num_attention_heads * config.head_dim
    projections = 2 * width * heads + 2 * width * config.num_key_value_heads * config.head_dim
    feed_forward = 3 * width * config.intermediate_size
    attention = 2 * num_tokens * heads
    per_token = (
        config.num_hidden_layers * (projections + feed_forward + attention) + width * config.vocab_size
    )
    return 2 * num_tokens * per_token


__all__ = ["Size", "baseline_config", "forward_flops"]
