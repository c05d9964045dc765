"""Tokens in a genome browser: a page that needs neither a network nor a server."""

import base64
import gzip
import html
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from dnachunk.alphabet import is_base
from dnachunk.data import Genome, Interval, WindowDataset
from dnachunk.data.contents import OnError, Skipped
from dnachunk.data.record_names import Aliases
from dnachunk.errors import ArgumentError, UsageError, require_at_least, require_different_files
from dnachunk.evaluation.compared_stretches import TRAINING_BP, Span, spans_of
from dnachunk.evaluation.token_comparison import check_segmenters, fixed_segmenters, named_models
from dnachunk.files import open_output, output_file, replacing
from dnachunk.inference.genome import find_interval, open_genome
from dnachunk.inference.ranks import use_own_device
from dnachunk.inference.segmenter import FIXED_WINDOW_BP, Segmenter
from dnachunk.inference.tiling import TileTokens, overlaps, record_tiles, run_tiles
from dnachunk.inference.tokens import PathLike, resolve
from dnachunk.models.loading import model_files
from dnachunk.ops import decode_dna
from dnachunk.reporting import Report, Table, progress
from dnachunk.visualization.browser_session import (
    SESSION_SUFFIX,
    BrowserSession,
    require_session,
    write_session,
)
from dnachunk.visualization.browser_tracks import (
    FeatureTrack,
    annotation_track,
    letters_of,
    repeat_track,
    title_of,
    variant_track,
)
from dnachunk.visualization.style import COLOURS

MAX_PAGE_BYTES: Final = 30_000_000
"""Size from which a page is refused: a browser takes long to open it."""

OPENED_BP: Final = 120
"""Bases that are in view when a page opens."""

# Bytes of a page for each base of sequence, packed, as text: the sequence, each segmentation, boundary
# probabilities, and what MxDNA says of its tokens.
_SEQUENCE_BYTES, _TOKENS_BYTES, _PROBABILITY_BYTES, _READS_BYTES = 0.45, 0.4, 2.6, 8.0

_NO_PROBABILITY, _NOT_READ = (1 << 16) - 1, -(1 << 31)
# The longest text that a browser's JavaScript holds has some 512 MB.
_TOO_LONG_BYTES = 500_000_000
_PIECE_BP = 1 << 20
_FRAME_HEIGHT_PX = 760
_WHOLE_GENOME = "all"


class RecordTokens(NamedTuple):
    """The tokens of a record that touch what is shown.

    Attributes:
        start_bp: ``[L]`` int64: first base of each, 0-based, ascending.
        end_bp: ``[L]`` int64: base after its last.
        columns: More about each token by name, ``[L, …]``, as the model's ``encode_tokens`` has it.
    """

    start_bp: torch.Tensor
    end_bp: torch.Tensor
    columns: Mapping[str, torch.Tensor]


class TokenTrack(NamedTuple):
    """The tokens of one segmentation.

    Attributes:
        name: The tokenizer's, with the stage if it is not the last.
        stage: Which it is of several, such as ``"1 of 2"``; None of a tokenizer that has one.
        records: Of each span.
        boundary_probability: Of each span ``[n]`` float32: that a token begins at the base, NaN where there
            is none; None if the model does not say.
    """

    name: str
    stage: str | None
    records: list[RecordTokens]
    boundary_probability: list[torch.Tensor] | None


