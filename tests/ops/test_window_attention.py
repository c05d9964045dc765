import math

import pytest
import torch

from dnachunk.ops import use_backend, window_attention
from dnachunk.ops.window_attention import window_attention_naive, window_attention_torch
from tests.support import op_case
from tests.support.asserts import assert_close_to_reference

FLOATS = ["qkv", "cos", "sin", "bias"]
DIFFERENTIABLE = ["qkv", "bias"]


def rotation(positions, head_dim):
    """Cosines and sines of [B, N] positions under RoPE, base 10,000."""
    frequencies = 10_000.0 ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = positions[..., None] * frequencies
    return angles.cos(), angles.sin()


def sample(
    lengths=(63, 40), length=63, heads=3, head_dim=8, window=16, shift=0, dtype=torch.float32, bias=True
):
    batch = len(lengths)
    cos, sin = rotation(torch.rand(batch, length, dtype=torch.float64).cumsum(1), head_dim)
    angle_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    kwargs = {
        "qkv": torch.randn(batch, length, 3, heads, head_dim).to(dtype),
        "cos": cos.to(angle_dtype),
        "sin": sin.to(angle_dtype),
        "lengths": torch.tensor(lengths, dtype=torch.int64),
        "window": window,
        "shift": shift,
    }
    return kwargs | {"bias": torch.randn(batch, length).to(angle_dtype)} if bias else kwargs


def raw(kwargs):
    """The arguments of the raw operation."""
    return [*kwargs.values(), *([] if "bias" in kwargs else [None])]


def check(kwargs):
    """Kernel in the dtype of ``qkv`` against the float64 naive form on the same inputs, with gradients.

    With a bias, then without one.
    """
    dtype = kwargs["qkv"].dtype
    for names in (DIFFERENTIABLE, ["qkv"]):
        kwargs = kwargs if "bias" in names else {k: v for k, v in kwargs.items() if k != "bias"}
        outputs, grads = op_case.run(window_attention, kwargs, names)
        expected, expected_grads = op_case.run(
            window_attention_naive, op_case.cast(kwargs, torch.float64, FLOATS), names
        )
        assert outputs[0].dtype == dtype
        assert_close_to_reference("output", outputs[0], expected[0], dtype=dtype)
        for name in names:
            assert grads[name].dtype == kwargs[name].dtype
            assert_close_to_reference(f"grad {name}", grads[name], expected_grads[name], dtype=dtype)


def test_literal():
    # Scores over √2 are (0, ln 3) and (0, 0): probabilities (1/4, 3/4) and (1/2, 1/2).
    score = math.log(3.0) * math.sqrt(2.0)
    qkv = torch.tensor([[[1.0, 0], [0, 5], [4, 0]], [[0, 0], [score, 0], [0, 8]]]).view(1, 2, 3, 1, 2)
    cos, sin = torch.ones(1, 2, 1), torch.zeros(1, 2, 1)
    qkv.requires_grad_()
    output = window_attention(qkv, cos, sin, torch.tensor([2]))
    torch.testing.assert_close(output, torch.tensor([[1.0, 6.0], [2.0, 4.0]]).view(1, 2, 1, 2))
    output[0, 0, 0, 0].backward()
    # dP = (4, 0), its mean under P is 1, so dS = (3/4, −3/4) and dV = P.
    slope = 0.75 / math.sqrt(2.0)
    want = [[[-slope * score, 5 * slope], [slope, 0], [0.25, 0]], [[0, 0], [-slope, 0], [0.75, 0]]]
    torch.testing.assert_close(qkv.grad, torch.tensor(want).view(1, 2, 3, 1, 2))


def test_literal_bias():
    # Zero queries: the bias (0, ln 3) alone gives both of them probabilities (1/4, 3/4).
    qkv = torch.tensor([[[0.0, 0], [0, 5], [4, 0]], [[0, 0], [1, 0], [0, 8]]]).view(1, 2, 3, 1, 2)
    bias = torch.tensor([[0.0, math.log(3.0)]], requires_grad=True)
    cos, sin = torch.ones(1, 2, 1), torch.zeros(1, 2, 1)
    output = window_attention(qkv, cos, sin, torch.tensor([2]), bias=bias)
    torch.testing.assert_close(output, torch.tensor([[1.0, 6.0], [1.0, 6.0]]).view(1, 2, 1, 2))
    (output[0, 0, 0, 0] + output[0, 1, 0, 1]).backward()
    # dP = (4, 0) and (0, 8), their means 1 and 6, so dS = (3/4, −3/4) and (−3/2, 3/2).
    torch.testing.assert_close(bias.grad, torch.tensor([[-0.75, 0.75]]))


