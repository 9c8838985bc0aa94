"""The half of a session that holds tensors: variables and slots, in and out as NumPy arrays.

The Keras model is the container of the variables, and what a user takes away.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from paribus import weights
from paribus.adapter import Array, Session, Task, Tensors
from paribus.architectures import Network
from paribus.backends.tensorflow import models
from paribus.backends.tensorflow.tracing import Traces
from paribus.belongings import NOTHING, Belongings
from paribus.errors import WeightsError
from paribus.optimizers import RULES


class Holding(Session):
    """See ``paribus.adapter.Session``; what is computed with the variables is not said here.

    Args:
        network, task: the session's; dtype: of the parameters.
        traces: under whose switches tensors are made.
    """

    def __init__(self, network: Network, task: Task, dtype: np.dtype[Any], traces: Traces) -> None:
        self._network, self._task, self._numpy, self._traces = network, task, dtype, traces
        with traces.computing():
            self._model, self._places = self._build()
            self._variables = {name: place.variable for name, place in self._places.items()}
            rule = RULES[task.rule]
            self._slots = {
                name: tuple(tf.Variable(tf.zeros_like(self._variables[name])) for _ in rule.slots)
                for name in task.trainable
            }

    def _build(self) -> tuple[Any, Mapping[str, models.Place]]:
        """Return a new ``keras.Model`` of the network, and where its tensors live in it."""
        return models.build(self._network, self._numpy.name)

    def import_weights(self, tensors: Tensors) -> None:
        """Assign every variable; slots become zero."""
        weights.check(tensors, weights.shapes(self._network))
        with self._traces.computing():
            for name, place in self._places.items():
                place.variable.assign(place.native(tensors[name]))
            for slots in self._slots.values():
                for slot in slots:
                    slot.assign(tf.zeros_like(slot))

    def export_weights(self) -> dict[str, Array]:
        """Return copies of all canonical tensors."""
        return {n: place.canonical(place.variable.numpy()) for n, place in self._places.items()}

    def import_optimizer(self, slots: Mapping[str, Tensors]) -> None:
        """Assign every slot."""
        names = RULES[self._task.rule].slots
        if set(slots) != set(names):
            raise WeightsError(
                f"optimizer state has slots {sorted(slots)}; rule {self._task.rule!r} has "
                f"{sorted(names)}"
            )
        shapes = {name: self._network.tensors[name].shape for name in self._task.trainable}
        for name in names:
            weights.check(slots[name], shapes, f"optimizer slot {name!r}")
        with self._traces.computing():
            for name in self._task.trainable:
                for slot, variable in zip(names, self._slots[name], strict=True):
                    variable.assign(self._places[name].native(slots[slot][name]))

    def export_optimizer(self) -> dict[str, dict[str, Array]]:
        """Return copies of all slots."""
        return {
            slot: {
                name: self._places[name].canonical(self._slots[name][index].numpy())
                for name in self._task.trainable
            }
            for index, slot in enumerate(RULES[self._task.rule].slots)
        }

    def state(self) -> list[Any]:
        """Return copies of all variables and slots, on the device."""
        with self._traces.computing():
            return [tf.identity(variable) for variable in self._all()]

    def restore(self, state: list[Any]) -> None:
        """Put such copies back."""
        with self._traces.computing():
            for variable, value in zip(self._all(), state, strict=True):
                variable.assign(value)

    def native(self) -> Any:
        """Return a ``keras.Model`` of its own, for the user to keep and to train on.

        Images go in as [n, height, width, channels], preprocessed; logits come out.
        """
        with self._traces.computing():
            model, places = self._build()
            for name, place in places.items():
                place.variable.assign(self._places[name].variable)
        return model

    def save_native(self, folder: Path, belongings: Belongings = NOTHING) -> Path:
        """Write ``model.keras``, which ``keras.saving.load_model`` reads; return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path, staged = folder / "model.keras", folder / "partial.keras"
        with self._traces.computing():
            self._model.save(staged)
        staged.replace(path)
        return path

    def _all(self) -> list[Any]:
        return [*self._variables.values(), *(s for slots in self._slots.values() for s in slots)]
