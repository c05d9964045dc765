"""Tasks of BEND (Marin et al., ICLR 2024): BED files with splits and labels, beside a genome."""

from collections.abc import Iterator
from pathlib import Path

import torch

from dnachunk.data.annotation import FaultyLineError, read_number
from dnachunk.data.contents import OnError, unpacked_name
from dnachunk.data.genome import Genome
from dnachunk.data.labelled import FASTA_SUFFIXES, Columns, LabelledSet, Row, checked_set, is_missing
from dnachunk.data.text import read_lines
from dnachunk.errors import ArgumentError
from dnachunk.ops import decode_dna

SPLITS = ("train", "valid", "test")

_COLUMNS = Columns(("sequence",), None, ("label",))


def find_bend_tasks(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The BED files of a folder, and of the folders in it.

    Returns:
        Paths by the files' names without ``.bed``, and why others are not read.
    """
    found: dict[str, Path] = {}
    refused: dict[str, str] = {}
    files = [*folder.glob("*.bed*"), *folder.glob("*/*.bed*")]
    for path in sorted(path for path in files if unpacked_name(path).endswith(".bed")):
        name = Path(unpacked_name(path)).stem
        header = _header(path)
        if "split" not in header:
            refused[name] = "its BED file has no column split: BEND scores variants without any training"
        elif "label" not in header:
            refused[name] = "its labels are in an hdf5 file, which is not read"
        else:
            found[name] = path
    return found, refused


def read_bend(path: Path, on_error: OnError = "fail") -> dict[str, LabelledSet]:
    """Reads a task of BEND.

    A line is a sample, from the first three columns (record, start, end; 0-based, half-open), on the reverse
    strand where a column ``strand`` has ``-``. Labels that apply are numbers with commas between them, as
    BEND has them, none where the cell is empty. The genome is the FASTA file, beside the BED file or in a
    folder ``genomes`` beside it or beside its folder, that has the record of the first sample: BEND's tasks
    are on GRCh38 (``chr1``) but for chromatin accessibility, on GRCh37 (``1``).

    Args:
        path: The BED file, with a header.
        on_error: ``"skip"`` leaves out lines that cannot be read; ``"fail"`` refuses them.

    Returns:
        The sets by ``"train"``, ``"valid"`` and ``"test"``.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If there is no genome for it, or more than one, or a line is refused.
    """
    header = _header(path)
    indices = {name: header.index(name) for name in ("split", "label", "strand") if name in header}
    for name in ("split", "label"):
        if name not in indices:
            raise ValueError(f"{path} must have a column {name!r} in its first line")
    rows: dict[str, list[Row | ValueError]] = {}
    genome = None
    for place, cells in _lines(path, header):
        if isinstance(cells, ValueError):
            rows.setdefault("train", []).append(cells)
            continue
        genome = genome or _genome_beside(path, cells[0])
        split = cells[indices["split"]]
        if split not in SPLITS:
            raise ValueError(f"{place}: split must be one of {', '.join(SPLITS)}, got {split!r:.80}")
        row: Row | ValueError
        try:
            is_reverse = "strand" in indices and cells[indices["strand"]] == "-"
            sequence = _fetch(genome, cells[:3], is_reverse)
            label = cells[indices["label"]].strip()
            labels = "" if is_missing(label) else "|".join(part.strip() for part in label.split(","))
            row = Row(place, (sequence,), (labels,))
        except ValueError as error:
            row = ValueError(f"{place}: {error}")
        rows.setdefault(split, []).append(row)
    if "train" not in rows:
        raise ValueError(f"{path} has no sample whose split is train")
    return {
        split: checked_set(rows[split], ("label",), f"{path}, {split}", on_error, _COLUMNS)
        for split in SPLITS
        if split in rows
    }


def _header(path: Path) -> list[str]:
    return next(read_lines(path), "").rstrip("\r\n").split("\t")


def _lines(path: Path, header: list[str]) -> Iterator[tuple[str, list[str] | ValueError]]:
    """Place and cells of each line below the header that is not blank."""
    for number, line in enumerate(read_lines(path), start=1):
        cells = line.rstrip("\r\n").split("\t")
        if number == 1 or not line.strip():
            continue
        place = f"{path}, line {number}"
        if len(cells) != len(header):
            fault = ValueError(f"{place}: a line must have {len(header)} fields, got {len(cells)}")
            yield place, fault
        else:
            yield place, cells


def _genome_beside(path: Path, record: str) -> Genome:
    folders = (path.parent, path.parent / "genomes", path.parent.parent / "genomes")
    files = [
        file
        for folder in dict.fromkeys(folders)
        if folder.is_dir()
        for file in sorted(folder.iterdir())
        if Path(unpacked_name(file)).suffix.lower() in FASTA_SUFFIXES
    ]
    genomes = [genome for genome in map(Genome, files) if record in genome]
    if len(genomes) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise ArgumentError(
            f"{path} needs one FASTA file with the record {record!r:.80} beside it, or in a folder genomes, "
            f"got {len(genomes)} of {names}"
        )
    return genomes[0]


def _fetch(genome: Genome, place: list[str], is_reverse: bool) -> str:
    record, start, end = place
    if record not in genome:
        raise ValueError(f"{genome.path} has no record {record!r:.80}")
    try:
        start_bp, end_bp = read_number("start", start), read_number("end", end)
    except FaultyLineError as error:
        raise ValueError(str(error)) from None
    ids, _ = genome.fetch(genome.index_of(record), start_bp, end_bp, reverse_complement=is_reverse)
    return decode_dna(ids, torch.tensor([0, len(ids)]))[0]


__all__ = ["find_bend_tasks", "read_bend"]
