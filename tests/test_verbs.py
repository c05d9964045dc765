"""The package's verbs, each from a short script on what ships with the package."""

import importlib
import inspect
import itertools
import json

import pytest
import torch

import dnachunk
from dnachunk import DNATokenizer, FixedTokenizer, Segmentation
from dnachunk.data import Genome, HeldOutWindows, Interval, packaged_genome
from dnachunk.errors import ArgumentError, UsageError
from dnachunk.evaluation.boundary_survival import boundary_survival, model_boundaries

# Networks small enough for a test.
SIZES = {
    "mergedna": {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "num_local_encoder_layers": 2,
        "num_latent_encoder_layers": 1,
        "num_latent_decoder_layers": 1,
        "num_local_decoder_layers": 1,
    },
    "dnachunker": {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "num_encoder_layers": 1,
        "num_decoder_layers": 1,
        "num_hidden_layers": 1,
    },
    "mxdna": {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "num_nucleotide_layers": 1,
        "num_token_layers": 1,
    },
}
QUICK = {"max_steps": 2, "per_device_train_batch_size": 2, "save_strategy": "no", "use_cpu": True}
REGION = "CHLTCG:1-3000"


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    """The beginning of the packaged genome, and a short record to be kept for evaluation."""
    path = tmp_path_factory.mktemp("genome") / "part.fa"
    ids, _ = Genome(packaged_genome()).fetch(0, 0, 12_000)
    text = DNATokenizer().decode(ids)
    path.write_text(f">CHLTCG\n{text[:10_000]}\n>rest\n{text[10_000:]}\n")
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory, fasta):
    """A folder with a pre-trained model of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    for kind, config in SIZES.items():
        dnachunk.pretrain(
            fasta,
            folder / kind,
            model=kind,
            size="micro",
            window_bp=64,
            eval_windows=4,
            config=config,
            seed=1,
            **QUICK,
        )
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Labelled windows of the packaged genome: rich in A and T, or poor."""
    path = tmp_path_factory.mktemp("table") / "train.csv"
    genome, rows = Genome(packaged_genome()), ["sequence,label"]
    for start_bp in range(0, 60 * 64, 64):
        ids, _ = genome.fetch(0, start_bp, start_bp + 64)
        text = DNATokenizer().decode(ids)
        rows.append(f"{text},{'rich' if text.count('A') + text.count('T') > 37 else 'poor'}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_pretrain(runs):
    results = json.loads((runs / "mergedna" / "results.json").read_text())
    assert results["command"] == "dnachunk.pretrain"
    assert results["metrics"]["eval_masked_nats"] > 0
    assert (runs / "mergedna" / "model.safetensors").is_file()


def test_what_pretrain_gives(fasta, tmp_path):
    result = dnachunk.pretrain(
        fasta,
        tmp_path / "run",
        size="micro",
        window_bp=64,
        eval_windows=4,
        config=SIZES["mergedna"],
        **QUICK,
    )
    assert not result.model.training
    assert "letter frequencies" in str(result)
    assert f"{result.metrics['eval_masked_nats']:.4f}" in result._repr_html_()
    (tmp_path / "run" / "checkpoint-2").mkdir()
    (tmp_path / "run" / "checkpoint-2" / "trainer_state.json").write_text("{}")
    with pytest.raises(
        ArgumentError, match="holds a run up to checkpoint-2: add resume_from_checkpoint='last'"
    ):
        dnachunk.pretrain(fasta, tmp_path / "run", **QUICK)


def test_nothing_of_the_users_is_replaced(runs, fasta, tmp_path):
    with pytest.raises(ArgumentError, match="holds a model: choose another"):
        dnachunk.pretrain(fasta, runs / "mergedna", **QUICK)
    (tmp_path / "README.md").write_text("my notes")
    dnachunk.pretrain(
        fasta,
        tmp_path,
        size="micro",
        window_bp=64,
        eval_windows=4,
        config=SIZES["mergedna"],
        **QUICK,
    )
    assert (tmp_path / "README.md").read_text() == "my notes"
    card = (runs / "mergedna" / "README.md").read_text()
    assert "# MergeDNAForPreTraining" in card
    assert "Pre-trained on part.fa (12,000 bases): 2 steps" in card
    copy = tmp_path / "copy.fa"
    copy.write_bytes(fasta.read_bytes())
    (tmp_path / "v.vcf").write_text("##fileformat=VCFv4.2\n")
    for call, arguments in (
        (dnachunk.tokenize_genome, {"output": copy}),
        (dnachunk.embed_genome, {"output": tmp_path / "nowhere" / "v.npz"}),
        (dnachunk.score_variants, {"vcf": tmp_path / "v.vcf", "output": copy}),
        (dnachunk.tokenize_genome, {"output": tmp_path / "t.bed", "batch_size": 0}),
    ):
        with pytest.raises((ArgumentError, OSError), match="different files|no folder|batch_size must be"):
            call(runs / "mergedna", copy, **arguments)
    with pytest.raises(ArgumentError, match="fasta and bedgraph must be different files"):
        dnachunk.compare_tokens(copy, model=runs / "dnachunker", bedgraph=copy)
    assert copy.read_bytes() == fasta.read_bytes()


def test_wrong_kinds_of_arguments_are_named(runs, fasta, table, tmp_path):
    model = dnachunk.load(runs / "mergedna", device="cpu")
    for call, said in (
        (lambda: dnachunk.tokenize_genome(None, fasta), "model must be of dnachunker, mergedna, mxdna"),
        (lambda: dnachunk.tokenize_genome(model, fasta, region=5), "region must be a record's name"),
        (lambda: dnachunk.pretrain(fasta, tmp_path, weight="x", **QUICK), "weight must be a number"),
        (lambda: dnachunk.pretrain(fasta, tmp_path, holdout=[5], **QUICK), "holdout must be names"),
        (
            lambda: dnachunk.finetune(runs / "mergedna", tmp_path, train=table, learning_rate=[]),
            "learning_rate must be one value or several, got none",
        ),
        (
            lambda: dnachunk.finetune(runs / "mergedna", tmp_path, train=table, method="lora", lora_alpha=0),
            "alpha must be above 0, got 0",
        ),
        (
            lambda: dnachunk.score_variants(model, fasta, table, positive="AF=>0.05"),
            "must be written FIELD, FIELD=text or FIELD>=number, got 'AF=>0.05'",
        ),
        (lambda: dnachunk.tokenize_genome("6mer", fasta), "give the folder of its network"),
        (lambda: dnachunk.load(runs / "mxdna", dtype="bf16"), "dtype must be the name of a torch.dtype"),
        (
            lambda: dnachunk.finetune(model, tmp_path / "f", train=table),
            "model must be the folder of a model",
        ),
        (lambda: dnachunk.compare_models(tmp_path / "c", model=[model], suite=tmp_path), "folders of models"),
        (
            lambda: dnachunk.finetune(
                runs / "mergedna", tmp_path / "f", train=table, reverse_complement=True
            ),
            "reverse_complement must be none or average",
        ),
        (lambda: dnachunk.finetune(runs / "mergedna", tmp_path / "f", train=table, lora_rank=0), "lora_rank"),
        (lambda: dnachunk.pretrain(fasta, None, **QUICK), "output_dir must be a path, got None"),
    ):
        with pytest.raises((ArgumentError, TypeError, ValueError), match=said):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [*SIZES, "3mer"])
