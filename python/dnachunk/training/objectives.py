"""What pre-training asks of each model: the only part of training that differs between them."""

from typing import Any, Protocol

import torch
import torch.nn.functional as F

from dnachunk.alphabet import A_ID, IGNORE_INDEX, MASK_ID, T_ID
from dnachunk.baselines import FixedTokenizer
from dnachunk.data.masking import MaskingCollator, mask_bases, mask_seeds
from dnachunk.data.windows import WindowCollator
from dnachunk.evaluation.masked_bases import masked_base_sums
from dnachunk.models.mergedna.objective_mergedna import draw_keep_ratio
from dnachunk.models.mxdna import between_special_tokens, expert_counts
from dnachunk.nn.basic_units import SelectedUnits
from dnachunk.random import mix
from dnachunk.training.fixed_objective import FixedTokenObjective

Batch = dict[str, torch.Tensor]


class Objective(Protocol):
    """Pre-training of one model; :func:`objective_of` finds it.

    Attributes:
        predicts_bases: Whether :meth:`predict` can be asked.
    """

    predicts_bases: bool

    def collator(self, config: Any, seed: int) -> Any:
        """What makes a training batch of windows."""

    def training_inputs(self, config: Any, batch: Batch, seed: int, step: int) -> dict[str, Any]:
        """Arguments of the model's ``forward`` for a batch of ``collator`` in one optimizer step.

        All draws are keyed by ``seed``, ``step`` and the samples' indices, and what one step's global batch
        has in common by ``seed`` and ``step`` alone.
        """

    def evaluation_inputs(self, config: Any, batch: Batch, seed: int) -> dict[str, Any]:
        """Arguments of ``forward`` for a batch of :class:`~dnachunk.data.WindowCollator` in evaluation."""

    def loss_weights(self, config: Any) -> dict[str, float]:
        """Of each named loss that there may be, its weight in the loss to minimise."""

    def loss_counts(self, config: Any, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Of each named loss in evaluation, how much it is a mean over: bases, their weight, or sequences."""

    def predict(self, model: Any, batch: Batch) -> torch.Tensor:
        """Logits ``[B, N, V]`` of every base that shows ``[MASK]`` in a corrupted batch."""

    def masked_sums(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """By name, ``masked_base_sums`` at kinds of masked bases that a model tells apart, in evaluation."""

    def ratios(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """In training, by the name of what is logged as a quotient of two sums, the two, ``[2]``.

        Compressions are such: positions, and the tokens they make.
        """

    def evaluation_ratios(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """The same in evaluation, always of the unmasked input."""


class MergeDNAObjective:
    """MergeDNA's three passes (Eq. 8), or masked modelling with ``objective="masked"``."""

    predicts_bases = True

    def collator(self, config: Any, seed: int) -> WindowCollator | MaskingCollator:
        """See :class:`Objective`."""
        return MaskingCollator(seed=seed) if config.objective == "masked" else WindowCollator()

    def training_inputs(self, config: Any, batch: Batch, seed: int, step: int) -> dict[str, Any]:
        """See :class:`Objective`; the keep ratio is one draw for the global batch."""
        return {
            **_model_inputs(batch),
            "keep_ratio": draw_keep_ratio(config, seed, step),
            "sample_seeds": _sample_seeds(batch, seed, step),
        }

    def evaluation_inputs(self, config: Any, batch: Batch, seed: int) -> dict[str, Any]:
        """See :class:`Objective`; at the configuration's keep ratio."""
        inputs = _model_inputs(batch)
        if config.objective == "masked":
            inputs = _model_inputs(_masked(batch, seed))
        return {**inputs, "keep_ratio": config.keep_ratio, "sample_seeds": _sample_seeds(batch, seed)}

    def loss_weights(self, config: Any) -> dict[str, float]:
        """See :class:`Objective`; those of Eq. 8."""
        if config.objective == "masked":
            return {"masked": 1.0}
        names = ("reconstruction", "latent_reconstruction", "masked")
        return {name: getattr(config, f"{name}_weight") for name in names}

    def loss_counts(self, config: Any, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`."""
        del config
        is_labelled = arguments["labels"] != IGNORE_INDEX
        counts = dict.fromkeys(output.losses, is_labelled.sum())
        if output.is_masked is not None:
            counts["masked"] = (is_labelled & output.is_masked).sum()
        return counts

    def predict(self, model: Any, batch: Batch) -> torch.Tensor:
        """See :class:`Objective`; the first pass's path, which is what the masked-LM model computes."""
        ratio = model.config.keep_ratio
        tokens, is_full = model.model.tokenize(batch["input_ids"], batch["attention_mask"], None, ratio)
        return model.decode(model.model.latent_encoder(tokens, is_full), tokens, is_full)

    def masked_sums(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; ``amtm``, at the mask rate of adaptive masking."""
        if output.masked_logits is None:
            return {}
        return {"amtm": _letter_sums(output.masked_logits, arguments["labels"], output.is_masked)}

    def ratios(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`."""
        bases = arguments["attention_mask"].sum()
        return {"compression": torch.stack([bases, output.segmentation.num_tokens.sum()])}

    def evaluation_ratios(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; budgets are exact, so nothing is to be found out."""
        del model, batch
        return {}


class DNAChunkerObjective:
    """DNAChunker's masked language modelling, its repeats weighing less, and its ratio losses."""

    predicts_bases = True

    def collator(self, config: Any, seed: int) -> MaskingCollator:
        """See :class:`Objective`."""
        del config
        return MaskingCollator(seed=seed)

    def training_inputs(self, config: Any, batch: Batch, seed: int, step: int) -> dict[str, Any]:
        """See :class:`Objective`; nothing is drawn."""
        del config, seed, step
        return {**_model_inputs(batch), "repeat_mask": batch["repeat_mask"]}

    def evaluation_inputs(self, config: Any, batch: Batch, seed: int) -> dict[str, Any]:
        """See :class:`Objective`."""
        return self.training_inputs(config, _masked(batch, seed), seed, 0)

    def loss_weights(self, config: Any) -> dict[str, float]:
        """See :class:`Objective`."""
        return {"masked": 1.0, "ratio_0": config.ratio_weight, "ratio_1": config.ratio_weight}

    def loss_counts(self, config: Any, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; the masked loss is over weights, the ratio losses over sequences."""
        labels = arguments["labels"]
        weight = torch.where(arguments["repeat_mask"], config.repeat_weight, 1.0)
        counts = dict.fromkeys(output.losses, torch.tensor(len(labels)))
        return {**counts, "masked": (weight * (labels != IGNORE_INDEX)).sum()}

    def predict(self, model: Any, batch: Batch) -> torch.Tensor:
        """See :class:`Objective`."""
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits

    def masked_sums(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; where ``[MASK]`` is shown, inside repeats and outside of them."""
        shows_mask, is_repeat = arguments["input_ids"] == MASK_ID, arguments["repeat_mask"]
        kinds = {"masked_in_repeats": is_repeat, "masked_outside_repeats": ~is_repeat}
        return {
            name: _letter_sums(output.logits, arguments["labels"], shows_mask & where)
            for name, where in kinds.items()
        }

    def ratios(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; over boundaries that no ``[MASK]`` forced, so masking counts little."""
        lengths = (arguments["attention_mask"].sum(dim=1), output.stage_segmentations[0].num_tokens)
        counts = {}
        for stage, (probability, length) in enumerate(
            zip(output.boundary_probabilities, lengths, strict=True)
        ):
            is_real = torch.arange(probability.shape[1], device=length.device) < length[:, None]
            is_free = is_real & (probability < 1)
            counts[f"compression_{stage}"] = torch.stack(
                [is_free.sum(), (is_free & (probability >= 0.5)).sum().clamp_min(1)]
            )
        return counts

    def evaluation_ratios(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """See :class:`Objective`."""
        _, segmentations = model.model.encode(batch["input_ids"], batch["attention_mask"])
        sums = [batch["attention_mask"].sum(), *(stage.num_tokens.sum() for stage in segmentations)]
        return {f"compression_{i}": torch.stack(sums[i : i + 2]) for i in range(2)}


class MxDNAObjective:
    """MxDNA's masked language modelling with load balancing, between ``[CLS]`` and ``[SEP]``."""

    predicts_bases = True

    def collator(self, config: Any, seed: int) -> MaskingCollator:
        """See :class:`Objective`."""
        del config
        return MaskingCollator(seed=seed)

    def training_inputs(self, config: Any, batch: Batch, seed: int, step: int) -> dict[str, Any]:
        """See :class:`Objective`; the router's jitter is drawn."""
        del config
        return {**_between_special_tokens(batch), "noise_seeds": _sample_seeds(batch, seed, step)}

    def evaluation_inputs(self, config: Any, batch: Batch, seed: int) -> dict[str, Any]:
        """See :class:`Objective`; without jitter."""
        del config
        return _between_special_tokens(_masked(batch, seed))

    def loss_weights(self, config: Any) -> dict[str, float]:
        """See :class:`Objective`."""
        return {"masked": 1.0, "load_balancing": config.load_balancing_weight}

    def loss_counts(self, config: Any, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; balance is a mean over units."""
        del config
        units = (output.tokens.units.token_expert >= 0).sum()
        return {"masked": (arguments["labels"] != IGNORE_INDEX).sum(), "load_balancing": units}

    def predict(self, model: Any, batch: Batch) -> torch.Tensor:
        """See :class:`Objective`."""
        ids, mask = between_special_tokens(batch["input_ids"], batch["attention_mask"])
        return model(ids, mask).logits[:, 1:-1]

    def masked_sums(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; there are none."""
        del output, arguments
        return {}

    def ratios(self, output: Any, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See :class:`Objective`; compression, and the share of the units that each expert has."""
        del arguments
        return self._ratios(output.tokens.units)

    def evaluation_ratios(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """See :class:`Objective`."""
        ids, mask = between_special_tokens(batch["input_ids"], batch["attention_mask"])
        return self._ratios(model.model.tokenize(ids, mask)[1].units)

    def _ratios(self, units: SelectedUnits) -> dict[str, torch.Tensor]:
        num_units = units.num_tokens.sum()
        ratios = {"compression": torch.stack([(units.token_index >= 0).sum(), num_units])}
        for expert, count in enumerate(expert_counts(units)):
            ratios[f"expert_{expert}_share"] = torch.stack([count, num_units])
        return ratios


def objective_of(config: Any, tokenizer: Any = None) -> Objective:
    """The pre-training objective of a model.

    Args:
        config: The model's; its ``model_type`` says which objective it is.
        tokenizer: The model's; with a :class:`~dnachunk.baselines.FixedTokenizer` it is masked language
            modelling of its tokens, whatever the model.

    Raises:
        ValueError: If this kind of model has none.
    """
    if isinstance(tokenizer, FixedTokenizer):
        return FixedTokenObjective(tokenizer)
    try:
        return _OBJECTIVES[config.model_type]
    except KeyError:
        known = ", ".join(map(repr, _OBJECTIVES))
        raise ValueError(
            f"objective_of: config.model_type must be of {known}, got {config.model_type!r}"
        ) from None


def _model_inputs(batch: Batch) -> dict[str, Any]:
    return {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}


def _between_special_tokens(batch: Batch) -> dict[str, Any]:
    ids, mask = between_special_tokens(batch["input_ids"], batch["attention_mask"])
    labels = F.pad(batch["labels"], (1, 1), value=IGNORE_INDEX)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _masked(batch: Batch, seed: int) -> Batch:
    masked = mask_bases(batch["input_ids"], mask_seeds(seed, batch["sample_index"]))
    return {**batch, "input_ids": masked.input_ids, "labels": masked.labels}


def _letter_sums(logits: torch.Tensor, labels: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    is_scored = where & (labels != IGNORE_INDEX)
    return masked_base_sums(logits[..., A_ID : T_ID + 1][is_scored], labels[is_scored])


def _sample_seeds(batch: Batch, seed: int, *path: int) -> torch.Tensor:
    index = batch["sample_index"]
    return torch.tensor([mix(seed, *path, sample) for sample in index.tolist()], device=index.device)


_OBJECTIVES: dict[str, Objective] = {
    "dnachunker": DNAChunkerObjective(),
    "mergedna": MergeDNAObjective(),
    "mxdna": MxDNAObjective(),
}
