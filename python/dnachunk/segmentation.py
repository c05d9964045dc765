"""Which token each base belongs to: the value that all three tokenizers produce."""

import dataclasses
import html
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from dnachunk.alphabet import SPECIAL_TOKENS
from dnachunk.files import replacing

_SYMBOL = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)) + "|.", re.DOTALL)

SHOWN_ROWS = 4
"""Sequences that a notebook shows of a segmentation."""
SHOWN_TOKENS = 300
"""Tokens that it shows of each."""
_BACKGROUNDS = ("#cfe5f5", "#f8e3b8")


def _reads_counts(segmentation: "Segmentation") -> bool:
    return segmentation.num_tokens.device.type == "cpu" and not torch.compiler.is_compiling()


def split_symbols(sequence: str) -> list[str]:
    """Letters and written special tokens (``[MASK]``) of a text: one for each id it is encoded to."""
    return _SYMBOL.findall(sequence)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Tokens as contiguous runs of bases, in order, of a batch of B sequences of N positions.

    Memory is O(B N): a token is a number on its bases, never a row of a matrix.

    Args:
        token_index: ``[B, N]`` int64: the token of each base, 0, 1, … from left to right; -1 on padding and
            special positions.
        num_tokens: ``[B]`` int64: tokens of each sequence.

    Example:
        >>> segmentation = Segmentation(torch.tensor([[0, 0, 1, -1]]), torch.tensor([2]))
        >>> segmentation.tokens("ACG")
        ['AC', 'G']
    """

    token_index: torch.Tensor
    num_tokens: torch.Tensor

    @classmethod
    def from_boundaries(cls, boundaries: torch.Tensor, mask: torch.Tensor) -> "Segmentation":
        """Tokens from the places where they begin.

        Args:
            boundaries: ``[B, N]`` bool: whether a token begins at the base. The first base of a sequence, and
                a base after a special position, begins one whatever stands here.
            mask: ``[B, N]`` bool: true on bases, false on padding and special positions.

        Raises:
            TypeError: If either is not bool.
            ValueError: If the shapes differ or are not ``[B, N]``.
        """
        if boundaries.dtype != torch.bool or mask.dtype != torch.bool:
            raise TypeError(
                "Segmentation.from_boundaries: boundaries and mask must be torch.bool, "
                f"got {boundaries.dtype} and {mask.dtype}"
            )
        if boundaries.dim() != 2 or boundaries.shape != mask.shape:
            raise ValueError(
                "Segmentation.from_boundaries: boundaries and mask must both be [B, N], "
                f"got {list(boundaries.shape)} and {list(mask.shape)}"
            )
        begins = mask & (boundaries | ~F.pad(mask, (1, 0))[:, :-1])
        token_index = torch.where(mask, begins.cumsum(dim=1) - 1, -1)
        return cls(token_index, begins.sum(dim=1))

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.token_index)

    def __getitem__(self, row: int | slice) -> "Segmentation":
        """The sequence of this row, or the sequences of these rows, as a segmentation.

        Raises:
            IndexError: If there is no such row.
        """
        if isinstance(row, slice):
            return Segmentation(self.token_index[row], self.num_tokens[row])
        row = self._checked_row(row)
        return self[row : row + 1]

    def to(self, device: torch.device | str) -> "Segmentation":
        """The same on another device."""
        return Segmentation(self.token_index.to(device), self.num_tokens.to(device))

    @property
    def boundaries(self) -> torch.Tensor:
        """``[B, N]`` bool: true at the first base of each token."""
        before = F.pad(self.token_index, (1, 0), value=-1)[:, :-1]
        return (self.token_index >= 0) & (self.token_index != before)

    @property
    def lengths(self) -> torch.Tensor:
        """``[B, L_max]`` int64: bases of each token, 0 from ``num_tokens`` on."""
        # Positions of no token count in an extra column.
        counts = self.token_index.new_zeros(len(self), self._max_tokens() + 1)
        counts.scatter_add_(1, self.token_index + 1, torch.ones_like(self.token_index))
        return counts[:, 1:]

    @property
    def starts(self) -> torch.Tensor:
        """``[B, L_max]`` int64: position below N of each token's first base, 0 from ``num_tokens`` on."""
        starts = self.token_index.new_zeros(len(self), self._max_tokens())
        rows, positions = self.boundaries.nonzero(as_tuple=True)
        starts[rows, self.token_index[rows, positions]] = positions
        return starts

    def tokens(self, sequence: str, row: int = 0) -> list[str]:
        """Cuts a sequence's text into its tokens.

        Args:
            sequence: The text, as given to the tokenizer or as decoded by it: a character or written special
                token (``[MASK]``) for each base, or for each position, padding at the end optional.
            row: Which sequence of the batch it is.

        Raises:
            ValueError: If the text has not as many bases as the sequence.
            IndexError: If there is no such row.
        """
        token_index = self.token_index[self._checked_row(row)].cpu()
        is_base = token_index >= 0
        symbols = split_symbols(sequence)
        num_bases = int(is_base.sum())
        if len(symbols) != num_bases:
            if len(symbols) > len(is_base) or bool(is_base[len(symbols) :].any()):
                raise ValueError(
                    f"Segmentation.tokens: sequence must have {num_bases} bases or {len(is_base)} positions, "
                    f"got {len(symbols)}"
                )
            symbols = [symbol for symbol, keep in zip(symbols, is_base.tolist(), strict=False) if keep]
        ends = token_index[is_base].bincount().cumsum(0).tolist()
        return ["".join(symbols[start:end]) for start, end in zip([0, *ends], ends, strict=False)]

    def to_bed(
        self,
        names: Sequence[str],
        *,
        offsets: Sequence[int] | None = None,
        sequences: Sequence[str] | None = None,
        scores: torch.Tensor | None = None,
    ) -> Iterator[str]:
        """Lines of a BED file, a token each, from left to right; :func:`write_bed` writes them.

        Args:
            names: The record of each sequence (first column).
            offsets: 0-based coordinate of each sequence's first base in its record; 0 where absent. Special
                positions have no coordinate.
            sequences: Text of each sequence, as :meth:`tokens` takes it; the fourth column is then the
                token's text, otherwise its number.
            scores: ``[B, L_max]`` in [0, 1], such as boundary probabilities; the fifth column is then 1000
                times the score, rounded.

        Yields:
            ``record, start, end, name[, score]`` separated by tabs; start 0-based, end exclusive.

        Raises:
            ValueError: If an argument has not one entry for each sequence.
        """
        for argument, value in (("names", names), ("offsets", offsets), ("sequences", sequences)):
            if value is not None and (isinstance(value, str) or len(value) != len(self)):
                raise ValueError(
                    f"Segmentation.to_bed: {argument} must have {len(self)} entries, got {value!r:.80}"
                )
        lengths = self.lengths.cpu()
        if scores is not None and scores.shape != lengths.shape:
            raise ValueError(
                f"Segmentation.to_bed: scores must be {list(lengths.shape)}, got {list(scores.shape)}"
            )
        for row, name in enumerate(names):
            count = int(self.num_tokens[row])
            ends = (lengths[row, :count].cumsum(0) + (offsets[row] if offsets else 0)).tolist()
            labels = self.tokens(sequences[row], row) if sequences else map(str, range(count))
            columns = [
                [name] * count,
                map(str, [offsets[row] if offsets else 0, *ends]),
                map(str, ends),
                labels,
            ]
            if scores is not None:
                thousandths = (
                    (scores[row, :count].detach().float().nan_to_num(0).clamp(0, 1) * 1000).round().long()
                )
                columns.append(map(str, thousandths.tolist()))
            yield from map("\t".join, zip(*columns, strict=False))

    def length_histogram(self, max_length: int | None = None) -> torch.Tensor:
        """How many tokens have each length.

        Args:
            max_length: Longest length told apart, in bases; longer tokens count there. None tells all apart.

        Returns:
            ``[max_length + 1]`` int64: entry k counts the tokens of k bases in the whole batch; entry 0 is 0.

        Raises:
            ValueError: If ``max_length`` is below 1.
        """
        if max_length is not None and max_length < 1:
            raise ValueError(
                f"Segmentation.length_histogram: max_length must be at least 1, got {max_length}"
            )
        lengths = self.lengths
        lengths = lengths[lengths > 0].clamp(max=max_length) if max_length else lengths[lengths > 0]
        return lengths.bincount(minlength=(max_length or 0) + 1)

    def to_html(self, sequences: Sequence[str] | None = None) -> str:
        """Tokens coloured over the sequence, as a notebook shows them; hovering gives places and lengths.

        Args:
            sequences: Text of each sequence, as :meth:`tokens` takes it; default a dot for each base.

        Returns:
            HTML of the first :data:`SHOWN_ROWS` sequences and :data:`SHOWN_TOKENS` tokens of each.

        Raises:
            ValueError: If there is not a text for each sequence, or one has not as many bases.
        """
        if sequences is not None and (isinstance(sequences, str) or len(sequences) != len(self)):
            raise ValueError(
                f"Segmentation.to_html: sequences must have {len(self)} entries, got {sequences!r:.80}"
            )
        lengths, shown = self.lengths.cpu().tolist(), []
        for row in range(min(len(self), SHOWN_ROWS)):
            count = int(self.num_tokens[row])
            texts = self.tokens(sequences[row], row) if sequences else ["·" * bp for bp in lengths[row]]
            spans, start = [], 0
            for token, (text, bp) in enumerate(zip(texts[:count], lengths[row], strict=False)):
                if token == SHOWN_TOKENS:
                    break
                spans.append(
                    f'<span title="token {token}: {start + 1}–{start + bp}, {bp} bp" style="background:'
                    f'{_BACKGROUNDS[token % 2]};color:#000">{html.escape(text)}</span>'
                )
                start += bp
            more = f" … of {count:,} tokens" if count > SHOWN_TOKENS else ""
            shown.append(f"<div>{'<wbr>'.join(spans)}{more}</div>")
        if len(self) > SHOWN_ROWS:
            shown.append(f"<div>… of {len(self):,} sequences</div>")
        return f'<div style="font-family:monospace;line-height:1.6">{"".join(shown)}</div>'

    def _repr_html_(self) -> str:
        return self.to_html()

    def compose(self, coarser: "Segmentation") -> "Segmentation":
        """The tokens made by grouping these tokens.

        A layer that merges tokens segments them as a tokenizer segments bases; composing gives its tokens'
        bases (MergeDNA's source map).

        Args:
            coarser: Segmentation of the tokens of this one: ``token_index [B, L]`` with L at least the
                largest ``num_tokens``; tokens past a sequence's own are -1 there.

        Returns:
            Base to coarser token; -1 stays -1.

        Raises:
            ValueError: If the batches differ or, on the CPU (on other devices counts are not read back), a
                sequence has more tokens than ``coarser`` has positions.
        """
        too_short = _reads_counts(self) and coarser.token_index.shape[1] < self._max_tokens()
        if len(coarser) != len(self) or too_short:
            raise ValueError(
                f"Segmentation.compose: coarser.token_index must be [{len(self)}, L] with L of at least "
                f"{self._max_tokens()}, got {list(coarser.token_index.shape)}"
            )
        source = F.pad(coarser.token_index, (1, 0), value=-1)
        return Segmentation(source.gather(1, self.token_index + 1), coarser.num_tokens)

    def validate(self) -> "Segmentation":
        """Checks that this is a segmentation, and returns it.

        Raises:
            TypeError: If a field is not int64.
            ValueError: If a shape differs, tokens are not numbered 0, 1, … in order without gaps, a token is
                not contiguous, or ``num_tokens`` is not the count. The message names sequence and position.
        """
        for name, field, shape in (
            ("token_index", self.token_index, "[B, N]"),
            ("num_tokens", self.num_tokens, "[B]"),
        ):
            if field.dtype != torch.int64:
                raise TypeError(f"Segmentation: {name} must be torch.int64, got {field.dtype}")
            if field.dim() != shape.count(",") + 1 or len(field) != len(self.token_index):
                raise ValueError(f"Segmentation: {name} must be {shape}, got {list(field.shape)}")
        before = F.pad(self.token_index, (1, 0), value=-1)[:, :-1]
        last = before.cummax(dim=1).values if before.numel() else before
        is_base = self.token_index >= 0
        # A base goes on with the token to its left, or begins the next number.
        is_wrong = torch.where(
            is_base,
            (self.token_index != last + 1) & (self.token_index != before),
            self.token_index != -1,
        )
        if is_wrong.any():
            row, position = is_wrong.nonzero()[0].tolist()
            raise ValueError(
                "Segmentation: token_index must be -1 or number contiguous tokens 0, 1, … in order, got "
                f"{self.token_index[row, position].item()} at position {position} of sequence {row}, "
                f"after token {last[row, position].item()}"
            )
        counts = F.pad(self.token_index, (1, 0), value=-1).amax(dim=1) + 1
        if not torch.equal(counts, self.num_tokens):
            row = int((counts != self.num_tokens).nonzero()[0])
            raise ValueError(
                f"Segmentation: num_tokens must be {counts[row].item()} for sequence {row}, "
                f"got {self.num_tokens[row].item()}"
            )
        return self

    def _max_tokens(self) -> int:
        return int(self.num_tokens.max()) if len(self.num_tokens) else 0

    def _checked_row(self, row: int) -> int:
        if not -len(self) <= row < len(self):
            raise IndexError(f"Segmentation: row must be below {len(self)}, got {row}")
        return row % len(self)


