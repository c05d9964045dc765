import pytest
import torch
import torch.nn.functional as F

from dnachunk.nn import BasicUnits, ConvolutionExperts, convolution_experts
from dnachunk.nn.convolution_experts import closest_divisor
from dnachunk.ops import use_backend

SIZES = [3, 1, 4, 7]


def selected(x, kernel_sizes=SIZES, every_base=False):
    torch.manual_seed(1)
    ends = torch.tensor([x.shape[1] - 1, x.shape[1] // 2])[: len(x)]
    select = BasicUnits(x.shape[2], kernel_sizes, every_base=every_base).to(x.dtype).eval()
    return select(x, torch.ones_like(ends), ends)


def one_by_one(experts, x, units, residual):
    """Each unit by itself, as the paper's figure has it."""
    out = residual.clone()
    for b, count in enumerate(units.num_tokens.tolist()):
        for t in range(count):
            center, j = int(units.token_center[b, t]), int(units.token_expert[b, t])
            if j < 0:
                continue
            expert, size = experts.experts[j], experts.kernel_sizes[j]
            first = center - size // 2
            bases = F.glu(x[b, first : first + size] @ expert.up.weight.T)
            unit = F.conv1d(bases.T[None], expert.convolution.weight, groups=expert.convolution.groups)[
                0, :, 0
            ]
            unit = F.silu(expert.norm(unit)) @ expert.out.weight.T
            probability = units.scores[b, center].softmax(dim=0)[j]
            out[b, center] = residual[b, center] + probability * unit
    return out


@pytest.mark.usefixtures("rooms")
@pytest.mark.parametrize("sizes", [SIZES, [1], [5], [2, 2, 9], list(range(1, 11))], ids=str)
@pytest.mark.parametrize("backend", ["rust", "torch"])
@pytest.mark.parametrize("every_base", [False, True], ids=["selected", "every base"])
def test_equals_each_unit_by_itself(sizes, backend, every_base):
    x = torch.randn(2, 60, 12, dtype=torch.float64)
    residual = torch.randn_like(x)
    experts = ConvolutionExperts(12, sizes, every_base=every_base).double()
    units = selected(x, sizes, every_base)
    assert units.token_expert.max() == len(sizes) - 1
    with use_backend(backend):
        out = experts(x, units, residual)
    torch.testing.assert_close(out, one_by_one(experts, x, units, residual))
    changed = (out != residual).any(dim=2)
    assert changed.sum() == (units.token_expert >= 0).sum()


@pytest.fixture(params=[True, False], ids=["exact", "with room"])
def rooms(request, monkeypatch):
    """With room for as many units as there can be, as on a GPU."""
    if not request.param:
        monkeypatch.setattr(convolution_experts, "reads_values", lambda _: False)


@pytest.mark.usefixtures("rooms")
@pytest.mark.parametrize("every_base", [False, True], ids=["selected", "every base"])
def test_gradients_are_those_of_each_unit_by_itself(every_base):
    x = torch.randn(2, 60, 12, dtype=torch.float64, requires_grad=True)
    residual = torch.randn_like(x, requires_grad=True)
    experts = ConvolutionExperts(12, SIZES, every_base=every_base).double()
    units = selected(x, every_base=every_base)
    weights = torch.randn_like(x)
    leaves = [x, residual, *experts.parameters()]
    got = torch.autograd.grad((experts(x, units, residual) * weights).sum(), leaves, retain_graph=True)
    want = torch.autograd.grad((one_by_one(experts, x, units, residual) * weights).sum(), leaves)
    for one, other in zip(got, want, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other)


def test_parameters():
    experts = ConvolutionExperts(512)
    assert experts.kernel_sizes == tuple(range(1, 11))
    groups = [expert.convolution.groups for expert in experts.experts]
    assert groups == [1, 2, 2, 4, 4, 4, 8, 8, 8, 8]
    assert not any(name.endswith("bias") and "norm" not in name for name, _ in experts.named_parameters())
    # 2d · d, d · (d / groups) · L, two of LayerNorm, d · d.
    count = sum(4 * 512**2 // 4 * 3 + 512 * (512 // g) * size + 2 * 512 for size, g in enumerate(groups, 1))
    assert sum(parameter.numel() for parameter in experts.parameters()) == count


def test_closest_divisor():
    assert [closest_divisor(12, n) for n in range(1, 13)] == [1, 2, 3, 4, 4, 6, 6, 6, 6, 12, 12, 12]
    assert closest_divisor(7, 4) == 1
    assert closest_divisor(1, 10) == 1


@pytest.mark.usefixtures("rooms")
def test_an_expert_without_units_gets_zeros():
    x = torch.randn(2, 60, 12, requires_grad=True)
    units = selected(x)
    cases = [(SIZES, units, False), ([64, 50, 40, 30], None, False), ([64, 50, 40, 30], None, True)]
    for sizes, experts_of_units, every_base in cases:
        experts = ConvolutionExperts(12, sizes, every_base=every_base)
        chosen = experts_of_units or selected(x[:, :20], sizes, every_base)
        inputs = x if experts_of_units else x[:, :20]
        unused = set(range(4)) - set(chosen.token_expert.unique().tolist())
        experts(inputs, chosen).square().sum().backward()
        for j, expert in enumerate(experts.experts):
            for parameter in expert.parameters():
                assert parameter.grad.isfinite().all()
                assert parameter.grad.any() == (j not in unused)
    assert unused == {0, 1, 2, 3}


def test_only_bases_of_units_are_computed():
    x, sizes = torch.randn(1, 300, 8), [2, 5, 9]
    experts, units = ConvolutionExperts(8, sizes), selected(torch.randn(1, 300, 8), sizes)
    rows = {}
    for j, expert in enumerate(experts.experts):
        expert.up.register_forward_hook(lambda _, inputs, __, j=j: rows.update({j: len(inputs[0])}))
    experts(x, units)
    lengths = units.segmentation.lengths[0]
    of_token = units.token_expert[0, : len(lengths)]
    assert rows == {j: int(lengths[of_token == j].sum()) for j in range(3)}
    assert sum(rows.values()) <= 298


@pytest.mark.usefixtures("rooms")
def test_the_residual_keeps_its_dtype():
    x = torch.randn(2, 60, 12)
    experts, units = ConvolutionExperts(12, SIZES), selected(x)
    expected = experts(x, units)
    with torch.autocast("cpu", torch.bfloat16):
        out = experts(x, units)
    assert out.dtype == torch.float32
    assert (out - expected).abs().max() < 2e-2 * (expected - x).abs().max() + 1e-3
    half = experts.bfloat16()(x.bfloat16(), units)
    assert half.dtype == torch.bfloat16
    assert (half.float() - expected).abs().max() < 0.1


@pytest.mark.usefixtures("rooms")
@pytest.mark.parametrize("shape", [(0, 20, 8), (2, 0, 8)])
def test_empty(shape):
    x = torch.randn(shape, requires_grad=True)
    experts, select = ConvolutionExperts(8, SIZES), BasicUnits(8, SIZES)
    out = experts(x, select(x))
    out.sum().backward()
    assert torch.equal(out, x)
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in experts.parameters())


def test_errors():
    for wrong in ([], [0, 1]):
        with pytest.raises(
            ValueError, match="ConvolutionExperts: kernel_sizes must be one or more of at least 1"
        ):
            ConvolutionExperts(8, wrong)
    x = torch.randn(2, 60, 12)
    with pytest.raises(ValueError, match="ConvolutionExperts: units must be of 2 experts, got 4"):
        ConvolutionExperts(12, [1, 2])(x, selected(x))
