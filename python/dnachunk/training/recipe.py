"""Recipes: what a pre-training was done with, in a TOML file; those of the papers come with the package."""

import importlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnachunk.errors import ArgumentError, UsageError, did_you_mean
from dnachunk.files import replacing
from dnachunk.reporting import Report, Table

# Python has it since 3.11.
tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

PACKAGED = Path(__file__).parent.parent / "recipes"
"""Folder of the recipes that come with the package."""

RECIPE = "recipe.toml"
"""File, beside a model, of the recipe that it was pre-trained with."""

_KINDS: dict[type, tuple[str, ...]] = {
    str: ("model", "size", "tokenizer", "optim", "lr_scheduler_type"),
    int: ("window_bp", "step_bp", "max_steps", "seed"),
    float: (
        *("mask_probability", "learning_rate", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay"),
        *("max_grad_norm", "warmup_steps"),
    ),
    bool: ("bf16", "fp16"),
    list: ("holdout",),
    dict: ("lr_scheduler_kwargs", "config"),
}
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a table"}
_NAMES[list] = "a list of texts"
FIELDS: dict[str, type] = {name: kind for kind, names in _KINDS.items() for name in names}
"""What a recipe may say, arguments of :func:`~dnachunk.pretrain` by their names, and the type of each."""

# What is the run's, not the trainer's.
_OF_RUN = ("model", "size", "tokenizer", "window_bp", "step_bp", "mask_probability", "holdout", "config")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a pre-training is done with, whatever the genomes and the machine.

    Attributes:
        name: Name of one that comes with the package, or the path of another.
        fields: Arguments of :func:`~dnachunk.pretrain`; :data:`FIELDS` are those that there can be.
    """

    name: str
    fields: Mapping[str, Any]

    @classmethod
    def read(cls, name: str | os.PathLike[str]) -> "Recipe":
        """Reads a recipe.

        Args:
            name: Of one that comes with the package, or a TOML file.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If there is none of that name, or it is no TOML, has an unknown field (the message
                names the nearest known one), one of the wrong type, or no ``model``.
        """
        text = os.fspath(name)
        names = recipe_names()
        path = PACKAGED / f"{text}.toml" if text in names else Path(text)
        if text not in names and not path.exists() and path.name == text and path.suffix != ".toml":
            raise UsageError(
                f"`recipe` must be one of {', '.join(names)}, or a TOML file, got {text!r}"
                f"{did_you_mean(text, names)}"
            )
        fields = read_toml(path)
        for field, value in fields.items():
            if field not in FIELDS:
                raise ArgumentError(
                    f"{path}: fields of a recipe must be of {', '.join(FIELDS)}, got {field!r}"
                    f"{did_you_mean(field, FIELDS)}"
                )
            if not _is_of(value, FIELDS[field]):
                got = json.dumps(value, default=str)
                raise ArgumentError(f"{path}: {field} must be {_NAMES[FIELDS[field]]}, got {got}")
        if "model" not in fields:
            raise ArgumentError(f"{path}: a recipe must say its model, got none")
        return cls(text, fields)

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of the fields that are Hugging Face's ``TrainingArguments``."""
        return {name: value for name, value in self.fields.items() if name not in _OF_RUN}


@dataclass(frozen=True, slots=True)
class Recipes(Report):
    """Recipes beside each other.

    Attributes:
        recipes: The recipes.
    """

    recipes: list[Recipe]

    def report(self) -> list[Table | str]:
        """A row for each."""
        columns = ("model", "size", "window_bp", "step_bp", "max_steps", "learning_rate", "lr_scheduler_type")

        def shown(value: Any) -> str:
            return (
                f"{value:,}"
                if isinstance(value, int)
                else f"{value:g}"
                if isinstance(value, float)
                else value
            )

        rows = [
            [recipe.name, *(shown(recipe.fields.get(column, "—")) for column in columns)]
            for recipe in self.recipes
        ]
        return [Table(["recipe", *columns], rows), f"Each value, with where it is from, is in {PACKAGED}."]


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in PACKAGED.glob("*.toml"))


def list_recipes() -> Recipes:
    """The recipes that come with the package, which ``dnachunk pretrain --recipe list`` prints."""
    return Recipes([Recipe.read(name) for name in recipe_names()])


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no TOML.
    """
    try:
        return dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} is no TOML: {error}") from error


def write_recipe(path: Path, fields: Mapping[str, Any], remark: str) -> None:
    """Writes a recipe that :meth:`Recipe.read` reads.

    Args:
        path: Written whole or not at all.
        fields: As :func:`recipe_text` takes them.
        remark: Its first line.

    Raises:
        OSError: If it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(f"# {remark}\n{recipe_text(fields)}", encoding="utf-8")


def recipe_text(fields: Mapping[str, Any]) -> str:
    """A recipe in TOML.

    Args:
        fields: Plain values by the names of :data:`FIELDS`; None is left out.
    """
    tables = {name: value for name, value in fields.items() if isinstance(value, Mapping)}
    lines = [
        f"{name} = {_toml(value)}"
        for name, value in fields.items()
        if name not in tables and value is not None
    ]
    for name, table in tables.items():
        if table:
            lines += ["", f"[{name}]", *(f"{key} = {_toml(each)}" for key, each in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A plain value as TOML has it; texts are written alike in JSON."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _is_of(value: Any, kind: type) -> bool:
    if kind is list:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return type(value) in ((int, float) if kind is float else (kind,))


__all__ = [
    "FIELDS",
    "RECIPE",
    "Recipe",
    "Recipes",
    "list_recipes",
    "read_toml",
    "recipe_names",
    "recipe_text",
    "write_recipe",
]
