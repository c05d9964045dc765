"""VCF files: variants in order, every header line and column as it was read."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dnachunk.data.contents import Contents, OnError, Skipped
from dnachunk.data.text import read_lines
from dnachunk.errors import ArgumentError, require_one_of

_COLUMNS = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
_INFO = 7
_LETTERS = re.compile(r"[ACGTNRYSWKMBDHV]+", re.IGNORECASE)
_INFO_NUMBER = re.compile(r"##INFO=<ID=([^,>]+),Number=([^,>]+)")
# In this order: a breakend may hold <…>.
_OTHER_ALLELES = {
    "no_alternate": re.compile(r"\."),
    "overlapping_deletion": re.compile(r"\*"),
    "breakend": re.compile(
        r"[A-Z]+([\[\]])[^\[\]]+:\d+\1|([\[\]])[^\[\]]+:\d+\2[A-Z]+|\.[A-Z]+|[A-Z]+\.", re.IGNORECASE
    ),
    "symbolic_allele": re.compile(r"<[^<>]+>"),
}


class VCFRecord(NamedTuple):
    """One line of a VCF file.

    Attributes:
        line_number: Of the file, from 1.
        columns: As they stand there.
        line_end: What ends the line.
    """

    line_number: int
    columns: list[str]
    line_end: str

    @property
    def contig(self) -> str:
        """Name of the record of the genome."""
        return self.columns[0]

    @property
    def position(self) -> int:
        """Where REF begins, from 1; 0 is before the first base."""
        return int(self.columns[1])

    @property
    def reference(self) -> str:
        """The letters of REF."""
        return self.columns[3]

    @property
    def alternates(self) -> list[str]:
        """The alleles of ALT."""
        return self.columns[4].split(",")

    @property
    def info(self) -> dict[str, str]:
        """The fields of INFO; those without a value have an empty one."""
        entries = (entry.partition("=") for entry in self.columns[_INFO].split(";") if entry != ".")
        return {name: value for name, _, value in entries}

    def with_info(self, values: Mapping[str, str]) -> str:
        """The line with these INFO fields, behind the others; those of their names go."""
        entries = [f"{name}={value}" for name, value in values.items()]
        kept = [
            entry
            for entry in self.columns[_INFO].split(";")
            if entry not in (".", "") and entry.partition("=")[0] not in values
        ]
        columns = [*self.columns[:_INFO], ";".join(kept + entries), *self.columns[_INFO + 1 :]]
        return "\t".join(columns) + self.line_end


def other_allele(allele: str) -> str | None:
    """What an ALT allele is that is not written in letters.

    Returns:
        ``"no_alternate"`` (``.``), ``"overlapping_deletion"`` (``*``), ``"breakend"``, ``"symbolic_allele"``
        (``<DEL>``); None if it is letters.
    """
    return next((kind for kind, form in _OTHER_ALLELES.items() if form.fullmatch(allele)), None)


class VCF:
    """A VCF file, plain or packed, read a line at a time and as often as it is iterated.

    Attributes:
        path: The file.
        header: Its lines to the one with the column names, with their ends.
        info_numbers: What the header says of each INFO field's ``Number``.
        skipped: The lines that the last iteration has left out, by their numbers.

    Args:
        path: The file, as :func:`~dnachunk.data.text.open_text` takes it.
        on_error: What an iteration does at a malformed line: ``"fail"``, or ``"skip"`` it and list it in
            ``skipped``. A line without anything in it is passed over in any case.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it has no VCF header. Iterating: on a malformed line, which the message
            names.
        ModuleNotFoundError: If fetching a URL needs a package that is missing.
    """

    def __init__(self, path: str | os.PathLike[str], *, on_error: OnError = "fail") -> None:
        require_one_of("on_error", on_error, ("fail", "skip"))
        self.path = Path(path)
        self.header: list[str] = []
        self.skipped: list[Skipped] = []
        self._on_error = on_error
        self._contents = Contents(path)
        for line in read_lines(self._contents):
            self.header.append(line)
            if len(self.header) == 1 and not line.startswith("##fileformat=VCF"):
                raise self._fault(1, "expected '##fileformat=VCF…'", line)
            if line.startswith("##"):
                continue
            columns = line.rstrip("\r\n").split("\t")
            if columns[: len(_COLUMNS)] != _COLUMNS:
                raise self._fault(len(self.header), "expected the columns " + " ".join(_COLUMNS), line)
            self._num_columns = len(columns)
            break
        else:
            raise ValueError(f"{self.path} has no line #CHROM" if self.header else f"{self.path} is empty")
        found = (_INFO_NUMBER.match(line) for line in self.header)
        self.info_numbers = {match[1]: match[2] for match in found if match}

    def header_with(self, info_lines: Mapping[str, str]) -> Sequence[str]:
        """The header with these lines by INFO field, behind the others; those of their names go."""
        *above, columns = self.header
        kept = [
            line for line in above if not ((match := _INFO_NUMBER.match(line)) and match[1] in info_lines)
        ]
        line_end = columns[len(columns.rstrip("\r\n")) :]
        return [*kept, *(line + line_end for line in info_lines.values()), columns]

    def __iter__(self) -> Iterator[VCFRecord]:
        self.skipped = skipped = []
        for line_number, line in enumerate(read_lines(self._contents), start=1):
            body = line.rstrip("\r\n")
            if line_number <= len(self.header) or not body.strip():
                continue
            record = VCFRecord(line_number, body.split("\t"), line[len(body) :] or "\n")
            fault = self._fault_of(record)
            if fault is None:
                yield record
            elif self._on_error == "fail":
                told = self._fault(line_number, fault, line)
                raise ArgumentError(f"{told} (`on_error=skip` leaves such lines out)")
            else:
                skipped.append(Skipped(line_number, fault))

    def _fault_of(self, record: VCFRecord) -> str | None:
        columns = record.columns
        if len(columns) != self._num_columns:
            return f"expected {self._num_columns} columns between tabs, got {len(columns)}"
        if not record.contig:
            return "CHROM is empty"
        if not re.fullmatch("[0-9]{1,18}", columns[1]):
            return f"POS must be a whole number, got {columns[1]!r:.40}"
        if not _LETTERS.fullmatch(record.reference):
            return f"REF must be nucleotide letters, got {record.reference!r:.40}"
        for allele in record.alternates:
            if not _LETTERS.fullmatch(allele) and other_allele(allele) is None:
                return f"ALT must be alleles, got {columns[4]!r:.40}"
        return None

    def _fault(self, line_number: int, message: str, line: str) -> ValueError:
        shown = line[:80].rstrip("\r\n").encode("ascii", "backslashreplace").decode()
        return ValueError(f"{self._contents.path}, line {line_number}: {message}: {shown:.80}")
