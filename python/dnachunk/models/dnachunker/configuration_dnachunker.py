"""Configuration of DNAChunker."""

import math
from typing import Any

from dnachunk.models.configuration_common import Boundaries, DNAConfig
from dnachunk.ops.chunk_pool.op import Pooling
from dnachunk.ops.dechunk.op import BackwardGate


class DNAChunkerConfig(DNAConfig):
    """Configuration of DNAChunker; the defaults are the paper's 172M parameters.

    Attributes:
        hidden_size: Channels ``D``.
        num_attention_heads: Heads of every block of the main network.
        intermediate_size: Inner width of its feed-forward layers; ``None`` is ``4 D``.
        num_hidden_layers: Blocks of the main network, over the chunks of the second stage.
        num_encoder_layers: BiMamba layers before the boundaries of each of the two stages.
        num_decoder_layers: BiMamba layers after the dechunking of each stage.
        state_size: States of each of Mamba's channels.
        conv_kernel: Width of Mamba's convolution, 2 to 4.
        expand: Mamba's inner channels per channel.
        train_length_bp: Length of a pre-training window, in bases; the model itself has no bound.
        rope_theta: Wavelength base of the rotary positions, which are the chunks' centres in base pairs.
        layer_norm_eps: ε of the main network's norms.
        rms_norm_eps: ε of the norms beside BiMamba.
        chunk_pooling: ``"mean"`` of a chunk's vectors, or the one at its ``"boundary"`` as in H-Net [ours].
        backward_gate: Probability that gates the right-to-left smoothing: of the boundary on the ``"right"``
            of a position, or on its ``"left"``, the literal reading [ours].
        boundaries: ``"learned"``, or ``"fixed"``: on a grid of the target ratio, whatever the sequence, the
            control for what is learned [ours].
        mask_protection: Whether every ``[MASK]`` is a chunk of its own at both stages.
        residual_gating: Whether chunks with a ``[MASK]`` get no residual around the dechunking.
        boundary_budget: Chunks per position of each stage, in (0, 1]: exactly so many, where the boundary
            probability is highest, instead of every place where it is at least 0.5, which None stands for
            [ours]. May be changed after training: weights learned in one way can be read in the other.
        target_ratio: α of each stage, the share of positions that begin a chunk, in (0, 1): 0.33 in the
            paper's later version, about 9 bases a chunk; 0.5 in :meth:`tiny` and :meth:`micro` [ours].
        region_ratio: α at both stages of stretches that have their own, in the order in which a training was
            given them, each in (0, 1); empty where there are none. Only the ratio loss reads it, and only
            beside ``region_index`` (after GeneZip's region-aware ratio loss).
        ratio_weight: λ, weight of the ratio losses; 0 leaves them out [ours].
        repeat_weight: What a base that is flagged as a repeat weighs in the masked loss.
        classifier_dropout: Dropout before a classification head.

    Raises:
        ValueError: On an unknown field or one out of range, with the value.
    """

    model_type = "dnachunker"

    hidden_size: int = 640
    num_attention_heads: int = 10
    intermediate_size: int | None = None
    num_hidden_layers: int = 30
    num_encoder_layers: int = 2
    num_decoder_layers: int = 2
    state_size: int = 16
    conv_kernel: int = 4
    expand: int = 2
    train_length_bp: int = 8192
    rope_theta: float = 10_000.0
    layer_norm_eps: float = 1e-5
    rms_norm_eps: float = 1e-6
    chunk_pooling: Pooling = "mean"
    backward_gate: BackwardGate = "right"
    boundaries: Boundaries = "learned"
    mask_protection: bool = True
    residual_gating: bool = True
    boundary_budget: tuple[float, float] | list[float] | None = None
    target_ratio: tuple[float, float] | list[float] = (0.33, 0.33)
    region_ratio: tuple[float, ...] | list[float] = ()
    ratio_weight: float = 0.03
    repeat_weight: float = 0.1
    classifier_dropout: float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        """Fills in the derived inner width, then checks."""
        if self.intermediate_size is None and isinstance(self.hidden_size, int):
            self.intermediate_size = 4 * self.hidden_size
        # JSON has lists only; one form, so that a configuration equals its copy read back.
        if isinstance(self.target_ratio, tuple):
            self.target_ratio = list(self.target_ratio)
        if isinstance(self.boundary_budget, tuple):
            self.boundary_budget = list(self.boundary_budget)
        if isinstance(self.region_ratio, tuple):
            self.region_ratio = list(self.region_ratio)
        super().__post_init__(**kwargs)

    def check_fields(self) -> None:
        """Raises :class:`ValueError` on the first field out of range."""
        super().check_fields()
        at_least_one = "hidden_size num_attention_heads intermediate_size num_hidden_layers "
        at_least_one += "num_encoder_layers num_decoder_layers state_size expand"
        self._require_network(at_least_one)
        self._require("conv_kernel", int, self.conv_kernel, lambda v: 2 <= v <= 4, "in [2, 4]")
        for field in ("rope_theta", "layer_norm_eps", "rms_norm_eps"):
            self._require(field, float, getattr(self, field), lambda v: v > 0, "above 0")
        for field in ("ratio_weight", "repeat_weight"):
            self._require(field, float, getattr(self, field), lambda v: v >= 0, "of at least 0")
        for field in ("mask_protection", "residual_gating"):
            self._require(field, bool, getattr(self, field), lambda v: True, "")
        if not _is_numbers(self.target_ratio, 2) or not all(0 < ratio < 1 for ratio in self.target_ratio):
            expected, got = "two numbers in (0, 1)", self.target_ratio
            raise ValueError(f"{type(self).__name__}: target_ratio must be {expected}, got {got!r}")
        budget = self.boundary_budget
        if budget is not None and not (_is_numbers(budget, 2) and all(0 < ratio <= 1 for ratio in budget)):
            expected = "two numbers in (0, 1] or None"
            raise ValueError(f"{type(self).__name__}: boundary_budget must be {expected}, got {budget!r}")
        regions = self.region_ratio
        if not _is_numbers(regions) or not all(0 < ratio < 1 for ratio in regions):
            raise ValueError(
                f"{type(self).__name__}: region_ratio must be numbers in (0, 1), got {regions!r}"
            )
        self._require_one_of("chunk_pooling", self.chunk_pooling, ("mean", "boundary"))
        self._require_one_of("boundaries", self.boundaries, ("learned", "fixed"))
        self._require_one_of("backward_gate", self.backward_gate, ("right", "left"))

    def _budget_fields(self, tokens_per_base: float) -> dict[str, Any]:
        """``boundary_budget``, split over the stages as the target ratios are; of equal ones the root."""
        first, second = self.target_ratio
        share = math.log(first) / (math.log(first) + math.log(second))
        return {"boundary_budget": [tokens_per_base**share, tokens_per_base ** (1 - share)]}

    @classmethod
    def tiny(cls, **fields: Any) -> "DNAChunkerConfig":
        """7M parameters, 512 bases: pre-trains on a laptop."""
        small = {
            "hidden_size": 256,
            "num_attention_heads": 4,
            "num_hidden_layers": 6,
            "num_encoder_layers": 1,
            "num_decoder_layers": 1,
            "train_length_bp": 512,
            "target_ratio": (0.5, 0.5),
        }
        return cls(**{**small, **fields})

    @classmethod
    def micro(cls, **fields: Any) -> "DNAChunkerConfig":
        """1.4M parameters, 512 bases: for comparisons of many models on few cores."""
        small = {
            "hidden_size": 128,
            "num_attention_heads": 4,
            "num_hidden_layers": 4,
            "num_encoder_layers": 1,
            "num_decoder_layers": 1,
            "train_length_bp": 512,
            "target_ratio": (0.5, 0.5),
        }
        return cls(**{**small, **fields})


def _is_numbers(value: Any, count: int | None = None) -> bool:
    is_list = isinstance(value, list) and all(type(number) is float for number in value)
    return is_list and count in (None, len(value))
