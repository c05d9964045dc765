"""The trained tokenizers that ship, whichever these are; and how names of models are read."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

import dnachunk
from dnachunk.alphabet import MASK_ID
from dnachunk.data import Genome, HeldOutWindows, WindowCollator, default_holdout, packaged_genome
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.errors import ArgumentError
from dnachunk.evaluation import evaluate_masked_bases, letter_frequency_scores
from dnachunk.models import MODEL_TYPES, shipped
from dnachunk.models.loading import load_tokenizer, model_digest, model_files
from dnachunk.training.objectives import objective_of
from dnachunk.training.recipe import Recipe

NAMES = shipped.shipped_names()


@pytest.fixture(scope="module", params=NAMES)
def folder(request):
    return dnachunk.pretrained(request.param)


@pytest.fixture(scope="module")
def network(folder):
    return dnachunk.load(folder.name, device="cpu")


@pytest.fixture(scope="module")
def card(folder):
    return (folder / "README.md").read_text()


def section(card, title):
    return re.search(rf"^## {re.escape(title)}\n\n(.*?)\n(?=\n## |\Z)", card, re.DOTALL | re.MULTILINE)[1]


def rows_of(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_one_of_each_system_ships():
    assert {each.system for each in dnachunk.list_models().models} == set(MODEL_TYPES)


def test_its_files(folder):
    files = {path.name for path in folder.iterdir()}
    assert files == {
        *("README.md", "config.json", "model.safetensors", "results.json", "tokenizer_config.json")
    }
    assert (folder / "model.safetensors").stat().st_size <= shipped.MAX_BYTES
    for path in folder.glob("*.[jm][sd]*[nd]"):
        # Where the files of a training were is nobody's business.
        assert not re.search(r"(?<![\w.])/\w+/", path.read_text()), path.name


def test_weights_are_stored_in_half_and_loaded_in_full_precision(folder, network):
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert all(tensor.isfinite().all() for tensor in stored.values())
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["mismatched_keys"]
    for loaded in (model, network):
        assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    parameters = dict(network.named_parameters())
    assert set(parameters) <= set(stored)
    assert all(torch.equal(stored[name].float(), value) for name, value in parameters.items())
    for name, value in model.named_parameters():
        assert torch.equal(value, parameters[f"model.{name}"])
    half = dnachunk.load(folder.name, device="cpu", dtype="bfloat16")
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


def test_it_knows_bases_of_a_genome_that_it_has_not_seen(folder, network):
    genome = Genome(packaged_genome())
    windows = HeldOutWindows([genome], 512, default_holdout([genome], 512), max_windows=16)
    batch = WindowCollator()([windows[index] for index in range(16)])
    objective = objective_of(network.config, load_tokenizer(folder))
    found = evaluate_masked_bases(lambda inputs: objective.predict(network, inputs), [batch], seed=0)
    masked = mask_bases(batch["input_ids"], mask_seeds(0, batch["sample_index"]))
    letters = letter_frequency_scores(
        [genome.fetch(0, 0, 900_000)[0]],
        masked.input_ids,
        batch["input_ids"],
        masked.input_ids == MASK_ID,
    )
    assert found.masked_count == letters.masked_count > 800
    assert found.masked_nats < letters.masked_nats


def test_its_tokens(network):
    genome = Genome(packaged_genome())
    tokens = list(dnachunk.tokenize_genome(network, genome, region="CHLTCG:990001-992000"))
    ids, _ = genome.fetch(0, tokens[0].start_bp, tokens[-1].end_bp)
    assert "".join(token.sequence for token in tokens) == dnachunk.DNATokenizer().decode(ids)
    lengths = torch.tensor([token.end_bp - token.start_bp for token in tokens], dtype=torch.float64)
    assert 1.2 < lengths.mean() < 32
    assert len(lengths.unique()) >= 3
    # The same word is cut out at many places.
    assert len({token.sequence for token in tokens}) < len(tokens) - 10


def test_its_card(folder, card, tmp_path):
    assert "no foundation models" in section(card, "What it is for")
    assert f'dnachunk.load("{folder.name}")' in section(card, "Loading")
    (tmp_path / "recipe.toml").write_text(re.search(r"```toml\n(.*?)```", card, re.DOTALL)[1])
    fields = Recipe.read(tmp_path / "recipe.toml").fields
    training = section(card, "Training")
    assert f"with seed {fields['seed']}." in training
    assert f": {fields['max_steps']:,} steps, " in training
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    held_out = {name: nats for name, _, nats in rows_of(section(card, "At [MASK], held out"))}
    assert held_out["end"] == f"{metrics['eval_masked_nats']:.4f}"
    assert float(held_out["end"]) < float(held_out["letter frequencies"])
    assert [name for name in held_out if name.startswith("best fixed context (")]
    losses = rows_of(section(card, "Loss"))
    assert len(losses) >= 5
    assert losses[-1][0] == f"{fields['max_steps']:,}"
    assert float(losses[-1][1]) < float(next(loss for _, loss, _ in losses if loss))
    (listed,) = (each for each in dnachunk.list_models().models if each.name == folder.name)
    assert listed.genomes
    assert all(name in training for name in listed.genomes)
    of_genomes = dict(row[::2] for row in rows_of(section(card, "At [MASK], by genome")))
    assert set(of_genomes) == set(listed.genomes)


def test_what_the_list_says(folder, network):
    (listed,) = (each for each in dnachunk.list_models().models if each.name == folder.name)
    assert listed.num_parameters == sum(parameter.numel() for parameter in network.parameters())
    assert listed.system == network.config.model_type
    assert listed.num_bytes == (folder / "model.safetensors").stat().st_size
    told = str(dnachunk.list_models())
    assert f"{folder.name}: {listed.purpose} Trained on " in told
    assert f"{listed.num_parameters:,}" in told


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A model that ships, by the name of toy-micro, and an empty folder to work in."""
    config = dnachunk.MxDNAConfig(
        hidden_size=32, num_attention_heads=2, num_nucleotide_layers=1, num_token_layers=1
    )
    packaged = tmp_path / "packaged"
    torch.manual_seed(0)
    dnachunk.MxDNAForMaskedLM(config).save_pretrained(packaged / "toy-micro")
    dnachunk.DNATokenizer(cls_sep=True).save_pretrained(packaged / "toy-micro")
    monkeypatch.setattr(shipped, "PACKAGED", packaged)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return packaged / "toy-micro"


