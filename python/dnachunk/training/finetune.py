"""Fine-tuning on Hugging Face's Trainer: one run, and a search with repeats."""

import copy
import hashlib
import json
import math
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer, EvalPrediction, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, get_last_checkpoint

from dnachunk.data.examples import ExampleCollator, ExampleDataset
from dnachunk.data.task import Examples, Problem, Task
from dnachunk.evaluation.metrics import DEFAULT_METRIC, METRICS, score_predictions
from dnachunk.evaluation.strands import Strands, strand_logits
from dnachunk.training.adaptation import LoRA, Method, add_lora, freeze_backbone, load_with_head
from dnachunk.training.checkpoints import holds_model, model_digest, saving, written_whole
from dnachunk.training.trainer import WholeCheckpointTrainer

RUNS = "runs"
"""Folder, in the output folder, of what finished runs reached and of the model that is best so far."""

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


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point of a search.

    Attributes:
        learning_rate: The highest of the schedule.
        num_train_epochs: Epochs, unless ``max_steps`` says how many steps.
        lora_rank: Rank of LoRA; with another method None.

    Raises:
        ValueError: If one is not above 0.
    """

    learning_rate: float
    num_train_epochs: float
    lora_rank: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and value <= 0:
                raise ValueError(f"Candidate: {name} must be above 0, got {value}")

    def __str__(self) -> str:
        rank = "" if self.lora_rank is None else f", rank {self.lora_rank}"
        return f"learning rate {self.learning_rate:g}, {self.num_train_epochs:g} epochs{rank}"

    def run_name(self, seed: int) -> str:
        """Name of its run with a seed."""
        rank = "" if self.lora_rank is None else f"_rank{self.lora_rank}"
        return f"rate{self.learning_rate:g}_epochs{self.num_train_epochs:g}{rank}_seed{seed}"


def grid(
    learning_rates: Sequence[float], num_train_epochs: Sequence[float], lora_ranks: Sequence[int | None] = ()
) -> list[Candidate]:
    """All combinations; without ranks for another method than LoRA.

    The papers search over rates 1e-5, 5e-5 and 1e-4, ranks 4, 8, 16, 24 and 48, and 5 and 10 epochs.
    """
    ranks = lora_ranks or [None]
    return [
        Candidate(rate, epochs, rank)
        for rank in ranks
        for epochs in num_train_epochs
        for rate in learning_rates
    ]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run reached.

    Attributes:
        candidate: Its point of the search.
        seed: Its seed.
        eval: Scores on the validation set of its best evaluation, by name.
        test: Scores on the test set, if it was run on it.
        steps: Optimizer steps it took.
        trained_parameters: How many parameters learned.
    """

    candidate: Candidate
    seed: int
    eval: dict[str, float]
    test: dict[str, float] | None
    steps: int
    trained_parameters: int


@dataclass(frozen=True, slots=True)
class FineTuned:
    """What :func:`finetune` found.

    Attributes:
        candidate: The best of the search.
        repeats: Its runs, one for each seed.
        search: The runs that it was found by, in order.
        metric: What was compared.
    """

    candidate: Candidate
    repeats: list[Run]
    search: list[Run]
    metric: str

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


