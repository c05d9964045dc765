"""What a command line says: options once each, and Hugging Face's training arguments."""

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """A command that refuses an option given twice, unless it takes several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the command line; see ``click.Command``."""
        *_, order = self.make_parser(ctx).parse_args(args=list(args))
        for option, count in Counter(order).items():
            if count > 1 and option.expose_value and not getattr(option, "multiple", True):
                ctx.fail(f"{option.opts[0]} is given {count} times, and takes one value")
        return super().parse_args(ctx, args)


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
    flags = Counter(word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--"))
    for flag, count in flags.items():
        if count > 1:
            raise typer.BadParameter(f"{flag} is given {count} times, and takes one value")
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


def read_searched_arguments(words: list[str], searched: Mapping[str, list[Any] | None]) -> dict[str, Any]:
    """Reads Hugging Face's flags beside options of which several values are searched over.

    Args:
        words: As for :func:`read_training_arguments`.
        searched: Those options by name; one of them may be written with underscores too, with one value.

    Returns:
        The fields that are given, by name.

    Raises:
        typer.BadParameter: If one is given in both ways, and as :func:`read_training_arguments`.
    """
    fields = read_training_arguments(words)
    for name, values in searched.items():
        if values and name in fields:
            raise typer.BadParameter(
                f"--{name.replace('_', '-')} and --{name} are the same: give one of them"
            )
    return {**{name: values or None for name, values in searched.items()}, **fields}


def read_named_models(texts: list[str]) -> dict[str, Path]:
    """Reads ``NAME=DIR`` or ``DIR``.

    Raises:
        typer.BadParameter: If two have one name.
    """
    models: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        folder = Path(path if equals and not Path(text).exists() else text)
        if folder == Path(text):
            name = folder.resolve().name
        if name in models:
            raise typer.BadParameter(f"several models are called {name}: give --model NAME=DIR")
        models[name] = folder
    return models
