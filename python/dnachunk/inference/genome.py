"""Whole genomes cut into tokens."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dnachunk.data.contents import OnError, Skipped, listed, tell_skipped
from dnachunk.data.genome import Genome
from dnachunk.data.record_names import Aliases
from dnachunk.data.windows import Interval
from dnachunk.errors import ArgumentError, require_at_least, require_different_files
from dnachunk.files import beside, is_stream, output_file, require_own
from dnachunk.inference.parts import kept_parts, parts_of_first, run_parts
from dnachunk.inference.pipeline import write_behind
from dnachunk.inference.ranks import ALONE, Ranks, use_own_device
from dnachunk.inference.tiling import (
    Share,
    TileTokens,
    genome_parts,
    overlaps,
    part_length_bp,
    run_part,
    span_of,
    tile_widths,
)
from dnachunk.inference.tokens import resolve
from dnachunk.inference.writers import (
    bed_lines,
    expert_names,
    index_path,
    interval_writer,
    receptive_lines,
    signal_writer,
)
from dnachunk.models.loading import model_files
from dnachunk.ops import decode_dna
from dnachunk.reporting import Report, Table, progress

_PARTS_BEHIND = 1
"""Parts that are being written while the next is computed."""

_SETTINGS = ("window_bp", "overlap_bp", "tokens_per_base", "batch_size", "bf16")


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
        bf16: Whether matrix products run in bfloat16.
        across_ranks: Whether the ranks that ``torchrun`` started share the work of :meth:`write`.
        statistics: What :meth:`write` found; None before.
    """

    model: Any
    genome: Genome
    interval: Interval | None
    window_bp: int
    overlap_bp: int
    tokens_per_base: float | None
    batch_size: int
    bf16: bool = False
    across_ranks: bool = False
    statistics: TokenStatistics | None = None

    def tiles(self) -> Iterator[TileTokens]:
        """The tokens of one tile after the other, joined: all that there is to know of them."""
        for part in self._parts():
            yield from self._run(part)

    def __repr__(self) -> str:
        where = "" if self.interval is None else f", {self.interval}"
        return f"GenomeTokens({self.genome!r}{where}: iterate over them, or write(path) them)"

    def __iter__(self) -> Iterator[Token]:
        """The tokens from left to right, record after record, those that touch the region."""
        with progress(sum(map(part_length_bp, self._parts())), "tokenize") as advance:
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
        keep_beside: str | os.PathLike[str] | None = None,
    ) -> TokenStatistics:
        """Writes tokens as BED, all files or none.

        With :attr:`across_ranks` all ranks must call it; the first one writes, the same as one alone. A run
        that was interrupted leaves what it finished in a folder beside ``output``, ``.NAME.parts``; the same
        run goes on from there, and removes it.

        Args:
            output: The BED file, nine columns: record, start, end, the token's sequence or the name of
                MxDNA's expert, the expert's score in thousandths or 0, no strand, start and end again, and
                ``itemRgb`` (:func:`~dnachunk.inference.writers.item_rgb`). Of a model that cuts in stages
                the finer tokens go to files beside it, ``….stage_0.bed``. ``-`` is standard output, as any
                pipe for the last stage alone. One that ends in ``.gz`` is bgzip, with an index (``….gz.tbi``,
                or ``….gz.csi`` for records of 2²⁹ bases and more) beside it.
            receptive_positions: TSV file of where MxDNA's tokens read; ``.gz`` as ``output``.
            boundary_probability: File of DNAChunker's boundary probabilities, of the first stage: bigWig if
                it ends in ``.bw`` or ``.bigwig``, otherwise bedGraph; ``.gz`` as ``output``.
            keep_beside: Beside which file finished parts are kept, where ``output`` lies in a folder that an
                interruption removes; default ``output``.

        Returns:
            How long they are; :attr:`statistics` too. On later ranks there is nothing in it.

        Raises:
            OSError: If a file cannot be read or written.
            ValueError: If only another kind of model could do what is asked.
        """
        output = Path(output)
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
        files = _TokenFiles(
            paths,
            None if receptive_positions is None else Path(receptive_positions),
            None if boundary_probability is None else Path(boundary_probability),
        )
        require_different_files(
            model=model_files(self.model),
            fasta=self.genome,
            aliases=self.genome.names.aliases,
            output=self._with_indexes(paths),
            receptive_positions=self._with_indexes([files.reads]),
            boundary_probability=self._with_indexes([files.signal]),
        )
        for path in paths[:-1]:
            require_own(path, output)
        self._write(files, output if keep_beside is None else Path(keep_beside))
        self.statistics = TokenStatistics(
            self.genome.name,
            files.counts,
            self.window_bp,
            self.overlap_bp,
            self._with_indexes(files.all_paths),
            self.genome.skipped,
        )
        return self.statistics

    def _with_indexes(self, paths: Iterable[Path | None]) -> list[Path]:
        """The files that are not None, and after them the indexes of those that have one."""
        named = [path for path in paths if path is not None]
        return [*named, *filter(None, (index_path(path, self.genome) for path in named))]

    def _write(self, files: "_TokenFiles", keep_beside: Path) -> None:
        ranks = Ranks.of_torchrun() if self.across_ranks else ALONE
        parts = self._parts()
        settings = {
            "interval": repr(self.interval),
            "records": len(self.genome.records),
            "kept": files.columns(),
            **{name: getattr(self, name) for name in _SETTINGS},
        }
        inputs = [self.model, self.genome.path]
        with kept_parts(keep_beside, len(parts), ranks, inputs, **settings) as kept:
            own_bp = sum(map(part_length_bp, parts_of_first(parts, kept, ranks)))
            with progress(own_bp, "tokenize") as advance:

                def compute(part: Sequence[Share]) -> list[dict[str, Any]]:
                    found = []
                    for tokens in self._run(part):
                        found.append(files.needed(tokens).to_state())
                        advance(int(tokens.edges[-1] - tokens.edges[0]))
                    return found

                results = run_parts(parts, compute, ranks, kept)
                if ranks.is_first:
                    with (
                        files.opened(self.genome, self.interval) as write,
                        write_behind(files.paths[-1], write, _PARTS_BEHIND) as put,
                    ):
                        for _, found in results:
                            put(found)
                else:
                    list(results)

    def _parts(self) -> list[list[Share]]:
        return genome_parts(self.genome, self.interval, self.window_bp)

    def _run(self, part: Sequence[Share]) -> Iterator[TileTokens]:
        return run_part(
            self.model,
            self.genome,
            part,
            self.window_bp,
            self.overlap_bp,
            tokens_per_base=self.tokens_per_base,
            batch_size=self.batch_size,
            bf16=self.bf16,
        )

    def _read(self, tokens: TileTokens) -> tuple[str, list[str]]:
        name, ids = _ids(self.genome, tokens)
        return name, decode_dna(ids, tokens.edges - tokens.edges[0])


