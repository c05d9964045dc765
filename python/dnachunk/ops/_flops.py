"""Tells ``torch.utils.flop_counter``, after which this is imported, what the operations count."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, register_flop_formula

from dnachunk.ops._register import FLOPS


def _without_results(formula: Callable[..., int], *shapes: Any, out_shape: Any) -> int:
    del out_shape
    return formula(*shapes)


for _name, _formula in FLOPS.items():
    register_flop_formula(getattr(torch.ops.dnachunk, _name))(functools.partial(_without_results, _formula))

# Releases of torch that do not know the CPU's fused attention know others of the same arguments.
for _ending in ("", "_backward"):
    _attention = getattr(torch.ops.aten, f"_scaled_dot_product_flash_attention_for_cpu{_ending}")
    _known = getattr(torch.ops.aten, f"_scaled_dot_product_flash_attention{_ending}")
    flop_registry.setdefault(_attention, flop_registry[_known])
