"""A page for each command, from its options."""

import re
from typing import Any

import typer.main

from dnachunk.cli.app import app


def _escaped(text: str) -> str:
    """Text with its options as literals, and what is a mark in reStructuredText as a letter."""
    parts = re.split(r"(--[\w-]+)", text)
    return "".join(
        f"``{part}``\\ " if part.startswith("--") else re.sub(r"([\\*`|_<>])", r"\\\1", part)
        for part in parts
    )


def _command_lines(text: str, width: int = 80) -> list[str]:
    """A command in lines that end before an option."""
    lines: list[str] = []
    for part in re.split(r" (?=--)", text):
        if lines and len(lines[-1]) + len(part) < width:
            lines[-1] += f" {part}"
        else:
            lines.append(f"       {part}" if lines else f"   {part}")
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]


def _paragraphs(text: str) -> list[str]:
    """The help of a command; a paragraph that begins with ``Example:`` is something to type."""
    lines = []
    for paragraph in text.split("\n\n"):
        joined = " ".join(paragraph.split())
        if joined.startswith("Example:"):
            lines += [".. code-block:: sh", "", *_command_lines(joined.removeprefix("Example:").strip()), ""]
        else:
            lines += [_escaped(joined), ""]
    return lines


def commands() -> dict[str, Any]:
    """The commands by name, in the order of ``dnachunk --help``."""
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def command_page(name: str, command: Any) -> str:
    """What ``dnachunk NAME --help`` says, as reStructuredText."""
    program = f"dnachunk {name}"
    lines = [program, "=" * len(program), "", f".. program:: {program}", "", *_paragraphs(command.help)]
    lines += ["Options", "-------", ""]
    context = command.context_class(command, info_name=program)
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            lines += [f".. option:: {record[0]}", "", f"   {_escaped(' '.join(record[1].split()))}", ""]
    return "\n".join(lines)


def command_pages() -> dict[str, str]:
    """A page for each command, and one that lists them.

    Returns:
        Texts in reStructuredText by file name.
    """
    found = commands()
    texts = {f"{name}.rst": command_page(name, command) for name, command in found.items()}
    index = [
        "Commands",
        "========",
        "",
        ".. toctree::",
        "   :hidden:",
        "",
        *(f"   {name}" for name in found),
        "",
    ]
    for name, command in found.items():
        first = " ".join(command.help.split("\n\n")[0].split())
        index += [f":doc:`dnachunk {name} <{name}>`", f"   {_escaped(first)}", ""]
    texts["index.rst"] = "\n".join(index)
    return texts