def test_padding_needs_a_mask(runs, kind):
    model = dnachunk.load(
        kind if kind == "3mer" else runs / kind, **({} if kind == "3mer" else {"device": "cpu"})
    )
    batch = DNATokenizer()(["ACGTACGTAC", "ACG"], padding=True, return_tensors="pt")
    with pytest.raises(ValueError, match="attention_mask must be given beside padding"):
        model.encode_tokens(batch["input_ids"])
    with pytest.raises(ValueError, match="attention_mask must be right-padded"):
        model.encode_tokens(batch["input_ids"], batch["attention_mask"].flip(1))
    with pytest.raises(TypeError, match="input_ids must be a torch.Tensor of int64, got list"):
        model.encode_tokens([[5, 6]])


def test_a_loaded_mergedna_learns_on(runs, fasta, tmp_path):
    model = dnachunk.load(runs / "mergedna", device="cpu")
    assert type(model).__name__ == "MergeDNAForMaskedLM"
    result = dnachunk.pretrain(fasta, tmp_path / "run", model=model, eval_windows=4, window_bp=32, **QUICK)
    assert type(result.model).__name__ == "MergeDNAForPreTraining"
    with pytest.raises(ArgumentError, match="head of a masked language model, got a MergeDNAModel"):
        dnachunk.pretrain(fasta, tmp_path / "other", model=model.model, **QUICK)


