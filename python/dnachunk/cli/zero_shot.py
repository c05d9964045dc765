"""What the zero-shot commands share: their model, their classes and the figures that they print."""

import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from dnachunk.baselines import FixedTokenizer
from dnachunk.cli.inference import mean_vectors
from dnachunk.cli.report import say, table
from dnachunk.data.token_windows import tokenize_windows
from dnachunk.evaluation.against_random import Flags, Floats, random_separation, separation
from dnachunk.evaluation.token_letters import hidden_base_logits
from dnachunk.evaluation.zero_shot import REASONS, Batch, ZeroShotModel
from dnachunk.tokenization import DNATokenizer
from dnachunk.training.checkpoints import load_pretrained
from dnachunk.training.finetune import length_limits

_CONDITION = re.compile(r"([^<>=!]+)(?:(<=|>=|!=|=|<|>)(.+))?")
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MISSING = ("", ".", "na", "nan")


def load_zero_shot(directory: Path, window_bp: int | None) -> tuple[ZeroShotModel, int]:
    """Loads a masked language model, onto a GPU where there is one, and finds how wide a window it reads.

    Args:
        directory: What a training run wrote.
        window_bp: Bases of a window; None is as the model was trained.

    Raises:
        OSError: If the directory holds no model or no tokenizer.
        ValueError: If the weights do not fit, the model is no masked language model, its tokenizer is none of
            single bases or k-mers, nothing says how wide a window is, or it has more positions than the
            model.
    """
    network = load_pretrained(AutoModelForMaskedLM, directory).eval()
    network = network.to("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    is_fixed = isinstance(tokenizer, FixedTokenizer)
    if is_fixed and tokenizer.kind.k is None:
        raise ValueError(f"{directory}: byte-pair encoding gives no probability of a single base")
    if not is_fixed and not isinstance(tokenizer, DNATokenizer):
        raise ValueError(
            f"{directory}: the tokenizer must be a DNATokenizer, a base an id, got {type(tokenizer).__name__}"
        )
    if window_bp is None:
        window_bp = getattr(network.config, "train_length_bp", None)
    if window_bp is None:
        raise ValueError(f"--window-bp must be given: {directory} does not say how long windows were")
    max_length_bp, max_tokens = length_limits(network, tokenizer)
    if max_tokens is not None:
        # Fixed words are no more than bases.
        max_tokens -= tokenizer.num_special_tokens_to_add()
    most = min((limit for limit in (max_length_bp, max_tokens) if limit is not None), default=window_bp)
    if window_bp > most:
        raise ValueError(f"--window-bp must be at most {most} for {directory}, got {window_bp}")

    def moved(batch: Batch) -> Batch:
        return {name: tensor.to(network.device) for name, tensor in batch.items()}

    def predict(batch: Batch) -> torch.Tensor:
        return network(**moved(batch)).logits

    def embed(batch: Batch) -> torch.Tensor:
        return mean_vectors(network.base_model, moved(batch), cls_sep=tokenizer.cls_sep)

    def predict_words(batch: Batch) -> torch.Tensor:
        inputs = moved(batch)
        return hidden_base_logits(network, tokenizer, inputs["input_ids"], inputs["attention_mask"])

    def embed_words(batch: Batch) -> torch.Tensor:
        tokens = tokenize_windows(tokenizer, batch["input_ids"])
        words = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
        return mean_vectors(network.base_model, moved(words))

    if is_fixed:
        return ZeroShotModel(predict_words, embed_words), window_bp
    return ZeroShotModel(predict, embed, tokenizer.cls_sep), window_bp


class Condition(NamedTuple):
    """A condition on one field.

    Attributes:
        field: Its name.
        comparison: One of ``< <= > >=`` (numbers), ``= !=`` (text), or nothing: whether it is there.
        value: What it is compared with.
    """

    field: str
    comparison: str | None
    value: str

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Reads ``FIELD``, ``FIELD=text`` or ``FIELD>=number``.

        Raises:
            ValueError: If it is not written so.
        """
        match = _CONDITION.fullmatch(text)
        condition = match and cls(match[1].strip(), match[2], (match[3] or "").strip())
        if not condition or (condition.comparison in _COMPARISONS and _number(condition.value) is None):
            raise ValueError(f"a condition must be written FIELD, FIELD=text or FIELD>=number, got {text!r}")
        return condition

    def holds(self, value: str | None) -> bool | None:
        """Whether it holds for a field's value; None if that is missing, or no number where one is needed."""
        is_missing = value is None or value.lower() in _MISSING
        if self.comparison is None:
            return not is_missing and value not in ("0", "false", "False")
        if is_missing or value is None:
            return None
        if self.comparison not in _COMPARISONS:
            return (value == self.value) == (self.comparison == "=")
        left, right = _number(value), _number(self.value)
        return None if left is None else _COMPARISONS[self.comparison](left, right)


class Classes(NamedTuple):
    """Which variants are positives and which negatives."""

    positive: Condition
    negative: Condition | None

    @classmethod
    def parse(cls, positive: str | None, negative: str | None) -> "Classes | None":
        """Reads the two options; None where neither is given.

        Raises:
            ValueError: If one is malformed, or there is no positive condition beside a negative one.
        """
        if positive is None:
            if negative is not None:
                raise ValueError("--negative needs --positive beside it")
            return None
        return cls(Condition.parse(positive), None if negative is None else Condition.parse(negative))

    @property
    def fields(self) -> list[str]:
        """The fields that are looked at."""
        return [condition.field for condition in (self.positive, self.negative) if condition]

    def of(self, value_of: Callable[[str], str | None]) -> bool | None:
        """True for a positive, False for a negative, None for neither; ``value_of`` gives a field's value."""
        is_positive = self.positive.holds(value_of(self.positive.field))
        if is_positive or self.negative is None:
            return is_positive
        return False if self.negative.holds(value_of(self.negative.field)) else None


def check_classes(labels: "Counter[bool | None]") -> None:
    """Raises :class:`ValueError` unless there are positives and negatives."""
    if not labels[True] or not labels[False]:
        raise ValueError(
            f"--positive and --negative must both find variants, got {labels[True]} positives and "
            f"{labels[False]} negatives"
        )


def say_reasons(reasons: "Counter[str]") -> None:
    """Prints how often each reason was given, if any was."""
    if reasons:
        rows = [[f"{reason}: {REASONS[reason]}", f"{count:,}"] for reason, count in reasons.most_common()]
        say(table(["reason", "variants"], rows))


def separation_metrics(scores: Mapping[str, Floats], is_positive: Flags) -> dict[str, float | int]:
    """Prints, and returns by metric name, how well each score tells the classes apart, beside random scores.

    Args:
        scores: By name, each ``[n]``.
        is_positive: ``[n]``.
    """
    if is_positive.all() or not is_positive.any():
        say("no figures: of one class nothing was scored")
        return {}
    metrics: dict[str, float | int] = {
        "positives": int(is_positive.sum()),
        "negatives": int((~is_positive).sum()),
    }
    rows = []
    for name, values in scores.items():
        found = separation(values, is_positive)
        metrics |= {f"{name}_auroc": found.auroc, f"{name}_auprc": found.auprc}
        rows.append([name, f"{found.auroc:.3f}", f"{found.auprc:.3f}"])
    random = random_separation(is_positive)
    metrics |= {
        "random_auroc": random.auroc,
        "random_auroc_deviation": random.auroc_deviation,
        "random_auprc": random.auprc,
    }
    rows.append(["random", f"{random.auroc:.3f} ± {random.auroc_deviation:.3f}", f"{random.auprc:.3f}"])
    counts = f"{metrics['positives']:,} positives, {metrics['negatives']:,} negatives"
    say(table([f"score ({counts})", "AUROC", "AUPRC"], rows))
    return metrics


def finite(value: float) -> float | None:
    """A number for JSON, which knows no NaN."""
    return value if math.isfinite(value) else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number
