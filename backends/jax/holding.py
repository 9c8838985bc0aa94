"""The half of a session that holds: weights and slots on a device, and how they come and go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from paribus.adapter import Array, Session, Task, Tensors
from paribus.architectures import Network
from paribus.backends.jax import native
from paribus.backends.jax.compiled import Compiled
from paribus.backends.jax.memory import memory
from paribus.backends.jax.plans import Handle
from paribus.backends.jax.state import State, exported, exported_slots, initial, with_slots
from paribus.belongings import NOTHING, Belongings


class Holding(Session):
    """The state of one session.

    Args:
        network, task: the session's.
        dtype: of parameters.
        compiled: the functions of the session, and its device.
    """

    def __init__(
        self, network: Network, task: Task, dtype: np.dtype[Any], compiled: Compiled
    ) -> None:
        self._network, self._task, self._numpy = network, task, dtype
        self._compiled = compiled
        self._state = State({}, {})

    def import_weights(self, tensors: Tensors) -> None:
        """Copy all tensors to the device; slots become zero."""
        with self._compiled.computing():
            self._state = initial(self._network, self._task, tensors, self._copied)

    @memory
    def export_weights(self) -> dict[str, Array]:
        """Return copies of all canonical tensors."""
        return exported(self._state.weights, self._network)

    def import_optimizer(self, slots: Mapping[str, Tensors]) -> None:
        """Set every slot."""
        with self._compiled.computing():
            self._state = with_slots(self._state, self._network, self._task, slots, self._copied)

    @memory
    def export_optimizer(self) -> dict[str, dict[str, Array]]:
        """Return copies of all slots."""
        return exported_slots(self._state, self._task)

    def put(self, x: Array, y: Array | None) -> Handle:
        """Copy examples to the device as they are."""
        numbers = self._network.objective == "regression"
        labels = None if y is None else y.astype(self._numpy if numbers else np.int64, copy=False)
        with self._compiled.computing():
            return self._compiled.place(Handle(x, labels))  # type: ignore[no-any-return]

    def native(self) -> native.Model:
        """Return the function and a copy of the parameters, for the user to keep."""
        with self._compiled.computing():
            params = {name: jnp.array(value) for name, value in self._state.weights.items()}
        return native.Model(native.application(self._network), params)

    def save_native(self, folder: Path, belongings: Belongings = NOTHING) -> Path:
        """Write ``model.safetensors`` and ``apply.jax``; return the path of the former."""
        with self._compiled.computing():
            return native.save(self._network, self.export_weights(), folder)

    def state(self) -> State:
        """Return a copy of the state; what trains takes the memory of the one that it is given."""
        with self._compiled.computing():
            return jax.tree.map(jnp.copy, self._state)  # type: ignore[no-any-return]

    def restore(self, state: State) -> None:
        """Take a copy of a state."""
        with self._compiled.computing():
            self._state = jax.tree.map(jnp.copy, state)

    def close(self) -> None:
        """Let go of everything; what ``native`` returned lives on with its user."""
        self._compiled.clear()
        self._state = State({}, {})

    def _copied(self, array: Array) -> Any:
        # On a CPU, what is merely placed would share the caller's memory.
        return self._compiled.place(jnp.array(array, dtype=self._numpy, copy=True))
