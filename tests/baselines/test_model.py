import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from dnachunk import FixedTokenizer, MergeDNAConfig, MergeDNAForSequenceClassification
from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.baselines import baseline_config, forward_flops
from dnachunk.data.examples import ExampleCollator
from dnachunk.data.task import Examples, Problem, Task
from dnachunk.training.adaptation import load_with_head


def num_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("size", "trunk", "learned"),
    [("micro", 1_706_112, MergeDNAConfig.micro()), ("tiny", 8_033_536, MergeDNAConfig.tiny())],
)
def test_the_trunk_is_the_same_for_all_and_as_large_as_mergednas(size, trunk, learned):
    with torch.device("meta"):
        for ids in (10, 4106):
            model = AutoModelForMaskedLM.from_config(baseline_config(size, ids))
            embeddings = model.get_input_embeddings().weight
            assert num_parameters(model) - embeddings.numel() == trunk
            assert embeddings.shape[0] == model.get_output_embeddings().weight.shape[0] == ids
        assert num_parameters(MergeDNAForSequenceClassification(learned)) == pytest.approx(trunk, rel=0.05)
    config = baseline_config(size)
    assert (config.hidden_size, config.train_length_bp) == (learned.hidden_size, learned.train_length_bp)
    assert config.intermediate_size == learned.intermediate_size


def test_base_size():
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(baseline_config("base"))
    assert num_parameters(model) == 303_623_168
    assert model.config.train_length_bp == 4096


@pytest.mark.parametrize("ids", [10, 4106])
def test_flops_are_those_that_torch_counts(ids):
    config = baseline_config("micro", ids)
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(config, attn_implementation="eager")
        input_ids = torch.zeros(1, 87, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=input_ids)
    assert forward_flops(config, 87) == counter.get_total_flops()


def test_saved_and_loaded_with_every_head(tmp_path):
    tokenizer = FixedTokenizer.from_name("3mer")
    model = AutoModelForMaskedLM.from_config(baseline_config("micro", len(tokenizer), num_hidden_layers=1))
    model.eval().save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).train_length_bp == 512
    batch = tokenizer(["ACGTACGTTA", "ACG"], padding=True, return_tensors="pt")
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert loaded.config._attn_implementation == "sdpa"
    logits = model(**batch).logits
    torch.testing.assert_close(loaded(**batch).logits, logits)
    torch.testing.assert_close(loaded(**tokenizer("ACG", return_tensors="pt")).logits, logits[1:, :1])
    for head in (AutoModelForSequenceClassification, AutoModelForTokenClassification):
        output = head.from_pretrained(tmp_path, num_labels=3)(**batch).logits
        assert output.shape == ((2, 3) if head is AutoModelForSequenceClassification else (2, 4, 3))


@pytest.mark.parametrize("problem", [Problem.single_label, Problem.per_base])
def test_it_is_fine_tuned(tmp_path, problem):
    tokenizer = FixedTokenizer.from_name("3mer-overlapping")
    config = baseline_config("micro", len(tokenizer), num_hidden_layers=1)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    sequences, labels = ["ACGTTN", "GGA"], [[0, 1, 1, 0, 1, 0], [1, 1, 0]]
    targets = labels if problem is Problem.per_base else [0, 1]
    examples = Examples(sequences, targets, ["1", "2"])
    model = load_with_head(tmp_path, Task(problem, ("0", "1"), examples, examples))
    batch = ExampleCollator(tokenizer, model, problem)(
        [{"sequence": s, "target": t, "both_strands": False} for s, t in zip(sequences, targets, strict=True)]
    )
    if problem is Problem.per_base:
        # A word begins at each base.
        assert batch["labels"].tolist() == [labels[0], [*labels[1], *[IGNORE_INDEX] * 3]]
    model(**batch).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "huge"}, "size must be of micro, tiny, base, got 'huge'"),
        ({"size": "micro", "hidden_sizes": 3}, "got hidden_sizes=3"),
        ({"size": "micro", "pad_token_id": 3}, "that the tokenizer does not settle, got pad_token_id=3"),
        ({"size": "micro", "train_length_bp": 0}, "train_length_bp must be an int of at least 1, got 0"),
        ({"size": "micro", "train_length_bp": "a"}, "train_length_bp must be an int of at least 1, got 'a'"),
        ({"size": "micro", "hidden_size": 130}, r"baseline_config: .*hidden size \(130\) is not a multiple"),
        ({"size": "micro", "hidden_size": "wide"}, r"'hidden_size' expected int, got str \(value: 'wide'\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        baseline_config(**arguments)
