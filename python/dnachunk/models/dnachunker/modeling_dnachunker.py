"""DNAChunker's networks: two chunking stages around a Transformer, and the heads."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput, can_return_tuple

from dnachunk.alphabet import IGNORE_INDEX, MASK_ID
from dnachunk.models.dnachunker.configuration_dnachunker import DNAChunkerConfig
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
    BiMamba,
    Chunk,
    Dechunk,
    GridRouter,
    RMSNorm,
    RotaryEmbedding,
    Router,
    Routing,
    SelfAttention,
)
from dnachunk.nn.rotary import token_positions
from dnachunk.nn.start import ZeroLinear
from dnachunk.ops._backend import reads_values
from dnachunk.ops._lengths import real_positions
from dnachunk.segmentation import Encoded, Segmentation


@dataclasses.dataclass
class StageOutput(ModelOutput):
    """One value of each stage, indexed and iterated as a pair, not as the mapping that it also is.

    Attributes:
        bases: Of the first stage.
        chunks: Of the second.
    """

    bases: Any = None
    chunks: Any = None

    def __iter__(self) -> Iterator[Any]:
        """The values, where a ModelOutput gives their names."""
        return iter(self.to_tuple())


@dataclasses.dataclass
class DNAChunkerModelOutput(ModelOutput):
    """Output of :class:`DNAChunkerModel`.

    Attributes:
        last_hidden_state: ``[B, N, D]``, a vector for each base.
        chunk_hidden_state: ``[B, K, D]``, what the main network makes of the second stage's chunks; rows past
            ``segmentation.num_tokens`` are padding.
        segmentation: The second stage's chunk of each base.
        stage_segmentations: The chunk of each base at both stages.
        boundary_probabilities: Of both stages, ``[B, N]`` for bases and ``[B, L]`` for the first stage's
            chunks, in [0, 1]; 1 where a boundary is forced, 0 on padding.
        losses: In training the ratio losses of the stages, ``ratio_0`` and ``ratio_1``, means over the
            sequences.
        hidden_states: The embedding, then what each layer leaves, if asked for: ``[B, N, D]`` at the first
            stage, ``[B, L, D]`` at the second, ``[B, K, D]`` in the main network.
    """

    last_hidden_state: torch.Tensor | None = None
    chunk_hidden_state: torch.Tensor | None = None
    segmentation: Segmentation | None = None
    stage_segmentations: StageOutput | None = None
    boundary_probabilities: StageOutput | None = None
    losses: dict[str, torch.Tensor] | None = None
    hidden_states: HiddenStates | None = None


@dataclasses.dataclass
class DNAChunkerHeadOutput(ModelOutput):
    """Output of the models with a head.

    Attributes:
        loss: Scalar, if labels were given.
        losses: In training ``ratio_0`` and ``ratio_1``; of the masked language model, wherever labels are
            given, these and ``masked``, whose weighted sum is ``loss``.
        logits: ``[B, N, V]`` (masked LM), ``[B, num_labels]`` (sequence), ``[B, N, num_labels]`` (token).
        segmentation: As in :class:`DNAChunkerModelOutput`.
        stage_segmentations: As in :class:`DNAChunkerModelOutput`.
        boundary_probabilities: As in :class:`DNAChunkerModelOutput`.
        hidden_states: As in :class:`DNAChunkerModelOutput`, if asked for.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    losses: dict[str, torch.Tensor] | None = None
    segmentation: Segmentation | None = None
    stage_segmentations: StageOutput | None = None
    boundary_probabilities: StageOutput | None = None
    hidden_states: HiddenStates | None = None


