"""Splice sites as labelled sets, from a genome and its annotation, split by records."""

import csv
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch

from dnachunk.data.annotation import FaultyLineError, Line, gff_lines
from dnachunk.data.contents import Contents, OnError, Skipped, listed, tell_skipped, unpacked_name
from dnachunk.data.genome import Genome
from dnachunk.data.labelled import LabelledSet
from dnachunk.data.record_names import Aliases, some
from dnachunk.errors import ArgumentError, UsageError, require_at_least, require_one_of
from dnachunk.files import output_folder, written_whole
from dnachunk.ops import decode_dna
from dnachunk.random import mix
from dnachunk.reporting import Report, Table, require_own_files, write_results

PathLike = str | os.PathLike[str]
Kinds = Literal["both", "donor", "acceptor"]

MIN_INTRON_BP = 15
"""Bases of the shortest introns known (of *Stentor*); shorter gaps between exons are frame shifts."""

NEITHER = "neither"
"""Label of what is no splice site."""

FILES = {"train": "train.csv", "valid": "dev.csv", "test": "test.csv"}
"""What the sets are called in a folder, as :func:`~dnachunk.data.read_splits` finds them."""

_JOB = "splice_site_sets"
# What the intron shows of itself: a donor's first bases, an acceptor's last.
_DINUCLEOTIDES = {"donor": "GT", "acceptor": "AG"}
_TRANSCRIPT = re.compile(r'transcript_id "([^"]*)"')


class SpliceSite(NamedTuple):
    """A border between an exon and an intron, or a place that looks like one.

    Attributes:
        record_index: Which record of the genome.
        border_bp: The first base behind the border, 0-based, on the forward strand.
        is_reverse: Whether the transcript reads along the reverse strand.
        label: ``"donor"``, ``"acceptor"`` or ``"neither"``.
    """

    record_index: int
    border_bp: int
    is_reverse: bool
    label: str


