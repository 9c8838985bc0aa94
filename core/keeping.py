"""What the training loop asks about keeping its state: when it is due, and to keep it."""

from __future__ import annotations


class Stopped(Exception):
    """The run has made as many optimizer steps as it was asked for, and its state is kept."""


class Keeping:
    """Keeps nothing; also the interface of what does (``paribus.runstate``)."""

    def room(self, ahead: int) -> int | None:
        """Return how many more steps may be sent together; None for any number.

        Args:
            ahead: steps that were sent, and that ``advance`` was not told of.
        """
        return None

    def due(self, ahead: int) -> bool:
        """Return whether the state is to be kept before another step is sent."""
        return False

    def save(self) -> None:
        """Keep the state; no step is under way. It may end the training by an exception."""

    def advance(self, steps: int) -> None:
        """Count steps whose rows are in ``metrics.jsonl``."""
