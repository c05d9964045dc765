"""Motifs as matrices: files in MEME's minimal format and in JASPAR's, checked line by line."""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import torch

from dnachunk.alphabet import BASES
from dnachunk.data.annotation import FaultyLineError, body_lines
from dnachunk.data.contents import Contents

MEME_SITES = 20
"""Sites that MEME takes a matrix to be of, where its file does not say."""

_PROBABILITIES = "letter-probability matrix:"
_ATTRIBUTE = re.compile(r"(\w+)= *(\S+)")
_JASPAR_ROW = re.compile(r"(?:([A-Za-z])\s*)?(\[)?([^\[\]]*)(\])?\s*")
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SUM_TOLERANCE = 0.01
_MOST_SITES = 10**12


class MotifMatrix(NamedTuple):
    """How often each letter stands at each place of a motif.

    Attributes:
        name: The file's identifier and name of it.
        counts: ``[w, 4]`` float64: sites with A, C, G, T there. Each row has some.
    """

    name: str
    counts: torch.Tensor


class _Lines:
    """Lines that are not blank, and the number of the last that was taken."""

    def __init__(self, contents: Contents) -> None:
        self._remaining = body_lines(contents)
        self.number = 0

    def take(self) -> str | None:
        """The next line; None behind the last."""
        self.number, line = next(self._remaining, (self.number, None))
        return line


def read_motif_matrices(path: str | os.PathLike[str]) -> list[MotifMatrix]:
    """Reads motifs, as :func:`~dnachunk.data.text.open_text` opens a file or URL.

    MEME's `minimal format <https://meme-suite.org/meme/doc/meme-format.html>`_ begins with ``MEME version``;
    its letter-probability matrices are read, as counts of ``nsites`` (20 where there are none), and all else
    is passed over. JASPAR's is ``>ID name`` and a line of counts each for A, C, G and T, with the letter and
    brackets or without.

    Args:
        path: The file or URL.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is of neither format, a matrix is malformed (the message has the line's number), or
            there is none.
        ModuleNotFoundError: If fetching a URL needs a package that is missing.
    """
    contents = Contents(path)
    lines = _Lines(contents)
    try:
        first = lines.take()
        read = _read_meme if first is not None and first.startswith("MEME version") else _read_jaspar
        matrices = list(read(lines, first))
    except FaultyLineError as error:
        raise ValueError(f"{contents.path}, line {lines.number}: {error}") from None
    if not matrices:
        raise ValueError(f"{contents.path} has no motif")
    return matrices


def _read_jaspar(lines: _Lines, line: str | None) -> Iterator[MotifMatrix]:
    while line is not None:
        name = " ".join(line[1:].split())
        if not line.startswith(">") or not name:
            raise FaultyLineError(f"expected 'MEME version', or '>' and a motif's name, got {line!r:.40}")
        rows: list[list[float]] = []
        for base in BASES:
            line = lines.take()
            match = _JASPAR_ROW.fullmatch(line or "")
            if (
                not line
                or match is None
                or (match[1] or base).upper() != base
                or (not match[2]) != (not match[4])
            ):
                raise FaultyLineError(
                    f"{name:.80}: expected the counts of {base}, got {line or 'the end'!r:.40}"
                )
            rows.append(_numbers(match[3], name))
            if len(rows[-1]) != len(rows[0]):
                raise FaultyLineError(
                    f"{name:.80}: expected {len(rows[0])} counts, as of A, got {len(rows[-1])}"
                )
        counts = torch.tensor(rows, dtype=torch.float64).T
        empty = (counts.sum(dim=1) == 0).nonzero()[:, 0].tolist()
        if empty:
            raise FaultyLineError(f"{name:.80}: every place must have counts, place {empty[0] + 1} has none")
        yield MotifMatrix(name, counts)
        line = lines.take()


def _read_meme(lines: _Lines, line: str | None) -> Iterator[MotifMatrix]:
    name: str | None = None
    while line is not None:
        if line.startswith("ALPHABET") and line.split("=")[-1].strip() != BASES:
            raise FaultyLineError(f"expected ALPHABET= {BASES}, got {line!r:.40}")
        if line.startswith("MOTIF"):
            if name is not None:
                break
            name = " ".join(line.split()[1:])
            if not name:
                raise FaultyLineError("MOTIF must have a name")
        if not line.startswith(_PROBABILITIES):
            line = lines.take()
            continue
        if name is None:
            raise FaultyLineError("a matrix must follow a line MOTIF")
        said = dict(_ATTRIBUTE.findall(line))
        if said.get("alength", "4") != "4":
            raise FaultyLineError(f"{name:.80}: alength must be 4, got {said['alength']!r:.40}")
        (sites,) = _numbers(said.get("nsites", str(MEME_SITES)), name)
        rows: list[list[float]] = []
        while (line := lines.take()) is not None and line.lstrip()[0] in "+-.0123456789":
            row = _numbers(line, name)
            if len(row) != len(BASES) or abs(sum(row) - 1) > _SUM_TOLERANCE:
                raise FaultyLineError(
                    f"{name:.80}: expected 4 probabilities that sum to 1, got {line.strip()!r:.60}"
                )
            rows.append(row)
        if not rows or str(len(rows)) != said.get("w", str(len(rows))):
            raise FaultyLineError(f"{name:.80}: expected {said.get('w', 'some')} rows, got {len(rows)}")
        # With 0 sites, MEME's word for "not known".
        yield MotifMatrix(name, torch.tensor(rows, dtype=torch.float64) * (sites or MEME_SITES))
        name = None
    if name is not None:
        raise FaultyLineError(f"{name:.80}: expected '{_PROBABILITIES}' before the next motif or the end")


def _numbers(text: str, name: str) -> list[float]:
    """Numbers between blanks, and at least one."""
    words = text.split()
    # float() takes more than either format has, such as 1_0.
    numbers = [float(word) for word in words if _NUMBER.fullmatch(word)]
    if not numbers or len(numbers) < len(words) or max(numbers) > _MOST_SITES:
        raise FaultyLineError(
            f"{name:.80}: expected numbers from 0 to {_MOST_SITES:,}, got {text.strip()!r:.60}"
        )
    return numbers


__all__ = ["MotifMatrix", "read_motif_matrices"]
