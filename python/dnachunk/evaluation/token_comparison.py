"""What the tokens of several tokenizers mean, side by side."""

import contextlib
import functools
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dnachunk.alphabet import is_base
from dnachunk.baselines import FixedTokenizer, Tokenization
from dnachunk.data import Genome, HeldOutWindows, Interval, WindowDataset
from dnachunk.data.annotation import Feature, read_annotation
from dnachunk.data.contents import OnError, tell_skipped
from dnachunk.data.record_names import Aliases, some
from dnachunk.data.shuffle import dinucleotide_shuffle
from dnachunk.errors import ArgumentError, UsageError, require_at_least, require_different_files
from dnachunk.evaluation import token_meaning as meaning
from dnachunk.evaluation.boundary_survival import (
    Boundaries,
    MutationKind,
    boundary_survival,
    kmer_boundaries,
    text_boundaries,
)
from dnachunk.evaluation.kept_whole import (
    FIGURES,
    Cuts,
    MotifCuts,
    Occurrences,
    find_occurrences,
    motif_cuts,
)
from dnachunk.evaluation.matched_bpe import matched_bpe, mean_token_bp
from dnachunk.evaluation.motifs import MOTIFS, Sites, motif_sites
from dnachunk.evaluation.run_lengths import (
    LONGEST_RUN,
    TANDEM_COPIES,
    TANDEM_PERIODS,
    letter_runs,
    tandem_runs,
)
from dnachunk.evaluation.token_meaning import Band, Profile, TokenFigures, bases_per_token
from dnachunk.evaluation.variant_scores import reasons_table, unknown_contigs_report
from dnachunk.evaluation.variant_stability import (
    AGREEMENT,
    REASONS,
    VariantSample,
    VariantStability,
    sample_variants,
    variant_stability,
)
from dnachunk.files import output_file, output_folder, written_whole
from dnachunk.inference.genome import find_interval, open_genome
from dnachunk.inference.segmenter import FIXED_WINDOW_BP, Segmenter
from dnachunk.inference.tokens import PathLike, resolve
from dnachunk.inference.writers import bedgraph_lines, interval_writer
from dnachunk.models.loading import model_files
from dnachunk.ops import decode_dna
from dnachunk.random import mix
from dnachunk.reporting import Report, Table, finite, progress, require_own_files, say, write_results

Profiles = dict[str, dict[str, Profile]]
"""By kind of site, by label and what is shown of it."""
Draw = Callable[["TokenComparison"], Mapping[str, Any]]
"""What makes plots of a comparison, by name."""

FLANK_BP = 50
"""Bases that a profile shows on either side of a site."""

MIN_SITES = 10
"""Sites below which there is no profile."""

LONG_RUN_BP = 8
"""Length from which a run of one letter is said to be long."""

EXCLUDE_BP = 32
"""Boundaries no farther than this from a mutation do not count."""

TRAINING_BP = 1 << 20
"""Bases that byte-pair encoding is trained on, at most."""

ALL, ELSEWHERE = "all", "elsewhere"
SOFT_MASKED, NOT_SOFT_MASKED = "soft-masked", "not soft-masked"

PLOTS = (
    "token_lengths",
    "runs",
    "profiles_motifs",
    "profiles_sites",
    "boundary_survival",
    "motifs",
    "variants",
)
"""Plots that there may be."""

_JOB = "compare_tokens"


class Span(NamedTuple):
    """A stretch of a record."""

    record_index: int
    start_bp: int
    end_bp: int


class MutationWindows(NamedTuple):
    """Windows to mutate, ``[W, N]`` int64 ids, and texts from elsewhere to train on, if there is anything."""

    windows: torch.Tensor
    texts: list[str]


class Survival(NamedTuple):
    """How the boundaries of a tokenizer stand mutations, and how it compresses the same windows."""

    bases_per_token: float
    shares: Mapping[MutationKind, float]


