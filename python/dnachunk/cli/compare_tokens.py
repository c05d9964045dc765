"""``dnachunk compare-tokens``: what the tokens of several tokenizers mean, side by side."""

from pathlib import Path
from typing import Annotated

import typer

from dnachunk.cli.arguments import read_named_models
from dnachunk.cli.options import (
    AliasesOption,
    AnnotationsOption,
    BatchSizeOption,
    FastaOption,
    LabelColumnOption,
    ModelsOption,
    OnError,
    ReadOnErrorOption,
    TokensPerBaseOption,
    VariantsOption,
    WindowOption,
    output_file,
)
from dnachunk.reporting import say


def compare_tokens(
    fasta: FastaOption,
    output_dir: Annotated[Path, typer.Option(help="Folder for results.json and the plots.")],
    model: ModelsOption = None,
    tokenizer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A fixed tokenizer beside them: base, 6mer (1 to 8), or bpe-1024, trained on the sequences "
            "outside the windows that are mutated; can be repeated.",
        ),
    ] = None,
    annotation: AnnotationsOption = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help="Only features of this type (BED: name); can be repeated."),
    ] = None,
    repeats: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.out",
            help="RepeatMasker's table of the sequences (.out, .gz or not): tokens by class, family and "
            "divergence of repeats; can be repeated.",
        ),
    ] = None,
    labelled: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE|DIR",
            help="A labelled set, as finetune's --train takes them, of whatever genome: tokens by class; can "
            "be repeated.",
        ),
    ] = None,
    sequence_column: Annotated[str, typer.Option(help="Column of their sequences.")] = "sequence",
    label_column: LabelColumnOption = None,
    motif: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LETTERS|NAME=LETTERS|FILE",
            help="A motif: IUPAC letters, a file of matrices in MEME's or JASPAR's format (.meme, .jaspar, "
            ".pfm), or places, a motif for each name (.bed); can be repeated.",
        ),
    ] = None,
    motif_score: Annotated[
        float,
        typer.Option(
            help="In [0, 1]: a matrix matches from this share of the way from its lowest score to its "
            "highest."
        ),
    ] = 0.8,
    vcf: VariantsOption = None,
    region: Annotated[
        str | None,
        typer.Option(
            help="Only this part: chrI, or chrI:101-200 (from 1, inclusive). A record takes some 60 bytes of "
            "memory a base."
        ),
    ] = None,
    aliases: AliasesOption = None,
    on_error: ReadOnErrorOption = OnError.fail,
    bedgraph: Annotated[
        Path | None,
        typer.Option(
            help="File to write, bgzip if it ends in .gz, bigWig if in .bw: the probability that a token "
            "begins at a base, of the one model that has it (dnachunker, first stage).",
            callback=output_file,
        ),
    ] = None,
    window_bp: WindowOption = None,
    tokens_per_base: TokensPerBaseOption = None,
    accuracy_budget: Annotated[
        list[float] | None,
        typer.Option(
            help="Tokens per base, in (0, 1], that MergeDNA and DNAChunker are asked for to measure their "
            "accuracy at [MASK] in the windows that are mutated; can be repeated.",
        ),
    ] = None,
    map_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens whose vectors are drawn as a map, at most. Default: no maps.", min=10),
    ] = None,
    max_sites: Annotated[
        int,
        typer.Option(
            help="Sites of each kind that are looked at, drawn at random; occurrences of each motif, "
            "variants of each kind and size, sequences of each class.",
            min=10,
        ),
    ] = 200,
    mutated_windows: Annotated[int, typer.Option(help="Windows that are mutated, at most.", min=1)] = 500,
    seed: Annotated[
        int, typer.Option(help="Of sites, shuffling, mutations, resampling, jitter, masks, maps.")
    ] = 0,
    batch_size: BatchSizeOption = 8,
) -> None:
    """Tells what tokens have to do with the sequence, for several tokenizers side by side.

    Lengths of tokens by annotated region, in repeats (lower case) and outside, in runs of one letter and in
    tandem runs. Boundaries around motifs, and around starts and ends of features, along their strand, beside
    the same stretches shuffled (same dinucleotides), with 95% bootstrap bands. Boundaries that survive a
    mutation more than 32 bp away, beside 6-mers and byte-pair encoding of the same compression.

    With --motif: tokens that have a base of an occurrence, the share of occurrences inside one token, and of
    edges at which a token begins. With --vcf, by kind and size of the variants: the share of boundaries that
    both alleles have, and the edit similarity of their tokens. Both beside the same 6-mers and byte-pair
    encoding, with 95% intervals; motifs beside shuffled sequence too.

    With --repeats and --labelled: lengths of tokens by class, family and age of repeats, and by class of
    sequences. Of MxDNA: how far two passes with the jitter of training agree. With --accuracy-budget: the
    accuracy at [MASK] against tokens per base, for weights that were trained by the threshold or under a
    budget alike. With --map-tokens: vectors of tokens on a plane (t-SNE), told apart by features or
    soft-masking, by classes of repeats, and by classes of sequences.

    Example: dnachunk compare-tokens --model run --model other --fasta genome.fa.gz --annotation genes.gff3.gz
    --motif "TATA box=TATAWAWR" --motif jaspar.meme --vcf variants.vcf.gz --output-dir tokens
    """
    # Asked for now, not when there are figures and nothing to plot them with.
    import matplotlib  # noqa: F401

    from dnachunk.evaluation import compare_tokens as compare
    from dnachunk.evaluation.token_comparison import PLOTS
    from dnachunk.visualization import plot_token_comparison

    comparison = compare(
        fasta,
        output_dir,
        model=read_named_models(model or []),
        tokenizer=tokenizer or (),
        annotation=annotation or (),
        feature=feature or (),
        repeats=repeats or (),
        labelled=labelled or (),
        sequence_column=sequence_column,
        label_column=label_column or "label",
        motif=motif or (),
        motif_score=motif_score,
        vcf=vcf,
        region=region,
        aliases=aliases,
        on_error=on_error.value,
        bedgraph=bedgraph,
        window_bp=window_bp,
        tokens_per_base=tokens_per_base,
        accuracy_budget=accuracy_budget or (),
        map_tokens=map_tokens,
        max_sites=max_sites,
        mutated_windows=mutated_windows,
        seed=seed,
        batch_size=batch_size,
        draw=plot_token_comparison,
    )
    say(comparison)
    plots = [f"{name}.png" for name in PLOTS if (output_dir / f"{name}.png").is_file()]
    written = ["results.json", *plots]
    say(f"\n{output_dir}: {', '.join(written)}" + (f"; {bedgraph}" if bedgraph else ""))
