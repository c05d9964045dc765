import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import deform_conv2d

from dnachunk.ops import deformable_conv, use_backend
from dnachunk.ops.deformable_conv import deformable_conv_naive
from tests.support import op_case
from tests.support.asserts import assert_close_to_reference

DIFFERENTIABLE = ["x", "offset", "modulation", "weight"]


def sample(lengths=(63, 40), rows=63, channels=19, out_channels=11, taps=3):
    """Offsets to all sides and past both ends, some of them whole."""
    batch = len(lengths)
    offset = 4 * torch.randn(batch, rows, taps)
    offset[:, ::5] = offset[:, ::5].round()
    return {
        "x": torch.randn(batch, rows, channels),
        "offset": offset,
        "modulation": 2 * torch.rand(batch, rows, taps),
        "weight": torch.randn(out_channels, channels, taps),
        "lengths": torch.tensor(lengths, dtype=torch.int64),
    }


def by_torchvision(x, offset, modulation, weight, lengths):
    """Height 1 of the two-dimensional one, each sequence without its padding."""
    rows, taps = offset.shape[1:]
    outputs = []
    for index, real in enumerate(lengths.tolist()):
        # An even width gives one row too many at the end.
        extra = 1 - taps % 2
        tap_offset, tap_modulation = (
            F.pad(tensor[index, :real], (0, 0, 0, extra)).T for tensor in (offset, modulation)
        )
        both = torch.stack([torch.zeros_like(tap_offset), tap_offset], dim=1).flatten(0, 1)
        output = deform_conv2d(
            x[index, :real].T[None, :, None],
            both[None, :, None],
            weight[:, :, None],
            padding=(0, taps // 2),
            mask=tap_modulation[None, :, None],
        )
        outputs.append(F.pad(output[0, :, 0, :real].T, (0, 0, 0, rows - real)))
    return torch.stack(outputs)


def sampled(x, offset, modulation, lengths=None):
    """The building block whose kernel is ours."""
    return torch.ops.dnachunk.deformable_conv(x, offset, modulation, lengths)


def test_literal():
    # Row 0 reads halfway between rows 0 and 1, row 1 a quarter below row 0, row 2 row 2 itself.
    x = torch.tensor([[[1.0, 0.0], [4.0, 1.0], [16.0, 2.0]]], requires_grad=True)
    offset = torch.tensor([[[0.5], [-1.25], [0.0]]], requires_grad=True)
    modulation = torch.tensor([[[2.0], [1.0], [1.0]]], requires_grad=True)
    weight = torch.tensor([[[1.0], [10.0]]], requires_grad=True)
    output = deformable_conv(x, offset, modulation, weight)
    assert output.tolist() == [[[5.0 + 10.0], [0.75], [16.0 + 20.0]]]
    output.backward(torch.tensor([[[1.0], [10.0], [100.0]]]))
    assert x.grad[..., 0].tolist() == [[1.0 + 7.5, 1.0, 100.0]]
    assert torch.equal(x.grad[..., 1], 10 * x.grad[..., 0])
    # Along the rows: 4 − 1 and 1 − 0; 1 and 0 above the zero at −1; the zero above 16 and 2.
    assert offset.grad.flatten().tolist() == [2 * (3.0 + 10.0), 10.0, -100 * (16.0 + 20.0)]
    assert modulation.grad.flatten().tolist() == [2.5 + 5.0, 7.5, 3600.0]
    assert weight.grad.flatten().tolist() == [5.0 + 7.5 + 1600.0, 1.0 + 200.0]


@pytest.mark.parametrize(
    ("taps", "expected"), [(1, [1.0, 10.0, 100.0]), (2, [2.0, 21.0, 210.0]), (3, [32.0, 321.0, 210.0])]
)
def test_literal_taps(taps, expected):
    x = torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1)
    weight = torch.tensor([1.0, 2.0, 3.0])[:taps].view(1, 1, taps)
    output = deformable_conv(x, torch.zeros(1, 3, taps), torch.ones(1, 3, taps), weight)
    assert output.flatten().tolist() == expected


