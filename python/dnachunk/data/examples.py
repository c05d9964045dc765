"""Batches of labelled sequences for any Hugging Face tokenizer and model."""

import inspect
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from dnachunk.alphabet import IGNORE_INDEX, reverse_complement
from dnachunk.data.task import Examples, Problem
from dnachunk.data.tiles import cut_in_tiles
from dnachunk.errors import ArgumentError


class ExampleDataset(Dataset[dict[str, Any]]):
    """Examples as a dataset of ``sequence``, ``target`` and ``both_strands``.

    Of pairs of alleles ``sequence`` is the reference, and ``alternate`` and perhaps ``tissue`` are there too.

    Args:
        examples: The examples.
        both_strands: Whether the reverse complement is to be run too.
    """

    def __init__(self, examples: Examples, *, both_strands: bool = False) -> None:
        self.examples = examples
        self.both_strands = both_strands

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One example."""
        examples = self.examples
        sequence = examples.sequences[index]
        pair = {} if examples.alternates is None else {"alternate": examples.alternates[index]}
        tissue = {} if examples.tissues is None else {"tissue": examples.tissues[index]}
        return {
            "sequence": sequence,
            # By the length of this Hugging Face's Trainer groups examples, if it is asked to.
            "input_ids": sequence,
            "target": examples.targets[index],
            "both_strands": self.both_strands,
            **pair,
            **tissue,
        }


class ExampleCollator:
    """Tokenizes a batch and pads it.

    Gives what the tokenizer makes and the model takes, ``labels``, and ``reverse``, the same of the reverse
    complements, where the items ask for both strands. Labels are ``[B]`` int64 classes, ``[B, K]`` float
    labels, ``[B]`` or ``[B, K]`` float numbers, or ``[B, N]`` int64 classes of bases, −100 elsewhere. Where a
    sequence is cut in tiles, the rows are those of all tiles, and ``tiles``, ``[B, tiles]`` float32, says how
    much each counts in which sequence: the share of its bases that are the tile's own
    (:func:`~dnachunk.data.tiles.own_tiles`). Pairs of alleles are ``[B, 2, N]``, the reference first, and
    ``tissue`` is ``[B]`` int64; in tiles, both are of the pairs of tiles.

    Args:
        tokenizer: A Hugging Face tokenizer.
        model: What the batches are for.
        problem: Says what the targets are.
        max_length_bp: Bases after which a sequence, read on either strand, is cut off; default none.
        max_tokens: Ids after which it is; default none.
        tile_bp: Bases of the tiles that longer sequences are cut in, which have no labels of bases (for these
            there is :func:`~dnachunk.data.tiles.tile_labelled_bases`); default none are.
    """

    def __init__(
        self,
        tokenizer: Any,
        model: Any,
        problem: Problem,
        *,
        max_length_bp: int | None = None,
        max_tokens: int | None = None,
        tile_bp: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.problem = problem
        self.max_length_bp = max_length_bp
        self.max_tokens = max_tokens
        self.tile_bp = tile_bp
        if problem is Problem.per_base and max_tokens is not None:
            # An id is a base: what is cut off is known beforehand, and is the same bases on both strands.
            self.max_length_bp = min(
                max_tokens - tokenizer.num_special_tokens_to_add(), max_length_bp or max_tokens
            )
            self.max_tokens = None
        self.accepted = model_arguments(model)

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A batch of items of :class:`ExampleDataset`.

        Raises:
            ValueError: If bases are labelled and the tokenizer has no id for each of them.
        """
        is_of_pairs = "alternate" in items[0]
        names = ("sequence", "alternate") if is_of_pairs else ("sequence",)
        sequences = [item[name] for item in items for name in names]
        targets = [item["target"] for item in items]
        cut = [sequence[: self.max_length_bp] for sequence in sequences]
        if self.problem is Problem.per_base:
            sequences = cut
        of_names = [cut[place :: len(names)] for place in range(len(names))]
        rows, tiles = self._tile(list(zip(*of_names, strict=True)))
        batch, is_base = self._tokenize(rows)
        batch["labels"] = self._labels(targets, cut, is_base)
        if tiles is not None:
            batch["tiles"], sequences = tiles, rows
        if items[0]["both_strands"]:
            reverse = [reverse_complement(sequence)[: self.max_length_bp] for sequence in sequences]
            batch["reverse"], _ = self._tokenize(reverse)
        if is_of_pairs:
            tissue = {}
            if "tissue" in items[0]:
                of_items = torch.tensor([item["tissue"] for item in items])
                tissue = {"tissue": of_items if tiles is None else of_items[tiles.argmax(dim=0)]}
            for strand in (batch, *([batch["reverse"]] if "reverse" in batch else [])):
                for name in strand.keys() - {"labels", "reverse", "tiles"}:
                    strand[name] = strand[name].unflatten(0, (-1, 2))
                strand.update(tissue)
        return batch

    def _tile(self, examples: list[tuple[str, ...]]) -> tuple[list[str], torch.Tensor | None]:
        """The rows to run, alleles after each other, and how much each counts in which example.

        The latter is None where they are as many as the examples.
        """
        rows: list[str] = []
        shares = []
        for alleles in examples:
            tiles, parts = cut_in_tiles(alleles, self.tile_bp)
            rows += itertools.chain.from_iterable(parts)
            own = torch.tensor([tile.own_end_bp - tile.own_start_bp for tile in tiles])
            shares.append(own / len(alleles[0]))
        is_whole = all(len(of_example) == 1 for of_example in shares)
        return rows, None if is_whole else torch.block_diag(*shares)

    def _tokenize(self, sequences: list[str]) -> tuple[dict[str, Any], torch.Tensor]:
        """Model inputs, and where they are no special tokens."""
        encoded = self.tokenizer(
            sequences,
            padding=True,
            truncation=self.max_tokens is not None,
            max_length=self.max_tokens,
            return_tensors="pt",
            return_special_tokens_mask=True,
        )
        is_base = encoded["special_tokens_mask"] == 0
        return {name: value for name, value in encoded.items() if name in self.accepted}, is_base

    def _labels(self, targets: list[Any], sequences: list[str], is_base: torch.Tensor) -> torch.Tensor:
        if self.problem is not Problem.per_base:
            labels = torch.tensor(targets)
            return labels.squeeze(1) if self.problem is Problem.regression else labels
        labels = torch.full(is_base.shape, IGNORE_INDEX)
        for row, (target, sequence) in enumerate(zip(targets, sequences, strict=True)):
            num_ids = int(is_base[row].sum())
            if num_ids != len(sequence):
                raise ValueError(
                    "labels of bases need a tokenizer with one id for each base, "
                    f"got {num_ids} ids for {len(sequence)} bases"
                )
            labels[row, is_base[row]] = torch.tensor(target[:num_ids])
        return labels


