"""Counts what a GPU would do, without one: kernels launched, and waits of the host for the device."""

import collections
import contextlib
import importlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.jit import JITFunction

from dnachunk import segmentation
from dnachunk.ops import _backend, use_backend
from dnachunk.ops.basic_units import triton as basic_units_kernels

# Of a tensor's description, or of memory, alone.
_WITHOUT_A_KERNEL = {
    "_unsafe_view",
    "device",
    "empty",
    "empty_like",
    "empty_permuted",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "sym_size",
}
# The host reads a result before it goes on, or copies a value of its own to the device.
_WAITS = {"_local_scalar_dense", "bincount", "equal", "is_nonzero", "lift_fresh", "masked_select", "nonzero"}
# Kernels that one call launches where it is not one: mostly a copy or a fill, then the work.
_KERNELS = {
    "_scaled_dot_product_flash_attention_for_cpu_backward": 3,
    "constant_pad_nd": 2,
    "embedding_dense_backward": 6,
    "index_put": 2,
    "masked_fill": 2,
    "native_layer_norm_backward": 2,
    "scatter": 2,
    "scatter_add": 2,
    "select_backward": 2,
    "slice_backward": 2,
    "sort": 3,
    "split_with_sizes_backward": 2,
}


# Kernels of what is no operation of the package's own.
_HOMES = {"counter_uniform": "dnachunk._random_triton"}


class LaunchCounter(TorchDispatchMode):
    """Counts under :func:`counting`.

    Attributes:
        launches: How often each operation's kernels were launched; those of the operations of ours with
            Triton kernels by what their launching functions launch and copy.
        waits: How often each operation made the host wait.
        sequence: What was launched, in order: an operation with the shapes and the strides of its results, or
            one of ours with the grid of its kernel.
    """

    def __init__(self, answer: int) -> None:
        super().__init__()
        self.answer = answer
        self.launches: collections.Counter[str] = collections.Counter()
        self.waits: collections.Counter[str] = collections.Counter()
        self.sequence: list[tuple[str, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        _, name = func._schema.name.split("::")
        if name in _WAITS:
            self.waits[name] += 1
            if name == "_local_scalar_dense":
                return self.answer
        if func.namespace == "dnachunk":
            of_op = f"dnachunk.ops.{name.removesuffix('_backward')}.triton"
            home = importlib.import_module(_HOMES.get(name, of_op))
            with self._named(name):
                return getattr(home, "backward" if name.endswith("_backward") else "forward")(*args)
        returns_views = any(result.alias_info is not None for result in func._schema.returns)
        result = func(*args, **kwargs)
        if (func._schema.is_mutable or not returns_views) and name not in _WITHOUT_A_KERNEL:
            self.launches[name] += _KERNELS.get(name, 1)
            tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
            self.sequence.append((name, [(tensor.shape, tensor.stride()) for tensor in tensors]))
        return result

    @contextlib.contextmanager
    def _named(self, name: str) -> Iterator[None]:
        def run(*_: Any, grid: Any, **__: Any) -> None:
            self.launches[name] += 1
            self.sequence.append((name, grid))

        # A mode is off inside its own handler; what the launching function copies is to be counted.
        with mock.patch.object(JITFunction, "run", run), self:
            yield


@contextlib.contextmanager
def counting(answer: int = 1) -> Iterator[LaunchCounter]:
    """Counts what the block would do on a GPU.

    Tensors inside are fake ones of the CPU: they have shapes and no values, and the code takes the branches
    that it takes for a GPU's. Those from outside cannot be mixed in.

    Args:
        answer: What each number that the host asks for is told to be.

    Yields:
        The counter.
    """
    with (
        FakeTensorMode(),
        # The branch of a process whose Triton interprets kernels on the CPU.
        mock.patch.object(_backend, "INTERPRETED", True),
        mock.patch.object(segmentation, "_reads_counts", return_value=False),
        use_backend("triton"),
        LaunchCounter(answer) as counter,
    ):
        # What is kept on the device once for all calls must be neither real here nor fake outside.
        basic_units_kernels._on_device.cache_clear()
        yield counter
        basic_units_kernels._on_device.cache_clear()


__all__ = ["LaunchCounter", "counting"]
