import torch
from dnachunk import ops

i = torch.int64
with ops.use_backend("torch"):
    print(ops.neighbor_cosine(torch.empty(2, 0, 3)).shape, end=" ")
print(ops.neighbor_cosine(torch.empty(2, 0, 3)).shape)
for n, f in (
    (
        "neighbor_match B=0",
        lambda: (
            ops.neighbor_match(torch.empty(0, 8), torch.empty(0, dtype=i), torch.empty(0, dtype=i))[0].shape
        ),
    ),
    (
        "global_match C=0, L=1",
        lambda: ops.global_match(torch.empty(1, 1, 0), torch.tensor([1]), torch.tensor([0])),
    ),
):
    print(n, "kernel", f())
    try:
        with ops.use_backend("torch"):
            print(f())
    except Exception as e:
        print("  torch form", type(e).__name__, e)
M = dict(device="meta")
for n, f in (
    (
        "dechunk",
        lambda: ops.dechunk(
            torch.randn(2, 8, 4, **M),
            torch.randn(2, 8, **M),
            torch.zeros(2, 8, dtype=torch.bool, **M),
            torch.zeros(2, 8, dtype=i, **M),
        ),
    ),
    (
        "deformable_conv",
        lambda: ops.deformable_conv(
            torch.randn(2, 8, 4, **M),
            torch.randn(2, 8, 3, **M),
            torch.randn(2, 8, 3, **M),
            torch.randn(4, 4, 3, **M),
        ),
    ),
):
    try:
        print(n, f().shape)
    except Exception as e:
        print(n, "on meta:", type(e).__name__, e)
