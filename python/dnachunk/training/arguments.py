"""Hugging Face's training arguments, with defaults of ours."""

import dataclasses
import difflib
import os
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainingArguments


def training_arguments(
    output_dir: str | os.PathLike[str], defaults: Mapping[str, Any], arguments: Mapping[str, Any]
) -> TrainingArguments:
    """Makes them.

    Args:
        output_dir: Where the run writes.
        defaults: Fields that go before Hugging Face's defaults.
        arguments: Fields that go before these.

    Raises:
        TypeError: If a field is none of ``TrainingArguments``.
        ValueError: If the values do not fit together or the machine.
    """
    if not isinstance(output_dir, str | os.PathLike):
        raise TypeError(f"output_dir must be a path, got {output_dir!r}")
    known = [field.name for field in dataclasses.fields(TrainingArguments) if field.init]
    for name in arguments:
        if name not in known:
            alike = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {alike[0]}?" if alike else ""
            raise TypeError(f"arguments must be fields of TrainingArguments, got {name}{hint}")
    # Without a GPU, Hugging Face takes bf16 only together with use_cpu.
    use_cpu = not torch.accelerator.is_available()
    return TrainingArguments(**{"use_cpu": use_cpu, **defaults, **arguments, "output_dir": str(output_dir)})


__all__ = ["training_arguments"]
