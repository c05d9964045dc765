"""What models cost, against formulas by hand and bytes that are known."""

import copy
import json

import pytest
import torch

import dnachunk
from dnachunk import DNATokenizer, MergeDNAConfig, MergeDNAForMaskedLM, MxDNAConfig, MxDNAForMaskedLM
from dnachunk.baselines import baseline_config, forward_flops
from dnachunk.data import Genome, packaged_genome
from dnachunk.errors import ArgumentError, UsageError
from dnachunk.evaluation.cost import LiveTensors
from tests.training.runs import FEW_LAYERS

LENGTH = 60
QUICK = {"length_bp": LENGTH, "repeats": 1, "size": "micro"}


@pytest.fixture(scope="module")
def merge():
    torch.manual_seed(1)
    return MergeDNAForMaskedLM(MergeDNAConfig(**FEW_LAYERS))


def test_a_baseline_counts_its_matrix_products():
    found = dnachunk.profile(tokenizer=["base", "6mer", "3mer-overlapping"], **QUICK)
    for name, tokens in (("base", LENGTH), ("6mer", LENGTH // 6), ("3mer-overlapping", LENGTH)):
        vocabulary = 10 + {"base": 0, "6mer": 4**6, "3mer-overlapping": 4**3}[name]
        cost = found.models[name].costs[LENGTH]
        config = baseline_config("micro", vocabulary)
        assert cost.tokens == tokens
        assert cost.forward_flops == forward_flops(config, tokens)
        # Twice the products, and attention's scores once more where its kernel computes them again.
        scores = 2 * config.num_hidden_layers * tokens**2 * config.hidden_size
        assert cost.backward_flops == 2 * cost.forward_flops + scores
        # The embedding is the output's weight.
        layer = 4 * config.hidden_size**2 + 3 * config.hidden_size * config.intermediate_size
        norms = (2 * config.num_hidden_layers + 1) * config.hidden_size
        expected = config.num_hidden_layers * layer + norms + vocabulary * config.hidden_size
        assert found.models[name].parameters == expected


def test_a_model_of_ours_counts_its_linear_layers_and_its_windows(merge):
    config, linear = merge.config, []
    hooks = [
        module.register_forward_hook(
            lambda module, inputs, _: linear.append(2 * inputs[0].numel() * module.weight.shape[0])
        )
        for module in merge.modules()
        if isinstance(module, torch.nn.Linear)
    ]
    ids, _ = Genome(packaged_genome()).fetch(0, 0, LENGTH)
    with torch.no_grad():
        merge.eval()(ids.long()[None])
    for hook in hooks:
        hook.remove()
    cost = dnachunk.profile(model={"merge": merge}, **QUICK).models["merge"].costs[LENGTH]
    assert cost.tokens == merge.encode_tokens(ids.long()[None]).segmentation.num_tokens
    # What else there is, attention, is some but less than the layers.
    assert 0 < cost.forward_flops - sum(linear) < sum(linear)
    assert config.model_type == "mergedna"


def test_a_step_of_twice_the_length_and_of_fewer_tokens(merge):
    found = dnachunk.profile(model={"merge": merge}, **(QUICK | {"length_bp": [2 * LENGTH, LENGTH, LENGTH]}))
    costs = found.models["merge"].costs
    assert list(costs) == [LENGTH, 2 * LENGTH]
    assert costs[2 * LENGTH].forward_flops > 1.9 * costs[LENGTH].forward_flops
    fewer = (
        dnachunk.profile(model={"merge": merge}, tokens_per_base=0.3, **QUICK).models["merge"].costs[LENGTH]
    )
    assert fewer.tokens == 18 < costs[LENGTH].tokens
    assert fewer.forward_flops < costs[LENGTH].forward_flops


def test_the_memory_of_tensors_alive():
    x, layer = torch.zeros(100, 8), torch.nn.Linear(8, 8, bias=False)
    held = 4 * (100 * 8 + 8 * 8)
    with LiveTensors([x, *layer.parameters()]) as live, torch.no_grad():
        # Three at most: the input, a result, and the next; views have no memory.
        y = layer(x)
        y = y.view(-1).view(100, 8)
        for _ in range(5):
            y = layer(y)
    assert live.peak_bytes == held + 2 * 4 * 100 * 8
    assert live.bytes == held + 4 * 100 * 8
    with LiveTensors([x, *layer.parameters()]) as live:
        kept = [layer(x).add_(1) for _ in range(3)]
        del kept
    assert live.peak_bytes == held + 3 * 4 * 100 * 8
    assert live.bytes == held


def test_memory_speed_and_what_is_written(merge, tmp_path):
    before = copy.deepcopy(merge.train().state_dict())
    found = dnachunk.profile(tmp_path, model={"merge": merge}, backward=False, **QUICK)
    cost = found.models["merge"].costs[LENGTH]
    weights = sum(4 * parameter.numel() for parameter in merge.parameters())
    assert weights < cost.forward_peak_bytes < weights + 4_000_000
    assert cost.backward_flops is cost.step_peak_bytes is cost.step_seconds is None
    metrics = json.loads((tmp_path / "results.json").read_text())["metrics"]
    written = metrics["models"]["merge"]["lengths_bp"][str(LENGTH)]
    assert written["forward_flops"] == 2 * written["forward_macs"] == cost.forward_flops
    assert written["forward_bases_per_second"] == pytest.approx(LENGTH / cost.forward_seconds)
    assert written["step_bases_per_second"] is None
    assert metrics["peak_memory"] == "tensors alive"
    assert f"{cost.forward_flops / 1e9:,.3f}" in str(found)
    assert found._repr_html_().count("<table>") == 2
    # The caller's model is as it was.
    assert merge.training
    assert all(torch.equal(value, before[name]) for name, value in merge.state_dict().items())
    whole = dnachunk.profile(model={"merge": merge}, **QUICK).models["merge"].costs[LENGTH]
    assert whole.forward_flops == cost.forward_flops
    assert whole.backward_flops > 1.5 * whole.forward_flops
    # Gradients of all weights are there at the end.
    assert whole.step_peak_bytes > 2 * weights


def test_folders_kinds_and_tokenizers(tmp_path):
    torch.manual_seed(1)
    config = MxDNAConfig(hidden_size=32, num_attention_heads=2, num_nucleotide_layers=1, num_token_layers=1)
    MxDNAForMaskedLM(config).save_pretrained(tmp_path / "mx")
    DNATokenizer(cls_sep=True).save_pretrained(tmp_path / "mx")
    found = dnachunk.profile(model=[tmp_path / "mx", "dnachunker"], tokenizer="bpe-64", **QUICK)
    assert list(found.models) == ["mx", "dnachunker", "bpe-64"]
    assert found.models["dnachunker"].parameters == sum(
        parameter.numel()
        for parameter in dnachunk.DNAChunkerForMaskedLM(dnachunk.DNAChunkerConfig.micro()).parameters()
    )
    assert all(1 <= model.costs[LENGTH].tokens <= LENGTH for model in found.models.values())
    again = dnachunk.profile(model=[tmp_path / "mx", "dnachunker"], tokenizer="bpe-64", **QUICK)
    counts = [
        [model.costs[LENGTH].forward_flops for model in each.models.values()] for each in (found, again)
    ]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({}, UsageError, "at least one model or tokenizer must be given"),
        (
            {"model": "mergedna", "length_bp": 0},
            ArgumentError,
            "length_bp must be a whole number of at least 1",
        ),
        ({"model": "mergedna", "length_bp": []}, UsageError, "one length or several, got none"),
        (
            {"model": "mergedna", "length_bp": 2_000_000},
            ArgumentError,
            "longest record has 1,042,519 bases, got 2,000,000",
        ),
        (
            {"model": "mergedma"},
            ArgumentError,
            "a folder of a model, or of dnachunker, mergedna, mxdna, .*got mergedma",
        ),
        (
            {"model": "mergedna", "size": "huge"},
            ArgumentError,
            "size must be micro or tiny or base, got huge",
        ),
        ({"model": ["mergedna", "mergedna"]}, UsageError, "several models are called mergedna"),
        ({"tokenizer": "9mer"}, ValueError, "name must be base, 1mer to 8mer"),
        ({"model": "mergedna", "repeats": 0}, ArgumentError, "repeats must be a whole number of at least 1"),
        ({"tokenizer": "6mer", "tokens_per_base": 0.3}, UsageError, "got 0.3 for neither"),
        ({"model": "mergedna", "tokens_per_base": 2}, ArgumentError, r"tokens_per_base must be in \(0, 1\]"),
    ],
)
def test_bad_arguments(tmp_path, arguments, error, said):
    with pytest.raises(error, match=said):
        dnachunk.profile(tmp_path, **(QUICK | arguments))
    assert not list(tmp_path.iterdir())


def test_a_length_that_a_model_does_not_take(tmp_path):
    config = MergeDNAConfig(**FEW_LAYERS)
    config.max_length_bp = 50
    with pytest.raises(ArgumentError, match="length_bp must be at most 50 for merge, got 60"):
        dnachunk.profile(model={"merge": MergeDNAForMaskedLM(config)}, **QUICK)
    (tmp_path / "short.fa").write_text(">a\nACGTNACGTA\n>b\nACGT\n")
    with pytest.raises(
        ArgumentError, match="stretch without N in .*short.fa, whose longest record has 10 bases"
    ):
        dnachunk.profile(model="mergedna", fasta=tmp_path / "short.fa", **(QUICK | {"length_bp": 10}))
