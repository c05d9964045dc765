import torch

from benchmarks.case import Case, Work
from dnachunk.ops import boundary_routing
from dnachunk.ops.boundary_routing import boundary_routing_naive


def inputs(device, batch, length, channels, dtype):
    # Whole numbers, so that all forms decide alike.
    query, key = torch.randint(-2, 3, (2, batch, length, channels), device=device).to(dtype)
    return {"query": query, "key": key, "lengths": torch.full((batch,), length, device=device)}


def forward_work(batch, length, channels, dtype):
    # Writes the probability, two norms, two flags and the index.
    return Work(bytes=batch * length * (2 * channels * dtype.itemsize + 22))


def backward_work(batch, length, channels, dtype):
    return Work(bytes=batch * length * (4 * channels * dtype.itemsize + 16))


CASE = Case(
    name="boundary_routing",
    shapes=[
        {"batch": 8, "length": 512, "channels": 256, "dtype": torch.float32},
        {"batch": 1, "length": 8192, "channels": 640, "dtype": torch.float32},
        {"batch": 1, "length": 8192, "channels": 640, "dtype": torch.bfloat16},
        {"batch": 8, "length": 8192, "channels": 640, "dtype": torch.float32},
    ],
    inputs=inputs,
    ours=boundary_routing,
    rivals={"eager": boundary_routing_naive},
    differentiable=["query", "key"],
    forward_work=forward_work,
    backward_work=backward_work,
)
