"""The functions that are traced without gradients: evaluation, logits, every node's value.

What a forward pass reads (weights, stored rows, targets) is put together here, for training too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from paribus.adapter import Task
from paribus.architectures import Network
from paribus.backends.tensorflow.folding import fold
from paribus.backends.tensorflow.inputs import Layout, prepare
from paribus.backends.tensorflow.losses import right, row_losses
from paribus.backends.tensorflow.ops import run, values
from paribus.backends.tensorflow.passes import Pass

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


@dataclass(frozen=True)
class Forwards:
    """What the traced functions close over.

    Attributes:
        variables: canonical name → variable of the weights, in Keras's layout.
        slots: canonical name of a trainable → its optimizer state, in the rule's order.
        products: dtype of convolutions and linear layers.
        folded: whether evaluation folds BatchNorm into convolutions.
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
    folded: bool = False

    def run(self, x: Tensor, positions: Tensor | None, state: Pass) -> Tensor:
        """Return the network's outputs, its new statistics in ``state``; see ``ops.run``."""
        return run(self.network, x, positions, state)

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
        if not self.folded or training:
            return Pass(values, training, frozen, self.dtype, self.products)
        tensors, biases = fold(self.network, values)
        return Pass(tensors, training, frozen, self.dtype, self.products, folded=biases)

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