@dataclass(frozen=True, slots=True, eq=False)
class TokenBrowser(Report):
    """Tokens and annotations of sequences as a page of a genome browser; shows itself in a notebook.

    Made by :func:`browse`.

    Attributes:
        genome: The sequences.
        spans: What is shown: record, first base, and base after the last.
        tokens: A track for each segmentation.
        annotations: A track for each file.
        inputs: What was read, by argument, which is never written to.
        skipped: Records that could not be read, and why.
    """

    genome: Genome
    spans: list[Span]
    tokens: list[TokenTrack]
    annotations: list[FeatureTrack]
    inputs: Mapping[str, Any]
    skipped: Sequence[Skipped] = ()

    @property
    def title(self) -> str:
        """What the page is called: the genome, and the region if it is one."""
        return title_of(self.genome, self.spans)

    def to_html(self) -> str:
        """The page: igv.js, the data and our own script in one file."""
        folder = Path(__file__).parent / "browser_page"
        script, licence = _igv()
        parts = {
            "title": html.escape(self.title),
            # A comment ends at the first of these.
            "licence": licence.replace("--", "- -").replace(">", "&gt;"),
            "style": (folder / "page.css").read_text(encoding="utf-8"),
            "igv": script,
            # No tag ends, and no comment begins, inside what is read as JSON.
            "data": json.dumps(self._data(), ensure_ascii=True).replace("<", "\\u003c"),
            "script": (folder / "page.js").read_text(encoding="utf-8"),
        }
        page = (folder / "page.html").read_text(encoding="utf-8")
        return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], page)

    def write(self, output: PathLike) -> Path:
        """Writes the page, whole or not at all.

        Args:
            output: The file; ``-`` is standard output.

        Returns:
            It.

        Raises:
            OSError: If it cannot be written.
            ValueError: If it is a file that was read.
        """
        require_different_files(**self.inputs, output=output)
        if Path(output).suffix == SESSION_SUFFIX:
            raise UsageError(
                f"`output` that ends in {SESSION_SUFFIX} is a session, which a page is not: {output}"
            )
        path = output_file(output)
        with replacing(path) as temporary, open_output(temporary) as file:
            file.write(self.to_html().encode())
        return path

    def report(self) -> list[Table | str]:
        """What is on the page."""
        bases = sum(span.end_bp - span.start_bp for span in self.spans)
        rows = []
        for track in self.tokens:
            lengths = torch.cat([record.end_bp - record.start_bp for record in track.records])
            mean = f"{lengths.double().mean().item():.2f}" if len(lengths) else "—"
            rows.append([track.name, f"{len(lengths):,}", mean])
        parts: list[Table | str] = [
            f"{self.title}: {bases:,} bases",
            Table(["tokens of", "tokens", "bases per token"], rows),
        ]
        if self.annotations:
            counts = [[track.name, f"{len(track.features):,}"] for track in self.annotations]
            parts.append(Table(["annotation", "features"], counts))
        return parts

    def _repr_html_(self) -> str:
        page, title = html.escape(self.to_html()), html.escape(self.title)
        return (
            f'<iframe srcdoc="{page}" sandbox="allow-scripts allow-forms allow-downloads" title="{title}" '
            f'style="width: 100%; height: {_FRAME_HEIGHT_PX}px; border: 1px solid #ddd"></iframe>'
        )

    def _data(self) -> dict[str, Any]:
        sequences = [self._sequence(place) for place in range(len(self.spans))]
        names = _page_names([self.genome.records[span.record_index].name for span in self.spans])
        lengths_bp = [self.genome.records[span.record_index].length_bp for span in self.spans]
        places = {span.record_index: place for place, span in enumerate(self.spans)}
        # igv.js reads where a sequence begins, and how long its record is.
        fasta = "".join(
            f">{name}:{start_bp + 1}-{start_bp + len(letters)} @len={length_bp}\n{letters}\n"
            for name, length_bp, (start_bp, letters) in zip(names, lengths_bp, sequences, strict=True)
        )
        return {
            "genome": self.genome.name,
            "openedBp": OPENED_BP,
            "fasta": _packed(fasta.encode()),
            "records": [
                {
                    "name": name,
                    "length": length_bp,
                    "start": span.start_bp,
                    "end": span.end_bp,
                    "sequenceStart": start_bp,
                }
                for name, length_bp, span, (start_bp, _) in zip(
                    names, lengths_bp, self.spans, sequences, strict=True
                )
            ],
            "tokenizers": [
                {
                    "name": track.name,
                    "stage": track.stage,
                    **_colours(index),
                    "records": [_token_data(record) for record in track.records],
                }
                for index, track in enumerate(self.tokens)
            ],
            "probabilities": [
                {
                    "tokenizer": index,
                    "records": [_probability_data(each) for each in track.boundary_probability],
                }
                for index, track in enumerate(self.tokens)
                if track.boundary_probability is not None
            ],
            "annotations": [
                {
                    "name": track.name,
                    "isRegion": track.is_region,
                    "isFlat": track.is_flat,
                    "features": _feature_data(track, places),
                }
                for track in self.annotations
            ],
        }

    def _sequence(self, place: int) -> tuple[int, str]:
        """Where the letters of a span's tokens begin, and the letters, in lower case where soft-masked."""
        index, first_bp, last_bp = self.spans[place]
        for track in self.tokens:
            record = track.records[place]
            if len(record.start_bp):
                first_bp = min(first_bp, int(record.start_bp[0]))
                last_bp = max(last_bp, int(record.end_bp[-1]))
        length_bp = self.genome.records[index].length_bp
        if last_bp - first_bp == 1:
            # igv.js reads no range of one base.
            first_bp, last_bp = max(0, first_bp - 1), min(last_bp + 1, length_bp)
        return first_bp, letters_of(self.genome, Span(index, first_bp, last_bp))


