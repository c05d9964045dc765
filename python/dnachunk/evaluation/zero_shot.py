"""Scores of sequence variants by a masked language model that was never trained on variants.

A variant is two alleles in the same flanks: a reference and an alternate window. Two scores compare them.

*Log-likelihood ratio*, in nats. In each allele's own window all bases in which the alleles differ show
``[MASK]`` at once (of a codon all three, of an insertion the inserted ones, of a deletion the deleted ones),
and the model gives each its probability ``p`` among A, C, G and T. With ``S = Σ (ln p + ln 4)`` over the
bases of an allele, log-odds against four equal letters, the score is ``S(alternate) − S(reference)``:
positive where the model finds the alternate allele likelier. Of a substitution it is the logarithm of the
ratio of the probabilities itself, for ``ln 4`` cancels. Of an insertion it is how much better than chance the
inserted bases fit, of a deletion minus that of the deleted ones; deleting what was inserted has the opposite
score, and a model that knows nothing gives 0 whatever the length.

*Embedding distance*: ``1 − cos`` between the mean vectors of the two windows with nothing masked.

The place of an insertion or deletion inside a repeat is arbitrary: it is moved to the left as far as the
sequence allows, along the strand that is read, so that its score does not depend on how a file spells it.
Averaged over strands, both scores are means of what either strand gives, and are equal for a variant and for
the same variant on the reverse complement of its record.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from dnachunk.alphabet import A_ID, BASES, COMPLEMENT, MASK_ID, N_ID, PAD_ID, T_ID, is_base
from dnachunk.data.genome import Genome
from dnachunk.ops import encode_dna
from dnachunk.ops._check import check_dtype, check_shape
from dnachunk.tokenization import between_special_tokens

Batch = dict[str, torch.Tensor]
Item = TypeVar("Item")

REASONS: Final[Mapping[str, str]] = {
    "unknown_contig": "the FASTA has no record of this name",
    "outside_record": "it does not lie in its record",
    "reference_mismatch": "the FASTA has other letters than the reference allele",
    "no_alternate": "there is no alternate allele",
    "symbolic_allele": "the alternate allele is symbolic",
    "overlapping_deletion": "the alternate allele is missing because of another deletion",
    "breakend": "the alternate allele is a breakend",
    "same_as_reference": "the alternate allele is the reference allele",
    "ambiguous_base": "a base that changes is none of A C G T",
    "too_long": "the alleles are longer than a window",
    "no_context": "there is no base beside the alleles that is A C G or T",
    "n_in_context": "scored, with N in the window",
}
"""Why a variant has no score, or, the last one, what is to be known of its score."""

_PIECE_BP = 1024


class ZeroShotModel(NamedTuple):
    """What the scores need of a model.

    Both functions take a batch on the CPU, ``input_ids`` ``[B, N]`` int64 and ``attention_mask`` ``[B, N]``
    (right padding), and may answer on any device.

    Attributes:
        predict: To logits ``[B, N, V]`` by id.
        embed: To the mean vector ``[B, D]`` of each row; rows are bases alone, whatever the model reads.
        cls_sep: Whether ``predict`` reads ``[CLS] … [SEP]``, as the model's tokenizer writes it.
        network: The model that answers, if it is one.
        bf16: Whether its matrix products run in bfloat16.
    """

    predict: Callable[[Batch], torch.Tensor]
    embed: Callable[[Batch], torch.Tensor]
    cls_sep: bool = False
    network: torch.nn.Module | None = None
    bf16: bool = False


class Unscorable(Exception):  # noqa: N818  (an answer, not an error)
    """A variant has no score.

    Attributes:
        reason: Why, one of :data:`REASONS`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: {REASONS[reason]}")
        self.reason = reason


@dataclass(frozen=True, eq=False, slots=True)
class Edit:
    """One place where an alternate sequence differs from a record.

    Attributes:
        start_bp: First base that is replaced, 0-based, or where an insertion goes.
        reference: ``[a]`` uint8: ids of the bases that are replaced.
        alternate: ``[b]`` uint8: ids of those in their place.
    """

    start_bp: int
    reference: torch.Tensor
    alternate: torch.Tensor

    @property
    def end_bp(self) -> int:
        """Base after the last that is replaced."""
        return self.start_bp + len(self.reference)


class Variant(NamedTuple):
    """An alternate sequence of a record.

    Attributes:
        record_index: Which record of the genome.
        edits: Where it differs: at least one, in order, none overlapping another.
    """

    record_index: int
    edits: tuple[Edit, ...]