def test_a_name_is_a_folder(toy):
    assert dnachunk.pretrained("toy-micro") == toy
    assert type(AutoModel.from_pretrained(dnachunk.pretrained("toy-micro"))) is dnachunk.MxDNAModel
    assert AutoTokenizer.from_pretrained(dnachunk.pretrained("toy-micro")).cls_sep
    assert load_tokenizer("toy-micro").cls_sep
    assert model_files("toy-micro") == model_files(toy)
    assert model_digest("toy-micro") == model_digest(toy)
    assert type(dnachunk.load("toy-micro")) is dnachunk.MxDNAForMaskedLM


def test_a_folder_of_that_name_goes_before_it(toy, tmp_path):
    config = dnachunk.MxDNAConfig(
        hidden_size=16, num_attention_heads=2, num_nucleotide_layers=1, num_token_layers=1
    )
    dnachunk.MxDNAForMaskedLM(config).save_pretrained(tmp_path / "here" / "toy-micro")
    assert dnachunk.load("toy-micro").config.hidden_size == 16
    assert dnachunk.pretrained("toy-micro") == toy


def test_a_file_of_that_name_does_not(toy, tmp_path):
    (tmp_path / "here" / "toy-micro").touch()
    assert type(dnachunk.load("toy-micro")) is dnachunk.MxDNAForMaskedLM


@pytest.mark.parametrize("name", ["toy_micro", "packaged/toy-micro"])
def test_what_is_neither_is_told_with_the_names(toy, name):
    with pytest.raises(FileNotFoundError, match=f"one that holds a model, or one of toy-micro, got {name}"):
        dnachunk.load(name)


def test_the_nearest_name_is_told(toy):
    with pytest.raises(ArgumentError, match="one of toy-micro, got toy-mikro; did you mean toy-micro"):
        dnachunk.pretrained("toy-mikro")
    with pytest.raises(FileNotFoundError, match="got toy-mikro; did you mean toy-micro"):
        dnachunk.load("toy-mikro")
    with pytest.raises(ArgumentError, match="one of toy-micro, got ../packaged/toy-micro"):
        dnachunk.pretrained("../packaged/toy-micro")
