"""What the training loop trains: a session, or one replica of many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from paribus.adapter import Array, Pending, Tensors
from paribus.plan import TrainPlan


class Learner(Protocol):
    """The part of a ``Session`` that a training needs, which says of each method what it does."""

    @property
    def compile_seconds(self) -> float:
        """Wall seconds spent on compiling for it."""

    def import_weights(self, tensors: Tensors) -> None:
        """Take weights and set every slot to zero."""

    def export_weights(self) -> dict[str, Array]:
        """Return copies of the weights."""

    def import_optimizer(self, slots: Mapping[str, Tensors]) -> None:
        """Set the optimizer's state."""

    def export_optimizer(self) -> dict[str, dict[str, Array]]:
        """Return copies of the optimizer's state."""

    def train_steps(self, handle: Any, plan: TrainPlan) -> Pending:
        """Start K steps, or put them down to be made with those of others."""