class Allele(NamedTuple):
    """One allele in its window.

    Attributes:
        ids: ``[n]`` uint8: the window.
        changed: ``[m]`` int64: the places in it of the bases in which the alleles differ.
    """

    ids: torch.Tensor
    changed: torch.Tensor


class AllelePair(NamedTuple):
    """The two alleles of a variant on one strand."""

    reference: Allele
    alternate: Allele

    @property
    def has_n(self) -> bool:
        """Whether there is an N in the windows."""
        return bool((self.reference.ids == N_ID).any())


class VariantScore(NamedTuple):
    """What a variant is given; the module says what the scores are.

    Attributes:
        log_likelihood_ratio: In nats.
        embedding_distance: In [0, 2].
        vector: ``[D]`` float64 on the CPU: the mean vector of the alternate window.
    """

    log_likelihood_ratio: float
    embedding_distance: float
    vector: torch.Tensor


class Outcome(NamedTuple):
    """What :func:`score_alleles` gives for a variant.

    Attributes:
        score: Its score, if it has one.
        reason: Why it has none, or what is to be known of it: one of :data:`REASONS`, or None.
    """

    score: VariantScore | None
    reason: str | None


def model_inputs(windows: Sequence[torch.Tensor], *, cls_sep: bool = False) -> Batch:
    """Windows of ids as a model's batch.

    Args:
        windows: Each ``[n]`` of any integer dtype.
        cls_sep: Whether to put ``[CLS]`` before and ``[SEP]`` behind each.

    Returns:
        ``input_ids`` and ``attention_mask`` ``[B, N]`` int64, padded on the right.
    """
    rows = [window.long() for window in windows]
    ids = pad_sequence(rows, batch_first=True, padding_value=PAD_ID)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    if cls_sep:
        ids, mask = between_special_tokens(ids, mask)
    return {"input_ids": ids, "attention_mask": mask}


def masked_log_probabilities(
    predict: Callable[[Batch], torch.Tensor],
    windows: Sequence[torch.Tensor],
    hidden: Sequence[torch.Tensor],
    *,
    cls_sep: bool = False,
) -> list[torch.Tensor]:
    """Log-probabilities of the four letters at chosen bases, each window's chosen bases masked together.

    Args:
        predict: From a batch to logits ``[B, N, V]``, ``V > 8``, on any device, indexed by id; run without
            gradients. Only the logits of the four letters count.
        windows: Each ``[n]`` ids of bases.
        hidden: For each window, ``[m]`` int64: the places of the chosen bases, which show ``[MASK]``.
        cls_sep: Whether the model reads ``[CLS] … [SEP]``; places never count the ``[CLS]``.

    Returns:
        For each window ``[m, 4]`` float64 on the CPU: log-probabilities of A, C, G, T, in nats.

    Raises:
        ValueError: If a place lies outside its window, or the logits do not fit.
    """
    for window, places in zip(windows, hidden, strict=True):
        check_shape("masked_log_probabilities", "windows[i]", window, ("n",))
        check_dtype("masked_log_probabilities", "hidden[i]", places, torch.int64)
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < len(window):
            raise ValueError(
                f"masked_log_probabilities: hidden must be from 0 to {len(window) - 1}, got {places.tolist()}"
            )
    masked = [window.index_fill(0, places, MASK_ID) for window, places in zip(windows, hidden, strict=True)]
    batch = model_inputs(masked, cls_sep=cls_sep)
    with torch.no_grad():
        logits = predict(batch)
    check_shape("masked_log_probabilities", "logits", logits, (*batch["input_ids"].shape, "V"))
    if logits.shape[-1] <= T_ID:
        raise ValueError(
            f"masked_log_probabilities: logits must cover the ids of A, C, G, T (5 to {T_ID}), "
            f"got {logits.shape[-1]} ids"
        )
    letters = logits[..., A_ID : T_ID + 1]
    return [
        letters[row, places.to(letters.device) + int(cls_sep)].double().log_softmax(dim=-1).cpu()
        for row, places in enumerate(hidden)
    ]


