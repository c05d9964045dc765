import json

import pytest
import torch

from dnachunk import (
    MergeDNAConfig,
    MergeDNAForMaskedLM,
    MergeDNAForPreTraining,
    MergeDNAForSequenceClassification,
    MergeDNAForTokenClassification,
    MergeDNAModel,
)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(model_class, config):
    with torch.device("meta"):
        return model_class(config)


def test_default_is_the_papers_size():
    config = MergeDNAConfig()
    assert (config.hidden_size, config.num_attention_heads, config.train_length_bp) == (1024, 16, 4096)
    assert (config.num_local_encoder_layers, config.num_latent_encoder_layers) == (4, 20)
    assert (config.num_latent_decoder_layers, config.num_local_decoder_layers) == (4, 2)
    assert (config.window_size, config.rope_theta, config.rms_norm_eps) == (16, 10_000, 1e-6)
    assert (config.group_dim, config.merge_temperature, config.initializer_range) == (64, 0.1, 0.02)
    assert (config.keep_ratio, config.keep_ratio_std, config.keep_ratio_range) == (0.5, 0.05, [0.4, 0.6])
    assert (config.merge_budget, config.shift_windows, config.proportional_attention) == (
        "window",
        False,
        True,
    )
    weights = (config.reconstruction_weight, config.latent_reconstruction_weight, config.masked_weight)
    assert weights == (1.0, 0.25, 1.0)
    # The paper masks sampled tokens alone.
    assert config.random_mask_share == 0


def test_parameters_of_the_papers_size():
    model = on_meta(MergeDNAForPreTraining, MergeDNAConfig())
    assert count(model) == pytest.approx(380e6, rel=0.03)
    parts = {
        "Local Encoder": (model.model.local_encoder, 51e6),
        "Latent Encoder": (model.model.latent_encoder, 253e6),
        "Latent Decoder": (model.latent_decoder, 51e6),
        "Local Decoder": (model.local_decoder, 25e6),
    }
    for name, (part, expected) in parts.items():
        assert count(part) == pytest.approx(expected, rel=0.05), name
    rest = count(model) - sum(count(part) for part, _ in parts.values())
    assert rest == 2 * 10 * 1024


def test_a_block_by_hand():
    block = on_meta(MergeDNAModel, MergeDNAConfig()).latent_encoder.blocks[0]
    assert count(block) == 2 * 1024 + 4 * 1024 * 1024 + 3 * 1024 * 2752


def test_parts_that_heads_keep():
    config = MergeDNAConfig.micro(num_labels=3)
    pretraining, model = on_meta(MergeDNAForPreTraining, config), on_meta(MergeDNAModel, config)
    encoders, local_decoder = count(pretraining.model), count(pretraining.local_decoder)
    head = 3 * (128 + 1)
    assert count(model) == encoders
    assert count(on_meta(MergeDNAForMaskedLM, config)) == count(pretraining)
    assert count(on_meta(MergeDNAForSequenceClassification, config)) == encoders + head
    assert count(on_meta(MergeDNAForTokenClassification, config)) == encoders + local_decoder + head


@pytest.mark.parametrize(
    ("config", "shape", "parameters"),
    [
        (MergeDNAConfig.tiny(), (256, 8, 4, 6, 2, 2, 512), 11.3e6),
        (MergeDNAConfig.micro(), (128, 4, 4, 4, 2, 2, 512), 2.6e6),
    ],
    ids=["tiny", "micro"],
)
def test_small_sizes(config, shape, parameters):
    assert shape == (
        config.hidden_size,
        config.num_attention_heads,
        config.num_local_encoder_layers,
        config.num_latent_encoder_layers,
        config.num_latent_decoder_layers,
        config.num_local_decoder_layers,
        config.train_length_bp,
    )
    assert count(on_meta(MergeDNAForPreTraining, config)) == pytest.approx(parameters, rel=0.02)


