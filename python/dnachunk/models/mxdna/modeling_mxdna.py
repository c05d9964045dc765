"""MxDNA's networks: nucleotide layers, the tokenization layer, token layers, and the heads."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput, can_return_tuple

from dnachunk.alphabet import CLS_ID, SEP_ID
from dnachunk.models.modeling_common import (
    Classifier,
    DNAPreTrainedModel,
    HiddenStates,
    attention_implementation,
    base_loss,
    check_ids,
    embed,
    global_total,
    hidden_state_list,
    keys_for_layers,
    mean_over_tokens,
    real_lengths,
    refuse_unknown,
)
from dnachunk.models.mxdna.configuration_mxdna import MxDNAConfig
from dnachunk.nn import (
    CrossAttention,
    DeformableConv1d,
    LearntTokenization,
    LearntTokens,
    RotaryEmbedding,
    SelfAttention,
    SwiGLU,
)
from dnachunk.nn.basic_units import SelectedUnits
from dnachunk.nn.convolution_experts import UnitConvolution
from dnachunk.ops import token_unmerge
from dnachunk.ops._backend import reads_values
from dnachunk.ops._lengths import real_positions
from dnachunk.segmentation import Encoded, Segmentation
from dnachunk.tokenization import between_special_tokens


@dataclasses.dataclass
class MxDNAModelOutput(ModelOutput):
    """Output of :class:`MxDNAModel`.

    Tokens are, in order, ``[CLS]``, one for each basic unit, ``[SEP]``.

    Attributes:
        last_hidden_state: ``[B, K, d]`` tokens, after a LayerNorm; rows past ``num_tokens`` are padding.
        num_tokens: ``[B]`` int64 tokens of each sequence, ``[CLS]`` and ``[SEP]`` among them.
        nucleotide_hidden_state: ``[B, N, d]``, what the nucleotide layers leave.
        segmentation: The basic unit of each base; −1 at ``[CLS]``, ``[SEP]`` and padding.
        tokens: What the tokenization layer decided and computed: each token's centre, its expert, the
            router's probabilities, offsets and modulation of the deformable convolution.
        losses: In training ``load_balancing``, over the units of this batch.
        hidden_states: The embedding and what each nucleotide layer leaves, ``[B, N, d]``, then the assembled
            tokens and what each token layer leaves, ``[B, K, d]``, before the norm that closes them; if asked
            for.
    """

    last_hidden_state: torch.Tensor | None = None
    num_tokens: torch.Tensor | None = None
    nucleotide_hidden_state: torch.Tensor | None = None
    segmentation: Segmentation | None = None
    tokens: LearntTokens | None = None
    losses: dict[str, torch.Tensor] | None = None
    hidden_states: HiddenStates | None = None


@dataclasses.dataclass
class MxDNAHeadOutput(ModelOutput):
    """Output of the models with a head.

    Attributes:
        loss: Scalar, if labels were given.
        losses: In training ``load_balancing``; of the masked language model, wherever labels are given, that
            and ``masked``, whose weighted sum is ``loss``; of a classifier under a
            ``classifier_load_balancing_weight``, wherever labels are given.
        logits: ``[B, N, V]`` (masked LM), ``[B, num_labels]`` (sequence), ``[B, N, num_labels]`` (token).
        segmentation: As in :class:`MxDNAModelOutput`.
        tokens: As in :class:`MxDNAModelOutput`.
        hidden_states: As in :class:`MxDNAModelOutput`, if asked for.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    losses: dict[str, torch.Tensor] | None = None
    segmentation: Segmentation | None = None
    tokens: LearntTokens | None = None
    hidden_states: HiddenStates | None = None


class _FeedForward(nn.Module):
    """``x + SwiGLU(LayerNorm(x))``."""

    def __init__(self, config: MxDNAConfig) -> None:
        super().__init__()
        assert config.intermediate_size is not None
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(self.norm(x))


