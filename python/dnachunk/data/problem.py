"""Kinds of prediction problems."""

from enum import Enum


class Problem(str, Enum):
    """Kinds of labels.

    - ``single_label``: a class for each sequence, any text.
    - ``multi_label``: any number of labels for each sequence: one column with the labels that apply set apart
      by ``|`` (none where it is empty), or a column of 0 and 1 for each label.
    - ``regression``: a number for each sequence, or several in as many columns.
    - ``per_base``: a class for each base: as many characters as there are bases, or as many words with spaces
      between them; ``.`` is a base without a label.
    """

    single_label = "single-label"
    multi_label = "multi-label"
    regression = "regression"
    per_base = "per-base"
