import pytest
import torch

from dnachunk.alphabet import A_ID, CLS_ID, IGNORE_INDEX, MASK_ID, N_ID, PAD_ID, SEP_ID, T_ID, UNK_ID
from dnachunk.data import WindowCollator, masking
from dnachunk.data.masking import MaskingCollator, mask_bases, mask_seeds

A, C, G, T = range(A_ID, T_ID + 1)


def letters(*shape):
    return torch.randint(A_ID, T_ID + 1, shape)


def test_literal(monkeypatch):
    uniforms = {
        0: [0.14, 0.14, 0.14, 0.14, 0.16, 0.14, 0.14, 0.14],  # selection
        1: [0.79, 0.81, 0.89, 0.91, 0.10, 0.10, 0.10, 0.85],  # fate
        2: [0.99, 0.99, 0.01, 0.99, 0.99, 0.99, 0.99, 0.55],  # letter
    }

    def counter_uniform(seeds, count, stream=0):
        assert (seeds.tolist(), count) == ([3], 8)
        return torch.tensor([uniforms[stream]], dtype=torch.float64)

    monkeypatch.setattr(masking, "counter_uniform", counter_uniform)
    ids = torch.tensor([[A, C, A, G, T, N_ID, PAD_ID, G]])
    masked = mask_bases(ids, torch.tensor([3]))
    assert masked.input_ids.tolist() == [[MASK_ID, T, A, G, T, N_ID, PAD_ID, G]]
    assert masked.labels.tolist() == [[A, C, A, G, -100, -100, -100, G]]
    assert masked.is_selected.tolist() == [[True, True, True, True, False, False, False, True]]
    assert ids.tolist() == [[A, C, A, G, T, N_ID, PAD_ID, G]]


def test_rates():
    ids = letters(64, 4096)
    masked = mask_bases(ids, mask_seeds(0, torch.arange(64)))
    selected = masked.is_selected
    shown = masked.input_ids

    def check_share(is_hit, expected):
        sigma = (expected * (1 - expected) / is_hit.numel()) ** 0.5
        assert abs(is_hit.double().mean().item() - expected) < 4 * sigma

    check_share(selected, 0.15)
    check_share((shown == MASK_ID)[selected], 0.8)
    # Of the tenth that draws a letter, a quarter draws its own.
    check_share(((shown != MASK_ID) & (shown != ids))[selected], 0.075)
    replaced = selected & (shown != MASK_ID) & (shown != ids)
    for difference in (1, 2, 3):
        check_share((shown - ids)[replaced] % 4 == difference, 1 / 3)
    for letter in (A, C, G, T):
        check_share(selected[ids == letter], 0.15)
    # Independent selection: neighbours are selected together as often as chance says.
    check_share(selected[:, :-1] & selected[:, 1:], 0.0225)
    assert torch.equal(shown[~selected], ids[~selected])
    assert torch.equal(masked.labels[selected], ids[selected])
    assert (masked.labels[~selected] == IGNORE_INDEX).all()


def test_only_bases_are_selected():
    ids = torch.tensor([PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID, N_ID]).repeat(3, 50)
    ids[:, ::7] = letters(3, len(ids[0, ::7]))
    is_base = (ids >= A) & (ids <= T)
    masked = mask_bases(ids, torch.arange(3), probability=1.0)
    assert torch.equal(masked.is_selected, is_base)
    assert torch.equal(masked.input_ids[~is_base], ids[~is_base])


@pytest.mark.parametrize(
    ("mask_fraction", "random_fraction", "shown"),
    [(1.0, 0.0, {MASK_ID}), (0.0, 1.0, {A, C, G, T}), (0.0, 0.0, {A})],
)
def test_fractions(mask_fraction, random_fraction, shown):
    ids = torch.full((1, 1000), A)
    masked = mask_bases(
        ids,
        torch.tensor([5]),
        probability=1.0,
        mask_fraction=mask_fraction,
        random_fraction=random_fraction,
    )
    assert set(masked.input_ids.flatten().tolist()) == shown