@pytest.mark.parametrize("form", ["rust", "torch"])
@pytest.mark.parametrize(
    ("place", "expected", "slope"),
    [
        *(
            (place, 0.0, 0.0)
            for place in (-9.0, -1.5, 2.0, 2.25, 9.0, 1e30, -1e30, math.inf, -math.inf, math.nan)
        ),
        *((-1.0, 0.0, 4.0), (-0.75, 1.0, 4.0), (0.0, 4.0, 4.0), (0.5, 6.0, 4.0)),
        *((1.0, 8.0, -8.0), (1.75, 2.0, -8.0)),
    ],
)
def test_literal_ends(form, place, expected, slope):
    # Rows 4 and 8: a sample fades to zero at −1 and at 2.
    x = torch.tensor([[[4.0], [8.0]]], requires_grad=True)
    offset = torch.tensor([[[place], [place - 1]]], requires_grad=True)
    modulation = torch.full((1, 2, 1), 3.0, requires_grad=True)
    with use_backend(form):
        output = deformable_conv(x, offset, modulation, torch.ones(1, 1, 1))
        output.sum().backward()
    assert output.flatten().tolist() == [3 * expected] * 2
    assert offset.grad.flatten().tolist() == [3 * slope] * 2
    assert modulation.grad.flatten().tolist() == [expected] * 2
    assert (x.grad * x).sum().item() == 6 * expected


def test_positions_are_as_exact_late_as_early():
    rows = 1 << 17
    x = torch.zeros(1, rows, 1)
    x[0, -1] = 1.0
    offset = torch.zeros(1, rows, 1)
    offset[0, -2] = 2.0**-20
    for form in ("rust", "torch"):
        with use_backend(form):
            output = deformable_conv(x, offset, torch.ones(1, rows, 1), torch.ones(1, 1, 1))
        assert output[0, -2].item() == 2.0**-20


