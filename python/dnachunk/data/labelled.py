"""Labelled sequences: tables, FASTA files and the folders that the benchmarks are published in."""

import contextlib
import csv
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeVar

from dnachunk.alphabet import MASK_ID, SPECIAL_TOKENS
from dnachunk.data.contents import Contents, OnError, unpacked_name
from dnachunk.data.text import open_text
from dnachunk.errors import ArgumentError, UsageError, require_one_of
from dnachunk.ops import encode_dna

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
FASTA_SUFFIXES = (".fa", ".fna", ".fasta")
SPLIT_NAMES = {"train": ("train",), "valid": ("dev", "valid", "validation", "val"), "test": ("test",)}
"""What the benchmarks call the three splits."""

MISSING = frozenset(("", ".", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "none", "null"))
"""What stands for a cell without a value, in lower case."""

_ROWS_AT_ONCE = 1024

Value = TypeVar("Value")


class Columns(NamedTuple):
    """The columns of a table that are read.

    Attributes:
        sequences: Of the sequences, or of the reference and the alternate allele.
        tissue: Of the tissues, if there are any.
        labels: Of the labels.
    """

    sequences: tuple[str, ...]
    tissue: str | None
    labels: tuple[str, ...]

    @classmethod
    def of(
        cls, sequence_column: str | Sequence[str], tissue_column: str | None, label_columns: Sequence[str]
    ) -> "Columns":
        """Of what :func:`read_labelled` takes.

        Raises:
            ValueError: Unless there are one or two columns of sequences, and for a tissue without two.
        """
        sequences = (sequence_column,) if isinstance(sequence_column, str) else tuple(sequence_column)
        if len(set(sequences)) != len(sequences) or not 1 <= len(sequences) <= 2:
            raise UsageError(
                "`sequence_column` must be one, or two of the reference and the alternate allele, got "
                f"{', '.join(sequences) or 'none'}"
            )
        if tissue_column is not None and len(sequences) == 1:
            raise UsageError(
                "`tissue_column` is for pairs of alleles: give `sequence_column` twice, of the reference and "
                "the alternate allele"
            )
        return cls(sequences, tissue_column, tuple(label_columns))

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.sequences, *([] if self.tissue is None else [self.tissue]), *self.labels)

    def row(self, place: str, cells: Sequence[str]) -> "Row":
        """A row of a table, from its cells in the order of :attr:`names`.

        Raises:
            ValueError: If a sequence or the tissue is missing.
        """
        count = len(self.sequences)
        sequences, rest = tuple(cells[:count]), tuple(cells[count:])
        for sequence in sequences:
            if sequence and is_missing(sequence):
                raise ValueError(f"{place}: the sequence is missing, got {sequence!r}")
        if self.tissue is None:
            return Row(place, sequences, rest)
        if is_missing(rest[0]):
            raise ValueError(f"{place}: the tissue in column {self.tissue!r} is missing, got {rest[0]!r}")
        return Row(place, sequences, rest[1:], rest[0])


