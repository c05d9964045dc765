"""Fixed tokenizers, which learned ones are compared with: single nucleotides, k-mers, byte-pair encoding.

All read letters as :class:`~dnachunk.DNATokenizer` does and share its first ten ids: the special tokens, then
A, C, G, T and N. Longer tokens, of A, C, G and T alone, have the ids from 10 on.

A **k-mer** tokenizer takes, at each place, the word of the next k letters if all of them are A, C, G or T,
and else the single letter; then it goes on behind what it took, or, *overlapping*, at the next letter. So an
N is a token of its own, and so are the letters before it, and at the end of a sequence, that do not make up a
word. Overlapping words are as many as there are letters. A word's id is 10 plus its letters read as digits to
base 4.

**Byte-pair encoding** (Sennrich et al. 2016) joins letters as it was trained to, never across an N.
"""

import itertools
import json
import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, BatchEncoding, PreTrainedConfig, PreTrainedTokenizerFast

from dnachunk.alphabet import BASES, NUM_IDS, SPECIAL_TOKENS, TOKENS
from dnachunk.baselines.windows import tokenize_windows
from dnachunk.errors import ArgumentError
from dnachunk.fixed_vocabulary import FixedVocabulary
from dnachunk.ops import decode_dna, encode_dna
from dnachunk.ops._lengths import real_positions
from dnachunk.segmentation import Encoded, Segmentation

MAX_K: Final = 8
MAX_BPE_SIZE: Final = 1 << 16

# A model that meets a letter it has no token for raises an error, since it has no such token either.
_NO_TOKEN = "<none>"
_RUN = re.compile("|".join([f"[{BASES}]+", *map(re.escape, SPECIAL_TOKENS), "."]))
_UNSUPPORTED = ("text_pair", "is_split_into_words", "return_overflowing_tokens", "split_special_tokens")


class Tokenization(NamedTuple):
    """What a tokenizer's name says.

    Attributes:
        k: Letters of a word; None for byte-pair encoding.
        is_overlapping: Whether a word begins at each letter.
        bpe_size: Ids of byte-pair encoding, the ten of all tokenizers among them; None for words.
    """

    k: int | None
    is_overlapping: bool = False
    bpe_size: int | None = None

    @classmethod
    def parse(cls, name: str) -> "Tokenization":
        """Reads ``base``, ``6mer``, ``6mer-overlapping`` or ``bpe-1024``.

        Raises:
            ValueError: If it is none of them, or a number is out of range.
        """
        if name == "base":
            return cls(1)
        match = re.fullmatch(r"(\d{1,6})mer(-overlapping)?|bpe-(\d{1,6})", name, re.ASCII)
        if match is not None and match[3] is None:
            k = int(match[1])
            if (2 if match[2] else 1) <= k <= MAX_K:
                return cls(k, match[2] is not None)
        elif match is not None and NUM_IDS < int(match[3]) <= MAX_BPE_SIZE:
            return cls(None, bpe_size=int(match[3]))
        raise ValueError(
            f"Tokenization: name must be base, 1mer to {MAX_K}mer, 2mer-overlapping to "
            f"{MAX_K}mer-overlapping, or bpe-{NUM_IDS + 1} to bpe-{MAX_BPE_SIZE}, got {name!r}"
        )


