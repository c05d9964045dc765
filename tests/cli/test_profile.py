import json

import pytest

QUICK = ["--size", "micro", "--length-bp", 64, "--repeats", 1]


def test_models_and_baselines_in_one_table(run, model, fasta, tmp_path):
    words = ["--model", f"ours={model}", "--model", "mxdna", "--tokenizer", "6mer", "--fasta", fasta]
    result = run("profile", *words, *QUICK, "--length-bp", 128, "--output-dir", tmp_path / "cost")
    assert result.status == 0, result.err
    assert sorted(path.name for path in (tmp_path / "cost").iterdir()) == ["profile.png", "results.json"]
    models = json.loads((tmp_path / "cost" / "results.json").read_text())["metrics"]["models"]
    assert list(models) == ["ours", "mxdna", "6mer"]
    for name, found in models.items():
        assert list(found["lengths_bp"]) == ["64", "128"]
        lines = [line.split() for line in result.out.splitlines() if line.split()[:1] == [name]]
        assert len(lines) == 4
        for line, (length, cost) in zip(lines, found["lengths_bp"].items(), strict=False):
            assert line[1:4] == [length, f"{found['parameters']:,}", f"{cost['tokens']:,}"]
            assert line[-1] == f"{cost['backward_flops'] / 1e9:,.3f}"
    alone = run("profile", *words, *QUICK, "--no-backward", "--output-dir", tmp_path / "alone")
    assert alone.status == 0, alone.err
    again = json.loads((tmp_path / "alone" / "results.json").read_text())["metrics"]["models"]
    for name, found in again.items():
        cost = found["lengths_bp"]["64"]
        assert cost["backward_flops"] is None
        assert cost["forward_flops"] == models[name]["lengths_bp"]["64"]["forward_flops"]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ([], 2, "at least one --model or --tokenizer must be given"),
        (
            ["--model", "mergedma"],
            1,
            "--model must be a folder of a model, or of dnachunker, mergedna, mxdna",
        ),
        (["--model", "mergedna", "--length-bp", 0], 2, "--length-bp"),
        (
            ["--model", "mergedna", "--length-bp", 5_000_000],
            1,
            "--length-bp must be that of a stretch without N",
        ),
        (["--model", "mergedna", "--size", "huge"], 2, "--size"),
        (["--model", "mergedna", "--model", "mergedna"], 2, "several models are called mergedna"),
        (["--tokenizer", "9mer"], 1, "name must be base, 1mer to 8mer"),
        (
            ["--tokenizer", "6mer", "--tokens-per-base", 0.3],
            2,
            "--tokens-per-base is for mergedna and dnachunker",
        ),
        (["--model", "mergedna", "--fasta", "nowhere.fa"], 1, "nowhere.fa"),
    ],
)
def test_wrong_command_lines(run, tmp_path, change, status, said):
    result = run("profile", "--repeats", 1, *change, "--output-dir", tmp_path / "cost")
    assert result.status == status
    assert "Traceback" not in result.err
    assert said in result.err.strip().splitlines()[-1]
    assert not (tmp_path / "cost").exists()
