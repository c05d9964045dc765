"""Deep mutational scans: tables of variants of one gene with a measured effect of each.

A table has one of these sets of columns:

- ``mutant``: amino acids of a coding sequence, ``A24G`` or ``A24G:K30R``, sites counted in codons from 1;
- ``codon_index, wildtype_aa, mutant_aa``: one amino acid;
- ``ng_pos, ng_ref, ng_alt`` or ``pos, ref, alt``: bases of a gene, from 1 on the strand of the FASTA.

A mutant amino acid is written as the codon with the fewest changed bases from the one that is there; of
several, the first in alphabetical order. So the mutant sequence does not depend on a model.
"""

import csv
import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dnachunk.alphabet import BASES
from dnachunk.data.contents import OnError, Skipped
from dnachunk.data.genome import Genome
from dnachunk.data.labelled import is_missing
from dnachunk.data.text import read_lines
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.against_random import Floats
from dnachunk.evaluation.zero_shot import Edit, Unscorable, Variant, read_variant
from dnachunk.ops import decode_dna, encode_dna

# The standard genetic code, codons in the order TTT, TTC, TTA, TTG, TCT, …
_AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
GENETIC_CODE: Final = {
    "".join(codon): amino_acid
    for codon, amino_acid in zip(itertools.product("TCAG", repeat=3), _AMINO_ACIDS, strict=True)
}
"""Amino acid of each codon; ``*`` is a stop."""

_PROTEIN_LAYOUTS = (("mutant",), ("codon_index", "wildtype_aa", "mutant_aa"))
_BASE_LAYOUTS = (("ng_pos", "ng_ref", "ng_alt"), ("pos", "ref", "alt"))
_SUBSTITUTION = re.compile(r"([ACDEFGHIKLMNPQRSTVWY*])([0-9]{1,9})([ACDEFGHIKLMNPQRSTVWY*])")
_FOLDS = 5


class MutationRow(NamedTuple):
    """A row of the table.

    Attributes:
        line_number: Of the file, from 1.
        cells: By column.
        variant: The variant, or the reason that it has no score, one of
            :data:`~dnachunk.evaluation.zero_shot.REASONS`.
        sites: Where its codons begin, or its first base, which tells the sites of a scan apart.
    """

    line_number: int
    cells: dict[str, str]
    variant: Variant | str
    sites: tuple[int, ...]


def nearest_codon(codon: str, amino_acid: str) -> str:
    """The codon of an amino acid with the fewest changed bases; of several the first in the alphabet.

    Args:
        codon: Three letters.
        amino_acid: One letter, ``*`` for a stop.

    Raises:
        ValueError: If it is no amino acid.

    Example:
        >>> nearest_codon("CAC", "R")
        'CGC'
    """
    candidates = sorted(other for other, coded in GENETIC_CODE.items() if coded == amino_acid)
    if not candidates:
        raise ValueError(f"nearest_codon: amino_acid must be one of the 20 or '*', got {amino_acid!r}")
    return min(candidates, key=lambda other: sum(a != b for a, b in zip(codon, other, strict=True)))


def read_mutations(
    path: str | os.PathLike[str], genome: Genome, *, on_error: OnError = "fail"
) -> tuple[list[MutationRow], list[Skipped]]:
    """Reads a table, CSV or, where its header has tabs, TSV; plain or compressed.

    Args:
        path: The table.
        genome: A FASTA file of one record: the coding sequence, or of tables of bases the gene.
        on_error: What to do at a malformed row: ``"fail"``, or ``"skip"`` it.

    Returns:
        The rows, and the lines that were left out.

    Raises:
        OSError: If the table cannot be read.
        ValueError: If the FASTA has not one record, the record of a table of amino acids is no coding
            sequence, the table has none of the columns, one twice, or no row, or a row is malformed; the
            message names its line.
    """
    if len(genome.records) != 1:
        raise ValueError(f"{genome.path} must hold one sequence, got {len(genome.records)}")
    lines = read_lines(path)
    header = next(lines, "").lstrip("\ufeff")
    dialect = "excel-tab" if "\t" in header else "excel"
    columns = next(csv.reader([header], dialect), [])
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise ValueError(f"{path} must have each column once, got {twice[0]!r} twice")
    layouts = (*_PROTEIN_LAYOUTS, *_BASE_LAYOUTS)
    layout = next((names for names in layouts if set(names) <= set(columns)), None)
    if layout is None:
        wanted = " or ".join(", ".join(names) for names in layouts)
        raise ValueError(f"{path} must have the columns {wanted}; got {', '.join(columns) or 'none'}")
    if layout in _PROTEIN_LAYOUTS and genome.length_bp % 3:
        raise ValueError(
            f"{genome.path} must be a coding sequence of whole codons, got {genome.length_bp} bases"
        )
    reader = csv.reader(lines, dialect, strict=True)
    rows: list[MutationRow] = []
    skipped: list[Skipped] = []
    while True:
        try:
            words = next(reader, None)
            if words is None:
                break
            if not words:
                continue
            if len(words) != len(columns):
                raise ValueError(f"expected {len(columns)} cells, got {len(words)}")
            cells = dict(zip(columns, words, strict=True))
            rows.append(_read_row(reader.line_num + 1, cells, layout, genome))
        except (csv.Error, ValueError) as error:
            if on_error == "fail":
                raise ArgumentError(
                    f"{path}, line {reader.line_num + 1}: {error} (`on_error=skip` leaves such lines out)"
                ) from error
            skipped.append(Skipped(reader.line_num + 1, str(error)))
    if not rows:
        raise ValueError(f"{path} has no row" + (" that can be read" if skipped else ""))
    return rows, skipped


