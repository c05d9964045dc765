"""Whole genomes: cut into tokens, and turned into vectors."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from dnachunk.data.contents import OnError, Skipped, listed, tell_skipped
from dnachunk.data.genome import Genome
from dnachunk.data.record_names import Aliases
from dnachunk.data.windows import Interval
from dnachunk.errors import (
    ArgumentError,
    UsageError,
    require_at_least,
    require_different_files,
    require_one_of,
)
from dnachunk.files import beside, is_stream, output_file, require_own
from dnachunk.inference.tiling import (
    Tile,
    TileTokens,
    overlaps,
    record_tiles,
    run_tiles,
    tile_widths,
)
from dnachunk.inference.tokens import resolve
from dnachunk.inference.writers import (
    EMBEDDING_SUFFIXES,
    bed_lines,
    bedgraph_lines,
    expert_names,
    index_path,
    interval_writer,
    receptive_lines,
    write_embeddings,
)
from dnachunk.models.loading import model_files
from dnachunk.ops import decode_dna
from dnachunk.reporting import Report, Table, progress

Strands = Literal["none", "average"]
Tokens = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Starts, ends and vectors of a record's tokens."""


def open_genome(
    fasta: str | os.PathLike[str] | Genome, aliases: Aliases | None = None, *, on_error: OnError = "fail"
) -> Genome:
    """A genome as it is or with other names for its records, and a path opened.

    Records that are left out are told.
    """
    if isinstance(fasta, Genome):
        return fasta if aliases is None else fasta.with_aliases(aliases)
    genome = Genome(fasta, aliases, on_error=on_error)
    tell_skipped(genome.skipped, f"records of {genome.path}")
    return genome


def find_interval(genome: Genome, region: str | Interval) -> Interval:
    """An interval of a genome; text is read as samtools writes it.

    Raises:
        ValueError: If it lies in no record.
    """
    interval = region
    if not isinstance(interval, str | Interval):
        raise ArgumentError(f"`region` must be a record's name or an interval of it, got {interval!r}")
    if isinstance(interval, str):
        interval = Interval.parse(interval, [interval] if interval in genome else ())
    if interval.record not in genome:
        raise ArgumentError(
            f"{genome.path} has no record {interval.record!r}: {genome.names.instead([interval.record])}"
        )
    length_bp = genome.records[genome.index_of(interval.record)].length_bp
    if interval.start_bp >= length_bp or (interval.end_bp or 0) > length_bp:
        raise ValueError(f"{region} does not lie in its record of {length_bp} bases")
    return interval