class DNAChunkerMambaLayer(GradientCheckpointingLayer):
    """``x + BiMamba(RMSNorm(x))``."""

    def __init__(self, config: DNAChunkerConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mixer = BiMamba(config.hidden_size, config.state_size, config.conv_kernel, config.expand)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """``x [B, T, D]`` to ``[B, T, D]``."""
        return x + self.mixer(self.norm(x, before_projection=True), lengths)


class DNAChunkerBlock(GradientCheckpointingLayer):
    """A pre-norm Transformer block with biases, GELU and rotary positions."""

    def __init__(self, config: DNAChunkerConfig) -> None:
        super().__init__()
        assert config.intermediate_size is not None
        width, eps = config.hidden_size, config.layer_norm_eps
        self.attention_norm = nn.LayerNorm(width, eps)
        self.attention = SelfAttention(
            width,
            config.num_attention_heads,
            config.rope_theta,
            attention_implementation(config),
            projection_bias=True,
        )
        self.feed_forward_norm = nn.LayerNorm(width, eps)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, config.intermediate_size), nn.GELU(), nn.Linear(config.intermediate_size, width)
        )

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *keys: torch.Tensor | None
    ) -> torch.Tensor:
        """``x [B, K, D]`` to ``[B, K, D]``; ``keys`` are what the attention takes behind its rotation."""
        x = x + self.attention(self.attention_norm(x), (cos, sin), *keys)
        return x + self.feed_forward(self.feed_forward_norm(x))


class _MambaStack(nn.Module):
    """BiMamba layers and the norm that closes them."""

    def __init__(self, config: DNAChunkerConfig, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DNAChunkerMambaLayer(config) for _ in range(num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, x: torch.Tensor, lengths: torch.Tensor, states: list[torch.Tensor] | None
    ) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, lengths)
            if states is not None:
                states.append(x)
        return self.norm(x)


@dataclasses.dataclass(frozen=True)
class _EncodedStage:
    """What a stage's encoder hands over.

    ``x [B, T, D]``, its cut, the chunks ``[B, L, D]``, and which positions and chunks hold a ``[MASK]``.
    """

    x: torch.Tensor
    routing: Routing
    chunks: torch.Tensor
    is_masked: torch.Tensor
    is_masked_chunk: torch.Tensor


class DNAChunkerStage(nn.Module):
    """One stage: encoder, boundaries and chunks on the way in, dechunking and decoder on the way out."""

    def __init__(self, config: DNAChunkerConfig, target_ratio: float) -> None:
        super().__init__()
        self.encoder = _MambaStack(config, config.num_encoder_layers)
        is_learned = config.boundaries == "learned"
        self.router = Router(config.hidden_size) if is_learned else GridRouter(target_ratio)
        self.chunk = Chunk(config.chunk_pooling)
        self.dechunk = Dechunk(config.backward_gate)
        self.residual = ZeroLinear(config.hidden_size)
        self.decoder = _MambaStack(config, config.num_decoder_layers)
        self.protects_masks = config.mask_protection
        self.gates_residual = config.residual_gating

    def encode(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor,
        is_masked: torch.Tensor,
        budget: float | None,
        states: list[torch.Tensor] | None,
    ) -> _EncodedStage:
        """``x [B, T, D]`` to its chunks; ``is_masked [B, T]`` bool."""
        x = self.encoder(x, lengths, states)
        routing = self.router(x, lengths, is_masked if self.protects_masks else None, budget)
        chunks = self.chunk(x, routing)
        return _EncodedStage(
            x,
            routing,
            chunks.values,
            is_masked,
            _sum_in_chunk(is_masked.long(), routing.token_index, chunks.values.shape[1]) > 0,
        )

    def decode(
        self, chunks: torch.Tensor, encoded: _EncodedStage, states: list[torch.Tensor] | None
    ) -> torch.Tensor:
        """``chunks [B, L, D]`` back to ``[B, T, D]``."""
        routing = encoded.routing
        x, residual = self.dechunk(chunks, routing), self.residual(encoded.x)
        if self.gates_residual:
            is_hidden = encoded.is_masked_chunk.gather(1, routing.token_index.clamp_min(0))
            residual = torch.where(is_hidden[..., None], 0.0, residual)
        return self.decoder(x + residual, routing.lengths, states)


def _sum_in_chunk(numbers: torch.Tensor, token_index: torch.Tensor, num_chunks: int) -> torch.Tensor:
    """The sum of ``numbers [B, T]`` int64 over each chunk: ``[B, L]`` int64."""
    # Padding counts in an extra column.
    sums = token_index.new_zeros(len(numbers), num_chunks + 1)
    return sums.scatter_add_(1, token_index + 1, numbers)[:, 1:]


