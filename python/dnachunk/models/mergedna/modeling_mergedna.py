"""MergeDNA's networks: Local Encoder, Latent Encoder, Latent Decoder, Local Decoder, and the heads."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput, can_return_tuple

from dnachunk.alphabet import IGNORE_INDEX, MASK_ID, is_base
from dnachunk.models.mergedna.configuration_mergedna import MergeDNAConfig
from dnachunk.models.mergedna.objective_mergedna import (
    draw_keep_ratio,
    random_mask,
    sample_tokens,
)
from dnachunk.models.modeling_common import (
    Classifier,
    DNAPreTrainedModel,
    HiddenStates,
    attention_implementation,
    base_loss,
    embed,
    global_total,
    hidden_state_list,
    keys_for_layers,
    mean_over_tokens,
    real_lengths,
    refuse_unknown,
)
from dnachunk.nn import (
    RMSNorm,
    RotaryEmbedding,
    SelfAttention,
    SwiGLU,
    TokenMerge,
    WindowAttention,
    merge_schedule,
)
from dnachunk.nn.rotary import Rotation, token_positions
from dnachunk.ops import global_match, token_merge, token_unmerge, window_center
from dnachunk.ops._lengths import real_positions
from dnachunk.segmentation import Encoded, Segmentation


@dataclasses.dataclass
class MergeDNAModelOutput(ModelOutput):
    """Output of :class:`MergeDNAModel`.

    Attributes:
        last_hidden_state: ``[B, L, D]`` latent tokens; rows past ``segmentation.num_tokens`` are padding.
        segmentation: The token of each base.
        hidden_states: The embedding ``[B, N, D]``, then what each block of the Local and the Latent Encoder
            leaves, if asked for; lengths fall with merging.
    """

    last_hidden_state: torch.Tensor | None = None
    segmentation: Segmentation | None = None
    hidden_states: HiddenStates | None = None


@dataclasses.dataclass
class MergeDNAForPreTrainingOutput(ModelOutput):
    """Output of :class:`MergeDNAForPreTraining`.

    Attributes:
        loss: Eq. 8, a scalar in nats.
        losses: Its parts by name: ``reconstruction``, ``latent_reconstruction``, ``masked``.
        logits: ``[B, N, V]`` of the first pass.
        masked_logits: ``[B, N, V]`` of the third pass, on the masked input.
        is_masked: ``[B, N]`` bool, the bases that the third pass hid.
        segmentation: The token of each base in the first pass.
        latent_index: ``[B, L]`` int64, the latent token that each token was merged into in the second pass.
        mask_rate: Scalar, share of the real bases that the third pass hid.
        hidden_states: Those of the first pass, if asked for.
    """

    loss: torch.Tensor | None = None
    losses: dict[str, torch.Tensor] | None = None
    logits: torch.Tensor | None = None
    masked_logits: torch.Tensor | None = None
    is_masked: torch.Tensor | None = None
    segmentation: Segmentation | None = None
    latent_index: torch.Tensor | None = None
    mask_rate: torch.Tensor | None = None
    hidden_states: HiddenStates | None = None


@dataclasses.dataclass
class MergeDNAHeadOutput(ModelOutput):
    """Output of the models with a head.

    Attributes:
        loss: Scalar, if labels were given.
        logits: ``[B, N, V]`` (masked LM), ``[B, num_labels]`` (sequence), ``[B, N, num_labels]`` (token).
        segmentation: The token of each base.
        hidden_states: As in :class:`MergeDNAModelOutput`, if asked for.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    segmentation: Segmentation | None = None
    hidden_states: HiddenStates | None = None