def test_pretrain_goes_on_with_a_model_that_is_given(runs, fasta, tmp_path):
    model = dnachunk.load(runs / "mxdna", device="cpu").train()
    before = {name: value.clone() for name, value in model.named_parameters()}
    result = dnachunk.pretrain(fasta, tmp_path / "run", model=model, eval_windows=4, **QUICK)
    assert result.model is model
    assert any(not torch.equal(value, before[name]) for name, value in model.named_parameters())


@pytest.mark.parametrize("kind", SIZES)
def test_load_and_encode_tokens(runs, kind):
    model = dnachunk.load(runs / kind, device="cpu")
    assert not model.training
    texts = ["ACGTTGCAACGGTTTTTTACGATCGATCGA", "ACGTTGCAACGG"]
    batch = DNATokenizer()(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        full = model.encode_tokens(**batch)
        short = model.encode_tokens(**batch, vectors=False)
    assert short.vectors is None
    assert full.vectors.shape[2] == 32
    for one, other in zip(full.segmentations, short.segmentations, strict=True):
        assert torch.equal(one.validate().token_index, other.token_index)
        for row, text in enumerate(texts):
            assert "".join(one.tokens(text, row)) == text
    # The finest comes first, and the last one's tokens have the vectors.
    assert (full.segmentations[0].num_tokens >= full.segmentation.num_tokens).all()
    assert full.vectors.shape[1] == int(full.segmentation.num_tokens.max())
    for columns in (full.columns, short.columns):
        assert all(len(values[0]) == full.vectors.shape[1] for values in columns.values())
    if full.boundary_probability is not None:
        assert full.boundary_probability.shape == batch["input_ids"].shape
    assert (kind == "dnachunker") == (full.boundary_probability is not None)
    assert (kind == "mxdna") == ("expert" in full.columns)
    rows = [batch["input_ids"][0], batch["input_ids"][1, : len(texts[1])]]
    for row, begins in enumerate(model_boundaries(model)(rows)):
        assert torch.equal(begins, full.segmentation.boundaries[row, : len(texts[row])])
    alone = DNATokenizer()(texts[1:], return_tensors="pt")
    with torch.inference_mode():
        without_padding = model.encode_tokens(alone["input_ids"])
    assert without_padding.segmentation.tokens(texts[1]) == full.segmentation.tokens(texts[1], 1)


def test_a_budget_is_asked_of_those_that_have_one(runs):
    ids = torch.full((1, 20), 5)
    merged = dnachunk.load(runs / "mergedna", device="cpu").encode_tokens(ids, tokens_per_base=0.3)
    assert merged.segmentation.num_tokens.tolist() == [6]
    # 20 bases, ⌈20 √0.09⌉ chunks, ⌈6 √0.09⌉ of these.
    chunked = dnachunk.load(runs / "dnachunker", device="cpu").encode_tokens(ids, tokens_per_base=0.09)
    assert chunked.segmentation.num_tokens.tolist() == [2]
    for model in (dnachunk.load(runs / "mxdna", device="cpu"), dnachunk.load("3mer")):
        with pytest.raises(ValueError, match="tokens_per_base"):
            model.encode_tokens(ids, tokens_per_base=0.3)
    with pytest.raises(ValueError, match=r"tokens_per_base must be in \(0, 1\], got 0"):
        dnachunk.load(runs / "dnachunker", device="cpu").encode_tokens(ids, tokens_per_base=0)


def test_load_names_and_refuses(runs, tmp_path):
    tokenizer = dnachunk.load("3mer")
    assert isinstance(tokenizer, FixedTokenizer)
    ids = torch.tensor([[5, 6, 7, 8, 5, 0], [5, 6, 7, 8, 5, 6]])
    found = tokenizer.encode_tokens(ids, (ids > 0).long())
    assert found.vectors is None
    assert found.segmentation.num_tokens.tolist() == [3, 2]
    with pytest.raises(ValueError, match="words that overlap"):
        dnachunk.load("3mer-overlapping")
    with pytest.raises(ValueError, match="bpe-64 must be trained first"):
        dnachunk.load("bpe-64")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        dnachunk.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="4mers"):
        dnachunk.load("4mers")
    half = dnachunk.load(runs / "mergedna", device="cpu", dtype="bfloat16")
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