@dataclass(frozen=True, slots=True, eq=False)
class TokenComparison(Report):
    """What tokens have to do with the sequence, for several tokenizers.

    Attributes:
        bases: Bases that were looked at.
        figures: By label, how tokens lie in regions and in runs.
        profiles: Boundaries around motifs (``"motifs"``) and around ends of features (``"sites"``).
        survival: By tokenizer, boundaries that stand a mutation; empty where there is no window to mutate.
        mutated_windows: How many windows were mutated.
        mutated_window_bp: Bases of each.
        few_sites: Kinds of sites of which there are too few for a profile, and how many there are.
        lacks_bpe: Whether byte-pair encoding would be compared, and there is nothing to train it on.
        motifs: By motif that was given, how its occurrences are cut.
        motif_score: Score from which a matrix was said to match.
        variants: How alike the tokens of two alleles are; None where no variants were given.
    """

    bases: int
    figures: Mapping[str, TokenFigures]
    profiles: Mapping[str, Profiles]
    survival: Mapping[str, Survival]
    mutated_windows: int
    mutated_window_bp: int
    few_sites: Sequence[str]
    lacks_bpe: bool
    motifs: Mapping[str, MotifCuts]
    motif_score: float
    variants: VariantStability | None

    @property
    def regions(self) -> list[str]:
        """Regions that have bases; repeats are one only where there are some."""
        lengths = next(iter(self.figures.values())).lengths
        names = [name for name, counts in lengths.items() if counts.sum()]
        return names if SOFT_MASKED in names else [name for name in names if name != NOT_SOFT_MASKED]

    @property
    def boundary_frequencies(self) -> dict[str, float]:
        """By label, the share of all bases that begin a token."""
        return {label: 1 / bases_per_token(found.lengths[ALL]) for label, found in self.figures.items()}

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``dnachunk compare-tokens`` writes."""
        return {
            "bases": self.bases,
            "tokenizers": {label: _figures_metrics(found) for label, found in self.figures.items()},
            "profiles": {
                kind: {name: _profile_metrics(profile) for name, profile in curves.items()}
                for of_kinds in self.profiles.values()
                for kind, curves in of_kinds.items()
            },
            "mutated_windows": self.mutated_windows,
            "mutated_window_bp": self.mutated_window_bp,
            "boundary_survival": {
                label: {"bases_per_token": found.bases_per_token, **_finite(found.shares)}
                for label, found in self.survival.items()
            },
            "motif_score": self.motif_score,
            "motifs": {name: _motif_metrics(found) for name, found in self.motifs.items()},
            "variants": None if self.variants is None else _variants_metrics(self.variants),
        }

    def save(self, output_dir: PathLike, draw: Draw | None = None) -> None:
        """Writes ``results.json``, and plots beside it, all or none.

        Args:
            output_dir: The folder. Plots of an earlier comparison that this one does not have are removed.
            draw: Makes the plots, by name: :func:`~dnachunk.visualization.plot_token_comparison`.

        Raises:
            OSError: If a file cannot be written.
        """
        folder = _own_folder(output_dir)
        plots = {} if draw is None else draw(self)
        with written_whole(folder) as staging:
            for name, figure in plots.items():
                figure.savefig(staging / f"{name}.png", dpi=150)
            write_results(staging / "results.json", _JOB, self.metrics)
        for name in set(PLOTS if draw is not None else ()) - set(plots):
            (folder / f"{name}.png").unlink(missing_ok=True)

    def report(self) -> list[Table | str]:
        """Lengths by region, runs, profiles, survival of boundaries, and motifs and variants if given."""
        parts = [_lengths_table(self), *_runs_tables(self.figures)]
        if self.few_sites:
            parts.append(
                f"No profile, {MIN_SITES} sites are needed away from N and the records' ends: "
                f"{', '.join(self.few_sites)}"
            )
        parts += [table for of_kinds in self.profiles.values() for table in _profiles_table(of_kinds)]
        if self.lacks_bpe:
            parts.append(
                "No byte-pair encoding: there is no sequence to train it on outside the mutated windows"
            )
        if self.survival:
            parts.append(_survival_table(self))
        parts += _motifs_tables(self.motifs, self.motif_score)
        return parts if self.variants is None else [*parts, *_variants_tables(self.variants)]


def compare_tokens(
    fasta: PathLike | Genome,
    output_dir: PathLike | None = None,
    *,
    model: Any = (),
    tokenizer: str | Sequence[str] = (),
    annotation: PathLike | Sequence[PathLike] = (),
    feature: str | Sequence[str] = (),
    motif: PathLike | Sequence[PathLike] = (),
    motif_score: float = 0.8,
    vcf: PathLike | None = None,
    region: str | Interval | None = None,
    aliases: Aliases | None = None,
    on_error: OnError = "fail",
    bedgraph: PathLike | None = None,
    window_bp: int | None = None,
    max_sites: int = 200,
    mutated_windows: int = 500,
    seed: int = 0,
    batch_size: int = 8,
    draw: Draw | None = None,
) -> TokenComparison:
    """Tells what tokens have to do with the sequence, for several tokenizers side by side.

    Lengths of tokens by annotated region, in repeats (lower case) and outside, in runs of one letter and in
    tandem runs. Boundaries around motifs, and around starts and ends of features, along their strand, beside
    the same stretches shuffled (same dinucleotides), with 95% bootstrap bands. Boundaries that survive a
    mutation more than 32 bp away, beside 6-mers and byte-pair encoding of the same compression.

    Of motifs that are given: tokens that have a base of an occurrence, the share of occurrences inside one
    token, and the share of their edges at which a token begins; of variants by kind and size: the share of
    boundaries that both alleles have, and the edit similarity of their tokens. Both beside the same 6-mers
    and byte-pair encoding, with 95% intervals; motifs beside shuffled sequence too.

    Args:
        fasta: The sequences: plain, gzip or bgzip. A record takes some 60 bytes of memory a base.
        output_dir: Folder to write ``results.json`` into. Default: nothing is written.
        model: Models of ours, or folders of models, or of baselines and their tokenizers: one, several, or by
            the names that they are to have. Default names are the folders'.
        tokenizer: Fixed tokenizers beside them: ``"base"``, ``"6mer"`` (1 to 8), or ``"bpe-1024"``, trained
            on the sequences outside the windows that are mutated; one or several.
        annotation: Features of the sequences: GFF3, GTF or BED, plain or gzip; one file or several.
        feature: Only features of this type (of BED: name), or of these.
        motif: Motifs: IUPAC letters, ``"TATAWAWR"`` or ``"TATA box=TATAWAWR"``; files of matrices in MEME's
            or JASPAR's format (``.meme``, ``.jaspar``, ``.pfm``); or places in BED files, a motif for each
            name; one or several.
        motif_score: Where a matrix matches: at this share of the way from the lowest score that it can give
            to the highest, in [0, 1]. 0.8 is TFBSTools' default.
        vcf: Variants of the sequences: plain, gzip or bgzip. Alleles that are not written in letters are
            counted with the reason.
        region: Only this part, ``"chrI"`` or ``"chrI:101-200"`` (from 1, inclusive).
        aliases: Names of records that mean the same: ``"chr"``, ``"version"``, a table or a mapping; see
            :class:`~dnachunk.data.record_names.RecordNames`.
        on_error: ``"skip"``: records and lines that cannot be read are left out, counted and listed;
            ``"fail"``: they are refused.
        bedgraph: File to write, bgzip if it ends in ``.gz``: the probability that a token begins at a base,
            of the one model that has it (DNAChunker, first stage).
        window_bp: Bases read at once; default as in each model's training.
        max_sites: Sites of each kind that are looked at, drawn at random: occurrences of each motif, variants
            of each kind and size.
        mutated_windows: Windows that are mutated, at most.
        seed: Of sites, shuffling, mutations and resampling.
        batch_size: Windows run at once.
        draw: Makes plots to write beside ``results.json``, see :meth:`TokenComparison.save`.

    Returns:
        The comparison; :func:`~dnachunk.visualization.plot_token_comparison` draws it.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If an argument is out of range, there is no tokenizer, or two have one name.
    """
    tokenizers = [tokenizer] if isinstance(tokenizer, str) else list(tokenizer)
    annotations = [annotation] if isinstance(annotation, str | os.PathLike) else list(annotation)
    kinds = [feature] if isinstance(feature, str) else list(feature)
    patterns = [motif] if isinstance(motif, str | os.PathLike) else list(motif)
    models = named_models(model)
    if not models and not tokenizers:
        raise UsageError("at least one `model` or `tokenizer` must be given")
    require_at_least("max_sites", max_sites, MIN_SITES)
    require_at_least("mutated_windows", mutated_windows, 1)
    require_at_least("batch_size", batch_size, 1)
    if not 0 <= motif_score <= 1:
        raise ArgumentError(f"`motif_score` must be in [0, 1], got {motif_score}")
    if not -(1 << 63) <= seed < 1 << 63:
        raise ArgumentError(f"`seed` must be a whole number of 64 bits, got {seed}")
    require_different_files(
        model=[file for _, each in models for file in model_files(each)],
        fasta=fasta,
        aliases=aliases,
        annotation=annotations,
        # Places may be looked at as both.
        motif=[each for each in patterns if Path(each) not in map(Path, annotations)],
        vcf=vcf,
        bedgraph=bedgraph,
    )
    if bedgraph is not None:
        output_file(bedgraph)
    if output_dir is not None:
        folder = _own_folder(output_dir)
        require_different_files(bedgraph=bedgraph, output_dir=[folder / name for name in _files()])
    genome = open_genome(fasta, aliases, on_error=on_error)
    spans = spans_of(genome, None if region is None else find_interval(genome, region))
    if not any(is_base(genome.fetch(*span)[0]).any() for span in spans):
        raise ValueError(f"there is no A, C, G or T in {region or genome.path}")
    features = _read_features(genome, [Path(path) for path in annotations], kinds, spans, on_error)
    occurrences = find_occurrences(genome, spans, patterns, motif_score, on_error)
    segmenters = [Segmenter.of(name, resolve(each), window_bp) for name, each in models]
    shortest_bp = min((each.window_bp for each in segmenters), default=window_bp or FIXED_WINDOW_BP)
    sample = None
    if vcf is not None:
        sample = sample_variants(
            genome,
            spans,
            vcf,
            window_bp=shortest_bp,
            max_variants=max_sites,
            seed=seed,
            on_error=on_error,
        )
    mutation = _mutation_windows(genome, spans, shortest_bp, mutated_windows, seed)
    segmenters += fixed_segmenters(tokenizers, mutation.texts if mutation else [], window_bp)
    check_segmenters(segmenters, bedgraph)

    with contextlib.ExitStack() as stack:
        write = None if bedgraph is None else _bedgraph_writer(stack, Path(bedgraph), genome)
        figures, motifs = _measure(genome, spans, features, segmenters, write, batch_size)
        few_sites: list[str] = []
        profiles = {
            name: _profiles(genome, sites, segmenters, max_sites, seed, batch_size, few_sites)
            for name, sites in (("motifs", motifs), ("sites", _feature_sites(features, spans)))
        }
        cutters = _cutters(mutation, segmenters, batch_size)
        survival = {} if mutation is None else _survival(mutation, cutters, seed)
        cuts = _motif_cuts(genome, occurrences, cutters, shortest_bp, max_sites, seed)
        stability = None if sample is None else _stability(sample, cutters, seed)
        is_learned = any(not isinstance(each.model, FixedTokenizer) for each in segmenters)
        is_compared = mutation is not None or bool(occurrences) or sample is not None
        comparison = TokenComparison(
            sum(span.end_bp - span.start_bp for span in spans),
            figures,
            profiles,
            survival,
            0 if mutation is None else len(mutation.windows),
            shortest_bp,
            few_sites,
            is_compared and is_learned and not (mutation and mutation.texts),
            cuts,
            motif_score,
            stability,
        )
        if output_dir is not None:
            comparison.save(output_dir, draw)
    return comparison


def _files() -> list[str]:
    """Names of what there may be in the output folder."""
    return ["results.json", *(f"{name}.png" for name in PLOTS)]


def _own_folder(output_dir: PathLike) -> Path:
    """The output folder, if nothing is replaced there but an earlier comparison.

    Raises:
        OSError: If something would be, or it cannot be written into.
    """
    folder = output_folder(output_dir)
    results, *plots = (folder / name for name in _files())
    require_own_files(results, _JOB, plots)
    return folder


def named_models(model: Any) -> list[tuple[str, Any]]:
    """Models and their names; a folder's name is the model's, if no other has it."""
    if isinstance(model, Mapping):
        return list(model.items())
    models = [model] if isinstance(model, str | os.PathLike) or hasattr(model, "encode_tokens") else [*model]
    names = [
        Path(each).resolve().name if isinstance(each, str | os.PathLike) else type(each).__name__
        for each in models
    ]
    return [
        (name if names.count(name) == 1 else _other_name(name, index, each), each)
        for index, (name, each) in enumerate(zip(names, models, strict=True), start=1)
    ]


def _other_name(name: str, number: int, model: Any) -> str:
    """What one of several models of one name is called: by its folder's path, or its number."""
    return str(model) if isinstance(model, str | os.PathLike) else f"{name} {number}"


