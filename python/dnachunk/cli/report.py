"""What the commands do around the library's calls: its log printed, and the end of a process."""

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from dnachunk.reporting import LOGGER


class _Printer(logging.Handler):
    """Prints what the library logs."""

    to_standard_error = False

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), flush=True, file=sys.stderr if self.to_standard_error else sys.stdout)


_PRINTER = _Printer()


@contextlib.contextmanager
def printed_log() -> Iterator[None]:
    """Prints the lines that the library logs to standard output."""
    level = LOGGER.level
    _PRINTER.to_standard_error = False
    LOGGER.addHandler(_PRINTER)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(_PRINTER)
        LOGGER.setLevel(level)


def log_to_standard_error() -> None:
    """Prints the rest of this command's lines to standard error, where results go to standard output."""
    _PRINTER.to_standard_error = True


class Terminated(BaseException):
    """The process is asked to end.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def terminating_cleanly() -> Iterator[None]:
    """Lets a signal that ends the process end it as Ctrl-C does: what is half written is removed.

    Raises:
        Terminated: When one comes.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        # Whoever asks twice would interrupt the clearing up.
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(number)

    before: dict[signal.Signals, object] = {}
    with contextlib.suppress(ValueError):
        # Only the main thread can set these.
        for number in (signal.SIGTERM, signal.SIGHUP):
            # What nohup ignores stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def leave_process_group() -> None:
    """Ends what ``torchrun`` began: a rank that exits with gloo's threads still running may abort."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
