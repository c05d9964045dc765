"""Reference pages: what the package makes public, found by looking at it."""

import ast
import builtins
import contextlib
import functools
import importlib
import inspect
import itertools
import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import dnachunk

# Its options are on the pages of the commands.
NOT_A_LIBRARY = {"dnachunk.cli"}


@dataclass(frozen=True)
class Entry:
    """Something public.

    Attributes:
        module: Where users import it from: the shortest module of those that offer it.
        name: Its name there.
        home: Module that defines it.
        directive: What autodoc calls its kind.
    """

    module: str
    name: str
    home: str
    directive: str

    @property
    def full_name(self) -> str:
        """The name that it is documented and referred to by."""
        return f"{self.module}.{self.name}"


@functools.cache
def pages() -> list[str]:
    """The packages that have a page: the outermost one and those right below it."""
    below = [
        f"dnachunk.{found.name}"
        for found in pkgutil.iter_modules(dnachunk.__path__)
        if found.ispkg and not found.name.startswith("_")
    ]
    return ["dnachunk", *(name for name in below if name not in NOT_A_LIBRARY)]


def page_of(module: str) -> str:
    """The page that a module is described on."""
    return max((page for page in pages() if f"{module}.".startswith(f"{page}.")), key=len)


@functools.cache
def modules() -> list[str]:
    """Public modules, those with the shortest paths first."""
    names = ["dnachunk"]
    for found in pkgutil.walk_packages(dnachunk.__path__, "dnachunk."):
        is_public = not any(part.startswith("_") for part in found.name.split("."))
        if is_public and not any(f"{found.name}.".startswith(f"{name}.") for name in NOT_A_LIBRARY):
            names.append(found.name)
    return sorted(names, key=lambda name: (name.count("."), name))


def _documented_constants(module: ModuleType) -> list[str]:
    """Names of a module that are given a value and then a docstring."""
    body = ast.parse(inspect.getsource(module)).body
    names = []
    for statement, after in itertools.pairwise(body):
        is_docstring = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        if is_docstring and isinstance(targets[0], ast.Name):
            names.append(targets[0].id)
    return names


