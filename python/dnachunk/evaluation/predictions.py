"""What a fine-tuned model says of new sequences: labels and their probabilities."""

import csv
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.alphabet import reverse_complement as other_strand
from dnachunk.data.annotation import read_regions
from dnachunk.data.contents import OnError
from dnachunk.data.examples import ExampleCollator, check_length
from dnachunk.data.genome import Genome
from dnachunk.data.labelled import Columns, attempt, is_table, read_labelled
from dnachunk.data.problem import Problem
from dnachunk.data.record_names import Aliases
from dnachunk.data.task import tissue_index
from dnachunk.data.text import text_writer
from dnachunk.data.tiles import OwnTile, configured_tile, cut_in_tiles
from dnachunk.errors import ArgumentError, require_at_least, require_different_files, require_one_of
from dnachunk.evaluation.strands import Strands, strand_logits
from dnachunk.files import output_file, replacing
from dnachunk.inference.genome import open_genome
from dnachunk.models.limits import length_limits
from dnachunk.models.loading import (
    ask,
    best_device,
    bf16_products,
    check_code,
    load_config,
    load_pretrained,
    load_tokenizer,
    model_files,
)
from dnachunk.ops import decode_dna, encode_dna
from dnachunk.reporting import Report, Table, progress
from dnachunk.tokenization import DNATokenizer

PathLike = str | os.PathLike[str]

MIN_PROBABILITY = 0.5
"""From which on one of several labels is predicted."""


class Query(NamedTuple):
    """A sequence to predict for, or a pair of alleles.

    Attributes:
        place: What tells it from the others: a cell for each of :attr:`Predictions.columns`.
        sequence: Its letters, of the strand that is read; of a pair the reference allele's.
        positions_bp: Of its bases, in the record that it is of; in the sequence itself where it is of none.
        alternate: Letters of the alternate allele.
        tissue: Name of the tissue of a pair.
    """

    place: tuple[str, ...]
    sequence: str
    positions_bp: range
    alternate: str | None = None
    tissue: str | None = None

    @property
    def alleles(self) -> tuple[str, ...]:
        """The sequence, or both alleles."""
        return (self.sequence,) if self.alternate is None else (self.sequence, self.alternate)


class Prediction(NamedTuple):
    """What a model says of a sequence.

    Attributes:
        place: What tells it from the others: a cell for each of :attr:`Predictions.columns`.
        label: The most probable class; of several labels those of a probability of 0.5 at least; of bases a
            class for each. Of numbers there is none.
        values: ``[K]`` float32: the probability of each class or label, or the numbers, in the order of
            :attr:`Predictions.names`; ``[n, K]`` of bases.
        positions_bp: Of the bases, 0-based, of labels of bases those that have one: in the record, or in the
            sequence.
    """

    place: tuple[str, ...]
    label: str | tuple[str, ...] | None
    values: torch.Tensor
    positions_bp: range