@dataclass(frozen=True, slots=True)
class SpliceSiteSets(Report):
    """Labelled windows around splice sites.

    Attributes:
        sets: By ``"train"``, ``"valid"`` (if records are kept for it) and ``"test"``.
        sites: Of each set, what its windows are around, in order.
        records: Names of the genome's records.
        window_bp: Bases of a window.
        num_cut: Sites and places whose window reaches past its record, which are left out.
        skipped: Lines of the annotation that could not be read.
    """

    sets: dict[str, LabelledSet]
    sites: dict[str, list[SpliceSite]]
    records: list[str]
    window_bp: int
    num_cut: int
    skipped: Sequence[Skipped] = ()

    def counts(self, split: str) -> Counter[str]:
        """How many windows of a set have each label."""
        return Counter(label for (label,) in self.sets[split].labels)

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``dnachunk splice-sites`` writes beside the sets."""
        return {
            "window_bp": self.window_bp,
            "windows": {split: dict(sorted(self.counts(split).items())) for split in self.sets},
            "cut_off": self.num_cut,
            **listed(self.skipped, "lines"),
        }

    def report(self) -> list[Table | str]:
        """How many windows of each label each set has."""
        labels = sorted({label for split in self.sets for label in self.counts(split)})
        rows = [[split, *(f"{self.counts(split)[label]:,}" for label in labels)] for split in self.sets]
        parts: list[Table | str] = [Table([f"windows of {self.window_bp:,} bases", *labels], rows)]
        if self.num_cut:
            parts.append(f"{self.num_cut:,} windows reach past their record and are left out")
        return parts

    def save(self, output_dir: PathLike) -> None:
        """Writes the sets as tables, whole or not at all: ``sequence,label,record,border_bp,strand``.

        A validation set that an earlier call left there, and this one has not, is deleted.

        Raises:
            OSError: If they cannot be written, or would replace files that are of something else.
        """
        folder = _own_folder(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        # First, so that tables of an interrupted call are known for ours.
        write_results(folder / "results.json", _JOB, self.metrics)
        with written_whole(folder) as staging:
            for split, labelled in self.sets.items():
                with (staging / FILES[split]).open("w", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerow(["sequence", "label", "record", "border_bp", "strand"])
                    for sequence, site in zip(labelled.sequences, self.sites[split], strict=True):
                        place = [self.records[site.record_index], site.border_bp]
                        writer.writerow([sequence, site.label, *place, "-" if site.is_reverse else "+"])
        for split in FILES.keys() - self.sets.keys():
            (folder / FILES[split]).unlink(missing_ok=True)


def splice_site_sets(
    fasta: PathLike | Genome,
    annotation: PathLike,
    output_dir: PathLike | None = None,
    *,
    test: str | Sequence[str],
    valid: str | Sequence[str] = (),
    train: str | Sequence[str] = (),
    kinds: Kinds = "both",
    window_bp: int = 400,
    negatives: int = 1,
    seed: int = 0,
    aliases: Aliases | None = None,
    on_error: OnError = "fail",
) -> SpliceSiteSets:
    """Makes labelled sets of splice sites from a genome and its annotation, split by records.

    A window reads along the strand of its transcript, with the border between exon and intron in its middle:
    at a donor the intron begins there (with ``GT`` as a rule), at an acceptor it ends there (with ``AG``).
    Its negatives are drawn from the same transcript, from its first exon to its last: places where ``GT``
    begins or ``AG`` ends in the middle and that are no splice site of any transcript on that strand. So
    neither the two letters nor the gene tell the classes apart. A set of GUE is built alike (window of 400,
    acceptors, donors, neither), and SpliceAI's is split by chromosomes (1 to 19, 20, and 21 and 22 in the
    MergeDNA paper, whose windows have 10 kb).

    Exons are lines ``exon`` of a transcript (``Parent`` in GFF3, ``transcript_id`` in GTF), or where it has
    none its lines ``CDS``; lines without either belong together if they share an ``ID``. A site of several
    transcripts counts once; a border that is a donor of one and an acceptor of another is left out.

    Args:
        fasta: The genome.
        annotation: GFF3 or GTF file of its transcripts.
        output_dir: Folder for the tables ``train.csv``, ``dev.csv`` and ``test.csv``, which
            :func:`~dnachunk.finetune` and :func:`~dnachunk.compare_models` take as a task, and
            ``results.json``. Default: nothing is written.
        test: Records, such as chromosomes, that the test set is made of.
        valid: Records that the validation set is made of; default none.
        train: Records that the training set is made of; default all others.
        kinds: ``"donor"`` or ``"acceptor"``: sites of one kind alone, against places that look like it.
        window_bp: Bases of a window, an even number.
        negatives: Places drawn for each site, as far as the transcript has any.
        seed: Which of them.
        aliases: Names that mean the same, of the annotation's records and those that are named.
        on_error: ``"skip"`` leaves out lines and records that cannot be read; ``"fail"`` refuses them.

    Returns:
        The sets.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If an argument is out of range, names a record that is not there or twice, or a set has no
            splice site.
    """
    require_one_of("kinds", kinds, get_args(Kinds))
    require_one_of("on_error", on_error, ("fail", "skip"))
    require_at_least("window_bp", window_bp, 2)
    require_at_least("negatives", negatives, 0)
    if window_bp % 2:
        raise ArgumentError(
            f"`window_bp` must be even, so that a border has a middle to be in, got {window_bp}"
        )
    if output_dir is not None:
        _own_folder(output_dir)
    genome = fasta if isinstance(fasta, Genome) else Genome(fasta, aliases, on_error=on_error)
    split_of = _split_of(genome, {"train": train, "valid": valid, "test": test})
    transcripts, skipped = _read_transcripts(annotation, genome, on_error)
    tell_skipped(genome.skipped, f"records of {genome.path}")
    tell_skipped(skipped, f"lines of {annotation}")
    half_bp = window_bp // 2
    sets = {
        split: LabelledSet([], [], []) for split in ("train", "valid", "test") if split in split_of.values()
    }
    sites: dict[str, list[SpliceSite]] = {split: [] for split in sets}
    num_cut = 0
    for site in _sites(transcripts, genome, kinds, negatives, seed):
        split = split_of.get(site.record_index)
        if split is None:
            continue
        start_bp, end_bp = site.border_bp - half_bp, site.border_bp + half_bp
        record = genome.records[site.record_index]
        if start_bp < 0 or end_bp > record.length_bp:
            num_cut += 1
            continue
        sets[split].sequences.append(_text(genome, site.record_index, start_bp, end_bp, site.is_reverse))
        sets[split].labels.append((site.label,))
        strand = "-" if site.is_reverse else "+"
        sets[split].places.append(f"{genome.path}, {record.name}:{site.border_bp}{strand}")
        sites[split].append(site)
    for split, found in sites.items():
        if all(site.label == NEITHER for site in found):
            raise ValueError(f"{annotation} has no splice site on the records of the {split} set")
    result = SpliceSiteSets(
        sets, sites, [record.name for record in genome.records], window_bp, num_cut, tuple(skipped)
    )
    if output_dir is not None:
        result.save(output_dir)
    return result


def _own_folder(output_dir: PathLike) -> Path:
    folder = output_folder(output_dir)
    require_own_files(folder / "results.json", _JOB, [folder / name for name in FILES.values()])
    return folder


def _split_of(genome: Genome, named: dict[str, str | Sequence[str]]) -> dict[int, str]:
    """The set of each record that is of one."""
    split_of: dict[int, str] = {}
    for split, names in named.items():
        for name in [names] if isinstance(names, str) else names:
            if name not in genome:
                raise ArgumentError(
                    f"`{split}` must name records, got {name!r}: {genome.names.instead([name])}"
                )
            index = genome.index_of(name)
            if index in split_of:
                raise UsageError(f"`{split}` names {name}, which is of the {split_of[index]} set already")
            split_of[index] = split
    if "test" not in split_of.values():
        raise UsageError("`test` must name a record at least, got none")
    if "train" not in split_of.values():
        split_of |= {index: "train" for index in range(len(genome.records)) if index not in split_of}
    if "train" not in split_of.values():
        raise UsageError("`valid` and `test` name all records: none is left to train on")
    return split_of


class _Transcript(NamedTuple):
    """Exons of a transcript, in order, none touching another."""

    record_index: int
    is_reverse: bool
    exons: list[tuple[int, int]]


def _read_transcripts(
    path: PathLike, genome: Genome, on_error: OnError
) -> tuple[list[_Transcript], list[Skipped]]:
    if Path(unpacked_name(path)).suffix.lower() not in (".gff3", ".gff", ".gtf"):
        raise ArgumentError(f"`annotation` must end in .gff3, .gff or .gtf (and .gz), got {path}")
    contents = Contents(path)
    stretches: dict[tuple[int, bool, str], dict[str, set[tuple[int, int]]]] = {}
    left_out: Counter[str] = Counter()
    skipped: list[Skipped] = []
    for number, read in gff_lines(contents):
        try:
            line = read()
            if line.kind not in ("exon", "CDS"):
                continue
            if line.record not in genome:
                left_out[line.record] += 1
                continue
            index = genome.index_of(line.record)
            length_bp = genome.records[index].length_bp
            if line.stop_bp > length_bp:
                raise FaultyLineError(
                    f"a feature must end inside its record of {length_bp} bases, got {line.stop_bp}"
                )
        except FaultyLineError as error:
            if on_error == "fail":
                raise ArgumentError(
                    f"{contents.path}, line {number}: {error} (`on_error=skip` leaves such lines out)"
                ) from None
            skipped.append(Skipped(number, str(error)))
            continue
        for name in _names(line):
            kinds = stretches.setdefault((index, line.is_reverse, name), defaultdict(set))
            kinds[line.kind].add((line.start_bp, line.stop_bp))
    if not stretches:
        raise ArgumentError(
            f"{contents.path} has no exon or CDS of a transcript on a record of {genome.path}: it names "
            f"{some(left_out) or 'none'}, and {genome.names.instead(left_out)}"
        )
    found = [
        _Transcript(index, is_reverse, _joined(kinds.get("exon") or kinds["CDS"]))
        for (index, is_reverse, _), kinds in stretches.items()
    ]
    return sorted(each for each in found if len(each.exons) > 1), skipped


def _names(line: Line) -> list[str]:
    """The transcripts that a line is of."""
    match = _TRANSCRIPT.search(line.attributes)
    if match is not None:
        return [match[1]]
    fields = dict(part.strip().partition("=")[::2] for part in line.attributes.split(";"))
    return [name for name in (fields.get("Parent") or fields.get("ID") or "").split(",") if name]


def _joined(stretches: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Exons in order, joined where no intron fits between them."""
    exons: list[tuple[int, int]] = []
    for start_bp, end_bp in sorted(stretches):
        if exons and start_bp - exons[-1][1] < MIN_INTRON_BP:
            exons[-1] = (exons[-1][0], max(exons[-1][1], end_bp))
        else:
            exons.append((start_bp, end_bp))
    return exons