def browse(
    fasta: PathLike | Genome,
    output: PathLike | None = None,
    *,
    model: Any = (),
    tokenizer: str | Sequence[str] = (),
    annotation: PathLike | Sequence[PathLike] = (),
    vcf: PathLike | None = None,
    repeats: PathLike | Sequence[PathLike] = (),
    region: str | Interval | None = None,
    aliases: Aliases | None = None,
    on_error: OnError = "fail",
    window_bp: int | None = None,
    batch_size: int = 8,
    bf16: bool = False,
    across_ranks: bool = False,
) -> TokenBrowser | BrowserSession:
    """Shows tokens of several tokenizers beside genes, repeats and variants, in a genome browser.

    It is one page on igv.js that opens from a file, and asks nothing of a network. A track for each
    segmentation, a click on a token says what it is; zoomed out, bars of bases per token. Boundary
    probabilities of DNAChunker, where MxDNA's tokens read. Beside them what is in view: lengths of tokens,
    tokens per base by kind of feature; and the tokens of a motif at each of its sites. Needs ``igv-notebook``
    (``pip install dnachunk[browse]``).

    What a page has no room for goes to a session of IGV, which needs no more memory for a whole genome than
    for a part of it: each segmentation as ``tokenize`` writes it, boundary probabilities, annotations and
    variants sorted, all with an index, in a folder beside the session. It can be moved with it.

    Args:
        fasta: The sequences: plain, gzip or bgzip.
        output: HTML file to write; see :meth:`TokenBrowser.write`. One that ends in ``.xml`` is a session,
            ``tokens.xml``, with its tracks in ``tokens_tracks``. Default: nothing is written.
        model: Models of ours, or folders of models, or of baselines and their tokenizers: one, several, or by
            the names that they are to have. Default names are the folders'.
        tokenizer: Fixed tokenizers beside them: ``"base"``, ``"6mer"`` (1 to 8), or ``"bpe-1024"``, trained
            on at most a megabase of the sequences, shown or not; one or several.
        annotation: Features of the sequences: GFF3, GTF or BED, plain or gzip; one file or several.
        vcf: Variants of the sequences: plain, gzip or bgzip.
        repeats: Repeats beside those in lower case: BED, or RepeatMasker's tables (``.out``); one file or
            several.
        region: Only this part, ``"chrI"`` or ``"chrI:101-200"`` (from 1, inclusive). Default: all of a genome
            that a page has room for.
        aliases: Names of records that mean the same: ``"chr"``, ``"version"``, a table or a mapping; see
            :class:`~dnachunk.data.record_names.RecordNames`.
        on_error: ``"skip"``: records and lines that cannot be read are left out, counted and listed;
            ``"fail"``: they are refused.
        window_bp: Bases read at once; default as in each model's training.
        batch_size: Windows run at once; changes no result.
        bf16: Whether matrix products run in bfloat16, which is faster where the machine has them; tokens
            may differ from those in float32.
        across_ranks: Whether the ranks that ``torchrun`` started share the work of a session, and the first
            one writes it; all must call it. Pages are each rank's own.

    Returns:
        The page: ``write(path)`` writes it, and a notebook shows it. Or what the session has.

    Raises:
        OSError: If a file cannot be read or written, or would replace one that is of no earlier session.
        ValueError: If an argument is out of range, there is no tokenizer, two have one name, a file names no
            record of the sequences, or the page would be too large.
        ModuleNotFoundError: If ``igv-notebook`` is missing.

    Example:
        >>> from dnachunk.data import packaged_genome
        >>> page = browse(packaged_genome(), tokenizer=["3mer", "6mer"], region="CHLTCG:1-600")
        >>> [track.name for track in page.tokens]
        ['3mer', '6mer']
    """
    tokenizers = [tokenizer] if isinstance(tokenizer, str) else list(tokenizer)
    annotations = [annotation] if isinstance(annotation, str | os.PathLike) else list(annotation)
    repeat_files = [repeats] if isinstance(repeats, str | os.PathLike) else list(repeats)
    models = named_models(model)
    if not models and not tokenizers:
        raise UsageError("at least one `model` or `tokenizer` must be given")
    require_at_least("batch_size", batch_size, 1)
    inputs = {
        "model": [file for _, each in models for file in model_files(each)],
        "fasta": fasta,
        "aliases": aliases,
        # Repeats may be looked at as both.
        "annotation": annotations,
        "repeats": [each for each in repeat_files if Path(each) not in map(Path, annotations)],
        "vcf": vcf,
    }
    require_different_files(**inputs, output=output)
    session = Path(output) if output is not None and Path(output).suffix == SESSION_SUFFIX else None
    if session is not None:
        require_session(session)
    elif output is not None:
        output_file(output)
    if session is None:
        _igv()
    if across_ranks:
        use_own_device()
    genome = open_genome(fasta, aliases, on_error=on_error)
    interval = None if region is None else find_interval(genome, region)
    spans = spans_of(genome, interval)
    segmenters = [Segmenter.of(name, resolve(each), window_bp) for name, each in models]
    if session is None:
        _require_room(genome, spans, segmenters, len(tokenizers), output)
    if not _has_bases(genome, spans):
        raise ValueError(f"there is no A, C, G or T in {region or genome.path}")
    texts = _texts(genome) if any(name.startswith("bpe-") for name in tokenizers) else []
    segmenters += fixed_segmenters(tokenizers, texts, window_bp)
    check_segmenters(segmenters)
    inputs["fasta"] = genome
    if session is not None:
        return write_session(
            session,
            genome,
            interval,
            spans,
            segmenters,
            annotations=annotations,
            repeats=repeat_files,
            vcf=vcf,
            inputs=inputs,
            on_error=on_error,
            batch_size=batch_size,
            bf16=bf16,
            across_ranks=across_ranks,
        )
    tracks = [annotation_track(path, genome, spans, on_error) for path in annotations]
    tracks += [repeat_track(path, genome, spans, on_error) for path in repeat_files]
    tracks += [] if vcf is None else [variant_track(vcf, genome, spans, on_error)]
    total_bp = sum(span.end_bp - span.start_bp for span in spans)
    with progress(total_bp * len(segmenters), "browse") as advance:
        tokens = [
            track
            for segmenter in segmenters
            for track in _token_tracks(segmenter, genome, spans, batch_size, bf16, advance)
        ]
    page = TokenBrowser(genome, spans, tokens, tracks, inputs, genome.skipped)
    if output is not None:
        page.write(output)
    return page


