"""How little memory a run makes do with, once it has run out of it: the same numbers, more slowly.

A step's shards are computed one after another on every backend, so what can be given up is what
lies beside them: sessions that are kept open for the next training, the whole data set on the
device, the steps that wait there for their turn, features of frozen bodies, and trainings that are
made together; and the rows that are judged at a time. None of it changes a bit of a session's
arithmetic; of trainings made together ``paribus.replicas`` says what their number changes (nothing
in ``strict`` numerics), and of rows judged together ``paribus.steps.judged``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from paribus.data.streamed import Examples, Streamed
from paribus.errors import OutOfMemory
from paribus.pace import Pace

Found = TypeVar("Found")


class Single(Pace):
    """One step at a time, none while another is under way."""

    ahead = False

    def __init__(self) -> None:
        super().__init__(1)

    def adapt(self, steps: int, seconds: float) -> None:
        """Stay."""


@dataclass
class Thrift:
    """What a run gives up; nothing at first.

    Attributes:
        alone: whether a training has the device to itself: no other session is open, its examples
            are put there step by step, and a frozen body is computed anew in each step.
        together: trainings that are made together, at most; None for any number.
        rows: that are judged at a time, at most; None for as many as usual.
        events: what happened and what was given up, for ``result.json``.
    """

    alone: bool = False
    together: int | None = None
    rows: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    def give_up(self, error: OutOfMemory) -> bool:
        """Give up what an error calls for; return whether there was anything."""
        if error.trainings > 1:
            self.together = error.trainings // 2
            then = (
                f"at most {self.together} trainings are made together"
                if self.together > 1
                else "trainings are made one after another"
            )
        elif not self.alone:
            self.alone = True
            then = "one step at a time is computed, with nothing else on the device"
        elif error.rows is not None and error.rows < (self.rows or error.rows + 1):
            self.rows = error.rows
            then = f"{self.rows} rows are judged at a time"
        else:
            return False
        self.events.append({"error": str(error), "then": then})
        return True

    @property
    def said(self) -> str:
        """The last event, for people."""
        last = self.events[-1]
        return f"{last['error']}; the run goes on with less: {last['then']}, to the same result"

    def pace(self) -> Pace:
        """Return how many steps a training sends at a time."""
        return Single() if self.alone else Pace()

    def examples(self, x: Examples) -> Examples:
        """Return examples as they come to the device: all at once, or as steps need them."""
        return Streamed.of(x) if self.alone else x


def in_fewer_rows(predict: Callable[[int], Found], rows: int, close: Callable[[], None]) -> Found:
    """Return what ``predict`` returns of ``rows`` rows at a time, or of as many as the memory has.

    Fewer rows give the same outputs, to rounding; that they are fewer is said by a warning.

    Raises:
        OutOfMemory: not even one row fits.
    """
    while True:
        try:
            return predict(rows)
        except OutOfMemory as error:
            close()
            if rows == 1:
                raise
            rows = -(-rows // 2)
            said = f"{error}; {rows} rows are predicted at a time, to the same result but rounding"
            warnings.warn(said, RuntimeWarning, stacklevel=2)
