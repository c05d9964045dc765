"""Tokens of any stretch as a session of IGV: tracks with indexes, and the file that opens them together."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree

import torch

from dnachunk.data import Genome, Interval
from dnachunk.data.annotation import bed_texts, body_lines, gff_texts
from dnachunk.data.contents import Contents, OnError, Skipped, locate, unpacked_name
from dnachunk.data.text import Layout
from dnachunk.data.vcf import VCF
from dnachunk.errors import UsageError, require_different_files
from dnachunk.evaluation.compared_stretches import Span
from dnachunk.files import STAGING, beside, is_stream, output_file, output_folder, replacing, written_whole
from dnachunk.inference.genome import GenomeTokens
from dnachunk.inference.ranks import Ranks
from dnachunk.inference.segmenter import Segmenter
from dnachunk.inference.tokens import PathLike
from dnachunk.inference.writers import interval_writer
from dnachunk.reporting import Report, Table, progress, say
from dnachunk.visualization.browser_tracks import (
    annotation_of,
    letters_of,
    repeat_track,
    title_of,
    variants_of,
)

SESSION_SUFFIX: Final = ".xml"
"""How the name of a session ends."""

_INDEX_ENDINGS = ("", ".tbi", ".csi", ".fai")
_LINE_BP = 60
_PIECE_BP = _LINE_BP << 14
_SIGNAL_HEIGHT_PX = 60


class SessionTrack(NamedTuple):
    """A track of a session.

    Attributes:
        name: What it is called.
        path: The file, from the session's folder on.
        is_signal: Whether it is a value in [0, 1] for each base.
        is_expanded: Whether what overlaps lies in rows of its own.
    """

    name: str
    path: str
    is_signal: bool = False
    is_expanded: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class BrowserSession(Report):
    """A session of IGV that was written, with indexed tracks in a folder beside it.

    Made by :func:`~dnachunk.browse`.

    Attributes:
        path: The session.
        genome: The sequences.
        spans: What is shown: record, first base, and base after the last.
        tokens: By segmentation, how many tokens have each length: entry k those of k bases, int64.
        tracks: In the order of the session.
        skipped: Records that could not be read, and why.
    """

    path: Path
    genome: Genome
    spans: list[Span]
    tokens: Mapping[str, torch.Tensor]
    tracks: list[SessionTrack]
    skipped: Sequence[Skipped] = ()

    @property
    def title(self) -> str:
        """What is shown: the genome, and the region if it is one."""
        return title_of(self.genome, self.spans)

    def report(self) -> list[Table | str]:
        """What the tracks hold, and where they lie."""
        bases = sum(span.end_bp - span.start_bp for span in self.spans)
        rows = []
        for name, counts in self.tokens.items():
            tokens = int(counts.sum())
            mean = f"{int((counts * torch.arange(len(counts))).sum()) / tokens:.2f}" if tokens else "—"
            rows.append([name, f"{tokens:,}", mean])
        return [
            f"{self.title}: {bases:,} bases",
            Table(["tokens of", "tokens", "bases per token"], rows),
            Table(["track", "file"], [[track.name, track.path] for track in self.tracks]),
        ]


def tracks_folder(session: Path) -> Path:
    """Where the tracks of a session lie."""
    return session.with_name(f"{session.stem}_tracks")


def require_session(session: Path) -> None:
    """Raises unless a session can be written, and its folder is for tracks of an earlier one alone.

    Raises:
        OSError: If it cannot, or there is something else in the folder.
        ValueError: If it is a pipe or a device.
    """
    if is_stream(session):
        raise UsageError(f"`output` must be a file, beside which its tracks lie, got {session}")
    output_file(session)
    folder = output_folder(tracks_folder(session))
    earlier = _with_indexes(_own_files(session))
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        if path.name not in earlier and path.name != STAGING:
            raise FileExistsError(
                f"{path} is not of an earlier {session.name}, whose tracks the folder is for: remove it, or "
                "choose another name"
            )


def write_session(
    session: Path,
    genome: Genome,
    interval: Interval | None,
    spans: list[Span],
    segmenters: Sequence[Segmenter],
    *,
    annotations: Sequence[PathLike] = (),
    repeats: Sequence[PathLike] = (),
    vcf: PathLike | None = None,
    inputs: Mapping[str, Any],
    on_error: OnError = "fail",
    batch_size: int = 8,
    bf16: bool = False,
    across_ranks: bool = False,
) -> BrowserSession:
    """Writes tokens and annotations as indexed tracks, and the session that shows them, all or none.

    The tracks lie in a folder beside the session (:func:`tracks_folder`), and are named from it on, so that
    both can be moved together. Annotations that are indexed, and sequences that are, are named where they
    lie.

    Args:
        session: The file, ``.xml``.
        genome: The sequences.
        interval: What is shown of them; None is all.
        spans: The same as stretches of records.
        segmenters: What cuts them.
        annotations: See :func:`~dnachunk.browse`, like the others.
        repeats: See there.
        vcf: See there.
        inputs: What is read, by argument, which is never written to.
        on_error: See there.
        batch_size: See there.
        bf16: See there.
        across_ranks: See there; of later ranks the session has no tracks and no tokens.

    Raises:
        OSError: If a file cannot be read or written, or would replace one that is of no such session.
        ValueError: If a file names no record of the sequences.
    """
    require_session(session)
    earlier = _own_files(session)
    folder = tracks_folder(session)
    cut = [
        GenomeTokens(
            segmenter.model,
            genome,
            interval,
            segmenter.tile_bp,
            segmenter.overlap_bp,
            None,
            batch_size,
            bf16,
            across_ranks,
        )
        for segmenter in segmenters
    ]
    if across_ranks and not Ranks.of_torchrun().is_first:
        for segmenter, each in zip(segmenters, cut, strict=True):
            # Not written, but what is to be kept of the tokens follows from it.
            bed = folder / "tokens.bed.gz"
            each.write(bed, boundary_probability=_probability_beside(bed, segmenter))
        return BrowserSession(session, genome, spans, {}, [], genome.skipped)
    with _removed_if_empty(folder), written_whole(folder) as staging:
        writer = _TrackWriter(genome, session.parent, staging, folder.name, on_error)
        tracks = [writer.annotation(path) for path in annotations]
        tracks += [writer.repeats(path, spans) for path in repeats]
        tracks += [] if vcf is None else [writer.variants(vcf)]
        tokens: dict[str, torch.Tensor] = {}
        for segmenter, each in zip(segmenters, cut, strict=True):
            counts, of_segmenter = writer.tokens(segmenter, each)
            tokens |= counts
            tracks += of_segmenter
        fasta = writer.sequences()
        written = {path.name for path in staging.iterdir()}
        require_different_files(**inputs, output=[folder / name for name in written])
        # Named in the session before they lie there: a run that is ended between the two can be repeated.
        with replacing(session) as temporary:
            temporary.write_bytes(_session_xml(genome, spans[0], fasta, tracks))
    # What an earlier session had; what is read there, as sequences that it copied, stays.
    for name in _with_indexes(earlier) - written - _with_indexes(_own_files(session) - written):
        (folder / name).unlink(missing_ok=True)
    return BrowserSession(session, genome, spans, tokens, tracks, genome.skipped)


def _probability_beside(bed: Path, segmenter: Segmenter) -> Path | None:
    """Where the boundary probabilities of a file of tokens go, if there are any."""
    return beside(bed, "_boundary_probability.bw") if segmenter.has_probability else None


@dataclass(slots=True)
class _TrackWriter:
    """Writes the files of a session.

    Attributes:
        genome: The sequences.
        root: The session's folder.
        staging: Where the files are written.
        folder: Name of the folder that they will lie in.
        on_error: What becomes of lines that cannot be read.
    """

    genome: Genome
    root: Path
    staging: Path
    folder: str
    on_error: OnError

    def tokens(
        self, segmenter: Segmenter, tokens: GenomeTokens
    ) -> tuple[dict[str, torch.Tensor], list[SessionTrack]]:
        """Tokens as ``dnachunk tokenize`` writes them, of each stage, and the boundary probability."""
        bed = self._new(segmenter.name, ".bed.gz")
        probability = _probability_beside(bed, segmenter)
        # Sessions of one folder may have files of one name.
        keep_beside = self.root / f"{self.folder}.{bed.name}"
        statistics = tokens.write(bed, boundary_probability=probability, keep_beside=keep_beside)
        tracks = [
            SessionTrack(label, self._named(path))
            for label, path in zip(segmenter.labels, statistics.files, strict=False)
        ]
        if probability is not None:
            name = f"{segmenter.name}: boundary probability"
            tracks.insert(0, SessionTrack(name, self._named(probability), is_signal=True))
        return dict(zip(segmenter.labels, statistics.counts, strict=True)), tracks

    def annotation(self, path: PathLike) -> SessionTrack:
        """Features of a GFF3, GTF or BED file, by start."""
        name = unpacked_name(path)
        suffix = Path(name).suffix.lower()
        found = annotation_of(path, self.genome, self.on_error)
        unread = {each.where for each in found.skipped}
        contents, is_bed = Contents(path), suffix == ".bed"
        texts, at = (bed_texts, 1) if is_bed else (gff_texts, 3)
        rows, is_renamed = [], False
        for number, line in texts(contents):
            record, _, rest = line.partition("\t")
            if number in unread or record not in self.genome:
                continue
            index = self.genome.index_of(record)
            own = self.genome.records[index].name
            is_renamed |= own != record
            rows.append((index, int(line.split("\t", at + 1)[at]), number, f"{own}\t{rest}\n"))
        if self._is_indexed(path) and not is_renamed:
            return SessionTrack(name, self._from_root(path), is_expanded=True)
        first = next((line for _, line in body_lines(contents)), "")
        header = [f"{first}\n"] if first.startswith("##gff-version") else []
        return self._features(name, suffix, "bed" if is_bed else "gff", header, rows)

    def variants(self, path: PathLike) -> SessionTrack:
        """Variants of a VCF file, by position."""
        name, variants = unpacked_name(path), VCF(path, on_error=self.on_error)
        rows, is_renamed = [], False
        for index, variant in variants_of(variants, self.genome):
            own = self.genome.records[index].name
            is_renamed |= own != variant.contig
            line = "\t".join([own, *variant.columns[1:]])
            rows.append((index, variant.position, variant.line_number, f"{line}\n"))
        if self._is_indexed(path) and not is_renamed:
            return SessionTrack(name, self._from_root(path), is_expanded=True)
        header = [self._renamed_contig(line.rstrip("\r\n")) + "\n" for line in variants.header]
        return self._features(name, ".vcf", "vcf", header, rows)

    def repeats(self, path: PathLike, spans: Sequence[Span]) -> SessionTrack:
        """Repeats of a BED file, or of RepeatMasker's table, as BED."""
        track = repeat_track(path, self.genome, spans, self.on_error)
        records = self.genome.records
        rows = [
            (
                each.record_index,
                each.start_bp,
                place,
                f"{records[each.record_index].name}\t{each.start_bp}\t"
                f"{each.end_bp}\t{each.name or each.kind}\n",
            )
            for place, each in enumerate(track.features)
        ]
        return self._features(track.name, ".bed", "bed", [], rows)

    def sequences(self) -> str:
        """The sequences where they lie if they are indexed, and otherwise a copy that is."""
        path = self.genome.path
        if not locate(path)[1] and path.is_file() and not self.genome.skipped:
            with path.open("rb") as file:
                endings = (".fai", ".gzi") if file.read(2) == b"\x1f\x8b" else (".fai",)
            if all(path.with_name(path.name + ending).is_file() for ending in endings):
                return self._from_root(path)
        say(f"{path} has no index (samtools faidx): the sequences are copied to where they have one")
        copy = self._new(self.genome.name, ".fa")
        with (
            copy.open("w", encoding="utf-8", newline="\n") as file,
            copy.with_name(copy.name + ".fai").open("w", encoding="utf-8", newline="\n") as index,
            progress(self.genome.length_bp, "copy") as advance,
        ):
            for number, record in enumerate(self.genome.records):
                file.write(f">{record.name}\n")
                width_bp = min(_LINE_BP, record.length_bp)
                index.write(f"{record.name}\t{record.length_bp}\t{file.tell()}\t{width_bp}\t{width_bp + 1}\n")
                for start_bp in range(0, record.length_bp, _PIECE_BP):
                    end_bp = min(start_bp + _PIECE_BP, record.length_bp)
                    letters = letters_of(self.genome, Span(number, start_bp, end_bp))
                    file.writelines(
                        f"{letters[place : place + _LINE_BP]}\n" for place in range(0, len(letters), _LINE_BP)
                    )
                    advance(end_bp - start_bp)
        return self._named(copy)

    def _features(
        self,
        name: str,
        suffix: str,
        layout: Layout,
        header: Sequence[str],
        rows: list[tuple[int, int, int, str]],
    ) -> SessionTrack:
        """Writes lines in order of record, start and the file's own."""
        path = self._new(Path(name).stem, f"{suffix}.gz")
        rows.sort()
        with interval_writer(path, self.genome, layout) as file:
            file.writelines(header)
            file.writelines(row[-1] for row in rows)
        return SessionTrack(name, self._named(path), is_expanded=True)

    def _new(self, name: str, ending: str) -> Path:
        """A file that is not there yet, with no dot in its stem, behind which stages are counted."""
        stem = re.sub(r"[^\w-]", "_", name, flags=re.ASCII)
        path, number = self.staging / f"{stem}{ending}", 2
        while path.exists():
            path, number = self.staging / f"{stem}_{number}{ending}", number + 1
        return path

    def _named(self, path: Path) -> str:
        return f"{self.folder}/{path.name}"

    def _from_root(self, path: PathLike) -> str:
        return Path(os.path.relpath(locate(path)[0], self.root)).as_posix()

    def _is_indexed(self, path: PathLike) -> bool:
        where, is_url = locate(path)
        return not is_url and any(Path(where + ending).is_file() for ending in (".tbi", ".csi"))

    def _renamed_contig(self, line: str) -> str:
        contig = re.match(r"##contig=<ID=([^,>]+)", line)
        if contig is None or contig[1] not in self.genome:
            return line
        own = self.genome.records[self.genome.index_of(contig[1])].name
        return f"##contig=<ID={own}{line[contig.end() :]}"


