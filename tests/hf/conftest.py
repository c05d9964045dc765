"""Hugging Face's own common tests, from the source distribution of the transformers installed.

``make test-hf`` runs them. That distribution holds the common tests, but not the folders of helpers beside
them; what the tests import from those is stood in for here.
"""

import importlib.util
import re
import sys
import types
from pathlib import Path


def pytest_configure(config):
    if config.getoption("--hf"):
        # The marks that those tests bear.
        for path in Path(config.getoption("--hf")).glob("test_*.py"):
            for mark in re.findall(r"\bmark\.(\w+)", path.read_text(encoding="utf-8")):
                config.addinivalue_line("markers", f"{mark}: of transformers")


def pytest_ignore_collect(collection_path, config):
    folder = config.getoption("--hf")
    if folder is None:
        return collection_path.name.startswith("test_")
    if "hf_tests" not in sys.modules:
        _make_importable(folder)
    return None


def _make_importable(folder):
    """Binds the folder of Hugging Face's tests to the name ``hf_tests``."""
    spec = importlib.util.spec_from_loader("hf_tests", loader=None, is_package=True)
    package = importlib.util.module_from_spec(spec)
    package.__path__ = [folder]
    sys.modules["hf_tests"] = package
    stand_ins = {
        "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
        "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
        "utils.test_configuration_utils": {"config_common_kwargs": CONFIG_COMMON_KWARGS},
    }
    for name, contents in stand_ins.items():
        parent, _, _ = name.partition(".")
        for module_name in (f"hf_tests.{parent}", f"hf_tests.{name}"):
            module = sys.modules.setdefault(module_name, types.ModuleType(module_name))
            module.__path__ = []
        vars(module).update(contents)


# Fields that any configuration takes, off their defaults.
CONFIG_COMMON_KWARGS = {
    "return_dict": False,
    "output_hidden_states": True,
    "output_attentions": True,
    "dtype": "float16",
    "tie_word_embeddings": False,
    "is_encoder_decoder": False,
    "chunk_size_feed_forward": 5,
    "architectures": ["BertModel"],
    "finetuning_task": "translation",
    "id2label": {0: "label"},
    "label2id": {"label": "0"},
    "tokenizer_class": "BertTokenizerFast",
    "prefix": "prefix",
    "bos_token_id": 6,
    "pad_token_id": 7,
    "eos_token_id": 8,
    "sep_token_id": 9,
    "decoder_start_token_id": 3,
    "task_specific_params": {"translation": "some_params"},
    "problem_type": "regression",
}
