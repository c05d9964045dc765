"""What DNAChunker computes beyond the laws of all models."""

import math

import pytest
import torch

from dnachunk import DNAChunkerConfig, DNAChunkerForMaskedLM, DNAChunkerModel
from dnachunk.alphabet import IGNORE_INDEX, MASK_ID, PAD_ID
from dnachunk.models.dnachunker.modeling_dnachunker import ratio_loss
from dnachunk.nn import Dechunk
from dnachunk.nn.chunking import Routing

SHAPE = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "state_size": 4,
}


def build(model_class=DNAChunkerModel, **fields):
    torch.manual_seed(0)
    return model_class(DNAChunkerConfig(**{**SHAPE, "initializer_range": 0.2, **fields})).double().eval()


def random_input(batch=2, length=64, mask_share=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 9, (batch, length), generator=generator)
    return torch.where(torch.rand(ids.shape, generator=generator) < mask_share, MASK_ID, ids)


def routing_of(probability, is_boundary, is_forced):
    is_boundary = torch.tensor(is_boundary, dtype=torch.bool)
    return Routing(
        boundary_probability=torch.tensor(probability),
        is_boundary=is_boundary,
        is_forced=torch.tensor(is_forced, dtype=torch.bool),
        token_index=torch.where(torch.tensor(probability) < 0, -1, is_boundary.cumsum(1) - 1),
        num_tokens=is_boundary.sum(1),
        lengths=(torch.tensor(probability) >= 0).sum(1),
    )


def test_ratio_loss_by_hand():
    # Free positions of the first: 0.5 (no), 0.9 (yes), 0.2 (no); none in the second.
    routing = routing_of(
        [[1.0, 0.4, 0.9, 0.2, -1.0], [1.0, 1.0, -1.0, -1.0, -1.0]],
        [[1, 0, 1, 0, 0], [1, 1, 0, 0, 0]],
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]],
    )
    share, probability = 1 / 3, 0.5
    by_hand = share * probability / 0.3 + (1 - share) * (1 - probability) / 0.7
    assert ratio_loss(routing, 0.3).item() == pytest.approx(by_hand / 2)


def test_ratio_loss_is_one_at_the_target():
    probability = [[1.0, 0.7, 0.3]]
    assert ratio_loss(routing_of(probability, [[1, 1, 0]], [[1, 0, 0]]), 0.5).item() == pytest.approx(1)


def test_ratio_loss_under_a_budget_is_that_of_the_threshold():
    # The budget, spent on what is forced, has none of the free positions; or all of them.
    probability = [[1.0, 0.7, 0.6, 0.2]]
    want = ratio_loss(routing_of(probability, [[1, 1, 1, 0]], [[1, 0, 0, 0]]), 0.3)
    for chosen in ([1, 0, 0, 0], [1, 1, 1, 1]):
        found = ratio_loss(routing_of(probability, [chosen], [[1, 0, 0, 0]]), 0.3)
        assert found.item() == pytest.approx(want.item())


def test_ratio_loss_of_regions_is_that_of_each_alone_by_its_share():
    probability = [[1.0, 0.9, 0.2, 0.7, 0.1, 0.6, 0.3]]
    routing = routing_of(probability, [[1, 1, 0, 1, 0, 1, 0]], [[1, 0, 0, 0, 0, 0, 0]])
    regions = torch.tensor([[0, 0, 1, 1, 1, 2, 0]])
    # Elsewhere positions 1 and 6, in the first region 2 to 4, in the second 5.
    want = 0.0
    for share, p, alpha, count in ((0.5, 0.6, 0.5, 2), (1 / 3, 1 / 3, 0.3, 3), (1.0, 0.6, 0.8, 1)):
        want += count / 6 * (share * p / alpha + (1 - share) * (1 - p) / (1 - alpha))
    assert ratio_loss(routing, 0.5, [0.3, 0.8], regions).item() == pytest.approx(want)
    nowhere = ratio_loss(routing, 0.5, [0.3, 0.8], torch.zeros_like(regions))
    torch.testing.assert_close(nowhere, ratio_loss(routing, 0.5))


