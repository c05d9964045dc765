"""Gathers the pages of the site in one folder: those written here, those kept elsewhere, those that are made.

python docs/_site/pages.py FOLDER
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from api import api_pages
from commands import command_pages
from papers import ROOT, citation

DOCS = ROOT / "docs"
PACKAGE = ROOT / "python" / "dnachunk"
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=(#[^)\s]*)?\))")


def kept() -> dict[str, Path]:
    """Files of the repository that stand in the site as they are, by their place in it."""
    written = (path for path in DOCS.rglob("*.*") if path.suffix in (".md", ".toml", ".json", ".png"))
    return {
        **{
            str(path.relative_to(DOCS)): path
            for path in written
            if not path.relative_to(DOCS).parts[0].startswith("_")
        },
        **{f"systems/{path.parent.name}.md": path for path in PACKAGE.glob("models/*/README.md")},
        **{f"notebooks/{path.name}": path for path in (ROOT / "notebooks").glob("*.ipynb")},
        "baselines.md": PACKAGE / "baselines" / "README.md",
        "contributing.md": ROOT / "CONTRIBUTING.md",
        "changelog.md": ROOT / "CHANGELOG.md",
    }


def section(text: str, title: str) -> str:
    """A section of a Markdown text, without its heading.

    Raises:
        ValueError: If there is no such heading.
    """
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"section: title must be a heading of the text, got {title!r}")
    return found[1]


def readme_pages() -> dict[str, str]:
    """Sections of the README that are pages, by their place in the site."""
    readme = (ROOT / "README.md").read_text()
    pages = {f"{title.lower()}.md": f"# {title}\n{section(readme, title)}" for title in ("Install", "Speed")}
    toctree = "\n".join(["```{toctree}", ":hidden:", ":glob:", "", "notebooks/*", "```", ""])
    return {**pages, "notebooks.md": f"# Notebooks\n{section(readme, 'Notebooks')}\n{toctree}"}


def with_links(text: str, origin: Path, place: str, places: Mapping[Path, str]) -> str:
    """A text with its links to files of the repository turned into links that hold in the site.

    Args:
        text: Markdown, or a notebook.
        origin: The file that it is from.
        place: Where it goes in the site.
        places: Where files of the repository are in the site; links to others lead to the repository.
    """

    def moved(link: re.Match[str]) -> str:
        target = (origin.parent / link[1]).resolve()
        if target in places:
            return os.path.relpath(places[target], Path(place).parent)
        if target.exists() and target.is_relative_to(ROOT):
            return f"{citation()['repository-code']}/blob/main/{target.relative_to(ROOT)}"
        return link[1]

    return LINK.sub(moved, text)


def site() -> dict[str, bytes]:
    """Every file that the site is built from, by its place."""
    files = kept()
    readme = ROOT / "README.md"
    places = {path: place for place, path in files.items()} | {readme: "index.md"}
    texts = {f"commands/{name}": text for name, text in command_pages().items()}
    texts |= {f"api/{name}": text for name, text in api_pages().items()}
    texts |= {place: with_links(text, readme, place, places) for place, text in readme_pages().items()}
    whole = {}
    for place, path in files.items():
        if path.suffix in (".md", ".ipynb"):
            texts[place] = with_links(path.read_text(), path, place, places)
        else:
            whole[place] = path.read_bytes()
    return {**whole, **{place: text.encode() for place, text in texts.items()}}


def write_site(folder: Path) -> None:
    """Writes the site's files into a folder, and removes all others; unchanged ones keep their time."""
    files = site()
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if str(path.relative_to(folder)) not in files:
            path.unlink()
    for place, content in files.items():
        path = folder / place
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


if __name__ == "__main__":
    write_site(Path(sys.argv[1]))
