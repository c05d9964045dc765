"""Pre-training, from FASTA files to a model: what with, what from, against what, and how far."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    TrainingArguments,
    set_seed,
)

from dnachunk.alphabet import NUM_IDS
from dnachunk.baselines import FixedTokenizer, Tokenization, baseline_config, forward_flops
from dnachunk.baselines.windows import tokenize_windows
from dnachunk.data import Genome, HeldOutWindows, Interval, WindowDataset, default_holdout
from dnachunk.data.contents import OnError, tell_skipped
from dnachunk.data.genome import Stretches
from dnachunk.data.record_names import Aliases, some
from dnachunk.data.regions import with_regions
from dnachunk.data.repeats import has_repeats, with_repeats
from dnachunk.data.windows import MIN_HELD_OUT, MIN_RECORD_BP, WindowCollator, held_out_spans
from dnachunk.errors import ArgumentError, UsageError, require_at_least
from dnachunk.inference.genome import open_genome
from dnachunk.models import MODEL_TYPES
from dnachunk.models.configuration_common import DNAConfig
from dnachunk.models.loading import holds_model
from dnachunk.models.model_card import model_card, write_card
from dnachunk.models.modeling_common import DNAPreTrainedModel
from dnachunk.reporting import Report, Table, is_main_process, require_own_files, say, to_json, write_results
from dnachunk.tokenization import DNATokenizer
from dnachunk.training.arguments import plain_values, training_arguments
from dnachunk.training.baseline import Baseline, fixed_context_baseline
from dnachunk.training.checkpoints import last_checkpoint
from dnachunk.training.pretrainer import PreTrainer
from dnachunk.training.progress import log_lines, quiet_files
from dnachunk.training.recipe import RECIPE, Recipe, recipe_text, write_recipe
from dnachunk.training.trainer import SETTINGS

PathLike = str | os.PathLike[str]

KINDS = (*MODEL_TYPES, "baseline")
"""Models that can be pre-trained by name."""

SIZES = ("micro", "tiny", "base")
"""Named configurations; ``base`` is the paper's."""

DEFAULTS: dict[str, Any] = {
    "max_steps": 2000,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 16,
    "learning_rate": 1e-3,
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "weight_decay": 1e-8,
    "max_grad_norm": 1.0,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "logging_steps": 0.02,
    "eval_strategy": "steps",
    "eval_steps": 0.25,
    "eval_on_start": True,
    "save_steps": 0.25,
    "save_total_limit": 2,
    "report_to": "none",
}
"""Fields of ``TrainingArguments`` without a recipe: MergeDNA's optimizer, at a rate for small models.

Steps below 1 are shares of ``max_steps``.
"""

