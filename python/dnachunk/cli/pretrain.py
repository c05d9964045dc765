"""``dnachunk pretrain``: from FASTA files to a pre-trained model."""

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from dnachunk.cli.report import is_main_process, say, table, write_results

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from dnachunk.data import Genome, Interval
    from dnachunk.training.baseline import Baseline

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
"""Defaults of ``TrainingArguments`` here: the paper's optimizer (Appendix B), at a rate for small models.

Steps below 1 are shares of ``max_steps``.
"""


class Kind(str, Enum):
    """Models that can be pre-trained."""

    mergedna = "mergedna"


class Size(str, Enum):
    """Named configurations; ``base`` is the paper's."""

    micro = "micro"
    tiny = "tiny"
    base = "base"


def pretrain(
    context: typer.Context,
    fasta: Annotated[list[Path], typer.Option(help="Genome, plain, gzip or bgzip; can be repeated.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for the model, its checkpoints and results.json.")],
    model: Annotated[Kind, typer.Option(help="Which model.")] = Kind.mergedna,
    size: Annotated[Size, typer.Option(help="How large.")] = Size.tiny,
    weight: Annotated[
        list[float] | None,
        typer.Option(help="How often each --fasta is drawn from, in their order. Default: by length."),
    ] = None,
    holdout: Annotated[
        list[str] | None,
        typer.Option(
            help="Record (chrXVI) or interval (chr1:1-1000000) kept for evaluation; can be repeated. "
            "Default: the last record, or the last tenth of it where it is large."
        ),
    ] = None,
    window_bp: Annotated[
        int | None, typer.Option(help="Bases of a window. Default: the configuration's train_length_bp.")
    ] = None,
    eval_windows: Annotated[int, typer.Option(help="Held-out windows to evaluate on, at most.", min=1)] = 256,
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Field of the configuration; can be repeated."),
    ] = None,
) -> None:
    """Pre-trains a model on genomes.

    Any flag of Hugging Face's TrainingArguments can be given by its name, such as --max-steps,
    --per-device-train-batch-size, --learning-rate, --bf16, --seed, --eval-steps or
    --resume-from-checkpoint (a path, or "last"). Under torchrun it trains on several processes.

    Example: dnachunk pretrain --size tiny --fasta genome.fa.gz --output-dir run --max-steps 2000 --bf16
    """
    # What is imported at the top of a command's module is what `dnachunk --help` waits for.
    import torch

    from dnachunk.data import Genome, Interval, default_holdout

    args = parse_training_arguments(context.args, output_dir)
    resume = _resume_point(args)
    network = build_model(model, size, config or [], window_bp, args.seed)
    genomes = [Genome(path) for path in fasta]
    names = [record.name for genome in genomes for record in genome.records]
    intervals = [Interval.parse(text, names) for text in holdout or []] or default_holdout(genomes)
    run_pretraining(network, args, genomes, weight, intervals, eval_windows, resume)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # A rank that exits with gloo's threads still running may abort.
        torch.distributed.destroy_process_group()