class _HalfBaseAngles:
    """Angles of the mean base coordinates of contiguous tokens, made once for all layers of ``x [B, N, D]``.

    A mean is a whole or half number, so the angles are those of :func:`token_positions`, looked up.
    """

    def __init__(self, rotary: RotaryEmbedding, x: torch.Tensor) -> None:
        places = torch.arange(-1, 2 * x.shape[1], device=x.device, dtype=torch.float32)
        self.table = torch.cat(rotary(places[None] * 0.5), dim=-1)[0]

    def __call__(self, sizes: torch.Tensor) -> Rotation:
        """Of tokens of ``sizes [B, L]``."""
        cos, sin = F.embedding(sizes.cumsum(dim=1) * 2 - sizes, self.table).chunk(2, dim=-1)
        return cos, sin


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Where tokens lie: their counts, the map of the bases, the angles of their positions."""

    lengths: torch.Tensor
    segmentation: Segmentation
    rotation: Rotation

    def first(self, count: int) -> "_Layout":
        """Of the first sequences alone."""
        cos, sin = self.rotation
        return _Layout(self.lengths[:count], self.segmentation[:count], (cos[:count], sin[:count]))


@dataclasses.dataclass(frozen=True)
class _Tokens(_Layout):
    """What the Local Encoder makes.

    Tokens ``[B, L, D]``, their sizes, the bases of each sequence, how many tokens each merging layer left,
    and the angles of any tokens of as many bases.
    """

    values: torch.Tensor
    sizes: torch.Tensor
    num_bases: torch.Tensor
    schedule: list[torch.Tensor]
    angles: _HalfBaseAngles


class _AttentionLayer(GradientCheckpointingLayer):
    """``x + Attention(RMSNorm(x))``; returns the packed projection too, whose keys are a merging metric."""

    def __init__(self, config: MergeDNAConfig, attention: WindowAttention | SelfAttention) -> None:
        super().__init__()
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = attention

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *keys: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        qkv = self.attention.project(self.norm(x, before_projection=True))
        return x + self.attention.attend(qkv, (cos, sin), *keys), qkv


class _FeedForwardLayer(GradientCheckpointingLayer):
    """``x + SwiGLU(RMSNorm(x))``."""

    def __init__(self, config: MergeDNAConfig) -> None:
        super().__init__()
        assert config.intermediate_size is not None
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(self.norm(x, before_projection=True))


class MergeDNABlock(nn.Module):
    """A LLaMA-style block: attention layer, feed-forward layer.

    The two are checkpointed apart, so that what is decided between or after them is never decided again.
    """

    def __init__(self, config: MergeDNAConfig, attention: WindowAttention | SelfAttention) -> None:
        super().__init__()
        self.attention = _AttentionLayer(config, attention)
        self.feed_forward = _FeedForwardLayer(config)

    def forward(
        self, x: torch.Tensor, rotation: Rotation, *keys: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``x [B, L, D]`` to ``[B, L, D]`` and the keys before rotation ``[B, L, H, d]``.

        ``keys`` are what the attention takes behind its rotation.
        """
        x, qkv = self.attention(x, *rotation, *keys)
        return self.feed_forward(x), qkv[:, :, 1]


def _window_attention(config: MergeDNAConfig, index: int) -> WindowAttention:
    shift = config.window_size // 2 if config.shift_windows and index % 2 else 0
    return WindowAttention(
        config.hidden_size, config.num_attention_heads, config.window_size, shift, config.rope_theta
    )


