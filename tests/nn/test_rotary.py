import math

import pytest
import torch

from dnachunk.nn import RotaryEmbedding
from dnachunk.nn.rotary import token_positions
from dnachunk.ops import rotary


def turn(x, positions, rope):
    """``x [L, d]`` as the queries of one head, turned by its positions."""
    qkv = x[None, :, None, None].expand(-1, -1, 3, -1, -1)
    return rotary(qkv, *(part.to(x.dtype) for part in rope(positions[None])))[0, :, 0, 0]


def test_angles_literal():
    cos, sin = RotaryEmbedding(4, base=100.0)(torch.tensor([[0, 1, 10]]))
    angles = torch.tensor([[[0.0, 0.0], [1.0, 0.1], [10.0, 1.0]]])
    torch.testing.assert_close(cos, angles.cos())
    torch.testing.assert_close(sin, angles.sin())


def test_wavelengths_are_those_of_the_paper():
    cos, _ = RotaryEmbedding(64)(torch.tensor([[1.0]], dtype=torch.float64))
    expected = [math.cos(10_000 ** (-2 * i / 64)) for i in range(32)]
    torch.testing.assert_close(cos[0, 0], torch.tensor(expected, dtype=torch.float64))


def test_only_the_distance_matters():
    rope = RotaryEmbedding(16)
    query, key = torch.randn(2, 1, 16, dtype=torch.float64)
    at = torch.tensor([0.0, 3.0, 100.5, 4095.0], dtype=torch.float64)
    for distance in (0.0, 1.0, 2.5, 100.0):
        queries = turn(query.expand(4, -1), at, rope)
        keys = turn(key.expand(4, -1), at + distance, rope)
        products = (queries * keys).sum(dim=1)
        torch.testing.assert_close(products, products[:1].expand(4))
    near, far = (turn(key, torch.tensor([p], dtype=torch.float64), rope) @ query.T for p in (1.0, 5.0))
    assert abs(near - far) > 1e-3


def test_turning_keeps_the_norm():
    x = torch.randn(7, 16, dtype=torch.float64)
    turned = turn(x, torch.arange(7, dtype=torch.float64) * 31.5, RotaryEmbedding(16))
    torch.testing.assert_close(turned.norm(dim=1), x.norm(dim=1))
    assert torch.equal(turned[0], x[0])


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_angles_are_float32_whatever_the_module_and_autocast_say(dtype):
    positions = torch.tensor([[0, 1, 250]], dtype=dtype)
    rope = RotaryEmbedding(8)
    cos, sin = rope(positions.float())
    with torch.autocast("cpu", torch.bfloat16):
        others = [rope(positions), rope.to(torch.bfloat16)(positions)]
    for other_cos, other_sin in others:
        assert other_cos.dtype == other_sin.dtype == torch.float32
        assert torch.equal(other_cos, cos)
        assert torch.equal(other_sin, sin)


def test_nothing_is_saved():
    assert not RotaryEmbedding(8).state_dict()


@pytest.mark.parametrize("head_dim", [0, 1, 7, -2])
def test_bad_head_dim(head_dim):
    with pytest.raises(ValueError, match=f"head_dim must be even and positive, got {head_dim}"):
        RotaryEmbedding(head_dim)


def test_token_positions_literal():
    # Bases 0-2, 3, 4-5 | 0, 1-4.
    sizes = torch.tensor([[3, 1, 2, 0], [1, 4, 0, 0]])
    positions = token_positions(sizes)
    assert positions.dtype == torch.float32
    assert positions[0, :3].tolist() == [1.0, 3.0, 4.5]
    assert positions[1, :2].tolist() == [0.0, 2.5]


def test_token_positions_are_exact_far_from_the_start():
    sizes = torch.cat([torch.full((1, 1), 4_000_000), torch.tensor([[1, 2, 3]])], dim=1)
    assert token_positions(sizes)[0].tolist() == [1_999_999.5, 4_000_000.0, 4_000_001.5, 4_000_004.0]
    assert torch.equal(token_positions(torch.ones(1, 500, dtype=torch.int64))[0], torch.arange(500.0))
