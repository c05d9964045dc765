import gzip
import json
import re

import pytest
import torch
from transformers import AutoModel, AutoModelForPreTraining

from dnachunk import DNATokenizer, FixedTokenizer
from dnachunk.data import Genome
from tests.cli.conftest import FAULTS
from tests.cli.test_tokenize import read_bed
from tests.training.runs import SMALL_CONFIGS

QUICK = ["--max-sites", 12, "--mutated-windows", 6]


@pytest.fixture(scope="module")
def chunker(tmp_path_factory):
    """A saved DNAChunker with random weights."""
    directory = tmp_path_factory.mktemp("chunker")
    torch.manual_seed(1)
    AutoModelForPreTraining.from_config(SMALL_CONFIGS["dnachunker"]).save_pretrained(directory)
    DNATokenizer().save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """A genome with repeats, runs and features, and the features' places."""
    directory = tmp_path_factory.mktemp("sequences")
    generator = torch.Generator().manual_seed(3)
    text = "".join("ACGT"[i] for i in torch.randint(4, (1500,), generator=generator).tolist())
    text = text[:300] + "A" * 10 + text[310:600].lower() + "NNN" + text[603:]
    (directory / "genome.fa").write_text(f">one\n{text}\n>two\n{text[900:1300]}\n")
    features = [("one", start, start + 40, "+-"[start // 80 % 2]) for start in range(20, 1400, 80)]
    lines = [
        f"{name}\ts\tCDS\t{start + 1}\t{end}\t.\t{strand}\t0\tID=x\n" for name, start, end, strand in features
    ]
    (directory / "genes.gff3").write_text("".join(lines) + "two\ts\ttRNA\t11\t30\t.\t+\t.\tID=t\n")
    return directory


def metrics_of(directory):
    return json.loads((directory / "results.json").read_text())["metrics"]


def test_models_side_by_side(run, model, chunker, sequences, tmp_path):
    fasta, annotation = sequences / "genome.fa", sequences / "genes.gff3"
    out, bedgraph = tmp_path / "out", tmp_path / "p.bedgraph"
    words = ["--model", model, "--model", chunker, "--tokenizer", "6mer", "--fasta", fasta, *QUICK]
    more = ["--annotation", annotation, "--output-dir", out, "--bedgraph", bedgraph]
    result = run("compare-tokens", *words, *more)
    assert result.status == 0, result.err
    names = ["boundary_survival", "profiles_motifs", "profiles_sites", "runs", "token_lengths"]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(f"{name}.png" for name in names), "results.json"]
    )
    assert all((out / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in names)
    metrics = metrics_of(out)
    labels = [model.name, f"{chunker.name} stage 0", chunker.name, "6mer"]
    assert list(metrics["tokenizers"]) == labels

    # Lengths by region as they follow from what `tokenize` writes.
    genome = Genome(fasta)
    for directory, stages in ((model, [""]), (chunker, [".stage_0", ""])):
        assert (
            run("tokenize", "--model", directory, "--fasta", fasta, "--output", tmp_path / "t.bed").status
            == 0
        )
        for stage in stages:
            token_bp = {}
            for name, start, end, _ in read_bed(tmp_path / f"t{stage}.bed"):
                token_bp |= {(name, place): end - start for place in range(start, end)}
            label = f"{directory.name} stage 0" if stage else directory.name
            check_regions(metrics["tokenizers"][label], token_bp, genome)

    assert list(metrics["boundary_survival"]) == [model.name, chunker.name, "6mer", *bpe_names(metrics)]
    for name in bpe_names(metrics):
        compression = metrics["boundary_survival"][name]["bases_per_token"]
        assert f"{name} " in result.out
        assert f"{compression:.3f}" in result.out
    assert metrics["boundary_survival"]["6mer"]["substitution"] == 1
    assert (metrics["mutated_windows"], metrics["mutated_window_bp"]) == (6, 64)

    curves = list(metrics["profiles"]["CDS start"])
    assert curves == [*labels[:3], f"{chunker.name} stage 0, probability", "6mer"]
    for curve in metrics["profiles"]["CDS start"].values():
        assert curve["sites"] == 12
        for band in (curve["observed"], curve["shuffled"]):
            assert len(band["mean"]) == 2 * 16 + 1
            assert all(
                low <= mean <= high
                for mean, low, high in zip(band["mean"], band["low"], band["high"], strict=True)
            )
    assert "No profile" in result.out
    assert "tRNA start (0 of 1 found), tRNA end (1 of 1 found)" in result.out
    check_bedgraph(bedgraph, chunker, genome)


def bpe_names(metrics):
    return [name for name in metrics["boundary_survival"] if name.startswith("bpe-")]


def check_regions(figures, token_bp, genome):
    bases = {"all": [], "CDS": [], "elsewhere": [], "soft-masked": [], "not soft-masked": [], "tRNA": []}
    for index, record in enumerate(genome.records):
        ids, is_lower = genome.fetch(index, 0, record.length_bp)
        for place, (base, lower) in enumerate(zip(ids.tolist(), is_lower.tolist(), strict=True)):
            if base == 9:
                continue
            is_cds = record.name == "one" and place % 80 in range(20, 60) and place < 1420
            is_trna = record.name == "two" and 10 <= place < 30
            kinds = ["all", "soft-masked" if lower else "not soft-masked"]
            kinds += [kind for kind, inside in (("CDS", is_cds), ("tRNA", is_trna)) if inside]
            kinds += [] if is_cds or is_trna else ["elsewhere"]
            for kind in kinds:
                bases[kind].append(token_bp[record.name, place])
    assert set(figures["regions"]) == set(bases)
    for kind, lengths in bases.items():
        found = figures["regions"][kind]
        assert found["bases_by_token_length"] == torch.tensor(lengths).bincount().tolist()
        assert found["bases_per_token"] == pytest.approx(len(lengths) / sum(1 / length for length in lengths))
    ten = figures["letter_runs"]["10"]
    assert ten["runs"] >= 1


def check_bedgraph(path, chunker, genome):
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    place = ("one", 0)
    for name, start, end, value in rows:
        assert (name, int(start)) == place or (name, int(start)) == ("two", 0)
        assert 0 <= float(value) <= 1
        place = (name, int(end))
    assert place == ("two", 400)
    # A record that is one window has the model's own probabilities; the first tile's, up to its joint.
    network = AutoModel.from_pretrained(chunker)
    ids, _ = genome.fetch(0, 0, 64)
    with torch.no_grad():
        want = network(ids[None].long()).boundary_probabilities[0][0]
    found = [float(value) for name, start, end, value in rows for _ in range(int(end) - int(start))][:40]
    assert found == pytest.approx(want[:40].tolist(), abs=2e-4)


def test_a_pair_of_letters_that_is_a_token(run, tmp_path):
    # The one pair that byte-pair encoding of 11 ids joins is AT.
    generator = torch.Generator().manual_seed(0)
    text = "".join(["ATG", "ATC", "AT", "C", "G"][i] for i in torch.randint(5, (1500,), generator=generator))
    (tmp_path / "at.fa").write_text(f">at\n{text}\n")
    place = re.search("GGCC", text).start()
    (tmp_path / "one.bed").write_text(f"at\t{place}\t{place + 4}\n")
    out = ["--output-dir", tmp_path / "out", "--mutated-windows", 3]
    words = ["--tokenizer", "bpe-11", "--tokenizer", "base", "--annotation", tmp_path / "one.bed"]
    result = run("compare-tokens", "--fasta", tmp_path / "at.fa", *words, *out)
    assert result.status == 0, result.err
    metrics = metrics_of(tmp_path / "out")
    regions = metrics["tokenizers"]["bpe-11"]["regions"]
    pairs = text.count("AT")
    assert regions["all"]["bases_by_token_length"] == [0, len(text) - 2 * pairs, 2 * pairs]
    assert regions["one"] == {"bases": 4, "bases_per_token": 1.0, "bases_by_token_length": [0, 4]}
    assert metrics["tokenizers"]["base"]["regions"]["all"]["bases_per_token"] == 1
    start = metrics["profiles"]["start codon"]
    assert start["bpe-11"]["sites"] == 200
    observed = start["bpe-11"]["observed"]["mean"]
    # On the forward strand AT is at the site; read along the reverse strand, so it is there.
    assert [observed[50 + offset] for offset in (0, 1, 2)] == [1, 0, 1]
    shuffled = start["bpe-11"]["shuffled"]["mean"]
    assert 0.6 < shuffled[51] < 0.85
    assert start["base"]["observed"]["low"] == pytest.approx([1] * 101)
    assert start["base"]["offsets_apart"] == 0
    assert metrics["boundary_survival"]["base"]["insertion"] == 1
    assert not bpe_names({"boundary_survival": set(metrics["boundary_survival"]) - {"bpe-11"}})


def test_a_region_is_a_part_of_the_whole(run, model, sequences, tmp_path):
    fasta = sequences / "genome.fa"
    (tmp_path / "part.fa").write_text("")
    words = ["compare-tokens", "--model", model, "--fasta", fasta, *QUICK]
    bases = []
    for region in ("one:1-700", "one:701-1500", "two"):
        out = tmp_path / region.replace(":", "_")
        result = run(*words, "--region", region, "--output-dir", out)
        assert result.status == 0, result.err
        bases.append(metrics_of(out)["tokenizers"][model.name]["regions"]["all"]["bases_by_token_length"])
    assert run(*words, "--output-dir", tmp_path / "all").status == 0
    want = metrics_of(tmp_path / "all")["tokenizers"][model.name]["regions"]["all"]["bases_by_token_length"]
    sums = [sum(each[length] for each in bases if length < len(each)) for length in range(len(want))]
    assert sums == want


def test_a_baselines_folder_needs_no_weights(run, fasta, tmp_path):
    FixedTokenizer.from_name("4mer").save_pretrained(tmp_path / "words")
    out = ["--output-dir", tmp_path / "out", *QUICK]
    result = run("compare-tokens", "--model", tmp_path / "words", "--fasta", fasta, *out)
    assert result.status == 0, result.err
    figures = metrics_of(tmp_path / "out")["tokenizers"]["words"]
    # The records' lengths are multiples of four.
    assert figures["regions"]["all"]["bases_per_token"] == 4
    assert "There are no soft-masked bases" in result.out
    FixedTokenizer.from_name("4mer-overlapping").save_pretrained(tmp_path / "overlapping")
    result = run("compare-tokens", "--model", tmp_path / "overlapping", "--fasta", fasta, *out)
    assert result.status == 1
    assert "words that overlap are no segmentation" in result.err


def test_what_is_not_found_is_told(run, model, tmp_path):
    (tmp_path / "short.fa").write_text(">short\n" + "CCGC" * 12 + "\n")
    (tmp_path / "genes.bed").write_text("short\t3\t9\tgene\nchrX\t3\t9\tgene\n")
    words = ["--model", model, "--fasta", tmp_path / "short.fa", "--annotation", tmp_path / "genes.bed"]
    result = run("compare-tokens", *words, "--output-dir", tmp_path / "out")
    assert result.status == 0, result.err
    assert "genes.bed: 1 features are left out, on 1 records that short.fa does not have: chrX" in result.out
    assert "TATA box (0 of 0 found)" in result.out
    assert "gene start (0 of 1 found)" in result.out
    assert "There is no run of one letter of 8 bp or more" in result.out
    assert "No boundary survival: there are no 64 bases in a row without N to mutate." in result.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "results.json",
        "runs.png",
        "token_lengths.png",
    ]
    # Plots of an earlier run do not stay beside other numbers.
    (tmp_path / "out" / "profiles_sites.png").write_text("old")
    (tmp_path / "out" / "mine.png").write_text("mine")
    assert run("compare-tokens", *words, "--output-dir", tmp_path / "out").status == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [
        "mine.png",
        "runs.png",
        "token_lengths.png",
    ]
    metrics = metrics_of(tmp_path / "out")
    assert (metrics["profiles"], metrics["boundary_survival"], metrics["mutated_windows"]) == ({}, {}, 0)


def test_empty_records_change_nothing(run, model, sequences, tmp_path):
    whole, fasta = tmp_path / "whole", tmp_path / "genome.fa"
    fasta.write_text(">empty\n" + (sequences / "genome.fa").read_text())
    for path, out in ((sequences / "genome.fa", whole), (fasta, tmp_path / "out")):
        words = ("--model", model, "--fasta", path, "--output-dir", out, *QUICK)
        assert run("compare-tokens", *words).status == 0
    whole, found = metrics_of(whole), metrics_of(tmp_path / "out")
    for name in ("tokenizers", "boundary_survival", "mutated_windows"):
        assert found[name] == whole[name]
    assert found["mutated_windows"] == 6


@pytest.fixture(scope="module")
def motifs_and_variants(sequences):
    """Options: a pattern, matrices, places and variants of the sequences."""
    text = Genome(sequences / "genome.fa").fetch(0, 0, 1500)[0]
    letters = "".join("ACGTN"[index - 5] for index in text.tolist())
    (sequences / "m.jaspar").write_text(">MA1 AT\nA [9 0]\nC [0 0]\nG [0 0]\nT [0 9]\n")
    (sequences / "sites.bed").write_text(
        "".join(f"one\t{start}\t{start + 7}\tTF{start % 2}\n" for start in range(100, 500, 15))
    )
    lines = ["##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"]
    for place in range(640, 1400, 20):
        base = letters[place - 1]
        other = "CGTA"["ACGT".index(base)]
        lines.append(f"one\t{place}\t.\t{base}\t{other},{other}{base},<DUP>\t.\t.\t.\n")
    (sequences / "v.vcf").write_text("".join(lines) + "three\t1\t.\tA\tC\t.\t.\t.\n")
    motifs = ["at=AT", "GGGGGGGGCCCCCCCC", sequences / "m.jaspar", sequences / "sites.bed"]
    return [word for motif in motifs for word in ("--motif", motif)] + ["--vcf", sequences / "v.vcf"]


def test_motifs_and_variants(run, chunker, sequences, motifs_and_variants, tmp_path):
    out = tmp_path / "out"
    words = ["--model", chunker, "--fasta", sequences / "genome.fa", "--output-dir", out, *QUICK]
    result = run("compare-tokens", *words, *motifs_and_variants)
    assert result.status == 0, result.err
    metrics = metrics_of(out)
    tokenizers = list(metrics["boundary_survival"])
    assert tokenizers[:2] == [chunker.name, "6mer"]
    assert len(tokenizers) == 3
    assert bpe_names(metrics) == tokenizers[2:]
    motifs = metrics["motifs"]
    assert list(motifs) == ["at", "GGGGGGGGCCCCCCCC", "MA1 AT", "TF0", "TF1", "all motifs"]
    assert motifs["GGGGGGGGCCCCCCCC"] == {"occurrences": 0, "sites": 0, "tokenizers": {}}
    assert "Motifs that do not occur: GGGGGGGGCCCCCCCC" in result.out
    genome = Genome(sequences / "genome.fa")
    letters = [
        "".join("ACGTN"[i - 5] for i in genome.fetch(*span)[0].tolist())
        for span in ((0, 0, 1500), (1, 0, 400))
    ]
    assert motifs["at"]["occurrences"] == sum(each.count("AT") for each in letters)
    # A matrix that knows one letter a place is that pattern, cut at the same places.
    assert motifs["MA1 AT"] == motifs["at"]
    assert motifs["all motifs"]["sites"] == 4 * 12
    for found in motifs.values():
        for name, cuts in found["tokenizers"].items():
            assert name in tokenizers
            for version in ("observed", "shuffled"):
                tokens, whole, edges = (cuts[version][figure] for figure in ("tokens", "whole", "edges"))
                assert tokens["low"] <= tokens["mean"] <= tokens["high"]
                assert 0 <= whole["low"] <= whole["mean"] <= whole["high"] <= 1
                assert 0 <= edges["mean"] <= 1
                # Of two letters, those not in one token are in two.
                if found["occurrences"] == motifs["at"]["occurrences"]:
                    assert tokens["mean"] == pytest.approx(2 - whole["mean"])
    variants = metrics["variants"]
    assert (variants["records"], variants["unknown_contigs"]) == (39, {"three": 1})
    assert variants["reasons"] == {"symbolic_allele": 38, "unknown_contig": 1}
    kinds = variants["kinds"]
    assert list(kinds) == ["SNV", "insertion of 1 bp"]
    for kind in kinds.values():
        assert (kind["alleles"], kind["variants"], list(kind["tokenizers"])) == (38, 12, tokenizers)
    assert kinds["SNV"]["tokenizers"]["6mer"]["boundary_jaccard"]["mean"] == 1
    assert kinds["insertion of 1 bp"]["tokenizers"]["6mer"]["boundary_jaccard"]["mean"] < 0.7
    assert "symbolic_allele: the alternate allele is symbolic" in result.out
    assert "1 of 39 records of the VCF lie on 1 contigs that the FASTA does not have: three (1)" in result.out
    for name in ("motifs", "variants"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    # The same seed, the same numbers; without them, no old plots stay.
    again = tmp_path / "again"
    assert run("compare-tokens", *words[:5], again, *QUICK, *motifs_and_variants).status == 0
    assert metrics_of(again) == metrics
    assert run("compare-tokens", *words).status == 0
    without = metrics_of(out)
    assert (without["motifs"], without["variants"]) == ({}, None)
    assert without["boundary_survival"] == metrics["boundary_survival"]
    assert not list(out.glob("motifs.png")) + list(out.glob("variants.png"))


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """A saved MxDNA with random weights."""
    directory = tmp_path_factory.mktemp("units")
    torch.manual_seed(1)
    AutoModelForPreTraining.from_config(SMALL_CONFIGS["mxdna"]).save_pretrained(directory)
    DNATokenizer(cls_sep=True).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def kinds_of_places(sequences):
    """Options: repeats of the sequences, and two labelled sets of one name."""
    rows = [("one", 101, 300, "LINE/L1", 7.5), ("one", 401, 500, "SINE", 31.0), ("two", 1, 50, "LINE/L2", 8)]
    (sequences / "r.out").write_text(
        "".join(f"9 {age} 0 0 {name} {a} {b} (0) + X {kind} 1 9 (0) 1\n" for name, a, b, kind, age in rows)
    )
    words = ["--repeats", sequences / "r.out"]
    for index, folder in enumerate(("first", "second")):
        (sequences / folder).mkdir()
        generator = torch.Generator().manual_seed(index)
        texts = ["".join("ACGT"[i] for i in torch.randint(4, (40,), generator=generator)) for _ in range(6)]
        lines = [f"{text},{'ab'[row % 2]}\n" for row, text in enumerate(texts)]
        (sequences / folder / "train.csv").write_text("seq,kind\n" + "".join(lines))
        words += ["--labelled", sequences / folder / "train.csv"]
    return [*words, "--sequence-column", "seq", "--label-column", "kind"]


def test_kinds_of_places(run, model, chunker, sequences, kinds_of_places, tmp_path):
    out = tmp_path / "out"
    words = ["--model", model, "--model", chunker, "--fasta", sequences / "genome.fa", *QUICK]
    result = run("compare-tokens", *words, *kinds_of_places, "--output-dir", out)
    assert result.status == 0, result.err
    places = metrics_of(out)["places"]
    labels = [model.name, f"{chunker.name} stage 0", chunker.name]
    age = "divergence of transposable elements"
    assert {group: list(of_group) for group, of_group in places.items()} == {
        "repeat class": ["LINE", "SINE"],
        "repeat family": ["LINE/L1", "LINE/L2"],
        age: ["5-10%", "30% or more"],
        "class of first/train.csv": ["a", "b"],
        "class of second/train.csv": ["a", "b"],
    }
    assert all(list(of_labels) == labels for of_group in places.values() for of_labels in of_group.values())
    # As they follow from what `tokenize` writes; of the second record too.
    assert run("tokenize", *words[:2], "--fasta", words[5], "--output", tmp_path / "t.bed").status == 0
    lengths = {"LINE/L1": [], "LINE/L2": []}
    for name, start, end, _ in read_bed(tmp_path / "t.bed"):
        for place in range(start, end):
            kind = "LINE/L1" if name == "one" and 100 <= place < 300 else None
            kind = "LINE/L2" if name == "two" and place < 50 else kind
            if kind:
                lengths[kind].append(end - start)
    for kind, of_bases in lengths.items():
        found = places["repeat family"][kind][model.name]
        assert found["bases_by_token_length"] == torch.tensor(of_bases).bincount().tolist()
        assert found["bases_per_token"] == pytest.approx(len(of_bases) / sum(1 / each for each in of_bases))
    both = [places["repeat family"][kind][model.name]["bases"] for kind in lengths]
    assert places["repeat class"]["LINE"][model.name]["bases"] == sum(both) == 250
    assert places[age]["5-10%"] == places["repeat class"]["LINE"]
    assert places["class of first/train.csv"]["a"][model.name]["bases"] == 3 * 40
    assert "class of second/train.csv: bases per token" in result.out
    assert (out / "places.png").read_bytes().startswith(b"\x89PNG")
    # A part of the genome has its part of them.
    part = tmp_path / "part"
    again = run("compare-tokens", *words, *kinds_of_places[:2], "--region", "one:1-150", "--output-dir", part)
    assert again.status == 0, again.err
    found = metrics_of(part)["places"]
    assert [list(of_group) for of_group in found.values()] == [["LINE"], ["LINE/L1"], ["5-10%"]]
    assert found["repeat class"]["LINE"][model.name]["bases"] == 50
    nowhere = run(
        *("compare-tokens", *words, *kinds_of_places[:2], "--region", "one:1001-1400"),
        *("--output-dir", tmp_path / "nowhere"),
    )
    assert nowhere.status == 0
    assert "No repeat lies in the region." in nowhere.out
    assert metrics_of(tmp_path / "nowhere")["places"] == {}


def test_passes_budgets_and_maps(run, model, chunker, units, sequences, kinds_of_places, tmp_path):
    out = tmp_path / "out"
    words = ["--model", units, "--model", chunker, "--model", model, "--tokenizer", "6mer"]
    words += ["--fasta", sequences / "genome.fa", *QUICK]
    more = ["--accuracy-budget", 0.5, "--accuracy-budget", 0.25, "--map-tokens", 40, *kinds_of_places]
    result = run("compare-tokens", *words, *more, "--output-dir", out)
    assert result.status == 0, result.err
    metrics = metrics_of(out)
    jitter = metrics["jitter"]
    assert list(jitter) == [units.name]
    agreement = jitter[units.name]["boundary_jaccard"]
    assert (jitter[units.name]["jitter"], jitter[units.name]["windows"]) == (0.01, 6)
    assert 0 < agreement["low"] <= agreement["mean"] <= agreement["high"] <= 1
    accuracy = metrics["accuracy"]
    readings = {
        name: [(each["reading"], each["asked"]) for each in found] for name, found in accuracy.items()
    }
    assert readings == {
        units.name: [("configured", None)],
        chunker.name: [("threshold", None), ("budget", 0.25), ("budget", 0.5)],
        model.name: [("configured", None), ("budget", 0.25), ("budget", 0.5)],
    }
    assert len({each["masked_count"] for found in accuracy.values() for each in found}) == 1
    assert f"{chunker.name} | budget 0.25" in result.out
    maps = metrics["token_maps"]
    groups = ["soft-masking", "repeat class", "class of first/train.csv", "class of second/train.csv"]
    assert list(maps) == [units.name, chunker.name, model.name]
    assert all(list(found) == groups for found in maps.values())
    for of_model in maps.values():
        for found in of_model.values():
            assert 10 <= len(found["places"]) == len(found["coordinates"]) <= 40
            assert 0 <= found["neighbours_alike"] <= 1
        assert set(of_model["soft-masking"]["places"]) <= {"soft-masked", "not soft-masked"}
        assert of_model["class of first/train.csv"]["places"].count("a") == 20
    for name in ("jitter", "accuracy", "token_maps"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    # The same seed, the same numbers; what is not asked for is not there, and no old plots stay.
    again = tmp_path / "again"
    assert run("compare-tokens", *words, *more, "--output-dir", again).status == 0
    assert metrics_of(again) == metrics
    assert run("compare-tokens", *words, "--output-dir", out).status == 0
    without = metrics_of(out)
    assert (without["places"], without["accuracy"], without["token_maps"]) == ({}, {}, {})
    assert without["jitter"] == jitter
    assert not [name for name in ("places", "accuracy", "token_maps") if (out / f"{name}.png").exists()]


def test_features_tell_tokens_apart(run, chunker, sequences, tmp_path):
    words = ["--model", chunker, "--fasta", sequences / "genome.fa", *QUICK, "--map-tokens", 30]
    words += ["--annotation", sequences / "genes.gff3", "--output-dir", tmp_path / "out"]
    result = run("compare-tokens", *words)
    assert result.status == 0, result.err
    (found,) = metrics_of(tmp_path / "out")["token_maps"].values()
    assert list(found) == ["features"]
    assert set(found["features"]["places"]) <= {"CDS", "tRNA", "elsewhere"}
    assert "CDS" in found["features"]["places"]


def test_tokens_per_base(run, model, chunker, units, sequences, tmp_path):
    words = [
        "--model",
        model,
        "--model",
        chunker,
        "--model",
        units,
        "--fasta",
        sequences / "genome.fa",
        *QUICK,
    ]
    result = run("compare-tokens", *words, "--tokens-per-base", 0.3, "--output-dir", tmp_path / "out")
    assert result.status == 0, result.err
    found = metrics_of(tmp_path / "out")
    assert run("compare-tokens", *words, "--output-dir", tmp_path / "as_it_is").status == 0
    before = metrics_of(tmp_path / "as_it_is")
    for name in (model.name, chunker.name):
        regions = found["tokenizers"][name]["regions"]
        assert regions["all"]["bases_per_token"] == pytest.approx(1 / 0.3, rel=0.1)
        assert found["boundary_survival"][name]["bases_per_token"] == pytest.approx(1 / 0.3, rel=0.1)
        assert before["tokenizers"][name]["regions"]["all"]["bases_per_token"] < 1 / 0.35
    assert found["tokenizers"][units.name] == before["tokenizers"][units.name]


def test_no_window_no_accuracy(run, chunker, units, tmp_path):
    (tmp_path / "short.fa").write_text(">short\n" + "CCGCA" * 10 + "\n")
    words = ["--model", chunker, "--model", units, "--fasta", tmp_path / "short.fa"]
    words += ["--accuracy-budget", 0.5, "--map-tokens", 20, "--output-dir", tmp_path / "out"]
    result = run("compare-tokens", *words)
    assert result.status == 0, result.err
    metrics = metrics_of(tmp_path / "out")
    assert (metrics["jitter"], metrics["accuracy"]) == ({}, {})


def refused(result, said, status=1):
    assert result.status == status, result.err
    assert "Traceback" not in result.err
    assert said in " ".join(result.err.split()), result.err


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_fasta(run, bad_fasta, tmp_path, fault):
    path, said = bad_fasta(fault)
    refused(
        run("compare-tokens", "--tokenizer", "6mer", "--fasta", path, "--output-dir", tmp_path / "out"), said
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        ([], "at least one --model or --tokenizer must be given", 2),
        (["--tokenizer", "7"], "name must be base, 1mer to 8mer", 1),
        (["--tokenizer", "6mer-overlapping"], "6mer-overlapping: words that overlap are no segmentation", 1),
        (["--tokenizer", "6mer", "--tokenizer", "6mer"], "must have a name of its own, got 6mer twice", 1),
        (["--model", "absent"], "absent", 1),
        (["--tokenizer", "6mer", "--bedgraph", "p.bedgraph"], "--bedgraph needs one model", 1),
        (["--tokenizer", "6mer", "--feature", "CDS"], "--feature 'CDS' is no type of the annotation", 1),
        (["--tokenizer", "6mer", "--seed", 1 << 63], "--seed must be a whole number of 64 bits", 1),
        (["--tokenizer", "6mer", "--region", "three"], "no record 'three'", 1),
        (
            ["--tokenizer", "6mer", "--annotation", "bad.bed"],
            "bad.bed, line 2: expected 3 or more columns",
            1,
        ),
        (["--tokenizer", "6mer", "--annotation", "chr.bed"], "has no feature on a record of", 1),
        (["--tokenizer", "6mer", "--annotation", "all.bed"], "must not be called 'all'", 1),
        (["--tokenizer", "bpe-99", "--window-bp", 3000], "bpe-99: there is no sequence to train it on", 1),
        (["--tokenizer", "6mer", "--max-sites", 3], "--max-sites", 2),
        (["--tokenizer", "6mer", "--motif", "TAXA"], "--motif must be IUPAC letters, NAME=LETTERS, or", 1),
        (["--tokenizer", "6mer", "--motif", "bad.meme"], "bad.meme, line 4: x: expected 4 probabilities", 1),
        (["--tokenizer", "6mer", "--motif", "absent.jaspar"], "absent.jaspar", 1),
        (["--tokenizer", "6mer", "--motif", "chr.bed"], "chr.bed has regions on records that", 1),
        (["--tokenizer", "6mer", "--motif", "A=ACG", "--motif", "A=C"], "--motif must have a name of its", 1),
        (["--tokenizer", "6mer", "--motif-score", 1.5], "--motif-score must be in [0, 1], got 1.5", 1),
        (["--tokenizer", "6mer", "--vcf", "chr.vcf"], "chr.vcf has no variant on a record of", 1),
        (["--tokenizer", "6mer", "--vcf", "chr.bed"], "chr.bed, line 1: expected '##fileformat=VCF", 1),
        (["--tokenizer", "6mer", "--repeats", "chr.out"], "chr.out has no interval on a record of the", 1),
        (["--tokenizer", "6mer", "--repeats", "chr.out"], "--aliases takes a table", 1),
        (
            ["--tokenizer", "6mer", "--repeats", "chr.bed"],
            "--repeats chr.bed must be RepeatMasker's table",
            1,
        ),
        (["--tokenizer", "6mer", "--labelled", "numbers.csv"], "must have classes as labels, got numbers", 1),
        (["--tokenizer", "6mer", "--labelled", "absent.csv"], "absent.csv", 1),
        (
            ["--tokenizer", "6mer", "--labelled", "two.csv", "--labelled", "two.csv"],
            "every --labelled must have a name of its own",
            1,
        ),
        (
            ["--tokenizer", "6mer", "--tokens-per-base", 0.5],
            "--tokens-per-base is for mergedna and dnachun",
            2,
        ),
        (
            ["--tokenizer", "6mer", "--accuracy-budget", 0.5],
            "--accuracy-budget is for mergedna and dnachun",
            2,
        ),
        (["--tokenizer", "6mer", "--map-tokens", 3], "--map-tokens", 2),
        (["--tokenizer", "6mer", "--fasta", "n.fa"], "there is no A, C, G or T in", 1),
        (["--tokenizer", "6mer", "--bedgraph", "out/p.bedgraph"], "there is no folder out to write", 2),
    ],
)
def test_what_cannot_be_done(run, fasta, tmp_path, monkeypatch, words, said, status):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.bed").write_text("one\t1\t5\none\t1\n")
    (tmp_path / "chr.bed").write_text("chr1\t1\t5\n")
    (tmp_path / "all.bed").write_text("one\t1\t5\tall\n")
    (tmp_path / "chr.out").write_text("9 1.5 0 0 chr1 11 60 (0) + X LINE/L1 1 50 (0) 1\n")
    (tmp_path / "numbers.csv").write_text("sequence,label\nACGT,0.5\nACGG,1.5\n")
    (tmp_path / "two.csv").write_text("sequence,label\nACGT,a\nACGG,b\n")
    (tmp_path / "n.fa").write_text(">n\n" + "N" * 600 + "\n")
    (tmp_path / "bad.meme").write_text("MEME version 4\nMOTIF x\nletter-probability matrix: w= 1\n1 1 1 0\n")
    (tmp_path / "chr.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\nchr1\t1\t.\tA\tC\t.\t.\t.\n"
    )
    before = sorted(tmp_path.iterdir())
    of_genome = [] if "--fasta" in words else ["--fasta", fasta]
    result = run("compare-tokens", *of_genome, "--output-dir", "out", *words)
    refused(result, said, status)
    assert sorted(tmp_path.iterdir()) == before


def test_a_model_given_twice(run, model, fasta, tmp_path):
    words = ["--model", model, "--model", model, "--fasta", fasta, "--output-dir", tmp_path / "out"]
    refused(
        run("compare-tokens", *words), f"several models are called {model.name}: give --model NAME=DIR", 2
    )


@pytest.mark.parametrize(
    ("option", "budget", "said"),
    [
        ("--tokens-per-base", 0.1, "--tokens-per-base must be at least 0.25 with 2 merging blocks, got 0.1"),
        ("--accuracy-budget", 0.1, "--accuracy-budget must be at least 0.25 with 2 merging blocks, got 0.1"),
        ("--accuracy-budget", 1.5, "--accuracy-budget must be in (0, 1], got 1.5"),
    ],
)
def test_budgets_out_of_reach(run, model, fasta, tmp_path, option, budget, said):
    words = ["--model", model, "--fasta", fasta, "--output-dir", tmp_path / "out"]
    refused(run("compare-tokens", *words, option, budget), said)
    assert not (tmp_path / "out").exists()


def test_a_feature_type_that_is_not_there(run, sequences, tmp_path):
    words = ["--tokenizer", "6mer", "--annotation", sequences / "genes.gff3", "--feature", "exon"]
    result = run(
        "compare-tokens", "--fasta", sequences / "genome.fa", *words, "--output-dir", tmp_path / "out"
    )
    refused(result, "--feature 'exon' is no type of the annotation; there are CDS, tRNA")


def test_models_that_do_not_segment(run, fasta, tmp_path):
    (tmp_path / "other").mkdir()
    config = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(**config, intermediate_size=8, vocab_size=10)).save_pretrained(tmp_path / "other")
    words = ["--model", tmp_path / "other", "--fasta", fasta, "--output-dir", tmp_path / "out"]
    refused(
        run("compare-tokens", *words),
        "a model with a learned tokenizer must be of dnachunker, mergedna, mxdna, got bert",
    )
    (tmp_path / "taken").write_text("")
    words = ["--tokenizer", "6mer", "--fasta", fasta, "--output-dir", tmp_path / "taken"]
    refused(run("compare-tokens", *words), "must be a folder to write into")


def test_an_error_late_leaves_nothing(run, chunker, fasta, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr("dnachunk.visualization.token_comparison.plot_run_lengths", broken)
    words = ["--model", chunker, "--fasta", fasta, "--output-dir", tmp_path / "out", *QUICK]
    refused(
        run("compare-tokens", *words, "--bedgraph", tmp_path / "p.bedgraph.gz", "--region", "two"),
        "no space left",
    )
    assert [path.name for path in tmp_path.rglob("*")] == []


def test_packed_bedgraph_and_seeds(run, chunker, fasta, tmp_path):
    found = []
    for seed in (0, 0, 1):
        out = ["--output-dir", tmp_path / "out", "--bedgraph", tmp_path / "p.bedgraph.gz"]
        words = ["--model", f"chunks={chunker}", "--fasta", fasta, *QUICK, "--region", "two", "--seed", seed]
        assert run("compare-tokens", *words, *out).status == 0
        found.append(metrics_of(tmp_path / "out"))
    assert found[0] == found[1]
    assert found[0]["tokenizers"] == found[2]["tokenizers"]
    assert list(found[0]["tokenizers"]) == ["chunks stage 0", "chunks"]
    assert found[0]["profiles"] != found[2]["profiles"]
    rows = gzip.decompress((tmp_path / "p.bedgraph.gz").read_bytes()).decode().splitlines()
    assert rows[0].startswith("two\t0\t1\t1")
    assert rows[-1].split("\t")[2] == "500"
