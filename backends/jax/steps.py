"""The pure functions that are compiled: a shard's gradient, an update, K steps, evaluation.

Weights and slots go in and come out; nothing is changed in place and nothing is read from
elsewhere. Whatever may vary from call to call, hyperparameters included, is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from paribus.adapter import Task
from paribus.architectures import Network
from paribus.backends.jax.fast import fold
from paribus.backends.jax.inputs import inputs, labels
from paribus.backends.jax.losses import right, row_losses
from paribus.backends.jax.ops import run
from paribus.backends.jax.passes import Pass
from paribus.backends.jax.plans import Data, Reading, Rows, Step
from paribus.backends.jax.state import State
from paribus.optimizers import RULES

Tensor = Any
Tensors = Mapping[str, Tensor]


class Total(NamedTuple):
    """What shards add up to; ``statistics`` are the running ones after the last shard."""

    loss: Tensor
    gradients: Tensors
    statistics: Tensors


@dataclass(frozen=True)
class Steps:
    """The functions of one session.

    Attributes:
        dtype: of the parameters; products: of convolutions and linear layers.
        folded: whether evaluation folds BatchNorm into convolutions.
    """

    network: Network
    task: Task
    dtype: Any
    products: Any
    folded: bool = False

    def scalar_names(self) -> tuple[str, ...]:
        """Return the names of the plan's scalars that an update reads."""
        return (*RULES[self.task.rule].scalars, *(("clip_norm",) if self.task.clips else ()))

    def moving(self) -> tuple[str, ...]:
        """Return the names of the statistics that training changes."""
        frozen = self.task.frozen_norms(self.network)
        return tuple(
            name
            for name, tensor in self.network.tensors.items()
            if tensor.kind == "statistic" and tensor.node not in frozen
        )

    def nothing(self, weights: Tensors) -> Total:
        """Return the total of no shards."""
        gradients = {name: jnp.zeros_like(weights[name]) for name in self.task.trainable}
        statistics = {name: weights[name] for name in self.moving()}
        return Total(jnp.zeros((), self.dtype), gradients, statistics)

    def shard(self, reading: Reading) -> Callable[..., Total]:
        """Return (weights, total, data, rows, keys) → the total with one more shard."""

        def add(
            weights: Tensors, total: Total, data: Data, rows: Rows, keys: Tensor | None
        ) -> Total:
            now = {**weights, **total.statistics}

            def loss(free: Tensors) -> tuple[Tensor, Tensors]:
                state = self._pass({**now, **free}, rows, reading, training=True, keys=keys)
                outputs = self._outputs(data, rows, reading, state)[1]
                losses = self._losses(outputs, data, rows, reading)
                return (rows.weights * losses).sum(), state.statistics

            free = {name: now[name] for name in self.task.trainable}
            (value, statistics), gradients = jax.value_and_grad(loss, has_aux=True)(free)
            added = {name: total.gradients[name] + gradients[name] for name in free}
            return Total(total.loss + value, added, {**total.statistics, **statistics})

        return add

    def update(self, state: State, total: Total, scalars: Tensors) -> tuple[State, Tensor]:
        """Return the state after a step, and its loss and gradient norm (or 0): float64 [2]."""
        task, rule, gradients = self.task, RULES[self.task.rule], dict(total.gradients)
        norm = jnp.zeros((), self.dtype)
        if task.clips or task.norms:
            norm = jnp.sqrt(sum(jnp.square(g).sum() for g in gradients.values()))
        if task.clips:
            factor = jnp.minimum(scalars["clip_norm"] / (norm + 1e-6), 1.0)
            gradients = {name: g * factor for name, g in gradients.items()}
        weights, slots = {**state.weights, **total.statistics}, {}
        for name in task.trainable:
            weights[name], slots[name] = rule.update(
                state.weights[name], gradients[name], state.slots[name], scalars,
                name in task.decayed, jnp.sqrt,
            )  # fmt: skip
        row = jnp.stack([total.loss, norm]).astype(jnp.float64)
        return State(weights, slots), row

    def step(self, reading: Reading) -> Callable[..., tuple[State, Tensor]]:
        """Return (state, data, step) → the state after one step, and as ``update``."""
        add = self.shard(reading)

        def one(state: State, data: Data, step: Step) -> tuple[State, Tensor]:
            total, shards = self.nothing(state.weights), step.shards
            if shards.count.shape[0] == 1:
                rows = jax.tree.map(lambda array: array[0], shards)
                total = add(state.weights, total, data, rows, step.keys)
            else:
                total, _ = lax.scan(
                    lambda total, rows: (add(state.weights, total, data, rows, step.keys), None),
                    total,
                    shards,
                )
            return self.update(state, total, step.scalars)

        return one

    def many(self, reading: Reading) -> Callable[..., tuple[State, Tensor]]:
        """Return (state, data, steps [K, …], limit) → the state after ``limit`` steps, [K, 2].

        The number of steps is an argument, so that plans of different lengths are one function.
        """
        one = self.step(reading)

        def loop(state: State, data: Data, steps: Step, limit: Tensor) -> tuple[State, Tensor]:
            def body(k: Tensor, carried: tuple[State, Tensor]) -> tuple[State, Tensor]:
                state, rows = carried
                state, row = one(state, data, jax.tree.map(lambda array: array[k], steps))
                return state, rows.at[k].set(row)

            rows = jnp.zeros((steps.shards.count.shape[0], 2), jnp.float64)
            done: tuple[State, Tensor] = lax.fori_loop(0, limit, body, (state, rows))
            return done

        return loop

    def evaluate(self, reading: Reading) -> Callable[..., Tensor]:
        """Return (weights, sums, data, rows) → the sums (loss float64, correct int64)."""

        def add(
            weights: Tensors, sums: tuple[Tensor, Tensor], data: Data, rows: Rows
        ) -> tuple[Tensor, Tensor]:
            state = self._pass(weights, rows, reading)
            outputs = self._outputs(data, rows, reading, state)[1]
            losses = self._losses(outputs, data, rows, reading).astype(jnp.float64)
            hits = right(self.network.objective, outputs, *self._labels(data, rows, reading))
            real = jnp.arange(len(losses)) < rows.count
            return (
                sums[0] + jnp.where(real, losses, 0).sum(),
                sums[1] + jnp.where(real, hits, 0).sum(),
            )

        return add

    def outputs(self, reading: Reading, training: bool) -> Callable[..., Tensor]:
        """Return (weights, data, rows) → [b, C] or [b, M, C]."""

        def batch(weights: Tensors, data: Data, rows: Rows) -> Tensor:
            state = self._pass(weights, rows, reading, training=training)
            return self._outputs(data, rows, reading, state)[1]

        return batch

    def activations(self, reading: Reading, training: bool) -> Callable[..., Tensors]:
        """Return (weights, data, rows) → every node's output [b, …] in the network's layout."""

        def batch(weights: Tensors, data: Data, rows: Rows) -> Tensors:
            state = self._pass(weights, rows, reading, training=training)
            values = self._outputs(data, rows, reading, state)[0]
            found = {}
            for name, value in values.items():
                image = value.ndim == 4
                found[name] = (value.transpose(0, 3, 1, 2) if image else value).astype(self.dtype)
            return found

        return batch

    def _pass(
        self,
        weights: Tensors,
        rows: Rows,
        reading: Reading,
        *,
        training: bool = False,
        keys: Tensor | None = None,
    ) -> Pass:
        places = jnp.arange(rows.indices.shape[0])
        named = {} if keys is None else dict(zip(self.network.noisy, keys, strict=True))
        biases: Tensors = {}
        if self.folded and not training:
            weights, biases = fold(self.network, weights)
        return Pass(
            weights,
            self.dtype,
            self.products,
            training,
            self.task.frozen_norms(self.network),
            places < rows.count if reading.padded else None,
            named,
            (places + rows.first).astype(jnp.uint32),
            biases,
        )

    def _outputs(
        self, data: Data, rows: Rows, reading: Reading, state: Pass
    ) -> tuple[Tensors, Tensor]:
        x = inputs(data, rows, reading, self.dtype)
        positions = None if rows.targets is None else rows.targets.positions
        values = run(self.network, x, positions, state)
        # The loss is computed in the parameters' dtype whatever the products are.
        return values, values[self.network.nodes[-1].name].astype(self.dtype)

    def _labels(self, data: Data, rows: Rows, reading: Reading) -> tuple[Tensor, Tensor | None]:
        return labels(data, rows, reading, self.network.objective)

    def _losses(self, outputs: Tensor, data: Data, rows: Rows, reading: Reading) -> Tensor:
        given, counted = self._labels(data, rows, reading)
        smoothing = self.task.label_smoothing
        return row_losses(self.network.objective, outputs, given, counted, smoothing)
