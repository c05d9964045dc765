"""What the configurations of all models share."""

import dataclasses
import difflib
import importlib
import os
from typing import Any, ClassVar, Literal

from transformers import PreTrainedConfig

from dnachunk.alphabet import NUM_IDS, PAD_ID
from dnachunk.errors import ArgumentError

Boundaries = Literal["learned", "fixed"]
"""Whether a model learns where tokens begin, or its control cuts at fixed places."""

MAX_LAYERS, MAX_WIDTH = 1_000, 1 << 20
"""Most layers of a kind, and most channels, heads and the like: far above any model there is, so that a
damaged configuration is told before memory ends."""

# Fields of transformers that PreTrainedConfig takes without declaring them.
_OF_TRANSFORMERS = frozenset(
    {
        "_attn_implementation_internal",
        "_experts_implementation_internal",
        "_name_or_path",
        "attn_implementation",
        "auto_map",
        "bos_token_id",
        "cls_token_id",
        "custom_pipelines",
        "decoder_start_token_id",
        "eos_token_id",
        "experts_implementation",
        "finetuning_task",
        "mask_token_id",
        "name_or_path",
        "num_labels",
        "output_attentions",
        "prefix",
        "quantization_config",
        "sep_token_id",
        "task_specific_params",
        "tokenizer_class",
        "torch_dtype",
        "transformers_version",
        "unk_token_id",
        "use_cache",
    }
)


def _register_models() -> None:
    # The Auto classes are asked for the model of a configuration, hence not before there is one.
    importlib.import_module("dnachunk.models.auto_models")