def measurements(rows: Sequence[MutationRow], columns: Sequence[str]) -> Floats:
    """What was measured of each row: the mean of these columns, NaN where one is missing.

    Missing is what :func:`~dnachunk.data.labelled.is_missing` says.

    Raises:
        ValueError: If there is no such column, or a cell is neither missing nor a finite number.
    """
    missing = [column for column in columns if column not in rows[0].cells]
    if missing:
        raise ValueError(f"there is no column {missing[0]!r}; the table has {', '.join(rows[0].cells)}")
    means = []
    for row in rows:
        values = []
        for column in columns:
            cell = row.cells[column].strip()
            try:
                value = math.nan if is_missing(cell) else float(cell)
            except ValueError:
                value = math.inf
            if math.isinf(value):
                raise ValueError(f"line {row.line_number}: {column} must be a number, got {cell!r}")
            values.append(value)
        means.append(sum(values) / len(values))
    return np.array(means, dtype=np.float64)


def site_groups(rows: Sequence[MutationRow]) -> npt.NDArray[np.int64]:
    """The number of a group for each row, such that no two groups have a site in common."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = [(index, site) for index, row in enumerate(rows) for site in row.sites]
    nodes = {site: len(rows) + place for place, site in enumerate({site for _, site in edges})}
    ends = np.array([(index, nodes[site]) for index, site in edges]).reshape(-1, 2).T
    size = len(rows) + len(nodes)
    graph = coo_array((np.ones(len(edges)), (ends[0], ends[1])), shape=(size, size))
    return connected_components(graph, directed=False)[1][: len(rows)]


def cross_validated_ridge(
    vectors: Floats, measured: Floats, groups: npt.NDArray[np.int64] | None = None
) -> Floats | None:
    """Predictions of what was measured from vectors, each by a ridge regression that has not seen the row.

    Five folds; in each, channels are scaled to mean 0 and variance 1 and the penalty is chosen, from 1e-2 to
    1e6, by leaving out one row at a time of the others.

    Args:
        vectors: ``[n, D]``.
        measured: ``[n]``.
        groups: ``[n]``: rows of one group are in one fold; None draws the folds at random (seed 0).

    Returns:
        ``[n]``; None where there are fewer than ten rows, or five groups.
    """
    if len(vectors) < 2 * _FOLDS or (groups is not None and len(np.unique(groups)) < _FOLDS):
        return None
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = KFold(_FOLDS, shuffle=True, random_state=0) if groups is None else GroupKFold(_FOLDS)
    regression = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-2, 6, 17)))
    return np.asarray(cross_val_predict(regression, vectors, measured, cv=folds, groups=groups))


def _read_row(
    line_number: int, cells: dict[str, str], layout: tuple[str, ...], genome: Genome
) -> MutationRow:
    words = [cells[column].strip() for column in layout]
    try:
        if layout in _BASE_LAYOUTS:
            sites: tuple[int, ...] = (_whole_number(layout[0], words[0]) - 1,)
            for column, letters in zip(layout[1:], words[1:], strict=True):
                if not letters or set(letters.upper()) - set(BASES):
                    raise ValueError(f"{column} must be letters A C G T, got {letters!r}")
            variant = read_variant(genome, genome.records[0].name, sites[0], words[1], words[2])
        else:
            substitutions = _substitutions(layout, words)
            sites = tuple(3 * (index - 1) for index, _, _ in substitutions)
            variant = Variant(0, tuple(_codon_edit(genome, *each) for each in substitutions))
    except Unscorable as error:
        return MutationRow(line_number, cells, error.reason, sites)
    return MutationRow(line_number, cells, variant, sites)


def _substitutions(layout: tuple[str, ...], words: list[str]) -> list[tuple[int, str, str]]:
    """Codons from 1, in order, with what they code and are to code."""
    if len(layout) == 1:
        texts = words[0].split(":")
    else:
        texts = [f"{words[1]}{_whole_number(layout[0], words[0])}{words[2]}"]
    found = [_SUBSTITUTION.fullmatch(text) for text in texts]
    substitutions = sorted((int(match[2]), match[1], match[3]) for match in found if match)
    if len({index for index, _, _ in substitutions}) < len(texts):
        raise ValueError(
            f"a mutant must be written like A24G or A24G:K30R, each codon once, got {':'.join(texts)!r}"
        )
    return substitutions


def _codon_edit(genome: Genome, index: int, wildtype: str, mutant: str) -> Edit:
    start_bp = 3 * (index - 1)
    if index < 1 or start_bp + 3 > genome.length_bp:
        raise Unscorable("outside_record")
    ids, _ = genome.fetch(0, start_bp, start_bp + 3)
    codon = decode_dna(ids, torch.tensor([0, 3]))[0]
    if codon not in GENETIC_CODE:
        raise Unscorable("ambiguous_base")
    if GENETIC_CODE[codon] != wildtype:
        raise Unscorable("reference_mismatch")
    return Edit(start_bp, ids, encode_dna([nearest_codon(codon, mutant)])[0])


def _whole_number(column: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(f"{column} must be a whole number, got {text!r}")
    return int(text)
