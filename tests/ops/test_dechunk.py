import pytest
import torch

from dnachunk.ops import dechunk, use_backend
from dnachunk.ops.dechunk import dechunk_naive
from tests.support import op_case
from tests.support.asserts import assert_close_to_reference

BOTH = pytest.mark.parametrize("backend", ["rust", "torch"])
GATES = pytest.mark.parametrize("backward_gate", ["right", "left"])
FLOATS = ["values", "boundary_probability"]


def sample(length=63, channels=19, backward_gate="right"):
    """Three sequences: full, shorter, empty; probabilities of all sizes, 0 and 1 among them."""
    generator = torch.Generator().manual_seed(4)
    is_real = torch.arange(length) < torch.tensor([length, (2 * length + 1) // 3, 0])[:, None]
    probability = torch.rand(3, length, generator=generator)
    probability = torch.where(probability < 0.1, 0.0, torch.where(probability > 0.9, 1.0, probability))
    is_forced = is_real & (torch.rand(3, length, generator=generator) < 0.1)
    begins = (probability >= 0.5) | is_forced
    begins[:, :1] = True
    token_index = torch.where(is_real, begins.long().cumsum(dim=1) - 1, -1)
    return {
        "values": torch.randn(3, int(token_index.max()) + 2, channels, generator=generator),
        "boundary_probability": probability,
        "is_forced": is_forced,
        "token_index": token_index,
        "backward_gate": backward_gate,
    }


@BOTH
@pytest.mark.parametrize(
    ("backward_gate", "expected"),
    [
        # From the left 8, 12, 4, 4; from the right 12, 16, 4, 4 with gates ½, 1, ¼, 1 …
        ("right", [10.0, 14.0, 4.0, 4.0, 0.0]),
        # … or 8, 10, 4, 4 with gates 1, ½, 1, 1.
        ("left", [8.0, 11.0, 4.0, 4.0, 0.0]),
    ],
)
def test_literal(backend, backward_gate, expected):
    values = torch.tensor([[[8.0], [16.0], [4.0], [99.0]]])
    probability = torch.tensor([[0.125, 0.5, 0.125, 0.25, 7.0]])
    is_forced = torch.tensor([[True, False, True, False, False]])
    with use_backend(backend):
        out = dechunk(values, probability, is_forced, torch.tensor([[0, 1, 2, 2, -1]]), backward_gate)
    assert out.flatten().tolist() == expected


@BOTH
def test_gates_are_clamped_and_forced_ones_are_not(backend):
    values = torch.tensor([[[0.0], [1.0]]], dtype=torch.float64)
    token_index = torch.tensor([[0, 1]])

    def right_of(probability, is_forced):
        probability = torch.tensor([[0.5, probability]], dtype=torch.float64)
        with use_backend(backend):
            return dechunk(values, probability, torch.tensor([[False, is_forced]]), token_index)[0, 1].item()

    # From the left the gate itself, from the right 1.
    assert right_of(0.0, False) == pytest.approx((1 + 1e-4) / 2, abs=1e-15)
    assert right_of(1.0, False) == pytest.approx((1 + 1 - 1e-4) / 2, abs=1e-15)
    assert right_of(0.3, False) == pytest.approx(1.3 / 2, abs=1e-15)
    assert right_of(0.3, True) == 1.0


@BOTH
@GATES
def test_no_gradient_where_forced_clamped_or_padding(backend, backward_gate):
    kwargs = sample(200, 3, backward_gate)
    probability = kwargs["boundary_probability"].requires_grad_()
    values = kwargs["values"].requires_grad_()
    with use_backend(backend):
        out = dechunk(**kwargs)
    grad_values, grad = torch.autograd.grad(out, [values, probability], torch.randn(out.shape))
    is_real = kwargs["token_index"] >= 0
    is_learnt = is_real & ~kwargs["is_forced"] & (probability >= 1e-4) & (probability <= 1 - 1e-4)
    is_learnt[:, 0] = False
    assert not grad[~is_learnt].any()
    # Inside a chunk a gate may lie between equal vectors; where chunks meet it never does.
    is_edge = kwargs["token_index"] != kwargs["token_index"].roll(1, dims=1)
    assert (grad[is_learnt & is_edge] != 0).all()
    assert not out[~is_real].any()
    has_chunk = torch.arange(values.shape[1]) <= kwargs["token_index"].amax(dim=1, keepdim=True)
    assert not grad_values[~has_chunk].any()


@BOTH
@GATES
def test_padding_is_not_read(backend, backward_gate):
    kwargs = sample(150, 3, backward_gate)
    is_padding = kwargs["token_index"] < 0
    no_chunk = torch.arange(kwargs["values"].shape[1]) > kwargs["token_index"].amax(dim=1, keepdim=True)

    def outputs_and_grads():
        with use_backend(backend):
            return op_case.run(dechunk, kwargs, FLOATS)

    (expected,), expected_grads = outputs_and_grads()
    kwargs["boundary_probability"][is_padding] = torch.nan
    kwargs["is_forced"][is_padding] = True
    if backend == "rust":
        kwargs["values"][no_chunk] = torch.nan
    (out,), grads = outputs_and_grads()
    assert torch.equal(out, expected)
    for name in FLOATS:
        assert torch.equal(grads[name], expected_grads[name])


@GATES
def test_a_sequence_alone_and_beside_a_longer_one(backward_gate):
    kwargs = sample(300, 1024, backward_gate)
    length = int((kwargs["token_index"][1] >= 0).sum())
    alone = {
        k: v[1:2, :length] if k != "values" else v[1:2] for k, v in kwargs.items() if k != "backward_gate"
    }
    out = dechunk(**alone, backward_gate=backward_gate)
    assert torch.equal(out, dechunk(**kwargs)[1:2, :length])


def mirrored(kwargs):
    """The same sequences from right to left, each without its padding's place changing."""
    lengths = (kwargs["token_index"] >= 0).sum(dim=1)
    counts = kwargs["token_index"].amax(dim=1) + 1
    result = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}
    for row, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
        result["values"][row, :count] = kwargs["values"][row, :count].flip(0)
        result["token_index"][row, :length] = count - 1 - kwargs["token_index"][row, :length].flip(0)
        # The boundary between two positions is kept at the right one of them.
        for name in ("boundary_probability", "is_forced"):
            result[name][row, 1:length] = kwargs[name][row, 1:length].flip(0)
    return result, lengths


@BOTH
@pytest.mark.parametrize(("length", "channels"), [(1, 5), (2, 5), (300, 5), (300, 1024)])
def test_mirror_symmetry(backend, length, channels):
    kwargs = op_case.cast(sample(length, channels), torch.float64, FLOATS)
    reversed_kwargs, lengths = mirrored(kwargs)
    with use_backend(backend):
        out, reversed_out = dechunk(**kwargs), dechunk(**reversed_kwargs)
        left = dechunk(**{**kwargs, "backward_gate": "left"})
        reversed_left = dechunk(**{**reversed_kwargs, "backward_gate": "left"})
    for row, real in enumerate(lengths.tolist()):
        torch.testing.assert_close(reversed_out[row, :real], out[row, :real].flip(0), rtol=0, atol=1e-12)
    if length > 2:
        assert not torch.allclose(reversed_left[0], left[0].flip(0), atol=1e-3)


@pytest.mark.parametrize("channels", [4, 4096])
def test_a_protected_chunk_keeps_its_vector(channels):
    kwargs = sample(100, channels)
    # Position 50 is a chunk of its own between two forced boundaries.
    begins = torch.zeros(3, 100, dtype=torch.bool)
    begins[:, [0, 20, 50, 51, 80]] = True
    kwargs["token_index"] = begins.long().cumsum(dim=1) - 1
    kwargs["is_forced"] = torch.zeros_like(begins)
    kwargs["is_forced"][:, 50:52] = True
    kwargs["values"] = torch.randn(3, 5, channels)
    out = dechunk(**kwargs)
    assert torch.equal(out[:, 50], kwargs["values"][:, 2])
    # Nothing passes it: each side knows its own chunks only.
    kwargs["values"][:, 2:] += 1.0
    assert torch.equal(dechunk(**kwargs)[:, :50], out[:, :50])


def test_gates_near_zero_carry_a_vector_far():
    # From the left (1 − 1e-4)^1000 of the first vector is left after 1000 positions, the rest is the second.
    values = torch.tensor([[[1.0], [0.0]]], dtype=torch.float64)
    probability = torch.zeros(1, 1001, dtype=torch.float64)
    token_index = (torch.arange(1001)[None] > 0).long()
    is_forced = token_index == 0
    expected = (1 - 1e-4) ** 1000 / 2
    for backend in ("rust", "torch"):
        with use_backend(backend):
            out = dechunk(values, probability, is_forced, token_index)
        assert out[0, -1].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 3, 63, 300])
