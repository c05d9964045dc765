"""Zero-shot scores of a deep mutational scan, beside what was measured."""

import csv
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnachunk.data.contents import OnError, listed, tell_skipped
from dnachunk.data.genome import Genome
from dnachunk.data.text import text_writer
from dnachunk.errors import ArgumentError, require_at_least, require_different_files, require_one_of
from dnachunk.evaluation import zero_shot
from dnachunk.evaluation.against_random import Floats, random_correlation_deviation, rank_correlation
from dnachunk.evaluation.classes import Classes, check_classes, separation_metrics, separation_report
from dnachunk.evaluation.mutations import (
    MutationRow,
    cross_validated_ridge,
    measurements,
    read_mutations,
    site_groups,
)
from dnachunk.evaluation.variant_scores import reasons_table
from dnachunk.evaluation.zero_shot_model import resolve_zero_shot
from dnachunk.files import output_folder, replacing
from dnachunk.inference.embeddings import Strands
from dnachunk.inference.genome import open_genome
from dnachunk.reporting import Report, Table, finite, progress, require_own_files, write_results

MEASURED = ("score", "DMS_score")
"""Columns of what was measured that are looked for where none is named."""
SCORES = "scores.csv"
"""Name of the table in the output folder."""

_JOB = "score_mutations"

PREFIX = "dnachunk_"
"""Before the names of the columns that are added."""
_ROWS_AT_ONCE = 4


@dataclass(frozen=True, slots=True, eq=False)
class MutationScores(Report):
    """A scan and its scores.

    Attributes:
        rows: The table's rows, and the variants that they name.
        scores: By name (``llr``, ``distance``, ``ridge``, ``ridge_new_sites``), each ``[n]`` float64, NaN
            where there is none.
        reasons: Of each row why it has no score, or what is to be known of it; or None.
        metrics: Counts and figures by name, as ``dnachunk score-mutations`` writes them.
        has_classes: Whether positives and negatives were named.
    """

    rows: Sequence[MutationRow]
    scores: dict[str, Floats]
    reasons: Sequence[str | None]
    metrics: dict[str, Any]
    has_classes: bool

    def report(self) -> list[Table | str]:
        """How many were scored, why others were not, and Spearman's correlation of each score."""
        first = f"{self.metrics['scored']:,} of {len(self.rows):,} variants scored"
        count = self.metrics["measured"]
        lines = []
        for name, values in self.scores.items():
            correlation = self.metrics[f"{name}_spearman"]
            nothing = "too few" if np.isnan(values).all() or count < 2 else "all alike"
            lines.append([name, nothing if correlation is None else f"{correlation:.3f}"])
        random = "too few" if count < 2 else f"0 ± {random_correlation_deviation(count):.3f}"
        table = Table([f"score ({count:,} variants)", "Spearman"], [*lines, ["random", random]])
        parts = [first, *reasons_table(self.metrics["reasons"]), table]
        return [*parts, separation_report(self.metrics)] if self.has_classes else parts

    def save(self, output_dir: str | os.PathLike[str]) -> None:
        """Writes ``scores.csv``, the table with the scores in further columns, and ``results.json``.

        Raises:
            OSError: If one cannot be written.
        """
        folder = output_folder(output_dir)
        table = folder / SCORES
        require_own_files(folder / "results.json", _JOB, [table])
        folder.mkdir(parents=True, exist_ok=True)
        added = [f"{PREFIX}{name}" for name in (*self.scores, "reason")]
        columns = [column for column in self.rows[0].cells if column not in added] + added
        with replacing(table) as temporary, text_writer(temporary) as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            for index, (row, reason) in enumerate(zip(self.rows, self.reasons, strict=True)):
                numbers = [values[index] for values in self.scores.values()]
                texts = ["" if math.isnan(number) else f"{number:.9g}" for number in numbers]
                writer.writerow({**row.cells, **dict(zip(added, [*texts, reason or ""], strict=True))})
        write_results(folder / "results.json", _JOB, self.metrics)


