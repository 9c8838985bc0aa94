"""The functions that are traced: K training steps, one step's gradients, evaluation, logits.

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

from paribus.adapter import Task
from paribus.architectures import Network
from paribus.backends.tensorflow.inputs import Layout, prepare
from paribus.backends.tensorflow.losses import right, row_losses
from paribus.backends.tensorflow.noise import Keys, Noise
from paribus.backends.tensorflow.ops import run, values
from paribus.backends.tensorflow.passes import Pass
from paribus.optimizers import RULES

Tensor = Any
Variable = Any


class Inputs(NamedTuple):
    """What every traced function takes first: data, and scale and shift as ``factors`` [2, C]."""

    x: Tensor
    y: Tensor
    factors: Tensor


class Targets(NamedTuple):
    """As ``plan.Targets``, with ``counted`` [b, M] bool for its counts; without any, of width 0."""

    tokens: Tensor
    positions: Tensor
    labels: Tensor
    counted: Tensor


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
class Steps:
    """What the traced functions close over.

    Attributes:
        variables: canonical name → variable of the weights, in Keras's layout.
        slots: canonical name of a trainable → its optimizer state, in the rule's order.
        products: dtype of convolutions and linear layers.
        sliced: whether padding rows are cut off; where no moments are taken over a batch, their
            weight of 0 is enough.
    """

    network: Network
    task: Task
    variables: Mapping[str, Variable]
    slots: Mapping[str, tuple[Variable, ...]]
    dtype: Any
    products: Any
    sliced: bool

    def run(self, x: Tensor, positions: Tensor | None, state: Pass) -> Tensor:
        """Return the network's outputs, its new statistics in ``state``; see ``ops.run``."""
        return run(self.network, x, positions, state)

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

    def evaluate(self, layout: Layout) -> Callable[..., Any]:
        """Return the sums: (inputs, indices [M, b], counts [M], targets) → (loss, correct)."""
        objective, smoothing = self.network.objective, self.task.label_smoothing

        def sums(inputs: Inputs, indices: Tensor, counts: Tensor, targets: Targets) -> Any:
            state = self._pass(self._values(), training=False)

            def body(batch: Tensor, loss: Tensor, correct: Tensor) -> Any:
                rows = indices[batch]
                some = tf.nest.map_structure(lambda tensor: tensor[batch], targets)
                outputs = self._forward(inputs, rows, None, some, layout, state)
                labels, counted = self._labels(inputs, rows, some, layout)
                real = tf.range(tf.shape(rows)[0]) < counts[batch]
                losses = row_losses(objective, outputs, labels, counted, smoothing)
                losses = tf.where(real, tf.cast(losses, tf.float64), 0.0)
                hits = tf.where(real, right(objective, outputs, labels, counted), 0)
                return batch + 1, loss + tf.reduce_sum(losses), correct + tf.reduce_sum(hits)

            start = (0, tf.zeros((), tf.float64), tf.zeros((), tf.int64))
            done = tf.while_loop(
                lambda batch, *_: batch < tf.shape(counts)[0], body, start, parallel_iterations=1
            )
            return done[1:]

        return sums

    def logits(self, layout: Layout, training: bool) -> Callable[..., Any]:
        """Return one batch's outputs: (inputs, indices [n], targets) → [n, C] or [n, M, C]."""

        def batch(inputs: Inputs, indices: Tensor, targets: Targets) -> Tensor:
            state = self._pass(self._values(), training)
            return self._forward(inputs, indices, None, targets, layout, state)

        return batch

    def activations(self, layout: Layout, training: bool) -> Callable[..., Any]:
        """Return one batch's values: (inputs, indices [n], targets) → {node: in its layout}."""

        def batch(inputs: Inputs, indices: Tensor, targets: Targets) -> dict[str, Tensor]:
            state = self._pass(self._values(), training)
            x, positions = self._read(inputs, indices, None, targets, layout)
            found = values(self.network, x, positions, state)
            for node in self.network.nodes:
                if len(node.shape) == 3:
                    found[node.name] = tf.transpose(found[node.name], (0, 3, 1, 2))
            return {name: tf.cast(value, self.dtype) for name, value in found.items()}

        return batch

    def _values(self) -> dict[str, Tensor]:
        return {name: variable.read_value() for name, variable in self.variables.items()}

    def _pass(self, values: Mapping[str, Tensor], training: bool) -> Pass:
        frozen = self.task.frozen_norms(self.network)
        return Pass(values, training, frozen, self.dtype, self.products)

    def _forward(
        self,
        inputs: Inputs,
        indices: Tensor,
        draws: Tensor | None,
        targets: Targets,
        layout: Layout,
        state: Pass,
    ) -> Tensor:
        x, positions = self._read(inputs, indices, draws, targets, layout)
        # The loss is computed in the parameters' dtype whatever the products are.
        return tf.cast(self.run(x, positions, state), self.dtype)

    def _read(
        self,
        inputs: Inputs,
        indices: Tensor,
        draws: Tensor | None,
        targets: Targets,
        layout: Layout,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what the network reads, and which positions it predicts; see ``ops.run``."""
        if layout.predicted:
            x = tf.cast(tf.ensure_shape(targets.tokens, (None, layout.tokens)), tf.int64)
            return x, tf.ensure_shape(targets.positions, (None, layout.predicted))
        rows = tf.gather(inputs.x, indices)
        return prepare(rows, layout, draws, inputs.factors, self.dtype), None

    def _labels(
        self, inputs: Inputs, indices: Tensor, targets: Targets, layout: Layout
    ) -> tuple[Tensor, Tensor | None]:
        """Return labels, and which predictions count where not all do; see ``losses``."""
        if layout.predicted:
            return targets.labels, targets.counted
        if self.network.objective == "causal_lm":
            assert layout.tokens is not None
            rows = tf.gather(inputs.x, indices)
            return tf.cast(rows[:, 1 : layout.tokens + 1], tf.int64), None
        return tf.gather(inputs.y, indices), None

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
