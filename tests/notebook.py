"""Runs a notebook's cells where there is no Jupyter: ``python -m tests.notebook FILE FOLDER``.

Figures are drawn to memory; what the cells write goes to the folder.
"""

import json
import os
import sys
from pathlib import Path


def code_of(notebook: Path) -> list[str]:
    """The code cells, without what only Jupyter understands."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return ["\n".join(line for line in text.split("\n") if not line.startswith("%")) for text in sources]


def main() -> None:
    notebook, folder = Path(sys.argv[1]), Path(sys.argv[2])
    cells = code_of(notebook)
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    names: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(cells, 1):
        exec(compile(cell, f"{notebook.name}, cell {number}", "exec"), names)
    print(f"{notebook.name}: {len(cells)} cells ran")


if __name__ == "__main__":
    main()
