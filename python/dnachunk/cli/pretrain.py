"""``dnachunk pretrain``: from FASTA files to a pre-trained model."""

import functools
import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnachunk.cli.arguments import read_training_arguments
from dnachunk.cli.report import is_main_process, leave_process_group, say, table, write_results

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from dnachunk.baselines import FixedTokenizer
    from dnachunk.data import Genome, HeldOutWindows, Interval
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

MAX_BPE_BP = 8 << 20
"""Bases of the training windows that byte-pair encoding is trained on, at most."""


class Kind(str, Enum):
    """Models that can be pre-trained."""

    mergedna = "mergedna"
    dnachunker = "dnachunker"
    mxdna = "mxdna"
    baseline = "baseline"


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
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of a baseline: base, 6mer (1 to 8), 6mer-overlapping, or bpe-1024 (ids in all), which is "
            "trained on the training windows.",
        ),
    ] = None,
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

    A baseline is an off-the-shelf encoder (EuroBERT) on the tokens of a fixed tokenizer, as wide and as deep
    as MergeDNA's encoders of that size; it is pre-trained on the same windows by masked language modelling.

    Any flag of Hugging Face's TrainingArguments can be given by its name, such as --max-steps,
    --per-device-train-batch-size, --learning-rate, --bf16, --seed, --eval-steps or
    --resume-from-checkpoint (a path, or "last"). Under torchrun it trains on several processes.

    Example: dnachunk pretrain --size tiny --fasta genome.fa.gz --output-dir run --max-steps 2000 --bf16

    Example: dnachunk pretrain --model baseline --tokenizer 6mer --fasta genome.fa.gz --output-dir run
    """
    # What is imported at the top of a command's module is what `dnachunk --help` waits for.

    from dnachunk.data import Genome, Interval, default_holdout

    check_tokenizer(model, tokenizer)
    args = parse_training_arguments(context.args, output_dir)
    resume = _resume_point(args)
    genomes = [Genome(path) for path in fasta]
    names = [record.name for genome in genomes for record in genome.records]
    intervals = [Interval.parse(text, names) for text in holdout or []] or default_holdout(genomes)
    fixed = None
    if tokenizer is None:
        network = build_model(model, size, config or [], window_bp, args.seed)
    else:
        network, fixed = build_baseline(
            tokenizer, size, config or [], window_bp, args, genomes, weight, intervals
        )
    run_pretraining(network, args, genomes, weight, intervals, eval_windows, resume, fixed)
    leave_process_group()


def parse_training_arguments(words: list[str], output_dir: Path, **defaults: Any) -> "TrainingArguments":
    """Reads Hugging Face's flags of a pre-training.

    Args:
        words: Flags and their values, with dashes or underscores.
        output_dir: Where the run writes.
        **defaults: Values that go before :data:`DEFAULTS`.

    Raises:
        typer.BadParameter: On a flag that is not one of ``TrainingArguments``, or a wrong value.
        ValueError: If the values do not fit together or the machine.
    """
    args = read_training_arguments(words, output_dir, {**DEFAULTS, **defaults})
    if args.max_steps < 1:
        raise typer.BadParameter(f"--max-steps must be at least 1, got {args.max_steps}")
    return args


def make_config(kind: Kind, size: Size, fields: list[str], window_bp: int | None) -> Any:
    """Makes a configuration; that of a baseline has no tokens yet but single bases.

    Args:
        kind: Of which model.
        size: Which one.
        fields: ``field=value`` of the configuration; values are JSON, or else text.
        window_bp: Goes before the configuration's ``train_length_bp``.

    Raises:
        typer.BadParameter: If a field is not written so.
        ValueError: If the configuration refuses it.
    """
    from dnachunk.alphabet import NUM_IDS
    from dnachunk.baselines import baseline_config
    from dnachunk.models import DNAChunkerConfig, MergeDNAConfig, MxDNAConfig

    if kind is Kind.baseline:
        return _configure(functools.partial(baseline_config, size.value, NUM_IDS), fields, window_bp)
    config_class: Any = {
        Kind.dnachunker: DNAChunkerConfig,
        Kind.mergedna: MergeDNAConfig,
        Kind.mxdna: MxDNAConfig,
    }[kind]
    make = config_class if size is Size.base else getattr(config_class, size.value)
    return _configure(make, fields, window_bp)


def build_model(kind: Kind, size: Size, fields: list[str], window_bp: int | None, seed: int) -> Any:
    """Makes an untrained model.

    Args:
        kind: Which one; not a baseline.
        size: Its configuration.
        fields: As for :func:`make_config`, like ``window_bp``.
        window_bp: Goes before the configuration's ``train_length_bp``.
        seed: Of the weights.

    Raises:
        typer.BadParameter: If a field is not written so.
        ValueError: If the configuration refuses it.
    """
    from transformers import AutoModelForPreTraining, set_seed

    config = make_config(kind, size, fields, window_bp)
    set_seed(seed)
    return AutoModelForPreTraining.from_config(config)


def build_baseline(
    name: str,
    size: Size,
    fields: list[str],
    window_bp: int | None,
    args: "TrainingArguments",
    genomes: "list[Genome]",
    weights: list[float] | None,
    holdout: "list[Interval]",
) -> "tuple[Any, FixedTokenizer]":
    """Makes an untrained baseline and its tokenizer.

    Args:
        name: The tokenizer's.
        size: The encoder's.
        fields: ``field=value`` of its configuration, as for :func:`make_config`.
        window_bp: Goes before the configuration's ``train_length_bp``.
        args: Hugging Face's arguments; ``seed`` is that of the weights too.
        genomes: Where the training windows come from that byte-pair encoding is trained on.
        weights: How often each of them is drawn from.
        holdout: What is kept for evaluation, and not seen by the tokenizer either.

    Raises:
        typer.BadParameter: If a field is not written so.
        ValueError: If the configuration refuses it.
    """
    from transformers import AutoModelForMaskedLM, set_seed

    from dnachunk.baselines import FixedTokenizer
    from dnachunk.data import WindowDataset
    from dnachunk.tokenization import DNATokenizer

    config = make_config(Kind.baseline, size, fields, window_bp)
    window_bp = config.train_length_bp
    windows = WindowDataset(
        genomes,
        window_bp,
        weights=weights,
        holdout=holdout,
        num_windows=min(args.max_steps * _global_batch(args), -(-MAX_BPE_BP // window_bp)),
        seed=args.seed,
    )
    decode = DNATokenizer().batch_decode
    texts = (decode(windows[index]["input_ids"][None])[0] for index in range(len(windows)))
    tokenizer = FixedTokenizer.from_name(name, texts)
    config.vocab_size = len(tokenizer)
    set_seed(args.seed)
    return AutoModelForMaskedLM.from_config(config), tokenizer


def run_pretraining(
    network: Any,
    args: "TrainingArguments",
    genomes: "list[Genome]",
    weights: list[float] | None,
    holdout: "list[Interval]",
    eval_windows: int,
    resume: str | None = None,
    tokenizer: "FixedTokenizer | None" = None,
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
        tokenizer: A baseline's.

    Returns:
        The metrics that ``results.json`` in ``args.output_dir`` holds, where the model is saved too.
    """
    from transformers.utils import logging

    from dnachunk.cli.progress import log_lines
    from dnachunk.data import HeldOutWindows, WindowDataset
    from dnachunk.tokenization import DNATokenizer
    from dnachunk.training import PreTrainer
    from dnachunk.training.baseline import fixed_context_baseline

    # Hugging Face draws a bar for each file of weights.
    logging.disable_progress_bar()
    window_bp = network.config.train_length_bp
    global_batch = _global_batch(args)
    num_windows = args.max_steps * global_batch
    windows = WindowDataset(
        genomes, window_bp, weights=weights, holdout=holdout, num_windows=num_windows, seed=args.seed
    )
    held_out = HeldOutWindows(genomes, window_bp, holdout, max_windows=eval_windows)
    say(_describe_model(network))
    if tokenizer is not None:
        say(_describe_tokens(network.config, tokenizer, held_out))
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

    learned = DNATokenizer(cls_sep=network.config.model_type == "mxdna")
    trainer = PreTrainer(network, args, windows, held_out, tokenizer or learned)
    log_lines(trainer)
    train_metrics = trainer.train(resume_from_checkpoint=resume).metrics
    history = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
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

    contexts = [
        (name, scores.masked_accuracy, scores.masked_nats)
        for name, scores in (
            ("letter frequencies", letters),
            (f"best fixed context ({baseline.best_width} letters on each side)", best),
        )
    ]
    for kind, title, rivals in (
        ("masked", "At [MASK], held out", contexts),
        ("masked_token", "At hidden tokens, by base", []),
    ):
        rows = [
            (name, entry[f"eval_{kind}_accuracy"], entry[f"eval_{kind}_nats"])
            for name, entry in (("start", start), ("end", end))
            if f"eval_{kind}_nats" in entry
        ]
        if rows:
            lines = [[name, f"{accuracy:.2%}", f"{nats:.4f}"] for name, accuracy, nats in [*rows, *rivals]]
            say()
            say(table([title, "accuracy", "nats"], lines))
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


