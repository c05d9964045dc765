"""What the commands do around the library's calls: its log and results told, and the end of a process."""

import contextlib
import logging
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

import typer

from dnachunk.files import beside, is_stream
from dnachunk.reporting import LOGGER, Report, require_own_files, say


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


def numbers_beside(output: Path, job: str, others: Iterable[Path] = ()) -> Path | None:
    """Where a command's numbers go; asked for before anything is computed.

    Args:
        output: What the command was told to write.
        job: The call whose result it is.
        others: What else it writes beside it.

    Returns:
        A file beside the output; None where that is standard output, a pipe or a device.

    Raises:
        typer.BadParameter: If the output has the numbers' own name.
        FileExistsError: If something else lies there.
    """
    if is_stream(output):
        return None
    numbers = beside(output, ".json")
    if numbers == output:
        raise typer.BadParameter("--output must not end in .json, which is written beside it")
    require_own_files(numbers, job, others, output=output)
    return numbers


def say_report(report: Report, output: Path) -> None:
    """Says what a result has to say, and in its first line where it is."""
    first, *parts = report.report()
    say(f"{first}: {output}")
    for part in parts:
        say(part)


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