@pytest.mark.parametrize(("width", "inner"), [(1024, 2752), (256, 704), (128, 384), (96, 256), (24, 64)])
def test_inner_width(width, inner):
    assert MergeDNAConfig(hidden_size=width, num_attention_heads=2).intermediate_size == inner
    assert (
        MergeDNAConfig(hidden_size=width, num_attention_heads=2, intermediate_size=10).intermediate_size == 10
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            (name, wrong)
            for name in ("hidden_size", "num_attention_heads", "group_dim")
            for wrong in (0, -3, 2.5)
        ],
        ("hidden_size", 100),
        ("hidden_size", "wide"),
        ("intermediate_size", 0),
        ("num_local_encoder_layers", 0),
        ("num_latent_encoder_layers", 0),
        ("num_latent_decoder_layers", -1),
        ("num_latent_decoder_layers", 10**6),
        ("vocab_size", 10**9),
        ("group_dim", 10**9),
        ("num_local_decoder_layers", 0),
        ("train_length_bp", 0),
        ("vocab_size", 9),
        ("initializer_range", 0.0),
        ("window_size", 1),
        ("window_size", 7),
        ("rope_theta", 0.0),
        ("rms_norm_eps", -1e-6),
        ("merge_temperature", 0.0),
        ("merge_temperature", float("nan")),
        ("keep_ratio", 0.0),
        ("keep_ratio", 1.5),
        ("keep_ratio", True),
        ("keep_ratio_std", -0.1),
        ("keep_ratio_range", [0.6, 0.4]),
        ("keep_ratio_range", [0.0, 0.4]),
        ("keep_ratio_range", [0.1, 0.2, 0.3]),
        ("keep_ratio_range", 0.4),
        ("keep_ratio_range", ["a", "b"]),
        ("merge_budget", "global"),
        ("merge_gradient", "hard"),
        ("boundaries", "grid"),
        ("objective", "causal"),
        ("shift_windows", 1),
        ("proportional_attention", "yes"),
        ("reconstruction_weight", -1.0),
        ("latent_reconstruction_weight", -1.0),
        ("masked_weight", -1.0),
        ("random_mask_share", 1.1),
        ("classifier_dropout", 1.0),
    ],
    ids=str,
)
def test_out_of_range(field, value):
    with pytest.raises(ValueError, match="MergeDNAConfig: ") as raised:
        MergeDNAConfig(**{field: value})
    assert field in str(raised.value)
    assert repr(value) in str(raised.value)


def test_ratios_that_the_merging_blocks_cannot_reach():
    for fields in ({"keep_ratio": 0.2}, {"keep_ratio_range": [0.2, 0.6]}):
        with pytest.raises(ValueError, match=r"at least 0.25 with 2 merging blocks, got .*0\.2"):
            MergeDNAConfig(num_local_encoder_layers=2, **fields)
    MergeDNAConfig(num_local_encoder_layers=2, keep_ratio=0.25, keep_ratio_range=[0.25, 0.25])


def test_a_file_with_a_wrong_field_is_an_error(tmp_path):
    MergeDNAConfig.micro().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "window_size": 3}))
    with pytest.raises(ValueError, match=r"window_size must be .* got 3"):
        MergeDNAConfig.from_pretrained(tmp_path)


def test_fields_that_hugging_face_writes_are_known(tmp_path):
    fields = {
        "num_labels": 4,
        "problem_type": "regression",
        "output_hidden_states": True,
        "attn_implementation": "eager",
        "dtype": "bfloat16",
        "id2label": {0: "a", 1: "b", 2: "c", 3: "d"},
    }
    config = MergeDNAConfig(**fields)
    config.save_pretrained(tmp_path)
    loaded = MergeDNAConfig.from_pretrained(tmp_path)
    assert loaded.num_labels == 4
    assert loaded.id2label == fields["id2label"]
    assert loaded.problem_type == "regression"
