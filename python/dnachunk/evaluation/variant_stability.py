"""How alike the tokens of two alleles are, for the variants of a VCF file by kind and size."""

import heapq
import itertools
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from dnachunk.data.contents import OnError, tell_skipped
from dnachunk.data.genome import Genome
from dnachunk.data.vcf import VCF
from dnachunk.evaluation.boundary_survival import Boundaries
from dnachunk.evaluation.token_meaning import Band, bootstrap_band, boundary_jaccard
from dnachunk.evaluation.variant_scores import unknown_contigs_of, variant_of
from dnachunk.evaluation.zero_shot import REASONS as NOT_SCORED
from dnachunk.evaluation.zero_shot import AllelePair, Unscorable, allele_pair
from dnachunk.random import mix

AGREEMENT: Final = ("boundary_jaccard", "edit_similarity")
"""What is measured of a variant."""

SIZES_BP: Final = (1, 2, 6, 20, 50, 200, 1000)
"""Least size of each class; from 50 bp on they are structural variants."""

REASONS: Final[Mapping[str, str]] = {
    **NOT_SCORED,
    "too_long": "the alleles are longer than half a window",
    "n_in_context": "there is an N in the window",
    "outside_region": "it lies outside the region",
}
"""Why a variant is not looked at."""

_KINDS = ("SNV", "substitution", "insertion", "deletion", "replacement")


class TwoAlleles(NamedTuple):
    """The windows of a variant's alleles, which differ in one place.

    Attributes:
        reference: ``[n]`` int64 ids.
        alternate: ``[m]`` int64 ids.
        place: First base that differs, in both.
        deleted: Bases of the reference from there that the alternate does not have.
        inserted: Bases of the alternate in their place.
    """

    reference: torch.Tensor
    alternate: torch.Tensor
    place: int
    deleted: int
    inserted: int

    @classmethod
    def of(cls, pair: AllelePair) -> "TwoAlleles":
        """The alleles of a variant that is one edit."""
        reference, alternate = pair
        changed = reference.changed if len(reference.changed) else alternate.changed
        return cls(
            reference.ids.long(),
            alternate.ids.long(),
            int(changed[0]),
            len(reference.changed),
            len(alternate.changed),
        )


class KindStability(NamedTuple):
    """How tokens stand the variants of one kind and size.

    Attributes:
        num_found: Alleles in the file.
        num_variants: How many of them were looked at.
        tokenizers: By tokenizer means over variants, ``[2]`` as :data:`AGREEMENT` names them; empty where
            there are too few.
    """

    num_found: int
    num_variants: int
    tokenizers: Mapping[str, Band]


@dataclass(frozen=True, slots=True, eq=False)
class VariantSample:
    """Variants of a file, so many of each kind and size.

    Attributes:
        num_records: Lines of the file.
        unknown_contigs: How many of them lie on contigs that the genome does not have, by these.
        reasons: How many alternate alleles are left out, by reason.
        counts: How many others there are, by kind and size.
        alleles: Those drawn, by kind and size.
    """

    num_records: int
    unknown_contigs: Mapping[str, int]
    reasons: Mapping[str, int]
    counts: Mapping[str, int]
    alleles: Mapping[str, Sequence[TwoAlleles]]


@dataclass(frozen=True, slots=True, eq=False)
class VariantStability:
    """How alike the tokens of two alleles are.

    Attributes:
        sample: Which variants.
        kinds: By kind and size.
    """

    sample: VariantSample
    kinds: Mapping[str, KindStability]


def variant_class(deleted: int, inserted: int) -> str:
    """The kind and size of a variant, by the bases that it takes out and puts in.

    Example:
        >>> variant_class(1, 1), variant_class(0, 1), variant_class(70, 0), variant_class(2, 3)
        ('SNV', 'insertion of 1 bp', 'deletion of 50-199 bp', 'replacement of 2-5 bp')
    """
    if deleted == inserted == 1:
        return "SNV"
    if deleted == inserted:
        kind = "substitution"
    else:
        kind = "insertion" if not deleted else "deletion" if not inserted else "replacement"
    return f"{kind} of {_size_class(max(deleted, inserted))} bp"


def sample_variants(
    genome: Genome,
    spans: Sequence[tuple[int, int, int]],
    vcf: str | os.PathLike[str],
    *,
    window_bp: int,
    max_variants: int,
    seed: int,
    on_error: OnError = "fail",
) -> VariantSample:
    """Reads a VCF file, and draws variants of each kind and size at random.

    Args:
        genome: What the variants are of.
        spans: Record, first base and base after the last of where they are to lie.
        vcf: The file. Alleles that are not written in letters are counted with the reason.
        window_bp: Bases of a window; of alleles at most half of one.
        max_variants: Variants of a kind and size, at most.
        seed: Of the draws.
        on_error: What to do at a malformed line.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is malformed, holds no variant, or none on a record of the genome.
    """
    variants = VCF(vcf, on_error=on_error)
    of_records = {record_index: (start_bp, end_bp) for record_index, start_bp, end_bp in spans}
    contigs, reasons, counts = Counter[str](), Counter[str](), Counter[str]()
    drawn: dict[str, list[tuple[int, int, int, TwoAlleles]]] = {}
    for record in variants:
        contigs[record.contig] += 1
        for index, allele in enumerate(record.alternates):
            variant = variant_of(genome, record, allele)
            if isinstance(variant, str):
                reasons[variant] += 1
                continue
            (edit,) = variant.edits
            first, last = of_records.get(variant.record_index, (0, 0))
            if not first <= edit.start_bp <= edit.end_bp <= last or edit.start_bp == last:
                reasons["outside_region"] += 1
                continue
            sizes = len(edit.reference), len(edit.alternate)
            try:
                if max(sizes) > window_bp // 2:
                    raise Unscorable("too_long")
                pair = allele_pair(genome, variant, window_bp)
                if pair.has_n:
                    raise Unscorable("n_in_context")
            except Unscorable as error:
                reasons[error.reason] += 1
                continue
            kind = variant_class(*sizes)
            counts[kind] += 1
            # The draw of a variant hangs on its line alone; a heap keeps those with the lowest numbers.
            key = (-mix(seed, record.line_number, index), -record.line_number, -index)
            heap = drawn.setdefault(kind, [])
            if len(heap) < max_variants:
                heapq.heappush(heap, (*key, TwoAlleles.of(pair)))
            elif key > heap[0][:3]:
                heapq.heapreplace(heap, (*key, TwoAlleles.of(pair)))
    tell_skipped(variants.skipped, f"lines of {vcf}")
    unknown = unknown_contigs_of(variants, contigs, genome)
    alleles = {
        kind: [entry[3] for entry in sorted(drawn[kind], key=_line)] for kind in sorted(drawn, key=_rank)
    }
    return VariantSample(contigs.total(), unknown, reasons, counts, alleles)


