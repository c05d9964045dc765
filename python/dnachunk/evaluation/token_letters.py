"""What a masked language model of k-mers says of single bases.

A token that has a hidden base shows ``[MASK]``, and with it its other bases are hidden, which a model of
single bases would see. They are not lost, though: the model gives each word ``w`` a probability ``p(w)`` at
that token, and of a hidden base ``j`` of it ::

    p(x | all that is visible)  ∝  Σ p(w) over the words with w_j = x that agree with the visible bases

which is the model's own distribution, conditioned on what is known and summed over what is not. Where a share
r of the visible letters is drawn at random, as masked modelling has it, a letter that agrees counts 1 − ¾ r
and one that does not r / 4. So single bases under the same mask, with the same bases visible, are predicted
as by any other model. Of overlapping words the one that begins at the base is taken. Byte-pair encoding has
no such answer: where its tokens begin and end was decided with the hidden base in sight, and often only one
token of that place and length agrees with the bases beside it, so that a model that knows nothing would be
right.
"""

from typing import Any

import torch

from dnachunk.alphabet import A_ID, BASES, MASK_ID, NUM_IDS, T_ID
from dnachunk.baselines import FixedTokenizer
from dnachunk.baselines.windows import tokenize_windows


def hidden_base_logits(
    model: Any,
    tokenizer: FixedTokenizer,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    *,
    random_share: float = 0.0,
) -> torch.Tensor:
    """Logits of the letters under ``[MASK]``, of a model of single bases or k-mers.

    Args:
        model: Hugging Face's masked language model of the tokenizer's tokens.
        tokenizer: Of single bases or k-mers.
        input_ids: ``[B, N]`` int64: ids of bases and ``[MASK]``, padded on the right.
        attention_mask: Not read: padding has an id of its own.
        random_share: Share of the visible letters that were drawn uniformly from all four.

    Returns:
        ``[B, N, 10]`` float32, indexed by id: log-probabilities, up to a constant, of A, C, G and T where
        ``input_ids`` shows ``[MASK]``; 0 elsewhere.

    Raises:
        ValueError: If the tokenizer is byte-pair encoding.
    """
    del attention_mask
    if tokenizer.kind.k is None:
        raise ValueError(
            "hidden_base_logits: tokenizer must be of single bases or k-mers, got byte-pair encoding"
        )
    shown = input_ids.cpu()
    tokens = tokenize_windows(tokenizer, shown)
    logits = model(
        input_ids=tokens.input_ids.to(input_ids.device),
        attention_mask=tokens.attention_mask.to(input_ids.device),
    ).logits
    rows, places = (shown == MASK_ID).nonzero(as_tuple=True)
    # The last token that begins at the base or before it; of overlapping words that is the one at the base.
    begins = torch.zeros_like(shown).scatter_(1, tokens.starts, tokens.attention_mask)
    # Padding is at 0 too, where a token always begins.
    begins[:, 0] = 1
    index = begins.cumsum(dim=1)[rows, places] - 1
    starts = tokens.starts[rows, index]
    is_word = tokens.ends[rows, index] - starts > 1
    of_token = logits[rows.to(logits.device), index.to(logits.device)].float()
    letters = of_token[:, A_ID : T_ID + 1].clone()
    for offset in range(tokenizer.kind.k):
        which = (is_word & (places - starts == offset)).nonzero()[:, 0]
        bases = shown[rows[which, None], starts[which, None] + torch.arange(tokenizer.kind.k)]
        which = which.to(logits.device)
        letters[which] = _letter_of_words(
            of_token[which, NUM_IDS:], bases.to(logits.device), offset, random_share
        )
    result = logits.new_zeros((*shown.shape, NUM_IDS), dtype=torch.float32)
    result[rows.to(logits.device), places.to(logits.device), A_ID : T_ID + 1] = letters
    return result


def _letter_of_words(
    words: torch.Tensor, bases: torch.Tensor, offset: int, random_share: float
) -> torch.Tensor:
    """``[M, 4]``: the letter at ``offset`` of words ``[M, 4^k]`` with ``[M, k]`` shown or hidden bases."""
    count, k = bases.shape
    # A dimension for each letter of the word.
    words = words.view(count, *([len(BASES)] * k))
    letter_ids = torch.arange(A_ID, T_ID + 1, device=bases.device)
    wrong = random_share / len(BASES)
    likelihood = torch.where(bases[..., None] == letter_ids, 1 - (len(BASES) - 1) * wrong, wrong)
    evidence = likelihood.log().masked_fill(bases[..., None] == MASK_ID, 0.0)
    for place in range(k):
        shape = [count, *([1] * place), len(BASES), *([1] * (k - 1 - place))]
        words = words + evidence[:, place].view(shape)
    return words.movedim(offset + 1, 1).reshape(count, len(BASES), len(BASES) ** (k - 1)).logsumexp(dim=-1)


__all__ = ["hidden_base_logits"]
