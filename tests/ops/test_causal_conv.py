import math

import pytest
import torch
import torch.nn.functional as F

from dnachunk.ops import causal_conv, use_backend
from dnachunk.ops.causal_conv import causal_conv_naive
from tests.support import op_case
from tests.support.asserts import assert_close_to_reference

FLOATS = ["x"]
PARAMETERS = ["weight", "bias"]
DIFFERENTIABLE = [*FLOATS, *PARAMETERS]


def sample(lengths=(63, 40), length=63, channels=19, width=4, activation="silu", reverse=False):
    return {
        "x": torch.randn(len(lengths), length, channels),
        "weight": torch.randn(channels, width),
        "bias": torch.randn(channels),
        "lengths": torch.tensor(lengths, dtype=torch.int64),
        "activation": activation,
        "reverse": reverse,
    }


def flip_real(rows, lengths):
    """Each sequence's real positions from last to first; padding stays where it is."""
    flipped = rows.clone()
    for row, real in enumerate(lengths.tolist()):
        flipped[row, :real] = rows[row, :real].flip(0)
    return flipped


@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_literal(backend):
    x = torch.tensor([[[1.0], [2.0], [5.0], [math.nan]]])
    weight, bias, lengths = torch.tensor([[10.0, 1.0]]), torch.tensor([100.0]), torch.tensor([3])
    with use_backend(backend):
        assert causal_conv(x, weight, bias, lengths)[0, :, 0].tolist() == [101, 112, 125, 0]
        reverse = causal_conv(x, weight, bias, lengths, reverse=True)
        assert reverse[0, :, 0].tolist() == [121, 152, 105, 0]
        silu = causal_conv(x, weight, bias, lengths, "silu")[0, :, 0]
    torch.testing.assert_close(silu, F.silu(torch.tensor([101.0, 112, 125, 0])))


def test_is_a_depthwise_convolution_cut_to_its_input():
    kwargs = op_case.cast(sample([63, 63]), torch.float64, DIFFERENTIABLE)
    kwargs["lengths"] = None
    convolved = F.conv1d(kwargs["x"].mT, kwargs["weight"][:, None], kwargs["bias"], padding=3, groups=19)
    torch.testing.assert_close(causal_conv(**kwargs), F.silu(convolved[..., :63].mT), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 63, 1000])
