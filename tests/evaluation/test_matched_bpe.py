import pytest
import torch

from dnachunk.evaluation.boundary_survival import kmer_boundaries, text_boundaries
from dnachunk.evaluation.matched_bpe import matched_bpe, mean_token_bp
from dnachunk.ops import decode_dna


def sequences(count, length_bp, seed):
    ids = torch.randint(5, 9, (count, length_bp), generator=torch.Generator().manual_seed(seed))
    offsets = torch.arange(0, count * length_bp + 1, length_bp)
    return ids, decode_dna(ids.flatten().to(torch.uint8), offsets)


def size_of(tokenizer):
    return int(tokenizer.init_kwargs["tokenization"].removeprefix("bpe-"))


def test_bases_per_token_of_words():
    windows, _ = sequences(3, 60, 0)
    assert mean_token_bp(kmer_boundaries(6), windows) == 6
    assert mean_token_bp(kmer_boundaries(7), windows) == 60 / 9


def test_no_other_size_is_closer():
    windows, _ = sequences(20, 120, 0)
    _, texts = sequences(60, 200, 1)
    targets = [1.9, 2.7]
    for target, tokenizer in zip(targets, matched_bpe(texts, windows, targets), strict=True):
        size = size_of(tokenizer)

        def distance(other, target=target):
            (found,) = matched_bpe(texts, windows, [other])
            return abs(mean_token_bp(text_boundaries(found.tokenize), windows) - target)

        assert distance(target) < 0.02
        # The neighbours, reached from their own compression.
        for nearby in (target - 0.05, target + 0.05):
            assert distance(target) <= distance(nearby)
        assert 11 < size < 64 or target > 2.5


def test_what_cannot_be_reached_is_approached():
    windows, _ = sequences(4, 120, 0)
    _, texts = sequences(10, 100, 1)
    least, most = matched_bpe(texts, windows, [1.0, 50.0])
    assert size_of(least) == 11
    assert len(least) == 11
    bases = [mean_token_bp(text_boundaries(each.tokenize), windows) for each in (least, most)]
    assert 1 < bases[0] < 1.2
    assert bases[1] == pytest.approx(3, abs=0.7)
    # No pair is left that occurs twice.
    assert len(most) < size_of(most)
