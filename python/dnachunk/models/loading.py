"""Saved models: loaded whole or not at all, onto the best device, and told apart by what they hold."""

import contextlib
import fnmatch
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoConfig, AutoTokenizer
from transformers.utils import logging

from dnachunk.errors import ArgumentError, UsageError
from dnachunk.models.configuration_common import DNAConfig
from dnachunk.models.model_card import read_card
from dnachunk.models.shipped import model_folder, told_names
from dnachunk.reporting import say
from dnachunk.tokenization import DNATokenizer

_MODEL_FILES = (
    *("config.json", "*.safetensors", "*.safetensors.index.json", "pytorch_model*", "tokenizer*"),
    *("special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model", "*.py"),
)
# Weights may be packed, and a head start at random; more than that is none of a model's.
_PARAMETERS_PER_BYTE, _NEW_PARAMETERS = 8, 10_000_000


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bf16_products(model: Any, bf16: bool) -> contextlib.AbstractContextManager[Any]:
    """Where a model's matrix products run in bfloat16, as a training's with ``bf16``, if asked for.

    The weights stay as they are, and so does what is computed in float32 under any autocast. On a machine
    without such products it is slower.

    Args:
        model: What runs in there, on its device; a tokenizer without a network has no products.
        bf16: Whether it is asked for; otherwise all is as it would be outside.
    """
    if not bf16 or not isinstance(model, torch.nn.Module):
        return contextlib.nullcontext()
    device: torch.device = next(model.parameters()).device
    return torch.autocast(device.type, dtype=torch.bfloat16)


def load_pretrained(
    auto_class: Any,
    directory: str | os.PathLike[str],
    *,
    may_be_new: Callable[[str], bool] | None = None,
    trust_remote_code: bool = False,
    **fields: Any,
) -> Any:
    """Loads a model from a local directory, strictly.

    ``from_pretrained`` itself only warns where a checkpoint lacks a tensor, and leaves that one random.

    Args:
        auto_class: A model class or an ``AutoModel…`` class; where its model has fewer parts than the
            saved one, the tensors of the others are left out.
        directory: What ``save_pretrained`` or a training run wrote, or the name of a model that ships.
        may_be_new: Names of tensors that may be missing or have another shape, and then start at random;
            default none.
        trust_remote_code: Whether a model is loaded by the code that lies in its directory, if it has such.
        **fields: Fields of the configuration, or arguments of ``from_pretrained``, to set.

    Returns:
        The model, in evaluation mode.

    Raises:
        OSError: If there is no such directory, or it holds no model.
        ValueError: If the configuration or the weights cannot be read, or a tensor is missing, has another
            shape or holds what is no finite number; the message names it. If the model needs code that is
            not trusted.
    """
    directory = _required_folder(directory)
    fields = {**fields, **_trusting(directory, trust_remote_code)}
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
        network = make(config, **({"trust_remote_code": True} if "trust_remote_code" in fields else {}))
        num_parameters = sum(parameter.numel() for parameter in network.parameters())
    if weights and num_parameters > _PARAMETERS_PER_BYTE * size_bytes + _NEW_PARAMETERS:
        raise ValueError(
            f"load_pretrained: {directory / 'config.json'} is of a model of {num_parameters:,} parameters, "
            f"and the weights beside it are {size_bytes:,} bytes"
        )


def load_tokenizer(directory: str | os.PathLike[str], *, trust_remote_code: bool = False) -> Any:
    """The tokenizer that lies beside a saved model, which for a model of ours must be of ours.

    Args:
        directory: The model's.
        trust_remote_code: As for :func:`load_pretrained`.

    Raises:
        OSError: If there is none.
        ValueError: If it cannot be read, writes other ids than the model reads, or needs code that is not
            trusted.
    """
    config = load_config(directory, trust_remote_code=trust_remote_code)
    directory = model_folder(directory)
    trusting = _trusting(directory, trust_remote_code)
    with readable(directory):
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, **trusting)
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


def load_config(directory: str | os.PathLike[str], *, trust_remote_code: bool = False) -> Any:
    """The configuration of a saved model; arguments as of :func:`load_tokenizer`.

    Raises:
        OSError: If there is none.
        ValueError: If it cannot be read, or needs code that is not trusted.
    """
    directory = _required_folder(directory)
    trusting = _trusting(directory, trust_remote_code)
    with readable(directory):
        return AutoConfig.from_pretrained(directory, local_files_only=True, **trusting)


def _required_folder(path_or_name: str | os.PathLike[str]) -> Path:
    directory = model_folder(path_or_name)
    if not directory.is_dir():
        raise FileNotFoundError(
            f"load_pretrained: directory must be one that holds a model, or one of {told_names(path_or_name)}"
        )
    if not (directory / "config.json").is_file():
        raise FileNotFoundError(f"load_pretrained: {directory} holds no model: it has no config.json")
    return directory


def own_code(directory: str | os.PathLike[str]) -> list[str]:
    """Modules of the code by which a saved model says that it is to be loaded.

    There are none for models of this package, whose code is here. What ``transformers`` has of the same
    ``model_type`` does not count: DNABERT-2 calls itself a ``bert`` and the second Nucleotide Transformer an
    ``esm``, and neither is.
    """
    modules: list[str] = []
    for name in ("config.json", "tokenizer_config.json"):
        try:
            fields = json.loads((Path(directory) / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        # What cannot be read is told by what reads it.
        if not isinstance(fields, dict):
            continue
        if _is_here(fields.get("model_type")):
            return []
        references = fields.get("auto_map")
        for each in references.values() if isinstance(references, dict) else [references]:
            names = each if isinstance(each, list) else [each]
            modules += [str(name).rpartition(".")[0] for name in names if name]
    return list(dict.fromkeys(modules))


def _is_here(model_type: Any) -> bool:
    """Whether models of a type are of this package, or of the code that uses it."""
    is_known = isinstance(model_type, str) and model_type in CONFIG_MAPPING
    return is_known and not CONFIG_MAPPING[model_type].__module__.startswith("transformers.")


def check_code(directory: str | os.PathLike[str], trust_remote_code: bool) -> None:
    """Says in a line that a saved model's own code will run, if it is trusted and there is any.

    Raises:
        ArgumentError: If it is not trusted.
    """
    if _trusting(directory, trust_remote_code):
        say(f"Warning    the code in {directory} runs as yours would: {', '.join(own_code(directory))}")


def _trusting(directory: str | os.PathLike[str], trust_remote_code: bool) -> dict[str, bool]:
    """What ``from_pretrained`` is told of the code in a directory: nothing where there is none.

    Raises:
        ArgumentError: If it is not trusted.
    """
    modules = own_code(directory)
    if modules and not trust_remote_code:
        raise ArgumentError(
            f"{directory} holds a model with code of its own ({', '.join(modules)}), which runs only if you "
            "trust it: `trust_remote_code`, of finetune, evaluate and predict"
        )
    return {"trust_remote_code": True} if modules else {}


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
        model: Its folder, its name if it ships, or the model that was loaded. Of what lies in no folder there
            are none.
    """
    given = model if isinstance(model, str | os.PathLike) else getattr(model, "name_or_path", None)
    directory = model_folder(given) if given else None
    if directory is None or not directory.is_dir():
        return []
    return [
        path
        for path in sorted(directory.iterdir())
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
    "bf16_products",
    "check_code",
    "holds_model",
    "load_config",
    "load_pretrained",
    "load_tokenizer",
    "model_digest",
    "model_files",
    "non_finite",
    "own_code",
    "readable",
]
