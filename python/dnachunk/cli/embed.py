"""``dnachunk embed``: vectors of records or of tokens."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dnachunk.cli.options import (
    AliasesOption,
    BatchSizeOption,
    Bf16Option,
    FastaOption,
    ModelOption,
    OnError,
    OverlapOption,
    ReadOnErrorOption,
    RegionOption,
    ReverseComplement,
    ReverseComplementOption,
    TokensPerBaseOption,
    WindowOption,
    output_file,
)
from dnachunk.cli.report import leave_process_group, numbers_beside, say_report


class Per(str, Enum):
    """What a vector stands for."""

    record = "record"
    token = "token"


def embed(
    model: ModelOption,
    fasta: FastaOption,
    output: Annotated[
        Path,
        typer.Option(help="File to write, .safetensors or .npz; a .json beside it.", callback=output_file),
    ],
    per: Annotated[Per, typer.Option(help="A vector for each record, or for each token.")] = Per.record,
    reverse_complement: ReverseComplementOption = ReverseComplement.none,
    window_bp: WindowOption = None,
    overlap_bp: OverlapOption = None,
    tokens_per_base: TokensPerBaseOption = None,
    region: RegionOption = None,
    aliases: AliasesOption = None,
    on_error: ReadOnErrorOption = OnError.fail,
    batch_size: BatchSizeOption = 8,
    bf16: Bf16Option = False,
) -> None:
    """Turns sequences into vectors of the model's width, float32.

    The file holds "embeddings", "has_vector", which says of each record whether it has any (one of N alone
    has none, and a row of NaN), and the records' names: "records" in .npz, a JSON list of that name in the
    metadata of .safetensors. A record's vector is the mean of its latent tokens (of a long record, the mean
    of its windows' means, weighted by their bases). With --per token there are "record_index", "start_bp" and
    "end_bp" beside it; averaged over strands, a vector stands for bases that lie in one token on either.

    torchrun shares the work as for tokenize, and a run that was interrupted goes on.

    Example: dnachunk embed --model run --fasta promoters.fa --output promoters.safetensors
    """
    from dnachunk.inference import embed_genome
    from dnachunk.reporting import write_results

    job = "embed_genome"
    numbers = numbers_beside(output, job)
    found = embed_genome(
        model,
        fasta,
        output,
        per=per.value,
        reverse_complement=reverse_complement.value,
        window_bp=window_bp,
        overlap_bp=overlap_bp,
        tokens_per_base=tokens_per_base,
        region=region,
        aliases=aliases,
        on_error=on_error.value,
        batch_size=batch_size,
        bf16=bf16,
        across_ranks=True,
    )
    if numbers is not None:
        write_results(numbers, job, found.metrics)
    say_report(found, output)
    leave_process_group()
