import pytest
import torch
from torch.utils.checkpoint import checkpoint
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from dnachunk.nn import BiMamba, Mamba
from dnachunk.ops import selective_scan, use_backend
from tests.ops.test_causal_conv import flip_real
from tests.support import births
from tests.support.asserts import assert_close_to_reference


def shake(module):
    """Parameters off their regular start, so that each one matters by itself."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def mixer_of_transformers(d_model=32, d_state=16, d_conv=4, expand=2):
    config = MambaConfig(hidden_size=d_model, state_size=d_state, conv_kernel=d_conv, expand=expand)
    return shake(MambaMixer(config, 0))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    "sizes", [{}, {"d_model": 40, "d_state": 5, "d_conv": 3, "expand": 3}, {"d_conv": 2}], ids=str
)
def test_is_the_mixer_of_transformers(sizes, mode):
    theirs = mixer_of_transformers(**sizes)
    ours = Mamba(**{"d_model": 32, **sizes})
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }
    ours.load_state_dict(theirs.state_dict())
    for module in (ours, theirs):
        getattr(module, mode)()
    x = torch.randn(2, 70, ours.in_proj.in_features)
    grad = torch.randn_like(x)
    results = []
    for module in (ours, theirs):
        leaf = x.clone().requires_grad_()
        output = module(leaf)
        grads = torch.autograd.grad(output, [leaf, *module.parameters()], grad)
        names = ["x", *(name for name, _ in module.named_parameters())]
        results.append({"output": output, **dict(zip(names, grads, strict=True))})
    for name, want in results[1].items():
        assert_close_to_reference(name, results[0][name], want)


# Patterns of names, and how Mamba's authors start what they match.
MAMBA_BIRTHS = {
    r"\bA_log$": births.rates,
    r"\bD$": births.constant(1),
    r"dt_proj\.weight$": births.uniform_of_fan_in,
    r"dt_proj\.bias$": births.steps,
    r"conv1d\.(weight|bias)$": births.uniform(0.5),
}


def test_starts_as_its_authors_do():
    mixer = Mamba(1024, d_state=8)
    assert mixer.dt_rank == 64
    births.assert_births(mixer, {**MAMBA_BIRTHS, r"_proj\.weight$": births.uniform_of_fan_in})


def test_reset_leaves_the_parameters_of_children():
    mixer = shake(Mamba(16))
    before = {name: value.clone() for name, value in mixer.state_dict().items()}
    mixer.reset_parameters()
    changed = {name for name, value in mixer.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"A_log", "D"}


def test_number_of_parameters_at_the_width_of_the_paper():
    shared, direction = 640 * 2560 + 1280 * 640, 1280 * (4 + 1 + 72 + 40 + 1 + 16 + 1)
    with torch.device("meta"):
        assert sum(p.numel() for p in BiMamba(640).parameters()) == shared + 2 * direction == 2_803_200


@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_both_directions_are_two_mixers_added(backend):
    both, x, lengths = shake(BiMamba(16)), torch.randn(2, 40, 16), torch.tensor([40, 23])
    mixers = []
    for direction in (both.forward_scan, both.reverse_scan):
        mixer = Mamba(16)
        shared = {name: value for name, value in both.state_dict().items() if name.endswith("_proj.weight")}
        shared = {name: value for name, value in shared.items() if "scan" not in name}
        mixer.load_state_dict({**direction.state_dict(), **shared})
        mixers.append(mixer)
    with use_backend(backend):
        reverse = flip_real(mixers[1](flip_real(x, lengths), lengths), lengths)
        assert_close_to_reference("output", both(x, lengths), mixers[0](x, lengths) + reverse)


def test_is_mirror_symmetric_with_equal_directions():
    both, x = shake(BiMamba(16)).double(), torch.randn(2, 40, 16).double()
    both.reverse_scan.load_state_dict(both.forward_scan.state_dict())
    torch.testing.assert_close(both(x.flip(1)), both(x).flip(1), rtol=0, atol=1e-12)


def test_a_mixer_sees_no_future_and_both_directions_all():
    x = torch.randn(1, 40, 16, dtype=torch.float64)
    changed = x.clone()
    changed[:, 20] += 1.0
    for module, sees in ((Mamba(16), 20), (BiMamba(16), 0)):
        shake(module).double()
        differs = (module(changed) - module(x)).abs().amax(dim=2)[0] > 1e-12
        assert not differs[:sees].any()
        assert differs[sees:].all()


@pytest.mark.parametrize("kind", [Mamba, BiMamba])
def test_padding_is_inert(kind):
    module, lengths = shake(kind(16)), torch.tensor([40, 23, 0])
    x, grad = torch.randn(3, 40, 16), torch.randn(3, 40, 16)
    padded = x.clone()
    padded[1, 23:] = padded[2] = 7.0
    results = []
    for rows in (x, padded):
        leaf = rows.clone().requires_grad_()
        output = module(leaf, lengths)
        results.append((output, *torch.autograd.grad(output, [leaf, *module.parameters()], grad)))
    for got, want in zip(*results, strict=True):
        assert torch.equal(got, want)
    output, grad_x = results[0][:2]
    for row, real in enumerate(lengths.tolist()):
        assert not output[row, real:].any()
        assert not grad_x[row, real:].any()
        torch.testing.assert_close(output[row, :real], module(x[row : row + 1, :real])[0])


@pytest.mark.parametrize("kind", [Mamba, BiMamba])
def test_gradient(kind):
    module, x = shake(kind(2, d_state=2, d_conv=2, expand=1)).double(), torch.randn(2, 5, 2).double()
    names = [name for name, _ in module.named_parameters()]
    values = [parameter.detach().clone().requires_grad_() for parameter in module.parameters()]

    def function(x, *values):
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(module, parameters, (x, torch.tensor([5, 3])))

    assert torch.autograd.gradcheck(function, (x.requires_grad_(), *values))


@pytest.mark.parametrize("kind", [Mamba, BiMamba])
@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_under_autocast(kind, backend):
    module, x = kind(32), torch.randn(2, 300, 32)
    expected = module(x)
    with use_backend(backend), torch.autocast("cpu", torch.bfloat16):
        output = module(x, torch.tensor([300, 300]))
    assert output.dtype == torch.bfloat16
    assert_close_to_reference("output", output.float(), expected, dtype=torch.bfloat16)
    output.float().square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_parameters_of_the_scan_are_not_rounded_under_autocast(monkeypatch):
    module, calls = shake(Mamba(16)), []

    def spy(*arguments):
        calls.append(arguments)
        return selective_scan(*arguments)

    monkeypatch.setattr("dnachunk.nn.mamba.selective_scan", spy)
    with torch.autocast("cpu", torch.bfloat16):
        module(torch.randn(1, 40, 16))
    ((x, delta, state_matrix, _, _, skip, gate, delta_bias, *_),) = calls
    assert x.dtype == delta.dtype == gate.dtype == torch.bfloat16
    assert torch.equal(state_matrix, -module.A_log.exp())
    assert torch.equal(skip, module.D)
    assert torch.equal(delta_bias, module.dt_proj.bias)


def test_half_precision_parameters():
    module, x = Mamba(32), torch.randn(2, 100, 32)
    expected = module(x)
    output = module.bfloat16()(x.bfloat16())
    assert output.dtype == torch.bfloat16
    assert_close_to_reference("output", output.float(), expected, dtype=torch.bfloat16)


@pytest.mark.parametrize("kind", [Mamba, BiMamba])
def test_checkpointing_changes_no_gradient(kind):
    module, x, lengths = shake(kind(16)), torch.randn(2, 40, 16), torch.tensor([40, 23])
    output = module(x, lengths)
    again = checkpoint(module, x, lengths, use_reentrant=False)
    assert torch.equal(again, output)
    parameters = list(module.parameters())
    expected = torch.autograd.grad(output.square().sum(), parameters)
    for got, want in zip(torch.autograd.grad(again.square().sum(), parameters), expected, strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("kind", [Mamba, BiMamba])
def test_compiles_whole(kind):
    module, x = kind(16), torch.randn(2, 40, 16)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=True)
    lengths = torch.tensor([40, 23])
    expected = torch.autograd.grad(module(x, lengths).square().sum(), list(module.parameters()))
    got = torch.autograd.grad(compiled(x, lengths).square().sum(), list(module.parameters()))
    torch.testing.assert_close(compiled(x, lengths), module(x, lengths))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kind", [Mamba, BiMamba])
@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_short(kind, length):
    x = torch.randn(2, length, 8)
    assert kind(8)(x).shape == x.shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_model": 0}, "d_model must be at least 1, got 0"),
        ({"d_model": 8, "d_state": 0}, "d_state must be at least 1, got 0"),
        ({"d_model": 8, "expand": -1}, "expand must be at least 1, got -1"),
        ({"d_model": 8, "d_conv": 5}, "d_conv must be 2, 3 or 4, got 5"),
    ],
)
def test_bad_sizes(arguments, message):
    for kind in (Mamba, BiMamba):
        with pytest.raises(ValueError, match=f"^{kind.__name__}: {message}"):
            kind(**arguments)
