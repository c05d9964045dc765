"""Fails unless packages are imported in the versions, or from the folders, that are expected.

python release/expect.py torch=2.9.1 dnachunk=.venv/wheel/unpacked
"""

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Checks each NAME=VERSION or NAME=FOLDER."""
    for argument in sys.argv[1:]:
        name, _, expected = argument.partition("=")
        module = importlib.import_module(name)
        version, place = module.__version__.split("+")[0], Path(module.__file__).resolve()
        if version != expected and Path(expected).resolve() not in place.parents:
            raise SystemExit(f"{name} must be {expected}, got {version} from {place}")
        print(name, version, "from", place.parent)


if __name__ == "__main__":
    main()
