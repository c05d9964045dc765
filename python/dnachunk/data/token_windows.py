"""Windows as the tokens of a fixed tokenizer, and which of them a model has to guess.

Tokens are selected as :func:`~dnachunk.data.masking.mask_bases` selects bases, by draws that are keyed by the
sample's seed and the place of the token's first base alone: each with probability 0.15, so that 15% of the
bases are, however long tokens are. A selected token shows ``[MASK]`` (80%), a token drawn uniformly from the
vocabulary of letters and words (10%), or itself (10%). With single bases it is ``mask_bases`` to the bit.

Overlapping words would give a hidden one away, each showing all but one of its letters. So *bases* are
selected, 15% of them, in spans of k counted from the window's first base (the words that the other k-mer
tokenizer hides), and corrupted, a span with one fate; then the corrupted window is tokenized, and every word
that has a ``[MASK]`` among its letters shows ``[MASK]``: 2k − 1 for a span. All words that have a selected
letter are to be guessed.

Where single bases are hidden, as in the evaluation of all models, each token that has one of them shows
``[MASK]``: :func:`~dnachunk.baselines.windows.tokenize_windows`.

Nothing of a token that shows ``[MASK]`` is to be seen, with one exception that cannot be helped: byte-pair
encoding has read the hidden letters before it cut the ones beside them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from dnachunk.alphabet import A_ID, BASES, IGNORE_INDEX, MASK_ID, NUM_IDS, is_base
from dnachunk.baselines import FixedTokenizer
from dnachunk.baselines.windows import tokenize_windows
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.data.windows import WindowCollator
from dnachunk.random import counter_uniform


class MaskedTokens(NamedTuple):
    """What a model sees and has to guess.

    Attributes:
        input_ids: ``[B, L]`` int64: what it sees.
        attention_mask: ``[B, L]`` int64.
        labels: ``[B, L]`` int64: the true id where selected, -100 elsewhere.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor


def mask_windows(
    tokenizer: FixedTokenizer,
    input_ids: torch.Tensor,
    sample_seeds: torch.Tensor,
    *,
    probability: float = 0.15,
    mask_fraction: float = 0.8,
    random_fraction: float = 0.1,
) -> MaskedTokens:
    """Selects and corrupts tokens of windows; the module says how.

    Args:
        tokenizer: The tokenizer.
        input_ids: ``[B, N]`` int64 on the CPU: ids of bases, padded on the right.
        sample_seeds: ``[B]`` int64, as for :func:`~dnachunk.data.masking.mask_bases`.
        probability: Of a token being selected.
        mask_fraction: Share of the selected that show ``[MASK]``.
        random_fraction: Share of the selected that show a random token.
    """
    tokens = tokenize_windows(tokenizer, input_ids)
    kind = tokenizer.kind
    if kind.is_overlapping:
        assert kind.k is not None
        masked = mask_bases(
            input_ids,
            sample_seeds,
            probability=probability,
            mask_fraction=mask_fraction,
            random_fraction=random_fraction,
            span_bp=kind.k,
        )
        seen = tokenize_windows(tokenizer, masked.input_ids).input_ids
        labels = tokens.input_ids.masked_fill(~tokens.have(masked.is_selected), IGNORE_INDEX)
        return MaskedTokens(seen, tokens.attention_mask, labels)
    selection, fate, choice = (
        counter_uniform(sample_seeds, input_ids.shape[1], stream=stream).gather(1, tokens.starts)
        for stream in range(3)
    )
    true_ids = tokens.input_ids
    is_selected = (is_base(true_ids) | (true_ids >= NUM_IDS)) & (selection < probability)
    shows_mask = is_selected & (fate < mask_fraction)
    shows_random = is_selected & ~shows_mask & (fate < mask_fraction + random_fraction)
    index = (choice * (len(tokenizer) - NUM_IDS + len(BASES))).long()
    # Ids of letters, then of words, without N between them.
    random_ids = torch.where(index < len(BASES), A_ID + index, NUM_IDS + index - len(BASES))
    seen = torch.where(shows_random, random_ids, true_ids).masked_fill(shows_mask, MASK_ID)
    return MaskedTokens(seen, tokens.attention_mask, true_ids.masked_fill(~is_selected, IGNORE_INDEX))


class TokenMaskingCollator:
    """Makes a batch of windows for masked modelling of a fixed tokenizer's tokens.

    A batch has ``input_ids``, ``attention_mask`` and ``labels`` as :func:`mask_windows` gives them; a
    window's mask is a function of ``seed`` and its ``sample_index`` alone.

    Args:
        tokenizer: The tokenizer.
        seed: Keys every draw.
        probability: Of a token being selected, in [0, 1].
    """

    def __init__(self, tokenizer: FixedTokenizer, seed: int = 0, probability: float = 0.15) -> None:
        self.tokenizer = tokenizer
        self.seed = seed
        self.probability = probability
        self._collate = WindowCollator()

    def __call__(self, items: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Tokenizes and masks the items of one batch.

        Args:
            items: At least one item of :class:`~dnachunk.data.WindowDataset` or ``HeldOutWindows``.
        """
        batch = self._collate(items)
        seeds = mask_seeds(self.seed, batch["sample_index"])
        return mask_windows(self.tokenizer, batch["input_ids"], seeds, probability=self.probability)._asdict()


__all__ = ["MaskedTokens", "TokenMaskingCollator", "mask_windows"]
