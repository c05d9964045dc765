"""How many token boundaries survive a mutation nearby."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch

from dnachunk.alphabet import A_ID, BASES
from dnachunk.inference.tokens import encode_rows
from dnachunk.ops import decode_dna
from dnachunk.ops._check import check_dtype, check_shape
from dnachunk.random import counter_uniform

MutationKind = Literal["substitution", "insertion", "deletion"]

Boundaries = Callable[[list[torch.Tensor]], list[torch.Tensor]]
"""From sequences of ids, ``[n]`` int64 each, to where their tokens begin, ``[n]`` bool each."""


class Survival(NamedTuple):
    """How the boundaries of a tokenizer stand mutations, and how it compresses the same windows."""

    bases_per_token: float
    shares: Mapping[MutationKind, float]


def boundary_survival(
    boundaries: Boundaries, windows: torch.Tensor, *, seed: int = 0, exclude_bp: int = 32
) -> dict[MutationKind, float]:
    """Share of a sequence's token boundaries that are there after a single mutation elsewhere in it.

    Each window is mutated at one place, drawn uniformly, in three ways: the letter there is replaced by
    another, a letter is put in before it, the letter is taken out. A boundary survives where the base
    that began a token still begins one. The window's first base, which always does, is left out.

    Args:
        boundaries: The tokenizer.
        windows: ``[W, N]`` int64 ids of A, C, G, T.
        seed: Of the mutations.
        exclude_bp: Boundaries no farther than this from the mutation do not count.

    Returns:
        By kind of mutation, the share in [0, 1] over all boundaries of all windows; NaN if there are none.

    Raises:
        TypeError: If ``windows`` is not int64.
        ValueError: If its shape does not fit or ``exclude_bp`` is negative.
    """
    check_shape("boundary_survival", "windows", windows, ("W", "N"))
    check_dtype("boundary_survival", "windows", windows, torch.int64)
    if exclude_bp < 0:
        raise ValueError(f"boundary_survival: exclude_bp must be at least 0, got {exclude_bp}")
    count, length = windows.shape
    place, letter = (
        counter_uniform(torch.full((1,), seed, dtype=torch.int64), count, stream=stream)[0]
        for stream in range(2)
    )
    places = (place * length).long().tolist()
    # One of the three other letters for a substitution, one of all four for an insertion.
    steps, inserted = (1 + letter * 3).long().tolist(), (A_ID + letter * 4).long().tolist()
    before = boundaries(list(windows))
    survival: dict[MutationKind, float] = {}
    for kind in get_args(MutationKind):
        mutants = [
            _mutate(window, kind, place, step, new)
            for window, place, step, new in zip(windows, places, steps, inserted, strict=True)
        ]
        survived = total = 0
        for old, new, place in zip(before, boundaries(mutants), places, strict=True):
            starts = old.nonzero()[:, 0]
            starts = starts[(starts > 0) & ((starts - place).abs() > exclude_bp)]
            shift = {"substitution": 0, "insertion": 1, "deletion": -1}[kind]
            survived += int(new[starts + shift * (starts >= place)].sum())
            total += len(starts)
        survival[kind] = survived / total if total else float("nan")
    return survival


def model_boundaries(model: Any, batch_size: int = 16) -> Boundaries:
    """The boundaries of the tokens of a model, or of a fixed tokenizer, such as :func:`~dnachunk.load` gives.

    Sequences are padded to the longest of ``batch_size``; the model is run without gradients.
    """

    def boundaries(sequences: list[torch.Tensor]) -> list[torch.Tensor]:
        results: list[torch.Tensor] = []
        for start in range(0, len(sequences), batch_size):
            rows = sequences[start : start + batch_size]
            found = encode_rows(model, rows).segmentation.boundaries.cpu()
            results += [row[: len(sequence)] for row, sequence in zip(found, rows, strict=True)]
        return results

    return boundaries


def kmer_boundaries(k: int) -> Boundaries:
    """The boundaries of words of ``k`` bases that do not overlap, counted from the sequence's first base."""
    return lambda sequences: [torch.arange(len(sequence)) % k == 0 for sequence in sequences]


def text_boundaries(split: Callable[[str], Sequence[str]]) -> Boundaries:
    """The boundaries of a tokenizer of text, such as byte-pair encoding: ``split`` gives a text's tokens."""

    def one(sequence: torch.Tensor) -> torch.Tensor:
        text = decode_dna(sequence.to(torch.uint8), torch.tensor([0, len(sequence)]))[0]
        starts = torch.zeros(len(sequence), dtype=torch.bool)
        position = 0
        for token in split(text):
            starts[position] = True
            position += len(token)
        if position != len(sequence):
            raise ValueError(
                f"text_boundaries: split must give tokens of {len(sequence)} letters, got {position}"
            )
        return starts

    return lambda sequences: [one(sequence) for sequence in sequences]


def _mutate(window: torch.Tensor, kind: MutationKind, place: int, step: int, new: int) -> torch.Tensor:
    head, old, tail = window[:place], window[place : place + 1], window[place + 1 :]
    if kind == "substitution":
        return torch.cat([head, A_ID + (old - A_ID + step) % len(BASES), tail])
    if kind == "insertion":
        return torch.cat([head, old.new_tensor([new]), old, tail])
    return torch.cat([head, tail])
