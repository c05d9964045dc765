import torch
import torch.nn.functional as F

from dnachunk.nn import SwiGLU


def test_against_the_formula():
    mlp = SwiGLU(6, 10).double()
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    w_gate, w_up = mlp.gate_up.weight.split(10)
    expected = (F.silu(x @ w_gate.T) * (x @ w_up.T)) @ mlp.down.weight.T
    torch.testing.assert_close(mlp(x), expected)
    weights = torch.randn_like(expected)
    inputs = [x, *mlp.parameters()]
    grads = torch.autograd.grad((mlp(x) * weights).sum(), inputs)
    for got, want in zip(grads, torch.autograd.grad((expected * weights).sum(), inputs), strict=True):
        torch.testing.assert_close(got, want)


def test_any_leading_shape():
    mlp = SwiGLU(4, 8)
    x = torch.randn(2, 3, 5, 4)
    expected = mlp(x.reshape(30, 4)).view_as(x)
    torch.testing.assert_close(mlp(x), expected)
    torch.testing.assert_close(mlp(x[0, 0, 0]), expected[0, 0, 0])
    assert mlp(torch.zeros(2, 0, 4)).shape == (2, 0, 4)


def test_no_biases():
    assert {name: tuple(p.shape) for name, p in SwiGLU(4, 8).named_parameters()} == {
        "gate_up.weight": (16, 4),
        "down.weight": (4, 8),
    }


def test_under_bf16_autocast():
    mlp, x = SwiGLU(32, 64), torch.randn(5, 32)
    with torch.autocast("cpu", torch.bfloat16):
        rough = mlp(x)
    assert rough.dtype == torch.bfloat16
    exact = mlp(x)
    assert (rough - exact).abs().max() < 0.03 * exact.abs().max()
