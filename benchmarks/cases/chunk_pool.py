import torch

from benchmarks.case import Case, Work
from dnachunk.ops import chunk_pool
from dnachunk.ops.chunk_pool import chunk_pool_naive


def inputs(device, batch, length, channels, dtype, pooling):
    # Chunks of one to five positions.
    begins = torch.rand(batch, length, device=device) < 0.5
    begins[:, ::5] = True
    token_index = begins.long().cumsum(dim=1) - 1
    return {
        "x": torch.randn(batch, length, channels, device=device, dtype=dtype),
        "token_index": token_index,
        "max_tokens": int(token_index.max()) + 1,
        "pooling": pooling,
    }


def work(batch, length, channels, dtype, pooling):
    # 0.6 chunks to a position.
    read = 1.0 if pooling == "mean" else 0.6
    return Work(bytes=batch * length * ((read + 0.6) * channels * dtype.itemsize + 8))


def backward_work(batch, length, channels, dtype, pooling):
    return Work(bytes=batch * length * (1.6 * channels * dtype.itemsize + 8))


CASE = Case(
    name="chunk_pool",
    shapes=[
        {"batch": 8, "length": 512, "channels": 256, "dtype": torch.float32, "pooling": "mean"},
        {"batch": 1, "length": 8192, "channels": 640, "dtype": torch.float32, "pooling": "mean"},
        {"batch": 1, "length": 8192, "channels": 640, "dtype": torch.bfloat16, "pooling": "mean"},
        {"batch": 8, "length": 8192, "channels": 640, "dtype": torch.float32, "pooling": "mean"},
        {"batch": 8, "length": 8192, "channels": 640, "dtype": torch.float32, "pooling": "boundary"},
    ],
    inputs=inputs,
    ours=chunk_pool,
    rivals={"eager": chunk_pool_naive},
    differentiable=["x"],
    forward_work=work,
    backward_work=backward_work,
)
