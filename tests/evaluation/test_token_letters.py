import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from dnachunk import DNATokenizer, FixedTokenizer
from dnachunk.alphabet import A_ID, MASK_ID, N_ID, NUM_IDS, PAD_ID, T_ID
from dnachunk.baselines.windows import tokenize_windows
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.evaluation import evaluate_masked_bases
from dnachunk.evaluation.token_letters import hidden_base_logits

KMERS = ["base", "2mer", "3mer", "2mer-overlapping", "3mer-overlapping"]


class FixedLogits:
    """A model that answers the same whatever it sees, and notes what it saw."""

    def __init__(self, logits):
        self.logits = logits

    def __call__(self, input_ids, attention_mask):
        self.seen = input_ids, attention_mask
        return SimpleNamespace(logits=self.logits[: len(input_ids), : input_ids.shape[1]])


def ids_of(*texts):
    return DNATokenizer()(list(texts), padding=True, return_tensors="pt")["input_ids"]


def letters_of(tokenizer, input_ids, logits, **arguments):
    model = FixedLogits(logits)
    found = hidden_base_logits(model, tokenizer, input_ids, input_ids != PAD_ID, **arguments)
    tokens = tokenize_windows(tokenizer, input_ids)
    assert torch.equal(model.seen[0], tokens.input_ids)
    assert torch.equal(model.seen[1], tokens.attention_mask)
    assert found.shape == (*input_ids.shape, NUM_IDS)
    is_hidden = input_ids == MASK_ID
    assert not found[~is_hidden].any()
    assert not found[..., :A_ID].any()
    assert not found[..., N_ID:].any()
    return found[..., A_ID : T_ID + 1].log_softmax(dim=-1)


def test_literal():
    tokenizer = FixedTokenizer.from_name("2mer")
    probability = {"CA": 0.4, "CC": 0.1, "GA": 0.3, "GT": 0.2}
    logits = torch.full((1, 3, len(tokenizer)), -torch.inf)
    for word, value in probability.items():
        logits[0, 1, tokenizer.get_vocab()[word]] = math.log(value)
    # Beside a visible A there are CA and GA alone.
    letters = letters_of(tokenizer, ids_of("AC[MASK]AG"), logits).exp()
    assert letters[0, 2].tolist() == pytest.approx([0, 0.4 / 0.7, 0.3 / 0.7, 0])
    # Two hidden bases: each is summed over the other.
    letters = letters_of(tokenizer, ids_of("AC[MASK][MASK]G"), logits).exp()
    assert letters[0, 2].tolist() == pytest.approx([0, 0.5, 0.5, 0])
    assert letters[0, 3].tolist() == pytest.approx([0.7, 0.1, 0, 0.2])


@pytest.mark.parametrize("name", KMERS)
@pytest.mark.parametrize("random_share", [0.0, 0.2])
def test_against_the_sum_over_words(name, random_share):
    tokenizer = FixedTokenizer.from_name(name)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(A_ID, T_ID + 1, (3, 23), generator=generator)
    ids[0, 9], ids[2, 17:] = N_ID, PAD_ID
    hidden = torch.rand(ids.shape, generator=generator) < 0.3
    shown = ids.masked_fill(hidden & (ids != N_ID) & (ids != PAD_ID), MASK_ID)
    logits = torch.randn(3, 23, len(tokenizer), generator=generator)
    letters = letters_of(tokenizer, shown, logits, random_share=random_share)
    tokens = tokenize_windows(tokenizer, shown)
    scored = 0
    for row, place in (shown == MASK_ID).nonzero().tolist():
        at = (tokens.starts[row] <= place) & (tokens.ends[row] > place)
        if tokenizer.kind.is_overlapping:
            at &= tokens.starts[row] == place
        (token,) = at.nonzero()[:, 0].tolist()
        start, end = int(tokens.starts[row, token]), int(tokens.ends[row, token])
        totals = dict.fromkeys("ACGT", 0.0)
        for word in itertools.product("ACGT", repeat=end - start):
            visible = [None if index == MASK_ID else "ACGT"[index - A_ID] for index in shown[row, start:end]]
            weight = logits[row, token, tokenizer.get_vocab()["".join(word)]].exp().item()
            for base, letter in zip(visible, word, strict=True):
                if base is not None:
                    weight *= 1 - 0.75 * random_share if base == letter else random_share / 4
            totals[word[place - start]] += weight
        expected = torch.tensor([totals[letter] for letter in "ACGT"])
        torch.testing.assert_close(letters[row, place].exp(), expected / expected.sum())
        scored += 1
    assert scored > 10


@pytest.mark.parametrize("name", [*KMERS, "6mer"])
def test_all_models_are_asked_the_same(name):
    tokenizer = FixedTokenizer.from_name(name)
    ids, index = torch.randint(A_ID, T_ID + 1, (4, 60)), torch.arange(4)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "sample_index": index}
    masked = mask_bases(ids, mask_seeds(5, index))
    true_tokens = tokenize_windows(tokenizer, ids).input_ids

    def knowing(input_ids, attention_mask):
        assert torch.equal(input_ids, tokenize_windows(tokenizer, masked.input_ids).input_ids)
        return SimpleNamespace(logits=20.0 * torch.nn.functional.one_hot(true_tokens, len(tokenizer)))

    def ignorant(input_ids, attention_mask):
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, len(tokenizer)))

    def score(model):
        return evaluate_masked_bases(
            lambda batch: hidden_base_logits(model, tokenizer, **batch, random_share=0.02), [batch], seed=5
        )

    knows = score(knowing)
    assert knows.masked_count == int((masked.input_ids == MASK_ID).sum())
    assert knows.masked_accuracy == 1
    assert knows.masked_nats < 1e-4
    assert score(ignorant).masked_nats == pytest.approx(math.log(4), rel=1e-6)


def test_a_letter_beside_it_is_believed_unless_it_may_be_random():
    tokenizer = FixedTokenizer.from_name("2mer")
    logits = torch.full((1, 1, len(tokenizer)), -torch.inf)
    logits[0, 0, tokenizer.get_vocab()["CA"]] = 0.0
    logits[0, 0, tokenizer.get_vocab()["GT"]] = -5.0
    # The likeliest word does not agree with the T that is shown.
    ids = ids_of("[MASK]T")
    assert letters_of(tokenizer, ids, logits)[0, 0].exp().tolist() == pytest.approx([0, 0, 1, 0])
    doubted = letters_of(tokenizer, ids, logits, random_share=0.1)[0, 0].exp()
    assert (doubted[1] / doubted[2]).item() == pytest.approx(math.exp(5) * 0.025 / 0.925)


def test_nothing_hidden():
    for name in KMERS:
        tokenizer = FixedTokenizer.from_name(name)
        letters_of(tokenizer, ids_of("ACGTA", "A"), torch.zeros(2, 5, len(tokenizer)))


def test_byte_pairs_are_refused():
    tokenizer = FixedTokenizer.from_name("bpe-20", ["ACGT" * 20])
    ids = ids_of("ACGT")
    with pytest.raises(
        ValueError, match="tokenizer must be of single bases or k-mers, got byte-pair encoding"
    ):
        hidden_base_logits(None, tokenizer, ids, ids != PAD_ID)
