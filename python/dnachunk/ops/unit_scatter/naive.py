"""The definition of ``unit_scatter``, which also serves devices without a kernel."""

import torch

from dnachunk.ops._check import accumulator_dtype


def unit_scatter_naive(
    residual: torch.Tensor, values: torch.Tensor, weight: torch.Tensor, position: torch.Tensor
) -> torch.Tensor:
    """See :func:`dnachunk.ops.unit_scatter`."""
    rows = residual.flatten(0, 1)
    dtype = accumulator_dtype(residual.dtype)
    sums = rows[position].to(dtype) + weight[:, None] * values.to(dtype)
    return rows.index_put((position,), sums.to(residual.dtype)).view_as(residual)
