"""Configuration of the documentation site; see CONTRIBUTING.md for how it is made."""

import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext import autosummary
from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).parent / "_site"))

from api import module_label, public_names, resolve
from papers import bibtex, citation, papers_table

from dnachunk import __version__

# Cells of the notebooks call the command of this environment.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

project = "dnachunk"
author = citation()["authors"][0]["name"]
copyright = author
release = version = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "myst_nb"]
# Quotes and dots are often those of code.
smartquotes_action = "D"
nitpicky = True

autosummary_generate = False
# A summary ends at the first full stop that is not one of these.
autosummary.WELL_KNOWN_ABBREVIATIONS += ("Eq.", "Sec.")
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

myst_enable_extensions = ["substitution"]
myst_heading_anchors = 3
myst_substitutions = {"papers": papers_table(), "bibtex": bibtex()}

nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parent / "_build" / "notebooks")
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 900
nb_merge_streams = True
# Progress bars.
nb_output_stderr = "remove"

html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme = "pydata_sphinx_theme"
html_title = project
html_copy_source = False
html_theme_options = {
    "github_url": citation()["repository-code"],
    "header_links_before_dropdown": 6,
    "navbar_persistent": ["search-button"],
    "show_toc_level": 2,
}

# Pages without others below them.
html_sidebars = {page: [] for page in ("install", "quickstart", "contributing", "citing", "changelog")}

linkcheck_anchors = False

_ROLE = re.compile(r":(class|func|meth|mod|data|attr|exc):`(~?)([\w.]+)`")


def _refer_to_public_names(
    app: Sphinx, what: str, name: str, owner: Any, options: Any, lines: list[str]
) -> None:
    """Turns references as a docstring's own module sees them into ones that hold anywhere."""

    def public(role: re.Match[str]) -> str:
        found = resolve(role[3], owner)
        if found is None:
            logging.getLogger(__name__).warning("%s: nothing is called %s", name, role[3])
        if not found:
            return f"``{role[3].split('.')[-1] if role[2] else role[3]}``"
        if role[1] == "mod":
            return f":ref:`{role[3]} <{module_label(found)}>`"
        text = role[3].split(".")[-1] if role[2] else role[3]
        return f":py:obj:`{text} <{found}>`"

    lines[:] = [_ROLE.sub(public, line) for line in lines]


def _link_type(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element
) -> nodes.Element | None:
    """Links a type in a signature, known by the module that defines it; those of other packages stay text."""
    if not env.docname.startswith("api/") and node.get("refdoc", "").split("/")[0] != "api":
        return None
    name = public_names().get(node["reftarget"])
    if name is None:
        return text
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, text) or text


def _skip_what_says_nothing(
    app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any
) -> bool | None:
    """Leaves out fields of tuples, whose text is their number, and what ``transformers`` reads of a model."""
    return True if type(value).__name__ == "_tuplegetter" or name == "config_class" else None


def setup(app: Sphinx) -> None:
    """Connects the hooks."""
    app.connect("autodoc-process-docstring", _refer_to_public_names)
    app.connect("autodoc-skip-member", _skip_what_says_nothing)
    app.connect("missing-reference", _link_type)