class Row(NamedTuple):
    """What a set says of an example: where it stands, its sequences, its labels and its tissue."""

    place: str
    sequences: tuple[str, ...]
    labels: tuple[str, ...]
    tissue: str = ""


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Sequences, and their labels as they are written.

    Attributes:
        sequences: Upper-case IUPAC letters, ``U`` as ``T``.
        labels: For each sequence the text in each label column.
        places: For each sequence where it stands, for messages.
        columns: Names of the label columns.
        skipped: Of each row that was left out, where it stands and what is wrong with it.
        alternates: Of pairs of alleles, the alternate ones; the reference ones are ``sequences``.
        tissues: Of each pair, the tissue that it is seen in, where they have one.
    """

    sequences: list[str]
    labels: list[tuple[str, ...]]
    places: list[str]
    columns: tuple[str, ...] = ("label",)
    skipped: list[str] = field(default_factory=list)
    alternates: list[str] | None = None
    tissues: list[str] | None = None

    def __len__(self) -> int:
        return len(self.sequences)


def is_missing(cell: str) -> bool:
    """Whether a cell has no value: it is empty, ``.``, ``NA``, ``N/A``, ``NaN``, ``None`` or ``null``."""
    return cell.strip().lower() in MISSING


def attempt(
    on_error: OnError, skipped: list[str], read: Callable[..., Value], *arguments: Any
) -> Value | None:
    """Reads a row; one that cannot be read is noted, and is None, or is refused.

    Raises:
        ArgumentError: If ``read`` raises :class:`ValueError` and ``on_error`` is ``"fail"``.
    """
    try:
        return read(*arguments)
    except ValueError as error:
        if on_error == "fail":
            message = error.message if isinstance(error, ArgumentError) else error
            raise ArgumentError(f"{message} (`on_error=skip` leaves such rows out)") from error
        skipped.append(str(error))
        return None


def read_labelled(
    path: str | Path,
    *,
    label: str | None = None,
    sequence_column: str | Sequence[str] = "sequence",
    tissue_column: str | None = None,
    label_columns: Sequence[str] = ("label",),
    on_error: OnError = "fail",
) -> LabelledSet:
    """Reads one labelled set: its sequences, and its labels as text, which :meth:`Task.of` reads.

    A cell is missing if it is empty or ``.``, ``NA``, ``N/A``, ``NaN``, ``None`` or ``null``, in capitals or
    not. In a table so is a sequence that is written so, although ``NA`` and ``NaN`` could be bases; in a
    FASTA or text file they are. What labels may be is said at :class:`~dnachunk.data.Problem`.

    Args:
        path: By its suffix, each also with ``.gz``:

            - ``.csv``, ``.tsv``, ``.txt``: a table with a header, fields set apart by tabs or commas;
            - ``.parquet``: a table (needs ``pyarrow``); a column of lists is labels of bases where they are
              as long as the sequences, else, where all hold as many numbers, a column for each of these,
              ``label_0`` and so on, else several labels for a sequence;
            - ``.fa``, ``.fna``, ``.fasta``: a header ends in ``|`` and the label, as those of the Nucleotide
              Transformer tasks, unless ``label`` is given;
            - a folder with one entry for each class, named by it: a folder of ``.txt`` files of one sequence
              each, as Genomic Benchmarks has them, or of FASTA files, or a FASTA file.
        label: Label of all sequences of a FASTA file.
        sequence_column: Column of the sequences, in a table; or two, of the reference and the alternate
            allele: a row is then a pair of alleles.
        tissue_column: Column of the tissues that pairs of alleles are seen in.
        label_columns: Columns of the labels, in a table.
        on_error: ``"skip"`` leaves out rows and records without a sequence, with a letter that is not
            IUPAC's, with too few or too many cells, or without a label in the header; ``"fail"``
            refuses them.

    Returns:
        The set, in the order of the file; a folder's entries by name. ``skipped`` lists what was left out.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it cannot be read, lacks a column or has it twice, has no sequence, or a row is
            refused; the message names file and row.
        ModuleNotFoundError: If it is a Parquet file and ``pyarrow`` is missing.
    """
    require_one_of("on_error", on_error, ("fail", "skip"))
    path = Path(path)
    columns = Columns.of(sequence_column, tissue_column, label_columns)
    suffix = _suffix(path)
    rows: Iterable[Row | ValueError]
    if (path.is_dir() or suffix in FASTA_SUFFIXES) and len(columns.sequences) == 2:
        raise ArgumentError(f"`sequence_column` twice is for tables of pairs of alleles, got {path}")
    names: tuple[str, ...] = ("label",)
    if path.is_dir():
        rows = _class_folder_rows(path)
    elif suffix in FASTA_SUFFIXES:
        rows = _fasta_rows(path, label)
    elif label is not None:
        raise ValueError(f"read_labelled: label is for FASTA files, got {label!r} for {path}")
    elif suffix == ".parquet":
        rows, names = _parquet_rows(path, columns)
    elif suffix in TABLE_SUFFIXES:
        rows, names = _table_rows(path, columns), columns.labels
    else:
        known = ", ".join((*TABLE_SUFFIXES, ".parquet", *FASTA_SUFFIXES))
        raise ValueError(f"read_labelled: path must be a folder or end in one of {known}, got {path}")
    return checked_set(rows, names, str(path), on_error, columns)


def read_splits(
    source: str | Path,
    *,
    sequence_column: str | Sequence[str] = "sequence",
    tissue_column: str | None = None,
    label_columns: Sequence[str] = ("label",),
    on_error: OnError = "fail",
) -> dict[str, LabelledSet]:
    """Reads the splits of a published set.

    Args:
        source: A folder with a ``train``, perhaps a ``dev`` (``valid``, ``validation``, ``val``), and a
            ``test``, each of them a file or a folder that :func:`read_labelled` takes: what the tasks of GUE,
            Genomic Benchmarks and the Nucleotide Transformer are. Or, where there is no such folder, the name
            of a set on the Hugging Face hub, ``"owner/name"`` or ``"owner/name:part"`` (needs ``datasets``
            and a network); a part is a configuration, or a value of the column ``task``.
        sequence_column: Column of the sequences, in tables, or two of pairs of alleles.
        tissue_column: Column of their tissues.
        label_columns: Columns of the labels, in tables.
        on_error: As for :func:`read_labelled`.

    Returns:
        The sets by ``"train"``, ``"valid"`` and ``"test"``, as far as there are any.

    Raises:
        OSError: If it is neither a folder nor can be fetched.
        ValueError: If it has no train split, and as :func:`read_labelled`.
        ModuleNotFoundError: If it is a name on the hub and ``datasets`` is missing.
    """
    folder = Path(source)
    if not folder.is_dir():
        if folder.exists() or re.fullmatch(r"[\w.-]+/[\w.-]+(:[^:]+)?", str(source)) is None:
            raise FileNotFoundError(
                f"read_splits: source must be a folder or owner/name on the Hugging Face hub, got {source}"
            )
        return _hub_splits(str(source), Columns.of(sequence_column, tissue_column, label_columns), on_error)
    found = find_splits(folder)
    if "train" not in found:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        sets = [name for name in names if (folder / name).is_dir() and "train" in find_splits(folder / name)]
        wanted = (
            f"it holds sets to choose from: {', '.join(sets)}" if sets else f"it holds {', '.join(names)}"
        )
        raise ValueError(f"{folder} has no train.csv, train.fna or the like and no folder train; {wanted}")
    return {
        split: join_sets(
            [
                read_labelled(
                    path,
                    sequence_column=sequence_column,
                    tissue_column=tissue_column,
                    label_columns=label_columns,
                    on_error=on_error,
                )
                for path in paths
            ]
        )
        for split, paths in found.items()
    }


def find_splits(folder: Path) -> dict[str, list[Path]]:
    """Where the splits of a folder lie; of several formats of one split the first of :func:`read_labelled`.

    Returns:
        Paths by ``"train"``, ``"valid"`` and ``"test"``, as far as there are any; several where a Parquet
        file comes in parts.
    """
    names = {path.name for path in folder.iterdir()}
    found = {}
    for split, words in SPLIT_NAMES.items():
        candidates = [
            [f"{word}{suffix}{packing}"]
            for word in words
            for suffix in (*TABLE_SUFFIXES, *FASTA_SUFFIXES, ".parquet")
            for packing in ("", ".gz")
        ]
        for word in words:
            parts = re.compile(rf"{word}-\d+-of-\d+\.parquet")
            candidates += [sorted(filter(parts.fullmatch, names)), [word]]
        paths = next((paths for paths in candidates if paths and names.issuperset(paths)), None)
        if paths is not None:
            found[split] = [folder / name for name in paths]
    return found


def join_sets(sets: Sequence[LabelledSet]) -> LabelledSet:
    """One set of several.

    Raises:
        ValueError: If there is none, or their label columns differ, or some are of pairs of alleles, or have
            tissues, and others not.
    """
    if len({labelled.columns for labelled in sets}) != 1:
        got = [labelled.columns for labelled in sets]
        raise ValueError(f"join_sets: sets must have the same label columns, got {got}")
    require_alike({str(index): labelled for index, labelled in enumerate(sets)}, "join_sets")

    def joined(name: str) -> list[str] | None:
        parts = [getattr(labelled, name) for labelled in sets]
        return None if parts[0] is None else [value for part in parts for value in part]

    return LabelledSet(
        [sequence for labelled in sets for sequence in labelled.sequences],
        [label for labelled in sets for label in labelled.labels],
        [place for labelled in sets for place in labelled.places],
        sets[0].columns,
        [row for labelled in sets for row in labelled.skipped],
        joined("alternates"),
        joined("tissues"),
    )


def require_alike(sets: Mapping[str, LabelledSet], what: str) -> None:
    """Raises :class:`ValueError` if some sets are of pairs of alleles, or have tissues, and others not."""
    for name, title in (("alternates", "pairs of alleles"), ("tissues", "a column of tissues")):
        having = [split for split, labelled in sets.items() if getattr(labelled, name) is not None]
        without = [split for split in sets if split not in having]
        if having and without:
            raise ValueError(
                f"{what}: all sets must have {title} or none: {', '.join(having)} has, "
                f"{', '.join(without)} has not"
            )


def checked_set(
    rows: Iterable[Row | ValueError],
    label_columns: tuple[str, ...],
    source: str,
    on_error: OnError,
    columns: Columns,
) -> LabelledSet:
    """A set of rows, each of which is looked at.

    Args:
        rows: The rows, or what is wrong with them.
        label_columns: Names of their labels.
        source: Where they are from, for messages.
        on_error: As for :func:`read_labelled`.
        columns: Says whether they are pairs of alleles, and have tissues.

    Raises:
        ValueError: If a row is refused, or none is left.
    """
    skipped: list[str] = []

    def passed(check: Callable[[Any], Row], each: Iterable[Any]) -> list[Row]:
        found = (attempt(on_error, skipped, check, row) for row in each)
        return [row for row in found if row is not None]

    read, kept = passed(_checked_row, rows), list[Row]()
    for first in range(0, len(read), _ROWS_AT_ONCE):
        batch = read[first : first + _ROWS_AT_ONCE]
        try:
            ids, _, _ = encode_dna([sequence for row in batch for sequence in row.sequences])
            are_letters = int(ids.min()) > MASK_ID
        except ValueError:
            are_letters = False
        # Where not all are: which of them it is, and what is wrong with it.
        kept += batch if are_letters else passed(_lettered_row, batch)
    if not kept:
        rest = f" that can be read; of {len(skipped):,} the first: {skipped[0]}" if skipped else ""
        raise ValueError(f"{source} holds no sequence{rest}")
    return LabelledSet(
        [row.sequences[0] for row in kept],
        [row.labels for row in kept],
        [row.place for row in kept],
        label_columns,
        skipped,
        [row.sequences[1] for row in kept] if len(columns.sequences) == 2 else None,
        None if columns.tissue is None else [row.tissue for row in kept],
    )


def _checked_row(row: Row | ValueError) -> Row:
    if isinstance(row, ValueError):
        raise row
    if not all(row.sequences):
        raise ValueError(f"{row.place}: the sequence is empty")
    return row._replace(sequences=tuple(text.upper().replace("U", "T") for text in row.sequences))


def _lettered_row(row: Row) -> Row:
    try:
        ids, _, _ = encode_dna(list(row.sequences))
    except ValueError as error:
        raise ValueError(f"{row.place}: {error}") from error
    if int(ids.min()) <= MASK_ID:
        token = SPECIAL_TOKENS[int(ids.min())]
        raise ValueError(f"{row.place}: a labelled sequence must be letters alone, got {token}")
    return row


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a table, by its name."""
    return _suffix(Path(path)) in (*TABLE_SUFFIXES, ".parquet")


