"""Makes the models known to ``AutoModel`` and its like, and their tokenizer to ``AutoTokenizer``.

Which Auto class makes a model is the end of the model's name, as it is everywhere in ``transformers``.
"""

import importlib

import transformers

from dnachunk.models import MODEL_TYPES
from dnachunk.tokenization import DNATokenizer

for _model_type in MODEL_TYPES:
    _folder = importlib.import_module(f"dnachunk.models.{_model_type}")
    (_system,) = (name.removesuffix("Config") for name in _folder.__all__ if name.endswith("Config"))
    _classes = {name.removeprefix(_system): getattr(_folder, name) for name in _folder.__all__}
    _config = _classes.pop("Config")
    _classes.setdefault("ForPreTraining", _classes["ForMaskedLM"])
    transformers.AutoTokenizer.register(_config, DNATokenizer)
    for _task, _model in _classes.items():
        getattr(transformers, f"AutoModel{_task.removeprefix('Model')}").register(_config, _model)