class Token(NamedTuple):
    """A token in its record.

    Attributes:
        record: The record's name.
        start_bp: First base, 0-based.
        end_bp: Base after its last.
        sequence: Its letters.
        expert: Of a basic unit of MxDNA its expert, −1 where a base has none; of other models None.
        score: The router's probability of that expert, in [0, 1].
    """

    record: str
    start_bp: int
    end_bp: int
    sequence: str
    expert: int | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TokenStatistics(Report):
    """How long the tokens of a genome are.

    Attributes:
        name: The genome's.
        counts: Of each segmentation, the finest first, how many tokens have each length: entry k those of k
            bases, int64.
        window_bp: Bases of a tile.
        overlap_bp: Bases that two tiles share.
        files: What was written.
        skipped: Records that could not be read, and why.
    """

    name: str
    counts: list[torch.Tensor]
    window_bp: int
    overlap_bp: int
    files: list[Path] = field(default_factory=list)
    skipped: Sequence[Skipped] = ()

    @property
    def num_tokens(self) -> int:
        """Tokens of the last segmentation."""
        return int(self.counts[-1].sum())

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``dnachunk tokenize`` writes beside the tokens."""
        (tokens, bases), *finer = [_totals(counts) for counts in reversed(self.counts)]
        metrics: dict[str, Any] = {
            "bases": bases,
            "tokens": tokens,
            "mean_token_bp": bases / tokens if tokens else None,
            "token_length_counts": self.counts[-1].tolist(),
            "window_bp": self.window_bp,
            "overlap_bp": self.overlap_bp,
        }
        for stage, (finer_tokens, finer_bases) in enumerate(reversed(finer)):
            metrics[f"stage_{stage}_tokens"] = finer_tokens
            metrics[f"stage_{stage}_mean_token_bp"] = finer_bases / finer_tokens if finer_tokens else None
        return metrics | listed(self.skipped, "records")

    @property
    def histograms(self) -> dict[str, torch.Tensor]:
        """The counts by name, as :func:`~dnachunk.visualization.plot_token_lengths` takes them."""
        *finer, last = self.counts
        return {**{f"{self.name}, stage {stage}": each for stage, each in enumerate(finer)}, self.name: last}

    def report(self) -> list[Table | str]:
        """A line for each segmentation."""
        rows = [
            [name, f"{tokens:,}", f"{bases / tokens:.2f}" if tokens else "—"]
            for name, (tokens, bases) in ((name, _totals(each)) for name, each in self.histograms.items())
        ]
        return [Table(["tokens of", "tokens", "bases per token"], rows)]


@dataclass(slots=True, eq=False, repr=False)
class GenomeTokens:
    """The tokens of a genome; iterating cuts it anew each time, a batch of windows at once.

    Made by :func:`tokenize_genome`.

    Attributes:
        model: The model.
        genome: What is cut.
        interval: Where in it; None is all of it.
        window_bp: Bases of a tile.
        overlap_bp: Bases that two tiles share.
        tokens_per_base: Tokens per base; None is as the model is configured.
        batch_size: Tiles that are run at once.
        statistics: What :meth:`write` found; None before.
    """

    model: Any
    genome: Genome
    interval: Interval | None
    window_bp: int
    overlap_bp: int
    tokens_per_base: float | None
    batch_size: int
    statistics: TokenStatistics | None = None

    def tiles(self) -> Iterator[TileTokens]:
        """The tokens of one tile after the other, joined: all that there is to know of them."""
        return run_tiles(
            self.model,
            self.genome,
            self._tiles(),
            tokens_per_base=self.tokens_per_base,
            batch_size=self.batch_size,
        )

    def __repr__(self) -> str:
        where = "" if self.interval is None else f", {self.interval}"
        return f"GenomeTokens({self.genome!r}{where}: iterate over them, or write(path) them)"

    def __iter__(self) -> Iterator[Token]:
        """The tokens from left to right, record after record, those that touch the region."""
        with progress(self._length_bp(), "tokenize") as advance:
            for tokens in self.tiles():
                record, sequences = self._read(tokens)
                starts, ends = tokens.edges[:-1].tolist(), tokens.edges[1:].tolist()
                experts, scores = (tokens.columns.get(name) for name in ("expert", "score"))
                for place in overlaps(tokens.edges, self.interval).nonzero()[:, 0].tolist():
                    yield Token(
                        record,
                        starts[place],
                        ends[place],
                        sequences[place],
                        None if experts is None else int(experts[place]),
                        None if scores is None else float(scores[place]),
                    )
                advance(ends[-1] - starts[0] if ends else 0)

    def write(
        self,
        output: str | os.PathLike[str],
        *,
        receptive_positions: str | os.PathLike[str] | None = None,
        boundary_probability: str | os.PathLike[str] | None = None,
    ) -> TokenStatistics:
        """Writes tokens as BED, all files or none.

        Args:
            output: The BED file, nine columns: record, start, end, the token's sequence or the name of
                MxDNA's expert, the expert's score in thousandths or 0, no strand, start and end again, and
                ``itemRgb`` (:func:`~dnachunk.inference.writers.item_rgb`). Of a model that cuts in stages
                the finer tokens go to files beside it, ``….stage_0.bed``. ``-`` is standard output, as any
                pipe for the last stage alone. One that ends in ``.gz`` is bgzip, with an index (``….gz.tbi``,
                or ``….gz.csi`` for records of 2²⁹ bases and more) beside it.
            receptive_positions: TSV file of where MxDNA's tokens read; ``.gz`` as ``output``.
            boundary_probability: bedGraph file of DNAChunker's probability that a token of its first stage
                begins at a base; ``.gz`` as ``output``.

        Returns:
            How long they are; :attr:`statistics` too.

        Raises:
            OSError: If a file cannot be read or written.
            ValueError: If only another kind of model could do what is asked.
        """
        output = Path(output)
        require_different_files(
            model=model_files(self.model),
            fasta=self.genome,
            aliases=self.genome.names.aliases,
            output=output,
            receptive_positions=receptive_positions,
            boundary_probability=boundary_probability,
        )
        # A fixed tokenizer has none.
        config = getattr(self.model, "config", None)
        model_type = getattr(config, "model_type", None)
        if receptive_positions is not None and model_type != "mxdna":
            raise ArgumentError(
                f"`receptive_positions` is for mxdna; a {model_type} model reads its own bases"
            )
        if boundary_probability is not None and model_type != "dnachunker":
            raise ArgumentError(f"`boundary_probability` is for dnachunker; a {model_type} model has none")
        stages = len(getattr(config, "target_ratio", [None]))
        ending = output.name.removeprefix(beside(output, "").name)
        # Whoever pipes tokens on has asked for one file.
        finer = [] if is_stream(output) else range(stages - 1)
        paths = [*(beside(output, f".stage_{stage}{ending}") for stage in finer), output]
        tables = [] if receptive_positions is None else [Path(receptive_positions)]
        for path in paths[:-1]:
            require_own(path, output)
        signals = [] if boundary_probability is None else [Path(boundary_probability)]
        counts = self._write(paths, tables, signals)
        written = [*paths, *tables, *signals]
        self.statistics = TokenStatistics(
            self.genome.name,
            counts,
            self.window_bp,
            self.overlap_bp,
            [*written, *filter(None, (index_path(path, self.genome) for path in written))],
            self.genome.skipped,
        )
        return self.statistics

    def _write(self, paths: list[Path], tables: list[Path], signals: list[Path]) -> list[torch.Tensor]:
        """Writes the tokens; returns how many have each length, a count for each path."""
        counts = [torch.zeros(1, dtype=torch.int64) for _ in paths]
        with contextlib.ExitStack() as open_files:
            files = [
                open_files.enter_context(interval_writer(path, self.genome))
                for path in (*paths, *tables, *signals)
            ]
            advance = open_files.enter_context(progress(self._length_bp(), "tokenize"))
            for tokens in self.tiles():
                start_bp = int(tokens.edges[0])
                name, ids = self._ids(tokens)
                experts, scores = (tokens.columns.get(column) for column in ("expert", "score"))
                for stage, edges in enumerate((*tokens.finer_edges, tokens.edges)[-len(paths) :]):
                    is_inside = overlaps(edges, self.interval)
                    found = edges.diff()[is_inside].bincount(minlength=len(counts[stage]))
                    found[: len(counts[stage])] += counts[stage]
                    counts[stage] = found
                    names = decode_dna(ids, edges - start_bp) if experts is None else expert_names(experts)
                    files[stage].writelines(
                        bed_lines(
                            name,
                            edges,
                            names,
                            is_inside,
                            experts=experts,
                            scores=scores,
                        )
                    )
                for file in files[len(paths) : len(paths) + len(tables)]:
                    file.writelines(receptive_lines(name, tokens, overlaps(tokens.edges, self.interval)))
                for file in files[len(paths) + len(tables) :]:
                    assert tokens.boundary_probability is not None
                    low, high = self._inside(start_bp, int(tokens.edges[-1]))
                    values = tokens.boundary_probability[low - start_bp : max(low, high) - start_bp]
                    file.writelines(bedgraph_lines(name, low, values))
                advance(len(ids))
            # What a full disk refuses is known before the first file takes its place.
            for file in files:
                file.flush()
        return counts

    def _tiles(self) -> Iterator[Tile]:
        genome, widths = self.genome, (self.window_bp, self.overlap_bp)
        if self.interval is None:
            for index in range(len(genome.records)):
                yield from record_tiles(genome, index, *widths)
        else:
            index = genome.index_of(self.interval.record)
            end_bp = self.interval.end_bp or genome.records[index].length_bp
            yield from record_tiles(genome, index, *widths, near=(self.interval.start_bp, end_bp))

    def _inside(self, start_bp: int, end_bp: int) -> tuple[int, int]:
        """What of a stretch lies in the region; its end is before its start if nothing does."""
        if self.interval is None:
            return start_bp, end_bp
        last_bp = end_bp if self.interval.end_bp is None else self.interval.end_bp
        return max(start_bp, self.interval.start_bp), min(end_bp, last_bp)

    def _ids(self, tokens: TileTokens) -> tuple[str, torch.Tensor]:
        index = tokens.tile.record_index
        ids, _ = self.genome.fetch(index, int(tokens.edges[0]), int(tokens.edges[-1]))
        return self.genome.records[index].name, ids

    def _read(self, tokens: TileTokens) -> tuple[str, list[str]]:
        name, ids = self._ids(tokens)
        return name, decode_dna(ids, tokens.edges - tokens.edges[0])

    def _length_bp(self) -> int:
        if self.interval is None:
            return self.genome.length_bp
        record = self.genome.records[self.genome.index_of(self.interval.record)]
        return (self.interval.end_bp or record.length_bp) - self.interval.start_bp


def tokenize_genome(
    model: Any,
    fasta: str | os.PathLike[str] | Genome,
    output: str | os.PathLike[str] | None = None,
    *,
    window_bp: int | None = None,
    overlap_bp: int | None = None,
    tokens_per_base: float | None = None,
    region: str | Interval | None = None,
    aliases: Aliases | None = None,
    on_error: OnError = "fail",
    batch_size: int = 8,
    receptive_positions: str | os.PathLike[str] | None = None,
) -> GenomeTokens:
    """Cuts sequences into tokens, however long they are.

    Every base lies in one token, but for runs of N longer than a window. Long records are read in windows
    that overlap, joined at a boundary that both have.

    Args:
        model: A model of ours, or the folder of one; it is put in evaluation mode.
        fasta: The sequences: plain, gzip or bgzip.
        output: BED file to write; see :meth:`GenomeTokens.write`. Default: nothing is written.
        window_bp: Bases read at once; default as in the model's training.
        overlap_bp: Bases that two windows share; default a quarter of a window.
        tokens_per_base: In (0, 1], of MergeDNA and DNAChunker; default as the model is configured.
        region: Only tokens that touch it, ``"chrI"`` or ``"chrI:101-200"`` (from 1, inclusive).
        aliases: Names that mean the same: ``"chr"``, ``"version"``, a table or a mapping; see
            :class:`~dnachunk.data.record_names.RecordNames`.
        on_error: ``"skip"``: records that cannot be read are left out, counted and listed;
            ``"fail"``: they are refused.
        batch_size: Windows run at once; changes no result.
        receptive_positions: TSV file to write beside ``output``: where MxDNA's tokens read.

    Returns:
        The tokens, to iterate over or to write.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If an argument is out of range or does not fit the model, or the region lies in no record.

    Example:
        >>> from dnachunk import MergeDNAConfig, MergeDNAModel
        >>> from dnachunk.data import packaged_genome
        >>> model = MergeDNAModel(MergeDNAConfig.micro())
        >>> tokens = tokenize_genome(model, packaged_genome(), region="CHLTCG:1-100")
        >>> next(iter(tokens)).start_bp
        0
    """
    require_at_least("batch_size", batch_size, 1)
    for path in (output, receptive_positions):
        if path is not None:
            output_file(path)
    network = resolve(model, needs_network=True)
    widths = tile_widths(network, window_bp, overlap_bp)
    genome = open_genome(fasta, aliases, on_error=on_error)
    interval = None if region is None else find_interval(genome, region)
    tokens = GenomeTokens(network, genome, interval, *widths, tokens_per_base, batch_size)
    if output is not None:
        tokens.write(output, receptive_positions=receptive_positions)
    elif receptive_positions is not None:
        raise ArgumentError("`receptive_positions` is written beside `output`, which must be given")
    return tokens


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
    on_error: OnError = "fail",
    batch_size: int = 8,
) -> Embeddings:
    """Turns sequences into vectors of the model's width.

    A record's vector is the mean of its latent tokens (of a long record, the mean of its windows' means,
    weighted by their bases). Averaged over strands, a token's vector stands for bases that lie in one token
    on either.

    Args:
        model: A model of ours, or the folder of one; it is put in evaluation mode.
        fasta: The sequences: plain, gzip or bgzip.
        output: ``.safetensors`` or ``.npz`` file to write. Default: nothing is written.
        per: ``"record"``: a vector for each record; ``"token"``: for each token.
        reverse_complement: ``"average"``: both strands are run and averaged.
        window_bp: Bases read at once; default as in the model's training.
        overlap_bp: Bases that two windows share; default a quarter of a window.
        tokens_per_base: In (0, 1], of MergeDNA and DNAChunker; default as the model is configured.
        on_error: ``"skip"``: records that cannot be read are left out, counted and listed;
            ``"fail"``: they are refused.
        batch_size: Windows run at once; changes no result.

    Returns:
        The vectors.

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
    require_different_files(model=model_files(model), fasta=fasta, output=output)
    if output is not None:
        output_file(output)
    network = resolve(model, needs_network=True)
    window_bp, overlap_bp = tile_widths(network, window_bp, overlap_bp)
    genome = open_genome(fasta, on_error=on_error)

    def strand(reverse: bool, advance: Callable[[int], Any]) -> Iterator[TileTokens]:
        tiles = itertools.chain.from_iterable(
            record_tiles(genome, index, window_bp, overlap_bp, reverse=reverse)
            for index in range(len(genome.records))
        )
        for tokens in run_tiles(
            network,
            genome,
            tiles,
            tokens_per_base=tokens_per_base,
            batch_size=batch_size,
            vectors=True,
            reverse=reverse,
        ):
            advance(int(tokens.edges[-1] - tokens.edges[0]))
            yield tokens

    strands = [False, True] if reverse_complement == "average" else [False]
    with progress(genome.length_bp * len(strands), "embed") as advance:
        runs = [strand(reverse, advance) for reverse in strands]
        if per == "record":
            found = _record_vectors(genome, network.config.hidden_size, runs)
        else:
            found = _token_vectors(genome, runs)
    embeddings = Embeddings(
        found["embeddings"],
        [record.name for record in genome.records],
        found["has_vector"],
        found.get("record_index"),
        found.get("start_bp"),
        found.get("end_bp"),
        window_bp,
        overlap_bp,
        reverse_complement,
        genome.skipped,
    )
    if output is not None:
        embeddings.save(output)
    return embeddings


