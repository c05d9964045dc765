"""Hugging Face's Trainer on the examples of a task."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import EvalPrediction, TrainerCallback, TrainingArguments

from dnachunk.data.examples import ExampleCollator, ExampleDataset, check_lengths
from dnachunk.data.task import Examples, Problem, Task
from dnachunk.data.tiles import configured_tile, tile_labelled_bases
from dnachunk.evaluation.metrics import score_predictions
from dnachunk.evaluation.strands import Strands, average_strands, strand_logits, tile_logits
from dnachunk.models.limits import length_limits
from dnachunk.models.modeling_common import classification_loss
from dnachunk.training.adaptation import LoRA, Method, add_lora, freeze_backbone
from dnachunk.training.trainer import WholeCheckpointTrainer


class StopEarly(TrainerCallback):
    """Stops a training when neither its score nor its loss gets better.

    A score alone would not do: that of a model that still gives every example one class stays 0 for long.

    Args:
        metric: The score, or ``"loss"``.
        patience: Evaluations without a better one.
    """

    def __init__(self, metric: str, patience: int) -> None:
        self.metric = metric
        self.patience = patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Looks back."""
        entries = [entry for entry in state.log_history if f"eval_{self.metric}" in entry]
        scores = [entry[f"eval_{self.metric}"] for entry in entries]
        losses = [entry["eval_loss"] for entry in entries]
        best = max(scores) if self.metric != "loss" else min(scores)
        last_better = max(scores.index(best), losses.index(min(losses)))
        if len(entries) - 1 - last_better >= self.patience:
            control.should_training_stop = True


