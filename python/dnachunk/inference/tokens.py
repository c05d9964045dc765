"""Loading what cuts sequences into tokens, and batches of sequences for it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from dnachunk.alphabet import PAD_ID
from dnachunk.baselines import FixedTokenizer
from dnachunk.errors import ArgumentError
from dnachunk.models import MODEL_TYPES
from dnachunk.models.configuration_common import DNAConfig
from dnachunk.models.loading import best_device, bf16_products, load_pretrained, readable
from dnachunk.models.modeling_common import DNAPreTrainedModel, mean_over_tokens
from dnachunk.models.shipped import model_folder
from dnachunk.segmentation import Encoded
from dnachunk.tokenization import between_special_tokens

PathLike = str | os.PathLike[str]

_CLASSES = {
    "ForSequenceClassification": AutoModelForSequenceClassification,
    "ForTokenClassification": AutoModelForTokenClassification,
    "Model": AutoModel,
}


def load(
    path_or_name: PathLike,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    compile: bool = False,
) -> Any:
    """Loads a model of ours, or a fixed tokenizer, ready to cut sequences into tokens.

    Args:
        path_or_name: Folder that a training run or ``save_pretrained`` wrote, the name of a trained tokenizer
            that ships with the package, such as ``"mergedna-micro"`` (:func:`~dnachunk.list_models` has all),
            or that of a fixed one that needs no training, such as ``"6mer"``.
        device: Where to; default a GPU where there is one. A fixed tokenizer has none.
        dtype: Of the weights, such as ``"bfloat16"``; default as they are saved.
        compile: Whether to compile the model with ``torch.compile``, at its first call.

    Returns:
        The model in evaluation mode, with the head that it was saved with (a masked language model where it
        was pre-trained), or the tokenizer: of a folder of a baseline its tokenizer alone. Both have
        ``encode_tokens``.

    Raises:
        OSError: If there is no such folder, or it holds neither.
        ValueError: If the weights do not fit, it is no model of ours, or it gives no segmentation.

    Example:
        >>> load("6mer").encode_tokens(torch.tensor([[5, 6, 7, 8, 5, 6, 7, 8]])).segmentation.token_index
        tensor([[0, 0, 0, 0, 0, 0, 1, 2]])
    """
    directory = model_folder(path_or_name)
    if not directory.is_dir() and directory.name == str(path_or_name):
        tokenizer = _named(str(path_or_name))
    elif (directory / "tokenizer_config.json").is_file():
        with readable(directory):
            tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    else:
        tokenizer = None
    if isinstance(tokenizer, FixedTokenizer):
        if tokenizer.kind.is_overlapping:
            raise ValueError(f"{path_or_name}: words that overlap are no segmentation")
        return tokenizer
    return load_model(directory, device=device, dtype=dtype, compile=compile)


def load_model(
    directory: PathLike,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    compile: bool = False,
) -> Any:
    """As :func:`load`, but refuses what has no vectors: a fixed tokenizer, or a baseline.

    Raises:
        OSError: If the folder holds no model.
        ValueError: As :func:`load`.
    """
    if isinstance(dtype, str) and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ArgumentError(f"`dtype` must be the name of a torch.dtype, got {dtype!r}")
    fields = {} if dtype is None else {"dtype": dtype}
    return ready(_load_model(model_folder(directory), fields), directory, device, compile)


def ready(model: Any, name: PathLike, device: torch.device | str | None = None, compile: bool = False) -> Any:
    """A model of ours in evaluation mode, on a device, compiled if asked for.

    Args:
        model: The model.
        name: What it is called in a message.
        device: Default a GPU where there is one.
        compile: Whether to compile it.

    Raises:
        ValueError: If it is none of ours.
    """
    if not isinstance(model, DNAPreTrainedModel):
        raise ArgumentError(f"`model` must be of {', '.join(MODEL_TYPES)}, or the folder of one, got {name}")
    model = model.eval().to(best_device() if device is None else device)
    if compile:
        for part in dict.fromkeys((model, model.base_model)):
            part.compile(dynamic=True)
    return model


def resolve(model: Any, *, needs_network: bool = False) -> Any:
    """A loaded model or tokenizer as it is, and a path or name loaded.

    Args:
        model: What :func:`load` gives or takes.
        needs_network: Whether a tokenizer alone will not do.

    Raises:
        OSError: As :func:`load`, like the next.
        ValueError: See there; or if there is no network where one is needed.
    """
    if isinstance(model, str | os.PathLike):
        is_named = not model_folder(model).exists()
        loaded = load_model(model) if needs_network and not is_named else load(model)
        return resolve(loaded, needs_network=needs_network)
    if isinstance(model, FixedTokenizer):
        if needs_network:
            raise ValueError(
                "model must have vectors, got a FixedTokenizer; give the folder of its network instead"
            )
        return model
    return ready(model, type(model).__name__, getattr(model, "device", None))


def encode_rows(
    model: Any,
    rows: Sequence[torch.Tensor],
    *,
    tokens_per_base: float | None = None,
    vectors: bool = False,
    bf16: bool = False,
) -> Encoded:
    """Cuts sequences into tokens, all at once, without gradients.

    Args:
        model: What :func:`load` gives.
        rows: Ids of bases, ``[n]`` int64 each.
        tokens_per_base: Tokens per base; None is as the model is configured.
        vectors: Whether to run the whole model, for the tokens' vectors, or the tokenizer alone.
        bf16: Whether matrix products run in bfloat16; tokens may then be others.
    """
    device = "cpu" if isinstance(model, FixedTokenizer) else model.device
    ids = pad_sequence(list(rows), batch_first=True, padding_value=PAD_ID)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    with torch.inference_mode(), bf16_products(model, bf16):
        return model.encode_tokens(
            ids.to(device), mask.to(device), vectors=vectors, tokens_per_base=tokens_per_base
        )


def mean_vectors(model: Any, inputs: dict[str, torch.Tensor], *, cls_sep: bool = False) -> torch.Tensor:
    """The mean of the latent tokens of each row, ``[B, D]``, as :func:`embed_genome` gives it for a record.

    It is float32 at least, whatever the model computes in.

    Of a model that is none of ours it is the mean of the bases' last hidden states.

    Args:
        model: A model of ours, or the base model of any other.
        inputs: ``input_ids`` and ``attention_mask`` of bases alone, on the model's device.
        cls_sep: Whether a model that is none of ours reads ``[CLS] … [SEP]``.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    if isinstance(model, DNAPreTrainedModel):
        encoded = model.encode_tokens(ids, mask)
        assert encoded.vectors is not None
        return mean_over_tokens(_wide(encoded.vectors), encoded.segmentation.num_tokens)
    if cls_sep:
        ids, mask = between_special_tokens(ids, mask)
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return mean_over_tokens(_wide(hidden[:, int(cls_sep) :]), inputs["attention_mask"].sum(dim=1))


