"""What the README and the docstrings show runs as shown; the site has a place for everything public."""

import doctest
import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import dnachunk

ROOT = Path(__file__).parents[1]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(dnachunk.__path__, "dnachunk.")
    if not module.name.endswith(("__main__", "_rust"))
]


def test_readme_examples_run_in_order():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 2
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["output"].loss.isfinite()
    assert names["y"].shape == (2, 500, 256)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_links_in_the_readmes_lead_somewhere():
    for readme in [*ROOT.glob("*.md"), *ROOT.glob("python/**/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", readme.read_text()):
            assert (readme.parent / target).exists(), f"{readme.name}: {target}"


sys.path.insert(0, str(ROOT / "docs" / "_site"))
api, check_links, commands, pages, papers = map(
    importlib.import_module, ("api", "check_links", "commands", "pages", "papers")
)


def test_everything_public_is_described_once():
    texts = api.api_pages()
    described = re.findall(
        r"^\.\. auto(?:class|function|data):: (\S+)$", "\n".join(texts.values()), re.MULTILINE
    )
    assert len(described) == len(set(described))
    for package in api.pages():
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            assert not inspect.ismodule(value), f"{package}.{name} is hidden by the module of that name"
            if not name.startswith("_"):
                (entry,) = [
                    entry
                    for entry in api.entries()
                    if getattr(importlib.import_module(entry.module), entry.name) is value
                ]
                assert f"   ~{entry.full_name}\n" in texts[f"{package}.rst"]
                assert f"{entry.module}::{name}" in described


def test_every_package_has_a_page():
    folders = {path.parent.name for path in (ROOT / "python/dnachunk").glob("*/__init__.py")}
    assert set(api.pages()) == {"dnachunk"} | {f"dnachunk.{name}" for name in folders - {"cli"}}


@pytest.mark.parametrize(
    ("reference", "owner", "meaning"),
    [
        ("Segmentation.tokens", "dnachunk.segmentation:Segmentation", "dnachunk.Segmentation.tokens"),
        ("tokens", "dnachunk.segmentation:Segmentation", "dnachunk.Segmentation.tokens"),
        ("Segmentation.token_index", "dnachunk.segmentation:Segmentation", ""),
        ("num_merges", "dnachunk.nn.chunking:Chunks", None),
        ("values", "dnachunk.nn.chunking:Chunks", ""),
        ("boundary_routing", "dnachunk.ops:chunk_pool", "dnachunk.ops.boundary_routing"),
        ("dnachunk.ops.dechunk", "dnachunk.nn:Dechunk", "dnachunk.ops.dechunk"),
        ("dnachunk.data.genome.Genome", "dnachunk.nn:Dechunk", "dnachunk.data.Genome"),
        ("dnachunk.alphabet", "dnachunk.nn:Dechunk", "dnachunk.alphabet"),
        ("ValueError", "dnachunk.nn:Dechunk", ""),
        ("torch.nn.Linear", "dnachunk.nn:Dechunk", ""),
        ("Segmentation.words", "dnachunk.segmentation:Segmentation", None),
        ("dnachunk.ops.rechunk", "dnachunk.nn:Dechunk", None),
    ],
)
def test_references_in_docstrings(reference, owner, meaning):
    assert api.resolve(reference, pkgutil.resolve_name(owner)) == meaning


def test_every_command_has_a_page_with_its_options():
    texts = commands.command_pages()
    found = commands.commands()
    assert {"pretrain", "tokenize", "evaluate"} <= set(found)
    for name, command in found.items():
        told = re.findall(r"^\.\. option:: (--[\w-]+)", texts[f"{name}.rst"], re.MULTILINE)
        assert told == [parameter.opts[0] for parameter in command.params] + ["--help"]
        assert f"   {name}\n" in texts["index.rst"]


def test_links_between_files_become_links_between_pages():
    site = pages.site()
    table = site["results/micro.md"].decode()
    assert "](../systems/mergedna.md)" in table
    assert "](micro.json)" in table
    assert "](results/micro.md)" not in site["systems/dnachunker.md"].decode()
    assert "](../results/micro.md)" in site["systems/dnachunker.md"].decode()
    assert "](notebooks/quickstart.ipynb)" in site["notebooks.md"].decode()
    origin = ROOT / "CONTRIBUTING.md"
    link = pages.with_links("[x](src/error.rs#L1) [y](none.md) [z](https://a.org/b)", origin, "a/b.md", {})
    repository = papers.citation()["repository-code"]
    assert link == f"[x]({repository}/blob/main/src/error.rs#L1) [y](none.md) [z](https://a.org/b)"


def test_site_is_written_whole(tmp_path):
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "gone.rst").touch()
    pages.write_site(tmp_path)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == set(pages.site())
    assert {
        "index.md",
        "install.md",
        "systems/mxdna.md",
        "notebooks/quickstart.ipynb",
        "api/dnachunk.rst",
    } <= written


def test_broken_links_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#here"></a><a href="#x"></a><p id="x"></p>')
    (tmp_path / "b.html").write_text(
        '<p id="here"></p><img src="a.png"><a href="a.html#y"></a><a href="https://z/q">'
    )
    assert sorted(check_links.broken_links(tmp_path)) == ["b.html: a.html#y", "b.html: a.png"]


def test_papers_are_named_where_their_models_are():
    citation = papers.citation()
    assert citation["version"] == dnachunk.__version__
    assert f'"{citation["repository-code"]}"' in (ROOT / "pyproject.toml").read_text()
    folders = [path.parent for path in (ROOT / "python/dnachunk/models").glob("*/README.md")]
    assert sorted(paper["abbreviation"].lower() for paper in citation["references"]) == sorted(
        folder.name for folder in folders
    )
    for paper in citation["references"]:
        reference = f"[*{paper['title']}*]({paper['url']})"
        own = ROOT / "python/dnachunk/models" / paper["abbreviation"].lower() / "README.md"
        names = ", ".join(f"{author['given-names']} {author['family-names']}" for author in paper["authors"])
        assert reference in (ROOT / "README.md").read_text()
        assert f"{reference}, {names}, " in own.read_text()
        assert names in papers.papers_table()
        assert f"url = {{{paper['url']}}}" in papers.bibtex()
