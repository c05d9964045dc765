import pytest
import torch

from dnachunk.nn import RMSNorm


@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 8), (8,), (2, 0, 8)], ids=str)
def test_against_torch(shape):
    norm, reference = RMSNorm(8, 1e-5).double(), torch.nn.RMSNorm(8, 1e-5, dtype=torch.float64)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(8))
        reference.weight.copy_(norm.weight)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(norm(x), reference(x))
    weights = torch.randn(shape, dtype=torch.float64)
    got = torch.autograd.grad((norm(x) * weights).sum(), [x, norm.weight])
    want = torch.autograd.grad((reference(x) * weights).sum(), [x, reference.weight])
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other)


def test_epsilon_holds_at_zero():
    norm, x = RMSNorm(4, 1e-6), torch.zeros(1, 4, requires_grad=True)
    norm(x).sum().backward()
    assert torch.equal(norm(x), torch.zeros(1, 4))
    torch.testing.assert_close(x.grad, torch.full((1, 4), 1e3))


def test_before_projection_follows_autocast():
    norm, x = RMSNorm(16), torch.randn(3, 16, requires_grad=True)
    exact = norm(x)
    assert norm(x, before_projection=True).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(x).dtype == torch.float32
        rough = norm(x, before_projection=True)
        assert rough.dtype == torch.bfloat16
        assert torch.equal(rough, exact.bfloat16())
        assert norm(x.double(), before_projection=True).dtype == torch.float64
    rough.float().sum().backward()
    assert x.grad.dtype == torch.float32
    assert norm.weight.grad.any()
