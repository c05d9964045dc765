"""Configuration of MergeDNA."""

from typing import Any, get_args

from dnachunk.errors import ArgumentError
from dnachunk.models.configuration_common import Boundaries, DNAConfig
from dnachunk.nn.token_merge import Budget, MergeGradient


class MergeDNAConfig(DNAConfig):
    """Configuration of MergeDNA; the defaults are the paper's 380M parameters.

    Attributes:
        hidden_size: Channels ``D``.
        num_attention_heads: Heads of every block.
        intermediate_size: Inner width of SwiGLU; ``None`` is ``8 D / 3`` rounded up to a multiple of 64.
        num_local_encoder_layers: Blocks that attend in windows and merge, bases to tokens.
        num_latent_encoder_layers: Blocks of full attention over tokens.
        num_latent_decoder_layers: The same, used in pre-training only.
        num_local_decoder_layers: Blocks that attend in windows over bases.
        window_size: Current tokens in a local window.
        shift_windows: Whether odd local blocks shift their windows by half a window [ours].
        train_length_bp: Length of a pre-training window, in bases.
        rope_theta: Wavelength base of the rotary positions, which are base coordinates [ours].
        rms_norm_eps: ε of the norms.
        group_dim: Channels ``G`` of the grouping embedding.
        boundaries: ``"learned"``, or ``"fixed"``: the neighbours that are nearest to each other merge,
            whatever the sequence, the control for what is learned [ours].
        merge_budget: ``"window"`` (Eq. 5) or ``"sequence"`` [ours]: whose best proposals a layer accepts.
        merge_gradient: How what is compared learns: ``"none"``, ``merge_metric``, which no gradient reaches
            from the merging [ours]; a grouping embedding that learns by the continuous relaxation of DTEM,
            which the paper names (``"soft"``), or by ``"straight_through"`` [ours], or stays ``"frozen"``
            [ours].
        merge_metric: What is compared with ``merge_gradient="none"`` [ours]: the attention ``"keys"``, as in
            ToMe, or the ``"features"`` that the block makes of its positions, of equal length and less their
            window's mean.
        merge_temperature: τ of the soft assignments [ours].
        keep_ratio: Tokens per base, in (0, 1]: what inference asks for and training draws around.
        keep_ratio_std: Standard deviation of the training draws.
        keep_ratio_range: Bounds of the training draws.
        proportional_attention: Whether attention adds the logarithm of token sizes where tokens of the
            latent encoder merge, as in ToMe.
        objective: ``"merge"`` (the paper's three passes) or ``"masked"`` (masked modelling alone).
        reconstruction_weight: Weight of ``L_MTR(θ)`` in Eq. 8.
        latent_reconstruction_weight: λ, weight of ``L_MTR(θ∖φ)``; 0 leaves the pass out.
        masked_weight: Weight of ``L_AMTM``; 0 leaves the pass out.
        random_mask_share: Share of the training sequences whose third pass hides single bases at random, 15%
            of them, instead of sampled tokens [ours]. The outline of a hidden token gives its letters away
            (merging joins like bases, so a hidden base differs from the visible one beside it). With 0, as in
            the paper, a model is wrong with confidence where single bases are hidden.
        classifier_dropout: Dropout before a classification head.

    Raises:
        ValueError: On an unknown field or one out of range, with the value.
    """

    model_type = "mergedna"

    hidden_size: int = 1024
    num_attention_heads: int = 16
    intermediate_size: int | None = None
    num_local_encoder_layers: int = 4
    num_latent_encoder_layers: int = 20
    num_latent_decoder_layers: int = 4
    num_local_decoder_layers: int = 2
    window_size: int = 16
    shift_windows: bool = False
    train_length_bp: int = 4096
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    group_dim: int = 64
    boundaries: Boundaries = "learned"
    merge_budget: Budget = "window"
    merge_gradient: MergeGradient = "none"
    merge_metric: str = "keys"
    merge_temperature: float = 0.1
    keep_ratio: float = 0.5
    keep_ratio_std: float = 0.05
    keep_ratio_range: tuple[float, float] | list[float] = (0.4, 0.6)
    proportional_attention: bool = True
    objective: str = "merge"
    reconstruction_weight: float = 1.0
    latent_reconstruction_weight: float = 0.25
    masked_weight: float = 1.0
    random_mask_share: float = 0.0
    classifier_dropout: float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        """Fills in the derived inner width, then checks."""
        if self.intermediate_size is None and isinstance(self.hidden_size, int):
            self.intermediate_size = -(-8 * self.hidden_size // (3 * 64)) * 64
        # JSON has lists only; one form, so that a configuration equals its copy read back.
        if isinstance(self.keep_ratio_range, tuple):
            self.keep_ratio_range = list(self.keep_ratio_range)
        super().__post_init__(**kwargs)

    def check_fields(self) -> None:
        """Raises :class:`ValueError` on the first field out of range."""
        super().check_fields()
        at_least_one = "hidden_size num_attention_heads intermediate_size num_local_encoder_layers "
        at_least_one += "num_latent_encoder_layers num_local_decoder_layers group_dim"
        self._require_network(at_least_one)
        self._require_count("num_latent_decoder_layers", least=0)
        self._require(
            "window_size", int, self.window_size, lambda v: v >= 2 and v % 2 == 0, "that is even, at least 2"
        )
        for field in ("rope_theta", "rms_norm_eps", "merge_temperature"):
            self._require(field, float, getattr(self, field), lambda v: v > 0, "above 0")
        for field in (
            "keep_ratio_std",
            "reconstruction_weight",
            "latent_reconstruction_weight",
            "masked_weight",
        ):
            self._require(field, float, getattr(self, field), lambda v: v >= 0, "of at least 0")
        self._require("random_mask_share", float, self.random_mask_share, lambda v: 0 <= v <= 1, "in [0, 1]")
        self._require("keep_ratio", float, self.keep_ratio, lambda v: 0 < v <= 1, "in (0, 1]")
        for field in ("shift_windows", "proportional_attention"):
            self._require(field, bool, getattr(self, field), lambda v: True, "")
        low_high = self.keep_ratio_range
        is_pair = (
            isinstance(low_high, list) and [type(bound) in (int, float) for bound in low_high] == [True] * 2
        )
        if not is_pair or not 0 < low_high[0] <= low_high[1] <= 1:
            expected = "two numbers, 0 < low ≤ high ≤ 1"
            raise ValueError(f"{type(self).__name__}: keep_ratio_range must be {expected}, got {low_high!r}")
        least = 0.5**self.num_local_encoder_layers
        if min(self.keep_ratio, low_high[0]) < least:
            raise ValueError(
                f"{type(self).__name__}: keep_ratio and keep_ratio_range must be at least {least} with "
                f"{self.num_local_encoder_layers} merging blocks, got {self.keep_ratio} and {low_high}"
            )
        self._require_one_of("boundaries", self.boundaries, ("learned", "fixed"))
        self._require_one_of("merge_budget", self.merge_budget, ("window", "sequence"))
        self._require_one_of("merge_gradient", self.merge_gradient, get_args(MergeGradient))
        self._require_one_of("merge_metric", self.merge_metric, ("keys", "features"))
        if self.merge_gradient == "soft":
            self._require_one_of("merge_budget with merge_gradient='soft'", self.merge_budget, ("window",))
        self._require_one_of("objective", self.objective, ("merge", "masked"))

    def _budget_fields(self, tokens_per_base: float) -> dict[str, Any]:
        """``keep_ratio``; a merging block leaves half of what it gets at least."""
        least = 0.5**self.num_local_encoder_layers
        if tokens_per_base < least:
            raise ArgumentError(
                f"`tokens_per_base` must be at least {least} with {self.num_local_encoder_layers} merging "
                f"blocks, got {tokens_per_base}"
            )
        return {"keep_ratio": tokens_per_base}

    @classmethod
    def tiny(cls, **fields: Any) -> "MergeDNAConfig":
        """11M parameters, 512 bases: pre-trains on a laptop."""
        small = {
            "hidden_size": 256,
            "num_attention_heads": 8,
            "num_latent_encoder_layers": 6,
            "num_latent_decoder_layers": 2,
            "train_length_bp": 512,
        }
        return cls(**{**small, **fields})

    @classmethod
    def micro(cls, **fields: Any) -> "MergeDNAConfig":
        """2.6M parameters, 512 bases: for comparisons of many models on few cores."""
        small = {
            "hidden_size": 128,
            "num_attention_heads": 4,
            "num_latent_encoder_layers": 4,
            "num_latent_decoder_layers": 2,
            "train_length_bp": 512,
        }
        return cls(**{**small, **fields})