def _totals(counts: torch.Tensor) -> tuple[int, int]:
    """Tokens and bases, from how many tokens have each length."""
    return int(counts.sum()), sum(length * count for length, count in enumerate(counts.tolist()))


def _record_vectors(
    genome: Genome, channels: int, runs: "list[Iterator[TileTokens]]"
) -> dict[str, torch.Tensor]:
    """A vector for each record: NaN where there is none."""
    means = []
    for run in runs:
        sums = torch.zeros(len(genome.records), channels, dtype=torch.float64)
        bases = torch.zeros(len(genome.records), 1, dtype=torch.float64)
        for tokens in run:
            assert tokens.values is not None
            if len(tokens.values):
                num_bases = float(tokens.edges[-1] - tokens.edges[0])
                sums[tokens.tile.record_index] += num_bases * tokens.values.double().mean(dim=0)
                bases[tokens.tile.record_index] += num_bases
        means.append(sums / bases)
    embeddings = torch.stack(means).mean(dim=0).float()
    return {"embeddings": embeddings, "has_vector": ~embeddings.isnan().any(dim=1)}


def _token_vectors(genome: Genome, runs: list[Iterator[TileTokens]]) -> dict[str, torch.Tensor]:
    """A vector for each token, with its place on the forward strand."""
    columns: dict[str, list[torch.Tensor]] = {
        name: [] for name in ("record_index", "start_bp", "end_bp", "embeddings")
    }
    for index, *strands in zip(itertools.count(), *(_by_record(genome, run) for run in runs), strict=False):
        tokens = strands[0]
        if tokens is None:
            continue
        if len(strands) == 2:
            length_bp = genome.records[index].length_bp
            starts, ends, values = (part.flip(0) for part in strands[1])
            tokens = _average(tokens, (length_bp - ends, length_bp - starts, values))
        starts, ends, values = tokens
        columns["record_index"].append(torch.full_like(starts, index))
        columns["start_bp"].append(starts)
        columns["end_bp"].append(ends)
        columns["embeddings"].append(values)
    if not columns["embeddings"]:
        raise ValueError(f"there is no A, C, G or T in {genome.path}")
    found = {name: torch.cat(parts) for name, parts in columns.items()}
    has_vector = torch.zeros(len(genome.records), dtype=torch.bool)
    has_vector[found["record_index"]] = True
    return {**found, "has_vector": has_vector}


