import copy
import dataclasses
import functools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dnachunk import (
    MergeDNAConfig,
    MergeDNAForMaskedLM,
    MergeDNAForPreTraining,
    MergeDNAForSequenceClassification,
    MergeDNAForTokenClassification,
    MergeDNAModel,
)
from dnachunk.alphabet import A_ID, IGNORE_INDEX, MASK_ID, N_ID, PAD_ID, T_ID
from dnachunk.models.mergedna.objective_mergedna import sample_tokens
from dnachunk.models.modeling_common import base_loss
from dnachunk.nn import merge_schedule
from dnachunk.nn.rotary import token_positions
from dnachunk.ops.global_match import global_match_naive
from tests.models.test_mergedna_laws import CASE


@functools.cache
def base_model(merge_budget, shift_windows):
    return CASE.build("base", merge_budget=merge_budget, shift_windows=shift_windows)


PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)
DRAWS = {"keep_ratio": 0.45, "sample_seeds": torch.tensor([11, 12])}


def pretraining(dtype=torch.float64, **fields):
    return CASE.build("pretraining", dtype, **fields)


def gradient_of(loss, module):
    parameters = [p for p in module.parameters() if p.requires_grad]
    return torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)


# Tokens.


@PROPERTY
@given(
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=3),
    keep_ratio=st.floats(0.25, 1),
    budget=st.sampled_from(["window", "sequence"]),
    shifted=st.booleans(),
    seed=st.integers(0, 9),
)
def test_token_counts_are_exact(lengths, keep_ratio, budget, shifted, seed):
    model, batch = base_model(budget, shifted), CASE.batch(lengths, seed)
    if batch["input_ids"].shape[1] == 0:
        return
    with torch.no_grad():
        output = model(**batch, keep_ratio=keep_ratio)
    segmentation = output.segmentation.validate()
    assert segmentation.num_tokens.tolist() == [math.ceil(keep_ratio * n - 1e-9) for n in lengths]
    assert segmentation.lengths.sum(dim=1).tolist() == lengths
    assert output.last_hidden_state.shape[1] >= max(segmentation.num_tokens)
    # Two layers, each joining at most three.
    assert segmentation.lengths.max() <= 9
    for row, length in enumerate(lengths):
        assert (segmentation.token_index[row, :length] >= 0).all()
        assert (segmentation.token_index[row, length:] == -1).all()


def test_the_default_ratio_and_the_reach():
    model, batch = CASE.build("base"), CASE.batch([81])
    assert model(**batch).segmentation.num_tokens.tolist() == [41]
    assert model(**batch, keep_ratio=0.25).segmentation.num_tokens.tolist() == [21]
    assert model(**batch, keep_ratio=1.0).segmentation.num_tokens.tolist() == [81]
    for wrong in (0.2, 0.0, 1.1, -1.0):
        with pytest.raises(ValueError, match=f"keep_ratio must .*got {wrong}"):
            model(**batch, keep_ratio=wrong)


def test_tokens_stay_inside_windows_of_the_first_layer():
    model = CASE.build("base", num_local_encoder_layers=1, keep_ratio_range=[0.5, 0.6])
    index = model(**CASE.batch([160])).segmentation.token_index[0]
    edges = torch.arange(16, 160, 16)
    assert (index[edges] != index[edges - 1]).all()
    assert not (index[1:] != index[:-1]).all()
    shifted = CASE.build("base", num_local_encoder_layers=2, shift_windows=True)
    assert [block.attention.attention.shift for block in shifted.local_encoder.blocks] == [0, 8]
    assert [merge.shift for merge in shifted.local_encoder.merges] == [0, 8]


@pytest.mark.parametrize("budget", ["window", "sequence"])
def test_fixed_boundaries_hang_on_the_length_alone(budget):
    model = CASE.build("base", boundaries="fixed", merge_budget=budget)
    assert not any("grouping" in name for name in model.state_dict())
    one, other = (model(**CASE.batch([96], seed)).segmentation for seed in (0, 1))
    assert torch.equal(one.token_index, other.token_index)
    assert one.lengths.max() <= 4
    # Positions are taken by turns of 64 bases: far from the start the grid is the same.
    index = model(**CASE.batch([4096])).segmentation
    assert index.lengths.max() <= 4


