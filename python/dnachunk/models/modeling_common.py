"""What the models share: initialisation, tokens, masks, heads and their losses."""

import os
from typing import Any, ClassVar

import torch
import torch.distributed
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from dnachunk.alphabet import IGNORE_INDEX, PAD_ID
from dnachunk.models.model_card import model_card, write_card
from dnachunk.nn import CrossAttention, SelfAttention
from dnachunk.nn.attention import keys_to_attend
from dnachunk.nn.start import StartsItself
from dnachunk.ops._backend import reads_values
from dnachunk.ops._lengths import full_lengths, real_positions
from dnachunk.segmentation import Encoded

HiddenStates = tuple[torch.Tensor, ...]


class DNAPreTrainedModel(PreTrainedModel):
    """Base of all models: weights start normal, norms at 1, biases at 0, and modules of ours as they say."""

    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    paper: ClassVar[str | None] = None
    """Where the architecture is described."""
    card: str | None = None
    """The model card, where a training or a loaded folder has one."""

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Saves the model, and its card (``README.md``) beside it; see :class:`PreTrainedModel`."""
        super().save_pretrained(save_directory, *args, **kwargs)
        write_card(
            save_directory, self.card or model_card(type(self).__name__, self.config, paper=self.paper)
        )

    def encode_tokens(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        vectors: bool = True,
        tokens_per_base: float | None = None,
    ) -> Encoded:
        """Cuts sequences into tokens; the same for all models, with a head or without.

        Args:
            input_ids: ``[B, N]`` int64 ids of bases alone, without ``[CLS]`` and ``[SEP]`` whatever the model
                reads.
            attention_mask: ``[B, N]``, 1 at bases, 0 at padding on the right; default all bases.
            vectors: Whether to run the whole model, for the tokens' vectors, or only what decides the tokens.
            tokens_per_base: In (0, 1], of a model that can be asked for so many (MergeDNA and DNAChunker, see
                :meth:`DNAConfig.set_tokens_per_base`); default as it is configured.

        Returns:
            The tokens; gradients are kept unless they are switched off (``torch.inference_mode()``).

        Raises:
            ValueError: On inputs out of shape or range, padding on the left, or tokens per base out of reach
                or of a model that cannot be asked.

        Example:
            >>> from dnachunk import DNATokenizer, MergeDNAConfig, MergeDNAModel
            >>> model = MergeDNAModel(MergeDNAConfig.micro()).eval()
            >>> tokens = model.encode_tokens(**DNATokenizer()(["ACGTACGTAC"], return_tensors="pt"))
            >>> len(tokens.segmentation.tokens("ACGTACGTAC"))
            5
        """
        model = self.base_model
        budget = {} if tokens_per_base is None else model.config.budget_fields(tokens_per_base)
        return model._encode_tokens(input_ids, attention_mask, vectors, **budget)

    def _encode_tokens(self, *args: Any, **kwargs: Any) -> Encoded:
        """:meth:`encode_tokens` of the model without a head, under fields of its configuration."""
        raise NotImplementedError

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # A module starts its own parameters, never those of its children: releases of transformers differ in
        # which modules they call this for.
        if isinstance(module, StartsItself):
            module.reset_parameters()
        elif isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        else:
            # Norms, and what a user's own head is made of.
            super()._init_weights(module)

    def set_attn_implementation(self, attn_implementation: Any, **kwargs: Any) -> None:
        """Switches full attention between ``"sdpa"`` and ``"eager"``."""
        super().set_attn_implementation(attn_implementation, **kwargs)
        for module in self.modules():
            if isinstance(module, SelfAttention | CrossAttention):
                module.implementation = attention_implementation(self.config)


def attention_implementation(config: Any) -> str:
    """``"sdpa"`` or ``"eager"``; a bare config, which no PreTrainedModel has resolved, names neither."""
    implementation: str | None = config._attn_implementation
    return implementation or "sdpa"


def keys_for_layers(
    config: Any, x: torch.Tensor, lengths: torch.Tensor | None, bias: torch.Tensor | None = None
) -> tuple[torch.Tensor | None, ...]:
    """:func:`~dnachunk.nn.attention.keys_to_attend` for the layers of a configuration."""
    head_dim = config.hidden_size // config.num_attention_heads
    return keys_to_attend(x, lengths, head_dim, attention_implementation(config), bias)


def hidden_state_list(config: Any, output_hidden_states: bool | None) -> list[torch.Tensor] | None:
    """Where layers append what they leave; ``None`` unless the argument, or else the configuration, asks."""
    wanted = config.output_hidden_states if output_hidden_states is None else output_hidden_states
    return [] if wanted else None


def refuse_unknown(model: PreTrainedModel, kwargs: dict[str, Any]) -> None:
    """Refuses what ``forward`` of ``model`` was asked for and cannot do.

    Arguments that are None or False ask for nothing: ``peft`` passes such to any model.

    Raises:
        ValueError: If attention weights are asked for, by argument or by the configuration: no form of
            attention here keeps them.
        TypeError: On other arguments that ``forward`` does not have.
    """
    name = type(model).__name__
    asked = {
        argument: value for argument, value in kwargs.items() if value is not None and value is not False
    }
    if asked.pop("output_attentions", False) or model.config.output_attentions:
        raise ValueError(f"{name}: output_attentions must be False: attention keeps no weights, got True")
    if asked:
        raise TypeError(f"{name}: arguments must be those of forward, got {sorted(asked)}")


def real_lengths(
    model: str, x: torch.Tensor, attention_mask: torch.Tensor | None, input_ids: torch.Tensor | None
) -> tuple[torch.Tensor, bool]:
    """Real positions of each sequence of a right-padded batch.

    Args:
        model: Name of the caller, for messages.
        x: ``[B, N, D]``, what was embedded.
        attention_mask: ``[B, N]``, 1 at real positions and 0 at padding; ``None`` is all real.
        input_ids: ``[B, N]`` ids that ``x`` embeds, if it does; without a mask they may hold no padding.

    Returns:
        ``[B]`` int64 lengths, and whether all sequences are known to fill the batch: with a mask, on the CPU
        alone.

    Raises:
        ValueError: On a mask of another shape; and on the CPU on one whose padding is not on the right, or
            padding without a mask. Elsewhere a mask is taken at its word, its number of ones for a length: to
            read it, the host would wait for the device.
    """
    (batch, length), device = x.shape[:2], x.device
    if attention_mask is None:
        if input_ids is not None and reads_values(input_ids):
            is_padding = (input_ids == PAD_ID).any(dim=1)
            if is_padding.any():
                raise ValueError(
                    f"{model}: attention_mask must be given beside padding ([PAD] in row "
                    f"{int(is_padding.nonzero()[0])} of input_ids), got None"
                )
        return full_lengths(x), True
    if attention_mask.shape != (batch, length):
        got = list(attention_mask.shape)
        raise ValueError(f"{model}: attention_mask must be [{batch}, {length}], got {got}")
    is_real = attention_mask.to(device) != 0
    lengths = is_real.sum(dim=1)
    if not reads_values(x):
        return lengths, False
    if length and not torch.equal(is_real, real_positions(lengths, length)):
        row = int((is_real[:, 1:] & ~is_real[:, :-1]).any(dim=1).nonzero()[0])
        raise ValueError(
            f"{model}: attention_mask must be right-padded (ones, then zeros), got padding before a base in "
            f"row {row}"
        )
    return lengths, bool((lengths == length).all())


def check_ids(model: str, input_ids: Any) -> None:
    """Checks the type and the shape of ids.

    Raises:
        TypeError: Unless they are a tensor of integers.
        ValueError: Unless they are ``[B, N]``.
    """
    if not isinstance(input_ids, torch.Tensor) or input_ids.dtype not in (torch.int64, torch.int32):
        kind = getattr(input_ids, "dtype", type(input_ids).__name__)
        raise TypeError(f"{model}: input_ids must be a torch.Tensor of int64, got {kind}")
    if input_ids.dim() != 2:
        raise ValueError(f"{model}: input_ids must be [B, N], got {list(input_ids.shape)}")


def embed(
    model: str, embedding: nn.Embedding, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None
) -> torch.Tensor:
    """Embeds ``input_ids [B, N]``, or takes ``inputs_embeds [B, N, D]`` as they are.

    Raises:
        TypeError: On ids of another type.
        ValueError: Unless exactly one of the two is given, in its shape and range.
    """
    if (input_ids is None) == (inputs_embeds is None):
        given = "both" if input_ids is not None else "neither"
        raise ValueError(f"{model}: exactly one of input_ids and inputs_embeds must be given, got {given}")
    if input_ids is None:
        assert inputs_embeds is not None
        if inputs_embeds.dim() != 3 or inputs_embeds.shape[2] != embedding.embedding_dim:
            want = f"[B, N, {embedding.embedding_dim}]"
            raise ValueError(f"{model}: inputs_embeds must be {want}, got {list(inputs_embeds.shape)}")
        return inputs_embeds
    check_ids(model, input_ids)
    if reads_values(input_ids) and input_ids.numel():
        low, high = input_ids.aminmax()
        if low < 0 or high >= embedding.num_embeddings:
            got = int(low if low < 0 else high)
            raise ValueError(f"{model}: input_ids must be in [0, {embedding.num_embeddings}), got {got}")
    return embedding(input_ids)


def mean_over_tokens(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Unweighted mean of ``hidden [B, L, D]`` over each sequence's real tokens, in float32 at least."""
    is_real = real_positions(lengths, hidden.shape[1])
    wide = hidden if hidden.dtype == torch.float64 else hidden.float()
    total = torch.where(is_real[..., None], wide, 0.0).sum(dim=1)
    return (total / lengths.clamp_min(1)[:, None]).to(hidden.dtype)