class DNAConfig(PreTrainedConfig):
    """Base of all configurations: fields are checked, and unknown ones refused.

    What is read from a file or from a dictionary of :meth:`to_dict` keeps unknown fields as attributes, as
    every configuration of ``transformers`` does: they are a user's own, or a newer release's.

    Attributes:
        vocab_size: Ids that the embedding and the output know; 10, see :mod:`dnachunk.alphabet`.
        pad_token_id: Id of padding.
        initializer_range: Standard deviation of the normal that weights and embeddings start from.
        tie_word_embeddings: Whether the output's weight over the vocabulary is the embedding's.
        allele_pairs: Whether the sequence classification head reads pairs of alleles: what is pooled of the
            alternate allele minus what is pooled of the reference.
        tissues: Names of the tissues that pairs of alleles are seen in; the head reads which beside the
            difference. None where it does not.
    """

    # What Hugging Face's Trainer leaves out of predictions, which it pads and joins as tensors.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        *("losses", "segmentation", "stage_segmentations", "boundary_probabilities", "tokens"),
        *("masked_logits", "is_masked", "latent_index", "mask_rate"),
    ]

    vocab_size: int = NUM_IDS
    pad_token_id: int | None = PAD_ID
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    allele_pairs: bool = False
    tissues: tuple[str, ...] | list[str] = ()

    def __post_init__(self, **kwargs: Any) -> None:
        """Refuses unknown fields, then checks the known ones."""
        # Only what was written down says of itself which model it is of.
        is_read = kwargs.pop("model_type", None) is not None
        unknown = sorted(set(kwargs) - _OF_TRANSFORMERS)
        if unknown and not is_read:
            got = ", ".join(f"{name}={kwargs[name]!r}" for name in unknown)
            fields = [field.name for field in dataclasses.fields(self)]
            alike = difflib.get_close_matches(unknown[0], fields, n=1)
            hint = f"; did you mean {alike[0]}?" if alike else ""
            raise ValueError(
                f"{type(self).__name__}: fields must be those of the configuration, got {got}{hint}"
            )
        # JSON has lists only; one form, so that a configuration equals its copy read back.
        if isinstance(self.tissues, tuple):
            self.tissues = list(self.tissues)
        super().__post_init__(**kwargs)
        self.check_fields()
        _register_models()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Comes back from a pickle, where no field is set by a constructor."""
        self.__dict__.update(state)
        _register_models()

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Reads a dictionary as ``transformers`` does: unknown fields are kept as attributes.

        Args:
            config_dict: Fields, as :meth:`to_dict` writes them.
            **kwargs: Fields to change, and what else ``transformers`` takes here.

        Returns:
            The configuration; with ``return_unused_kwargs`` also the arguments that are no fields.

        Raises:
            ValueError: On a field out of range, with the value.
        """
        read = super().from_dict({"model_type": cls.model_type, **config_dict}, **kwargs)
        # Fields to change were set one by one.
        (read[0] if isinstance(read, tuple) else read).check_fields()
        return read

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike[str]) -> "DNAConfig":
        """Reads a JSON file, as :meth:`from_dict` reads a dictionary."""
        return cls.from_dict(cls._dict_from_json_file(json_file))

    def check_fields(self) -> None:
        """Raises :class:`ValueError` on the first field out of range; extended by each configuration."""
        self._require_count("vocab_size", least=NUM_IDS)
        self._require("initializer_range", float, self.initializer_range, lambda v: v > 0, "above 0")
        self._require("tie_word_embeddings", bool, self.tie_word_embeddings, lambda v: True, "")
        self._require("allele_pairs", bool, self.allele_pairs, lambda v: True, "")
        tissues = self.tissues
        are_names = isinstance(tissues, list) and all(isinstance(name, str) for name in tissues)
        if not are_names or len(set(tissues)) != len(tissues) or (tissues and not self.allele_pairs):
            raise ValueError(
                f"{type(self).__name__}: tissues must be different names, and none unless allele_pairs is "
                f"True, got {tissues!r}"
            )

    @property
    def can_be_asked(self) -> bool:
        """Whether a model of this configuration can be asked for a number of tokens per base."""
        return type(self)._budget_fields is not DNAConfig._budget_fields

    def budget_fields(self, tokens_per_base: float) -> dict[str, Any]:
        """The fields that ask for so many tokens per base.

        Args:
            tokens_per_base: In (0, 1].

        Returns:
            Names and values.

        Raises:
            ArgumentError: If it is out of range or out of reach, or if the system's tokens follow from the
                sequence alone.
        """
        if not 0 < tokens_per_base <= 1:
            raise ArgumentError(f"`tokens_per_base` must be in (0, 1], got {tokens_per_base}")
        return self._budget_fields(tokens_per_base)

    def _budget_fields(self, tokens_per_base: float) -> dict[str, Any]:
        """:meth:`budget_fields` of a system, which has them unless its tokens follow from the sequence."""
        raise ArgumentError(
            f"`tokens_per_base` is for mergedna and dnachunker; a {self.model_type} model cuts as it learned "
            f"to, got {tokens_per_base}"
        )

    def set_tokens_per_base(self, tokens_per_base: float) -> None:
        """Asks for so many tokens per base from now on; a model of this configuration heeds it at once.

        Args:
            tokens_per_base: In (0, 1]. Of DNAChunker split over its stages as their target ratios are.

        Raises:
            ValueError: If it is out of range, out of the model's reach, or of a system that cannot be asked.
                The configuration is then as it was.
        """
        asked = self.budget_fields(tokens_per_base)
        before = {name: getattr(self, name) for name in asked}
        try:
            for name, value in asked.items():
                setattr(self, name, value)
            self.check_fields()
        except ValueError:
            for name, value in before.items():
                setattr(self, name, value)
            raise

    def _require_network(self, counts: str) -> None:
        """Checks what every network has: ``counts`` of at least 1, heads that fit, dropout before a head."""
        fields: Any = self
        self._require("train_length_bp", int, fields.train_length_bp, lambda v: v >= 1, "of at least 1")
        for field in counts.split():
            self._require_count(field)
        pair = 2 * fields.num_attention_heads
        self._require("hidden_size", int, fields.hidden_size, lambda v: v % pair == 0, f"divisible by {pair}")
        dropout = fields.classifier_dropout
        self._require("classifier_dropout", float, dropout, lambda v: 0 <= v < 1, "in [0, 1)")

    def _require_count(self, field: str, least: int = 1) -> None:
        """Checks a number of layers, channels or the like."""
        value, most = getattr(self, field), MAX_LAYERS if field.endswith("_layers") else MAX_WIDTH
        self._require(field, int, value, lambda v: v >= least, f"of at least {least}")
        self._require(field, int, value, lambda v: v <= most, f"of at most {most:,}")

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