def test_regions_have_their_own_target_at_both_stages():
    model = build(DNAChunkerForMaskedLM, region_ratio=(0.9,))
    ids = random_input(mask_share=0.0)
    labels = torch.full_like(ids, IGNORE_INDEX)
    everywhere = torch.zeros_like(ids)
    everywhere[:, 20:40] = 1
    losses = model(ids, labels=labels, region_index=everywhere).losses
    encoded, _ = model.model._encode(ids)
    regions = everywhere
    for stage, done in enumerate(encoded):
        want = ratio_loss(done.routing, model.config.target_ratio[stage], [0.9], regions)
        torch.testing.assert_close(losses[f"ratio_{stage}"], want)
        chunked = torch.zeros(done.chunks.shape[:2], dtype=torch.int64)
        for row, begins in enumerate(done.routing.is_boundary):
            places = begins.nonzero().flatten()
            chunked[row, : len(places)] = regions[row, places]
        regions = chunked
    without = model(ids, labels=labels).losses
    assert without["ratio_0"] != losses["ratio_0"]
    with pytest.raises(
        ValueError, match=r"region_index must be in \[0, 1\], as config.region_ratio has 1, got 2"
    ):
        model(ids, labels=labels, region_index=torch.full_like(ids, 2))
    with pytest.raises(ValueError, match=r"region_index must be torch.int64 \[2, 64\], got torch.bool"):
        model(ids, labels=labels, region_index=ids > 9)
    with pytest.raises(ValueError, match=r"region_ratio must be numbers in \(0, 1\), got \[1.5\]"):
        DNAChunkerConfig(region_ratio=[1.5])


@pytest.mark.parametrize("seed", range(5))
def test_every_mask_is_a_chunk_of_its_own_at_both_stages(seed):
    ids = random_input(seed=seed, mask_share=0.05 + 0.2 * seed)
    for stage in build()(ids).stage_segmentations:
        lengths = stage.lengths.gather(1, stage.token_index)
        assert (lengths[ids == MASK_ID] == 1).all()


def test_without_protection_some_mask_is_no_singleton():
    ids = random_input(mask_share=0.3)
    segmentation = build(mask_protection=False)(ids).segmentation
    lengths = segmentation.lengths.gather(1, segmentation.token_index)
    assert (lengths[ids == MASK_ID] > 1).any()


def test_fixed_boundaries_hang_on_masks_and_lengths_alone():
    model = build(boundaries="fixed", target_ratio=(0.5, 0.25))
    assert not any("router" in name for name in model.state_dict())
    ids, others = random_input(seed=0, mask_share=0), random_input(seed=1, mask_share=0)
    output = model(ids, output_losses=True)
    fine, coarse = output.stage_segmentations
    assert (fine.lengths[:, :-1] == 2).all()
    assert (coarse.lengths[:, :-1] == 8).all()
    assert torch.equal(model(others).segmentation.token_index, coarse.token_index)
    assert output.losses["ratio_0"].item() == pytest.approx(1, abs=0.05)
    ids[:, 9] = MASK_ID
    for stage in model(ids).stage_segmentations:
        assert (stage.lengths.gather(1, stage.token_index)[:, 9] == 1).all()


@pytest.mark.parametrize("gating", [True, False])
@pytest.mark.parametrize("stage", [0, 1])
def test_residual_gating_hides_what_the_encoder_says_of_masks(stage, gating):
    model, ids = build(residual_gating=gating), random_input()
    torch.nn.init.normal_(model.stages[stage].residual.weight)
    with torch.no_grad():
        before = model(ids)
        index = before.stage_segmentations[0].token_index
        is_masked = ids == MASK_ID
        if stage == 1:
            chunks = torch.zeros(2, int(before.stage_segmentations[0].num_tokens.max()), dtype=torch.bool)
            is_masked = chunks.scatter(1, index, is_masked)

        def perturb(_, inputs):
            return (inputs[0] + is_masked[..., None] * 3.0,)

        model.stages[stage].residual.register_forward_pre_hook(perturb)
        after = model(ids)
    assert torch.equal(before.last_hidden_state, after.last_hidden_state) == gating


