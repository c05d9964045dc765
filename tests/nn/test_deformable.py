import math

import pytest
import torch
import torch.nn.functional as F

from dnachunk.nn import DeformableConv1d
from dnachunk.ops import deformable_conv, use_backend
from tests.ops.test_deformable_conv import by_torchvision

LENGTHS = [0, 1, 20, 37]


def sample(channels=6):
    return torch.randn(4, 37, channels, dtype=torch.float64, requires_grad=True), torch.tensor(LENGTHS)


def trained(out_channels=5, kernel_size=3, channels=6):
    """A module whose offsets and modulations are anything."""
    module = DeformableConv1d(channels, out_channels, kernel_size).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def reference(module, x, lengths):
    """Both convolutions by torch, the deformable one by torchvision."""
    taps = module.weight.shape[2]
    x = x.where((torch.arange(x.shape[1]) < lengths[:, None])[:, :, None], 0)

    def convolve(weight, bias):
        return F.conv1d(x.mT, weight, bias, padding=taps // 2)[..., : x.shape[1]].mT

    offset = convolve(module.offset_weight, module.offset_bias)
    modulation = 2 * convolve(module.modulation_weight, module.modulation_bias).sigmoid()
    # torchvision takes no empty sequence.
    output = by_torchvision(x[1:], offset[1:], modulation[1:], module.weight, lengths[1:])
    return F.pad(output, (0, 0, 0, 0, 1, 0)), offset, modulation


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
def test_starts_as_a_plain_convolution(kernel_size):
    module, (x, _) = DeformableConv1d(6, 5, kernel_size).double(), sample()
    result = module(x)
    expected = F.conv1d(x.mT, module.weight, padding=kernel_size // 2)[..., :37].mT
    torch.testing.assert_close(result.output, expected)
    assert not result.offset.any()
    assert torch.equal(result.modulation, torch.ones(4, 37, kernel_size).double())
    places = torch.arange(37)[:, None] + torch.arange(kernel_size) - kernel_size // 2
    assert torch.equal(result.positions, places.expand(4, -1, -1).double())


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
def test_against_torch_and_torchvision(kernel_size):
    module, (x, lengths) = trained(kernel_size=kernel_size), sample()
    result, inputs = module(x, lengths), [x, *module.parameters()]
    output, offset, modulation = reference(module, x, lengths)
    torch.testing.assert_close(result.output, output)
    for row, real in enumerate(LENGTHS):
        torch.testing.assert_close(result.offset[row, :real], offset[row, :real])
        torch.testing.assert_close(result.modulation[row, :real], modulation[row, :real])
        for padded in (result.output, result.offset, result.modulation):
            assert not padded[row, real:].any()
    weights = torch.randn_like(output)
    got = torch.autograd.grad((result.output * weights).sum(), inputs)
    want = torch.autograd.grad((output * weights).sum(), inputs)
    for one, other in zip(got, want, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other)


def test_positions_are_where_the_taps_read():
    x, module = torch.arange(10.0).view(1, 10, 1), DeformableConv1d(1, 1, 3)
    with torch.no_grad():
        module.offset_bias.copy_(torch.tensor([0.25, -0.5, 1.5]))
        module.weight.copy_(torch.tensor([1.0, 100.0, 10_000.0]))
    result = module(x)
    assert result.positions[0, 4].tolist() == [3.25, 3.5, 6.5]
    assert result.output[0, 4].item() == 3.25 + 350.0 + 65_000.0


def test_padding_is_inert():
    module, (x, lengths) = trained(), sample()
    leaves = list(module.parameters())
    results = []
    for garbage in (0.0, math.nan):
        is_padding = (torch.arange(37) >= lengths[:, None])[:, :, None]
        filled = x.detach().masked_fill(is_padding, garbage).requires_grad_()
        result = module(filled, lengths)
        grads = torch.autograd.grad(result.output.square().sum(), [filled, *leaves])
        results.append((result.output, result.offset, result.modulation, *grads))
    for got, want in zip(*results, strict=True):
        assert want.any()
        assert torch.equal(got, want)
    for row, real in enumerate(LENGTHS):
        alone = module(x[row : row + 1, :real])
        torch.testing.assert_close(alone.output[0], results[0][0][row, :real])
        torch.testing.assert_close(alone.offset[0], results[0][1][row, :real])


def test_every_parameter_learns_from_the_start():
    module = DeformableConv1d(8, 8)
    module(torch.randn(2, 50, 8)).output.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).all(), name


def test_offsets_find_what_lies_elsewhere():
    rows = torch.arange(400.0)
    x = torch.stack([(rows / 9).sin(), (rows / 14).cos()], dim=-1)[None]
    target = torch.stack([((rows + 2.5) / 9).sin(), ((rows + 2.5) / 14).cos()], dim=-1)[None]
    module = DeformableConv1d(2, 2, 1)
    with torch.no_grad():
        module.weight.copy_(torch.eye(2)[:, :, None])
    optimizer = torch.optim.Adam([module.offset_bias], lr=0.1)
    for _ in range(80):
        optimizer.zero_grad()
        (module(x).output - target)[:, 5:-5].square().mean().backward()
        optimizer.step()
    assert module.offset_bias.item() == pytest.approx(2.5, abs=0.05)


def test_reset_parameters():
    module = trained(channels=64, out_channels=32)
    module.reset_parameters()
    bound = 1 / math.sqrt(64 * 3)
    assert bound * 0.99 < module.weight.abs().max() < bound
    others = [parameter for name, parameter in module.named_parameters() if name != "weight"]
    assert len(others) == 4
    assert not any(parameter.any() for parameter in others)


def test_autocast_leaves_offsets_in_float32():
    module, (x, lengths) = trained().float(), sample()
    x = x.detach().float()
    exact = module(x, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        rough = module(x, lengths)
    assert rough.output.dtype == torch.bfloat16
    assert torch.equal(rough.offset, exact.offset)
    assert torch.equal(rough.modulation, exact.modulation)
    expected = deformable_conv(
        x.bfloat16(), exact.offset, exact.modulation, module.weight.bfloat16(), lengths
    )
    assert torch.equal(rough.output, expected)
    rough.output.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_in_half_types(dtype):
    module, (x, lengths) = trained().to(dtype), sample()
    x = x.detach().to(dtype)
    result = module(x, lengths)
    exact = module.double()(x.double(), lengths)
    assert (result.output.dtype, result.offset.dtype) == (dtype, torch.float32)
    torch.testing.assert_close(result.offset.double(), exact.offset, atol=1e-5, rtol=1e-5)
    error = (result.output - exact.output).abs().max() / exact.output.abs().max()
    assert error < 4 * torch.finfo(dtype).eps


def test_torch_form():
    module, (x, lengths) = trained(), sample()
    result = module(x, lengths)
    with use_backend("torch"):
        other = module(x, lengths)
    torch.testing.assert_close(result.output, other.output)
    inputs = [x, *module.parameters()]
    got = torch.autograd.grad(result.output.square().sum(), inputs)
    want = torch.autograd.grad(other.output.square().sum(), inputs)
    for one, two in zip(got, want, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("shape", [(0, 5, 6), (2, 0, 6)], ids=str)
def test_empty(shape):
    module, x = DeformableConv1d(6, 4), torch.zeros(shape, requires_grad=True)
    result = module(x, torch.zeros(shape[0], dtype=torch.int64))
    assert result.output.shape == (*shape[:2], 4)
    assert result.positions.shape == (*shape[:2], 3)
    result.output.sum().backward()
    assert not any(parameter.grad.any() for parameter in module.parameters())


def test_compiled():
    module, (x, lengths) = trained(), sample()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    result, expected = compiled(x, lengths), module(x, lengths)
    torch.testing.assert_close(result.output, expected.output)
    inputs = [x, *module.parameters()]
    got = torch.autograd.grad(result.output.square().sum(), inputs)
    want = torch.autograd.grad(expected.output.square().sum(), inputs)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other)


def test_bad_input():
    with pytest.raises(ValueError, match="DeformableConv1d: kernel_size must be at least 1, got 0"):
        DeformableConv1d(4, 4, 0)
    with pytest.raises(ValueError, match=r"DeformableConv1d: x must be \[B, K, 4\], got \[2, 3, 5\]"):
        DeformableConv1d(4, 4)(torch.zeros(2, 3, 5))
