import math

import pytest
import torch

from dnachunk.ops import selective_scan, use_backend
from dnachunk.ops.selective_scan import selective_scan_naive, selective_scan_torch
from tests.ops.test_causal_conv import flip_real
from tests.support import op_case
from tests.support.asserts import assert_close_to_reference

ROWS = ["x", "delta", "input_matrix", "output_matrix", "gate"]
PARAMETERS = ["state_matrix", "skip", "delta_bias"]
DIFFERENTIABLE = [*ROWS, *PARAMETERS]


def sample(lengths=(63, 40), length=63, channels=19, states=5, reverse=False):
    batch = len(lengths)
    return {
        "x": torch.randn(batch, length, channels),
        "delta": torch.randn(batch, length, channels),
        "state_matrix": -torch.arange(1.0, states + 1) * (0.5 + torch.rand(channels, states)),
        "input_matrix": torch.randn(batch, length, states),
        "output_matrix": torch.randn(batch, length, states),
        "skip": torch.randn(channels),
        "gate": torch.randn(batch, length, channels),
        "delta_bias": torch.randn(channels) - 3.0,
        "lengths": torch.tensor(lengths, dtype=torch.int64),
        "reverse": reverse,
    }


def check(kwargs, dtype):
    op_case.check_against_naive(
        selective_scan, selective_scan_naive, kwargs, DIFFERENTIABLE, dtype, ROWS, PARAMETERS
    )


