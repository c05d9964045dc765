"""The script for a short time on a GPU, with programs in place of those that need one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import notebook

ROOT = Path(__file__).parents[1]

# What `-c` is asked: whether there is a GPU.
PYTHON = """#!/bin/sh
case "$*" in
  *is_available*) exit $NO_GPU ;;
  *"-k same_bits") echo "1 failed"; exit 1 ;;
  *"-k against_the_definition") echo started; exec sleep 60 ;;
  *) echo "did: $*"; echo ;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    """A checkout with a wheel, and programs that say what they were asked."""
    root = tmp_path / "checkout"
    (root / "tools").mkdir(parents=True)
    (root / "dist").mkdir()
    shutil.copy(ROOT / "tools" / "gpu.sh", root / "tools")
    (root / "dist" / "dnachunk-1.whl").touch()
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("python3", "compute-sanitizer"):
        (programs / name).write_text(PYTHON)
        (programs / name).chmod(0o755)

    def run(*, no_gpu=0, **changes):
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "NO_GPU": str(no_gpu), **changes}
        environment.pop("PYTHON", None)
        return subprocess.run(
            [root / "tools" / "gpu.sh", tmp_path / "out"],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    run.root, run.out = root, tmp_path / "out"
    return run


def rows(table):
    _, _, *lines = table.read_text().splitlines()
    return {name: result for name, result, *_ in ([c.strip() for c in line.split("|")[1:]] for line in lines)}


def test_every_check_has_its_row_and_the_first_fault_its_status(machine):
    text = (machine.root / "tools" / "gpu.sh").read_text()
    (machine.root / "tools" / "gpu.sh").write_text(text.replace('definitions" 150', 'definitions" 1'))
    result = machine()
    table = rows(machine.out / "table.md")
    assert result.returncode == 1
    assert table.pop("the same bits twice") == "FAILED (1)"
    assert table.pop("kernels against their definitions") == "out of time"
    assert len(table) == 8
    assert set(table.values()) == {"passed"}
    # Printed last, and the whole output of each check beside it.
    assert result.stdout.endswith((machine.out / "table.md").read_text())
    assert "did: -m dnachunk doctor" in (machine.out / "doctor.log").read_text()
    assert "-m cuda" in (machine.out / "all_other_tests.log").read_text()


def test_what_has_no_time_left_is_said(machine):
    result = machine(BUDGET_S="0")
    table = rows(machine.out / "table.md")
    assert set(table.values()) == {"no time left"}
    assert result.returncode == 1


def test_without_a_gpu_or_a_wheel_nothing_is_begun(machine):
    result = machine(no_gpu=1)
    assert result.returncode == 2
    assert "finds no GPU" in result.stderr
    (machine.root / "dist" / "dnachunk-1.whl").unlink()
    result = machine()
    assert result.returncode == 2
    assert "make wheel" in result.stderr


def test_what_it_asks_for_exists():
    """Names of tests and cases in the script are those of tests and cases."""
    script = (ROOT / "tools" / "gpu.sh").read_text()
    cuda = (ROOT / "tests" / "test_cuda.py").read_text()
    for part in ("against_the_definition", "same_bits", "reads_nothing_back", "pretraining_step", "waits"):
        assert part in script
        assert f"{part}" in cuda
    for word in script.split("--filter ")[1:]:
        assert (ROOT / "benchmarks" / "cases" / f"{word.split()[0]}.py").is_file()


def test_a_notebook_runs_without_jupyter(tmp_path):
    path = tmp_path / "some.ipynb"
    path.write_text(
        '{"cells": [{"cell_type": "markdown", "source": ["no = code"]},'
        ' {"cell_type": "code", "source": ["%matplotlib inline\\n", "x = 3"]},'
        ' {"cell_type": "code", "source": ["open(\\"made.txt\\", \\"w\\").write(str(x))"]}]}'
    )
    assert notebook.code_of(path)[0] == "x = 3"
    result = subprocess.run(
        [sys.executable, "-m", "tests.notebook", path, tmp_path / "out"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout == "some.ipynb: 2 cells ran\n"
    assert (tmp_path / "out" / "made.txt").read_text() == "3"
