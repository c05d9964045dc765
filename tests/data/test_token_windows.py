import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnachunk import DNATokenizer, FixedTokenizer
from dnachunk.alphabet import A_ID, IGNORE_INDEX, MASK_ID, N_ID, NUM_IDS, PAD_ID, is_base
from dnachunk.baselines.windows import tokenize_windows
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.data.token_windows import TokenMaskingCollator, mask_windows

NAMES = ["base", "3mer", "6mer", "3mer-overlapping", "6mer-overlapping", "bpe-60"]
OVERLAPPING = [name for name in NAMES if "overlapping" in name]
APART = [name for name in NAMES if "overlapping" not in name]


def random_windows(count, length, seed=0, n_share=0.0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(A_ID, N_ID, (count, length), generator=generator)
    return ids.masked_fill(torch.rand(ids.shape, generator=generator) < n_share, N_ID)


@pytest.fixture(scope="module")
def tokenizers():
    texts = DNATokenizer().batch_decode(random_windows(40, 200, seed=9))
    return {name: FixedTokenizer.from_name(name, texts) for name in NAMES}


def ids_of(text):
    return torch.tensor([DNATokenizer()(text)["input_ids"]])


def test_literal(tokenizers):
    ids = ids_of("ACGTTNCGTA")
    tokens = tokenize_windows(tokenizers["3mer"], ids)
    assert tokens.input_ids.tolist() == [[16, 8, 8, 9, 37, 5]]
    assert tokens.starts.tolist() == [[0, 3, 4, 5, 6, 9]]
    assert tokens.ends.tolist() == [[3, 4, 5, 6, 9, 10]]
    assert tokens.attention_mask.tolist() == [[1] * 6]
    overlapping = tokenize_windows(tokenizers["3mer-overlapping"], ids)
    assert overlapping.input_ids.tolist() == [[16, 37, 57, 8, 8, 9, 37, 54, 8, 5]]
    assert overlapping.starts.tolist() == [list(range(10))]
    assert overlapping.ends.tolist() == [[3, 4, 5, 4, 5, 6, 9, 10, 9, 10]]


def test_a_token_with_a_hidden_base_is_hidden(tokenizers):
    ids = ids_of("ACG[MASK]TACNC[MASK]")
    assert tokenize_windows(tokenizers["base"], ids).input_ids.tolist() == ids.tolist()
    assert tokenize_windows(tokenizers["3mer"], ids).input_ids.tolist() == [
        [16, MASK_ID, 6, N_ID, 6, MASK_ID]
    ]
    overlapping = tokenize_windows(tokenizers["3mer-overlapping"], ids).input_ids
    assert overlapping.tolist() == [[16, *[MASK_ID] * 3, 59, 5, 6, N_ID, 6, MASK_ID]]
    with pytest.raises(ValueError, match=r"byte-pair encoding has no token for a base that shows \[MASK\]"):
        tokenize_windows(tokenizers["bpe-60"], ids)


@pytest.mark.parametrize("name", NAMES)
def test_padding_on_the_right(tokenizers, name):
    windows = [random_windows(1, length, seed=length, n_share=0.05)[0] for length in (40, 17, 1)]
    padded = torch.nn.utils.rnn.pad_sequence(windows, batch_first=True, padding_value=PAD_ID)
    together = tokenize_windows(tokenizers[name], padded)
    for row, window in enumerate(windows):
        alone = tokenize_windows(tokenizers[name], window[None])
        length = alone.input_ids.shape[1]
        for field, value in alone._asdict().items():
            assert torch.equal(getattr(together, field)[row, :length], value[0]), field
            assert not getattr(together, field)[row, length:].any()


def test_of_single_bases_the_mask_is_that_of_all_models(tokenizers):
    ids, seeds = random_windows(5, 400, n_share=0.05), mask_seeds(3, torch.arange(5))
    expected = mask_bases(ids, seeds)
    masked = mask_windows(tokenizers["base"], ids, seeds)
    assert torch.equal(masked.input_ids, expected.input_ids)
    assert torch.equal(masked.labels, expected.labels)


@pytest.mark.parametrize("name", APART)
def test_tokens_are_selected_and_corrupted_at_the_rates(tokenizers, name):
    tokenizer = tokenizers[name]
    ids, seeds = random_windows(200, 300, n_share=0.01), mask_seeds(1, torch.arange(200))
    tokens, masked = tokenize_windows(tokenizer, ids), mask_windows(tokenizer, ids, seeds)
    is_selected = masked.labels != IGNORE_INDEX
    lengths = tokens.ends - tokens.starts
    can_be = is_base(tokens.input_ids) | (tokens.input_ids >= NUM_IDS)
    assert not (is_selected & ~can_be).any()
    assert torch.equal(masked.labels[is_selected], tokens.input_ids[is_selected])
    assert torch.equal(masked.input_ids[~is_selected], tokens.input_ids[~is_selected])
    assert torch.equal(masked.attention_mask, tokens.attention_mask)
    assert is_selected[can_be].double().mean() == pytest.approx(0.15, abs=0.01)
    assert lengths[is_selected].sum() / lengths[can_be].sum() == pytest.approx(0.15, abs=0.01)
    shown, true_ids = masked.input_ids[is_selected], masked.labels[is_selected]
    assert (shown == MASK_ID).double().mean() == pytest.approx(0.8, abs=0.02)
    num_choices = len(tokenizer) - 6
    same = 0.1 + 0.1 / num_choices
    assert (shown == true_ids).double().mean() == pytest.approx(same, abs=0.02)
    replaced = shown[(shown != MASK_ID) & (shown != true_ids)]
    assert (is_base(replaced) | (replaced >= NUM_IDS)).all()
    assert replaced.max() < len(tokenizer)
    if num_choices < 60:
        assert len(replaced.unique()) == num_choices


@pytest.mark.parametrize("name", OVERLAPPING)
def test_of_overlapping_words_spans_of_bases_are_hidden(tokenizers, name):
    tokenizer = tokenizers[name]
    k = tokenizer.kind.k
    ids, seeds = random_windows(100, 40 * k), mask_seeds(1, torch.arange(100))
    # Beside an N some more bases are in no visible word.
    ids[50:] = random_windows(50, 40 * k, n_share=0.01)
    tokens, masked = tokenize_windows(tokenizer, ids), mask_windows(tokenizer, ids, seeds)
    bases = mask_bases(ids, seeds, span_bp=k)
    assert bases.is_selected[is_base(ids)].double().mean() == pytest.approx(0.15, abs=0.02)
    is_hidden = bases.input_ids == MASK_ID
    assert is_hidden.sum() / bases.is_selected.sum() == pytest.approx(0.8, abs=0.04)
    is_labelled = masked.labels != IGNORE_INDEX
    for row in range(len(ids)):
        visible = set()
        for place, (start, end) in enumerate(zip(tokens.starts[row], tokens.ends[row], strict=True)):
            span = slice(int(start), int(end))
            assert is_labelled[row, place] == bases.is_selected[row, span].any()
            assert (masked.input_ids[row, place] == MASK_ID) == is_hidden[row, span].any()
            if masked.input_ids[row, place] != MASK_ID:
                visible |= set(range(int(start), int(end)))
        shown = set((~is_hidden[row]).nonzero()[:, 0].tolist())
        assert visible == shown if row < 50 else visible <= shown
    assert torch.equal(masked.labels[is_labelled], tokens.input_ids[is_labelled])
    # A selected span that is shown as it is changes nothing.
    unchanged = ~tokens.have(bases.input_ids != ids)
    assert torch.equal(masked.input_ids[unchanged], tokens.input_ids[unchanged])


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([name for name in NAMES if "mer" in name or name == "base"]),
    st.integers(0, 10_000),
    st.data(),
)
def test_nothing_of_what_is_hidden_can_be_seen(tokenizers, name, seed, data):
    tokenizer = tokenizers[name]
    ids, seeds = random_windows(1, 60, seed, n_share=0.03), mask_seeds(seed, torch.tensor([seed]))
    arguments = {"probability": 0.3, "mask_fraction": 0.7, "random_fraction": 0.3}
    before = mask_windows(tokenizer, ids, seeds, **arguments)
    if tokenizer.kind.is_overlapping:
        is_selected = mask_bases(ids, seeds, span_bp=tokenizer.kind.k, **arguments).is_selected[0]
    else:
        tokens = tokenize_windows(tokenizer, ids)
        is_selected = torch.zeros(60, dtype=torch.bool)
        for place in (before.labels[0] != IGNORE_INDEX).nonzero()[:, 0]:
            is_selected[tokens.starts[0, place] : tokens.ends[0, place]] = True
    places = is_selected.nonzero()[:, 0].tolist()
    changed = ids.clone()
    for place in places:
        changed[0, place] = data.draw(st.integers(A_ID, A_ID + 3))
    after = mask_windows(tokenizer, changed, seeds, **arguments)
    assert torch.equal(after.input_ids, before.input_ids)
    assert torch.equal(after.labels == IGNORE_INDEX, before.labels == IGNORE_INDEX)
    for place in places:
        one = ids.clone()
        one[0, place] = A_ID + (ids[0, place] - A_ID + 1) % 4
        assert torch.equal(mask_windows(tokenizer, one, seeds, **arguments).input_ids, before.input_ids)