class _TokenFiles:
    """The files that the tokens of a genome go to.

    Args:
        paths: Of the tokens of each segmentation, the finest first.
        reads: Of where MxDNA's tokens read, if it is asked for.
        signal: Of boundary probabilities, if it is asked for.
    """

    def __init__(self, paths: list[Path], reads: Path | None, signal: Path | None) -> None:
        self.paths, self.reads, self.signal = paths, reads, signal
        self.counts = [torch.zeros(1, dtype=torch.int64) for _ in paths]

    @property
    def all_paths(self) -> list[Path]:
        return [path for path in (*self.paths, self.reads, self.signal) if path is not None]

    def columns(self) -> list[str]:
        """What of the columns of tokens is written."""
        more = [] if self.reads is None else ["reads_bp", "modulation"]
        return ["expert", "score", *more, *([] if self.signal is None else ["boundary_probability"])]

    def needed(self, tokens: TileTokens) -> TileTokens:
        """What of a tile's tokens is written."""
        columns = {name: tokens.columns[name] for name in self.columns() if name in tokens.columns}
        probability = None if self.signal is None else tokens.boundary_probability
        return dataclasses.replace(tokens, columns=columns, boundary_probability=probability)

    @contextlib.contextmanager
    def opened(
        self, genome: Genome, interval: Interval | None
    ) -> Iterator[Callable[[Sequence[Mapping[str, Any]]], None]]:
        """Opens all; gives what writes a part, its tiles' tokens that touch the interval, of their states."""
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(interval_writer(path, genome)) for path in self.paths]
            reads = None if self.reads is None else stack.enter_context(interval_writer(self.reads, genome))
            put = None if self.signal is None else stack.enter_context(signal_writer(self.signal, genome))

            def write(tokens: TileTokens) -> None:
                name, ids = _ids(genome, tokens)
                start_bp = int(tokens.edges[0])
                experts, scores = (tokens.columns.get(column) for column in ("expert", "score"))
                for stage, edges in enumerate((*tokens.finer_edges, tokens.edges)[-len(files) :]):
                    is_inside = overlaps(edges, interval)
                    self._count(stage, edges.diff()[is_inside])
                    names = decode_dna(ids, edges - start_bp) if experts is None else expert_names(experts)
                    lines = bed_lines(name, edges, names, is_inside, experts=experts, scores=scores)
                    files[stage].writelines(lines)
                if reads is not None:
                    reads.writelines(receptive_lines(name, tokens, overlaps(tokens.edges, interval)))
                if put is not None and tokens.boundary_probability is not None:
                    low, high = start_bp, int(tokens.edges[-1])
                    if interval is not None:
                        first, last = span_of(genome, interval)
                        low, high = max(low, first), min(high, last)
                    if low < high:
                        put(name, low, tokens.boundary_probability[low - start_bp : high - start_bp])

            def write_part(states: Sequence[Mapping[str, Any]]) -> None:
                for state in states:
                    write(TileTokens.from_state(state))

            yield write_part
            # What a full disk refuses is known before the first file takes its place.
            for file in (*files, *([] if reads is None else [reads])):
                file.flush()

    def _count(self, stage: int, lengths: torch.Tensor) -> None:
        found = lengths.bincount(minlength=len(self.counts[stage]))
        found[: len(self.counts[stage])] += self.counts[stage]
        self.counts[stage] = found


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
    bf16: bool = False,
    receptive_positions: str | os.PathLike[str] | None = None,
    boundary_probability: str | os.PathLike[str] | None = None,
    across_ranks: bool = False,
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
        bf16: Whether matrix products run in bfloat16, which is faster where the machine has them; tokens
            may differ from those in float32.
        receptive_positions: TSV file to write beside ``output``: where MxDNA's tokens read.
        boundary_probability: bigWig or bedGraph file to write beside ``output``: DNAChunker's boundary
            probabilities.
        across_ranks: Whether the ranks that ``torchrun`` started share the work, and the first one writes
            what one alone would; all must call it. Without ``torchrun`` nothing changes.

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
    more = {"receptive_positions": receptive_positions, "boundary_probability": boundary_probability}
    for path in (output, *more.values()):
        if path is not None:
            output_file(path)
    if across_ranks:
        use_own_device()
    network = resolve(model, needs_network=True)
    widths = tile_widths(network, window_bp, overlap_bp)
    genome = open_genome(fasta, aliases, on_error=on_error)
    interval = None if region is None else find_interval(genome, region)
    tokens = GenomeTokens(network, genome, interval, *widths, tokens_per_base, batch_size, bf16, across_ranks)
    if output is not None:
        tokens.write(output, **more)
    elif asked := [name for name, path in more.items() if path is not None]:
        raise ArgumentError(f"`{asked[0]}` is written beside `output`, which must be given")
    return tokens


def _ids(genome: Genome, tokens: TileTokens) -> tuple[str, torch.Tensor]:
    """The name of a tile's record, and the letters of its tokens."""
    index = tokens.tile.record_index
    ids, _ = genome.fetch(index, int(tokens.edges[0]), int(tokens.edges[-1]))
    return genome.records[index].name, ids


def _totals(counts: torch.Tensor) -> tuple[int, int]:
    """Tokens and bases, from how many tokens have each length."""
    return int(counts.sum()), sum(length * count for length, count in enumerate(counts.tolist()))


__all__ = [
    "GenomeTokens",
    "Token",
    "TokenStatistics",
    "find_interval",
    "open_genome",
    "tokenize_genome",
]
