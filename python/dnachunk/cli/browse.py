"""``dnachunk browse``: tokens beside genes, repeats and variants, as a page of a genome browser."""

from pathlib import Path
from typing import Annotated

import typer

from dnachunk.cli.arguments import read_named_models
from dnachunk.cli.options import (
    AliasesOption,
    AnnotationsOption,
    BatchSizeOption,
    Bf16Option,
    FastaOption,
    ModelsOption,
    OnError,
    ReadOnErrorOption,
    VariantsOption,
    WindowOption,
    output_file,
)
from dnachunk.cli.report import leave_process_group
from dnachunk.reporting import is_main_process, say


def browse(
    fasta: FastaOption,
    output: Annotated[
        Path,
        typer.Option(
            help="HTML file to write, of itself alone; - is standard output. One that ends in .xml is a "
            "session of IGV, of any size: tokens.xml, with indexed tracks beside it, in tokens_tracks.",
            callback=output_file,
        ),
    ],
    model: ModelsOption = None,
    tokenizer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A fixed tokenizer beside them: base, 6mer (1 to 8), or bpe-1024, trained on at most a "
            "megabase of the sequences, shown or not; can be repeated.",
        ),
    ] = None,
    annotation: AnnotationsOption = None,
    vcf: VariantsOption = None,
    repeats: Annotated[
        list[Path] | None,
        typer.Option(
            help="Repeats beside those in lower case: BED, or RepeatMasker's tables (.out); can be repeated."
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            help="Only this part: chrI, or chrI:101-200 (from 1, inclusive). Default: all of a genome that "
            "a page has room for."
        ),
    ] = None,
    aliases: AliasesOption = None,
    on_error: ReadOnErrorOption = OnError.fail,
    window_bp: WindowOption = None,
    batch_size: BatchSizeOption = 8,
    bf16: Bf16Option = False,
) -> None:
    """Shows tokens of several tokenizers beside genes, repeats and variants, in a genome browser.

    A page opens by a double click, and asks nothing of a network. A track for each segmentation, a click on
    a token says what it is; zoomed out, bars of bases per token. Boundary probabilities of DNAChunker, where
    MxDNA's tokens read. Beside them what is in view: lengths of tokens, tokens per base by kind of feature;
    and the tokens of a motif at each of its sites.

    What is too large for a page is refused, with what it would cost, and goes to a session of IGV: tokens as
    tokenize writes them, boundary probabilities, annotations and variants, all indexed.

    Example: dnachunk browse --model run --tokenizer bpe-1024 --fasta genome.fa.gz --annotation genes.gff3.gz
    --region chrI:1-200000 --output tokens.html

    Example: dnachunk browse --model short=run --model long=other --fasta genome.fa --output tokens.xml
    """
    from dnachunk.visualization.browser_session import SESSION_SUFFIX
    from dnachunk.visualization.genome_browser import browse as browse_tokens

    is_session = output.suffix == SESSION_SUFFIX
    if not is_session and not is_main_process():
        return
    page = browse_tokens(
        fasta,
        output,
        model=read_named_models(model or []),
        tokenizer=tokenizer or (),
        annotation=annotation or (),
        vcf=vcf,
        repeats=repeats or (),
        region=region,
        aliases=aliases,
        on_error=on_error.value,
        window_bp=window_bp,
        batch_size=batch_size,
        bf16=bf16,
        across_ranks=is_session,
    )
    if is_main_process():
        say(page)
        where = "in IGV (File, Open Session)" if is_session else "in a web browser"
        say(f"\n{output}: open it {where}")
    leave_process_group()