# What a run that is resumed must not change, of the arguments of training.
_DECISIVE = (
    *("seed", "learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "adam_beta1", "adam_beta2"),
    *("adam_epsilon", "weight_decay", "max_grad_norm", "bf16", "fp16", "lr_scheduler_kwargs"),
)

# What a recipe says of them.
_OF_RECIPE = ("max_steps", *_DECISIVE)

MASK_PROBABILITY = 0.15
"""Share of the bases that are selected in masked modelling, where nothing else is said."""

# What a model's card shows: how many losses, and of an evaluation not how long it took.
_MAX_LOSSES = 25
_SPEED = ("_runtime", "_per_second")

MAX_BPE_BP = 8 << 20
"""Bases of the training windows that byte-pair encoding is trained on, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class PreTrained(Report):
    """A pre-trained model and what it reached.

    Attributes:
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer.
        metrics: What ``results.json`` holds, on the main process.
        history: What was logged, an entry a step that was.
        output_dir: Where both are saved.
    """

    model: Any
    tokenizer: Any
    metrics: dict[str, Any]
    history: list[dict[str, float]]
    output_dir: Path

    def report(self) -> list[Table | str]:
        """Accuracy and nats at hidden bases of held-out windows, beside models without learned features."""
        warning = [self.metrics["holdout_warning"]] if "holdout_warning" in self.metrics else []
        return [*_held_out_tables(self.metrics), *warning]


def _held_out_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Accuracy and nats of held-out bases: at the start and the end, of fixed contexts, and by genome."""
    if not metrics:
        return []
    width = metrics["baseline_eval_width"]
    rivals = [
        ("letter frequencies", "letters_eval_masked"),
        (f"best fixed context ({width} letters on each side)", "baseline_eval_masked"),
    ]
    tables = []
    for kind, title, others in (
        ("masked", "At [MASK], held out", rivals),
        ("masked_token", "At hidden tokens, by base", []),
    ):
        own = [("start", f"start_eval_{kind}"), ("end", f"eval_{kind}")]
        own = [(name, prefix) for name, prefix in own if f"{prefix}_nats" in metrics]
        if own:
            rows = [
                [name, f"{metrics[f'{prefix}_accuracy']:.2%}", f"{metrics[f'{prefix}_nats']:.4f}"]
                for name, prefix in [*own, *others]
            ]
            tables.append(Table([title, "accuracy", "nats"], rows))
    names = [name.partition("/")[2] for name in metrics if name.startswith("eval_masked_nats/")]
    if names:
        rows = [
            [
                name,
                f"{metrics[f'eval_masked_accuracy/{name}']:.2%}",
                f"{metrics[f'eval_masked_nats/{name}']:.4f}",
            ]
            for name in names
        ]
        tables.append(Table(["At [MASK], by genome", "accuracy", "nats"], rows))
    return tables


def _loss_rows(history: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """The loss by step, and nats of held-out sequence where they were evaluated: a table with its header."""
    losses = [entry for entry in history if "loss" in entry]
    nats = {entry["step"]: entry["eval_masked_nats"] for entry in history if "eval_masked_nats" in entry}
    every = max(1, -(-len(losses) // _MAX_LOSSES))
    # Counted from the end, which is shown.
    shown = {entry["step"]: f"{entry['loss']:.4f}" for entry in losses[::-1][::every]}
    rows = [
        [f"{step:,}", shown.get(step, ""), f"{nats[step]:.4f}" if step in nats else ""]
        for step in sorted({*shown, *nats})
    ]
    return [["step", "loss", "nats at [MASK], held out"], *rows] if shown else []


@dataclass(frozen=True, slots=True, eq=False)
class PreTraining:
    """A pre-training whose arguments have been checked; :func:`prepare_pretraining` makes one.

    Attributes:
        network: The model, if one was given.
        config: Its configuration; of a baseline it has no tokens yet but single bases.
        tokenization: A baseline's tokenizer by name.
        args: Hugging Face's arguments.
        genomes: Where windows come from.
        weight: How often each of them is drawn from; None is by length.
        holdout: What is kept for evaluation.
        is_default_holdout: Whether nobody named it.
        window_bp: Bases of a window, if that is not the configuration's.
        eval_windows: Windows of it to evaluate on, at most.
        resume: Checkpoint to go on from.
        mask_probability: Of a base being selected in masked modelling.
        recipe: The recipe that this is, as :func:`~dnachunk.training.recipe.write_recipe` takes it.
    """

    network: Any
    config: Any
    tokenization: str | None
    args: TrainingArguments
    genomes: list[Genome]
    weight: Sequence[float] | None
    holdout: list[Interval]
    is_default_holdout: bool
    window_bp: int | None
    eval_windows: int
    resume: str | None
    mask_probability: float
    recipe: dict[str, Any]

    def build(self) -> tuple[Any, Any]:
        """The model, untrained unless it was given, and its tokenizer."""
        if self.tokenization is None:
            network = self.network
            if network is None:
                set_seed(self.args.seed)
                network = AutoModelForPreTraining.from_config(self.config)
            elif self.window_bp is not None:
                network.config.train_length_bp = self.window_bp
            return network, DNATokenizer(cls_sep=self.config.model_type == "mxdna")
        windows = self.windows(
            min(
                self.args.max_steps * _global_batch(self.args),
                -(-MAX_BPE_BP // self.config.train_length_bp),
            )
        )
        decode = DNATokenizer().batch_decode
        texts = (decode(windows[index]["input_ids"][None])[0] for index in range(len(windows)))
        tokenizer = FixedTokenizer.from_name(self.tokenization, texts)
        self.config.vocab_size = len(tokenizer)
        set_seed(self.args.seed)
        return AutoModelForMaskedLM.from_config(self.config), tokenizer

    def windows(self, num_windows: int) -> WindowDataset:
        """The first windows to train on."""
        return WindowDataset(
            self.genomes,
            self.config.train_length_bp,
            weights=self.weight,
            holdout=self.holdout,
            num_windows=num_windows,
            seed=self.args.seed,
            short_records=True,
        )

    def held_out_windows(self) -> HeldOutWindows:
        """The windows to evaluate on."""
        return HeldOutWindows(
            self.genomes,
            self.config.train_length_bp,
            self.holdout,
            max_windows=self.eval_windows,
            short_records=True,
        )

    def run(self) -> PreTrained:
        """Trains, evaluates and saves.

        Raises:
            OSError: If a file cannot be read or written.
            ValueError: If windows do not fit the genomes.
        """
        network, tokenizer = self.build()
        args, genomes, holdout = self.args, self.genomes, self.holdout
        window_bp = network.config.train_length_bp
        global_batch = _global_batch(args)
        windows = self.windows(args.max_steps * global_batch)
        held_out = self.held_out_windows()
        settings = self.require_same_run(network.config)
        say(_describe_model(network))
        if isinstance(tokenizer, FixedTokenizer):
            say(_describe_tokens(network.config, tokenizer, held_out))
        for genome in genomes:
            say(
                f"Genome     {genome.path.name}: {genome.length_bp:,} bases, records: {len(genome.records):,}"
            )
        if windows.num_short:
            say(
                f"Records    {windows.num_short:,} are shorter than a window: each is a window of its own, "
                "padded in its batch"
            )
        if windows.num_too_short:
            say(
                f"Records    {windows.num_too_short:,} have less than {min(MIN_RECORD_BP, window_bp)} bases, "
                "too few to train on"
            )
        self._tell_repeats(network.config)
        chosen = "by default, " if self.is_default_holdout else ""
        say(
            f"Held out   {chosen}{some(map(str, holdout))}: {len(held_out):,} windows of {window_bp:,} bases "
            "are evaluated on"
        )
        say(
            f"Training   {args.max_steps:,} steps of {global_batch:,} windows of {window_bp:,} bases: "
            f"{_up_to(windows)}{len(windows) * window_bp / 1e6:,.1f} Mb"
        )
        baseline = (
            fixed_context_baseline(genomes, holdout, held_out, args.seed) if is_main_process() else None
        )
        warning = None
        if baseline is not None:
            say(_describe_baseline(baseline))
            if len(held_out) < min(MIN_HELD_OUT, self.eval_windows):
                warning = _describe_chance(len(held_out), baseline.scores[0].masked_count)
                say(f"Warning    {warning}")

        trainer = PreTrainer(
            network, args, windows, held_out, tokenizer, mask_probability=self.mask_probability
        )
        trainer.settings = settings
        log_lines(trainer)
        with quiet_files():
            train_metrics = trainer.train(resume_from_checkpoint=self.resume).metrics
        history = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
        start = history[0] if history and history[0]["step"] == 0 else {}
        if history and history[-1]["step"] == trainer.state.global_step and not args.load_best_model_at_end:
            end = history[-1]
        else:
            end = trainer.evaluate()
        output_dir = Path(args.output_dir)
        metrics: dict[str, Any] = {}
        if baseline is not None:
            metrics = {name: value for name, value in end.items() if name.startswith("eval_")}
            metrics |= {f"start_{name}": value for name, value in start.items() if name.startswith("eval_")}
            best = baseline.scores[baseline.best_width]
            for name, scores in (("letters", baseline.scores[0]), ("baseline", best)):
                metrics[f"{name}_eval_masked_accuracy"] = scores.masked_accuracy
                metrics[f"{name}_eval_masked_nats"] = scores.masked_nats
            metrics["baseline_eval_width"] = baseline.best_width
            metrics["holdout"] = _places(genomes, holdout)
            metrics["holdout_is_default"] = self.is_default_holdout
            metrics["holdout_windows"] = len(held_out)
            if warning is not None:
                metrics["holdout_warning"] = warning
            metrics |= train_metrics
        is_resumed = self.resume is not None
        card = self.card(trainer.model, windows, metrics, trainer.state.log_history, is_resumed=is_resumed)
        if isinstance(trainer.model, DNAPreTrainedModel):
            trainer.model.card = card
        trainer.save_model()
        write_card(output_dir, card)
        if is_main_process():
            write_recipe(output_dir / RECIPE, self.recipe, "What this model was pre-trained with.")
        if metrics:
            write_results(output_dir / "results.json", "pretrain", metrics)
        return PreTrained(trainer.model.eval(), tokenizer, metrics, trainer.state.log_history, output_dir)

    def _settings(self, config: Any) -> dict[str, Any]:
        """What the run's numbers depend on; plain values."""
        of_config = {
            name: value
            for name, value in config.to_dict().items()
            if name not in ("architectures", "dtype", "transformers_version", "_name_or_path")
        }
        settings = {
            "fasta": [[genome.path.name, _digest(genome)] for genome in self.genomes],
            "weight": None if self.weight is None else list(self.weight),
            "holdout": _places(self.genomes, self.holdout),
            "tokenizer": self.tokenization,
            "config": of_config,
            "windows a step": _global_batch(self.args),
            **plain_values(self.args, _DECISIVE),
        }
        marked = {
            "repeats": [_covered_bp(genome.repeats) for genome in self.genomes],
            "regions": [_covered_bp(region) for genome in self.genomes for region in genome.regions],
        }
        settings |= {name: bases for name, bases in marked.items() if any(bases)}
        if self.mask_probability != MASK_PROBABILITY:
            settings["mask_probability"] = self.mask_probability
        return dict(json.loads(to_json(settings)))

    def require_same_run(self, config: Any) -> dict[str, Any]:
        """What the run's numbers depend on, which it has in common with the checkpoint to go on from.

        Args:
            config: The model's.

        Raises:
            ArgumentError: If that is of a run with other settings.
        """
        settings = self._settings(config)
        path = Path(self.resume or "") / SETTINGS
        if self.resume is None or not path.is_file():
            return settings
        before = json.loads(path.read_text(encoding="utf-8"))
        differing = [name for name in {**settings, **before} if settings.get(name) != before.get(name)]
        if differing:
            raise ArgumentError(
                f"{self.resume} is of a run with other {', '.join(differing)}: give what it was begun with, "
                "or choose another `output_dir`"
            )
        return settings

    def _tell_repeats(self, config: Any) -> None:
        """Says where a weight of repeats has nothing to weigh."""
        weight = getattr(config, "repeat_weight", 1)
        unmarked = [genome.path.name for genome in self.genomes if weight != 1 and not has_repeats(genome)]
        if unmarked:
            say(
                f"Repeats    {some(unmarked)}: none, neither by lower-case letters nor by a file of repeats, "
                f"so that no base weighs {weight:g} there"
            )

    def card(
        self,
        network: Any,
        windows: WindowDataset,
        metrics: Mapping[str, Any],
        history: Sequence[Mapping[str, float]],
        *,
        is_resumed: bool = False,
        more: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> str:
        """The card of what was pre-trained so.

        Args:
            network: The model.
            windows: What it was trained on.
            metrics: What ``results.json`` holds.
            history: What was logged.
            is_resumed: Whether the run went on from a checkpoint, from when on its time is counted.
            more: Sections before all others, text under titles.
            name: Of a model that ships with the package.
        """
        genomes = ", ".join(f"{genome.path.name} ({genome.length_bp:,} bases)" for genome in self.genomes)
        minutes = metrics.get("train_runtime", 0) / 60
        training = (
            f"Pre-trained on {genomes}: {self.args.max_steps:,} steps, {_up_to(windows)}"
            f"{len(windows) * windows.window_bp / 1e6:,.1f} million bases, in {minutes:.1f} minutes"
            f"{' since it was resumed' if is_resumed else ''}, with seed {self.args.seed}. "
            f"Held out{' by default' if self.is_default_holdout else ''}: {some(map(str, self.holdout), 20)}."
        )
        if "holdout_warning" in metrics:
            training += f" {metrics['holdout_warning']}"
        if self.tokenization is not None:
            training += f" Its tokens are those of a fixed tokenizer, {self.tokenization}."
        rows = [
            [metric, f"{value:.4g}"]
            for metric, value in metrics.items()
            # Those by genome have a table of their own.
            if metric.startswith("eval_") and "/" not in metric and not metric.endswith(_SPEED)
        ]
        tables: dict[str, list[list[str]]] = {
            table.header[0]: [["", *table.header[1:]], *map(list, table.rows)]
            for table in _held_out_tables(metrics)
        }
        tables["Held-out sequence"] = [["metric", "value"], *rows] if rows else []
        tables["Loss"] = _loss_rows(history)
        return model_card(
            type(network).__name__,
            network.config,
            {
                **(more or {}),
                "Training": training,
                **{title: table for title, table in tables.items() if table},
                "Recipe": f"```toml\n{recipe_text(self.recipe)}```",
            },
            getattr(network, "paper", None),
            name,
        )


def pretrain(
    fasta: PathLike | Genome | Sequence[PathLike | Genome],
    output_dir: PathLike,
    *,
    recipe: PathLike | None = None,
    model: Any = None,
    size: str | None = None,
    tokenizer: str | None = None,
    weight: Sequence[float] | None = None,
    holdout: str | Interval | Sequence[str | Interval] | None = None,
    aliases: Aliases | None = None,
    repeats: PathLike | Sequence[PathLike] | None = None,
    region_ratio: Mapping[PathLike, float] | None = None,
    on_error: OnError = "fail",
    window_bp: int | None = None,
    step_bp: int | None = None,
    mask_probability: float | None = None,
    eval_windows: int = 256,
    config: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> PreTrained:
    """Pre-trains a model on genomes, evaluates it on what was kept away, and saves it.

    Args:
        fasta: A genome, or several: plain, gzip or bgzip.
        output_dir: Folder for the model, its checkpoints and ``results.json``.
        recipe: Name of a recipe, such as ``"dnachunker"`` (:func:`~dnachunk.training.list_recipes` has all),
            or a TOML file of one, such as the ``recipe.toml`` that lies beside a pre-trained model. Every
            argument goes before it. Default: the paper's recipe for a model of size ``"base"``, else none.
        model: ``"mergedna"``, ``"dnachunker"``, ``"mxdna"``, ``"baseline"`` (an off-the-shelf encoder on the
            tokens of a fixed tokenizer, as wide and as deep), or a model of ours to
            train on (a MergeDNA with another head is copied into that of pre-training). Default the recipe's,
            or ``"mergedna"``.
        size: ``"micro"``, ``"tiny"``, or ``"base"``, which is the paper's; default the recipe's, or
            ``"tiny"``.
        tokenizer: Of a baseline: ``"base"``, ``"6mer"`` (1 to 8), ``"6mer-overlapping"``, or ``"bpe-1024"``,
            which is trained on the training windows.
        weight: How often each genome is drawn from, in their order; default by length.
        holdout: Records (``"chrXVI"``) or intervals (``"chr1:1-1000000"``) kept for evaluation; default about
            a tenth of each genome, from its end; see :func:`~dnachunk.data.default_holdout`.
        aliases: Names of records that mean the same: ``"chr"``, ``"version"``, a table or a mapping; see
            :class:`~dnachunk.data.record_names.RecordNames`.
        repeats: BED files of repeats, or RepeatMasker's tables (``.out``), for genomes without lower-case
            letters: their bases weigh a DNAChunker's ``repeat_weight``.
        region_ratio: BED files of stretches with a target ratio of their own, in (0, 1), at both stages of a
            DNAChunker, by file; of stretches in several files the last counts. Evaluation knows nothing of
            them.
        on_error: ``"skip"``: records and lines that cannot be read are left out, counted and listed;
            ``"fail"``: they are refused.
        window_bp: Bases of a window; default the configuration's ``train_length_bp``.
        step_bp: Bases of an optimizer step, over all ranks; the gradients of as many batches are accumulated
            as that takes. Default: a batch of each rank.
        mask_probability: Of a base being selected in masked modelling; default 0.15.
        eval_windows: Held-out windows to evaluate on, at most.
        config: Fields of the configuration.
        **arguments: Fields of Hugging Face's ``TrainingArguments``, such as ``max_steps``, ``bf16`` or
            ``learning_rate``, which go before :data:`DEFAULTS`; ``resume_from_checkpoint="last"`` goes on
            with what an interrupted call left.

    Returns:
        The model and what it reached.

    Raises:
        FloatingPointError: If the training diverged; checkpoints remain.
        OSError: If a file cannot be read or written; checkpoints remain.
        TypeError: If an argument is unknown.
        ValueError: If one is out of range, or the folder holds another run.
    """
    return prepare_pretraining(
        fasta,
        output_dir,
        recipe=recipe,
        model=model,
        size=size,
        tokenizer=tokenizer,
        weight=weight,
        holdout=holdout,
        aliases=aliases,
        repeats=repeats,
        region_ratio=region_ratio,
        on_error=on_error,
        window_bp=window_bp,
        step_bp=step_bp,
        mask_probability=mask_probability,
        eval_windows=eval_windows,
        config=config,
        **arguments,
    ).run()


def _up_to(windows: WindowDataset) -> str:
    """What is said before a number of bases where not all windows are full."""
    return "up to " if windows.num_short else ""


def _covered_bp(stretches: Stretches) -> int:
    return sum(int((ends - starts).sum()) for starts, ends in stretches.values())


def prepare_pretraining(
    fasta: PathLike | Genome | Sequence[PathLike | Genome],
    output_dir: PathLike,
    *,
    recipe: PathLike | None = None,
    model: Any = None,
    size: str | None = None,
    tokenizer: str | None = None,
    weight: Sequence[float] | None = None,
    holdout: str | Interval | Sequence[str | Interval] | None = None,
    aliases: Aliases | None = None,
    repeats: PathLike | Sequence[PathLike] | None = None,
    region_ratio: Mapping[PathLike, float] | None = None,
    on_error: OnError = "fail",
    window_bp: int | None = None,
    step_bp: int | None = None,
    mask_probability: float | None = None,
    eval_windows: int = 256,
    config: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> PreTraining:
    """Checks all that can be checked before a model is made; arguments as :func:`pretrain`'s.

    Raises:
        OSError: If a genome cannot be read.
        TypeError: If an argument is unknown.
        ValueError: If one is out of range, or the folder holds another run.
    """
    network = model if isinstance(model, DNAPreTrainedModel) else None
    kind = network.config.model_type if network is not None else model
    if network is not None and config:
        raise UsageError("`config` is for a model that is made, got a model and fields")
    fields: Mapping[str, Any] = {}
    if recipe is None and network is None and size == "base" and (kind or "mergedna") in MODEL_TYPES:
        recipe = kind or "mergedna"
    if recipe is not None:
        found = Recipe.read(recipe)
        fields = found.fields
        if kind not in (None, fields["model"]):
            raise UsageError(f"`recipe` {recipe} is for `model={fields['model']}`, got {kind}")
        if network is not None and "config" in fields:
            config_of_recipe = {name: getattr(network.config, name, None) for name in fields["config"]}
            if config_of_recipe != fields["config"]:
                raise UsageError(
                    f"`recipe` {recipe} is for a model of {fields['config']}, got {config_of_recipe}"
                )
        arguments = _over_recipe(found.arguments, arguments)
        say(f"Recipe     {recipe}")
    elif size == "base" and network is None:
        say("Recipe     none: nobody has published one for a baseline of this size")

    def chosen(name: str, value: Any, default: Any = None) -> Any:
        return fields.get(name, default) if value is None else value

    is_step_given = step_bp is not None
    kind = chosen("model", kind, "mergedna")
    size = chosen("size", size, "tiny")
    tokenizer = chosen("tokenizer", tokenizer)
    window_bp = chosen("window_bp", window_bp)
    step_bp = chosen("step_bp", step_bp)
    # A recipe's goes with its objective.
    is_masking_given = mask_probability is not None or (
        "mask_probability" in fields and "objective" not in (config or {})
    )
    mask_probability = chosen("mask_probability", mask_probability, MASK_PROBABILITY)
    holdout = chosen("holdout", holdout)
    config = {**fields.get("config", {}), **(config or {})} if network is None else {}
    _check_choice("model", kind, KINDS)
    _check_choice("size", size, SIZES)
    _check_tokenizer(kind, tokenizer)
    require_at_least("eval_windows", eval_windows, 1)
    if window_bp is not None:
        require_at_least("window_bp", window_bp, 1)
        window_bp = int(window_bp)
    if "num_train_epochs" in arguments and "max_steps" not in arguments:
        raise UsageError(
            "`max_steps` says how long pre-training takes, as windows are drawn at random and there are no "
            f"epochs, got `num_train_epochs={arguments['num_train_epochs']}`"
        )
    if not (isinstance(mask_probability, int | float) and 0 < mask_probability < 1):
        raise ArgumentError(f"`mask_probability` must be a number between 0 and 1, got {mask_probability!r}")
    args = training_arguments(output_dir, DEFAULTS, arguments)
    require_own_files(Path(output_dir) / "results.json", "pretrain", [Path(output_dir) / RECIPE])
    if args.max_steps < 1:
        raise UsageError(f"`max_steps` must be at least 1, got {args.max_steps}")
    resume = _resume_point(args)
    ratios = [float(ratio) for ratio in (region_ratio or {}).values()]
    if ratios:
        if kind != "dnachunker":
            raise UsageError(
                f"`region_ratio` is for `model=dnachunker`, which has a target ratio, got {kind}"
            )
        config = {**config, "region_ratio": ratios}
    if network is None:
        made = make_config(kind, size, dict(config or {}), window_bp)
    else:
        network = _for_pretraining(network)
        made = network.config
        if ratios:
            made.region_ratio = ratios
            made.check_fields()
    if is_masking_given and getattr(made, "objective", "masked") != "masked":
        raise UsageError(
            f"`mask_probability` is for masked modelling, which for mergedna is `config=objective=masked`, "
            f"got {mask_probability}"
        )
    if step_bp is not None and not ("gradient_accumulation_steps" in arguments and not is_step_given):
        if "gradient_accumulation_steps" in arguments:
            raise UsageError("`step_bp` settles `gradient_accumulation_steps`: give one of them")
        _accumulate(
            args, step_bp, window_bp or made.train_length_bp, "per_device_train_batch_size" in arguments
        )
    given = [fasta] if isinstance(fasta, str | os.PathLike | Genome) else list(fasta)
    genomes = [open_genome(each, aliases, on_error=on_error) for each in given]
    kept = [holdout] if isinstance(holdout, str | Interval) else list(holdout or [])
    for each in kept:
        if not isinstance(each, str | Interval):
            raise ArgumentError(f"`holdout` must be names of records or intervals, got {each!r}")
    if weight is not None and not all(isinstance(each, int | float) for each in weight):
        raise ArgumentError(f"`weight` must be a number for each genome, got {weight!r}")
    if repeats is not None:
        if not hasattr(made, "repeat_weight"):
            raise UsageError(f"`repeats` is for `model=dnachunker`, which weighs them otherwise, got {kind}")
        files = [repeats] if isinstance(repeats, str | os.PathLike) else list(repeats)
        genomes, skipped = with_repeats(genomes, files, on_error=on_error)
        tell_skipped(skipped, "lines of repeats")
    if region_ratio:
        genomes, skipped = with_regions(genomes, list(region_ratio), on_error=on_error)
        tell_skipped(skipped, "lines of regions")
    intervals = [_read_interval(each, genomes) for each in kept]
    held_out_spans(genomes, intervals)
    of_model: dict[str, Any] = {"model": kind, "size": size, "config": config}
    if network is not None:
        of_model |= {"size": "base", "config": _own_fields(made)}
    window = window_bp or made.train_length_bp
    used = {
        **{name: value for name, value in of_model.items() if name != "config"},
        "tokenizer": tokenizer,
        "window_bp": window,
        "step_bp": _global_batch(args) * window,
        "mask_probability": mask_probability if getattr(made, "objective", "masked") == "masked" else None,
        "holdout": [str(interval) for interval in intervals],
        **{name: getattr(value := getattr(args, name), "value", value) for name in _OF_RECIPE},
        "config": of_model["config"],
    }
    _settle_decay(args)
    return PreTraining(
        network,
        made,
        tokenizer,
        args,
        genomes,
        weight,
        intervals or default_holdout(genomes, window_bp or made.train_length_bp),
        not intervals,
        window_bp,
        int(eval_windows),
        resume,
        mask_probability,
        used,
    )


def _over_recipe(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a trainer, those that are given before a recipe's."""
    of_recipe = dict(recipe)
    # They are the other schedule's.
    if "lr_scheduler_type" in given:
        of_recipe.pop("lr_scheduler_kwargs", None)
    if given.get("fp16"):
        of_recipe.pop("bf16", None)
    return {**of_recipe, **given}


def _accumulate(args: TrainingArguments, step_bp: Any, window_bp: int, is_batch_given: bool) -> None:
    """Lets a step be of so many bases, over all ranks.

    Raises:
        ArgumentError: If no number of batches makes that.
    """
    require_at_least("step_bp", step_bp, 1)
    unit_bp = window_bp * args.world_size
    windows, rest = divmod(step_bp, unit_bp)
    if rest or not windows:
        nearest = max(1, round(step_bp / unit_bp)) * unit_bp
        raise ArgumentError(
            f"`step_bp` must be a multiple of {unit_bp}, a window of {window_bp} bases for each of "
            f"{args.world_size} ranks, got {step_bp}; the nearest is {nearest}"
        )
    batch = args.per_device_train_batch_size
    if not is_batch_given:
        batch = max(each for each in range(1, batch + 1) if windows % each == 0)
    if windows % batch:
        raise ArgumentError(
            f"`per_device_train_batch_size` must divide the {windows} windows that a rank has of `step_bp` "
            f"{step_bp}, got {batch}"
        )
    args.per_device_train_batch_size, args.gradient_accumulation_steps = batch, windows // batch


def _settle_decay(args: TrainingArguments) -> None:
    """Makes steps of the share of ``max_steps`` that a schedule's decay may be given as."""
    settings = args.lr_scheduler_kwargs
    steps = settings.get("num_decay_steps") if isinstance(settings, dict) else None
    if isinstance(steps, float) and 0 < steps < 1:
        args.lr_scheduler_kwargs = {**settings, "num_decay_steps": math.ceil(steps * args.max_steps)}


def _own_fields(config: DNAConfig) -> dict[str, Any]:
    """The fields of a configuration that are not transformers' own, as plain values."""
    values = config.to_dict()
    classes = [each for each in type(config).__mro__ if issubclass(each, DNAConfig)]
    names = [name for each in classes for name in vars(each).get("__annotations__", {}) if name in values]
    return {name: values[name] for name in names if values[name] is not None and name != "train_length_bp"}


def _read_interval(text: str | Interval, genomes: Sequence[Genome]) -> Interval:
    if isinstance(text, Interval):
        return text
    return Interval.parse(text, [text] if any(text in genome for genome in genomes) else ())


def _for_pretraining(network: DNAPreTrainedModel) -> DNAPreTrainedModel:
    """A model with the head that it is pre-trained with; where it has another of the same weights, a copy.

    Raises:
        ArgumentError: If its head is none for bases.
    """
    with torch.device("meta"):
        wanted: Any = AutoModelForPreTraining.from_config(network.config)
    if type(network) is type(wanted):
        return network
    if network.state_dict().keys() != wanted.state_dict().keys():
        raise ArgumentError(
            f"`model` must have the head of a masked language model, got a {type(network).__name__}"
        )
    copy: DNAPreTrainedModel = AutoModelForPreTraining.from_config(network.config)
    copy.load_state_dict(network.state_dict())
    return copy.to(network.device)


def make_config(kind: str, size: Any, fields: dict[str, Any], window_bp: int | None) -> Any:
    """Makes a configuration; that of a baseline has no tokens yet but single bases.

    Args:
        kind: Of which model.
        size: Which one.
        fields: Fields of the configuration.
        window_bp: Goes before the configuration's ``train_length_bp``.

    Raises:
        ValueError: If the configuration refuses it.
    """
    make: Callable[..., Any]
    if kind == "baseline":
        make = partial(baseline_config, size, NUM_IDS)
    else:
        config_class = type(AutoConfig.for_model(kind))
        make = config_class if size == "base" else getattr(config_class, size)
    values = {**fields, **({} if window_bp is None else {"train_length_bp": window_bp})}
    try:
        return make(**values)
    except TypeError as error:
        shown = ", ".join(f"{name}={value}" for name, value in fields.items())
        raise ValueError(f"the configuration refuses {shown}: {error}") from error


def _resume_point(args: TrainingArguments) -> str | None:
    """The checkpoint to go on from; refuses to write over another run's."""
    output_dir = Path(args.output_dir)
    last = last_checkpoint(output_dir)
    if args.resume_from_checkpoint in (True, "True"):
        # As Hugging Face's Trainer has it.
        args.resume_from_checkpoint = "last"
    if args.resume_from_checkpoint is None:
        if last is not None:
            raise ArgumentError(
                f"`output_dir` {output_dir} holds a run up to {Path(last).name}: "
                "add `resume_from_checkpoint=last`, or choose another"
            )
        if output_dir.is_dir() and holds_model(output_dir):
            raise ArgumentError(f"`output_dir` {output_dir} holds a model: choose another")
        return None
    # What resuming starts with has been evaluated.
    args.eval_on_start = False
    if args.resume_from_checkpoint != "last":
        return str(args.resume_from_checkpoint)
    if last is None:
        raise ArgumentError(f"`resume_from_checkpoint=last`: {output_dir} holds no whole checkpoint")
    return last


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"`{name}` must be one of {', '.join(choices)}, got {value!r}")


def _check_tokenizer(model: str, name: str | None) -> None:
    """Raises :class:`UsageError` unless a baseline, and nothing else, has one of the tokenizers."""
    if model != "baseline":
        if name is not None:
            raise UsageError(f"`tokenizer` is for `model=baseline`; {model} learns its tokens, got {name}")
        return
    if name is None:
        raise UsageError("`model=baseline` needs `tokenizer` beside it, such as base, 6mer or bpe-1024")
    try:
        Tokenization.parse(name)
    except ValueError as error:
        raise UsageError(str(error).replace("Tokenization: name", "`tokenizer`")) from None


def _global_batch(args: TrainingArguments) -> int:
    # One process trains on one device, however many there are.
    return args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size


def _describe_tokens(config: Any, tokenizer: FixedTokenizer, held_out: HeldOutWindows) -> str:
    batch = WindowCollator()([held_out[index] for index in range(min(32, len(held_out)))])
    num_tokens = tokenize_windows(tokenizer, batch["input_ids"]).attention_mask.sum(dim=1)
    mean_bp = int(batch["attention_mask"].sum()) / int(num_tokens.sum())
    flops = forward_flops(config, round(held_out.window_bp / mean_bp)) / held_out.window_bp
    return (
        f"Tokens     {tokenizer.init_kwargs['tokenization']}, {len(tokenizer):,} ids, {mean_bp:.2f} bases "
        f"each: {flops / 1e6:.2f} million operations a base, forward"
    )


def _describe_model(network: Any) -> str:
    def count(part: Any) -> str:
        return f"{sum(parameter.numel() for parameter in part.parameters()):,}"

    parts = {**dict(network.model.named_children()), **dict(network.named_children())}
    listed = ", ".join(f"{name} {count(part)}" for name, part in parts.items() if name != "model")
    return f"Model      {network.config.model_type}, {count(network)} parameters: {listed}"


def _places(genomes: Sequence[Genome], holdout: Sequence[Interval]) -> list[dict[str, Any]]:
    """Where held-out intervals lie, for JSON."""
    return [
        {
            "genome": genome.path.name,
            "record": genome.records[index].name,
            "start_bp": start_bp,
            "end_bp": end_bp,
        }
        for genome, spans_of_record in zip(genomes, held_out_spans(genomes, holdout), strict=True)
        for index, spans in sorted(spans_of_record.items())
        for start_bp, end_bp in spans
    ]


def _digest(genome: Genome) -> str:
    """SHA-256 of the names and lengths of a genome's records."""
    records = [[record.name, record.length_bp] for record in genome.records]
    return hashlib.sha256(json.dumps(records).encode()).hexdigest()


def _describe_chance(num_windows: int, num_bases: int) -> str:
    """That there is too little to evaluate on, and what that makes of an accuracy of a third."""
    chance = 1.96 * math.sqrt(2 / 9 / num_bases)
    return (
        f"Too little is held out for these figures: {num_windows:,} windows with {num_bases:,} hidden bases, "
        f"by which an accuracy is known to ± {chance:.1%}. Hold out more, or take a larger genome."
    )


def _describe_baseline(baseline: Baseline) -> str:
    rows = [
        [
            f"{width} letters on each side" if width else "letter frequencies",
            f"{scores.masked_accuracy:.2%}",
            f"{scores.masked_nats:.4f}" + (" *" if width == baseline.best_width else "  "),
        ]
        for width, scores in enumerate(baseline.scores)
    ]
    count = baseline.scores[0].masked_count
    title = f"Baseline   fixed contexts at the {count:,} [MASK] of the held-out windows"
    return f"{title}\n{Table(['', 'accuracy', 'nats  '], rows)}"


__all__ = [
    "DEFAULTS",
    "PreTrained",
    "PreTraining",
    "make_config",
    "prepare_pretraining",
    "pretrain",
]
