"""Names of a package that are loaded when they are asked for."""

import importlib
import importlib.abc
import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """What a package binds to ``__getattr__`` and ``__dir__``, so that importing it loads nothing.

    Args:
        package: Its ``__name__``.
        homes: The module that defines each name. A module of the package is a name as well.

    Returns:
        Both functions.
    """

    def load(name: str) -> Any:
        if name in homes:
            value = getattr(importlib.import_module(homes[name]), name)
        elif not name.startswith("_") and importlib.util.find_spec(f"{package}.{name}"):
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted({*vars(sys.modules[package]), *homes})


class _ThenImport(importlib.abc.Loader):
    """Loads a module as its own loader does, then imports modules of ours."""

    def __init__(self, finder: "_AfterImport", loader: importlib.abc.Loader) -> None:
        self.finder = finder
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
        _import_or_warn(self.finder.then)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Imports modules of ours right after another module has been run for the first time."""

    def __init__(self, module: str, then: Sequence[str]) -> None:
        self.module = module
        self.then = then
        self.is_asking_others = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.module or self.is_asking_others:
            return None
        self.is_asking_others = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.is_asking_others = False
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenImport(self, spec.loader)
        return spec


def _import_or_warn(modules: Sequence[str]) -> None:
    """Imports modules; somebody else's import, which this follows, does not fail because ours does."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            warnings.warn(f"{name} could not be imported: {error}", ImportWarning, stacklevel=2)


def after_import(module: str, then: Sequence[str]) -> None:
    """Imports the modules ``then`` as soon as ``module`` is there: now, if it is already."""
    if module in sys.modules:
        _import_or_warn(then)
    else:
        sys.meta_path.insert(0, _AfterImport(module, then))


__all__ = ["after_import", "lazy_names"]