def _wide(hidden: torch.Tensor) -> torch.Tensor:
    return hidden.to(torch.promote_types(hidden.dtype, torch.float32))


def _named(name: str) -> FixedTokenizer | None:
    try:
        return FixedTokenizer.from_name(name)
    except ValueError as error:
        if "texts must be given" in str(error):
            raise ValueError(
                f"{name} must be trained first: FixedTokenizer.from_name({name!r}, texts)"
            ) from None
        return None


def _load_model(directory: Path, fields: dict[str, Any]) -> Any:
    """With the head that it was saved with, or that of a masked language model."""
    auto_class: Any = AutoModel
    if (directory / "config.json").is_file():
        with readable(directory):
            config = AutoConfig.from_pretrained(directory, local_files_only=True)
        if not isinstance(config, DNAConfig):
            raise ValueError(
                f"{directory}: a model with a learned tokenizer must be of {', '.join(MODEL_TYPES)}, "
                f"got {config.model_type}"
            )
        match config.architectures or ["Model"]:
            case [str(saved_as)]:
                pass
            case others:
                raise ValueError(f"{directory}: architectures must be the name of one class, got {others!r}")
        endings = (ending for ending in _CLASSES if saved_as.endswith(ending))
        auto_class = _CLASSES.get(next(endings, ""), AutoModelForMaskedLM)
    return load_pretrained(auto_class, directory, **fields)


__all__ = ["encode_rows", "load", "load_model", "mean_vectors", "ready", "resolve"]
