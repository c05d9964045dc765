"""Kinds of prediction problems."""

from enum import Enum


class Problem(str, Enum):
    """Kinds of labels.

    - ``single_label``: a class for each sequence, any text.
    - ``multi_label``: any number of labels for each sequence: one column with the labels that apply set apart
      by ``|`` (none where it is empty), or a column of 0 and 1 for each label.
    - ``regression``: a number for each sequence, or several in as many columns.
    - ``per_base``: a class for each base: as many characters as there are bases, or as many words with spaces
      between them; ``.`` and ``-100`` are a base without a label.

    A label that is missing (``NA``, ``NaN``, ``None``, ``null``, ``.``, or empty) is no class and no number,
    nor are an infinite number and a list as text (``"[0, 1]"``): such a row is refused, or left out where
    ``on_error`` is ``"skip"``. Classes of which all are numbers are read as numbers: ``1``, ``1.0`` and
    ``01`` are one class, ``1``. Beside classes that are text, ``1`` and ``1.0`` are refused.
    """

    single_label = "single-label"
    multi_label = "multi-label"
    regression = "regression"
    per_base = "per-base"