class FixedTokenizer(FixedVocabulary, PreTrainedTokenizerFast):
    """Hugging Face tokenizer of fixed tokens; :meth:`from_name` makes one, and the module says how they cut.

    Upper and lower case read alike, ``U`` as ``T``, other IUPAC codes as ``N``, a special token written in
    the text (``AC[MASK]GT``) as itself, never inside a word; any other character is an error. No special
    token is added. A call takes Hugging Face's arguments; ``return_offsets_mapping=True`` gives the letters
    of each token. ``AutoTokenizer`` loads what ``save_pretrained`` wrote; where ``dnachunk`` is not imported
    it gives a plain fast tokenizer that takes capitals alone, overlapping words only one by one
    (``is_split_into_words=True``), and raises an error for anything else.

    Raises:
        ValueError: A call: if a character cannot be read (the message names sequence, position and byte), the
            batch is empty, or an argument is not supported (pairs, pre-split words, overflowing tokens,
            splitting special tokens).
        TypeError: A call: if the text is neither str or bytes nor a list or tuple of them.

    Example:
        >>> FixedTokenizer.from_name("3mer").tokenize("acgttNcgt")
        ['ACG', 'T', 'T', 'N', 'CGT']
        >>> FixedTokenizer.from_name("3mer-overlapping").tokenize("acgtt")
        ['ACG', 'CGT', 'GTT', 'T', 'T']
    """

    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012  (the name and form Hugging Face reads)

    @classmethod
    def from_name(cls, name: str, texts: Iterable[str] = (), **kwargs: Any) -> "FixedTokenizer":
        """Makes a tokenizer.

        Args:
            name: ``base``, ``6mer`` (1 to 8), ``6mer-overlapping`` (2 to 8), or ``bpe-1024``, whose number
                counts all ids.
            texts: What byte-pair encoding is trained on: DNA, in pieces of some hundred letters (training
                takes time in proportion to their length). Others read none of it.
            **kwargs: ``PreTrainedTokenizerFast``'s arguments, such as ``model_max_length``.

        Raises:
            TypeError: If the texts are one ``str``.
            ValueError: If the name is not one of these, a text cannot be read, or there is none to train
                byte-pair encoding on.
        """
        kind = Tokenization.parse(name)
        if isinstance(texts, str | bytes):
            raise TypeError("FixedTokenizer.from_name: texts must be an iterable of str, got one of them")
        if kind.bpe_size is not None:
            first = next(texts := iter(texts), None)
            if first is None:
                raise ValueError(
                    f"FixedTokenizer.from_name: texts must be given to train {name} on, got none"
                )
            texts = itertools.chain([first], texts)
        backend = _kmer_backend(kind) if kind.bpe_size is None else _bpe_backend(kind.bpe_size, texts)
        names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
        special_tokens = dict(zip(names, SPECIAL_TOKENS, strict=True))
        return cls(tokenizer_object=backend, tokenization=name, **special_tokens, **kwargs)

    @property
    def kind(self) -> Tokenization:
        """How it cuts."""
        return Tokenization.parse(self.init_kwargs["tokenization"])

    def encode_tokens(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        vectors: bool = True,
        tokens_per_base: float | None = None,
    ) -> Encoded:
        """Cuts sequences of bases into tokens, as a model's ``encode_tokens`` does.

        Args:
            input_ids: ``[B, N]`` int64 ids of bases on the CPU, padded on the right.
            attention_mask: ``[B, N]``, 1 at bases, 0 at padding; default all bases.
            vectors: A tokenizer has none; they are None whatever is asked for.
            tokens_per_base: Must be None.

        Raises:
            ValueError: If words overlap, which is no segmentation, or so many tokens are asked for.
        """
        del vectors
        if self.kind.is_overlapping:
            raise ValueError("FixedTokenizer.encode_tokens: words that overlap are no segmentation")
        if tokens_per_base is not None:
            raise ArgumentError(f"`tokens_per_base` is not for fixed tokens, got {tokens_per_base}")
        # Where only the tokenizer is wanted, nothing of the models is loaded.
        from dnachunk.models.modeling_common import check_ids, real_lengths

        check_ids("FixedTokenizer", input_ids)
        lengths, _ = real_lengths("FixedTokenizer", input_ids[..., None], attention_mask, input_ids)
        mask = real_positions(lengths, input_ids.shape[1])
        if not mask.any():
            return Encoded([Segmentation.from_boundaries(mask, mask)])
        tokens = tokenize_windows(self, input_ids)
        # Padding is at 0, where a token always begins.
        boundaries = torch.zeros_like(input_ids, dtype=torch.bool).scatter_(1, tokens.starts, True)
        return Encoded([Segmentation.from_boundaries(boundaries, mask)])

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text that tokens were made of."""
        if self.kind.is_overlapping:
            tokens = [token if token in SPECIAL_TOKENS else token[0] for token in tokens]
        return "".join(tokens)

    def _decode(self, token_ids: Any, skip_special_tokens: bool = False, **_kwargs: Any) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else list(map(int, token_ids))
        wrong = [index for index in ids if not 0 <= index < len(self)]
        if wrong:
            raise ValueError(f"FixedTokenizer.decode: token_ids must be 0 to {len(self) - 1}, got {wrong[0]}")
        return self.convert_tokens_to_string(self.convert_ids_to_tokens(ids, skip_special_tokens))

    def _encode_plus(self, text: Any, **kwargs: Any) -> BatchEncoding:
        for name in _UNSUPPORTED:
            if kwargs.pop(name, None):
                raise ValueError(f"FixedTokenizer: {name} is not supported")
        is_single = isinstance(text, (str, bytes))
        read = _read([text] if is_single else text)
        if not read:
            raise ValueError("FixedTokenizer: the batch must have at least one sequence, got none")
        kind = self.kind
        if not kind.is_overlapping:
            return super()._encode_plus(read[0] if is_single else read, **kwargs)
        assert kind.k is not None
        places, words = zip(*(_overlapping_words(sequence, kind.k) for sequence in read), strict=True)
        tensor_type = kwargs.pop("return_tensors", None)
        encoded = super()._encode_plus(list(words), is_split_into_words=True, **kwargs)
        if "offset_mapping" in encoded:
            encoded["offset_mapping"] = [
                [
                    (0, 0) if word is None else (starts[word], starts[word] + end)
                    for (_, end), word in zip(offsets, encoded.word_ids(row), strict=True)
                ]
                for row, (offsets, starts) in enumerate(zip(encoded["offset_mapping"], places, strict=True))
            ]
        if tensor_type is not None:
            return encoded.convert_to_tensors(tensor_type)
        if is_single:
            return BatchEncoding({name: value[0] for name, value in encoded.items()}, encoded.encodings)
        return encoded


def _read(texts: Any) -> list[str]:
    """The texts in capitals, ``U`` as ``T``, other IUPAC codes as ``N``."""
    ids, _, offsets = encode_dna(texts)
    return decode_dna(ids, offsets)


def _overlapping_words(text: str, k: int) -> tuple[list[int], list[str]]:
    """Where words begin, and the words."""
    places, words = [], []
    for match in _RUN.finditer(text):
        run, start = match.group(), match.start()
        if run[0] not in BASES:
            places.append(start)
            words.append(run)
            continue
        places.extend(range(start, match.end()))
        num_words = max(0, len(run) - k + 1)
        words.extend(run[place : place + k] for place in range(num_words))
        words.extend(run[num_words:])
    return places, words


def _kmer_backend(kind: Tokenization) -> Tokenizer:
    assert kind.k is not None
    words = map("".join, itertools.product(BASES, repeat=kind.k)) if kind.k > 1 else ()
    vocab = {token: index for index, token in enumerate([*TOKENS, *words])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token=_NO_TOKEN))
    if not kind.is_overlapping:
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(f"[{BASES}]{{{kind.k}}}|."), "isolated")
        backend.decoder = decoders.Fuse()
    return backend


def _bpe_backend(size: int, texts: Iterable[str]) -> Tokenizer:
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Split("N", "removed")
    trainer = trainers.BpeTrainer(
        vocab_size=size - NUM_IDS + len(BASES),
        min_frequency=2,
        initial_alphabet=list(BASES),
        show_progress=False,
    )
    learner.train_from_iterator((_read([text])[0] for text in texts), trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    # Two merges may make the same token.
    tokens = dict.fromkeys([*TOKENS, *map("".join, merges)])
    vocab = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab, merges, unk_token=_NO_TOKEN))
    backend.pre_tokenizer = pre_tokenizers.Split("N", "isolated")
    backend.decoder = decoders.Fuse()
    return backend


class _NoModelConfig(PreTrainedConfig):
    """Stands where ``AutoTokenizer`` wants a model's configuration, for a tokenizer of any model."""

    model_type = "dnachunk-fixed-tokenizer"


AutoTokenizer.register(_NoModelConfig, FixedTokenizer)

__all__ = ["FixedTokenizer", "Tokenization"]