@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_literal(backend):
    # A state that halves at every step, so large a delta that softplus leaves it, and a gate that is open.
    step, padding = 50.0, math.nan
    arguments = {
        "x": torch.tensor([[[1.0], [2.0], [4.0], [padding]]]),
        "delta": torch.tensor([[[step], [step], [step], [padding]]]),
        "state_matrix": torch.tensor([[-math.log(2.0) / step]]),
        "input_matrix": torch.tensor([[[1.0], [1.0], [0.5], [padding]]]),
        "output_matrix": torch.tensor([[[1.0], [2.0], [1.0], [padding]]]),
        "skip": torch.tensor([10.0]),
        "lengths": torch.tensor([3]),
    }
    with use_backend(backend):
        # h = 50, 25 + 100, 62.5 + 100
        got = selective_scan(**arguments)[0, :, 0]
        torch.testing.assert_close(got, torch.tensor([60.0, 270.0, 202.5, 0.0]))
        # h = 100, 50 + 100, 75 + 50 from the right
        got = selective_scan(**arguments, reverse=True)[0, :, 0]
        torch.testing.assert_close(got, torch.tensor([135.0, 320.0, 140.0, 0.0]))
        gate = torch.tensor([[[0.0], [60.0], [-60.0], [padding]]])
        got = selective_scan(**arguments, gate=gate)[0, :, 0]
        torch.testing.assert_close(got, torch.tensor([0.0, 270.0 * 60.0, 0.0, 0.0]))
        half = {**arguments, "delta": arguments["delta"] / 2}
        got = selective_scan(**half, delta_bias=torch.tensor([step / 2]))[0, :, 0]
        torch.testing.assert_close(got, torch.tensor([60.0, 270.0, 202.5, 0.0]))


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 63])
def test_against_naive(dtype, reverse, length):
    check(sample([length, length // 2], length, reverse=reverse), dtype)


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
def test_against_naive_over_many_blocks(dtype):
    check(sample([1000, 513], 1000), dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("channels", "states"), [(1, 1), (16, 16), (130, 3), (257, 17)])
def test_sizes(dtype, channels, states):
    check(sample([70, 64], 70, channels, states), dtype)


@pytest.mark.parametrize("scale", [1.0, 1e-2])
def test_float32_at_length_4096(scale):
    # With steps of a thousandth a state remembers most of the sequence.
    kwargs = sample([4096], 4096, channels=20, states=16)
    kwargs["state_matrix"] *= scale
    op_case.check_against_naive(
        selective_scan, selective_scan_torch, kwargs, DIFFERENTIABLE, torch.float32, ROWS, PARAMETERS
    )


def test_without_gate_bias_and_lengths():
    kwargs = sample([63, 63])
    names = [name for name in DIFFERENTIABLE if name not in ("gate", "delta_bias")]
    plain = {**kwargs, "gate": None, "delta_bias": None, "lengths": None}
    for dtype in (torch.float64, torch.float32):
        floats = [name for name in ROWS if name != "gate"]
        parameters = ["state_matrix", "skip"]
        op_case.check_against_naive(
            selective_scan, selective_scan_naive, plain, names, dtype, floats, parameters
        )


def test_steps_of_any_size():
    kwargs = sample([63], reverse=True)
    kwargs["delta"] = torch.linspace(-200, 200, 63)[None, :, None].expand(1, 63, 19).contiguous()
    for dtype in (torch.float64, torch.float32):
        check(kwargs, dtype)


@pytest.mark.parametrize("length", [1, 2, 3, 63, 1000])
def test_reverse_is_flipping_to_the_bit(length):
    kwargs = sample([length, length // 2], length)
    lengths, grad = kwargs["lengths"], torch.randn_like(kwargs["x"])
    outputs, grads = op_case.run(selective_scan, {**kwargs, "reverse": True}, DIFFERENTIABLE, [grad])
    flipped = {**kwargs, **{name: flip_real(kwargs[name], lengths) for name in ROWS}}
    expected, expected_grads = op_case.run(
        selective_scan, flipped, DIFFERENTIABLE, [flip_real(grad, lengths)]
    )
    assert torch.equal(outputs[0], flip_real(expected[0], lengths))
    for name in ROWS:
        assert torch.equal(grads[name], flip_real(expected_grads[name], lengths))
    for name in PARAMETERS:
        assert torch.equal(grads[name], expected_grads[name])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("form", ["rust", "torch", "naive"])
def test_padding_is_never_read(reverse, form):
    function = selective_scan_naive if form == "naive" else selective_scan
    clean, grad = sample([0, 5, 63], reverse=reverse), torch.randn(3, 63, 19)
    results = []
    for garbage in (0.0, math.nan, math.inf):
        kwargs, grad_output = {**clean, **{name: clean[name].clone() for name in ROWS}}, grad.clone()
        for row, real in enumerate(clean["lengths"].tolist()):
            for tensor in (*(kwargs[name] for name in ROWS), grad_output):
                tensor[row, real:] = garbage
        with use_backend("torch" if form == "torch" else "rust"):
            outputs, grads = op_case.run(function, kwargs, DIFFERENTIABLE, [grad_output])
        for row, real in enumerate(clean["lengths"].tolist()):
            assert not outputs[0][row, real:].any()
            for name in ROWS:
                assert not grads[name][row, real:].any()
        results.append([outputs[0], *grads.values()])
    for result in results[1:]:
        for got, want in zip(result, results[0], strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("reverse", [False, True])
def test_alone_as_in_a_batch(reverse):
    kwargs = sample([100, 200], 300, reverse=reverse)
    outputs, grads = op_case.run(selective_scan, kwargs, DIFFERENTIABLE, [torch.ones(2, 300, 19)])
    parameters = {name: torch.zeros_like(kwargs[name]) for name in PARAMETERS}
    for row, real in enumerate([100, 200]):
        alone = {**kwargs, **{name: kwargs[name][row : row + 1, :real] for name in ROWS}, "lengths": None}
        output, grad = op_case.run(selective_scan, alone, DIFFERENTIABLE, [torch.ones(1, real, 19)])
        assert torch.equal(output[0][0], outputs[0][row, :real])
        for name in ROWS:
            assert torch.equal(grad[name][0], grads[name][row, :real])
        parameters = {name: parameters[name] + grad[name] for name in PARAMETERS}
    for name in PARAMETERS:
        assert_close_to_reference(name, grads[name], parameters[name])


def test_memory_of_what_is_saved():
    kwargs = sample([1000], 1000, channels=32, states=16)
    leaves = {k: v.requires_grad_() if k in DIFFERENTIABLE else v for k, v in kwargs.items()}
    saved = []

    def pack(tensor):
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        selective_scan(**leaves)
    given = {leaf.data_ptr() for leaf in leaves.values() if isinstance(leaf, torch.Tensor)}
    own = [tensor for tensor in saved if tensor.data_ptr() not in given]
    (states,) = [t for t in own if t.dim() == 4]
    assert states.shape == (1, 16, 16, 32)
    # Beside the states no more than parameters and lengths.
    assert sum(t.numel() for t in own) - states.numel() <= 32 * 18 + 1


def test_parts_of_a_packed_projection():
    kwargs = sample()
    outputs, grads = op_case.run(selective_scan, kwargs, DIFFERENTIABLE)
    packed = torch.randn(2, 63, 29)
    parts = packed.split([19, 5, 5], dim=-1)
    for part, name in zip(parts, ["gate", "input_matrix", "output_matrix"], strict=True):
        part.copy_(kwargs[name])
        assert not part.is_contiguous()
        kwargs[name] = part.detach().requires_grad_()
    output = selective_scan(**kwargs)
    assert torch.equal(output, outputs[0])
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(output.shape, generator=generator, dtype=torch.float64).float()
    names = ["gate", "input_matrix", "output_matrix"]
    for name, got in zip(names, torch.autograd.grad(output, [kwargs[n] for n in names], grad), strict=True):
        assert torch.equal(got, grads[name])


def test_views():
    op_case.check_views(selective_scan, sample(), DIFFERENTIABLE)


@pytest.mark.parametrize("reverse", [False, True])
def test_threads(reverse):
    kwargs = sample([300, 213, 100], 300, channels=300, reverse=reverse)
    op_case.check_threads(selective_scan, kwargs, DIFFERENTIABLE)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradient(reverse):
    kwargs = sample([7, 3], 7, channels=3, states=2, reverse=reverse)
    op_case.check_gradient(selective_scan, kwargs, DIFFERENTIABLE, DIFFERENTIABLE)


def test_gradient_across_blocks():
    kwargs = sample([70], 70, channels=1, states=1)
    op_case.check_gradient(selective_scan, kwargs, DIFFERENTIABLE, DIFFERENTIABLE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 16, 63, 300])
def test_torch_form(dtype, reverse, length):
    kwargs = sample([length, length // 2, 0], length, reverse=reverse)
    kwargs = op_case.cast(kwargs, dtype, DIFFERENTIABLE)
    op_case.check_torch_form(selective_scan, kwargs, DIFFERENTIABLE)


def test_torch_form_does_not_overflow():
    kwargs = sample([1000], 1000, channels=3)
    kwargs["delta"] = kwargs["delta"].abs() * 100
    output = selective_scan_torch(**kwargs)
    assert_close_to_reference(
        "output", output, selective_scan_naive(**op_case.cast(kwargs, torch.float64, DIFFERENTIABLE))
    )


def test_torch_form_under_autocast():
    kwargs = sample()
    with torch.autocast("cpu", torch.bfloat16):
        output = selective_scan_torch(**kwargs)
    assert torch.equal(output, selective_scan_torch(**kwargs))


def test_torch_form_on(device):
    kwargs = sample([63, 33, 0], reverse=True)
    moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}
    with use_backend("torch"):
        outputs, grads = op_case.run(selective_scan, moved, DIFFERENTIABLE)
    expected, expected_grads = op_case.run(selective_scan, kwargs, DIFFERENTIABLE)
    assert_close_to_reference("output", outputs[0].cpu(), expected[0])
    for name in DIFFERENTIABLE:
        assert_close_to_reference(name, grads[name].cpu(), expected_grads[name])


@pytest.mark.parametrize(
    ("batch", "length", "channels", "states"), [(0, 4, 3, 2), (2, 0, 3, 2), (2, 4, 0, 2), (2, 4, 3, 0)]
)
@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_empty(batch, length, channels, states, backend):
    kwargs = sample([length] * batch, length, channels, states)
    with use_backend(backend):
        outputs, grads = op_case.run(selective_scan, kwargs, DIFFERENTIABLE)
    expected, expected_grads = op_case.run(selective_scan_naive, kwargs, DIFFERENTIABLE)
    torch.testing.assert_close(outputs[0], expected[0])
    torch.testing.assert_close(grads, expected_grads)


def test_opcheck():
    kwargs = sample([7, 4], 7, 3, 2)
    order = ["x", "delta", "state_matrix", "input_matrix", "output_matrix", "skip", "gate", "delta_bias"]
    for absent in ((), ("gate", "delta_bias")):
        arguments = [None if name in absent else kwargs[name] for name in order]
        arguments += [kwargs["lengths"], True]
        op_case.opcheck("selective_scan_backward", torch.randn(2, 7, 3), torch.randn(2, 1, 2, 3), *arguments)
        arguments[0] = arguments[0].clone().requires_grad_()
        op_case.opcheck("selective_scan", *arguments)


def test_compiles_whole():
    kwargs = sample()
    compiled = torch.compile(selective_scan, fullgraph=True, backend="aot_eager", dynamic=True)
    outputs, grads = op_case.run(compiled, kwargs, DIFFERENTIABLE)
    expected, expected_grads = op_case.run(selective_scan, kwargs, DIFFERENTIABLE)
    assert torch.equal(outputs[0], expected[0])
    for name in DIFFERENTIABLE:
        assert torch.equal(grads[name], expected_grads[name])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": [[1.0]]}, TypeError, "x must be a torch.Tensor, got list"),
        ({"x": torch.zeros(63, 19)}, ValueError, r"x must be \[B, N, D\], got \[63, 19\]"),
        ({"x": torch.zeros(2, 63, 19).long()}, TypeError, "x must be float32, .* got torch.int64"),
        ({"delta": torch.zeros(2, 62, 19)}, ValueError, r"delta must be \[2, 63, 19\], got \[2, 62, 19\]"),
        (
            {"delta": torch.zeros(2, 63, 19).double()},
            TypeError,
            "delta must be torch.float32, got torch.float64",
        ),
        ({"state_matrix": torch.zeros(18, 5)}, ValueError, r"state_matrix must be \[19, S\], got \[18, 5\]"),
        ({"state_matrix": torch.zeros(19, 5).long()}, TypeError, "state_matrix must be float32"),
        ({"state_matrix": torch.full((19, 5), 0.5)}, ValueError, "state_matrix must be at most 0, got 0.5"),
        ({"input_matrix": torch.zeros(2, 63, 4)}, ValueError, r"input_matrix must be \[2, 63, 5\], got"),
        ({"output_matrix": torch.zeros(2, 63, 5).half()}, TypeError, "output_matrix must be torch.float32"),
        ({"skip": torch.zeros(18)}, ValueError, r"skip must be \[19\], got \[18\]"),
        ({"gate": torch.zeros(2, 63, 18)}, ValueError, r"gate must be \[2, 63, 19\], got \[2, 63, 18\]"),
        ({"delta_bias": torch.zeros(19).long()}, TypeError, "delta_bias must be float32"),
        ({"lengths": torch.tensor([63])}, ValueError, r"lengths must be \[2\], got \[1\]"),
        ({"lengths": torch.ones(2)}, TypeError, "lengths must be torch.int64, got torch.float32"),
        ({"lengths": torch.tensor([64, 40])}, ValueError, r"lengths must be in \[0, 63\], got 64"),
        ({"lengths": torch.tensor([-1, 40])}, ValueError, r"lengths must be in \[0, 63\], got -1"),
        ({"skip": torch.zeros(19, device="meta")}, ValueError, "on one device, got .*skip=meta"),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=f"selective_scan: .*{message}"):
        selective_scan(**{**sample(), **change})


@pytest.mark.parametrize(
    ("place", "value", "error", "message"),
    [
        (0, torch.zeros(2, 63, 18), ValueError, r"grad must be \[2, 63, 19\], got \[2, 63, 18\]"),
        (1, torch.zeros(2, 2, 5, 19), ValueError, r"states must be \[2, 1, 5, 19\], got \[2, 2, 5, 19\]"),
        (3, torch.zeros(2, 62, 19), ValueError, r"delta must be \[2, 63, 19\], got \[2, 62, 19\]"),
        (4, torch.full((19, 5), 0.5), ValueError, "state_matrix must be at most 0, got 0.5"),
        (5, torch.zeros(2, 63, 4), ValueError, r"input_matrix must be \[2, 63, 5\], got \[2, 63, 4\]"),
        (7, torch.zeros(19).double(), TypeError, "skip must be float32, got float64"),
        (10, torch.tensor([64, 1]), ValueError, r"lengths must be in \[0, 63\], got 64"),
    ],
)
def test_bad_input_of_the_raw_operation(place, value, error, message):
    kwargs = sample()
    arguments = [kwargs["x"], torch.zeros(2, 1, 5, 19), *kwargs.values()]
    arguments[place] = value
    with pytest.raises(error, match=f"selective_scan: {message}"):
        torch.ops.dnachunk.selective_scan_backward(*arguments)
