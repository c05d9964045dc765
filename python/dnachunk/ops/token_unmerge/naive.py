"""The definition of ``token_unmerge``, which also serves devices without a kernel."""

import torch


def token_unmerge_naive(x: torch.Tensor, token_index: torch.Tensor) -> torch.Tensor:
    """See :func:`dnachunk.ops.token_unmerge`."""
    padded = torch.cat([x, x.new_zeros(x.shape[0], 1, x.shape[2])], dim=1)
    slot = torch.where(token_index < 0, x.shape[1], token_index)
    return padded.gather(1, slot[..., None].expand(-1, -1, x.shape[2]))
