"""Many replicas of a small network trained together (``paribus.replicas``).

A call's replicas are taken some at a time, as many as have their weights, slots and activations in
a core's cache. Those of a group are always computed all, and of those without a plan the old state
is kept, so that no bit depends on who has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import tensorflow as tf

from paribus import weights
from paribus.adapter import Array, Numerics, Precision, Task, Tensors
from paribus.allocator import keep_memory
from paribus.architectures import Network
from paribus.backends.tensorflow.batched import Batched, Held, Rows, State
from paribus.backends.tensorflow.inputs import Layout, draws_of
from paribus.backends.tensorflow.noise import keys_of
from paribus.backends.tensorflow.plans import Handle
from paribus.backends.tensorflow.tracing import Traces
from paribus.errors import DataError, WeightsError
from paribus.grouping import Groups
from paribus.optimizers import RULES
from paribus.plan import EvalPlan, StepResults, TrainPlan
from paribus.replicas import Replicas


class TensorFlowReplicas(Replicas):
    """See ``paribus.replicas.Replicas``."""

    def __init__(
        self,
        network: Network,
        task: Task,
        count: int,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> None:
        place = device.replace("cuda", "GPU").upper()
        if place.startswith("CPU"):
            keep_memory()
        self._network, self._task = network, task
        self._numpy = np.dtype("float64" if precision == "float64" else "float32")
        self._traces = Traces(place, strict=numerics == "strict")
        self._groups = Groups.of(network, task, count, self._numpy.itemsize)
        size, dtype = self._groups.size, tf.as_dtype(self._numpy)
        self._batched = Batched(network, task, size, dtype)
        self._shapes = {name: network.tensors[name].shape for name in task.trainable}
        with self._traces.computing():
            self._states = [self._empty(size, dtype) for _ in range(self._groups.count)]
            self._frozen = [
                {
                    name: tf.zeros((size, *tensor.shape), dtype)
                    for name, tensor in network.tensors.items()
                    if name not in task.trainable
                }
                for _ in range(self._groups.count)
            ]

    def import_weights(self, replica: int, tensors: Tensors) -> None:
        """Copy values into the replica's place; its slots become zero."""
        weights.check(tensors, weights.shapes(self._network))
        group, place = self._groups.place(replica)
        state = self._states[group]
        with self._traces.computing():
            own = self._buffers(tensors)
            self._states[group] = State(
                _placed(state.weights, place, own),
                tuple(_placed(part, place, [0.0] * len(part)) for part in state.slots),
            )
            self._frozen[group] = {
                name: _with(tensor, place, tensors[name].astype(self._numpy))
                for name, tensor in self._frozen[group].items()
            }

    def export_weights(self, replica: int) -> dict[str, Array]:
        """Return copies in canonical order."""
        group, place = self._groups.place(replica)
        own = self._cut([buffer[place].numpy() for buffer in self._states[group].weights])
        own |= {name: np.array(t[place].numpy()) for name, t in self._frozen[group].items()}
        return {name: own[name] for name in self._network.tensors}

    def import_optimizer(self, replica: int, slots: Mapping[str, Tensors]) -> None:
        """Copy values into the replica's slots."""
        names = RULES[self._task.rule].slots
        if set(slots) != set(names):
            raise WeightsError(
                f"optimizer state has slots {sorted(slots)}; rule {self._task.rule!r} has "
                f"{sorted(names)}"
            )
        for name in names:
            weights.check(slots[name], self._shapes, f"optimizer slot {name!r}")
        group, place = self._groups.place(replica)
        state = self._states[group]
        with self._traces.computing():
            by_part = zip(*(self._buffers(slots[name]) for name in names), strict=True)
            placed = [
                _placed(part, place, list(own))
                for part, own in zip(state.slots, by_part, strict=True)
            ] if names else state.slots  # fmt: skip
            self._states[group] = State(state.weights, tuple(placed))

    def export_optimizer(self, replica: int) -> dict[str, dict[str, Array]]:
        """Return copies of the slots."""
        group, place = self._groups.place(replica)
        return {
            slot: self._cut([part[i][place].numpy() for part in self._states[group].slots])
            for i, slot in enumerate(RULES[self._task.rule].slots)
        }

    def put(self, x: Array, y: Array | None) -> Handle:
        """Copy examples to the device as they are."""
        numbers = self._network.objective == "regression"
        labelled = y is not None
        if y is None:
            y = np.zeros((len(x), self._network.classes) if numbers else len(x))
        labels = y.astype(self._numpy if numbers else np.int64, copy=False)
        with self._traces.computing():
            return Handle(tf.constant(x), tf.constant(labels), labelled)

    def train_steps(self, handle: Handle, plans: Mapping[int, TrainPlan]) -> dict[int, StepResults]:
        """Make K steps, group by group."""
        if not handle.labelled:
            raise DataError("training needs labels, but this data was put without")
        found: dict[int, StepResults] = {}
        for group, own in self._groups.asked(plans, lambda plan: self._kind(handle, plan)):
            first = next(iter(own.values()))
            members = self._groups.members(group)
            given = [own.get(replica, first) for replica in members]
            layout, shards = self._layout(handle, first), first.indices.shape[1]
            self._states[group], rows = self._call(
                ("train", layout, shards),
                lambda layout=layout, shards=shards: self._batched.train(layout, shards),
                self._held(handle, group, given),
                self._rows(given),
                self._scalars(given),
                np.int32(first.steps),
                np.isin(members, list(own)),
            )
            done = rows.numpy()
            for replica in own:
                ours = done[:, self._groups.place(replica)[1]]
                norms = ours[:, 1].copy() if self._task.norms else None
                found[replica] = StepResults(ours[:, 0].copy(), norms)
        return {replica: found[replica] for replica in plans}

    def predict(self, handle: Handle, plans: Mapping[int, EvalPlan]) -> dict[int, Array]:
        """Return outputs, group by group."""
        found: dict[int, Array] = {}
        for group, own in self._groups.asked(plans, lambda plan: self._kind(handle, plan)):
            first = next(iter(own.values()))
            given = [own.get(replica, first) for replica in self._groups.members(group)]
            layout, held = self._layout(handle, first), self._held(handle, group, given)
            indices = np.stack([plan.indices for plan in given], axis=1)
            outputs = [
                self._call(
                    ("outputs", layout),
                    lambda layout=layout: self._batched.outputs(layout),
                    held,
                    indices[m],
                ).numpy()
                for m in range(len(indices))
            ]
            batches = np.stack(outputs, axis=1)
            for replica, plan in own.items():
                real = np.arange(plan.indices.shape[1]) < plan.counts[:, None]
                found[replica] = batches[self._groups.place(replica)[1]][real]
        return {replica: found[replica] for replica in plans}

    def close(self) -> None:
        """Let go of everything."""
        self._traces.clear()
        self._states, self._frozen = [], []

    def _kind(self, handle: Handle, plan: TrainPlan | EvalPlan) -> tuple[Any, ...]:
        """Return what plans have in common that are one computation."""
        return plan.indices.shape, self._layout(handle, plan)

    def _layout(self, handle: Handle, plan: TrainPlan | EvalPlan) -> Layout:
        found = Layout.of(plan, tuple(handle.x.shape[1:]), texts=False)
        # Every replica has a scale and shift of its own.
        return replace(found, scaled=False)

    def _held(self, handle: Handle, group: int, plans: list[Any]) -> Held:
        width = handle.x.shape[-1]
        factors = [
            [
                np.broadcast_to(np.asarray(values, self._numpy), width)
                for values in (plan.preprocess.scale, plan.preprocess.shift)
            ]
            for plan in plans
        ]
        return Held(handle.x, handle.y, np.array(factors), self._frozen[group], self._states[group])

    def _rows(self, plans: list[TrainPlan]) -> Rows:
        """Return the plans' arrays, the replicas behind K and S."""
        keys = [keys_of(plan) for plan in plans]
        return Rows(
            np.stack([plan.indices for plan in plans], axis=2),
            np.stack([plan.weights for plan in plans], axis=2).astype(self._numpy),
            np.stack([draws_of(p.augmentation, p.indices.shape) for p in plans], axis=2),
            np.stack([key.words for key in keys], axis=2),
            np.stack([key.first for key in keys], axis=2),
        )

    def _scalars(self, plans: list[TrainPlan]) -> Array:
        """Return the scalars of every step, [K, m, r]."""
        names = self._batched.scalar_names()
        each = [np.stack([plan.scalars[name] for name in names], axis=1) for plan in plans]
        return np.stack(each, axis=2).astype(self._numpy)

    def _empty(self, size: int, dtype: Any) -> State:
        widths = [sum(prod(self._shapes[n]) for n in part) for part in self._batched.parts()]
        slots = RULES[self._task.rule].slots
        return State(
            tuple(tf.zeros((size, width), dtype) for width in widths),
            tuple(tuple(tf.zeros((size, width), dtype) for _ in slots) for width in widths),
        )

    def _buffers(self, tensors: Tensors) -> list[Array]:
        """Return one replica's trainable tensors as they lie in the buffers."""
        return [
            np.concatenate([tensors[name].astype(self._numpy).reshape(-1) for name in part])
            for part in self._batched.parts()
        ]

    def _cut(self, buffers: list[Array]) -> dict[str, Array]:
        """Return copies of one replica's tensors, by name in canonical order."""
        found: dict[str, Array] = {}
        for part, buffer in zip(self._batched.parts(), buffers, strict=True):
            start = 0
            for name in part:
                stop = start + prod(self._shapes[name])
                found[name] = buffer[start:stop].reshape(self._shapes[name]).copy()
                start = stop
        return {name: found[name] for name in self._shapes}

    def _call(self, key: Any, make: Any, held: Held, *given: Any) -> Any:
        result = self._traces.call(key, make, held, *given)
        self.compile_seconds = self._traces.seconds
        return result


def _with(buffer: Any, place: int, values: Any) -> Any:
    """Return a buffer [r, …] with other values at a place."""
    values = tf.broadcast_to(tf.cast(values, buffer.dtype), buffer.shape[1:])
    return tf.tensor_scatter_nd_update(buffer, [[place]], values[None])


def _placed(buffers: tuple[Any, ...], place: int, values: list[Any]) -> tuple[Any, ...]:
    return tuple(_with(b, place, value) for b, value in zip(buffers, values, strict=True))
