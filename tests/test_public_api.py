import ast
import importlib
import inspect
import os
import pickle
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

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
    if "triton" in name:
        pytest.importorskip("triton")
    module = importlib.import_module(name)
    declared = getattr(module, "__all__", [])
    assert list(declared) == sorted(set(declared)), "in order, each once"
    for entry in declared:
        assert hasattr(module, entry), entry
    assert inspect.getdoc(module), "a module says what it is"


@pytest.mark.parametrize("name", ["dnachunk", "dnachunk.models"])
def test_type_checkers_see_every_name(name):
    module = importlib.import_module(name)
    tree = ast.parse(inspect.getsource(module))
    (block,) = (
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = []
    for statement in block.body:
        for alias in statement.names:
            if alias.name == "*":
                seen += importlib.import_module(statement.module).__all__
            else:
                assert alias.asname == alias.name, "what is imported under its own name again is exported"
                seen.append(alias.name)
    assert sorted(seen) == module.__all__


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


@pytest.mark.parametrize("system", sorted(SYSTEMS))
@pytest.mark.parametrize(
    "first",
    [
        "import dnachunk",
        "from transformers import AutoModel, AutoTokenizer",
        "from dnachunk.models.dnachunk_model import Model",
        "import pickle; config = pickle.load(open(folder + '/config.pkl', 'rb'))",
        "import dnachunk, importlib.util as u; u.find_spec('transformers.models.auto.configuration_auto')",
    ],
    ids=["package", "transformers", "model", "pickle", "looking"],
)
def test_auto_classes_know_the_models_whatever_comes_first(system, first, tmp_path):
    config = getattr(dnachunk, f"{system}Config").micro()
    getattr(dnachunk, f"{system}Model")(config).save_pretrained(tmp_path)
    dnachunk.DNATokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.pkl").write_bytes(pickle.dumps(config))
    first = first.replace("dnachunk_model import Model", f"{system.lower()} import {system}Model")
    code = f"""
import sys
folder = {str(tmp_path)!r}
{first}
if {first == "import dnachunk"}:
    heavy = {{"torch", "transformers"}} & set(sys.modules)
    assert not heavy, heavy
if {"pickle" in first}:
    from transformers import AutoModel
    assert type(AutoModel.from_config(config)).__name__ == {system + "Model"!r}
import dnachunk
from transformers import AutoModel, AutoTokenizer
model = AutoModel.from_pretrained(folder)
assert type(model) is dnachunk.{system}Model, type(model)
tokenizer = AutoTokenizer.from_pretrained(folder)
assert type(tokenizer) is dnachunk.DNATokenizer, type(tokenizer)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)


def test_a_model_is_one_folder_and_its_name_in_the_list(tmp_path):
    package = Path(dnachunk.__file__).parent
    copy = tmp_path / "dnachunk"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    folder = copy / "models" / "fourth"
    folder.mkdir()
    for path in (package / "models" / "mxdna").glob("*.py"):
        text = path.read_text(encoding="utf-8").replace("mxdna", "fourth").replace("MxDNA", "Fourth")
        (folder / path.name.replace("mxdna", "fourth")).write_text(text, encoding="utf-8")
    listed = copy / "models" / "__init__.py"
    text = listed.read_text(encoding="utf-8")
    assert text.count('"mxdna"') == 1
    listed.write_text(text.replace('"mxdna"', '"mxdna", "fourth"'), encoding="utf-8")
    code = f"""
import dnachunk, transformers
assert dnachunk.__file__ == {str(copy / "__init__.py")!r}
assert type(transformers.AutoConfig.for_model("fourth")) is dnachunk.FourthConfig
config = dnachunk.FourthConfig.micro()
for head in {HEADS!r}:
    auto = getattr(transformers, "AutoModel" + head.removeprefix("Model"))
    assert type(auto.from_config(config)) is getattr(dnachunk, "Fourth" + head), head
pretraining = transformers.AutoModelForPreTraining.from_config(config)
assert type(pretraining) is dnachunk.FourthForMaskedLM
pretraining.save_pretrained({str(tmp_path / "saved")!r})
assert type(dnachunk.load({str(tmp_path / "saved")!r})) is dnachunk.FourthForMaskedLM
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120, env=environment)


def test_transformers_is_imported_where_the_package_cannot_be():
    code = """
import torch, warnings
torch.__version__ = "2.8.1"
import dnachunk
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from transformers import AutoConfig, AutoTokenizer
assert any("dnachunk runs with torch 2.9 and later" in str(each.message) for each in caught)
try:
    dnachunk.MergeDNAModel
except ImportError as error:
    assert "torch 2.8.1" in str(error)
else:
    raise AssertionError("it was imported")
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)


def test_modules_are_attributes():
    code = """
import dnachunk
assert dnachunk.models.mergedna.MergeDNAConfig is dnachunk.MergeDNAConfig
assert dnachunk.data.windows.Interval is dnachunk.data.Interval
assert dnachunk.alphabet.PAD_ID == 0
assert not hasattr(dnachunk, "nonsense")
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'dnachunk' has no attribute 'MergeDNS'"):
        dnachunk.MergeDNS  # noqa: B018
    assert {"MergeDNAConfig", "nn", "__version__"} <= set(dir(dnachunk))


def test_help_needs_no_torch():
    code = """
import sys
from dnachunk.cli import main
assert main(["--help"]) == 0
assert main(["pretrain", "--help"]) == 0
assert main(["--version"]) == 0
heavy = {"torch", "transformers"} & set(sys.modules)
assert not heavy, heavy
"""
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True
    )
    assert result.stdout.splitlines()[-1] == f"dnachunk {dnachunk.__version__}"


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
