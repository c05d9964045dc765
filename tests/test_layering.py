"""Imports go one way: ops, nn, models, then what uses them, then the command line; in Rust too."""

import ast
import re
from pathlib import Path

import pytest

import dnachunk

PACKAGE = Path(dnachunk.__file__).parent
RUST = Path(__file__).parent.parent / "src"

# Lowest first: a module imports from its own layer and from those before it. "" is the package's own module.
LAYERS = [
    (
        *("_lazy", "_native", "alphabet", "errors", "files", "fixed_vocabulary", "random", "reporting"),
        *("segmentation", "version"),
    ),
    ("ops",),
    ("build", "tokenization"),
    ("nn",),
    ("models",),
    ("baselines",),
    ("data",),
    ("inference",),
    ("evaluation",),
    ("training", "visualization"),
    ("",),
    ("cli",),
    ("__main__",),
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# Packages whose folders stand side by side and know nothing of each other.
SIDE_BY_SIDE = ("ops", "models")
# What registers all models with transformers' Auto classes.
REGISTRIES = ("models.auto_configurations", "models.auto_models")

# What reads and writes files in Rust.
FILES = ("data.genome", "data.text")


def may_use_rust(module):
    """The wrapper of each kernel, and those of the genome reader and the bgzip writer."""
    parts = module.split(".")
    return (parts[0] == "ops" and len(parts) == 3 and parts[2] == "op") or module in FILES


def module_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in PACKAGE.rglob("*.py")}


def imports_of(tree, module, is_package):
    """``(line, module inside the package, name or None)`` of each import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root, _, inside = alias.name.partition(".")
                if root == "dnachunk":
                    yield node.lineno, inside, None
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                parents = module.split(".") if module else []
                parents = parents[: len(parents) - node.level + is_package]
                source = ".".join([*parents, *([node.module] if node.module else [])])
            else:
                root, _, source = (node.module or "").partition(".")
                if root != "dnachunk":
                    continue
            for alias in node.names:
                inside = f"{source}.{alias.name}".lstrip(".")
                if inside in MODULES | {"_rust"}:
                    yield node.lineno, inside, None
                else:
                    yield node.lineno, source, alias.name


def violations(source, module, *, is_package=False):
    """What is wrong with the imports of a module's source, one line for each fault."""
    top = module.split(".")[0]
    if top not in LEVEL:
        return [f"{module}: belongs to no layer"]
    found = []
    for line, target, name in imports_of(ast.parse(source), module, is_package):
        place = f"{module or 'dnachunk'}:{line} imports {target or 'dnachunk'}" + (f".{name}" if name else "")
        target_top = target.split(".")[0]
        if target_top == "_rust":
            if module != "_native":
                found.append(f"{place}: only _native loads the compiled module")
            continue
        if target_top not in LEVEL:
            found.append(f"{place}: belongs to no layer")
            continue
        if LEVEL[target_top] > LEVEL[top]:
            found.append(f"{place}: upwards")
        if target == "_native" and name != "versions" and not may_use_rust(module):
            found.append(
                f"{place}: only ops/*/op.py, data/genome.py and data/text.py call the compiled module"
            )
        folders = [name.split(".") for name in (module, target)]
        in_folder = f"{module}." in {".".join(name.split(".")[:2]) + "." for name in MODULES if "." in name}
        if module in REGISTRIES:
            continue
        if top == target_top and top in SIDE_BY_SIDE and (len(folders[0]) > 2 or in_folder):
            own = ".".join(folders[0][:2])
            is_shared = len(folders[1]) == 2 and not any(other.startswith(f"{target}.") for other in MODULES)
            if target != own and not target.startswith(f"{own}.") and not is_shared:
                found.append(f"{place}: sideways")
    return found


def test_imports_go_one_way():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        found += violations(
            path.read_text(encoding="utf-8"), module_of(path), is_package=path.name == "__init__.py"
        )
    assert not found, "\n".join(found)


def circles(imports):
    """Modules that import each other, by way of others or directly; ``imports`` is by module."""
    found, place, stack, low = [], {}, [], {}

    def visit(module):
        place[module] = low[module] = len(place)
        stack.append(module)
        for target in imports.get(module, ()):
            if target not in place:
                visit(target)
            if target in stack:
                low[module] = min(low[module], low[target])
        if low[module] == place[module]:
            circle = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for module in sorted(imports):
        if module not in place:
            visit(module)
    return found


