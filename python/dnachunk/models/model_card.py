"""Model cards: what a saved model is, what it was trained on, with which numbers, and how to load it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dnachunk.files import replacing
from dnachunk.reporting import is_main_process
from dnachunk.version import __version__

FILE = "README.md"
_OURS = "library_name: dnachunk"


def model_card(
    architecture: str,
    config: Any,
    sections: Mapping[str, str | Sequence[Sequence[str]]] | None = None,
    paper: str | None = None,
    name: str | None = None,
) -> str:
    """The card of a model, in the Markdown that the Hugging Face hub reads.

    Args:
        architecture: Name of the model's class.
        config: Its configuration.
        sections: Text, or lines of a table with the header first, under titles.
        paper: Where the model is described.
        name: Of a model that ships with the package.
    """
    kind = config.model_type
    lines = [
        "---",
        _OURS,
        f"tags: [dna, genomics, {kind}]",
        "---",
        "",
        f"# {name or architecture}",
        "",
        f"A {kind} model of DNA, made with dnachunk {__version__}."
        + ("" if paper is None else f" The architecture is that of *{paper}*."),
    ]
    for title, content in (sections or {}).items():
        lines += ["", f"## {title}", ""]
        if isinstance(content, str):
            lines.append(content)
        else:
            header, *rows = ["| " + " | ".join(row) + " |" for row in content]
            lines += [header, "|" + " --- |" * len(content[0]), *rows]
    saved = '"this folder"' if name is None else f'dnachunk.pretrained("{name}")'
    loading = [
        "## Loading",
        "",
        "```python",
        "import dnachunk",
        "",
        f'model = dnachunk.load("{name or "this folder"}")',
        'for token in dnachunk.tokenize_genome(model, "genome.fa.gz"):',
        "    print(token)",
        "```",
        "",
        f"After `import dnachunk`, `AutoModel.from_pretrained({saved})` loads it too,",
        "and `AutoTokenizer` a tokenizer that lies beside it.",
    ]
    return "\n".join([*lines, "", *loading]) + "\n"


def read_card(directory: str | os.PathLike[str]) -> str | None:
    """The card that lies in a folder, if it is one of ours."""
    path = Path(directory) / FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return text if _OURS in text[:200] else None


def write_card(directory: str | os.PathLike[str], card: str) -> None:
    """Writes a card, on the main process; one that is not ours is left as it is.

    Raises:
        OSError: If it cannot be written.
    """
    path = Path(directory) / FILE
    if is_main_process() and (not path.exists() or read_card(directory) is not None):
        with replacing(path) as temporary:
            temporary.write_text(card, encoding="utf-8")


def keep_own_card(written: str | os.PathLike[str], directory: str | os.PathLike[str]) -> None:
    """Drops the card among files that are to be moved into a folder whose own one is not ours."""
    if (Path(directory) / FILE).exists() and read_card(directory) is None:
        (Path(written) / FILE).unlink(missing_ok=True)


__all__ = ["keep_own_card", "model_card", "read_card", "write_card"]