def ratio_loss(
    routing: Routing,
    target_ratio: float,
    region_ratio: Sequence[float] = (),
    region_index: torch.Tensor | None = None,
) -> torch.Tensor:
    """What keeps the share of boundaries near its target (H-Net's ratio loss).

    ``b p / α + (1 − b) (1 − p) / (1 − α)`` with the share ``b`` of boundaries and the mean probability ``p``
    of a sequence's positions whose boundary is a free decision; 1 where ``b = p = α``, 0 where none is free.
    Boundaries are those of the threshold under a budget too: of its own, ``b`` would not follow ``p``, which
    would run away from α, and nothing could read such weights by the threshold.
    Of stretches with their own α (as in GeneZip) it is computed alone, and all are weighed by how many free
    positions they have.

    Args:
        routing: Of ``B`` sequences of ``T`` positions.
        target_ratio: α in (0, 1), boundaries per position.
        region_ratio: α of other stretches.
        region_index: ``[B, T]`` int64: 0 where ``target_ratio`` holds, ``g`` where the ``g``-th of
            ``region_ratio``; default 0 everywhere.

    Returns:
        Scalar, the mean over sequences; gradients reach the probabilities.
    """
    is_free = (routing.token_index >= 0) & ~routing.is_forced
    if region_index is None:
        loss, free = _ratio_terms(routing, is_free, target_ratio)
        return torch.where(free > 0, loss, 0).sum() / max(len(free), 1)
    weighed = []
    for index, ratio in enumerate((target_ratio, *region_ratio)):
        loss, free = _ratio_terms(routing, is_free & (region_index == index), ratio)
        weighed.append(loss * free)
    all_free = is_free.sum(dim=1)
    return (torch.stack(weighed).sum(dim=0) / all_free.clamp_min(1)).sum() / max(len(all_free), 1)


