"""Genome files: ids of any stretch of a FASTA file that is never loaded."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dnachunk._native import rust
from dnachunk.data.record_names import Aliases, RecordNames


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
        repeat_mask: ``[n]`` bool, true at lower-case letters.
    """

    record_index: int
    start_bp: int
    ids: torch.Tensor
    repeat_mask: torch.Tensor


class Genome:
    """An open FASTA file, plain, bgzip or gzip.

    Windows of plain and bgzip files are read in place. A ``.fai`` (and ``.gzi``) beside the file is used,
    after a check against the file; otherwise one streaming pass finds the records and checks every byte.
    A gzip file cannot be entered in its middle: it is unpacked into a temporary file without a name, one
    byte a base, in ``TMPDIR``; so is a file whose records have ragged lines. Memory is a few MiB and the
    index, whatever the genome's size.

    A genome is read-only, and safe in threads and in forked workers; pickled, it is its path, and is opened
    again where it arrives.

    Attributes:
        path: The file, absolute.
        name: The file's name without ``.gz``, ``.bgz`` and one more suffix.
        records: The records in the file's order.
        names: Their names, and what other names mean them.

    Args:
        path: The file.
        aliases: Other names that mean its records; see :class:`~dnachunk.data.record_names.RecordNames`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no FASTA file, is truncated, has a byte that is no nucleotide letter, an empty
            record, or a name twice, or if its index does not match; the message names the file, the record
            and the byte.

    Example:
        >>> genome = Genome(packaged_genome())
        >>> genome.records
        [Record(name='CHLTCG', length_bp=1042519)]
        >>> genome.fetch(0, 0, 4)[0]
        tensor([7, 6, 7, 7], dtype=torch.uint8)
    """

    def __init__(self, path: str | os.PathLike[str], aliases: Aliases | None = None) -> None:
        self.path = Path(path).absolute()
        stem = self.path.stem if self.path.suffix in (".gz", ".bgz") else self.path.name
        self.name = Path(stem).stem
        self._file = rust.Genome(self.path)
        self.records = [Record(name, length_bp) for name, length_bp in self._file.records()]
        self.names = RecordNames((record.name for record in self.records), aliases)

    @property
    def length_bp(self) -> int:
        """Bases of all records."""
        return sum(record.length_bp for record in self.records)

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
            ``ids`` ``[n]`` uint8 (A, C, G, T or N) and ``repeat_mask`` ``[n]`` bool.

        Raises:
            ValueError: If the range does not lie in the record, or the file holds a stray byte there.
            OSError: If the file cannot be read.
        """
        return self._file.fetch(record_index, start_bp, end_bp, reverse_complement)

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
        return (Genome, (self.path, self.names.aliases))

    def __repr__(self) -> str:
        return f"Genome({str(self.path)!r}: {len(self.records)} records, {self.length_bp} bp)"


def packaged_genome() -> Path:
    """The genome that ships with the package: *Chlamydia trachomatis* D, 1.04 Mb (Stephens et al. 1998).

    Returns:
        Its FASTA file; its genes lie beside it as ``chlamydia_trachomatis_d.gff3.gz``.
    """
    return Path(__file__).parent / "packaged" / "chlamydia_trachomatis_d.fa.gz"
