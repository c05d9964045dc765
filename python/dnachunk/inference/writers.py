"""Tokens and vectors as files: BED, bedGraph, tables of receptive positions, safetensors and npz."""

import contextlib
import functools
import importlib.util
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch

from dnachunk.data.genome import Genome
from dnachunk.data.text import Layout, index_ending, text_writer
from dnachunk.errors import UsageError
from dnachunk.files import is_stream, replacing, require_own
from dnachunk.inference.tiling import TileTokens

EMBEDDING_SUFFIXES = (".safetensors", ".npz")

# Of Okabe and Ito, which are told apart by everybody.
_COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (148, 123, 20),
    (90, 90, 90),
)


def item_rgb(start_bp: int, end_bp: int, expert: int | None = None) -> str:
    """The colour of a token in BED, another than its neighbours', by its own place alone.

    With ``z`` how often its length can be halved, the hue is that of its expert, or of ``z``, and bit ``z``
    of its start says whether it is dark or light: the token behind one of equal ``z`` starts where that bit
    is the other (the first step of Cole & Vishkin 1986).

    Args:
        start_bp: First base.
        end_bp: Base after its last.
        expert: Of a basic unit its expert, −1 where a base has none.
    """
    length_bp = end_bp - start_bp
    lowest_bit = length_bp & -length_bp
    hue = lowest_bit.bit_length() - 1 if expert is None else expert + 1
    return _shade(hue % len(_COLOURS), bool(start_bp & lowest_bit))


