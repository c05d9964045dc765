"""DNAChunker's configuration."""

import pytest
import torch

from dnachunk import DNAChunkerConfig, DNAChunkerForMaskedLM


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_default_values():
    config = DNAChunkerConfig()
    assert (config.target_ratio, config.ratio_weight, config.repeat_weight) == ([0.33, 0.33], 0.03, 0.1)
    assert [DNAChunkerConfig.tiny().target_ratio, DNAChunkerConfig.micro().target_ratio] == [[0.5, 0.5]] * 2
    assert (config.state_size, config.conv_kernel, config.expand) == (16, 4, 2)
    assert (config.train_length_bp, config.rope_theta) == (8192, 10_000)
    assert (config.mask_protection, config.residual_gating) == (True, True)
    assert (config.chunk_pooling, config.backward_gate, config.boundaries) == ("mean", "right", "learned")


def test_the_papers_size():
    with torch.device("meta"):
        model = DNAChunkerForMaskedLM(DNAChunkerConfig())
    assert count(model) == pytest.approx(172e6, rel=0.02)
    assert len(model.model.blocks) == 30
    assert [len(stage.encoder.layers) for stage in model.model.stages] == [2, 2]


@pytest.mark.parametrize(("size", "millions"), [("tiny", 7.1), ("micro", 1.4)])
def test_small_sizes(size, millions):
    assert count(DNAChunkerForMaskedLM(getattr(DNAChunkerConfig, size)())) / 1e6 == pytest.approx(
        millions, rel=0.1
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden_size", 0, "of at least 1, got 0"),
        ("state_size", 10**9, "of at most 1,048,576, got 1000000000"),
        ("num_hidden_layers", 10**6, "of at most 1,000, got 1000000"),
        ("hidden_size", 642, "divisible by 20, got 642"),
        ("num_attention_heads", True, "got True"),
        ("num_encoder_layers", 0, "of at least 1, got 0"),
        ("conv_kernel", 5, r"in \[2, 4\], got 5"),
        ("rope_theta", 0.0, "above 0, got 0.0"),
        ("ratio_weight", -1.0, "of at least 0, got -1.0"),
        ("repeat_weight", "x", "got 'x'"),
        ("classifier_dropout", 1.0, "got 1.0"),
        ("mask_protection", 1, "a bool, got 1"),
        ("boundaries", "grid", "'learned' or 'fixed', got 'grid'"),
        ("residual_gating", None, "a bool, got None"),
        ("target_ratio", [0.5], r"two numbers in \(0, 1\), got \[0.5\]"),
        ("target_ratio", [0.5, 1.0], r"two numbers in \(0, 1\), got \[0.5, 1.0\]"),
        ("target_ratio", 0.5, "two numbers"),
        ("chunk_pooling", "max", "'mean' or 'boundary', got 'max'"),
        ("backward_gate", "middle", "'right' or 'left', got 'middle'"),
        ("main_layers", 3, "main_layers=3"),
    ],
)
def test_fields_out_of_range(field, value, message):
    with pytest.raises(ValueError, match=message):
        DNAChunkerConfig(**{field: value})