def read_variant(genome: Genome, contig: str, start_bp: int, reference: str, alternate: str) -> Variant:
    """A variant from its two alleles: the bases in which they differ.

    Letters that both alleles end or begin with, such as the base that VCF puts before an insertion, are left
    out.

    Args:
        genome: The genome.
        contig: Name of a record.
        start_bp: Where the reference allele begins, 0-based.
        reference: Its letters, upper or lower case.
        alternate: The letters in their place; may be empty.

    Raises:
        Unscorable: If the record is unknown, the reference allele does not lie in it or is not what it has
            there, the alleles are equal, or differ in a letter that is none of A, C, G, T.
        ValueError: If a character is no nucleotide letter.
    """
    ids, _, offsets = encode_dna([reference, alternate])
    before, after = ids[: offsets[1]], ids[offsets[1] :]
    if contig not in genome:
        raise Unscorable("unknown_contig")
    record_index = genome.index_of(contig)
    if start_bp < 0 or start_bp + len(before) > genome.records[record_index].length_bp:
        raise Unscorable("outside_record")
    if not torch.equal(genome.fetch(record_index, start_bp, start_bp + len(before))[0], before):
        raise Unscorable("reference_mismatch")
    if torch.equal(before, after):
        raise Unscorable("same_as_reference")
    shared = _num_shared(before.flip(0), after.flip(0))
    before, after = before[: len(before) - shared], after[: len(after) - shared]
    shared = _num_shared(before, after)
    edit = Edit(start_bp + shared, before[shared:], after[shared:])
    if not is_base(torch.cat([edit.reference, edit.alternate])).all():
        raise Unscorable("ambiguous_base")
    return Variant(record_index, (edit,))


def allele_pair(genome: Genome, variant: Variant, window_bp: int, *, reverse: bool = False) -> AllelePair:
    """The windows of a variant's two alleles, on one strand.

    Both have the same flanks, as long to the left as to the right and cut, or moved inwards, at the record's
    ends, such that the longer window has at most ``window_bp`` bases.

    Args:
        genome: The genome.
        variant: The variant.
        window_bp: Bases of a window.
        reverse: Whether to read the reverse complement.

    Raises:
        Unscorable: If the alleles do not fit in a window, or no known base is left beside them.
    """
    record_index, edits = variant
    length_bp = genome.records[record_index].length_bp

    def fetch(start_bp: int, end_bp: int) -> torch.Tensor:
        if reverse:
            start_bp, end_bp = length_bp - end_bp, length_bp - start_bp
        return genome.fetch(record_index, start_bp, end_bp, reverse_complement=reverse)[0]

    if reverse:
        edits = tuple(
            Edit(length_bp - edit.end_bp, _complement(edit.reference), _complement(edit.alternate))
            for edit in reversed(edits)
        )
    if len(edits) == 1:
        edits = (_left_aligned(fetch, edits[0]),)
    start_bp, end_bp = edits[0].start_bp, edits[-1].end_bp
    window_bp -= max(0, sum(len(edit.alternate) - len(edit.reference) for edit in edits))
    if end_bp - start_bp > window_bp:
        raise Unscorable("too_long")
    first_bp = start_bp - (window_bp - (end_bp - start_bp)) // 2
    first_bp = max(0, min(first_bp, length_bp - window_bp))
    last_bp = min(first_bp + window_bp, length_bp)
    window = fetch(first_bp, last_bp)

    pieces: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    changes: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    lengths = [0, 0]
    done_bp = first_bp
    for edit in edits:
        flank = window[done_bp - first_bp : edit.start_bp - first_bp]
        for side, ids in enumerate((edit.reference, edit.alternate)):
            pieces[side].extend([flank, ids])
            lengths[side] += len(flank)
            changes[side].append(torch.arange(lengths[side], lengths[side] + len(ids)))
            lengths[side] += len(ids)
        done_bp = edit.end_bp
    pair = AllelePair(
        *(
            Allele(torch.cat([*parts, window[done_bp - first_bp :]]), torch.cat(places))
            for parts, places in zip(pieces, changes, strict=True)
        )
    )
    context = pair.reference.ids.index_fill(0, pair.reference.changed, MASK_ID)
    if not is_base(context).any():
        raise Unscorable("no_context")
    return pair


def score_alleles(
    model: ZeroShotModel,
    genome: Genome,
    variants: Sequence[Variant | str],
    window_bp: int,
    *,
    both_strands: bool,
    batch_size: int,
) -> list[Outcome]:
    """Scores variants of a genome.

    Args:
        model: The model.
        genome: The genome.
        variants: Variants, or the reasons that they cannot be scored, which are handed through.
        window_bp: Bases of a window.
        both_strands: Whether to average over both strands.
        batch_size: Windows that are run at once; changes no score beyond rounding.

    Returns:
        What became of each.
    """
    answers: list[list[AllelePair] | str] = []
    for variant in variants:
        if isinstance(variant, str):
            answers.append(variant)
            continue
        strands = [False, True] if both_strands else [False]
        try:
            answers.append([allele_pair(genome, variant, window_bp, reverse=reverse) for reverse in strands])
        except Unscorable as error:
            answers.append(error.reason)
    scores = iter(
        score_pairs(model, [pairs for pairs in answers if not isinstance(pairs, str)], batch_size=batch_size)
    )
    return [
        Outcome(None, pairs)
        if isinstance(pairs, str)
        else Outcome(next(scores), "n_in_context" if any(pair.has_n for pair in pairs) else None)
        for pairs in answers
    ]


