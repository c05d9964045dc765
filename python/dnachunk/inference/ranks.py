"""The ranks that ``torchrun`` started, which share a job; the first one writes."""

import datetime
import os
from typing import Any, Final, NamedTuple

import torch
import torch.distributed as dist

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

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """What each rank gives, in their order, on the first; nothing on the others."""
        if self.num_ranks == 1:
            return [value]
        found = [None] * self.num_ranks if self.is_first else None
        dist.gather_object(value, found, dst=0, group=self.group)
        return found or []

    def of_first(self, value: Any) -> Any:
        """What the first one gives, on all."""
        if self.num_ranks == 1:
            return value
        found = [value]
        dist.broadcast_object_list(found, src=0, group=self.group)
        return found[0]


ALONE: Final = Ranks()
"""One process, which shares with nobody."""


def use_own_device() -> None:
    """Makes the GPU of a rank that ``torchrun`` started the one that "cuda" means."""
    if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())


__all__ = ["ALONE", "Ranks", "use_own_device"]