@pytest.mark.parametrize("taps", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("lengths", [(63, 63), (40, 63), (3, 8)])
def test_against_torchvision(taps, lengths):
    kwargs = op_case.cast(sample(lengths, taps=taps), torch.float64, DIFFERENTIABLE)
    # What is no multiple of 1/64 torchvision adds to the row with a rounding, here and there past a row.
    kwargs["offset"] = (64 * kwargs["offset"]).round() / 64
    outputs, grads = op_case.run(deformable_conv, kwargs, DIFFERENTIABLE)
    expected, expected_grads = op_case.run(by_torchvision, kwargs, DIFFERENTIABLE)
    assert_close_to_reference("output", outputs[0], expected[0])
    for name in DIFFERENTIABLE:
        assert grads[name].any()
        assert_close_to_reference(name, grads[name], expected_grads[name])


@pytest.mark.parametrize("taps", [1, 2, 3, 4, 7])
def test_without_offsets_it_is_conv1d(taps):
    kwargs = op_case.cast(sample((63, 63), taps=taps), torch.float64, DIFFERENTIABLE)
    kwargs |= {"offset": torch.zeros_like(kwargs["offset"]), "modulation": torch.ones_like(kwargs["offset"])}
    outputs, grads = op_case.run(deformable_conv, kwargs, ["x", "weight"])

    def convolve(x, weight, **_):
        return F.conv1d(x.mT, weight, padding=taps // 2)[..., : x.shape[1]].mT

    expected, expected_grads = op_case.run(convolve, kwargs, ["x", "weight"])
    assert_close_to_reference("output", outputs[0], expected[0])
    for name, grad in grads.items():
        assert_close_to_reference(name, grad, expected_grads[name])


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "taps", "channels"), [(4, 3, 16), (9, 1, 1), (63, 2, 37), (300, 5, 64)])
def test_against_naive(dtype, rows, taps, channels):
    kwargs = sample((rows, rows // 2), rows, channels, taps=taps)
    op_case.check_against_naive(
        deformable_conv,
        deformable_conv_naive,
        kwargs,
        DIFFERENTIABLE,
        dtype,
        ["x", "weight"],
        ["offset", "modulation"],
    )


def test_all_taps_on_one_row():
    kwargs = sample((200,), 200)
    kwargs["offset"] = 77.25 - torch.arange(200.0)[None, :, None] - torch.arange(-1.0, 2.0)
    outputs, grads = op_case.run(deformable_conv, kwargs, DIFFERENTIABLE)
    exact = op_case.cast(kwargs, torch.float64, DIFFERENTIABLE)
    expected, expected_grads = op_case.run(deformable_conv_naive, exact, DIFFERENTIABLE)
    assert_close_to_reference("output", outputs[0], expected[0])
    for name in DIFFERENTIABLE:
        assert_close_to_reference(name, grads[name], expected_grads[name])
    assert grads["x"].abs().sum(-1).nonzero()[:, 1].tolist() == [77, 78]


@pytest.mark.parametrize("lengths", [None, (63, 40)])
def test_torch_form(lengths):
    kwargs = sample()
    kwargs["lengths"] = lengths if lengths is None else torch.tensor(lengths)
    op_case.check_torch_form(deformable_conv, kwargs, DIFFERENTIABLE)


def test_no_lengths_are_full_lengths():
    kwargs = sample((63, 63))
    outputs, grads = op_case.run(deformable_conv, kwargs, DIFFERENTIABLE)
    others, other_grads = op_case.run(deformable_conv, {**kwargs, "lengths": None}, DIFFERENTIABLE)
    assert torch.equal(outputs[0], others[0])
    assert all(torch.equal(grads[name], other_grads[name]) for name in DIFFERENTIABLE)


@pytest.mark.parametrize("form", ["rust", "torch"])
def test_padding_is_never_read(form):
    lengths = [0, 5, 62, 63]
    clean = sample(lengths)
    results = []
    for garbage in (0.0, math.nan, math.inf):
        kwargs = {name: tensor.clone() for name, tensor in clean.items()}
        grad_output = torch.ones(4, 63, 11)
        for row, real in enumerate(lengths):
            for tensor in (kwargs["x"], kwargs["offset"], kwargs["modulation"], grad_output):
                tensor[row, real:] = garbage
        with use_backend(form):
            outputs, grads = op_case.run(deformable_conv, kwargs, DIFFERENTIABLE, [grad_output])
        for row, real in enumerate(lengths):
            padded = (outputs[0], grads["x"], grads["offset"], grads["modulation"])
            assert not any(tensor[row, real:].any() for tensor in padded)
        results.append((outputs[0], *grads.values()))
    assert results[0][0].any()
    for result in results[1:]:
        assert all(torch.equal(got, want) for got, want in zip(result, results[0], strict=True))


def test_alone_as_in_a_batch():
    kwargs = sample((21, 40, 63))
    kwargs = op_case.cast(kwargs, torch.float64, DIFFERENTIABLE)
    outputs, grads = op_case.run(deformable_conv, kwargs, DIFFERENTIABLE, [torch.ones(3, 63, 11)])
    summed = torch.zeros_like(grads["weight"])
    for row, real in enumerate([21, 40, 63]):
        alone = {name: kwargs[name][row : row + 1, :real] for name in ("x", "offset", "modulation")}
        alone["weight"] = kwargs["weight"]
        output, grad = op_case.run(deformable_conv, alone, DIFFERENTIABLE, [torch.ones(1, real, 11)])
        assert_close_to_reference("output", output[0][0], outputs[0][row, :real])
        for name in ("x", "offset", "modulation"):
            assert_close_to_reference(name, grad[name][0], grads[name][row, :real])
        summed += grad["weight"]
    assert_close_to_reference("weight", summed, grads["weight"])


@pytest.mark.parametrize(
    ("lengths", "rows", "channels", "out_channels", "taps"),
    [
        ((), 4, 3, 2, 3),
        ((0, 0), 0, 3, 2, 3),
        ((4, 2), 4, 0, 2, 3),
        ((4, 2), 4, 3, 0, 3),
        ((4, 2), 4, 3, 2, 0),
    ],
)
def test_empty(lengths, rows, channels, out_channels, taps):
    kwargs = sample(lengths, rows, channels, out_channels, taps)
    for form in ("rust", "torch"):
        with use_backend(form):
            outputs, grads = op_case.run(deformable_conv, kwargs, DIFFERENTIABLE)
        assert torch.equal(outputs[0], torch.zeros(len(lengths), rows, out_channels))
        assert all(torch.equal(grads[name], torch.zeros_like(kwargs[name])) for name in DIFFERENTIABLE)


def test_views():
    op_case.check_views(deformable_conv, sample(), DIFFERENTIABLE)


def test_threads():
    # The product is torch's: its bits are its own.
    kwargs = sample((3000, 1, 2500), 3000)
    del kwargs["weight"]
    op_case.check_threads(sampled, kwargs, ["x", "offset", "modulation"])


def test_gradient():
    kwargs = sample((5, 3), 5, 3, 2)
    # Away from whole positions, where the two sides differ.
    kwargs["offset"] = kwargs["offset"].floor() + 0.1 + 0.8 * torch.rand(2, 5, 3)
    op_case.check_gradient(deformable_conv, kwargs, DIFFERENTIABLE, DIFFERENTIABLE)


@pytest.mark.parametrize("lengths", [None, torch.tensor([7, 4])])
def test_opcheck(lengths):
    kwargs = sample((7, 4), 7, 3)
    inputs = [kwargs[name] for name in ("x", "offset", "modulation")]
    op_case.opcheck("deformable_conv", *(x.clone().requires_grad_() for x in inputs), lengths)
    op_case.opcheck("deformable_conv_backward", torch.randn(2, 7, 3, 3), *inputs, lengths)


def test_compiled():
    kwargs = sample()
    compiled = torch.compile(deformable_conv, fullgraph=True, backend="aot_eager")
    outputs, grads = op_case.run(deformable_conv, kwargs, DIFFERENTIABLE)
    others, other_grads = op_case.run(compiled, kwargs, DIFFERENTIABLE)
    assert_close_to_reference("output", others[0], outputs[0])
    for name in DIFFERENTIABLE:
        assert_close_to_reference(name, other_grads[name], grads[name])


def test_autocast_as_if_cast_before():
    kwargs = sample()
    half = op_case.cast(kwargs, torch.bfloat16, ["x", "weight"])
    expected, expected_grads = op_case.run(deformable_conv, half, DIFFERENTIABLE)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, grads = op_case.run(deformable_conv, kwargs, DIFFERENTIABLE)
        wide = op_case.cast(kwargs, torch.float64, DIFFERENTIABLE)
        assert deformable_conv(**wide).dtype == torch.float64
    assert outputs[0].dtype == torch.bfloat16
    assert torch.equal(outputs[0], expected[0])
    for name in DIFFERENTIABLE:
        assert grads[name].dtype == torch.float32
        assert torch.equal(grads[name], expected_grads[name].float())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": torch.zeros(4, 3)}, ValueError, r"deformable_conv: x must be \[B, K, D\], got \[4, 3\]"),
        ({"x": [[1.0]]}, TypeError, "x must be a torch.Tensor, got list"),
        ({"x": torch.zeros(2, 6, 4).long()}, TypeError, "x must be float32, float64, .* got torch.int64"),
        ({"weight": torch.zeros(5, 4)}, ValueError, r"weight must be \[D_out, D, f\], got \[5, 4\]"),
        ({"weight": torch.zeros(5, 3, 3)}, ValueError, r"weight must be \[D_out, 4, f\], got \[5, 3, 3\]"),
        (
            {"weight": torch.zeros(5, 4, 3).half()},
            TypeError,
            "weight must be torch.float32, got torch.float16",
        ),
        ({"offset": torch.zeros(2, 6, 2)}, ValueError, r"offset must be \[2, 6, 3\], got \[2, 6, 2\]"),
        (
            {"offset": torch.zeros(2, 6, 3).double()},
            TypeError,
            "offset must be torch.float32, got torch.float64",
        ),
        (
            {"modulation": torch.zeros(2, 5, 3)},
            ValueError,
            r"modulation must be \[2, 6, 3\], got \[2, 5, 3\]",
        ),
        ({"modulation": torch.zeros(2, 6, 3).bfloat16()}, TypeError, "modulation must be torch.float32"),
        ({"lengths": torch.tensor([1])}, ValueError, r"lengths must be \[2\], got \[1\]"),
        ({"lengths": torch.tensor([1.0, 2.0])}, TypeError, "lengths must be torch.int64, got torch.float32"),
        ({"lengths": torch.tensor([6, 7])}, ValueError, r"lengths must be in \[0, 6\], got 7"),
        ({"lengths": torch.tensor([-1, 2])}, ValueError, r"lengths must be in \[0, 6\], got -1"),
        (
            {"weight": torch.zeros(5, 4, 3, device="meta")},
            ValueError,
            "deformable_conv: all tensors must be on one device, got x=cpu, .*weight=meta",
        ),
    ],
)
def test_bad_input(changes, error, message):
    with pytest.raises(error, match=message):
        deformable_conv(**(sample((6, 3), 6, 4, 5) | changes))


def test_tensors_without_elements_take_no_memory():
    x, taps = torch.empty(2**45, 0, 4), torch.empty(2**45, 0, 3)
    assert torch.ops.dnachunk.deformable_conv(x, taps, taps, None).shape == (2**45, 0, 3, 4)


def test_shapes_on_the_device_meta():
    kwargs = {name: tensor.to("meta") for name, tensor in sample().items()}
    assert deformable_conv(**kwargs).shape == (2, 63, 11)
