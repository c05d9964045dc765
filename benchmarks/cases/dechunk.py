import torch

from benchmarks.case import Case, Work
from dnachunk.ops import dechunk, use_backend
from dnachunk.ops.dechunk import dechunk_naive


def inputs(device, batch, length, channels, dtype):
    probability = torch.rand(batch, length, device=device)
    begins = probability >= 0.5
    begins[:, 0] = True
    token_index = begins.long().cumsum(dim=1) - 1
    num_tokens = int(token_index.max()) + 1
    return {
        "values": torch.randn(batch, num_tokens, channels, device=device, dtype=dtype),
        "boundary_probability": probability,
        "is_forced": torch.arange(length, device=device).expand(batch, -1) == 0,
        "token_index": token_index,
    }


def blockwise(**arguments):
    """Products with the matrices of decay inside blocks; of what was tried in PyTorch the fastest."""
    with use_backend("torch"):
        return dechunk(**arguments)


def forward_work(batch, length, channels, dtype):
    # Half a chunk to a position, read once, and one vector written.
    return Work(bytes=batch * length * (1.5 * channels * dtype.itemsize + 13))


def backward_work(batch, length, channels, dtype):
    return Work(bytes=batch * length * (2 * channels * dtype.itemsize + 17))


CASE = Case(
    name="dechunk",
    shapes=[
        {"batch": 1, "length": 4096, "channels": 1024, "dtype": torch.float32},
        {"batch": 1, "length": 4096, "channels": 1024, "dtype": torch.bfloat16},
        {"batch": 8, "length": 512, "channels": 640, "dtype": torch.float32},
        {"batch": 1, "length": 65536, "channels": 256, "dtype": torch.float32},
    ],
    inputs=inputs,
    ours=dechunk,
    rivals={"eager": blockwise, "loop over positions": dechunk_naive},
    differentiable=["values", "boundary_probability"],
    forward_work=forward_work,
    backward_work=backward_work,
    # A graph of a hundred thousand nodes.
    skips={"loop over positions": lambda length, **_: length > 4096},
)