@functools.cache
def _shade(hue: int, is_light: bool) -> str:
    return ",".join(str((channel + 255) // 2 if is_light else channel) for channel in _COLOURS[hue])


def index_path(path: Path, genome: Genome) -> Path | None:
    """Where the index of a file of intervals of a genome is written; None if it has none.

    Files that end in ``.gz`` have one: tabix (``.tbi``), or CSI (``.csi``) for records of 2²⁹ bases and more.
    """
    if path.suffix != ".gz" or is_stream(path):
        return None
    return path.with_name(path.name + index_ending(_longest_bp(genome)))


def _longest_bp(genome: Genome) -> int:
    return max((record.length_bp for record in genome.records), default=0)


@contextlib.contextmanager
def interval_writer(path: Path, genome: Genome, layout: Layout = "bed") -> Iterator[TextIO]:
    """Opens a file for lines of intervals, record after record and sorted, whole or not at all.

    Args:
        path: The file; one that ends in ``.gz`` is bgzip, with its :func:`index_path` beside it.
        genome: Whose intervals they are.
        layout: How the lines say where they lie.

    Raises:
        OSError: If it cannot be written, or would replace an index that is of no such file.
    """
    index = index_path(path, genome)
    if index is not None:
        require_own(index, path)
    with contextlib.ExitStack() as files:
        temporary = files.enter_context(replacing(path))
        yield files.enter_context(
            text_writer(
                temporary,
                bgzip=path.suffix == ".gz",
                index_path=None if index is None else files.enter_context(replacing(index)),
                longest_bp=_longest_bp(genome),
                layout=layout,
            )
        )


def bed_lines(
    record: str,
    edges: torch.Tensor,
    names: Sequence[str],
    is_chosen: torch.Tensor,
    *,
    experts: torch.Tensor | None = None,
    scores: torch.Tensor | None = None,
) -> Iterator[str]:
    """Lines of BED with nine columns: record, start, end, name, score, strand, start, end, itemRgb.

    Args:
        record: The record's name.
        edges: ``[L + 1]`` int64 edges of its tokens.
        names: What each token is called: its letters, or :func:`expert_names`.
        is_chosen: ``[L]`` bool: which of them.
        experts: ``[L]`` experts of basic units, −1 where there is none.
        scores: ``[L]`` their scores in [0, 1], which are written in thousandths; of others 0.
    """
    starts = edges.tolist()
    of_experts = None if experts is None else experts.tolist()
    thousandths = [0] * len(names) if scores is None else (scores.float() * 1000).round().int().tolist()
    for token in is_chosen.nonzero()[:, 0].tolist():
        start_bp, end_bp = starts[token], starts[token + 1]
        expert = None if of_experts is None else of_experts[token]
        score = 0 if expert == -1 else thousandths[token]
        colour = item_rgb(start_bp, end_bp, expert)
        yield (
            f"{record}\t{start_bp}\t{end_bp}\t{names[token]}\t{score}\t.\t{start_bp}\t{end_bp}\t{colour}\n"
        )


def expert_names(experts: torch.Tensor) -> list[str]:
    """What basic units are called in BED, by their experts."""
    return [f"expert_{expert}" if expert >= 0 else "none" for expert in experts.tolist()]


def receptive_lines(record: str, tokens: TileTokens, is_chosen: torch.Tensor) -> Iterator[str]:
    """Lines of MxDNA's tokens: record, start, end, expert, where in bases each tap reads, the taps' weights.

    Args:
        record: The record's name.
        tokens: Its tokens.
        is_chosen: ``[L]`` bool: which of them.

    Yields:
        Lines separated by tabs; NA where a tap reads outside of the tile.
    """
    columns, edges = tokens.columns, tokens.edges.tolist()
    places, weights = columns["reads_bp"].tolist(), columns["modulation"].tolist()
    experts = columns["expert"].tolist()
    for token in is_chosen.nonzero()[:, 0].tolist():
        reads = ["NA" if math.isnan(place) else f"{place:.2f}" for place in places[token]]
        fields = [*reads, *(f"{weight:.3f}" for weight in weights[token])]
        yield "\t".join(map(str, [record, edges[token], edges[token + 1], experts[token], *fields])) + "\n"


def bedgraph_lines(record: str, start_bp: int, values: torch.Tensor) -> Iterator[str]:
    """Lines of bedGraph: the values of a stretch, joined where they are alike; none where they are NaN.

    Args:
        record: The record's name.
        start_bp: Where the stretch begins.
        values: ``[n]``, a value for each base.
    """
    for value, run in itertools.groupby(f"{value:.4g}" for value in values.tolist()):
        end_bp = start_bp + sum(1 for _ in run)
        if value != "nan":
            yield f"{record}\t{start_bp}\t{end_bp}\t{value}\n"
        start_bp = end_bp


@contextlib.contextmanager
def signal_writer(path: Path, genome: Genome) -> Iterator[Callable[[str, int, torch.Tensor], None]]:
    """Opens a file for a value of each base, record after record and sorted, whole or not at all.

    Args:
        path: bigWig if it ends in ``.bw`` or ``.bigwig``, otherwise bedGraph, which :func:`interval_writer`
            opens.
        genome: Whose bases they are.

    Yields:
        What writes the values of a stretch: takes the record's name, the first base, and ``[n]`` values; NaN
        is none.

    Raises:
        ImportError: If bigWig is asked for and there is no pyBigWig.
        OSError: If it cannot be written.
    """
    if path.suffix.lower() not in (".bw", ".bigwig"):
        with interval_writer(path, genome) as file:
            yield lambda record, start_bp, values: file.writelines(bedgraph_lines(record, start_bp, values))
            file.flush()
        return
    if is_stream(path):
        raise UsageError(f"bigWig must go to a file, whose parts are not written in order, got {path}")
    if importlib.util.find_spec("pyBigWig") is None:
        raise ModuleNotFoundError(
            "bigWig is written by pyBigWig: pip install 'dnachunk[browse]'", name="pyBigWig"
        )
    import pyBigWig  # type: ignore[import-not-found, import-untyped, unused-ignore]

    num_bases = 0
    with replacing(path) as temporary:
        file = pyBigWig.open(str(temporary), "w")
        file.addHeader([(record.name, record.length_bp) for record in genome.records])

        def write(record: str, start_bp: int, values: torch.Tensor) -> None:
            nonlocal num_bases
            for first, last in _runs(~values.isnan()):
                found = values[first:last].double().numpy()
                file.addEntries(record, start_bp + first, values=found, span=1, step=1)
                num_bases += last - first

        yield write
        file.close()
        # It does not tell what a full disk refused.
        with pyBigWig.open(str(temporary)) as written:
            if num_bases and written.header()["nBasesCovered"] != num_bases:
                raise OSError(f"{path} could not be written whole")


def _runs(is_in: torch.Tensor) -> list[tuple[int, int]]:
    """Where runs of True begin and end."""
    edges = torch.nn.functional.pad(is_in.to(torch.int8), (1, 1)).diff().nonzero()[:, 0].tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def write_embeddings(path: Path, tensors: Mapping[str, torch.Tensor], records: Sequence[str]) -> None:
    """Writes tensors and the records' names, whole or not at all.

    Args:
        path: Ends in ``.safetensors``, where the names are a JSON list in the metadata, or in ``.npz``, where
            they are the array ``records``.
        tensors: By name.
        records: The names.

    Raises:
        OSError: If it cannot be written.
        ValueError: If it ends otherwise.
    """
    import numpy as np
    from safetensors.torch import save_file

    if path.suffix not in EMBEDDING_SUFFIXES:
        raise ValueError(f"output must end in {' or '.join(EMBEDDING_SUFFIXES)}, got {path}")
    with replacing(path) as temporary:
        if path.suffix == ".npz":
            arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
            with temporary.open("wb") as file:
                np.savez(file, records=np.array(records), **arrays)
        else:
            save_file(dict(tensors), temporary, metadata={"records": json.dumps(list(records))})


__all__ = [
    "EMBEDDING_SUFFIXES",
    "bed_lines",
    "bedgraph_lines",
    "expert_names",
    "index_path",
    "interval_writer",
    "item_rgb",
    "receptive_lines",
    "signal_writer",
    "write_embeddings",
]
