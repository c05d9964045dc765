"""Running a trained model, or a fixed tokenizer, over the records of a genome."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer

from dnachunk.alphabet import PAD_ID
from dnachunk.baselines import FixedTokenizer
from dnachunk.data import Genome, Interval
from dnachunk.data.tiling import Tile, TileTokens, check_tiling, fetch_tile, join_tiles
from dnachunk.data.token_windows import tokenize_windows
from dnachunk.models.modeling_common import mean_over_tokens
from dnachunk.models.mxdna import between_special_tokens
from dnachunk.ops import token_unmerge
from dnachunk.segmentation import Segmentation
from dnachunk.training.checkpoints import load_pretrained


class Encoded(NamedTuple):
    """What a model makes of a batch.

    Attributes:
        segmentations: Of the bases, the finest first; the last one's tokens are the model's.
        vectors: Their vectors ``[B, L, D]``, if they were asked for.
        columns: More about each token by name, ``[B, L, …]`` each; what is called ``…_bp`` counts from the
            row's first base.
        boundary_probability: ``[B, N]``: for each base the probability that a token of the finest
            segmentation begins there, if the model has one.
    """

    segmentations: Sequence[Segmentation]
    vectors: torch.Tensor | None
    columns: Mapping[str, torch.Tensor] = {}
    boundary_probability: torch.Tensor | None = None


def load_model(directory: Path) -> Any:
    """Loads a trained model with a learned tokenizer for inference, onto a GPU where there is one.

    Raises:
        OSError: If the directory holds no model.
        ValueError: If its weights do not fit, or it is none of ours.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_pretrained(AutoModel, directory).eval().to(device)
    if model.config.model_type not in _ENCODERS:
        raise ValueError(
            f"{directory}: a model with a learned tokenizer must be of {', '.join(_ENCODERS)}, "
            f"got {model.config.model_type}"
        )
    return model


