"""Optimizer steps that are left out because their loss or gradient is not finite.

A step that is left out changes nothing: no weight, no slot, no statistic. It still counts: the
schedule, and the t of Adam's bias correction, go on as if it had been made, because both are
functions of the step's number. (PyTorch's ``GradScaler`` leaves out ``optimizer.step()``, and so
does not advance Adam's t; the learning rate goes on there, too.)

No adapter is asked for more than it can do anyway. Now and then the weights and slots are copied to
the host; when a bad step is found, which is after it and those behind it were made, the session is
given the copy, the steps since are made again without it, and what they gave before is not
recorded a second time. The copy takes at most ``SHARE`` of the time, so few steps are made again
where copying is cheap, and more where it is not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from paribus.adapter import Array
from paribus.learner import Learner
from paribus.plan import Integers, StepResults
from paribus.position import Position
from paribus.steprows import Row

# Of the time, for copies; and seconds between two of them at least.
SHARE, SECONDS = 0.01, 2.0


class Found(Exception):
    """A step is to be left out: its place in the epoch, from 0."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


@dataclass(frozen=True)
class _Copy:
    """A session's tensors, and where the training was."""

    weights: dict[str, Array]
    slots: dict[str, dict[str, Array]]
    start: int
    loss_sum: float
    counted: float


class Skipping:
    """The steps of one training's epoch that are left out.

    Args:
        session: the training's; position: where it is.

    Attributes:
        steps: of the epoch, from 0.
        recorded: steps of the epoch whose rows are in ``metrics.jsonl``.
        in_a_row: steps that were left out one after the other.
    """

    def __init__(self, session: Learner, position: Position) -> None:
        self._session, self._at = session, position
        self.steps: set[int] = set()
        self.recorded = position.start
        self.in_a_row = 0
        self._copy: _Copy | None = None
        self._due = 0.0

    def replaying(self, ahead: int) -> bool:
        """Whether the next step was made before, with ``ahead`` steps under way."""
        start = self._at.start + ahead
        while start in self.steps:
            start += 1
        return start < self.recorded

    def due(self, ahead: int) -> bool:
        """Whether to copy the state, when the steps under way are done."""
        return not self.replaying(ahead) and time.monotonic() >= self._due

    def begin(self) -> None:
        """Begin an epoch, or what is left of one."""
        self.steps.clear()
        self.recorded = self._at.start
        self.copy()

    def copy(self) -> None:
        """Copy the state; no step is under way."""
        began, at = time.monotonic(), self._at
        weights, slots = self._session.export_weights(), self._session.export_optimizer()
        self._copy = _Copy(weights, slots, at.start, at.loss_sum, at.counted)
        now = time.monotonic()
        self._due = now + max(SECONDS, (now - began) / SHARE)

    def leave_out(self, step: int) -> None:
        """Go back to the copy; ``step`` of the epoch, counted from 0, will not be made again."""
        copy, at = self._copy, self._at
        assert copy is not None  # an epoch begins with one
        self.steps.add(step)
        self.recorded = max(self.recorded, step + 1)
        self._session.import_weights(copy.weights)
        self._session.import_optimizer(copy.slots)
        at.start, at.loss_sum, at.counted = copy.start, copy.loss_sum, copy.counted
        self.jump()
        # The next one may be bad, too: then nothing between is made a third time.
        self._due = 0.0

    def new(self, rows: list[Row], *, bad: bool) -> list[Row]:
        """Return those rows of steps that were not recorded before; ``bad``: the last one is."""
        known = min(len(rows), max(0, self.recorded - self._at.start))
        if len(rows) - known > bad:
            self.in_a_row = 0
        if bad:
            rows[-1]["skipped"] = True
            self.in_a_row += 1
            self._at.skipped += 1
        return rows[known:]

    def made(self) -> None:
        """Note that the position has moved."""
        self.recorded = max(self.recorded, self._at.start)
        self.jump()

    def jump(self) -> None:
        """Move the position past steps that are left out."""
        while self._at.start in self.steps:
            self._at.start += 1

    def until(self, start: int) -> int | None:
        """Return how many steps there are from ``start`` to the next that is left out, or None."""
        later = [step - start for step in self.steps if step >= start]
        return min(later) if later else None


def bad_steps(results: StepResults) -> Integers:
    """Return the steps whose loss, or gradient where norms were asked for, is not finite."""
    bad = ~np.isfinite(results.losses)
    if results.gradient_norms is not None:
        bad |= ~np.isfinite(results.gradient_norms)
    return np.flatnonzero(bad)
