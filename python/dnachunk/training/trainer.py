"""Hugging Face's Trainer with checkpoints that are whole or not there."""

import contextlib
import math
import os
import shutil
from pathlib import Path
from typing import Any

import safetensors
import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from dnachunk.files import STAGING, written_whole
from dnachunk.models.loading import abridged, non_finite
from dnachunk.models.model_card import keep_own_card
from dnachunk.reporting import to_json
from dnachunk.training.checkpoints import last_checkpoint, saving

SETTINGS = "settings.json"
"""File, in a checkpoint, of what the run's numbers depend on."""


class WholeCheckpointTrainer(Trainer):
    """A Trainer that writes checkpoints under another name and renames them when they are complete.

    What cannot be saved or does not fit is an error that says what there still is. So is a loss or a weight
    that is not finite: a training that diverged saves nothing more. One process trains on one device.

    Attributes:
        settings: What the run's numbers depend on; plain values, noted in each checkpoint.

    Args:
        model: The model.
        args: Hugging Face's arguments; what a collator makes of a sample is all given to it.
        **kwargs: Other arguments of ``Trainer``.
    """

    def __init__(self, model: Any, args: TrainingArguments, **kwargs: Any) -> None:
        args.remove_unused_columns = False
        # It would hide what is looked for here, and wait for the device at every step.
        args.logging_nan_inf_filter = False
        self._loss_sum: Any = 0.0
        self.settings: dict[str, Any] | None = None
        # Several devices of one process would take DataParallel, which cannot gather a segmentation.
        args._n_gpu = min(args.n_gpu, 1)
        self._staging: Path | None = None
        try:
            super().__init__(model=model, args=args, **kwargs)
        except RuntimeError as error:
            # So say the integrations of `report_to` whose package is not there.
            if "install" in str(error):
                raise ModuleNotFoundError(str(error)) from error
            raise
        except Exception as error:
            if not args.push_to_hub or isinstance(error, OSError | ValueError | TypeError):
                raise
            raise OSError(f"push_to_hub: the hub cannot be reached: {error}") from error

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Trains on one batch; see :class:`Trainer`.

        Raises:
            FloatingPointError: If the training has diverged.
        """
        loss = super().training_step(*args, **kwargs)
        self._loss_sum = self._loss_sum + loss.detach()
        if loss.device.type == "cpu":
            self._check_loss()
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Logs; see :class:`Trainer`.

        Raises:
            FloatingPointError: If the training has diverged.
        """
        self._check_loss()
        super().log(logs, start_time)

    def _check_loss(self) -> None:
        """Raises if a loss since the last call was not finite; waits for the device."""
        total, self._loss_sum = float(self._loss_sum), 0.0
        if not math.isfinite(total):
            raise self._diverged(f"the loss is {total}")

    def _check_weights(self) -> None:
        if broken := non_finite(self.model):
            raise self._diverged(f"{abridged(broken)} not finite")

    def _diverged(self, what: str) -> FloatingPointError:
        last = last_checkpoint(super()._get_output_dir(None))
        left = "nothing is saved" if last is None else f"the last whole checkpoint is {last}"
        return FloatingPointError(
            f"the training diverged at step {self.state.global_step + 1}, {what}; {left}. Try a lower "
            f"learning_rate than {self.args.learning_rate:g}"
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._check_loss()
        self._check_weights()
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
                if self.state.best_global_step == self.state.global_step:
                    self.state.best_model_checkpoint = str(run_dir / name)
                # Every rank writes a file of its own.
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    self._finish_checkpoint(staging / name, run_dir / name)
        finally:
            self._staging = None
            if self.args.should_save:
                shutil.rmtree(staging, ignore_errors=True)

    def _finish_checkpoint(self, written: Path, final: Path) -> None:
        # Trainer wrote the state with the best checkpoint under its other name.
        self.state.save_to_json(str(written / "trainer_state.json"))
        if self.settings is not None:
            (written / SETTINGS).write_text(to_json(self.settings), encoding="utf-8")
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
        self._check_weights()
        if self._staging is not None:
            super().save_model(output_dir, _internal_call)
            return
        directory = Path(self.args.output_dir if output_dir is None else output_dir)
        whole = written_whole(directory) if self.args.should_save else contextlib.nullcontext(directory)
        with saving("the model", directory), whole as target:
            super().save_model(str(target), _internal_call)
            if self.args.should_save:
                keep_own_card(target, directory)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        try:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        except (RuntimeError, safetensors.SafetensorError) as error:
            raise ValueError(
                f"{type(self).__name__}: the weights in {resume_from_checkpoint} do not fit the model: "
                f"{error}"
            ) from error

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # Trainer only logs these, and goes on with random weights; tied ones are saved under one name.
        tied = getattr(self.model, "all_tied_weights_keys", {})
        for problem in ("missing", "unexpected"):
            names = [name for name in getattr(load_result, f"{problem}_keys") if name not in tied]
            if names:
                raise ValueError(
                    f"{type(self).__name__}: the weights to resume from do not fit: {problem} "
                    f"{abridged(names)}"
                )
