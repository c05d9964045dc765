"""Hugging Face models: a folder each, known to the Auto classes once their configurations are imported."""

import importlib
from typing import TYPE_CHECKING

from dnachunk._lazy import lazy_names

if TYPE_CHECKING:
    from dnachunk.models.dnachunker import *  # noqa: F403
    from dnachunk.models.mergedna import *  # noqa: F403
    from dnachunk.models.mxdna import *  # noqa: F403
    from dnachunk.models.shipped import list_models as list_models
    from dnachunk.models.shipped import pretrained as pretrained

MODEL_TYPES = ("dnachunker", "mergedna", "mxdna")
"""The models' names, as ``config.model_type`` has them: a folder each."""

_HOMES = {
    **{
        name: f"{__name__}.{model_type}"
        for model_type in MODEL_TYPES
        for name in importlib.import_module(f"{__name__}.{model_type}").__all__
    },
    **dict.fromkeys(("list_models", "pretrained"), f"{__name__}.shipped"),
}
# Type checkers read no list that is computed; without one they take every public name above.
if not TYPE_CHECKING:
    __all__ = sorted(_HOMES)  # noqa: PLE0605

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
