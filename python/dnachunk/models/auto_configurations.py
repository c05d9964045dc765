"""Makes the configurations known to ``AutoConfig``; the first that is made or read loads ``auto_models``."""

import importlib

from transformers import AutoConfig

from dnachunk.models import MODEL_TYPES

for _model_type in MODEL_TYPES:
    _folder = importlib.import_module(f"dnachunk.models.{_model_type}")
    (_name,) = (name for name in _folder.__all__ if name.endswith("Config"))
    AutoConfig.register(_model_type, getattr(_folder, _name))
