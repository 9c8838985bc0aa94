"""What many replicas of a small network compute together, as functions to be traced.

Layers in a chain, each on [r, b, …] with tensors [r, …]: products are batched ones, everything else
runs over one more axis. What trains lies in two buffers [r, P], the tensors that decay and the
others, so that an update is a dozen operations whatever the number of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import tensorflow as tf

from paribus.adapter import Task
from paribus.architectures import Network, Node
from paribus.backends.tensorflow.inputs import Layout, prepare
from paribus.backends.tensorflow.losses import row_losses
from paribus.backends.tensorflow.noise import kept
from paribus.noise import scale, threshold
from paribus.optimizers import RULES

Tensor = Any


class Rows(NamedTuple):
    """Shards of r replicas, with leading axes [K, S], [S] or none.

    ``indices`` int64 [r, b], ``weights`` [r, b], ``draws`` int64 [r, b, 4] or [r, b, 0], ``keys``
    int64 [r, L, 2], ``first`` int64 [r]: a shard's first row's place in the step's batch.
    """

    indices: Tensor
    weights: Tensor
    draws: Tensor
    keys: Tensor
    first: Tensor

    def at(self, index: Tensor) -> Rows:
        """Return the entry ``index`` of the leading axis."""
        found: Rows = tf.nest.map_structure(lambda tensor: tensor[index], self)
        return found


class State(NamedTuple):
    """What a step changes: a buffer [r, P] of weights for each of ``Batched.parts``, and its slots.

    ``slots`` are in the rule's order.
    """

    weights: tuple[Tensor, ...]
    slots: tuple[tuple[Tensor, ...], ...]


class Held(NamedTuple):
    """What every function takes first.

    Attributes:
        x, y: everybody's examples.
        factors: scale and shift of each replica, [r, 2, channels].
        frozen: tensors that do not train, [r, …] by canonical name.
        state: the others.
    """

    x: Tensor
    y: Tensor
    factors: Tensor
    frozen: Mapping[str, Tensor]
    state: State


@dataclass(frozen=True)
class Batched:
    """The functions of r replicas; ``dtype`` is that of their parameters."""

    network: Network
    task: Task
    replicas: int
    dtype: Any

    def parts(self) -> tuple[tuple[str, ...], ...]:
        """Return the trainable tensors of each buffer: those that decay, and the others."""
        task = self.task
        others = tuple(name for name in task.trainable if name not in task.decayed)
        return tuple(part for part in (task.decayed, others) if part)

    def train(self, layout: Layout, shards: int) -> Callable[..., Any]:
        """Return K steps.

        (held, rows [K, S, …], scalars [K, m, r], limit, active bool [r]) → the state, of the active
        replicas after ``limit`` steps, and losses and norms float64 [K, r, 2].
        """

        def many(held: Held, rows: Rows, scalars: Tensor, limit: Tensor, active: Tensor) -> Any:
            shape = (self.replicas, 2)
            results = tf.TensorArray(tf.float64, tf.shape(scalars)[0], element_shape=shape)

            def body(step: Tensor, now: State, results: Any) -> Any:
                loss, gradients = self._summed(
                    held._replace(state=now), rows.at(step), layout, shards
                )
                now, norm = self._update(now, gradients, scalars[step])
                row = tf.stack([tf.cast(loss, tf.float64), tf.cast(norm, tf.float64)], 1)
                return step + 1, now, results.write(step, row)

            _, done, results = tf.while_loop(
                lambda step, *_: step < limit, body, (0, held.state, results),
                parallel_iterations=1,
            )  # fmt: skip
            new = tf.nest.map_structure(
                lambda after, before: tf.where(active[:, None], after, before), done, held.state
            )
            return new, results.stack()

        return many

    def outputs(self, layout: Layout) -> Callable[..., Any]:
        """Return a batch's outputs: (held, indices [r, b]) → [r, b, C]."""

        def batch(held: Held, indices: Tensor) -> Tensor:
            return self._forward(self._inputs(held, indices, None, layout), held, None)

        return batch

    def _summed(
        self, held: Held, rows: Rows, layout: Layout, shards: int
    ) -> tuple[Tensor, list[Tensor]]:
        """Add shards up in their order; a loop, so that the graph does not grow with them."""
        if shards == 1:
            return self._shard(held, rows.at(0), layout)

        def body(shard: Tensor, loss: Tensor, total: list[Tensor]) -> Any:
            more, found = self._shard(held, rows.at(shard), layout)
            return shard + 1, loss + more, [a + b for a, b in zip(total, found, strict=True)]

        zeros = [tf.zeros_like(buffer) for buffer in held.state.weights]
        start = (0, tf.zeros((self.replicas,), self.dtype), zeros)
        _, loss, gradients = tf.while_loop(
            lambda shard, *_: shard < shards, body, start, parallel_iterations=1
        )
        return loss, gradients

    def _shard(self, held: Held, rows: Rows, layout: Layout) -> tuple[Tensor, list[Tensor]]:
        """Return the replicas' losses [r], and the derivative of each by its own weights."""
        network, watched = self.network, held.state.weights
        x = self._inputs(held, rows.indices, rows.draws, layout)
        labels = tf.gather(held.y, tf.reshape(rows.indices, (-1,)))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            outputs = self._forward(x, held, rows if layout.dropping else None)
            losses = row_losses(
                network.objective, tf.reshape(outputs, (-1, network.classes)), labels, None,
                self.task.label_smoothing,
            )  # fmt: skip
            # Nobody's loss depends on another's weights: the sum has everybody's derivative.
            weighted = rows.weights * tf.reshape(losses, (self.replicas, -1))
            own = tf.reduce_sum(weighted, 1)
        return own, list(tape.gradient(own, watched))

    def _update(
        self, state: State, gradients: Sequence[Tensor], row: Tensor
    ) -> tuple[State, Tensor]:
        """Return the state after one step, and the gradients' norms [r] or 0."""
        task, rule = self.task, RULES[self.task.rule]
        names = self.scalar_names()
        scalars = {name: row[place][:, None] for place, name in enumerate(names)}
        norm = tf.zeros((self.replicas, 1), self.dtype)
        if task.clips or task.norms:
            squares = [tf.reduce_sum(tf.square(g), 1, keepdims=True) for g in gradients]
            norm = tf.sqrt(tf.add_n(squares))
        if task.clips:
            factor = tf.minimum(scalars["clip_norm"] / (norm + 1e-6), 1.0)
            gradients = [gradient * factor for gradient in gradients]
        weights, slots = [], []
        for part, w, gradient, own in zip(
            self.parts(), state.weights, gradients, state.slots, strict=True
        ):
            new, kept_slots = rule.update(w, gradient, own, scalars, part is task.decayed, tf.sqrt)
            weights.append(new)
            slots.append(tuple(kept_slots))
        return State(tuple(weights), tuple(slots)), norm[:, 0]

    def scalar_names(self) -> tuple[str, ...]:
        """Return the names of the plan's scalars in the order of the array's second axis."""
        return (*RULES[self.task.rule].scalars, *(("clip_norm",) if self.task.clips else ()))

    def _tensors(self, weights: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the trainable tensors [r, …] that lie in the buffers."""
        found: dict[str, Tensor] = {}
        for names, buffer in zip(self.parts(), weights, strict=True):
            shapes = [self.network.tensors[name].shape for name in names]
            cut = tf.split(buffer, [prod(shape) for shape in shapes], axis=1)
            for name, shape, part in zip(names, shapes, cut, strict=True):
                found[name] = tf.reshape(part, (self.replicas, *shape))
        return found

    def _inputs(self, held: Held, indices: Tensor, draws: Tensor | None, layout: Layout) -> Tensor:
        """Return what the replicas read, [r, b, features]; images by channel, row and column."""
        drawn = tf.reshape(draws, (-1, 4)) if layout.drawn else None
        x = tf.gather(held.x, tf.reshape(indices, (-1,)))
        x = prepare(x, layout, drawn, held.factors, self.dtype)
        x = tf.reshape(x, (self.replicas, -1, *x.shape[1:]))
        between, width = (1,) * (x.shape.rank - 3), held.factors.shape[-1]
        factors = tf.reshape(held.factors, (self.replicas, 2, *between, width))
        x = x * factors[:, 0, None] - factors[:, 1, None]
        if x.shape.rank == 5:
            x = tf.transpose(x, (0, 1, 4, 2, 3))
        return tf.reshape(x, (self.replicas, -1, prod(x.shape[2:])))

    def _forward(self, x: Tensor, held: Held, rows: Rows | None) -> Tensor:
        """Return [r, b, C]; without rows nothing is dropped."""
        tensors = {**held.frozen, **self._tensors(held.state.weights)}
        for node in self.network.nodes:
            if node.op == "linear":
                x = tf.matmul(x, tensors[f"{node.name}.weight"], transpose_b=True)
                if node.size("bias"):
                    x += tensors[f"{node.name}.bias"][:, None]
            elif node.op == "dropout":
                x = x if rows is None else self._dropped(node, x, rows)
            else:
                x = POINTWISE[node.op](x)
        return x

    def _dropped(self, node: Node, x: Tensor, rows: Rows) -> Tensor:
        p = node.attributes["p"]
        if not p:
            return x
        key = tf.reshape(rows.keys[:, self.network.noisy.index(node.name)], (self.replicas, 2))
        found = kept(key, rows.first, tf.shape(x)[1], x.shape[-1], threshold(p))
        return x * (tf.cast(found, x.dtype) * scale(p))


POINTWISE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": tf.nn.relu,
    "tanh": tf.tanh,
    # Inputs are rows of numbers already.
    "flatten": lambda x: x,
}
