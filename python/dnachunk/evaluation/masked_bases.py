"""How well a model guesses the bases that it sees as ``[MASK]``."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch

from dnachunk.alphabet import A_ID, IGNORE_INDEX, MASK_ID, T_ID, is_base
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.ops._check import check_shape

Batch = Mapping[str, torch.Tensor]


class MaskedBaseScores(NamedTuple):
    """Means over the scored bases; ``_asdict()`` gives them by metric name.

    Attributes:
        masked_accuracy: Share of bases whose most probable letter is the true one; ties go to the first of
            A, C, G, T.
        masked_nats: Mean negative log-probability of the true letter, in nats; ln 4 = 1.386 is no knowledge.
        masked_count: Number of scored bases.
    """

    masked_accuracy: float
    masked_nats: float
    masked_count: int

    @classmethod
    def from_sums(cls, sums: torch.Tensor) -> "MaskedBaseScores":
        """The means from added-up :func:`masked_base_sums`.

        Args:
            sums: ``[3]`` float64.

        Raises:
            ValueError: If the count is 0.
        """
        correct, nats, count = sums.tolist()
        if count == 0:
            raise ValueError("MaskedBaseScores: at least one base must be scored, got none")
        return cls(correct / count, nats / count, int(count))


def masked_base_sums(letter_logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sums that :class:`MaskedBaseScores` is made of; those of several batches or ranks can be added.

    Args:
        letter_logits: ``[M, 4]`` floating point: unnormalised log-probabilities of A, C, G, T.
        labels: ``[M]`` int64: the true ids.

    Returns:
        ``[3]`` float64 on the CPU: number of correct guesses, summed nats, number of bases.

    Raises:
        ValueError: If a shape does not fit or a label is none of A, C, G, T.
    """
    check_shape("masked_base_sums", "letter_logits", letter_logits, ("M", 4))
    check_shape("masked_base_sums", "labels", labels, (letter_logits.shape[0],))
    if not is_base(labels).all():
        wrong = labels[~is_base(labels)][0].item()
        raise ValueError(f"masked_base_sums: labels must be ids of A, C, G or T, got {wrong}")
    letters = labels - A_ID
    log_probabilities = letter_logits.double().log_softmax(dim=-1)
    correct = (letter_logits.argmax(dim=-1) == letters).sum()
    nats = -log_probabilities.gather(-1, letters[:, None]).sum()
    return torch.stack([correct.double(), nats, nats.new_tensor(len(letters))]).cpu()


def evaluate_corrupted_bases(
    predict: Callable[[dict[str, torch.Tensor]], torch.Tensor], batches: Iterable[Batch]
) -> MaskedBaseScores:
    """Scores a model where the corrupted input and the scored bases are given, as under a model's own mask.

    Args:
        predict: From a batch without its labels to logits ``[B, N, V]``, ``V > 8``, on any device, indexed by
            id; run without gradients. Only the logits of the four letters count.
        batches: Each with corrupted ``input_ids`` ``[B, N]``, ``labels`` ``[B, N]`` int64 (the true id where
            scored, -100 elsewhere), and whatever else ``predict`` reads.

    Raises:
        ValueError: If the logits do not fit, a label is none of A, C, G, T, or nothing is scored.
    """
    sums = torch.zeros(3, dtype=torch.float64)
    for batch in batches:
        sums += _corrupted_base_sums(predict, batch)
    return MaskedBaseScores.from_sums(sums)


def _corrupted_base_sums(
    predict: Callable[[dict[str, torch.Tensor]], torch.Tensor], batch: Batch
) -> torch.Tensor:
    labels = batch["labels"]
    with torch.no_grad():
        logits = predict({name: value for name, value in batch.items() if name != "labels"})
    check_shape("evaluate_corrupted_bases", "logits", logits, (*labels.shape, "V"))
    if logits.shape[-1] <= T_ID:
        raise ValueError(
            f"evaluate_corrupted_bases: logits must cover the ids of A, C, G, T (5 to {T_ID}), "
            f"got {logits.shape[-1]} ids"
        )
    labels = labels.to(logits.device)
    is_scored = labels != IGNORE_INDEX
    return masked_base_sums(logits[..., A_ID : T_ID + 1][is_scored], labels[is_scored])


def evaluate_masked_bases(
    predict: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    windows: Iterable[Batch],
    *,
    seed: int,
    probability: float = 0.15,
) -> MaskedBaseScores:
    """Corrupts windows as in pre-training and scores a model at the bases that show ``[MASK]``.

    Args:
        predict: As for :func:`evaluate_corrupted_bases`; it is given ``input_ids`` and ``attention_mask``.
        windows: Batches with ``input_ids`` ``[B, N]`` int64, ``attention_mask`` ``[B, N]`` and
            ``sample_index`` ``[B]`` int64.
        seed: With a window's ``sample_index`` it fixes the window's corruption, however windows are batched.
        probability: Of a base being selected.

    Raises:
        ValueError: If the logits do not fit or no base shows ``[MASK]``.
    """
    return evaluate_corrupted_bases(predict, (_corrupted(batch, seed, probability) for batch in windows))


def masked_window_sums(
    predict: Callable[[dict[str, torch.Tensor]], torch.Tensor], batch: Batch, *, seed: int
) -> torch.Tensor:
    """What one batch adds to the scores of :func:`evaluate_masked_bases`.

    Args:
        predict: See there.
        batch: See there.
        seed: See there.

    Returns:
        ``[3]`` float64 on the CPU, as :func:`masked_base_sums` gives them.

    Raises:
        ValueError: If the logits do not fit.
    """
    return _corrupted_base_sums(predict, _corrupted(batch, seed, 0.15))


def _corrupted(batch: Batch, seed: int, probability: float) -> dict[str, torch.Tensor]:
    seeds = mask_seeds(seed, batch["sample_index"])
    masked = mask_bases(batch["input_ids"], seeds, probability=probability)
    return {
        "input_ids": masked.input_ids,
        "attention_mask": batch["attention_mask"],
        "labels": masked.labels.masked_fill(masked.input_ids != MASK_ID, IGNORE_INDEX),
    }