def test_the_sequence_budget_spends_where_neighbours_are_alike():
    ids = torch.cat([torch.full((1, 64), A_ID), CASE.batch([64])["input_ids"]], dim=1)
    shares = {}
    for budget in ("window", "sequence"):
        model = CASE.build("base", merge_budget=budget)
        index = model(ids).segmentation.token_index[0]
        assert index[-1] == 63
        shares[budget] = int(index[63]) + 1
    assert shares["sequence"] + 3 < shares["window"]
    assert 28 <= shares["window"] <= 36


def test_only_the_encoders_tokens_hang_on_the_letters():
    model = CASE.build("base")
    one, other = (model(**CASE.batch([80], seed)).segmentation.token_index for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("kind", ["straight_through", "frozen", "none"])
def test_how_the_grouping_learns(kind):
    model = pretraining(torch.float32, merge_gradient=kind).train()
    groupings = [merge.grouping for merge in model.model.local_encoder.merges]
    output = model(**CASE.batch([61, 40]), **DRAWS)
    output.loss.backward()
    if kind == "none":
        assert groupings == [None, None]
        assert not any("grouping" in name for name in model.state_dict())
        return
    for grouping in groupings:
        assert grouping.weight.requires_grad == (kind == "straight_through")
        if kind == "frozen":
            assert grouping.weight.grad is None
        else:
            assert grouping.weight.grad.any()


def test_keys_are_the_metric_without_a_grouping():
    model, batch = CASE.build("base", merge_gradient="none"), CASE.batch([64])
    before = model(**batch).segmentation.token_index
    with torch.no_grad():
        # Keys of the second layer: rows d … 2d of the packed projection.
        model.local_encoder.blocks[1].attention.attention.qkv.weight[32:64].normal_()
    assert not torch.equal(model(**batch).segmentation.token_index, before)


# The latent encoder and its merging.


def plain_attention(layer, x, positions, sizes, proportional):
    """One sequence, no padding, in plain PyTorch: ``x [L, D]`` to the layer's result and its mean keys."""
    attention, norm = layer.attention, layer.norm
    normed = x * (x.square().mean(dim=-1, keepdim=True) + norm.eps).rsqrt() * norm.weight
    query, key, value = (normed @ attention.qkv.weight.T).view(len(x), 3, attention.num_heads, -1).unbind(1)
    cos, sin = attention.rotary(positions[None])

    def turn(part):
        real, imaginary = part.chunk(2, dim=-1)
        c, s = cos[0, :, None].double(), sin[0, :, None].double()
        return torch.cat([real * c - imaginary * s, imaginary * c + real * s], dim=-1)

    logits = torch.einsum("qhd,khd->hqk", turn(query), turn(key)) / query.shape[-1] ** 0.5
    if proportional:
        logits = logits + sizes.double().log()
    mixed = torch.einsum("hqk,khd->qhd", logits.softmax(dim=-1), value)
    return x + mixed.flatten(1) @ attention.out.weight.T, key.mean(dim=1)


def plain_latent_merge(encoder, x, sizes):
    """The second pass on one sequence: latent tokens ``[K, D]`` and the latent token of each token."""
    layers, total = len(encoder.blocks), len(x) // 2
    positions = token_positions(sizes[None])[0]
    index = torch.arange(len(x))
    for layer, block in enumerate(encoder.blocks):
        x, keys = plain_attention(block.attention, x, positions, sizes, encoder.proportional)
        merges = total // layers + (layer < total % layers)
        step = global_match_naive(keys.detach()[None], torch.tensor([len(x)]), torch.tensor([merges]))[0]
        groups = [torch.where(step == token)[0] for token in range(len(x) - merges)]
        weights = [sizes[group].double() / sizes[group].sum() for group in groups]
        x = torch.stack([weight @ x[group] for group, weight in zip(groups, weights, strict=True)])
        positions = torch.stack(
            [(w.float() * positions[group]).sum() for group, w in zip(groups, weights, strict=True)]
        )
        sizes = torch.stack([sizes[group].sum() for group in groups])
        index = step[index]
        x = block.feed_forward(x)
    return encoder.norm(x), index


@pytest.mark.parametrize("proportional", [True, False])
def test_latent_merging_against_plain_pytorch(proportional):
    model = pretraining(proportional_attention=proportional)
    batch = CASE.batch([61, 38])
    tokens, _ = model.model._tokenize(**batch, inputs_embeds=None, keep_ratio=0.45)
    latent, index = model.model.latent_encoder.merge(tokens)
    for row, length in enumerate(tokens.lengths.tolist()):
        values, sizes = tokens.values[row, :length], tokens.sizes[row, :length]
        expected, expected_index = plain_latent_merge(model.model.latent_encoder, values, sizes)
        kept = math.ceil(length / 2)
        assert len(expected) == kept
        assert torch.equal(index[row, :length], expected_index)
        assert (index[row, length:] == -1).all()
        assert index[row].max() == kept - 1
        torch.testing.assert_close(latent[row, :kept], expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 40])
