"""A pre-trained model with a head, and which of its parameters learn: all, the head alone, or LoRA's."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from dnachunk.data.task import Problem, Task
from dnachunk.errors import ArgumentError
from dnachunk.models.configuration_common import DNAConfig
from dnachunk.models.loading import load_config, load_pretrained

Method = Literal["full", "probe", "lora", "ridge"]

HEAD_NAMES = frozenset(
    {"classifier", "classification_head", "dense", "head", "norm", "pre_classifier", "score"}
)
"""What the parts beside the backbone are called that are new in fine-tuning; its ``pooler`` is new too."""


@dataclass(frozen=True, slots=True)
class LoRA:
    """Low-rank adaptation (Hu et al. 2021).

    Attributes:
        rank: Of the matrices that learn.
        alpha: Their weight is ``alpha / rank``; default twice the rank.
        dropout: Dropout before them.
        target_modules: Names, or last parts of names, of the ``nn.Linear`` modules to adapt; default all that
            the model calls outside of its head.
    """

    rank: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"LoRA: rank must be at least 1, got {self.rank}")
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"LoRA: alpha must be above 0, got {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"LoRA: dropout must be in [0, 1), got {self.dropout}")


def load_with_head(directory: str | Path, task: Task, *, trust_remote_code: bool = False) -> Any:
    """Loads a pre-trained model for a task; what it lacks of the head starts at random.

    Args:
        directory: What ``save_pretrained`` or a training run wrote.
        task: Says the kind of head and its outputs.
        trust_remote_code: Whether a model is loaded by the code that lies in its directory, if it has such.

    Returns:
        The model in float32.

    Raises:
        OSError: If there is no model.
        ValueError: If there is no such head for it, its weights do not fit, or it needs code that is not
            trusted.
    """
    is_per_base = task.problem is Problem.per_base
    auto_class = AutoModelForTokenClassification if is_per_base else AutoModelForSequenceClassification
    config = load_config(directory, trust_remote_code=trust_remote_code)
    fields = {**task.config_fields, **pair_fields(config, task)}
    try:
        return load_pretrained(
            auto_class,
            directory,
            may_be_new=is_of_head,
            trust_remote_code=trust_remote_code,
            dtype=torch.float32,
            **fields,
        )
    except ValueError as error:
        if not str(error).startswith("Unrecognized configuration class"):
            raise
        raise ValueError(f"{directory} holds a model that {auto_class.__name__} does not know") from error


def pair_fields(config: Any, task: Task) -> dict[str, Any]:
    """What a model's configuration says of pairs of alleles and their tissues.

    Raises:
        ValueError: If the task has pairs, and the model is none of ours, which alone have a head for them.
    """
    if isinstance(config, DNAConfig):
        return {"allele_pairs": task.is_of_pairs, "tissues": list(task.tissues)}
    if task.is_of_pairs:
        raise ArgumentError(
            f"pairs of alleles need a model of dnachunker, mergedna or mxdna, got {config.model_type}, whose "
            "head reads single sequences"
        )
    return {}


def is_of_head(name: str) -> bool:
    """Whether a parameter or module of this name belongs to a head."""
    first, _, rest = name.partition(".")
    return first in HEAD_NAMES or rest.partition(".")[0] == "pooler"


def freeze_backbone(model: nn.Module) -> list[nn.Module]:
    """Leaves only the head to learn.

    Returns:
        The modules that are to stay in evaluation mode.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_of_head(name))
    heads = [name for name, _ in model.named_modules() if is_of_head(name)]
    # A part of the model without parameters, such as the dropout before the head, is the head's.
    parts = [name for name, part in model.named_children() if any(True for _ in part.parameters())]
    return [
        module
        for name, module in model.named_modules()
        if name.partition(".")[0] in parts
        and not is_of_head(name)
        and not any(head.startswith(f"{name}.") for head in heads)
    ]


def called_linears(model: nn.Module, batch: dict[str, Any]) -> list[str]:
    """Names of the ``nn.Linear`` modules outside of the head that a batch goes through with a gradient.

    A kernel that takes a module's weight without calling it would pass an adapter by.
    """
    called: dict[str, None] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not is_of_head(name):

            def note(_module: nn.Module, _inputs: Any, output: torch.Tensor, name: str = name) -> None:
                if output.requires_grad:
                    called[name] = None

            hooks.append(module.register_forward_hook(note))
    was_training = model.training
    try:
        with torch.enable_grad():
            model.eval()(**batch)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return list(called)


def add_lora(model: Any, lora: LoRA, batch: dict[str, Any]) -> Any:
    """Freezes a model but for its head, and adds adapters that learn.

    Args:
        model: A model with a head.
        lora: How.
        batch: Model inputs; one pass shows which modules are called.

    Returns:
        The model inside of ``peft``'s; ``merge_and_unload()`` gives a model of the first kind back.

    Raises:
        ValueError: If a target is no ``nn.Linear`` of the model.
    """
    from peft import LoraConfig, get_peft_model

    targets = called_linears(model, batch)
    if lora.target_modules is not None:
        for target in lora.target_modules:
            if not any(name == target or name.endswith(f".{target}") for name in targets):
                raise ValueError(
                    f"LoRA: target_modules must name nn.Linear modules that the model calls, got {target!r}; "
                    f"there are {', '.join(sorted({name.rpartition('.')[2] for name in targets}))}"
                )
        targets = list(lora.target_modules)
    heads = [name for name, _ in model.named_modules() if is_of_head(name)]
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=2 * lora.rank if lora.alpha is None else lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        modules_to_save=[name for name in heads if not is_of_head(name.rpartition(".")[0])],
    )
    with warnings.catch_warnings():
        # peft reads a property that transformers means to rename.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(model, config)


__all__ = [
    "LoRA",
    "Method",
    "add_lora",
    "called_linears",
    "freeze_backbone",
    "is_of_head",
    "load_with_head",
    "pair_fields",
]
