import subprocess
import sys

import pytest
import torch

from dnachunk.ops import global_match, use_backend
from dnachunk.ops.global_match import global_match_naive, global_match_torch
from tests.support import op_case

# Codes of ±1 over a square number of channels: unit vectors, inner products and their rounding are exact in
# every dtype, and so few scores are possible that most of them tie.
CHANNELS = 16


def counts(*values):
    return torch.tensor(values, dtype=torch.int64)


def most_merges(lengths):
    return torch.where(lengths < 2, 0, (lengths + 1) // 2)


def sample(length=63):
    metric = torch.randint(0, 2, (4, length, CHANNELS)) * 2.0 - 1.0
    lengths = counts(length, length, max(length - 1, 0), length // 2)
    most = most_merges(lengths)
    num_merges = torch.stack([most[0], most[1] // 2, most[2] // 3, most[3] * 0])
    return {"metric": metric, "lengths": lengths, "num_merges": num_merges}


def test_literal():
    metric = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [3.0, 0.0], [0.6, 0.8]]])
    # Candidates 0, 2, 4 propose to 3 (score 1), 1 (score 1), 1 (score 0.8).
    expected = {0: [0, 1, 2, 3, 4], 1: [2, 0, 1, 2, 3], 2: [1, 0, 0, 1, 2], 3: [1, 0, 0, 1, 0]}
    for num_merges, token_index in expected.items():
        for form in (global_match, global_match_naive, global_match_torch):
            assert form(metric, counts(5), counts(num_merges)).tolist() == [token_index]


def test_scores_are_compared_on_the_grid():
    # 1 - 2^-14 rounds to 1, so the first of two keepers wins although the second is nearer.
    near = torch.tensor([1.0, 2**-6.5])
    metric = torch.stack([torch.tensor([1.0, 0.0]), near, torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])])
    for form in (global_match, global_match_naive, global_match_torch):
        assert form(metric[None], counts(4), counts(1)).tolist() == [[0, 0, 1, 2]]


def test_rounding_is_half_to_even():
    # 40.5 and 41.5 steps of 2^-12, rounded to 40 and 42; then to 41.5 and 42, which tie.
    def metric(first, second):
        keepers = [[step / 4096, (1 - (step / 4096) ** 2) ** 0.5] for step in (first, second)]
        return torch.tensor([[[1.0, 0.0], keepers[0], [0.0, 0.0], keepers[1]]], dtype=torch.float64)

    for form in (global_match, global_match_naive, global_match_torch):
        assert form(metric(40.0, 40.5), counts(4), counts(1)).tolist() == [[0, 0, 1, 2]]
        assert form(metric(41.0, 41.5), counts(4), counts(1)).tolist() == [[2, 0, 1, 2]]


@pytest.mark.parametrize("dtype", op_case.DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 3, 63, 1000])
def test_against_naive(dtype, length):
    op_case.check_against_naive(global_match, global_match_naive, sample(length), [], dtype, ["metric"])


@pytest.mark.parametrize("length", [1, 2, 3, 63, 1000])
def test_torch_form(length, monkeypatch):
    monkeypatch.setattr(sys.modules["dnachunk.ops.global_match.naive"], "_TILE_ELEMENTS", 40_000)
    op_case.check_torch_form(global_match, sample(length), [])


@pytest.mark.parametrize("length", [2, 7, 130, 700])
@pytest.mark.parametrize("value", [1.0, 0.0], ids=["equal", "zero"])
def test_all_equal(length, value):
    # Every score ties: the first candidates join the first keeper, which lies at place 1.
    num_merges = (length + 1) // 4
    metric = torch.full((1, length, 4), value)
    absorbed = set(range(0, 2 * num_merges, 2))
    survivors = [i for i in range(length) if i not in absorbed]
    expected = [survivors.index(1 if i in absorbed else i) for i in range(length)]
    for form in (global_match, global_match_torch):
        assert form(metric, counts(length), counts(num_merges)).tolist() == [expected]


