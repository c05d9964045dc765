"""Genome files: ids of any stretch of a FASTA file that is never loaded."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dnachunk._native import rust
from dnachunk.data.contents import Contents, OnError, Skipped, is_standard_input, locate, unpacked_name
from dnachunk.data.record_names import Aliases, RecordNames
from dnachunk.errors import ArgumentError, require_one_of


@dataclass(frozen=True, slots=True)
class Record:
    """One sequence of a genome.

    Attributes:
        name: First word of its header line.
        length_bp: Number of bases.
    """

    name: str
    length_bp: int


class Piece(NamedTuple):
    """A stretch of one record.

    Attributes:
        record_index: Which record of the genome.
        start_bp: Where in the record it starts, 0-based.
        ids: ``[n]`` uint8.
        repeat_mask: ``[n]`` bool, true at lower-case letters and in the genome's ``repeats``.
    """

    record_index: int
    start_bp: int
    ids: torch.Tensor
    repeat_mask: torch.Tensor


Stretches = Mapping[int, torch.Tensor]
"""By record index ``[2, n]`` int64: starts, 0-based, and ends, in order, none touching another."""


class Genome:
    """An open FASTA file, plain, bgzip or gzip.

    Windows of plain and bgzip files are read in place. A ``.fai`` (and ``.gzi``) beside the file is used,
    after a check against the file (which does not find out a block index that was made to mislead, its
    entries agreeing with each other); otherwise one streaming pass finds the records and checks every byte.
    A gzip file cannot be entered in its middle: it is unpacked into a temporary file without a name, one
    byte a base, in ``TMPDIR``; so is a file whose records have ragged lines. Memory is a few MiB and the
    index, whatever the genome's size. A file packed by bzip2 or xz is unpacked, and one behind a URL fetched
    whole, into such a file first (:class:`~dnachunk.data.contents.Contents`). A record without a base is one
    of length 0.

    A genome is read-only, and safe in threads and in forked workers; pickled, it is its path, and is opened
    again where it arrives.

    Attributes:
        path: The file, absolute; a URL as :mod:`pathlib` writes it.
        name: The file's name without ``.gz`` or the like and one more suffix.
        records: The records in the file's order.
        names: Their names, and what other names mean them.
        skipped: The records that were left out, in the file's order.
        repeats: By record index, stretches that count as repeats beside lower-case letters; see
            :func:`~dnachunk.data.repeats.with_repeats`.

    Args:
        path: The file or URL.
        aliases: Other names that mean its records; see :class:`~dnachunk.data.record_names.RecordNames`.
        on_error: With ``"skip"``, records that cannot be read are left out and listed in ``skipped``: those
            with a byte that is no nucleotide letter, without a name, or with the name of an earlier one. The
            whole file is read for that, also where it has a ``.fai``.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no FASTA file (the message says what it is, if that is known), is truncated, has
            a record that cannot be read or, with ``on_error="skip"``, none that can, or if its index does not
            match; the message names the file, the record and the byte.
        KeyboardInterrupt: When the user presses Ctrl-C, while the file is read too.
        ModuleNotFoundError: If fetching a URL needs a package that is missing.

    Example:
        >>> genome = Genome(packaged_genome())
        >>> genome.records
        [Record(name='CHLTCG', length_bp=1042519)]
        >>> genome.fetch(0, 0, 4)[0]
        tensor([7, 6, 7, 7], dtype=torch.uint8)
    """

    def __init__(
        self, path: str | os.PathLike[str], aliases: Aliases | None = None, *, on_error: OnError = "fail"
    ) -> None:
        require_one_of("on_error", on_error, ("fail", "skip"))
        where, is_url = locate(path)
        contents = Contents(where if is_url or is_standard_input(where) else Path(where).absolute())
        contents.unpack()
        self._open(contents, aliases, on_error)

    def _open(self, contents: Contents, aliases: Aliases | None, on_error: OnError) -> None:
        self.path = Path(contents.path)
        self.name = Path(unpacked_name(contents.path)).stem
        self._on_error: OnError = on_error
        self._contents = contents
        try:
            self._file = rust.Genome(contents.path, contents.place, on_error == "skip")
        except ValueError as error:
            # A command tells it in the words of its option.
            raise ArgumentError(str(error).replace("on_error='skip'", "`on_error=skip`")) from None
        self.records = [Record(name, length_bp) for name, length_bp in self._file.records()]
        self.skipped = [Skipped(name, reason) for name, reason in self._file.skipped()]
        self.names = RecordNames((record.name for record in self.records), aliases)
        self.repeats: Stretches = {}
        self.regions: tuple[Stretches, ...] = ()

    @property
    def length_bp(self) -> int:
        """Bases of all records."""
        return sum(record.length_bp for record in self.records)

    def with_aliases(self, aliases: Aliases) -> "Genome":
        """The same genome, asked by other names too.

        Args:
            aliases: Other names that mean its records; see :class:`~dnachunk.data.record_names.RecordNames`.
        """
        return _opened(self._contents, aliases, self._on_error, self.repeats, self.regions)

    def with_repeats(self, repeats: Stretches) -> "Genome":
        """The same genome, with stretches that count as repeats beside its lower-case letters.

        Args:
            repeats: By record index, ``[2, n]`` int64: starts, 0-based, and ends of stretches, in order, none
                touching another.
        """
        return self._with(repeats=repeats)

    def with_regions(self, regions: Sequence[Stretches]) -> "Genome":
        """The same genome, with stretches that :meth:`region_index` tells by numbers from 1.

        Args:
            regions: Of each number, stretches as in :meth:`with_repeats`.
        """
        return self._with(regions=tuple(regions))

    def _with(self, **fields: Any) -> "Genome":
        genome = Genome.__new__(Genome)
        genome.__dict__.update(self.__dict__, **fields)
        return genome

    def region_index(
        self, record_index: int, start_bp: int, end_bp: int, *, reverse_complement: bool = False
    ) -> torch.Tensor:
        """Which region each base of a stretch is in: arguments as :meth:`fetch`.

        Returns:
            ``[n]`` int64: 0 in none, ``g`` in the ``g``-th of :attr:`regions`, of several the last.
        """
        index = torch.zeros(end_bp - start_bp, dtype=torch.int64)
        for number, regions in enumerate(self.regions, start=1):
            if record_index in regions:
                index[_covered(regions[record_index], start_bp, end_bp)] = number
        return index.flip(0) if reverse_complement else index

    def index_of(self, name: str) -> int:
        """The index of the record of this name, or that this name means.

        Raises:
            KeyError: If there is none.
            ValueError: If it may be one of several.
        """
        index = self.names.find(name)
        if index is None:
            raise KeyError(f"Genome.index_of: {self.path} has no record {name!r}")
        return index

    def fetch(
        self, record_index: int, start_bp: int, end_bp: int, *, reverse_complement: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads a stretch of one record.

        Args:
            record_index: Which record.
            start_bp: First base, 0-based.
            end_bp: Base after the last.
            reverse_complement: Read the other strand, from ``end_bp`` to ``start_bp``.

        Returns:
            ``ids`` ``[n]`` uint8 (A, C, G, T or N) and ``repeat_mask`` ``[n]`` bool, true at lower-case
            letters and in ``repeats``.

        Raises:
            ValueError: If the range does not lie in the record, or the file holds a stray byte there.
            OSError: If the file cannot be read.
        """
        ids, repeat_mask = self._file.fetch(record_index, start_bp, end_bp, reverse_complement)
        if record_index in self.repeats:
            is_repeat = _covered(self.repeats[record_index], start_bp, end_bp)
            repeat_mask |= is_repeat.flip(0) if reverse_complement else is_repeat
        return ids, repeat_mask

    def iterate(self, piece_bp: int = 1 << 20) -> Iterator[Piece]:
        """Reads every record from its start to its end.

        Args:
            piece_bp: Bases of every piece of a record but its last.

        Yields:
            The pieces; none spans two records.

        Raises:
            ValueError: If ``piece_bp`` is not positive.
        """
        if piece_bp < 1:
            raise ValueError(f"Genome.iterate: piece_bp must be at least 1, got {piece_bp}")
        for index, record in enumerate(self.records):
            for start_bp in range(0, record.length_bp, piece_bp):
                end_bp = min(start_bp + piece_bp, record.length_bp)
                yield Piece(index, start_bp, *self.fetch(index, start_bp, end_bp))

    def __contains__(self, name: object) -> bool:
        """Whether a record has this name, or it means one."""
        return isinstance(name, str) and self.names.find(name) is not None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_opened, (self._contents, self.names.aliases, self._on_error, self.repeats, self.regions))

    def __repr__(self) -> str:
        return f"Genome({self._contents.path!r}: {len(self.records)} records, {self.length_bp} bp)"


