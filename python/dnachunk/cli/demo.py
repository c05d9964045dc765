"""``dnachunk demo``: the main job on the genome that ships with the package, in minutes."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnachunk.cli.pretrain import Kind, Size, build_model, parse_training_arguments, run_pretraining
from dnachunk.cli.report import say, write_figure
from dnachunk.cli.tokenize import write_tokens

if TYPE_CHECKING:
    from dnachunk.data import Interval

SIZE = Size.tiny
WINDOW_BP = 256
BATCH = 8
STEPS = 250
LEARNING_RATE = 1e-3
EVAL_WINDOWS = 192
FIELDS = ["random_mask_share=0.9"]
"""Fields of the configuration, as ``pretrain --config`` takes them: in a minute, adaptive masks alone teach
their own outlines (see the model's README)."""

GENE = "ftsH"
"""Whose start is shown: the gene of a protease, in the held-out tenth of the genome."""
BEFORE_BP, AFTER_BP = 60, 180


def demo(
    output_dir: Annotated[Path, typer.Option(help="Folder for the model, the tokens and the plots.")] = Path(
        "demo"
    ),
) -> None:
    """Pre-trains a small model on the packaged genome and shows how it cuts a gene's start into tokens.

    The genome is Chlamydia trachomatis D (1.04 Mb). It takes a few minutes on two cores.

    Example: dnachunk demo --output-dir demo
    """
    import torch

    from dnachunk.cli.inference import widths
    from dnachunk.data import Genome, default_holdout, packaged_genome
    from dnachunk.segmentation import Segmentation
    from dnachunk.visualization import plot_token_strip

    genome = Genome(packaged_genome())
    holdout = default_holdout([genome])
    args = parse_training_arguments(
        [],
        output_dir,
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        eval_steps=STEPS,
        logging_steps=0.1,
        save_strategy="no",
        bf16=_is_bf16_faster(),
    )
    network = build_model(Kind.mergedna, SIZE, FIELDS, WINDOW_BP, args.seed)
    run_pretraining(network, args, [genome], None, holdout, EVAL_WINDOWS)

    say()
    bed, strip = output_dir / "tokens.bed", output_dir / "tokens_of_a_gene.png"
    write_tokens(network.model.eval(), genome, bed, holdout[0], *widths(network, None, None))
    gene = _find_gene(GENE)
    assert gene.end_bp is not None
    low_bp, high_bp = gene.start_bp - BEFORE_BP, gene.start_bp + AFTER_BP
    lines = [line.split("\t") for line in bed.read_text().splitlines()]
    tokens = [
        (int(start), int(end), text)
        for _, start, end, text in lines
        if int(start) < high_bp and int(end) > low_bp
    ]
    lengths = torch.tensor([end - start for start, end, _ in tokens])
    token_index = torch.arange(len(tokens)).repeat_interleave(lengths)[None]
    figure = plot_token_strip(
        "".join(text for _, _, text in tokens),
        Segmentation(token_index, torch.tensor([len(tokens)])),
        start=tokens[0][0],
        annotations=[(gene.start_bp, gene.end_bp, GENE)],
    )
    write_figure(strip, figure)
    where = f"{gene.record}:{tokens[0][0] + 1}-{tokens[-1][1]}"
    say(f"\nTokens around the start of {GENE}, which is at | ({where}):")
    marked = [text for _, _, text in tokens]
    for place, (start, end, text) in enumerate(tokens):
        if start <= gene.start_bp < end:
            marked[place] = f"{text[: gene.start_bp - start]}|{text[gene.start_bp - start :]}"
    say(textwrap.fill(" ".join(marked), 100, initial_indent="  ", subsequent_indent="  "))
    say(f"\nTokens of the held-out sequence: {bed}, their lengths: {bed.with_suffix('.png')}")
    say(f"Tokens of this stretch, coloured: {strip}")


def _find_gene(name: str) -> "Interval":
    """The interval of a gene of the packaged genome's GFF3."""
    import gzip

    from dnachunk.data import Interval, packaged_genome

    with gzip.open(packaged_genome().with_name("chlamydia_trachomatis_d.gff3.gz"), "rt") as file:
        for line in file:
            columns = line.rstrip("\n").split("\t")
            if len(columns) == 9 and f"gene={name}" in columns[8].split(";"):
                return Interval(columns[0], int(columns[3]) - 1, int(columns[4]))
    raise ValueError(f"the packaged genome has no gene {name}")


def _is_bf16_faster() -> bool:
    """Whether matrix products are faster in bfloat16 here: on some CPUs they are several times slower."""
    import time

    import torch

    def seconds(dtype: torch.dtype) -> float:
        a = torch.ones(1024, 1024, dtype=dtype)
        a @ a
        start = time.perf_counter()
        for _ in range(3):
            a @ a
        return time.perf_counter() - start

    return torch.cuda.is_available() or seconds(torch.bfloat16) < seconds(torch.float32)