def _ratio_terms(
    routing: Routing, is_free: torch.Tensor, target_ratio: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each sequence over its free positions, and how many these are: ``[B]`` both."""
    free = is_free.sum(dim=1)
    probabilities = torch.where(is_free, routing.boundary_probability, 0)
    share = (probabilities >= 0.5).sum(dim=1) / free.clamp_min(1)
    probability = probabilities.sum(dim=1) / free.clamp_min(1)
    loss = share * probability / target_ratio + (1 - share) * (1 - probability) / (1 - target_ratio)
    return loss, free


class DNAChunkerPreTrainedModel(DNAPreTrainedModel):
    """Base of the DNAChunker models: embeddings start standard normal, Mamba as its authors start it."""

    config_class = DNAChunkerConfig
    config: DNAChunkerConfig
    paper = "DNAChunker: Learnable Tokenization for DNA Language Models"
    _no_split_modules: ClassVar[list[str]] = ["DNAChunkerMambaLayer", "DNAChunkerBlock"]

    def __init__(self, config: DNAChunkerConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)


class DNAChunkerModel(DNAChunkerPreTrainedModel):
    """Two chunking stages around the main network: bases to contextual bases."""

    def __init__(self, config: DNAChunkerConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.stages = nn.ModuleList(DNAChunkerStage(config, ratio) for ratio in config.target_ratio)
        self.rotary = RotaryEmbedding(config.hidden_size // config.num_attention_heads, config.rope_theta)
        self.blocks = nn.ModuleList(DNAChunkerBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.post_init()

    def _encode(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        is_masked: torch.Tensor | None = None,
        boundary_budget: Sequence[float] | None = None,
        states: list[torch.Tensor] | None = None,
    ) -> tuple[list[_EncodedStage], tuple[Segmentation, ...]]:
        """Runs the encoders of both stages: all that decides the tokens.

        Args:
            input_ids: As in :meth:`forward`, like the next four.
            attention_mask: See there.
            inputs_embeds: See there.
            is_masked: See there.
            boundary_budget: See there.
            states: What each layer leaves is appended here.

        Returns:
            What each stage hands over, and the segmentation of the bases after each.
        """
        x = embed(type(self).__name__, self.embed_tokens, input_ids, inputs_embeds)
        lengths, _ = real_lengths(type(self).__name__, x, attention_mask, input_ids)
        if is_masked is None:
            if input_ids is None:
                is_masked = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
            else:
                is_masked = input_ids == MASK_ID
        elif is_masked.shape != x.shape[:2] or is_masked.dtype != torch.bool:
            raise ValueError(
                f"{type(self).__name__}: is_masked must be bool {list(x.shape[:2])}, "
                f"got {is_masked.dtype} {list(is_masked.shape)}"
            )
        is_masked = is_masked & real_positions(lengths, x.shape[1])
        if states is not None:
            states.append(x)
        encoded: list[_EncodedStage] = []
        segmentations: list[Segmentation] = []
        stages = cast(list[DNAChunkerStage], list(self.stages))
        budgets: Sequence[float | None]
        budgets = boundary_budget or self.config.boundary_budget or [None] * len(stages)
        for stage, budget in zip(stages, budgets, strict=True):
            done = stage.encode(x, lengths, is_masked, budget, states)
            segmentation = Segmentation(done.routing.token_index, done.routing.num_tokens)
            segmentations.append(segmentations[-1].compose(segmentation) if encoded else segmentation)
            encoded.append(done)
            x, lengths, is_masked = done.chunks, done.routing.num_tokens, done.is_masked_chunk
        return encoded, tuple(segmentations)

    def _encode_tokens(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        vectors: bool,
        boundary_budget: Sequence[float] | None = None,
    ) -> Encoded:
        if vectors:
            output = self(input_ids, attention_mask, boundary_budget=boundary_budget, return_dict=True)
            segmentations, probability = output.stage_segmentations, output.boundary_probabilities[0]
            return Encoded(list(segmentations), output.chunk_hidden_state, {}, probability)
        encoded, segmentations = self._encode(input_ids, attention_mask, boundary_budget=boundary_budget)
        return Encoded(segmentations, boundary_probability=encoded[0].routing.boundary_probability)

    def _ratio_losses(
        self, encoded: list[_EncodedStage], region_index: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        if region_index is not None:
            self._check_regions(region_index, encoded[0].routing.token_index.shape)
        losses = {}
        for index, (done, target) in enumerate(zip(encoded, self.config.target_ratio, strict=True)):
            losses[f"ratio_{index}"] = ratio_loss(
                done.routing, target, self.config.region_ratio, region_index
            )
            if region_index is not None:
                first = done.routing.is_boundary * region_index
                region_index = _sum_in_chunk(first, done.routing.token_index, done.chunks.shape[1])
        return losses

    def _check_regions(self, region_index: torch.Tensor, shape: torch.Size) -> None:
        name, most = type(self).__name__, len(self.config.region_ratio)
        if region_index.shape != shape or region_index.dtype != torch.int64:
            got = f"{region_index.dtype} {list(region_index.shape)}"
            raise ValueError(f"{name}: region_index must be {torch.int64} {list(shape)}, got {got}")
        if reads_values(region_index) and region_index.numel():
            low, high = (int(value) for value in region_index.aminmax())
            if low < 0 or high > most:
                raise ValueError(
                    f"{name}: region_index must be in [0, {most}], as config.region_ratio has {most}, got "
                    f"{low if low < 0 else high}"
                )

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        is_masked: torch.Tensor | None = None,
        boundary_budget: Sequence[float] | None = None,
        region_index: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_losses: bool | None = None,
        **kwargs: Any,
    ) -> DNAChunkerModelOutput:
        """Encodes.

        Args:
            input_ids: ``[B, N]`` int64 ids of bases, ``[MASK]`` where one is asked for.
            attention_mask: ``[B, N]``, 1 at bases, 0 at padding on the right; default all bases.
            inputs_embeds: ``[B, N, D]`` instead of ``input_ids``.
            is_masked: ``[B, N]`` bool, bases to be treated as ``[MASK]``; default where ``input_ids`` is,
                none with ``inputs_embeds``.
            boundary_budget: Chunks per position of each stage; default ``config.boundary_budget``.
            region_index: ``[B, N]`` int64 for the ratio losses: ``g`` at bases whose target is the ``g``-th
                of ``config.region_ratio``, 0 at the others, the default. A chunk is where its first base is.
            output_hidden_states: Whether to return what each layer leaves.
            output_losses: Whether to return the ratio losses; default in training only.
            **kwargs: ``return_dict``; anything else is refused.

        Returns:
            A :class:`DNAChunkerModelOutput`.

        Raises:
            ValueError: On inputs out of shape or range, or padding on the left.
        """
        refuse_unknown(self, kwargs)
        states = hidden_state_list(self.config, output_hidden_states)
        encoded, segmentations = self._encode(
            input_ids, attention_mask, inputs_embeds, is_masked, boundary_budget, states
        )
        x, num_tokens = encoded[-1].chunks, encoded[-1].routing.num_tokens
        ones = torch.ones_like(segmentations[-1].token_index)
        cos, sin = self.rotary(
            token_positions(_sum_in_chunk(ones, segmentations[-1].token_index, x.shape[1]))
        )
        keys = keys_for_layers(self.config, x, num_tokens)
        for block in self.blocks:
            x = block(x, cos, sin, *keys)
            if states is not None:
                states.append(x)
        chunk_hidden_state = x = self.norm(x)
        stages = cast(list[DNAChunkerStage], list(self.stages))
        for stage, done in zip(reversed(stages), reversed(encoded), strict=True):
            x = stage.decode(x, done, states)
        losses = None
        if self.training if output_losses is None else output_losses:
            losses = self._ratio_losses(encoded, region_index)
        return DNAChunkerModelOutput(
            last_hidden_state=x,
            chunk_hidden_state=chunk_hidden_state,
            segmentation=segmentations[-1],
            stage_segmentations=StageOutput(*segmentations),
            boundary_probabilities=StageOutput(*(done.routing.boundary_probability for done in encoded)),
            losses=losses,
            hidden_states=None if states is None else tuple(states),
        )


def _with_head(encoded: DNAChunkerModelOutput, **fields: Any) -> DNAChunkerHeadOutput:
    """The head's output beside what the model found on the way."""
    names = ("losses", "segmentation", "stage_segmentations", "boundary_probabilities", "hidden_states")
    return DNAChunkerHeadOutput(**{**{name: getattr(encoded, name) for name in names}, **fields})


class DNAChunkerForMaskedLM(DNAChunkerPreTrainedModel):
    """Predicts every base: pre-training, zero-shot scores, infilling."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: DNAChunkerConfig) -> None:
        super().__init__(config)
        self.model = DNAChunkerModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        repeat_mask: torch.Tensor | None = None,
        is_masked: torch.Tensor | None = None,
        region_index: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> DNAChunkerHeadOutput:
        """Predicts; with labels ``loss`` is ``L_MLM + λ (L_ratio^0 + L_ratio^1)``.

        Args:
            input_ids: ``[B, N]`` int64 ids of bases, ``[MASK]`` where one is asked for.
            attention_mask: ``[B, N]``, 1 at bases, 0 at padding on the right; default all bases.
            inputs_embeds: ``[B, N, D]`` instead of ``input_ids``.
            labels: ``[B, N]`` int64 ids to predict, −100 where nothing is asked.
            repeat_mask: ``[B, N]`` bool, bases of repeats, which weigh ``config.repeat_weight`` in the masked
                loss; default none.
            is_masked: As in :meth:`DNAChunkerModel.forward`, like the next.
            region_index: See there.
            num_items_in_batch: Labelled positions of the global batch; then the losses are this micro-batch's
                part of the means over it and over all ranks, as Hugging Face's ``Trainer`` expects. The
                weight and the number of sequences of an accumulated step's other micro-batches are taken to
                be as large, for each labelled position, as this one's. Default: means over this batch.
            output_hidden_states: Whether to return what each layer leaves.
            **kwargs: ``return_dict``; anything else is refused.

        Returns:
            A :class:`DNAChunkerHeadOutput` with logits ``[B, N, V]``.

        Raises:
            ValueError: As :class:`DNAChunkerModel`; and on labels or flags of another shape.
        """
        refuse_unknown(self, kwargs)
        encoded = self.model(
            input_ids,
            attention_mask,
            inputs_embeds,
            is_masked,
            region_index=region_index,
            output_hidden_states=output_hidden_states,
            output_losses=None if labels is None else True,
            return_dict=True,
        )
        logits = self.lm_head(encoded.last_hidden_state)
        if labels is None:
            return _with_head(encoded, logits=logits)
        weight = torch.ones(labels.shape, device=labels.device)
        if repeat_mask is not None:
            if repeat_mask.shape != labels.shape:
                want, got = list(labels.shape), list(repeat_mask.shape)
                raise ValueError(f"{type(self).__name__}: repeat_mask must be {want}, got {got}")
            weight = torch.where(repeat_mask.to(labels.device).bool(), self.config.repeat_weight, weight)
        labelled_weight = (weight * (labels != IGNORE_INDEX)).sum()
        total = global_total(labelled_weight, labels, num_items_in_batch)
        loss = base_loss(logits, labels, total, weight)
        losses = {"masked": loss}
        count = torch.full((), float(len(labels)), device=labels.device)
        share = count / global_total(count, labels, num_items_in_batch).clamp_min(1)
        for name, ratio in encoded.losses.items():
            losses[name] = ratio * share
            if self.config.ratio_weight > 0:
                loss = loss + self.config.ratio_weight * losses[name]
        return _with_head(encoded, loss=loss, losses=losses, logits=logits)


class _Classifier(Classifier, DNAChunkerPreTrainedModel):
    base_class = DNAChunkerModel

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        is_masked: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        tissue: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> DNAChunkerHeadOutput:
        """Classifies or regresses; arguments as :class:`DNAChunkerForMaskedLM`, labels as the class says.

        Pairs of alleles, and ``tissue``: see :class:`~dnachunk.models.modeling_common.Classifier`.

        Returns:
            A :class:`DNAChunkerHeadOutput` with logits ``[..., num_labels]``.

        Raises:
            ValueError: As :class:`DNAChunkerModel`; and on labels that do not fit the problem.
        """
        refuse_unknown(self, kwargs)
        encoded = self.model(
            *self.alleles(input_ids, attention_mask, inputs_embeds),
            is_masked,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        return _with_head(encoded, **self.classify(encoded, labels, tissue))


class DNAChunkerForSequenceClassification(_Classifier):
    """A label per sequence from the mean over its bases.

    ``labels`` are ``[B]`` int64, ``[B, num_labels]`` float (several labels) or ``[B]`` or ``[B, num_labels]``
    float (regression), by ``config.problem_type``; logits ``[B, num_labels]``.
    """

    def __init__(self, config: DNAChunkerConfig) -> None:
        super().__init__(config)
        self.post_init()

    def features(self, encoded: DNAChunkerModelOutput) -> torch.Tensor:
        """The mean over the real bases, ``[B, D]``."""
        assert encoded.last_hidden_state is not None
        assert encoded.segmentation is not None
        lengths = (encoded.segmentation.token_index >= 0).sum(dim=1)
        return mean_over_tokens(encoded.last_hidden_state, lengths)


class DNAChunkerForTokenClassification(_Classifier):
    """A label per base.

    ``labels`` are ``[B, N]`` int64 (−100 is ignored), or ``[B, N, num_labels]`` float (NaN is ignored);
    logits ``[B, N, num_labels]``.
    """

    def __init__(self, config: DNAChunkerConfig) -> None:
        super().__init__(config)
        self.post_init()

    def features(self, encoded: DNAChunkerModelOutput) -> torch.Tensor:
        """The bases themselves, ``[B, N, D]``."""
        assert encoded.last_hidden_state is not None
        return encoded.last_hidden_state


__all__: Sequence[str] = [
    "DNAChunkerBlock",
    "DNAChunkerForMaskedLM",
    "DNAChunkerForSequenceClassification",
    "DNAChunkerForTokenClassification",
    "DNAChunkerHeadOutput",
    "DNAChunkerMambaLayer",
    "DNAChunkerModel",
    "DNAChunkerModelOutput",
    "DNAChunkerPreTrainedModel",
    "DNAChunkerStage",
    "ratio_loss",
]
