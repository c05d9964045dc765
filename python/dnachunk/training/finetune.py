"""Fine-tuning: a search on the validation set, repeats of the best, and the model that is best."""

import copy
import hashlib
import json
import math
import os
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from transformers import TrainingArguments, set_seed
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from dnachunk.data.contents import OnError
from dnachunk.data.labelled import LabelledSet, join_sets, read_labelled, read_splits
from dnachunk.data.task import Examples, Problem, Task
from dnachunk.errors import ArgumentError, UsageError, require_at_least, require_one_of
from dnachunk.evaluation.metrics import DEFAULT_METRIC, METRICS, score_predictions
from dnachunk.evaluation.strands import Strands
from dnachunk.models.loading import ask, check_code, load_config, load_tokenizer, model_digest
from dnachunk.models.model_card import model_card, write_card
from dnachunk.reporting import Report, Table, is_main_process, require_own_files, say, write_results
from dnachunk.training.adaptation import LoRA, Method, load_with_head
from dnachunk.training.arguments import plain_values, training_arguments
from dnachunk.training.checkpoints import last_checkpoint
from dnachunk.training.finetuner import FineTuner, KeptCheckpoint, StopEarly
from dnachunk.training.progress import log_lines, quiet_files
from dnachunk.training.ridge import RIDGE_ALPHAS, RidgeHead
from dnachunk.training.run_store import Candidate, Run, RunStore

Files = str | os.PathLike[str]
Labelled = Files | Sequence[Files | tuple[Files, str]] | Mapping[str, Files]
"""A file, several (a file of one class with the class behind it), or by class files of one class each."""
Value = TypeVar("Value", int, float)

DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 10,
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 64,
    "weight_decay": 0.01,
    "warmup_steps": 0.1,
    "logging_strategy": "epoch",
    "eval_strategy": "epoch",
    "report_to": "none",
}
"""Fields of ``TrainingArguments``: the batch and the optimizer of the papers (AdamW)."""

PAPER_RATES = (1e-5, 5e-5, 1e-4)
PAPER_EPOCHS = (5.0, 10.0)
PAPER_RANKS = (4, 8, 16, 24, 48)
PAPER_DECAYS = (0.0, 0.01)
PAPER_ALPHAS = (8.0, 16.0, 24.0, 48.0, 96.0)
"""What MergeDNA's paper searches over, on the validation set (Evaluation Setups)."""

LEARNING_RATES: dict[Method, float] = {"full": 5e-4, "lora": 2e-3, "probe": 1e-2}
"""What each method learns with where nothing is said; the papers' rates are for models of 100M and more."""

