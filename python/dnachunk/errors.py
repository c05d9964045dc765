"""Errors about the arguments of the package's verbs, which a command tells as those of its options."""

import re

_ARGUMENT = re.compile(r"`(\w+)(?:=([^`]*))?`")


class ArgumentError(ValueError):
    """An argument does not fit what it is used with.

    Args:
        message: Names of arguments, or ``name=value``, stand between backticks in it.

    Example:
        >>> error = ArgumentError("`keep_ratio` needs `model=mergedna`, got 0.5")
        >>> str(error)
        "keep_ratio needs model='mergedna', got 0.5"
        >>> error.as_options()
        '--keep-ratio needs --model mergedna, got 0.5'
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


__all__ = ["ArgumentError", "UsageError"]
