"""What MxDNA computes beyond the laws of all models."""

import pytest
import torch

from dnachunk import (
    DNATokenizer,
    MxDNAConfig,
    MxDNAForMaskedLM,
    MxDNAForSequenceClassification,
    MxDNAForTokenClassification,
    MxDNAModel,
)
from dnachunk.alphabet import CLS_ID, IGNORE_INDEX, SEP_ID
from dnachunk.models.mxdna.modeling_mxdna import expert_counts, load_balancing_loss
from dnachunk.nn.basic_units import SelectedUnits

SHAPE = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_nucleotide_layers": 1,
    "num_token_layers": 1,
}


def build(model_class=MxDNAModel, **fields):
    torch.manual_seed(0)
    return model_class(MxDNAConfig(**{**SHAPE, "initializer_range": 0.2, **fields})).double().eval()


def random_input(batch=2, length=64, seed=0):
    ids = torch.randint(5, 9, (batch, length + 2), generator=torch.Generator().manual_seed(seed))
    ids[:, 0], ids[:, -1] = CLS_ID, SEP_ID
    return ids


def test_load_balancing_by_hand():
    probability = torch.tensor([[[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]])
    units = SelectedUnits(
        scores=probability.log(),
        router_probability=probability,
        token_index=torch.tensor([[0, 1, 1, 2]]),
        num_tokens=torch.tensor([3]),
        token_center=torch.tensor([[0, 2, 3, -1]]),
        token_expert=torch.tensor([[0, 1, -1, -1]]),
    )
    # Centres 0 and 2 belong to experts; the base at 3 to none.
    by_hand = 2 * (0.5 * (0.5 + 0.2) / 2 + 0.5 * (0.5 + 0.8) / 2)
    assert load_balancing_loss(units).item() == pytest.approx(by_hand)


@pytest.mark.parametrize("experts", [1, 4])
def test_load_balancing_of_one_favourite_is_the_number_of_experts(experts):
    probability = torch.zeros(1, 5, experts)
    probability[..., 0] = 1
    places = torch.arange(5)[None]
    units = SelectedUnits(
        probability, probability, places, torch.tensor([5]), places, torch.zeros_like(places)
    )
    assert load_balancing_loss(units).item() == pytest.approx(experts)


def test_balance_of_parts_adds_up_to_that_of_the_whole():
    model, ids = build(), random_input(batch=3)
    whole, *parts = (model(input_ids=part).tokens.units for part in (ids, ids[:1], ids[1:]))
    counts = expert_counts(whole)
    sums = sum(load_balancing_loss(units, counts) for units in parts)
    assert sums.item() == pytest.approx(load_balancing_loss(whole).item())
    apart = (
        sum(load_balancing_loss(units) * (units.token_expert >= 0).sum() for units in parts) / counts.sum()
    )
    assert apart.item() != pytest.approx(sums.item(), rel=1e-4)


def test_losses_add_up():
    ids = random_input()
    labels = torch.where(torch.arange(66) % 5 == 3, 6, IGNORE_INDEX).expand(2, -1)
    output = build(MxDNAForMaskedLM, load_balancing_weight=0.3)(ids, labels=labels)
    expected = output.losses["masked"] + 0.3 * output.losses["load_balancing"]
    torch.testing.assert_close(output.loss, expected)
    without = build(MxDNAForMaskedLM, load_balancing_weight=0.0)(ids, labels=labels)
    torch.testing.assert_close(without.loss, output.losses["masked"])


def test_a_norm_closes_the_tokens():
    model, ids = build(), random_input()
    torch.nn.init.normal_(model.norm.weight)
    torch.nn.init.normal_(model.norm.bias)
    output = model(ids, output_hidden_states=True)
    expected = torch.nn.functional.layer_norm(
        output.hidden_states[-1], (32,), model.norm.weight, model.norm.bias, 1e-5
    )
    torch.testing.assert_close(output.last_hidden_state, expected)
    encoded = model.encode_tokens(ids[:, 1:-1])
    torch.testing.assert_close(encoded.vectors, output.last_hidden_state[:, 1:-1])


@pytest.mark.parametrize("head", [MxDNAForSequenceClassification, MxDNAForTokenClassification])
def test_the_dense_head(head):
    model, ids = build(head, classifier_head="dense", num_labels=3), random_input()
    dense, out = model.classifier[0], model.classifier[3]
    hidden = model.features(model.model(ids))
    torch.testing.assert_close(model(ids).logits, out(dense(hidden).tanh()))
    assert build(head, num_labels=3).classifier.weight.shape == (3, 32)
    # Dropped out before each layer.
    dropped = build(head, classifier_head="dense", classifier_dropout=0.5).train()
    seen = []
    for layer in (dropped.classifier[0], dropped.classifier[3]):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0] == 0).double().mean()))
    dropped(ids)
    assert all(0.2 < share < 0.8 for share in seen)


@pytest.mark.parametrize("head", [MxDNAForSequenceClassification, MxDNAForTokenClassification])
def test_balance_in_the_loss_of_labels(head):
    ids = random_input()
    labels = torch.tensor([0, 1]) if head is MxDNAForSequenceClassification else (ids % 2)
    plain, weighted = (build(head, classifier_load_balancing_weight=weight) for weight in (0.0, 0.3))
    expected = plain(ids, labels=labels)
    assert expected.losses is None
    output = weighted(ids, labels=labels)
    balance = load_balancing_loss(output.tokens.units)
    torch.testing.assert_close(output.losses["load_balancing"], balance)
    torch.testing.assert_close(output.loss, expected.loss + 0.3 * balance)
    assert weighted(ids).losses is None
    output.loss.backward()
    assert weighted.model.tokenization.select.scoring.weight.grad.any()