class KeptCheckpoint(TrainerCallback):
    """Tells a resumed training where its best checkpoint lies, which may have been moved since."""

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Puts it right."""
        # Those of the best evaluations alone are saved, and the last of them is kept.
        state.best_model_checkpoint = self.checkpoint


class FineTuner(WholeCheckpointTrainer):
    """Trains a model with a head on the examples of a task.

    Evaluation gives, beside ``eval_loss`` (of the forward strand), the scores of
    :func:`~dnachunk.evaluation.metrics.score_predictions`. It goes with any model and tokenizer of Hugging
    Face's; the frozen part of a linear probe stays in evaluation mode.

    Attributes:
        num_parameters: How many parameters the model has, adapters left out.
        trained_parameters: How many parameters learn.

    Args:
        model: A model with a head for the task, see
            :func:`~dnachunk.training.adaptation.load_with_head`.
        args: Hugging Face's arguments.
        task: The problem and its examples.
        tokenizer: The model's tokenizer; saved with it.
        method: ``"full"``: all parameters learn; ``"probe"``: the head alone; ``"lora"``: the head and
            adapters of low rank; ``"ridge"``: none, the backbone is frozen as for a probe, and
            :class:`~dnachunk.training.ridge.RidgeHead` solves for the head.
        lora: How the adapters are made.
        reverse_complement: ``"average"``: in evaluation and prediction both strands are run and averaged.
        truncate: Whether sequences longer than the model takes are cut off at their end.
        tile_bp: Bases of the tiles, overlapping by half, that longer sequences are read in, in training too;
            kept in the model's configuration, which else says it. Logits of a sequence are the mean of its
            tiles' (:func:`~dnachunk.evaluation.strands.tile_logits`), and the loss is of that mean, without
            what a model would add (MxDNA's balance loss). Where bases are labelled each tile is an example,
            and a base counts in the tile in which it is farthest from where the sequence is cut.
        **kwargs: Other arguments of ``Trainer``.

    Raises:
        ValueError: If a sequence, or a tile, is longer than the model takes, or the tokenizer does not fit
            the task.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        task: Task,
        tokenizer: Any,
        *,
        method: Method = "full",
        lora: LoRA | None = None,
        reverse_complement: Strands = "none",
        truncate: bool = False,
        tile_bp: int | None = None,
        **kwargs: Any,
    ) -> None:
        # The caller's stay as they are.
        args = copy.copy(args)
        self.task = task
        self.method = method
        self.both_strands = reverse_complement == "average"
        self.tile_bp = configured_tile(model.config, tile_bp, truncate)
        if self.tile_bp != getattr(model.config, "tile_bp", None):
            model.config.tile_bp = self.tile_bp
        max_length_bp, max_tokens = length_limits(model, tokenizer)
        if not truncate:
            for examples in (task.train, task.valid, task.test):
                if examples is not None:
                    check_lengths(examples, tokenizer, max_length_bp, max_tokens, self.tile_bp)
            max_length_bp = max_tokens = None
        collator = ExampleCollator(
            tokenizer,
            model,
            task.problem,
            max_length_bp=max_length_bp,
            max_tokens=max_tokens,
            tile_bp=self.tile_bp,
        )
        train = ExampleDataset(self._tiled(task.train))
        self.num_parameters = sum(parameter.numel() for parameter in model.parameters())
        self._frozen: list[nn.Module] = freeze_backbone(model) if method in ("probe", "ridge") else []
        if method == "lora":
            sample = collator([train[index] for index in range(min(2, len(train)))])
            rows = {name: sample[name][:2].to(model.device) for name in sample.keys() - {"labels", "tiles"}}
            model = add_lora(model, lora or LoRA(), rows)
        args.label_names = ["labels"]
        # The scores are of all examples, not means over batches.
        args.batch_eval_metrics = False
        super().__init__(
            model,
            args,
            data_collator=collator,
            train_dataset=train,
            eval_dataset=self.examples(task.valid),
            compute_metrics=self._scores,
            processing_class=tokenizer,
            **kwargs,
        )
        self.model: Any = self.model
        self.trained_parameters = sum(
            parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad
        )
        # The heads' losses are means over a batch.
        self.model_accepts_loss_kwargs = False

    def examples(self, examples: Examples) -> ExampleDataset:
        """Examples as :meth:`evaluate` and :meth:`predict` take them."""
        return ExampleDataset(self._tiled(examples), both_strands=self.both_strands)

    def _tiled(self, examples: Examples) -> Examples:
        # Tiles of a sequence that has one label are joined, and stay together.
        return (
            tile_labelled_bases(examples, self.tile_bp) if self.task.problem is Problem.per_base else examples
        )

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Batches of all examples; see :class:`Trainer`."""
        with self._no_example_dropped():
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """Batches of all examples; see :class:`Trainer`."""
        with self._no_example_dropped():
            return super().get_test_dataloader(test_dataset)

    @contextlib.contextmanager
    def _no_example_dropped(self) -> Iterator[None]:
        # `dataloader_drop_last` is for training.
        before, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            yield
        finally:
            self.args.dataloader_drop_last = before

    def run(self, examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
        """What the model makes of examples, in evaluation mode, in their order.

        Returns:
            ``[B, K]`` float32 logits of sequences, strands averaged and tiles joined, and their labels; on
            the CPU.
        """
        self.model.eval()
        parts = []
        for batch in self.get_test_dataloader(self.examples(examples)):
            inputs = self._prepare_inputs(batch)
            reverse, tiles, labels = (inputs.pop(name, None) for name in ("reverse", "tiles", "labels"))
            with torch.no_grad(), self.compute_loss_context_manager():
                logits = self._logits(self.model, inputs, tiles)
                if reverse is not None:
                    logits = average_strands(logits, self._logits(self.model, reverse, tiles))
            parts.append(self.accelerator.gather_for_metrics((logits.float().contiguous(), labels)))
        logits, labels = (torch.cat([part.cpu() for part in each]) for each in zip(*parts, strict=True))
        return logits, labels

    def _logits(
        self, model: Any, inputs: dict[str, torch.Tensor], tiles: torch.Tensor | None
    ) -> torch.Tensor:
        if tiles is None:
            return model(**inputs).logits
        return tile_logits(model, inputs, tiles, self.args.per_device_eval_batch_size)

    def merge(self) -> None:
        """Adds the adapters to the weights, so that the model is again one of its own class."""
        if self.method == "lora":
            self.model = self.accelerator.unwrap_model(self.model).merge_and_unload()
            self.model_wrapped = self.model

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        """The loss of one batch; see :class:`Trainer`."""
        for module in self._frozen:
            module.eval()
        if "tiles" not in inputs:
            return super().compute_loss(model, inputs, return_outputs=return_outputs, **kwargs)
        rows = {name: value for name, value in inputs.items() if name not in ("labels", "tiles")}
        logits = tile_logits(model, rows, inputs["tiles"], self.args.per_device_train_batch_size)
        if self.label_smoother is None:
            loss = classification_loss(logits, inputs["labels"], self.model.config)
        else:
            loss = self.label_smoother({"logits": logits}, inputs["labels"])
        return (loss, {"logits": logits}) if return_outputs else loss

    def prediction_step(
        self,
        model: Any,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """Loss, logits and labels of one batch; see :class:`Trainer`."""
        del ignore_keys
        inputs = self._prepare_inputs(inputs)
        reverse, tiles, labels = inputs.pop("reverse", None), inputs.pop("tiles", None), inputs["labels"]
        with torch.no_grad(), self.compute_loss_context_manager():
            if tiles is None:
                output = model(**inputs)
                loss, logits = output.loss, strand_logits(output.logits, model, inputs, reverse)
            else:
                del inputs["labels"]
                logits = self._logits(model, inputs, tiles)
                loss = classification_loss(logits, labels, self.model.config)
                if reverse is not None:
                    logits = average_strands(logits, self._logits(model, reverse, tiles))
        loss = loss.detach().mean()
        return (loss, None, None) if prediction_loss_only else (loss, logits.float(), labels)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        if super()._determine_best_metric(metrics, trial):
            return True
        # Of equal scores, such as that of one class for all, the lower loss is the better.
        name = (self.args.metric_for_best_model or "").removeprefix("eval_")
        losses = [
            entry["eval_loss"]
            for entry in self.state.log_history
            if entry["step"] == self.state.best_global_step and "eval_loss" in entry
        ]
        is_tie = bool(losses) and metrics.get(f"eval_{name}") == self.state.best_metric
        if is_tie and metrics["eval_loss"] < losses[-1]:
            self.state.best_global_step = self.state.global_step
            return True
        return False

    def _scores(self, prediction: EvalPrediction) -> dict[str, float]:
        logits, labels = prediction.predictions, prediction.label_ids
        if self.task.problem is Problem.regression:
            labels = labels.reshape(logits.shape)
        return score_predictions(self.task.problem, logits, labels)


__all__ = ["FineTuner", "KeptCheckpoint", "StopEarly"]
