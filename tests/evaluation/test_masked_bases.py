import math

import pytest
import torch

from dnachunk.alphabet import A_ID, IGNORE_INDEX, MASK_ID, N_ID, NUM_IDS, PAD_ID, T_ID
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.evaluation import (
    FixedContextModel,
    MaskedBaseScores,
    best_fixed_context,
    evaluate_corrupted_bases,
    evaluate_masked_bases,
    masked_base_sums,
)

A, C, G, T = range(A_ID, T_ID + 1)


def window_batch(input_ids, sample_index):
    return {
        "input_ids": input_ids,
        "attention_mask": (input_ids != PAD_ID).long(),
        "labels": input_ids,
        "sample_index": sample_index,
    }


def from_letters(letter_logits, *, elsewhere=-5.0):
    """Logits over the vocabulary from those of the letters."""
    logits = torch.full((*letter_logits.shape[:-1], NUM_IDS), elsewhere, dtype=letter_logits.dtype)
    logits[..., A : T + 1] = letter_logits
    return logits


def test_sums_literal():
    sure, unsure = [0.5, 0.25, 0.125, 0.125], [0.25] * 4
    logits = torch.tensor([sure, sure, unsure, unsure]).log()
    sums = masked_base_sums(logits + 3.0, torch.tensor([A, T, A, C]))
    # The tie of the last two goes to A: right once.
    assert sums[0] == 2
    assert sums[1].item() == pytest.approx(math.log(2) + math.log(8) + 2 * math.log(4), rel=1e-6)
    assert sums[2] == 4
    scores = MaskedBaseScores.from_sums(sums)
    assert scores._asdict() == {
        "masked_accuracy": 0.5,
        "masked_nats": pytest.approx(2 * math.log(2), rel=1e-6),
        "masked_count": 4,
    }
    assert [type(value) for value in scores] == [float, float, int]


def test_sums_of_nothing():
    assert masked_base_sums(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)).tolist() == [0, 0, 0]


def test_half_precision_logits_are_read_in_double():
    logits = torch.randn(50, 4).bfloat16()
    labels = torch.randint(A, T + 1, (50,))
    torch.testing.assert_close(
        masked_base_sums(logits, labels), masked_base_sums(logits.double(), labels), rtol=0, atol=0
    )


def test_corrupted_literal():
    labels = torch.tensor([[A, IGNORE_INDEX, T], [IGNORE_INDEX, G, IGNORE_INDEX]])
    batch = {"input_ids": torch.full((2, 3), MASK_ID), "labels": labels}
    letters = torch.tensor([[[0.7, 0.1, 0.1, 0.1]] * 3, [[0.2, 0.2, 0.5, 0.1]] * 3]).log()

    def predict(inputs):
        assert set(inputs) == {"input_ids"}
        assert not torch.is_grad_enabled()
        # Only the four letters count: a model may be sure of [MASK] here.
        return from_letters(letters, elsewhere=50.0)

    scores = evaluate_corrupted_bases(predict, [batch])
    assert scores.masked_accuracy == pytest.approx(2 / 3)
    assert scores.masked_nats == pytest.approx(-(math.log(0.7) + math.log(0.1) + math.log(0.5)) / 3, rel=1e-6)
    assert scores.masked_count == 3
    # Twice the same batch weighs each base alike; a batch without a scored base adds nothing.
    empty = {**batch, "labels": torch.full((2, 3), IGNORE_INDEX)}
    assert evaluate_corrupted_bases(predict, [batch, empty, batch]) == (*scores[:2], 6)