def test_stages_nest():
    fine, coarse = build()(random_input()).stage_segmentations
    fine.validate()
    coarse.validate()
    assert (fine.boundaries | ~coarse.boundaries).all(), "a boundary of the second stage is one of the first"
    assert (coarse.num_tokens < fine.num_tokens).all()


def symmetric(**fields):
    """A model whose encoder does not know left from right; one of its routers neither."""
    model = build(backward_gate="right", **fields)
    for stage in model.stages:
        with torch.no_grad():
            for layer in stage.encoder.layers:
                forward, reverse = layer.mixer.forward_scan, layer.mixer.reverse_scan
                reverse.load_state_dict(forward.state_dict())
            stage.router.q_proj.weight.normal_(std=0.2)
            stage.router.k_proj.weight.copy_(stage.router.q_proj.weight)
    return model


def test_mirror_symmetry_of_boundaries():
    model, ids = symmetric(), random_input(mask_share=0.1)
    encoded, segmentations = model._encode(ids)
    mirrored, mirrored_segmentations = model._encode(ids.flip(1))
    for stage, reversed_stage in zip(segmentations, mirrored_segmentations, strict=True):
        index = reversed_stage.token_index.flip(1)
        assert torch.equal(stage.token_index, stage.num_tokens[:, None] - 1 - index)
    torch.testing.assert_close(mirrored[0].x.flip(1), encoded[0].x, rtol=0, atol=1e-12)


def test_mirror_symmetry_of_dechunking():
    model, ids = symmetric(), random_input(batch=1, mask_share=0.1)
    encoded, mirrored = model._encode(ids)[0], model._encode(ids.flip(1))[0]
    dechunk = Dechunk("right")
    for stage, reversed_stage in zip(encoded, mirrored, strict=True):
        chunks = torch.randn(stage.chunks.shape, dtype=torch.float64)
        straight, flipped = dechunk(chunks, stage.routing), dechunk(chunks.flip(1), reversed_stage.routing)
        torch.testing.assert_close(flipped.flip(1), straight, rtol=0, atol=1e-12)


def test_losses_add_up():
    model = build(DNAChunkerForMaskedLM, target_ratio=[0.3, 0.6], ratio_weight=0.2)
    ids = random_input()
    labels = torch.where(ids == MASK_ID, 5, IGNORE_INDEX)
    output = model(ids, labels=labels)
    losses = output.losses
    expected = losses["masked"] + 0.2 * (losses["ratio_0"] + losses["ratio_1"])
    torch.testing.assert_close(output.loss, expected)
    without = build(DNAChunkerForMaskedLM, target_ratio=[0.3, 0.6], ratio_weight=0.0)(ids, labels=labels)
    torch.testing.assert_close(without.loss, losses["masked"])


def test_repeats_weigh_less():
    model, ids = build(DNAChunkerForMaskedLM), random_input()
    labels = torch.where(ids == MASK_ID, 6, IGNORE_INDEX)
    repeat_mask = torch.zeros_like(ids, dtype=torch.bool)
    repeat_mask[:, 32:] = True
    with torch.no_grad():
        logits = model(ids).logits
        nats = -logits.float().log_softmax(-1)[..., 6]
        weight = (labels == 6) * torch.where(repeat_mask, 0.1, 1.0)
        loss = model(ids, labels=labels, repeat_mask=repeat_mask).losses["masked"]
    torch.testing.assert_close(loss.float(), ((nats * weight).sum() / weight.sum()).float())
    with pytest.raises(ValueError, match=r"repeat_mask must be \[2, 64\], got \[2, 3\]"):
        model(ids, labels=labels, repeat_mask=repeat_mask[:, :3])