def variant_stability(
    sample: VariantSample,
    tokenizers: Mapping[str, Boundaries],
    *,
    min_variants: int,
    seed: int,
    advance: Callable[[int], Any],
) -> VariantStability:
    """Cuts both alleles of variants into tokens.

    Args:
        sample: The variants.
        tokenizers: What cuts them, by name.
        min_variants: Variants of a kind and size that are needed.
        seed: Of the resampling.
        advance: Is told of each kind and size that is done.
    """
    kinds: dict[str, KindStability] = {}
    for kind, alleles in sample.alleles.items():
        found: dict[str, Band] = {}
        for name, boundaries in tokenizers.items() if len(alleles) >= min_variants else ():
            before = boundaries([each.reference for each in alleles])
            after = boundaries([each.alternate for each in alleles])
            agreements = [agreement(*each) for each in zip(alleles, before, after, strict=True)]
            found[name] = bootstrap_band(torch.tensor(agreements, dtype=torch.float64), seed)
        kinds[kind] = KindStability(sample.counts[kind], len(alleles), found)
        advance(1)
    return VariantStability(sample, kinds)


def agreement(alleles: TwoAlleles, before: torch.Tensor, after: torch.Tensor) -> tuple[float, float]:
    """How alike the tokens of two alleles are, in [0, 1] each.

    *Boundary Jaccard*: of the bases that both alleles have (of as many put in as taken out, these too) and
    that begin a token in either, the share that do in both; 1 where there is none. The first base of a
    window, which always begins a token, is left out. *Edit similarity*: 1 minus the
    fewest tokens to put in, take out or replace to make one sequence of tokens of the other, over the tokens
    of the longer.

    Args:
        alleles: Their windows.
        before: ``[n]`` bool: where tokens of the reference begin.
        after: ``[m]`` bool: where those of the alternate do.
    """
    _, _, place, deleted, inserted = alleles
    shared = deleted if deleted == inserted else 0
    of_before = torch.cat([torch.arange(place + shared), torch.arange(place + deleted, len(before))])
    of_after = torch.cat([torch.arange(place + shared), torch.arange(place + inserted, len(after))])
    is_inner = (of_before > 0) & (of_after > 0)
    jaccard = boundary_jaccard(before[of_before[is_inner]], after[of_after[is_inner]])
    tokens = _tokens(alleles.reference, before), _tokens(alleles.alternate, after)
    return jaccard, 1 - edit_distance(*tokens) / max(map(len, tokens))


def edit_distance(one: Sequence[Any], other: Sequence[Any]) -> int:
    """The fewest elements to put in, take out or replace to make one sequence of the other (Levenshtein).

    Example:
        >>> edit_distance("GATTACA", "GCATTA")
        3
    """
    numbers: dict[Any, int] = {}
    first, second = (
        np.array([numbers.setdefault(each, len(numbers)) for each in sequence], dtype=np.int64)
        for sequence in (one, other)
    )
    steps = np.arange(len(second) + 1)
    row = steps
    for count, element in enumerate(first, start=1):
        best = np.concatenate([[count], np.minimum(row[1:] + 1, row[:-1] + (second != element))])
        # Elements put in cost one each, from wherever that is cheapest.
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


def _tokens(ids: torch.Tensor, starts: torch.Tensor) -> list[bytes]:
    letters = ids.to(torch.uint8).numpy().tobytes()
    edges = [0, *(starts[1:].nonzero()[:, 0] + 1).tolist(), len(letters)]
    return [letters[start:end] for start, end in itertools.pairwise(edges)]


def _size_class(size_bp: int) -> str:
    least, end = next(
        (least, end)
        for least, end in zip(SIZES_BP, (*SIZES_BP[1:], None), strict=True)
        if end is None or size_bp < end
    )
    return f"{least} or more" if end is None else str(least) if end == least + 1 else f"{least}-{end - 1}"


def _rank(kind: str) -> tuple[int, int]:
    """Where a kind and size stands in tables."""
    name, _, size = kind.partition(" of ")
    return _KINDS.index(name), int(size.partition("-")[0].split()[0]) if size else 0


def _line(entry: tuple[int, int, int, TwoAlleles]) -> tuple[int, int]:
    return -entry[1], -entry[2]


__all__ = [
    "AGREEMENT",
    "KindStability",
    "TwoAlleles",
    "VariantSample",
    "VariantStability",
    "agreement",
    "edit_distance",
    "sample_variants",
    "variant_class",
    "variant_stability",
]