def _own_files(session: Path) -> set[str]:
    """Names of files in the folder of tracks that the session there is, if there is one, names."""
    try:
        root = ElementTree.parse(session).getroot()
    except (OSError, ElementTree.ParseError):
        return set()
    named = [root.get("genome"), *(each.get("path") for each in root.iter("Resource"))]
    folder = Path(tracks_folder(session).name)
    return {Path(each).name for each in named if each and Path(each).parent == folder}


def _with_indexes(names: set[str]) -> set[str]:
    return {name + ending for name in names for ending in _INDEX_ENDINGS}


@contextlib.contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    """Removes a folder that an exception leaves with nothing in it."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


def _session_xml(genome: Genome, opened: Span, fasta: str, tracks: Sequence[SessionTrack]) -> bytes:
    """The session as IGV reads it, of any version from 3 on.

    No index is named: IGV takes one that is named as it stands, and looks for one beside its file otherwise.
    """
    locus = f"{genome.records[opened.record_index].name}:{opened.start_bp + 1}-{opened.end_bp}"
    root = ElementTree.Element(
        "Session", genome=fasta, hasGeneTrack="false", hasSequenceTrack="true", locus=locus, version="8"
    )
    resources = ElementTree.SubElement(root, "Resources")
    panel = ElementTree.SubElement(root, "Panel", name="FeaturePanel")
    # Where there is a panel, only what it lists is shown.
    sequence = "Reference sequence"
    ElementTree.SubElement(
        panel, "Track", id=sequence, name=sequence, clazz="org.broad.igv.track.SequenceTrack"
    )
    for track in tracks:
        ElementTree.SubElement(resources, "Resource", path=track.path)
        shown = {"id": track.path, "name": track.name}
        if track.is_signal:
            shown |= {"autoScale": "false", "height": str(_SIGNAL_HEIGHT_PX)}
        else:
            shown["displayMode"] = "EXPANDED" if track.is_expanded else "COLLAPSED"
        element = ElementTree.SubElement(panel, "Track", shown)
        if track.is_signal:
            ElementTree.SubElement(
                element, "DataRange", type="LINEAR", minimum="0.0", baseline="0.0", maximum="1.0"
            )
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


__all__ = [
    "BrowserSession",
    "SessionTrack",
    "require_session",
    "tracks_folder",
    "write_session",
]
