import pytest
import torch

from dnachunk.ops import rotary
from dnachunk.ops.rotary import rotary_naive
from tests.support import op_case


def sample(length=63, half=5, shared=False):
    angles = torch.randn(1 if shared else 2, length, half)
    return {"qkv": torch.randn(2, length, 3, 2, 2 * half), "cos": angles.cos(), "sin": angles.sin()}


def test_literal():
    qkv = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).view(1, 1, 3, 1, 2)
    turned = rotary(qkv, torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    assert turned.flatten().tolist() == [-2.0, 1.0, -4.0, 3.0, 5.0, 6.0]


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 63, 1000])
def test_against_naive(length, dtype):
    op_case.check_against_naive(rotary, rotary_naive, sample(length), ["qkv"], dtype, ["qkv"], ["cos", "sin"])


def test_everything_else():
    op_case.check_torch_form(rotary, sample(), ["qkv"])
    op_case.check_views(rotary, sample(), ["qkv"])
    op_case.check_threads(rotary, sample(700), ["qkv"])
    op_case.check_gradient(rotary, sample(3, 2), ["qkv"], ["qkv", "cos", "sin"])


@pytest.mark.parametrize(("length", "half"), [(0, 4), (3, 0)])
def test_empty(length, half):
    kwargs = sample(length, half)
    outputs, grads = op_case.run(rotary, kwargs, ["qkv"])
    assert outputs[0].shape == kwargs["qkv"].shape
    assert grads["qkv"].shape == kwargs["qkv"].shape


def test_shares_angles():
    kwargs = sample(shared=True)
    expanded = {**kwargs, "cos": kwargs["cos"].expand(2, -1, -1), "sin": kwargs["sin"].expand(2, -1, -1)}
    assert torch.equal(rotary(**kwargs), rotary(**expanded))


def test_opcheck():
    kwargs = sample(4, 3)
    op_case.opcheck("rotary", kwargs["qkv"].requires_grad_(), kwargs["cos"], kwargs["sin"])
    op_case.opcheck("rotary_backward", torch.randn(2, 4, 3, 2, 6), kwargs["cos"], kwargs["sin"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (torch.zeros(1, 2, 3, 1, 3), torch.zeros(1, 2, 1), torch.zeros(1, 2, 1)),
            "rotary: qkv must have an even number of channels, got 3",
        ),
        (
            (torch.zeros(1, 2, 3, 1, 4), torch.zeros(1, 2, 1), torch.zeros(1, 2, 2)),
            r"rotary: cos must be \[1, 2, 2\], got \[1, 2, 1\]",
        ),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        rotary(*arguments)
