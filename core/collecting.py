"""Python's collector of objects that refer to each other in circles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Collections of young objects between two of all objects.
SELDOM = 1000


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Let Python look through all of its objects for circles less often.

    A thousand trainings have enough objects of their own that it would do so again and again, among
    all those of a framework, for a twentieth of the time. What is young is looked through as ever.
    """
    before = gc.get_threshold()
    gc.set_threshold(*before[:2], max(before[2], SELDOM))
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def set_aside() -> Iterator[None]:
    """Let Python look through what is made from now on alone; what there is now stays as it is.

    A framework has half a million objects, which are there until the program ends, and Python
    follows all of them whenever it looks for old circles: an eighth of a second each time. Where
    somebody has set objects aside already, nothing is done.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