def test_latent_merging_keeps_half_of_any_number_of_tokens(length):
    model = pretraining()
    output = model(**CASE.batch([length]), keep_ratio=1.0, sample_seeds=torch.tensor([3]))
    kept = math.ceil(length / 2)
    assert sorted(set(output.latent_index[0].tolist())) == list(range(kept))


def test_equal_tokens_merge_first_and_latent_tokens_are_not_neighbours():
    model = pretraining(torch.float32, num_latent_encoder_layers=1)
    letters = CASE.batch([24], 4)["input_ids"]
    tokens, _ = model.model._tokenize(letters, None, None, 1.0)
    values = torch.randn(1, 24, 32)
    values[0, 13] = values[0, 2]
    changed = copy.copy(tokens.__dict__) | {"values": values}
    _, index = model.model.latent_encoder.merge(type(tokens)(**changed))
    assert index[0, 2] == index[0, 13]


# The objective.


def test_three_passes_against_their_parts():
    model, batch = pretraining().train(), CASE.batch([61, 40])
    ids, mask = batch["input_ids"], batch["attention_mask"]
    output = model(**batch, **DRAWS)
    plain = MergeDNAForMaskedLM(model.config).double()
    plain.load_state_dict(model.state_dict())
    letters = torch.where((ids >= A_ID) & (ids <= T_ID), ids, IGNORE_INDEX)

    def loss_of(logits, asked):
        return F.cross_entropy(logits[asked], letters[asked])

    first = plain(**batch, keep_ratio=0.45)
    torch.testing.assert_close(output.logits, first.logits)
    torch.testing.assert_close(output.losses["reconstruction"], loss_of(first.logits, letters >= 0))

    tokens, _ = plain.model._tokenize(ids, mask, None, 0.45)
    total, count = 0.0, 0
    for row, length in enumerate(tokens.lengths.tolist()):
        values, sizes = tokens.values[row, :length], tokens.sizes[row, :length]
        latent, index = plain_latent_merge(plain.model.latent_encoder, values, sizes)
        assert torch.equal(output.latent_index[row, :length], index)
        alone, _ = plain.model._tokenize(ids[row : row + 1, : int(mask[row].sum())], None, None, 0.45)
        logits = plain.decode(latent[index][None], alone, True)[0]
        asked = letters[row, : len(logits)] >= 0
        total = total + F.cross_entropy(logits[asked], letters[row, : len(logits)][asked], reduction="sum")
        count += int(asked.sum())
    torch.testing.assert_close(output.losses["latent_reconstruction"], total / count, atol=1e-6, rtol=1e-6)

    masked_ids = torch.where(output.is_masked, MASK_ID, ids)
    third = plain(masked_ids, mask, keep_ratio=0.45)
    torch.testing.assert_close(output.masked_logits, third.logits)
    torch.testing.assert_close(
        output.losses["masked"], loss_of(third.logits, output.is_masked & (letters >= 0))
    )
    torch.testing.assert_close(
        output.loss,
        output.losses["reconstruction"]
        + 0.25 * output.losses["latent_reconstruction"]
        + output.losses["masked"],
    )


