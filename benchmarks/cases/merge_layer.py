import torch

from benchmarks.case import Case, Work
from dnachunk.ops import neighbor_cosine, neighbor_match, token_merge, use_backend


def inputs(device, batch, length, channels, dtype):
    return {
        "x": torch.randn(batch, length, channels, device=device, dtype=dtype),
        # Whole numbers, so that all forms decide alike.
        "grouping": torch.randint(-2, 3, (batch, length, 64), device=device).to(dtype),
        "lengths": torch.full((batch,), length, device=device),
    }


def merge(x, grouping, lengths):
    """Score, match and merge: what a merging layer does between its projections."""
    scores = neighbor_cosine(grouping)
    token_index, threshold = neighbor_match(scores, lengths, lengths // 4)
    sizes = torch.ones_like(token_index)
    num_tokens = x.shape[1] - x.shape[1] // 4
    return token_merge(x, sizes, token_index, num_tokens, scores, threshold)[0]


def merge_in_eager(**arguments):
    with use_backend("torch"):
        return merge(**arguments)


def forward_work(batch, length, channels, dtype):
    return Work(bytes=batch * length * ((1.75 * channels + 64) * dtype.itemsize + 40))


def backward_work(batch, length, channels, dtype):
    # Reads x, the merged tokens and their gradient; writes the gradients of x and of the grouping.
    return Work(bytes=batch * length * ((3.5 * channels + 128) * dtype.itemsize + 40))


CASE = Case(
    name="merge_layer",
    shapes=[
        {"batch": 8, "length": 512, "channels": 256, "dtype": torch.float32},
        {"batch": 1, "length": 65536, "channels": 256, "dtype": torch.float32},
        {"batch": 1, "length": 65536, "channels": 256, "dtype": torch.bfloat16},
    ],
    inputs=inputs,
    ours=merge,
    rivals={"eager": merge_in_eager},
    differentiable=["x", "grouping"],
    forward_work=forward_work,
    backward_work=backward_work,
)
