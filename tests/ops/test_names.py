"""One name for each operation, in Rust, in Python, in its test and in its benchmark."""

import inspect
from pathlib import Path

import pytest

from dnachunk import _native, ops

REPOSITORY = Path(__file__).parents[2]
OPERATIONS = sorted(set(ops.__all__) - {"backend_of", "use_backend"})


def folders(path):
    return sorted(each.name for each in (REPOSITORY / path).iterdir() if (each / "mod.rs").exists())


def test_every_folder_is_an_operation():
    assert folders("src/ops") == OPERATIONS
    packages = sorted(each.parent.name for each in Path(ops.__file__).parent.glob("*/__init__.py"))
    assert packages == OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_place_has_the_name(name):
    assert (REPOSITORY / "tests" / "ops" / f"test_{name}.py").is_file()
    case = REPOSITORY / "benchmarks" / "cases" / f"{name}.py"
    assert f'name="{name}"' in case.read_text(encoding="utf-8")
    assert getattr(ops, name).__module__ == f"dnachunk.ops.{name}.op"


def test_every_entry_point_is_of_an_operation():
    passes = {f"{name}{suffix}" for name in OPERATIONS for suffix in ("", "_forward", "_backward")}
    functions = {name for name, value in vars(_native.rust).items() if inspect.isroutine(value)}
    assert functions - passes == {"build_info", "foreign_file"}
