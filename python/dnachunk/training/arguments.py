"""Hugging Face's training arguments, with defaults of ours."""

import dataclasses
import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from transformers import TrainingArguments

from dnachunk.errors import ArgumentError, require_at_least
from dnachunk.files import output_folder


def training_arguments(
    output_dir: str | os.PathLike[str], defaults: Mapping[str, Any], arguments: Mapping[str, Any]
) -> TrainingArguments:
    """Makes them.

    Args:
        output_dir: Where the run writes.
        defaults: Fields that go before Hugging Face's defaults.
        arguments: Fields that go before these.

    Raises:
        OSError: If the folder cannot be written into.
        RuntimeError: In inference mode.
        TypeError: If a field is none of ``TrainingArguments``.
        ValueError: If the values do not fit together or the machine.
    """
    if not isinstance(output_dir, str | os.PathLike):
        raise TypeError(f"output_dir must be a path, got {output_dir!r}")
    output_folder(output_dir)
    if torch.is_inference_mode_enabled():
        raise RuntimeError("a training needs gradients, which there are none of in torch.inference_mode()")
    known = [field.name for field in dataclasses.fields(TrainingArguments) if field.init]
    for name in arguments:
        if name not in known:
            alike = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {alike[0]}?" if alike else ""
            raise TypeError(f"arguments must be fields of TrainingArguments, got {name}{hint}")
    for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
        require_at_least(name, arguments.get(name, 1), 1)
    if arguments.get("optim_args"):
        pairs = str(arguments["optim_args"]).replace(" ", "").split(",")
        if any(pair.count("=") != 1 for pair in pairs):
            raise ArgumentError(f"`optim_args` must be name=value,…, got {arguments['optim_args']}")
    if arguments.get("torch_compile_mode"):
        try:
            torch._inductor.list_mode_options(arguments["torch_compile_mode"])
        except RuntimeError as error:
            raise ArgumentError(f"`torch_compile_mode`: {error}") from error
    # Without a GPU, Hugging Face takes bf16 only together with use_cpu.
    use_cpu = not torch.accelerator.is_available()
    return TrainingArguments(**{"use_cpu": use_cpu, **defaults, **arguments, "output_dir": str(output_dir)})


def plain_values(args: TrainingArguments, names: Iterable[str]) -> dict[str, Any]:
    """Some fields by name, as JSON has them."""
    values = {name: getattr(args, name) for name in names}
    return {
        name: value if isinstance(value, bool | int | float | dict | None) else str(value)
        for name, value in values.items()
    }


__all__ = ["plain_values", "training_arguments"]
