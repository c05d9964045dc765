"""What the tokens of several tokenizers mean, side by side."""

import contextlib
import functools
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dnachunk.alphabet import is_base
from dnachunk.baselines import FixedTokenizer, Tokenization
from dnachunk.data import Genome, Interval
from dnachunk.data.annotation import Feature
from dnachunk.data.contents import OnError, tell_skipped
from dnachunk.data.record_names import Aliases
from dnachunk.data.repeats import read_repeats
from dnachunk.errors import ArgumentError, UsageError, require_at_least, require_different_files
from dnachunk.evaluation import token_meaning as meaning
from dnachunk.evaluation.boundary_profiles import FLANK_BP, boundary_profiles, edges_of_features
from dnachunk.evaluation.boundary_survival import (
    Boundaries,
    Survival,
    boundary_survival,
    kmer_boundaries,
    text_boundaries,
)
from dnachunk.evaluation.budget_accuracy import BudgetAccuracy, budget_accuracy
from dnachunk.evaluation.compared_stretches import (
    MutationWindows,
    Span,
    features_inside,
    mutation_windows,
    read_features,
    spans_of,
)
from dnachunk.evaluation.jitter_agreement import JitterAgreement, jitter_agreement
from dnachunk.evaluation.kept_whole import MotifCuts, Occurrences, find_occurrences, motif_cuts
from dnachunk.evaluation.matched_bpe import matched_bpe, mean_token_bp
from dnachunk.evaluation.motifs import MOTIFS, Sites, motif_sites
from dnachunk.evaluation.run_lengths import TANDEM_PERIODS, letter_runs, tandem_runs
from dnachunk.evaluation.token_meaning import (
    ALL,
    ELSEWHERE,
    NOT_SOFT_MASKED,
    SOFT_MASKED,
    Profiles,
    TokenFigures,
    bases_per_token,
)
from dnachunk.evaluation.token_places import (
    CLASS,
    Counts,
    LabelledBases,
    lengths_by_class,
    lengths_by_place,
    read_labelled_bases,
    repeat_kinds,
)
from dnachunk.evaluation.token_projection import (
    MIN_TOKENS,
    PlacedWindows,
    TokenProjection,
    genome_windows,
    labelled_windows,
    project_tokens,
)
from dnachunk.evaluation.token_tables import (
    MIN_SITES,
    accuracy_metrics,
    accuracy_table,
    figures_metrics,
    finite_values,
    jitter_metrics,
    jitter_table,
    lengths_table,
    motif_metrics,
    motifs_tables,
    places_metrics,
    places_tables,
    profile_metrics,
    profiles_table,
    projection_metrics,
    projections_table,
    runs_tables,
    survival_table,
    variants_metrics,
    variants_tables,
)
from dnachunk.evaluation.variant_stability import (
    VariantSample,
    VariantStability,
    sample_variants,
    variant_stability,
)
from dnachunk.files import output_file, output_folder, written_whole
from dnachunk.inference.genome import find_interval, open_genome
from dnachunk.inference.segmenter import FIXED_WINDOW_BP, Segmenter
from dnachunk.inference.tokens import PathLike, resolve
from dnachunk.inference.writers import signal_writer
from dnachunk.models import MxDNAConfig
from dnachunk.models.loading import model_files, those_to_ask
from dnachunk.reporting import Report, Table, progress, require_own_files, say, write_results

Draw = Callable[["TokenComparison"], Mapping[str, Any]]
"""What makes plots of a comparison, by name."""

FEATURES, SOFT_MASKING = "features", "soft-masking"
"""What tokens of a genome are told apart by on a map, beside repeats."""

EXCLUDE_BP = 32
"""Boundaries no farther than this from a mutation do not count."""

PLOTS = (
    "token_lengths",
    "runs",
    "profiles_motifs",
    "profiles_sites",
    "boundary_survival",
    "motifs",
    "variants",
    "places",
    "jitter",
    "accuracy",
    "token_maps",
)
"""Plots that there may be."""