@pytest.mark.slow
def test_a_compiled_model_cuts_alike(runs):
    ids = torch.randint(5, 9, (2, 48), generator=torch.Generator().manual_seed(0))
    plain = dnachunk.load(runs / "mergedna", device="cpu")
    compiled = dnachunk.load(runs / "mergedna", device="cpu", compile=True)
    with torch.no_grad():
        one, other = plain.encode_tokens(ids), compiled.encode_tokens(ids)
    assert torch.equal(one.segmentation.token_index, other.segmentation.token_index)
    torch.testing.assert_close(one.vectors, other.vectors, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", SIZES)
def test_tokenize_genome(runs, fasta, tmp_path, kind):
    model = dnachunk.load(runs / kind, device="cpu")
    tokens = dnachunk.tokenize_genome(model, fasta, region=REGION)
    found = list(tokens)
    ids, _ = Genome(fasta).fetch(0, found[0].start_bp, found[-1].end_bp)
    assert "".join(token.sequence for token in found) == DNATokenizer().decode(ids)
    assert all(token.end_bp == following.start_bp for token, following in itertools.pairwise(found))
    assert {token.record for token in found} == {"CHLTCG"}
    statistics = tokens.write(tmp_path / "tokens.bed")
    lines = [line.split("\t") for line in (tmp_path / "tokens.bed").read_text().splitlines()]
    assert [(int(start), int(end)) for _, start, end, *_ in lines] == [token[1:3] for token in found]
    assert statistics.num_tokens == len(found)
    assert f"{len(found):,}" in str(statistics)


def test_tokenize_genome_writes_where_a_path_is_given(runs, fasta, tmp_path):
    output = tmp_path / "tokens.bed.gz"
    tokens = dnachunk.tokenize_genome(runs / "mergedna", fasta, output, region=REGION)
    assert output.is_file()
    assert tokens.statistics.files == [output, tmp_path / "tokens.bed.gz.tbi"]
    with pytest.raises(ArgumentError, match="receptive_positions is for mxdna"):
        tokens.write(output, receptive_positions=tmp_path / "r.tsv")
    with pytest.raises(ArgumentError, match="output, which must be given"):
        dnachunk.tokenize_genome(runs / "mxdna", fasta, region=REGION, receptive_positions=tmp_path / "r.tsv")
    with pytest.raises(ValueError, match="give the folder of its network"):
        dnachunk.tokenize_genome(dnachunk.load("6mer"), fasta)


def test_embed_genome(runs, tmp_path):
    fasta = tmp_path / "two.fa"
    fasta.write_text(">a\n" + "ACGTTGCA" * 20 + "\n>b\n" + "GGGTTACC" * 9 + "\n")
    records = dnachunk.embed_genome(runs / "mergedna", fasta, tmp_path / "v.npz")
    assert records.embeddings.shape == (2, 32)
    assert records.records == ["a", "b"]
    assert (tmp_path / "v.npz").is_file()
    tokens = dnachunk.embed_genome(runs / "mergedna", fasta, per="token")
    assert len(tokens.embeddings) == len(tokens.start_bp) == len(tokens.record_index)
    # One window holds the second record: its vector is the mean of its tokens'.
    own = tokens.embeddings[tokens.record_index == 1]
    whole = dnachunk.embed_genome(runs / "mergedna", fasta, window_bp=512, per="token")
    mean = whole.embeddings[whole.record_index == 1].mean(dim=0)
    assert len(own) > 0
    vector = dnachunk.embed_genome(runs / "mergedna", fasta, window_bp=512).embeddings[1]
    torch.testing.assert_close(vector, mean)
    with pytest.raises(ArgumentError, match="per must be record or token, got base"):
        dnachunk.embed_genome(runs / "mergedna", fasta, per="base")


def test_scores_and_trainings_heed_a_budget(runs, fasta, table, tmp_path):
    genome = Genome(fasta)
    ids, _ = genome.fetch(0, 199, 200)
    reference = DNATokenizer().decode(ids)
    alternate = "A" if reference != "A" else "C"
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    lines += [f"CHLTCG\t200\t.\t{reference}\t{alternate}\t.\t.\t."]
    (tmp_path / "v.vcf").write_text("\n".join(lines) + "\n")
    for kind in ("mergedna", "dnachunker"):
        scores = [
            next(
                iter(dnachunk.score_variants(runs / kind, genome, tmp_path / "v.vcf", tokens_per_base=budget))
            )
            for budget in (None, 0.9, 0.9)
        ]
        assert scores[0] != scores[1]
        assert scores[1] == scores[2]
    with pytest.raises(ArgumentError, match="tokens_per_base is for mergedna and dnachunker"):
        dnachunk.score_variants(runs / "mxdna", genome, tmp_path / "v.vcf", tokens_per_base=0.9)
    found = dnachunk.finetune(
        runs / "dnachunker", tmp_path / "tuned", train=table, tokens_per_base=0.25, **QUICK
    )
    assert found is not None
    tuned = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert tuned["boundary_budget"] == [0.5, 0.5]
    sequence = ["ACGTTGCAACGTTTGACAGT" * 3]
    asked = [
        [
            prediction.values
            for prediction in dnachunk.predict(tmp_path / "tuned", sequence, tokens_per_base=budget)
        ]
        for budget in (None, 0.25, 1.0)
    ]
    assert torch.equal(asked[0][0], asked[1][0])
    assert not torch.equal(asked[0][0], asked[2][0])


def test_score_variants(runs, fasta, tmp_path):
    genome = Genome(fasta)
    ids, _ = genome.fetch(0, 100, 110)
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for place, letter in enumerate(DNATokenizer().decode(ids)):
        lines.append(f"CHLTCG\t{101 + place}\t.\t{letter}\t{'C' if letter != 'C' else 'A'}\t.\t.\t.")
    (tmp_path / "v.vcf").write_text("\n".join(lines) + "\n")
    scores = dnachunk.score_variants(runs / "dnachunker", genome, tmp_path / "v.vcf")
    found = list(scores)
    assert len(found) == 10
    assert all(allele.reason is None and allele.embedding_distance > 0 for allele in found)
    loaded = dnachunk.load(runs / "dnachunker", device="cpu")
    again = dnachunk.score_variants(loaded, genome, tmp_path / "v.vcf", tmp_path / "s.tsv")
    rows = [line.split("\t") for line in (tmp_path / "s.tsv").read_text().splitlines()[1:]]
    assert [float(row[5]) for row in rows] == pytest.approx(
        [allele.log_likelihood_ratio for allele in found], rel=1e-4, abs=1e-5
    )
    assert str(again.summary).startswith("10 of 10 alternate alleles scored")
    with pytest.raises(ArgumentError, match="model must be a masked language model of ours"):
        dnachunk.score_variants(dnachunk.load("6mer"), genome, tmp_path / "v.vcf")


def test_score_mutations(runs, tmp_path):
    (tmp_path / "cds.fa").write_text(">cds\n" + "ATGGCTAAACGTGATTGG" * 4 + "\n")
    rows = [
        f"A{2 + 6 * copy}{letter},{copy}.{place}" for copy in range(4) for place, letter in enumerate("VGTC")
    ]
    (tmp_path / "scan.csv").write_text("mutant,score\n" + "\n".join(rows) + "\n")
    found = dnachunk.score_mutations(runs / "mergedna", tmp_path / "cds.fa", tmp_path / "scan.csv")
    assert found.metrics["scored"] == len(rows) == len(found.scores["llr"])
    assert "Spearman" in str(found)
    assert not (tmp_path / "scores.csv").exists()
    found.save(tmp_path)
    assert (tmp_path / "scores.csv").read_text().count("\n") == len(rows) + 1


def test_finetune(runs, table, tmp_path):
    result = dnachunk.finetune(
        runs / "mergedna",
        tmp_path / "labels",
        train=table,
        valid_share=0.3,
        lora_rank=[2, 3],
        eval_strategy="steps",
        eval_steps=1,
        **{**QUICK, "save_strategy": "steps"},
    )
    assert result.method == "lora"
    assert {run.candidate.lora_rank for run in result.search} == {2, 3}
    assert json.loads((tmp_path / "labels" / "results.json").read_text())["metrics"] == result.summary
    assert "searched, on the validation set" in str(result)
    assert dnachunk.load(tmp_path / "labels", device="cpu").config.num_labels == 2


def test_compare_models(runs, table, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "suite" / "at").mkdir(parents=True, exist_ok=True)
        (tmp_path / "suite" / "at" / f"{split}.csv").write_text(table.read_text())
    result = dnachunk.compare_models(
        tmp_path / "run",
        model={"one": runs / "mergedna", "two": runs / "mxdna"},
        suite=tmp_path / "suite",
        seeds=1,
        eval_strategy="steps",
        eval_steps=1,
        **QUICK,
    )
    assert list(result.metrics["scores"]) == ["one", "two"]
    assert "at (MCC)" in str(result)
    assert "<table>" in result._repr_html_()
    assert (tmp_path / "run" / "results.md").is_file()
    for arguments, said in (
        ({"plan": "p.toml", "suite": "gue"}, "the plan says all but data and output_dir"),
        ({"model": runs / "mergedna"}, "give suite, genomic-benchmarks, gue"),
        ({"suite": tmp_path / "suite"}, "give a model at least"),
    ):
        with pytest.raises(UsageError, match=said):
            dnachunk.compare_models(tmp_path / "other", **arguments)


def test_compare_tokens(runs, fasta, tmp_path):
    comparison = dnachunk.compare_tokens(
        fasta,
        model=[runs / "dnachunker", dnachunk.load(runs / "mxdna", device="cpu")],
        tokenizer="3mer",
        region=REGION,
        mutated_windows=4,
        max_sites=10,
        motif="start=ATG",
    )
    assert list(comparison.figures) == ["dnachunker stage 0", "dnachunker", "MxDNAForMaskedLM", "3mer"]
    assert comparison.bases == 3000
    assert comparison.metrics["tokenizers"]["3mer"]["regions"]["all"]["bases_per_token"] == pytest.approx(
        3, abs=0.1
    )
    windows = HeldOutWindows([Genome(fasta)], 64, [Interval("CHLTCG", 0, 3000)], 4, max_n_fraction=0)
    rows = torch.stack([windows[index]["input_ids"] for index in range(4)])
    words = model_boundaries(dnachunk.load("3mer"))
    expected = boundary_survival(words, rows, seed=0, exclude_bp=32)
    assert comparison.survival["3mer"].shares == expected
    assert boundary_survival(words, rows, seed=0, exclude_bp=3) != expected
    cuts = comparison.motifs["start"]
    assert cuts.num_sites == 10
    assert [name for name in cuts.tokenizers if not name.startswith("bpe-")] == [
        *("dnachunker", "MxDNAForMaskedLM", "3mer", "6mer")
    ]
    assert comparison.variants is None
    assert "region: bases per token" in str(comparison)
    assert "<table>" in comparison._repr_html_()
    comparison.save(tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["metrics"]["bases"] == 3000
    with pytest.raises(UsageError, match="at least one model or tokenizer"):
        dnachunk.compare_tokens(fasta)


VERBS = {
    "tokenize": "tokenize_genome",
    "embed": "embed_genome",
    "score_variants": "score_variants",
    "score_mutations": "score_mutations",
    "compare_tokens": "compare_tokens",
    "browse": "browse",
    "profile": "profile",
    "pretrain": "pretrain",
    "finetune": "finetune",
    "evaluate": "compare_models",
    "splice_sites": "splice_site_sets",
}


@pytest.mark.parametrize(("command", "verb"), VERBS.items())
def test_a_command_and_its_verb_have_the_same_arguments(command, verb):
    module = importlib.import_module(f"dnachunk.cli.{command}")
    options = inspect.signature(getattr(module, command)).parameters
    arguments = inspect.signature(getattr(dnachunk, verb)).parameters
    assert set(options) - {"context"} <= set(arguments)

    def plain(value):
        value = getattr(value, "value", value)
        return None if value in ((), inspect.Parameter.empty) else value

    # Where a command line is repeated, nothing given is the library's default.
    repeated = {"label_column", "length_bp", "sequence_column"}
    for name in set(options) - {"context"} - repeated:
        if options[name].default is not inspect.Parameter.empty:
            assert plain(options[name].default) == plain(arguments[name].default), name


def test_errors_name_arguments_and_options():
    error = ArgumentError("`model=baseline` needs `window_bp`, got 3")
    assert str(error) == "model='baseline' needs window_bp, got 3"
    assert error.as_options() == "--model baseline needs --window-bp, got 3"


def test_a_segmentation_shows_itself():
    segmentation = Segmentation(torch.tensor([[0, 0, 1, 2, 2]] * 5), torch.tensor([3] * 5))
    page = segmentation.to_html(["ACGTT"] * 5)
    assert page.count(">AC<") == 4
    assert 'title="token 2: 4–5, 2 bp"' in page
    assert "… of 5 sequences" in page
    assert "··" in segmentation._repr_html_()
    with pytest.raises(ValueError, match="sequences must have 5 entries"):
        segmentation.to_html(["ACGTT"])


def test_what_is_iterated_over_says_what_it_is(runs, fasta):
    tokens = dnachunk.tokenize_genome(runs / "mergedna", fasta, region="CHLTCG:1-300")
    assert "part.fa" in repr(tokens)
    assert "write(path)" in str(tokens)


def test_the_arguments_of_a_trainer_stay_the_callers(fasta, tmp_path):
    from transformers import TrainingArguments

    from dnachunk import MergeDNAConfig, MergeDNAForPreTraining
    from dnachunk.training.pretrainer import PreTrainer

    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    before = dict(vars(args))
    PreTrainer(MergeDNAForPreTraining(MergeDNAConfig(**SIZES["mergedna"])), args)
    assert vars(args) == before
