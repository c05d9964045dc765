"""Labelled sequences: tables, FASTA files and the folders that the benchmarks are published in."""

import contextlib
import csv
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeVar

from dnachunk.alphabet import MASK_ID, SPECIAL_TOKENS
from dnachunk.data.contents import OnError
from dnachunk.data.text import open_text
from dnachunk.errors import ArgumentError, require_one_of
from dnachunk.ops import encode_dna

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
FASTA_SUFFIXES = (".fa", ".fna", ".fasta")
SPLIT_NAMES = {"train": ("train",), "valid": ("dev", "valid", "validation", "val"), "test": ("test",)}
"""What the benchmarks call the three splits."""

MISSING = frozenset(("", ".", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "none", "null"))
"""What stands for a cell without a value, in lower case."""

_ROWS_AT_ONCE = 1024

Row = tuple[str, str, tuple[str, ...]]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Sequences, and their labels as they are written.

    Attributes:
        sequences: Upper-case IUPAC letters, ``U`` as ``T``.
        labels: For each sequence the text in each label column.
        places: For each sequence where it stands, for messages.
        columns: Names of the label columns.
        skipped: Of each row that was left out, where it stands and what is wrong with it.
    """

    sequences: list[str]
    labels: list[tuple[str, ...]]
    places: list[str]
    columns: tuple[str, ...] = ("label",)
    skipped: list[str] = field(default_factory=list)

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
    sequence_column: str = "sequence",
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
        sequence_column: Column of the sequences, in a table.
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
    columns = tuple(label_columns)
    suffix = _suffix(path)
    rows: Iterable[Row | ValueError]
    if path.is_dir():
        rows, columns = _class_folder_rows(path), ("label",)
    elif suffix in FASTA_SUFFIXES:
        rows, columns = _fasta_rows(path, label), ("label",)
    elif label is not None:
        raise ValueError(f"read_labelled: label is for FASTA files, got {label!r} for {path}")
    elif suffix == ".parquet":
        rows, columns = _parquet_rows(path, sequence_column, columns)
    elif suffix in TABLE_SUFFIXES:
        rows = _table_rows(path, sequence_column, columns)
    else:
        known = ", ".join((*TABLE_SUFFIXES, ".parquet", *FASTA_SUFFIXES))
        raise ValueError(f"read_labelled: path must be a folder or end in one of {known}, got {path}")
    return _checked(rows, columns, str(path), on_error)


def read_splits(
    source: str | Path,
    *,
    sequence_column: str = "sequence",
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
        sequence_column: Column of the sequences, in tables.
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
        return _hub_splits(str(source), sequence_column, tuple(label_columns), on_error)
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
                    path, sequence_column=sequence_column, label_columns=label_columns, on_error=on_error
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
        ValueError: If there is none, or their label columns differ.
    """
    if len({labelled.columns for labelled in sets}) != 1:
        got = [labelled.columns for labelled in sets]
        raise ValueError(f"join_sets: sets must have the same label columns, got {got}")
    return LabelledSet(
        [sequence for labelled in sets for sequence in labelled.sequences],
        [label for labelled in sets for label in labelled.labels],
        [place for labelled in sets for place in labelled.places],
        sets[0].columns,
        [row for labelled in sets for row in labelled.skipped],
    )


def _checked(
    rows: Iterable[Row | ValueError], columns: tuple[str, ...], source: str, on_error: OnError
) -> LabelledSet:
    skipped: list[str] = []

    def passed(check: Callable[[Any], Row], each: Iterable[Any]) -> list[Row]:
        found = (attempt(on_error, skipped, check, row) for row in each)
        return [row for row in found if row is not None]

    read, kept = passed(_checked_row, rows), list[Row]()
    for first in range(0, len(read), _ROWS_AT_ONCE):
        batch = read[first : first + _ROWS_AT_ONCE]
        try:
            ids, _, _ = encode_dna([sequence for _, sequence, _ in batch])
            are_letters = int(ids.min()) > MASK_ID
        except ValueError:
            are_letters = False
        # Where not all are: which of them it is, and what is wrong with it.
        kept += batch if are_letters else passed(_lettered_row, batch)
    if not kept:
        rest = f" that can be read; of {len(skipped):,} the first: {skipped[0]}" if skipped else ""
        raise ValueError(f"{source} holds no sequence{rest}")
    return LabelledSet(
        [sequence for _, sequence, _ in kept],
        [labels for _, _, labels in kept],
        [place for place, _, _ in kept],
        columns,
        skipped,
    )


