"""The command ``dnachunk``."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Words of the command line after ``dnachunk``; default those of this process.

    Returns:
        The exit status: 0; 1 if the input was at fault, after one line on standard error; 2 if the command
        line was.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        from dnachunk.cli.app import run
    except ModuleNotFoundError as error:
        print(
            f"dnachunk: the commands need {error.name}: pip install 'dnachunk[train,plot]'", file=sys.stderr
        )
        return 1
    return run(words)


__all__ = ["main"]
