import pytest
import torch

from dnachunk import DNAChunkerForMaskedLM, DNAChunkerModel, MergeDNAForMaskedLM, MxDNAForMaskedLM
from dnachunk.alphabet import IGNORE_INDEX, MASK_ID
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.budget_accuracy import budget_accuracy
from tests.training.runs import SMALL_CONFIGS

CLASSES = {"dnachunker": DNAChunkerForMaskedLM, "mergedna": MergeDNAForMaskedLM, "mxdna": MxDNAForMaskedLM}


def model(kind, **fields):
    torch.manual_seed(0)
    config = type(SMALL_CONFIGS[kind]).from_dict({**SMALL_CONFIGS[kind].to_dict(), **fields})
    return CLASSES[kind](config).eval()


def rows(count=5, length=64):
    return torch.randint(5, 9, (count, length), generator=torch.Generator().manual_seed(1))


def by_hand(network, fields, ends=False):
    """Accuracy, nats and tokens per base, row by row, with the fields set for good."""
    for name, value in fields.items():
        setattr(network.config, name, value)
    masked = mask_bases(rows(), mask_seeds(7, torch.arange(5)))
    right, nats, scored, tokens = 0, 0.0, 0, 0
    for ids, labels in zip(masked.input_ids, masked.labels, strict=True):
        inputs = torch.cat([torch.tensor([2]), ids, torch.tensor([3])]) if ends else ids
        with torch.no_grad():
            output = network(input_ids=inputs[None])
        logits = output.logits[0, 1:-1] if ends else output.logits[0]
        tokens += int(output.segmentation.num_tokens)
        for place in ((labels != IGNORE_INDEX) & (ids == MASK_ID)).nonzero()[:, 0].tolist():
            letters = logits[place, 5:9].double().log_softmax(dim=0)
            right += int(letters.argmax() == labels[place] - 5)
            nats -= letters[labels[place] - 5].item()
            scored += 1
    return right / scored, nats / scored, scored, tokens / rows().numel()


def check(point, want):
    accuracy, nats, scored, tokens_per_base = want
    assert point.scores.masked_accuracy == pytest.approx(accuracy)
    assert point.scores.masked_nats == pytest.approx(nats, rel=1e-4)
    assert (point.scores.masked_count, point.tokens_per_base) == (scored, tokens_per_base)


@pytest.mark.parametrize("trained_with", [None, [0.5, 0.25]])
def test_weights_are_read_by_the_threshold_and_under_budgets(trained_with):
    network = model("dnachunker", boundary_budget=trained_with)
    found = budget_accuracy(network, rows(), [0.5, 0.25, 0.5], seed=7, batch_size=2)
    assert [(each.reading, each.asked) for each in found] == [
        *(("threshold", None), ("budget", 0.25), ("budget", 0.5)),
    ]
    # The configuration is as it was.
    assert network.config.boundary_budget == trained_with
    check(found[0], by_hand(network, {"boundary_budget": None}))
    for point in found[1:]:
        check(point, by_hand(network, network.config.budget_fields(point.asked)))
        assert point.tokens_per_base == pytest.approx(point.asked, abs=2 / 64)
    assert len({each.tokens_per_base for each in found}) == 3


def test_mergedna_and_mxdna():
    network = model("mergedna")
    found = budget_accuracy(network, rows(), [0.75, 0.3], seed=7)
    assert [(each.reading, each.asked) for each in found] == [
        *(("configured", None), ("budget", 0.3), ("budget", 0.75)),
    ]
    assert found[0].tokens_per_base == 0.5
    check(found[0], by_hand(network, {}))
    check(found[1], by_hand(network, {"keep_ratio": 0.3}))
    network = model("mxdna")
    (only,) = budget_accuracy(network, rows(), [0.3], seed=7)
    assert (only.reading, only.asked) == ("configured", None)
    check(only, by_hand(network, {}, ends=True))


def test_what_cannot_be_measured():
    network = model("mergedna").train()
    with pytest.raises(ArgumentError, match=r"tokens_per_base must be at least 0.25 with 2 merging blocks"):
        budget_accuracy(network, rows(), [0.1])
    with pytest.raises(ArgumentError, match=r"tokens_per_base must be in \(0, 1\], got 0"):
        budget_accuracy(network, rows(), [0])
    assert network.training
    for other in (DNAChunkerModel(SMALL_CONFIGS["dnachunker"]), torch.nn.Linear(2, 2)):
        with pytest.raises(ArgumentError, match=r"model must be a masked language model of ours, got a"):
            budget_accuracy(other, rows(), [0.5])
    with pytest.raises(ValueError, match="at least one base must be scored"):
        budget_accuracy(network, rows()[:0], [0.5])
