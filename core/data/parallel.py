"""Many small pieces of work at once, in threads: Pillow lets go of the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREADS = min(8, os.cpu_count() or 1)


def parallel(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Map over items in threads; the first error, in the items' order, ends it."""
    pool = ThreadPoolExecutor(_THREADS)
    try:
        return list(pool.map(function, items))
    finally:
        # Without this, an error in the first image would wait for all the others.
        pool.shutdown(cancel_futures=True)
