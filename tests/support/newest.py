"""What is tried with the newest torch alone."""

import pytest
import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])

needs_newest_torch = pytest.mark.skipif(
    RELEASE < (2, 15), reason="kernels are tried with the newest torch, and with the Triton that goes with it"
)
