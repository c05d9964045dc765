"""Calls of every operation that has a kernel for GPUs: small and odd shapes, padding, ties."""

import math
from dataclasses import dataclass, field

import torch

from dnachunk import ops
from dnachunk.ops.basic_units import basic_units_naive
from dnachunk.ops.boundary_routing import boundary_routing_naive
from dnachunk.ops.causal_conv import causal_conv_naive
from dnachunk.ops.dechunk import dechunk_naive
from dnachunk.ops.deformable_conv import deformable_conv_naive
from dnachunk.ops.global_match import global_match_naive
from dnachunk.ops.neighbor_match import neighbor_match_naive
from dnachunk.ops.rms_norm import rms_norm_naive
from dnachunk.ops.rotary import rotary_naive
from dnachunk.ops.selective_scan import selective_scan_naive
from dnachunk.ops.soft_assignment import soft_assignment_naive
from dnachunk.ops.soft_merge import soft_merge_naive
from dnachunk.ops.swiglu import swiglu_naive
from dnachunk.ops.token_merge import token_merge_naive
from dnachunk.ops.window_attention import window_attention_naive
from dnachunk.ops.window_center import window_center_naive
from tests.ops import (
    test_basic_units,
    test_boundary_routing,
    test_causal_conv,
    test_dechunk,
    test_deformable_conv,
    test_global_match,
    test_neighbor_match,
    test_rms_norm,
    test_rotary,
    test_selective_scan,
    test_soft_assignment,
    test_soft_merge,
    test_swiglu,
    test_token_merge,
    test_window_attention,
    test_window_center,
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@dataclass
class Case:
    """What the checks need to know of a call."""

    op: str
    naive: object
    kwargs: dict
    differentiable: list = field(default_factory=list)
    floats: list = field(default_factory=list)
    accumulators: list = field(default_factory=list)
    # Not a number behind each sequence's end.
    padded: list = field(default_factory=list)

    def __post_init__(self):
        if self.padded:
            for name in self.padded:
                for row, real in enumerate(self.lengths().tolist()):
                    self.kwargs[name][row, real:] = math.nan

    def lengths(self):
        if "lengths" in self.kwargs:
            return self.kwargs["lengths"]
        return (self.kwargs["token_index"] >= 0).sum(dim=1)

    @property
    def function(self):
        return getattr(ops, self.op)


def scan(lengths=(13, 10, 0), without=(), channels=5, states=3, **changes):
    kwargs = test_selective_scan.sample(lengths, max(lengths), channels, states, **changes)
    kwargs |= dict.fromkeys(without)
    rows, parameters = (
        [name for name in names if name not in without]
        for names in (test_selective_scan.ROWS, test_selective_scan.PARAMETERS)
    )
    return Case("selective_scan", selective_scan_naive, kwargs, rows + parameters, rows, parameters, rows)


def conv(lengths=(35, 10, 0), without=(), **changes):
    kwargs = test_causal_conv.sample(lengths, max(lengths), **changes) | dict.fromkeys(without)
    names = [name for name in test_causal_conv.DIFFERENTIABLE if name not in without]
    return Case("causal_conv", causal_conv_naive, kwargs, names, ["x"], names[1:], ["x"])


def units(kind, length=37, kernel_sizes=(2, 3, 5, 1)):
    kwargs = test_basic_units.sample(length, kernel_sizes)
    scores = kwargs["scores"]
    if kind == "tied":
        scores.zero_()
    elif kind == "rising":
        scores.copy_(torch.arange(float(length))[None, :, None].expand_as(scores))
    elif kind == "of any kind":
        scores[scores > 1] = math.nan
        scores[scores < -1] = -math.inf
        scores[:, ::5] = -0.0
    return Case("basic_units", basic_units_naive, kwargs, floats=["scores"])


def match(length=75, window=16, shift=0, budget="window", fill=None):
    kwargs = test_neighbor_match.sample(length, window, shift, budget)
    if fill is not None:
        kwargs["scores"][:, ::3] = fill
        kwargs["scores"][:, ::7] = math.inf
    return Case("neighbor_match", neighbor_match_naive, kwargs, floats=["scores"], padded=["scores"])


def attend(lengths=(21, 10, 0), bias=False, **changes):
    kwargs = test_window_attention.sample(lengths, max(lengths), heads=2, bias=bias, **changes)
    differentiable, wide = (["qkv", "bias"], ["cos", "sin", "bias"]) if bias else (["qkv"], ["cos", "sin"])
    return Case(
        "window_attention", window_attention_naive, kwargs, differentiable, ["qkv"], wide, ["qkv", *wide]
    )


def turn(shared=False):
    kwargs = test_rotary.sample(37, shared=shared)
    return Case("rotary", rotary_naive, kwargs, ["qkv"], ["qkv"], ["cos", "sin"])


def norm(**changes):
    kwargs = test_rms_norm.sample(37) | changes
    names = test_rms_norm.DIFFERENTIABLE
    return Case("rms_norm", rms_norm_naive, kwargs, names, names)


def gate():
    return Case("swiglu", swiglu_naive, test_swiglu.sample(), ["gate_up"], ["gate_up"])


def smooth(**changes):
    kwargs = test_dechunk.sample(13, **changes)
    gates = ["boundary_probability"]
    return Case("dechunk", dechunk_naive, kwargs, test_dechunk.FLOATS, ["values"], gates, gates)


def route(protected=True):
    kwargs = test_boundary_routing.sample(37)
    if not protected:
        kwargs["is_protected"] = None
    rows = ["query", "key"]
    return Case("boundary_routing", boundary_routing_naive, kwargs, rows, rows, padded=rows)


def merge(far=False, with_scores=True, **changes):
    kwargs = (
        test_token_merge.far_sample()
        if far
        else test_token_merge.sample(37, with_scores=with_scores, **changes)
    )
    soft = ["scores"] if "scores" in kwargs else []
    beside = ["scores", "threshold"] if soft else []
    padded = [] if far else ["x", *beside]
    return Case("token_merge", token_merge_naive, kwargs, ["x", *soft], ["x"], beside, padded)


def assign(length=75, **changes):
    kwargs = test_soft_assignment.sample(length, **changes)
    names = ["scores"]
    return Case("soft_assignment", soft_assignment_naive, kwargs, names, [], names, names)


def merge_softly(**changes):
    kwargs = test_soft_merge.sample(37, **changes)
    names, beside = test_soft_merge.DIFFERENTIABLE, test_soft_merge.ACCUMULATORS
    return Case("soft_merge", soft_merge_naive, kwargs, names, ["x"], beside, names)


def center(**changes):
    kwargs = test_window_center.sample(37, **changes)
    return Case("window_center", window_center_naive, kwargs, floats=["x"], padded=["x"])


def deform(lengths=(21, 10), with_lengths=True, **changes):
    kwargs = test_deformable_conv.sample(lengths, max(lengths), **changes)
    beside = ["offset", "modulation"]
    padded = ["x", *beside] if with_lengths else []
    if not with_lengths:
        kwargs["lengths"] = None
    names = test_deformable_conv.DIFFERENTIABLE
    return Case("deformable_conv", deformable_conv_naive, kwargs, names, ["x", "weight"], beside, padded)


def match_all(kind, length=75):
    kwargs = test_global_match.sample(length)
    metric = kwargs["metric"]
    if kind == "of any kind":
        metric[:, ::6] = 0.0
        metric[:, 1::8, 3] = math.nan
    elif kind == "random":
        # Whole numbers: no sum is rounded.
        metric.copy_(torch.randint(-3, 4, metric.shape))
    return Case("global_match", global_match_naive, kwargs, floats=["metric"], padded=["metric"])


CASES = {
    "global_match": lambda: match_all("tied"),
    "global_match of random vectors": lambda: match_all("random", 42),
    "global_match of any kind": lambda: match_all("of any kind"),
    "global_match of one": lambda: match_all("tied", 1),
    "deformable_conv": deform,
    "deformable_conv by an even width": lambda: deform(with_lengths=False, taps=2),
    "token_merge": merge,
    "token_merge of far members": lambda: merge(far=True),
    "token_merge in shifted windows": lambda: merge(window=5, shift=2),
    "token_merge without scores": lambda: merge(with_scores=False),
    "soft_assignment": assign,
    "soft_assignment in shifted windows": lambda: assign(window=5, shift=2, temperature=0.1),
    "soft_assignment alone": lambda: assign(window=1, length=9, merges_of=1000),
    "soft_assignment of wide windows": lambda: assign(window=75, merges_of=2),
    "soft_merge": merge_softly,
    "soft_merge in shifted windows": lambda: merge_softly(window=5, shift=2),
    "boundary_routing": route,
    "boundary_routing unprotected": lambda: route(protected=False),
    "dechunk": smooth,
    "dechunk by the gate of the position": lambda: smooth(backward_gate="left", channels=5),
    "basic_units": lambda: units("random"),
    "basic_units tied": lambda: units("tied", length=21),
    "basic_units rising": lambda: units("rising", length=21),
    "basic_units of any kind": lambda: units("of any kind", kernel_sizes=(4, 3, 7)),
    "basic_units without experts": lambda: units("random", kernel_sizes=()),
    "neighbor_match": match,
    "neighbor_match in shifted windows": lambda: match(shift=5),
    "neighbor_match of any kind": lambda: match(window=5, shift=2, fill=math.nan),
    "neighbor_match of the sequence": lambda: match(budget="sequence", window=6, shift=5),
    "neighbor_match alone": lambda: match(window=1, length=9),
    "causal_conv": conv,
    "causal_conv in reverse": lambda: conv(reverse=True),
    "rms_norm": norm,
    "rotary": turn,
    "rotary by shared angles": lambda: turn(shared=True),
    "selective_scan": scan,
    "selective_scan in reverse": lambda: scan(reverse=True),
    "selective_scan of more channels than lanes": lambda: scan((9, 3), channels=33, states=4),
    "selective_scan ungated": lambda: scan((9, 8), without=("gate", "delta_bias"), reverse=True),
    "swiglu": gate,
    "window_attention": lambda: attend(window=8, shift=3),
    "window_attention with a bias": lambda: attend(window=8, shift=3, bias=True),
    "window_attention in wide windows": lambda: attend((40, 39), window=19, head_dim=6),
    "window_center": center,
    "window_center in shifted windows": lambda: center(window=5, shift=2),
}
# The first case of each operation.
SMALL_CASES = [name for name in CASES if " " not in name]
