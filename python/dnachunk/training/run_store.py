"""Runs of a fine-tuning: points of a search, what each reached, and what finished ones left in a folder."""

import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dnachunk.errors import ArgumentError
from dnachunk.files import written_whole
from dnachunk.models.loading import holds_model
from dnachunk.models.model_card import keep_own_card
from dnachunk.reporting import to_json
from dnachunk.training.checkpoints import saving

RUNS = "runs"
"""Folder, in the output folder, of what finished runs reached and of the model that is best so far."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point of a search.

    Attributes:
        learning_rate: The highest of the schedule; None where nothing is trained.
        num_train_epochs: Epochs, unless ``max_steps`` says how many steps; None where nothing is trained.
        lora_rank: Rank of LoRA; with another method None.
        weight_decay: Weight decay; None where it is the same for all.
        lora_alpha: Weight of LoRA; None where it is the same for all, or follows from the rank.
        ridge_alpha: Regularization of ridge regression; with another method None.

    Raises:
        ValueError: If one is not above 0 (weight decay: below 0), or not finite.
    """

    learning_rate: float | None = None
    num_train_epochs: float | None = None
    lora_rank: int | None = None
    weight_decay: float | None = None
    lora_alpha: float | None = None
    ridge_alpha: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            may_be_zero = name == "weight_decay"
            if value is not None and not (0 < value < math.inf or (may_be_zero and value == 0)):
                least = "of at least" if may_be_zero else "above"
                raise ValueError(f"Candidate: {name} must be finite and {least} 0, got {value}")

    @property
    def fields(self) -> dict[str, Any]:
        """Its values by name, those that are the same for all left out."""
        kept = () if self.ridge_alpha is not None else ("lora_rank",)
        return {name: value for name, value in asdict(self).items() if value is not None or name in kept}

    def __str__(self) -> str:
        forms = {
            "learning rate {:g}": self.learning_rate,
            "weight decay {:g}": self.weight_decay,
            "{:g} epochs": self.num_train_epochs,
            "rank {}": self.lora_rank,
            "alpha {:g}": self.lora_alpha,
            "regularization {:g}": self.ridge_alpha,
        }
        return ", ".join(form.format(value) for form, value in forms.items() if value is not None)

    def run_name(self, seed: int, fold: int | None = None) -> str:
        """Name of its run with a seed, and where a fold is held out."""
        forms = {
            "rate{:g}": self.learning_rate,
            "decay{:g}": self.weight_decay,
            "epochs{:g}": self.num_train_epochs,
            "rank{}": self.lora_rank,
            "alpha{:g}": self.lora_alpha,
            "ridge{:g}": self.ridge_alpha,
            "seed{}": seed,
            "fold{}": fold,
        }
        return "_".join(form.format(value) for form, value in forms.items() if value is not None)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run reached.

    Attributes:
        candidate: Its point of the search.
        seed: Its seed.
        eval: Scores on the validation set of its best evaluation, by name.
        test: Scores on the test set, if it was run on it.
        steps: Optimizer steps it took.
        trained_parameters: How many parameters learned.
        fold: Which fold of a cross-validation was held out, from 1 on; None without.
    """

    candidate: Candidate
    seed: int
    eval: dict[str, float]
    test: dict[str, float] | None
    steps: int
    trained_parameters: int
    fold: int | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Its values by name, the candidate's too."""
        fields = {**asdict(self), "candidate": self.candidate.fields}
        return {name: value for name, value in fields.items() if name != "fold" or value is not None}


class RunStore:
    """What finished runs left in an output folder.

    Args:
        output_dir: The folder.
        settings: What the runs depend on; plain values.
    """

    def __init__(self, output_dir: Path, settings: dict[str, Any]) -> None:
        self.output_dir = output_dir
        self.folder = output_dir / RUNS
        self.best = self.folder / "best"
        self.settings = json.loads(json.dumps(settings))

    def open(self, resume: bool) -> dict[str, Run]:
        """Finished runs by name, if they are of the same settings.

        Raises:
            ValueError: If there are runs that are not to be resumed, or are of other settings, or there is
                a model of something else.
        """
        files = list(self.folder.glob("*_seed*.json"))
        if not files and not list(self.folder.glob("*_seed*/checkpoint-*")):
            if holds_model(self.output_dir):
                raise ValueError(f"{self.output_dir} holds a model: choose another folder")
            return {}
        if not resume:
            raise ArgumentError(
                f"{self.output_dir} holds runs of a fine-tuning: resume it (`resume_from_checkpoint=last`) "
                "or choose another folder"
            )
        before = json.loads((self.folder / "settings.json").read_text(encoding="utf-8"))
        differing = [name for name in self.settings if self.settings[name] != before.get(name)]
        if differing:
            raise ValueError(
                f"{self.output_dir} holds runs with other {', '.join(differing)}: choose another folder"
            )
        finished = {}
        for file in files:
            fields = json.loads(file.read_text(encoding="utf-8"))
            # A score that is not defined was written as null.
            for split in ("eval", "test"):
                scores = fields[split]
                if scores is not None:
                    fields[split] = {
                        name: math.nan if value is None else value for name, value in scores.items()
                    }
            finished[file.stem] = Run(**{**fields, "candidate": Candidate(**fields["candidate"])})
        return finished

    def begin(self) -> None:
        """Notes what runs are of."""
        self._write("settings.json", self.settings)

    def finish(self, name: str, run: Run) -> None:
        """Notes what a run reached, and drops its checkpoints."""
        self._write(f"{name}.json", run.fields)
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def publish(self) -> None:
        """Moves the best model to where it is looked for."""
        if not self.best.is_dir():
            return
        with saving("the model", self.output_dir), written_whole(self.output_dir) as staging:
            for file in self.best.iterdir():
                shutil.copy(file, staging)
            keep_own_card(staging, self.output_dir)
        shutil.rmtree(self.best)

    def _write(self, name: str, fields: dict[str, Any]) -> None:
        with saving(name, self.folder), written_whole(self.folder) as staging:
            (staging / name).write_text(to_json(fields), encoding="utf-8")


__all__ = [
    "Candidate",
    "Run",
    "RunStore",
]
