"""Losses that the models share."""

import pytest
import torch
import torch.nn.functional as F

from dnachunk.models.modeling_common import base_loss, global_total


def test_a_total_is_the_count_itself_where_the_batch_is_whole():
    count = torch.tensor(5)
    assert global_total(count, torch.tensor([[5, -100]]), None) is count


def test_a_total_grows_with_the_labelled_positions_of_the_global_batch():
    labels = torch.tensor([[5, 6, 7, -100]])
    assert global_total(torch.tensor(2.0), labels, 12).item() == 8.0
    assert global_total(torch.tensor(0.0), torch.full((1, 4), -100), 12).item() == 0.0


def test_weights_make_a_weighted_mean():
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 4, 10), torch.tensor([[5, 6, -100, 8]])
    weight = torch.tensor([[1.0, 0.1, 5.0, 0.5]])
    each = F.cross_entropy(logits[0], labels[0], ignore_index=-100, reduction="none")
    expected = (each * weight[0]).sum() / 1.6
    torch.testing.assert_close(base_loss(logits, labels, weight=weight), expected)
    torch.testing.assert_close(base_loss(logits, labels, 3.2, weight), expected / 2)
    torch.testing.assert_close(base_loss(logits, labels, weight=torch.ones(1, 4)), base_loss(logits, labels))


@pytest.mark.parametrize("weight", [None, torch.ones(1, 3), torch.zeros(1, 3)])
def test_nothing_asked_is_a_differentiable_zero(weight):
    logits = torch.randn(1, 3, 10, requires_grad=True)
    labels = torch.full((1, 3), -100 if weight is None or weight.any() else 5)
    loss = base_loss(logits, labels, weight=weight)
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))
