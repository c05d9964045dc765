"""``dnachunk splice-sites``: a task made of a genome and its annotation."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dnachunk.cli.options import AliasesOption, FastaOption, OnError, ReadOnErrorOption
from dnachunk.reporting import say


class Kinds(str, Enum):
    """Which sites."""

    both = "both"
    donor = "donor"
    acceptor = "acceptor"


def splice_sites(
    fasta: FastaOption,
    annotation: Annotated[Path, typer.Option(help="GFF3 or GTF file of the genome's transcripts.")],
    output_dir: Annotated[
        Path, typer.Option(help="Folder for train.csv, dev.csv, test.csv and results.json.")
    ],
    test: Annotated[
        list[str],
        typer.Option(metavar="RECORD", help="Record that the test set is made of; can be repeated."),
    ],
    valid: Annotated[
        list[str] | None,
        typer.Option(metavar="RECORD", help="Record that the validation set is made of; can be repeated."),
    ] = None,
    train: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RECORD",
            help="Record that the training set is made of; can be repeated. Default: all others.",
        ),
    ] = None,
    kinds: Annotated[
        Kinds, typer.Option(help="Sites of both kinds, or of one, against places that look like them.")
    ] = Kinds.both,
    window_bp: Annotated[
        int, typer.Option(help="Bases of a window, an even number; the border is in its middle.", min=2)
    ] = 400,
    negatives: Annotated[int, typer.Option(help="Places drawn for each site.", min=0)] = 1,
    seed: Annotated[int, typer.Option(help="Which places are drawn.")] = 0,
    aliases: AliasesOption = None,
    on_error: ReadOnErrorOption = OnError.fail,
) -> None:
    """Makes a labelled set of splice sites: donors, acceptors, and places that are neither.

    Windows read along the strand of their transcript, the border between exon and intron in their middle.
    Negatives are places of the same transcripts that show GT or AG and are no splice sites. The folder is a
    task for finetune --data and evaluate.

    Example: dnachunk splice-sites --fasta yeast.fa.gz --annotation yeast.gff3.gz --valid chrXV --test chrXVI
    --output-dir tasks/yeast_splice_sites
    """
    from dnachunk.data.splice_sites import FILES, splice_site_sets

    result = splice_site_sets(
        fasta,
        annotation,
        output_dir,
        test=test,
        valid=valid or (),
        train=train or (),
        kinds=kinds.value,
        window_bp=window_bp,
        negatives=negatives,
        seed=seed,
        aliases=aliases,
        on_error=on_error.value,
    )
    say(result)
    say(f"\n{output_dir}: {', '.join(FILES[split] for split in result.sets)}, results.json")