@dataclass(slots=True, eq=False, repr=False)
class Predictions(Report):
    """Predictions for sequences; iterating makes them anew each time, a batch at once.

    Made by :func:`predict`.

    Attributes:
        problem: Kind of labels.
        names: Classes, labels or numbers.
        columns: What tells the sequences apart: ``index``; ``record``; ``line`` (of a table, ``row`` of a
            Parquet file) and the columns that are kept; or ``record``, ``start_bp``, ``end_bp``, ``name`` and
            ``strand``.
        num_queries: How many sequences there are.
        skipped: Of each sequence that was left out, where it stands and what is wrong with it.
        counts: How often each class or label was predicted when they were last iterated over.
        num_predicted: For how many sequences.
    """

    problem: Problem
    names: tuple[str, ...]
    columns: tuple[str, ...]
    num_queries: int
    skipped: list[str]
    _queries: Callable[[], Iterator[Query | ValueError]]
    _logits: Callable[[list[Query]], list[torch.Tensor]]
    _check: Callable[[Query], Query]
    _on_error: OnError
    _batch_size: int
    counts: Counter[str] = field(default_factory=Counter)
    num_predicted: int = 0

    def __iter__(self) -> Iterator[Prediction]:
        """The predictions in the sequences' order."""
        self.counts, self.num_predicted = Counter(), 0
        self.skipped.clear()
        with progress(self.num_queries, "predict", "sequences") as advance:
            queries = self._queries()
            while batch := list(itertools.islice(queries, self._batch_size)):
                read = [attempt(self._on_error, self.skipped, self._checked, query) for query in batch]
                kept = [query for query in read if query is not None]
                for query, logits in zip(kept, self._logits(kept) if kept else [], strict=True):
                    yield self._prediction(query, logits)
                advance(len(batch))
        if not self.num_predicted:
            raise ValueError(f"there is no sequence to predict for{_first(self.skipped)}")

    def write(self, output: PathLike) -> None:
        """Predicts for all and writes them, whole or not at all.

        Args:
            output: CSV if it ends in ``.csv`` or ``.csv.gz``, otherwise TSV; bgzip if it ends in ``.gz``;
                ``-`` is standard output. A line for each sequence, or for each base where these have labels
                (with its ``position_bp``): :attr:`columns`, then ``predicted_label`` and
                ``probability_CLASS`` for each, or ``predicted_NAME`` for numbers.

        Raises:
            OSError: If a file cannot be read or written.
            ValueError: If a sequence is refused, or there is none.
        """
        path = Path(output)
        delimiter = "," if path.name.endswith((".csv", ".csv.gz")) else "\t"
        with (
            replacing(path) as temporary,
            text_writer(temporary, bgzip=path.suffix == ".gz") as file,
        ):
            writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
            writer.writerow(self.header())
            for prediction in self:
                writer.writerows(self._rows(prediction))

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``dnachunk predict`` writes beside the predictions."""
        return {
            "sequences": self.num_predicted,
            "problem": self.problem.value,
            "names": list(self.names),
            "predicted": {name: self.counts[name] for name in self.names} if self.counts else {},
            "skipped": self.skipped,
        }

    def report(self) -> list[Table | str]:
        """How many there are, of which label, and what was left out."""
        if not self.num_predicted:
            return [f"{self.num_queries:,} sequences to predict {self.problem.value} for"]
        unit = "bases" if self.problem is Problem.per_base else "sequences"
        parts: list[Table | str] = [f"{self.num_predicted:,} sequences predicted"]
        if self.counts:
            total = max(1, self.counts.total() if unit == "bases" else self.num_predicted)
            rows = [
                [name, f"{self.counts[name]:,}", f"{self.counts[name] / total:.1%}"] for name in self.names
            ]
            parts.append(Table(["predicted", unit, "share"], rows))
        if self.skipped:
            parts.append(f"{len(self.skipped):,} left out{_first(self.skipped)}")
        return parts

    def _checked(self, query: Query | ValueError) -> Query:
        if isinstance(query, ValueError):
            raise query
        return self._check(query)

    def _prediction(self, query: Query, logits: torch.Tensor) -> Prediction:
        self.num_predicted += 1
        label: str | tuple[str, ...] | None = None
        if self.problem is Problem.regression:
            values = logits
        elif self.problem is Problem.multi_label:
            values = logits.sigmoid()
            label = tuple(
                name
                for name, is_one in zip(self.names, (values >= MIN_PROBABILITY).tolist(), strict=True)
                if is_one
            )
            self.counts.update(label)
        else:
            values = logits.softmax(-1)
            best = values.argmax(-1).tolist()
            label = self.names[best] if isinstance(best, int) else tuple(self.names[each] for each in best)
            self.counts.update([label] if isinstance(label, str) else label)
        positions = query.positions_bp
        if self.problem is Problem.per_base:
            # Of what is cut off, there are no labels.
            positions = positions[: len(logits)]
        return Prediction(query.place, label, values, positions)

    def header(self) -> list[str]:
        """Names of the columns that :meth:`write` writes."""
        if self.problem is Problem.regression:
            return [*self.columns, *(f"predicted_{name}" for name in self.names)]
        position = ["position_bp"] if self.problem is Problem.per_base else []
        return [
            *self.columns,
            *position,
            "predicted_label",
            *(f"probability_{name}" for name in self.names),
        ]

    def _rows(self, prediction: Prediction) -> Iterator[list[Any]]:
        place, label, values, positions = prediction

        def cells(numbers: list[float]) -> list[str]:
            return [f"{number:.6g}" for number in numbers]

        if label is None:
            yield [*place, *cells(values.tolist())]
        elif self.problem is Problem.per_base:
            for position, base_label, numbers in zip(positions, label, values.tolist(), strict=True):
                yield [*place, position, base_label, *cells(numbers)]
        else:
            yield [*place, label if isinstance(label, str) else "|".join(label), *cells(values.tolist())]


def predict(
    model: Any,
    sequences: PathLike | Genome | Sequence[str] | Sequence[tuple[str, ...]],
    output: PathLike | None = None,
    *,
    regions: PathLike | None = None,
    sequence_column: str | Sequence[str] = "sequence",
    tissue_column: str | None = None,
    keep_column: str | Sequence[str] = (),
    aliases: Aliases | None = None,
    on_error: OnError = "fail",
    reverse_complement: Strands = "none",
    tokens_per_base: float | None = None,
    truncate: bool = False,
    tile_bp: int | None = None,
    trust_remote_code: bool = False,
    batch_size: int = 32,
    bf16: bool = False,
) -> Predictions:
    """Predicts labels of sequences with a fine-tuned model, of every kind of label.

    Args:
        model: Folder of a model with a classification head and its tokenizer, ours or any of Hugging Face's;
            or such a model of ours.
        sequences: FASTA file, each record a sequence; table (csv, tsv, txt, parquet) with a column of
            sequences; a genome; or the sequences themselves. For a model of pairs of alleles a table, or
            tuples of the reference, the alternate and, where it reads tissues, the tissue.
        output: File to write; see :meth:`Predictions.write`. Default: nothing is written.
        regions: BED file of stretches of a FASTA file, which are then what is predicted for, each along its
            strand.
        sequence_column: A table's column of sequences, or two of pairs of alleles.
        tissue_column: A table's column of the tissues of pairs of alleles.
        keep_column: Columns of a table to copy, one or several.
        aliases: Names of records that mean the same: ``"chr"``, ``"version"``, a table or a mapping; see
            :class:`~dnachunk.data.record_names.RecordNames`.
        on_error: ``"skip"``: sequences that cannot be read, or are too long, are left out, counted and
            listed; ``"fail"``: they are refused.
        reverse_complement: ``"average"``: both strands are run and averaged.
        tokens_per_base: In (0, 1], of MergeDNA and DNAChunker, whose configuration it changes where a loaded
            model is given; default as the model is configured.
        truncate: Whether sequences longer than the model takes are cut off.
        tile_bp: Bases of the tiles, overlapping by half, that longer sequences are read in; default as the
            model was fine-tuned. Their logits are averaged, each base counting once; labels of bases are
            those of the tile in which a base is farthest from where the sequence is cut.
        trust_remote_code: Whether a model with code of its own in its folder is loaded by it; it runs with
            all rights that you have.
        batch_size: Sequences, or tiles, run at once; changes no result beyond rounding.
        bf16: Whether matrix products run in bfloat16, which is faster where the machine has them; predictions
            may differ from those in float32.

    Returns:
        The predictions, to iterate over or to write.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If an argument is out of range or does not fit, the model has no head, or a sequence is
            refused.
    """
    require_one_of("on_error", on_error, ("fail", "skip"))
    require_one_of("reverse_complement", reverse_complement, ("none", "average"))
    require_at_least("batch_size", batch_size, 1)
    require_different_files(
        model=model_files(model), sequences=sequences, regions=regions, aliases=aliases, output=output
    )
    if output is not None:
        output_file(output)
    network, tokenizer = _with_head(model, trust_remote_code)
    ask(network, tokens_per_base)
    problem, names = _problem(network)
    kept = (keep_column,) if isinstance(keep_column, str) else tuple(keep_column)
    of_table = Columns.of(sequence_column, tissue_column, kept)
    columns, count, queries, has_pairs, has_tissues = _read(sequences, regions, of_table, aliases, on_error)
    _check_pairs(network.config, has_pairs, has_tissues)
    tile_bp = configured_tile(network.config, tile_bp, truncate)
    tissues = getattr(network.config, "tissues", None) or ()
    limits = length_limits(network, tokenizer)
    collate = ExampleCollator(
        tokenizer, network, problem, **dict(zip(("max_length_bp", "max_tokens"), limits, strict=True))
    )

    def check(query: Query) -> Query:
        where = ", ".join(f"{name} {cell}" for name, cell in zip(columns, query.place, strict=True))
        if not all(query.alleles):
            raise ValueError(f"{where}: the sequence is empty")
        if not truncate:
            check_length(query.alleles, where, tokenizer, *limits, tile_bp)
        if query.tissue is not None:
            tissue_index(query.tissue, tissues, where)
        return query

    def placeholder(sequence: str) -> Any:
        """In place of the labels that a batch of training has."""
        if problem is Problem.single_label:
            return 0
        return [0] * (len(sequence) if problem is Problem.per_base else len(names))

    @torch.inference_mode()
    def row_logits(queries: list[Query]) -> list[torch.Tensor]:
        items = [
            {
                "sequence": query.sequence,
                "target": placeholder(query.sequence),
                "both_strands": reverse_complement == "average",
                **({} if query.alternate is None else {"alternate": query.alternate}),
                **({} if query.tissue is None else {"tissue": tissues.index(query.tissue)}),
            }
            for query in queries
        ]
        inputs = _to(collate(items), network.device)
        labels, reverse = inputs.pop("labels"), inputs.pop("reverse", None)
        with bf16_products(network, bf16):
            # Both strands' are averaged in float32.
            found = strand_logits(network(**inputs).logits.float(), network, inputs, reverse)
        if problem is Problem.per_base:
            return [row[label != IGNORE_INDEX].cpu() for row, label in zip(found, labels, strict=True)]
        return list(found.cpu())

    def logits(batch: list[Query]) -> list[torch.Tensor]:
        of_all = [cut_in_tiles(query.alleles, tile_bp) for query in batch]
        cut = [
            query._replace(sequence=sequence, alternate=alternate[0] if alternate else None)
            for query, (_, parts) in zip(batch, of_all, strict=True)
            for sequence, *alternate in parts
        ]
        rows = iter(
            [
                row
                for first in range(0, len(cut), batch_size)
                for row in row_logits(cut[first : first + batch_size])
            ]
        )
        return [_join(list(itertools.islice(rows, len(tiles))), tiles, problem) for tiles, _ in of_all]

    predictions = Predictions(
        problem, names, columns, count, [], queries, logits, check, on_error, batch_size
    )
    twice = [name for name, number in Counter(predictions.header()).items() if number > 1]
    if twice:
        raise ArgumentError(
            f"`keep_column` must name each column once, and none that the output has, got {twice[0]!r}"
        )
    if output is not None:
        predictions.write(output)
    return predictions


def _join(rows: list[torch.Tensor], tiles: list[OwnTile], problem: Problem) -> torch.Tensor:
    """Logits of a sequence from those of its tiles."""
    if len(tiles) == 1:
        return rows[0]
    if problem is Problem.per_base:
        return torch.cat(
            [
                row[tile.own_start_bp - tile.start_bp : tile.own_end_bp - tile.start_bp]
                for row, tile in zip(rows, tiles, strict=True)
            ]
        )
    shares = torch.tensor([tile.own_end_bp - tile.own_start_bp for tile in tiles]) / tiles[-1].end_bp
    return shares @ torch.stack(rows)


def _to(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        name: _to(value, device) if isinstance(value, dict) else value.to(device)
        for name, value in batch.items()
    }


def _with_head(model: Any, trust_remote_code: bool) -> tuple[Any, Any]:
    """A model with a classification head, on its device, and its tokenizer."""
    if not isinstance(model, str | os.PathLike):
        _check_head(type(model).__name__)
        return model.eval(), DNATokenizer(cls_sep=model.config.model_type == "mxdna")
    check_code(model, trust_remote_code)
    config = load_config(model, trust_remote_code=trust_remote_code)
    head = (config.architectures or [""])[0]
    _check_head(head)
    is_per_base = head.endswith("ForTokenClassification")
    auto_class = AutoModelForTokenClassification if is_per_base else AutoModelForSequenceClassification
    network = load_pretrained(auto_class, model, trust_remote_code=trust_remote_code).to(best_device())
    return network, load_tokenizer(model, trust_remote_code=trust_remote_code)


def _check_head(name: str) -> None:
    if not name.endswith(("ForSequenceClassification", "ForTokenClassification")):
        raise ArgumentError(
            f"`model` must have a classification head, as fine-tuning makes it, got a {name or 'model'}"
        )


def _problem(network: Any) -> tuple[Problem, tuple[str, ...]]:
    """Kind and names of the labels that a model was trained on."""
    config = network.config
    names = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    if type(network).__name__.endswith("ForTokenClassification"):
        return Problem.per_base, names
    kinds = {
        "multi_label_classification": Problem.multi_label,
        "regression": Problem.regression,
        "single_label_classification": Problem.single_label,
    }
    default = "regression" if config.num_labels == 1 else "single_label_classification"
    return kinds[config.problem_type or default], names


def _check_pairs(config: Any, has_pairs: bool, has_tissues: bool) -> None:
    """Raises :class:`ArgumentError` unless what is to be predicted for is what the model reads."""
    if has_pairs != getattr(config, "allele_pairs", False):
        raise ArgumentError(
            "`model` reads single sequences, got pairs of alleles"
            if has_pairs
            else "`model` reads pairs of alleles: give a table and `sequence_column` twice, of the reference "
            "and the alternate allele"
        )
    if has_tissues != bool(getattr(config, "tissues", None)):
        raise ArgumentError(
            "`model` reads no tissue, got `tissue_column`"
            if has_tissues
            else f"`model` reads the tissue too, of {', '.join(config.tissues)}: give `tissue_column`"
        )


class _Reading(NamedTuple):
    """The columns that tell sequences apart, how many there are, what reads them, and what they have."""

    columns: tuple[str, ...]
    total: int
    queries: Callable[[], Iterator[Query | ValueError]]
    has_pairs: bool = False
    has_tissues: bool = False


def _read(
    sequences: Any,
    regions: PathLike | None,
    of_table: Columns,
    aliases: Aliases | None,
    on_error: OnError,
) -> _Reading:
    is_path = isinstance(sequences, str | os.PathLike)
    kept, is_of_pairs = of_table.labels, len(of_table.sequences) == 2
    if kept and not (is_path and is_table(sequences)):
        raise ArgumentError("`keep_column` is for a table")
    if is_path and is_table(sequences):
        if regions is not None:
            raise ArgumentError(f"`regions` are of a FASTA file, got the table {sequences}")
        read = read_labelled(
            sequences,
            sequence_column=of_table.sequences,
            tissue_column=of_table.tissue,
            label_columns=kept,
            on_error=on_error,
        )
        unit = read.places[0].rpartition(" ")[0].rpartition(", ")[2]

        alternates: Sequence[str | None] = read.alternates or [None] * len(read)
        tissues: Sequence[str | None] = read.tissues or [None] * len(read)

        def of_rows() -> Iterator[Query | ValueError]:
            yield from map(ValueError, read.skipped)
            rows = zip(read.sequences, read.labels, read.places, alternates, tissues, strict=True)
            for text, cells, place, *pair in rows:
                yield Query((place.rpartition(" ")[2], *cells), text, range(len(text)), *pair)

        total = len(read) + len(read.skipped)
        return _Reading((unit, *kept), total, of_rows, is_of_pairs, of_table.tissue is not None)
    if is_of_pairs:
        raise ArgumentError("`sequence_column` is for a table")
    if not is_path and not isinstance(sequences, Genome):
        if regions is not None:
            raise ArgumentError("`regions` are of a FASTA file")
        texts = [sequences] if isinstance(sequences, str) else list(sequences)
        widths = {len(each) if isinstance(each, tuple) else 1 for each in texts}
        if not widths <= {1} and widths not in ({2}, {3}):
            raise ArgumentError(
                "`sequences` must be texts, or tuples all of a reference and an alternate allele, or all of "
                f"these and a tissue, got {' and '.join(map(str, sorted(widths)))} parts"
            )

        def of_list() -> Iterator[Query | ValueError]:
            for index, each in enumerate(texts):
                text, *others = each if isinstance(each, tuple) else (each,)
                try:
                    encode_dna([text, *others[:1]])
                except (TypeError, ValueError) as error:
                    yield ValueError(f"index {index}: {error}")
                else:
                    pair = [other.upper() for other in others[:1]] + others[1:]
                    yield Query((str(index),), text.upper(), range(len(text)), *pair)

        return _Reading(("index",), len(texts), of_list, max(widths, default=1) > 1, widths == {3})
    genome = open_genome(sequences, aliases, on_error=on_error)

    def text_of(index: int, start_bp: int, end_bp: int) -> str:
        ids, _ = genome.fetch(index, start_bp, end_bp)
        return decode_dna(ids, torch.tensor([0, len(ids)]))[0]

    if regions is None:

        def of_records() -> Iterator[Query | ValueError]:
            yield from _faults(genome)
            for index, record in enumerate(genome.records):
                length_bp = record.length_bp
                yield Query((record.name,), text_of(index, 0, length_bp), range(length_bp))

        return _Reading(("record",), len(genome.records) + len(genome.skipped), of_records)

    annotation = read_regions(regions, genome, on_error=on_error)

    def of_regions() -> Iterator[Query | ValueError]:
        yield from _faults(genome)
        for where, reason in annotation.skipped:
            yield ValueError(f"{regions}, line {where}: {reason}")
        for region in annotation.regions:
            record = genome.records[region.record_index].name
            text = text_of(region.record_index, region.start_bp, region.end_bp)
            positions = range(region.start_bp, region.end_bp)
            if region.is_reverse:
                text, positions = other_strand(text), positions[::-1]
            strand = "-" if region.is_reverse else "+"
            place = (record, str(region.start_bp), str(region.end_bp), region.kind, strand)
            yield Query(place, text, positions)

    count = len(annotation.regions) + len(annotation.skipped)
    return _Reading(("record", "start_bp", "end_bp", "name", "strand"), count, of_regions)


def _faults(genome: Genome) -> Iterator[ValueError]:
    """Why records of a file were left out."""
    for name, reason in genome.skipped:
        yield ValueError(f"{genome.path}, record {name}: {reason}")


def _first(skipped: Sequence[str]) -> str:
    return f", the first: {skipped[0]}" if skipped else ""


__all__ = ["Prediction", "Predictions", "predict"]
