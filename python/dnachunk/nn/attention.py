"""Self-attention over a whole sequence and inside windows."""

import functools
import importlib.util

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dnachunk.nn.norm import projection_dtype
from dnachunk.nn.rotary import RotaryEmbedding, Rotation
from dnachunk.ops import backend_of, rotary, window_attention
from dnachunk.ops._backend import reads_values
from dnachunk.ops._check import check_dtype, check_shape
from dnachunk.ops._lengths import full_lengths, real_positions
from dnachunk.ops.rotary.naive import rotary_naive


def _angles_beside(qkv: torch.Tensor, rotation: Rotation) -> Rotation:
    """The angles in the dtype that operations compute in: float64 beside float64, float32 otherwise."""
    dtype = torch.float64 if qkv.dtype == torch.float64 else torch.float32
    cos, sin = rotation
    return cos.to(dtype), sin.to(dtype)


def _attend_in_windows(
    qkv: torch.Tensor,
    rotation: Rotation,
    lengths: torch.Tensor | None,
    window: int,
    shift: int = 0,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    if lengths is None:
        lengths = full_lengths(qkv)
    cos, sin = _angles_beside(qkv, rotation)
    bias = None if bias is None else bias.to(cos.dtype)
    return window_attention(qkv, cos, sin, lengths, window, shift, bias).flatten(2)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: torch.Tensor | None,
    bias: torch.Tensor | None,
    implementation: str,
) -> torch.Tensor:
    """``[B, H, L, d]`` queries over the first ``lengths`` of ``[B, H, K, d]`` keys, to ``[B, L, H d]``."""
    if lengths is not None:
        is_real = real_positions(lengths, key.shape[2])
        bias = torch.where(is_real, 0.0 if bias is None else bias, -torch.inf)
    if bias is not None:
        bias = bias[:, None, None, :].to(query.dtype)
    if implementation == "eager":
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if bias is not None:
            scores = scores + bias
        accumulator = torch.float64 if scores.dtype == torch.float64 else torch.float32
        mixed = torch.softmax(scores, dim=-1, dtype=accumulator).to(query.dtype) @ value
    else:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return mixed.transpose(1, 2).flatten(2)


def _attend_to_spans(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, offsets: torch.Tensor, longest: int
) -> torch.Tensor:
    """``[T, H, d]`` rows over those of their span, which ``offsets`` begin and end, to ``[T, H d]``."""
    # Older releases have none.
    from torch.nn.attention.varlen import varlen_attn

    # cuDNN's kernel, which torch prefers, is not made for spans of no rows before its release 9.25.
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        mixed = varlen_attn(query, key, value, offsets, offsets, longest, longest)
    assert isinstance(mixed, torch.Tensor)
    return mixed.flatten(1)


