import math

import pytest
import torch

from dnachunk import MergeDNAConfig, MergeDNAModel
from dnachunk.evaluation.boundary_survival import (
    boundary_survival,
    kmer_boundaries,
    model_boundaries,
    text_boundaries,
)


def random_windows(count=40, length=300, seed=0):
    return torch.randint(5, 9, (count, length), generator=torch.Generator().manual_seed(seed))


def test_kmers_survive_substitutions_and_lose_their_frame_to_indels():
    survival = boundary_survival(kmer_boundaries(6), random_windows(400))
    assert survival["substitution"] == 1
    # What lies after the mutation, half of all on average, is out of frame for good.
    assert survival["insertion"] == pytest.approx(0.5, abs=0.06)
    assert survival["deletion"] == pytest.approx(survival["insertion"], abs=1e-12)


def before_each_a(sequences):
    return [(sequence == 5) | (torch.arange(len(sequence)) == 0) for sequence in sequences]


def test_boundaries_that_hang_on_the_base_alone_survive_all():
    assert boundary_survival(before_each_a, random_windows()) == {
        "substitution": 1.0,
        "insertion": 1.0,
        "deletion": 1.0,
    }


def test_boundaries_near_the_mutation_do_not_count():
    windows = random_windows(200, 100)
    near = boundary_survival(before_each_a, windows, exclude_bp=0)
    assert near["substitution"] == 1, "the mutated base itself is left out"
    seen = []

    def record(sequences):
        seen.append(sequences)
        return before_each_a(sequences)

    boundary_survival(record, windows, seed=3)
    original, substituted, inserted, deleted = seen
    for before, *mutants in zip(original, substituted, inserted, deleted, strict=True):
        assert [len(mutant) for mutant in mutants] == [100, 101, 99]
        assert (before != mutants[0]).sum() == 1
        assert all(mutant.min() >= 5 and mutant.max() <= 8 for mutant in mutants)
    assert math.isnan(boundary_survival(before_each_a, windows[:, :40], exclude_bp=40)["deletion"])


def test_a_boundary_that_a_mutation_anywhere_moves_does_not_survive():
    def by_sum(sequences):
        return [(torch.arange(len(s)) + s.sum()) % 7 == 0 for s in sequences]

    survival = boundary_survival(by_sum, random_windows(100))
    assert survival["substitution"] == 0


def test_text_boundaries():
    ids = torch.tensor([5, 6, 7, 8, 8])
    assert text_boundaries(lambda text: [text[:2], text[2:]])([ids])[0].tolist() == [1, 0, 1, 0, 0]
    with pytest.raises(ValueError, match="split must give tokens of 5 letters, got 4"):
        text_boundaries(lambda text: [text[:4]])([ids])


def test_a_models_boundaries_do_not_hang_on_the_batch():
    torch.manual_seed(0)
    model = MergeDNAModel(MergeDNAConfig.micro(num_latent_encoder_layers=1)).eval()
    sequences = [random_windows(1, length)[0] for length in (60, 61, 44)]
    together = model_boundaries(model)(sequences)
    for sequence, boundaries in zip(sequences, together, strict=True):
        expected = model(sequence[None]).segmentation.boundaries[0]
        assert torch.equal(boundaries, expected)
        assert torch.equal(model_boundaries(model, 1)([sequence])[0], expected)


@pytest.mark.parametrize(
    ("windows", "arguments", "error", "message"),
    [
        (torch.zeros(3, 5), {}, TypeError, "windows must be torch.int64"),
        (torch.zeros(5, dtype=torch.int64), {}, ValueError, r"windows must be \[W, N\]"),
        (random_windows(1, 9), {"exclude_bp": -1}, ValueError, "exclude_bp must be at least 0, got -1"),
    ],
)
def test_bad_arguments(windows, arguments, error, message):
    with pytest.raises(error, match=message):
        boundary_survival(before_each_a, windows, **arguments)
