import os
import subprocess
import sys

import pytest
import torch

import dnachunk
from dnachunk.data import Interval
from dnachunk.inference.genome import GenomeTokens
from dnachunk.inference.ranks import Ranks
from tests.data.test_tiling import genome_of, random_sequence
from tests.training.runs import SMALL_CONFIGS

TIMEOUT_S = 240


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModel

    torch.manual_seed(3)
    return AutoModel.from_config(SMALL_CONFIGS["dnachunker"]).eval()


def tiles_of(found):
    return [
        (each.tile.record_index, each.edges.tolist(), *(finer.tolist() for finer in each.finer_edges))
        for each in found
        if each.edges[-1] > each.edges[0]
    ]


@pytest.mark.parametrize("overlap_bp", [0, 9, 20])
@pytest.mark.parametrize("region", [None, Interval("r0", 333, 702), Interval("r2", 5, None)])
def test_shares_of_any_number_of_ranks_are_the_whole(tmp_path, model, region, overlap_bp):
    """Each tile is some rank's, and joined as if one had run them all."""
    record = random_sequence(411) + "N" * 95 + random_sequence(500, 1)
    genome = genome_of(tmp_path, record, "A", random_sequence(230, 2), "N" * 130, random_sequence(40, 3))
    tokens = GenomeTokens(model, genome, region, 40, overlap_bp, None, 4)
    want = tiles_of(tokens.tiles())
    assert len(want) > 3
    for count in (2, 3, 7, 40):
        found = []
        for rank in range(count):
            found += tiles_of(tokens._run(tokens._shares(Ranks(rank, count))))
        assert found == want


def test_bases_are_shared_in_order():
    for length_bp, count in ((10, 3), (2, 5), (0, 2)):
        spans = [Ranks(rank, count).share(length_bp) for rank in range(count)]
        assert [base for span in spans for base in range(*span)] == list(range(length_bp))


def test_two_ranks_write_what_one_does(tmp_path):
    """Of MxDNA all files: tokens, their index, where they read, numbers and plot."""
    genome_of(tmp_path, random_sequence(3000), random_sequence(700, 1) + "N" * 300 + random_sequence(90, 2))
    torch.manual_seed(1)
    dnachunk.MxDNAForMaskedLM(SMALL_CONFIGS["mxdna"]).save_pretrained(tmp_path / "model")
    dnachunk.DNATokenizer(cls_sep=True).save_pretrained(tmp_path / "model")
    words = ["tokenize", "--model", tmp_path / "model", "--fasta", tmp_path / "genome.fa"]
    outputs = {}
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        files = ["--output", folder / "t.bed.gz", "--receptive-positions", folder / "reads.tsv"]
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count, "-m", "dnachunk"]
        done = subprocess.run(
            [sys.executable, *map(str, (*launch, *words, *files))],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("tokens") == 1
        outputs[count] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert outputs[1].keys() == {"t.bed.gz", "t.bed.gz.tbi", "t.json", "t.png", "reads.tsv"}
    for name in ("t.bed.gz", "t.bed.gz.tbi", "reads.tsv"):
        assert outputs[1][name] == outputs[2][name]
