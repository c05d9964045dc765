import errno
import fcntl
import json
import os
import subprocess
import sys

import pyBigWig
import pysam
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

import dnachunk
from dnachunk.data import Genome, Interval
from dnachunk.evaluation import variant_scores
from dnachunk.inference import tiling
from dnachunk.inference.genome import GenomeTokens
from dnachunk.inference.parts import kept_parts, run_parts
from dnachunk.inference.ranks import ALONE, Ranks
from dnachunk.inference.tiling import genome_parts, part_length_bp
from tests.data.test_tiling import genome_of, random_sequence
from tests.training.runs import SMALL_CONFIGS

TIMEOUT_S = 240


class Interrupted(BaseException):
    pass


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    return AutoModel.from_config(SMALL_CONFIGS["dnachunker"]).eval()


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 300 bases and two variants, of which the small inputs here have several."""
    monkeypatch.setattr(tiling, "PART_BP", 300)
    monkeypatch.setattr(variant_scores, "PART_RECORDS", 2)


def tiles_of(found):
    return [
        (each.tile.record_index, each.edges.tolist(), *(finer.tolist() for finer in each.finer_edges))
        for each in found
        if each.edges[-1] > each.edges[0]
    ]


@pytest.mark.parametrize("overlap_bp", [0, 9, 20])
@pytest.mark.parametrize("region", [None, Interval("r0", 333, 702), Interval("r2", 5, None)])
def test_parts_of_any_size_are_the_whole(tmp_path, monkeypatch, model, region, overlap_bp):
    """Each tile is some part's, and joined as if all had been run at once."""
    record = random_sequence(411) + "N" * 95 + random_sequence(500, 1)
    genome = genome_of(tmp_path, record, "A", random_sequence(230, 2), "N" * 130, random_sequence(40, 3))
    tokens = GenomeTokens(model, genome, region, 40, overlap_bp, None, 4)
    (whole,) = genome_parts(genome, region, 40)
    want = tiles_of(tokens._run(whole))
    assert len(want) > 3
    for part_bp in (400, 173, 40, 7):
        monkeypatch.setattr(tiling, "PART_BP", part_bp)
        parts = genome_parts(genome, region, 40)
        assert tiles_of(tokens.tiles()) == want
        lengths = list(map(part_length_bp, parts))
        assert set(lengths[:-1]) <= {part_bp}
        assert sum(lengths) == part_length_bp(whole)


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 7])
@pytest.mark.parametrize("there", [set(), {0}, {1, 2, 3}, {0, 1, 5, 9}, set(range(10))])
def test_the_first_rank_gets_all_in_order(tmp_path, num_ranks, there):
    """Each missing part is computed once, by ranks in turn; those that are there by none."""
    computed = []

    def compute(part):
        computed.append(part)
        return {"square": torch.tensor(part * part)}

    class Both(Ranks):
        """The first rank, which computes for the others what they would."""

        def of_first(self, value):
            return value

        def gather(self, value):
            others = missing[len(computed) : len(computed) + num_ranks - 1]
            return [value, *map(compute, others)]

    missing = [part for part in range(10) if part not in there]
    with kept_parts(tmp_path / "out", 10, ALONE, []) as kept:
        for part in there:
            kept.save(part, {"square": torch.tensor(part * part)})
        found = list(run_parts(range(10), compute, Both(0, num_ranks), kept))
        assert kept.places == set(range(10))
    assert [(part, int(result["square"])) for part, result in found] == [(p, p * p) for p in range(10)]
    assert computed == missing
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_of_the_same_job_alone(tmp_path):
    data = tmp_path / "data"
    data.write_text("ACGT")

    def interrupted(**settings):
        with kept_parts(tmp_path / "out", 3, ALONE, [data], **settings) as kept:
            before = kept.places.copy()
            kept.save(len(before), [None, "text", 0.5, torch.arange(3)])
            raise Interrupted(before)

    for settings, want in (({"width": 1}, set()), ({"width": 1}, {0}), ({"width": 2}, set())):
        with pytest.raises(Interrupted) as caught:
            interrupted(**settings)
        assert caught.value.args[0] == want
    data.write_text("ACGTA")
    with pytest.raises(Interrupted) as caught:
        interrupted(width=2)
    assert caught.value.args[0] == set()
    with kept_parts(tmp_path / "out", 3, ALONE, [data], width=2) as kept:
        none, text, half, places = kept.load(0)
        assert (none, text, half, places.tolist()) == (None, "text", 0.5, [0, 1, 2])
        (tmp_path / ".out.parts" / "0.pt").write_bytes(b"torn")
        with pytest.raises(OSError, match="0.pt could not be read, and was removed; the same again"):
            kept.load(0)
        assert kept.places == set()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_folder_of_somebody_else_is_left(tmp_path):
    folder = tmp_path / ".out.parts"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(FileExistsError, match="holds something else"),
        kept_parts(tmp_path / "out", 3, ALONE, []),
    ):
        pytest.fail("begun")
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_what_a_killed_run_was_writing_is_taken_over(tmp_path):
    folder = tmp_path / ".out.parts"
    folder.mkdir()
    for name in (".job.json.77", ".0.pt.77", "1.pt"):
        (folder / name).write_bytes(b"torn")
    with kept_parts(tmp_path / "out", 3, ALONE, []) as kept:
        assert kept.places == set()
        assert [path.name for path in folder.iterdir()] == ["job.json"]
    assert list(tmp_path.iterdir()) == []


