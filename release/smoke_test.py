"""Tries an installed dnachunk as a first notebook cell would, and that it changes nothing beside it.

python release/smoke_test.py                 the installation that runs this
python release/smoke_test.py --fresh WHEEL   a new environment with today's torch, then the wheel
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def smoke() -> None:
    """A step of each model, those that ship, a kernel against its PyTorch form, an error that says why."""
    import torch

    import dnachunk
    from dnachunk import ops
    from dnachunk.data import packaged_genome

    print(dnachunk.build_info())
    x = torch.randn(5, 7, 16, requires_grad=True)
    ours = torch.autograd.grad(ops.neighbor_cosine(x).sum(), x)[0]
    with ops.use_backend("torch"):
        theirs = torch.autograd.grad(ops.neighbor_cosine(x).sum(), x)[0]
    torch.testing.assert_close(ours, theirs)
    try:
        ops.neighbor_cosine(torch.ones(2, 3, 4, dtype=torch.int32))
    except TypeError as error:
        print("as it should:", error)
    else:
        raise SystemExit("an integer tensor was taken")

    for system, head in (
        ("MergeDNA", "ForPreTraining"),
        ("DNAChunker", "ForMaskedLM"),
        ("MxDNA", "ForMaskedLM"),
    ):
        tokenizer = dnachunk.DNATokenizer(cls_sep=system == "MxDNA")
        batch = tokenizer(["ACGTTGCAACGT" * 10, "ttagggttaggg" * 7], padding=True, return_tensors="pt")
        model = getattr(dnachunk, f"{system}{head}")(getattr(dnachunk, f"{system}Config").micro())
        output = model(**batch, labels=batch["input_ids"].where(batch["input_ids"] > 4, -100))
        output.loss.backward()
        tokens = output.segmentation[1].tokens("ttagggttaggg" * 7)
        print(f"{system}: loss {output.loss.item():.3f}, {tokens[:8]}")
        assert output.loss.isfinite()
        assert "".join(tokens) == "ttagggttaggg" * 7

    shipped = dnachunk.list_models()
    print(shipped)
    assert shipped.models
    for each in shipped.models:
        model = dnachunk.load(each.name, device="cpu")
        tokens = list(dnachunk.tokenize_genome(model, packaged_genome(), region="CHLTCG:1-600"))
        print(f"{each.name}: {[token.sequence for token in tokens[:8]]}")
        assert sum(token.end_bp - token.start_bp for token in tokens) >= 600


def packages(python: Path) -> dict[str, str]:
    """What an environment holds, by name."""
    listing = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True, text=True
    ).stdout
    return {package["name"]: package["version"] for package in json.loads(listing)}


def smoke_in_fresh_environment(wheel: Path) -> None:
    """Installs today's torch in a new environment, then the wheel beside it, and tries that."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder) / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, "torch"], check=True)
        before = packages(python)
        subprocess.run([*install, wheel.resolve()], check=True)
        after = packages(python)
        changed = {
            name: (version, after.get(name)) for name, version in before.items() if after.get(name) != version
        }
        if changed:
            raise SystemExit(f"{wheel.name}: installing it changed {changed}")
        print(f"torch {before['torch']}; beside it came", *sorted(after.keys() - before.keys()))
        # From another folder, so that it is the wheel that is imported.
        subprocess.run([python, Path(__file__).resolve()], check=True, cwd=folder)


def main() -> None:
    """Tries what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", type=Path, metavar="WHEEL", help="try this wheel in a new environment")
    wheel = parser.parse_args().fresh
    if wheel is None:
        smoke()
    else:
        smoke_in_fresh_environment(wheel)


if __name__ == "__main__":
    main()
