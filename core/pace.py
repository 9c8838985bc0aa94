"""How many optimizer steps an adapter gets at a time.

As many as fit into about half a second: enough to hide the cost of a call, few enough for a live
progress bar and a prompt Ctrl-C.
"""

from __future__ import annotations

from paribus.places import LARGEST_CHUNK

CHUNK_SECONDS = 0.5


class Pace:
    """How many steps are sent at a time: about half a second's worth.

    Args:
        size: steps of the first plan.
        seconds: what a plan should take.

    Attributes:
        size: steps of the next plan, at most.
        ahead: whether it may be sent while the one before is under way.
    """

    ahead = True

    def __init__(self, size: int = 8, seconds: float = CHUNK_SECONDS) -> None:
        self.size, self._seconds = size, seconds

    def adapt(self, steps: int, seconds: float) -> None:
        """Learn from a plan that took so long; two are in flight, so it is at most doubled."""
        if seconds < self._seconds / 2 and steps == self.size:
            self.size = min(LARGEST_CHUNK, self.size * 2)
        elif seconds > self._seconds * 4:
            self.size = max(1, self.size // 2)
