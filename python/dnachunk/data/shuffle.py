"""Shuffled sequences that keep what single letters and pairs of neighbours say."""

import itertools
import random
from collections import defaultdict

import torch

from dnachunk.alphabet import is_base
from dnachunk.random import mix


def dinucleotide_shuffle(ids: torch.Tensor, seed: int) -> torch.Tensor:
    """A sequence drawn uniformly from those with the same number of each pair of neighbours.

    The letters are the edges' ends of a walk over A, C, G and T that takes each pair once; a walk is drawn by
    Altschul & Erickson (1985, Mol. Biol. Evol. 2:526): each letter's last exit makes a tree to the last
    letter, drawn uniformly (Wilson 1996), and the exits before it are in any order. First and last letter
    stay. What is none of the four letters stays where it is, and the stretches between are shuffled alone.

    Args:
        ids: ``[n]`` of any integer dtype, on the CPU.
        seed: Decides the draw.

    Returns:
        ``[n]``, of the same dtype.

    Example:
        >>> dinucleotide_shuffle(torch.tensor([5, 6, 5, 7, 5]), seed=0)
        tensor([5, 7, 5, 6, 5])
    """
    shuffled = ids.clone()
    edges = torch.nn.functional.pad(is_base(ids).to(torch.int8), (1, 1)).diff().nonzero()[:, 0].tolist()
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        walk = _eulerian_walk(ids[start:end].tolist(), random.Random(mix(seed, start)))
        shuffled[start:end] = torch.tensor(walk, dtype=ids.dtype)
    return shuffled


def _eulerian_walk(letters: list[int], generator: random.Random) -> list[int]:
    exits: dict[int, list[int]] = defaultdict(list)
    for letter, following in itertools.pairwise(letters):
        exits[letter].append(following)
    last = _last_exits(exits, letters[-1], generator)
    for letter, followings in exits.items():
        if letter in last:
            followings.remove(last[letter])
        generator.shuffle(followings)
        if letter in last:
            followings.append(last[letter])
    remaining = {letter: iter(followings) for letter, followings in exits.items()}
    walk = letters[:1]
    for _ in letters[1:]:
        walk.append(next(remaining[walk[-1]]))
    return walk


def _last_exits(exits: dict[int, list[int]], root: int, generator: random.Random) -> dict[int, int]:
    """Of every letter but the root the exit of a spanning tree towards it, by walks without their loops."""
    last: dict[int, int] = {}
    is_reached = {root}
    for start in exits:
        letter = start
        while letter not in is_reached:
            last[letter] = generator.choice(exits[letter])
            letter = last[letter]
        letter = start
        while letter not in is_reached:
            is_reached.add(letter)
            letter = last[letter]
    return last