def test_against_naive(dtype, reverse, length):
    kwargs = sample([length, length // 2], length, reverse=reverse)
    op_case.check_against_naive(
        causal_conv, causal_conv_naive, kwargs, DIFFERENTIABLE, dtype, FLOATS, PARAMETERS
    )


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("activation", [None, "silu"])
def test_widths_and_activations(dtype, width, activation):
    kwargs = sample([130, 65], 130, channels=300, width=width, activation=activation)
    op_case.check_against_naive(
        causal_conv, causal_conv_naive, kwargs, DIFFERENTIABLE, dtype, FLOATS, PARAMETERS
    )


def test_without_bias_and_lengths():
    kwargs = sample([63, 63])
    plain = {**kwargs, "bias": None, "lengths": None}
    outputs, grads = op_case.run(causal_conv, plain, ["x", "weight"])
    expected, expected_grads = op_case.run(causal_conv, {**kwargs, "bias": torch.zeros(19)}, ["x", "weight"])
    assert torch.equal(outputs[0], expected[0])
    for name in ("x", "weight"):
        assert torch.equal(grads[name], expected_grads[name])


def test_long_sums_in_float32():
    kwargs = sample([4096], 4096, channels=16)
    op_case.check_against_naive(
        causal_conv, causal_conv_naive, kwargs, DIFFERENTIABLE, torch.float32, FLOATS, PARAMETERS
    )


@pytest.mark.parametrize("length", [1, 2, 3, 63, 1000])
def test_reverse_is_flipping_to_the_bit(length):
    kwargs = sample([length, length // 2], length)
    lengths, grad = kwargs["lengths"], torch.randn_like(kwargs["x"])
    outputs, grads = op_case.run(causal_conv, {**kwargs, "reverse": True}, DIFFERENTIABLE, [grad])
    flipped = {**kwargs, "x": flip_real(kwargs["x"], lengths)}
    expected, expected_grads = op_case.run(causal_conv, flipped, DIFFERENTIABLE, [flip_real(grad, lengths)])
    assert torch.equal(outputs[0], flip_real(expected[0], lengths))
    assert torch.equal(grads["x"], flip_real(expected_grads["x"], lengths))
    for name in PARAMETERS:
        assert torch.equal(grads[name], expected_grads[name])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("form", ["rust", "torch"])
def test_padding_is_never_read(reverse, form):
    clean, grad = sample([0, 5, 63], reverse=reverse), torch.randn(3, 63, 19)
    results = []
    for garbage in (0.0, math.nan, math.inf):
        kwargs, grad_output = {**clean, "x": clean["x"].clone()}, grad.clone()
        for row, real in enumerate(clean["lengths"].tolist()):
            kwargs["x"][row, real:] = grad_output[row, real:] = garbage
        with use_backend(form):
            outputs, grads = op_case.run(causal_conv, kwargs, DIFFERENTIABLE, [grad_output])
        for row, real in enumerate(clean["lengths"].tolist()):
            assert not outputs[0][row, real:].any()
            assert not grads["x"][row, real:].any()
        results.append([outputs[0], *grads.values()])
    for result in results[1:]:
        for got, want in zip(result, results[0], strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("reverse", [False, True])
def test_alone_as_in_a_batch(reverse):
    kwargs = sample([100, 200], 300, reverse=reverse)
    outputs, grads = op_case.run(causal_conv, kwargs, DIFFERENTIABLE, [torch.ones(2, 300, 19)])
    parameters = {name: torch.zeros_like(kwargs[name]) for name in PARAMETERS}
    for row, real in enumerate([100, 200]):
        alone = {**kwargs, "x": kwargs["x"][row : row + 1, :real], "lengths": None}
        output, grad = op_case.run(causal_conv, alone, DIFFERENTIABLE, [torch.ones(1, real, 19)])
        assert torch.equal(output[0][0], outputs[0][row, :real])
        assert torch.equal(grad["x"][0], grads["x"][row, :real])
        parameters = {name: parameters[name] + grad[name] for name in PARAMETERS}
    for name in PARAMETERS:
        assert_close_to_reference(name, grads[name], parameters[name])


@pytest.mark.parametrize("reverse", [False, True])
def test_parts_of_a_packed_projection(reverse):
    kwargs, packed = sample(reverse=reverse), torch.randn(2, 63, 40)
    packed[:, :, 3:22] = kwargs["x"]
    expected = causal_conv(**kwargs)
    part = packed[:, :, 3:22]
    assert not part.is_contiguous()
    assert torch.equal(causal_conv(**{**kwargs, "x": part}), expected)
    one_for_all = kwargs["x"][:1].expand(2, -1, -1)
    assert torch.equal(
        causal_conv(**{**kwargs, "x": one_for_all}), causal_conv(**{**kwargs, "x": one_for_all.contiguous()})
    )


def test_views():
    op_case.check_views(causal_conv, sample(), DIFFERENTIABLE)


@pytest.mark.parametrize("reverse", [False, True])
def test_threads(reverse):
    kwargs = sample([700, 513, 100], 700, channels=300, reverse=reverse)
    op_case.check_threads(causal_conv, kwargs, DIFFERENTIABLE)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("activation", [None, "silu"])
def test_gradient(reverse, activation):
    kwargs = sample([70, 3], 70, channels=2, activation=activation, reverse=reverse)
    op_case.check_gradient(causal_conv, kwargs, DIFFERENTIABLE, DIFFERENTIABLE)


@pytest.mark.parametrize("reverse", [False, True])
def test_torch_form(reverse):
    op_case.check_torch_form(causal_conv, sample([63, 0], reverse=reverse), DIFFERENTIABLE)


@pytest.mark.parametrize(("batch", "length", "channels"), [(0, 4, 3), (2, 0, 3), (2, 4, 0)])
@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_empty(batch, length, channels, backend):
    kwargs = sample([length] * batch, length, channels)
    with use_backend(backend):
        outputs, grads = op_case.run(causal_conv, kwargs, DIFFERENTIABLE)
    assert outputs[0].shape == (batch, length, channels)
    for name in PARAMETERS:
        assert torch.equal(grads[name], torch.zeros_like(kwargs[name]))


def test_opcheck():
    kwargs = sample([7, 4], 7, 3)
    for bias in (kwargs["bias"], None):
        arguments = [kwargs["x"], kwargs["weight"], bias, kwargs["lengths"], True, True]
        op_case.opcheck("causal_conv_backward", torch.randn(2, 7, 3), *arguments)
        arguments[0] = arguments[0].clone().requires_grad_()
        op_case.opcheck("causal_conv", *arguments)


def test_compiles_whole():
    kwargs = sample()
    compiled = torch.compile(causal_conv, fullgraph=True, backend="aot_eager", dynamic=True)
    outputs, grads = op_case.run(compiled, kwargs, DIFFERENTIABLE)
    expected, expected_grads = op_case.run(causal_conv, kwargs, DIFFERENTIABLE)
    assert torch.equal(outputs[0], expected[0])
    for name in DIFFERENTIABLE:
        assert torch.equal(grads[name], expected_grads[name])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": [[1.0]]}, TypeError, "x must be a torch.Tensor, got list"),
        ({"x": torch.zeros(63, 19)}, ValueError, r"x must be \[B, N, D\], got \[63, 19\]"),
        ({"x": torch.zeros(2, 63, 19).long()}, TypeError, "x must be float32, .* got torch.int64"),
        ({"weight": torch.zeros(18, 4)}, ValueError, r"weight must be \[19, W\], got \[18, 4\]"),
        ({"weight": torch.zeros(19, 5)}, ValueError, r"W in \(2, 3, 4\), got \[19, 5\]"),
        ({"weight": torch.zeros(19, 4).long()}, TypeError, "weight must be float32, .* got torch.int64"),
        ({"bias": torch.zeros(4)}, ValueError, r"bias must be \[19\], got \[4\]"),
        ({"lengths": torch.tensor([63])}, ValueError, r"lengths must be \[2\], got \[1\]"),
        ({"lengths": torch.ones(2)}, TypeError, "lengths must be torch.int64, got torch.float32"),
        ({"lengths": torch.tensor([64, 40])}, ValueError, r"lengths must be in \[0, 63\], got 64"),
        ({"lengths": torch.tensor([-1, 40])}, ValueError, r"lengths must be in \[0, 63\], got -1"),
        ({"activation": "relu"}, ValueError, "activation must be None or 'silu', got 'relu'"),
        ({"bias": torch.zeros(19, device="meta")}, ValueError, "on one device, got .*bias=meta"),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=f"causal_conv: .*{message}"):
        causal_conv(**{**sample(), **change})


@pytest.mark.parametrize(
    ("place", "value", "error", "message"),
    [
        (0, torch.zeros(2, 63, 18), ValueError, r"grad must be \[2, 63, 19\], got \[2, 63, 18\]"),
        (2, torch.zeros(19, 1), ValueError, r"weight must be \[D, W\] with W from 2 to 4, got \[19, 1\]"),
        (2, torch.zeros(19, 4).double(), TypeError, "weight must be float32, got float64"),
        (3, torch.zeros(18), ValueError, r"bias must be \[19\], got \[18\]"),
        (4, torch.tensor([64, 1]), ValueError, r"lengths must be in \[0, 63\], got 64"),
    ],
)
def test_bad_input_of_the_raw_operation(place, value, error, message):
    kwargs = sample()
    arguments = [kwargs["x"], *(kwargs[name] for name in ("x", "weight", "bias", "lengths")), True, False]
    arguments[place] = value
    with pytest.raises(error, match=f"causal_conv: {message}"):
        torch.ops.dnachunk.causal_conv_backward(*arguments)
