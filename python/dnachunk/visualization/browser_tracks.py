"""What a page and a session of a genome browser have in common: what is shown, and the features beside it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import torch

from dnachunk.data import Genome
from dnachunk.data.annotation import Annotation, Feature, read_annotation
from dnachunk.data.contents import OnError, tell_skipped, unpacked_name
from dnachunk.data.record_names import some
from dnachunk.data.repeats import read_repeats, read_stretches
from dnachunk.data.vcf import VCF, VCFRecord
from dnachunk.evaluation.compared_stretches import Span, features_inside
from dnachunk.evaluation.variant_scores import unknown_contigs_of
from dnachunk.inference.tokens import PathLike
from dnachunk.ops import decode_dna
from dnachunk.reporting import say

_SHOWN_ALLELE_BP: Final = 24


class FeatureTrack(NamedTuple):
    """Features of a file that touch what is shown.

    Attributes:
        name: The file's.
        features: In order of place.
        is_region: Whether tokens per base are told of its kinds.
        is_flat: Whether they lie in one row.
    """

    name: str
    features: list[Feature]
    is_region: bool = True
    is_flat: bool = False


def title_of(genome: Genome, spans: Sequence[Span]) -> str:
    """What tokens of these stretches are called: by the genome, and the region if it is one."""
    (index, start_bp, end_bp), *others = spans
    record = genome.records[index]
    if others or (start_bp, end_bp) == (0, record.length_bp):
        return f"Tokens of {genome.name}"
    return f"Tokens of {genome.name}, {record.name}:{start_bp + 1:,}-{end_bp:,}"


def letters_of(genome: Genome, span: Span) -> str:
    """The letters of a stretch, in lower case where soft-masked."""
    ids, is_lower = genome.fetch(*span)
    (letters,) = decode_dna(ids, torch.tensor([0, len(ids)]))
    codes = torch.frombuffer(bytearray(letters.encode()), dtype=torch.uint8)
    return (codes + 32 * is_lower.to(torch.uint8)).numpy().tobytes().decode()


def annotation_of(path: PathLike, genome: Genome, on_error: OnError) -> Annotation:
    """Features with their names, as :func:`~dnachunk.data.annotation.read_annotation` reads them.

    What is left out is told.
    """
    found = read_annotation(path, genome, names=True, on_error=on_error)
    tell_skipped(found.skipped, f"lines of {path}")
    if found.left_out:
        say(
            f"{path}: {found.left_out.total():,} features are left out, on {len(found.left_out):,} records "
            f"that {genome.path.name} does not have: {some(found.left_out, 20)}"
        )
    return found


def variants_of(variants: VCF, genome: Genome) -> Iterator[tuple[int, VCFRecord]]:
    """Variants on records of a genome, with the index of each one's record; others are told at the end.

    Raises:
        ValueError: If there is none.
    """
    contigs = Counter[str]()
    for variant in variants:
        contigs[variant.contig] += 1
        if variant.contig in genome:
            yield genome.index_of(variant.contig), variant
    tell_skipped(variants.skipped, f"lines of {variants.path}")
    unknown = unknown_contigs_of(variants, contigs, genome)
    if unknown:
        say(
            f"{variants.path}: {sum(unknown.values()):,} variants are left out, on {len(unknown):,} records "
            f"that {genome.path.name} does not have: {some(unknown, 20)}"
        )


def annotation_track(
    path: PathLike, genome: Genome, spans: Sequence[Span], on_error: OnError
) -> FeatureTrack:
    """Features of a GFF3, GTF or BED file."""
    found = annotation_of(path, genome, on_error)
    return FeatureTrack(unpacked_name(path), features_inside(found.features, spans))


def repeat_track(path: PathLike, genome: Genome, spans: Sequence[Span], on_error: OnError) -> FeatureTrack:
    """Repeats of a BED file, or of RepeatMasker's table, by their families."""
    if Path(unpacked_name(path)).suffix.lower() == ".out":
        repeats, skipped = read_repeats(genome, [path], on_error=on_error)
        features = [Feature(*each[:3], "repeats", False, each.family) for each in repeats]
    else:
        (stretches,), skipped = read_stretches([genome], [path], "repeats", on_error)
        features = [
            Feature(index, start_bp, end_bp, "repeats", False)
            for index, of_record in stretches.items()
            for start_bp, end_bp in of_record.T.tolist()
        ]
    tell_skipped(skipped, f"lines of {path}")
    return FeatureTrack(unpacked_name(path), features_inside(sorted(features), spans), is_flat=True)


def variant_track(path: PathLike, genome: Genome, spans: Sequence[Span], on_error: OnError) -> FeatureTrack:
    """Variants of a VCF file."""
    features = []
    for index, variant in variants_of(VCF(path, on_error=on_error), genome):
        start_bp, size = max(0, variant.position - 1), len(variant.reference)
        sizes = {len(allele) for allele in variant.alternates}
        kind = "SNV" if sizes == {1} == {size} else "other variant"
        reference, *alternates = map(_short, [variant.reference, *variant.alternates])
        name = f"{reference}>{','.join(alternates)}"
        if variant.columns[2] != ".":
            name = f"{variant.columns[2]} {name}"
        features.append(Feature(index, start_bp, start_bp + size, kind, False, name))
    return FeatureTrack(unpacked_name(path), features_inside(sorted(features), spans), is_region=False)


def _short(allele: str) -> str:
    """An allele as a name can hold it."""
    return allele if len(allele) <= _SHOWN_ALLELE_BP else f"{allele[:_SHOWN_ALLELE_BP]}… ({len(allele):,} bp)"


__all__ = [
    "FeatureTrack",
    "annotation_of",
    "annotation_track",
    "letters_of",
    "repeat_track",
    "title_of",
    "variant_track",
    "variants_of",
]
