"""A framework's "out of memory" becomes ``OutOfMemory``, whatever the framework calls it.

Each adapter says how it recognises its own; where that is caught, and what is said, is here.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import ContextDecorator
from types import TracebackType

from paribus.errors import OutOfMemory

# Frameworks append pages about their allocators.
LONGEST = 300


class Exhaustion(ContextDecorator):
    """Catches what a framework raises when memory is not there; around a block or a function.

    It has no state, so one object serves a whole adapter, nested calls included.

    Args:
        name: of the backend, for the message.
        recognises: whether an exception is the framework's way to say it. Python's own
            ``MemoryError`` always is.
    """

    def __init__(self, name: str, recognises: Callable[[BaseException], bool]) -> None:
        self._name, self._recognises = name, recognises

    def __enter__(self) -> None:
        """Begin to look."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raise ``OutOfMemory`` instead of what says so."""
        if error is None or isinstance(error, OutOfMemory):
            return
        if isinstance(error, MemoryError) or self._recognises(error):
            # The frames hold what half a step has computed, and somebody may want to try again.
            traceback.clear_frames(trace)
            said = " ".join(str(error).split()) or type(error).__name__
            raise OutOfMemory(
                f"backend {self._name!r} ran out of memory: {said[:LONGEST]}"
            ) from error