def parse_training_arguments(words: list[str], output_dir: Path, **defaults: Any) -> "TrainingArguments":
    """Reads Hugging Face's flags.

    Args:
        words: Flags and their values, with dashes or underscores.
        output_dir: Where the run writes.
        **defaults: Values that go before :data:`DEFAULTS`.

    Raises:
        typer.BadParameter: On a flag that is not one of ``TrainingArguments``, or a wrong value.
        ValueError: If the values do not fit together or the machine.
    """
    import torch
    from transformers import HfArgumentParser, TrainingArguments

    class Parser(HfArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise typer.BadParameter(message)

    parser = Parser(TrainingArguments, add_help=False, allow_abbrev=False)
    # Without a GPU, Hugging Face takes --bf16 only together with --use-cpu.
    use_cpu = not torch.accelerator.is_available()
    parser.set_defaults(**{**DEFAULTS, "use_cpu": use_cpu, **defaults, "output_dir": str(output_dir)})
    args, unknown = parser.parse_args_into_dataclasses(
        words, return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        raise typer.BadParameter(f"no such option or argument: {unknown[0]}")
    if args.max_steps < 1:
        raise typer.BadParameter(f"--max-steps must be at least 1, got {args.max_steps}")
    return args


def build_model(kind: Kind, size: Size, fields: list[str], window_bp: int | None, seed: int) -> Any:
    """Makes an untrained model.

    Args:
        kind: Which one.
        size: Its configuration.
        fields: ``field=value`` of the configuration; values are JSON, or else text.
        window_bp: Goes before the configuration's ``train_length_bp``.
        seed: Of the weights.

    Raises:
        typer.BadParameter: If a field is not written so.
        ValueError: If the configuration refuses it.
    """
    from transformers import set_seed

    from dnachunk.models import MergeDNAConfig, MergeDNAForPreTraining

    config_class, model_class = {Kind.mergedna: (MergeDNAConfig, MergeDNAForPreTraining)}[kind]
    values: dict[str, Any] = {}
    for field in fields:
        name, equals, text = field.partition("=")
        if not equals:
            raise typer.BadParameter(f"--config must be FIELD=VALUE, got {field}")
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError:
            values[name] = text
    if window_bp is not None:
        values["train_length_bp"] = window_bp
    make = config_class if size is Size.base else getattr(config_class, size.value)
    try:
        config = make(**values)
    except TypeError as error:
        raise ValueError(f"the configuration refuses {', '.join(fields)}: {error}") from error
    set_seed(seed)
    return model_class(config)


def run_pretraining(
    network: Any,
    args: "TrainingArguments",
    genomes: "list[Genome]",
    weights: list[float] | None,
    holdout: "list[Interval]",
    eval_windows: int,
    resume: str | None = None,
) -> dict[str, float]:
    """Trains, and says what with, what from, against what and how far.

    Args:
        network: The model; its configuration says how long windows are.
        args: Hugging Face's arguments.
        genomes: Where windows come from.
        weights: How often each of them is drawn from; None is by length.
        holdout: What is kept for evaluation.
        eval_windows: Windows of it to evaluate on, at most.
        resume: Checkpoint to go on from.

    Returns:
        The metrics that ``results.json`` in ``args.output_dir`` holds, where the model is saved too.
    """
    from transformers import ProgressCallback
    from transformers.utils import logging

    from dnachunk.cli.progress import LogLines
    from dnachunk.data import HeldOutWindows, WindowDataset
    from dnachunk.tokenization import DNATokenizer
    from dnachunk.training import PreTrainer
    from dnachunk.training.baseline import fixed_context_baseline

    # Hugging Face draws a bar for each file of weights.
    logging.disable_progress_bar()
    window_bp = network.config.train_length_bp
    global_batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    num_windows = args.max_steps * global_batch
    windows = WindowDataset(
        genomes, window_bp, weights=weights, holdout=holdout, num_windows=num_windows, seed=args.seed
    )
    held_out = HeldOutWindows(genomes, window_bp, holdout, max_windows=eval_windows)
    say(_describe_model(network))
    for genome in genomes:
        say(f"Genome     {genome.path.name}: {genome.length_bp:,} bases, records: {len(genome.records):,}")
    where = ", ".join(map(str, holdout))
    say(f"Held out   {where}: {len(held_out):,} windows of {window_bp:,} bases are evaluated on")
    say(
        f"Training   {args.max_steps:,} steps of {global_batch:,} windows of {window_bp:,} bases: "
        f"{num_windows * window_bp / 1e6:,.1f} Mb"
    )
    baseline = fixed_context_baseline(genomes, holdout, held_out, args.seed) if is_main_process() else None
    if baseline is not None:
        say(_describe_baseline(baseline))

    trainer = PreTrainer(network, args, windows, held_out, DNATokenizer())
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(LogLines())
    train_metrics = trainer.train(resume_from_checkpoint=resume).metrics
    history = [entry for entry in trainer.state.log_history if "eval_masked_nats" in entry]
    start = history[0] if history and history[0]["step"] == 0 else {}
    if history and history[-1]["step"] == trainer.state.global_step and not args.load_best_model_at_end:
        end = history[-1]
    else:
        end = trainer.evaluate()
    trainer.save_model()
    if baseline is None:
        return {}

    metrics = {name: value for name, value in end.items() if name.startswith("eval_")}
    metrics.update({f"start_{name}": value for name, value in start.items() if name.startswith("eval_")})
    letters, best = baseline.scores[0], baseline.scores[baseline.best_width]
    for name, scores in (("letters", letters), ("baseline", best)):
        metrics[f"{name}_eval_masked_accuracy"] = scores.masked_accuracy
        metrics[f"{name}_eval_masked_nats"] = scores.masked_nats
    metrics["baseline_eval_width"] = baseline.best_width
    metrics.update(train_metrics)
    write_results(Path(args.output_dir) / "results.json", metrics)

    rows = [("start", start), ("end", end)]
    table_rows = [
        [name, f"{entry['eval_masked_accuracy']:.2%}", f"{entry['eval_masked_nats']:.4f}"]
        for name, entry in rows
        if entry
    ]
    for name, scores in (
        ("letter frequencies", letters),
        (f"best fixed context ({baseline.best_width} letters on each side)", best),
    ):
        table_rows.append([name, f"{scores.masked_accuracy:.2%}", f"{scores.masked_nats:.4f}"])
    say()
    say(table(["At [MASK], held out", "accuracy", "nats"], table_rows))
    say(f"\nThe model is in {args.output_dir}; its numbers are in {Path(args.output_dir) / 'results.json'}")
    return metrics


def _resume_point(args: "TrainingArguments") -> str | None:
    """The checkpoint to go on from; refuses to write over another run's."""
    from transformers.trainer_utils import get_last_checkpoint

    output_dir = Path(args.output_dir)
    last = get_last_checkpoint(args.output_dir) if output_dir.is_dir() else None
    if args.resume_from_checkpoint is None:
        if last is not None:
            raise ValueError(
                f"--output-dir {output_dir} holds a run up to {Path(last).name}: "
                "add --resume-from-checkpoint last, or choose another"
            )
        return None
    # What resuming starts with has been evaluated.
    args.eval_on_start = False
    if args.resume_from_checkpoint != "last":
        return str(args.resume_from_checkpoint)
    if last is None:
        raise ValueError(f"--resume-from-checkpoint last: {output_dir} holds no whole checkpoint")
    return last


def _describe_model(network: Any) -> str:
    def count(part: Any) -> str:
        return f"{sum(parameter.numel() for parameter in part.parameters()):,}"

    parts = {**dict(network.model.named_children()), **dict(network.named_children())}
    listed = ", ".join(f"{name} {count(part)}" for name, part in parts.items() if name != "model")
    return f"Model      {network.config.model_type}, {count(network)} parameters: {listed}"


def _describe_baseline(baseline: "Baseline") -> str:
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
    return f"{title}\n{table(['', 'accuracy', 'nats  '], rows)}"
