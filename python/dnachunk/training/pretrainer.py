"""Hugging Face's Trainer on windows of genomes."""

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, SequentialSampler, Subset
from transformers import PreTrainedTokenizerBase, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from dnachunk.data.windows import HeldOutWindows, WindowCollator
from dnachunk.evaluation.masked_bases import MaskedBaseScores, masked_window_sums
from dnachunk.training.objectives import Batch, objective_of
from dnachunk.training.trainer import WholeCheckpointTrainer


class PreTrainer(WholeCheckpointTrainer):
    """Pre-trains a model on windows, so that the numbers depend on the seed and the global batch alone.

    Windows are taken in the order of their indices: a step's global batch of ``B`` windows is those from
    ``step · B`` on, for any number of ranks, loader workers or accumulation steps, and a run is resumed by
    skipping. Every random draw of a step is keyed by ``args.seed``, the step, and the window's index.

    Beside Hugging Face's own values the log has each of the model's losses (``reconstruction_loss``, …),
    ``compression`` (bases per token; ``compression_0`` and ``compression_1``, positions per chunk of each
    stage, for DNAChunker), ``mask_rate``, ``keep_ratio`` and, for MxDNA, the share of the units that each
    expert has (``expert_0_share``, …), averaged since the last entry. Evaluation gives, beside ``eval_loss``
    and its parts, ``eval_masked_accuracy`` and ``eval_masked_nats`` at bases that show ``[MASK]`` where 15%
    are selected, the same at bases that the model tells apart (those that MergeDNA masks itself,
    ``eval_amtm_accuracy``; those in repeats and outside, ``eval_masked_in_repeats_accuracy``, for
    DNAChunker), the compression of unmasked input where it is learned, and for MergeDNA of each merging layer
    the share of candidates whose score is tied at the threshold (``eval_tied_candidates_0``, …, see
    :func:`~dnachunk.nn.token_merge.tied_candidates`), with the same draws every time.
    With a fixed tokenizer, ``eval_masked_nats`` and its like are those of single bases again, whatever the
    tokens (see :mod:`dnachunk.evaluation.token_letters`, which says why byte-pair encoding has none);
    ``eval_masked_token_nats`` and ``eval_masked_token_accuracy`` are of whole tokens, hidden as in training,
    by base (see :class:`~dnachunk.training.objectives.fixed.FixedTokenObjective`). Where the windows are of
    several genomes, each metric stands there for each of them too, ``eval_masked_nats/yeast`` for that of
    ``yeast.fa.gz``; the others are of all windows together.

    The losses are sums over the global batch over its labelled bases; for what that means to adaptive masking
    with gradient accumulation see :meth:`~dnachunk.models.MergeDNAForPreTraining.forward`.

    Checkpoints are written under another name and renamed when they are complete.

    Args:
        model: A model that :func:`~dnachunk.training.objectives.objective_of` knows.
        args: Hugging Face's arguments; ``seed`` keys all draws.
        train_dataset: A :class:`~dnachunk.data.WindowDataset` of at least ``max_steps`` global batches.
        eval_dataset: :class:`~dnachunk.data.HeldOutWindows`, or several by name.
        tokenizer: Saved with the model; a :class:`~dnachunk.FixedTokenizer` makes the tokens of any masked
            language model.
        mask_probability: Of a base, or a token, being selected in masked modelling; evaluation selects 15%.
        **kwargs: Other arguments of ``Trainer``.

    Raises:
        ValueError: If the model has no pre-training objective here.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        train_dataset: Dataset[Any] | None = None,
        eval_dataset: Dataset[Any] | dict[str, Dataset[Any]] | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        mask_probability: float = 0.15,
        **kwargs: Any,
    ) -> None:
        # The caller's stay as they are.
        args = copy.copy(args)
        self.objective = objective_of(model.config, tokenizer)
        # All means are over the global batch.
        args.average_tokens_across_devices = True
        # Every parameter is in every pass; searching for unused ones costs a walk of the graph.
        if args.ddp_find_unused_parameters is None:
            args.ddp_find_unused_parameters = False
        super().__init__(
            model=model,
            args=args,
            data_collator=self.objective.collator(model.config, args.seed, mask_probability),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            **kwargs,
        )
        self.control: Any = self.control
        self._sums: dict[str, Any] = defaultdict(float)

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> SequentialSampler:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        return SequentialSampler(dataset)

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of one micro-batch; see :class:`Trainer`."""
        config = self.model.config
        arguments = self.objective.training_inputs(config, inputs, self.args.seed, self.state.global_step)
        if isinstance(num_items_in_batch, torch.Tensor):
            # The mean over nothing is 0; Hugging Face's own losses would make it NaN.
            num_items_in_batch = num_items_in_batch.clamp_min(1)
        output = model(**arguments, num_items_in_batch=num_items_in_batch)
        self._count(arguments, output)
        # Gradients are averaged over ranks, and each rank's loss is its part of a sum.
        loss = output.loss * self.accelerator.num_processes
        return (loss, output) if return_outputs else loss

    def _count(self, arguments: dict[str, Any], output: Any) -> None:
        """Adds to what the next log entry shows, on the device: reading a value would wait for it."""
        sums = self._sums
        for name, value in _losses(output).items():
            sums[f"{name}_loss"] += value.detach()
        sums["micro_batches"] += 1
        for name, counts in self.objective.ratios(output, arguments).items():
            sums[f"{name}/numerator"] += counts[0]
            sums[f"{name}/denominator"] += counts[1]
        if getattr(output, "is_masked", None) is not None:
            sums["bases"] += arguments["attention_mask"].sum()
            sums["masked_bases"] += output.is_masked.sum()
        if "keep_ratio" in arguments:
            sums["keep_ratios"] += arguments["keep_ratio"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Logs, adding what was counted since the last entry; see :class:`Trainer`."""
        if "loss" in logs and self._sums:
            values = torch.tensor([float(value) for value in self._sums.values()], dtype=torch.float64)
            sums = dict(zip(self._sums, self._over_ranks(values).tolist(), strict=True))
            self._sums.clear()
            micro_batches = sums["micro_batches"]
            steps = micro_batches / self.args.gradient_accumulation_steps / self.accelerator.num_processes
            logs.update({name: value / steps for name, value in sums.items() if name.endswith("_loss")})
            for name in [key.removesuffix("/numerator") for key in sums if key.endswith("/numerator")]:
                logs[name] = sums[f"{name}/numerator"] / sums[f"{name}/denominator"]
            if "masked_bases" in sums:
                logs["mask_rate"] = sums["masked_bases"] / sums["bases"]
            if "keep_ratios" in sums:
                logs["keep_ratio"] = sums["keep_ratios"] / micro_batches
        super().log(logs, start_time)

    def get_eval_dataloader(self, eval_dataset: str | Dataset[Any] | None = None) -> DataLoader[Any]:
        """Batches of this rank's share of the windows: every window in one rank's batches, once."""
        dataset: Any = eval_dataset if eval_dataset is not None else self.eval_dataset
        if isinstance(dataset, str):
            dataset = self.eval_dataset[dataset]
        if dataset is None:
            raise ValueError("PreTrainer: evaluation requires an eval_dataset, got None")
        if len(dataset) < self.args.world_size:
            raise ValueError(
                f"PreTrainer: eval_dataset must hold a window for each of {self.args.world_size} ranks, "
                f"got {len(dataset)}"
            )
        share = range(self.args.process_index, len(dataset), self.args.world_size)
        return DataLoader(
            Subset(dataset, share),
            self.args.per_device_eval_batch_size,
            collate_fn=WindowCollator(),
            num_workers=self.args.dataloader_num_workers,
        )

    @torch.no_grad()
    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Evaluates; see :class:`PreTrainer` for the metrics and :class:`Trainer` for the rest."""
        model, config, seed = self.model, self.model.config, self.args.seed
        was_training = model.training
        model.eval()
        self.callback_handler.eval_dataloader = dataloader
        genome_names, genome_indices = _genomes_of(dataloader.dataset)
        # By name, of each genome the sums that a metric is made of.
        loss_sums: dict[str, torch.Tensor] = {}
        masked_sums: dict[str, torch.Tensor] = {}
        ratio_sums: dict[str, torch.Tensor] = {}

        def predict(batch: Batch) -> torch.Tensor:
            return self.objective.predict(model, batch)

        with self.accelerator.autocast():
            for batch in self._on_device(dataloader):
                for genome, part in _by_genome(batch, genome_indices):

                    def add(sums: dict[str, torch.Tensor], name: str, values: torch.Tensor) -> None:
                        zeros = torch.zeros(len(genome_names), len(values), dtype=torch.float64)
                        sums.setdefault(name, zeros)[genome] += values.double().cpu()  # noqa: B023

                    arguments = self.objective.evaluation_inputs(config, part, seed)
                    output = model(**arguments)
                    for name, count in self.objective.loss_counts(config, output, arguments).items():
                        total = float(_losses(output)[name]) * float(count)
                        add(loss_sums, name, torch.tensor([total, float(count)], dtype=torch.float64))
                    for name, sums in self.objective.masked_sums(output, arguments).items():
                        add(masked_sums, name, sums)
                    for name, counts in self.objective.evaluation_ratios(model, part).items():
                        add(ratio_sums, name, counts)
                    if self.objective.predicts_bases:
                        add(masked_sums, "masked", masked_window_sums(predict, part, seed=seed))
                self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        model.train(was_training)

        all_sums = [
            {name: self._over_ranks(sums) for name, sums in each.items()}
            for each in (loss_sums, ratio_sums, masked_sums)
        ]
        weights = self.objective.loss_weights(config)
        pooled = ({name: sums.sum(dim=0) for name, sums in each.items()} for each in all_sums)
        metrics = _metrics(weights, *pooled)
        for genome, genome_name in enumerate(genome_names if len(genome_names) > 1 else ()):
            of_genome = _metrics(
                weights, *({name: sums[genome] for name, sums in each.items()} for each in all_sums)
            )
            metrics |= {f"{name}/{genome_name}": value for name, value in of_genome.items()}
        num_windows = len(dataloader.dataset) * self.args.world_size  # type: ignore[arg-type]
        prefixed = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(None, None, prefixed, num_windows)

    def _on_device(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        return (self._prepare_inputs(batch) for batch in batches)

    def _over_ranks(self, sums: torch.Tensor) -> torch.Tensor:
        """The sum of ``sums`` over all ranks, on the CPU."""
        if self.args.world_size == 1:
            return sums
        return self.accelerator.reduce(sums.to(self.args.device), reduction="sum").cpu()


def _metrics(
    weights: dict[str, float],
    loss_sums: dict[str, torch.Tensor],
    ratio_sums: dict[str, torch.Tensor],
    masked_sums: dict[str, torch.Tensor],
) -> dict[str, float]:
    """Metrics by name, of what sums are not empty."""
    losses = {name: (sums[0] / sums[1]).item() if sums[1] else 0.0 for name, sums in loss_sums.items()}
    metrics = {"loss": sum(weights[name] * loss for name, loss in losses.items())}
    metrics |= {f"{name}_loss": loss for name, loss in losses.items()}
    metrics |= {name: (sums[0] / sums[1]).item() for name, sums in ratio_sums.items() if sums[1]}
    for name, sums in masked_sums.items():
        if sums[2]:
            scores = MaskedBaseScores.from_sums(sums)
            metrics[f"{name}_accuracy"] = scores.masked_accuracy
            metrics[f"{name}_nats"] = scores.masked_nats
            metrics[f"{name}_count"] = scores.masked_count
    return metrics


def _genomes_of(dataset: Any) -> tuple[list[str], torch.Tensor | None]:
    """The genomes' names, each once, and which of them each window is of; None where they are of one."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    if not isinstance(dataset, HeldOutWindows):
        return [""], None
    present = dataset.genome_indices.unique()
    names: list[str] = []
    for index in present.tolist():
        name = dataset.genomes[index].name
        names.append(name if name not in names else f"{name}_{index + 1}")
    return names, torch.searchsorted(present, dataset.genome_indices) if len(names) > 1 else None


def _by_genome(batch: Batch, genome_indices: torch.Tensor | None) -> Iterator[tuple[int, Batch]]:
    """The parts of a batch that are of one genome each."""
    if genome_indices is None:
        yield 0, batch
        return
    genomes = genome_indices[batch["sample_index"].cpu()]
    for genome in genomes.unique().tolist():
        rows = (genomes == genome).nonzero()[:, 0].to(batch["sample_index"].device)
        yield genome, {name: values[rows] for name, values in batch.items()}


def _losses(output: Any) -> dict[str, torch.Tensor]:
    """The losses by name; a model of Hugging Face's own has one."""
    return getattr(output, "losses", {"masked": output.loss})
