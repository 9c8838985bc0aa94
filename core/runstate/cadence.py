"""When the state of a run is to be kept: by the clock, after so many steps, and where it stops."""

from __future__ import annotations

import time
from collections.abc import Callable

from paribus.spec.resuming import Checkpoints


class Cadence:
    """Counts down to the next state; the clock is one that nobody can set.

    Args:
        wanted: the spec's section.
        steps: optimizer steps of the run so far.
        stop_after: further steps after which the run stops; None for never.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        wanted: Checkpoints,
        steps: int,
        stop_after: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted, self._clock = wanted, clock
        self._stop = None if stop_after is None else steps + stop_after
        self.rest(steps)

    def room(self, steps: int) -> int | None:
        """Return how many steps fit before the next state; None for any number."""
        ends = [end for end in (self._next, self._stop) if end is not None]
        return max(1, min(ends) - steps) if ends else None

    def due(self, steps: int) -> bool:
        """Return whether the state is to be kept after ``steps``."""
        late = self._late is not None and self._clock() >= self._late
        return late or (self._next is not None and steps >= self._next) or self.stops(steps)

    def stops(self, steps: int) -> bool:
        """Return whether the run is to stop after ``steps``."""
        return self._stop is not None and steps >= self._stop

    def rest(self, steps: int) -> None:
        """Begin to wait for the next state."""
        wanted = self._wanted
        self._next = None if wanted.steps is None else steps + wanted.steps
        self._late = self._clock() + 60 * wanted.minutes if wanted.minutes else None