def test_whole_tokens_are_masked_and_as_many_as_are_left():
    model, batch = pretraining(), CASE.batch([61, 40])
    output = model(**batch, **DRAWS)
    for row, tokens in enumerate(output.segmentation.num_tokens.tolist()):
        index, hidden = output.segmentation.token_index[row], output.is_masked[row]
        touched = index[hidden].unique()
        assert len(touched) == math.ceil(tokens / 2)
        assert torch.equal(hidden, torch.isin(index, touched)), "a token is hidden whole or not at all"
    tokens = output.segmentation.num_tokens
    sampled = sample_tokens(output.latent_index, tokens, (tokens + 1) // 2, DRAWS["sample_seeds"])
    index = output.segmentation.token_index
    assert torch.equal(output.is_masked, sampled.gather(1, index.clamp_min(0)) & (index >= 0))
    real = int(batch["attention_mask"].sum())
    assert output.mask_rate.item() == pytest.approx(int(output.is_masked.sum()) / real)
    assert 0.3 < output.mask_rate < 0.7


def test_masks_and_losses_hang_on_the_seeds():
    model, batch = pretraining(), CASE.batch([61, 40])
    one = model(**batch, **DRAWS)
    same = model(**batch, **DRAWS)
    other = model(**batch, keep_ratio=0.45, sample_seeds=torch.tensor([11, 99]))
    assert torch.equal(one.is_masked, same.is_masked)
    assert one.loss == same.loss
    assert torch.equal(one.is_masked[0], other.is_masked[0])
    assert not torch.equal(one.is_masked[1], other.is_masked[1])


def test_the_second_pass_does_not_reach_the_local_encoder():
    model = pretraining().train()
    losses = model(**CASE.batch([61, 40]), **DRAWS).losses
    loss = losses["latent_reconstruction"]
    # Decoded in one batch with the passes that do reach it: nothing of theirs, to the last bit.
    for part in (model.model.local_encoder, model.model.embed_tokens):
        assert not any(grad is not None and grad.any() for grad in gradient_of(loss, part))
    for part in (model.model.latent_encoder, model.latent_decoder, model.local_decoder, model.lm_head):
        assert all(grad is not None and grad.any() for grad in gradient_of(loss, part))
    for name in ("reconstruction", "masked"):
        assert all(grad.any() for grad in gradient_of(losses[name], model.model.local_encoder))


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"latent_reconstruction_weight": 0.0}, ["reconstruction", "masked"]),
        ({"masked_weight": 0.0}, ["reconstruction", "latent_reconstruction"]),
        ({"latent_reconstruction_weight": 0.0, "masked_weight": 0.0}, ["reconstruction"]),
        ({"objective": "masked"}, ["masked"]),
        (
            {"reconstruction_weight": 2.0, "latent_reconstruction_weight": 0.5, "masked_weight": 3.0},
            ["reconstruction", "latent_reconstruction", "masked"],
        ),
    ],
    ids=str,
)
def test_switches(fields, names):
    model, default = pretraining(**fields), pretraining()
    batch = CASE.with_labels("masked_lm", CASE.batch([61, 40]))
    output, full = model(**batch, **DRAWS), default(**batch, **DRAWS)
    assert list(output.losses) == names
    config = model.config
    weights = {
        "reconstruction": config.reconstruction_weight,
        "latent_reconstruction": config.latent_reconstruction_weight,
        "masked": config.masked_weight,
    }
    expected = sum(weights[name] * output.losses[name] for name in names)
    torch.testing.assert_close(output.loss, expected)
    if config.objective == "masked":
        torch.testing.assert_close(output.loss, full.losses["reconstruction"])
        assert output.is_masked is None
        with pytest.raises(ValueError, match="labels must be given with objective='masked', got None"):
            model(batch["input_ids"])
        return
    for name in names:
        torch.testing.assert_close(output.losses[name], full.losses[name])


