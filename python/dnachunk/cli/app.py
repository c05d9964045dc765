"""The commands in one application, and how their errors are told."""

import shlex
import sys
from typing import Annotated

import typer

from dnachunk.cli.arguments import Command
from dnachunk.cli.browse import browse
from dnachunk.cli.compare_tokens import compare_tokens
from dnachunk.cli.demo import demo
from dnachunk.cli.doctor import doctor
from dnachunk.cli.embed import embed
from dnachunk.cli.evaluate import evaluate
from dnachunk.cli.finetune import finetune
from dnachunk.cli.models import models
from dnachunk.cli.predict import predict
from dnachunk.cli.pretrain import pretrain
from dnachunk.cli.profile import profile
from dnachunk.cli.report import Terminated, printed_log, terminating_cleanly
from dnachunk.cli.score_mutations import score_mutations
from dnachunk.cli.score_variants import score_variants
from dnachunk.cli.splice_sites import splice_sites
from dnachunk.cli.tokenize import tokenize
from dnachunk.errors import ArgumentError, UsageError
from dnachunk.reporting import command_line
from dnachunk.version import __version__

app = typer.Typer(
    help="Learnable DNA tokenizers: from a FASTA file to a pre-trained model, its tokens and its vectors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_EXTRAS = ("accelerate", "matplotlib", "peft", "safetensors", "scipy", "sklearn")
"""Packages that commands import which the package itself does not need."""

# Flags that are not the command's own are Hugging Face's.
app.command(cls=Command, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    pretrain
)
app.command(cls=Command, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    finetune
)
app.command(cls=Command, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    evaluate
)
app.command(cls=Command)(predict)
app.command(cls=Command)(tokenize)
app.command(cls=Command)(browse)
app.command(cls=Command)(compare_tokens)
app.command(cls=Command)(profile)
app.command(cls=Command)(embed)
app.command(cls=Command)(score_variants)
app.command(cls=Command)(score_mutations)
app.command(cls=Command)(splice_sites)
app.command(cls=Command)(models)
app.command(cls=Command)(demo)
app.command(cls=Command)(doctor)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"dnachunk {__version__}")
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    del version


def run(words: list[str]) -> int:
    """Runs the command line ``words`` and returns its exit status, of a signal 128 more than its number."""
    token = command_line.set(shlex.join(["dnachunk", *words]))
    try:
        with printed_log(), terminating_cleanly():
            app(words, prog_name="dnachunk")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except Terminated as error:
        print(f"dnachunk {words[0]}: ended by {error}", file=sys.stderr)
        return 128 + error.number
    except (OSError, ValueError, FloatingPointError, ImportError, MemoryError) as error:
        told = error.as_options() if isinstance(error, ArgumentError) else str(error)
        message = " ".join(told.split()) or type(error).__name__
        if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
            message += " (pip install 'dnachunk[train,plot]')"
        print(f"dnachunk {words[0]}: {message}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    finally:
        command_line.reset(token)
    return 0