def test_one_run_at_a_time(tmp_path):
    with kept_parts(tmp_path / "out", 3, ALONE, []) as kept:
        kept.save(0, [1])
        with (
            pytest.raises(OSError, match=r"\.out\.parts is in use: another run is writing the same output"),
            kept_parts(tmp_path / "out", 3, ALONE, [], width=2),
        ):
            pytest.fail("begun")
        assert kept.load(0) == [1]
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with kept_parts(tmp_path / "out", 3, ALONE, []) as kept:
        kept.save(0, [1])
        assert kept.load(0) == [1]


def test_nothing_is_left_of_a_run_that_finished_no_part(tmp_path):
    with pytest.raises(Interrupted), kept_parts(tmp_path / "out", 3, ALONE, []):
        raise Interrupted
    assert list(tmp_path.iterdir()) == []


def test_an_output_is_no_file_that_another_brings(tmp_path, model):
    genome = genome_of(tmp_path, random_sequence(300))
    tokens = GenomeTokens(model, genome, None, 40, 8, None, 4)
    for output, probability in (("a.bed", "a.stage_0.bed"), ("b.bed.gz", "b.bed.gz.tbi")):
        with pytest.raises(ValueError, match="output and boundary_probability must be different files"):
            tokens.write(tmp_path / output, boundary_probability=tmp_path / probability)
    fasta = tmp_path / "d.stage_0.bed"
    fasta.write_text(">r\nACGTACGT\n")
    (tmp_path / "d.bed").touch()
    tokens = GenomeTokens(model, Genome(fasta), None, 40, 8, None, 4)
    with pytest.raises(ValueError, match="fasta and output must be different files"):
        tokens.write(tmp_path / "d.bed")
    assert fasta.read_text() == ">r\nACGTACGT\n"
    assert not list(tmp_path.glob("a.*")) + list(tmp_path.glob("b.*"))


def contents(folder, pattern="*"):
    found = (path for path in folder.glob(pattern) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def stopping(monkeypatch, module, name, after):
    """Makes a function raise at a later call."""
    calls, function = [], getattr(module, name)

    def stop(*arguments, **options):
        calls.append(name)
        if len(calls) > after:
            raise Interrupted
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, stop)
    return calls