def _igv() -> tuple[str, str]:
    """igv.js and its licence, from the package that brings them.

    Raises:
        ModuleNotFoundError: If it is missing.
    """
    found = importlib.util.find_spec("igv_notebook")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            "igv.js, which shows the page, comes with igv-notebook: pip install 'dnachunk[browse]'",
            name="igv_notebook",
        )
    script = Path(found.submodule_search_locations[0], "js", "igv.min.js").read_text(encoding="utf-8")
    licence = importlib.metadata.distribution("igv-notebook").read_text("LICENSE.md") or ""
    # What it says of its source map is no file of the page's.
    script = re.sub(r"^//# sourceMappingURL=.*$", "", script, flags=re.MULTILINE)
    return re.sub("<(?=/script|!--)", r"<\\", script, flags=re.IGNORECASE), licence


def _require_room(
    genome: Genome,
    spans: Sequence[Span],
    segmenters: Sequence[Segmenter],
    num_fixed: int,
    output: PathLike | None,
) -> None:
    """Raises if a page would be too large."""
    bases = sum(span.end_bp - span.start_bp for span in spans)
    num_tracks = sum(len(each.labels) for each in segmenters) + num_fixed
    each_base = _SEQUENCE_BYTES + num_tracks * _TOKENS_BYTES
    each_base += sum(_PROBABILITY_BYTES for each in segmenters if each.has_probability)
    each_base += sum(_READS_BYTES for each in segmenters if _has_reads(each))
    size = bases * each_base
    if size > MAX_PAGE_BYTES:
        most = int(MAX_PAGE_BYTES / each_base)
        session = "tokens.xml" if output is None else Path(output).with_suffix(SESSION_SUFFIX).name
        raise ArgumentError(
            f"a page of {bases:,} bases of {genome.name} in {num_tracks} tracks of tokens would have about "
            f"{size / 1e6:,.0f} MB and {_opening(size)}, more than the {MAX_PAGE_BYTES / 1e6:.0f} MB that a "
            f"browser opens with ease: give a `region` of up to {most:,} bases, or `output={session}`, a "
            "session of IGV with indexed tracks, which opens at once whatever its size"
        )