@GATES
def test_against_naive(backward_gate, dtype, length):
    op_case.check_against_naive(
        dechunk,
        dechunk_naive,
        sample(length, backward_gate=backward_gate),
        FLOATS,
        dtype,
        ["values"],
        ["boundary_probability"],
    )


@pytest.mark.parametrize(("length", "channels"), [(1000, 200), (4096, 3)])
def test_long_in_float32(length, channels):
    op_case.check_against_naive(
        dechunk, dechunk_naive, sample(length, channels), FLOATS, torch.float32, FLOATS
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@GATES
def test_many_tiles(backward_gate, dtype):
    # The kernel walks 64 positions of 1,024 channels at a time, more where a chunk is longer.
    kwargs = sample(400, 1024, backward_gate)
    kwargs["token_index"][0] = torch.arange(400) // 100
    op_case.check_against_naive(
        dechunk, dechunk_naive, kwargs, FLOATS, dtype, ["values"], ["boundary_probability"]
    )


@GATES
def test_everything_else(backward_gate):
    for length in (1, 63, 64, 65, 5000):
        op_case.check_torch_form(dechunk, sample(length, 5, backward_gate), FLOATS)
    op_case.check_views(dechunk, sample(backward_gate=backward_gate), FLOATS)
    op_case.check_threads(dechunk, sample(1000, 600, backward_gate), FLOATS)


@BOTH
@GATES
def test_gradient(backend, backward_gate):
    with use_backend(backend):
        op_case.check_gradient(dechunk, sample(7, 2, backward_gate), FLOATS, FLOATS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_torch_form_under_autocast(dtype):
    kwargs = op_case.cast(sample(200), dtype, ["values"])
    expected = dechunk(**kwargs)
    with torch.autocast("cpu", torch.bfloat16), use_backend("torch"):
        assert_close_to_reference("output", dechunk(**kwargs), expected, dtype=dtype)
        wide = dechunk(**op_case.cast(kwargs, torch.float32, ["values"]))
    assert wide.dtype == torch.float32
    assert_close_to_reference("wide", wide, dechunk(**op_case.cast(kwargs, torch.float32, ["values"])))


@BOTH
@pytest.mark.parametrize(
    ("batch", "length", "tokens", "channels"), [(0, 4, 2, 3), (2, 0, 2, 3), (2, 4, 0, 3), (2, 4, 2, 0)]
)
def test_empty(backend, batch, length, tokens, channels):
    values = torch.randn(batch, tokens, channels, requires_grad=True)
    probability = torch.rand(batch, length, requires_grad=True)
    token_index = torch.full((batch, length), -1)
    with use_backend(backend):
        out = dechunk(values, probability, token_index == 0, token_index)
        grads = torch.autograd.grad(out.sum(), [values, probability], materialize_grads=True)
    assert torch.equal(out, torch.zeros(batch, length, channels))
    assert torch.equal(grads[0], torch.zeros_like(values))
    assert torch.equal(grads[1], torch.zeros_like(probability))


def test_opcheck():
    values, probability, is_forced, token_index, gate = sample(9, 3).values()
    values.requires_grad_()
    probability.requires_grad_()
    op_case.opcheck("dechunk", values, probability, is_forced, token_index, gate)
    values, probability = values.detach(), probability.detach()
    grad = torch.randn(3, 9, 3)
    op_case.opcheck("dechunk_backward", grad, values, probability, is_forced, token_index, gate)


def test_bad_input():
    values, probability = torch.randn(1, 2, 3), torch.rand(1, 4)
    is_forced, token_index = torch.zeros(1, 4, dtype=torch.bool), torch.tensor([[0, 1, 1, -1]])
    good = {
        "values": values,
        "boundary_probability": probability,
        "is_forced": is_forced,
        "token_index": token_index,
        "backward_gate": "right",
    }
    for change, message in (
        ({"values": values[0]}, r"values must be \[B, L, D\], got \[2, 3\]"),
        ({"token_index": token_index[0]}, r"token_index must be \[1, N\], got \[4\]"),
        (
            {"boundary_probability": probability[:, 1:]},
            r"boundary_probability must be \[1, 4\], got \[1, 3\]",
        ),
        ({"is_forced": is_forced[:, 1:]}, r"is_forced must be \[1, 4\], got \[1, 3\]"),
        ({"backward_gate": "both"}, "backward_gate must be 'right' or 'left', got 'both'"),
        ({"values": values[:, :1]}, r"token_index must be in \[-1, 1\), got 1"),
        ({"token_index": token_index.flip(1)}, "token_index must be 0, …, 0, 1, .* got 1 after -1"),
    ):
        with pytest.raises(ValueError, match=f"dechunk: {message}"):
            dechunk(**{**good, **change})
    for change, message in (
        ({"values": values.long()}, "values must be float32, .*, got torch.int64"),
        ({"boundary_probability": probability.double()}, "boundary_probability must be torch.float32, got"),
        ({"values": values.double()}, "boundary_probability must be torch.float64, got torch.float32"),
        ({"is_forced": probability}, "is_forced must be torch.bool, got torch.float32"),
        ({"token_index": token_index.int()}, "token_index must be torch.int64, got torch.int32"),
    ):
        with pytest.raises(TypeError, match=f"dechunk: {message}"):
            dechunk(**{**good, **change})


def test_any_byte_but_0_is_true():
    kwargs = sample(20, 3)
    odd = kwargs["is_forced"].to(torch.uint8) * 254
    assert torch.equal(dechunk(**{**kwargs, "is_forced": odd.view(torch.bool)}), dechunk(**kwargs))


def test_tensors_without_elements_take_no_memory():
    shape = (2**45, 0)
    empty, index = torch.empty(shape), torch.empty(shape, dtype=torch.int64)
    assert dechunk(torch.empty(2**45, 0, 4), empty, empty.bool(), index).shape == (2**45, 0, 4)


def test_shapes_on_the_device_meta():
    kwargs = {k: v.to("meta") if isinstance(v, torch.Tensor) else v for k, v in sample().items()}
    assert dechunk(**kwargs).shape == (3, 63, 19)