def _suffix(path: Path) -> str:
    return Path(unpacked_name(path)).suffix.lower()


@contextlib.contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    with open_text(path, encoding="utf-8-sig", newline="") as text:
        try:
            yield text
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error


def _table_rows(path: Path, columns: Columns) -> Iterator[Row | ValueError]:
    # Python's limit of a field is 131,072 characters; sequences are longer.
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with _open_text(path) as text:
            header_line = text.readline()
            delimiter = "\t" if "\t" in header_line else ","
            header = [name.strip() for name in next(csv.reader([header_line], delimiter=delimiter), [])]
            indices = _column_indices(path, header, columns.names)
            reader = csv.reader(text, delimiter=delimiter)
            for row in reader:
                if len(row) < 2 and not "".join(row).strip():
                    continue
                place = f"{path}, line {reader.line_num + 1}"
                if len(row) != len(header):
                    yield ValueError(f"{place}: a row must have {len(header)} fields, got {len(row)}")
                    continue
                yield _row_or_fault(columns, place, [row[index].strip() for index in indices])
    finally:
        csv.field_size_limit(limit)


def _row_or_fault(columns: Columns, place: str, cells: Sequence[str]) -> Row | ValueError:
    try:
        return columns.row(place, cells)
    except ValueError as error:
        return error


