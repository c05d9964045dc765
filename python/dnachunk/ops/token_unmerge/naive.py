"""The definition of ``token_unmerge``, which also serves devices without a kernel."""

import torch

from dnachunk.ops._rows import pad_rows


def token_unmerge_naive(x: torch.Tensor, token_index: torch.Tensor) -> torch.Tensor:
    """See :func:`dnachunk.ops.token_unmerge`."""
    # Row 0 is that of -1.
    return pad_rows(x, 1, 0).gather(1, (token_index + 1)[..., None].expand(-1, -1, x.shape[2]))
