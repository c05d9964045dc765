"""Writing while the next items are made.

Reading has no thread of its own: a tile is fetched within 10 microseconds, 0.03 s of a genome of 1 Mb.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from dnachunk.files import is_stream

Item = TypeVar("Item")


@contextlib.contextmanager
def write_behind(
    path: str | os.PathLike[str], write: Callable[[Item], Any], most: int
) -> Iterator[Callable[[Item], Any]]:
    """Writes items in their order in another thread, while the next ones are made.

    Args:
        path: Where to. A stream is written to in this thread: it may hold a write up for ever, and a signal
            must get through.
        write: Formats an item and writes it.
        most: How many wait at most, at least 1.

    Yields:
        What takes the next item. It, or the end of the context, raises what an earlier one raised, behind
        which nothing more is written. When the context is left, the thread is at its end.
    """
    if is_stream(path):
        yield write
        return
    waiting: deque[Future[None]] = deque()

    def behind(before: Future[None] | None, item: Item) -> None:
        if before is not None:
            before.result()
        write(item)

    with ThreadPoolExecutor(1, "write-behind") as thread:

        def put(item: Item) -> None:
            waiting.append(thread.submit(behind, waiting[-1] if waiting else None, item))
            if len(waiting) > most:
                waiting.popleft().result()

        try:
            yield put
            for written in waiting:
                written.result()
        finally:
            thread.shutdown(cancel_futures=True)


__all__ = ["write_behind"]
