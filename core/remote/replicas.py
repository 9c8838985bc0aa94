"""The parent's side of replicas that live in the child of a ``RemoteBackend``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from paribus.adapter import Array, Tensors
from paribus.plan import EvalPlan, StepResults, TrainPlan
from paribus.remote.values import from_plan
from paribus.replicas import Replicas

if TYPE_CHECKING:
    from paribus.remote.backend import RemoteBackend


class RemoteReplicas(Replicas):
    """See ``paribus.replicas``; each method is one request, handles are numbers.

    That plans share arrays is not seen in the child.
    """

    def __init__(self, backend: RemoteBackend, number: int) -> None:
        self._backend, self._number = backend, number
        self._closed = False

    def _ask(self, method: str, **arguments: Any) -> Any:
        reply = self._backend.call(method, session=self._number, **arguments)
        self.compile_seconds = float(reply["compile_seconds"])
        self.remarks = tuple(reply["remarks"])
        return reply["value"]

    def import_weights(self, replica: int, tensors: Tensors) -> None:
        """See ``Replicas``."""
        self._ask("replica_import_weights", replica=replica, tensors=tensors)

    def export_weights(self, replica: int) -> dict[str, Array]:
        """See ``Replicas``."""
        return dict(self._ask("replica_export_weights", replica=replica))

    def import_optimizer(self, replica: int, slots: Mapping[str, Tensors]) -> None:
        """See ``Replicas``."""
        self._ask("replica_import_optimizer", replica=replica, slots=slots)

    def export_optimizer(self, replica: int) -> dict[str, dict[str, Array]]:
        """See ``Replicas``."""
        return dict(self._ask("replica_export_optimizer", replica=replica))

    def put(self, x: Array, y: Array | None) -> int:
        """See ``Replicas``."""
        return int(self._ask("put", x=x, y=y))

    def free(self, handle: int) -> None:
        """See ``Replicas``."""
        self._ask("free", handle=handle)

    def train_steps(self, handle: int, plans: Mapping[int, TrainPlan]) -> dict[int, StepResults]:
        """See ``Replicas``."""
        given = [from_plan(plan) for plan in plans.values()]
        found = self._ask("replicas_train_steps", handle=handle, replicas=list(plans), plans=given)
        return {r: StepResults(*one) for r, one in zip(plans, found, strict=True)}

    def predict(self, handle: int, plans: Mapping[int, EvalPlan]) -> dict[int, Array]:
        """See ``Replicas``."""
        given = [from_plan(plan) for plan in plans.values()]
        found = self._ask("replicas_predict", handle=handle, replicas=list(plans), plans=given)
        return {r: np.asarray(one) for r, one in zip(plans, found, strict=True)}

    def close(self) -> None:
        """See ``Replicas``; the child goes on."""
        if not self._closed:
            self._closed = True
            if self._backend.alive:
                self._ask("close")