def test_literal_quarter_turn():
    # The second key, turned by 90°, points along the query: (1, 0) → (0, 1) and q = (0, 1) stays.
    qkv = torch.zeros(1, 2, 3, 1, 2)
    qkv[0, 0, 0, 0] = torch.tensor([0.0, math.log(3.0) * math.sqrt(2.0)])
    qkv[0, 1, 1, 0] = torch.tensor([1.0, 0.0])
    qkv[0, 1, 2, 0] = torch.tensor([4.0, 8.0])
    cos, sin = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[0.0], [1.0]]])
    output = window_attention(qkv, cos, sin, torch.tensor([2]))
    torch.testing.assert_close(output[0, :, 0], torch.tensor([[3.0, 6.0], [2.0, 4.0]]))


@pytest.mark.parametrize(("window", "shift", "groups"), [(2, 0, [2, 2, 1]), (3, 1, [1, 3, 1]), (9, 7, [5])])
def test_literal_windows(window, shift, groups):
    # Equal scores average the values of each window.
    qkv = torch.zeros(1, 5, 3, 1, 2)
    qkv[0, :, 2, 0, 0] = torch.tensor([1.0, 2, 4, 8, 16])
    output = window_attention(
        qkv, torch.ones(1, 5, 1), torch.zeros(1, 5, 1), torch.tensor([5]), window, shift
    )
    values = qkv[0, :, 2, 0, 0].split(groups)
    torch.testing.assert_close(output[0, :, 0, 0], torch.cat([v.mean().expand(len(v)) for v in values]))


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("shift", [0, 8])
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 63, 1000])
def test_against_naive(dtype, shift, length):
    check(sample([length, length // 2], length, shift=shift, dtype=dtype))


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("head_dim", [2, 6, 16, 32, 48, 64, 128])
def test_head_dims(dtype, head_dim):
    check(sample([37, 20], 37, heads=2, head_dim=head_dim, shift=8, dtype=dtype))


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize(
    ("window", "shift"), [(1, 0), (4, 0), (4, 3), (5, 2), (17, 0), (40, 9), (10**18, 0), (10**18, 20)]
)
def test_windows(dtype, window, shift):
    check(sample([63, 33], window=window, shift=shift, dtype=dtype))


@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_equal_biases_change_nothing_and_sizes_are_copies(backend):
    kwargs = sample([24], 24, heads=2, window=8, dtype=torch.float64)
    with use_backend(backend):
        plain = window_attention(**kwargs | {"bias": None})
        equal = window_attention(**kwargs | {"bias": torch.full((1, 24), 7.0, dtype=torch.float64)})
        torch.testing.assert_close(equal, plain)
        # A key with the bias log 2 counts as two.
        bias = torch.zeros(1, 24, dtype=torch.float64)
        bias[0, 3] = math.log(2.0)
        index = torch.tensor([0, 1, 2, 3, 3, 4, 5, 6, 7])
        doubled = {k: v[:, index] if k in FLOATS[:3] else v for k, v in kwargs.items()}
        doubled |= {"lengths": torch.tensor([9]), "window": 9, "bias": None}
        sized = window_attention(**kwargs | {"bias": bias})
        torch.testing.assert_close(window_attention(**doubled)[:, [0, 1, 2, 3, 5, 6, 7, 8]], sized[:, :8])


@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_minus_infinity_excludes_a_key(backend):
    kwargs = sample([16], 16, heads=2, window=16, dtype=torch.float64)
    kwargs["bias"][0, 5:] = -math.inf
    first = {k: v[:, :5] if k in FLOATS else v for k, v in kwargs.items()} | {"lengths": torch.tensor([5])}
    with use_backend(backend):
        outputs, grads = op_case.run(window_attention, kwargs, DIFFERENTIABLE)
        expected, _ = op_case.run(window_attention, first, DIFFERENTIABLE)
    torch.testing.assert_close(outputs[0][:, :5], expected[0])
    torch.testing.assert_close(grads["bias"][0, 5:], torch.zeros(11, dtype=torch.float64))
    assert grads["qkv"].isfinite().all()


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("form", ["rust", "torch", "naive"])
def test_padding_is_never_read(dtype, form):
    function = window_attention_naive if form == "naive" else window_attention
    clean = sample([0, 5, 16, 63], dtype=dtype, shift=8)
    grad = torch.randn(4, 63, 3, 8).to(dtype)
    results = []
    for garbage in (0.0, math.nan, math.inf):
        kwargs = {
            **clean,
            "qkv": clean["qkv"].clone(),
            "cos": clean["cos"].clone(),
            "sin": clean["sin"].clone(),
            "bias": clean["bias"].clone(),
        }
        grad_output = grad.clone()
        for row, real in enumerate(clean["lengths"].tolist()):
            for tensor in (*(kwargs[name] for name in FLOATS), grad_output):
                tensor[row, real:] = garbage
        with use_backend("torch" if form == "torch" else "rust"):
            outputs, grads = op_case.run(function, kwargs, DIFFERENTIABLE, [grad_output])
        results.append((outputs[0], grads["qkv"], grads["bias"]))
        for row, real in enumerate(clean["lengths"].tolist()):
            assert not any(result[row, real:].any() for result in results[-1])
    for result in results[1:]:
        assert all(torch.equal(got, want) for got, want in zip(result, results[0], strict=True))


def test_alone_as_in_a_batch():
    kwargs = sample([21, 40, 63])
    outputs, grads = op_case.run(window_attention, kwargs, DIFFERENTIABLE, [torch.ones(3, 63, 3, 8)])
    for row, real in enumerate([21, 40, 63]):
        alone = {k: kwargs[k][row : row + 1, :real] for k in FLOATS}
        alone |= {"lengths": torch.tensor([real]), "window": 16, "shift": 0}
        output, grad = op_case.run(window_attention, alone, DIFFERENTIABLE, [torch.ones(1, real, 3, 8)])
        assert torch.equal(output[0][0], outputs[0][row, :real])
        for name in DIFFERENTIABLE:
            assert torch.equal(grad[name][0], grads[name][row, :real])


def test_not_a_number_stays_in_its_window():
    kwargs = sample([63], heads=2)
    clean = window_attention(**kwargs)
    kwargs["qkv"][0, 20, 1, 1, 3] = math.nan
    output = window_attention(**kwargs)
    assert output[0, 16:32, 1].isnan().all()
    output[0, 16:32, 1] = clean[0, 16:32, 1]
    assert torch.equal(output, clean)


@pytest.mark.parametrize("scale", [1e3, 1e30])
def test_large_scores_do_not_overflow(scale):
    kwargs = sample(dtype=torch.float64)
    kwargs["qkv"][:, :, 1] *= scale
    single = op_case.cast(kwargs, torch.float32, FLOATS)
    outputs, grads = op_case.run(window_attention, single, DIFFERENTIABLE)
    assert outputs[0].isfinite().all()
    if scale < 1e6:
        check(kwargs)
        assert all(grads[name].isfinite().all() for name in DIFFERENTIABLE)


def test_shared_rotation():
    kwargs = sample([63, 40])
    shared = {**kwargs, "cos": kwargs["cos"][:1], "sin": kwargs["sin"][:1]}
    repeated = {**kwargs, "cos": shared["cos"].expand(2, -1, -1), "sin": shared["sin"].expand(2, -1, -1)}
    for backend in ("rust", "torch"):
        with use_backend(backend):
            outputs, grads = op_case.run(window_attention, shared, DIFFERENTIABLE)
            others, other_grads = op_case.run(window_attention, repeated, DIFFERENTIABLE)
        assert torch.equal(outputs[0], others[0])
        assert all(torch.equal(grads[name], other_grads[name]) for name in DIFFERENTIABLE)


def test_only_distances_matter():
    kwargs = sample(dtype=torch.float64, head_dim=32)
    positions = torch.rand(2, 63, dtype=torch.float64).cumsum(1)
    outputs = []
    for offset in (0.0, 777.0):
        kwargs["cos"], kwargs["sin"] = rotation(positions + offset, 32)
        outputs.append(op_case.run(window_attention, kwargs, ["qkv"])[0][0])
    assert_close_to_reference("output", outputs[1], outputs[0])
    kwargs["cos"], kwargs["sin"] = rotation(2 * positions, 32)
    assert (window_attention(**kwargs) - outputs[0]).abs().max() > 1e-2


def test_no_gradient_to_the_rotation():
    kwargs = sample(bias=False)
    kwargs["cos"].requires_grad_()
    for backend in ("rust", "torch"):
        with use_backend(backend):
            assert not window_attention(**kwargs).requires_grad


@pytest.mark.parametrize(("batch", "length", "heads"), [(0, 4, 2), (2, 0, 2), (2, 4, 0)])
@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_empty(batch, length, heads, backend):
    kwargs = sample([length] * batch, length, heads=heads, shift=3)
    with use_backend(backend):
        outputs, grads = op_case.run(window_attention, kwargs, DIFFERENTIABLE)
    assert outputs[0].shape == (batch, length, heads, 8)
    assert all(grads[name].shape == kwargs[name].shape for name in DIFFERENTIABLE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("window", "shift"), [(16, 0), (16, 8), (5, 2), (10**18, 20)])
def test_torch_form(dtype, window, shift):
    op_case.check_torch_form(
        window_attention, sample([63, 33, 0], window=window, shift=shift, dtype=dtype), DIFFERENTIABLE
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_torch_form_in_half_precision(dtype):
    kwargs = sample([63, 33, 0], shift=8, dtype=dtype)
    exact = window_attention_naive(**op_case.cast(kwargs, torch.float64, FLOATS))
    output = window_attention_torch(**kwargs)
    assert output.dtype == dtype
    assert_close_to_reference("output", output, exact, dtype=dtype)


def test_torch_form_on(device):
    kwargs = sample([63, 33, 0], shift=8)
    moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}
    with use_backend("torch"):
        outputs, grads = op_case.run(window_attention, moved, DIFFERENTIABLE)
    expected, expected_grads = op_case.run(window_attention, kwargs, DIFFERENTIABLE)
    assert_close_to_reference("output", outputs[0].cpu(), expected[0])
    for name in DIFFERENTIABLE:
        assert_close_to_reference(f"grad {name}", grads[name].cpu(), expected_grads[name])


def test_views():
    op_case.check_views(window_attention, sample(), DIFFERENTIABLE)


def test_threads():
    op_case.check_threads(window_attention, sample([700, 513, 100], 700, heads=8, shift=8), DIFFERENTIABLE)


@pytest.mark.parametrize("names", [DIFFERENTIABLE, ["qkv"], ["bias"]], ids=str)
@pytest.mark.parametrize(("window", "shift"), [(16, 0), (3, 1), (20, 0)])
def test_gradient(window, shift, names):
    kwargs = sample([18, 7], 18, heads=2, head_dim=4, window=window, shift=shift, bias="bias" in names)
    op_case.check_gradient(window_attention, kwargs, names, FLOATS)


@pytest.mark.parametrize("bias", [True, False])
def test_opcheck(bias):
    kwargs = sample([7, 4], 7, head_dim=4, window=4, shift=1, bias=bias)
    qkv, *others = raw(kwargs)
    op_case.opcheck("window_attention_backward", torch.randn(2, 7, 3, 4), qkv, *others)
    op_case.opcheck("window_attention", qkv.requires_grad_(), *others)


def test_compiles_whole():
    kwargs = sample()
    compiled = torch.compile(window_attention, fullgraph=True, backend="aot_eager", dynamic=True)
    outputs, grads = op_case.run(compiled, kwargs, DIFFERENTIABLE)
    expected, expected_grads = op_case.run(window_attention, kwargs, DIFFERENTIABLE)
    assert torch.equal(outputs[0], expected[0])
    assert all(torch.equal(grads[name], expected_grads[name]) for name in DIFFERENTIABLE)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"qkv": [[1.0]]}, TypeError, "qkv must be a torch.Tensor, got list"),
        (
            {"qkv": torch.zeros(2, 63, 2, 3, 8)},
            ValueError,
            r"qkv must be \[B, N, 3, H, d\], got \[2, 63, 2, 3, 8\]",
        ),
        ({"qkv": torch.zeros(2, 63, 3, 3, 7)}, ValueError, "must be even and at least 2, got 7"),
        (
            {"qkv": torch.zeros(2, 63, 3, 3, 8, dtype=torch.int64)},
            TypeError,
            "qkv must be float32, .* got torch.int64",
        ),
        ({"cos": torch.zeros(2, 63, 8)}, ValueError, r"cos must be \[2, 63, 4\], got \[2, 63, 8\]"),
        ({"cos": torch.zeros(63, 4)}, ValueError, r"cos must be \[B, N, d/2\], got \[63, 4\]"),
        ({"sin": torch.zeros(1, 63, 4)}, ValueError, r"sin must be \[2, 63, 4\], got \[1, 63, 4\]"),
        (
            {"sin": torch.zeros(2, 63, 4, dtype=torch.bfloat16)},
            TypeError,
            "sin must be torch.float32, got torch.bfloat16",
        ),
        ({"lengths": torch.tensor([63])}, ValueError, r"lengths must be \[2\], got \[1\]"),
        (
            {"lengths": torch.tensor([63.0, 40.0])},
            TypeError,
            "lengths must be torch.int64, got torch.float32",
        ),
        ({"lengths": torch.tensor([64, 40])}, ValueError, r"lengths must be in \[0, 63\], got 64"),
        ({"lengths": torch.tensor([-1, 40])}, ValueError, r"lengths must be in \[0, 63\], got -1"),
        ({"bias": torch.zeros(1, 63)}, ValueError, r"bias must be \[2, 63\], got \[1, 63\]"),
        ({"bias": torch.zeros(2, 63).double()}, TypeError, "bias must be torch.float32, got torch.float64"),
        ({"window": 0}, ValueError, r"window must be at least 1 and shift in \[0, window\), got 0 and 0"),
        ({"shift": 16}, ValueError, "got 16 and 16"),
        ({"shift": -1}, ValueError, "got 16 and -1"),
        (
            {"lengths": torch.zeros(2, dtype=torch.int64, device="meta")},
            ValueError,
            "on one device, got .*lengths=meta",
        ),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=f"window_attention: .*{message}"):
        window_attention(**{**sample(), **change})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"qkv": torch.zeros(2, 63, 3, 3, 7)}, ValueError, r"qkv must be \[B, N, 3, H, d\] with d even"),
        ({"cos": torch.zeros(2, 62, 4)}, ValueError, r"cos must be \[2, 63, 4\], got \[2, 62, 4\]"),
        ({"sin": torch.zeros(1, 63, 4)}, ValueError, r"sin must be \[2, 63, 4\], got \[1, 63, 4\]"),
        ({"sin": torch.zeros(2, 63, 4).double()}, TypeError, "sin must be float32, got float64"),
        ({"lengths": torch.tensor([64, 40])}, ValueError, r"lengths must be in \[0, 63\], got 64"),
        ({"bias": torch.zeros(2, 62)}, ValueError, r"bias must be \[2, 63\], got \[2, 62\]"),
        ({"bias": torch.zeros(2, 63).double()}, TypeError, "bias must be float32, got float64"),
        ({"window": 0}, ValueError, "window must be at least 1, got 0"),
        ({"window": -(2**63)}, ValueError, "window must be at least 1"),
        ({"shift": 16}, ValueError, r"shift must be in \[0, 16\), got 16"),
    ],
)
def test_bad_input_of_the_raw_operations(change, error, message):
    arguments = list({**sample(), **change}.values())
    for call in (
        lambda: torch.ops.dnachunk.window_attention(*arguments),
        lambda: torch.ops.dnachunk.window_attention_backward(arguments[0][:, :, 0].clone(), *arguments),
    ):
        with pytest.raises(error, match=f"window_attention: {message}"):
            call()


def test_bad_gradient_of_the_raw_operation():
    arguments = list(sample().values())
    with pytest.raises(ValueError, match=r"grad must be \[2, 63, 3, 8\], got \[2, 63, 3, 4\]"):
        torch.ops.dnachunk.window_attention_backward(torch.zeros(2, 63, 3, 4), *arguments)


def test_rows_longer_than_what_is_read_in_one_go():
    channels = 32_770
    qkv, angles = torch.randn(1, 2, 3, 1, channels), torch.zeros(1, 2, channels // 2)
    out = window_attention(qkv, angles.cos(), angles.sin(), torch.tensor([2]))
    q, k, v = qkv.transpose(1, 3)[:, 0].unbind(1)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(out[:, :, 0], expected, rtol=1e-4, atol=1e-4)