def test_sequences_with_random_masks_in_training():
    model, batch = pretraining(random_mask_share=1.0), CASE.batch([400, 300])
    adaptive = model(**batch, **DRAWS)
    assert torch.equal(adaptive.is_masked, pretraining()(**batch, **DRAWS).is_masked)
    output = model.train()(**batch, **DRAWS)
    assert 0.1 < output.mask_rate < 0.2
    assert not output.is_masked[1, 300:].any()
    index = output.segmentation.token_index[0]
    is_split = (index[1:] == index[:-1]) & (output.is_masked[0, 1:] != output.is_masked[0, :-1])
    assert is_split.any(), "bases are hidden, not tokens"
    masked_ids = torch.where(output.is_masked, MASK_ID, batch["input_ids"])
    plain = MergeDNAForMaskedLM(model.config).double()
    plain.load_state_dict(model.state_dict())
    third = plain(masked_ids, batch["attention_mask"], keep_ratio=0.45)
    torch.testing.assert_close(output.masked_logits, third.logits)


def test_default_labels_are_the_letters_that_are_there():
    model, batch = pretraining(), CASE.batch([61, 40])
    labelled = CASE.with_labels("pretraining", batch)
    assert ((labelled["labels"] == IGNORE_INDEX) & (batch["input_ids"] == N_ID)).any()
    expected = model(**labelled, **DRAWS)
    torch.testing.assert_close(model(**batch, **DRAWS).loss, expected.loss)
    garbled = torch.where(batch["attention_mask"] == 0, T_ID, batch["input_ids"])
    torch.testing.assert_close(model(garbled, batch["attention_mask"], **DRAWS).loss, expected.loss)


def test_ratios_and_seeds_are_drawn_in_training_alone():
    model, batch = pretraining(torch.float32), CASE.batch([400])
    assert model(**batch).segmentation.num_tokens.tolist() == [200]
    model.train()
    counts = {int(model(**batch).segmentation.num_tokens) for _ in range(6)}
    assert len(counts) > 1
    assert all(160 <= count <= 240 for count in counts)
    torch.manual_seed(5)
    one = model(**batch)
    torch.manual_seed(5)
    other = model(**batch)
    assert one.loss == other.loss
    assert torch.equal(one.is_masked, other.is_masked)


@pytest.mark.parametrize("head", ["masked_lm", "pretraining"])
def test_nothing_labelled_is_a_differentiable_zero(head):
    model, batch = CASE.build(head).train(), CASE.batch([30, 20])
    output = model(**batch, **CASE.draws(head, 2), labels=torch.full_like(batch["input_ids"], IGNORE_INDEX))
    assert output.loss.item() == 0
    output.loss.backward()
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)
    assert model.lm_head.weight.grad is not None


def test_a_sequence_of_unknown_bases_is_in_no_loss():
    model = pretraining().train()
    output = model(torch.full((1, 40), N_ID), **{**DRAWS, "sample_seeds": torch.tensor([1])})
    assert output.loss.item() == 0
    output.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_losses_over_the_global_batch():
    model, batch = CASE.build("masked_lm", torch.float64), CASE.batch([61, 40])
    batch = CASE.with_labels("masked_lm", batch)
    whole = model(**batch).loss
    count = (batch["labels"] != IGNORE_INDEX).sum()
    parts = [
        model(**{name: value[row : row + 1] for name, value in batch.items()}, num_items_in_batch=count).loss
        for row in range(2)
    ]
    torch.testing.assert_close(parts[0] + parts[1], whole)
    torch.testing.assert_close(model(**batch, num_items_in_batch=int(2 * count)).loss, whole / 2)


