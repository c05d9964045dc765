"""``dnachunk compare-tokens``: what the tokens of several tokenizers mean, side by side."""

import contextlib
import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TextIO

import typer

from dnachunk.cli.options import BatchSizeOption, FastaOption, WindowOption, output_file
from dnachunk.cli.report import progress, replacing, say, table, write_figure, write_results

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from dnachunk.cli.segmenters import Segmenter
    from dnachunk.data import Genome, Interval
    from dnachunk.data.annotation import Feature
    from dnachunk.evaluation.boundary_survival import Boundaries, MutationKind
    from dnachunk.evaluation.motifs import Sites
    from dnachunk.evaluation.token_meaning import Profile, TokenFigures

    # By kind of site, by label and what is shown of it.
    Profiles = dict[str, dict[str, Profile]]

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

MAX_CURVES = 8
"""Regions, or tokenizers, that a plot has colours for."""

PLOTS = ("token_lengths", "runs", "profiles_motifs", "profiles_sites", "boundary_survival")
"""Plots that there may be; those of an earlier run that this one does not draw are removed."""

ALL, ELSEWHERE = "all", "elsewhere"
SOFT_MASKED, NOT_SOFT_MASKED = "soft-masked", "not soft-masked"


class Span(NamedTuple):
    """A stretch of a record."""

    record_index: int
    start_bp: int
    end_bp: int


class MutationWindows(NamedTuple):
    """Windows to mutate, ``[W, N]`` int64 ids, and texts from elsewhere to train on, if there is anything."""

    windows: "torch.Tensor"
    texts: list[str]


class Survival(NamedTuple):
    """How the boundaries of a tokenizer stand mutations, and how it compresses the same windows."""

    bases_per_token: float
    shares: "Mapping[MutationKind, float]"


def compare_tokens(
    fasta: FastaOption,
    output_dir: Annotated[Path, typer.Option(help="Folder for results.json and the plots.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a model, or of a baseline and its tokenizer; can be repeated."),
    ] = None,
    tokenizer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A fixed tokenizer beside them: base, 6mer (1 to 8), or bpe-1024, trained on the sequences "
            "outside the windows that are mutated; can be repeated.",
        ),
    ] = None,
    annotation: Annotated[
        list[Path] | None,
        typer.Option(help="Features of the sequences: GFF3, GTF or BED, plain or gzip; can be repeated."),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help="Only features of this type (BED: name); can be repeated."),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            help="Only this part: chrI, or chrI:101-200 (from 1, inclusive). A record takes some 60 bytes of "
            "memory a base."
        ),
    ] = None,
    bedgraph: Annotated[
        Path | None,
        typer.Option(
            help="File to write, bgzip if it ends in .gz: the probability that a token begins at a base, of "
            "the one model that has it (dnachunker, first stage).",
            callback=output_file,
        ),
    ] = None,
    window_bp: WindowOption = None,
    max_sites: Annotated[
        int, typer.Option(help="Sites of each kind that are looked at, drawn at random.", min=MIN_SITES)
    ] = 200,
    mutated_windows: Annotated[int, typer.Option(help="Windows that are mutated, at most.", min=1)] = 500,
    seed: Annotated[int, typer.Option(help="Of sites, shuffling, mutations and resampling.")] = 0,
    batch_size: BatchSizeOption = 8,
) -> None:
    """Tells what tokens have to do with the sequence, for several tokenizers side by side.

    Lengths of tokens by annotated region, in repeats (lower case) and outside, in runs of one letter and in
    tandem runs. Boundaries around motifs, and around starts and ends of features, along their strand, beside
    the same stretches shuffled (same dinucleotides), with 95% bootstrap bands. Boundaries that survive a
    mutation more than 32 bp away, beside 6-mers and byte-pair encoding of the same compression.

    Example: dnachunk compare-tokens --model run --model other --fasta genome.fa.gz --annotation genes.gff3.gz
    --output-dir tokens
    """
    # Asked for now, not when there are figures and nothing to plot them with.
    import matplotlib  # noqa: F401

    from dnachunk.alphabet import is_base
    from dnachunk.cli.inference import find_interval
    from dnachunk.cli.segmenters import FIXED_WINDOW_BP, fixed_segmenters, load_segmenters
    from dnachunk.data import Genome
    from dnachunk.training.checkpoints import written_whole

    if not model and not tokenizer:
        raise typer.BadParameter("at least one --model or --tokenizer must be given")
    genome = Genome(fasta)
    spans = _spans(genome, None if region is None else find_interval(genome, region))
    if not any(is_base(genome.fetch(*span)[0]).any() for span in spans):
        raise ValueError(f"there is no A, C, G or T in {region or genome.path}")
    features = _read_features(genome, annotation or [], feature or [], spans)
    segmenters = load_segmenters(model or [], window_bp)
    shortest_bp = min((each.window_bp for each in segmenters), default=window_bp or FIXED_WINDOW_BP)
    mutation = _mutation_windows(genome, spans, shortest_bp, mutated_windows, seed)
    segmenters += fixed_segmenters(tokenizer or [], mutation.texts if mutation else [], window_bp)
    _check(segmenters, bedgraph)
    output_dir.mkdir(parents=True, exist_ok=True)

    with contextlib.ExitStack() as stack:
        write = None if bedgraph is None else _bedgraph_lines(stack, bedgraph, genome)
        figures, motifs = _measure(genome, spans, features, segmenters, write, batch_size)
        _say_lengths(figures)
        _say_runs(figures)
        drawn = {"motifs": motifs, "sites": _feature_sites(features, spans)}
        profiles = {
            name: _profiles(genome, sites, segmenters, max_sites, seed, batch_size)
            for name, sites in drawn.items()
        }
        for of_kinds in profiles.values():
            _say_profiles(of_kinds)
        survival = {} if mutation is None else _survival(mutation, segmenters, seed, batch_size)
        plots = _plots(figures, profiles, survival)
        metrics = {
            "bases": sum(span.end_bp - span.start_bp for span in spans),
            "tokenizers": {label: _figures_metrics(found) for label, found in figures.items()},
            "profiles": {
                kind: {name: _profile_metrics(profile) for name, profile in curves.items()}
                for of_kinds in profiles.values()
                for kind, curves in of_kinds.items()
            },
            "mutated_windows": 0 if mutation is None else len(mutation.windows),
            "mutated_window_bp": shortest_bp,
            "boundary_survival": {
                label: {"bases_per_token": found.bases_per_token, **_finite(found.shares)}
                for label, found in survival.items()
            },
        }
        with written_whole(output_dir) as staging:
            for name, figure in plots.items():
                write_figure(staging / f"{name}.png", figure)
            write_results(staging / "results.json", metrics)
        for name in set(PLOTS) - set(plots):
            (output_dir / f"{name}.png").unlink(missing_ok=True)
    written = ["results.json", *(f"{name}.png" for name in plots)]
    say(f"\n{output_dir}: {', '.join(written)}" + (f"; {bedgraph}" if bedgraph else ""))