def test_only_bases_shown_as_mask_are_scored():
    ids = torch.randint(A, N_ID + 1, (6, 300))
    index = torch.tensor([5, 9, 2, 6, 5000000000, 0])
    masked = mask_bases(ids, mask_seeds(3, index), probability=0.4)
    shows_mask = masked.input_ids == MASK_ID

    def predict(batch):
        assert set(batch) == {"input_ids", "attention_mask"}
        assert torch.equal(batch["input_ids"], masked.input_ids)
        assert torch.equal(batch["attention_mask"], torch.ones_like(ids))
        # Right where [MASK] is shown, wrong elsewhere.
        letters = torch.nn.functional.one_hot((ids - A).clamp(max=3), 4).double()
        return from_letters(torch.where(shows_mask[..., None], letters, -letters))

    scores = evaluate_masked_bases(predict, [window_batch(ids, index)], seed=3, probability=0.4)
    assert scores.masked_accuracy == 1.0
    assert scores.masked_nats == pytest.approx(math.log(math.e + 3) - 1, rel=1e-12)
    assert scores.masked_count == shows_mask.sum().item()


def test_batches_and_padding_change_nothing():
    model = FixedContextModel.fit([torch.randint(A, T + 1, (3000,), dtype=torch.uint8)], 2)
    lengths = [200, 90, 151, 200]
    sequences = [torch.randint(A, T + 1, (length,)) for length in lengths]
    padded = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=PAD_ID)
    index = torch.tensor([11, 4, 7, 8])

    def predict(batch):
        return from_letters(model.predict(batch["input_ids"]))

    together = evaluate_masked_bases(predict, [window_batch(padded, index)], seed=0)
    alone = [window_batch(s[None], i[None]) for s, i in zip(sequences, index, strict=True)]
    split = evaluate_masked_bases(predict, reversed(alone), seed=0)
    assert split.masked_count == together.masked_count
    assert split == pytest.approx(together, rel=1e-12)
    other = evaluate_masked_bases(predict, [window_batch(padded, index)], seed=1)
    assert other != together


def test_baseline_on_the_same_corrupted_input_gives_the_same_scores():
    train = [torch.randint(A, T + 1, (3000,), dtype=torch.uint8)]
    ids = torch.randint(A, T + 1, (5, 200))
    index = torch.arange(5)
    masked = mask_bases(ids, mask_seeds(0, index))
    width, scores = best_fixed_context(train, masked.input_ids, ids, masked.input_ids == MASK_ID)
    model = FixedContextModel.fit(train, width)
    direct = evaluate_masked_bases(
        lambda batch: from_letters(model.predict(batch["input_ids"])), [window_batch(ids, index)], seed=0
    )
    assert direct == pytest.approx(scores[width], rel=1e-12)


def test_bad_input():
    ids = torch.randint(A, T + 1, (2, 40))
    batch = window_batch(ids, torch.arange(2))
    with pytest.raises(ValueError, match=r"corrupted_bases: logits must be \[2, 40, V\], got \[2, 39, 10\]"):
        evaluate_masked_bases(lambda _: torch.zeros(2, 39, NUM_IDS), [batch], seed=0)
    with pytest.raises(ValueError, match=r"logits must cover the ids of A, C, G, T \(5 to 8\), got 8 ids"):
        evaluate_masked_bases(lambda _: torch.zeros(2, 40, 8), [batch], seed=0)
    with pytest.raises(ValueError, match=r"MaskedBaseScores: at least one base must be scored, got none"):
        evaluate_masked_bases(lambda _: torch.zeros(2, 40, NUM_IDS), [batch], seed=0, probability=0.0)
    with pytest.raises(ValueError, match=r"at least one base must be scored, got none"):
        evaluate_masked_bases(lambda _: torch.zeros(2, 40, NUM_IDS), [], seed=0)
    with pytest.raises(ValueError, match=r"masked_base_sums: labels must be ids of A, C, G or T, got 9"):
        masked_base_sums(torch.zeros(2, 4), torch.tensor([A, N_ID]))
    with pytest.raises(ValueError, match=r"masked_base_sums: letter_logits must be \[M, 4\], got \[2, 10\]"):
        masked_base_sums(torch.zeros(2, 10), torch.tensor([A, A]))