@functools.cache
def _has_spans(device: torch.device) -> bool:
    """Whether torch's attention over spans runs on a device: from torch 2.10 and Ampere on."""
    return (
        device.type == "cuda"
        and torch.version.hip is None
        and importlib.util.find_spec("torch.nn.attention.varlen") is not None
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


# torch.compile takes the answer for a constant instead of tracing the question.
@torch.compiler.assume_constant_result
def _takes_spans(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    return (
        dtype in (torch.bfloat16, torch.float16)
        and head_dim % 8 == 0
        and head_dim <= 256
        and _has_spans(device)
    )


def keys_to_attend(
    x: torch.Tensor,
    lengths: torch.Tensor | None,
    head_dim: int,
    implementation: str = "sdpa",
    bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """What tells :class:`SelfAttention` of padding, made once for all layers over the same positions.

    A mask costs scaled dot-product attention its flash kernel. Where torch has attention over spans of rows
    (CUDA from Ampere on, bfloat16 or float16), each sequence is a span and its padding another, which no
    length is read back for and no row moved.

    Args:
        x: ``[B, L, any]``, as the layers take it.
        lengths: ``[B]`` int64 real positions, at least 1; ``None`` where there is no padding.
        head_dim: Channels of the layers' heads.
        implementation: That of the layers.
        bias: ``[B, L]`` added to the scores of each position as a key, −inf on padding; default none.

    Returns:
        ``lengths``, ``bias`` and ``offsets`` for :meth:`SelfAttention.forward`.
    """
    if lengths is None or backend_of("window_attention", x) == "rust":
        return lengths, bias, None
    batch, length = x.shape[:2]
    dtype = projection_dtype(x)
    # Of no rows at all there is no span either.
    has_spans = bias is None and implementation == "sdpa" and batch * length > 0
    if has_spans and _takes_spans(x.device, dtype, head_dim):
        offsets = torch.arange(2 * batch + 1, device=x.device, dtype=torch.int32) // 2 * length
        offsets[1::2] += lengths.clamp(0, length)
        return None, None, offsets
    if bias is None:
        bias = torch.zeros(batch, length, device=x.device, dtype=dtype)
        bias.masked_fill_(~real_positions(lengths, length), -torch.inf)
    return None, bias, None


def _check_implementation(module: str, implementation: str) -> str:
    if implementation not in ("sdpa", "eager"):
        raise ValueError(f"{module}: implementation must be 'sdpa' or 'eager', got {implementation!r}")
    return implementation


class _SelfAttentionBase(nn.Module):
    """Packed projection, rotary positions, output projection.

    Args:
        d_model: Channels in and out.
        num_heads: Heads; must divide ``d_model`` into even parts.
        rope_base: Wavelength base of the rotary positions.
        projection_bias: Whether the projections have a bias.

    Raises:
        ValueError: If the heads do not fit.
    """

    def __init__(
        self, d_model: int, num_heads: int, rope_base: float = 10_000.0, projection_bias: bool = False
    ) -> None:
        super().__init__()
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(
                f"{type(self).__name__}: num_heads must divide d_model = {d_model}, got {num_heads}"
            )
        self.num_heads = num_heads
        self.rotary = RotaryEmbedding(d_model // num_heads, rope_base)
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=projection_bias)
        self.out = nn.Linear(d_model, d_model, bias=projection_bias)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """``x [B, L, d_model]`` to queries, keys and values, ``[B, L, 3, H, d]``, before rotation."""
        return self.qkv(x).unflatten(-1, (3, self.num_heads, -1))

    def _rotation(self, x: torch.Tensor, rotation: Rotation | None) -> Rotation:
        if rotation is None:
            rotation = self.rotary(torch.arange(x.shape[1], device=x.device)[None])
        return rotation


class WindowAttention(_SelfAttentionBase):
    """Self-attention inside consecutive windows: MergeDNA's local attention, linear in length.

    Args:
        d_model: Channels in and out.
        num_heads: Heads; must divide ``d_model`` into even parts.
        window: Positions in a window.
        shift: Positions in the first window if not 0.
        rope_base: Wavelength base of the rotary positions.

    Raises:
        ValueError: If the heads do not fit.
    """

    def __init__(
        self, d_model: int, num_heads: int, window: int = 16, shift: int = 0, rope_base: float = 10_000.0
    ) -> None:
        super().__init__(d_model, num_heads, rope_base)
        self.window = window
        self.shift = shift

    def attend(
        self,
        qkv: torch.Tensor,
        rotation: Rotation,
        lengths: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """``qkv [B, L, 3, H, d]`` to ``[B, L, d_model]``; the rest as in :meth:`forward`."""
        return self.out(_attend_in_windows(qkv, rotation, lengths, self.window, self.shift, bias))

    def forward(
        self,
        x: torch.Tensor,
        rotation: Rotation | None = None,
        lengths: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attends.

        Args:
            x: ``[B, L, d_model]``.
            rotation: Angles of :class:`RotaryEmbedding` for the positions; default 0, 1, 2, ….
            lengths: ``[B]`` int64 real positions; default all.
            bias: ``[B, L]`` float, added to the scores of each position as a key; default none.

        Returns:
            ``[B, L, d_model]``, 0 on padding.
        """
        return self.attend(self.project(x), self._rotation(x, rotation), lengths, bias)


class SelfAttention(_SelfAttentionBase):
    """Full self-attention.

    Runs :func:`torch.nn.functional.scaled_dot_product_attention`; on the CPU the kernel of
    :func:`dnachunk.ops.window_attention` with one window, which is up to twice as fast there.

    Args:
        d_model: Channels in and out.
        num_heads: Heads; must divide ``d_model`` into even parts.
        rope_base: Wavelength base of the rotary positions.
        implementation: ``"sdpa"`` for the above, ``"eager"`` for the same written out in matrix products.
        projection_bias: Whether the projections have a bias.

    Raises:
        ValueError: If the heads do not fit, or the implementation is neither.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        rope_base: float = 10_000.0,
        implementation: str = "sdpa",
        projection_bias: bool = False,
    ) -> None:
        super().__init__(d_model, num_heads, rope_base, projection_bias)
        self.implementation = _check_implementation("SelfAttention", implementation)

    def attend(
        self,
        qkv: torch.Tensor,
        rotation: Rotation,
        lengths: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        offsets: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """``qkv [B, L, 3, H, d]`` to ``[B, L, d_model]``; the rest as in :meth:`forward`."""
        if self.implementation == "sdpa" and backend_of("window_attention", qkv) == "rust":
            return self.out(_attend_in_windows(qkv, rotation, lengths, max(qkv.shape[1], 1), bias=bias))
        qkv = rotary(qkv, *_angles_beside(qkv, rotation))
        if offsets is not None:
            query, key, value = qkv.flatten(0, 1).unbind(1)
            mixed = _attend_to_spans(query, key, value, offsets, qkv.shape[1])
            return self.out(mixed.unflatten(0, qkv.shape[:2]))
        query, key, value = qkv.transpose(1, 3).unbind(2)
        return self.out(_attend(query, key, value, lengths, bias, self.implementation))

    def forward(
        self,
        x: torch.Tensor,
        rotation: Rotation | None = None,
        lengths: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        offsets: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attends.

        Args:
            x: ``[B, L, d_model]``.
            rotation: Angles of :class:`RotaryEmbedding` for the positions; default 0, 1, 2, ….
            lengths: ``[B]`` int64 real positions, at least 1; default all. Padding is attended to by none.
            bias: ``[B, L]`` float, added to the logits of each key: ``log s`` makes the attention
                proportional to sizes, −inf excludes a key.
            offsets: Of :func:`keys_to_attend`, in place of both: ``[2 B + 1]`` int32, where among the rows
                of all sequences each begins, where its padding begins, and their end.

        Returns:
            ``[B, L, d_model]``; rows of padding are finite and mean nothing.
        """
        return self.attend(self.project(x), self._rotation(x, rotation), lengths, bias, offsets)


class CrossAttention(nn.Module):
    """Attention of one sequence to another, each with rotary positions of its own; no biases.

    Args:
        d_model: Channels in and out.
        num_heads: Heads; must divide ``d_model`` into even parts.
        rope_base: Wavelength base of the rotary positions.
        implementation: ``"sdpa"`` or ``"eager"``, as in :class:`SelfAttention`.

    Raises:
        ValueError: If the heads do not fit, or the implementation is neither.
    """

    def __init__(
        self, d_model: int, num_heads: int, rope_base: float = 10_000.0, implementation: str = "sdpa"
    ) -> None:
        super().__init__()
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(f"CrossAttention: num_heads must divide d_model = {d_model}, got {num_heads}")
        self.num_heads = num_heads
        self.rotary = RotaryEmbedding(d_model // num_heads, rope_base)
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key_value = nn.Linear(d_model, 2 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.implementation = _check_implementation("CrossAttention", implementation)

    def forward(
        self,
        x: torch.Tensor,
        memory: torch.Tensor,
        positions: torch.Tensor,
        memory_positions: torch.Tensor,
        memory_lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attends.

        Args:
            x: ``[B, L, d_model]``, the queries.
            memory: ``[B, K, d_model]``, keys and values.
            positions: ``[B or 1, L]`` of the queries, in the units of ``memory_positions``.
            memory_positions: ``[B or 1, K]``.
            memory_lengths: ``[B]`` int64 real rows of ``memory``, at least 1; default all.

        Returns:
            ``[B, L, d_model]``.

        Raises:
            TypeError: If ``memory_lengths`` is not int64.
            ValueError: On another shape of it, and on the CPU on one out of range.
        """
        if memory_lengths is not None:
            check_shape("CrossAttention", "memory_lengths", memory_lengths, (x.shape[0],))
            check_dtype("CrossAttention", "memory_lengths", memory_lengths, torch.int64)
            if reads_values(memory_lengths):
                wrong = memory_lengths[(memory_lengths < 1) | (memory_lengths > memory.shape[1])]
                if len(wrong):
                    expected = f"in [1, {memory.shape[1]}]"
                    raise ValueError(
                        f"CrossAttention: memory_lengths must be {expected}, got {int(wrong[0])}"
                    )
        query = self.query(x).unflatten(-1, (1, self.num_heads, -1))
        key, value = self.key_value(memory).unflatten(-1, (2, self.num_heads, -1)).split(1, dim=2)
        query = rotary_naive(query, *_angles_beside(query, self.rotary(positions)))
        key = rotary_naive(key, *_angles_beside(key, self.rotary(memory_positions)))
        query, key, value = (part.squeeze(2).transpose(1, 2) for part in (query, key, value))
        return self.out(_attend(query, key, value, memory_lengths, None, self.implementation))
