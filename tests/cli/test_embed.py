import json

import numpy as np
import pytest
import safetensors
import torch
from transformers import AutoModel, AutoModelForMaskedLM

from dnachunk.baselines import FixedTokenizer, baseline_config
from dnachunk.data import Genome
from dnachunk.random import mix


def letters(length, seed):
    return "".join("ACGT"[mix(seed, position) % 4] for position in range(length))


def other_strand(sequence):
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


def vector_at(arrays, record, position):
    """The vector of the token of a base."""
    is_there = (arrays["start_bp"] <= position) & (position < arrays["end_bp"])
    return arrays["embeddings"][is_there & (arrays["record_index"] == record)].squeeze(0)


LONG = letters(300, 0) + "N" * 100 + letters(75, 1)
SHORT = letters(40, 2)


@pytest.fixture(scope="module")
def both_strands(tmp_path_factory):
    """Two records, and the two again from the other strand."""
    path = tmp_path_factory.mktemp("strands") / "strands.fa"
    sequences = {"long": LONG, "short": SHORT}
    sequences |= {f"{name}_other": other_strand(sequence) for name, sequence in sequences.items()}
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items()))
    return path


def embedded(run, path, *words):
    result = run("embed", *words, "--output", path)
    assert result.status == 0, result.err
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays}
    with safetensors.safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return {**tensors, "records": np.array(json.loads(file.metadata()["records"]))}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_short_record_is_the_mean_of_its_tokens(run, model, both_strands, tmp_path, suffix):
    words = ["--model", model, "--fasta", both_strands]
    arrays = embedded(run, tmp_path / f"e{suffix}", *words)
    assert arrays["records"].tolist() == ["long", "short", "long_other", "short_other"]
    assert arrays["embeddings"].shape == (4, 32)
    assert arrays["embeddings"].dtype == np.float32
    ids, _ = Genome(both_strands).fetch(1, 0, 40)
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(model)(ids[None].long()).last_hidden_state[0]
    np.testing.assert_allclose(arrays["embeddings"][1], hidden.mean(dim=0).numpy(), rtol=1e-4, atol=1e-5)
    tokens = embedded(run, tmp_path / f"t{suffix}", *words, "--per", "token")
    is_short = tokens["record_index"] == 1
    np.testing.assert_allclose(tokens["embeddings"][is_short], hidden.numpy(), rtol=1e-4, atol=1e-5)


def test_a_long_record_is_the_mean_of_its_windows_by_their_bases(run, model, tmp_path):
    (tmp_path / "g.fa").write_text(">g\n" + letters(200, 3) + "N" * 250 + letters(100, 4) + "\n")
    words = ["--model", model, "--fasta", tmp_path / "g.fa", "--window-bp", 200]
    record = embedded(run, tmp_path / "r.npz", *words)["embeddings"][0]
    assert json.loads((tmp_path / "r.json").read_text())["metrics"]["overlap_bp"] == 50
    tokens = embedded(run, tmp_path / "t.npz", *words, "--per", "token")
    is_first = tokens["end_bp"] <= 200
    assert is_first.sum() == 100
    assert (~is_first).sum() == 50
    means = [tokens["embeddings"][inside].astype(np.float64).mean(axis=0) for inside in (is_first, ~is_first)]
    np.testing.assert_allclose(record, (200 * means[0] + 100 * means[1]) / 300, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("per", ["record", "token"])
def test_averaged_strands_are_equal(run, model, both_strands, tmp_path, per):
    words = ["--model", model, "--fasta", both_strands, "--per", per]
    average = embedded(run, tmp_path / "a.npz", *words, "--reverse-complement", "average")
    forward = embedded(run, tmp_path / "f.npz", *words)
    if per == "record":
        np.testing.assert_allclose(average["embeddings"][:2], average["embeddings"][2:], rtol=1e-5, atol=1e-6)
        assert abs(forward["embeddings"][:2] - forward["embeddings"][2:]).max() > 0.01
        strands = (forward["embeddings"][:2] + forward["embeddings"][2:]) / 2
        np.testing.assert_allclose(average["embeddings"][:2], strands, rtol=1e-5, atol=1e-6)
        return
    for index, length_bp in ((0, len(LONG)), (1, len(SHORT))):
        one = {
            name: average[name][average["record_index"] == index]
            for name in ("start_bp", "end_bp", "embeddings")
        }
        other = {name: average[name][average["record_index"] == index + 2][::-1] for name in one}
        assert (one["start_bp"] == length_bp - other["end_bp"]).all()
        assert (one["end_bp"] == length_bp - other["start_bp"]).all()
        np.testing.assert_allclose(one["embeddings"], other["embeddings"], rtol=1e-5, atol=1e-6)
        # A base's vector is the mean of its tokens' vectors on the two strands.
        base = length_bp // 3

        want = (vector_at(forward, index, base) + vector_at(forward, index + 2, length_bp - 1 - base)) / 2
        np.testing.assert_allclose(vector_at(average, index, base), want, rtol=1e-5, atol=1e-6)


def test_a_record_of_n_alone_is_nan_and_has_no_token(run, model, tmp_path):
    (tmp_path / "n.fa").write_text(">n\n" + "N" * 90 + "\n>a\nACGT\n")
    words = ["--model", model, "--fasta", tmp_path / "n.fa", "--reverse-complement", "average"]
    vectors = embedded(run, tmp_path / "r.npz", *words)["embeddings"]
    assert np.isnan(vectors[0]).all()
    assert np.isfinite(vectors[1]).all()
    assert set(embedded(run, tmp_path / "t.npz", *words, "--per", "token")["record_index"]) == {1}


def test_wrong_suffixes_and_models_are_refused(run, model, both_strands, tmp_path):
    words = ["embed", "--fasta", both_strands]
    result = run(*words, "--model", model, "--output", tmp_path / "e.txt")
    assert result.status == 2
    assert ".safetensors or .npz" in result.err
    result = run(*words, "--model", tmp_path / "nowhere", "--output", tmp_path / "e.npz")
    assert result.status == 1
    assert result.err.startswith("dnachunk embed: ")
    FixedTokenizer.from_name("6mer").save_pretrained(tmp_path / "baseline")
    baseline = baseline_config("micro", len(FixedTokenizer.from_name("6mer")))
    AutoModelForMaskedLM.from_config(baseline).save_pretrained(tmp_path / "baseline")
    result = run(*words, "--model", tmp_path / "baseline", "--output", tmp_path / "e.npz")
    assert result.status == 1
    assert "a model with a learned tokenizer must be of dnachunker, mergedna, mxdna, got " in result.err
    (tmp_path / "n.fa").write_text(">n\n" + "N" * 90 + "\n")
    words = ["embed", "--fasta", tmp_path / "n.fa", "--model", model, "--per", "token"]
    result = run(*words, "--output", tmp_path / "e.npz")
    assert result.status == 1
    assert "there is no A, C, G or T in " in result.err
    assert not list(tmp_path.glob("*e.npz*"))
