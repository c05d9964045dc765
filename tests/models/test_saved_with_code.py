"""Models that are saved with their code load in processes that never heard of the package."""

import subprocess
import sys

import pytest

SAVE = """
import sys, torch
import dnachunk
folder, system, head, auto = sys.argv[1:]
config, model = (getattr(dnachunk, system + name) for name in ("Config", head))
for registered, name in ((config, "AutoConfig"), (model, auto), (dnachunk.DNATokenizer, "AutoTokenizer")):
    registered.register_for_auto_class(name)
torch.manual_seed(0)
network = model(config.micro(num_labels=3)).eval()
tokenizer = dnachunk.DNATokenizer(cls_sep=system == "MxDNA")
network.save_pretrained(folder)
tokenizer.save_pretrained(folder)
torch.save(network(**tokenizer(["ACGTACGGTA"], return_tensors="pt")).logits.detach(), folder + "/expected.pt")
"""
LOAD = """
import sys, torch, transformers
folder, system, head, auto = sys.argv[1:]
network = getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True).eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
assert type(network).__name__ == system + head
assert type(network).__module__.startswith("transformers_modules"), type(network)
got = network(**tokenizer(["ACGTACGGTA"], return_tensors="pt")).logits
torch.testing.assert_close(got, torch.load(folder + "/expected.pt"))
"""


@pytest.mark.parametrize(
    ("system", "head", "auto"),
    [
        ("MergeDNA", "ForPreTraining", "AutoModelForPreTraining"),
        ("DNAChunker", "ForMaskedLM", "AutoModelForMaskedLM"),
        ("MxDNA", "ForSequenceClassification", "AutoModelForSequenceClassification"),
    ],
)
def test_a_model_saved_with_its_code(system, head, auto, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    arguments = [str(tmp_path / "model"), system, head, auto]
    for code in (SAVE, LOAD):
        subprocess.run([sys.executable, "-W", "ignore", "-c", code, *arguments], check=True, timeout=180)
    assert (tmp_path / "model" / f"modeling_{system.lower()}.py").is_file()
