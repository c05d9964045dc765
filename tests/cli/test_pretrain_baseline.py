import json

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from dnachunk import DNATokenizer, FixedTokenizer
from dnachunk.baselines import baseline_config
from dnachunk.evaluation import load_zero_shot
from dnachunk.evaluation.token_letters import hidden_base_logits
from tests.cli.test_pretrain import last_line, refused

TINY = ["--config", "hidden_size=32", "--config", "num_hidden_layers=1", "--use-cpu"]
QUICK = {"--window-bp": 64, "--max-steps": 4, "--per-device-train-batch-size": 2, "--eval-windows": 5}


def pretrain(run, fasta, output_dir, tokenizer, *words):
    options = ["--fasta", fasta, "--output-dir", output_dir, "--size", "micro"]
    quick = [word for option in QUICK.items() if option[0] not in words for word in option]
    return run("pretrain", "--model", "baseline", "--tokenizer", tokenizer, *options, *TINY, *quick, *words)


def test_it_trains_saves_and_tells(run, fasta, tmp_path):
    counts = set()
    for name in ("base", "6mer-overlapping", "bpe-32"):
        output_dir = tmp_path / name
        result = pretrain(run, fasta, output_dir, name)
        assert result.status == 0, result.err
        model = AutoModelForMaskedLM.from_pretrained(output_dir)
        tokenizer = AutoTokenizer.from_pretrained(output_dir)
        assert isinstance(tokenizer, FixedTokenizer)
        assert model.config.model_type == "eurobert"
        assert (model.config.vocab_size, model.config.train_length_bp) == (len(tokenizer), 64)
        assert (model.config.hidden_size, model.config.num_hidden_layers) == (32, 1)
        metrics = json.loads((output_dir / "results.json").read_text())["metrics"]
        assert metrics["eval_loss"] > 0
        tokens = f"{name}, {len(tokenizer):,} ids, {metrics['eval_compression']:.2f} bases each"
        assert f"Tokens     {tokens}" in result.out
        assert "parameters: embed_tokens" in result.out
        lines = result.out.splitlines()
        for kind, title, is_there in (
            ("masked", "At [MASK], held out", name != "bpe-32"),
            ("masked_token", "At hidden tokens, by base", name != "6mer-overlapping"),
        ):
            assert is_there == (f"eval_{kind}_nats" in metrics)
            shown = [place for place, line in enumerate(lines) if line.startswith(title)]
            assert len(shown) == is_there
            for place in shown:
                assert f"{metrics[f'start_eval_{kind}_nats']:.4f}" in lines[place + 1]
                assert f"{metrics[f'eval_{kind}_nats']:.4f}" in lines[place + 2]
        if name != "bpe-32":
            counts.add((metrics["eval_masked_count"], metrics["letters_eval_masked_nats"]))
    assert len(counts) == 1, "all are asked for the same bases"


def test_byte_pairs_are_of_what_is_not_held_out_and_the_same_when_resumed(run, tmp_path):
    fasta = tmp_path / "genome.fa"
    fasta.write_text(">one\n" + "AACA" * 500 + "\n>two\n" + "GGCG" * 100 + "\n")
    words = ["--holdout", "two", "--max-steps", 20, "--save-steps", 10, "--eval-strategy", "no"]
    result = pretrain(run, fasta, tmp_path / "whole", "bpe-32", *words)
    assert result.status == 0, result.err
    tokens = AutoTokenizer.from_pretrained(tmp_path / "whole").get_vocab()
    assert any("AACA" in token for token in tokens)
    # Either strand is read: of AACA the other is TGTT.
    assert any("TGTT" in token for token in tokens)
    assert not any("GG" in token or "CC" in token for token in tokens)

    (tmp_path / "part").mkdir()
    (tmp_path / "whole" / "checkpoint-10").rename(tmp_path / "part" / "checkpoint-10")
    result = pretrain(run, fasta, tmp_path / "part", "bpe-32", *words, "--resume-from-checkpoint", "last")
    assert result.status == 0, result.err
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "part" / name).read_bytes()


@pytest.mark.parametrize("name", ["base", "3mer", "3mer-overlapping"])
def test_variants_are_scored_by_words(tmp_path, name):
    tokenizer = FixedTokenizer.from_name(name)
    config = baseline_config("micro", len(tokenizer), num_hidden_layers=1, train_length_bp=64)
    network = AutoModelForMaskedLM.from_config(config).eval()
    network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, window_bp = load_zero_shot(tmp_path, None)
    assert window_bp == 64
    batch = DNATokenizer()(["ACG[MASK]TTACGA", "AC[MASK]"], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = hidden_base_logits(network, tokenizer, **batch)
        torch.testing.assert_close(model.predict(dict(batch)), expected)
        batch = DNATokenizer()(["ACGATTACGA", "ACT"], padding=True, return_tensors="pt")
        vectors = model.embed(dict(batch))
        for row, text in enumerate(["ACGATTACGA", "ACT"]):
            hidden = network.model(**tokenizer(text, return_tensors="pt")).last_hidden_state
            torch.testing.assert_close(vectors[row], hidden.mean(dim=1)[0])


def test_variants_are_not_scored_by_byte_pairs(tmp_path):
    tokenizer = FixedTokenizer.from_name("bpe-20", ["ACGT" * 20])
    AutoModelForMaskedLM.from_config(baseline_config("micro", len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="byte-pair encoding gives no probability of a single base"):
        load_zero_shot(tmp_path, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "baseline", "--tokenizer", "9mer"], "--tokenizer must be base, 1mer to 8mer"),
        (["--model", "baseline", "--tokenizer", "9mer"], "got '9mer'"),
        (["--model", "baseline", "--tokenizer", "bpe-9"], "bpe-11 to bpe-65536, got 'bpe-9'"),
        (["--model", "baseline"], "--model baseline needs --tokenizer beside it"),
        (["--model", "mergedna", "--tokenizer", "6mer"], "mergedna learns its tokens, got 6mer"),
        (["--tokenizer", "6mer"], "--tokenizer is for --model baseline"),
        (["--model", "baseline", "--tokenizer", "base", "--config", "hidden_size"], "FIELD=VALUE"),
    ],
)
def test_wrong_command_lines(run, fasta, tmp_path, words, said):
    result = run("pretrain", "--fasta", fasta, "--output-dir", tmp_path / "run", *words)
    assert result.status == 2
    assert said in last_line(result.err)
    assert "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config", "colour=3"], "got colour=3"),
        (["--config", "hidden_size=33"], "hidden size (33) is not a multiple"),
        (["--config", "hidden_size=wide"], "'wide'"),
        (["--config", "vocab_size=5"], "multiple values for argument 'vocab_size'"),
        (["--window-bp", 5000], "the longest, 'one', has 4000 bp, got 5000"),
    ],
)
def test_values_out_of_range(run, fasta, tmp_path, words, said):
    assert said in refused(pretrain(run, fasta, tmp_path / "run", "6mer", *words))
    assert not list(tmp_path.glob("run/*"))
