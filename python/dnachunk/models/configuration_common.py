"""What the configurations of all models share."""

from typing import Any, ClassVar, Literal

from transformers import PreTrainedConfig

from dnachunk.alphabet import NUM_IDS, PAD_ID

Boundaries = Literal["learned", "fixed"]
"""Whether a model learns where tokens begin, or its control cuts at fixed places."""

# Fields that PreTrainedConfig takes without declaring them.
_INHERITED = frozenset(
    {
        "_attn_implementation_internal",
        "_experts_implementation_internal",
        "_name_or_path",
        "architectures",
        "attn_implementation",
        "model_type",
        "name_or_path",
        "num_labels",
        "output_attentions",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)


class DNAConfig(PreTrainedConfig):
    """Base of all configurations: fields are checked, and unknown ones refused.

    Attributes:
        vocab_size: Ids that the embedding and the output know; 10, see :mod:`dnachunk.alphabet`.
        pad_token_id: Id of padding.
        initializer_range: Standard deviation of the normal that weights and embeddings start from.
    """

    # What Hugging Face's Trainer leaves out of predictions, which it pads and joins as tensors.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        *("losses", "segmentation", "stage_segmentations", "boundary_probabilities", "tokens"),
        *("masked_logits", "is_masked", "latent_index", "mask_rate"),
    ]

    vocab_size: int = NUM_IDS
    pad_token_id: int | None = PAD_ID
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        """Refuses unknown fields, then checks the known ones."""
        unknown = sorted(set(kwargs) - _INHERITED)
        if unknown:
            got = ", ".join(f"{name}={kwargs[name]!r}" for name in unknown)
            raise ValueError(f"{type(self).__name__}: fields must be those of the configuration, got {got}")
        super().__post_init__(**kwargs)
        self.check_fields()

    def check_fields(self) -> None:
        """Raises :class:`ValueError` on the first field out of range; extended by each configuration."""
        self._require("vocab_size", int, self.vocab_size, lambda v: v >= NUM_IDS, f"at least {NUM_IDS}")
        self._require("initializer_range", float, self.initializer_range, lambda v: v > 0, "above 0")

    def _require_network(self, counts: str) -> None:
        """Checks what every network has: ``counts`` of at least 1, heads that fit, dropout before a head."""
        for field in counts.split():
            self._require(field, int, getattr(self, field), lambda v: v >= 1, "of at least 1")
        fields: Any = self
        pair = 2 * fields.num_attention_heads
        self._require("hidden_size", int, fields.hidden_size, lambda v: v % pair == 0, f"divisible by {pair}")
        dropout = fields.classifier_dropout
        self._require("classifier_dropout", float, dropout, lambda v: 0 <= v < 1, "in [0, 1)")

    def _require(self, field: str, kind: type, value: Any, fits: Any, expected: str) -> None:
        kinds = (int, float) if kind is float else (kind,)
        is_kind = isinstance(value, kinds) and (kind is bool or not isinstance(value, bool))
        if not is_kind or not fits(value):
            message = f"a {kind.__name__} {expected}".rstrip()
            raise ValueError(f"{type(self).__name__}: {field} must be {message}, got {value!r}")

    def _require_one_of(self, field: str, value: Any, choices: tuple[str, ...]) -> None:
        if value not in choices:
            allowed = " or ".join(repr(choice) for choice in choices)
            raise ValueError(f"{type(self).__name__}: {field} must be {allowed}, got {value!r}")