def _column_indices(source: object, header: Sequence[str], wanted: tuple[str, ...]) -> list[int]:
    missing = [name for name in wanted if name not in header]
    if missing:
        found = ", ".join(header) or "none"
        raise ValueError(f"{source} must have a column {missing[0]!r}; its columns: {found}")
    twice = [name for name in wanted if header.count(name) > 1]
    if twice:
        raise ValueError(
            f"{source} must have the column {twice[0]!r} once, got it {header.count(twice[0])} times"
        )
    return [header.index(name) for name in wanted]


def _parquet_rows(path: Path, columns: Columns) -> tuple[Iterator[Row | ValueError], tuple[str, ...]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path}: Parquet files need pyarrow: pip install pyarrow", name="pyarrow"
        ) from error
    try:
        table = pyarrow.parquet.ParquetFile(Contents(path).place).read()
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    _column_indices(path, table.column_names, columns.names)
    return _value_rows(str(path), columns, [table.column(name).to_pylist() for name in columns.names])


def _value_rows(
    source: str, columns: Columns, values: Sequence[Sequence[Any]]
) -> tuple[Iterator[Row | ValueError], tuple[str, ...]]:
    """Rows of text, and the names of the label columns, from values in the columns' order."""
    count = len(columns.names) - len(columns.labels)
    texts: dict[str, list[str]] = {}
    for name, labels in zip(columns.labels, values[count:], strict=True):
        texts |= _label_texts(name, labels, values[0])
    others = [["" if each is None else _text(each) for each in column] for column in values[:count]]
    rows = zip(*others, *texts.values(), strict=True)
    return (
        _row_or_fault(columns, f"{source}, row {number}", cells) for number, cells in enumerate(rows, start=1)
    ), tuple(texts)


