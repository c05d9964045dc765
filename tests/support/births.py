"""How parameters are distributed when a model is born."""

import math
import re
from collections.abc import Callable, Mapping

import torch
from torch import nn

Birth = Callable[[torch.Tensor], None]


def _assert_moments(values: torch.Tensor, mean: float, std: float) -> None:
    """Sample mean and standard deviation within six of their own standard errors."""
    values, count = values.detach().double().flatten(), values.numel()
    assert count >= 32, "too few values to tell"
    assert abs(values.mean() - mean) <= 6 * std / count**0.5, f"mean {values.mean():.4g}, not {mean:.4g}"
    # The kurtosis of a normal is the largest of those here.
    assert abs(values.std() / std - 1) <= 6 / (2 * count) ** 0.5, f"std {values.std():.4g}, not {std:.4g}"


def normal(std: float) -> Birth:
    """Normal around 0."""
    return lambda values: _assert_moments(values, 0, std)


def truncated_normal(std: float) -> Birth:
    """Normal around 0, drawn again beyond two standard deviations."""

    def check(values: torch.Tensor) -> None:
        assert values.abs().max() <= 2 * std
        _assert_moments(values, 0, 0.87962566 * std)

    return check


def uniform(bound: float) -> Birth:
    """Uniform in ±bound."""

    def check(values: torch.Tensor) -> None:
        assert values.abs().max() <= bound
        _assert_moments(values, 0, bound / 3**0.5)

    return check


def uniform_of_fan_in(values: torch.Tensor) -> None:
    """Uniform in ±1/√fan-in, as PyTorch starts linear layers and convolutions."""
    uniform(values[0].numel() ** -0.5)(values)


def steps(values: torch.Tensor) -> None:
    """What softplus makes log-uniform in [0.001, 0.1]."""
    logs = nn.functional.softplus(values.double()).log()
    low, high = math.log(1e-3), math.log(1e-1)
    assert low - 1e-4 <= logs.min() <= logs.max() <= high + 1e-4
    # Of so many draws the outermost lie so near to the bounds but for once in e¹⁰ times.
    near = 10 * (high - low) / logs.numel()
    assert logs.min() <= low + near
    assert logs.max() >= high - near
    _assert_moments(logs, (low + high) / 2, (high - low) / 12**0.5)


def rates(values: torch.Tensor) -> None:
    """The logarithms of 1, …, S in every row."""
    expected = torch.arange(1.0, values.shape[1] + 1).log().expand_as(values)
    torch.testing.assert_close(values.detach(), expected)


def constant(value: float) -> Birth:
    """One number everywhere."""

    def check(values: torch.Tensor) -> None:
        assert torch.equal(values.detach(), torch.full_like(values, value))

    return check


def any_of(*births: Birth) -> Birth:
    """One of several ways."""

    def check(values: torch.Tensor) -> None:
        faults = []
        for birth in births:
            try:
                return birth(values)
            except AssertionError as fault:
                faults.append(str(fault))
        raise AssertionError("; ".join(faults))

    return check


def identity(values: torch.Tensor) -> None:
    """The identity matrix."""
    assert torch.equal(values.detach(), torch.eye(len(values)))


def assert_births(model: nn.Module, births: Mapping[str, Birth], names: set[str] | None = None) -> None:
    """Every parameter and buffer, or those named, is as the first pattern says that its name matches."""
    for name, values in model.state_dict(keep_vars=True).items():
        if names is not None and name not in names:
            continue
        birth = next((birth for pattern, birth in births.items() if re.search(pattern, name)), None)
        assert birth is not None, f"nothing says how {name} starts"
        try:
            assert values.isfinite().all(), "not finite"
            birth(values)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