def fixed_segmenters(names: Sequence[str], texts: Sequence[str], window_bp: int | None) -> list[Segmenter]:
    """Fixed tokenizers by name, byte-pair encoding trained on the texts."""
    for name in names:
        kind = Tokenization.parse(name)
        if kind.is_overlapping:
            raise ValueError(f"{name}: words that overlap are no segmentation")
        if kind.bpe_size is not None and not texts:
            raise ValueError(f"{name}: there is no sequence to train it on outside the mutated windows")
    return [Segmenter.of(name, FixedTokenizer.from_name(name, texts), window_bp) for name in names]


def _bedgraph_writer(
    stack: contextlib.ExitStack, path: Path, genome: Genome
) -> Callable[[Span, torch.Tensor], None]:
    """Opens a bedGraph file; gives what writes the values of a stretch."""
    file = stack.enter_context(interval_writer(path, genome))
    return lambda span, values: file.writelines(
        bedgraph_lines(genome.records[span.record_index].name, span.start_bp, values)
    )


def spans_of(genome: Genome, interval: Interval | None) -> list[Span]:
    """The interval, or all records that have a base."""
    if interval is None:
        return [
            Span(index, 0, record.length_bp)
            for index, record in enumerate(genome.records)
            if record.length_bp > 0
        ]
    index = genome.index_of(interval.record)
    return [Span(index, interval.start_bp, interval.end_bp or genome.records[index].length_bp)]