def score_mutations(
    model: Any,
    fasta: str | os.PathLike[str] | Genome,
    variants: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None = None,
    *,
    measured: str | Sequence[str] | None = None,
    on_error: OnError = "fail",
    window_bp: int | None = None,
    tokens_per_base: float | None = None,
    reverse_complement: Strands = "none",
    positive: str | None = None,
    negative: str | None = None,
    batch_size: int = 8,
    bf16: bool = False,
) -> MutationScores:
    """Scores the variants of one gene and compares them with what was measured.

    Four scores: the masked log-likelihood ratio over the mutated codons; 1 − cos between mean vectors; and a
    ridge regression on the mutants' mean vectors, predicted in five folds, drawn at random, and by sites, so
    that no site of the predicted fifth was trained on.

    Args:
        model: Folder of a masked language model and its tokenizer, or a loaded model of ours.
        fasta: The coding sequence, or of a table of bases the gene.
        variants: Table of variants and measurements, CSV or TSV; see
            :func:`~dnachunk.evaluation.mutations.read_mutations`.
        output_dir: Folder to write ``scores.csv`` and ``results.json`` into. Default: nothing is written.
        measured: Column of the measurement; of several the mean. Default: ``score``, or ``DMS_score``.
        on_error: ``"skip"``: rows that cannot be read are left out, counted and listed;
            ``"fail"``: they are refused.
        window_bp: Bases read at once; default as in the model's training.
        tokens_per_base: In (0, 1], of MergeDNA and DNAChunker, whose configuration it changes where a loaded
            model is given; default as the model is configured.
        reverse_complement: ``"average"``: both strands are run and averaged.
        positive: Which are positives, by a column: ``"class=LOF"``, ``"score<-1"``.
        negative: Which are negatives, written alike; default all that are no positives.
        batch_size: Windows run at once; changes no score beyond rounding.
        bf16: Whether matrix products run in bfloat16, which is faster where the machine has them; scores
            may differ from those in float32.

    Returns:
        The scores and their figures.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If an argument is out of range, or the table cannot be read.
    """
    require_one_of("reverse_complement", reverse_complement, ("none", "average"))
    require_at_least("batch_size", batch_size, 1)
    if output_dir is not None:
        table = output_folder(output_dir) / SCORES
        require_different_files(fasta=fasta, variants=variants, output_dir=table)
        require_own_files(table.with_name("results.json"), _JOB, [table])
    classes = Classes.parse(positive, negative)
    require_one_of("on_error", on_error, ("fail", "skip"))
    genome = open_genome(fasta, on_error=on_error)
    rows, skipped = read_mutations(variants, genome, on_error=on_error)
    tell_skipped(skipped, f"lines of {variants}")
    given = [measured] if isinstance(measured, str) else measured
    names = list(given or [name for name in MEASURED if name in rows[0].cells][:1])
    if not names:
        raise ArgumentError(f"{variants} has no column {' or '.join(MEASURED)}; name it with `measured`")
    values = measurements(rows, names)
    labels = [classes.of(row.cells.get) if classes else None for row in rows]
    if classes:
        unknown = [name for name in classes.fields if name not in rows[0].cells]
        if unknown:
            raise ValueError(f"{variants} has no column {unknown[0]!r}")
        check_classes(Counter(labels))
    network, window_bp = resolve_zero_shot(model, window_bp, tokens_per_base, bf16=bf16)

    outcomes: list[zero_shot.Outcome] = []
    with progress(len(rows), "score-mutations", "variants") as advance:
        for start in range(0, len(rows), _ROWS_AT_ONCE * batch_size):
            some = rows[start : start + _ROWS_AT_ONCE * batch_size]
            outcomes += zero_shot.score_alleles(
                network,
                genome,
                [row.variant for row in some],
                window_bp,
                both_strands=reverse_complement == "average",
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

    reasons = [outcome.reason for outcome in outcomes]
    count = int(is_measured.sum())
    metrics: dict[str, Any] = {
        "variants": len(rows),
        "scored": int(is_scored.sum()),
        "measured": count,
        "measured_columns": names,
        "reasons": dict(Counter(reason for reason in reasons if reason is not None)),
        "window_bp": window_bp,
        "reverse_complement": reverse_complement,
        **listed(skipped, "lines"),
    }
    for name, scored in scores.items():
        metrics[f"{name}_spearman"] = finite(rank_correlation(scored[is_measured], values[is_measured]))
    deviation = random_correlation_deviation(count)
    metrics |= {"random_spearman": 0.0, "random_spearman_deviation": finite(deviation)}
    if classes:
        chosen = is_scored & np.array([label is not None for label in labels])
        is_positive = np.array([label is True for label in labels])[chosen]
        metrics |= separation_metrics(
            {name: scores[name][chosen] for name in ("llr", "distance")}, is_positive
        )
    result = MutationScores(rows, scores, reasons, metrics, classes is not None)
    if output_dir is not None:
        result.save(output_dir)
    return result


__all__ = ["MutationScores", "score_mutations"]