def test_no_files_import_each_other():
    imports = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = module_of(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = imports_of(tree, module, path.name == "__init__.py")
        # A package's names are loaded when they are asked for; what is asked for is a module's own import.
        imports[module] = {target for _, target, _ in found if target in MODULES and target != module}
    assert circles(imports) == []


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("ops.token_merge.op", "from dnachunk.nn import SwiGLU", "upwards"),
        ("ops.token_merge.op", "from dnachunk.ops.rotary import rotary", "sideways"),
        ("ops.token_merge.op", "from dnachunk.ops import rotary", "sideways"),
        ("ops.token_merge.op", "from ..rotary import rotary", "sideways"),
        ("ops.token_merge.naive", "from dnachunk._native import rust", "only ops/"),
        ("ops.token_merge.naive", "import dnachunk._native", "only ops/"),
        ("ops._check", "from dnachunk.tokenization import DNATokenizer", "upwards"),
        ("nn.mlp", "from dnachunk import _rust", "only _native"),
        ("nn.mlp", "import dnachunk._rust", "only _native"),
        ("nn.mlp", "from dnachunk._native import rust", "only ops/"),
        ("nn.mlp", "from dnachunk.models import MergeDNAConfig", "upwards"),
        ("nn.mlp", "from dnachunk import MergeDNAConfig", "upwards"),
        ("models.mergedna.modeling_mergedna", "def f():\n    import dnachunk.data.masking", "upwards"),
        ("data.windows", "from dnachunk.training import PreTrainer", "upwards"),
        ("data.masking", "from dnachunk.cli import main", "upwards"),
        ("", "from dnachunk import _no_such_module, cli", "upwards"),
        ("segmentation", "from dnachunk.ops import token_sum", "upwards"),
        ("attic.old", "", "no layer"),
    ],
)
def test_each_violation_is_named(module, source, fault):
    found = violations(source, module)
    assert len(found) == 1, found
    assert fault in found[0]
    assert found[0].startswith(module or "dnachunk")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ops.token_merge.op", "from dnachunk._native import rust"),
        ("ops.token_merge.op", "from dnachunk.ops._check import check_shape"),
        ("ops.token_merge.op", "from .naive import token_merge_torch"),
        ("models.mergedna.modeling_mergedna", "from dnachunk.models.modeling_common import embed"),
        ("nn.mlp", "from dnachunk.ops import swiglu"),
        ("build", "from dnachunk._native import versions"),
        ("training.pretrainer", "from dnachunk.data import Genome"),
        ("_native", "from dnachunk import _rust"),
    ],
)
def test_what_is_allowed_passes(module, source):
    assert violations(source, module) == []


# What only some files of `src/` may name: torch, Python and threads each have one door.
RUST_DOORS = {
    "tch": r"tensor|torch_abi|.*/binding",
    "pyo3": r"error|lib|tensor|torch_abi|.*/binding",
    "crate::tensor": r"tensor|.*/binding",
    "rayon": r"parallel",
}


def rust_violations(source, module):
    """What is wrong with the names that a file of ``src/`` uses, as ``ops/rotary/cpu``; one line a fault."""
    found = []
    folders = module.split("/")
    in_op = folders[0] == "ops" and len(folders) == 3
    for line, text in enumerate(source.splitlines(), start=1):
        code = text.split("//")[0]
        place = f"{module}:{line} names"
        for name, files in RUST_DOORS.items():
            if re.search(rf"(?<![\w:]){name}::", code) and not re.fullmatch(files, module):
                found.append(f"{place} {name}: not through its door")
        for op in re.findall(r"crate::ops::(\w+)|crate::ops\b", code):
            if in_op and op != folders[1]:
                found.append(f"{place} ops::{op}: sideways")
            elif folders[0] not in ("ops", "lib"):
                found.append(f"{place} ops::{op}: upwards")
        if in_op and "super::super::" in code:
            found.append(f"{place} super::super: sideways")
    return found


def test_rust_goes_one_way():
    found, modules = [], sorted(RUST.rglob("*.rs"))
    assert len(modules) > 50
    for path in modules:
        module = path.relative_to(RUST).with_suffix("").as_posix()
        found += rust_violations(path.read_text(encoding="utf-8"), module)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("ops/unit_gather/binding", "use crate::ops::token_sum::cpu::sum;", "sideways"),
        ("ops/unit_gather/cpu", "use super::super::token_sum;", "sideways"),
        ("ops/rotary/cpu", "use crate::tensor::Input;", "door"),
        ("ops/rotary/cpu", "    x: &tch::Tensor,", "door"),
        ("ops/rotary/mod", "use pyo3::prelude::*;", "door"),
        ("rows", "use rayon::prelude::*;", "door"),
        ("rows", "use crate::ops::rotary::cpu;", "upwards"),
    ],
)
def test_each_violation_in_rust_is_named(module, source, fault):
    found = rust_violations(f"\n{source}", module)
    assert len(found) == 1, found
    assert fault in found[0]
    assert found[0].startswith(f"{module}:2 ")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ops/rotary/binding", "use crate::tensor::{Input, Output};\nuse pyo3::prelude::*;"),
        ("ops/rotary/cpu", "use super::BLOCK;\nuse crate::simd::dot; // not crate::ops::swiglu"),
        ("ops/rotary/mod", "//! As [`swiglu`](crate::ops::swiglu)."),
        ("lib", "use crate::ops::rotary::binding::rotary_forward;"),
        ("parallel", "use rayon::ThreadPool;"),
    ],
)
def test_what_is_allowed_in_rust_passes(module, source):
    assert rust_violations(source, module) == []