def test_pretraining_losses_over_the_global_batch():
    model, batch = pretraining(), CASE.batch([61, 40])
    plain = model(**batch, **DRAWS)
    letters = CASE.with_labels("pretraining", batch)["labels"] != IGNORE_INDEX
    wide = model(**batch, **DRAWS, num_items_in_batch=4 * letters.sum())
    for name, loss in plain.losses.items():
        torch.testing.assert_close(wide.losses[name], loss / 4)
    parts = []
    for row in range(2):
        part = {name: value[row : row + 1] for name, value in batch.items()}
        draws = {**DRAWS, "sample_seeds": DRAWS["sample_seeds"][row : row + 1]}
        parts.append(model(**part, **draws, num_items_in_batch=letters.sum()).losses)
    for name in ("reconstruction", "latent_reconstruction"):
        torch.testing.assert_close(parts[0][name] + parts[1][name], plain.losses[name])
    # What adaptive masking hides is known after a micro-batch alone: its mean weighs as much as its labels.
    means = [
        F.cross_entropy(plain.masked_logits[row][hidden], batch["input_ids"][row][hidden])
        for row, hidden in enumerate(plain.is_masked & letters)
    ]
    shares = letters.sum(dim=1) / letters.sum()
    torch.testing.assert_close(
        parts[0]["masked"] + parts[1]["masked"], shares[0] * means[0] + shares[1] * means[1]
    )


def test_base_loss_by_hand():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]]]))
    labels = torch.tensor([[0, 2, IGNORE_INDEX]])
    assert base_loss(logits, labels).item() == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2)
    assert base_loss(logits, labels, 4).item() == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 4)
    assert base_loss(logits.bfloat16(), labels).dtype == torch.float32


# Heads.


def labels_for(kind, shape):
    if kind == "single_label_classification":
        return torch.randint(3, shape)
    if kind == "multi_label_classification":
        return torch.randint(2, (*shape, 3)).float()
    return torch.randn(*shape, 3)


@pytest.mark.parametrize("given", [True, False], ids=["given", "inferred"])
@pytest.mark.parametrize("kind", ["single_label_classification", "multi_label_classification", "regression"])
@pytest.mark.parametrize("head", ["sequence", "token"])
def test_problem_types(head, kind, given):
    if kind == "regression" and not given:
        num_labels, labels = 1, torch.randn((2,) if head == "sequence" else (2, 37))
    else:
        num_labels, labels = 3, labels_for(kind, (2,) if head == "sequence" else (2, 37))
    model = CASE.build(head, num_labels=num_labels, problem_type=kind if given else None)
    output = model(**CASE.batch([37, 37]), labels=labels)
    expected = {
        "single_label_classification": lambda: F.cross_entropy(
            output.logits.flatten(0, -2), labels.flatten()
        ),
        "multi_label_classification": lambda: F.binary_cross_entropy_with_logits(output.logits, labels),
        "regression": lambda: F.mse_loss(output.logits, labels.view_as(output.logits)),
    }[kind]()
    torch.testing.assert_close(output.loss, expected)
    assert model.config.problem_type == kind
    output.loss.backward()
    assert model.classifier.weight.grad.any()