def test_what_byte_pairs_hide_is_not_in_the_input(tokenizers):
    # The tokens beside it are, though, and they were cut with it in sight.
    tokenizer = tokenizers["bpe-60"]
    ids, seeds = random_windows(20, 200), mask_seeds(0, torch.arange(20))
    tokens = tokenize_windows(tokenizer, ids)
    masked = mask_windows(tokenizer, ids, seeds, mask_fraction=1.0, random_fraction=0.0)
    is_selected = masked.labels != IGNORE_INDEX
    assert (masked.input_ids[is_selected] == MASK_ID).all()
    assert torch.equal(masked.input_ids[~is_selected], tokens.input_ids[~is_selected])


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_hangs_on_seed_and_sample_alone(tokenizers, name):
    tokenizer = tokenizers[name]
    windows = [random_windows(1, length, seed=length)[0] for length in (120, 61, 120)]
    items = [
        {
            "input_ids": ids,
            "repeat_mask": torch.zeros(len(ids), dtype=torch.bool),
            "sample_index": torch.tensor(i),
        }
        for ids, i in zip(windows, (7, 2, 5_000_000_000), strict=True)
    ]
    collate = TokenMaskingCollator(tokenizer, seed=4)
    together = collate(items)
    assert set(together) == {"input_ids", "attention_mask", "labels"}
    for row, item in enumerate(items):
        alone = collate([item])
        length = alone["input_ids"].shape[1]
        for field, value in alone.items():
            assert torch.equal(together[field][row, :length], value[0]), field
        assert (together["labels"][row, length:] == IGNORE_INDEX).all()
        assert torch.equal(collate([item])["input_ids"], alone["input_ids"])
    assert not torch.equal(TokenMaskingCollator(tokenizer, seed=5)(items)["input_ids"], together["input_ids"])


def test_spans_of_bases_share_their_fate():
    ids, seeds = random_windows(50, 100), mask_seeds(2, torch.arange(50))
    spans = mask_bases(ids, seeds, span_bp=8)
    by_span = spans.is_selected[:, :96].unflatten(1, (12, 8))
    assert torch.equal(by_span.any(dim=2), by_span.all(dim=2))
    shows_mask = (spans.input_ids == MASK_ID)[:, :96].unflatten(1, (12, 8))
    assert torch.equal(shows_mask.any(dim=2), shows_mask.all(dim=2))
    # A span has the fate of its first base.
    alone = mask_bases(ids, seeds)
    assert torch.equal(spans.is_selected[:, ::8], alone.is_selected[:, ::8])
    assert torch.equal(spans.input_ids[:, ::8], alone.input_ids[:, ::8])
    for field, value in mask_bases(ids, seeds, span_bp=1)._asdict().items():
        assert torch.equal(value, getattr(alone, field))
    with pytest.raises(ValueError, match="mask_bases: span_bp must be at least 1, got 0"):
        mask_bases(ids, seeds, span_bp=0)