@pytest.mark.parametrize(
    ("fields", "num_tokens"),
    [({"boundaries": "fixed", "kernel_sizes": [3, 5]}, 16), ({"boundaries": "every_base"}, 64)],
    ids=str,
)
def test_boundaries_whatever_the_sequence(fields, num_tokens):
    for seed in (0, 1):
        encoded = build(**fields).encode_tokens(random_input(seed=seed)[:, 1:-1])
        assert encoded.segmentation.num_tokens.tolist() == [num_tokens] * 2
        assert encoded.vectors.shape == (2, num_tokens, 32)


def test_a_trunk_on_single_bases():
    model = build(MxDNAForMaskedLM, boundaries="every_base", kernel_sizes=[], deformable_kernel_size=0)
    assert not list(model.model.tokenization.parameters())
    ids = random_input()
    output = model.model(ids, output_hidden_states=True)
    assert torch.equal(output.hidden_states[2], output.nucleotide_hidden_state)
    tokens = model.encode_tokens(ids[:, 1:-1], vectors=False)
    assert torch.equal(tokens.segmentation.token_index, torch.arange(64).expand(2, -1))
    assert not tokens.columns["score"].any()
    assert (tokens.columns["expert"] == -1).all()
    assert torch.equal(tokens.columns["reads_bp"][..., 0], torch.arange(64.0).expand(2, -1))
    labels = torch.where(torch.arange(66) % 5 == 3, 6, IGNORE_INDEX).expand(2, -1)
    output = model(ids, labels=labels)
    assert output.losses["load_balancing"] == 0
    assert output.loss == output.losses["masked"]


def test_scores_are_the_probabilities_of_units():
    tokens = build(kernel_sizes=[3, 5]).encode_tokens(random_input()[:, 1:-1])
    expert, score = tokens.columns["expert"], tokens.columns["score"]
    assert (expert < 0).any()
    assert not score[expert < 0].any()
    assert (score[expert >= 0] > 0).all()


def test_special_tokens_are_no_units():
    output = build()(random_input())
    index = output.segmentation.validate().token_index
    assert (index[:, [0, -1]] == -1).all()
    assert (index[:, 1:-1] >= 0).all()
    assert torch.equal(output.num_tokens, output.segmentation.num_tokens + 2)
    lengths = output.segmentation.lengths
    experts = output.tokens.units.token_expert[:, : lengths.shape[1]]
    is_unit = experts >= 0
    assert torch.equal(lengths[is_unit], experts[is_unit] + 1), "expert j makes units of j + 1 bases"


def test_ids_without_special_tokens_are_refused():
    model, ids = build(), random_input()
    ids[1, 0] = 5
    with pytest.raises(ValueError, match=r"begin with \[CLS\] and end with \[SEP\].*got 5 and 3 in row 1"):
        model(ids)
    mask = torch.ones_like(ids)
    mask[:, -1] = 0
    with pytest.raises(ValueError, match=r"input_ids must begin with \[CLS\] and end"):
        model(random_input(), mask)


def test_the_tokenizers_batch_is_what_the_model_reads():
    batch = DNATokenizer(cls_sep=True)(["ACGTTGCA" * 5, "acgt"], padding=True, return_tensors="pt")
    output = build()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    assert output.segmentation[1].validate().token_index[0, 1:5].min() == 0


def test_jitter_is_a_function_of_the_seeds():
    model, ids = build(router_jitter=0.5).train(), random_input(batch=3)
    seeds = torch.tensor([4, 5, 6])

    def scores(rows, seeds):
        return model(ids[rows], noise_seeds=seeds).tokens.units.scores

    whole = scores(slice(None), seeds)
    torch.testing.assert_close(scores(slice(1, 2), seeds[1:2])[0], whole[1])
    assert not torch.allclose(scores(slice(None), seeds + 1), whole)
    torch.manual_seed(0)
    drawn = model(ids).tokens.units.scores
    assert not torch.allclose(model(ids).tokens.units.scores, drawn), "drawn anew from torch's generator"
    model.eval()
    torch.testing.assert_close(scores(slice(None), seeds), scores(slice(None), seeds + 1))


def test_cross_attention_positions():
    ids = random_input()
    seen = []
    for position in ("center", "index"):
        model = build(MxDNAForMaskedLM, cross_attention_position=position)
        model.decoder.attention.rotary.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        tokens = model(ids).tokens
    (bases, centers), (_, index) = seen[:2], seen[2:]
    assert torch.equal(bases, torch.arange(66)[None])
    assert torch.equal(centers, tokens.centers)
    assert torch.equal(index, torch.arange(tokens.values.shape[1])[None])


def test_pooling():
    ids = random_input()
    by_cls, by_mean = (build(MxDNAForSequenceClassification, pooling=pooling) for pooling in ("cls", "mean"))
    by_mean.load_state_dict(by_cls.state_dict())
    hidden = by_cls.model(ids).last_hidden_state
    torch.testing.assert_close(by_cls(ids).logits, by_cls.classifier(hidden[:, 0]))
    count = by_mean(ids).tokens.lengths
    means = torch.stack([row[:n].mean(0) for row, n in zip(hidden, count, strict=True)])
    # The mean is taken in float64, as the model is.
    torch.testing.assert_close(by_mean(ids).logits, by_mean.classifier(means))
