import functools
import tempfile
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

import dnachunk
from benchmarks.case import Case, Work
from dnachunk.data import Interval, packaged_genome
from dnachunk.inference.tiling import fetch_tile, record_tiles
from dnachunk.models.shipped import shipped_names
from dnachunk.ops import use_backend

START_BP = 200_000


@functools.cache
def network(model, device):
    return dnachunk.load(model, device=device)


def inputs(device, model, length_bp, bf16):
    return {"network": network(model, device), "length_bp": length_bp, "bf16": bf16}


def tokens_of(network, length_bp, bf16):
    record = dnachunk.data.Genome(packaged_genome()).records[0].name
    region = Interval(record, START_BP, START_BP + length_bp)
    return dnachunk.tokenize_genome(network, packaged_genome(), region=region, bf16=bf16, batch_size=32)


def write(network, length_bp, bf16):
    """Tokens as an indexed BED file; their mean length in bases."""
    with tempfile.TemporaryDirectory() as folder:
        tokens = tokens_of(network, length_bp, bf16)
        statistics = tokens.write(Path(folder, "tokens.bed.gz"))
    return torch.tensor(statistics.metrics["mean_token_bp"])


def write_in_eager(**arguments):
    with use_backend("torch"):
        return write(**arguments)


@functools.cache
def flops(model, length_bp, **_):
    """Floating-point operations of the matrix products of all tiles."""
    loaded = network(model, torch.device("cpu"))
    genome = dnachunk.data.Genome(packaged_genome())
    tile_bp = loaded.config.train_length_bp
    near = (START_BP, START_BP + length_bp)
    tiles = list(record_tiles(genome, 0, tile_bp, tile_bp // 4, near=near))
    ids = torch.stack([fetch_tile(genome, tile).long() for tile in tiles[:4]])
    # With gradients: the counter's hooks cannot do without.
    with use_backend("torch"), FlopCounterMode(display=False) as counter:
        loaded.encode_tokens(ids, torch.ones_like(ids))
    return counter.get_total_flops() * len(tiles) / 4


CASE = Case(
    name="tokenize_genome",
    shapes=[
        {"model": model, "length_bp": 65_536, "bf16": bf16}
        for model in shipped_names()
        for bf16 in (False, True)
    ],
    inputs=inputs,
    ours=write,
    rivals={"operations in PyTorch": write_in_eager},
    forward_work=lambda bf16, **shape: Work(
        flops=flops(**shape), dtype=torch.bfloat16 if bf16 else torch.float32
    ),
    breakdown=True,
)