def _label_texts(name: str, values: Sequence[Any], sequences: Sequence[Any]) -> dict[str, list[str]]:
    """A column of labels as tables of text would have it: by name one column, or several."""
    pairs = [(value, text) for value, text in zip(values, sequences, strict=True) if value is not None]
    lists = [value for value, _ in pairs if isinstance(value, list)]
    is_per_base = all(isinstance(value, list) and len(value) == len(text or "") for value, text in pairs)
    if not lists or is_per_base:
        return {name: [_text(value) for value in values]}
    count = len(lists[0])
    if len(lists) == len(pairs) and all(
        len(value) == count and all(isinstance(item, int | float | None) for item in value) for value in lists
    ):
        names = [name] if count == 1 else [f"{name}_{index}" for index in range(count)]
        return {
            each: [_text(None if value is None else value[index]) for value in values]
            for index, each in enumerate(names)
        }
    return {name: [_text(value, "|") for value in values]}


def _text(value: Any, separator: str = " ") -> str:
    """A value as a table of text would have it."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return separator.join(map(_text, value))
    return str(int(value) if isinstance(value, bool) else value).strip()


def _fasta_rows(path: Path, label: str | None) -> Iterator[Row | ValueError]:
    with _open_text(path) as text:
        header, lines, number = None, list[str](), 0
        for line in text:
            if not line.startswith(">"):
                if header is None and line.strip():
                    raise ValueError(f"{path}: a FASTA file must begin with '>', got {line.strip()[:20]!r}")
                lines.append(line.strip())
                continue
            if header is not None:
                yield _fasta_row(path, number, header, lines, label)
            header, lines, number = line[1:].strip(), [], number + 1
        if header is not None:
            yield _fasta_row(path, number, header, lines, label)


def _fasta_row(path: Path, number: int, header: str, lines: list[str], label: str | None) -> Row | ValueError:
    place = f"{path}, record {number} ({header[:60]})"
    if label is None:
        _, bar, label = header.rpartition("|")
        if not bar:
            return ValueError(f"{place}: the header must end in | and the label")
    return Row(place, ("".join(lines),), (label.strip(),))


def _class_folder_rows(folder: Path) -> Iterator[Row | ValueError]:
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    entries = [path for path in entries if path.is_dir() or _suffix(path) in FASTA_SUFFIXES]
    if not entries:
        raise ValueError(f"{folder} must hold a folder or a FASTA file for each class; it has none")
    for entry in entries:
        name = entry.name if entry.is_dir() else entry.name[: entry.name.lower().rindex(_suffix(entry))]
        files = sorted(entry.iterdir()) if entry.is_dir() else [entry]
        is_empty = True
        for file in files:
            rows: Iterator[Row | ValueError]
            if _suffix(file) in FASTA_SUFFIXES:
                rows = _fasta_rows(file, name)
            elif _suffix(file) == ".txt":
                rows = _text_row(file, name)
            else:
                continue
            for row in rows:
                is_empty = False
                yield row
        if is_empty:
            raise ValueError(f"{entry}: class {name!r} has no sequence")


def _text_row(path: Path, label: str) -> Iterator[Row]:
    with _open_text(path) as text:
        yield Row(str(path), ("".join(text.read().split()),), (label,))


def _hub_splits(source: str, columns: Columns, on_error: OnError) -> dict[str, LabelledSet]:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{source} is no folder here, and sets of the Hugging Face hub need datasets: "
            "pip install datasets",
            name="datasets",
        ) from error
    name, _, part = source.partition(":")
    try:
        is_configuration = bool(part) and part in datasets.get_dataset_config_names(name)
        splits: Mapping[str, Any] = datasets.load_dataset(name, part if is_configuration else None)
    except Exception as error:
        # What `datasets` raises has no common base.
        raise OSError(
            f"{source} is no folder here and could not be fetched from the Hugging Face hub: {error}"
        ) from error
    found = {}
    for split, words in SPLIT_NAMES.items():
        word = next((word for word in words if word in splits), None)
        if word is None:
            continue
        rows = splits[word]
        _column_indices(f"{source}, {word}", rows.column_names, columns.names)
        if part and not is_configuration:
            _column_indices(f"{source}, {word}", rows.column_names, ("task",))
            rows = rows.filter(lambda task: task == part, input_columns="task")
        values = [list(rows[column]) for column in columns.names]
        place = f"{source}, {word}"
        found[split] = checked_set(*_value_rows(place, columns, values), place, on_error, columns)
    if "train" not in found:
        raise ValueError(f"{source} has no train split; it has {', '.join(splits)}")
    return found


__all__ = [
    "Columns",
    "LabelledSet",
    "Row",
    "attempt",
    "checked_set",
    "find_splits",
    "is_missing",
    "is_table",
    "join_sets",
    "read_labelled",
    "read_splits",
    "require_alike",
]