@pytest.mark.parametrize("kind", ["mxdna", "dnachunker"])
def test_tokens_of_an_interrupted_run_are_gone_on_with(tmp_path, monkeypatch, small_parts, kind):
    genome_of(tmp_path, random_sequence(1000), random_sequence(700, 1) + "N" * 300 + random_sequence(90, 2))
    torch.manual_seed(1)
    network = AutoModel.from_config(SMALL_CONFIGS[kind]).eval()
    more = {"mxdna": "receptive_positions", "dnachunker": "boundary_probability"}[kind]

    def run(folder):
        folder.mkdir(exist_ok=True)
        options = {more: folder / "more.tsv", "batch_size": 3}
        dnachunk.tokenize_genome(network, tmp_path / "genome.fa", folder / "t.bed.gz", **options)

    run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stopping(patch, tiling, "run_tiles", 4)
        with pytest.raises(Interrupted):
            run(tmp_path / "twice")
    assert contents(tmp_path / "twice") == {}
    assert len(list((tmp_path / "twice" / ".t.bed.gz.parts").glob("*.pt"))) == 4
    calls = stopping(monkeypatch, tiling, "run_tiles", 100)
    run(tmp_path / "twice")
    assert len(calls) == -(-2090 // 300) - 4
    assert contents(tmp_path / "twice") == contents(tmp_path / "whole")
    assert not (tmp_path / "twice" / ".t.bed.gz.parts").exists()


def test_a_session_keeps_its_parts_where_they_stay(tmp_path, monkeypatch, model, small_parts):
    """Its tracks lie in a folder that goes when it is interrupted."""
    genome_of(tmp_path, random_sequence(1000))

    def run(folder):
        folder.mkdir(exist_ok=True)
        dnachunk.browse(tmp_path / "genome.fa", folder / "s.xml", model={"d": model})

    run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stopping(patch, tiling, "run_tiles", 2)
        with pytest.raises(Interrupted):
            run(tmp_path / "twice")
    assert [path.name for path in (tmp_path / "twice").iterdir()] == [".s_tracks.d.bed.gz.parts"]
    calls = stopping(monkeypatch, tiling, "run_tiles", 100)
    run(tmp_path / "twice")
    assert len(calls) == -(-1000 // 300) - 2
    whole, twice = (contents(tmp_path / name / "s_tracks") for name in ("whole", "twice"))
    assert twice == whole
    assert sorted(path.name for path in (tmp_path / "twice").iterdir()) == ["s.xml", "s_tracks"]


@pytest.mark.parametrize("per", ["record", "token"])
@pytest.mark.parametrize("reverse_complement", ["none", "average"])
def test_vectors_of_an_interrupted_run_are_gone_on_with(
    tmp_path, monkeypatch, model, small_parts, per, reverse_complement
):
    genome_of(tmp_path, random_sequence(1000), "N" * 50, random_sequence(300, 1))
    options = {"per": per, "reverse_complement": reverse_complement, "window_bp": 64}

    def run(output):
        dnachunk.embed_genome(model, tmp_path / "genome.fa", output, **options)

    run(tmp_path / "whole.safetensors")
    with monkeypatch.context() as patch:
        stopping(patch, tiling, "run_tiles", 3)
        with pytest.raises(Interrupted):
            run(tmp_path / "twice.safetensors")
    assert not (tmp_path / "twice.safetensors").exists()
    run(tmp_path / "twice.safetensors")
    whole, twice = (tmp_path / f"{name}.safetensors" for name in ("whole", "twice"))
    assert whole.read_bytes() == twice.read_bytes()
    # Parts are no more than a way to compute: of one part the vectors are the same but for rounding.
    monkeypatch.setattr(tiling, "PART_BP", 1 << 18)
    at_once = dnachunk.embed_genome(model, tmp_path / "genome.fa", **options)
    for name, tensor in load_file(whole).items():
        torch.testing.assert_close(at_once.tensors()[name], tensor, equal_nan=True)


def test_vectors_of_a_region_are_those_of_its_tokens(tmp_path, model):
    genome_of(tmp_path, random_sequence(300), random_sequence(500, 1))
    fasta, options = tmp_path / "genome.fa", {"window_bp": 64}
    tokens = dnachunk.embed_genome(model, fasta, per="token", **options)
    found = dnachunk.embed_genome(model, fasta, per="token", region="r1:101-230", **options)
    inside = (tokens.record_index == 1) & (tokens.end_bp > 100) & (tokens.start_bp < 230)
    assert found.records == ["r1"]
    assert found.record_index.tolist() == [0] * int(inside.sum())
    assert torch.equal(found.start_bp, tokens.start_bp[inside])
    assert torch.equal(found.end_bp, tokens.end_bp[inside])
    torch.testing.assert_close(found.embeddings, tokens.embeddings[inside])
    of_record = dnachunk.embed_genome(model, fasta, region="r1", **options)
    of_all = dnachunk.embed_genome(model, fasta, **options)
    torch.testing.assert_close(of_record.embeddings, of_all.embeddings[1:])
    of_region = dnachunk.embed_genome(model, fasta, region="r1:101-230", **options)
    assert not torch.allclose(of_region.embeddings, of_record.embeddings)
    # A mean of tiles' means by their bases, each of some tokens.
    assert of_region.embeddings.shape == (1, model.config.hidden_size)
    assert (of_region.embeddings >= found.embeddings.min(dim=0).values - 1e-5).all()
    assert (of_region.embeddings <= found.embeddings.max(dim=0).values + 1e-5).all()
    both = dnachunk.embed_genome(
        model, fasta, per="token", reverse_complement="average", region="r1:101-230", **options
    )
    all_both = dnachunk.embed_genome(model, fasta, per="token", reverse_complement="average", **options)
    places = {
        start: place
        for place, start in enumerate(all_both.start_bp.tolist())
        if all_both.record_index[place] == 1
    }
    assert both.start_bp.min() <= 100
    assert both.end_bp.max() >= 230
    for place, start in enumerate(both.start_bp.tolist()):
        torch.testing.assert_close(both.embeddings[place], all_both.embeddings[places[start]])
        assert both.end_bp[place] == all_both.end_bp[places[start]]


def variants_of(tmp_path):
    """A FASTA, and a file of single-base variants on it."""
    sequences = [random_sequence(200), random_sequence(150, 1)]
    genome_of(tmp_path, *sequences)
    lines = ["##fileformat=VCFv4.2\n", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"]
    for index, sequence in enumerate(sequences):
        for position in range(5, 140, 17):
            reference = sequence[position - 1]
            alternate = "ACGT"["ACGT".index(reference) - 1]
            lines.append(f"r{index}\t{position}\t.\t{reference}\t{alternate}\t.\t.\t.\n")
    (tmp_path / "v.vcf").write_text("".join(lines))


@pytest.fixture(scope="module")
def masked_model():
    torch.manual_seed(5)
    return dnachunk.DNAChunkerForMaskedLM(SMALL_CONFIGS["dnachunker"]).eval()


def test_scores_of_an_interrupted_run_are_gone_on_with(tmp_path, monkeypatch, masked_model, small_parts):
    variants_of(tmp_path)

    def run(output):
        options = {"window_bp": 64, "batch_size": 2}
        dnachunk.score_variants(masked_model, tmp_path / "genome.fa", tmp_path / "v.vcf", output, **options)

    run(tmp_path / "whole.vcf")
    with monkeypatch.context() as patch:
        stopping(patch, variant_scores.zero_shot, "score_alleles", 3)
        with pytest.raises(Interrupted):
            run(tmp_path / "twice.vcf")
    assert (tmp_path / ".twice.vcf.parts").is_dir()
    run(tmp_path / "twice.vcf")
    assert (tmp_path / "whole.vcf").read_bytes() == (tmp_path / "twice.vcf").read_bytes()
    assert (tmp_path / "whole.vcf").read_text().count("DNACHUNK_LLR=") == 16
    assert not (tmp_path / ".twice.vcf.parts").exists()


def test_variants_of_a_region(tmp_path, masked_model):
    variants_of(tmp_path)
    options = {"window_bp": 64}
    files = tmp_path / "genome.fa", tmp_path / "v.vcf"
    everywhere = list(dnachunk.score_variants(masked_model, *files, **options))
    scores = dnachunk.score_variants(masked_model, *files, region="r1:22-56", **options)
    found = list(scores)
    assert [(each.contig, each.position) for each in found] == [("r1", 22), ("r1", 39), ("r1", 56)]
    want = [each for each in everywhere if each.contig == "r1" and 22 <= each.position <= 56]
    for each, other in zip(found, want, strict=True):
        assert each.log_likelihood_ratio == pytest.approx(other.log_likelihood_ratio, abs=1e-5)
    assert scores.num_records == 3
    with pytest.raises(ValueError, match="no variant in r1:23-30"):
        dnachunk.score_variants(masked_model, *files, region="r1:23-30", **options)


@pytest.mark.parametrize("region", [None, "r0:101-400"])
def test_boundary_probabilities_as_bigwig_and_bedgraph(tmp_path, model, region):
    genome = genome_of(
        tmp_path, random_sequence(500) + "N" * 200 + random_sequence(60, 1), random_sequence(90)
    )
    lengths = {record.name: record.length_bp for record in genome.records}
    options = {"window_bp": 40, "region": region}
    tokens = dnachunk.tokenize_genome(model, genome, **options)
    want = {name: [None] * length for name, length in lengths.items()}
    for tile in tokens.tiles():
        name = genome.records[tile.tile.record_index].name
        for place, value in enumerate(tile.boundary_probability.tolist(), int(tile.edges[0])):
            if region is None or 100 <= place < 400:
                want[name][place] = value
    for ending in (".bw", ".bedgraph.gz"):
        path = tmp_path / f"p{ending}"
        tokens.write(tmp_path / "t.bed", boundary_probability=path)
        assert path in tokens.statistics.files
        found = {name: [None] * length for name, length in lengths.items()}
        if ending == ".bw":
            with pyBigWig.open(str(path)) as file:
                assert file.chroms() == lengths
                spans = [(name, *each) for name in file.chroms() for each in file.intervals(name) or ()]
        else:
            with pysam.TabixFile(str(path)) as file:
                spans = [(r[0], int(r[1]), int(r[2]), float(r[3])) for r in map(str.split, file.fetch())]
        for name, start_bp, end_bp, value in spans:
            found[name][start_bp:end_bp] = [value] * (end_bp - start_bp)
        for name, values in want.items():
            assert [value is None for value in found[name]] == [value is None for value in values]
            for value, other in zip(found[name], values, strict=True):
                assert value is None or value == pytest.approx(other, rel=1e-3)


def test_boundary_probabilities_are_asked_of_who_has_them(tmp_path, model):
    genome = genome_of(tmp_path, random_sequence(90))
    other = dnachunk.MergeDNAModel(SMALL_CONFIGS["mergedna"])
    with pytest.raises(ValueError, match="boundary_probability is for dnachunker; a mergedna model"):
        dnachunk.tokenize_genome(other, genome, tmp_path / "t.bed", boundary_probability=tmp_path / "p.bw")
    with pytest.raises(ValueError, match="boundary_probability is written beside output"):
        dnachunk.tokenize_genome(model, genome, boundary_probability=tmp_path / "p.bw")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["genome.fa"]


COMMANDS = {
    "tokenize": ["--output", "t.bed.gz", "--receptive-positions", "reads.tsv"],
    "embed": ["--output", "v.safetensors", "--per", "token", "--reverse-complement", "average"],
    "score-variants": ["--output", "s.vcf.gz", "--vcf", "../v.vcf"],
    "browse": ["--output", "s.xml", "--tokenizer", "3mer"],
}
# A command with parts as small as its inputs.
SMALL = """
import sys
from dnachunk.evaluation import variant_scores
from dnachunk.inference import tiling
tiling.PART_BP, variant_scores.PART_RECORDS = 300, 2
from dnachunk.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_two_ranks_write_what_one_does(tmp_path, command):
    """All files: of MxDNA's tokens too their index, and where they read."""
    variants_of(tmp_path)
    if command != "score-variants":
        genome_of(
            tmp_path, random_sequence(1000), random_sequence(700, 1) + "N" * 300 + random_sequence(90, 2)
        )
    torch.manual_seed(1)
    dnachunk.MxDNAForMaskedLM(SMALL_CONFIGS["mxdna"]).save_pretrained(tmp_path / "model")
    dnachunk.DNATokenizer(cls_sep=True).save_pretrained(tmp_path / "model")
    (tmp_path / "small.py").write_text(SMALL)
    words = [command, "--model", "../model", "--fasta", "../genome.fa", *COMMANDS[command]]
    outputs = {}
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        done = subprocess.run(
            [sys.executable, *launch, "../small.py", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        outputs[count] = contents(folder, "**/*")
    plots_and_numbers = {name for name in outputs[1] if name.endswith((".json", ".png"))}
    assert outputs[1].keys() == outputs[2].keys()
    assert len(outputs[1]) > len(plots_and_numbers)
    for name in outputs[1].keys() - plots_and_numbers:
        assert outputs[1][name] == outputs[2][name], name
    for name in plots_and_numbers:
        if name.endswith(".json"):
            metrics = [json.loads(outputs[count][name])["metrics"] for count in (1, 2)]
            assert metrics[0] == metrics[1]
