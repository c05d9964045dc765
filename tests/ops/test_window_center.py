import math

import pytest
import torch

from dnachunk.ops import window_center
from dnachunk.ops.window_center import window_center_naive
from tests.support import op_case


def sample(length=63, channels=19, window=16, shift=0):
    """A full, a shorter and an empty sequence, whose positions have a common part."""
    x = 3 * torch.randn(3, 1, channels) + torch.randn(3, length, channels)
    return {
        "x": x,
        "lengths": torch.tensor([length, length // 2, 0]),
        "window": window,
        "shift": shift,
    }


def test_literal():
    # Of equal length (1, 1) and (1, −1), whose mean is (1, 0); then one alone, and padding.
    x = torch.tensor([[[2.0, 2.0], [3.0, -3.0], [5.0, 5.0], [math.nan, 1.0]]])
    centered = window_center(x, torch.tensor([3]), window=2)
    expected = torch.tensor([[[0.0, 1.0], [0.0, -1.0], [0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(centered, expected)
    centered = window_center(x, torch.tensor([3]), window=2, shift=1)
    expected = torch.tensor([[[0.0, 0.0], [0.0, -1.0], [0.0, 1.0], [0.0, 0.0]]])
    torch.testing.assert_close(centered, expected)


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize(("window", "shift"), [(16, 0), (5, 2), (1, 0), (600, 599)])
@pytest.mark.parametrize("length", [1, 2, 17, 63])
def test_against_naive(dtype, length, window, shift):
    kwargs = sample(length, window=window, shift=shift)
    op_case.check_against_naive(window_center, window_center_naive, kwargs, [], dtype, ["x"])
    op_case.check_torch_form(window_center, op_case.cast(kwargs, dtype, ["x"]), [])


def test_it_is_for_comparing_and_gives_no_gradient():
    kwargs = sample()
    assert not window_center(**{**kwargs, "x": kwargs["x"].requires_grad_()}).requires_grad


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3), (2, 4, 0)])
def test_empty(shape):
    assert window_center(torch.zeros(shape), torch.zeros(shape[0]).long()).shape == shape


def test_padding_is_ignored():
    kwargs = sample()
    behind = torch.arange(63) >= kwargs["lengths"][:, None]
    spoiled = kwargs | {"x": kwargs["x"].masked_fill(behind[..., None], math.nan)}
    centered = window_center(**spoiled)
    assert torch.equal(centered, window_center(**kwargs))
    assert not centered[behind].any()
    op_case.check_torch_form(window_center, spoiled, [])


def test_views():
    op_case.check_views(window_center, sample(), [])


def test_threads():
    op_case.check_threads(window_center, sample(length=2000), [])


def test_opcheck():
    op_case.opcheck("window_center", *sample(20, 3, 4, 2).values())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(4, 3)}, ValueError, r"x must be \[B, N, D\], got \[4, 3\]"),
        ({"x": torch.zeros(1, 4, 3).long()}, TypeError, "x must be float32"),
        ({"lengths": torch.tensor([4, 4])}, ValueError, r"lengths must be \[1\], got \[2\]"),
        ({"lengths": torch.tensor([4.0])}, TypeError, "lengths must be torch.int64"),
        ({"lengths": torch.tensor([5])}, ValueError, r"lengths must be in \[0, 4\], got 5"),
        ({"window": 0}, ValueError, "window must be at least 1"),
        ({"shift": 16}, ValueError, r"shift in \[0, window\)"),
    ],
)
def test_bad_input(change, error, message):
    good = {"x": torch.zeros(1, 4, 3), "lengths": torch.tensor([4])}
    with pytest.raises(error, match=f"window_center: .*{message}"):
        window_center(**{**good, **change})