def _borders(transcript: _Transcript) -> Iterator[tuple[int, str]]:
    """The borders of its introns, and what they are."""
    first, second = ("acceptor", "donor") if transcript.is_reverse else ("donor", "acceptor")
    for (_, start_bp), (end_bp, _) in zip(transcript.exons, transcript.exons[1:], strict=False):
        yield start_bp, first
        yield end_bp, second


def _sites(
    transcripts: list[_Transcript], genome: Genome, kinds: Kinds, negatives: int, seed: int
) -> list[SpliceSite]:
    """The splice sites and their negatives, in order of place."""
    labels: dict[tuple[int, int, bool], set[str]] = defaultdict(set)
    for transcript in transcripts:
        for border_bp, label in _borders(transcript):
            labels[transcript.record_index, border_bp, transcript.is_reverse].add(label)
    found: dict[tuple[int, int, bool], str] = {}
    for transcript in transcripts:
        index, is_reverse = transcript.record_index, transcript.is_reverse
        wanted: Counter[str] = Counter()
        for border_bp, label in _borders(transcript):
            key = (index, border_bp, is_reverse)
            if key not in found and len(labels[key]) == 1 and kinds in ("both", label):
                found[key] = label
                wanted[label] += negatives
        for label, count in wanted.items() if negatives else ():
            places = [
                border_bp
                for border_bp in _look_alikes(genome, transcript, label)
                if (index, border_bp, is_reverse) not in labels
                and (index, border_bp, is_reverse) not in found
            ]
            places.sort(key=lambda border_bp: mix(seed, index, border_bp, int(is_reverse)))
            found |= {(index, border_bp, is_reverse): NEITHER for border_bp in places[:count]}
    return sorted(SpliceSite(*key, label) for key, label in found.items())


def _look_alikes(genome: Genome, transcript: _Transcript, label: str) -> list[int]:
    """Borders in a transcript that show the two letters of a kind of site."""
    start_bp, end_bp = transcript.exons[0][0], transcript.exons[-1][1]
    text = _text(genome, transcript.record_index, start_bp, end_bp, transcript.is_reverse)
    offset = 0 if label == "donor" else 2
    borders = (match.start() + offset for match in re.finditer(f"(?={_DINUCLEOTIDES[label]})", text))
    return [end_bp - border if transcript.is_reverse else start_bp + border for border in borders]


def _text(genome: Genome, record_index: int, start_bp: int, end_bp: int, is_reverse: bool) -> str:
    ids, _ = genome.fetch(record_index, start_bp, end_bp, reverse_complement=is_reverse)
    return decode_dna(ids, torch.tensor([0, len(ids)]))[0]


__all__ = ["SpliceSite", "SpliceSiteSets", "splice_site_sets"]
