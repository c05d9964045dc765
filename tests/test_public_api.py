import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

import dnachunk

HEADS = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"]
SUBPACKAGES = ["ops", "nn", "models", "data", "training", "evaluation", "visualization"]
# By the prefix of its classes, each model and the name Hugging Face knows it by.
SYSTEMS = {
    name.removesuffix("Config"): getattr(dnachunk, name).model_type
    for name in dnachunk.__all__
    if name.endswith("Config")
}
ALL_MODULES = [
    module.name
    for module in pkgutil.walk_packages(dnachunk.__path__, "dnachunk.")
    if module.name.split(".")[-1] not in ("_rust", "__main__")
]


def test_top_level_names():
    expected = {"DNATokenizer", "Segmentation", "build_info", "__version__", "MergeDNAForPreTraining"}
    expected |= {f"{system}{name}" for system in SYSTEMS for name in ["Config", *HEADS]}
    assert expected <= set(dnachunk.__all__)
    assert "MergeDNA" in SYSTEMS
    assert dnachunk.__version__ == dnachunk.build_info()["version"]


@pytest.mark.parametrize("name", ["dnachunk", *ALL_MODULES])
def test_what_a_module_declares_it_has(name):
    module = importlib.import_module(name)
    declared = getattr(module, "__all__", [])
    assert list(declared) == sorted(set(declared)), "in order, each once"
    for entry in declared:
        assert hasattr(module, entry), entry
    assert inspect.getdoc(module), "a module says what it is"


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_subpackages_declare_their_names(name):
    module = importlib.import_module(f"dnachunk.{name}")
    assert module.__all__
    for entry in module.__all__:
        value = getattr(module, entry)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{name}.{entry} is documented"


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_models_are_hugging_face_models(system):
    config_class = getattr(dnachunk, f"{system}Config")
    assert issubclass(config_class, PreTrainedConfig)
    assert type(AutoConfig.for_model(SYSTEMS[system])) is config_class
    for head in HEADS:
        model_class = getattr(dnachunk, f"{system}{head}")
        assert issubclass(model_class, PreTrainedModel)
        assert model_class.config_class is config_class
        parameters = inspect.signature(model_class.forward).parameters
        assert {"input_ids", "attention_mask", "inputs_embeds", "output_hidden_states"} <= set(parameters)
    sizes = []
    for config in (config_class.micro(), config_class.tiny(), config_class()):
        with torch.device("meta"):
            model = getattr(dnachunk, f"{system}ForMaskedLM")(config)
        sizes.append(sum(parameter.numel() for parameter in model.parameters()))
    assert sizes == sorted(set(sizes)), "micro, tiny and the paper's size, in this order"


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_sizes_take_further_fields(system):
    config_class = getattr(dnachunk, f"{system}Config")
    for size in (config_class.micro, config_class.tiny):
        assert size(num_labels=5, initializer_range=0.1).num_labels == 5
        with pytest.raises(ValueError, match="hidden_sizes=3"):
            size(hidden_sizes=3)


def test_import_needs_neither_extras_nor_the_command_line():
    code = """
import sys, torch, transformers
before = set(sys.modules)
import dnachunk
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
# transformers itself loads scipy where it finds it.
heavy = loaded & {"matplotlib", "sklearn", "typer", "peft", "hypothesis", "pytest"}
assert not heavy, heavy
parts = {"dnachunk.cli", "dnachunk.training", "dnachunk.data", "dnachunk.visualization"} & set(sys.modules)
assert not parts, parts
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)
