"""Registration and public function of ``soft_merge``."""

from typing import Any

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import (
    accumulator_dtype,
    check_dtype,
    check_float,
    check_same_device,
    check_shape,
    check_windows,
)
from dnachunk.ops._register import register
from dnachunk.ops.soft_merge.naive import soft_merge_torch


def soft_merge(
    x: torch.Tensor,
    mass: torch.Tensor,
    assignment: torch.Tensor,
    token_index: torch.Tensor,
    num_tokens: int,
    window: int = 16,
    shift: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merges positions into tokens by shares: ``y_j = (m_j x_j + Σ_i a_ij m_i x_i) / M_j``.

    ``M_j = m_j + Σ_i a_ij m_i`` over the neighbours ``i``, after DTEM (Lee & Hong 2024). A token is the one
    of its positions that stays: the keeper, or the only one. A candidate that the hard decision leaves keeps
    ``(1 − Σ_j a_ij) m_i``; one that it merges is gone with its rest.

    Args:
        x: ``[B, N, D]`` float32, float64, bfloat16 or float16.
        mass: ``[B, N]``, what each position stands for, above 0; float64 for float64 ``x``, else float32.
        assignment: ``[B, N, 2]`` in the dtype of ``mass``: the shares of :func:`dnachunk.ops.soft_assignment`
            that each position gives to the one on its left and the one on its right.
        token_index: ``[B, N]`` int64, as :func:`dnachunk.ops.neighbor_match` made it; −1 is padding, where
            nothing is read.
        num_tokens: ``L``, tokens of the longest sequence, at least; fixes the shape of the result.
        window: As given to ``neighbor_match``.
        shift: As given to ``neighbor_match``.

    Returns:
        ``merged [B, L, D]`` in the dtype of ``x`` and ``merged_mass [B, L]`` in that of ``mass``; 0 where a
        sequence has no token.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape, and on the CPU on tokens that ``neighbor_match`` does not make in these
            windows, or more of them than ``num_tokens``.

    Note:
        Kernels on CPU and GPU; sums run in float32 (float64 for float64); differentiable once in ``x``,
        ``mass`` and ``assignment``; the same bits for any number of threads.

    Example:
        >>> x, mass = torch.tensor([[[4.0], [8.0]]]), torch.tensor([[2.0, 3.0]])
        >>> assignment = torch.tensor([[[0.0, 0.5], [0.0, 0.0]]])
        >>> soft_merge(x, mass, assignment, torch.tensor([[0, 0]]), 1)
        (tensor([[[7.]]]), tensor([[4.]]))
    """
    op = "soft_merge"
    check_shape(op, "x", x, ("B", "N", "D"))
    check_float(op, "x", x)
    positions = tuple(x.shape[:2])
    for name, tensor, shape in (("mass", mass, positions), ("assignment", assignment, (*positions, 2))):
        check_shape(op, name, tensor, shape)
        check_dtype(op, name, tensor, accumulator_dtype(x.dtype))
    check_shape(op, "token_index", token_index, positions)
    check_dtype(op, "token_index", token_index, torch.int64)
    check_same_device(op, x=x, mass=mass, assignment=assignment, token_index=token_index)
    check_windows(op, window, shift)
    arguments = (x, mass, assignment, token_index, num_tokens, window, shift)
    if backend_of(op, x, mass, assignment, token_index) == "torch":
        return soft_merge_torch(*arguments)
    return torch.ops.dnachunk.soft_merge(*arguments)


def _fake(
    x: torch.Tensor,
    mass: torch.Tensor,
    _assignment: torch.Tensor,
    _index: torch.Tensor,
    num_tokens: int,
    *_: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (x.shape[0], num_tokens)
    return x.new_empty((*shape, x.shape[2])), mass.new_empty(shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    del output
    *tensors, ctx.num_tokens, ctx.window, ctx.shift = inputs
    ctx.save_for_backward(*tensors)


def _backward(
    ctx: Any, grad: torch.Tensor | None, grad_mass: torch.Tensor | None
) -> tuple[torch.Tensor | None, ...]:
    x, mass, *_ = ctx.saved_tensors
    shape = (x.shape[0], ctx.num_tokens)
    grad_x, *grads = torch.ops.dnachunk.soft_merge_backward(
        x.new_zeros((*shape, x.shape[2])) if grad is None else grad,
        mass.new_zeros(shape) if grad_mass is None else grad_mass,
        *ctx.saved_tensors,
        ctx.window,
        ctx.shift,
    )
    return None if grad is None else grad_x, *grads, None, None, None, None


register(
    "soft_merge",
    "(Tensor x, Tensor mass, Tensor assignment, Tensor token_index, SymInt num_tokens, int window, "
    "int shift) -> (Tensor merged, Tensor merged_mass)",
    cpu=rust.soft_merge_forward,
    cuda="dnachunk.ops.soft_merge.triton:forward",
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
register(
    "soft_merge_backward",
    "(Tensor grad, Tensor grad_mass, Tensor x, Tensor mass, Tensor assignment, Tensor token_index, "
    "int window, int shift) -> (Tensor grad_x, Tensor grad_of_mass, Tensor grad_assignment)",
    cpu=rust.soft_merge_backward,
    cuda="dnachunk.ops.soft_merge.triton:backward",
    fake=lambda _grad, _grad_mass, x, mass, assignment, *_: (
        x.new_empty(x.shape),
        mass.new_empty(mass.shape),
        assignment.new_empty(assignment.shape),
    ),
)
