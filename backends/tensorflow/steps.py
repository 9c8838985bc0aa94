"""The functions that are traced with gradients: K training steps, one step's gradients.

A training call is one graph with a loop over the plan's steps, because calling a traced function
costs more than a step of a small network. Weights are read from the variables once per step,
differentiated as plain values (so every gradient is dense), and written back once. Everything that
may vary from call to call, hyperparameters included, is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from paribus.backends.tensorflow.forwards import Forwards, Inputs, Targets
from paribus.backends.tensorflow.inputs import Layout
from paribus.backends.tensorflow.losses import row_losses
from paribus.backends.tensorflow.noise import Keys, Noise
from paribus.optimizers import RULES

Tensor = Any


class Batches(NamedTuple):
    """Shards as ``TrainPlan`` has them, with leading axes [K, S], [S] or none.

    ``indices`` int64 [b], ``counts`` int32, ``weights`` [b], ``draws`` int64 [b, 4] or [b, 0];
    ``keys``: see ``noise.Keys``.
    """

    indices: Tensor
    counts: Tensor
    weights: Tensor
    draws: Tensor
    targets: Targets
    keys: Keys

    def at(self, index: Tensor) -> Batches:
        """Return the entry ``index`` of the leading axis."""
        found: Batches = tf.nest.map_structure(lambda tensor: tensor[index], self)
        return found


class Gradient(NamedTuple):
    """Of a shard, or summed over shards; ``statistics`` are the running ones after it."""

    loss: Tensor
    gradients: list[Tensor]
    statistics: dict[str, Tensor]


@dataclass(frozen=True)
class Steps(Forwards):
    """K optimizer steps, or one step's gradients, besides what ``Forwards`` has."""

    def moving(self) -> tuple[str, ...]:
        """Return the names of what a training pass updates besides the weights."""
        frozen = self.task.frozen_norms(self.network)
        return tuple(
            name
            for name, tensor in self.network.tensors.items()
            if tensor.kind == "statistic" and tensor.node not in frozen
        )

    def scalar_names(self) -> tuple[str, ...]:
        """Return the names of the plan's scalars in the order of the matrix's columns."""
        return (*RULES[self.task.rule].scalars, *(("clip_norm",) if self.task.clips else ()))

    def train(self, layout: Layout, shards: int) -> Callable[..., Any]:
        """Return K steps: (inputs, batches [K, S, …], scalars [K, m], limit) → losses, norms.

        ``limit`` int32 steps are done of those given: none where the call is only to compile.
        """

        def many(inputs: Inputs, batches: Batches, scalars: Tensor, limit: Tensor) -> Any:
            # The loop's counters are int32: on a GPU those stay with the host, which loops.
            size = tf.shape(scalars)[0]
            results = tf.TensorArray(tf.float64, size, element_shape=(2,))

            def body(step: Tensor, results: Any) -> Any:
                values = self._values()
                found = self._summed(inputs, batches.at(step), values, layout, shards)
                norm = self._update(values, found, scalars[step])
                row = tf.stack([tf.cast(found.loss, tf.float64), tf.cast(norm, tf.float64)])
                return step + 1, results.write(step, row)

            _, results = tf.while_loop(
                lambda step, _: step < limit, body, (0, results), parallel_iterations=1
            )
            return results.stack()

        return many

    def gradients(self, layout: Layout, shards: int) -> Callable[..., Any]:
        """Return one step's loss and gradients: (inputs, batches [S, …]) → (loss, {name: g})."""

        def one(inputs: Inputs, batches: Batches) -> Any:
            found = self._summed(inputs, batches, self._values(), layout, shards)
            return found.loss, dict(zip(self.task.trainable, found.gradients, strict=True))

        return one

    def _shard(
        self,
        inputs: Inputs,
        batch: Batches,
        values: Mapping[str, Tensor],
        layout: Layout,
    ) -> Gradient:
        if self.sliced:
            count = batch.counts
            rest = (batch.indices, batch.weights, batch.draws, batch.targets)
            indices, weights, draws, targets = tf.nest.map_structure(lambda t: t[:count], rest)
            batch = Batches(indices, count, weights, draws, targets, batch.keys)
        free = [values[name] for name in self.task.trainable]
        state = self._pass(values, training=True)
        if layout.dropping:
            state.noise = Noise.of(self.network, batch.keys, self.task.native_noise)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(free)
            outputs = self._forward(
                inputs, batch.indices, batch.draws, batch.targets, layout, state
            )
            labels, counted = self._labels(inputs, batch.indices, batch.targets, layout)
            losses = row_losses(
                self.network.objective, outputs, labels, counted, self.task.label_smoothing
            )
            loss = tf.reduce_sum(batch.weights * losses)
        # Of a table that is looked up TensorFlow returns the rows that were; one update rule wants
        # all, the same token's added up.
        found = tape.gradient(loss, free, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients = [tf.convert_to_tensor(one) for one in found]
        return Gradient(loss, gradients, state.statistics)

    def _summed(
        self,
        inputs: Inputs,
        batches: Batches,
        values: Mapping[str, Tensor],
        layout: Layout,
        shards: int,
    ) -> Gradient:
        """Add shards up in their order; a loop, so that the graph does not grow with them."""
        if shards == 1:
            return self._shard(inputs, batches.at(0), values, layout)
        moving = {name: values[name] for name in self.moving()}

        def body(shard: Tensor, total: Gradient) -> tuple[Tensor, Gradient]:
            now = {**values, **total.statistics}
            new = self._shard(inputs, batches.at(shard), now, layout)
            added = [a + b for a, b in zip(total.gradients, new.gradients, strict=True)]
            return shard + 1, Gradient(total.loss + new.loss, added, new.statistics)

        zeros = [tf.zeros_like(values[name]) for name in self.task.trainable]
        start = Gradient(tf.zeros((), self.dtype), zeros, moving)
        done = tf.while_loop(
            lambda shard, _: shard < shards, body, (0, start), parallel_iterations=1
        )
        return done[1]  # type: ignore[no-any-return]

    def _update(self, values: Mapping[str, Tensor], found: Gradient, row: Tensor) -> Tensor:
        """Write one step's new weights, slots and statistics; return the gradient norm or 0."""
        task, rule = self.task, RULES[self.task.rule]
        names = self.scalar_names()
        scalars = dict(zip(names, tf.unstack(row, len(names)), strict=True))
        gradients, norm = found.gradients, tf.zeros((), self.dtype)
        if task.clips or task.norms:
            norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(g)) for g in gradients]))
        if task.clips:
            factor = tf.minimum(scalars["clip_norm"] / (norm + 1e-6), 1.0)
            gradients = [g * factor for g in gradients]
        for name, gradient in zip(task.trainable, gradients, strict=True):
            old = tuple(slot.read_value() for slot in self.slots[name])
            decay = name in task.decayed
            new, slots = rule.update(values[name], gradient, old, scalars, decay, tf.sqrt)
            self.variables[name].assign(new)
            for slot, value in zip(self.slots[name], slots, strict=True):
                slot.assign(value)
        for name, value in found.statistics.items():
            self.variables[name].assign(value)
        return norm