def write_bed(path: str | os.PathLike[str], lines: Iterable[str]) -> None:
    """Writes lines of a BED file, whole or not at all.

    Args:
        path: The file; replaced where it exists.
        lines: Lines without their ends, such as :meth:`Segmentation.to_bed` yields.

    Raises:
        OSError: If the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True, eq=False)
class TokenMap:
    """The tokens of a stretch of sequence, base by base.

    Attributes:
        is_start: ``[n]`` bool: whether a token begins at the base.
        token_bp: ``[n]`` int32: bases of the base's token, also of one that reaches out of the stretch; 0
            where there is none.
    """

    is_start: torch.Tensor
    token_bp: torch.Tensor

    @classmethod
    def from_edges(cls, edges: Sequence[torch.Tensor], start_bp: int, end_bp: int) -> "TokenMap":
        """Tokens of the bases from ``start_bp`` to ``end_bp``.

        Args:
            edges: Of each run of tokens where they begin, and where the last ends, ``[L + 1]`` int64; runs
                do not overlap.
            start_bp: First base of the stretch.
            end_bp: Base after its last.
        """
        is_start = torch.zeros(end_bp - start_bp, dtype=torch.bool)
        token_bp = torch.zeros(end_bp - start_bp, dtype=torch.int32)
        for run in edges:
            starts = run[:-1]
            is_start[starts[(starts >= start_bp) & (starts < end_bp)] - start_bp] = True
            lengths = run.diff()
            inside = run.clamp(start_bp, end_bp)
            first, last = int(inside[0]) - start_bp, int(inside[-1]) - start_bp
            token_bp[first:last] = lengths.repeat_interleave(inside.diff()).int()
        return cls(is_start, token_bp)

    def bases_by_length(self, is_chosen: torch.Tensor) -> torch.Tensor:
        """Of the chosen bases, ``[n]`` bool, how many lie in a token of k bases: entry k, int64."""
        return self.token_bp[is_chosen & (self.token_bp > 0)].bincount(minlength=1)


@dataclass(frozen=True, eq=False)
class Encoded:
    """The tokens of a batch of B sequences of N bases.

    Attributes:
        segmentations: Of the bases, the finest first; the last one's tokens are the model's.
        vectors: ``[B, L, D]`` of the last segmentation's tokens, if they were asked for; rows past its
            ``num_tokens`` are padding.
        columns: More about each of these tokens by name, ``[B, L, …]`` each; what is called ``…_bp`` counts
            from the row's first base.
        boundary_probability: ``[B, N]``: for each base the probability that a token of the finest
            segmentation begins there, if the model has one.
    """

    segmentations: Sequence[Segmentation]
    vectors: torch.Tensor | None = None
    columns: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    boundary_probability: torch.Tensor | None = None

    @property
    def segmentation(self) -> Segmentation:
        """The last one."""
        return self.segmentations[-1]


torch.export.register_dataclass(Segmentation, serialized_type_name="dnachunk.Segmentation")

__all__ = ["Encoded", "Segmentation", "TokenMap", "split_symbols", "write_bed"]