def global_total(
    count: torch.Tensor, labels: torch.Tensor, num_items: torch.Tensor | int | None
) -> torch.Tensor:
    """What a loss of this micro-batch is to be divided by, so that those of a global batch add up to a mean.

    Args:
        count: How many the loss of this micro-batch is a sum over, or several such numbers, of any shape.
        labels: ``[B, N]`` int64 of this micro-batch, −100 where nothing is asked.
        num_items: Labelled positions of the global batch; ``None`` where this is the whole batch.

    Returns:
        ``count`` over all ranks; where the steps of gradient accumulation follow one another, the other
        micro-batches' count is taken to be as large for each labelled position as this one's.
    """
    if num_items is None:
        return count
    labelled = (labels != IGNORE_INDEX).sum().to(count.dtype)
    sums = torch.cat([count.flatten(), labelled[None]])
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(sums)
    return sums[:-1].view_as(count) * num_items / sums[-1].clamp_min(1)


def base_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    num_items: torch.Tensor | int | None = None,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy summed over labelled positions, over their number.

    Args:
        logits: ``[B, N, V]`` of any float dtype; the loss is computed in float32 (float64 for float64).
        labels: ``[B, N]`` int64, −100 where nothing is asked.
        num_items: Number to divide by: the labelled positions (or their weight) of the global batch; default
            those given.
        weight: ``[B, N]`` float, what each position counts; default 1.

    Returns:
        Scalar, in nats; a differentiable 0 when nothing is labelled.

    Raises:
        TypeError: On labels that are not int64.
        ValueError: On labels of another shape, and on the CPU on labels out of range.
    """
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"labels must be {list(logits.shape[:-1])}, got {list(labels.shape)}")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be {torch.int64}, got {labels.dtype}")
    if reads_values(labels):
        is_wrong = (labels != IGNORE_INDEX) & ((labels < 0) | (labels >= logits.shape[-1]))
        if is_wrong.any():
            got = labels[is_wrong][0].item()
            raise ValueError(f"labels must be in [0, {logits.shape[-1]}) or {IGNORE_INDEX}, got {got}")
    wide = logits if logits.dtype == torch.float64 else logits.float()
    reduction = "sum" if weight is None else "none"
    loss = F.cross_entropy(
        wide.flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX, reduction=reduction
    )
    count = labels != IGNORE_INDEX
    if weight is not None:
        loss = (loss * weight.flatten()).sum()
        count = count * weight
    if num_items is None:
        num_items = count.sum()
    if not isinstance(num_items, torch.Tensor):
        return loss / (num_items if num_items > 0 else 1)
    num_items = num_items.to(loss.device)
    return loss / torch.where(num_items > 0, num_items, 1)


def classification_loss(logits: torch.Tensor, labels: torch.Tensor, config: Any) -> torch.Tensor:
    """Loss of a classification head, chosen as Hugging Face does.

    Args:
        logits: ``[..., num_labels]``.
        labels: ``[...]`` int64 classes (−100 is ignored), or ``[..., num_labels]`` float for several labels
            and for regression (``[...]`` for regression on one value; NaN is ignored).
        config: Its ``problem_type`` decides; when unset it is inferred from the labels and then kept.

    Returns:
        Scalar mean.

    Raises:
        ValueError: If the labels do not fit the problem or the number of classes.
    """
    num_labels = config.num_labels
    if config.problem_type is None:
        if num_labels == 1:
            config.problem_type = "regression"
        elif labels.is_floating_point():
            config.problem_type = "multi_label_classification"
        else:
            config.problem_type = "single_label_classification"
    wide = logits if logits.dtype == torch.float64 else logits.float()
    if config.problem_type == "single_label_classification":
        if labels.shape != logits.shape[:-1]:
            want = list(logits.shape[:-1])
            raise ValueError(
                f"labels must be {want} for single_label_classification, got {list(labels.shape)}"
            )
        return base_loss(wide.view(1, -1, num_labels), labels.view(1, -1))
    labels = labels.to(wide.dtype).reshape(wide.shape) if labels.numel() == wide.numel() else labels
    if labels.shape != wide.shape:
        want = list(wide.shape)
        raise ValueError(f"labels must be {want} for {config.problem_type}, got {list(labels.shape)}")
    is_known = labels.isfinite()
    safe = torch.where(is_known, labels, 0.0)
    if config.problem_type == "regression":
        each = (wide - safe) ** 2
    else:
        each = F.binary_cross_entropy_with_logits(wide, safe, reduction="none")
    return torch.where(is_known, each, 0.0).sum() / is_known.sum().clamp_min(1)


class Classifier(DNAPreTrainedModel):
    """What the models with labels share: the base model, what the head reads of its output, and the head.

    A subclass names the arguments of ``forward``, which Hugging Face reads, and calls :meth:`classify`.

    With ``config.allele_pairs`` ``input_ids`` and ``attention_mask`` are ``[B, 2, N]`` (``inputs_embeds``
    ``[B, 2, N, D]``), the reference allele first, and the head reads the difference of the features,
    alternate minus reference, beside it, where ``config.tissues`` has names, which of them ``tissue [B]``
    says (one-hot). The outputs but logits and loss are then of ``2B`` sequences.
    """

    # The loss is a mean over the batch given.
    accepts_loss_kwargs = False
    base_class: Any
    """Class of the base model."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = self.base_class(config)
        if config.allele_pairs and type(self).__name__.endswith("ForTokenClassification"):
            raise ValueError(
                f"{type(self).__name__}: allele_pairs must be False: a pair has no bases of its own, got True"
            )
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier: nn.Module = nn.Linear(self.head_width, config.num_labels)

    @property
    def head_width(self) -> int:
        """Channels that the head reads."""
        return self.config.hidden_size + len(self.config.tissues)

    def alleles(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
    ) -> tuple[torch.Tensor | None, ...]:
        """Pairs of alleles as twice as many sequences, for the base model; others as they are.

        Raises:
            ValueError: If ``config.allele_pairs`` and one is not of pairs.
        """
        named = {"input_ids": input_ids, "attention_mask": attention_mask, "inputs_embeds": inputs_embeds}
        if not self.config.allele_pairs:
            return tuple(named.values())
        for name, value in named.items():
            dims = 4 if name == "inputs_embeds" else 3
            if value is not None and (value.dim() != dims or value.shape[1] != 2):
                want = "[B, 2, N, D]" if dims == 4 else "[B, 2, N]"
                raise ValueError(
                    f"{type(self).__name__}: {name} must be {want}, the reference and the alternate allele, "
                    f"got {list(value.shape)}"
                )
        return tuple(None if value is None else value.flatten(0, 1) for value in named.values())

    def features(self, encoded: Any) -> torch.Tensor:
        """What the head reads of the base model's output, ``[..., D]``, a vector for each label."""
        raise NotImplementedError

    def classify(
        self, encoded: Any, labels: torch.Tensor | None, tissue: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor | None]:
        """``logits [..., num_labels]`` and, with labels, ``loss``.

        Raises:
            ValueError: On labels that do not fit the problem, and on tissues that the head does not read.
        """
        features = self.features(encoded)
        if self.config.allele_pairs:
            reference, alternate = features.unflatten(0, (-1, 2)).unbind(1)
            features = alternate - reference
        features = self.dropout(features)
        kinds = len(self.config.tissues)
        if (tissue is not None) != (kinds > 0) or (tissue is not None and tissue.shape != features.shape[:1]):
            got = "none" if tissue is None else list(tissue.shape)
            want = f"[{len(features)}]" if kinds else "left out, as config.tissues is empty"
            raise ValueError(f"{type(self).__name__}: tissue must be {want}, got {got}")
        if tissue is not None:
            if reads_values(tissue) and not bool(((tissue >= 0) & (tissue < kinds)).all()):
                raise ValueError(
                    f"{type(self).__name__}: tissue must be in [0, {kinds}), got {tissue.tolist()}"
                )
            features = torch.cat([features, F.one_hot(tissue, kinds).to(features.dtype)], dim=-1)
        logits = self.classifier(features)
        loss = None if labels is None else classification_loss(logits, labels, self.config)
        return {"loss": loss, "logits": logits}
