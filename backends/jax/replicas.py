"""Many replicas of a small network trained together (``paribus.replicas``).

A step of one replica is the session's own, mapped over the replicas: products become batched ones,
and everything else runs over one more axis. A call's replicas are taken some at a time, as many as
have their weights, slots and activations in a core's cache. Those of a group are always computed
all, and of those without a plan the old state is kept, so that no bit depends on who has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from paribus.adapter import Array, Numerics, Precision, Task, Tensors
from paribus.architectures import Network
from paribus.backends.jax.compiled import Compiled
from paribus.backends.jax.plans import (
    Data,
    Handle,
    Reading,
    data_of,
    reading_of,
    rows_of,
    steps_of,
)
from paribus.backends.jax.state import State, exported, exported_slots, initial, with_slots
from paribus.backends.jax.steps import Steps
from paribus.errors import DataError
from paribus.grouping import Groups
from paribus.places import places
from paribus.plan import EvalPlan, StepResults, TrainPlan
from paribus.replicas import Replicas

Plan = TypeVar("Plan", TrainPlan, EvalPlan)
# The examples are everybody's, their scale and shift each replica's own.
SHARED = Data(None, None, 0)


class JaxReplicas(Replicas):
    """See ``paribus.replicas.Replicas``; ``device`` is JAX's own."""

    def __init__(
        self,
        network: Network,
        task: Task,
        count: int,
        device: Any,
        precision: Precision,
        numerics: Numerics,
    ) -> None:
        self._network, self._task = network, task
        self._numpy = np.dtype("float64" if precision == "float64" else "float32")
        self._steps = Steps(network, task, self._numpy, self._numpy)
        self._compiled = Compiled(device, strict=numerics == "strict")
        self._groups = Groups.of(network, task, count, self._numpy.itemsize)
        zeros = {name: np.zeros(t.shape, self._numpy) for name, t in network.tensors.items()}
        with self._compiled.computing():
            one = initial(network, task, zeros, self._copied)
            size = self._groups.size
            self._states = [
                jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), one)
                for _ in range(self._groups.count)
            ]

    def import_weights(self, replica: int, tensors: Tensors) -> None:
        """Copy values into the replica's place; its slots become zero."""
        with self._compiled.computing():
            self._place(replica, initial(self._network, self._task, tensors, self._copied))

    def export_weights(self, replica: int) -> dict[str, Array]:
        """Return copies of all canonical tensors."""
        return exported(self._own(replica).weights, self._network)

    def import_optimizer(self, replica: int, slots: Mapping[str, Tensors]) -> None:
        """Copy values into the replica's slots."""
        with self._compiled.computing():
            own = self._own(replica)
            self._place(replica, with_slots(own, self._network, self._task, slots, self._copied))

    def export_optimizer(self, replica: int) -> dict[str, dict[str, Array]]:
        """Return copies of the slots."""
        return exported_slots(self._own(replica), self._task)

    def put(self, x: Array, y: Array | None) -> Handle:
        """Copy examples to the device as they are."""
        numbers = self._network.objective == "regression"
        labels = None if y is None else y.astype(self._numpy if numbers else np.int64, copy=False)
        with self._compiled.computing():
            return self._compiled.place(Handle(x, labels))  # type: ignore[no-any-return]

    def train_steps(self, handle: Handle, plans: Mapping[int, TrainPlan]) -> dict[int, StepResults]:
        """Make K steps, group by group; all are under way before the first is waited for."""
        if handle.y is None:
            raise DataError("training needs labels, but this data was put without")
        under_way: list[tuple[list[int], Any, int]] = []
        for group, own in self._asked(plans, lambda plan: self._reading(handle, plan)):
            first = next(iter(own.values()))
            active = np.isin(self._groups.members(group), list(own))
            given = [own.get(replica, first) for replica in self._groups.members(group)]
            images, names = handle.x.ndim == 4, self._steps.scalar_names()
            steps = _stacked([steps_of(plan, names, self._numpy, images) for plan in given], 1)
            size = sum(array.nbytes for array in jax.tree.leaves(steps)) // first.steps
            at = np.minimum(np.arange(places(first.steps, size)), first.steps - 1)
            reading = self._reading(handle, first)
            self._states[group], rows = self._call(
                ("many", reading),
                lambda reading=reading: self._many(reading),
                self._states[group],
                self._data(handle, given),
                jax.tree.map(lambda array, at=at: array[at], steps),
                np.int64(first.steps),
                active,
                donated=(0,),
            )
            under_way.append((list(own), rows, first.steps))
        found: dict[int, StepResults] = {}
        for replicas, rows, count in under_way:
            done = np.asarray(rows)[:count]
            for replica in replicas:
                own_rows = done[:, self._groups.place(replica)[1]]
                norms = own_rows[:, 1].copy() if self._task.norms else None
                found[replica] = StepResults(own_rows[:, 0].copy(), norms)
        return {replica: found[replica] for replica in plans}

    def predict(self, handle: Handle, plans: Mapping[int, EvalPlan]) -> dict[int, Array]:
        """Return outputs, group by group."""
        found: dict[int, Array] = {}
        for group, own in self._asked(plans, lambda plan: self._reading(handle, plan)):
            first = next(iter(own.values()))
            given = [own.get(replica, first) for replica in self._groups.members(group)]
            reading, data = self._reading(handle, first), self._data(handle, given)
            rows = _stacked([rows_of(plan) for plan in given], 1)
            outputs = [
                self._call(
                    ("outputs", reading),
                    lambda reading=reading: jax.vmap(
                        self._steps.outputs(reading, False), in_axes=(0, SHARED, 0)
                    ),
                    self._states[group].weights,
                    data,
                    jax.tree.map(lambda array, m=m: array[m], rows),
                )
                for m in range(len(first.counts))
            ]
            batches = np.stack([np.asarray(array) for array in outputs], axis=1)
            for replica, plan in own.items():
                real = np.arange(plan.indices.shape[1]) < plan.counts[:, None]
                found[replica] = batches[self._groups.place(replica)[1]][real]
        return {replica: found[replica] for replica in plans}

    def close(self) -> None:
        """Let go of everything."""
        self._compiled.clear()
        self._states = []

    def _many(self, reading: Reading) -> Callable[..., tuple[State, Any]]:
        """Return (states, data, steps [K, r, …], limit, active [r]) → states, [K, r, 2]."""
        one = jax.vmap(self._steps.step(reading), in_axes=(0, SHARED, 0))

        def loop(state: State, data: Data, steps: Any, limit: Any, active: Any) -> Any:
            def body(k: Any, carried: tuple[State, Any]) -> tuple[State, Any]:
                now, rows = carried
                now, row = one(now, data, jax.tree.map(lambda array: array[k], steps))
                return now, rows.at[k].set(row)

            places, replicas = steps.shards.count.shape[:2]
            rows = jnp.zeros((places, replicas, 2), jnp.float64)
            done, rows = jax.lax.fori_loop(0, limit, body, (state, rows))
            return jax.tree.map(
                lambda new, old: jnp.where(active.reshape(-1, *(1,) * (new.ndim - 1)), new, old),
                done,
                state,
            ), rows

        return loop

    def _asked(
        self, plans: Mapping[int, Plan], kind: Callable[[Plan], Any]
    ) -> list[tuple[int, dict[int, Plan]]]:
        """Return, group by group, the plans that are one computation."""
        return self._groups.asked(plans, lambda plan: (plan.indices.shape, kind(plan)))

    def _reading(self, handle: Handle, plan: TrainPlan | EvalPlan) -> Reading:
        drawn = handle.x.ndim == 4 and getattr(plan, "augmentation", None) is not None
        return reading_of(handle, plan.preprocess, self._network, drawn=drawn, labelled=True)

    def _data(self, handle: Handle, plans: list[Any]) -> Data:
        found = [data_of(handle, plan.preprocess, self._network, self._numpy) for plan in plans]
        return found[0]._replace(factors=np.stack([data.factors for data in found]))

    def _own(self, replica: int) -> State:
        group, place = self._groups.place(replica)
        with self._compiled.computing():
            own: State = jax.tree.map(lambda leaf: leaf[place], self._states[group])
        return own

    def _place(self, replica: int, own: State) -> None:
        group, place = self._groups.place(replica)
        self._states[group] = jax.tree.map(
            lambda leaf, value: leaf.at[place].set(value), self._states[group], own
        )

    def _copied(self, array: Array) -> Any:
        return self._compiled.place(jnp.array(array, dtype=self._numpy, copy=True))

    def _call(self, key: Any, make: Callable[..., Any], *given: Any, **options: Any) -> Any:
        result = self._compiled.call(key, make, *given, **options)
        self.compile_seconds = self._compiled.seconds
        return result


def _stacked(trees: list[Any], axis: int) -> Any:
    """Return one tree of trees of NumPy arrays, with one more axis."""
    return jax.tree.map(lambda *arrays: np.stack(arrays, axis), *trees)
