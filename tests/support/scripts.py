"""Scripts that lie outside of the package, as modules."""

import importlib.util


def load_script(path):
    """The module that a script is, by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
