"""Tolerances, in one table."""

import torch

# Error allowed relative to the largest value of a float64 reference on the same (rounded) input.
# Half types keep 8 and 11 bits; a result is rounded once, so a few units in the last place.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 1.2e-2, torch.float16: 1.5e-3}


def assert_close_to_reference(name, actual, reference, *, dtype=None):
    """Compares with a float64 reference; ``dtype`` is the precision the computation ran in."""
    assert actual.shape == reference.shape, f"{name}: shape {tuple(actual.shape)} != {tuple(reference.shape)}"
    if not actual.is_floating_point():
        assert torch.equal(actual.cpu(), reference.cpu()), f"{name}: integers differ"
        return
    assert torch.isfinite(actual).all(), f"{name}: not finite"
    scale = reference.abs().max().item() if reference.numel() else 0.0
    error = (actual.double() - reference.double()).abs().max().item() if reference.numel() else 0.0
    allowed = TOLERANCE[dtype or actual.dtype] * max(scale, 1e-30)
    assert error <= allowed, f"{name}: error {error:.3e} > {allowed:.3e} (scale {scale:.3e}, {actual.dtype})"