class MxDNALayer(GradientCheckpointingLayer):
    """A pre-norm Transformer layer with rotary positions and a gated feed-forward network."""

    def __init__(self, config: MxDNAConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.attention = SelfAttention(
            config.hidden_size,
            config.num_attention_heads,
            config.rope_theta,
            attention_implementation(config),
        )
        self.feed_forward = _FeedForward(config)

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *keys: torch.Tensor | None
    ) -> torch.Tensor:
        """``x [B, L, d]`` to ``[B, L, d]``; ``keys`` are what the attention takes behind its rotation."""
        return self.feed_forward(x + self.attention(self.norm(x), (cos, sin), *keys))


class MxDNADecoder(GradientCheckpointingLayer):
    """Tokens back to bases: nucleotide states attend to the tokens, then a feed-forward network."""

    def __init__(self, config: MxDNAConfig) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.attention = CrossAttention(
            config.hidden_size,
            config.num_attention_heads,
            config.rope_theta,
            attention_implementation(config),
        )
        self.feed_forward = _FeedForward(config)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.uses_centers = config.cross_attention_position == "center"

    def forward(
        self,
        bases: torch.Tensor,
        tokens: torch.Tensor,
        centers: torch.Tensor,
        num_tokens: torch.Tensor,
    ) -> torch.Tensor:
        """``bases [B, N, d]``, ``tokens [B, K, d]`` and their ``centers [B, K]`` to ``[B, N, d]``."""
        positions = torch.arange(bases.shape[1], device=bases.device)[None]
        places = centers if self.uses_centers else torch.arange(tokens.shape[1], device=bases.device)[None]
        mixed = self.attention(self.input_norm(bases), self.input_norm(tokens), positions, places, num_tokens)
        return self.norm(self.feed_forward(bases + mixed))


class MxDNAPreTrainedModel(DNAPreTrainedModel):
    """Base of the MxDNA models: weights start truncated normal."""

    config_class = MxDNAConfig
    config: MxDNAConfig
    paper = "Model Decides How to Tokenize: Adaptive DNA Sequence Tokenization with MxDNA"
    _no_split_modules: ClassVar[list[str]] = ["MxDNALayer", "MxDNADecoder"]

    def __init__(self, config: MxDNAConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, nn.Linear | nn.Embedding | DeformableConv1d | UnitConvolution):
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)