def check_tokenizer(model: Kind, name: str | None) -> None:
    """Raises :class:`typer.BadParameter` unless a baseline, and nothing else, has one of the tokenizers."""
    from dnachunk.baselines import Tokenization

    if model is not Kind.baseline:
        if name is not None:
            raise typer.BadParameter(
                f"--tokenizer is for --model baseline; {model.value} learns its tokens, got {name}"
            )
        return
    if name is None:
        raise typer.BadParameter(
            "--model baseline needs --tokenizer beside it, such as base, 6mer or bpe-1024"
        )
    try:
        Tokenization.parse(name)
    except ValueError as error:
        raise typer.BadParameter(str(error).replace("Tokenization: name", "--tokenizer")) from None


def _configure(make: Callable[..., Any], fields: list[str], window_bp: int | None) -> Any:
    """Makes a configuration with fields written ``field=value``."""
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
    try:
        return make(**values)
    except TypeError as error:
        raise ValueError(f"the configuration refuses {', '.join(fields)}: {error}") from error


def _global_batch(args: "TrainingArguments") -> int:
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size


def _describe_tokens(config: Any, tokenizer: "FixedTokenizer", held_out: "HeldOutWindows") -> str:
    import torch

    from dnachunk.baselines import forward_flops
    from dnachunk.data.token_windows import tokenize_windows

    ids = torch.stack([held_out[index]["input_ids"] for index in range(min(32, len(held_out)))])
    num_tokens = tokenize_windows(tokenizer, ids).attention_mask.sum(dim=1)
    mean_bp = ids.numel() / int(num_tokens.sum())
    flops = forward_flops(config, round(ids.shape[1] / mean_bp)) / ids.shape[1]
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
