"""Many small pieces of work at once, in threads: Pillow lets go of the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from paribus.allocator import keep_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREADS = min(8, os.cpu_count() or 1)
# A piece of work that waits takes memory, and there may be a million.
_WAITING = 2048
# Items that a thread takes at a time: handing one over costs as much as decoding a tiny image.
_BLOCK = 16


def parallel(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Map over items in threads; the first error, in the items' order, ends it."""
    return list(each(function, items))


def each(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield what ``parallel`` returns, for results of which the caller keeps little."""
    # Few items are shared out evenly, so that no thread waits long for the last one.
    block = max(1, min(_BLOCK, len(items) // (4 * _THREADS)))

    def done(start: int) -> list[Result]:
        return [function(item) for item in items[start : start + block]]

    # Each thread has a heap of its own, of which glibc gives back every image's memory at once: two
    # threads that decode spend half of their time on getting it anew.
    keep_memory()
    pool = ThreadPoolExecutor(_THREADS)
    try:
        starts = range(0, len(items), block)
        waiting = _WAITING // block
        for first in range(0, len(starts), waiting):
            for results in pool.map(done, starts[first : first + waiting]):
                yield from results
    finally:
        # Without this, an error in the first image would wait for all the others.
        pool.shutdown(cancel_futures=True)