def _by_record(genome: Genome, run: Iterator[TileTokens]) -> Iterator[Tokens | None]:
    """For each record the starts and ends of all its tokens, and their vectors; None if it is all N."""
    groups = itertools.groupby(run, key=lambda tokens: tokens.tile.record_index)
    group = next(groups, None)
    for index in range(len(genome.records)):
        if group is None or group[0] != index:
            yield None
            continue
        tiles = list(group[1])
        starts = torch.cat([tile.edges[:-1] for tile in tiles])
        ends = torch.cat([tile.edges[1:] for tile in tiles])
        yield starts, ends, torch.cat([tile.values for tile in tiles if tile.values is not None])
        group = next(groups, None)


def _average(tokens: Tokens, others: Tokens) -> Tokens:
    """The common refinement of two segmentations of the same bases, and the mean of their vectors."""
    edges = torch.cat([*tokens[:2], *others[:2]]).unique()
    places = [torch.searchsorted(starts, edges[:-1], right=True) - 1 for starts, _, _ in (tokens, others)]
    # Between two stretches there are bases of no token.
    is_inside = tokens[1][places[0]] > edges[:-1]
    mean = (tokens[2][places[0]] + others[2][places[1]]) / 2
    return edges[:-1][is_inside], edges[1:][is_inside], mean[is_inside]


__all__ = [
    "Embeddings",
    "GenomeTokens",
    "Token",
    "TokenStatistics",
    "embed_genome",
    "find_interval",
    "open_genome",
    "tokenize_genome",
]
