import pytest
import torch

from dnachunk.ops import unit_gather, unit_scatter
from dnachunk.ops.unit_gather import unit_gather_naive, unit_scatter_naive
from tests.support import op_case


def gather_sample(length=63, units=80, channels=19):
    """Some rows several times, some not at all."""
    return {"x": torch.randn(2, length, channels), "position": torch.randint(0, 2 * length, (units,))}


def scatter_sample(length=63, units=40, channels=19):
    return {
        "residual": torch.randn(2, length, channels),
        "values": torch.randn(units, channels),
        "weight": torch.rand(units),
        "position": torch.randperm(2 * length)[:units],
    }


GATHER = (unit_gather, unit_gather_naive, gather_sample, ["x"], ["x"], [])
SCATTER = (
    unit_scatter,
    unit_scatter_naive,
    scatter_sample,
    ["residual", "values", "weight"],
    ["residual", "values"],
    ["weight"],
)
BOTH = pytest.mark.parametrize(
    ("op", "naive", "sample", "differentiable", "floats", "accumulators"),
    [pytest.param(*GATHER, id="gather"), pytest.param(*SCATTER, id="scatter")],
)


def test_literal():
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], requires_grad=True)
    rows = unit_gather(x, torch.tensor([3, 0, 3]))
    assert rows.tolist() == [[7.0, 8.0], [1.0, 2.0], [7.0, 8.0]]
    (grad,) = torch.autograd.grad(rows, x, torch.tensor([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]))
    assert grad.tolist() == [[[10.0, 20.0], [0.0, 0.0]], [[0.0, 0.0], [101.0, 202.0]]]
    out = unit_scatter(x, rows[:2], torch.tensor([0.5, 2.0]), torch.tensor([1, 2]))
    assert out.tolist() == [[[1.0, 2.0], [6.5, 8.0]], [[7.0, 10.0], [7.0, 8.0]]]


def test_literal_gradients_of_scatter():
    residual, values = (
        torch.zeros(1, 3, 2, requires_grad=True),
        torch.tensor([[1.0, 2.0]], requires_grad=True),
    )
    weight = torch.tensor([0.5], requires_grad=True)
    out = unit_scatter(residual, values, weight, torch.tensor([1]))
    grad = torch.tensor([[[1.0, 2.0], [30.0, 40.0], [5.0, 6.0]]])
    grads = torch.autograd.grad(out, [residual, values, weight], grad)
    assert [g.tolist() for g in grads] == [grad.tolist(), [[15.0, 20.0]], [110.0]]


@BOTH
@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 63, 1000])
def test_against_naive(op, naive, sample, differentiable, floats, accumulators, dtype, length):
    kwargs = sample(length, units=length)
    op_case.check_against_naive(op, naive, kwargs, differentiable, dtype, floats, accumulators)


@BOTH
def test_everything_else(op, naive, sample, differentiable, floats, accumulators):
    op_case.check_torch_form(op, sample(), differentiable)
    op_case.check_views(op, sample(), differentiable)
    op_case.check_threads(op, sample(2000, 3000), differentiable)
    op_case.check_gradient(op, sample(6, 5, 2), differentiable, differentiable, second=op is unit_gather)


@BOTH
@pytest.mark.parametrize(
    ("length", "units", "channels"),
    [(0, 0, 3), (4, 0, 3), (4, 3, 0)],
    ids=["no rows", "no units", "no channels"],
)
def test_empty(op, naive, sample, differentiable, floats, accumulators, length, units, channels):
    kwargs = {
        **gather_sample(max(length, 1), units, channels),
        **scatter_sample(length, units, channels),
        "x": torch.randn(2, length, channels),
    }
    kwargs = {name: kwargs[name] for name in sample()}
    (out,), grads = op_case.run(op, kwargs, differentiable)
    (want,), expected = op_case.run(naive, kwargs, differentiable)
    assert torch.equal(out, want)
    for name in differentiable:
        assert torch.equal(grads[name], expected[name])


def test_a_part_of_the_gradients():
    kwargs = scatter_sample()
    kwargs["residual"].requires_grad_()
    unit_scatter(**kwargs).sum().backward()
    assert torch.equal(kwargs["residual"].grad, torch.ones_like(kwargs["residual"]))
    kwargs = scatter_sample()
    kwargs["weight"].requires_grad_()
    unit_scatter(**kwargs).sum().backward()
    torch.testing.assert_close(kwargs["weight"].grad, kwargs["values"].sum(dim=1))


def test_opcheck():
    kwargs = gather_sample(9, 5, 3)
    op_case.opcheck("unit_gather", kwargs["x"].requires_grad_(), kwargs["position"])
    op_case.opcheck("unit_gather_backward", torch.randn(5, 3).requires_grad_(), kwargs["position"], 2, 9)
    residual, values, weight, position = scatter_sample(9, 5, 3).values()
    op_case.opcheck(
        "unit_scatter", residual.requires_grad_(), values.requires_grad_(), weight.requires_grad_(), position
    )
    op_case.opcheck("unit_scatter_backward", torch.randn(2, 9, 3), values.detach(), weight.detach(), position)


def test_bad_input():
    gather, scatter = gather_sample(7, 5, 3), scatter_sample(7, 5, 3)
    with pytest.raises(ValueError, match=r"unit_gather: x must be \[B, N, D\], got \[7, 3\]"):
        unit_gather(gather["x"][0], gather["position"])
    with pytest.raises(TypeError, match=r"unit_gather: position must be torch.int64, got torch.int32"):
        unit_gather(gather["x"], gather["position"].int())
    for wrong in (-1, 14):
        position = torch.tensor([0, wrong])
        with pytest.raises(ValueError, match=rf"unit_gather: position must be in \[0, 14\), got {wrong}"):
            unit_gather(gather["x"], position)
        with pytest.raises(ValueError, match=rf"unit_scatter: position must be in \[0, 14\), got {wrong}"):
            unit_scatter(scatter["residual"], scatter["values"][:2], scatter["weight"][:2], position)
    with pytest.raises(ValueError, match="unit_scatter: position must be unique, got 3 more than once"):
        unit_scatter(**{**scatter, "position": torch.tensor([0, 3, 2, 3, 1])})
    with pytest.raises(ValueError, match=r"unit_scatter: values must be \[5, 3\], got \[4, 3\]"):
        unit_scatter(**{**scatter, "values": scatter["values"][:4]})
    with pytest.raises(TypeError, match=r"unit_scatter: values must be torch.float32, got torch.bfloat16"):
        unit_scatter(**{**scatter, "values": scatter["values"].bfloat16()})
    with pytest.raises(TypeError, match=r"unit_scatter: weight must be torch.float32, got torch.float64"):
        unit_scatter(**{**scatter, "weight": scatter["weight"].double()})
    with pytest.raises(ValueError, match=r"unit_scatter: weight must be \[5\], got \[4\]"):
        unit_scatter(**{**scatter, "weight": scatter["weight"][:4]})


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