# What a run's numbers depend on beside the candidate, the model and the data.
_DECISIVE = (
    *("per_device_train_batch_size", "gradient_accumulation_steps", "max_steps", "seed", "data_seed"),
    *("optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "max_grad_norm"),
    *("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "label_smoothing_factor"),
    *("optim_target_modules", "neftune_noise_alpha", "train_sampling_strategy", "dataloader_drop_last"),
    *("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "eval_strategy", "eval_steps", "eval_delay"),
    *("eval_on_start", "world_size"),
)


def grid(
    learning_rates: Sequence[float],
    num_train_epochs: Sequence[float],
    lora_ranks: Sequence[int | None] = (),
    weight_decays: Sequence[float] = (),
    lora_alphas: Sequence[float] = (),
) -> list[Candidate]:
    """All combinations; without ranks and alphas for another method than LoRA.

    MergeDNA's paper searches over rates 1e-5, 5e-5 and 1e-4, weight decays 0 and 0.01, ranks 4, 8, 16, 24 and
    48, alphas 8, 16, 24, 48 and 96, and 5 and 10 epochs.
    """
    ranks: Sequence[int | None] = lora_ranks or [None]
    alphas: Sequence[float | None] = lora_alphas or [None]
    decays: Sequence[float | None] = weight_decays or [None]
    return [
        Candidate(rate, epochs, rank, decay, alpha)
        for rank in ranks
        for alpha in alphas
        for epochs in num_train_epochs
        for decay in decays
        for rate in learning_rates
    ]


@dataclass(frozen=True, slots=True)
class FineTuned(Report):
    """What :func:`run_search`, and so :func:`finetune`, found.

    Attributes:
        candidate: The best of the search.
        repeats: Its runs, one for each seed.
        search: The runs that it was found by, in order.
        metric: What was compared.
        task: The problem and its examples.
        method: Which parameters learned.
        output_dir: Where the model is.
        diverged: Candidates whose training diverged.
        folds: How many folds of a cross-validation the repeats are over; None without.
    """

    candidate: Candidate
    repeats: list[Run]
    search: list[Run]
    metric: str
    task: Task
    method: Method
    output_dir: Path
    diverged: Sequence[Candidate] = ()
    folds: int | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Means over the repeats, ``eval_mcc`` or ``test_mcc``, and sample deviations, ``test_mcc_std``."""
        values: dict[str, list[float]] = {}
        for run in self.repeats:
            for split, scores in (("eval", run.eval), ("test", run.test or {})):
                for name, value in scores.items():
                    values.setdefault(f"{split}_{name}", []).append(value)
        means = {name: statistics.fmean(each) for name, each in values.items()}
        deviations = {f"{name}_std": statistics.stdev(each) for name, each in values.items() if len(each) > 1}
        return {**means, **deviations}

    @property
    def summary(self) -> dict[str, Any]:
        """What ``dnachunk finetune`` writes: the means, and every run."""
        task = self.task

        def entry(run: Any) -> dict[str, Any]:
            scores = {f"eval_{name}": value for name, value in run.eval.items()}
            scores |= {f"test_{name}": value for name, value in (run.test or {}).items()}
            candidate = {name: value for name, value in asdict(run.candidate).items() if value is not None}
            fold = {} if run.fold is None else {"fold": run.fold}
            return {**candidate, "seed": run.seed, **fold, "steps": run.steps, **scores}

        return {
            **self.metrics,
            "problem": task.problem.value,
            "classes": list(task.names),
            **({"tissues": list(task.tissues)} if task.tissues else {}),
            "train_sequences": len(task.train),
            "eval_sequences": len(task.valid),
            "test_sequences": 0 if task.test is None else len(task.test),
            "skipped": task.skipped_rows,
            "method": self.method,
            **({} if self.folds is None else {"folds": self.folds}),
            "trained_parameters": self.repeats[0].trained_parameters,
            "chosen_by": f"eval_{self.metric}",
            "repeats": [entry(run) for run in self.repeats],
            # What another candidate than the best reached on the test set is nobody's to choose by.
            "search": [
                {name: value for name, value in entry(run).items() if not name.startswith("test_")}
                for run in self.search
            ],
            "diverged": [candidate.fields for candidate in self.diverged],
        }

    def report(self) -> list[Table | str]:
        """What was searched, and what the best reached."""
        tables: list[Table | str] = []
        if len(self.search) > 1:
            rows = [[str(run.candidate), f"{run.eval[self.metric]:.4f}"] for run in self.search]
            tables.append(Table(["searched, on the validation set", self.metric], rows))
        return [*tables, self._table()]

    def _table(self) -> Table:
        metrics = self.metrics
        splits = {"eval": "validation"} | ({"test": "test"} if "test_loss" in metrics else {})

        def cell(name: str) -> str:
            if name not in metrics:
                return "—"
            deviation = metrics.get(f"{name}_std")
            return f"{metrics[name]:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")

        names = [name.removeprefix("eval_") for name in metrics if name.startswith("eval_")]
        rows = [
            [name, *(cell(f"{split}_{name}") for split in splits)]
            for name in names
            if not name.endswith("_std")
        ]
        seeds = len(self.repeats) // (self.folds or 1)
        return Table([describe_repeats(seeds, self.folds), *splits.values()], rows)


def finetune(
    model: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    train: Labelled | None = None,
    valid: Labelled | None = None,
    test: Labelled | None = None,
    data: str | os.PathLike[str] | None = None,
    task: Task | None = None,
    problem: Problem | str | None = None,
    sequence_column: str | Sequence[str] = "sequence",
    tissue_column: str | None = None,
    label_column: str | Sequence[str] = "label",
    on_error: OnError = "fail",
    valid_share: float = 0.1,
    method: Method | None = None,
    lora_rank: int | Sequence[int] | None = None,
    lora_alpha: float | Sequence[float] | None = None,
    lora_dropout: float = 0.0,
    lora_target: Sequence[str] | None = None,
    learning_rate: float | Sequence[float] | None = None,
    num_train_epochs: float | Sequence[float] | None = None,
    weight_decay: float | Sequence[float] | None = None,
    paper_grid: bool = False,
    metric: str | None = None,
    seeds: int = 1,
    folds: int | None = None,
    patience: int = 3,
    reverse_complement: Strands = "none",
    tokens_per_base: float | None = None,
    truncate: bool = False,
    tile_bp: int | None = None,
    trust_remote_code: bool = False,
    **arguments: Any,
) -> FineTuned:
    """Fine-tunes a pre-trained model on labelled sequences: a search, repeats of the best, and one model.

    Args:
        model: Folder of a pre-trained model and its tokenizer: ours, or any of Hugging Face's.
        output_dir: Folder for the model, its runs and ``results.json``.
        train: A table (csv, tsv, parquet) with columns sequence and label, a FASTA file whose headers end in
            ``|label``, a folder of classes, several of these, or by class FASTA files of one class each;
            ``.gz`` too.
        valid: The same to choose by; default ``valid_share`` of ``train``.
        test: The same to report on.
        data: Instead of these, a folder with train, dev and test as the benchmarks have them, or the name of
            such a set on the Hugging Face hub.
        task: Instead of all these, a task that has been read.
        problem: Kind of labels: ``"single-label"``, ``"multi-label"``, ``"regression"`` or ``"per-base"``;
            default what they look like.
        sequence_column: Column of the sequences; or two, of the reference and the alternate allele: the head
            of a model of ours then reads the difference of what is pooled of them, alternate minus reference,
            for causal eQTLs (Trop et al. 2024), say; that it is the difference was chosen here.
        tissue_column: Column of the tissues that pairs of alleles are seen in, which the head reads too. A
            tissue that the training set has not is refused.
        label_column: Column of labels, or several.
        on_error: ``"skip"`` leaves out, counts and lists rows that cannot be read, such as those without a
            label; ``"fail"`` refuses them; see :class:`~dnachunk.data.Problem`.
        valid_share: Share of ``train`` to choose by where there is no ``valid``.
        method: ``"full"``: all parameters learn; ``"probe"``: the head alone; ``"lora"``; ``"ridge"``: ridge
            regression on what the head reads, in closed form, the same each time, its strength chosen on the
            validation set (:class:`~dnachunk.training.ridge.RidgeHead`). Default: LoRA with ``lora_rank``,
            else full.
        lora_rank: Rank of LoRA (default 8), or several to search over.
        lora_alpha: Weight of LoRA, or several to search over; default twice the rank.
        lora_dropout: Dropout before the adapters.
        lora_target: Names of linear layers to adapt; default all outside the head.
        learning_rate: Or several to search over; default 5e-4, LoRA 2e-3, probe 1e-2.
        num_train_epochs: Or several to search over; default 10.
        weight_decay: Or several to search over; default 0.01.
        paper_grid: Whether to search over what MergeDNA's paper does (:func:`~dnachunk.training.grid`), as
            far as it is not given.
        metric: What is compared, of runs and of evaluations within a run, on the validation set: ``"loss"``,
            or one of :data:`~dnachunk.evaluation.metrics.METRICS` of the problem; default
            :data:`~dnachunk.evaluation.metrics.DEFAULT_METRIC`. Hugging Face calls it
            ``metric_for_best_model``, which may be given instead.
        seeds: How often the best is trained, from ``seed`` on.
        folds: Instead of one validation set, how many folds of a cross-validation ``train`` and ``valid`` are
            cut in (:meth:`~dnachunk.data.Task.folds`): each in turn is what is chosen by, or, where there is
            no test set, what is reported on. The search is on the first; the best is trained on all, and
            means and deviations are over them.
        patience: Evaluations without a better one after which a run stops.
        reverse_complement: ``"average"``: both strands are run and averaged in evaluation.
        tokens_per_base: In (0, 1], of MergeDNA and DNAChunker, kept in the configuration of what is trained;
            default as the model is configured.
        truncate: Whether sequences longer than the model takes are cut off.
        tile_bp: Bases of the tiles, overlapping by half, that longer sequences are read in, 8,192 in
            DNAChunker's paper: their logits are averaged, each base counting once, and labels of bases are
            those of the tile in which a base is farthest from where the sequence is cut
            (:class:`~dnachunk.training.FineTuner`). Kept in the configuration of what is trained, so that
            :func:`~dnachunk.predict` tiles alike; default as the model is configured, or no tiles.
        trust_remote_code: Whether a model with code of its own in its folder (DNABERT-2, HyenaDNA, Caduceus)
            is loaded by it; it runs with all rights that you have.
        **arguments: Fields of Hugging Face's ``TrainingArguments``, which go before :data:`DEFAULTS`;
            ``resume_from_checkpoint="last"`` goes on with what an interrupted call left.

    Returns:
        What was searched and reached; ``results.json`` holds its ``summary``.

    Raises:
        FloatingPointError: If the training diverged, with every candidate or in a repeat of the best.
        OSError: If a file cannot be read or written; what was finished remains.
        ValueError: If an argument is out of range or unknown, the data does not fit, or the folder holds
            another model or other runs.
    """
    how = checked_method(method or ("full" if lora_rank is None else "lora"))
    is_lora = how == "lora"
    if not isinstance(model, str | os.PathLike):
        raise ArgumentError(f"`model` must be the folder of a model, got a {type(model).__name__}")
    require_one_of("reverse_complement", reverse_complement, ("none", "average"))
    if folds is not None:
        require_at_least("folds", folds, 2)
    if not is_lora and (lora_rank is not None or lora_alpha is not None or lora_dropout or lora_target):
        raise UsageError(f"the lora_ arguments need `method=lora`, got {how}")
    resume = arguments.pop("resume_from_checkpoint", None)
    # As Hugging Face's Trainer has it.
    resume = "last" if resume is True else resume
    if resume not in (None, "last"):
        raise UsageError(f"`resume_from_checkpoint` must be last, got {resume}")
    args = finetuning_arguments(output_dir, how, arguments)
    metric = chosen_metric(args, metric)
    results = Path(output_dir) / "results.json"
    require_own_files(results, "finetune")
    check_code(model, trust_remote_code)
    if task is None:
        columns = [label_column] if isinstance(label_column, str) else list(label_column)
        read = {"sequence_column": sequence_column, "tissue_column": tissue_column, "label_columns": columns}
        splits = _read_splits(data, train, valid, test, read, on_error)
        kind = None if problem is None else Problem(problem)
        task = Task.of(splits, kind, valid_share=valid_share, seed=args.seed, on_error=on_error)
    elif train or valid or test or data:
        raise UsageError("`task` has all splits: give it, or `data`, or `train`, `valid` and `test`")
    candidates = choose_candidates(
        args,
        learning_rate,
        num_train_epochs,
        lora_rank,
        weight_decay,
        lora_alpha,
        paper_grid,
        how,
    )
    alpha = the_only(several(lora_alpha))
    lora = LoRA(alpha=alpha, dropout=lora_dropout, target_modules=lora_target) if is_lora else None
    _describe(task)
    repeats = _repeats(args.seed, seeds, folds)
    total = len(candidates) + len(repeats) - 1

    def before_run(trainer: FineTuner, candidate: Candidate, seed: int, fold: int | None) -> None:
        repeat = repeats.index((seed, fold))
        number = len(candidates) + repeat if repeat else candidates.index(candidate) + 1
        log_lines(trainer)
        trained, whole = trainer.trained_parameters, trainer.num_parameters
        steps = f", {args.max_steps:,} steps at most" if args.max_steps > 0 else ""
        place = f"seed {seed}" + ("" if fold is None else f", fold {fold} of {folds}")
        say(f"\nRun {number} of {total}: {candidate}{steps}, {place}")
        say(f"{trained:,} parameters of {whole:,} learn ({trained / whole:.1%})")

    with quiet_files():
        found = run_search(
            str(model),
            task,
            args,
            method=how,
            lora=lora,
            candidates=candidates,
            seeds=seeds,
            folds=folds,
            valid_share=valid_share,
            metric=metric,
            patience=patience,
            reverse_complement=reverse_complement,
            tokens_per_base=tokens_per_base,
            truncate=truncate,
            tile_bp=tile_bp,
            trust_remote_code=trust_remote_code,
            resume=resume == "last",
            before_run=before_run,
        )
    write_results(results, "finetune", found.summary)
    if is_main_process():
        write_card(output_dir, _card(str(model), found, trust_remote_code))
    return found


def finetuning_arguments(
    output_dir: str | os.PathLike[str], method: Method, arguments: Mapping[str, Any]
) -> TrainingArguments:
    """Hugging Face's arguments with the defaults of fine-tuning.

    Raises:
        ValueError: If they do not fit together, or to fine-tuning.
    """
    given = dict(arguments)
    if not given.pop("load_best_model_at_end", True):
        raise UsageError("`load_best_model_at_end` is what fine-tuning does, got False")
    rate = {"learning_rate": LEARNING_RATES[method]} if method in LEARNING_RATES else {}
    return training_arguments(output_dir, {**DEFAULTS, **rate}, given)


def chosen_metric(args: TrainingArguments, metric: str | None) -> str | None:
    """The metric that is given, if one is, under either of its names.

    Raises:
        UsageError: If it is given under both.
    """
    if metric is not None and args.metric_for_best_model is not None:
        raise UsageError("`metric` and `metric_for_best_model` are the same: give one of them")
    return args.metric_for_best_model if metric is None else metric


def _repeats(seed: int, seeds: int, folds: int | None) -> list[tuple[int, int | None]]:
    """Seeds and folds that the best is trained with, in order."""
    places: Sequence[int | None] = [None] if folds is None else range(1, folds + 1)
    return [(seed + index, fold) for index in range(seeds) for fold in places]


def describe_repeats(seeds: int, folds: int | None) -> str:
    """What means are over, such as ``"10 folds"``."""
    of_seeds = f"{seeds} seed{'s' if seeds > 1 else ''}"
    if folds is None:
        return of_seeds
    return f"{folds} folds" + (f" × {of_seeds}" if seeds > 1 else "")


def _card(model: str, found: FineTuned, trust_remote_code: bool) -> str:
    task = found.task
    count = len(task.train) + (0 if found.folds is None else len(task.valid))
    part = "" if found.folds is None else f", one of {found.folds} folds held out"
    training = (
        f"Fine-tuned from {Path(model).name} ({found.method}, {found.candidate}, "
        f"{found.repeats[0].steps:,} steps) on {count:,} "
        f"sequences{part}: {task.problem.value}, {', '.join(task.names[:20])}."
    )
    if task.skipped:
        training += f" {sum(map(len, task.skipped.values())):,} rows that could not be read were left out."
    rows = [[name, f"{value:.4f}"] for name, value in found.metrics.items()]
    config = load_config(found.output_dir, trust_remote_code=trust_remote_code)
    architecture = (config.architectures or ["A model"])[0]
    return model_card(architecture, config, {"Training": training, "Scores": [["metric", "value"], *rows]})


def checked_method(method: Any) -> Method:
    """Raises :class:`ValueError` unless it is one."""
    if method not in get_args(Method):
        raise ArgumentError(f"`method` must be one of {', '.join(get_args(Method))}, got {method}")
    return method


def choose_candidates(
    args: TrainingArguments,
    learning_rate: float | Sequence[float] | None,
    num_train_epochs: float | Sequence[float] | None,
    lora_rank: int | Sequence[int] | None,
    weight_decay: float | Sequence[float] | None,
    lora_alpha: float | Sequence[float] | None,
    paper_grid: bool,
    method: Method,
) -> list[Candidate]:
    """What is searched over: what is given, or else the paper's grid or the defaults in ``args``.

    A single weight decay is set in ``args``.
    """
    if method == "ridge":
        for name, value in {
            "learning_rate": learning_rate,
            "num_train_epochs": num_train_epochs,
            "weight_decay": weight_decay,
            "paper_grid": paper_grid or None,
            "max_steps": args.max_steps if args.max_steps > 0 else None,
        }.items():
            if value is not None:
                raise UsageError(f"`{name}` is of trainings, and `method=ridge` trains nothing: leave it out")
        return [Candidate(ridge_alpha=alpha) for alpha in RIDGE_ALPHAS]
    learning_rates, epochs, ranks = several(learning_rate), several(num_train_epochs), several(lora_rank)
    decays, alphas = several(weight_decay), several(lora_alpha)
    for name, values in (
        ("learning_rate", learning_rates),
        ("num_train_epochs", epochs),
        ("lora_rank", ranks),
        ("weight_decay", decays),
        ("lora_alpha", alphas),
    ):
        if values is not None and not values:
            raise ArgumentError(f"`{name}` must be one value or several, got none")
    if paper_grid:
        learning_rates, epochs = learning_rates or list(PAPER_RATES), epochs or list(PAPER_EPOCHS)
        ranks, alphas = ranks or list(PAPER_RANKS), alphas or list(PAPER_ALPHAS)
        decays = decays or list(PAPER_DECAYS)
    # What is the same for all is no candidate's own.
    decay = the_only(decays)
    if decay is not None:
        args.weight_decay, decays = decay, None
    if the_only(alphas) is not None:
        alphas = None
    return grid(
        learning_rates or [args.learning_rate],
        epochs or [args.num_train_epochs],
        (ranks or [8]) if method == "lora" else (),
        decays or (),
        (alphas or ()) if method == "lora" else (),
    )


def run_search(
    model: str | Path,
    task: Task,
    args: TrainingArguments,
    *,
    method: Method = "full",
    lora: LoRA | None = None,
    candidates: Sequence[Candidate] = (),
    seeds: int = 1,
    folds: int | None = None,
    valid_share: float = 0.1,
    metric: str | None = None,
    patience: int | None = 3,
    reverse_complement: Strands = "none",
    tokens_per_base: float | None = None,
    truncate: bool = False,
    tile_bp: int | None = None,
    trust_remote_code: bool = False,
    resume: bool = False,
    before_run: Callable[[FineTuner, Candidate, int, int | None], Any] | None = None,
) -> FineTuned:
    """Fine-tunes a pre-trained model: searches on the validation set, repeats the best, and saves one model.

    Each candidate is trained with the first seed; the best on the validation set (of equal ones that with the
    lower loss) is trained again with the other seeds. A run keeps the weights of its best evaluation, and
    stops early where later ones are no better. Every run of the best candidate is evaluated on the test set,
    and the one that is best on the validation set is saved in ``args.output_dir``, adapters merged, so that
    ``AutoModelForSequenceClassification.from_pretrained`` (``…TokenClassification`` for bases) loads it.

    Args:
        model: Folder of a pre-trained model and its tokenizer.
        task: The problem and its examples.
        args: Hugging Face's arguments; evaluation is each epoch unless they say otherwise, and checkpoints
            are those of the best evaluations.
        method: As :class:`FineTuner`, like ``reverse_complement``, ``truncate`` and ``tile_bp``.
        lora: How adapters are made; a candidate's rank and alpha go before its.
        candidates: What is searched; default the learning rate and epochs of ``args`` alone.
        seeds: How many seeds, from ``args.seed`` on; of ridge regression, the same each time, one.
        folds: How many folds of :meth:`~dnachunk.data.Task.folds` take the place of the validation set: the
            search is on the first, and the best is trained again on the others too.
        valid_share: As there.
        metric: What candidates, and evaluations of a run, are compared by: a score of the problem, or
            ``"loss"``; default :data:`~dnachunk.evaluation.metrics.DEFAULT_METRIC`.
        patience: Evaluations without a better score or a lower loss after which a run stops; None is never.
        reverse_complement: ``"average"`` runs both strands in evaluation.
        tokens_per_base: In (0, 1]; default as the model is configured.
        truncate: Whether sequences longer than the model takes are cut off.
        tile_bp: Bases of the tiles that longer sequences are read in.
        trust_remote_code: Whether a model is loaded by the code in its folder.
        resume: Whether to go on with what an interrupted call with the same arguments left: its finished
            runs are taken over, and a begun one goes on from its last checkpoint to the same numbers.
        before_run: Called with the trainer, the candidate, the seed and the fold (from 1 on; None without)
            before each training.

    Returns:
        The best candidate and what its runs reached.

    Raises:
        FloatingPointError: If the training diverged, with every candidate or in a repeat of the best.
        OSError: If the model cannot be loaded, or nothing be saved; what was finished remains.
        ValueError: If an argument is out of range, the data does not fit, or the output folder holds other
            runs or a model.
    """
    metric = DEFAULT_METRIC[task.problem] if metric is None else metric.removeprefix("eval_")
    tasks: dict[int | None, Task] = {None: task}
    if folds is not None:
        tasks = dict(enumerate(task.folds(folds, args.seed, valid_share), start=1))
    for each in tasks.values():
        check_metric(metric, each, each.valid, "validation")
    if args.prediction_loss_only and metric != "loss":
        raise ArgumentError(f"`prediction_loss_only` leaves no {metric} to choose by: give `metric=loss` too")
    if seeds < 1:
        raise ValueError(f"finetune: seeds must be at least 1, got {seeds}")
    if patience is not None and patience < 1:
        raise ValueError(f"finetune: patience must be at least 1, got {patience}")
    is_ridge = method == "ridge"
    if is_ridge:
        check_ridge(task, seeds)
    if method == "lora":
        lora = lora or LoRA()
    rank = lora.rank if lora is not None and method == "lora" else None
    default = Candidate(args.learning_rate, args.num_train_epochs, rank)
    usual = [Candidate(ridge_alpha=alpha) for alpha in RIDGE_ALPHAS] if is_ridge else [default]
    candidates = list(dict.fromkeys(candidates)) or usual
    sign = -1 if metric == "loss" else 1

    def worth(scores: dict[str, float]) -> tuple[float, float]:
        value, loss = sign * scores[metric], -scores["loss"]
        return -math.inf if math.isnan(value) else value, -math.inf if math.isnan(loss) else loss

    settings = {
        "model": model_digest(model),
        "method": method,
        "lora": None if lora is None else asdict(lora),
        "candidates": [candidate.fields for candidate in candidates],
        "folds": None if folds is None else [folds, valid_share],
        "metric": metric,
        "patience": patience,
        "reverse_complement": reverse_complement,
        "tokens_per_base": tokens_per_base,
        "truncate": truncate,
        "tile_bp": tile_bp,
        "data": task_digest(task),
        "arguments": plain_values(args, _DECISIVE),
    }
    store = RunStore(Path(args.output_dir), settings)
    finished = store.open(resume)
    done: list[Run] = []
    ridges: dict[int | None, tuple[FineTuner, RidgeHead]] = {}

    def make_tuner(run_args: TrainingArguments, candidate: Candidate, fold: int | None) -> FineTuner:
        # The head and the adapters start at random.
        set_seed(run_args.seed)
        network = load_with_head(model, task, trust_remote_code=trust_remote_code)
        ask(network, tokens_per_base)
        return FineTuner(
            network,
            run_args,
            tasks[fold],
            load_tokenizer(model, trust_remote_code=trust_remote_code),
            method=method,
            lora=_lora_of(lora, candidate),
            reverse_complement=reverse_complement,
            truncate=truncate,
            tile_bp=tile_bp,
            callbacks=None if patience is None else [StopEarly(metric, patience)],
        )

    def begin(trainer: FineTuner, candidate: Candidate, seed: int, fold: int | None) -> None:
        if args.should_save:
            store.begin()
        if before_run is not None:
            before_run(trainer, candidate, seed, fold)

    def solve(
        run_args: TrainingArguments, candidate: Candidate, fold: int | None
    ) -> tuple[FineTuner, Callable[[str, Examples], dict[str, float]]]:
        """Ridge regression; the tuner, and what scores a split."""
        assert candidate.ridge_alpha is not None
        if fold not in ridges:
            trainer = make_tuner(run_args, candidate, fold)
            ridges.clear()
            ridges[fold] = trainer, RidgeHead(trainer)
        trainer, head = ridges[fold]
        begin(trainer, candidate, run_args.seed, fold)
        head.fit(candidate.ridge_alpha)
        return trainer, lambda split, examples: head.scores(examples)

    def train(
        run_args: TrainingArguments, candidate: Candidate, fold: int | None
    ) -> tuple[FineTuner, Callable[[str, Examples], dict[str, float]]]:
        """A training; the tuner, and what scores a split."""
        trainer = make_tuner(run_args, candidate, fold)
        begin(trainer, candidate, run_args.seed, fold)
        checkpoint = last_checkpoint(run_args.output_dir)
        if checkpoint is not None:
            trainer.add_callback(KeptCheckpoint(checkpoint))
        trainer.train(resume_from_checkpoint=checkpoint)
        trainer.merge()

        def scores(split: str, examples: Examples) -> dict[str, float]:
            if split == "eval":
                return _scores_of(trainer.evaluate(), split)
            output = trainer.predict(trainer.examples(examples), metric_key_prefix=split)
            return _scores_of(output.metrics or {}, split)

        return trainer, scores

    def run(candidate: Candidate, seed: int, fold: int | None, *, is_repeat: bool) -> None:
        name = candidate.run_name(seed, fold)
        if name in finished:
            done.append(finished[name])
            return
        run_args = copy.copy(args)
        run_args.output_dir = str(store.folder / name)
        if candidate.learning_rate is not None and candidate.num_train_epochs is not None:
            run_args.learning_rate = candidate.learning_rate
            run_args.num_train_epochs = candidate.num_train_epochs
        if candidate.weight_decay is not None:
            run_args.weight_decay = candidate.weight_decay
        run_args.seed = seed
        run_args.metric_for_best_model, run_args.greater_is_better = metric, sign > 0
        run_args.save_strategy, run_args.load_best_model_at_end = SaveStrategy.BEST, True
        run_args.save_total_limit = 1
        if run_args.eval_strategy == IntervalStrategy.NO:
            run_args.eval_strategy = IntervalStrategy.EPOCH
        try:
            trainer, scores_of = (solve if is_ridge else train)(run_args, candidate, fold)
        except FloatingPointError as error:
            # A search finds out what rates are too high; a repeat of the best has to learn.
            if is_repeat or len(candidates) == 1:
                raise
            say(f"{candidate} is left out: {error}")
            if args.should_save:
                shutil.rmtree(run_args.output_dir, ignore_errors=True)
            return
        of = tasks[fold]
        scores = scores_of("eval", of.valid)
        is_best = all(worth(scores) > worth(other.eval) for other in done)
        test = scores_of("test", of.test) if of.test is not None and (is_best or is_repeat) else None
        steps = trainer.state.global_step
        result = Run(candidate, seed, scores, test, steps, trainer.trained_parameters, fold)
        if is_best:
            trainer.save_model(str(store.best))
        if args.should_save:
            store.finish(name, result)
        trainer.accelerator.wait_for_everyone()
        done.append(result)

    (seed, fold), *others = _repeats(args.seed, seeds, folds)
    for candidate in candidates:
        run(candidate, seed, fold, is_repeat=False)
    search = list(done)
    if not search:
        raise FloatingPointError("the training diverged with every candidate; try lower learning rates")
    first = max(search, key=lambda result: worth(result.eval))
    for seed, fold in others:
        run(first.candidate, seed, fold, is_repeat=True)
    if args.should_save:
        store.publish()
    diverged = [each for each in candidates if all(each != result.candidate for result in search)]
    return FineTuned(
        first.candidate,
        [first, *done[len(search) :]],
        search,
        metric,
        task,
        method,
        Path(args.output_dir),
        diverged,
        folds,
    )


def _lora_of(lora: LoRA | None, candidate: Candidate) -> LoRA | None:
    if lora is None:
        return None
    rank, alpha = candidate.lora_rank or lora.rank, candidate.lora_alpha or lora.alpha
    return replace(lora, rank=rank, alpha=alpha)


def check_ridge(task: Task, seeds: int) -> None:
    """Refuses what ridge regression is not for.

    Raises:
        ArgumentError: If bases are labelled, or it is to be run with several seeds.
    """
    if seeds > 1:
        raise UsageError(f"`seeds` is 1 where `method=ridge`, which is the same each time, got {seeds}")
    if task.problem is Problem.per_base:
        raise ArgumentError("`method=ridge` is for labels of sequences, got labels of bases")


def check_metric(
    metric: str, task: Task, examples: Examples, split: str, *, may_be_loss: bool = True
) -> None:
    """Refuses a metric that is none of the problem's, or not defined on a set of examples.

    Raises:
        ArgumentError: If it is; the set is called ``split``.
    """
    known = (*METRICS[task.problem], "loss") if may_be_loss else METRICS[task.problem]
    if metric not in known:
        raise ArgumentError(
            f"`metric` must be one of {', '.join(known)} where labels are {task.problem.value}, got {metric}"
        )
    targets: Any = examples.targets
    if task.problem is Problem.per_base:
        targets = [label for labels in targets for label in labels]
    wanted = np.array(targets)
    shape = (
        wanted.shape
        if task.problem in (Problem.regression, Problem.multi_label)
        else (len(wanted), len(task.names))
    )
    if metric != "loss" and metric not in score_predictions(task.problem, np.zeros(shape), wanted):
        raise ArgumentError(
            f"{metric} is not defined on the {split} set, whose targets are all alike; give another set, or "
            "another `metric`"
        )


def _read_splits(
    data: str | os.PathLike[str] | None,
    train: Labelled | None,
    valid: Labelled | None,
    test: Labelled | None,
    columns: Mapping[str, Any],
    on_error: OnError,
) -> dict[str, LabelledSet]:
    given = {"train": train, "valid": valid, "test": test}
    if data is not None:
        if any(given.values()):
            raise UsageError("`data` has all splits: give it, or `train`, `valid` and `test`")
        return read_splits(str(data), **columns, on_error=on_error)
    if not train:
        raise UsageError("give `train`, or `data`")

    def read(path: Any, label: str | None = None) -> LabelledSet:
        if label is not None:
            return read_labelled(path, label=label, on_error=on_error)
        return read_labelled(path, **columns, on_error=on_error)

    def joined(files: Labelled) -> LabelledSet:
        if isinstance(files, Mapping):
            return join_sets([read(path, label) for label, path in files.items()])
        paths = [files] if isinstance(files, str | os.PathLike) else files
        return join_sets([read(*each) if isinstance(each, tuple) else read(each) for each in paths])

    return {split: joined(files) for split, files in given.items() if files}


def several(value: Value | Sequence[Value] | None) -> Sequence[Value] | None:
    """One value as several of it."""
    return value if value is None or isinstance(value, Sequence) else [value]


def the_only(values: Sequence[Value] | None) -> Value | None:
    """The value, if there is one and no more."""
    return values[0] if values is not None and len(values) == 1 else None


def _describe(task: Task) -> None:
    names = ", ".join(task.names[:20]) + (", …" if len(task.names) > 20 else "")
    say(f"Problem    {task.problem.value}: {names}")
    sizes = {"train": task.train, "validation": task.valid, "test": task.test}
    counts = ", ".join(f"{name} {len(part):,}" for name, part in sizes.items() if part is not None)
    say(f"{'Alleles  ' if task.is_of_pairs else 'Sequences'}  {counts}")
    if task.tissues:
        say(f"Tissues    {', '.join(task.tissues[:20])}{', …' if len(task.tissues) > 20 else ''}")
    tell_skipped_rows(task)


def tell_skipped_rows(task: Task) -> None:
    """Says how many rows of each split were left out, and what is wrong with the first of them."""
    for split, rows in task.skipped.items():
        say(f"Skipped    {split}: {len(rows):,} rows")
        for row in rows[:5]:
            say(f"           {row}")
        if len(rows) > 5:
            say("           …")


def _scores_of(metrics: dict[str, float], split: str) -> dict[str, float]:
    """The scores among a trainer's metrics, by name."""
    names = {f"{split}_{name}": name for names in METRICS.values() for name in names}
    names[f"{split}_loss"] = "loss"
    return {names[key]: value for key, value in metrics.items() if key in names}


def task_digest(task: Task) -> str:
    """SHA-256 of a task's sequences and labels."""
    examples = [part for part in (task.train, task.valid, task.test) if part is not None]
    content: list[Any] = [
        task.problem.value,
        task.names,
        *((part.sequences, part.targets) for part in examples),
    ]
    if task.is_of_pairs:
        content += [task.tissues, *((part.alternates, part.tissues) for part in examples)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


__all__ = [
    "DEFAULTS",
    "FineTuned",
    "check_metric",
    "check_ridge",
    "checked_method",
    "choose_candidates",
    "chosen_metric",
    "describe_repeats",
    "finetune",
    "finetuning_arguments",
    "grid",
    "run_search",
    "several",
    "task_digest",
    "tell_skipped_rows",
    "the_only",
]
