"""The session: weights and slots on a device, and NumPy on either side of compiled functions.

K steps are one call of a compiled loop, because calling costs more than a step of a small network.
Networks with convolutions are the exception on a CPU: XLA's convolutions are 15 to 50 times slower
inside of a loop than outside (measured at 28×28 and 16×16, float32 and float64), so there a step
is a call, and so is a shard where a step has several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from paribus.adapter import Array, Numerics, Precision, Task
from paribus.architectures import LANGUAGE, Network
from paribus.architectures.parts import Part
from paribus.backends.jax.compiled import Compiled
from paribus.backends.jax.fast import Setup, about
from paribus.backends.jax.holding import Holding
from paribus.backends.jax.memory import memory
from paribus.backends.jax.plans import (
    Data,
    Handle,
    Reading,
    Rows,
    Step,
    data_of,
    length_of,
    reading_of,
    rows_of,
    steps_of,
)
from paribus.backends.jax.steps import Steps, Total
from paribus.errors import DataError, one_example
from paribus.places import places
from paribus.plan import EvalPlan, StepResults, Sums, TrainPlan
from paribus.tuning import Choice, Tuning
from paribus.tuning.fast import Fast


class UnderWay:
    """K steps under way; implements ``paribus.adapter.Pending``."""

    def __init__(self, rows: list[Any], steps: int, norms: bool) -> None:
        self._rows, self._steps, self._norms = rows, steps, norms

    @memory
    def result(self) -> StepResults:
        """Wait and return losses float64 [K] and, where asked for, norms float64 [K]."""
        parts = [np.asarray(row).reshape(-1, 2) for row in self._rows]
        rows = np.concatenate(parts)[: self._steps]
        return StepResults(rows[:, 0].copy(), rows[:, 1].copy() if self._norms else None)


# The functions of a session and what is compiled in → the function to compile.
Make = Callable[[Steps, Any], Callable[..., Any]]


class JaxSession(Holding):
    """See ``paribus.adapter.Session``; ``device`` is JAX's own."""

    def __init__(
        self, network: Network, task: Task, device: Any, precision: Precision, numerics: Numerics
    ) -> None:
        self._device, self._numerics = device, numerics
        parameters = np.dtype("float64" if precision == "float64" else "float32")
        super().__init__(network, task, parameters, Compiled(device, strict=numerics == "strict"))
        self._steps = Steps(network, task, self._numpy, self._numpy)
        # In ``strict`` a part takes its steps as the whole does: in a loop XLA rounds otherwise.
        strict, whole = numerics == "strict", network.whole if isinstance(network, Part) else None
        nodes = whole.nodes if strict and whole is not None else network.nodes
        convolves = any(node.op == "conv2d" for node in nodes)
        self.setup = Setup(precision == "bfloat16", not convolves or device.platform != "cpu")
        self._fast: Fast[Setup] | None = None
        frozen = task.frozen_norms(network)
        moving = [n for n in network.nodes if n.op == "batch_norm" and n.name not in frozen]
        self._moments = bool(moving)
        # These see one value per channel and example.
        self._pointwise = [node.name for node in moving if prod(node.shape[1:]) == 1]

    def tune(self, tuning: Tuning) -> None:
        """Choose at the first steps, and at the first evaluation that is worth it."""
        if self._numerics == "fast":
            known = about(
                self._network, self._task, self._device, self.setup,
                float32=self._numpy == np.float32,
            )  # fmt: skip
            self._fast = Fast(self, known, tuning, self._compiled)

    @property
    def choices(self) -> list[Choice]:
        """What was chosen so far."""
        return [] if self._fast is None else self._fast.choices

    @memory
    def train_steps(self, handle: Handle, plan: TrainPlan) -> UnderWay:
        """Start K steps, in the way that was chosen."""
        if self._fast is not None:
            self._fast.train(handle, plan)
        return self.advance(handle, plan)

    def advance(self, handle: Handle, plan: TrainPlan) -> UnderWay:
        """Start K steps, in one call or in one a step."""
        data, reading, steps = self._prepare(handle, plan, self._steps.scalar_names())
        rows: list[Any] = []
        if self.setup.looped:
            # Lengths of plans vary, and each would cost a compilation.
            size = sum(array.nbytes for array in jax.tree.leaves(steps)) // plan.steps
            at = np.minimum(np.arange(places(plan.steps, size)), plan.steps - 1)
            steps = jax.tree.map(lambda array: array[at], steps)
            self._advance(rows, "many", Steps.many, reading, data, steps, np.int64(plan.steps))
        else:
            for k in range(plan.steps):
                step: Step = jax.tree.map(lambda array, k=k: array[k], steps)
                total = self._total(data, step, reading)
                self._advance(rows, "update", _update, None, total, step.scalars)
        return UnderWay(rows, plan.steps, self._task.norms)

    @memory
    def gradients(self, handle: Handle, plan: TrainPlan) -> tuple[float, dict[str, Array]]:
        """Return the first step's loss and gradients."""
        # A gradient is what an update reads, whatever else that reads.
        data, reading, steps = self._prepare(handle, plan, ())
        total = self._total(data, jax.tree.map(lambda array: array[0], steps), reading)
        found = {name: np.array(total.gradients[name]) for name in self._task.trainable}
        return float(total.loss), found

    @memory
    def evaluate(self, handle: Handle, plan: EvalPlan) -> Sums:
        """Return the sums over all batches; the losses are added in float64 on the device."""
        self._require_labels(handle)
        setup, sums = self._evaluated(handle, plan), (np.float64(0), np.int64(0))
        for data, rows, reading in self._batches(handle, plan, training=False, labelled=True):
            sums = self._call(setup, "evaluate", Steps.evaluate, reading, sums, data, rows)
        predictions = int(plan.counts.sum())
        if self._network.objective == "causal_lm":
            predictions *= length_of(handle, plan.preprocess, self._network, labelled=True)
        if plan.targets is not None:
            real = np.arange(plan.indices.shape[1]) < plan.counts[:, None]
            predictions = int(plan.targets.counts[real].sum())
        return Sums(float(sums[0]), int(sums[1]), predictions)

    def predict(self, handle: Handle, plan: EvalPlan) -> Array:
        """Return the real rows' outputs, in the way that was chosen."""
        return self.outputs(handle, plan, self._evaluated(handle, plan))

    def outputs(self, handle: Handle, plan: EvalPlan, setup: Setup) -> Array:
        """Return the real rows' outputs in evaluation mode."""
        return self._outputs(handle, plan, setup, training=False)

    def forward(self, handle: Handle, plan: EvalPlan, *, training: bool) -> Array:
        """Return the real rows' outputs, batch by batch."""
        return self._outputs(handle, plan, self.setup, training=training)

    @memory
    def _outputs(self, handle: Handle, plan: EvalPlan, setup: Setup, *, training: bool) -> Array:
        def make(steps: Steps, reading: Reading) -> Callable[..., Any]:
            return steps.outputs(reading, training)

        found = [
            self._call(setup, ("outputs", training), make, reading, data, rows)[: rows.count]
            for data, rows, reading in self._batches(handle, plan, training=training)
        ]
        return np.concatenate([np.asarray(part) for part in found])

    def activations(self, handle: Handle, plan: EvalPlan, *, training: bool) -> dict[str, Array]:
        """Return every node's output for the real rows."""

        def make(steps: Steps, reading: Reading) -> Callable[..., Any]:
            return steps.activations(reading, training)

        found = [
            jax.tree.map(
                lambda part, count=rows.count: np.asarray(part)[:count],
                self._call(self.setup, ("activations", training), make, reading, data, rows),
            )
            for data, rows, reading in self._batches(handle, plan, training=training)
        ]
        nodes = (node.name for node in self._network.nodes)
        return {name: np.concatenate([part[name] for part in found]) for name in nodes}

    def settle(self) -> None:
        """Forget what was compiled for training in another setup."""
        self._compiled.forget(lambda key: key[0] != self.setup)

    def close(self) -> None:
        """Let go of everything."""
        self._fast = None
        super().close()

    def _evaluated(self, handle: Handle, plan: EvalPlan) -> Setup:
        """Return how to evaluate a plan."""
        return self.setup if self._fast is None else self._fast.evaluation(handle, plan)

    def _computing(self, setup: Setup) -> Steps:
        """Return the functions that compute in a setup."""
        products = jnp.bfloat16 if setup.bfloat16 else self._numpy
        return replace(self._steps, products=products, folded=setup.folded)

    def _advance(
        self, rows: list[Any], name: str, make: Make, reading: Reading | None, *given: Any
    ) -> None:
        """Replace the state by that after one call; its memory is used again."""
        setup = self.setup
        state, row = self._compiled.call(
            (setup, name, reading), lambda: make(self._computing(setup), reading),
            self._state, *given, donated=(0,), tf32=setup.tf32,
        )  # fmt: skip
        self._state = state
        self.compile_seconds = self._compiled.seconds
        rows.append(row)

    def _call(self, setup: Setup, key: Any, make: Make, reading: Reading, *given: Any) -> Any:
        """Call a function of the weights that leaves them as they are."""
        result = self._compiled.call(
            (setup, key, reading), lambda: make(self._computing(setup), reading),
            self._state.weights, *given, tf32=setup.tf32,
        )  # fmt: skip
        self.compile_seconds = self._compiled.seconds
        return result

    def _total(self, data: Data, step: Step, reading: Reading) -> Any:
        """Add up a step's shards, one call each."""
        total = self._nothing()
        for shard in range(step.shards.count.shape[0]):
            rows: Rows = jax.tree.map(lambda array, s=shard: array[s], step.shards)
            total = self._call(
                self.setup, "shard", Steps.shard, reading, total, data, rows, step.keys
            )
        return total

    def _nothing(self) -> Total:
        """Return the total of no shards."""
        shapes = ((name, self._network.tensors[name].shape) for name in self._task.trainable)
        gradients = {name: np.zeros(shape, self._numpy) for name, shape in shapes}
        statistics = {name: self._state.weights[name] for name in self._steps.moving()}
        return Total(self._numpy.type(0), gradients, statistics)

    def _prepare(
        self, handle: Handle, plan: TrainPlan, scalars: tuple[str, ...]
    ) -> tuple[Data, Reading, Step]:
        self._require_labels(handle)
        if self._pointwise and bool((plan.counts == 1).any()):
            raise one_example(self._pointwise[0])
        network, images = self._network, handle.x.ndim == 4
        drawn = images and plan.augmentation is not None
        steps = steps_of(plan, scalars, self._numpy, images)
        data = data_of(handle, plan.preprocess, network, self._numpy)
        reading = reading_of(handle, plan.preprocess, network, drawn=drawn, labelled=True)
        return data, reading._replace(padded=self._moments and not plan.full), steps

    def _batches(
        self, handle: Handle, plan: EvalPlan, *, training: bool, labelled: bool = False
    ) -> Iterator[tuple[Data, Rows, Reading]]:
        network, rows = self._network, rows_of(plan)
        data = data_of(handle, plan.preprocess, network, self._numpy)
        reading = reading_of(handle, plan.preprocess, network, drawn=False, labelled=labelled)
        for batch, count in enumerate(plan.counts.tolist()):
            padded = training and self._moments and count < plan.indices.shape[1]
            part = jax.tree.map(lambda array, m=batch: array[m], rows)
            yield data, part, reading._replace(padded=padded)

    def _require_labels(self, handle: Handle) -> None:
        if handle.y is None and self._network.objective not in LANGUAGE:
            raise DataError(
                "this data was put on the device without labels; training and evaluation need "
                "them. Call put(x, y) with y int64 [N]"
            )


def _update(steps: Steps, reading: None) -> Callable[..., Any]:
    return steps.update
