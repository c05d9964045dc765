"""``dnachunk score-mutations``: zero-shot scores of a deep mutational scan."""

import csv
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnachunk.cli.options import (
    BatchSizeOption,
    ModelOption,
    NegativeOption,
    PositiveOption,
    ReverseComplement,
    ReverseComplementOption,
    WindowOption,
)
from dnachunk.cli.report import progress, replacing, say, table, write_results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dnachunk.evaluation.against_random import Floats
    from dnachunk.evaluation.mutations import MutationRow
    from dnachunk.evaluation.zero_shot import Outcome

MEASURED = ("score", "DMS_score")
"""Columns of what was measured that are looked for where none is named."""
PREFIX = "dnachunk_"
"""Before the names of the columns that are added."""
_ROWS_AT_ONCE = 4


def score_mutations(
    model: ModelOption,
    fasta: Annotated[Path, typer.Option(help="The coding sequence, or of a table of bases the gene.")],
    variants: Annotated[Path, typer.Option(help="Table of variants and measurements, CSV or TSV.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for scores.csv and results.json.")],
    measured: Annotated[
        list[str] | None,
        typer.Option(help="Column of the measurement; of several the mean. Default: score, or DMS_score."),
    ] = None,
    window_bp: WindowOption = None,
    reverse_complement: ReverseComplementOption = ReverseComplement.none,
    positive: PositiveOption = None,
    negative: NegativeOption = None,
    batch_size: BatchSizeOption = 8,
) -> None:
    """Scores the variants of one gene and compares them with what was measured.

    The table has a column "mutant" (A24G, or A24G:K30R, in codons from 1), or "codon_index", "wildtype_aa"
    and "mutant_aa", or, for bases of a gene, "ng_pos", "ng_ref" and "ng_alt", or "pos", "ref" and "alt", from
    1. A mutant amino acid is written as the codon with the fewest changed bases.

    Four scores: the masked log-likelihood ratio over the mutated codons; 1 - cos between mean vectors; and a
    ridge regression on the mutants' mean vectors, predicted in five folds, drawn at random, and by sites, so
    that no site of the predicted fifth was trained on. Spearman's correlation of each is printed beside that
    of random scores; with --positive also AUROC and AUPRC.

    Example: dnachunk score-mutations --model run --fasta cds.fa --variants dms.csv --output-dir scan
    """
    import numpy as np

    from dnachunk.cli.zero_shot import (
        Classes,
        check_classes,
        finite,
        load_zero_shot,
        say_reasons,
        separation_metrics,
    )
    from dnachunk.data import Genome
    from dnachunk.evaluation import zero_shot
    from dnachunk.evaluation.against_random import random_correlation_deviation, rank_correlation
    from dnachunk.evaluation.mutations import (
        cross_validated_ridge,
        measurements,
        read_mutations,
        site_groups,
    )

    classes = Classes.parse(positive, negative)
    genome = Genome(fasta)
    rows = read_mutations(variants, genome)
    names = measured or [name for name in MEASURED if name in rows[0].cells][:1]
    if not names:
        raise ValueError(f"{variants} has no column {' or '.join(MEASURED)}; name it with --measured")
    values = measurements(rows, names)
    labels = [classes.of(row.cells.get) if classes else None for row in rows]
    if classes:
        unknown = [field for field in classes.fields if field not in rows[0].cells]
        if unknown:
            raise ValueError(f"{variants} has no column {unknown[0]!r}")
        check_classes(Counter(labels))
    network, window_bp = load_zero_shot(model, window_bp)
    output_dir.mkdir(parents=True, exist_ok=True)

    outcomes: list[zero_shot.Outcome] = []
    with progress(len(rows), "score-mutations", "variants") as advance:
        for start in range(0, len(rows), _ROWS_AT_ONCE * batch_size):
            some = rows[start : start + _ROWS_AT_ONCE * batch_size]
            outcomes += zero_shot.score_variants(
                network,
                genome,
                [row.variant for row in some],
                window_bp,
                both_strands=reverse_complement is ReverseComplement.average,
                batch_size=batch_size,
            )
            advance(len(some))

    is_scored = np.array([outcome.score is not None for outcome in outcomes])
    is_measured = is_scored & np.isfinite(values)
    scores = {name: np.full(len(rows), np.nan) for name in ("llr", "distance", "ridge", "ridge_new_sites")}
    found = [outcome.score for outcome in outcomes if outcome.score is not None]
    scores["llr"][is_scored] = [score.log_likelihood_ratio for score in found]
    scores["distance"][is_scored] = [score.embedding_distance for score in found]
    if is_measured.any():
        vectors = np.stack([score.vector.numpy() for score in found])[is_measured[is_scored]]
        groups_of_sites = site_groups([row for row, is_in in zip(rows, is_measured, strict=True) if is_in])
        for name, groups in (("ridge", None), ("ridge_new_sites", groups_of_sites)):
            predicted = cross_validated_ridge(vectors, values[is_measured], groups)
            if predicted is not None:
                scores[name][is_measured] = predicted
    _write_scores(output_dir / "scores.csv", rows, outcomes, scores)

    count = int(is_measured.sum())
    say(f"{is_scored.sum():,} of {len(rows):,} variants scored: {output_dir / 'scores.csv'}")
    reasons = Counter(outcome.reason for outcome in outcomes if outcome.reason is not None)
    say_reasons(reasons)
    metrics: dict[str, Any] = {
        "variants": len(rows),
        "scored": int(is_scored.sum()),
        "measured": count,
        "measured_columns": names,
        "reasons": dict(reasons),
        "window_bp": window_bp,
        "reverse_complement": reverse_complement.value,
    }
    lines = []
    for name, scored in scores.items():
        correlation = rank_correlation(scored[is_measured], values[is_measured])
        metrics[f"{name}_spearman"] = finite(correlation)
        nothing = "too few" if np.isnan(scored[is_measured]).all() or count < 2 else "all alike"
        lines.append([name, nothing if np.isnan(correlation) else f"{correlation:.3f}"])
    deviation = random_correlation_deviation(count)
    metrics |= {"random_spearman": 0.0, "random_spearman_deviation": finite(deviation)}
    say(table([f"score ({count:,} variants)", "Spearman"], [*lines, ["random", f"0 ± {deviation:.3f}"]]))
    if classes:
        chosen = is_scored & np.array([label is not None for label in labels])
        is_positive = np.array([label is True for label in labels])[chosen]
        metrics |= separation_metrics(
            {name: scores[name][chosen] for name in ("llr", "distance")}, is_positive
        )
    write_results(output_dir / "results.json", metrics)


def _write_scores(
    path: Path,
    rows: "Sequence[MutationRow]",
    outcomes: "Sequence[Outcome]",
    scores: "Mapping[str, Floats]",
) -> None:
    """Writes the table again, with the scores in further columns; empty where there is none."""
    from dnachunk.data.text import text_writer

    added = [f"{PREFIX}{name}" for name in (*scores, "reason")]
    columns = [column for column in rows[0].cells if column not in added] + added
    with replacing(path) as temporary, text_writer(temporary) as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for index, (row, outcome) in enumerate(zip(rows, outcomes, strict=True)):
            numbers = [values[index] for values in scores.values()]
            texts = ["" if math.isnan(number) else f"{number:.9g}" for number in numbers]
            writer.writerow({**row.cells, **dict(zip(added, [*texts, outcome.reason or ""], strict=True))})
