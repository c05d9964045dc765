"""Vectors of the records of a genome, or of its tokens."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from dnachunk.data.contents import OnError, Skipped, listed
from dnachunk.data.genome import Genome
from dnachunk.data.record_names import Aliases
from dnachunk.data.windows import Interval
from dnachunk.errors import UsageError, require_at_least, require_different_files, require_one_of
from dnachunk.files import is_stream, output_file
from dnachunk.inference.genome import find_interval, open_genome
from dnachunk.inference.parts import kept_parts, parts_of_first, run_parts
from dnachunk.inference.ranks import ALONE, Ranks, use_own_device
from dnachunk.inference.tiling import (
    Share,
    TileTokens,
    genome_parts,
    part_length_bp,
    run_part,
    tile_widths,
    touching,
)
from dnachunk.inference.tokens import resolve
from dnachunk.inference.writers import EMBEDDING_SUFFIXES, write_embeddings
from dnachunk.models.loading import model_files
from dnachunk.reporting import Report, Table, progress

Strands = Literal["none", "average"]
Tokens = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Starts, ends and vectors of a record's tokens."""

_COLUMNS = ("start_bp", "end_bp", "embeddings")


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings(Report):
    """Vectors of records, or of tokens, of the model's width, float32.

    Attributes:
        embeddings: ``[R, D]`` of records, or ``[T, D]`` of tokens.
        records: Names of all records.
        has_vector: ``[R]`` bool: which records have a vector, or tokens; the others, in which there is no A,
            C, G or T outside of long runs of N, have rows of NaN, or no token.
        record_index: ``[T]`` int64: the record of each token; None of records, like the next.
        start_bp: ``[T]`` int64: first base of each token, 0-based.
        end_bp: ``[T]`` int64: base after its last.
        window_bp: Bases of a window.
        overlap_bp: Bases that two windows share.
        reverse_complement: Whether both strands were averaged.
        skipped: Records that could not be read, and why.
    """

    embeddings: torch.Tensor
    records: list[str]
    has_vector: torch.Tensor
    record_index: torch.Tensor | None
    start_bp: torch.Tensor | None
    end_bp: torch.Tensor | None
    window_bp: int
    overlap_bp: int
    reverse_complement: Strands
    skipped: Sequence[Skipped] = ()

    def tensors(self) -> dict[str, torch.Tensor]:
        """What there is by name."""
        names = ("has_vector", "record_index", "start_bp", "end_bp", "embeddings")
        named = {name: getattr(self, name) for name in names}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def without_vector(self) -> list[str]:
        """Names of the records that have none."""
        return [name for name, has in zip(self.records, self.has_vector.tolist(), strict=True) if not has]

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``dnachunk embed`` writes beside the vectors."""
        return {
            "records": len(self.records),
            "records_without_vector": self.without_vector,
            "vectors": int(self.has_vector.sum()) if self.record_index is None else len(self.embeddings),
            "channels": self.embeddings.shape[1],
            "reverse_complement": self.reverse_complement,
            "window_bp": self.window_bp,
            "overlap_bp": self.overlap_bp,
            **listed(self.skipped, "records"),
        }

    def save(self, output: str | os.PathLike[str]) -> None:
        """Writes the tensors and the records' names to ``.safetensors`` or ``.npz``, whole or not at all.

        Raises:
            OSError: If it cannot be written.
            ValueError: If the file's name ends otherwise.
        """
        write_embeddings(Path(output), self.tensors(), self.records)

    def report(self) -> list[Table | str]:
        """How many there are, and what has none."""
        what = "records" if self.record_index is None else "tokens"
        metrics = self.metrics
        first = f"{metrics['vectors']:,} vectors of {metrics['channels']} channels, of {what}"
        if not self.without_vector:
            return [first]
        shown = ", ".join(self.without_vector[:3]) + (", …" if len(self.without_vector) > 3 else "")
        return [
            first,
            f"Records without a vector, as there is no A, C, G or T to read: {len(self.without_vector):,} "
            f"({shown})",
        ]


def embed_genome(
    model: Any,
    fasta: str | os.PathLike[str] | Genome,
    output: str | os.PathLike[str] | None = None,
    *,
    per: Literal["record", "token"] = "record",
    reverse_complement: Strands = "none",
    window_bp: int | None = None,
    overlap_bp: int | None = None,
    tokens_per_base: float | None = None,
    region: str | Interval | None = None,
    aliases: Aliases | None = None,
    on_error: OnError = "fail",
    batch_size: int = 8,
    bf16: bool = False,
    across_ranks: bool = False,
) -> Embeddings:
    """Turns sequences into vectors of the model's width.

    A record's vector is the mean of its latent tokens (of a long record, the mean of its windows' means,
    weighted by their bases). Averaged over strands, a token's vector stands for bases that lie in one token
    on either. With ``output``, a run that was interrupted leaves what it finished in a folder beside it,
    ``.NAME.parts``; the same run goes on from there, and removes it.

    Args:
        model: A model of ours, or the folder of one; it is put in evaluation mode.
        fasta: The sequences: plain, gzip or bgzip.
        output: ``.safetensors`` or ``.npz`` file to write. Default: nothing is written.
        per: ``"record"``: a vector for each record; ``"token"``: for each token.
        reverse_complement: ``"average"``: both strands are run and averaged.
        window_bp: Bases read at once; default as in the model's training.
        overlap_bp: Bases that two windows share; default a quarter of a window.
        tokens_per_base: In (0, 1], of MergeDNA and DNAChunker; default as the model is configured.
        region: Only tokens that touch it, ``"chrI"`` or ``"chrI:101-200"`` (from 1, inclusive); a record's
            vector is of these.
        aliases: Names that mean the same: ``"chr"``, ``"version"``, a table or a mapping; see
            :class:`~dnachunk.data.record_names.RecordNames`.
        on_error: ``"skip"``: records that cannot be read are left out, counted and listed;
            ``"fail"``: they are refused.
        batch_size: Windows run at once; changes no result.
        bf16: Whether matrix products run in bfloat16, which is faster where the machine has them; vectors
            and their tokens may differ from those in float32.
        across_ranks: Whether the ranks that ``torchrun`` started share the work; all must call it. Without
            ``torchrun`` nothing changes.

    Returns:
        The vectors; with ``across_ranks`` those of the first rank, on the others none.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If an argument is out of range or does not fit the model; or with ``per="token"`` if there
            is no A, C, G or T.
    """
    if output is not None and Path(output).suffix not in EMBEDDING_SUFFIXES:
        raise UsageError(f"`output` must end in {' or '.join(EMBEDDING_SUFFIXES)}, got {output}")
    if output is not None and is_stream(output):
        raise UsageError(f"`output` must be a file, whose parts are not written in order, got {output}")
    require_one_of("per", per, ("record", "token"))
    require_one_of("reverse_complement", reverse_complement, ("none", "average"))
    require_at_least("batch_size", batch_size, 1)
    require_different_files(model=model_files(model), fasta=fasta, aliases=aliases, output=output)
    if output is not None:
        output_file(output)
    if across_ranks:
        use_own_device()
    network = resolve(model, needs_network=True)
    window_bp, overlap_bp = tile_widths(network, window_bp, overlap_bp)
    genome = open_genome(fasta, aliases, on_error=on_error)
    interval = None if region is None else find_interval(genome, region)
    settings = {
        "per": per,
        "reverse_complement": reverse_complement,
        "interval": repr(interval),
        "records": len(genome.records),
        "window_bp": window_bp,
        "overlap_bp": overlap_bp,
        "tokens_per_base": tokens_per_base,
        "batch_size": batch_size,
        "bf16": bf16,
    }
    strands = [False, True] if reverse_complement == "average" else [False]
    parts = [
        (reverse, part)
        for reverse in strands
        for part in genome_parts(genome, interval, window_bp, reverse=reverse)
    ]
    of_what = _TokenVectors if per == "token" else _RecordVectors
    gathered = of_what(genome, len(strands), network.config.hidden_size)
    ranks = Ranks.of_torchrun() if across_ranks else ALONE
    path, inputs = None if output is None else Path(output), [network, genome.path]
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(kept_parts(path, len(parts), ranks, inputs, **settings))
        own_bp = sum(part_length_bp(part) for _, part in parts_of_first(parts, kept, ranks))
        advance = stack.enter_context(progress(own_bp, "embed"))

        def run(reverse: bool, part: Sequence[Share]) -> Iterator[TileTokens]:
            for tokens in run_part(
                network,
                genome,
                part,
                window_bp,
                overlap_bp,
                reverse=reverse,
                tokens_per_base=tokens_per_base,
                batch_size=batch_size,
                vectors=True,
                bf16=bf16,
            ):
                advance(int(tokens.edges[-1] - tokens.edges[0]))
                yield tokens if interval is None else touching(tokens, genome, interval, reverse=reverse)

        def compute(part: tuple[bool, Sequence[Share]]) -> dict[str, torch.Tensor]:
            return gathered.of_part(run(*part))

        for (reverse, _), found in run_parts(parts, compute, ranks, kept):
            gathered.add(found, reverse)
        names = [record.name for record in genome.records]
        found = gathered.vectors()
        if interval is not None:
            names, found = _of_record(genome.index_of(interval.record), names, found)
        if per == "token" and ranks.is_first and not len(found["embeddings"]):
            raise ValueError(f"there is no A, C, G or T in {region or genome.path}")
        embeddings = Embeddings(
            found["embeddings"],
            names,
            found["has_vector"],
            found.get("record_index"),
            found.get("start_bp"),
            found.get("end_bp"),
            window_bp,
            overlap_bp,
            reverse_complement,
            genome.skipped,
        )
        if path is not None and ranks.is_first:
            embeddings.save(path)
    return embeddings


def _of_record(
    index: int, names: list[str], found: dict[str, torch.Tensor]
) -> tuple[list[str], dict[str, torch.Tensor]]:
    """Vectors of one record alone, as if there were no others."""
    chosen = {**found, "has_vector": found["has_vector"][index : index + 1]}
    if "record_index" in found:
        chosen["record_index"] = torch.zeros_like(found["record_index"])
    else:
        chosen["embeddings"] = found["embeddings"][index : index + 1]
    return names[index : index + 1], chosen


class _RecordVectors:
    """A vector for each record, NaN where there is none: the mean of its tiles' means, by their bases."""

    def __init__(self, genome: Genome, num_strands: int, channels: int) -> None:
        self._sums = torch.zeros(num_strands, len(genome.records), channels, dtype=torch.float64)
        self._bases = torch.zeros(num_strands, len(genome.records), 1, dtype=torch.float64)

    def of_part(self, run: Iterable[TileTokens]) -> dict[str, torch.Tensor]:
        sums: dict[int, torch.Tensor] = {}
        bases: Counter[int] = Counter()
        for tokens in run:
            index = tokens.tile.record_index
            assert tokens.values is not None
            if len(tokens.values):
                num_bases = int(tokens.edges[-1] - tokens.edges[0])
                bases[index] += num_bases
                sums[index] = sums.get(index, 0) + num_bases * tokens.values.double().mean(dim=0)
        return {
            "record_index": torch.tensor(list(sums), dtype=torch.int64),
            "sums": torch.stack(list(sums.values())) if sums else self._sums[0, :0],
            "bases": torch.tensor([bases[index] for index in sums], dtype=torch.float64)[:, None],
        }

    def add(self, found: Mapping[str, torch.Tensor], reverse: bool) -> None:
        self._sums[int(reverse)].index_add_(0, found["record_index"], found["sums"])
        self._bases[int(reverse)].index_add_(0, found["record_index"], found["bases"])

    def vectors(self) -> dict[str, torch.Tensor]:
        embeddings = (self._sums / self._bases).mean(dim=0).float()
        return {"embeddings": embeddings, "has_vector": ~embeddings.isnan().any(dim=1)}