_JOB = "compare_tokens"


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
        places: By what places are told apart by (families and ages of repeats, classes of labelled sets), by
            place, bases by the length of their token.
        jitter: By MxDNA model, how far two passes as in training agree; of the windows that are mutated.
        accuracy: By model, its accuracy at masked bases of these windows under several budgets.
        projections: By model, by what places are told apart by, some of its tokens on a plane.
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
    places: Mapping[str, Mapping[str, Counts]]
    jitter: Mapping[str, JitterAgreement]
    accuracy: Mapping[str, Sequence[BudgetAccuracy]]
    projections: Mapping[str, Mapping[str, TokenProjection]]

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
            "tokenizers": {label: figures_metrics(found) for label, found in self.figures.items()},
            "profiles": {
                kind: {name: profile_metrics(profile) for name, profile in curves.items()}
                for of_kinds in self.profiles.values()
                for kind, curves in of_kinds.items()
            },
            "mutated_windows": self.mutated_windows,
            "mutated_window_bp": self.mutated_window_bp,
            "boundary_survival": {
                label: {"bases_per_token": found.bases_per_token, **finite_values(found.shares)}
                for label, found in self.survival.items()
            },
            "motif_score": self.motif_score,
            "motifs": {name: motif_metrics(found) for name, found in self.motifs.items()},
            "variants": None if self.variants is None else variants_metrics(self.variants),
            "places": places_metrics(self.places),
            "jitter": {name: jitter_metrics(found) for name, found in self.jitter.items()},
            "accuracy": {name: accuracy_metrics(points) for name, points in self.accuracy.items()},
            "token_maps": {
                name: {of: projection_metrics(found) for of, found in of_model.items()}
                for name, of_model in self.projections.items()
            },
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
        """Lengths by region, runs, profiles, survival of boundaries, and what else was asked for."""
        parts = [
            lengths_table(self.figures, self.regions),
            *places_tables(self.places, list(self.figures)),
            *runs_tables(self.figures),
        ]
        if self.few_sites:
            parts.append(
                f"No profile, {MIN_SITES} sites are needed away from N and the records' ends: "
                f"{', '.join(self.few_sites)}"
            )
        parts += [table for of_kinds in self.profiles.values() for table in profiles_table(of_kinds)]
        if self.lacks_bpe:
            parts.append(
                "No byte-pair encoding: there is no sequence to train it on outside the mutated windows"
            )
        if self.survival:
            parts.append(survival_table(self.survival, self.mutated_windows, self.mutated_window_bp))
        if self.jitter:
            parts.append(jitter_table(self.jitter))
        parts += motifs_tables(self.motifs, self.motif_score)
        if self.variants is not None:
            parts += variants_tables(self.variants)
        if self.accuracy:
            parts.append(accuracy_table(self.accuracy))
        if self.projections:
            parts.append(projections_table(self.projections))
        return parts