def _read_features(
    genome: Genome, paths: Sequence[Path], kinds: Sequence[str], spans: Sequence[Span], on_error: OnError
) -> list[Feature]:
    """Features of these kinds, or of all, that touch the spans."""
    found: set[Feature] = set()
    for path in paths:
        annotation = read_annotation(path, genome, on_error=on_error)
        found.update(annotation.features)
        tell_skipped(annotation.skipped, f"lines of {path}")
        if annotation.num_empty:
            say(f"{path}: {annotation.num_empty:,} features without a base are left out")
        if annotation.left_out:
            say(
                f"{path}: {annotation.left_out.total():,} features are left out, on "
                f"{len(annotation.left_out):,} records that {genome.path.name} does not have: "
                f"{some(annotation.left_out, 20)}"
            )
    present = {each.kind for each in found}
    unknown = [kind for kind in kinds if kind not in present]
    if unknown:
        there = ", ".join(sorted(present)) or "none, without `annotation`"
        raise ArgumentError(f"`feature` {unknown[0]!r} is no type of the annotation; there are {there}")
    taken = present & {ALL, ELSEWHERE, SOFT_MASKED, NOT_SOFT_MASKED}
    if taken:
        raise ArgumentError(
            f"a type of `annotation` must not be called {taken.pop()!r}, which all sequences have"
        )
    by_record = {span.record_index: span for span in spans}
    inside = [
        each
        for each in sorted(found)
        if (not kinds or each.kind in kinds)
        and (span := by_record.get(each.record_index))
        and each.start_bp < span.end_bp
        and each.end_bp > span.start_bp
    ]
    if paths and not inside:
        say("No feature of the annotation lies in the region.")
    return inside


