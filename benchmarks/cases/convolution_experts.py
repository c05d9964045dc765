import functools

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.case import Case, Work
from dnachunk.nn import BasicUnits, ConvolutionExperts


@functools.cache
def modules(channels, kernel_sizes, device):
    torch.manual_seed(0)
    select = BasicUnits(channels, kernel_sizes).to(device).eval()
    return select, ConvolutionExperts(channels, kernel_sizes).to(device)


def inputs(device, batch, length, channels, kernel_sizes):
    select, embed = modules(channels, kernel_sizes, device)
    x = torch.randn(batch, length, channels, device=device)
    with torch.no_grad():
        units = select(x)
    return {"x": x, "embed": embed, "units": units}


def gradients(out, x, embed):
    grads = torch.autograd.grad(out.square().sum(), [x, *embed.parameters()])
    return out.detach(), *grads


def ours(x, embed, units):
    """Forward and backward, gradients of all parameters included."""
    x = x.detach().requires_grad_()
    return gradients(embed(x, units), x, embed)


def one_expert_at_a_time(x, embed, units):
    """Plain PyTorch: of each expert its own units, by indexing and ``conv1d``."""
    x = x.detach().requires_grad_()
    out = x
    for j, (expert, size) in enumerate(zip(embed.experts, embed.kernel_sizes, strict=True)):
        row, token = (units.token_expert == j).nonzero(as_tuple=True)
        center = units.token_center[row, token]
        bases = center[:, None] - size // 2 + torch.arange(size, device=x.device)
        bases = F.glu(expert.up(x[row[:, None], bases])).transpose(1, 2)
        unit = F.conv1d(bases, expert.convolution.weight, groups=expert.convolution.groups)[..., 0]
        unit = expert.out(F.silu(expert.norm(unit)))
        probability = units.router_probability[row, center, j, None]
        out = out.index_put((row, center), x[row, center] + probability * unit)
    return gradients(out, x, embed)


@functools.cache
def flops(**shape):
    """Floating-point operations of all matrix products, of which the backward has twice the forward's."""
    arguments = inputs(torch.device("cpu"), **shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        arguments["embed"](arguments["x"], arguments["units"])
    return 3 * counter.get_total_flops()


# The first three have about the same bases in about as many units: their cost is that of 1, 4 and 10 experts.
CASE = Case(
    name="convolution_experts",
    shapes=[
        {"batch": 4, "length": 2048, "channels": 256, "kernel_sizes": kernel_sizes}
        for kernel_sizes in ((5,), (5,) * 4, (5,) * 10, tuple(range(1, 11)))
    ],
    inputs=inputs,
    ours=ours,
    rivals={"conv1d by expert": one_expert_at_a_time},
    forward_work=lambda **shape: Work(flops=flops(**shape)),
)