def _offered(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Name, home and kind of what a module offers: its ``__all__``, or else what it defines."""
    constants = _documented_constants(module)
    listed = getattr(module, "__all__", None)
    for name in [*vars(module), *constants] if listed is None else listed:
        value = getattr(module, name)
        home = getattr(value, "__module__", None) or ""
        is_defined_here = listed is not None or home == module.__name__
        if name.startswith("_"):
            continue
        if name in constants:
            yield name, module.__name__, "autodata"
        elif inspect.isclass(value) and is_defined_here:
            yield name, home, "autoclass"
        elif inspect.isroutine(value) and is_defined_here:
            yield name, home if home.startswith("dnachunk") else module.__name__, "autofunction"


@functools.cache
def entries() -> list[Entry]:
    """Everything public, each once."""
    found: dict[tuple[str, str], Entry] = {}
    for name in modules():
        for label, home, directive in _offered(importlib.import_module(name)):
            found.setdefault((home, label), Entry(name, label, home, directive))
    return list(found.values())


@functools.cache
def public_names() -> dict[str, str]:
    """The name in the documentation of everything public, by the name where it is defined."""
    return {f"{entry.home}.{entry.name}": entry.full_name for entry in entries()}


def _heading(text: str, underline: str) -> list[str]:
    return [text, underline * len(text), ""]


def _table(names: list[str]) -> list[str]:
    lines = [f"   ~{name}" for name in names]
    return [".. currentmodule:: None", "", ".. autosummary::", "   :nosignatures:", "", *lines, ""]


def _description(entry: Entry) -> list[str]:
    options = ["   :no-value:"] if entry.directive == "autodata" else []
    return [f".. {entry.directive}:: {entry.module}::{entry.name}", *options, ""]


def module_label(module: str) -> str:
    """Label of the place where a module is described."""
    return f"module-{module}"


def _module_heading(module: str, underline: str) -> list[str]:
    docstring = [f".. automodule:: {module}", "   :no-index:", "   :no-members:", ""]
    return [f".. _{module_label(module)}:", "", *_heading(module, underline), *docstring]


def api_pages() -> dict[str, str]:
    """A page for each public package, and one that lists them.

    Returns:
        Texts in reStructuredText by file name.
    """
    by_name = public_names()
    described: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries():
        described[page_of(entry.home)].append(entry)
    texts = {}
    for page in pages():
        package = importlib.import_module(page)
        # Functions come before classes.
        found = sorted(_offered(package), key=lambda offer: offer[2] == "autoclass")
        offered = [by_name[f"{home}.{name}"] for name, home, _ in found]
        lines = [*_module_heading(page, "="), *_table(offered)]
        own = [entry for entry in described[page] if entry.full_name in offered]
        # What users import from farther out is still described beside what it belongs to.
        own += [entry for entry in described[page] if entry not in own and len(entry.module) < len(page)]
        for entry in own:
            lines += _description(entry)
        rest = [entry for entry in described[page] if entry not in own]
        for module in sorted({entry.module for entry in rest}):
            lines += _module_heading(module, "-")
            for entry in rest:
                if entry.module == module:
                    lines += _description(entry)
        texts[f"{page}.rst"] = "\n".join(lines)
    index = [
        *_heading("API reference", "="),
        "What ``import dnachunk as dc`` offers, and where the rest is.",
        "",
    ]
    index += [".. toctree::", "", *(f"   {page}" for page in pages()), ""]
    for page in pages():
        package = importlib.import_module(page)
        index += [f":ref:`{page} <{module_label(page)}>`", ""]
        index += [f"   {(package.__doc__ or '').splitlines()[0]}", ""]
    texts["index.rst"] = "\n".join(index)
    return texts


def resolve(reference: str, owner: Any) -> str | None:
    """What a reference in a docstring means.

    Args:
        reference: The text of a role, such as ``Segmentation.tokens`` or ``dnachunk.ops.dechunk``.
        owner: What the docstring belongs to.

    Returns:
        The name that it is documented by; empty if it is not this package's or is described with something
        else; ``None`` if there is nothing of that name.
    """
    module = inspect.getmodule(owner)
    scopes: list[Any] = [module, builtins]
    value: Any = module
    for part in getattr(owner, "__qualname__", "").split("."):
        value = getattr(value, part, None)
        if inspect.isclass(value):
            # A docstring may be inherited from a class that its reader knows by name.
            scopes = [value, *map(inspect.getmodule, value.__mro__), *scopes]
    for scope in scopes:
        with contextlib.suppress(AttributeError):
            return _documented_name(scope, reference)
    with contextlib.suppress(ImportError, AttributeError, ValueError):
        value = pkgutil.resolve_name(reference)
        if inspect.ismodule(value):
            return reference if reference in modules() else ""
        home, _, name = reference.rpartition(".")
        return _documented_name(pkgutil.resolve_name(home), name)
    found = [entry.module for entry in entries() if entry.name == reference.split(".", maxsplit=1)[0]]
    if len(found) == 1:
        with contextlib.suppress(AttributeError):
            return _documented_name(importlib.import_module(found[0]), reference)
    return None


def _documented_name(scope: Any, reference: str) -> str:
    """The name in the documentation of an attribute of a class or module, or of an attribute of that.

    Raises:
        AttributeError: If there is none.
    """
    *path, last = reference.split(".")
    for part in path:
        scope = getattr(scope, part)
    names = public_names()
    if inspect.isclass(scope):
        for base in scope.__mro__:
            name = names.get(f"{base.__module__}.{base.__qualname__}")
            # Fields are described with their class.
            if last in inspect.get_annotations(base) or f"\n        {last}: " in (base.__doc__ or ""):
                return ""
            if last in vars(base):
                return f"{name}.{last}" if name else ""
        raise AttributeError(reference)
    value = getattr(scope, last)
    homes = [
        f"{scope.__name__}.{last}",
        f"{getattr(value, '__module__', '')}.{getattr(value, '__name__', last)}",
    ]
    return next((names[home] for home in homes if home in names), "")