@pytest.mark.parametrize("kind", ["single_label_classification", "multi_label_classification", "regression"])
def test_ignored_bases(kind):
    model, batch = CASE.build("token", num_labels=3, problem_type=kind), CASE.batch([37, 20])
    labels = labels_for(kind, (2, 37))
    is_known = (torch.rand(2, 37) < 0.5) & (batch["attention_mask"] == 1)
    hole = IGNORE_INDEX if kind == "single_label_classification" else torch.nan
    labels[~is_known] = hole
    logits = model(**batch).logits
    expected = model(**batch, labels=labels).loss
    known_logits, known = logits[is_known], labels[is_known]
    reference = {
        "single_label_classification": lambda: F.cross_entropy(known_logits, known),
        "multi_label_classification": lambda: F.binary_cross_entropy_with_logits(known_logits, known),
        "regression": lambda: F.mse_loss(known_logits, known),
    }[kind]()
    torch.testing.assert_close(expected, reference)
    loss = model(**batch, labels=torch.full_like(labels, hole)).loss
    assert loss.item() == 0
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_labels_that_do_not_fit():
    batch = CASE.batch([37, 20])
    model = CASE.build("sequence", num_labels=3)
    with pytest.raises(ValueError, match=r"labels must be \[2\] for single_label_classification, got \[3\]"):
        model(**batch, labels=torch.zeros(3, dtype=torch.int64))
    several = CASE.build("sequence", num_labels=3, problem_type="multi_label_classification")
    with pytest.raises(
        ValueError, match=r"labels must be \[2, 3\] for multi_label_classification, got \[2, 2\]"
    ):
        several(**batch, labels=torch.zeros(2, 2))
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=rf"labels must be in \[0, 3\) or -100, got {wrong}"):
            CASE.build("sequence", num_labels=3)(**batch, labels=torch.tensor([0, wrong]))


def test_the_sequence_head_reads_the_mean_of_the_tokens():
    model, batch = CASE.build("sequence", torch.float64), CASE.batch([37, 20])
    output, encoded = model(**batch), model.model(**batch)
    for row, tokens in enumerate(encoded.segmentation.num_tokens.tolist()):
        pooled = encoded.last_hidden_state[row, :tokens].mean(dim=0)
        torch.testing.assert_close(output.logits[row], model.classifier(pooled))


def test_the_token_head_reads_the_local_decoder():
    model, batch = CASE.build("token", torch.float64), CASE.batch([37, 20])
    encoded = model.model(**batch)
    bases = model.local_decoder(encoded.last_hidden_state, encoded.segmentation)
    torch.testing.assert_close(model(**batch).logits, model.classifier(bases))
    # Bases of one token leave it alike, and the decoder tells them apart by position.
    index = encoded.segmentation.token_index[0]
    first = int(torch.where(index[1:] == index[:-1])[0][0])
    assert not torch.allclose(bases[0, first], bases[0, first + 1])


def test_dropout_of_the_heads():
    for head in ("sequence", "token"):
        model, batch = CASE.build(head, classifier_dropout=0.5), CASE.batch([37])
        still = [model(**batch).logits for _ in range(2)]
        assert torch.equal(*still)
        model.train()
        assert not torch.equal(model(**batch).logits, still[0])


def test_embeddings_can_be_replaced():
    for head in CASE.heads:
        model = CASE.build(head)
        assert model.get_input_embeddings().weight.shape == (10, 32)
        new = torch.nn.Embedding(10, 32)
        model.set_input_embeddings(new)
        assert model.get_input_embeddings() is new
        batch = CASE.batch([20])
        states = model(**batch, **CASE.draws(head, 1), output_hidden_states=True).hidden_states
        assert torch.equal(states[0], new(batch["input_ids"]))


def test_the_vocabulary_can_grow():
    model, batch = CASE.build("masked_lm"), CASE.batch([20])
    with torch.no_grad():
        before = model(**batch).logits
    model.resize_token_embeddings(12)
    assert model.config.vocab_size == 12
    assert model.get_input_embeddings().weight.shape == (12, 32)
    logits = model(**batch).logits
    assert logits.shape == (1, 20, 12)
    torch.testing.assert_close(logits[..., :10], before)
    model(torch.tensor([[11, 5, 6, 7]])).logits.sum().backward()


@pytest.mark.parametrize("head", ["base", "masked_lm", "sequence", "token"])
def test_a_pretraining_checkpoint_feeds_every_head(head, tmp_path):
    trained = CASE.build("pretraining")
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    trained.save_pretrained(tmp_path)
    model, info = CASE.heads[head][0].from_pretrained(tmp_path, output_loading_info=True)
    assert all(key.startswith("classifier.") for key in info["missing_keys"]), info["missing_keys"]
    weights = trained.state_dict() if head != "base" else trained.model.state_dict()
    shared = [name for name in model.state_dict() if not name.startswith("classifier.")]
    assert shared
    for name in shared:
        assert torch.equal(model.state_dict()[name], weights[name]), name
    if head == "masked_lm":
        batch = CASE.batch([37])
        expected = trained(**batch, keep_ratio=0.5, sample_seeds=torch.tensor([1])).logits
        assert torch.equal(model(**batch).logits, expected)