def _checked_row(row: Row | ValueError) -> Row:
    if isinstance(row, ValueError):
        raise row
    place, sequence, labels = row
    if not sequence:
        raise ValueError(f"{place}: the sequence is empty")
    return place, sequence.upper().replace("U", "T"), labels


def _lettered_row(row: Row) -> Row:
    place, sequence, _ = row
    try:
        ids, _, _ = encode_dna([sequence])
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    if int(ids.min()) <= MASK_ID:
        token = SPECIAL_TOKENS[int(ids.min())]
        raise ValueError(f"{place}: a labelled sequence must be letters alone, got {token}")
    return row


def _table_row(place: str, sequence: str, labels: Iterable[str]) -> Row | ValueError:
    if sequence and is_missing(sequence):
        return ValueError(f"{place}: the sequence is missing, got {sequence!r}")
    return place, sequence, tuple(labels)


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a table, by its name."""
    return _suffix(Path(path)) in (*TABLE_SUFFIXES, ".parquet")


def _suffix(path: Path) -> str:
    name = path.name.removesuffix(".gz").removesuffix(".bgz")
    return Path(name).suffix.lower()


@contextlib.contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    with open_text(path, encoding="utf-8-sig", newline="") as text:
        try:
            yield text
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error


def _table_rows(
    path: Path, sequence_column: str, label_columns: tuple[str, ...]
) -> Iterator[Row | ValueError]:
    # Python's limit of a field is 131,072 characters; sequences are longer.
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with _open_text(path) as text:
            header_line = text.readline()
            delimiter = "\t" if "\t" in header_line else ","
            header = [name.strip() for name in next(csv.reader([header_line], delimiter=delimiter), [])]
            indices = _column_indices(path, header, (sequence_column, *label_columns))
            reader = csv.reader(text, delimiter=delimiter)
            for row in reader:
                if len(row) < 2 and not "".join(row).strip():
                    continue
                place = f"{path}, line {reader.line_num + 1}"
                if len(row) != len(header):
                    yield ValueError(f"{place}: a row must have {len(header)} fields, got {len(row)}")
                    continue
                sequence, *labels = (row[index].strip() for index in indices)
                yield _table_row(place, sequence, labels)
    finally:
        csv.field_size_limit(limit)


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


def _parquet_rows(
    path: Path, sequence_column: str, label_columns: tuple[str, ...]
) -> tuple[Iterator[Row | ValueError], tuple[str, ...]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path}: Parquet files need pyarrow: pip install pyarrow", name="pyarrow"
        ) from error
    try:
        table = pyarrow.parquet.ParquetFile(path).read()
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    columns = (sequence_column, *label_columns)
    _column_indices(path, table.column_names, columns)
    return _value_rows(str(path), label_columns, [table.column(name).to_pylist() for name in columns])


def _value_rows(
    source: str, names: Sequence[str], columns: Sequence[Sequence[Any]]
) -> tuple[Iterator[Row | ValueError], tuple[str, ...]]:
    """Rows of text, and the names of the label columns, from columns of values, the sequences' first."""
    sequences, *labels = columns
    texts: dict[str, list[str]] = {}
    for name, values in zip(names, labels, strict=True):
        texts |= _label_texts(name, values, sequences)
    rows = zip(("" if each is None else _text(each) for each in sequences), *texts.values(), strict=True)
    return (
        _table_row(f"{source}, row {number}", sequence, cells)
        for number, (sequence, *cells) in enumerate(rows, start=1)
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
    return place, "".join(lines), (label.strip(),)


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
        yield str(path), "".join(text.read().split()), (label,)


def _hub_splits(
    source: str, sequence_column: str, label_columns: tuple[str, ...], on_error: OnError
) -> dict[str, LabelledSet]:
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
    columns = (sequence_column, *label_columns)
    for split, words in SPLIT_NAMES.items():
        word = next((word for word in words if word in splits), None)
        if word is None:
            continue
        rows = splits[word]
        _column_indices(f"{source}, {word}", rows.column_names, columns)
        if part and not is_configuration:
            _column_indices(f"{source}, {word}", rows.column_names, ("task",))
            rows = rows.filter(lambda task: task == part, input_columns="task")
        values = [list(rows[column]) for column in columns]
        place = f"{source}, {word}"
        found[split] = _checked(*_value_rows(place, label_columns, values), place, on_error)
    if "train" not in found:
        raise ValueError(f"{source} has no train split; it has {', '.join(splits)}")
    return found


__all__ = [
    "LabelledSet",
    "attempt",
    "find_splits",
    "is_missing",
    "is_table",
    "join_sets",
    "read_labelled",
    "read_splits",
]
