"""The contract for many trainings as one computation: R replicas of one network and task.

The folds of a cross-validation and the trials of a search are small trainings that differ in their
rows, their order, their initial weights and the scalars of their updates, and in nothing else. One
by one they cost what calls cost; side by side what arithmetic costs. What a replica is told, and
what it answers, is what a session of its own would be told and answer (``paribus.adapter``).

What may not differ between the replicas of a session: the network, the task, precision, numerics
and the examples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from paribus.adapter import Array, Tensors
from paribus.closing import Closing
from paribus.plan import EvalPlan, StepResults, TrainPlan


class Replicas(Closing):
    """R replicas on a device, numbered from 0, with their weights and slots; a context manager.

    The replicas know nothing of each other. A replica whose loss became infinite or NaN changes no
    bit of another, and in ``strict`` numerics neither does which others are in the same call, or
    that there are any: a run that stops and goes on with fewer of them ends the same.

    In float64 a replica's losses, weights and outputs are those of a session to 1e-12.

    Attributes:
        compile_seconds, remarks: as of ``Session``.
    """

    compile_seconds: float = 0.0
    remarks: Sequence[str] = ()

    @abstractmethod
    def import_weights(self, replica: int, tensors: Tensors) -> None:
        """Take all canonical tensors of one replica and set its slots to zero.

        Raises:
            WeightsError: as of ``Session.import_weights``.
        """

    @abstractmethod
    def export_weights(self, replica: int) -> dict[str, Array]:
        """Return copies of all canonical tensors of one replica, as ``Session`` does."""

    @abstractmethod
    def import_optimizer(self, replica: int, slots: Mapping[str, Tensors]) -> None:
        """Set one replica's optimizer state: slot name → canonical name → array.

        Raises:
            WeightsError: as of ``Session.import_optimizer``.
        """

    @abstractmethod
    def export_optimizer(self, replica: int) -> dict[str, dict[str, Array]]:
        """Return copies of one replica's optimizer state."""

    @abstractmethod
    def put(self, x: Array, y: Array | None) -> Any:
        """Place the examples of all replicas on the device; x and y as of ``Session.put``."""

    def free(self, handle: Any) -> None:
        """Let go of a handle that will not be used again; by default dropping it is enough."""

    @abstractmethod
    def train_steps(self, handle: Any, plans: Mapping[int, TrainPlan]) -> dict[int, StepResults]:
        """Make K optimizer steps of each replica that has a plan; the others stay as they are.

        Args:
            handle: the examples.
            plans: replica → plan. K, S and b are equal in all of them; everything else may differ.
                Where two plans share an array (``is``), their replicas read the same batches,
                which an adapter may read once.

        Returns:
            replica → losses and norms, in the order of ``plans``.
        """

    @abstractmethod
    def predict(self, handle: Any, plans: Mapping[int, EvalPlan]) -> dict[int, Array]:
        """Return the outputs of each replica that has a plan, float [rows, C], as ``Session`` does.

        Args:
            handle: the examples.
            plans: replica → plan; of any shapes.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what the replicas hold; safe to call twice."""
