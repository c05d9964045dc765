import ctypes
import importlib
from pathlib import Path

import pytest
import torch

from dnachunk.ops import use_backend
from dnachunk.ops._backend import INTERPRETED

SMALL = {
    "global_match.triton": {"TILE": 16, "CHANNELS": 16, "BLOCK": 16},
    "deformable_conv.triton": {"ENTRIES": 16, "CHANNELS": 16, "ROW_CHANNELS": 32},
    "token_merge.triton": {"POSITIONS": 8, "CHANNELS": 16, "GRAD_CHANNELS": 16},
    "boundary_routing.triton": {"POSITIONS": 8, "CHANNELS": 16, "BLOCK": 16},
    "dechunk.triton": {"BLOCK": 8, "CHANNELS": 16, "POSITIONS": 16},
    "basic_units.triton": {"BLOCK": 16},
    "causal_conv.triton": {"BLOCK": 8, "CHANNELS": 16},
    "neighbor_match.triton": {"BLOCK": 32},
    "rms_norm.triton": {"ELEMENTS": 64, "PROGRAMS": 3},
    "rotary.triton": {"PAIRS": 64},
    "selective_scan.op": {"_BLOCK": 8},
    "selective_scan.triton": {"BLOCK": 8, "SUB_BLOCK": 2, "PROGRAMS": 8},
    "soft_assignment.triton": {"BLOCK": 32},
    "soft_merge.triton": {"BLOCK": 16, "ROWS": 8, "CHANNELS": 16},
    "swiglu.triton": {"COLUMNS": 16},
    "window_center.triton": {"ELEMENTS": 128},
}


@pytest.fixture(autouse=True)
def _junk_in_new_memory():
    """Lets torch's CPU allocator fill what it hands out with 0x7fedbeef, over and over.

    That is NaN in float32 and every second half, and huge in float64 and integers, so that an operation which
    leaves an element unwritten gives no right result by chance. ``torch.use_deterministic_algorithms`` fills
    the tensors that Python makes, but not those that a kernel makes through the C interface.
    """
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    fills = ctypes.c_bool.in_dll(library, "FLAGS_caffe2_cpu_allocator_do_junk_fill")
    fills.value = True
    assert torch.empty(8).isnan().all()
    yield
    fills.value = False


if INTERPRETED:

    @pytest.fixture(autouse=True)
    def _triton_kernels_with_small_blocks(monkeypatch, request):
        """In this process the kernel of every operation is Triton's, over enough blocks to join some."""
        for module, constants in SMALL.items():
            for name, value in constants.items():
                monkeypatch.setattr(importlib.import_module(f"dnachunk.ops.{module}"), name, value)

        def with_this_kernel(backend):
            return use_backend("triton" if backend == "rust" else backend)

        monkeypatch.setattr(request.module, "use_backend", with_this_kernel, raising=False)
        with use_backend("triton"):
            yield