class _TokenVectors:
    """A vector for each token, with its place on the forward strand."""

    def __init__(self, genome: Genome, num_strands: int, channels: int) -> None:
        self._genome = genome
        self._channels = channels
        self._strands: list[list[Mapping[str, torch.Tensor]]] = [[] for _ in range(num_strands)]

    def of_part(self, run: Iterable[TileTokens]) -> dict[str, torch.Tensor]:
        tiles = list(run)
        values = [tokens.values for tokens in tiles if tokens.values is not None]
        counts = torch.tensor([len(each) for each in values], dtype=torch.int64)
        of_tiles = torch.tensor([tokens.tile.record_index for tokens in tiles], dtype=torch.int64)
        none = torch.zeros(0, dtype=torch.int64)
        return {
            "record_index": of_tiles.repeat_interleave(counts),
            "start_bp": torch.cat([none, *(tokens.edges[:-1] for tokens in tiles)]),
            "end_bp": torch.cat([none, *(tokens.edges[1:] for tokens in tiles)]),
            "embeddings": torch.cat([torch.zeros(0, self._channels), *values]),
        }

    def add(self, found: Mapping[str, torch.Tensor], reverse: bool) -> None:
        if reverse:
            lengths_bp = torch.tensor([record.length_bp for record in self._genome.records])
            ends = lengths_bp[found["record_index"]]
            found = {**found, "start_bp": ends - found["end_bp"], "end_bp": ends - found["start_bp"]}
        self._strands[int(reverse)].append(found)

    def vectors(self) -> dict[str, torch.Tensor]:
        empty = self.of_part([])
        found, *reverse = (
            {name: torch.cat([none, *(each[name] for each in parts)]) for name, none in empty.items()}
            for parts in self._strands
        )
        if reverse:
            found = self._averaged(found, reverse[0])
        has_vector = torch.zeros(len(self._genome.records), dtype=torch.bool)
        has_vector[found["record_index"]] = True
        return {**found, "has_vector": has_vector}

    def _averaged(
        self, forward: Mapping[str, torch.Tensor], reverse: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        parts = [self.of_part([])]
        for index in forward["record_index"].unique().tolist():
            forwards, backwards = (_columns_of(strand, index) for strand in (forward, reverse))
            backwards = (backwards[0].flip(0), backwards[1].flip(0), backwards[2].flip(0))
            columns = dict(zip(_COLUMNS, _average(forwards, backwards), strict=True))
            parts.append({"record_index": torch.full_like(columns["start_bp"], index), **columns})
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _columns_of(found: Mapping[str, torch.Tensor], index: int) -> Tokens:
    """The tokens of a record, which lie together."""
    low, high = torch.searchsorted(found["record_index"], torch.tensor([index, index + 1])).tolist()
    starts, ends, vectors = (found[name][low:high] for name in _COLUMNS)
    return starts, ends, vectors


def _average(tokens: Tokens, others: Tokens) -> Tokens:
    """The common refinement of two segmentations, and the mean of their vectors, where bases have both."""
    edges = torch.cat([*tokens[:2], *others[:2]]).unique()
    is_inside, values = torch.ones(len(edges) - 1, dtype=torch.bool), []
    for starts, ends, vectors in (tokens, others):
        places = torch.searchsorted(starts, edges[:-1], right=True) - 1
        # Between two stretches there are bases of no token.
        is_inside &= (places >= 0) & (ends[places] > edges[:-1])
        values.append(vectors[places])
    return edges[:-1][is_inside], edges[1:][is_inside], ((values[0] + values[1]) / 2)[is_inside]


__all__ = ["Embeddings", "Strands", "embed_genome"]
