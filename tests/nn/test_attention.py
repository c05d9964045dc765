import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dnachunk.nn import CrossAttention, RotaryEmbedding, SelfAttention, WindowAttention, attention
from dnachunk.nn.attention import keys_to_attend
from dnachunk.ops import use_backend
from tests.support.spans import attending_to_spans, needs_varlen

MODULES = [SelfAttention, WindowAttention]


def reference(module, x, positions, bias):
    """Attention in plain PyTorch: ``bias [B, L, L]`` is added to the logits."""
    batch, length, width = x.shape
    head_dim = width // module.num_heads
    query, key, value = (
        (x @ weight.T).view(batch, length, module.num_heads, head_dim).transpose(1, 2)
        for weight in module.qkv.weight.chunk(3)
    )
    frequency = 10_000 ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.polar(torch.ones(()).double(), positions.double()[..., None] * frequency)[:, None]

    def turn(part):
        real, imaginary = part.chunk(2, dim=-1)
        turned = torch.complex(real, imaginary) * angle
        return torch.cat([turned.real, turned.imag], dim=-1)

    logits = turn(query) @ turn(key).transpose(-1, -2) / head_dim**0.5 + bias[:, None]
    mixed = torch.softmax(logits, dim=-1) @ value
    return mixed.transpose(1, 2).reshape(batch, length, width) @ module.out.weight.T


def same_window(length, window, shift):
    place = torch.arange(length)
    index = (place + (window - shift if shift else 0)) // window
    return index[:, None] == index[None, :]


def sample(length=37):
    return torch.randn(2, length, 16, dtype=torch.float64, requires_grad=True)