def model_arguments(model: Any) -> set[str]:
    """Names of the arguments that a model's ``forward`` takes by name."""
    return set(inspect.signature(model.forward).parameters) - {"kwargs"}


def check_length(
    alleles: Sequence[str],
    place: str,
    tokenizer: Any,
    max_length_bp: int | None,
    max_tokens: int | None,
    tile_bp: int | None = None,
) -> None:
    """Refuses a sequence, or a pair of alleles, that is longer, or a tile of it, than a model takes.

    Raises:
        ValueError: If it is, or the tiles of alleles are no pairs; the message begins with ``place``.
    """
    fault = _excess(alleles, place, tokenizer, max_length_bp, max_tokens, tile_bp)
    if fault is not None:
        if tile_bp is not None:
            raise ArgumentError(f"{place}: a tile of the sequence has {fault}: give a smaller `tile_bp`")
        raise ArgumentError(
            f"{place}: the sequence has {fault}: cut it in tiles with `tile_bp`, or off with `truncate`"
        )


def _excess(
    alleles: Sequence[str],
    place: str,
    tokenizer: Any,
    max_length_bp: int | None,
    max_tokens: int | None,
    tile_bp: int | None,
) -> str | None:
    """By what a sequence, or one of its tiles, is too long, if it is."""
    try:
        _, parts = cut_in_tiles(alleles, tile_bp)
    except ArgumentError as error:
        raise ArgumentError(f"{place}: {error.message}") from error
    for text in itertools.chain.from_iterable(parts):
        if max_length_bp is not None and len(text) > max_length_bp:
            return f"{len(text):,} bases, the model takes {max_length_bp:,}"
        # No tokenizer makes more of a sequence than an id for each base.
        if max_tokens is not None and len(text) + tokenizer.num_special_tokens_to_add() > max_tokens:
            length = len(tokenizer(text, verbose=False)["input_ids"])
            if length > max_tokens:
                return f"{length:,} tokens, the model takes {max_tokens:,}"
    return None


def check_lengths(
    examples: Examples,
    tokenizer: Any,
    max_length_bp: int | None,
    max_tokens: int | None,
    tile_bp: int | None = None,
) -> None:
    """Refuses sequences that are longer, or tiles of which are longer, than a model takes.

    Raises:
        ValueError: With the first of them, and how many there are.
    """
    too_long = []
    for place, alleles in zip(examples.places, examples.alleles, strict=True):
        fault = _excess(alleles, place, tokenizer, max_length_bp, max_tokens, tile_bp)
        if fault is not None:
            too_long.append((place, fault))
    if too_long:
        place, fault = too_long[0]
        if tile_bp is not None:
            raise ArgumentError(f"{place}: a tile of the sequence has {fault}: give a smaller `tile_bp`")
        raise ArgumentError(
            f"{place}: the sequence has {fault}; {len(too_long):,} of {len(examples):,} sequences are too "
            "long: leave them out, cut them in tiles with `tile_bp`, or off with `truncate`"
        )


__all__ = [
    "ExampleCollator",
    "ExampleDataset",
    "check_length",
    "check_lengths",
    "model_arguments",
]
