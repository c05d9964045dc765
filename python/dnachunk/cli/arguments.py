"""Hugging Face's training arguments on the command line."""

import argparse
from typing import Any, NoReturn

import typer


def read_training_arguments(words: list[str]) -> dict[str, Any]:
    """Reads Hugging Face's flags.

    Args:
        words: Flags and their values, with dashes or underscores.

    Returns:
        The fields that are given, by name.

    Raises:
        typer.BadParameter: On a flag that is not one of ``TrainingArguments``, or a wrong value.
    """
    if not words:
        return {}
    from transformers import HfArgumentParser, TrainingArguments

    class Parser(HfArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise typer.BadParameter(message)

    parser = Parser(TrainingArguments, add_help=False, allow_abbrev=False)
    for action in parser._actions:
        action.default = argparse.SUPPRESS
        # `include_num_input_tokens_seen` takes more than yes and no.
        if action.dest == "include_num_input_tokens_seen":
            action.type, action.nargs, action.const = str, "?", "all"
    fields, unknown = parser.parse_known_args(words)
    if unknown:
        raise typer.BadParameter(f"no such option or argument: {unknown[0]}")
    return vars(fields)
