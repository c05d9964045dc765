"""Names of a package that are loaded when they are asked for."""

import importlib
import importlib.abc
import importlib.util
import sys
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
        homes: The module that defines each name; a name that is itself a module's last part is that module.

    Returns:
        Both functions.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(homes[name])
        value = module if homes[name] == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted({*vars(sys.modules[package]), *homes})


class _AfterImport(importlib.abc.MetaPathFinder):
    """Imports modules of ours right after another module has been run for the first time."""

    def __init__(self, module: str, then: Sequence[str]) -> None:
        self.module = module
        self.then = then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_then_import(module: ModuleType) -> None:
            run(module)
            for name in self.then:
                importlib.import_module(name)

        setattr(spec.loader, "exec_module", run_then_import)  # noqa: B010  (a method, for this module alone)
        return spec


def after_import(module: str, then: Sequence[str]) -> None:
    """Imports the modules ``then`` as soon as ``module`` is there: now, if it is already."""
    if module in sys.modules:
        for name in then:
            importlib.import_module(name)
    else:
        sys.meta_path.insert(0, _AfterImport(module, then))


__all__ = ["after_import", "lazy_names"]
