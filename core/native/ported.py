"""Sessions on a user's models: the backend works in its own names, here they become canonical.

Adapters know nothing of tables. A session of a backend whose names are canonical is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paribus import weights
from paribus.adapter import Array, Backend, Numerics, Pending, Precision, Session, Task, Tensors
from paribus.architectures import Network
from paribus.belongings import NOTHING, Belongings
from paribus.native.layout import Table, to_canonical, to_native
from paribus.native.network import GIVEN, NativeNetwork
from paribus.optimizers import RULES
from paribus.plan import EvalPlan, Sums, TrainPlan
from paribus.tuning import Choice, Tuning


def open_session(
    backend: Backend,
    network: Network,
    task: Task,
    *,
    device: str,
    precision: Precision,
    numerics: Numerics,
) -> Session:
    """Open a session by ``Backend.open``; of a user's model, in canonical names.

    Raises:
        SpecError: the spec has no builder for the backend, or it fails.
        BackendMissing, DeviceMissing, Unsupported: as ``Backend.open``.
    """
    table = network.tables.get(backend.name) if isinstance(network, NativeNetwork) else None
    own, given = network, task
    if isinstance(network, NativeNetwork):
        network.builder(backend.name)
        own = network.own(backend.name)
    if table is not None:
        given = replace(
            task, trainable=_names(table, task.trainable), decayed=_names(table, task.decayed)
        )
    session = backend.open(own, given, device=device, precision=precision, numerics=numerics)
    return session if table is None else PortedSession(session, network, own, task, table)


def _names(table: Table, canonical: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.name for name in canonical for part in table[name])


class PortedSession(Session):
    """A session under canonical names.

    Args:
        session: in the backend's own names.
        network: in canonical names; own: in the backend's.
        task: in canonical names.
        table: canonical name → where it lies.
    """

    def __init__(
        self, session: Session, network: Network, own: Network, task: Task, table: Table
    ) -> None:
        self._session, self._task, self._table = session, task, table
        self._shapes = weights.shapes(network)
        self._modules: dict[str, str] = {}
        for name, parts in table.items():
            module = own.tensors[parts[0].name].node
            self._modules.setdefault(module, network.tensors[name].node)

    @property
    def compile_seconds(self) -> float:  # type: ignore[override]
        """The session's."""
        return self._session.compile_seconds

    @property
    def remarks(self) -> Sequence[str]:  # type: ignore[override]
        """The session's."""
        return self._session.remarks

    def import_weights(self, tensors: Tensors) -> None:
        """See ``Session``."""
        weights.check(tensors, self._shapes)
        self._session.import_weights(to_native(self._table, tensors))

    def export_weights(self) -> dict[str, Array]:
        """See ``Session``."""
        return self._canonical(self._session.export_weights())

    def import_optimizer(self, slots: Mapping[str, Tensors]) -> None:
        """See ``Session``."""
        shapes = {name: self._shapes[name] for name in self._task.trainable}
        for slot in set(slots) & set(RULES[self._task.rule].slots):
            weights.check(slots[slot], shapes, f"optimizer slot {slot!r}")
        self._session.import_optimizer(
            {slot: to_native(self._table, tensors) for slot, tensors in slots.items()}
        )

    def export_optimizer(self) -> dict[str, dict[str, Array]]:
        """See ``Session``."""
        return {s: self._canonical(found) for s, found in self._session.export_optimizer().items()}

    def put(self, x: Array, y: Array | None) -> Any:
        """See ``Session``."""
        return self._session.put(x, y)

    def tune(self, tuning: Tuning) -> None:
        """See ``Session``."""
        self._session.tune(tuning)

    @property
    def choices(self) -> Sequence[Choice]:
        """The session's."""
        return self._session.choices

    def free(self, handle: Any) -> None:
        """See ``Session``."""
        self._session.free(handle)

    def train_steps(self, handle: Any, plan: TrainPlan) -> Pending:
        """See ``Session``."""
        return self._session.train_steps(handle, plan)

    def evaluate(self, handle: Any, plan: EvalPlan) -> Sums:
        """See ``Session``."""
        return self._session.evaluate(handle, plan)

    def predict(self, handle: Any, plan: EvalPlan) -> Array:
        """See ``Session``."""
        return self._session.predict(handle, plan)

    def gradients(self, handle: Any, plan: TrainPlan) -> tuple[float, dict[str, Array]]:
        """See ``Session``."""
        loss, found = self._session.gradients(handle, plan)
        return loss, self._canonical(found)

    def forward(self, handle: Any, plan: EvalPlan, *, training: bool) -> Array:
        """See ``Session``."""
        return self._session.forward(handle, plan, training=training)

    def activations(self, handle: Any, plan: EvalPlan, *, training: bool) -> dict[str, Array]:
        """See ``Session``; of the modules whose first tensor is a canonical module's."""
        found = self._session.activations(handle, plan, training=training)
        return {
            self._modules[name] + GIVEN * given: x
            for key, x in found.items()
            for name, given in [(key.removesuffix(GIVEN), key.endswith(GIVEN))]
            if name in self._modules
        }

    def native(self) -> Any:
        """See ``Session``."""
        return self._session.native()

    def save_native(self, folder: Path, belongings: Belongings = NOTHING) -> Path:
        """See ``Session``."""
        return self._session.save_native(folder, belongings)

    def close(self) -> None:
        """See ``Session``."""
        self._session.close()

    def _canonical(self, tensors: Tensors) -> dict[str, Array]:
        return to_canonical(self._table, self._shapes, tensors)