def _mutation_windows(
    genome: Genome, spans: Sequence[Span], window_bp: int, count: int, seed: int
) -> MutationWindows | None:
    """Windows of the spans, evenly spaced, and other ones of the genome; None if not one fits."""
    # A record shorter than a window would be a window as short.
    intervals = [
        Interval(genome.records[span.record_index].name, span.start_bp, span.end_bp)
        for span in spans
        if span.end_bp - span.start_bp >= window_bp
    ]
    try:
        total = len(HeldOutWindows([genome], window_bp, intervals, max_n_fraction=0))
    except ArgumentError:
        say(f"No boundary survival: there are no {window_bp:,} bases in a row without N to mutate.")
        return None
    # Where all windows of a genome would be mutated, every second is, and the others are trained on.
    for most in (min(count, total), min(count, -(-total // 2))):
        chosen = HeldOutWindows([genome], window_bp, intervals, most, max_n_fraction=0)
        windows = torch.stack([chosen[index]["input_ids"] for index in range(len(chosen))])
        with contextlib.suppress(ValueError):
            others = WindowDataset(
                [genome],
                window_bp,
                holdout=chosen.intervals,
                num_windows=-(-min(TRAINING_BP, genome.length_bp) // window_bp),
                seed=seed,
                reverse_complement=False,
            )
            ids = [others[index]["input_ids"] for index in range(len(others))]
            offsets = torch.tensor([0, *map(len, ids)]).cumsum(0)
            return MutationWindows(windows, decode_dna(torch.cat(ids).to(torch.uint8), offsets))
    return MutationWindows(windows, [])


def check_segmenters(segmenters: Sequence[Segmenter], bedgraph: PathLike | None = None) -> None:
    """Raises if two have one name, or the probabilities that are to be written are of none or of several."""
    counts = Counter(label for each in segmenters for label in each.labels)
    twice = [label for label, count in counts.items() if count > 1]
    if twice:
        raise ArgumentError(
            f"every `model` and `tokenizer` must have a name of its own, got {twice[0]} twice"
        )
    if bedgraph is not None and sum(each.has_probability for each in segmenters) != 1:
        raise ArgumentError(
            "`bedgraph` needs one model with boundary probabilities (dnachunker), and only one"
        )


def _measure(
    genome: Genome,
    spans: Sequence[Span],
    features: Sequence[Feature],
    segmenters: Sequence[Segmenter],
    write: Callable[[Span, torch.Tensor], None] | None,
    batch_size: int,
) -> tuple[dict[str, TokenFigures], dict[str, Sites]]:
    """Figures of each segmentation, and where the motifs are."""
    of_record: dict[int, list[Feature]] = {}
    for each in features:
        of_record.setdefault(each.record_index, []).append(each)
    figures: dict[str, TokenFigures] = {}
    motifs: dict[str, list[Sites]] = {motif.name: [] for motif in MOTIFS}
    total_bp = sum(span.end_bp - span.start_bp for span in spans)
    with progress(total_bp * len(segmenters), "tokens") as advance:
        for span in spans:
            ids, is_lower = genome.fetch(*span)
            is_counted = is_base(ids)
            masks = {ALL: is_counted}
            inside = meaning.regions(of_record.get(span.record_index, []), *span)
            masks |= {kind: mask & is_counted for kind, mask in inside.items()}
            if features:
                anywhere = functools.reduce(torch.logical_or, inside.values(), torch.zeros_like(is_counted))
                masks[ELSEWHERE] = ~anywhere & is_counted
            masks |= {SOFT_MASKED: is_lower & is_counted, NOT_SOFT_MASKED: ~is_lower & is_counted}
            letters = letter_runs(ids)
            tandems = {period: tandem_runs(ids, period) for period in TANDEM_PERIODS}
            for segmenter in segmenters:
                maps, probability = segmenter.tokenize_span(genome, *span, batch_size, advance)
                for label, tokens in zip(segmenter.labels, maps, strict=True):
                    found = TokenFigures.of(tokens, masks, letters, tandems)
                    figures[label] = figures[label] + found if label in figures else found
                if write is not None and probability is not None:
                    write(span, probability)
            for motif in MOTIFS:
                motifs[motif.name].append(motif_sites(ids, motif, span.record_index, span.start_bp))
    return figures, {name: Sites.join(parts) for name, parts in motifs.items()}


def _feature_sites(features: Sequence[Feature], spans: Sequence[Span]) -> dict[str, Sites]:
    """Starts and ends of each kind of feature, inside the spans."""
    by_record = {span.record_index: span for span in spans}
    found = {}
    for kind in dict.fromkeys(sorted(each.kind for each in features)):
        for name, at_end in (("start", False), ("end", True)):
            sites = meaning.feature_sites([each for each in features if each.kind == kind], at_end=at_end)
            is_inside = [
                by_record[index].start_bp <= edge_bp <= by_record[index].end_bp
                for index, edge_bp in zip(sites.record_index.tolist(), sites.edge_bp.tolist(), strict=True)
            ]
            found[f"{kind} {name}"] = sites.take(torch.tensor(is_inside, dtype=torch.bool))
    return found


def _profiles(
    genome: Genome,
    sites: Mapping[str, Sites],
    segmenters: Sequence[Segmenter],
    max_sites: int,
    seed: int,
    batch_size: int,
    few_sites: list[str],
) -> Profiles:
    """Boundaries around each kind of site of which there are enough; ``few_sites`` gets the others."""
    profiles: Profiles = {}
    flank_bp = min([FLANK_BP, *(each.window_bp // 4 for each in segmenters)])
    with progress(len(sites) * len(segmenters), "profiles", "profiles") as advance:
        for kind, of_kind in sites.items():
            curves: dict[str, Profile] = {}
            for segmenter in segmenters:
                rows, anchors, _ = meaning.site_windows(
                    genome, of_kind, segmenter.window_bp, flank_bp, max_sites, seed
                )
                advance(1)
                if len(rows) < MIN_SITES:
                    few_sites.append(f"{kind} ({len(rows)} of {len(of_kind)} found)")
                    break
                shuffled = []
                for index, (row, anchor) in enumerate(zip(rows, anchors.tolist(), strict=True)):
                    shown = slice(anchor - flank_bp, anchor + flank_bp + 1)
                    control = row.clone()
                    control[shown] = dinucleotide_shuffle(row[shown], mix(seed, index))
                    shuffled.append(control)
                bands = []
                for version in (rows, shuffled):
                    found, probabilities = zip(*segmenter.cut_rows(version, batch_size), strict=True)
                    values = dict(zip(segmenter.labels, zip(*found, strict=True), strict=True))
                    if segmenter.has_probability:
                        values[f"{segmenter.labels[0]}, probability"] = probabilities
                    bands.append(
                        {
                            label: meaning.bootstrap_band(meaning.around(of_label, anchors, flank_bp), seed)
                            for label, of_label in values.items()
                        }
                    )
                observed, controls = bands
                curves |= {
                    label: Profile(len(rows), band, controls[label]) for label, band in observed.items()
                }
            else:
                profiles[kind] = curves
    return profiles


def _cutters(
    mutation: MutationWindows | None, segmenters: Sequence[Segmenter], batch_size: int
) -> dict[str, Boundaries]:
    """Every tokenizer, 6-mers, and byte-pair encoding of each learned one's compression, by name."""

    def boundaries_of(segmenter: Segmenter) -> Boundaries:
        return lambda rows: [found[-1] for found, _ in segmenter.cut_rows(rows, batch_size)]

    cutters: dict[str, Boundaries] = {each.name: boundaries_of(each) for each in segmenters}
    learned = [cutters[each.name] for each in segmenters if not isinstance(each.model, FixedTokenizer)]
    cutters.setdefault("6mer", kmer_boundaries(6))
    if learned and mutation is not None and mutation.texts:
        targets = [mean_token_bp(boundaries, mutation.windows) for boundaries in learned]
        for tokenizer in matched_bpe(mutation.texts, mutation.windows, targets):
            cutters.setdefault(tokenizer.init_kwargs["tokenization"], text_boundaries(tokenizer.tokenize))
    return cutters


def _survival(mutation: MutationWindows, cutters: Mapping[str, Boundaries], seed: int) -> dict[str, Survival]:
    survival = {}
    with progress(len(cutters), "mutations", "tokenizers") as advance:
        for name, boundaries in cutters.items():
            shares = boundary_survival(boundaries, mutation.windows, seed=seed, exclude_bp=EXCLUDE_BP)
            survival[name] = Survival(mean_token_bp(boundaries, mutation.windows), shares)
            advance(1)
    return survival


def _motif_cuts(
    genome: Genome,
    occurrences: Mapping[str, Occurrences],
    cutters: Mapping[str, Boundaries],
    window_bp: int,
    max_sites: int,
    seed: int,
) -> dict[str, MotifCuts]:
    with progress(len(occurrences), "motifs", "motifs") as advance:
        return motif_cuts(
            genome,
            occurrences,
            cutters,
            window_bp=window_bp,
            flank_bp=FLANK_BP,
            min_sites=MIN_SITES,
            max_sites=max_sites,
            seed=seed,
            advance=advance,
        )


def _stability(sample: VariantSample, cutters: Mapping[str, Boundaries], seed: int) -> VariantStability:
    with progress(len(sample.alleles), "variants", "kinds") as advance:
        return variant_stability(sample, cutters, min_variants=MIN_SITES, seed=seed, advance=advance)


def _lengths_table(comparison: TokenComparison) -> Table:
    figures = comparison.figures
    first = next(iter(figures.values()))
    rows = []
    for name in comparison.regions:
        bases = int(first.lengths[name].sum())
        means = [f"{bases_per_token(found.lengths[name]):.3f}" for found in figures.values()]
        rows.append([name, f"{bases:,}", *means])
    has_repeats = SOFT_MASKED in comparison.regions
    note = None if has_repeats else "There are no soft-masked bases (lower case) to compare with the others."
    return Table(["region: bases per token", "bases", *figures], rows, note)


def _runs_tables(figures: Mapping[str, TokenFigures]) -> list[Table | str]:
    def row(name: str, of_labels: Sequence[dict[str, float]]) -> list[str]:
        means = [f"{each['bases_per_token']:.3f}" for each in of_labels]
        return [name, f"{int(of_labels[0]['runs']):,}", *means]

    rows = [
        row(
            f"{length} or more" if length == LONGEST_RUN else str(length),
            [found.letters.figures(length, length) for found in figures.values()],
        )
        for length in range(1, LONGEST_RUN + 1)
    ]
    parts: list[Table | str] = [
        Table(["run of one letter: bases per token", "runs", *figures], _without_none(rows))
    ]
    rows = [
        row(f"unit of {period}", [found.tandems[period].figures(0) for found in figures.values()])
        for period in TANDEM_PERIODS
    ]
    title = f"tandem run, {TANDEM_COPIES} copies or more: bases per token"
    parts.append(Table([title, "runs", *figures], _without_none(rows)))
    first = next(iter(figures.values()))
    if not first.letters.runs[LONG_RUN_BP:].sum():
        return [*parts, f"There is no run of one letter of {LONG_RUN_BP} bp or more."]
    rows = []
    for label, found in figures.items():
        long = found.letters.figures(LONG_RUN_BP)
        chance = found.letters.uncut_by_chance(LONG_RUN_BP, 1 / bases_per_token(found.lengths[ALL]))
        verdict = "kept together" if long["uncut"] > 0.5 else "cut"
        if long["single_bases"] > 0.5:
            verdict = "cut letter by letter"
        shares = [long["uncut"], chance, long["whole"], long["single_bases"]]
        rows.append([label, *(f"{share:.1%}" for share in shares), verdict])
    runs = int(first.letters.runs[LONG_RUN_BP:].sum())
    header = ["in one token", "if cut at random", "the token is the run", "bases alone", "most are"]
    title = f"{runs:,} runs of one letter of {LONG_RUN_BP} bp or more"
    return [*parts, Table([title, *header], rows)]


def _profiles_table(profiles: Profiles) -> list[Table]:
    def shown(profile: Profile, offset: int) -> list[str]:
        place = len(profile.observed.mean) // 2 + offset
        return [
            f"{band.mean[place]:.3f} ({band.low[place]:.3f}-{band.high[place]:.3f})"
            for band in (profile.observed, profile.control)
        ]

    rows = [
        [
            f"{kind} | {label}",
            f"{profile.num_sites:,}",
            *shown(profile, 0),
            f"{profile.strongest:+d}",
            *shown(profile, profile.strongest),
            f"{profile.num_apart} of {len(profile.observed.mean)}",
        ]
        for kind, curves in profiles.items()
        for label, profile in curves.items()
    ]
    if not rows:
        return []
    header = ["sites", "at the site", "shuffled", "farthest", "there", "shuffled", "apart"]
    note = (
        "apart: offsets at which the two bands do not meet; by chance one in a hundred, with fewer than "
        "50 sites up to one in twenty"
    )
    return [Table(["a token begins (95% bootstrap band over sites)", *header], rows, note)]


def _survival_table(comparison: TokenComparison) -> Table:
    rows = [
        [
            name,
            f"{found.bases_per_token:.3f}",
            *(
                "none" if math.isnan(share) else f"{share:.1%}"
                for share in [*found.shares.values(), 1 / found.bases_per_token]
            ),
        ]
        for name, found in comparison.survival.items()
    ]
    kinds = next(iter(comparison.survival.values())).shares
    title = (
        f"boundaries that survive, {comparison.mutated_windows:,} windows of "
        f"{comparison.mutated_window_bp:,} bp"
    )
    return Table([title, "bases per token", *kinds, "by chance"], rows)


def _motifs_tables(motifs: Mapping[str, MotifCuts], motif_score: float) -> list[Table | str]:
    rows = [
        [
            f"{motif} | {name}",
            f"{found.num_found:,}",
            f"{found.num_sites:,}",
            *(
                text
                for index in range(len(FIGURES))
                for text in (_interval(cuts.observed, index), _interval(cuts.shuffled, index))
            ),
        ]
        for motif, found in motifs.items()
        for name, cuts in found.tokenizers.items()
    ]
    absent = [name for name, found in motifs.items() if not found.num_found]
    few = [
        f"{name} ({found.num_sites:,} of {found.num_found:,} found)"
        for name, found in motifs.items()
        if found.num_found and not found.tokenizers
    ]
    parts: list[Table | str] = []
    if rows:
        header = ["occurrences", "looked at", "tokens each", "shuffled", "in one token", "shuffled"]
        note = (
            "begin at edges: the share of the two edges of an occurrence at which a token begins; a matrix "
            f"matches from {motif_score:g} of the way from its lowest score to its highest"
        )
        title = "motif (95% interval over occurrences)"
        parts.append(Table([title, *header, "begin at edges", "shuffled"], rows, note))
    if absent:
        parts.append(f"Motifs that do not occur: {', '.join(absent)}")
    if few:
        parts.append(
            f"Motifs not looked at, {MIN_SITES} occurrences are needed away from N and the records' ends, no "
            f"longer than a quarter of a window: {', '.join(few)}"
        )
    return parts


def _variants_tables(variants: VariantStability) -> list[Table | str]:
    sample = variants.sample
    rows = [
        [
            f"{kind} | {name}",
            f"{found.num_found:,}",
            f"{found.num_variants:,}",
            *(_interval(band, index) for index in range(len(AGREEMENT))),
        ]
        for kind, found in variants.kinds.items()
        for name, band in found.tokenizers.items()
    ]
    few = [
        f"{kind} ({found.num_variants:,})" for kind, found in variants.kinds.items() if not found.tokenizers
    ]
    parts: list[Table | str] = []
    if rows:
        title = "variant (95% bootstrap interval over variants)"
        parts.append(Table([title, "alleles", "looked at", "boundary Jaccard", "edit similarity"], rows))
    if few:
        parts.append(f"Variants not looked at, {MIN_SITES} of a kind and size are needed: {', '.join(few)}")
    if not variants.kinds:
        parts.append("There is no variant whose alleles' tokens can be compared.")
    parts += reasons_table(sample.reasons, REASONS)
    return [*parts, *unknown_contigs_report(sample.unknown_contigs, sample.num_records)]


def _interval(band: Band, index: int) -> str:
    return f"{band.mean[index]:.3f} ({band.low[index]:.3f}-{band.high[index]:.3f})"


def _without_none(rows: list[list[str]]) -> list[list[str]]:
    """The rows that count something."""
    return [row for row in rows if row[1] != "0"]


def _figures_metrics(found: TokenFigures) -> dict[str, Any]:
    return {
        "regions": {
            name: {
                "bases": int(counts.sum()),
                "bases_per_token": bases_per_token(counts),
                "bases_by_token_length": counts.tolist(),
            }
            for name, counts in found.lengths.items()
            if counts.sum()
        },
        "letter_runs": {
            length: _finite(found.letters.figures(length, length)) for length in range(1, LONGEST_RUN + 1)
        },
        "tandem_runs": {period: _finite(counts.figures(0)) for period, counts in found.tandems.items()},
    }


def _profile_metrics(profile: Profile) -> dict[str, Any]:
    bands = {"observed": profile.observed, "shuffled": profile.control}
    return {
        "sites": profile.num_sites,
        "offsets_apart": profile.num_apart,
        **{
            name: {part: values.tolist() for part, values in band._asdict().items()}
            for name, band in bands.items()
        },
    }


def _motif_metrics(found: MotifCuts) -> dict[str, Any]:
    def of_bands(cuts: Cuts) -> dict[str, Any]:
        return {name: _band_metrics(band, FIGURES) for name, band in cuts._asdict().items()}

    return {
        "occurrences": found.num_found,
        "sites": found.num_sites,
        "tokenizers": {name: of_bands(cuts) for name, cuts in found.tokenizers.items()},
    }


def _variants_metrics(variants: VariantStability) -> dict[str, Any]:
    return {
        "records": variants.sample.num_records,
        "unknown_contigs": variants.sample.unknown_contigs,
        "reasons": variants.sample.reasons,
        "kinds": {
            kind: {
                "alleles": found.num_found,
                "variants": found.num_variants,
                "tokenizers": {
                    name: _band_metrics(band, AGREEMENT) for name, band in found.tokenizers.items()
                },
            }
            for kind, found in variants.kinds.items()
        },
    }


def _band_metrics(band: Band, names: Sequence[str]) -> dict[str, dict[str, float]]:
    return {
        name: {part: values[index].item() for part, values in band._asdict().items()}
        for index, name in enumerate(names)
    }


def _finite(values: Mapping[Any, float]) -> dict[Any, float | None]:
    """Numbers for JSON, which knows no NaN."""
    return {name: finite(value) for name, value in values.items()}


__all__ = [
    "Survival",
    "TokenComparison",
    "check_segmenters",
    "compare_tokens",
    "fixed_segmenters",
    "named_models",
    "spans_of",
]