@pytest.mark.parametrize("head", ["pretraining", "masked_lm", "token", "sequence"])
def test_parts_missing_from_a_checkpoint_start_as_new_ones_do(head, tmp_path):
    CASE.build("base").save_pretrained(tmp_path)
    model = CASE.heads[head][0].from_pretrained(tmp_path)
    for name, parameter in model.named_parameters():
        if name.startswith("model."):
            continue
        if "norm" in name:
            assert (parameter == 1).all(), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        else:
            assert parameter.std().item() == pytest.approx(0.2, rel=0.3), name


def test_frozen_grouping_stays_frozen_after_loading(tmp_path):
    model = CASE.build("base", merge_gradient="frozen")
    model.save_pretrained(tmp_path)
    for head in (MergeDNAModel, MergeDNAForSequenceClassification, MergeDNAForTokenClassification):
        loaded = head.from_pretrained(tmp_path)
        groupings = [module for name, module in loaded.named_modules() if name.endswith("grouping")]
        for grouping, merge in zip(groupings, model.local_encoder.merges, strict=True):
            assert torch.equal(grouping.weight, merge.grouping.weight)
            assert not grouping.weight.requires_grad


def test_kinds_of_grouping_share_checkpoints(tmp_path):
    learned, batch = CASE.build("base", merge_gradient="straight_through"), CASE.batch([61])
    learned.save_pretrained(tmp_path)
    frozen, info = MergeDNAModel.from_pretrained(tmp_path, merge_gradient="frozen", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert torch.equal(frozen(**batch).last_hidden_state, learned(**batch).last_hidden_state)


def test_hidden_states_shrink_by_the_schedule():
    model, batch = CASE.build("base"), CASE.batch([61])
    states = model(**batch, output_hidden_states=True, keep_ratio=0.4).hidden_states
    lengths = [61, *merge_schedule(61, 0.4, 16, [0, 0])]
    assert [state.shape[1] for state in states] == lengths + [25] * 3


def test_masks_of_any_dtype():
    model, batch = CASE.build("masked_lm"), CASE.batch([37, 20])
    expected = model(**batch).logits
    for dtype in (torch.bool, torch.int32, torch.float32, torch.uint8):
        assert torch.equal(model(batch["input_ids"], batch["attention_mask"].to(dtype)).logits, expected)
    assert batch["input_ids"][1, -1] == PAD_ID


@pytest.mark.parametrize("objective", ["merge", "masked"])
def test_a_tuple_of_the_pretraining_begins_with_the_loss(objective):
    model = MergeDNAForPreTraining(MergeDNAConfig.micro(objective=objective)).eval()
    ids = torch.randint(5, 9, (2, 64))
    output = model(ids, labels=ids, sample_seeds=torch.arange(2))
    assert model(ids, labels=ids, sample_seeds=torch.arange(2), return_dict=False)[0] == output.loss
    names = [field.name for field in dataclasses.fields(output) if getattr(output, field.name) is not None]
    assert list(output.keys()) == names


def test_hidden_states_are_what_the_loss_goes_through():
    model = MergeDNAForPreTraining(MergeDNAConfig.micro()).eval()
    ids, seeds = torch.randint(5, 9, (2, 64)), torch.arange(2)
    output = model(ids, sample_seeds=seeds, output_hidden_states=True)
    for state in output.hidden_states:
        state.retain_grad()
    output.loss.backward()
    assert all(state.grad.any() for state in output.hidden_states)
    torch.testing.assert_close(output.loss, model(ids, sample_seeds=seeds).loss)
