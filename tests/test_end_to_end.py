"""What every supported torch has to do, from letters to gradients; ``make test-torch`` runs it under one."""

import subprocess
import sys

import pytest
import torch
import transformers

import dnachunk
from dnachunk import DNATokenizer
from dnachunk import nn as dnn

SEQUENCES = ["ACGTTGCAACGT" * 10, "ttagggttaggg" * 7]
SYSTEMS = {
    "mergedna": (dnachunk.MergeDNAConfig, dnachunk.MergeDNAForPreTraining),
    "dnachunker": (dnachunk.DNAChunkerConfig, dnachunk.DNAChunkerForMaskedLM),
    "mxdna": (dnachunk.MxDNAConfig, dnachunk.MxDNAForMaskedLM),
}


def letters(system):
    tokenizer = DNATokenizer(cls_sep=system == "mxdna")
    batch = tokenizer(SEQUENCES, padding=True, return_tensors="pt")
    batch["labels"] = batch["input_ids"].where(batch["input_ids"] > 4, -100)
    return dict(batch)


def outputs_and_gradients(module, x):
    leaf = x.clone().requires_grad_()
    output = module(leaf)
    return [output, *torch.autograd.grad(output.square().sum(), [leaf, *module.parameters()])]


class Chunked(torch.nn.Module):
    """A learned tokenizer in somebody's own model."""

    def __init__(self):
        super().__init__()
        self.encode, self.route = dnn.BiMamba(32), dnn.Router(32)
        self.chunk, self.dechunk = dnn.Chunk(), dnn.Dechunk()

    def forward(self, x):
        x = self.encode(x)
        routing = self.route(x)
        return x + self.dechunk(self.chunk(x, routing).values, routing)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_step_under_bf16(system):
    config, model_class = SYSTEMS[system]
    model = model_class(config.micro()).train()
    batch = letters(system)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**batch)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert output.segmentation[0].tokens(SEQUENCES[0]) != list(SEQUENCES[0])


@pytest.mark.parametrize("system", SYSTEMS)
def test_saved_and_loaded_by_the_auto_class(system, tmp_path):
    config, model_class = SYSTEMS[system]
    model = model_class(config.micro()).eval()
    model.save_pretrained(tmp_path)
    auto = transformers.AutoModelForPreTraining
    loaded = auto.from_pretrained(tmp_path).eval()
    batch = letters(system)
    with torch.no_grad():
        # Not to the bit: where weights lie in memory changes the order of torch's own sums.
        torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize(
    "build",
    [
        lambda: torch.nn.Sequential(dnn.Mamba(32), dnn.BiMamba(32)),
        lambda: torch.nn.Sequential(dnn.WindowAttention(32, 2), dnn.RMSNorm(32), dnn.SwiGLU(32, 64)),
        Chunked,
    ],
    ids=["mamba", "attention", "chunking"],
)
def test_compiled_and_exported_modules(build):
    module, x = build(), torch.randn(2, 64, 32)
    torch._dynamo.reset()
    try:
        got = outputs_and_gradients(torch.compile(module, fullgraph=not isinstance(module, Chunked)), x)
    finally:
        torch._dynamo.reset()
    for one, want in zip(got, outputs_and_gradients(module, x), strict=True):
        torch.testing.assert_close(one, want, rtol=1e-4, atol=1e-4)
    exported = torch.export.export(module, (x,)).module()
    other = torch.randn(2, 64, 32)
    torch.testing.assert_close(exported(other), module(other), rtol=1e-5, atol=1e-5)


def test_an_exported_model_is_saved_and_loaded(tmp_path):
    model = dnachunk.MergeDNAForMaskedLM(dnachunk.MergeDNAConfig.micro()).eval()
    batch = letters("mergedna")
    del batch["labels"]
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(model, (), batch, strict=False), path)
    with torch.no_grad():
        want = model(**batch)
    torch.save((batch, want.logits, want.segmentation.token_index), tmp_path / "expected.pt")
    code = f"""
import torch, dnachunk
dnachunk.MergeDNAForMaskedLM
batch, logits, token_index = torch.load({str(tmp_path / "expected.pt")!r})
with torch.no_grad():
    got = torch.export.load({str(path)!r}).module()(**batch)
torch.testing.assert_close(got.logits, logits)
assert type(got.segmentation) is dnachunk.Segmentation
assert torch.equal(got.segmentation.token_index, token_index)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)
