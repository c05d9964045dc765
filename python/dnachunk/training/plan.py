"""Plans of comparisons: models to pre-train on one budget of bases, and the tasks to compare them on."""

import contextlib
import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnachunk.errors import ArgumentError
from dnachunk.files import replacing
from dnachunk.reporting import is_main_process, say, to_json
from dnachunk.training.checkpoints import last_checkpoint
from dnachunk.training.pretrain import PreTraining, prepare_pretraining
from dnachunk.training.recipe import read_toml

MODEL_NAME = re.compile(r"\w[\w .,:+()&-]*")
"""What a model can be called: its name is a folder's, and stands in a table."""

_SETTINGS = "plan.json"
_SETTLED = {
    "pretrain": ("output_dir", "max_steps", "step_bp", "num_train_epochs", "resume_from_checkpoint"),
    "evaluate": ("output_dir", "data", "model", "plan", "before_models"),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Models, their pre-training, and the suite that they are compared on.

    Attributes:
        path: The plan's file.
        bases: What each model is pre-trained on, rounded down to whole steps.
        pretrain: Arguments of :func:`~dnachunk.pretrain` for all models; genomes are paths
            inside the data's folder.
        evaluate: Arguments of :func:`~dnachunk.compare_models`; tasks are folders inside the data's folder.
        models: Arguments of :func:`~dnachunk.pretrain` for each model, which go before those for all.
        small: Arguments of :func:`~dnachunk.pretrain` that go before all others: what makes it small.
    """

    path: Path
    bases: int
    pretrain: dict[str, Any]
    evaluate: dict[str, Any]
    models: dict[str, dict[str, Any]]
    small: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, *, small: bool = False) -> "Plan":
        """Reads a plan.

        Args:
            path: A TOML file with ``bases``, tables ``pretrain`` and ``evaluate`` of arguments by their
                names, and a table ``models`` of such tables by the models' names; perhaps a table ``small``
                with such ``bases``, ``pretrain`` and ``evaluate``.
            small: Whether what ``small`` says goes before all else.

        Raises:
            OSError: If it cannot be opened.
            ValueError: If it is no TOML, or something in it is missing, unknown or of the wrong kind.
        """
        fields = read_toml(path)
        part = fields.pop("small", None)
        if part is not None and (
            not isinstance(part, dict) or set(part) != {"bases", "pretrain", "evaluate"}
        ):
            raise ValueError(f"{path}: small must be a table of bases, pretrain and evaluate, got {part!r}")
        if small:
            if part is None:
                raise ArgumentError(f"`small` is for a plan with a table of that name, which {path} has not")
            evaluate = fields.get("evaluate", {})
            fields |= {"bases": part["bases"], "evaluate": {**evaluate, **part["evaluate"]}}
        kinds = {"bases": int, "pretrain": dict, "evaluate": dict, "models": dict}
        unknown = ", ".join(fields.keys() - kinds.keys())
        if unknown:
            raise ValueError(f"{path}: a plan must have {', '.join(kinds)} and no more, got {unknown}")
        for name, kind in kinds.items():
            if type(fields.get(name)) is not kind or not fields[name]:
                got = json.dumps(fields[name], default=str) if name in fields else "none"
                wanted = "a whole number above 0" if kind is int else "a table that is not empty"
                raise ValueError(f"{path}: {name} must be {wanted}, got {got}")
        for name, options in fields["models"].items():
            if MODEL_NAME.fullmatch(name) is None:
                raise ValueError(
                    f"{path}: a model's name must begin with a letter or digit and hold letters, digits, "
                    f"spaces and . , : + - & ( ), got {name!r}"
                )
            if not isinstance(options, dict):
                raise ValueError(f"{path}: models.{name} must be a table, got {options!r}")
        plan = cls(path, **fields, small=part["pretrain"] if small and part is not None else {})
        tables = {"evaluate": plan.evaluate, **{name: plan.options(name) for name in plan.models}}
        for name, options in tables.items():
            settled = _SETTLED["evaluate" if name == "evaluate" else "pretrain"]
            for option in settled:
                if option in options:
                    raise ValueError(f"{path}: {option} is settled by the plan, leave it out of {name}")
        for name in plan.models:
            plan.max_steps(name)
        return plan

    def options(self, name: str) -> dict[str, Any]:
        """All arguments of a model's pre-training."""
        own, shared = self.models[name], self.pretrain
        config = {
            name: value
            for options in (shared, own, self.small)
            for name, value in options.get("config", {}).items()
        }
        return {**shared, **own, **self.small, **({"config": config} if config else {})}

    def max_steps(self, name: str) -> int:
        """The steps of a model's pre-training.

        Raises:
            ValueError: If the options do not say how many bases a step has, or the budget is under one step.
        """
        step_bp = int(os.environ.get("WORLD_SIZE", "1"))
        for option, default in (
            ("window_bp", None),
            ("per_device_train_batch_size", None),
            ("gradient_accumulation_steps", 1),
        ):
            value = self.options(name).get(option, default)
            if type(value) is not int or value < 1:
                raise ValueError(
                    f"{self.path}: {option} of {name} must be a whole number above 0, got {value!r}"
                )
            step_bp *= value
        if self.bases < step_bp:
            raise ValueError(f"{self.path}: bases must be a step of {step_bp:,} at least, got {self.bases:,}")
        return self.bases // step_bp

    def pretrain_arguments(self, name: str, data: Path, folder: Path) -> dict[str, Any]:
        """The arguments of a model's :func:`~dnachunk.pretrain`.

        Args:
            name: The model's.
            data: Folder of the plan's genomes.
            folder: Where the model is to be.
        """
        options = self.options(name)
        genomes = options.pop("fasta", [])
        paths = [str(data / genome) for genome in ([genomes] if isinstance(genomes, str) else genomes)]
        budget = {"max_steps": self.max_steps(name), "output_dir": str(folder)}
        # A recipe's step is another.
        if "recipe" in options or options.get("size") == "base":
            options.setdefault("gradient_accumulation_steps", 1)
        return {"fasta": paths, **options, **budget}

    def prepare(self, name: str, data: Path, folder: Path, **more: Any) -> PreTraining:
        """Checks a model's pre-training; arguments as :meth:`pretrain_arguments`'s, and more of them.

        Raises:
            OSError: If a genome cannot be read.
            ValueError: If an argument is unknown or out of range.
        """
        with self.told(name):
            return prepare_pretraining(**self.pretrain_arguments(name, data, folder), **more)

    def check(self, data: Path, folders: dict[str, Path]) -> None:
        """Looks at all models before the first is trained.

        Raises:
            OSError: If a genome cannot be read.
            ValueError: If an argument is refused, or a folder holds another model.
        """
        for name, folder in folders.items():
            _check_settings(self, name, folder)
            resume = {"resume_from_checkpoint": "last"} if last_checkpoint(folder) else {}
            self.prepare(name, data, folder, **resume)

    def pretrain_all(self, data: Path, folders: dict[str, Path]) -> None:
        """Pre-trains the models that are not; goes on where an interrupted call stopped.

        Raises:
            OSError: If a file cannot be read or written.
            ValueError: If windows do not fit the genomes.
        """
        for name, folder in folders.items():
            if (folder / "results.json").is_file():
                say(f"{name} is pre-trained: {folder}")
                continue
            if is_main_process():
                folder.mkdir(parents=True, exist_ok=True)
                with replacing(folder / _SETTINGS) as temporary:
                    temporary.write_text(to_json(_settings(self, name)), encoding="utf-8")
            resume = {"resume_from_checkpoint": "last"} if last_checkpoint(folder) else {}
            say(f"\n$ {_as_command({**self.pretrain_arguments(name, data, folder), **resume})}")
            pretraining = self.prepare(name, data, folder, **resume)
            with self.told(name):
                say(f"\n{pretraining.run()}")

    @contextlib.contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Says of what part of the plan an error is.

        Raises:
            ValueError: In place of what an unknown argument, or one out of range, raises.
        """
        try:
            yield
        except (TypeError, ValueError) as error:
            if str(error).startswith(f"{self.path}, "):
                raise
            raise ValueError(f"{self.path}, {what}: {error}") from error


def _settings(plan: Plan, name: str) -> dict[str, Any]:
    return {"bases": plan.bases, **plan.options(name)}


def _check_settings(plan: Plan, name: str, folder: Path) -> None:
    """Raises :class:`ValueError` if a folder holds a model that was pre-trained otherwise."""
    path = folder / _SETTINGS
    if not path.is_file():
        return
    before, now = json.loads(path.read_text(encoding="utf-8")), _settings(plan, name)
    differing = sorted(key for key in {**before, **now} if before.get(key) != now.get(key))
    if differing:
        raise ArgumentError(
            f"{folder} holds a model that was pre-trained with other {', '.join(differing)} than "
            f"{plan.path} says: choose another `output_dir`, or delete the folder"
        )


def _as_command(arguments: dict[str, Any]) -> str:
    """The command line that does the same."""
    words = []
    for name, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            values = [f"{key}={json.dumps(each)}" for key, each in value.items()]
        for each in values:
            words.append(f"--{name.replace('_', '-')}")
            if each is not True:
                words.append(str(each))
    return shlex.join(["dnachunk", "pretrain", *words])


__all__ = ["MODEL_NAME", "Plan"]