def test_a_base_depends_on_its_seed_and_position_alone():
    ids = letters(4, 100)
    seeds = mask_seeds(7, torch.tensor([3, 1, 4, 15]))
    together = mask_bases(ids, seeds)
    torch.manual_seed(99)
    for row, (sequence, seed) in enumerate(zip(ids, seeds, strict=True)):
        padded = torch.cat([sequence, torch.full((37,), PAD_ID)])
        alone = mask_bases(padded[None], seed[None])
        for got, want in zip(alone, together, strict=True):
            assert torch.equal(got[0, :100], want[row])
        assert not alone.is_selected[0, 100:].any()
    # Another letter elsewhere changes nothing here.
    changed = ids.clone()
    changed[:, 50] = N_ID
    others = torch.arange(100) != 50
    assert torch.equal(mask_bases(changed, seeds).input_ids[:, others], together.input_ids[:, others])


def test_seeds():
    index = torch.tensor([0, 1, 2, 3_000_000_000])
    seeds = mask_seeds(1, index)
    assert seeds.dtype == torch.int64
    assert torch.equal(mask_seeds(1, index[2:]), seeds[2:])
    assert len({*seeds.tolist(), *mask_seeds(2, index).tolist()}) == 8
    ids = torch.full((2, 4096), A)
    selected = mask_bases(ids, seeds[:2]).is_selected
    assert abs((selected[0] & selected[1]).double().mean().item() - 0.0225) < 4 * (0.0225 / 4096) ** 0.5


def test_nothing_selected():
    ids = torch.cat([letters(1, 20), torch.full((1, 5), N_ID)], dim=1)
    masked = mask_bases(ids, torch.tensor([0]), probability=0.0)
    assert torch.equal(masked.input_ids, ids)
    assert (masked.labels == IGNORE_INDEX).all()
    assert not masked.is_selected.any()


@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_empty(shape):
    masked = mask_bases(letters(*shape), torch.arange(shape[0]))
    assert [tuple(value.shape) for value in masked] == [shape] * 3


def test_bad_input():
    ids, seeds = letters(2, 3), torch.arange(2)
    with pytest.raises(ValueError, match=r"mask_bases: input_ids must be \[B, N\], got \[3\]"):
        mask_bases(ids[0], seeds)
    with pytest.raises(TypeError, match=r"mask_bases: input_ids must be torch.int64, got torch.uint8"):
        mask_bases(ids.to(torch.uint8), seeds)
    with pytest.raises(ValueError, match=r"mask_bases: sample_seeds must be \[2\], got \[3\]"):
        mask_bases(ids, torch.arange(3))
    with pytest.raises(TypeError, match=r"mask_bases: sample_seeds must be torch.int64, got torch.int32"):
        mask_bases(ids, seeds.int())
    with pytest.raises(ValueError, match=r"mask_bases: probability must be in \[0, 1\], got 1.5"):
        mask_bases(ids, seeds, probability=1.5)
    with pytest.raises(ValueError, match=r"sum to at most 1, got 0.8 and 0.3"):
        mask_bases(ids, seeds, random_fraction=0.3)
    with pytest.raises(ValueError, match=r"must be at least 0 .* got -0.1 and 0.1"):
        mask_bases(ids, seeds, mask_fraction=-0.1)


def items(lengths, sample_index):
    return [
        {
            "input_ids": letters(length),
            "repeat_mask": torch.arange(length) % 3 == 0,
            "sample_index": torch.tensor(index),
        }
        for length, index in zip(lengths, sample_index, strict=True)
    ]


def test_collator():
    windows = items([200, 120, 200], [8, 3, 5])
    plain = WindowCollator()(windows)
    batch = MaskingCollator(probability=0.3, seed=11)(windows)
    masked = mask_bases(plain["input_ids"], mask_seeds(11, torch.tensor([8, 3, 5])), probability=0.3)
    assert 100 < masked.is_selected.sum().item() < 200
    assert torch.equal(batch["input_ids"], masked.input_ids)
    assert torch.equal(batch["labels"], masked.labels)
    assert batch.keys() == plain.keys()
    for name in ("attention_mask", "repeat_mask", "sample_index"):
        assert torch.equal(batch[name], plain[name])
    # A window is masked alike in whatever batch it comes.
    alone = MaskingCollator(probability=0.3, seed=11)(windows[1:2])
    assert torch.equal(alone["input_ids"][0], batch["input_ids"][1, :120])
    assert torch.equal(alone["labels"][0], batch["labels"][1, :120])


def test_collator_defaults():
    batch = MaskingCollator()(items([100_000], [0]))
    share = (batch["labels"] != IGNORE_INDEX).double().mean().item()
    assert abs(share - 0.15) < 4 * (0.15 * 0.85 / 100_000) ** 0.5
