"""How parameters start where a plain layer would start them otherwise."""

import torch
from torch import nn


class StartsItself:
    """A module that knows how its own parameters start; those of its children are the children's to start.

    Models call :meth:`reset_parameters` of every such module, whatever its children are: ``transformers``
    skips modules that have no parameters of their own. It draws with :mod:`torch.nn.init` or
    :mod:`transformers.initialization`, which leave parameters that were just loaded as they are.
    """

    def reset_parameters(self) -> None:
        """Draws the module's own parameters."""
        raise NotImplementedError


class IdentityLinear(StartsItself, nn.Linear):
    """``W x`` with a square ``W`` that starts as the identity.

    Args:
        d_model: Channels in and out.

    Example:
        >>> IdentityLinear(2)(torch.tensor([3.0, 4.0])).tolist()
        [3.0, 4.0]
    """

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, d_model, bias=False)

    def reset_parameters(self) -> None:
        """Makes ``W`` the identity."""
        nn.init.eye_(self.weight)


class ZeroLinear(StartsItself, nn.Linear):
    """``W x`` with a square ``W`` that starts at zero.

    Args:
        d_model: Channels in and out.

    Example:
        >>> ZeroLinear(2)(torch.tensor([3.0, 4.0])).tolist()
        [0.0, 0.0]
    """

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, d_model, bias=False)

    def reset_parameters(self) -> None:
        """Makes ``W`` zero."""
        nn.init.zeros_(self.weight)


class FrozenProjection(StartsItself, nn.Module):
    """A random projection ``W x`` that never learns: ``W`` is a buffer, saved but trained by nobody.

    Args:
        d_model: Channels in.
        out_channels: Channels out.

    Example:
        >>> [name for name, _ in FrozenProjection(4, 2).named_parameters()]
        []
    """

    weight: torch.Tensor

    def __init__(self, d_model: int, out_channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(out_channels, d_model))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws ``W`` as ``nn.Linear`` does."""
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [..., d_model]`` to ``[..., out_channels]``."""
        return nn.functional.linear(x, self.weight)
