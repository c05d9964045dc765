"""Plans of comparisons: models to pre-train on one budget of bases, and the tasks to compare them on."""

import contextlib
import importlib
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnachunk.cli.report import is_main_process, replacing, say

# Python has it since 3.11.
tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

MODEL_NAME = re.compile(r"\w[\w .,:+()&-]*")
"""What a model can be called: its name is a folder's, and stands in a table."""

_SETTINGS = "plan.json"
_SETTLED = {
    "pretrain": ("output_dir", "max_steps", "num_train_epochs", "resume_from_checkpoint"),
    "evaluate": ("output_dir", "data", "model", "plan"),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Models, their pre-training, and the suite that they are compared on.

    Attributes:
        path: The plan's file.
        bases: What each model is pre-trained on, rounded down to whole steps.
        pretrain: Options of ``dnachunk pretrain`` for all models; genomes are paths inside the data's folder.
        evaluate: Options of ``dnachunk evaluate``; tasks are folders inside the data's folder.
        models: Options of ``dnachunk pretrain`` for each model, which go before those for all.
    """

    path: Path
    bases: int
    pretrain: dict[str, Any]
    evaluate: dict[str, Any]
    models: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Reads a plan.

        Args:
            path: A TOML file with ``bases``, tables ``pretrain`` and ``evaluate`` of options by their names,
                and a table ``models`` of such tables by the models' names. ``true`` is an option without a
                value, a list an option that is repeated, and a table an option that is repeated as
                ``KEY=VALUE``.

        Raises:
            OSError: If it cannot be opened.
            ValueError: If it is no TOML, or something in it is missing, unknown or of the wrong kind.
        """
        try:
            fields = tomllib.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is no TOML: {error}") from error
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
        plan = cls(path, **fields)
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
        """All options of a model's pre-training."""
        own, shared = self.models[name], self.pretrain
        config = {**shared.get("config", {}), **own.get("config", {})}
        return {**shared, **own, **({"config": config} if config else {})}

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

    def pretrain_words(self, name: str, data: Path, folder: Path) -> list[str]:
        """The command line of a model's pre-training."""
        options = self.options(name)
        genomes = options.get("fasta", [])
        paths = [str(data / genome) for genome in ([genomes] if isinstance(genomes, str) else genomes)]
        return [
            "pretrain",
            *_words({**options, "fasta": paths}),
            *("--max-steps", str(self.max_steps(name)), "--output-dir", str(folder)),
        ]


def run_plan(path: Path, data: Path, output_dir: Path) -> None:
    """Pre-trains the models of a plan and compares them; goes on where an interrupted call stopped.

    Args:
        path: The plan's file.
        data: Folder of the plan's genomes and tasks.
        output_dir: Folder of the models and the comparison.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If the plan is wrong, an option is refused, or ``output_dir`` holds other models.
    """
    plan = Plan.read(path)
    folders = {name: output_dir / "models" / name for name in plan.models}
    # All models are looked at before the first is trained.
    for name, folder in folders.items():
        _check_settings(plan, name, folder)
        with _told(f"{path}, {name}"):
            _check_words(plan.pretrain_words(name, data, folder), folder)

    def pretrain_all() -> None:
        for name, folder in folders.items():
            _pretrain(plan, name, data, folder)

    suite = plan.evaluate.get("suite")
    source = {"suite": str(data)} if suite is None else {"suite": suite, "data": str(data)}
    models = {"model": [f"{name}={folder}" for name, folder in folders.items()]}
    words = _words({**plan.evaluate, **source, **models, "output_dir": str(output_dir)})
    _run(["evaluate", *words], f"{path}, evaluate", pretrain_all)


def _pretrain(plan: Plan, name: str, data: Path, folder: Path) -> None:
    from transformers.trainer_utils import get_last_checkpoint

    if (folder / "results.json").is_file():
        say(f"{name} is pre-trained: {folder}")
        return
    words = plan.pretrain_words(name, data, folder)
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / _SETTINGS) as temporary:
            temporary.write_text(json.dumps(_settings(plan, name), indent=2) + "\n", encoding="utf-8")
    if folder.is_dir() and get_last_checkpoint(str(folder)) is not None:
        words += ["--resume-from-checkpoint", "last"]
    say(f"\n$ dnachunk {shlex.join(words)}")
    _run(words, f"{plan.path}, {name}")


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
        raise ValueError(
            f"{folder} holds a model that was pre-trained with other {', '.join(differing)} than "
            f"{plan.path} says: choose another --output-dir, or delete the folder"
        )


def _check_words(words: list[str], folder: Path) -> None:
    """Reads a command line of ``pretrain`` and checks what can be checked without training."""
    import typer

    from dnachunk.cli.app import app
    from dnachunk.cli.pretrain import Kind, Size, check_tokenizer, make_config, parse_training_arguments
    from dnachunk.data import Genome

    command: Any = typer.main.get_command(app)
    with command.commands[words[0]].make_context(words[0], words[1:]) as context:
        options = context.params
        kind = Kind(options["model"])
        check_tokenizer(kind, options["tokenizer"])
        parse_training_arguments(context.args, folder)
        make_config(kind, Size(options["size"]), list(options["config"] or []), options["window_bp"])
        for path in options["fasta"]:
            Genome(path)


def _run(words: list[str], what: str, before_models: Callable[[], None] | None = None) -> None:
    """Runs a command inside of this one."""
    import typer

    from dnachunk.cli.app import app

    with _told(what):
        status = app(words, prog_name="dnachunk", standalone_mode=False, obj=before_models)
    if status:
        # It was interrupted.
        raise typer.Exit(status)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Says of what command line a message is."""
    try:
        yield
    except Exception as error:
        # The class is typer's own in some versions, and in others click's.
        if not hasattr(error, "format_message"):
            raise
        raise ValueError(f"{what}: {error.format_message()}") from error


def _words(options: dict[str, Any]) -> list[str]:
    """Options as words of a command line."""
    words = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            values = [f"{key}={json.dumps(each)}" for key, each in value.items()]
        for each in values:
            words.append(f"--{name.replace('_', '-')}")
            if each is not True:
                words.append(str(each))
    return words