class _Part(nn.Module):
    """What the four parts share: rotary positions and a closing norm."""

    def __init__(self, config: MergeDNAConfig) -> None:
        super().__init__()
        self.rotary = RotaryEmbedding(config.hidden_size // config.num_attention_heads, config.rope_theta)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class MergeDNALocalEncoder(_Part):
    """Bases to tokens: blocks of window attention, each followed by merging (Sec. 3.3)."""

    def __init__(self, config: MergeDNAConfig) -> None:
        super().__init__(config)
        attentions = [_window_attention(config, i) for i in range(config.num_local_encoder_layers)]
        self.blocks = nn.ModuleList(MergeDNABlock(config, attention) for attention in attentions)
        self.is_learned = config.boundaries == "learned"
        merge_gradient = config.merge_gradient if self.is_learned else "none"
        self.merges = nn.ModuleList(
            TokenMerge(
                config.hidden_size,
                config.window_size,
                attention.shift,
                config.group_dim,
                config.merge_budget,
                merge_gradient,
                config.merge_temperature,
            )
            for attention in attentions
        )
        self.window_size = config.window_size
        self.shifts = [attention.shift for attention in attentions]
        self.metric = config.merge_metric if merge_gradient == "none" else None

    def forward(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor,
        keep_ratio: float,
        states: list[torch.Tensor] | None,
        like: _Tokens | None = None,
    ) -> _Tokens:
        """``x [B, N, D]`` to exactly ``⌈keep_ratio · n⌉`` tokens of each sequence of ``n`` bases.

        ``like`` are the tokens of another pass over sequences as long with the same ratio.
        """
        num_bases = lengths
        if like is None:
            schedule = merge_schedule(lengths, keep_ratio, self.window_size, self.shifts)
            angles = _HalfBaseAngles(self.rotary, x)
        else:
            schedule, angles = like.schedule, like.angles
        padded = merge_schedule(x.shape[1], keep_ratio, self.window_size, self.shifts)
        is_real = real_positions(lengths, x.shape[1])
        sizes, mass = is_real.long(), None
        for block, merge, shift, num_tokens, padded_tokens in zip(
            self.blocks, self.merges, self.shifts, schedule, padded, strict=True
        ):
            bias = None if mass is None else mass.clamp_min(_LEAST_MASS).log()
            x, keys = block(x, angles(sizes), lengths, bias)
            metric = None
            if not self.is_learned:
                metric = _place_metric(token_positions(sizes), self.window_size)
            elif self.metric == "keys":
                metric = keys.mean(dim=2)
            elif self.metric == "features":
                metric = window_center(x, lengths, self.window_size, shift)
            merged = merge(
                x,
                num_tokens,
                padded_tokens=padded_tokens,
                sizes=sizes,
                lengths=lengths,
                metric=metric,
                mass=mass,
            )
            x, sizes, lengths, mass = merged.values, merged.sizes, merged.lengths, merged.mass
            if states is not None:
                states.append(x)
        # Tokens are runs of bases in order: that of a base is the first that ends behind it.
        bases = torch.arange(is_real.shape[1], device=x.device).repeat(len(x), 1)
        index = torch.searchsorted(sizes.cumsum(dim=1), bases, right=True)
        source = Segmentation(torch.where(is_real, index, -1), lengths)
        return _Tokens(lengths, source, angles(sizes), self.norm(x), sizes, num_bases, schedule, angles)


# Of tokens that have given nearly all away, and of padding.
_LEAST_MASS = 1e-4


def _place_metric(positions: torch.Tensor, window: int) -> torch.Tensor:
    """Vectors ``[B, T, 2]`` whose cosine falls with the distance of neighbouring ``positions [B, T]``."""
    # Half a turn is farther than neighbours can be; by whole turns, so that far positions stay exact.
    turn = 2 * 2 * window
    angle = positions.double() % turn * (2 * math.pi / turn)
    return torch.stack([angle.cos(), angle.sin()], dim=-1).float()


class MergeDNALatentEncoder(_Part):
    """Full attention over tokens; with merging, a shorter latent sequence (Sec. 3.4)."""

    def __init__(self, config: MergeDNAConfig, num_layers: int) -> None:
        super().__init__(config)
        self.config = config
        implementation = attention_implementation(config)
        attentions = [
            SelfAttention(config.hidden_size, config.num_attention_heads, config.rope_theta, implementation)
            for _ in range(num_layers)
        ]
        self.blocks = nn.ModuleList(MergeDNABlock(config, attention) for attention in attentions)
        self.proportional = config.proportional_attention

    def forward(
        self, x: torch.Tensor, layout: _Layout, is_full: bool, states: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """``x [B, L, D]`` to ``[B, L, D]``; with ``is_full`` no sequence has padding."""
        keys = keys_for_layers(self.config, x, None if is_full else layout.lengths)
        for block in self.blocks:
            x, _ = block(x, layout.rotation, *keys)
            if states is not None:
                states.append(x)
        return self.norm(x)

    def merge(self, tokens: _Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        """The second pass: each block merges globally, so that ``⌈L / 2⌉`` of each sequence's tokens remain.

        Returns:
            Latent tokens ``[B, K, D]`` and ``latent_index [B, L]`` int64.
        """
        x, sizes, lengths = tokens.values, tokens.sizes, tokens.lengths
        positions, rotation = token_positions(sizes), tokens.rotation
        layers, index = len(self.blocks), None
        # Spread evenly, the earliest layers taking the remainder.
        spread = torch.arange(layers - 1, -1, -1, device=x.device)
        num_merges = ((lengths // 2)[:, None] + spread) // layers
        blocks = cast(list[MergeDNABlock], list(self.blocks))
        for layer, (block, merges) in enumerate(zip(blocks, num_merges.unbind(1), strict=True)):
            if index is not None:
                rotation = self.rotary(positions)
            # Padding, of size 0, gets −∞.
            keys = keys_for_layers(self.config, x, lengths, sizes.log() if self.proportional else None)
            x, qkv = block.attention(x, *rotation, *keys)
            metric = qkv[:, :, 1].detach().mean(dim=2)
            step = global_match(metric, lengths, merges)
            kept = x.shape[1] - (tokens.values.shape[1] // 2 + layers - 1 - layer) // layers
            located, _ = token_merge(positions[..., None], sizes, step, kept)
            x, sizes = token_merge(x, sizes, step, kept)
            positions, lengths = located.squeeze(-1), lengths - merges
            index = step if index is None else step.gather(1, index.clamp_min(0))
            x = block.feed_forward(x)
        assert index is not None
        return self.norm(x), index.masked_fill(tokens.sizes == 0, -1)


class MergeDNALocalDecoder(_Part):
    """Tokens to bases: unmerge, then blocks of window attention over bases (Eq. 4)."""

    def __init__(self, config: MergeDNAConfig) -> None:
        super().__init__(config)
        attentions = [_window_attention(config, i) for i in range(config.num_local_decoder_layers)]
        self.blocks = nn.ModuleList(MergeDNABlock(config, attention) for attention in attentions)

    def forward(self, x: torch.Tensor, segmentation: Segmentation) -> torch.Tensor:
        """``x [B, L, D]`` to ``[B, N, D]``."""
        token_index = segmentation.token_index
        x = token_unmerge(x, token_index)
        lengths = (token_index >= 0).sum(dim=1)
        rotation = self.rotary(torch.arange(x.shape[1], device=x.device)[None])
        for block in self.blocks:
            x, _ = block(x, rotation, lengths)
        return self.norm(x)


class MergeDNAPreTrainedModel(DNAPreTrainedModel):
    """Base of the MergeDNA models."""

    config_class = MergeDNAConfig
    config: MergeDNAConfig
    # Merging comes between the two layers of a block.
    paper = "MergeDNA: Context-aware Genome Modeling with Dynamic Tokenization through Token Merging"
    _no_split_modules: ClassVar[list[str]] = ["_AttentionLayer", "_FeedForwardLayer"]

    def __init__(self, config: MergeDNAConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)


class MergeDNAModel(MergeDNAPreTrainedModel):
    """Local Encoder and Latent Encoder: bases to contextual tokens."""

    def __init__(self, config: MergeDNAConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.local_encoder = MergeDNALocalEncoder(config)
        self.latent_encoder = MergeDNALatentEncoder(config, config.num_latent_encoder_layers)
        self.post_init()

    def _tokenize(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        keep_ratio: float,
        states: list[torch.Tensor] | None = None,
    ) -> tuple[_Tokens, bool]:
        """Runs the Local Encoder; returns the tokens, and whether it is known that none has padding."""
        x = embed(type(self).__name__, self.embed_tokens, input_ids, inputs_embeds)
        lengths, is_full = real_lengths(type(self).__name__, x, attention_mask, input_ids)
        if states is not None:
            states.append(x)
        return self.local_encoder(x, lengths, keep_ratio, states), is_full

    def _encode_tokens(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        vectors: bool,
        keep_ratio: float | None = None,
    ) -> Encoded:
        if vectors:
            output = self(input_ids, attention_mask, keep_ratio=keep_ratio, return_dict=True)
            return Encoded([output.segmentation], output.last_hidden_state)
        ratio = self.config.keep_ratio if keep_ratio is None else keep_ratio
        tokens, _ = self._tokenize(input_ids, attention_mask, None, ratio)
        return Encoded([tokens.segmentation])

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        keep_ratio: float | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> MergeDNAModelOutput:
        """Encodes.

        Args:
            input_ids: ``[B, N]`` int64 ids of bases.
            attention_mask: ``[B, N]``, 1 at bases, 0 at padding on the right; default all bases.
            inputs_embeds: ``[B, N, D]`` instead of ``input_ids``.
            keep_ratio: Tokens per base; default ``config.keep_ratio``.
            output_hidden_states: Whether to return what each block leaves.
            **kwargs: ``return_dict``; anything else is refused.

        Returns:
            A :class:`MergeDNAModelOutput`.

        Raises:
            ValueError: On inputs out of shape or range, padding on the left, or a keep ratio out of reach.
        """
        refuse_unknown(self, kwargs)
        states = hidden_state_list(self.config, output_hidden_states)
        ratio = self.config.keep_ratio if keep_ratio is None else keep_ratio
        tokens, is_full = self._tokenize(input_ids, attention_mask, inputs_embeds, ratio, states)
        latent = self.latent_encoder(tokens.values, tokens, is_full, states)
        return MergeDNAModelOutput(
            last_hidden_state=latent,
            segmentation=tokens.segmentation,
            hidden_states=None if states is None else tuple(states),
        )


class _Autoencoder(MergeDNAPreTrainedModel):
    """All four parts and the head over the vocabulary."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: MergeDNAConfig) -> None:
        super().__init__(config)
        self.model = MergeDNAModel(config)
        self.latent_decoder = MergeDNALatentEncoder(config, config.num_latent_decoder_layers)
        self.local_decoder = MergeDNALocalDecoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def predict_bases(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits of all bases ``[B, N, V]`` at the configuration's keep ratio; arguments as in forward."""
        tokens, is_full = self.model._tokenize(input_ids, attention_mask, None, self.config.keep_ratio)
        return self.decode(self.model.latent_encoder(tokens.values, tokens, is_full), tokens, is_full)

    def decode(self, latent: torch.Tensor, layout: _Layout, is_full: bool) -> torch.Tensor:
        """Latent tokens ``[B, L, D]`` to logits of the bases ``[B, N, V]``."""
        decoded = self.latent_decoder(latent, layout, is_full)
        return self.lm_head(self.local_decoder(decoded, layout.segmentation))


class MergeDNAForPreTraining(_Autoencoder):
    """The autoencoder with its pre-training objective of three passes (Eq. 8)."""

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        keep_ratio: float | None = None,
        sample_seeds: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> MergeDNAForPreTrainingOutput:
        """Runs the passes of ``config.objective``.

        Args:
            input_ids: ``[B, N]`` int64 ids of bases. With ``objective="masked"`` they come masked.
            attention_mask: ``[B, N]``, 1 at bases, 0 at padding on the right; default all bases.
            labels: ``[B, N]`` int64 ids to predict, −100 where nothing is asked; default ``input_ids`` at A,
                C, G and T. Needed with ``objective="masked"``.
            keep_ratio: Tokens per base, one for the whole batch; default ``config.keep_ratio`` in evaluation,
                a draw from torch's global generator in training.
            sample_seeds: ``[B]`` int64, one a sequence, that the tokens to mask are drawn with; default drawn
                from torch's global generator.
            num_items_in_batch: Labelled positions of the global batch; then all means are over it (and over
                all ranks), as Hugging Face's ``Trainer`` expects. How many bases the later micro-batches of
                an accumulated step will hide is not known: there the mean of ``L_AMTM`` is per micro-batch,
                weighted by its share of the labelled positions. Default: means over this batch.
            output_hidden_states: Whether to return what each block leaves in the first pass.
            **kwargs: ``return_dict``; anything else is refused.

        Returns:
            A :class:`MergeDNAForPreTrainingOutput`.

        Raises:
            ValueError: As :class:`MergeDNAModel`; and without labels where they are needed.
        """
        refuse_unknown(self, kwargs)
        config = self.config
        if keep_ratio is None:
            seed = int(torch.randint(2**62, ())) if self.training else 0
            keep_ratio = draw_keep_ratio(config, seed, 0) if self.training else config.keep_ratio
        if labels is None and config.objective == "masked":
            raise ValueError("MergeDNAForPreTraining: labels must be given with objective='masked', got None")
        states = hidden_state_list(config, output_hidden_states)
        tokens, is_full = self.model._tokenize(input_ids, attention_mask, None, keep_ratio, states)
        if labels is None:
            is_letter = is_base(input_ids) & (tokens.segmentation.token_index >= 0)
            labels = torch.where(is_letter, input_ids, IGNORE_INDEX)
        found: dict[str, Any] = {"segmentation": tokens.segmentation}
        if config.objective == "masked":
            latent = self.model.latent_encoder(tokens.values, tokens, is_full, states)
            logits = self.decode(latent, tokens, is_full)
            loss = base_loss(logits, labels, num_items_in_batch)
            found |= {"loss": loss, "losses": {"masked": loss}, "logits": logits}
            found["hidden_states"] = None if states is None else tuple(states)
            return MergeDNAForPreTrainingOutput(**found)

        is_reconstructed, is_masked = config.latent_reconstruction_weight > 0, config.masked_weight > 0
        if is_reconstructed or is_masked:
            detached = dataclasses.replace(tokens, values=tokens.values.detach())
            with torch.set_grad_enabled(is_reconstructed and torch.is_grad_enabled()):
                merged, latent_index = self.model.latent_encoder.merge(detached)
            found["latent_index"] = latent_index
        passes = [tokens]
        if is_masked:
            if sample_seeds is None:
                sample_seeds = torch.randint(2**62, (len(input_ids),)).to(input_ids.device)
            hidden = found["is_masked"] = self._draw_mask(tokens, latent_index, sample_seeds)
            masked_ids = torch.where(hidden, MASK_ID, input_ids)
            masked = self.model.local_encoder(
                self.model.embed_tokens(masked_ids), tokens.num_bases, keep_ratio, None, tokens
            )
            passes.append(masked)
        # Passes run as one batch where none needs what another makes.
        layout = _one_batch([*passes, *[tokens] * is_reconstructed])
        if states is None:
            values = torch.cat([part.values for part in passes])
            latent = self.model.latent_encoder(values, layout.first(len(values)), is_full)
        else:
            # Apart, so that what is given of the first is what the loss goes through.
            each = [states, *[None] * (len(passes) - 1)]
            latent = torch.cat(
                [
                    self.model.latent_encoder(part.values, part, is_full, kept)
                    for part, kept in zip(passes, each, strict=True)
                ]
            )
        if is_reconstructed:
            latent = torch.cat([latent, token_unmerge(merged, latent_index)])
        decoded = self.decode(latent, layout, is_full)
        parts = list(decoded.unflatten(0, (len(passes) + is_reconstructed, len(input_ids))))

        found["logits"] = parts.pop(0)
        first_loss = base_loss(found["logits"], labels, num_items_in_batch)
        losses = {"reconstruction": first_loss}
        loss = config.reconstruction_weight * first_loss
        if is_reconstructed:
            latent_loss = base_loss(parts.pop(), labels, num_items_in_batch)
            losses["latent_reconstruction"] = latent_loss
            loss = loss + config.latent_reconstruction_weight * latent_loss
        if is_masked:
            masked_logits = found["masked_logits"] = parts.pop()
            masked_labels = torch.where(hidden, labels, IGNORE_INDEX)
            count = global_total((masked_labels != IGNORE_INDEX).sum(), labels, num_items_in_batch)
            masked_loss = base_loss(masked_logits, masked_labels, count)
            losses["masked"] = masked_loss
            found["mask_rate"] = hidden.sum() / tokens.num_bases.sum().clamp_min(1)
            loss = loss + config.masked_weight * masked_loss
        found |= {"loss": loss, "losses": losses}
        found["hidden_states"] = None if states is None else tuple(states)
        return MergeDNAForPreTrainingOutput(**found)

    def _draw_mask(self, tokens: _Tokens, latent_index: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """``[B, N]`` bool, the bases that the third pass hides."""
        num_sampled = (tokens.lengths + 1) // 2
        sampled = sample_tokens(latent_index, tokens.lengths, num_sampled, seeds)
        index, share = tokens.segmentation.token_index, self.config.random_mask_share
        is_masked = sampled.gather(1, index.clamp_min(0)) & (index >= 0)
        if share > 0 and self.training:
            is_random, at_random = random_mask(index, seeds, share)
            is_masked = torch.where(is_random[:, None], at_random, is_masked)
        return is_masked


def _one_batch(passes: list[_Tokens]) -> _Layout:
    """Of passes over sequences as long, one behind another."""
    cos, sin = zip(*(part.rotation for part in passes), strict=True)
    lengths = torch.cat([part.lengths for part in passes])
    index = torch.cat([part.segmentation.token_index for part in passes])
    return _Layout(lengths, Segmentation(index, lengths), (torch.cat(cos), torch.cat(sin)))


class MergeDNAForMaskedLM(_Autoencoder):
    """The whole autoencoder with base-level logits: zero-shot scores, infilling, masked fine-tuning."""

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        keep_ratio: float | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> MergeDNAHeadOutput:
        """Predicts every base.

        Args:
            input_ids: ``[B, N]`` int64 ids of bases, ``[MASK]`` where one is asked for.
            attention_mask: ``[B, N]``, 1 at bases, 0 at padding on the right; default all bases.
            inputs_embeds: ``[B, N, D]`` instead of ``input_ids``.
            labels: ``[B, N]`` int64 ids to predict, −100 where nothing is asked.
            keep_ratio: Tokens per base; default ``config.keep_ratio``.
            num_items_in_batch: Labelled positions of the global batch; default those of this one.
            output_hidden_states: Whether to return what each block of the encoders leaves.
            **kwargs: ``return_dict``; anything else is refused.

        Returns:
            A :class:`MergeDNAHeadOutput` with logits ``[B, N, V]``.

        Raises:
            ValueError: As :class:`MergeDNAModel`.
        """
        refuse_unknown(self, kwargs)
        states = hidden_state_list(self.config, output_hidden_states)
        ratio = self.config.keep_ratio if keep_ratio is None else keep_ratio
        tokens, is_full = self.model._tokenize(input_ids, attention_mask, inputs_embeds, ratio, states)
        latent = self.model.latent_encoder(tokens.values, tokens, is_full, states)
        logits = self.decode(latent, tokens, is_full)
        return MergeDNAHeadOutput(
            loss=None if labels is None else base_loss(logits, labels, num_items_in_batch),
            logits=logits,
            segmentation=tokens.segmentation,
            hidden_states=None if states is None else tuple(states),
        )


class _Classifier(Classifier, MergeDNAPreTrainedModel):
    base_class = MergeDNAModel

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        keep_ratio: float | None = None,
        output_hidden_states: bool | None = None,
        tissue: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MergeDNAHeadOutput:
        """Classifies or regresses; arguments as :class:`MergeDNAForMaskedLM`, labels as the class says.

        Pairs of alleles, and ``tissue``: see :class:`~dnachunk.models.modeling_common.Classifier`.

        Returns:
            A :class:`MergeDNAHeadOutput` with logits ``[..., num_labels]``.

        Raises:
            ValueError: As :class:`MergeDNAModel`; and on labels that do not fit the problem.
        """
        refuse_unknown(self, kwargs)
        encoded = self.model(
            *self.alleles(input_ids, attention_mask, inputs_embeds),
            *(keep_ratio, output_hidden_states),
            return_dict=True,
        )
        return MergeDNAHeadOutput(
            **self.classify(encoded, labels, tissue),
            segmentation=encoded.segmentation,
            hidden_states=encoded.hidden_states,
        )


class MergeDNAForSequenceClassification(_Classifier):
    """A label per sequence from the mean of its latent tokens; both decoders dropped.

    ``labels`` are ``[B]`` int64, ``[B, num_labels]`` float (several labels) or ``[B]`` or ``[B, num_labels]``
    float (regression), by ``config.problem_type``; logits ``[B, num_labels]``.
    """

    def __init__(self, config: MergeDNAConfig) -> None:
        super().__init__(config)
        self.post_init()

    def features(self, encoded: MergeDNAModelOutput) -> torch.Tensor:
        """The mean over the real latent tokens, ``[B, D]``."""
        assert encoded.last_hidden_state is not None
        assert encoded.segmentation is not None
        return mean_over_tokens(encoded.last_hidden_state, encoded.segmentation.num_tokens)


class MergeDNAForTokenClassification(_Classifier):
    """A label per base: unmerge, Local Decoder, head; the Latent Decoder dropped.

    ``labels`` are ``[B, N]`` int64 (−100 is ignored), or ``[B, N, num_labels]`` float (NaN is ignored);
    logits ``[B, N, num_labels]``.
    """

    def __init__(self, config: MergeDNAConfig) -> None:
        super().__init__(config)
        self.local_decoder = MergeDNALocalDecoder(config)
        self.post_init()

    def features(self, encoded: MergeDNAModelOutput) -> torch.Tensor:
        """The Local Decoder's bases, ``[B, N, D]``."""
        assert encoded.last_hidden_state is not None
        assert encoded.segmentation is not None
        return self.local_decoder(encoded.last_hidden_state, encoded.segmentation)


__all__: Sequence[str] = [
    "MergeDNAForMaskedLM",
    "MergeDNAForPreTraining",
    "MergeDNAForPreTrainingOutput",
    "MergeDNAForSequenceClassification",
    "MergeDNAForTokenClassification",
    "MergeDNAHeadOutput",
    "MergeDNAModel",
    "MergeDNAModelOutput",
    "MergeDNAPreTrainedModel",
]
