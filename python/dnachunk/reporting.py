"""What long jobs tell of themselves: lines, bars, tables, and the numbers that they leave in a file.

Lines go to the logger ``dnachunk`` at level INFO: the commands print them, a script or a notebook sees them
after ``logging.basicConfig(level="INFO", format="%(message)s")``. Bars are drawn on a terminal and in a
notebook, and nowhere else.
"""

import contextlib
import contextvars
import html
import json
import logging
import math
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm  # type: ignore[import-untyped]

from dnachunk.files import replacing
from dnachunk.version import __version__

LOGGER = logging.getLogger("dnachunk")

command_line: contextvars.ContextVar[str | None] = contextvars.ContextVar("command_line", default=None)
"""The command that runs, where one does."""


def is_main_process() -> bool:
    """Whether this process prints and writes: all do but the later ranks under ``torchrun``."""
    return os.environ.get("RANK", "0") == "0"


def say(text: Any = "") -> None:
    """Logs a line, or several, on the main process."""
    if is_main_process():
        LOGGER.info("%s", text)


@contextlib.contextmanager
def progress(total: int, title: str, unit: str = "bp") -> Iterator[Callable[[int], Any]]:
    """A bar in a notebook, or on standard error if that is a terminal, on the main process.

    Args:
        total: How many units there are.
        title: Stands before the bar.
        unit: What is counted.

    Yields:
        What moves the bar by so many units.
    """
    is_hidden = not (is_main_process() and (_is_notebook() or sys.stderr.isatty()))
    with tqdm(total=total, desc=title, unit=unit, unit_scale=True, disable=is_hidden) as bar:
        yield bar.update


def _is_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text under a header: prints aligned, and shows itself in a notebook.

    Attributes:
        header: A cell for each column; the first says what the rows are of.
        rows: The rows' cells.
        note: A line below.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str | None = None

    def __str__(self) -> str:
        """Aligned: the first column to the left, the others to the right."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        texts = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
            for line in lines
        ]
        return "\n".join(texts if self.note is None else [*texts, self.note])

    def _repr_html_(self) -> str:
        def line(tag: str, cells: Sequence[str]) -> str:
            first, *others = (html.escape(cell.strip()) for cell in cells)
            right = "".join(f'<{tag} style="text-align:right">{cell}</{tag}>' for cell in others)
            return f'<tr><{tag} style="text-align:left">{first}</{tag}>{right}</tr>'

        rows = "".join(line("td", row) for row in self.rows)
        note = "" if self.note is None else f"<p>{html.escape(self.note)}</p>"
        return f"<table><thead>{line('th', self.header)}</thead><tbody>{rows}</tbody></table>{note}"


class Report:
    """Base of results: prints as its tables and notes, and shows itself so in a notebook."""

    def report(self) -> list[Table | str]:
        """Tables and paragraphs, in order."""
        raise NotImplementedError

    def __str__(self) -> str:
        """The report as text."""
        return "\n\n".join(map(str, self.report()))

    def _repr_html_(self) -> str:
        parts = self.report()
        return "".join(
            part._repr_html_() if isinstance(part, Table) else f"<p>{html.escape(part)}</p>" for part in parts
        )


def finite(value: float) -> float | None:
    """A number for JSON, which knows no NaN."""
    return value if math.isfinite(value) else None


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    import torch
    import transformers

    return {
        "dnachunk": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def to_json(value: Any) -> str:
    """JSON text, indented; a number that is not finite, which JSON does not know, is null."""

    def known(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: known(each) for name, each in part.items()}
        if isinstance(part, list | tuple):
            return [known(each) for each in part]
        return finite(part) if isinstance(part, float) else part

    return json.dumps(known(value), indent=2, allow_nan=False) + "\n"


def write_results(path: Path, job: str, metrics: Mapping[str, Any]) -> None:
    """Writes ``{"command", "versions", "metrics"}`` as JSON, on the main process.

    Args:
        path: Written whole or not at all.
        job: Name of the call whose result it is, such as ``"pretrain"``; the command, where none runs.
        metrics: The result.

    Raises:
        OSError: If it cannot be written.
    """
    if not is_main_process():
        return
    command = command_line.get() or f"dnachunk.{job}"
    results = {"command": command, "versions": versions(), "metrics": dict(metrics)}
    with replacing(path) as temporary:
        temporary.write_text(to_json(results), encoding="utf-8")


def require_own_files(
    results: Path, job: str, files: Iterable[Path] = (), *, output: Path | None = None
) -> None:
    """Raises if files that nobody named would be replaced, unless an earlier run of the same wrote them.

    Args:
        results: What :func:`write_results` is to write, which says whose the files are.
        job: As there.
        files: What else may be written beside it.
        output: The file that was named, beside which the results lie; None if their folder was.

    Raises:
        FileExistsError: If one is there and is not of such a run.
    """
    there = [file for file in (results, *files) if os.path.lexists(file)]
    if there and not _is_of(results, job, output):
        raise FileExistsError(
            f"{there[0]} is not of an earlier {_command(job)} to {output or results.parent}, and would be "
            "replaced: remove it, or choose another name"
        )


def _command(job: str) -> str:
    """The command that does the same as a call."""
    others = {
        "tokenize_genome": "tokenize",
        "embed_genome": "embed",
        "compare_models": "evaluate",
        "splice_site_sets": "splice-sites",
    }
    return others.get(job, job.replace("_", "-"))


def _is_of(results: Path, job: str, output: Path | None) -> bool:
    """Whether results say that this job wrote them, beside this output."""
    try:
        program, *words = shlex.split(json.loads(results.read_text(encoding="utf-8"))["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    running = (command_line.get() or "").split()[1:2]
    is_job = program == f"dnachunk.{job}" or words[:1] in ([_command(job)], running)
    return is_job and (
        output is None or any(Path(word.rpartition("=")[2]).name == output.name for word in words)
    )


__all__ = [
    "LOGGER",
    "Report",
    "Table",
    "command_line",
    "finite",
    "is_main_process",
    "progress",
    "require_own_files",
    "say",
    "to_json",
    "versions",
    "write_results",
]