def _opened(
    contents: Contents,
    aliases: Aliases | None,
    on_error: OnError,
    repeats: Stretches,
    regions: tuple[Stretches, ...],
) -> Genome:
    genome = Genome.__new__(Genome)
    genome._open(contents, aliases, on_error)
    return genome._with(repeats=repeats, regions=regions)


def _covered(stretches: torch.Tensor, start_bp: int, end_bp: int) -> torch.Tensor:
    """``[n]`` bool: which bases from ``start_bp`` to ``end_bp`` lie in ``stretches [2, n]``."""
    first = torch.searchsorted(stretches[1], start_bp, right=True)
    last = torch.searchsorted(stretches[0], end_bp)
    is_covered = torch.zeros(end_bp - start_bp, dtype=torch.bool)
    for stretch_start_bp, stretch_end_bp in stretches[:, first:last].T.tolist():
        is_covered[max(stretch_start_bp - start_bp, 0) : stretch_end_bp - start_bp] = True
    return is_covered


def packaged_genome() -> Path:
    """The genome that ships with the package: *Chlamydia trachomatis* D, 1.04 Mb (Stephens et al. 1998).

    Returns:
        Its FASTA file; its genes lie beside it as ``chlamydia_trachomatis_d.gff3.gz``.
    """
    return Path(__file__).parent / "packaged" / "chlamydia_trachomatis_d.fa.gz"