def score_pairs(
    model: ZeroShotModel, variants: Sequence[Sequence[AllelePair]], *, batch_size: int
) -> list[VariantScore]:
    """Scores variants; windows that several of them share are run once.

    Args:
        model: The model.
        variants: For each variant its alleles on each strand that is to be averaged.
        batch_size: Windows that are run at once; changes no score beyond rounding.

    Returns:
        A score for each variant.
    """
    alleles = [allele for pairs in variants for pair in pairs for allele in pair]
    log_odds = iter(_log_odds(model, alleles, batch_size))
    vectors = iter(_mean_vectors(model, alleles, batch_size))
    scores = []
    for pairs in variants:
        strands = []
        for _ in pairs:
            reference_odds, alternate_odds = next(log_odds), next(log_odds)
            reference, alternate = next(vectors), next(vectors)
            difference = F.normalize(alternate, dim=0) - F.normalize(reference, dim=0)
            # 1 - cos, without the cancellation.
            distance = float(difference.square().sum()) / 2
            strands.append((alternate_odds - reference_odds, distance, alternate))
        ratios, distances, alternates = zip(*strands, strict=True)
        scores.append(
            VariantScore(
                sum(ratios) / len(strands), sum(distances) / len(strands), torch.stack(alternates).mean(dim=0)
            )
        )
    return scores


def _log_odds(model: ZeroShotModel, alleles: Sequence[Allele], batch_size: int) -> list[float]:
    """``Σ (ln p + ln 4)`` over the changed bases of each allele, 0 where it has none."""
    keys = [allele.ids.index_fill(0, allele.changed, MASK_ID).numpy().tobytes() for allele in alleles]
    masked = {key: allele for key, allele in zip(keys, alleles, strict=True) if len(allele.changed)}
    tables: dict[bytes, torch.Tensor] = {}
    for batch in _batches(list(masked), batch_size):
        windows, hidden = zip(*(masked[key] for key in batch), strict=True)
        answers = masked_log_probabilities(model.predict, windows, hidden, cls_sep=model.cls_sep)
        tables.update(zip(batch, answers, strict=True))
    return [
        float(tables[key].gather(1, letters[:, None]).sum()) + len(letters) * math.log(len(BASES))
        if len(letters := allele.ids[allele.changed].long() - A_ID)
        else 0.0
        for key, allele in zip(keys, alleles, strict=True)
    ]


def _mean_vectors(model: ZeroShotModel, alleles: Sequence[Allele], batch_size: int) -> Iterator[torch.Tensor]:
    """The mean vector of each allele's window, ``[D]`` float64 on the CPU."""
    keys = [allele.ids.numpy().tobytes() for allele in alleles]
    windows = dict(zip(keys, (allele.ids for allele in alleles), strict=True))
    vectors: dict[bytes, torch.Tensor] = {}
    for batch in _batches(list(windows), batch_size):
        inputs = model_inputs([windows[key] for key in batch])
        with torch.no_grad():
            rows = model.embed(inputs)
        check_shape("score_pairs", "embed's vectors", rows, (len(batch), "D"))
        vectors.update(zip(batch, rows.double().cpu(), strict=True))
    return (vectors[key] for key in keys)


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _complement(ids: torch.Tensor) -> torch.Tensor:
    return torch.tensor(COMPLEMENT, dtype=torch.uint8)[ids.long()].flip(0)


def _num_shared(a: torch.Tensor, b: torch.Tensor) -> int:
    """How many letters two sequences begin with in common."""
    length = min(len(a), len(b))
    return int((a[:length] == b[:length]).long().cumprod(dim=0).sum())


def _left_aligned(fetch: Callable[[int, int], torch.Tensor], edit: Edit) -> Edit:
    """An insertion or deletion as far to the left as spells the same sequence; other edits as they are."""
    if bool(len(edit.reference)) == bool(len(edit.alternate)):
        return edit
    inserted = torch.cat([edit.reference, edit.alternate])
    period, shift = len(inserted), 0
    while shift < edit.start_bp:
        # Leftwards from the edit, the sequence must repeat what is inserted.
        left = fetch(max(0, edit.start_bp - shift - _PIECE_BP), edit.start_bp - shift).flip(0)
        places = torch.arange(shift, shift + len(left))
        shared = _num_shared(left, inserted[period - 1 - places % period])
        shift += shared
        if shared < len(left):
            break
    moved = inserted.roll(shift)
    return Edit(edit.start_bp - shift, moved[: len(edit.reference)], moved[: len(edit.alternate)])
