import json
import shutil

import pytest
import safetensors.torch
import torch
from transformers import AutoModel, AutoModelForPreTraining, AutoModelForSequenceClassification

from dnachunk import DNATokenizer, MergeDNAConfig, MergeDNAForPreTraining, MergeDNAModel
from dnachunk.files import written_whole
from dnachunk.models.loading import load_pretrained, load_tokenizer, model_digest
from dnachunk.training.adaptation import is_of_head
from tests.training.runs import FEW_LAYERS


@pytest.fixture
def saved(tmp_path):
    model = MergeDNAForPreTraining(MergeDNAConfig(**FEW_LAYERS))
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edit(directory, change):
    tensors = safetensors.torch.load_file(directory / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def test_it_loads_the_whole_or_a_part(saved):
    whole = load_pretrained(AutoModelForPreTraining, saved)
    part = load_pretrained(AutoModel, saved)
    assert isinstance(whole, MergeDNAForPreTraining)
    assert isinstance(part, MergeDNAModel)
    assert not part.training
    for name, weight in part.state_dict().items():
        assert torch.equal(weight, whole.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_latent_encoder_layers", 1000), ("hidden_size", 1 << 20), ("num_labels", 10**6)],
)
def test_a_configuration_far_larger_than_its_weights_is_refused(saved, field, value):
    fields = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**fields, field: value}))
    with pytest.raises(
        ValueError, match=r"of a model of [\d,]+ parameters, and the weights .* \d+,\d+ bytes"
    ):
        load_pretrained(AutoModelForSequenceClassification, saved, may_be_new=is_of_head)


def test_a_missing_tensor_is_named(saved):
    edit(saved, lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(ValueError, match=r"do not fit: lm_head.weight is missing"):
        load_pretrained(AutoModelForPreTraining, saved)
    load_pretrained(AutoModel, saved)


def test_a_tensor_of_another_shape_is_named(saved):
    edit(saved, lambda tensors: tensors.update({"model.embed_tokens.weight": torch.zeros(10, 16)}))
    with pytest.raises(ValueError, match=r"model.embed_tokens.weight is \[10, 16\] and must be \[10, 32\]"):
        load_pretrained(AutoModelForPreTraining, saved)
    with pytest.raises(ValueError, match=r"embed_tokens.weight is \[10, 16\] and must be \[10, 32\]"):
        load_pretrained(AutoModel, saved)


def test_truncated_weights_are_an_error(saved):
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cannot be read"):
        load_pretrained(AutoModelForPreTraining, saved)


@pytest.mark.parametrize("name", ["missing", ".", "file"])
def test_what_is_no_model_is_an_error(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"model"):
        load_pretrained(AutoModel, tmp_path / name)


def test_a_digest_is_of_what_a_model_is(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    before = model_digest(tmp_path)
    for name in ("results.json", "training_args.bin"):
        (tmp_path / name).write_text("of a training")
        assert model_digest(tmp_path) == before
    shutil.copytree(tmp_path, tmp_path / "copy")
    assert model_digest(tmp_path / "copy") == before
    for name in ("tokenizer_config.json", "vocab.txt", "pytorch_model.bin", "model.safetensors"):
        (tmp_path / name).write_text("other")
        assert model_digest(tmp_path) != before
        before = model_digest(tmp_path)


def test_files_are_written_all_or_none(tmp_path):
    (tmp_path / "a").write_text("old")

    def write_half():
        with written_whole(tmp_path) as staging:
            (staging / "a").write_text("new")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"
    with written_whole(tmp_path) as staging:
        (staging / "a").write_text("new")
        (staging / "b").write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "new"}


def test_a_model_of_ours_has_a_tokenizer_of_ours(tmp_path):
    MergeDNAModel(MergeDNAConfig.micro()).save_pretrained(tmp_path)
    DNATokenizer().save_pretrained(tmp_path)
    assert isinstance(load_tokenizer(tmp_path), DNATokenizer)
    DNATokenizer(cls_sep=True).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"DNATokenizer\(cls_sep=False\), which a mergedna model reads, got DNAT"
    ):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nc\ng\nt\n")
    with pytest.raises(ValueError, match=r"must be DNATokenizer\(cls_sep=False\), .* got Bert"):
        load_tokenizer(tmp_path)
