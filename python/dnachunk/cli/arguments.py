"""Hugging Face's training arguments on the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from transformers import TrainingArguments


def read_training_arguments(
    words: list[str], output_dir: Path, defaults: dict[str, Any]
) -> "TrainingArguments":
    """Reads Hugging Face's flags.

    Args:
        words: Flags and their values, with dashes or underscores.
        output_dir: Where the run writes.
        defaults: Values that go before Hugging Face's defaults.

    Raises:
        typer.BadParameter: On a flag that is not one of ``TrainingArguments``, or a wrong value.
        ValueError: If the values do not fit together or the machine.
    """
    import torch
    from transformers import HfArgumentParser, TrainingArguments

    class Parser(HfArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise typer.BadParameter(message)

    parser = Parser(TrainingArguments, add_help=False, allow_abbrev=False)
    # Without a GPU, Hugging Face takes --bf16 only together with --use-cpu.
    use_cpu = not torch.accelerator.is_available()
    parser.set_defaults(**{"use_cpu": use_cpu, **defaults, "output_dir": str(output_dir)})
    args, unknown = parser.parse_args_into_dataclasses(
        words, return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        raise typer.BadParameter(f"no such option or argument: {unknown[0]}")
    return args
