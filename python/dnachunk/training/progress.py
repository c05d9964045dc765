"""Training's bar and log, as lines that a person reads."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]
from transformers.trainer_callback import ProgressCallback
from transformers.utils import logging

from dnachunk.reporting import say

_LEFT_OUT = ("epoch", "total_flos", "_runtime", "_per_second", "_count")


def log_lines(trainer: Any) -> None:
    """Lets a trainer that would draw bars log lines instead; Hugging Face's table in a notebook stays."""
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(LogLines())


class LogLines(ProgressCallback):
    """Writes each log entry as ``step 40/2000  loss 3.17  …``; draws bars on a terminal only."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the bar."""
        if state.is_world_process_zero:
            self.training_bar = tqdm(total=state.max_steps, dynamic_ncols=True, disable=None)
        self.current_step = 0

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Moves the bar of an evaluation."""
        if sys.stderr.isatty():
            super().on_prediction_step(args, state, control, **kwargs)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        """Writes a line."""
        # Those of each genome stand in the results.
        shown = {
            name: value
            for name, value in (logs or {}).items()
            if not name.endswith(_LEFT_OUT) and "/" not in name
        }
        if state.is_world_process_zero and "train_loss" not in shown:
            entries = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
            with tqdm.external_write_mode(file=sys.stdout):
                say(f"step {state.global_step}/{state.max_steps}  {entries}")


@contextlib.contextmanager
def quiet_files() -> Iterator[None]:
    """Hides the bar that Hugging Face draws for each file of weights."""
    had_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if had_bars:
            logging.enable_progress_bar()


__all__ = ["LogLines", "log_lines", "quiet_files"]
