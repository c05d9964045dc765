"""Configuration of MxDNA."""

from typing import Any

from dnachunk.models.configuration_common import DNAConfig


class MxDNAConfig(DNAConfig):
    """Configuration of MxDNA; the defaults are the paper's 100M parameters.

    Attributes:
        hidden_size: Channels ``d``.
        num_attention_heads: Heads of every layer.
        intermediate_size: Inner width of the gated feed-forward layers; ``None`` is ``4 d``.
        num_nucleotide_layers: Layers over bases, before the tokenization layer.
        num_token_layers: Layers over tokens, after it.
        kernel_sizes: Bases of the units of each convolution expert, 1 to 64.
        router_jitter: ε of the noise in ``[1 − ε, 1 + ε]`` that multiplies the scores' input in training.
        deformable_kernel_size: Units ``f`` that a token is assembled from.
        load_balancing_weight: Weight of the load-balancing loss; 0 leaves it out.
        cross_attention_position: Where the rotary positions of the decoder's cross-attention put a token: at
            its unit's ``"center"`` in bases, or its ``"index"`` among the tokens, as the authors do [ours].
        train_length_bp: Length of a pre-training window, in bases; the model itself has no bound.
        rope_theta: Wavelength base of the rotary positions.
        layer_norm_eps: ε of the norms.
        pooling: What a sequence's label is read from: the ``"cls"`` token, or the ``"mean"`` over its tokens.
        classifier_dropout: Dropout before a classification head.

    Raises:
        ValueError: On an unknown field or one out of range, with the value.
    """

    model_type = "mxdna"

    hidden_size: int = 512
    num_attention_heads: int = 16
    intermediate_size: int | None = None
    num_nucleotide_layers: int = 4
    num_token_layers: int = 16
    kernel_sizes: tuple[int, ...] | list[int] = tuple(range(1, 11))
    router_jitter: float = 0.01
    deformable_kernel_size: int = 3
    load_balancing_weight: float = 0.01
    cross_attention_position: str = "center"
    train_length_bp: int = 510
    rope_theta: float = 10_000.0
    layer_norm_eps: float = 1e-5
    pooling: str = "cls"
    classifier_dropout: float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        """Fills in the derived inner width, then checks."""
        if self.intermediate_size is None and isinstance(self.hidden_size, int):
            self.intermediate_size = 4 * self.hidden_size
        # JSON has lists only; one form, so that a configuration equals its copy read back.
        if isinstance(self.kernel_sizes, tuple):
            self.kernel_sizes = list(self.kernel_sizes)
        super().__post_init__(**kwargs)

    def check_fields(self) -> None:
        """Raises :class:`ValueError` on the first field out of range."""
        super().check_fields()
        at_least_one = "hidden_size num_attention_heads intermediate_size num_nucleotide_layers "
        at_least_one += "num_token_layers deformable_kernel_size"
        self._require_network(at_least_one)
        for field in ("rope_theta", "layer_norm_eps"):
            self._require(field, float, getattr(self, field), lambda v: v > 0, "above 0")
        self._require("router_jitter", float, self.router_jitter, lambda v: 0 <= v < 1, "in [0, 1)")
        self._require(
            "load_balancing_weight", float, self.load_balancing_weight, lambda v: v >= 0, "of at least 0"
        )
        sizes = self.kernel_sizes
        are_sizes = isinstance(sizes, list) and all(type(size) is int and 1 <= size <= 64 for size in sizes)
        if not are_sizes or not 1 <= len(sizes) <= 64:
            raise ValueError(
                f"{type(self).__name__}: kernel_sizes must be 1 to 64 numbers in [1, 64], got {sizes!r}"
            )
        self._require_one_of("cross_attention_position", self.cross_attention_position, ("center", "index"))
        self._require_one_of("pooling", self.pooling, ("cls", "mean"))

    @classmethod
    def tiny(cls, **fields: Any) -> "MxDNAConfig":
        """10M parameters: pre-trains on a laptop."""
        small = {
            "hidden_size": 256,
            "num_attention_heads": 8,
            "num_nucleotide_layers": 2,
            "num_token_layers": 4,
        }
        return cls(**{**small, **fields})

    @classmethod
    def micro(cls, **fields: Any) -> "MxDNAConfig":
        """2.3M parameters: for comparisons of many models on few cores."""
        small = {
            "hidden_size": 128,
            "num_attention_heads": 4,
            "num_nucleotide_layers": 2,
            "num_token_layers": 3,
        }
        return cls(**{**small, **fields})
