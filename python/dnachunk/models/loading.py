"""Saved models: loaded whole or not at all, onto the best device, and told apart by what they hold."""

import contextlib
import fnmatch
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging

from dnachunk.errors import ArgumentError, UsageError
from dnachunk.models.configuration_common import DNAConfig
from dnachunk.models.model_card import read_card
from dnachunk.tokenization import DNATokenizer

_MODEL_FILES = (
    *("config.json", "*.safetensors", "*.safetensors.index.json", "pytorch_model*", "tokenizer*"),
    *("special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model"),
)
# Weights may be packed, and a head start at random; more than that is none of a model's.
_PARAMETERS_PER_BYTE, _NEW_PARAMETERS = 8, 10_000_000


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_pretrained(
    auto_class: Any,
    directory: str | os.PathLike[str],
    *,
    may_be_new: Callable[[str], bool] | None = None,
    **fields: Any,
) -> Any:
    """Loads a model from a local directory, strictly.

    ``from_pretrained`` itself only warns where a checkpoint lacks a tensor, and leaves that one random.

    Args:
        auto_class: A model class or an ``AutoModel…`` class; where its model has fewer parts than the
            saved one, the tensors of the others are left out.
        directory: What ``save_pretrained`` or a training run wrote.
        may_be_new: Names of tensors that may be missing or have another shape, and then start at random;
            default none.
        **fields: Fields of the configuration, or arguments of ``from_pretrained``, to set.

    Returns:
        The model, in evaluation mode.

    Raises:
        OSError: If there is no such directory, or it holds no model.
        ValueError: If the configuration or the weights cannot be read, or a tensor is missing, has another
            shape or holds what is no finite number; the message names it.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"load_pretrained: directory must be one that holds a model, got {directory}")
    if not (directory / "config.json").is_file():
        raise FileNotFoundError(f"load_pretrained: {directory} holds no model: it has no config.json")
    with _quiet(), readable(directory):
        _require_weights(auto_class, directory, fields)
        model, info = auto_class.from_pretrained(
            directory,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
            **fields,
        )
    is_new = may_be_new or (lambda name: False)
    problems = [f"{name} is missing" for name in sorted(info["missing_keys"]) if not is_new(name)]
    problems += [
        f"{name} is {list(found)} and must be {list(wanted)}"
        for name, found, wanted in sorted(info["mismatched_keys"])
        if not is_new(name)
    ]
    if problems:
        raise ValueError(f"load_pretrained: the weights in {directory} do not fit: {abridged(problems)}")
    if broken := non_finite(model):
        raise ValueError(
            f"load_pretrained: the weights in {directory} are of a training that diverged: "
            f"{abridged([f'{name} is not finite' for name in broken])}"
        )
    if hasattr(model, "card"):
        model.card = read_card(directory)
    return model


def _require_weights(auto_class: Any, directory: Path, fields: Mapping[str, Any]) -> None:
    """Raises if a configuration, such as a damaged one, is of a model far larger than the weights beside it.

    ``from_pretrained`` makes room for all tensors before it tells which are missing.
    """
    weights = [path for path in model_files(directory) if path.suffix in (".safetensors", ".bin")]
    size_bytes = sum(path.stat().st_size for path in weights)
    config, _ = AutoConfig.from_pretrained(
        directory, return_unused_kwargs=True, local_files_only=True, **fields
    )
    make = getattr(auto_class, "from_config", auto_class)
    with torch.device("meta"):
        num_parameters = sum(parameter.numel() for parameter in make(config).parameters())
    if weights and num_parameters > _PARAMETERS_PER_BYTE * size_bytes + _NEW_PARAMETERS:
        raise ValueError(
            f"load_pretrained: {directory / 'config.json'} is of a model of {num_parameters:,} parameters, "
            f"and the weights beside it are {size_bytes:,} bytes"
        )


def load_tokenizer(directory: str | os.PathLike[str]) -> Any:
    """The tokenizer that lies beside a saved model, which for a model of ours must be of ours.

    Raises:
        OSError: If there is none.
        ValueError: If it cannot be read, or writes other ids than the model reads.
    """
    with readable(directory):
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
    if isinstance(config, DNAConfig):
        cls_sep = config.model_type == "mxdna"
        if not isinstance(tokenizer, DNATokenizer) or tokenizer.cls_sep != cls_sep:
            got = f"{type(tokenizer).__name__}"
            got += f"(cls_sep={tokenizer.cls_sep})" if isinstance(tokenizer, DNATokenizer) else ""
            raise ValueError(
                f"the tokenizer in {directory} must be DNATokenizer(cls_sep={cls_sep}), which a "
                f"{config.model_type} model reads, got {got}"
            )
    return tokenizer


def ask(model: Any, tokens_per_base: float | None) -> None:
    """Asks a model for so many tokens per base: changes its configuration; None changes nothing.

    Raises:
        ArgumentError: If it is out of range or of reach, or the model cannot be asked.
    """
    if tokens_per_base is None:
        return
    if not isinstance(model.config, DNAConfig):
        raise ArgumentError(
            f"`tokens_per_base` is for mergedna and dnachunker, got {tokens_per_base} for a "
            f"{type(model).__name__}"
        )
    model.config.set_tokens_per_base(tokens_per_base)


def those_to_ask(models: Iterable[Any], option: str, asked: Any) -> list[Any]:
    """Those of several models, and fixed tokenizers, that can be asked for a number of tokens per base.

    Args:
        models: All of them.
        option: The argument that asks, for a message.
        asked: What it asks for; None is nothing.

    Raises:
        UsageError: If something is asked, and none of them can be.
    """
    found = [each for each in models if getattr(getattr(each, "config", None), "can_be_asked", False)]
    if asked is not None and not found:
        raise UsageError(f"`{option}` is for mergedna and dnachunker, got {asked} for neither")
    return found


def non_finite(model: torch.nn.Module) -> list[str]:
    """Names of the parameters that hold NaN or an infinity."""
    # A sum over all is one pass without a tensor of its size.
    return [
        name
        for name, parameter in model.named_parameters()
        if not parameter.is_meta and not parameter.detach().sum(dtype=torch.float64).isfinite()
    ]


def model_files(model: Any) -> list[Path]:
    """Files of a saved model: its weights, configuration and tokenizer, by name.

    Args:
        model: Its folder, or the model that was loaded from it. Of what lies in no folder there are none.
    """
    directory = model if isinstance(model, str | os.PathLike) else getattr(model, "name_or_path", None)
    if not directory or not Path(directory).is_dir():
        return []
    return [
        path
        for path in sorted(Path(directory).iterdir())
        if path.is_file() and any(fnmatch.fnmatch(path.name, pattern) for pattern in _MODEL_FILES)
    ]


def model_digest(directory: str | os.PathLike[str]) -> str:
    """SHA-256 of a saved model: of its weights, configuration and tokenizer, and the files' names.

    Raises:
        OSError: If a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in model_files(directory):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def holds_model(directory: Path) -> bool:
    """Whether files lie in a directory that saving a model there would replace."""
    weights = ("*.safetensors", "pytorch_model*")
    names = ("config.json", *weights, "tokenizer.json", "tokenizer_config.json", "training_args.bin")
    return any(any(directory.glob(name)) for name in names)


def abridged(problems: list[str], shown: int = 5) -> str:
    """The first few of a list, and how many more there are."""
    rest = len(problems) - shown
    return "; ".join(problems[:shown]) + (f"; and {rest} more" if rest > 0 else "")


@contextlib.contextmanager
def readable(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Makes a ``ValueError`` of what transformers and torch say of fields and tensors they do not expect.

    Args:
        directory: What is loaded, for the message.
    """
    try:
        yield
    except safetensors.SafetensorError as error:
        raise ValueError(f"the weights in {directory} cannot be read: {error}") from error
    except (
        *(ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError),
        StrictDataclassError,
    ) as error:
        told = f"{type(error).__name__}: {error}"
        raise ValueError(f"what lies in {directory} cannot be loaded: {told}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides Hugging Face's report of what is missing, which is raised here instead."""
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


__all__ = [
    "abridged",
    "ask",
    "best_device",
    "holds_model",
    "load_pretrained",
    "load_tokenizer",
    "model_digest",
    "model_files",
    "non_finite",
    "readable",
]
