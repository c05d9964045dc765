"""Models and fixed tokenizers alike, as what cuts stretches of a genome, and windows, into tokens."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from dnachunk.alphabet import A_ID
from dnachunk.baselines import FixedTokenizer
from dnachunk.data import Genome
from dnachunk.errors import require_at_least
from dnachunk.inference.tiling import record_tiles, run_tiles, tile_widths
from dnachunk.inference.tokens import encode_rows
from dnachunk.segmentation import TokenMap

FIXED_WINDOW_BP = 512
"""Windows around sites for tokenizers that were trained on none."""

# A fixed tokenizer reads far, and what it cuts hangs on little but where it began.
_FIXED_TILE_BP = 1 << 16
_FIXED_OVERLAP_BP = 1 << 10


class SpanTokens(NamedTuple):
    """The tokens of a stretch of a record.

    Attributes:
        maps: Of each segmentation, the finest first.
        probability: ``[n]`` of each base that a token of the finest begins there, NaN where there is none;
            None if the model has none.
    """

    maps: list[TokenMap]
    probability: torch.Tensor | None


class Segmenter(NamedTuple):
    """What cuts sequences into tokens; :meth:`of` makes one.

    Attributes:
        name: What it is called.
        model: What :func:`~dnachunk.load` gives.
        tile_bp: Bases of a tile of a record.
        overlap_bp: Bases that two tiles share.
        window_bp: Bases of a window around a site.
        labels: Names of its segmentations, the finest first; the last is ``name``.
        has_probability: Whether it has boundary probabilities, of the finest segmentation.
        tokens_per_base: What the model is asked for; None is as it is configured.
    """

    name: str
    model: Any
    tile_bp: int
    overlap_bp: int
    window_bp: int
    labels: list[str]
    has_probability: bool
    tokens_per_base: float | None = None

    @classmethod
    def of(
        cls, name: str, model: Any, window_bp: int | None = None, tokens_per_base: float | None = None
    ) -> "Segmenter":
        """A loaded model or tokenizer.

        Args:
            name: What it is called.
            model: What :func:`~dnachunk.load` gives.
            window_bp: Bases read at once; None is as in the model's training, 512 of a fixed tokenizer.
            tokens_per_base: In (0, 1], asked of the model; None is as it is configured.

        Raises:
            ValueError: If it gives no segmentation, the window is out of range, or it cannot be asked.
        """
        if isinstance(model, FixedTokenizer):
            own_bp = FIXED_WINDOW_BP if window_bp is None else window_bp
            require_at_least("window_bp", own_bp, 1)
            tile_bp, overlap_bp = _FIXED_TILE_BP, _FIXED_OVERLAP_BP
        else:
            tile_bp, overlap_bp = tile_widths(model, window_bp, None)
            own_bp = tile_bp
        tried = encode_rows(model, [torch.arange(A_ID, A_ID + 4)], tokens_per_base=tokens_per_base)
        finer = [f"{name} stage {stage}" for stage in range(len(tried.segmentations) - 1)]
        has_probability = tried.boundary_probability is not None
        labels = [*finer, name]
        return cls(name, model, tile_bp, overlap_bp, own_bp, labels, has_probability, tokens_per_base)

    def tokenize_span(
        self,
        genome: Genome,
        record_index: int,
        start_bp: int,
        end_bp: int,
        batch_size: int,
        advance: Callable[[int], Any],
    ) -> SpanTokens:
        """Cuts a stretch of a record into tokens, as ``dnachunk tokenize`` does.

        Args:
            genome: The genome.
            record_index: Which record.
            start_bp: First base of the stretch.
            end_bp: Base after its last.
            batch_size: Tiles that are run at once.
            advance: Is told how many bases of the stretch are done.
        """
        edges: list[list[torch.Tensor]] = [[] for _ in self.labels]
        probability = torch.full((end_bp - start_bp,), torch.nan) if self.has_probability else None
        near = (start_bp, end_bp)
        tiles = record_tiles(genome, record_index, self.tile_bp, self.overlap_bp, near=near)
        asked = self.tokens_per_base
        for tokens in run_tiles(self.model, genome, tiles, tokens_per_base=asked, batch_size=batch_size):
            for stage, of_stage in zip(edges, (*tokens.finer_edges, tokens.edges), strict=True):
                stage.append(of_stage)
            first_bp = int(tokens.edges[0])
            low, high = max(first_bp, start_bp), min(int(tokens.edges[-1]), end_bp)
            if probability is not None and tokens.boundary_probability is not None and low < high:
                found = tokens.boundary_probability[low - first_bp : high - first_bp]
                probability[low - start_bp : high - start_bp] = found
            advance(max(0, high - low))
        return SpanTokens([TokenMap.from_edges(stage, start_bp, end_bp) for stage in edges], probability)

    def cut_rows(
        self, rows: Sequence[torch.Tensor], batch_size: int
    ) -> Iterator[tuple[list[torch.Tensor], torch.Tensor | None]]:
        """Cuts sequences of ids, ``[n]`` int64 each.

        Yields:
            For each where the tokens of each segmentation begin, ``[n]`` bool, and the boundary probability
            ``[n]``, if there is one.
        """
        for first in range(0, len(rows), batch_size):
            batch = rows[first : first + batch_size]
            encoded = encode_rows(self.model, batch, tokens_per_base=self.tokens_per_base)
            boundaries = [segmentation.boundaries.cpu() for segmentation in encoded.segmentations]
            probability = encoded.boundary_probability
            probability = None if probability is None else probability.float().cpu()
            for row, ids in enumerate(batch):
                of_row = [of_stage[row, : len(ids)] for of_stage in boundaries]
                yield of_row, None if probability is None else probability[row, : len(ids)]


__all__ = ["FIXED_WINDOW_BP", "Segmenter", "SpanTokens"]
