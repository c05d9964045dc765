import pytest
import torch

from dnachunk.ops import unit_scatter
from dnachunk.ops.unit_scatter import unit_scatter_naive
from tests.support import op_case

DIFFERENTIABLE = ["residual", "values", "weight"]


def sample(length=63, units=40, channels=19):
    return {
        "residual": torch.randn(2, length, channels),
        "values": torch.randn(units, channels),
        "weight": torch.rand(units),
        "position": torch.randperm(2 * length)[:units],
    }


def test_literal():
    residual = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    values = torch.tensor([[7.0, 8.0], [1.0, 2.0]])
    out = unit_scatter(residual, values, torch.tensor([0.5, 2.0]), torch.tensor([1, 2]))
    assert out.tolist() == [[[1.0, 2.0], [6.5, 8.0]], [[7.0, 10.0], [7.0, 8.0]]]


def test_literal_gradients():
    residual, values = (
        torch.zeros(1, 3, 2, requires_grad=True),
        torch.tensor([[1.0, 2.0]], requires_grad=True),
    )
    weight = torch.tensor([0.5], requires_grad=True)
    out = unit_scatter(residual, values, weight, torch.tensor([1]))
    grad = torch.tensor([[[1.0, 2.0], [30.0, 40.0], [5.0, 6.0]]])
    grads = torch.autograd.grad(out, [residual, values, weight], grad)
    assert [g.tolist() for g in grads] == [grad.tolist(), [[15.0, 20.0]], [110.0]]


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 63, 1000])
def test_against_naive(length, dtype):
    kwargs, floats = sample(length, units=length), ["residual", "values"]
    op_case.check_against_naive(
        unit_scatter, unit_scatter_naive, kwargs, DIFFERENTIABLE, dtype, floats, ["weight"]
    )


def test_everything_else():
    op_case.check_torch_form(unit_scatter, sample(), DIFFERENTIABLE)
    op_case.check_views(unit_scatter, sample(), DIFFERENTIABLE)
    op_case.check_threads(unit_scatter, sample(2000, 3000), DIFFERENTIABLE)
    op_case.check_gradient(unit_scatter, sample(6, 5, 2), DIFFERENTIABLE, DIFFERENTIABLE)


@pytest.mark.parametrize(
    ("length", "units", "channels"),
    [(0, 0, 3), (4, 0, 3), (4, 3, 0)],
    ids=["no rows", "no units", "no channels"],
)
def test_empty(length, units, channels):
    kwargs = sample(length, units, channels)
    (out,), grads = op_case.run(unit_scatter, kwargs, DIFFERENTIABLE)
    (want,), expected = op_case.run(unit_scatter_naive, kwargs, DIFFERENTIABLE)
    assert torch.equal(out, want)
    for name in DIFFERENTIABLE:
        assert torch.equal(grads[name], expected[name])


def test_a_part_of_the_gradients():
    kwargs = sample()
    kwargs["residual"].requires_grad_()
    unit_scatter(**kwargs).sum().backward()
    assert torch.equal(kwargs["residual"].grad, torch.ones_like(kwargs["residual"]))
    kwargs = sample()
    kwargs["weight"].requires_grad_()
    unit_scatter(**kwargs).sum().backward()
    torch.testing.assert_close(kwargs["weight"].grad, kwargs["values"].sum(dim=1))


def test_opcheck():
    residual, values, weight, position = sample(9, 5, 3).values()
    op_case.opcheck(
        "unit_scatter", residual.requires_grad_(), values.requires_grad_(), weight.requires_grad_(), position
    )
    op_case.opcheck("unit_scatter_backward", torch.randn(2, 9, 3), values.detach(), weight.detach(), position)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"position": torch.tensor([0, 1, 2, 3, -1])}, ValueError, r"position must be in \[0, 14\), got -1"),
        ({"position": torch.tensor([0, 1, 2, 3, 14])}, ValueError, r"position must be in \[0, 14\), got 14"),
        ({"position": torch.tensor([0, 3, 2, 3, 1])}, ValueError, "position must be unique, got 3 more than"),
        ({"values": torch.zeros(4, 3)}, ValueError, r"values must be \[5, 3\], got \[4, 3\]"),
        (
            {"values": torch.zeros(5, 3).bfloat16()},
            TypeError,
            "values must be torch.float32, got torch.bfloat16",
        ),
        ({"weight": torch.zeros(5).double()}, TypeError, "weight must be torch.float32, got torch.float64"),
        ({"weight": torch.zeros(4)}, ValueError, r"weight must be \[5\], got \[4\]"),
    ],
)
def test_bad_input(changes, error, message):
    with pytest.raises(error, match=f"unit_scatter: {message}"):
        unit_scatter(**{**sample(7, 5, 3), **changes})


def test_tensors_without_elements_take_no_memory():
    none, nowhere = torch.empty(0), torch.empty(0, dtype=torch.int64)
    out = unit_scatter(torch.empty(2**30, 2**25, 0), torch.empty(0, 0), none, nowhere)
    assert out.shape == (2**30, 2**25, 0)


def test_gradients_have_the_strides_that_compilers_are_told():
    arguments = torch.randn(2, 63, 19), torch.randn(19, 40).T, torch.rand(40), torch.randperm(126)[:40]
    real = torch.ops.dnachunk.unit_scatter_backward(*arguments)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = torch.ops.dnachunk.unit_scatter_backward(*(mode.from_tensor(each) for each in arguments))
    assert [each.stride() for each in fake] == [each.stride() for each in real]
