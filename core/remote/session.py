"""The parent's side of a session: each method of the contract is one request to the child."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paribus.adapter import Array, Session, Tensors
from paribus.belongings import NOTHING, Belongings
from paribus.errors import Unsupported
from paribus.plan import EvalPlan, StepResults, Sums, TrainPlan
from paribus.remote.values import from_belongings, from_plan, from_tuning
from paribus.tuning import Choice, Tuning

if TYPE_CHECKING:
    from paribus.remote.backend import RemoteBackend


class RemotePending:
    """K steps under way in the child."""

    def __init__(self, session: RemoteSession, number: int) -> None:
        self._session = session
        self._number = number

    def result(self) -> StepResults:
        """Wait and return the losses and norms."""
        losses, norms = self._session.ask("result", pending=self._number)
        return StepResults(losses, norms)


class RemoteSession(Session):
    """A session that lives in the child of a ``RemoteBackend``; handles are numbers.

    Args:
        backend: whose child it is.
        number: what the child knows the session by.
    """

    def __init__(self, backend: RemoteBackend, number: int) -> None:
        self._backend = backend
        self._number = number
        self._closed = False

    def ask(self, method: str, **arguments: Any) -> Any:
        """Call a method of the session in the child and return its value."""
        reply = self._backend.call(method, session=self._number, **arguments)
        self.compile_seconds = float(reply["compile_seconds"])
        self.remarks = tuple(reply["remarks"])
        return reply["value"]

    def import_weights(self, tensors: Tensors) -> None:
        """See ``Session``."""
        self.ask("import_weights", tensors=tensors)

    def export_weights(self) -> dict[str, Array]:
        """See ``Session``."""
        return dict(self.ask("export_weights"))

    def import_optimizer(self, slots: Mapping[str, Tensors]) -> None:
        """See ``Session``."""
        self.ask("import_optimizer", slots=slots)

    def export_optimizer(self) -> dict[str, dict[str, Array]]:
        """See ``Session``."""
        return dict(self.ask("export_optimizer"))

    def put(self, x: Array, y: Array | None) -> int:
        """See ``Session``; the examples are copied to the child once."""
        return int(self.ask("put", x=x, y=y))

    def tune(self, tuning: Tuning) -> None:
        """See ``Session``; the child chooses, by its own clock."""
        self.ask("tune", tuning=from_tuning(tuning))

    @property
    def choices(self) -> Sequence[Choice]:
        """See ``Session``."""
        return [Choice.model_validate(values) for values in self.ask("choices")]

    def free(self, handle: int) -> None:
        """See ``Session``; the child lets go of the examples."""
        self.ask("free", handle=handle)

    def train_steps(self, handle: int, plan: TrainPlan) -> RemotePending:
        """See ``Session``; returns when the child has started the steps."""
        return RemotePending(self, self.ask("train_steps", handle=handle, plan=from_plan(plan)))

    def evaluate(self, handle: int, plan: EvalPlan) -> Sums:
        """See ``Session``."""
        loss, correct, predictions = self.ask("evaluate", handle=handle, plan=from_plan(plan))
        return Sums(loss, correct, predictions)

    def predict(self, handle: int, plan: EvalPlan) -> Array:
        """See ``Session``."""
        return np.asarray(self.ask("predict", handle=handle, plan=from_plan(plan)))

    def gradients(self, handle: int, plan: TrainPlan) -> tuple[float, dict[str, Array]]:
        """See ``Session``."""
        loss, gradients = self.ask("gradients", handle=handle, plan=from_plan(plan))
        return float(loss), dict(gradients)

    def forward(self, handle: int, plan: EvalPlan, *, training: bool) -> Array:
        """See ``Session``."""
        arguments = {"plan": from_plan(plan), "training": training}
        return np.asarray(self.ask("forward", handle=handle, **arguments))

    def activations(self, handle: int, plan: EvalPlan, *, training: bool) -> dict[str, Array]:
        """See ``Session``."""
        arguments = {"plan": from_plan(plan), "training": training}
        return dict(self.ask("activations", handle=handle, **arguments))

    def native(self) -> Any:
        """Refuse: an object of a framework cannot leave its process.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(
            "native() needs the framework in this process, but this session runs in one of its "
            "own; use save_native(folder), or open the backend directly"
        )

    def save_native(self, folder: Path, belongings: Belongings = NOTHING) -> Path:
        """See ``Session``."""
        given = from_belongings(belongings)
        return Path(self.ask("save_native", folder=str(folder.absolute()), belongings=given))

    def close(self) -> None:
        """See ``Session``; the child goes on. A child that is gone has freed everything."""
        if not self._closed:
            self._closed = True
            if self._backend.alive:
                self.ask("close")