def compare_tokens(
    fasta: PathLike | Genome,
    output_dir: PathLike | None = None,
    *,
    model: Any = (),
    tokenizer: str | Sequence[str] = (),
    annotation: PathLike | Sequence[PathLike] = (),
    feature: str | Sequence[str] = (),
    repeats: PathLike | Sequence[PathLike] = (),
    labelled: PathLike | Sequence[PathLike] = (),
    sequence_column: str = "sequence",
    label_column: str | Sequence[str] = "label",
    motif: PathLike | Sequence[PathLike] = (),
    motif_score: float = 0.8,
    vcf: PathLike | None = None,
    region: str | Interval | None = None,
    aliases: Aliases | None = None,
    on_error: OnError = "fail",
    bedgraph: PathLike | None = None,
    window_bp: int | None = None,
    tokens_per_base: float | None = None,
    accuracy_budget: float | Sequence[float] = (),
    map_tokens: int | None = None,
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

    Of repeats that are given: lengths by class, family and divergence from the family's consensus, which is
    an age; of labelled sets: by class. Of MxDNA: how far two passes with the jitter of training agree. With
    ``accuracy_budget``: the accuracy at ``[MASK]``, 15% of the bases selected, against tokens per base. With
    ``map_tokens``: vectors of tokens on a plane, told apart by features (or soft-masking), by classes of
    repeats and by classes of labelled sets.

    Args:
        fasta: The sequences: plain, gzip or bgzip. A record takes some 60 bytes of memory a base.
        output_dir: Folder to write ``results.json`` into. Default: nothing is written.
        model: Models of ours, or folders of models, or of baselines and their tokenizers: one, several, or by
            the names that they are to have. Default names are the folders'.
        tokenizer: Fixed tokenizers beside them: ``"base"``, ``"6mer"`` (1 to 8), or ``"bpe-1024"``, trained
            on the sequences outside the windows that are mutated; one or several.
        annotation: Features of the sequences: GFF3, GTF or BED, plain or gzip; one file or several.
        feature: Only features of this type (of BED: name), or of these.
        repeats: RepeatMasker's tables (``.out``, ``.gz`` or not) of the sequences; one or several.
        labelled: Labelled sequences, which need not be of ``fasta``: tables, FASTA files or folders of
            classes, as :func:`~dnachunk.finetune` takes them; one or several.
        sequence_column: Their column of sequences.
        label_column: Their column of labels, or several.
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
        tokens_per_base: In (0, 1], asked of MergeDNA and DNAChunker; default as they are configured.
        accuracy_budget: Tokens per base, or several, that these are asked for to measure their accuracy at
            ``[MASK]``, in the windows that are mutated, beside that by DNAChunker's threshold and of other
            models as they are; whatever ``tokens_per_base`` is.
        map_tokens: Tokens of a map, at most, as many of each place; default no maps.
        max_sites: Sites of each kind that are looked at, drawn at random: occurrences of each motif, variants
            of each kind and size, sequences of each class.
        mutated_windows: Windows that are mutated, at most.
        seed: Of sites, shuffling, mutations, resampling, jitter, masks and maps.
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
    tables = [repeats] if isinstance(repeats, str | os.PathLike) else list(repeats)
    sets = [labelled] if isinstance(labelled, str | os.PathLike) else list(labelled)
    columns = [label_column] if isinstance(label_column, str) else list(label_column)
    budgets = [accuracy_budget] if isinstance(accuracy_budget, int | float) else list(accuracy_budget)
    models = named_models(model)
    if not models and not tokenizers:
        raise UsageError("at least one `model` or `tokenizer` must be given")
    require_at_least("max_sites", max_sites, MIN_SITES)
    require_at_least("mutated_windows", mutated_windows, 1)
    require_at_least("batch_size", batch_size, 1)
    if map_tokens is not None:
        require_at_least("map_tokens", map_tokens, MIN_TOKENS)
    if not 0 <= motif_score <= 1:
        raise ArgumentError(f"`motif_score` must be in [0, 1], got {motif_score}")
    if not -(1 << 63) <= seed < 1 << 63:
        raise ArgumentError(f"`seed` must be a whole number of 64 bits, got {seed}")
    require_different_files(
        model=[file for _, each in models for file in model_files(each)],
        fasta=fasta,
        aliases=aliases,
        annotation=annotations,
        repeats=tables,
        labelled=sets,
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
    features = read_features(genome, [Path(path) for path in annotations], kinds, spans, on_error)
    occurrences = find_occurrences(genome, spans, patterns, motif_score, on_error)
    elements, skipped = read_repeats(genome, tables, on_error=on_error)
    tell_skipped(skipped, "lines of repeats")
    kinds_of_repeats = {
        group: inside
        for group, of_group in repeat_kinds(elements).items()
        if (inside := features_inside(of_group, spans))
    }
    if tables and not kinds_of_repeats:
        say("No repeat lies in the region.")
    classes = _read_classes(sets, sequence_column, columns, max_sites, seed, on_error)
    loaded = [(name, resolve(each)) for name, each in models]
    asked = those_to_ask([each for _, each in loaded], "tokens_per_base", tokens_per_base)
    those_to_ask(asked, "accuracy_budget", budgets or None)
    try:
        for each, budget in itertools.product(asked, budgets):
            each.config.budget_fields(budget)
    except ArgumentError as error:
        raise ArgumentError(error.message.replace("tokens_per_base", "accuracy_budget")) from None
    segmenters = [
        Segmenter.of(name, each, window_bp, tokens_per_base if each in asked else None)
        for name, each in loaded
    ]
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
    mutation = mutation_windows(genome, spans, shortest_bp, mutated_windows, seed)
    segmenters += fixed_segmenters(tokenizers, mutation.texts if mutation else [], window_bp)
    check_segmenters(segmenters, bedgraph)

    with contextlib.ExitStack() as stack:
        write = None if bedgraph is None else _bedgraph_writer(stack, Path(bedgraph), genome)
        figures, motifs, places = _measure(
            genome, spans, features, kinds_of_repeats, segmenters, write, batch_size
        )
        for name, of_set in classes.items():
            places[name] = lengths_by_class(of_set, segmenters, batch_size)
        few_sites: list[str] = []
        profiles = {
            name: boundary_profiles(genome, sites, segmenters, max_sites, seed, batch_size, few_sites)
            for name, sites in (("motifs", motifs), ("sites", edges_of_features(features, spans)))
        }
        cutters = _cutters(mutation, segmenters, batch_size)
        survival = {} if mutation is None else _survival(mutation, cutters, seed)
        cuts = _motif_cuts(genome, occurrences, cutters, shortest_bp, max_sites, seed)
        stability = None if sample is None else _stability(sample, cutters, seed)
        windows = None if mutation is None else mutation.windows
        jitter = {} if windows is None else _jitter(segmenters, windows, seed, batch_size)
        accuracy = {} if windows is None else _accuracy(segmenters, windows, budgets, seed, batch_size)
        projections = {}
        if map_tokens is not None:
            of_genome = {FEATURES if features else SOFT_MASKING: features}
            if CLASS in kinds_of_repeats:
                of_genome[CLASS] = kinds_of_repeats[CLASS]
            projections = _projections(
                genome, spans, of_genome, classes, segmenters, map_tokens, seed, batch_size
            )
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
            places,
            jitter,
            accuracy,
            projections,
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
    """Opens a file of a value for each base; gives what writes the values of a stretch."""
    put = stack.enter_context(signal_writer(path, genome))
    return lambda span, values: put(genome.records[span.record_index].name, span.start_bp, values)


def _read_classes(
    paths: Sequence[PathLike],
    sequence_column: str,
    label_columns: Sequence[str],
    max_sequences: int,
    seed: int,
    on_error: OnError,
) -> dict[str, LabelledBases]:
    """Labelled sets by what their classes are called."""
    names = Counter(Path(path).name for path in paths)
    found: dict[str, LabelledBases] = {}
    for each in paths:
        path = Path(each)
        # Sets of a benchmark have files of one name, in folders of their own.
        name = path.name if names[path.name] == 1 else f"{path.parent.name}/{path.name}"
        if f"class of {name}" in found:
            raise ArgumentError(f"every `labelled` must have a name of its own, got {name} twice")
        found[f"class of {name}"] = read_labelled_bases(
            path,
            sequence_column=sequence_column,
            label_columns=label_columns,
            max_sequences=max_sequences,
            seed=seed,
            on_error=on_error,
        )
    return found


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
    repeats: Mapping[str, Sequence[Feature]],
    segmenters: Sequence[Segmenter],
    write: Callable[[Span, torch.Tensor], None] | None,
    batch_size: int,
) -> tuple[dict[str, TokenFigures], dict[str, Sites], dict[str, dict[str, dict[str, torch.Tensor]]]]:
    """Figures of each segmentation, where the motifs are, and lengths of tokens in repeats."""
    of_record: dict[int, list[Feature]] = {}
    for each in features:
        of_record.setdefault(each.record_index, []).append(each)
    kinds_of_record: dict[int, dict[str, dict[str, list[Feature]]]] = {}
    for group, of_repeats in repeats.items():
        for each in of_repeats:
            kinds = kinds_of_record.setdefault(each.record_index, {}).setdefault(group, {})
            kinds.setdefault(each.kind, []).append(each)
    places: dict[str, dict[str, dict[str, torch.Tensor]]] = {}
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
                    in_repeats = lengths_by_place(
                        tokens, kinds_of_record.get(span.record_index, {}), span, is_counted
                    )
                    for group, of_group in in_repeats.items():
                        for kind, counts in of_group.items():
                            sums = places.setdefault(group, {}).setdefault(kind, {})
                            sums[label] = meaning.add_counts(sums[label], counts) if label in sums else counts
                if write is not None and probability is not None:
                    write(span, probability)
            for motif in MOTIFS:
                motifs[motif.name].append(motif_sites(ids, motif, span.record_index, span.start_bp))
    in_order = {
        group: {kind: found[kind] for kind in sorted(found, key=_place_order)}
        for group, found in places.items()
    }
    return figures, {name: Sites.join(parts) for name, parts in motifs.items()}, in_order


def _place_order(kind: str) -> tuple[int, str]:
    """Ages by their number, everything else by name."""
    number = re.match(r"\d+", kind)
    return (int(number[0]) if number else 0), kind


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


def _jitter(
    segmenters: Sequence[Segmenter], windows: torch.Tensor, seed: int, batch_size: int
) -> dict[str, JitterAgreement]:
    """Of each MxDNA whose tokens have a jitter in training."""
    found = {}
    for each in segmenters:
        config = getattr(each.model, "config", None)
        if isinstance(config, MxDNAConfig) and config.boundaries == "learned" and config.router_jitter:
            found[each.name] = jitter_agreement(each.model, windows, seed=seed, batch_size=batch_size)
    return found


def _accuracy(
    segmenters: Sequence[Segmenter],
    windows: torch.Tensor,
    budgets: Sequence[float],
    seed: int,
    batch_size: int,
) -> dict[str, list[BudgetAccuracy]]:
    """Of each model with a head for bases, where a budget is asked for."""
    heads = [
        each
        for each in segmenters
        if not isinstance(each.model, FixedTokenizer) and each.model.get_output_embeddings() is not None
    ]
    if not budgets:
        return {}
    with progress(len(heads), "accuracy", "models") as advance:
        found = {}
        for each in heads:
            found[each.name] = budget_accuracy(each.model, windows, budgets, seed=seed, batch_size=batch_size)
            advance(1)
    return found


def _projections(
    genome: Genome,
    spans: Sequence[Span],
    features: Mapping[str, Sequence[Feature]],
    classes: Mapping[str, LabelledBases],
    segmenters: Sequence[Segmenter],
    num_tokens: int,
    seed: int,
    batch_size: int,
) -> dict[str, dict[str, TokenProjection]]:
    """Maps of the tokens of each model, by what places are told apart by."""
    networks = [each for each in segmenters if not isinstance(each.model, FixedTokenizer)]
    found: dict[str, dict[str, TokenProjection]] = {}
    with progress(len(networks) * (len(features) + len(classes)), "maps", "maps") as advance:
        for each in networks:
            windows: dict[str, PlacedWindows] = {
                name: genome_windows(
                    genome, spans, kinds, window_bp=each.window_bp, num_tokens=num_tokens, seed=seed
                )
                for name, kinds in features.items()
            }
            windows |= {name: labelled_windows(of_set) for name, of_set in classes.items()}
            for name, placed in windows.items():
                projection = project_tokens(
                    each, placed, num_tokens=num_tokens, seed=seed, batch_size=batch_size
                )
                if projection is not None:
                    found.setdefault(each.name, {})[name] = projection
                advance(1)
    return found


def _stability(sample: VariantSample, cutters: Mapping[str, Boundaries], seed: int) -> VariantStability:
    with progress(len(sample.alleles), "variants", "kinds") as advance:
        return variant_stability(sample, cutters, min_variants=MIN_SITES, seed=seed, advance=advance)


__all__ = [
    "PLOTS",
    "TokenComparison",
    "check_segmenters",
    "compare_tokens",
    "fixed_segmenters",
    "named_models",
]
