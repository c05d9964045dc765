import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnachunk.data.shuffle import dinucleotide_shuffle

LETTERS = "ACGTN"


def ids_of(text):
    return torch.tensor([5 + LETTERS.index(letter) for letter in text], dtype=torch.uint8)


def shuffled(text, seed):
    return "".join(LETTERS[index - 5] for index in dinucleotide_shuffle(ids_of(text), seed).tolist())


def pairs(text):
    return Counter(map("".join, itertools.pairwise(text)))


@pytest.mark.parametrize("text", ["", "A", "AC", "AAAA", "ACGT", "N", "NANCNN"])
def test_what_has_one_order_stays(text):
    assert shuffled(text, 3) == text


def test_n_stays_where_it_is():
    for seed in range(20):
        left, middle, right = shuffled("ACAGATANNCTCGCACNG", seed).split("N", 2)
        assert (len(left), middle) == (7, "")
        assert right.endswith("NG")


@given(st.text("ACGTN", max_size=60), st.integers(0, 1 << 40))
@settings(max_examples=300, deadline=None)
def test_letters_and_pairs_are_as_many(text, seed):
    found = shuffled(text, seed)
    assert pairs(found) == pairs(text)
    assert (found[:1], found[-1:], Counter(found)) == (text[:1], text[-1:], Counter(text))
    assert shuffled(text, seed) == found


@pytest.mark.parametrize("text", ["ACAGATACCA", "AACAGGCAG", "ACCCAGGAACGA"])
def test_all_orders_are_drawn_alike(text):
    orders = {
        order
        for order in map("".join, set(itertools.permutations(text[1:-1])))
        if pairs(text[0] + order + text[-1]) == pairs(text)
    }
    draws = 60 * len(orders)
    found = Counter(shuffled(text, seed)[1:-1] for seed in range(draws))
    assert set(found) == orders
    # Chi-square, six deviations above what it is on average.
    statistic = sum((count - 60) ** 2 / 60 for count in found.values())
    assert statistic < len(orders) + 6 * (2 * len(orders)) ** 0.5


def test_the_sequence_and_its_dtype_stay():
    ids = torch.randint(5, 9, (300,), generator=torch.Generator().manual_seed(0))
    before = ids.clone()
    found = dinucleotide_shuffle(ids, 1)
    assert torch.equal(ids, before)
    assert found.dtype == torch.int64
    assert (found != ids).float().mean() > 0.5
