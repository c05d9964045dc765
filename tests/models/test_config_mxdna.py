"""MxDNA's configuration."""

import pytest
import torch

from dnachunk import MxDNAConfig, MxDNAForMaskedLM


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_default_values():
    config = MxDNAConfig()
    assert (config.kernel_sizes, config.deformable_kernel_size) == (list(range(1, 11)), 3)
    assert (config.router_jitter, config.load_balancing_weight) == (0.01, 0.01)
    assert (config.train_length_bp, config.rope_theta) == (510, 10_000)
    assert (config.cross_attention_position, config.pooling) == ("center", "cls")


def test_the_papers_size():
    with torch.device("meta"):
        model = MxDNAForMaskedLM(MxDNAConfig())
    assert count(model) == pytest.approx(100e6, rel=0.05)
    assert (len(model.model.nucleotide_layers), len(model.model.token_layers)) == (4, 16)


@pytest.mark.parametrize(("size", "millions"), [("tiny", 10.3), ("micro", 2.3)])
def test_small_sizes(size, millions):
    assert count(MxDNAForMaskedLM(getattr(MxDNAConfig, size)())) / 1e6 == pytest.approx(millions, rel=0.1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden_size", 0, "of at least 1, got 0"),
        ("hidden_size", 10**9, "of at most 1,048,576, got 1000000000"),
        ("num_token_layers", 10**6, "of at most 1,000, got 1000000"),
        ("hidden_size", 500, "divisible by 32, got 500"),
        ("num_token_layers", 1.0, "got 1.0"),
        ("kernel_sizes", [], r"in \[1, 64\], got \[\]"),
        ("kernel_sizes", [1, 65], r"in \[1, 64\], got \[1, 65\]"),
        ("kernel_sizes", [1] * 65, r"1 to 64 numbers in \[1, 64\], got"),
        ("kernel_sizes", 3, r"in \[1, 64\], got 3"),
        ("router_jitter", 1.0, r"in \[0, 1\), got 1.0"),
        ("load_balancing_weight", -0.1, "of at least 0, got -0.1"),
        ("cross_attention_position", "left", "'center' or 'index', got 'left'"),
        ("pooling", "max", "'cls' or 'mean', got 'max'"),
        ("rope_theta", 0, "above 0, got 0"),
        ("classifier_dropout", -1.0, "got -1.0"),
        ("num_experts", 3, "num_experts=3"),
    ],
)
def test_fields_out_of_range(field, value, message):
    with pytest.raises(ValueError, match=message):
        MxDNAConfig(**{field: value})
