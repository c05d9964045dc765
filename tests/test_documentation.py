"""What the README and the docstrings show runs as shown."""

import doctest
import importlib
import pkgutil
import re
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
