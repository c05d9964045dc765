"""Trained tokenizers that ship with the package: small ones, to look at, to test with and to start from."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnachunk.errors import ArgumentError, did_you_mean
from dnachunk.reporting import Report, Table

PACKAGED = Path(__file__).parent / "packaged"
"""Folder of the models, each in a folder of its name, which ``tools/ship.py`` makes."""

MAX_BYTES = 4 << 20
"""What the weights of one have at most, in bfloat16."""

PURPOSE = (
    "The models that ship are for looking at tokens, for tests and as starting points. They are no "
    "foundation models: each has about a million parameters and has read some tens of megabases."
)
"""What all of them are for, and what not."""


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """A trained tokenizer that ships with the package.

    Attributes:
        name: What :func:`~dnachunk.load` and the commands know it by.
        folder: Where it lies.
        system: Its ``config.model_type``.
        num_parameters: Of the whole model.
        num_bytes: Of the file of its weights.
        genomes: What it was trained on.
        held_out_nats: At ``[MASK]`` of held-out sequence.
        context_nats: Of the best fixed context there.
        purpose: What it is for.
    """

    name: str
    folder: Path
    system: str
    num_parameters: int
    num_bytes: int
    genomes: list[str]
    held_out_nats: float
    context_nats: float
    purpose: str

    @classmethod
    def read(cls, folder: Path) -> "ShippedModel":
        """Reads what lies beside a model's weights.

        Raises:
            OSError: If a file is missing.
        """
        weights = folder / "model.safetensors"
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        return cls(
            folder.name,
            folder,
            json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"],
            sum(math.prod(tensor["shape"]) for tensor in _tensors(weights).values()),
            weights.stat().st_size,
            results["genomes"],
            results["metrics"]["eval_masked_nats"],
            results["metrics"]["baseline_eval_masked_nats"],
            results["purpose"],
        )


@dataclass(frozen=True, slots=True)
class ShippedModels(Report):
    """The trained tokenizers that ship, beside each other.

    Attributes:
        models: The models, by name.
    """

    models: list[ShippedModel]

    def report(self) -> list[Table | str]:
        """A row for each, and what each is for and was trained on."""
        rows = [
            [
                each.name,
                each.system,
                f"{each.num_parameters:,}",
                f"{each.num_bytes / 1e6:.1f}",
                f"{each.held_out_nats:.4f}",
                f"{each.context_nats:.4f}",
            ]
            for each in self.models
        ]
        header = ["model", "system", "parameters", "MB", "held-out nats", "best fixed context"]
        told = [f"{each.name}: {each.purpose} Trained on {', '.join(each.genomes)}." for each in self.models]
        return [
            Table(header, rows),
            "\n".join(told),
            f"{PURPOSE} More in the README.md of each, in {PACKAGED}.",
        ]


def _tensors(weights: Path) -> dict[str, Any]:
    """The header of a file of safetensors, without the file's own remarks."""
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def shipped_names() -> list[str]:
    """Names of the trained tokenizers that ship with the package."""
    return sorted(path.parent.name for path in PACKAGED.glob("*/config.json"))


def list_models() -> ShippedModels:
    """The trained tokenizers that ship with the package, which ``dnachunk models`` prints."""
    return ShippedModels([ShippedModel.read(PACKAGED / name) for name in shipped_names()])


def pretrained(name: str) -> Path:
    """The folder of a trained tokenizer that ships with the package, as ``from_pretrained`` takes it.

    :func:`~dnachunk.load`, and everything else that takes the folder of a model, takes its name too.

    Args:
        name: Such as ``"mergedna-micro"``; :func:`list_models` has all.

    Raises:
        ArgumentError: If there is none of that name; the message has all names, and the nearest.
    """
    if name not in shipped_names():
        raise ArgumentError(f"`name` must be one of {told_names(name)}")
    return PACKAGED / name


def model_folder(path_or_name: str | os.PathLike[str]) -> Path:
    """The folder of a model: one that lies at a path goes before a shipped model of that name.

    Args:
        path_or_name: A path, whether or not something is there, or the name of a model that ships.
    """
    path = Path(path_or_name)
    is_name = not path.is_dir() and os.fspath(path_or_name) in shipped_names()
    return PACKAGED / path if is_name else path


def told_names(path_or_name: str | os.PathLike[str]) -> str:
    """For a message: the names that there are, what came instead, and the nearest to it."""
    names = shipped_names()
    return f"{', '.join(names)}, got {path_or_name}{did_you_mean(os.fspath(path_or_name), names)}"


__all__ = [
    "ShippedModel",
    "ShippedModels",
    "list_models",
    "model_folder",
    "pretrained",
    "shipped_names",
    "told_names",
]