def assert_same(module, x, got, expected):
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)
    inputs, weights = [x, *module.parameters()], torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad((got * weights).sum(), inputs, retain_graph=True),
        torch.autograd.grad((expected * weights).sum(), inputs, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_full_attention_against_the_formula(implementation):
    module = SelfAttention(16, 2, implementation=implementation).double()
    x = sample()
    positions = torch.arange(37.0)[None]
    expected = reference(module, x, positions, torch.zeros(2, 37, 37))
    assert_same(module, x, module(x), expected)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_positions_and_bias(implementation):
    module = SelfAttention(16, 2, implementation=implementation).double()
    x, positions = sample(), torch.rand(2, 37) * 500
    bias = torch.randn(2, 37, dtype=torch.float64)
    bias[1, 20:] = -torch.inf
    expected = reference(module, x, positions, bias[:, None].expand(-1, 37, -1))
    assert_same(module, x, module(x, module.rotary(positions), bias=bias), expected)


def test_minus_infinity_excludes_a_key():
    module = SelfAttention(16, 2).double()
    x = sample().detach()
    bias = torch.zeros(2, 37).double().index_fill(1, torch.arange(20, 37), -torch.inf)
    garbled = torch.cat([x[:, :20], torch.full((2, 17, 16), 1e6, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(module(garbled, bias=bias)[:, :20], module(x[:, :20]))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_logarithm_of_a_size_counts_a_key_so_often(implementation):
    module = SelfAttention(16, 2, implementation=implementation).double()
    x, positions = sample(4).detach(), torch.tensor([[0.0, 1.5, 3.0, 8.0]]).expand(2, -1)
    sizes = torch.tensor([1, 2, 1, 3])
    repeated = module(x.repeat_interleave(sizes, 1), module.rotary(positions.repeat_interleave(sizes, 1)))
    once = module(x, module.rotary(positions), bias=sizes.double().log().expand(2, -1))
    torch.testing.assert_close(once, repeated[:, [0, 1, 3, 4]])


@pytest.mark.parametrize(("window", "shift"), [(16, 0), (16, 8), (4, 1), (64, 0), (37, 0)])
def test_window_attention_is_full_attention_with_a_block_diagonal_mask(window, shift):
    module = WindowAttention(16, 2, window, shift).double()
    x = sample()
    bias = torch.zeros(37, 37).masked_fill(~same_window(37, window, shift), -torch.inf)
    expected = reference(module, x, torch.arange(37.0)[None], bias.expand(2, -1, -1))
    assert_same(module, x, module(x), expected)
    with use_backend("torch"):
        assert_same(module, x, module(x), expected)


def test_window_attention_shares_its_parameters_with_full_attention():
    module, full = WindowAttention(16, 2, window=64), SelfAttention(16, 2)
    full.load_state_dict(module.state_dict())
    x = torch.randn(2, 37, 16)
    torch.testing.assert_close(module(x), full(x))


def test_lengths_of_window_attention():
    module = WindowAttention(16, 2, window=8).double()
    x = sample()
    output = module(x, lengths=torch.tensor([37, 13]))
    torch.testing.assert_close(output[:1], module(x[:1]))
    torch.testing.assert_close(output[1:, :13], module(x[1:, :13]))
    assert not output[1, 13:].any()
    (grad,) = torch.autograd.grad(output.sum(), x)
    assert grad[1, :13].any(dim=1).all()
    assert not grad[1, 13:].any()


@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_lengths_of_full_attention(implementation, with_bias):
    module = SelfAttention(16, 2, implementation=implementation).double()
    x, lengths = sample(), torch.tensor([37, 13])
    bias = torch.randn(2, 37, dtype=torch.float64) if with_bias else None
    output = module(x, lengths=lengths, bias=bias)
    assert torch.isfinite(output).all()
    for row, length in enumerate(lengths.tolist()):
        alone = module(x[row : row + 1, :length], bias=None if bias is None else bias[row : row + 1, :length])
        torch.testing.assert_close(output[row : row + 1, :length], alone)
    (grad,) = torch.autograd.grad(output[1, :13].sum(), x)
    assert grad[1, :13].any(dim=1).all()
    assert not grad[1, 13:].any()
    assert not grad[0].any()


@pytest.fixture
def on_spans():
    with attending_to_spans():
        yield


@needs_varlen
def test_padding_is_a_span_of_its_own(on_spans):
    module = SelfAttention(16, 2).double()
    x, lengths = torch.randn(4, 9, 16, dtype=torch.float64), torch.tensor([9, 4, 0, 1])
    keys = keys_to_attend(x, lengths, head_dim=8)
    assert keys[:2] == (None, None)
    assert keys[2].tolist() == [0, 9, 9, 13, 18, 18, 27, 28, 36]
    x.requires_grad_()
    output = module(x, None, *keys)
    assert output.isfinite().all()
    for row, length in enumerate(lengths.tolist()):
        alone = module(x[row : row + 1, :length])
        torch.testing.assert_close(output[row : row + 1, :length], alone)
    (grad,) = torch.autograd.grad(output[1, :4].sum(), x)
    assert grad[1, :4].any(dim=1).all()
    assert not grad[1, 4:].any()
    assert not grad[[0, 2, 3]].any()


@needs_varlen
def test_spans_compile_whole(on_spans):
    module, lengths = SelfAttention(16, 2), torch.tensor([9, 4])
    x = torch.randn(2, 9, 16)

    def attend(x):
        return module(x, None, *keys_to_attend(x, lengths, head_dim=8))

    compiled = torch.compile(attend, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), attend(x))


@needs_varlen
@pytest.mark.parametrize(
    ("implementation", "bias"), [("eager", None), ("sdpa", torch.zeros(2, 9))], ids=["eager", "bias"]
)
def test_what_spans_cannot_do_takes_a_mask(on_spans, implementation, bias):
    lengths = torch.tensor([9, 4])
    if bias is not None:
        bias = bias.masked_fill(torch.arange(9) >= lengths[:, None], -torch.inf)
    _, mask, offsets = keys_to_attend(torch.randn(2, 9, 16), lengths, 8, implementation, bias)
    assert offsets is None
    assert mask.isinf().sum(dim=1).tolist() == [0, 5]


@pytest.mark.parametrize(
    ("dtype", "head_dim", "device", "takes"),
    [
        (torch.bfloat16, 64, "cuda", True),
        (torch.float16, 8, "cuda", True),
        (torch.float32, 64, "cuda", False),
        (torch.bfloat16, 12, "cuda", False),
        (torch.bfloat16, 264, "cuda", False),
        (torch.bfloat16, 64, "cpu", False),
    ],
)
def test_where_spans_are_taken(monkeypatch, dtype, head_dim, device, takes):
    monkeypatch.setattr(attention, "_has_spans", lambda device: device.type == "cuda")
    assert attention._takes_spans(torch.device(device), dtype, head_dim) == takes
    assert not attention._has_spans(torch.device("cpu"))


@needs_varlen
def test_spans_are_what_torch_takes():
    with FakeTensorMode():
        qkv = torch.empty(10, 3, 2, 64, dtype=torch.bfloat16, device="cuda", requires_grad=True)
        offsets = torch.empty(5, dtype=torch.int32, device="cuda")
        rows = attention._attend_to_spans(*qkv.unbind(1), offsets, 5)
    assert rows.shape == (10, 128)
    assert rows.requires_grad


def test_forms_agree_in_float32():
    module, x = SelfAttention(64, 4), torch.randn(3, 100, 64)
    lengths = torch.tensor([100, 50, 3])
    expected = module(x, lengths=lengths)
    eager = SelfAttention(64, 4, implementation="eager")
    eager.load_state_dict(module.state_dict())
    others = [eager(x, lengths=lengths)]
    with use_backend("torch"):
        others.append(module(x, lengths=lengths))
    for other in others:
        for row, length in enumerate(lengths.tolist()):
            torch.testing.assert_close(other[row, :length], expected[row, :length], atol=1e-5, rtol=1e-5)


def test_an_empty_sequence():
    for module in (WindowAttention(16, 2), SelfAttention(16, 2)):
        assert module(torch.zeros(2, 0, 16)).shape == (2, 0, 16)


@pytest.mark.parametrize("module_class", MODULES)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float64], ids=str)
def test_other_dtypes(module_class, half):
    module, x = module_class(32, 4), torch.randn(2, 40, 32)
    exact = module(x)
    rough = module.to(half)(x.to(half))
    assert rough.dtype == half
    assert (rough - exact).abs().max() < (0.05 if half == torch.bfloat16 else 1e-5) * exact.abs().max()


@pytest.mark.parametrize("module_class", MODULES)
def test_bf16_autocast(module_class):
    module, x = module_class(32, 4), torch.randn(2, 40, 32, requires_grad=True)
    exact = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = module(x)
    assert rough.dtype == torch.bfloat16
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
    rough.float().square().sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("module_class", MODULES)
def test_no_biases_and_positions_are_not_saved(module_class):
    shapes = {name: tuple(value.shape) for name, value in module_class(16, 2).state_dict().items()}
    assert shapes == {"qkv.weight": (48, 16), "out.weight": (16, 16)}


@pytest.mark.parametrize("module_class", MODULES)
def test_bad_heads(module_class):
    for heads in (0, 3):
        with pytest.raises(ValueError, match=f"num_heads must divide d_model = 16, got {heads}"):
            module_class(16, heads)
    with pytest.raises(ValueError, match="head_dim must be even and positive, got 1"):
        module_class(16, 16)


def test_bad_implementation():
    with pytest.raises(ValueError, match="implementation must be 'sdpa' or 'eager', got 'flash'"):
        SelfAttention(16, 2, implementation="flash")


def test_rotation_may_be_shared():
    module, rope = WindowAttention(16, 2).double(), RotaryEmbedding(8)
    x = sample()
    torch.testing.assert_close(module(x, rope(torch.arange(37)[None])), module(x))


def cross_attention(implementation="sdpa"):
    torch.manual_seed(0)
    return CrossAttention(16, 2, implementation=implementation).double()


def test_cross_attention_by_hand():
    layer, x = cross_attention(), torch.randn(1, 3, 16, dtype=torch.float64)
    memory = torch.randn(1, 5, 16, dtype=torch.float64)
    places, memory_places = torch.tensor([[0.0, 4.0, 9.5]]), torch.tensor([[1.0, 2.0, 3.5, 7.0, 8.0]])

    def turn(vectors, places):
        angle = places[..., None].double() * 10_000.0 ** -(torch.arange(0, 8, 2).double() / 8)
        pairs = torch.complex(*vectors.chunk(2, dim=-1)) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([pairs.real, pairs.imag], dim=-1)

    query = layer.query(x)[0].view(3, 2, 8)
    key, value = layer.key_value(memory)[0].view(5, 2, 2, 8).unbind(1)
    heads = []
    for head in range(2):
        scores = turn(query[:, head], places[0]) @ turn(key[:, head], memory_places[0]).T / 8**0.5
        heads.append(scores.softmax(-1) @ value[:, head])
    expected = layer.out(torch.cat(heads, dim=-1))
    # Angles are computed in float32.
    torch.testing.assert_close(layer(x, memory, places, memory_places)[0], expected, rtol=0, atol=1e-6)


def test_cross_attention_implementations_agree_and_padding_is_inert():
    x, memory = torch.randn(2, 4, 16).double(), torch.randn(2, 6, 16).double()
    places, lengths = torch.arange(6.0)[None], torch.tensor([6, 2])
    sdpa = cross_attention()(x, memory, places[:, :4], places, lengths)
    eager = cross_attention("eager")(x, memory, places[:, :4], places, lengths)
    torch.testing.assert_close(sdpa, eager)
    alone = cross_attention()(x[1:], memory[1:, :2], places[:, :4], places[:, :2])
    torch.testing.assert_close(sdpa[1:], alone)


def test_cross_attention_that_does_not_fit():
    with pytest.raises(ValueError, match="CrossAttention: num_heads must divide d_model = 16, got 3"):
        CrossAttention(16, 3)
    with pytest.raises(ValueError, match="implementation must be 'sdpa' or 'eager', got 'flash'"):
        CrossAttention(16, 2, implementation="flash")
    attention, x, memory = CrossAttention(16, 2), torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    places = torch.arange(3)[None], torch.arange(5)[None]
    for lengths, error, said in (
        (torch.tensor([5, 6]), ValueError, r"CrossAttention: memory_lengths must be in \[1, 5\], got 6"),
        (torch.tensor([0, 5]), ValueError, r"memory_lengths must be in \[1, 5\], got 0"),
        (torch.tensor([5]), ValueError, r"memory_lengths must be \[2\], got \[1\]"),
        (torch.tensor([5, 5]).int(), TypeError, "memory_lengths must be torch.int64, got torch.int32"),
    ):
        with pytest.raises(error, match=said):
            attention(x, memory, *places, lengths)
