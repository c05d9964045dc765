"""What the commands do around the library's calls: its log printed, and the end of a process."""

import contextlib
import logging
from collections.abc import Iterator

from dnachunk.reporting import LOGGER


class _Printer(logging.Handler):
    """Prints what the library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), flush=True)


@contextlib.contextmanager
def printed_log() -> Iterator[None]:
    """Prints the lines that the library logs to standard output."""
    printer, level = _Printer(), LOGGER.level
    LOGGER.addHandler(printer)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(printer)
        LOGGER.setLevel(level)


def leave_process_group() -> None:
    """Ends what ``torchrun`` began: a rank that exits with gloo's threads still running may abort."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
