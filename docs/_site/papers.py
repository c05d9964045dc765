"""The papers and how to cite them, from CITATION.cff."""

import functools
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


@functools.cache
def citation() -> dict[str, Any]:
    """The fields of CITATION.cff."""
    fields: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    return fields


def _name(author: dict[str, str]) -> str:
    return author.get("name") or f"{author['given-names']} {author['family-names']}"


def papers_table() -> str:
    """A row for each paper, in Markdown."""
    rows = ["| | paper | authors |", "|---|---|---|"]
    for paper in citation()["references"]:
        title = f"[{paper['title']}]({paper['url']}), {paper['collection-title']}, {paper['year']}"
        authors = ", ".join(map(_name, paper["authors"]))
        rows.append(
            f"| [{paper['abbreviation']}](systems/{paper['abbreviation'].lower()}.md) | {title} | {authors} |"
        )
    return "\n".join(rows)


def _bibtex(kind: str, entry: dict[str, Any]) -> str:
    authors = (
        f"{{{author['name']}}}" if "name" in author else f"{author['family-names']}, {author['given-names']}"
        for author in entry["authors"]
    )
    fields = {
        "title": f"{{{entry['title']}}}",
        "author": " and ".join(authors),
        "booktitle": entry.get("collection-title"),
        "year": entry.get("year"),
        "version": entry.get("version"),
        "doi": entry.get("doi"),
        "url": entry.get("url") or entry.get("repository-code"),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value is not None]
    return "\n".join([f"@{kind}{{{entry.get('abbreviation', 'dnachunk').lower()},", *lines, "}"])


def bibtex() -> str:
    """The software and the papers, as a Markdown block of BibTeX."""
    papers = [_bibtex("inproceedings", paper) for paper in citation()["references"]]
    return "\n\n".join(["```bibtex\n" + _bibtex("software", citation()), *papers]) + "\n```"
