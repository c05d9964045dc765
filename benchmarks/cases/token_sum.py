import torch

from benchmarks.case import Case, Work
from dnachunk.ops import token_sum
from dnachunk.ops.token_sum import token_sum_naive


def inputs(device, batch, length, channels, dtype):
    token_index = torch.arange(length, device=device) // 2
    return {
        "x": torch.randn(batch, length, channels, device=device, dtype=dtype),
        "token_index": token_index.expand(batch, -1).contiguous(),
        "num_tokens": length // 2,
    }


def work(batch, length, channels, dtype):
    return Work(bytes=batch * length * (1.5 * channels * dtype.itemsize + 8))


CASE = Case(
    name="token_sum",
    shapes=[
        {"batch": 8, "length": 512, "channels": 256, "dtype": torch.float32},
        {"batch": 1, "length": 65536, "channels": 256, "dtype": torch.float32},
        {"batch": 1, "length": 65536, "channels": 256, "dtype": torch.bfloat16},
    ],
    inputs=inputs,
    ours=token_sum,
    rivals={"eager": token_sum_naive},
    differentiable=["x"],
    forward_work=work,
    backward_work=work,
)
