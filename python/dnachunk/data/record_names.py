"""Names of records, and the other names that other files have for them."""

import itertools
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from dnachunk.data.text import read_lines

Aliases = str | os.PathLike[str] | Mapping[str, str]
"""Which names mean the same: ``"chr"``, ``"version"``, a file, or a mapping."""


def _bare(name: str) -> str:
    bare = re.sub("^chr", "", name, flags=re.IGNORECASE)
    return "MT" if bare.upper() in ("M", "MT") else bare


def _accession(name: str) -> str:
    return re.sub(r"\.\d+$", "", name, flags=re.ASCII)


PRESETS: Mapping[str, Callable[[str], str]] = {"chr": _bare, "version": _accession}
"""Rules by name: what two names have in common that mean the same."""


class RecordNames:
    """The names of a genome's records, and which record another name means.

    A record's own name always means it. Another name means none, unless ``aliases`` says so.

    Attributes:
        names: The records' names.
        aliases: As it was given.

    Args:
        names: The records' names.
        aliases: What else means them. ``"chr"``: with ``chr`` or without it, and ``chrM`` is ``MT``.
            ``"version"``: with a version or without it, ``NC_000001.11`` is ``NC_000001`` (and not
            ``NC_000001.10``). Or the path of a table with the names of one sequence in each line, in any
            order, between tabs or spaces, as UCSC's ``chromAlias.txt`` has them and ``bcftools annotate
            --rename-chrs`` takes them; lines that begin with ``#`` are remarks. Or a mapping of other names
            to the records'. Default: nothing.

    Raises:
        OSError: If the table cannot be read.
        ValueError: If a line of it has less than two names.

    Example:
        >>> names = RecordNames(["1", "2", "MT"], aliases="chr")
        >>> names.find("chr2"), names.find("chrM"), names.find("chrX")
        (1, 2, None)
    """

    def __init__(self, names: Iterable[str], aliases: Aliases | None = None) -> None:
        self.names = list(names)
        self.aliases = aliases
        self._own = {name: index for index, name in enumerate(self.names)}
        self._others: defaultdict[str, set[int]] = defaultdict(set)
        self._rule = PRESETS.get(aliases) if isinstance(aliases, str) else None
        if self._rule is not None:
            for index, name in enumerate(self.names):
                self._others[self._rule(name)].add(index)
        elif aliases is not None:
            for words in aliases.items() if isinstance(aliases, Mapping) else _read_table(aliases):
                meant = {self._own[word] for word in words if word in self._own}
                for word in words:
                    self._others[word] |= meant

    def find(self, name: str) -> int | None:
        """The index of the record that is meant; None if there is none.

        Raises:
            ValueError: If it may be one of several.
        """
        meant = self._meant(name)
        if len(meant) > 1:
            candidates = some(self.names[index] for index in sorted(meant))
            raise ValueError(f"aliases: {name!r} must mean one record, got {candidates}")
        return next(iter(meant), None)

    def instead(self, names: Iterable[str]) -> str:
        """What to say, in an :class:`~dnachunk.errors.ArgumentError`, where names mean no record."""
        wanted = list(itertools.islice(names, 1000))
        remedy = "takes a table of names that mean the same" if self.aliases is None else "does not join them"
        remedy = f"`aliases` {remedy}"
        for preset in PRESETS:
            others = RecordNames(self.names, preset)
            if any(map(others._meant, wanted)):
                remedy = f"`aliases={preset}` takes such names for the same"
                break
        return f"the records are {some(self.names)} ({remedy})"

    def _meant(self, name: str) -> set[int]:
        if name in self._own:
            return {self._own[name]}
        shared = name if self._rule is None else self._rule(name)
        meant = self._others.get(shared, set())
        if self.aliases == "version" and shared != name:
            # Two versions are two sequences.
            meant = {index for index in meant if self.names[index] == shared}
        return meant


def some(names: Iterable[str], shown: int = 5) -> str:
    """The first of several names, for a message."""
    first = list(itertools.islice(names, shown + 1))
    return ", ".join(first[:shown]) + (", …" if len(first) > shown else "")


def _read_table(path: str | os.PathLike[str]) -> Iterable[Sequence[str]]:
    for number, line in enumerate(read_lines(path), start=1):
        words = line.removeprefix("\ufeff").split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 2:
            raise ValueError(f"{path}, line {number}: a line must have two names or more, got {words[0]!r}")
        yield words


__all__ = ["Aliases", "RecordNames", "some"]