def _spans(genome: "Genome", interval: "Interval | None") -> list[Span]:
    if interval is None:
        return [Span(index, 0, record.length_bp) for index, record in enumerate(genome.records)]
    index = genome.index_of(interval.record)
    return [Span(index, interval.start_bp, interval.end_bp or genome.records[index].length_bp)]


def _read_features(
    genome: "Genome", paths: Sequence[Path], kinds: Sequence[str], spans: Sequence[Span]
) -> "list[Feature]":
    """Features of these kinds, or of all, that touch the spans."""
    from dnachunk.data.annotation import read_annotation

    found: set[Feature] = set()
    for path in paths:
        annotation = read_annotation(path, genome)
        found.update(annotation.features)
        if annotation.left_out:
            names = ", ".join(itertools.islice(annotation.left_out, 3))
            say(
                f"{path}: {annotation.left_out.total():,} features are left out, on records that "
                f"{genome.path.name} does not have: {names}{', …' if len(annotation.left_out) > 3 else ''}"
            )
    present = {each.kind for each in found}
    unknown = [kind for kind in kinds if kind not in present]
    if unknown:
        there = ", ".join(sorted(present)) or "none, without --annotation"
        raise ValueError(f"--feature {unknown[0]!r} is no type of the annotation; there are {there}")
    taken = present & {ALL, ELSEWHERE, SOFT_MASKED, NOT_SOFT_MASKED}
    if taken:
        raise ValueError(
            f"a type of --annotation must not be called {taken.pop()!r}, which all sequences have"
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
        say("No feature of --annotation lies in the --region.")
    return inside


def _mutation_windows(
    genome: "Genome", spans: Sequence[Span], window_bp: int, count: int, seed: int
) -> MutationWindows | None:
    """Windows of the spans, evenly spaced, and other ones of the genome; None if not one fits."""
    import torch

    from dnachunk.data import HeldOutWindows, Interval, WindowDataset
    from dnachunk.ops import decode_dna

    intervals = [
        Interval(genome.records[span.record_index].name, span.start_bp, span.end_bp) for span in spans
    ]
    try:
        total = len(HeldOutWindows([genome], window_bp, intervals, max_n_fraction=0))
    except ValueError as error:
        say(f"No boundary survival: {error}")
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
            offsets = torch.arange(0, len(ids) * window_bp + 1, window_bp)
            return MutationWindows(windows, decode_dna(torch.cat(ids).to(torch.uint8), offsets))
    return MutationWindows(windows, [])


def _check(segmenters: "Sequence[Segmenter]", bedgraph: Path | None) -> None:
    counts = Counter(label for each in segmenters for label in each.labels)
    twice = [label for label, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"every --model and --tokenizer must have a name of its own, got {twice[0]} twice")
    if bedgraph is not None and sum(each.has_probability for each in segmenters) != 1:
        raise ValueError("--bedgraph needs one model with boundary probabilities (dnachunker), and only one")


def _bedgraph_lines(
    stack: contextlib.ExitStack, path: Path, genome: "Genome"
) -> "Callable[[Span, torch.Tensor], None]":
    """Opens a bedGraph file; gives what writes the values of a stretch, joined where they are alike."""
    from dnachunk.data.text import text_writer

    temporary = stack.enter_context(replacing(path))
    file: TextIO = stack.enter_context(text_writer(temporary, bgzip=path.suffix == ".gz"))

    def write(span: Span, values: "torch.Tensor") -> None:
        name, place = genome.records[span.record_index].name, span.start_bp
        for value, run in itertools.groupby(f"{value:.4g}" for value in values.tolist()):
            end = place + sum(1 for _ in run)
            if value != "nan":
                file.write(f"{name}\t{place}\t{end}\t{value}\n")
            place = end

    return write


def _measure(
    genome: "Genome",
    spans: Sequence[Span],
    features: "Sequence[Feature]",
    segmenters: "Sequence[Segmenter]",
    write: "Callable[[Span, torch.Tensor], None] | None",
    batch_size: int,
) -> "tuple[dict[str, TokenFigures], dict[str, Sites]]":
    """Figures of each segmentation, and where the motifs are."""
    import torch

    from dnachunk.alphabet import is_base
    from dnachunk.cli.segmenters import tokenize_span
    from dnachunk.evaluation import token_meaning as meaning
    from dnachunk.evaluation.motifs import MOTIFS, Sites, motif_sites

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
            letters = meaning.letter_runs(ids)
            tandems = {period: meaning.tandem_runs(ids, period) for period in meaning.TANDEM_PERIODS}
            for segmenter in segmenters:
                maps, probability = tokenize_span(segmenter, genome, *span, batch_size, advance)
                for label, tokens in zip(segmenter.labels, maps, strict=True):
                    found = meaning.TokenFigures.of(tokens, masks, letters, tandems)
                    figures[label] = figures[label] + found if label in figures else found
                if write is not None and probability is not None:
                    write(span, probability)
            for motif in MOTIFS:
                motifs[motif.name].append(motif_sites(ids, motif, span.record_index, span.start_bp))
    return figures, {name: Sites.join(parts) for name, parts in motifs.items()}


def _feature_sites(features: "Sequence[Feature]", spans: Sequence[Span]) -> "dict[str, Sites]":
    """Starts and ends of each kind of feature, inside the spans."""
    import torch

    from dnachunk.evaluation.token_meaning import feature_sites

    by_record = {span.record_index: span for span in spans}
    found = {}
    for kind in dict.fromkeys(sorted(each.kind for each in features)):
        for name, at_end in (("start", False), ("end", True)):
            sites = feature_sites([each for each in features if each.kind == kind], at_end=at_end)
            is_inside = [
                by_record[index].start_bp <= edge_bp <= by_record[index].end_bp
                for index, edge_bp in zip(sites.record_index.tolist(), sites.edge_bp.tolist(), strict=True)
            ]
            found[f"{kind} {name}"] = sites.take(torch.tensor(is_inside, dtype=torch.bool))
    return found


def _profiles(
    genome: "Genome",
    sites: "Mapping[str, Sites]",
    segmenters: "Sequence[Segmenter]",
    max_sites: int,
    seed: int,
    batch_size: int,
) -> "Profiles":
    """Boundaries around each kind of site of which there are enough; says which have too few."""
    from dnachunk.cli.segmenters import cut_rows
    from dnachunk.data.shuffle import dinucleotide_shuffle
    from dnachunk.evaluation.token_meaning import Profile, around, bootstrap_band, site_windows
    from dnachunk.random import mix

    profiles: Profiles = {}
    flank_bp = min([FLANK_BP, *(each.window_bp // 4 for each in segmenters)])
    few: list[str] = []
    with progress(len(sites) * len(segmenters), "profiles", "profiles") as advance:
        for kind, of_kind in sites.items():
            curves: dict[str, Profile] = {}
            for segmenter in segmenters:
                rows, anchors = site_windows(genome, of_kind, segmenter.window_bp, flank_bp, max_sites, seed)
                advance(1)
                if len(rows) < MIN_SITES:
                    few.append(f"{kind} ({len(rows)} of {len(of_kind)} found)")
                    break
                shuffled = []
                for index, (row, anchor) in enumerate(zip(rows, anchors.tolist(), strict=True)):
                    shown = slice(anchor - flank_bp, anchor + flank_bp + 1)
                    control = row.clone()
                    control[shown] = dinucleotide_shuffle(row[shown], mix(seed, index))
                    shuffled.append(control)
                bands = []
                for version in (rows, shuffled):
                    found, probabilities = zip(*cut_rows(segmenter, version, batch_size), strict=True)
                    values = dict(zip(segmenter.labels, zip(*found, strict=True), strict=True))
                    if segmenter.has_probability:
                        values[f"{segmenter.labels[0]}, probability"] = probabilities
                    bands.append(
                        {
                            label: bootstrap_band(around(of_label, anchors, flank_bp), seed)
                            for label, of_label in values.items()
                        }
                    )
                observed, controls = bands
                curves |= {
                    label: Profile(len(rows), band, controls[label]) for label, band in observed.items()
                }
            else:
                profiles[kind] = curves
    if few:
        say(f"\nNo profile, {MIN_SITES} sites are needed away from N and the records' ends: {', '.join(few)}")
    return profiles


def _survival(
    mutation: MutationWindows, segmenters: "Sequence[Segmenter]", seed: int, batch_size: int
) -> dict[str, Survival]:
    """Survival of every tokenizer, of 6-mers, and of byte-pair encoding of each learned one's compression."""
    from dnachunk.baselines import FixedTokenizer
    from dnachunk.cli.segmenters import cut_rows
    from dnachunk.evaluation.boundary_survival import boundary_survival, kmer_boundaries, text_boundaries
    from dnachunk.evaluation.matched_bpe import matched_bpe, mean_token_bp

    def boundaries_of(segmenter: "Segmenter") -> "Boundaries":
        return lambda rows: [found[-1] for found, _ in cut_rows(segmenter, rows, batch_size)]

    windows = mutation.windows
    tokenizers: dict[str, Boundaries] = {each.name: boundaries_of(each) for each in segmenters}
    tokenizers.setdefault("6mer", kmer_boundaries(6))
    compression = {name: mean_token_bp(boundaries, windows) for name, boundaries in tokenizers.items()}
    learned = [each.name for each in segmenters if not isinstance(each.model, FixedTokenizer)]
    if learned and mutation.texts:
        matched = matched_bpe(mutation.texts, windows, [compression[name] for name in learned])
        for tokenizer in matched:
            name = tokenizer.init_kwargs["tokenization"]
            tokenizers.setdefault(name, text_boundaries(tokenizer.tokenize))
            compression.setdefault(name, mean_token_bp(tokenizers[name], windows))
    elif learned:
        say("\nNo byte-pair encoding: there is no sequence to train it on outside the mutated windows")
    survival = {}
    with progress(len(tokenizers), "mutations", "tokenizers") as advance:
        for name, boundaries in tokenizers.items():
            shares = boundary_survival(boundaries, windows, seed=seed, exclude_bp=EXCLUDE_BP)
            survival[name] = Survival(compression[name], shares)
            advance(1)
    _say_survival(survival, windows)
    return survival


def _say_lengths(figures: "Mapping[str, TokenFigures]") -> None:
    from dnachunk.evaluation.token_meaning import bases_per_token

    first = next(iter(figures.values()))
    rows = []
    for name in _regions(figures):
        bases = int(first.lengths[name].sum())
        means = [f"{bases_per_token(found.lengths[name]):.3f}" for found in figures.values()]
        rows.append([name, f"{bases:,}", *means])
    say(table(["region: bases per token", "bases", *figures], rows))
    if SOFT_MASKED not in _regions(figures):
        say("There are no soft-masked bases (lower case) to compare with the others.")


def _say_runs(figures: "Mapping[str, TokenFigures]") -> None:
    from dnachunk.evaluation.token_meaning import (
        LONGEST_RUN,
        TANDEM_COPIES,
        TANDEM_PERIODS,
        bases_per_token,
    )

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
    say("\n" + table(["run of one letter: bases per token", "runs", *figures], _without_none(rows)))
    rows = [
        row(f"unit of {period}", [found.tandems[period].figures(0) for found in figures.values()])
        for period in TANDEM_PERIODS
    ]
    title = f"tandem run, {TANDEM_COPIES} copies or more: bases per token"
    say("\n" + table([title, "runs", *figures], _without_none(rows)))
    first = next(iter(figures.values()))
    if not first.letters.runs[LONG_RUN_BP:].sum():
        say(f"\nThere is no run of one letter of {LONG_RUN_BP} bp or more.")
        return
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
    say("\n" + table([f"{runs:,} runs of one letter of {LONG_RUN_BP} bp or more", *header], rows))


def _say_profiles(profiles: "Profiles") -> None:
    def shown(profile: "Profile", offset: int) -> list[str]:
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
    if rows:
        header = ["sites", "at the site", "shuffled", "farthest", "there", "shuffled", "apart"]
        say("\n" + table(["a token begins (95% bootstrap band over sites)", *header], rows))
        say(
            "apart: offsets at which the two bands do not meet; by chance one in a hundred, with fewer than "
            "50 sites up to one in twenty"
        )


def _say_survival(survival: Mapping[str, Survival], windows: "torch.Tensor") -> None:
    rows = [
        [
            name,
            f"{found.bases_per_token:.3f}",
            *(f"{share:.1%}" for share in [*found.shares.values(), 1 / found.bases_per_token]),
        ]
        for name, found in survival.items()
    ]
    kinds = next(iter(survival.values())).shares
    title = f"boundaries that survive, {len(windows):,} windows of {windows.shape[1]:,} bp"
    say("\n" + table([title, "bases per token", *kinds, "by chance"], rows))


def _plots(
    figures: "Mapping[str, TokenFigures]",
    profiles: "Mapping[str, Profiles]",
    survival: Mapping[str, Survival],
) -> "dict[str, Figure]":
    from dnachunk import visualization
    from dnachunk.evaluation.token_meaning import bases_per_token, token_counts

    first = next(iter(figures.values()))
    # Of more regions than there are colours, those with most bases.
    order = sorted(_regions(figures), key=lambda name: -int(first.lengths[name].sum()))
    shown = [name for name in _regions(figures) if name in order[:MAX_CURVES]]
    plots = {
        "token_lengths": visualization.plot_lengths_by_region(
            {
                label: {name: token_counts(found.lengths[name]) for name in shown}
                for label, found in figures.items()
            }
        ),
        "runs": visualization.plot_run_lengths(
            {
                label: (found.letters, 1 / bases_per_token(found.lengths[ALL]))
                for label, found in itertools.islice(figures.items(), MAX_CURVES)
            }
        ),
    }
    for name, of_kinds in profiles.items():
        if of_kinds:
            plots[f"profiles_{name}"] = visualization.plot_boundary_profiles(of_kinds)
    if survival:
        plots["boundary_survival"] = visualization.plot_boundary_survival(
            {
                f"{name}\n{found.bases_per_token:.2f} bp": dict(found.shares.items())
                for name, found in survival.items()
            }
        )
    return plots


def _without_none(rows: list[list[str]]) -> list[list[str]]:
    """The rows that count something."""
    return [row for row in rows if row[1] != "0"]


def _regions(figures: "Mapping[str, TokenFigures]") -> list[str]:
    """Regions that have bases; repeats are one only where there are some."""
    lengths = next(iter(figures.values())).lengths
    names = [name for name, counts in lengths.items() if counts.sum()]
    return names if SOFT_MASKED in names else [name for name in names if name != NOT_SOFT_MASKED]


def _figures_metrics(found: "TokenFigures") -> dict[str, Any]:
    from dnachunk.evaluation.token_meaning import LONGEST_RUN, bases_per_token

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


def _profile_metrics(profile: "Profile") -> dict[str, Any]:
    bands = {"observed": profile.observed, "shuffled": profile.control}
    return {
        "sites": profile.num_sites,
        "offsets_apart": profile.num_apart,
        **{
            name: {part: values.tolist() for part, values in band._asdict().items()}
            for name, band in bands.items()
        },
    }


def _finite(values: "Mapping[Any, float]") -> dict[Any, float | None]:
    """Numbers for JSON, which knows no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
