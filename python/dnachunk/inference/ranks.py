"""Work that the ranks of ``torchrun`` share: what is each one's, and how it comes together on the first."""

import datetime
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

import torch
import torch.distributed as dist

from dnachunk.data.tiles import Span

_PIECE_CHARACTERS = 1 << 20
# The first waits while the others run, however long that takes.
_PATIENCE = datetime.timedelta(days=30)


class Ranks(NamedTuple):
    """The processes that share a job, and which of them this is.

    Attributes:
        rank: This one, from 0.
        num_ranks: How many there are.
        group: Where they talk to each other, on the CPU; None of one alone.
    """

    rank: int = 0
    num_ranks: int = 1
    group: Any = None

    @classmethod
    def of_torchrun(cls) -> "Ranks":
        """Those that ``torchrun`` started, which must all ask; one alone without it."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=_PATIENCE)
        return cls(dist.get_rank(), dist.get_world_size(), dist.new_group(backend="gloo", timeout=_PATIENCE))

    def share(self, length_bp: int) -> Span:
        """Which of so many bases in a row are this one's."""
        return length_bp * self.rank // self.num_ranks, length_bp * (self.rank + 1) // self.num_ranks

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def sum_counts(self, counts: list[torch.Tensor]) -> list[torch.Tensor]:
        """Sums of the ranks' counts, ``[n]`` int64 each, of any length."""
        if self.num_ranks == 1:
            return counts
        found: list[Any] = [None] * self.num_ranks
        dist.all_gather_object(found, counts, group=self.group)
        return [
            torch.nn.utils.rnn.pad_sequence(list(each), batch_first=True).sum(dim=0)
            for each in zip(*found, strict=True)
        ]

    def gather_text(self, file: TextIO) -> None:
        """Adds what the other ranks' files hold to the first one's, in their order, a piece at a time."""
        if self.is_first:
            for rank in range(1, self.num_ranks):
                file.writelines(self._received(rank))
        else:
            self._send(file)

    def _send(self, file: TextIO) -> None:
        file.seek(0)
        while True:
            piece = file.read(_PIECE_CHARACTERS).encode(errors="surrogateescape")
            dist.send(torch.tensor([len(piece)]), 0, group=self.group)
            if not piece:
                return
            dist.send(torch.frombuffer(bytearray(piece), dtype=torch.uint8), 0, group=self.group)

    def _received(self, rank: int) -> Iterator[str]:
        length = torch.zeros(1, dtype=torch.int64)
        while True:
            dist.recv(length, rank, group=self.group)
            if not length:
                return
            piece = torch.empty(int(length), dtype=torch.uint8)
            dist.recv(piece, rank, group=self.group)
            yield piece.numpy().tobytes().decode(errors="surrogateescape")


def use_own_device() -> None:
    """Makes the GPU of a rank that ``torchrun`` started the one that "cuda" means."""
    if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())


__all__ = ["Ranks", "use_own_device"]