class MxDNAModel(MxDNAPreTrainedModel):
    """Nucleotide layers, the tokenization layer, token layers: bases to contextual tokens.

    Sequences begin with ``[CLS]`` and end with ``[SEP]``, as ``DNATokenizer(cls_sep=True)`` writes them.
    """

    def __init__(self, config: MxDNAConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.rotary = RotaryEmbedding(config.hidden_size // config.num_attention_heads, config.rope_theta)
        self.nucleotide_layers = nn.ModuleList(
            MxDNALayer(config) for _ in range(config.num_nucleotide_layers)
        )
        self.tokenization = LearntTokenization(
            config.hidden_size,
            config.kernel_sizes,
            config.router_jitter,
            config.deformable_kernel_size,
            config.layer_norm_eps,
            config.boundaries,
        )
        self.token_layers = nn.ModuleList(MxDNALayer(config) for _ in range(config.num_token_layers))
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.post_init()

    def _tokenize(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        noise_seeds: torch.Tensor | None = None,
        states: list[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, LearntTokens]:
        """Runs the nucleotide layers and the tokenization layer; arguments as in :meth:`forward`.

        Returns:
            What the nucleotide layers leave, ``[B, N, d]``, and the tokens.
        """
        name = type(self).__name__
        x = embed(name, self.embed_tokens, input_ids, inputs_embeds)
        lengths, _ = real_lengths(name, x, attention_mask, input_ids)
        if input_ids is not None:
            _check_special_tokens(name, input_ids, lengths)
        if states is not None:
            states.append(x)
        rotation = self.rotary(torch.arange(x.shape[1], device=x.device)[None])
        keys = keys_for_layers(self.config, x, lengths)
        for layer in self.nucleotide_layers:
            x = layer(x, *rotation, *keys)
            if states is not None:
                states.append(x)
        return x, self.tokenization(x, lengths, noise_seeds)

    def _encode_tokens(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        vectors: bool,
    ) -> Encoded:
        name = type(self).__name__
        check_ids(name, input_ids)
        lengths, _ = real_lengths(name, input_ids[..., None], attention_mask, input_ids)
        mask = real_positions(lengths, input_ids.shape[1]).long()
        ids, mask = between_special_tokens(input_ids, mask)
        if vectors:
            output = self(ids, mask, return_dict=True)
            tokens, hidden = output.tokens, output.last_hidden_state[:, 1:-1]
        else:
            tokens, hidden = self._tokenize(ids, mask)[1], None
        units = tokens.units
        count = tokens.values.shape[1] - 2
        experts = units.token_expert[:, :count]
        # What no expert touches has a score of 0.
        probability = F.pad(units.router_probability, (1, 0))
        at_centers = token_unmerge(probability, units.token_center[:, :count])
        columns = {
            "expert": experts,
            "score": at_centers.gather(2, experts[..., None] + 1)[..., 0],
            # Its first position is [CLS].
            "reads_bp": tokens.receptive_positions[:, 1:-1] - 1,
            "modulation": tokens.modulation[:, 1:-1],
        }
        segmentation = Segmentation(units.token_index[:, 1:-1], units.num_tokens)
        return Encoded([segmentation], hidden, columns)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        noise_seeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_losses: bool | None = None,
        **kwargs: Any,
    ) -> MxDNAModelOutput:
        """Encodes.

        Args:
            input_ids: ``[B, N]`` int64 ids, ``[CLS]`` first and ``[SEP]`` last in each sequence.
            attention_mask: ``[B, N]``, 1 at these and at bases, 0 at padding on the right; default all real.
            inputs_embeds: ``[B, N, d]`` instead of ``input_ids``.
            noise_seeds: ``[B]`` int64, one a sequence, that the router's jitter is drawn with in training;
                default drawn from torch's global generator.
            output_hidden_states: Whether to return what each layer leaves.
            output_losses: Whether to return the load-balancing loss; default in training only.
            **kwargs: ``return_dict``; anything else is refused.

        Returns:
            A :class:`MxDNAModelOutput`.

        Raises:
            ValueError: On inputs out of shape or range, padding on the left, or ids without ``[CLS]`` and
                ``[SEP]``.
        """
        refuse_unknown(self, kwargs)
        states = hidden_state_list(self.config, output_hidden_states)
        x, tokens = self._tokenize(input_ids, attention_mask, inputs_embeds, noise_seeds, states)
        hidden = tokens.values
        if states is not None:
            states.append(hidden)
        rotation = self.rotary(torch.arange(hidden.shape[1], device=x.device)[None])
        keys = keys_for_layers(self.config, hidden, tokens.lengths)
        for layer in self.token_layers:
            hidden = layer(hidden, *rotation, *keys)
            if states is not None:
                states.append(hidden)
        losses = None
        if self.training if output_losses is None else output_losses:
            losses = {"load_balancing": load_balancing_loss(tokens.units)}
        return MxDNAModelOutput(
            last_hidden_state=self.norm(hidden),
            num_tokens=tokens.lengths,
            nucleotide_hidden_state=x,
            segmentation=tokens.units.segmentation,
            tokens=tokens,
            losses=losses,
            hidden_states=None if states is None else tuple(states),
        )


def _check_special_tokens(model: str, input_ids: torch.Tensor, lengths: torch.Tensor) -> None:
    if not reads_values(input_ids) or not len(input_ids):
        return
    if not input_ids.shape[1]:
        raise ValueError(
            f"{model}: input_ids must hold [CLS] and [SEP] at least, got {list(input_ids.shape)}"
        )
    last = input_ids.gather(1, (lengths - 1).clamp_min(0)[:, None])[:, 0]
    is_wrong = (lengths < 2) | (input_ids[:, 0] != CLS_ID) | (last != SEP_ID)
    if is_wrong.any():
        row = int(is_wrong.nonzero()[0])
        raise ValueError(
            f"{model}: input_ids must begin with [CLS] and end with [SEP], as DNATokenizer(cls_sep=True) "
            f"writes them, got {int(input_ids[row, 0])} and {int(last[row])} in row {row}"
        )


def expert_counts(units: SelectedUnits) -> torch.Tensor:
    """How many units of a batch each expert has, ``[E]`` int64."""
    experts = torch.arange(units.router_probability.shape[-1], device=units.token_expert.device)
    return (units.token_expert.flatten() == experts[:, None]).sum(dim=1)


def load_balancing_loss(units: SelectedUnits, counts: torch.Tensor | None = None) -> torch.Tensor:
    """What spreads the units over the experts: ``E · Σ_j f_j P_j``.

    Args:
        units: Of a batch. ``f_j`` is the share of its units with expert ``j``, ``P_j`` the mean of the
            router's probability of ``j`` at the units' centres.
        counts: ``[E]`` units of each expert in the batch that ``units`` is a part of; then the losses of the
            parts add up to that of the batch. Default: those of ``units``.

    Returns:
        Scalar: 1 where both are uniform, ``E`` where one expert has all; a differentiable 0 without units.
    """
    is_unit = units.token_expert >= 0
    probability = token_unmerge(units.router_probability, torch.where(is_unit, units.token_center, -1))
    counts = expert_counts(units) if counts is None else counts
    total = counts.sum().clamp_min(1)
    return len(counts) * (counts / total * probability.sum(dim=(0, 1)) / total).sum()


def _to_decode(encoded: MxDNAModelOutput) -> tuple[Any, ...]:
    """What the decoder takes."""
    assert encoded.tokens is not None
    return (
        encoded.nucleotide_hidden_state,
        encoded.last_hidden_state,
        encoded.tokens.centers,
        encoded.num_tokens,
    )


def _with_head(encoded: MxDNAModelOutput, **fields: Any) -> MxDNAHeadOutput:
    """The head's output beside what the model found on the way."""
    names = ("losses", "segmentation", "tokens", "hidden_states")
    return MxDNAHeadOutput(**{**{name: getattr(encoded, name) for name in names}, **fields})


class MxDNAForMaskedLM(MxDNAPreTrainedModel):
    """Predicts every base: pre-training, zero-shot scores, infilling."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.3.weight": "model.embed_tokens.weight"}

    def __init__(self, config: MxDNAConfig) -> None:
        super().__init__(config)
        self.model = MxDNAModel(config)
        self.decoder = MxDNADecoder(config)
        self.lm_head = nn.Sequential(
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.GELU(),
            nn.LayerNorm(config.hidden_size, config.layer_norm_eps),
            nn.Linear(config.hidden_size, config.vocab_size),
        )
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """The last layer of the head, over the vocabulary."""
        return self.lm_head[-1]

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replaces it."""
        self.lm_head[-1] = new_embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        noise_seeds: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> MxDNAHeadOutput:
        """Predicts; with labels ``loss`` is the masked loss plus the weighted load-balancing loss.

        Args:
            input_ids: ``[B, N]`` int64 ids, ``[CLS]`` first and ``[SEP]`` last, ``[MASK]`` where one
                is asked for.
            attention_mask: As in :meth:`MxDNAModel.forward`.
            inputs_embeds: ``[B, N, d]`` instead of ``input_ids``.
            labels: ``[B, N]`` int64 ids to predict, −100 where nothing is asked.
            noise_seeds: As in :meth:`MxDNAModel.forward`.
            num_items_in_batch: Labelled positions of the global batch; then the losses are this micro-batch's
                part of the means over it and over all ranks, as Hugging Face's ``Trainer`` expects; the
                experts' shares are those of all ranks, and of an accumulated step's other micro-batches are
                taken to be as here. Default: means over this batch.
            output_hidden_states: Whether to return what each layer leaves.
            **kwargs: ``return_dict``; anything else is refused.

        Returns:
            A :class:`MxDNAHeadOutput` with logits ``[B, N, V]``.

        Raises:
            ValueError: As :class:`MxDNAModel`; and on labels of another shape or range.
        """
        refuse_unknown(self, kwargs)
        encoded = self.model(
            input_ids, attention_mask, inputs_embeds, noise_seeds, output_hidden_states, return_dict=True
        )
        logits = self.lm_head(self.decoder(*_to_decode(encoded)))
        if labels is None:
            return _with_head(encoded, logits=logits)
        loss = base_loss(logits, labels, num_items_in_batch)
        losses = {"masked": loss}
        units = encoded.tokens.units
        counts = global_total(expert_counts(units).float(), labels, num_items_in_batch)
        losses["load_balancing"] = load_balancing_loss(units, counts)
        if self.config.load_balancing_weight > 0:
            loss = loss + self.config.load_balancing_weight * losses["load_balancing"]
        return _with_head(encoded, loss=loss, losses=losses, logits=logits)


class _Classifier(Classifier, MxDNAPreTrainedModel):
    base_class = MxDNAModel

    def __init__(self, config: MxDNAConfig) -> None:
        super().__init__(config)
        if config.classifier_head == "dense":
            width = config.hidden_size
            self.classifier = nn.Sequential(
                nn.Linear(self.head_width, width),
                nn.Tanh(),
                nn.Dropout(config.classifier_dropout),
                nn.Linear(width, config.num_labels),
            )

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        noise_seeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        tissue: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MxDNAHeadOutput:
        """Classifies or regresses; arguments as :class:`MxDNAForMaskedLM`, labels as the class says.

        Pairs of alleles, and ``tissue``: see :class:`~dnachunk.models.modeling_common.Classifier`.

        Returns:
            A :class:`MxDNAHeadOutput` with logits ``[..., num_labels]``; with labels, ``loss`` is that of the
            labels plus ``config.classifier_load_balancing_weight`` times the load-balancing loss of this
            batch.

        Raises:
            ValueError: As :class:`MxDNAModel`; and on labels that do not fit the problem.
        """
        refuse_unknown(self, kwargs)
        weight = self.config.classifier_load_balancing_weight
        balances = weight > 0 and labels is not None
        encoded = self.model(
            *self.alleles(input_ids, attention_mask, inputs_embeds),
            *(noise_seeds, output_hidden_states),
            output_losses=True if balances else None,
            return_dict=True,
        )
        fields = self.classify(encoded, labels, tissue)
        if balances:
            fields["loss"] = fields["loss"] + weight * encoded.losses["load_balancing"]
        return _with_head(encoded, **fields)


class MxDNAForSequenceClassification(_Classifier):
    """A label per sequence from ``[CLS]``, or from the mean of its tokens (``config.pooling``).

    ``labels`` are ``[B]`` int64, ``[B, num_labels]`` float (several labels) or ``[B]`` or ``[B, num_labels]``
    float (regression), by ``config.problem_type``; logits ``[B, num_labels]``.
    """

    def __init__(self, config: MxDNAConfig) -> None:
        super().__init__(config)
        self.post_init()

    def features(self, encoded: MxDNAModelOutput) -> torch.Tensor:
        """``[CLS]``, or the mean over the tokens, ``[B, d]``."""
        assert encoded.last_hidden_state is not None
        assert encoded.num_tokens is not None
        if self.config.pooling == "cls":
            return encoded.last_hidden_state[:, 0]
        return mean_over_tokens(encoded.last_hidden_state, encoded.num_tokens)


class MxDNAForTokenClassification(_Classifier):
    """A label per base, through the cross-attention decoder.

    ``labels`` are ``[B, N]`` int64 (−100 is ignored), or ``[B, N, num_labels]`` float (NaN is ignored);
    logits ``[B, N, num_labels]``.
    """

    def __init__(self, config: MxDNAConfig) -> None:
        super().__init__(config)
        self.decoder = MxDNADecoder(config)
        self.post_init()

    def features(self, encoded: MxDNAModelOutput) -> torch.Tensor:
        """The decoder's bases, ``[B, N, d]``."""
        return self.decoder(*_to_decode(encoded))


__all__: Sequence[str] = [
    "MxDNADecoder",
    "MxDNAForMaskedLM",
    "MxDNAForSequenceClassification",
    "MxDNAForTokenClassification",
    "MxDNAHeadOutput",
    "MxDNALayer",
    "MxDNAModel",
    "MxDNAModelOutput",
    "MxDNAPreTrainedModel",
    "expert_counts",
    "load_balancing_loss",
]
