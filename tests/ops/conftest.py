import ctypes
from pathlib import Path

import pytest
import torch


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