def test_micro_batches_add_up_to_the_batch():
    model, ids = build(DNAChunkerForMaskedLM, mask_protection=False), random_input(batch=4)
    # As many labels in each half, so that the share of sequences is exact.
    labels = torch.full_like(ids, IGNORE_INDEX)
    labels[:, ::4] = 5
    with torch.no_grad():
        whole = model(ids, labels=labels)
        halves = [
            model(ids[rows], labels=labels[rows], num_items_in_batch=(labels == 5).sum())
            for rows in (slice(0, 2), slice(2, 4))
        ]
    torch.testing.assert_close(halves[0].loss + halves[1].loss, whole.loss)
    for name, loss in whole.losses.items():
        torch.testing.assert_close(halves[0].losses[name] + halves[1].losses[name], loss)


def test_masks_can_be_named_beside_embeddings():
    model, ids = build(), random_input()
    with pytest.raises(ValueError, match=r"is_masked must be bool \[2, 64\], got torch.int64 \[2, 64\]"):
        model(ids, is_masked=ids)
    named = model(inputs_embeds=model.embed_tokens(ids), is_masked=ids == MASK_ID)
    torch.testing.assert_close(named.last_hidden_state, model(ids).last_hidden_state)


def test_positions_of_the_main_network_are_in_base_pairs():
    model, ids = build(), random_input()
    seen = []
    model.rotary.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    segmentation = model(ids).segmentation
    lengths, starts = segmentation.lengths, segmentation.starts
    expected = torch.where(lengths > 0, starts + (lengths - 1) / 2, seen[0])
    torch.testing.assert_close(seen[0], expected.float())


def test_a_budget_is_exact_at_both_stages_and_of_the_call_or_the_configuration():
    model, ids = build(), random_input(batch=3, length=60, mask_share=0.0)
    mask = torch.ones_like(ids)
    mask[1, 41:] = 0
    ids = ids.masked_fill(mask == 0, PAD_ID)
    free = model(ids, mask).segmentation
    spent = model(ids, mask, boundary_budget=(0.5, 0.3))
    # ⌈0.5 · 60⌉ = 30 and ⌈0.3 · 30⌉ = 9; ⌈0.5 · 41⌉ = 21 and ⌈0.3 · 21⌉ = 7.
    assert [stage.num_tokens.tolist() for stage in spent.stage_segmentations] == [[30, 21, 30], [9, 7, 9]]
    model.config.boundary_budget = [0.5, 0.3]
    assert torch.equal(model(ids, mask).last_hidden_state, spent.last_hidden_state)
    model.config.boundary_budget = None
    assert torch.equal(model(ids, mask).segmentation.token_index, free.token_index)
    model.config.set_tokens_per_base(0.15)
    assert model.config.boundary_budget == [pytest.approx(0.15**0.5)] * 2
    assert model(ids, mask).segmentation.num_tokens[0] == math.ceil(0.15**0.5 * math.ceil(0.15**0.5 * 60))


def test_a_budget_is_split_as_the_target_ratios_are():
    config = DNAChunkerConfig(target_ratio=(0.5, 0.25))
    config.set_tokens_per_base(0.5**3)
    assert config.boundary_budget == [pytest.approx(0.5), pytest.approx(0.25)]
    with pytest.raises(ValueError, match=r"tokens_per_base must be in \(0, 1\], got 2"):
        config.set_tokens_per_base(2)
    assert config.boundary_budget == [pytest.approx(0.5), pytest.approx(0.25)]


def test_training_under_a_budget_reaches_the_routers():
    model = build(DNAChunkerForMaskedLM, boundary_budget=(0.5, 0.5)).train()
    ids = random_input()
    labels = torch.where(ids == MASK_ID, 5, IGNORE_INDEX)
    output = model(ids, labels=labels)
    # The share is the target: nothing is left for the ratio loss to say.
    output.loss.backward()
    for stage in model.model.stages:
        assert stage.router.q_proj.weight.grad.any()
        assert stage.router.q_proj.weight.grad.isfinite().all()


def test_under_a_budget_the_whole_model_is_one_graph():
    model = build(boundary_budget=(0.5, 0.5)).float()
    ids = random_input()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    torch.testing.assert_close(compiled(ids).last_hidden_state, model(ids).last_hidden_state)