def test_no_channels():
    kwargs = {"metric": torch.empty(1, 5, 0), "lengths": counts(5), "num_merges": counts(2)}
    assert global_match(**kwargs).tolist() == [[0, 0, 0, 1, 2]]
    op_case.check_torch_form(global_match, kwargs, [])


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3)])
def test_empty(shape):
    zeros = torch.zeros(shape[0], dtype=torch.int64)
    for form in (global_match, global_match_torch):
        assert torch.equal(form(torch.randn(shape), zeros, zeros), torch.empty(shape[:2], dtype=torch.int64))


def test_vectors_that_are_not_numbers_come_last():
    kwargs = sample(63)
    kwargs["metric"][:, 4] = torch.nan
    kwargs["metric"][:, 7, 0] = torch.inf
    kwargs["metric"][:, 9] = 0.0
    op_case.check_torch_form(global_match, kwargs, [])
    assert torch.equal(global_match(**kwargs), global_match_naive(**kwargs))
    everything = {**kwargs, "metric": torch.full_like(kwargs["metric"], torch.nan)}
    assert torch.equal(global_match(**everything), global_match_naive(**everything))


@pytest.mark.parametrize("form", [global_match, global_match_torch])
@pytest.mark.parametrize(("length", "num_merges"), [(2, 1), (257, 129), (600, 100), (600, 1), (600, 0)])
def test_random_matching_is_valid_and_best(form, length, num_merges):
    metric = torch.randn(1, length, 24)
    token_index = form(metric, counts(length), counts(num_merges))[0]
    numbers, sizes = token_index.unique(return_counts=True)
    assert torch.equal(numbers, torch.arange(length - num_merges))
    # A token holds one survivor: its keeper, or a candidate that nothing took in.
    keeper_token = token_index[1::2]
    assert keeper_token.unique().numel() == length // 2
    joined = torch.isin(token_index[0::2], keeper_token)
    assert joined.sum() == num_merges
    alone = torch.isin(token_index, token_index[0::2][~joined])
    assert (sizes[token_index[alone]] == 1).all()
    # Tokens are numbered in the order of their survivors.
    survives = torch.ones(length, dtype=torch.bool)
    survives[0::2] = ~joined
    assert torch.equal(token_index[survives], torch.arange(length - num_merges))
    # Each accepted pair is a best one, and no rejected candidate has a better, to within a step of the grid.
    unit = torch.nn.functional.normalize(metric[0].double(), dim=-1)
    scores = unit[0::2] @ unit[1::2].T
    best = scores.amax(dim=1)
    keepers = torch.empty(length - num_merges, dtype=torch.int64)
    keepers[keeper_token] = torch.arange(length // 2)
    chosen = scores[joined].gather(1, keepers[token_index[0::2][joined], None])[:, 0]
    step = 2**-12 + 1e-6
    assert (chosen >= best[joined] - step).all()
    if 0 < num_merges < joined.numel():
        assert chosen.min() >= best[~joined].max() - step


def test_padding_is_inert():
    kwargs = sample(200)
    kwargs["lengths"] = counts(200, 131, 2, 0)
    kwargs["num_merges"] = counts(60, 66, 1, 0)
    clean = global_match(**kwargs)
    is_padding = torch.arange(200) >= kwargs["lengths"][:, None]
    for garbage in (torch.nan, torch.inf, 1.0):
        dirty = kwargs["metric"].masked_fill(is_padding[..., None], garbage)
        for form in (global_match, global_match_torch, global_match_naive):
            assert torch.equal(form(dirty, kwargs["lengths"], kwargs["num_merges"]), clean)
    assert torch.equal(clean < 0, is_padding)
    for b, (length, num_merges) in enumerate(zip(kwargs["lengths"], kwargs["num_merges"], strict=True)):
        alone = global_match(kwargs["metric"][b : b + 1, :length], length[None], num_merges[None])
        assert torch.equal(clean[b, :length], alone[0])


def test_gives_no_gradient():
    kwargs = sample(9)
    kwargs["metric"].requires_grad_()
    for backend in ("rust", "torch"):
        with use_backend(backend):
            assert not global_match(**kwargs).requires_grad


def test_autocast_keeps_the_precision_of_scores():
    metric = torch.randn(1, 512, 32)
    for backend in ("rust", "torch"):
        with use_backend(backend):
            expected = global_match(metric, counts(512), counts(100))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert torch.equal(global_match(metric, counts(512), counts(100)), expected)


def test_compiles_whole():
    kwargs = sample(40)
    compiled = torch.compile(global_match, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(**kwargs), global_match(**kwargs))


def test_views():
    op_case.check_views(global_match, sample(), [])


def test_threads():
    kwargs = {
        "metric": torch.randn(2, 1500, 20),
        "lengths": counts(1500, 700),
        "num_merges": counts(400, 350),
    }
    op_case.check_threads(global_match, kwargs, [])


def test_opcheck():
    op_case.opcheck("global_match", *sample(11).values())


MEMORY = """
import sys, torch
from dnachunk.ops import global_match, use_backend
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
metric = torch.randn(1, 65536, 64)
global_match(metric[:, :256], torch.tensor([256]), torch.tensor([100]))
before = peak()
with use_backend(sys.argv[1]):
    token_index = global_match(metric, torch.tensor([65536]), torch.tensor([20000]))
assert token_index.max() == 65536 - 20000 - 1
print(peak() - before)
"""


@pytest.mark.parametrize("backend", ["rust", pytest.param("torch", marks=pytest.mark.slow)])
def test_memory_grows_linearly(backend):
    # The similarities alone would take 4 GiB.
    child = subprocess.run(
        [sys.executable, "-c", MEMORY, backend], capture_output=True, text=True, check=False, timeout=300
    )
    assert child.returncode == 0, child.stderr
    limit_kib = {"rust": 64 << 10, "torch": 1 << 20}[backend]
    assert int(child.stdout) < limit_kib


def test_bad_input():
    kwargs = sample(7)
    with pytest.raises(ValueError, match=r"global_match: metric must be \[B, L, C\], got \[7, 16\]"):
        global_match(**{**kwargs, "metric": kwargs["metric"][0]})
    with pytest.raises(
        TypeError, match="metric must be float32, float64, bfloat16 or float16, got torch.int64"
    ):
        global_match(**{**kwargs, "metric": kwargs["metric"].long()})
    with pytest.raises(ValueError, match=r"lengths must be \[4\], got \[3\]"):
        global_match(**{**kwargs, "lengths": kwargs["lengths"][:3]})
    with pytest.raises(TypeError, match=r"num_merges must be torch.int64, got torch.int32"):
        global_match(**{**kwargs, "num_merges": kwargs["num_merges"].int()})
    with pytest.raises(ValueError, match=r"lengths must be in \[0, 7\], got 8"):
        global_match(**{**kwargs, "lengths": counts(7, 8, 1, 0)})
    with pytest.raises(ValueError, match=r"lengths must be in \[0, 7\], got -1"):
        global_match(**{**kwargs, "lengths": counts(-1, 7, 1, 0)})
    with pytest.raises(ValueError, match=r"num_merges must be in \[0, 4\] for sequence 1, got 5"):
        global_match(**{**kwargs, "num_merges": counts(4, 5, 0, 0)})
    with pytest.raises(ValueError, match=r"num_merges must be in \[0, 0\] for sequence 0, got 1"):
        global_match(kwargs["metric"][:1], counts(1), counts(1))
    with pytest.raises(ValueError, match=r"num_merges must be in \[0, 4\] for sequence 0, got -1"):
        global_match(**{**kwargs, "num_merges": counts(-1, 0, 0, 0)})


def test_torch_form_without_channels():
    kwargs = {"metric": torch.empty(2, 1, 0), "lengths": counts(1, 0), "num_merges": counts(0, 0)}
    op_case.check_torch_form(global_match, kwargs, [])


def test_shapes_on_the_device_meta():
    kwargs = {name: tensor.to("meta") for name, tensor in sample().items()}
    assert global_match(**kwargs).shape == (4, 63)
