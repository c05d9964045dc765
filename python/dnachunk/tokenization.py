"""The tokenizer of DNA strings: a base, an id."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, BatchEncoding, PreTrainedConfig, PreTrainedTokenizer, TensorType
from transformers.tokenization_utils_base import TruncationStrategy
from transformers.utils.generic import PaddingStrategy

from dnachunk.alphabet import CLS_ID, MASK_ID, NUM_IDS, PAD_ID, SEP_ID, SPECIAL_TOKENS, TOKENS, UNK_ID
from dnachunk.fixed_vocabulary import FixedVocabulary
from dnachunk.ops import decode_dna, encode_dna

_ID_OF_TOKEN = {token: index for index, token in enumerate(TOKENS)}
_OWN_TOKENS = dict(
    zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL_TOKENS, strict=True)
)
_UNSUPPORTED = (
    "text_pair",
    "is_split_into_words",
    "return_overflowing_tokens",
    "return_offsets_mapping",
    "return_token_type_ids",
    "split_special_tokens",
)


class DNATokenizer(FixedVocabulary, PreTrainedTokenizer):
    """Hugging Face tokenizer with one id for each of ``A C G T N`` and five special tokens.

    Upper and lower case read alike, ``U`` as ``T``, other IUPAC codes as ``N``, a special token written in
    the text (``AC[MASK]GT``) as itself; any other character is an error. One call to Rust encodes a whole
    batch of str or bytes. A call takes Hugging Face's arguments; ``return_repeat_mask=True`` adds
    ``repeat_mask``, true where a base was written in lower case (soft-masking). Padding is on the right.

    Args:
        cls_sep: Whether sequences are encoded as ``[CLS] … [SEP]``, as MxDNA reads them. As everywhere in
            Hugging Face, ``add_special_tokens=False`` in a call leaves the two out.
        **kwargs: ``PreTrainedTokenizer``'s arguments, such as ``model_max_length``.

    Raises:
        ValueError: If a special token is not the alphabet's own, a token is added to the vocabulary, or
            ``padding_side`` is not ``"right"``. A call: if a character cannot be read (the message names
            sequence, position and byte), an argument is not supported (pairs, pre-split words, overflowing
            tokens, offsets, token types), or rows of unequal length are asked for as tensors.
        TypeError: A call: if the text is neither str or bytes nor a list or tuple of them.

    Example:
        >>> DNATokenizer()(["ACGT", "ttag"], padding=True, return_tensors="pt")["input_ids"]
        tensor([[5, 6, 7, 8],
                [8, 8, 5, 7]])
    """

    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012  (the name and form Hugging Face reads)

    def __init__(self, cls_sep: bool = False, **kwargs: Any):
        for name, token in _OWN_TOKENS.items():
            given = str(kwargs.setdefault(name, token))
            if given != token:
                raise ValueError(f"DNATokenizer: {name} must be {token!r}, got {given!r}")
        self.cls_sep = cls_sep
        super().__init__(cls_sep=cls_sep, special_tokens_pattern="cls_sep" if cls_sep else "none", **kwargs)
        self._check_padding_side(None)

    @property
    def vocab_size(self) -> int:
        """Number of ids: 10."""
        return NUM_IDS

    def get_vocab(self) -> dict[str, int]:
        """The id of every token."""
        return dict(_ID_OF_TOKEN)

    def tokenize(self, text: str | bytes, **_kwargs: Any) -> list[str]:
        """The tokens of one sequence, as they read: upper case, ``U`` as ``T``."""
        return [TOKENS[index] for index in encode_dna([text])[0].tolist()]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Joins tokens without spaces."""
        return "".join(tokens)

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **_kwargs: Any) -> str | list[str]:
        """Text of one or more sequences of ids, without spaces.

        Args:
            token_ids: An id, a list, array or tensor of ids, or a list or 2-dimensional array of such.
            skip_special_tokens: Whether all five special tokens, ``[MASK]`` among them, are left out.

        Returns:
            A string, or a list of strings where the ids had two dimensions.

        Raises:
            ValueError: If an id is not of the alphabet.
        """
        if isinstance(token_ids, torch.Tensor):
            token_ids = token_ids.cpu().numpy()
        is_batch = _is_batch(token_ids)
        rows = [
            np.asarray(row, dtype=np.int64).reshape(-1) for row in (token_ids if is_batch else [token_ids])
        ]
        ids = np.concatenate([*rows, np.empty(0, dtype=np.int64)])
        wrong = ids[(ids < 0) | (ids >= NUM_IDS)]
        if wrong.size:
            raise ValueError(f"DNATokenizer.decode: token_ids must be 0 to {NUM_IDS - 1}, got {wrong[0]}")
        if skip_special_tokens:
            rows = [row[row > MASK_ID] for row in rows]
            ids = ids[ids > MASK_ID]
        offsets = np.cumsum([0, *map(len, rows)])
        texts = decode_dna(torch.from_numpy(ids.astype(np.uint8)), torch.from_numpy(offsets))
        return texts if is_batch else texts[0]

    def _encode_plus(
        self,
        text: Any,
        add_special_tokens: bool = True,
        padding_strategy: PaddingStrategy = PaddingStrategy.DO_NOT_PAD,
        truncation_strategy: TruncationStrategy = TruncationStrategy.DO_NOT_TRUNCATE,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | TensorType | None = None,
        return_attention_mask: bool | None = None,
        return_special_tokens_mask: bool = False,
        return_repeat_mask: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        **kwargs: Any,
    ) -> BatchEncoding:
        for name in _UNSUPPORTED:
            if kwargs.get(name):
                raise ValueError(f"DNATokenizer: {name} is not supported, got {kwargs[name]!r}")
        self._check_padding_side(padding_side)
        is_single = isinstance(text, (str, bytes))
        # numpy from here on: after a fork, torch's own parallel operations hang where its threads had run.
        ids, repeat_mask, offsets = (tensor.numpy() for tensor in encode_dna([text] if is_single else text))
        ends = int(self.cls_sep and add_special_tokens)
        kept = np.diff(offsets)
        if truncation_strategy != TruncationStrategy.DO_NOT_TRUNCATE and max_length is not None:
            if max_length < 2 * ends:
                raise ValueError(f"DNATokenizer: max_length must hold [CLS] and [SEP], got {max_length}")
            kept = kept.clip(max=max_length - 2 * ends)
        starts = offsets[1:] - kept if self.truncation_side == "left" else offsets[:-1]
        lengths = kept + 2 * ends
        longest = int(lengths.max(initial=0))
        self._eventual_warn_about_too_long_sequence(range(longest), max_length, verbose)
        padded_widths = {PaddingStrategy.LONGEST: longest, PaddingStrategy.MAX_LENGTH: max_length}
        width = padded_widths.get(padding_strategy) or 0
        if pad_to_multiple_of is not None:
            width = -(-width // pad_to_multiple_of) * pad_to_multiple_of
        widths = lengths.clip(min=width)

        # One more element, the padding's, so that every position of a row has a place to come from.
        ids, repeat_mask = np.append(ids, np.uint8(PAD_ID)), np.append(repeat_mask, False)

        def columns(rows: slice) -> dict[str, np.ndarray]:
            """The entries ``[rows, width]`` of sequences that become equally long."""
            count = kept[rows, None]
            positions = np.arange(widths[rows].max(initial=width))
            is_base = (positions >= ends) & (positions < count + ends)
            source = np.where(is_base, starts[rows, None] + positions - ends, len(ids) - 1)
            input_ids = ids[source].astype(np.int64)
            if ends and len(input_ids):
                input_ids[:, 0] = CLS_ID
                np.put_along_axis(input_ids, count + 1, SEP_ID, axis=1)
            entries = {"input_ids": input_ids}
            if return_attention_mask is not False:
                entries["attention_mask"] = (positions < lengths[rows, None]).astype(np.int64)
            if return_special_tokens_mask:
                entries["special_tokens_mask"] = (input_ids < MASK_ID).astype(np.int64)
            if return_repeat_mask:
                entries["repeat_mask"] = repeat_mask[source]
            if return_length:
                entries["length"] = widths[rows]
            return entries

        is_ragged = bool((widths != widths[:1]).any())
        if return_tensors is None:
            rows = [slice(row, row + 1) for row in range(len(widths))] if is_ragged else [slice(None)]
            parts = [columns(row) for row in rows]
            lists = {key: [row for part in parts for row in part[key].tolist()] for key in parts[0]}
            return BatchEncoding({key: value[0] for key, value in lists.items()} if is_single else lists)
        if is_ragged:
            raise ValueError(
                "DNATokenizer: return_tensors needs rows of one length, got "
                f"{widths.min()} to {widths.max()} ids; use padding=True or truncation=True with max_length"
            )
        arrays = columns(slice(None))
        if TensorType(return_tensors) == TensorType.PYTORCH:
            return BatchEncoding({key: torch.from_numpy(array) for key, array in arrays.items()})
        return BatchEncoding(arrays, tensor_type=return_tensors)

    def _pad(self, encoded_inputs: Any, *, padding_side: str | None = None, **kwargs: Any) -> Any:
        self._check_padding_side(padding_side)
        padded = super()._pad(encoded_inputs, padding_side=padding_side, **kwargs)
        if "repeat_mask" in padded:
            missing = len(padded["input_ids"]) - len(padded["repeat_mask"])
            padded["repeat_mask"] = padded["repeat_mask"] + [False] * missing
        return padded

    def _check_padding_side(self, padding_side: str | None) -> None:
        side = padding_side or self.padding_side
        if side != "right":
            raise ValueError(f"DNATokenizer: padding_side must be 'right', got {side!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        own = _OWN_TOKENS.get(name)
        if own is not None and str(value) != own:
            raise ValueError(f"DNATokenizer: {name} must be {own!r}, got {str(value)!r}")
        super().__setattr__(name, value)

    def _convert_token_to_id(self, token: str) -> int:
        return _ID_OF_TOKEN.get(token, UNK_ID)

    def _convert_id_to_token(self, index: int) -> str:
        if not 0 <= index < NUM_IDS:
            raise ValueError(f"DNATokenizer: an id must be 0 to {NUM_IDS - 1}, got {index}")
        return TOKENS[index]


def _is_batch(token_ids: Any) -> bool:
    if isinstance(token_ids, np.ndarray):
        return token_ids.ndim == 2
    if not isinstance(token_ids, (list, tuple)) or not token_ids:
        return False
    return isinstance(token_ids[0], (list, tuple)) or getattr(token_ids[0], "ndim", 0) == 1


def between_special_tokens(
    input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Puts ``[CLS]`` before and ``[SEP]`` after the bases of each row.

    Args:
        input_ids: ``[B, N]`` int64 ids of bases, padded on the right.
        attention_mask: ``[B, N]``, 1 at bases, 0 at padding.

    Returns:
        Both, ``[B, N + 2]``.
    """
    ids = F.pad(input_ids, (1, 1), value=PAD_ID)
    ids[:, 0] = CLS_ID
    ids.scatter_(1, attention_mask.sum(dim=1, keepdim=True) + 1, SEP_ID)
    return ids, F.pad(attention_mask, (2, 0), value=1)


class _NoModelConfig(PreTrainedConfig):
    """Stands where ``AutoTokenizer`` wants a model's configuration, for a tokenizer without one."""

    model_type = "dnachunk-tokenizer"


AutoTokenizer.register(_NoModelConfig, DNATokenizer)

__all__ = ["DNATokenizer", "between_special_tokens"]
