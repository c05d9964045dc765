"""Hugging Face's Trainer on windows of genomes."""

import contextlib
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch.utils.data import DataLoader, Dataset, SequentialSampler, Subset
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput, rotate_checkpoints

from dnachunk.data.windows import WindowCollator
from dnachunk.evaluation.masked_bases import MaskedBaseScores, evaluate_masked_bases
from dnachunk.training.checkpoints import STAGING, abridged, saving, written_whole
from dnachunk.training.objectives import Batch, objective_of


class PreTrainer(Trainer):
    """Pre-trains a model on windows, so that the numbers depend on the seed and the global batch alone.

    Windows are taken in the order of their indices: a step's global batch of ``B`` windows is those from
    ``step · B`` on, for any number of ranks, loader workers or accumulation steps, and a run is resumed by
    skipping. Every random draw of a step is keyed by ``args.seed``, the step, and the window's index.

    Beside Hugging Face's own values the log has each of the model's losses (``reconstruction_loss``, …),
    ``compression`` (bases per token), ``mask_rate`` and ``keep_ratio``, averaged since the last entry.
    Evaluation gives, beside ``eval_loss`` and its parts, ``eval_masked_accuracy`` and ``eval_masked_nats`` at
    bases that show ``[MASK]`` where 15% are selected, and at the bases that the model masks itself
    (``eval_amtm_accuracy`` and ``eval_amtm_nats`` for MergeDNA), with the same draws every time.

    The losses are sums over the global batch over its labelled bases; for what that means to adaptive masking
    with gradient accumulation see :meth:`~dnachunk.models.MergeDNAForPreTraining.forward`.

    Checkpoints are written under another name and renamed when they are complete.

    Args:
        model: A model that :func:`~dnachunk.training.objectives.objective_of` knows.
        args: Hugging Face's arguments; ``seed`` keys all draws.
        train_dataset: A :class:`~dnachunk.data.WindowDataset` of at least ``max_steps`` global batches.
        eval_dataset: :class:`~dnachunk.data.HeldOutWindows`, or several by name.
        tokenizer: Saved with the model.
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
        **kwargs: Any,
    ) -> None:
        self.objective = objective_of(model.config)
        # The collator's keys that forward does not take are what the draws are keyed with.
        args.remove_unused_columns = False
        # All means are over the global batch.
        args.average_tokens_across_devices = True
        # Every parameter is in every pass; searching for unused ones costs a walk of the graph.
        if args.ddp_find_unused_parameters is None:
            args.ddp_find_unused_parameters = False
        # Several devices of one process would take DataParallel, which cannot gather a segmentation.
        args._n_gpu = min(args.n_gpu, 1)
        super().__init__(
            model=model,
            args=args,
            data_collator=self.objective.collator(model.config, args.seed),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            **kwargs,
        )
        self.control: Any = self.control
        self._sums: dict[str, Any] = defaultdict(float)
        self._staging: Path | None = None

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
        output = model(**arguments, num_items_in_batch=num_items_in_batch)
        self._count(arguments, output)
        # Gradients are averaged over ranks, and each rank's loss is its part of a sum.
        loss = output.loss * self.accelerator.num_processes
        return (loss, output) if return_outputs else loss

    def _count(self, arguments: dict[str, Any], output: Any) -> None:
        """Adds to what the next log entry shows, on the device: reading a value would wait for it."""
        sums = self._sums
        for name, value in output.losses.items():
            sums[f"{name}_loss"] += value.detach()
        sums["micro_batches"] += 1
        sums["bases"] += arguments["attention_mask"].sum()
        sums["tokens"] += output.segmentation.num_tokens.sum()
        if getattr(output, "is_masked", None) is not None:
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
            logs["compression"] = sums["bases"] / sums["tokens"]
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
        loss_sums: dict[str, torch.Tensor] = {}
        masked_sums: dict[str, torch.Tensor] = {}

        def add(sums: dict[str, torch.Tensor], name: str, value: torch.Tensor) -> None:
            sums[name] = sums[name] + value if name in sums else value

        with self.accelerator.autocast():
            for batch in self._on_device(dataloader):
                arguments = self.objective.evaluation_inputs(config, batch, seed)
                output = model(**arguments)
                for name, count in self.objective.loss_counts(output, arguments["labels"]).items():
                    total = float(output.losses[name]) * int(count)
                    add(loss_sums, name, torch.tensor([total, int(count)], dtype=torch.float64))
                for name, sums in self.objective.masked_sums(output, arguments["labels"]).items():
                    add(masked_sums, name, sums)
                self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
            scores = evaluate_masked_bases(
                lambda batch: self.objective.predict(model, batch), self._on_device(dataloader), seed=seed
            )
        model.train(was_training)
        means = torch.tensor([scores.masked_accuracy, scores.masked_nats, 1], dtype=torch.float64)
        masked_sums["masked"] = means * scores.masked_count

        losses = {}
        for name, sums in loss_sums.items():
            total, count = self._over_ranks(sums).tolist()
            losses[name] = total / count
        weights = self.objective.loss_weights(config)
        metrics: dict[str, float] = {
            f"{metric_key_prefix}_loss": sum(weights[name] * loss for name, loss in losses.items())
        }
        metrics.update({f"{metric_key_prefix}_{name}_loss": loss for name, loss in losses.items()})
        for name, sums in masked_sums.items():
            total_scores = MaskedBaseScores.from_sums(self._over_ranks(sums))
            metrics[f"{metric_key_prefix}_{name}_accuracy"] = total_scores.masked_accuracy
            metrics[f"{metric_key_prefix}_{name}_nats"] = total_scores.masked_nats
            metrics[f"{metric_key_prefix}_{name}_count"] = total_scores.masked_count
        num_windows = len(dataloader.dataset) * self.args.world_size  # type: ignore[arg-type]
        return EvalLoopOutput(None, None, metrics, num_windows)

    def _on_device(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        return (self._prepare_inputs(batch) for batch in batches)

    def _over_ranks(self, sums: torch.Tensor) -> torch.Tensor:
        """The sum of ``sums`` over all ranks, on the CPU."""
        if self.args.world_size == 1:
            return sums
        return self.accelerator.reduce(sums.to(self.args.device), reduction="sum").cpu()

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run_dir = Path(super()._get_output_dir(trial))
        name = f"checkpoint-{self.state.global_step}"
        staging = run_dir / STAGING
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        try:
            self._staging = staging
            with saving(name, run_dir):
                super()._save_checkpoint(model, trial)
                # Every rank writes a file of its own.
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    self._finish_checkpoint(staging / name, run_dir / name)
        finally:
            self._staging = None
            if self.args.should_save:
                shutil.rmtree(staging, ignore_errors=True)

    def _finish_checkpoint(self, written: Path, final: Path) -> None:
        if self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(final)
            self.state.save_to_json(str(written / "trainer_state.json"))
        if final.exists():
            os.replace(final, written.with_name("replaced"))
        os.replace(written, final)
        rotate_checkpoints(
            output_dir=str(final.parent),
            save_total_limit=self.args.save_total_limit,
            best_model_checkpoint=self.state.best_model_checkpoint,
        )

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves model and tokenizer, whole or not at all; see :class:`Trainer`."""
        if self._staging is not None:
            super().save_model(output_dir, _internal_call)
            return
        directory = Path(self.args.output_dir if output_dir is None else output_dir)
        whole = written_whole(directory) if self.args.should_save else contextlib.nullcontext(directory)
        with saving("the model", directory), whole as target:
            super().save_model(str(target), _internal_call)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        try:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        except (RuntimeError, safetensors.SafetensorError) as error:
            raise ValueError(
                f"PreTrainer: the weights in {resume_from_checkpoint} do not fit the model: {error}"
            ) from error

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # Trainer only logs these, and goes on with random weights.
        for problem in ("missing", "unexpected"):
            names = getattr(load_result, f"{problem}_keys")
            if names:
                raise ValueError(
                    f"PreTrainer: the weights to resume from do not fit: {problem} {abridged(names)}"
                )