def load_segmenter(directory: Path) -> Any:
    """Loads what cuts sequences into tokens: a model of ours, or of a baseline its tokenizer alone.

    Raises:
        OSError: If the directory holds neither.
        ValueError: If the weights do not fit, or what it holds gives no segmentation.
    """
    if (directory / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        if isinstance(tokenizer, FixedTokenizer):
            if tokenizer.kind.is_overlapping:
                raise ValueError(f"{directory}: words that overlap are no segmentation")
            return tokenizer
    return load_model(directory)


def segment(
    model: Any, rows: Sequence[torch.Tensor], *, keep_ratio: float | None = None, vectors: bool = False
) -> Encoded:
    """Cuts sequences into tokens, all at once.

    Args:
        model: What :func:`load_segmenter` or :func:`load_model` gives, or a ``FixedTokenizer``.
        rows: Ids of bases, ``[n]`` int64 each.
        keep_ratio: Tokens per base; None is as the model is configured.
        vectors: Whether to run the whole model, for the tokens' vectors, or the tokenizer alone.
    """
    is_fixed = isinstance(model, FixedTokenizer)
    device = "cpu" if is_fixed else model.device
    masks = [torch.ones_like(row) for row in rows]
    inputs = {
        "input_ids": pad_sequence(list(rows), batch_first=True, padding_value=PAD_ID).to(device),
        "attention_mask": pad_sequence(masks, batch_first=True).to(device),
    }
    if is_fixed:
        return _encode_fixed(model, inputs)
    with torch.inference_mode():
        return _ENCODERS[model.config.model_type](model, inputs, keep_ratio, vectors)


def mean_vectors(model: Any, inputs: dict[str, torch.Tensor], *, cls_sep: bool = False) -> torch.Tensor:
    """The mean of the latent tokens of each row, ``[B, D]``, as ``embed`` writes it for a record.

    Of a model that is none of ours it is the mean of the bases' last hidden states.

    Args:
        model: What :func:`load_model` gives, or the base model of one with a head.
        inputs: ``input_ids`` and ``attention_mask`` of bases alone, on the model's device.
        cls_sep: Whether a model that is none of ours reads ``[CLS] … [SEP]``.
    """
    encode = _ENCODERS.get(model.config.model_type)
    if encode is not None:
        encoded = encode(model, inputs, None, True)
        assert encoded.vectors is not None
        return mean_over_tokens(encoded.vectors, encoded.segmentations[-1].num_tokens)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    if cls_sep:
        ids, mask = between_special_tokens(ids, mask)
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return mean_over_tokens(hidden[:, int(cls_sep) :], inputs["attention_mask"].sum(dim=1))


def widths(model: Any, window_bp: int | None, overlap_bp: int | None) -> tuple[int, int]:
    """Bases of a tile and of an overlap; by default the model's training windows, and a quarter of a tile.

    Raises:
        ValueError: If they are out of range.
    """
    window_bp = model.config.train_length_bp if window_bp is None else window_bp
    overlap_bp = window_bp // 4 if overlap_bp is None else overlap_bp
    check_tiling("dnachunk", window_bp, overlap_bp)
    return window_bp, overlap_bp


def find_interval(genome: Genome, text: str) -> Interval:
    """Reads an interval of a genome as samtools writes it.

    Raises:
        ValueError: If it lies in no record.
    """
    interval = Interval.parse(text, [record.name for record in genome.records])
    if interval.record not in genome:
        raise ValueError(f"{genome.path} has no record {interval.record!r}")
    length_bp = genome.records[genome.index_of(interval.record)].length_bp
    if interval.start_bp >= length_bp or (interval.end_bp or 0) > length_bp:
        raise ValueError(f"{text} does not lie in its record of {length_bp} bases")
    return interval


def run_tiles(
    model: Any,
    genome: Genome,
    tiles: Iterable[Tile],
    *,
    keep_ratio: float | None,
    batch_size: int,
    vectors: bool,
    reverse: bool = False,
) -> Iterator[TileTokens]:
    """Tokenizes tiles and joins them, a batch at a time.

    Args:
        model: What :func:`segment` takes.
        genome: Where the tiles lie.
        tiles: Tiles of one strand, in order.
        keep_ratio: Tokens per base; None is as the model is configured.
        batch_size: Tiles that are run at once.
        vectors: Whether to run the whole model, for the tokens' vectors, or the tokenizer alone.
        reverse: Whether they are tiles of the reverse complement.

    Raises:
        ValueError: If the keep ratio is out of reach, or the model has none.
    """
    if keep_ratio is not None and not hasattr(model.config, "keep_ratio"):
        raise ValueError(
            f"--keep-ratio is for mergedna; a {model.config.model_type} model cuts as it learned to"
        )

    def run() -> Iterator[TileTokens]:
        remaining = iter(tiles)
        while batch := list(itertools.islice(remaining, batch_size)):
            rows = [fetch_tile(genome, tile, reverse=reverse).long() for tile in batch]
            segmentations, hidden, columns, probability = segment(
                model, rows, keep_ratio=keep_ratio, vectors=vectors
            )
            lengths = [segmentation.lengths.cpu() for segmentation in segmentations]
            counts = [segmentation.num_tokens.tolist() for segmentation in segmentations]
            for row, tile in enumerate(batch):
                *finer, edges = (
                    torch.nn.functional.pad(of_all[row, : of_rows[row]].cumsum(0), (1, 0)) + tile.start_bp
                    for of_all, of_rows in zip(lengths, counts, strict=True)
                )
                count = counts[-1][row]
                kept = None if hidden is None else hidden[row, :count].float().cpu()
                more = {
                    name: column[row, :count].cpu() + (tile.start_bp if name.endswith("_bp") else 0)
                    for name, column in columns.items()
                }
                of_bases = None if probability is None else probability[row, : len(rows[row])].float().cpu()
                yield TileTokens(tile, edges, kept, tuple(finer), more, of_bases)

    return join_tiles(run())


def _encode_mergedna(
    model: Any, inputs: dict[str, torch.Tensor], keep_ratio: float | None, vectors: bool
) -> Encoded:
    if vectors:
        output = model(**inputs, keep_ratio=keep_ratio)
        return Encoded([output.segmentation], output.last_hidden_state)
    ratio = model.config.keep_ratio if keep_ratio is None else keep_ratio
    tokens, _ = model.tokenize(inputs["input_ids"], inputs["attention_mask"], None, ratio)
    return Encoded([tokens.segmentation], None)


def _encode_dnachunker(
    model: Any, inputs: dict[str, torch.Tensor], keep_ratio: float | None, vectors: bool
) -> Encoded:
    del keep_ratio
    if vectors:
        output = model(**inputs)
        probability = output.boundary_probabilities[0]
        return Encoded(output.stage_segmentations, output.chunk_hidden_state, {}, probability)
    encoded, segmentations = model.encode(**inputs)
    return Encoded(segmentations, None, {}, encoded[0].routing.boundary_probability)


def _encode_mxdna(
    model: Any, inputs: dict[str, torch.Tensor], keep_ratio: float | None, vectors: bool
) -> Encoded:
    del keep_ratio
    ids, mask = between_special_tokens(inputs["input_ids"], inputs["attention_mask"])
    if vectors:
        output = model(ids, mask)
        tokens, hidden = output.tokens, output.last_hidden_state[:, 1:-1]
    else:
        tokens, hidden = model.tokenize(ids, mask)[1], None
    units = tokens.units
    index = units.token_index[:, 1:-1]
    count = tokens.values.shape[1] - 2
    experts = units.token_expert[:, :count]
    at_centers = token_unmerge(units.router_probability, units.token_center[:, :count])
    columns = {
        "expert": experts,
        "score": at_centers.gather(2, experts.clamp_min(0)[..., None])[..., 0],
        # Its first position is [CLS].
        "reads_bp": tokens.receptive_positions[:, 1:-1] - 1,
        "modulation": tokens.modulation[:, 1:-1],
    }
    return Encoded([Segmentation(index, units.num_tokens)], hidden, columns)


def _encode_fixed(tokenizer: FixedTokenizer, inputs: dict[str, torch.Tensor]) -> Encoded:
    ids = inputs["input_ids"]
    tokens = tokenize_windows(tokenizer, ids)
    # Padding is at 0, where a token always begins.
    boundaries = torch.zeros_like(ids, dtype=torch.bool).scatter_(1, tokens.starts, True)
    return Encoded([Segmentation.from_boundaries(boundaries, inputs["attention_mask"] > 0)], None)


_ENCODERS: dict[str, Callable[..., Encoded]] = {
    "dnachunker": _encode_dnachunker,
    "mergedna": _encode_mergedna,
    "mxdna": _encode_mxdna,
}