class StopEarly(TrainerCallback):
    """Stops a training when neither its score nor its loss gets better.

    A score alone would not do: that of a model that still gives every example one class stays 0 for long.

    Args:
        metric: The score, or ``"loss"``.
        patience: Evaluations without a better one.
    """

    def __init__(self, metric: str, patience: int) -> None:
        self.metric = metric
        self.patience = patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Looks back."""
        entries = [entry for entry in state.log_history if f"eval_{self.metric}" in entry]
        scores = [entry[f"eval_{self.metric}"] for entry in entries]
        losses = [entry["eval_loss"] for entry in entries]
        best = max(scores) if self.metric != "loss" else min(scores)
        last_better = max(scores.index(best), losses.index(min(losses)))
        if len(entries) - 1 - last_better >= self.patience:
            control.should_training_stop = True


class _KeptCheckpoint(TrainerCallback):
    """Tells a resumed training where its best checkpoint lies, which may have been moved since."""

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Those of the best evaluations alone are saved, and the last of them is kept.
        state.best_model_checkpoint = self.checkpoint


class FineTuner(WholeCheckpointTrainer):
    """Trains a model with a head on the examples of a task.

    Evaluation gives, beside ``eval_loss`` (of the forward strand), the scores of
    :func:`~dnachunk.evaluation.metrics.score_predictions`. It goes with any model and tokenizer of Hugging
    Face's; the frozen part of a linear probe stays in evaluation mode.

    Args:
        model: A model with a head for the task, see
            :func:`~dnachunk.training.adaptation.load_with_head`.
        args: Hugging Face's arguments.
        task: The problem and its examples.
        tokenizer: The model's tokenizer; saved with it.
        method: ``"full"``: all parameters learn; ``"probe"``: the head alone; ``"lora"``: the head and
            adapters of low rank.
        lora: How the adapters are made.
        reverse_complement: ``"average"``: in evaluation and prediction both strands are run and averaged.
        truncate: Whether sequences longer than the model takes are cut off at their end.
        **kwargs: Other arguments of ``Trainer``.

    Raises:
        ValueError: If a sequence is longer than the model takes, or the tokenizer does not fit the task.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        task: Task,
        tokenizer: Any,
        *,
        method: Method = "full",
        lora: LoRA | None = None,
        reverse_complement: Strands = "none",
        truncate: bool = False,
        **kwargs: Any,
    ) -> None:
        self.task = task
        self.method = method
        self.both_strands = reverse_complement == "average"
        max_length_bp, max_tokens = length_limits(model, tokenizer)
        if not truncate:
            for examples in (task.train, task.valid, task.test):
                if examples is not None:
                    check_lengths(examples, tokenizer, max_length_bp, max_tokens)
            max_length_bp = max_tokens = None
        collator = ExampleCollator(
            tokenizer, model, task.problem, max_length_bp=max_length_bp, max_tokens=max_tokens
        )
        train = ExampleDataset(task.train)
        self.num_parameters = sum(parameter.numel() for parameter in model.parameters())
        self._frozen: list[nn.Module] = freeze_backbone(model) if method == "probe" else []
        if method == "lora":
            sample = collator([train[index] for index in range(min(2, len(train)))])
            model = add_lora(
                model, lora or LoRA(), {name: value.to(model.device) for name, value in sample.items()}
            )
        args.label_names = ["labels"]
        super().__init__(
            model,
            args,
            data_collator=collator,
            train_dataset=train,
            eval_dataset=self.examples(task.valid),
            compute_metrics=self._scores,
            processing_class=tokenizer,
            **kwargs,
        )
        self.model: Any = self.model
        # The heads' losses are means over a batch.
        self.model_accepts_loss_kwargs = False

    @property
    def trained_parameters(self) -> int:
        """How many parameters learn."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def examples(self, examples: Examples) -> ExampleDataset:
        """Examples as :meth:`evaluate` and :meth:`predict` take them."""
        return ExampleDataset(examples, both_strands=self.both_strands)

    def merge(self) -> None:
        """Adds the adapters to the weights, so that the model is again one of its own class."""
        if self.method == "lora":
            self.model = self.accelerator.unwrap_model(self.model).merge_and_unload()
            self.model_wrapped = self.model

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The loss of one batch; see :class:`Trainer`."""
        for module in self._frozen:
            module.eval()
        return super().compute_loss(model, inputs, *args, **kwargs)

    def prediction_step(
        self,
        model: Any,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """Loss, logits and labels of one batch; see :class:`Trainer`."""
        del ignore_keys
        inputs = self._prepare_inputs(inputs)
        reverse = inputs.pop("reverse", None)
        with torch.no_grad(), self.compute_loss_context_manager():
            output = model(**inputs)
            logits = strand_logits(output.logits, model, inputs, reverse)
        loss = output.loss.detach().mean()
        return (loss, None, None) if prediction_loss_only else (loss, logits.float(), inputs["labels"])

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        if super()._determine_best_metric(metrics, trial):
            return True
        # Of equal scores, such as that of one class for all, the lower loss is the better.
        name = (self.args.metric_for_best_model or "").removeprefix("eval_")
        losses = [
            entry["eval_loss"]
            for entry in self.state.log_history
            if entry["step"] == self.state.best_global_step and "eval_loss" in entry
        ]
        is_tie = bool(losses) and metrics.get(f"eval_{name}") == self.state.best_metric
        if is_tie and metrics["eval_loss"] < losses[-1]:
            self.state.best_global_step = self.state.global_step
            return True
        return False

    def _scores(self, prediction: EvalPrediction) -> dict[str, float]:
        logits, labels = prediction.predictions, prediction.label_ids
        if self.task.problem is Problem.regression:
            labels = labels.reshape(logits.shape)
        return score_predictions(self.task.problem, logits, labels)


def length_limits(model: Any, tokenizer: Any) -> tuple[int | None, int | None]:
    """Bases and ids of the longest sequence that a model takes; None where nothing limits them."""
    limits = []
    if tokenizer.model_max_length < 1 << 40:
        limits.append(int(tokenizer.model_max_length))
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # RoBERTa and its kin count positions on from the padding's id.
        offsets = [
            module.padding_idx + 1
            for name, module in model.named_modules()
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
        ]
        limits.append(positions - max(offsets, default=0))
    return getattr(model.config, "max_length_bp", None), min(limits, default=None)


def check_lengths(
    examples: Examples, tokenizer: Any, max_length_bp: int | None, max_tokens: int | None
) -> None:
    """Refuses sequences that are longer than a model takes.

    Raises:
        ValueError: With the first of them, and how many there are.
    """
    for unit, limit in (("bases", max_length_bp), ("tokens", max_tokens)):
        if limit is None:
            continue
        special = tokenizer.num_special_tokens_to_add()
        too_long = []
        for index, sequence in enumerate(examples.sequences):
            # No tokenizer makes more of a sequence than an id for each base.
            length = len(sequence)
            if unit == "tokens" and length + special > limit:
                length = len(tokenizer(sequence, verbose=False)["input_ids"])
            if length > limit:
                too_long.append((index, length))
        if too_long:
            index, length = too_long[0]
            raise ValueError(
                f"{examples.places[index]}: the sequence has {length:,} {unit}, the model takes {limit:,}; "
                f"{len(too_long):,} of {len(examples):,} sequences are too long: truncate them (--truncate) "
                "or leave them out"
            )


def finetune(
    model: str | Path,
    task: Task,
    args: TrainingArguments,
    *,
    method: Method = "full",
    lora: LoRA | None = None,
    candidates: Sequence[Candidate] = (),
    seeds: int = 1,
    metric: str | None = None,
    patience: int | None = 3,
    reverse_complement: Strands = "none",
    truncate: bool = False,
    resume: bool = False,
    before_run: Callable[[FineTuner, Candidate, int], Any] | None = None,
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
        method: As :class:`FineTuner`, like ``reverse_complement`` and ``truncate``.
        lora: How adapters are made; a candidate's rank goes before its.
        candidates: What is searched; default the learning rate and epochs of ``args`` alone.
        seeds: How many seeds, from ``args.seed`` on.
        metric: What candidates, and evaluations of a run, are compared by: a score of the problem, or
            ``"loss"``; default :data:`~dnachunk.evaluation.metrics.DEFAULT_METRIC`.
        patience: Evaluations without a better score or a lower loss after which a run stops; None is never.
        reverse_complement: ``"average"`` runs both strands in evaluation.
        truncate: Whether sequences longer than the model takes are cut off.
        resume: Whether to go on with what an interrupted call with the same arguments left: its finished
            runs are taken over, and a begun one goes on from its last checkpoint to the same numbers.
        before_run: Called with the trainer, the candidate and the seed before each training.

    Returns:
        The best candidate and what its runs reached.

    Raises:
        OSError: If the model cannot be loaded, or nothing be saved; what was finished remains.
        ValueError: If an argument is out of range, the data does not fit, or the output folder holds other
            runs or a model.
    """
    metric = DEFAULT_METRIC[task.problem] if metric is None else metric.removeprefix("eval_")
    check_metric(metric, task, task.valid, "validation")
    if seeds < 1:
        raise ValueError(f"finetune: seeds must be at least 1, got {seeds}")
    if patience is not None and patience < 1:
        raise ValueError(f"finetune: patience must be at least 1, got {patience}")
    if method == "lora":
        lora = lora or LoRA()
    rank = lora.rank if lora is not None and method == "lora" else None
    candidates = list(dict.fromkeys(candidates)) or [
        Candidate(args.learning_rate, args.num_train_epochs, rank)
    ]
    sign = -1 if metric == "loss" else 1

    def worth(scores: dict[str, float]) -> tuple[float, float]:
        value, loss = sign * scores[metric], -scores["loss"]
        return -math.inf if math.isnan(value) else value, -math.inf if math.isnan(loss) else loss

    settings = {
        "model": model_digest(model),
        "method": method,
        "lora": None if lora is None else asdict(lora),
        "candidates": [asdict(candidate) for candidate in candidates],
        "metric": metric,
        "patience": patience,
        "reverse_complement": reverse_complement,
        "truncate": truncate,
        "data": _digest(task),
        "arguments": {name: _plain(getattr(args, name)) for name in _DECISIVE},
    }
    store = _RunStore(Path(args.output_dir), settings)
    finished = store.open(resume)
    done: list[Run] = []

    def run(candidate: Candidate, seed: int, *, is_repeat: bool) -> Run:
        name = candidate.run_name(seed)
        if name in finished:
            done.append(finished[name])
            return done[-1]
        run_args = copy.copy(args)
        run_args.output_dir = str(store.folder / name)
        run_args.learning_rate = candidate.learning_rate
        run_args.num_train_epochs = candidate.num_train_epochs
        run_args.seed = seed
        run_args.metric_for_best_model, run_args.greater_is_better = metric, sign > 0
        run_args.save_strategy, run_args.load_best_model_at_end = SaveStrategy.BEST, True
        run_args.save_total_limit = 1
        if run_args.eval_strategy == IntervalStrategy.NO:
            run_args.eval_strategy = IntervalStrategy.EPOCH
        # The head and the adapters start at random.
        set_seed(seed)
        trainer = FineTuner(
            load_with_head(model, task),
            run_args,
            task,
            AutoTokenizer.from_pretrained(model, local_files_only=True),
            method=method,
            lora=replace(lora, rank=candidate.lora_rank) if lora and candidate.lora_rank else lora,
            reverse_complement=reverse_complement,
            truncate=truncate,
            callbacks=None if patience is None else [StopEarly(metric, patience)],
        )
        trained_parameters = trainer.trained_parameters
        if args.should_save:
            store.begin()
        if before_run is not None:
            before_run(trainer, candidate, seed)
        checkpoint = get_last_checkpoint(run_args.output_dir) if Path(run_args.output_dir).is_dir() else None
        if checkpoint is not None:
            trainer.add_callback(_KeptCheckpoint(checkpoint))
        trainer.train(resume_from_checkpoint=checkpoint)
        trainer.merge()
        scores = _scores_of(trainer.evaluate(), "eval")
        is_best = all(worth(scores) > worth(other.eval) for other in done)
        test = None
        if task.test is not None and (is_best or is_repeat):
            output = trainer.predict(trainer.examples(task.test), metric_key_prefix="test")
            test = _scores_of(output.metrics or {}, "test")
        result = Run(candidate, seed, scores, test, trainer.state.global_step, trained_parameters)
        if is_best:
            trainer.save_model(str(store.best))
        if args.should_save:
            store.finish(name, result)
        trainer.accelerator.wait_for_everyone()
        done.append(result)
        return result

    search = [run(candidate, args.seed, is_repeat=False) for candidate in candidates]
    first = max(search, key=lambda result: worth(result.eval))
    others = [run(first.candidate, args.seed + index, is_repeat=True) for index in range(1, seeds)]
    if args.should_save:
        store.publish()
    return FineTuned(first.candidate, [first, *others], search, metric)


class _RunStore:
    """What finished runs left in an output folder."""

    def __init__(self, output_dir: Path, settings: dict[str, Any]) -> None:
        self.output_dir = output_dir
        self.folder = output_dir / RUNS
        self.best = self.folder / "best"
        self.settings = json.loads(json.dumps(settings))

    def open(self, resume: bool) -> dict[str, Run]:
        """Finished runs by name, if they are of the same settings.

        Raises:
            ValueError: If there are runs that are not to be resumed, or are of other settings, or there is
                a model of something else.
        """
        files = list(self.folder.glob("*_seed*.json"))
        if not files and not list(self.folder.glob("*_seed*/checkpoint-*")):
            if holds_model(self.output_dir):
                raise ValueError(f"{self.output_dir} holds a model: choose another folder")
            return {}
        if not resume:
            raise ValueError(
                f"{self.output_dir} holds runs of a fine-tuning: resume it (--resume-from-checkpoint last) "
                "or choose another folder"
            )
        before = json.loads((self.folder / "settings.json").read_text(encoding="utf-8"))
        differing = [name for name in self.settings if self.settings[name] != before.get(name)]
        if differing:
            raise ValueError(
                f"{self.output_dir} holds runs with other {', '.join(differing)}: choose another folder"
            )
        finished = {}
        for file in files:
            fields = json.loads(file.read_text(encoding="utf-8"))
            finished[file.stem] = Run(**{**fields, "candidate": Candidate(**fields["candidate"])})
        return finished

    def begin(self) -> None:
        """Notes what runs are of."""
        self._write("settings.json", self.settings)

    def finish(self, name: str, run: Run) -> None:
        """Notes what a run reached, and drops its checkpoints."""
        self._write(f"{name}.json", asdict(run))
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def publish(self) -> None:
        """Moves the best model to where it is looked for."""
        if not self.best.is_dir():
            return
        with saving("the model", self.output_dir), written_whole(self.output_dir) as staging:
            for file in self.best.iterdir():
                shutil.copy(file, staging)
        shutil.rmtree(self.best)

    def _write(self, name: str, fields: dict[str, Any]) -> None:
        with saving(name, self.folder), written_whole(self.folder) as staging:
            (staging / name).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def check_metric(metric: str, task: Task, examples: Examples, split: str) -> None:
    """Refuses a metric that is none of the problem's, or not defined on a set of examples.

    Raises:
        ValueError: If it is; the set is called ``split``.
    """
    known = (*METRICS[task.problem], "loss")
    if metric not in known:
        raise ValueError(f"finetune: metric must be one of {', '.join(known)}, got {metric!r}")
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
        raise ValueError(
            f"finetune: {metric} is not defined on the {split} set, whose targets are all alike; "
            "give another set, or another metric"
        )


def _scores_of(metrics: dict[str, float], split: str) -> dict[str, float]:
    """The scores among a trainer's metrics, by name."""
    names = {f"{split}_{name}": name for names in METRICS.values() for name in names}
    names[f"{split}_loss"] = "loss"
    return {names[key]: value for key, value in metrics.items() if key in names}


def _digest(task: Task) -> str:
    examples = [part for part in (task.train, task.valid, task.test) if part is not None]
    content = [task.problem.value, task.names, *((part.sequences, part.targets) for part in examples)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    return value if isinstance(value, bool | int | float | dict | None) else str(value)


__all__ = ["Candidate", "FineTuned", "FineTuner", "Run", "finetune", "grid"]
