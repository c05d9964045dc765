"""Which variants are positives and which negatives, and how well scores tell them apart."""

import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dnachunk.errors import ArgumentError
from dnachunk.evaluation.against_random import Flags, Floats, random_separation, separation
from dnachunk.reporting import Table

_CONDITION = re.compile(r"([^<>=!]+)(?:(<=|>=|!=|=|<|>)(.+))?")
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MISSING = ("", ".", "na", "nan")


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
        is_read = condition is not None and condition.value[:1] not in ("<", ">", "=")
        if condition and condition.comparison in _COMPARISONS:
            is_read = is_read and _number(condition.value) is not None
        if not condition or not is_read:
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
                raise ArgumentError("`negative` needs `positive` beside it")
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
        raise ArgumentError(
            f"`positive` and `negative` must both find variants, got {labels[True]} positives and "
            f"{labels[False]} negatives"
        )


def separation_metrics(scores: Mapping[str, Floats], is_positive: Flags) -> dict[str, float]:
    """How well each score tells the classes apart, beside random scores, by metric name.

    Args:
        scores: By name, each ``[n]``.
        is_positive: ``[n]``.

    Returns:
        ``positives``, ``negatives`` and, of each score, ``…_auroc`` and ``…_auprc``; nothing if all are of
        one class.
    """
    if is_positive.all() or not is_positive.any():
        return {}
    metrics: dict[str, float] = {
        "positives": int(is_positive.sum()),
        "negatives": int((~is_positive).sum()),
    }
    for name, values in scores.items():
        found = separation(values, is_positive)
        metrics |= {f"{name}_auroc": found.auroc, f"{name}_auprc": found.auprc}
    random = random_separation(is_positive)
    return {
        **metrics,
        "random_auroc": random.auroc,
        "random_auroc_deviation": random.auroc_deviation,
        "random_auprc": random.auprc,
    }


def separation_report(
    metrics: Mapping[str, Any], names: tuple[str, ...] = ("llr", "distance")
) -> Table | str:
    """The table of :func:`separation_metrics`, or that there is nothing to tell apart."""
    if "positives" not in metrics:
        return "no figures: of one class nothing was scored"
    rows = [[name, f"{metrics[f'{name}_auroc']:.3f}", f"{metrics[f'{name}_auprc']:.3f}"] for name in names]
    spread = f"{metrics['random_auroc']:.3f} ± {metrics['random_auroc_deviation']:.3f}"
    rows.append(["random", spread, f"{metrics['random_auprc']:.3f}"])
    counts = f"{metrics['positives']:,} positives, {metrics['negatives']:,} negatives"
    return Table([f"score ({counts})", "AUROC", "AUPRC"], rows)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number


__all__ = ["Classes", "Condition", "check_classes", "separation_metrics", "separation_report"]
