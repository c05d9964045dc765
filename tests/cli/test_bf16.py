"""Matrix products in bfloat16, of every command that runs a model on new data."""

import contextlib
import inspect
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from transformers import AutoModelForMaskedLM

import dnachunk
from dnachunk.cli.app import app
from tests.cli.test_outputs import FILES, classifier, commands, labelled, scan, vcf  # noqa: F401
from tests.training.runs import SMALL_CONFIGS

COMMANDS = ["browse", "embed", "predict", "score-mutations", "score-variants", "tokenize"]


@contextlib.contextmanager
def counted_products():
    """Counts the dtypes that linear layers give."""
    found = Counter()

    def count(module, inputs, output):
        del inputs
        # On four bases browse finds out what a tokenizer has to say.
        if isinstance(module, nn.Linear) and output[..., 0].numel() > 4:
            found[output.dtype] += 1

    handle = register_module_forward_hook(count)
    try:
        yield found
    finally:
        handle.remove()


def test_the_commands_that_have_it():
    having = [
        command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if "bf16" in inspect.signature(command.callback).parameters
    ]
    assert sorted(having) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_products_are_in_bfloat16_where_that_is_asked_for(run, commands, tmp_path, command):  # noqa: F811
    if command == "browse":
        pytest.importorskip("igv_notebook", reason="igv-notebook is not installed")
    words, _ = commands[command]
    counts = []
    for flags in ([], ["--bf16"]):
        to = ["--output", tmp_path / FILES[command]] if command in FILES else ["--output-dir", tmp_path / "o"]
        with counted_products() as found:
            result = run(command, *words, *to, *flags)
        assert result.status == 0, result.err
        counts.append(found)
    wide, narrow = counts
    assert set(wide) == {torch.float32}
    assert set(narrow) == {torch.bfloat16}
    assert wide.total() == narrow.total() > 0


@pytest.fixture(scope="module")
def models():
    """Of each kind one whose choices are far from ties, as a trained one's are."""
    found = {}
    for kind, config in SMALL_CONFIGS.items():
        torch.manual_seed(1)
        wide = type(config).from_dict({**config.to_dict(), "initializer_range": 0.2})
        found[kind] = AutoModelForMaskedLM.from_config(wide).eval()
    return found


@pytest.mark.parametrize("kind", SMALL_CONFIGS)
def test_tokens_are_nearly_those_of_float32_and_of_any_batch_size(models, fasta, kind):
    edges = [
        {(token.record, token.start_bp) for token in tokens}
        for tokens in (
            dnachunk.tokenize_genome(models[kind], fasta, window_bp=256, **options)
            for options in (
                {},
                {"bf16": True},
                {"bf16": True, "batch_size": 1},
                {"bf16": True, "batch_size": 3},
            )
        )
    ]
    exact, rough, *others = edges
    assert len(exact & rough) >= 0.8 * len(exact | rough)
    for other in others:
        assert other == rough


@pytest.mark.parametrize("per", ["record", "token"])
@pytest.mark.parametrize("kind", SMALL_CONFIGS)
def test_vectors_are_float32_and_close(models, fasta, kind, per):
    exact, rough = (
        dnachunk.embed_genome(models[kind], fasta, per=per, reverse_complement="average", bf16=bf16)
        for bf16 in (False, True)
    )
    assert rough.embeddings.dtype == torch.float32
    assert not torch.equal(exact.embeddings, rough.embeddings)
    if per == "record":
        assert torch.cosine_similarity(exact.embeddings, rough.embeddings).min() > 0.999
    again = dnachunk.embed_genome(models[kind], fasta, per=per, reverse_complement="average", bf16=True)
    assert torch.equal(again.embeddings, rough.embeddings)
    one = dnachunk.embed_genome(
        models[kind], fasta, per=per, reverse_complement="average", bf16=True, batch_size=1
    )
    torch.testing.assert_close(one.embeddings, rough.embeddings, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("kind", SMALL_CONFIGS)
def test_scores_are_close(models, fasta, vcf, kind):  # noqa: F811
    exact, rough, one = (
        [
            (allele.log_likelihood_ratio, allele.embedding_distance)
            for allele in dnachunk.score_variants(models[kind], fasta, vcf, **options)
        ]
        for options in ({}, {"bf16": True}, {"bf16": True, "batch_size": 1})
    )
    assert rough != exact
    for other in (exact, one):
        torch.testing.assert_close(torch.tensor(rough), torch.tensor(other), rtol=0.1, atol=0.01)


def test_nothing_of_it_is_left(models, fasta):
    model = models["mergedna"]
    before = [tokens.edges for tokens in dnachunk.tokenize_genome(model, fasta).tiles()]
    tiles = dnachunk.tokenize_genome(model, fasta, bf16=True).tiles()
    next(tiles)
    assert not torch.is_autocast_enabled("cpu")
    tiles.close()
    after = [tokens.edges for tokens in dnachunk.tokenize_genome(model, fasta).tiles()]
    assert all(map(torch.equal, before, after))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
