"""What torch's counter counts of the operations, against forms of matrix products and against loops."""

import itertools
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from dnachunk import ops
from dnachunk.ops._register import FLOPS


def counted(run):
    """Floating-point operations forward, and backward."""
    with FlopCounterMode(display=False) as forward:
        out = run()
    if not out.requires_grad:
        return forward.get_total_flops(), 0
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


def leaf(*shape):
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(*shape, generator=generator).requires_grad_()


def test_a_linear_layer_is_two_for_each_weight_and_row():
    layer, x = torch.nn.Linear(5, 7), leaf(3, 5)
    assert counted(lambda: layer(x)) == (2 * 3 * 5 * 7, 2 * 2 * 3 * 5 * 7)


def test_selective_scan():
    batch, length, channels, states = 2, 5, 3, 4
    per_channel = [leaf(batch, length, channels) for _ in range(3)]
    per_state = [leaf(batch, length, states) for _ in range(2)]
    matrix = leaf(channels, states).detach().abs().neg().requires_grad_()
    forward = 0
    for _ in itertools.product(range(batch), range(length), range(channels), range(states)):
        # delta A; decay h; B (delta x); C h.
        forward += 2 * 4
    x, delta, gate = per_channel
    found = counted(lambda: ops.selective_scan(x, delta, matrix, *per_state, leaf(channels), gate))
    assert found == (forward, 3 * forward)


@pytest.mark.parametrize("shift", [0, 3])
def test_window_attention_is_its_matrix_products(shift):
    batch, length, heads, head_dim, window = 2, 13, 3, 4, 5
    angles = torch.zeros(1, length, head_dim // 2)
    lengths = torch.full((batch,), length)
    edges = [0, 3, 8, 13] if shift else [0, 5, 10, 13]
    forward = backward = 0
    for start, end in itertools.pairwise(edges):
        query, key, value = (leaf(batch, heads, end - start, head_dim) for _ in range(3))
        own, gradient = counted(lambda q=query, k=key, v=value: (q @ k.transpose(2, 3)).softmax(3) @ v)
        forward, backward = forward + own, backward + gradient
    qkv = leaf(batch, length, 3, heads, head_dim)
    found = counted(lambda: ops.window_attention(qkv, angles, angles, lengths, window, shift))
    # The kernel keeps no scores, and computes them again: one product of the two.
    assert found == (forward, backward + forward // 2)


def test_causal_conv_is_a_convolution_of_each_channel():
    x, weight = leaf(2, 9, 3), leaf(3, 4)
    found = counted(lambda: ops.causal_conv(x, weight, None))
    padded = F.pad(x.detach().transpose(1, 2), (3, 0)).requires_grad_()
    own = weight.detach()[:, None].requires_grad_()
    expected = counted(lambda: F.conv1d(padded, own, groups=3))
    assert found[0] == expected[0] == 2 * 2 * 9 * 3 * 4
    assert found[1] == 2 * found[0]


def test_global_match_compares_every_candidate_with_every_keeper():
    metric = leaf(2, 7, 5).detach()
    lengths, merges = torch.tensor([7, 7]), torch.tensor([2, 2])
    expected, _ = counted(lambda: metric[:, ::2] @ metric[:, 1::2].transpose(1, 2))
    assert counted(lambda: ops.global_match(metric, lengths, merges))[0] == expected > 0


def test_inner_products_and_smoothing():
    query, key = leaf(2, 6, 4), leaf(2, 6, 4)
    lengths = torch.tensor([6, 6])
    products = 2 * 2 * 6 * 4
    assert counted(lambda: ops.boundary_routing(query, key, lengths)[0]) == (products, 2 * products)
    assert counted(lambda: ops.neighbor_cosine(query)) == (products, 2 * products)
    index = torch.tensor([[0, 0, 1, 1, 2, 2]] * 2)
    probability = torch.full((2, 6), 0.3, requires_grad=True)
    values, forced = leaf(2, 3, 4), torch.zeros(2, 6, dtype=torch.bool)
    # Two directions of two products; then of the two products of the states, and three of gradients.
    found = counted(lambda: ops.dechunk(values, probability, forced, index))
    assert found == (2 * 2 * products, 2 * 5 * products)


def test_what_moves_rows_or_works_on_elements_counts_nothing():
    x = leaf(2, 6, 4)
    index = torch.tensor([[0, 0, 1, 1, 2, 2]] * 2)
    for run in (
        lambda: ops.swiglu(x),
        lambda: ops.rms_norm(x, torch.ones(4)),
        lambda: ops.token_sum(x, index, 3),
        lambda: ops.token_unmerge(x, index),
        lambda: ops.window_center(x, torch.tensor([6, 6])),
        lambda: ops.soft_assignment(x[..., 0], torch.tensor([6, 6]), torch.tensor([2, 2])),
        lambda: ops.soft_merge(x, torch.ones(2, 6), torch.zeros(2, 6, 2), index, 3)[0],
    ):
        assert counted(run) == (0, 0)


def test_every_formula_is_registered_and_only_on_demand():
    assert {getattr(torch.ops.dnachunk, name) for name in FLOPS} <= flop_registry.keys()
    assert "selective_scan_backward" in FLOPS
    code = "import sys, dnachunk.ops; sys.exit('torch.utils.flop_counter' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
