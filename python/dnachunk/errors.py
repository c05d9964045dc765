"""Errors about the arguments of the package's verbs, which a command tells as those of its options."""

import numbers
import os
import re
from collections.abc import Sequence
from typing import Any

_ARGUMENT = re.compile(r"`(\w+)(?:=([^`]*))?`")


class ArgumentError(ValueError):
    """An argument does not fit what it is used with.

    Args:
        message: Names of arguments, or ``name=value``, stand between backticks in it.

    Example:
        >>> error = ArgumentError("`tokens_per_base` needs `model=mergedna`, got 0.5")
        >>> str(error)
        "tokens_per_base needs model='mergedna', got 0.5"
        >>> error.as_options()
        '--tokens-per-base needs --model mergedna, got 0.5'
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        """The message for whoever wrote Python."""
        return _ARGUMENT.sub(
            lambda name: name[1] if name[2] is None else f"{name[1]}={name[2]!r}", self.message
        )

    def as_options(self) -> str:
        """The message for whoever wrote a command line."""

        def option(name: re.Match[str]) -> str:
            return f"--{name[1].replace('_', '-')}" + ("" if name[2] is None else f" {name[2]}")

        return _ARGUMENT.sub(option, self.message)


class UsageError(ArgumentError):
    """Arguments do not go together, whatever the files hold that they name."""


def require_one_of(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises :class:`ArgumentError` if an argument is none of its choices."""
    if value not in choices:
        raise ArgumentError(f"`{name}` must be {' or '.join(choices)}, got {value}")


_OUTPUTS = ("bedgraph", "boundary_probability", "output", "receptive_positions")


def require_different_files(**paths: Any) -> None:
    """Raises :class:`ArgumentError` if two arguments name the same file, by whatever link.

    Args:
        **paths: Paths, opened genomes, or several of these; None is passed over.
    """
    named: dict[Any, str] = {}
    for name, value in paths.items():
        for each in value if isinstance(value, list | tuple) else [value]:
            path = getattr(each, "path", each)
            if isinstance(path, str | os.PathLike):
                # What is read from standard input is not what is written to standard output.
                is_standard, is_output = os.fspath(path) == "-", name in _OUTPUTS
                other = named.setdefault(("-", is_output) if is_standard else _identity(path), name)
                if other != name:
                    raise ArgumentError(
                        f"`{other}` and `{name}` must be different files, got {path} for both"
                    )


def _identity(path: str | os.PathLike[str]) -> Any:
    """What two names of one file have in common."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def require_at_least(name: str, value: Any, least: int) -> None:
    """Raises :class:`ArgumentError` unless an argument is a whole number of at least ``least``."""
    if not isinstance(value, numbers.Integral) or int(value) < least:
        raise ArgumentError(f"`{name}` must be a whole number of at least {least}, got {value!r}")


__all__ = ["ArgumentError", "UsageError", "require_at_least", "require_different_files", "require_one_of"]
