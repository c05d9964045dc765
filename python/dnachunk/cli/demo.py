"""``dnachunk demo``: the main job on the genome that ships with the package, in minutes."""

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from dnachunk.cli.pretrain import read_fields
from dnachunk.cli.tokenize import written
from dnachunk.reporting import require_own_files, say

SIZE = "tiny"
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
GENE_BP = (990_002, 992_744)
BEFORE_BP, AFTER_BP = 60, 180

SHIPPED, TOKENIZER = "dnachunker-micro", "bpe-1024"
"""Shown beside what was trained: a model that ships, and a fixed tokenizer."""
PAGE_BP = (980_000, 1_000_000)
"""What the page shows: genes of the held-out tenth."""


def demo(
    output_dir: Annotated[Path, typer.Option(help="Folder for the model, the tokens and the plots.")] = Path(
        "demo"
    ),
) -> None:
    """Pre-trains a small model on the packaged genome and shows how it cuts a gene's start into tokens.

    The genome is Chlamydia trachomatis D (1.04 Mb). It takes a few minutes on two cores. At the end is a page
    of a genome browser: the tokens of this model, of one that ships, and of BPE, along genes.

    Example: dnachunk demo --output-dir demo
    """
    import torch

    from dnachunk.data import Genome, Interval, default_holdout, packaged_genome
    from dnachunk.inference import tokenize_genome
    from dnachunk.models import pretrained
    from dnachunk.segmentation import Segmentation
    from dnachunk.training import pretrain
    from dnachunk.visualization import browse, plot_token_strip
    from dnachunk.visualization.style import write_figure

    _remove_earlier(output_dir)
    genome = Genome(packaged_genome())
    holdout = default_holdout([genome], WINDOW_BP)
    result = pretrain(
        genome,
        output_dir,
        model="mergedna",
        size=SIZE,
        holdout=holdout,
        window_bp=WINDOW_BP,
        eval_windows=EVAL_WINDOWS,
        config=read_fields(FIELDS),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        eval_steps=STEPS,
        logging_steps=0.1,
        save_strategy="no",
        bf16=_is_bf16_faster(),
    )
    say(f"\n{result}")
    say(f"\nThe model is in {output_dir}; its numbers are in {output_dir / 'results.json'}")

    say()
    bed, strip = output_dir / "tokens.bed", output_dir / "tokens_of_a_gene.png"
    say(written(tokenize_genome(result.model, genome, region=holdout[0]).write(bed), bed))
    start_bp, end_bp = GENE_BP
    low_bp, high_bp = start_bp - BEFORE_BP, start_bp + AFTER_BP
    region = Interval(holdout[0].record, low_bp, high_bp)
    tokens = list(tokenize_genome(result.model, genome, region=region))
    lengths = torch.tensor([token.end_bp - token.start_bp for token in tokens])
    token_index = torch.arange(len(tokens)).repeat_interleave(lengths)[None]
    figure = plot_token_strip(
        "".join(token.sequence for token in tokens),
        Segmentation(token_index, torch.tensor([len(tokens)])),
        start=tokens[0].start_bp,
        annotations=[(start_bp, end_bp, GENE)],
    )
    write_figure(strip, figure)
    where = f"{region.record}:{tokens[0].start_bp + 1}-{tokens[-1].end_bp}"
    say(f"\nTokens around the start of {GENE}, which is at | ({where}):")
    marked = [token.sequence for token in tokens]
    for place, token in enumerate(tokens):
        if token.start_bp <= start_bp < token.end_bp:
            cut = start_bp - token.start_bp
            marked[place] = f"{token.sequence[:cut]}|{token.sequence[cut:]}"
    say(textwrap.fill(" ".join(marked), 100, initial_indent="  ", subsequent_indent="  "))
    say(f"\nTokens of the held-out sequence: {bed}, their lengths: {bed.with_suffix('.png')}")
    say(f"Tokens of this stretch, coloured: {strip}")

    page = output_dir / "tokens.html"
    try:
        browse(
            genome,
            page,
            model={"this demo": result.model, SHIPPED: pretrained(SHIPPED)},
            tokenizer=TOKENIZER,
            annotation=packaged_genome().with_name("chlamydia_trachomatis_d.gff3.gz"),
            region=Interval(holdout[0].record, *PAGE_BP),
        )
    except ModuleNotFoundError as error:
        if error.name != "igv_notebook":
            raise
        say("A page of a genome browser with all of this would end the demo: pip install 'dnachunk[browse]'")
    else:
        say(f"\nThe tokens of this model, of {SHIPPED} and of {TOKENIZER} along genes, to zoom into:")
        say(f"open {page.resolve()} in a web browser, by a double click")


def _remove_earlier(output_dir: Path) -> None:
    """Removes the model of an earlier demo from the folder, and no other's.

    Raises:
        FileExistsError: If files that the demo writes lie there, and are not of an earlier one.
    """
    results = output_dir / "results.json"
    endings = (".bed", ".html", ".json", ".png", "_of_a_gene.png")
    tokens = [output_dir / f"tokens{ending}" for ending in endings]
    require_own_files(results, "demo", tokens)
    if results.is_file():
        for name in ("config.json", "model.safetensors", "tokenizer_config.json", "training_args.bin"):
            (output_dir / name).unlink(missing_ok=True)


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
