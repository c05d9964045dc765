"""The commands with DNAChunker and MxDNA, where they differ from MergeDNA."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModel, AutoModelForPreTraining, AutoTokenizer

from dnachunk import DNATokenizer
from dnachunk.data import Genome
from dnachunk.inference.writers import item_rgb
from tests.cli.test_tokenize import read_bed
from tests.training.runs import SMALL_CONFIGS

KINDS = ["dnachunker", "mxdna"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Saved models with random weights, by kind."""
    folders = {}
    for kind in KINDS:
        folders[kind] = tmp_path_factory.mktemp(kind)
        torch.manual_seed(1)
        AutoModelForPreTraining.from_config(SMALL_CONFIGS[kind]).save_pretrained(folders[kind])
        DNATokenizer(cls_sep=kind == "mxdna").save_pretrained(folders[kind])
    return folders


def check_cover(rows, genome):
    for record in genome.records:
        position = 0
        for name, start, end, *_ in rows:
            if name == record.name:
                assert start == position < end
                position = end
        assert position == record.length_bp


def read_rows(path):
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    return [(name, int(start), int(end), *rest) for name, start, end, *rest in rows]


def test_dnachunker_writes_a_file_for_each_stage(run, models, fasta, tmp_path):
    words = ["--fasta", fasta, "--output", tmp_path / "t.bed"]
    result = run("tokenize", "--model", models["dnachunker"], *words)
    assert result.status == 0, result.err
    fine, coarse = read_bed(tmp_path / "t.stage_0.bed"), read_bed(tmp_path / "t.bed")
    genome = Genome(fasta)
    check_cover(fine, genome)
    check_cover(coarse, genome)
    assert {row[:2] for row in coarse} < {row[:2] for row in fine}
    metrics = json.loads((tmp_path / "t.json").read_text())["metrics"]
    assert (metrics["tokens"], metrics["stage_0_tokens"]) == (len(coarse), len(fine))
    assert metrics["stage_0_mean_token_bp"] == pytest.approx(genome.length_bp / len(fine))
    assert {path.name for path in tmp_path.iterdir()} == {"t.bed", "t.stage_0.bed", "t.json", "t.png"}


def test_mxdna_names_the_expert_of_each_unit(run, models, tmp_path):
    sequence = "ACGTTGCAACGGATTACAGATTACACCAGT"
    (tmp_path / "short.fa").write_text(f">short\n{sequence}\n")
    words = ["--fasta", tmp_path / "short.fa", "--output", tmp_path / "t.bed"]
    reads = ["--receptive-positions", tmp_path / "reads.tsv"]
    result = run("tokenize", "--model", models["mxdna"], *words, *reads)
    assert result.status == 0, result.err
    ids = DNATokenizer(cls_sep=True)(sequence, return_tensors="pt")["input_ids"]
    tokens = AutoModel.from_pretrained(models["mxdna"])(ids).tokens
    rows = read_rows(tmp_path / "t.bed")
    check_cover(rows, Genome(tmp_path / "short.fa"))
    units = tokens.units
    assert len(rows) == units.num_tokens
    for row, expert, center in zip(rows, units.token_expert[0], units.token_center[0], strict=False):
        assert row[2] - row[1] == expert + 1
        assert row[3] == f"expert_{expert}"
        probability = units.router_probability[0, center, expert].item()
        assert int(row[4]) == round(1000 * probability)
        assert row[8] == item_rgb(*row[1:3], int(expert))
    lines = read_rows(tmp_path / "reads.tsv")
    assert [line[:3] for line in lines] == [row[:3] for row in rows]
    # Untrained, a token reads its own unit's centre and its two neighbours'; the first base is 0.
    for index, line in enumerate(lines):
        places = tokens.centers[0, index : index + 3] - 1
        assert line[4:7] == tuple(f"{place:.2f}" for place in places.tolist())
        assert line[7:] == ("1.000",) * 3


def test_what_only_one_model_has(run, models, model, fasta, tmp_path):
    words = ["--fasta", fasta, "--output", tmp_path / "t.bed"]
    refused = run("tokenize", "--model", models["mxdna"], *words, "--tokens-per-base", 0.5)
    assert refused.status == 1
    assert (
        "--tokens-per-base is for mergedna and dnachunker; a mxdna model cuts as it learned to" in refused.err
    )
    refused = run("tokenize", "--model", model, *words, "--receptive-positions", tmp_path / "r.tsv")
    assert refused.status == 1
    assert "--receptive-positions is for mxdna; a mergedna model" in refused.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_regions_change_no_token(run, models, fasta, tmp_path, kind):
    def rows(name, *words):
        output = ["--output", tmp_path / name, "--window-bp", 96]
        assert run("tokenize", "--model", models[kind], "--fasta", fasta, *output, *words).status == 0
        return read_rows(tmp_path / name)

    eight = rows("eight.bed")
    assert rows("one.bed", "--batch-size", 1) == eight
    some = rows("some.bed", "--region", "one:1,001-1,200")
    assert some == [row for row in eight if row[0] == "one" and row[1] < 1200 and row[2] > 1000]


@pytest.mark.parametrize("kind", KINDS)
def test_embed(run, models, tmp_path, kind):
    sequence = "ACGTTGCAACGGATTACAGATTACACCAGT"
    (tmp_path / "short.fa").write_text(f">short\n{sequence}\n")
    words = ["embed", "--model", models[kind], "--fasta", tmp_path / "short.fa"]
    assert run(*words, "--output", tmp_path / "e.safetensors").status == 0
    assert run(*words, "--output", tmp_path / "t.safetensors", "--per", "token").status == 0
    with safe_open(tmp_path / "e.safetensors", "pt") as file:
        mean = file.get_tensor("embeddings")
    with safe_open(tmp_path / "t.safetensors", "pt") as file:
        vectors, ends = file.get_tensor("embeddings"), file.get_tensor("end_bp")
    network = AutoModel.from_pretrained(models[kind])
    ids = DNATokenizer(cls_sep=kind == "mxdna")(sequence, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        output = network(ids)
    expected = output.chunk_hidden_state if kind == "dnachunker" else output.last_hidden_state[:, 1:-1]
    torch.testing.assert_close(vectors, expected[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(mean, vectors.mean(0, keepdim=True), rtol=0, atol=1e-5)
    assert ends[-1] == len(sequence)


@pytest.mark.parametrize("kind", KINDS)
def test_pretrain(run, fasta, tmp_path, kind):
    layers = {
        "dnachunker": ["num_hidden_layers=1", "hidden_size=32", "state_size=4", "target_ratio=[0.3,0.4]"],
        "mxdna": ["num_token_layers=1", "num_nucleotide_layers=1", "hidden_size=32"],
    }[kind]
    config = [word for field in layers for word in ("--config", field)]
    quick = ["--max-steps", 2, "--per-device-train-batch-size", 2, "--use-cpu", "--eval-windows", 3]
    out = ["--output-dir", tmp_path / "run", "--window-bp", 64]
    words = ["pretrain", "--model", kind, "--size", "micro", "--fasta", fasta, *out, *quick, *config]
    result = run(*words)
    assert result.status == 0, result.err
    model = AutoModelForPreTraining.from_pretrained(tmp_path / "run")
    assert model.config.model_type == kind
    assert model.config.hidden_size == 32
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert tokenizer("ACG")["input_ids"] == ([2, 5, 6, 7, 3] if kind == "mxdna" else [5, 6, 7])
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    name = "eval_compression_1" if kind == "dnachunker" else "eval_expert_9_share"
    assert name in metrics
    assert "At [MASK], held out" in result.out
