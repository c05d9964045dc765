import dataclasses
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from dnachunk.nn import LearntTokenization, LearntTokens
from dnachunk.ops import use_backend
from dnachunk.ops.basic_units import basic_units_naive
from tests.nn.test_convolution_experts import one_by_one

LENGTHS = torch.tensor([40, 23])


def layer(d_model=12, **fields):
    """One whose assembly reads between tokens, unlike a new one."""
    tokenize = LearntTokenization(d_model, **fields)
    with torch.no_grad():
        for name, parameter in tokenize.named_parameters():
            if name.startswith("assemble."):
                parameter.normal_(std=0.3)
    return tokenize


def by_hand(tokenize, x, length):
    """The spec's five steps on one sequence, without noise."""
    assert tokenize.has_experts
    assert tokenize.assembles
    taps = tokenize.assemble.weight.shape[2]
    normed = tokenize.norm(x[None, :length])
    scores = F.linear(normed, tokenize.select.scoring.weight)
    sizes = tokenize.select.kernel_sizes
    index, count, center, _ = basic_units_naive(scores, sizes, torch.tensor([1]), torch.tensor([length - 1]))
    units = tokenize.select(normed, torch.tensor([1]), torch.tensor([length - 1]))
    assert torch.equal(index, units.token_index)
    embedded = one_by_one(tokenize.experts, normed, units, x[None, :length])[0]
    centers = [0, *center[0, : int(count)].tolist(), length - 1]
    gathered = embedded[centers]
    rows = tokenize.assembly_norm(gathered)
    rows = torch.cat([rows[:1] * 0, rows[1:-1], rows[-1:] * 0])
    assemble = tokenize.assemble

    def convolve(weight, bias):
        padded = F.pad(rows.T[None], (taps // 2, taps - 1 - taps // 2))
        return F.conv1d(padded, weight, bias)[0].T

    offset = convolve(assemble.offset_weight, assemble.offset_bias)
    modulation = 2 * convolve(assemble.modulation_weight, assemble.modulation_bias).sigmoid()
    values = []
    for i in range(len(rows)):
        value = gathered[i]
        for m in range(taps):
            at = i + m - taps // 2 + offset[i, m]
            low = int(at.floor())
            share = at - low
            # Zero before the first token and behind the last.
            sample = sum(
                factor * rows[row]
                for row, factor in ((low, 1 - share), (low + 1, share))
                if 0 <= row < len(rows)
            )
            value = value + modulation[i, m] * (assemble.weight[:, :, m] @ (sample + 0 * rows[0]))
        values.append(value)
    return torch.stack(values), centers, offset, modulation


@pytest.mark.parametrize(
    "fields", [{}, {"kernel_sizes": [3, 4], "deformable_kernel_size": 4}], ids=["default", "other"]
)
@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_the_five_steps(fields, backend):
    tokenize, x = layer(**fields).double().eval(), torch.randn(2, 40, 12, dtype=torch.float64)
    with use_backend(backend):
        tokens = tokenize(x, LENGTHS)
    assert isinstance(tokens, LearntTokens)
    assert torch.equal(tokens.lengths, tokens.units.num_tokens + 2)
    assert tokens.values.shape[1] == tokens.lengths.max()
    for b, length in enumerate(LENGTHS.tolist()):
        values, centers, offset, modulation = by_hand(tokenize, x[b], length)
        real = int(tokens.lengths[b])
        assert tokens.centers[b].tolist() == centers + [-1] * (tokens.values.shape[1] - real)
        torch.testing.assert_close(tokens.values[b, :real], values)
        torch.testing.assert_close(tokens.offset[b, :real], offset)
        torch.testing.assert_close(tokens.modulation[b, :real], modulation)
        assert tokens.is_padding[b].tolist() == [False] * real + [True] * (tokens.values.shape[1] - real)
        for field in (tokens.values, tokens.offset, tokens.modulation):
            assert not field[b, real:].any()
    if fields:
        assert (tokens.units.token_expert[0, : tokens.units.num_tokens[0]] < 0).any(), "bases of no unit"


@pytest.mark.parametrize("boundaries", ["learned", "fixed", "every_base"])
@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_without_the_assembly_tokens_are_the_centres(boundaries, backend):
    tokenize = layer(deformable_kernel_size=0, kernel_sizes=[2, 3], boundaries=boundaries).double().eval()
    assert not any("assembl" in name for name, _ in tokenize.named_parameters())
    x = torch.randn(2, 40, 12, dtype=torch.float64)
    with use_backend(backend):
        tokens = tokenize(x, LENGTHS)
    starts, ends = torch.ones_like(LENGTHS), LENGTHS - 1
    for b, length in enumerate(LENGTHS.tolist()):
        normed = tokenize.norm(x[b : b + 1, :length])
        units = tokenize.select(normed, starts[b : b + 1], ends[b : b + 1])
        real = int(tokens.lengths[b])
        centers = [0, *units.token_center[0, : real - 2].tolist(), length - 1]
        assert tokens.centers[b, :real].tolist() == centers
        if boundaries == "fixed":
            # The experts' probabilities are 1.
            logits = units.router_probability.log().clamp_min(-1e9)
            units = dataclasses.replace(units, scores=logits)
        embedded = one_by_one(tokenize.experts, normed, units, x[b : b + 1, :length])[0]
        torch.testing.assert_close(tokens.values[b, :real], embedded[centers])
        assert not tokens.values[b, real:].any()
        # Each reads at its own place.
        assert tokens.receptive_positions[b, :real, 0].tolist() == centers
        assert tokens.receptive_positions[b, real:].isnan().all()
        assert tokens.modulation[b, :, 0].tolist() == [1.0] * real + [0.0] * (tokens.values.shape[1] - real)
    if boundaries == "every_base":
        assert torch.equal(tokens.lengths, LENGTHS)


def test_without_experts_and_assembly_nothing_is_done():
    tokenize = layer(deformable_kernel_size=0, kernel_sizes=[], boundaries="every_base")
    assert not list(tokenize.parameters())
    x = torch.randn(2, 40, 12)
    tokens = tokenize(x, LENGTHS)
    is_real = torch.arange(40) < LENGTHS[:, None]
    assert torch.equal(tokens.values, torch.where(is_real[..., None], x, 0))
    assert torch.equal(tokens.lengths, LENGTHS)
    assert not (tokens.units.token_expert >= 0).any()


def test_on_a_grid_the_sequence_decides_nothing():
    tokenize, x = layer(boundaries="fixed"), torch.randn(2, 40, 12)
    tokens, others = tokenize(x, LENGTHS), tokenize(-x, LENGTHS)
    assert torch.equal(tokens.centers, others.centers)
    assert torch.equal(tokens.units.token_expert, others.units.token_expert)
    assert tokens.units.token_expert[0, :7].tolist() == [*range(7)]
    assert not torch.equal(tokens.values, others.values)


def test_ablations_out_of_range():
    for fields, message in (
        ({"boundaries": "none"}, "boundaries must be 'learned' or 'fixed' or 'every_base', got 'none'"),
        ({"deformable_kernel_size": -1}, "kernel_size must be at least 1, got -1"),
        ({"kernel_sizes": []}, "kernel_sizes must be one or more"),
        ({"kernel_sizes": [], "boundaries": "fixed"}, "kernel_sizes must be one or more"),
    ):
        with pytest.raises(ValueError, match=message):
            LearntTokenization(12, **fields)


def test_a_new_layer_assembles_as_a_plain_convolution():
    tokens = LearntTokenization(12)(torch.randn(2, 40, 12), LENGTHS)
    assert not tokens.offset.any()
    real = ~tokens.is_padding
    assert (tokens.modulation[real] == 1).all()


def fields_of(tokens):
    units = tokens.units
    return [
        tokens.values,
        tokens.lengths,
        tokens.centers,
        tokens.offset,
        tokens.modulation,
        units.token_index,
    ]


def test_padding_and_batch_order_are_inert():
    tokenize, x, seeds = layer(), torch.randn(2, 40, 12, requires_grad=True), torch.tensor([3, 4])
    tokens = tokenize(x, LENGTHS, seeds)
    alone_x = x[1:, :23].detach().clone().requires_grad_()
    alone = tokenize(alone_x, LENGTHS[1:], seeds[1:])
    real = int(alone.lengths)
    weights = torch.randn(real, 12)
    (grad,) = torch.autograd.grad((tokens.values[1, :real] * weights).sum(), x)
    (alone_grad,) = torch.autograd.grad((alone.values[0] * weights).sum(), alone_x)
    assert torch.equal(tokens.centers[1, :real], alone.centers[0])
    torch.testing.assert_close(tokens.values[1, :real], alone.values[0])
    torch.testing.assert_close(grad[1, :23], alone_grad[0])
    assert not grad[0].any()
    assert not grad[1, 23:].any()
    other = tokenize(x.detach().flip(0), LENGTHS.flip(0), seeds.flip(0))
    for got, want in zip(fields_of(other), fields_of(tokens), strict=True):
        torch.testing.assert_close(got.flip(0), want)


def test_every_parameter_gets_a_gradient():
    tokenize, x = layer(kernel_sizes=[1, 2, 3]), torch.randn(2, 200, 12, requires_grad=True)
    tokenize(x).values.square().sum().backward()
    for name, parameter in [*tokenize.named_parameters(), ("x", x)]:
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_gradient():
    tokenize = layer(3, kernel_sizes=[2, 1], deformable_kernel_size=2).double()
    x = torch.randn(2, 9, 3, dtype=torch.float64, requires_grad=True)
    lengths, seeds = torch.tensor([9, 6]), torch.tensor([3, 4])
    names = [name for name, _ in tokenize.named_parameters()]

    def values(x, *parameters):
        arguments = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(tokenize, arguments, (x, lengths, seeds)).values

    assert torch.autograd.gradcheck(values, (x, *tokenize.parameters()))


@pytest.mark.parametrize("given", [True, False], ids=["seeds", "global generator"])
def test_checkpointing_changes_nothing(given):
    tokenize, x = layer(jitter=0.5), torch.randn(2, 40, 12, requires_grad=True)
    seeds = torch.tensor([3, 4]) if given else None
    results = []
    for run in (tokenize, lambda *args: checkpoint(tokenize, *args, use_reentrant=False)):
        torch.manual_seed(7)
        tokens = run(x, LENGTHS, seeds)
        torch.manual_seed(8)
        grads = torch.autograd.grad(tokens.values.square().sum(), [x, *tokenize.parameters()])
        results.append([*fields_of(tokens), *grads])
    for got, want in zip(*results, strict=True):
        assert torch.equal(got, want)


def test_autocast():
    tokenize, x = layer().eval(), torch.randn(2, 40, 12)
    expected = tokenize(x, LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = tokenize(x, LENGTHS)
    assert tokens.values.dtype == torch.float32
    assert torch.equal(tokens.centers, expected.centers)
    assert (tokens.values - expected.values).abs().max() < 3e-2 * expected.values.abs().max()
    half = tokenize.bfloat16()(x.bfloat16(), LENGTHS)
    assert half.values.dtype == torch.bfloat16
    assert half.values.isfinite().all()


def test_no_bases_and_no_sequences():
    tokenize, x = layer(), torch.randn(2, 5, 12)
    tokens = tokenize(x, torch.tensor([2, 2]))
    assert tokens.centers.tolist() == [[0, 1], [0, 1]]
    nothing = tokenize(x[:0], torch.tensor([], dtype=torch.int64))
    assert nothing.values.shape == (0, 2, 12)
    for wrong in (1, 6):
        message = rf"LearntTokenization: lengths must be in \[2, 5\], got {wrong}"
        with pytest.raises(ValueError, match=message):
            tokenize(x, torch.tensor([3, wrong]))


MEMORY = """
import torch
from dnachunk.nn import LearntTokenization
tokenize = LearntTokenization(16)
x = torch.randn(1, 262_144, 16, requires_grad=True)
tokenize(x).values.sum().backward()
assert x.grad.any()
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
"""


def test_memory_of_a_long_sequence():
    child = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=False, timeout=300
    )
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) < 4 << 20


def test_receptive_positions_by_hand():
    values = torch.zeros(2, 4, 1)
    offset = torch.zeros(2, 4, 3)
    # The middle tap of token 1 reads three quarters of the way from token 1 to token 2; its right tap, two
    # tokens further, reads outside.
    offset[0, 1] = torch.tensor([0.0, 0.75, 2.0])
    tokens = LearntTokens(
        values=values,
        lengths=torch.tensor([4, 3]),
        centers=torch.tensor([[0, 2, 6, 8], [0, 1, 5, -1]]),
        units=None,
        offset=offset,
        modulation=torch.ones(2, 4, 3),
    )
    nan = float("nan")
    expected = [
        [[nan, 0, 2], [0, 5, nan], [2, 6, 8], [6, 8, nan]],
        [[nan, 0, 1], [0, 1, 5], [1, 5, nan], [nan, nan, nan]],
    ]
    torch.testing.assert_close(tokens.receptive_positions, torch.tensor(expected), equal_nan=True)
