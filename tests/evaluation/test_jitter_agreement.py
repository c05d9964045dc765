import pytest
import torch

from dnachunk import DNAChunkerForMaskedLM, MxDNAForMaskedLM
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.jitter_agreement import jitter_agreement
from dnachunk.evaluation.token_meaning import boundary_jaccard
from tests.training.runs import SMALL_CONFIGS


def model(jitter=0.01):
    torch.manual_seed(0)
    network = MxDNAForMaskedLM(SMALL_CONFIGS["mxdna"]).eval()
    for module in network.modules():
        if hasattr(module, "jitter"):
            module.jitter = jitter
    return network


def rows(count=12, length=60):
    return torch.randint(5, 9, (count, length), generator=torch.Generator().manual_seed(1))


def bits(text):
    return torch.tensor([letter == "x" for letter in text])


@pytest.mark.parametrize(
    ("one", "other", "want"),
    [("x.x.", "x.x.", 1), ("x.x.", "x..x", 1 / 3), ("....", "....", 1), ("x", ".", 0)],
)
def test_jaccard_by_hand(one, other, want):
    assert boundary_jaccard(bits(one), bits(other)) == pytest.approx(want)


def test_two_passes_differ_by_their_noise_alone():
    network = model(jitter=0.3)
    found = jitter_agreement(network, rows(), seed=3)
    assert not network.training
    assert found.first_sequence == "".join("ACGT"[base - 5] for base in rows()[0].tolist())
    shares = []
    for row in range(12):
        one, other = (
            {int(start) for start in each.boundaries[row].nonzero()[1:, 0]} for each in found.passes
        )
        shares.append(len(one & other) / len(one | other))
    assert found.agreement.mean.item() == pytest.approx(sum(shares) / len(shares))
    assert 0 < found.agreement.mean.item() < 1
    assert found.agreement.low <= found.agreement.mean <= found.agreement.high
    for each in found.passes:
        each.validate()
    # The same seed, the same passes, however sequences are batched.
    again = jitter_agreement(network, rows(), seed=3, batch_size=5)
    for one, other in zip(found.passes, again.passes, strict=True):
        assert torch.equal(one.token_index, other.token_index)
    different = jitter_agreement(network, rows(), seed=4)
    assert not torch.equal(found.passes[0].token_index, different.passes[0].token_index)


def test_without_jitter_the_tokens_are_those_of_evaluation():
    network = model(jitter=0.0)
    found = jitter_agreement(network, rows())
    assert found.agreement.mean.item() == 1
    assert found.agreement.low.item() == pytest.approx(1)
    want = network.encode_tokens(rows(), vectors=False).segmentation
    assert torch.equal(found.passes[0].token_index, want.token_index)


def test_what_has_no_jitter_is_refused():
    network = DNAChunkerForMaskedLM(SMALL_CONFIGS["dnachunker"])
    with pytest.raises(
        ArgumentError, match="model must be of mxdna, whose router has a jitter, got DNAChunker"
    ):
        jitter_agreement(network, rows())
    training = model().train()
    with pytest.raises(ArgumentError, match="rows must hold a sequence at least, got none"):
        jitter_agreement(training, rows()[:0])
    jitter_agreement(training, rows(2))
    assert training.training