def _opening(size: float) -> str:
    """How long a page of so many bytes takes to open, a second a megabyte."""
    if size > _TOO_LONG_BYTES:
        return "be too long for a browser to open"
    minutes = math.ceil(size / 60e6)
    return "take a minute to open" if minutes == 1 else f"take {minutes} minutes to open"


def _has_bases(genome: Genome, spans: Sequence[Span]) -> bool:
    """Whether there is a base to cut, looked for in pieces."""
    return any(
        is_base(genome.fetch(index, place, min(place + _PIECE_BP, end_bp))[0]).any()
        for index, start_bp, end_bp in spans
        for place in range(start_bp, end_bp, _PIECE_BP)
    )


def _has_reads(segmenter: Segmenter) -> bool:
    return getattr(getattr(segmenter.model, "config", None), "model_type", None) == "mxdna"


def _texts(genome: Genome) -> list[str]:
    """What byte-pair encoding is trained on."""
    window_bp = min(FIXED_WINDOW_BP, max(record.length_bp for record in genome.records))
    windows = WindowDataset(
        [genome],
        window_bp,
        num_windows=-(-min(TRAINING_BP, genome.length_bp) // window_bp),
        seed=0,
        reverse_complement=False,
        short_records=True,
    )
    ids = [windows[index]["input_ids"] for index in range(len(windows))]
    offsets = torch.tensor([0, *map(len, ids)]).cumsum(0)
    return decode_dna(torch.cat(ids).to(torch.uint8), offsets)


def _token_tracks(
    segmenter: Segmenter,
    genome: Genome,
    spans: Sequence[Span],
    batch_size: int,
    bf16: bool,
    advance: Callable[[int], Any],
) -> Iterator[TokenTrack]:
    """A track for each segmentation, the finest first."""
    stages: list[list[RecordTokens]] = [[] for _ in segmenter.labels]
    probabilities = []
    for span in spans:
        interval = Interval(genome.records[span.record_index].name, span.start_bp, span.end_bp)
        tiles: list[TileTokens] = []
        near = (span.start_bp, span.end_bp)
        lying = record_tiles(genome, span.record_index, segmenter.tile_bp, segmenter.overlap_bp, near=near)
        probability = torch.full((span.end_bp - span.start_bp,), torch.nan)
        for tokens in run_tiles(segmenter.model, genome, lying, batch_size=batch_size, bf16=bf16):
            tiles.append(tokens)
            first_bp = int(tokens.edges[0])
            low, high = max(first_bp, span.start_bp), min(int(tokens.edges[-1]), span.end_bp)
            if tokens.boundary_probability is not None and low < high:
                found = tokens.boundary_probability[low - first_bp : high - first_bp]
                probability[low - span.start_bp : high - span.start_bp] = found
            advance(max(0, high - low))
        probabilities.append(probability)
        for stage, of_stage in enumerate(stages):
            is_last = stage == len(stages) - 1
            edges = [each.edges if is_last else each.finer_edges[stage] for each in tiles]
            chosen = [overlaps(each, interval) for each in edges]
            names = {name for each in tiles for name in each.columns} if is_last else set()
            of_stage.append(
                RecordTokens(
                    _join([each[:-1][which] for each, which in zip(edges, chosen, strict=True)]),
                    _join([each[1:][which] for each, which in zip(edges, chosen, strict=True)]),
                    {
                        name: torch.cat(
                            [each.columns[name][which] for each, which in zip(tiles, chosen, strict=True)]
                        )
                        for name in names
                    },
                )
            )
    for stage, (label, records) in enumerate(zip(segmenter.labels, stages, strict=True)):
        yield TokenTrack(
            label,
            f"{stage + 1} of {len(stages)}" if len(stages) > 1 else None,
            records,
            probabilities if segmenter.has_probability and stage == 0 else None,
        )


def _join(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([torch.zeros(0, dtype=torch.int64), *parts])


def _page_names(names: Sequence[str]) -> list[str]:
    """Names of records as a place ``name:start-end`` can hold them, each once for igv.js.

    It takes ``chr1`` and ``1``, ``chrM`` and ``MT``, and letters of either case for the same, and ``all`` for
    the whole genome.
    """
    plain = [re.sub(r"[^\w.|+*#@=-]", "_", name, flags=re.ASCII) for name in names]
    counts = Counter(_igv_name(name) for name in plain)
    taken = {name for name in counts if counts[name] == 1 and name != _WHOLE_GENOME}
    unique = []
    for place, name in enumerate(plain, start=1):
        choices = (f"{name}_{ending}" for ending in itertools.count(place))
        own = (
            name
            if _igv_name(name) in taken
            else next(each for each in choices if _igv_name(each) not in taken)
        )
        taken.add(_igv_name(own))
        unique.append(own)
    return unique


def _igv_name(name: str) -> str:
    """What names that igv.js takes for one have in common."""
    name = name.lower()
    short = name.removeprefix("chr")
    return {"m": "mt", _WHOLE_GENOME: name}.get(short, short)


def _colours(index: int) -> dict[str, Any]:
    """Two shades of a colour for neighbours, dark letters being read on either; and the colour itself."""
    # Yellow is not seen on white.
    colours = [colour for colour in COLOURS if colour != "#F0E442"]
    line = colours[index % len(colours)]
    parts = [int(line[place : place + 2], 16) for place in (1, 3, 5)]
    shades = [[round(part + (255 - part) * white) for part in parts] for white in (0.35, 0.7)]
    return {"colors": ["#" + "".join(f"{part:02x}" for part in shade) for shade in shades], "line": line}


def _packed(values: bytes) -> str:
    return base64.b64encode(gzip.compress(values, mtime=0)).decode()


def _packed_numbers(values: torch.Tensor, kind: str) -> str:
    """Numbers of a little-endian kind of numpy's."""
    return _packed(values.numpy().astype(kind).tobytes())


def _token_data(record: RecordTokens) -> dict[str, Any]:
    start_bp, end_bp = record.start_bp, record.end_bp
    before = torch.cat([torch.zeros(1, dtype=torch.int64), end_bp[:-1]]) if len(end_bp) else end_bp
    data: dict[str, Any] = {
        "gaps": _packed_numbers(start_bp - before, "<u4"),
        "lengths": _packed_numbers(end_bp - start_bp, "<u4"),
    }
    if "expert" in record.columns:
        reads = (record.columns["reads_bp"].double() * 100).round()
        reads = reads.nan_to_num(nan=_NOT_READ)
        data |= {
            "experts": _packed_numbers(record.columns["expert"], "<i2"),
            "scores": _packed_numbers((record.columns["score"].float() * 1000).round(), "<u2"),
            "reads": _packed_numbers(reads, "<i4"),
            "weights": _packed_numbers((record.columns["modulation"].float() * 1000).round(), "<u2"),
            "taps": reads.shape[1],
        }
    return data


def _probability_data(values: torch.Tensor) -> str:
    scaled = (values.double() * (_NO_PROBABILITY - 1)).round().nan_to_num(nan=_NO_PROBABILITY)
    return _packed_numbers(scaled, "<u2")


def _feature_data(track: FeatureTrack, places: Mapping[int, int]) -> str:
    """Place of the record, start, end, strand, kind and name of each feature."""
    has_strands = track.is_region and not track.is_flat
    columns = [
        [
            places[each.record_index],
            each.start_bp,
            each.end_bp,
            ("-" if each.is_reverse else "+") if has_strands else ".",
            each.kind,
            each.name,
        ]
        for each in track.features
    ]
    return _packed(json.dumps(columns, separators=(",", ":")).encode())


__all__ = ["RecordTokens", "TokenBrowser", "TokenTrack", "browse"]
