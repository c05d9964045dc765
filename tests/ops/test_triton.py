"""The GPU's kernels without a GPU.

Triton's interpreter must be asked for before Triton is imported, hence in a process of its own. There
`conftest.py` makes every operation take its Triton kernel and shrinks the blocks.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnachunk import ops
from dnachunk.ops._backend import HAS_TRITON
from tests.ops.kernel_cases import CASES
from tests.support.newest import needs_newest_torch

TIMEOUT_S = 1800


@needs_newest_torch
def test_in_a_process_of_its_own():
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    # Beside what is here, the short ones of the operations' own tests.
    own = [str(Path(__file__).with_name(f"test_{op}.py")) for op in sorted(HAS_TRITON & set(ops.__all__))]
    here = str(Path(__file__).with_name("in_interpreter.py"))
    chosen = ["-k", "in_interpreter or literal or empty or opcheck"]
    command = [sys.executable, "-m", "pytest", "-q", *chosen, here, *own]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert result.returncode == 0, result.stdout[-20000:]


def test_every_kernel_is_here():
    assert {CASES[name]().op for name in CASES} == HAS_TRITON & set(ops.__all__)
