"""Where a training is between two optimizer steps: everything that its loop carries along.

The weights and the optimizer's slots are the session's, and whatever is random is a function of
the step's number. So this, they and the spec are all that it takes to go on, on any backend.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from paribus.adapter import Array
from paribus.measures import better
from paribus.metrics import Evaluation
from paribus.spec.training import Recipe


@dataclass(frozen=True)
class Kept:
    """The epoch whose weights are kept: its number, mean training loss and validation."""

    epoch: int
    loss: float
    validation: Evaluation | None
    weights: dict[str, Array]

    def beaten_by(self, new: Evaluation | None, recipe: Recipe) -> bool:
        """Return whether an epoch of validation ``new`` is to be kept instead."""
        if new is None or self.validation is None:
            return True
        metric = recipe.monitor
        value, old = new.metric(metric), self.validation.metric(metric)
        return value is not None and (old is None or better(metric, value, old))


@dataclass
class Position:
    """The state of the loop, changed as it goes on.

    Attributes:
        epoch: the one under way, from 1.
        start: its optimizer steps that are done; all of them when only its validation is left.
        loss_sum, counted: over those steps, the sum of losses and what it is a sum over (examples,
            weights or tokens); added step by step, so that no bit depends on how steps were cut.
        best, waited: of early stopping: the best value so far, and epochs since.
        kept: the best epoch so far, with ``keep = "best"``.
        validations: of the epochs before, in order.
        skipped: steps that were left out so far, because their loss was not finite.
        seconds, train_seconds, compile_seconds: spent so far, as in ``Trained``.
    """

    epoch: int = 1
    start: int = 0
    loss_sum: float = 0.0
    counted: float = 0.0
    best: float | None = None
    waited: int = 0
    kept: Kept | None = None
    validations: list[Evaluation | None] = field(default_factory=list)
    skipped: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    compile_seconds: float = 0.0

    @property
    def begun(self) -> bool:
        """Whether any optimizer step is done."""
        return self.epoch > 1 or self.start > 0

    @property
    def loss(self) -> float:
        """The mean loss over the steps of the epoch under way; NaN before the first."""
        return self.loss_sum / self.counted if self.counted else float("nan")

    def next_epoch(self) -> None:
        """Begin the next epoch."""
        self.epoch += 1
        self.start, self.loss_sum, self.counted = 0, 0.0, 0.0

    def exhausted(self, validation: Evaluation | None, recipe: Recipe) -> bool:
        """Count epochs without an improvement by more than ``min_delta``; whether to stop."""
        stopping = recipe.early_stopping
        if stopping is None or validation is None:
            return False
        value = validation.metric(recipe.monitor)
        if value is not None and (
            self.best is None or better(recipe.monitor, value, self.best, stopping.min_delta)
        ):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited >= stopping.patience
