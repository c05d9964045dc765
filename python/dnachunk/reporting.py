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
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """A bar in a notebook, or on standard error if that is a terminal.

    Args:
        total: How many units there are.
        title: Stands before the bar.
        unit: What is counted.

    Yields:
        What moves the bar by so many units.
    """
    is_hidden = not (_is_notebook() or sys.stderr.isatty())
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


def write_results(path: Path, metrics: Mapping[str, Any]) -> None:
    """Writes ``{"command", "versions", "metrics"}`` as JSON, whole or not at all, on the main process.

    Raises:
        OSError: If it cannot be written.
    """
    if not is_main_process():
        return
    results = {"command": command_line.get(), "versions": versions(), "metrics": dict(metrics)}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


__all__ = [
    "LOGGER",
    "Report",
    "Table",
    "command_line",
    "finite",
    "is_main_process",
    "progress",
    "say",
    "versions",
    "write_results",
]
