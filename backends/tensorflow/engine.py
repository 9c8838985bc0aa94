"""The half of a session that computes: NumPy on either side of the traced functions.

Step counts, data sets, learning rates and
hyperparameters are arguments of the traced functions, so that a search over them traces once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import tensorflow as tf

from paribus.adapter import Array, Numerics, Precision, Task
from paribus.allocator import keep_memory
from paribus.architectures import LANGUAGE, Network
from paribus.backends.tensorflow.fast import Setup, about
from paribus.backends.tensorflow.forwards import Inputs
from paribus.backends.tensorflow.holding import Holding
from paribus.backends.tensorflow.inputs import Layout
from paribus.backends.tensorflow.plans import Handle, UnderWay, batches_of, targets_of
from paribus.backends.tensorflow.steps import Batches, Steps
from paribus.backends.tensorflow.tracing import Traces
from paribus.errors import DataError, one_example
from paribus.places import places
from paribus.plan import EvalPlan, Preprocess, Sums, TrainPlan
from paribus.tuning import Choice, Tuning
from paribus.tuning.fast import Fast


class TensorFlowSession(Holding):
    """See ``paribus.adapter.Session``."""

    def __init__(
        self, network: Network, task: Task, device: str, precision: Precision, numerics: Numerics
    ) -> None:
        self._numerics, self.place = numerics, device.replace("cuda", "GPU").upper()
        traces = Traces(self.place, strict=numerics == "strict")
        if self.place.startswith("CPU"):
            keep_memory()
        parameters = np.dtype("float64" if precision == "float64" else "float32")
        super().__init__(network, task, parameters, traces)
        self.setup = Setup(precision == "bfloat16", self._untried(numerics))
        self._fast: Fast[Setup] | None = None
        dtype = tf.as_dtype(self._numpy)
        frozen = task.frozen_norms(network)
        moving = [n for n in network.nodes if n.op == "batch_norm" and n.name not in frozen]
        self._steps = self._traced(self._variables, self._slots, dtype, dtype, sliced=bool(moving))
        # These see one value per channel and example.
        self._pointwise = [node.name for node in moving if prod(node.shape[1:]) == 1]

    def _untried(self, numerics: Numerics) -> bool:
        """Return whether XLA compiles where nothing is tried.

        It makes one kernel of a small network's step, but its convolutions on a CPU are an order
        of magnitude slower than TensorFlow's.
        """
        operations = {node.op for node in self._network.nodes}
        return numerics == "fast" and not operations & {"conv2d", "batch_norm", "native"}

    def tune(self, tuning: Tuning) -> None:
        """Choose at the first steps, and at the first evaluation that is worth it."""
        # What the user's own code keeps besides its variables could not be put back.
        own = "native" in self._network.operations
        if self._numerics == "fast" and not own:
            self.setup = replace(self.setup, xla=False)
            known = about(
                self._network, self._task, self.place, self.setup,
                float32=self._numpy == np.float32,
            )  # fmt: skip
            self._fast = Fast(self, known, tuning, self._traces)

    @property
    def choices(self) -> list[Choice]:
        """What was chosen so far."""
        return [] if self._fast is None else self._fast.choices

    def settle(self) -> None:
        """Forget the graphs of training in another setup."""
        setup = self.setup
        self._traces.forget(lambda key: key[0] in ("train", "gradients") and key[1] != setup)

    def _traced(
        self,
        variables: Mapping[str, Any],
        slots: Mapping[str, tuple[Any, ...]],
        dtype: Any,
        products: Any,
        sliced: bool,
    ) -> Steps:
        """Return the functions that will be traced."""
        return Steps(self._network, self._task, variables, slots, dtype, products, sliced)

    def put(self, x: Array, y: Array | None) -> Handle:
        """Copy examples to the device as they are."""
        objective = self._network.objective
        numbers = objective == "regression"
        dtype: np.dtype[Any] = self._numpy if numbers else np.dtype(np.int64)
        labelled = y is not None or objective in LANGUAGE
        if y is None:
            y = np.zeros((len(x), self._network.classes) if numbers else len(x))
        labels = y.astype(dtype, copy=False)
        with self._traces.computing():
            return Handle(tf.constant(x), tf.constant(labels), labelled)

    def train_steps(self, handle: Handle, plan: TrainPlan) -> UnderWay:
        """Start K steps, in the way that was chosen."""
        if self._fast is not None:
            self._fast.train(handle, plan)
        return self.advance(handle, plan)

    def advance(self, handle: Handle, plan: TrainPlan) -> UnderWay:
        """Start K steps in one call of a traced function, compiled by a call of no steps."""
        columns = [plan.scalars[name] for name in self._steps.scalar_names()]
        shards, given = plan.indices.shape[1], self._batches(plan)
        scalars = np.stack(columns, axis=1).astype(self._numpy)
        if self.setup.xla:
            size = sum(array.nbytes for array in tf.nest.flatten(given)) // plan.steps
            at = np.minimum(np.arange(places(plan.steps, size)), plan.steps - 1)
            given = tf.nest.map_structure(lambda array: array[at], given)
            scalars = scalars[at]
        rows = self._call(
            ("train", self.setup, shards),
            lambda steps, layout: steps.train(layout, shards),
            self._inputs(handle, plan.preprocess, labels=True),
            plan,
            given,
            scalars,
            np.int32(plan.steps),
            idle=lambda *given: (*given[:-1], tf.zeros_like(given[-1])),
        )
        return UnderWay(rows[: plan.steps], self._task.norms)

    def gradients(self, handle: Handle, plan: TrainPlan) -> tuple[float, dict[str, Array]]:
        """Return the first step's loss and gradients."""
        shards = plan.indices.shape[1]
        loss, found = self._call(
            ("gradients", self.setup, shards),
            lambda steps, layout: steps.gradients(layout, shards),
            self._inputs(handle, plan.preprocess, labels=True),
            plan,
            tf.nest.map_structure(lambda array: array[0], self._batches(plan)),
        )
        return float(loss), {n: self._places[n].canonical(g.numpy()) for n, g in found.items()}

    def evaluate(self, handle: Handle, plan: EvalPlan) -> Sums:
        """Return the sums over all batches, from one call of a traced function."""
        setup = self._evaluated(handle, plan)
        loss, correct = self._call(
            ("evaluate", setup),
            lambda steps, layout: steps.evaluate(layout),
            self._inputs(handle, plan.preprocess, labels=True),
            plan,
            plan.indices,
            plan.counts.astype(np.int32),
            targets_of(plan.targets, plan.indices.shape),
        )
        predictions = int(plan.counts.sum())
        if self._network.objective == "causal_lm":
            predictions *= plan.preprocess.length or handle.x.shape[1] - 1
        if plan.targets is not None:
            real = np.arange(plan.indices.shape[1]) < plan.counts[:, None]
            predictions = int(plan.targets.counts[real].sum())
        return Sums(float(loss), int(correct), predictions)

    def predict(self, handle: Handle, plan: EvalPlan) -> Array:
        """Return the real rows' logits, in the way that was chosen."""
        return self.outputs(handle, plan, self._evaluated(handle, plan))

    def outputs(self, handle: Handle, plan: EvalPlan, setup: Setup) -> Array:
        """Return the real rows' logits in evaluation mode."""
        return self._logits(handle, plan, False, setup)

    def forward(self, handle: Handle, plan: EvalPlan, *, training: bool) -> Array:
        """Return the real rows' logits, batch by batch."""
        return self._logits(handle, plan, training, self.setup)

    def _logits(self, handle: Handle, plan: EvalPlan, training: bool, setup: Setup) -> Array:
        found = self._each_batch("logits", Steps.logits, handle, plan, training, setup)
        return np.concatenate([logits.numpy() for logits in found])

    def _evaluated(self, handle: Handle, plan: EvalPlan) -> Setup:
        """Return how to evaluate a plan."""
        return self.setup if self._fast is None else self._fast.evaluation(handle, plan)

    def activations(self, handle: Handle, plan: EvalPlan, *, training: bool) -> dict[str, Array]:
        """Return every node's output for the real rows, batch by batch."""
        make = type(self._steps).activations
        found = self._each_batch("activations", make, handle, plan, training, self.setup)
        return {name: np.concatenate([one[name].numpy() for one in found]) for name in found[0]}

    def _each_batch(
        self,
        what: str,
        make: Callable[[Any, Layout, bool], Callable[..., Any]],
        handle: Handle,
        plan: EvalPlan,
        training: bool,
        setup: Setup,
    ) -> list[Any]:
        inputs = self._inputs(handle, plan.preprocess, labels=False)
        targets = targets_of(plan.targets, plan.indices.shape)
        return [
            self._call(
                (what, setup, training),
                lambda steps, layout: make(steps, layout, training),
                inputs,
                plan,
                plan.indices[batch, :count],
                tf.nest.map_structure(lambda t, b=batch, c=count: t[b, :c], targets),
            )
            for batch, count in enumerate(plan.counts.tolist())
        ]

    def close(self) -> None:
        """Let go of everything; a model that ``native`` returned lives on with its user."""
        self._traces.clear()
        self._fast = None
        self._places, self._model, self._variables, self._slots = {}, None, {}, {}
        self._steps = replace(self._steps, variables={}, slots={})
        # Graphs and Keras layers refer to each other in circles, and what they hold is memory
        # outside of Python, whose collector would not notice that it grows.
        gc.collect()

    def _inputs(self, handle: Handle, preprocess: Preprocess, *, labels: bool) -> Inputs:
        if labels and not handle.labelled:
            raise DataError(
                "this data was put on the device without labels; training and evaluation need "
                "them. Call put(x, y) with y int64 [N]"
            )
        width = 1 if self._network.reads_tokens else handle.x.shape[-1]
        rows = [
            np.broadcast_to(np.asarray(values, self._numpy), width)
            for values in (preprocess.scale, preprocess.shift)
        ]
        return Inputs(handle.x, handle.y, np.stack(rows))

    def _batches(self, plan: TrainPlan) -> Batches:
        if self._pointwise and bool((plan.counts == 1).any()):
            raise one_example(self._pointwise[0])
        return batches_of(plan, self._numpy)

    def _call(
        self,
        key: tuple[Any, ...],
        make: Callable[[Steps, Layout], Callable[..., Any]],
        inputs: Inputs,
        plan: TrainPlan | EvalPlan,
        *arguments: Any,
        idle: Callable[..., tuple[Any, ...]] | None = None,
    ) -> Any:
        layout = Layout.of(plan, tuple(inputs.x.shape[1:]), self._network.reads_tokens)
        setup: Setup = key[1]
        products = tf.bfloat16 if setup.bfloat16 else self._steps.dtype
        steps = replace(self._steps, products=products, folded=setup.folded)
        result = self._traces.call(
            (*key, layout), lambda: make(steps, layout), inputs, *arguments,
            xla=setup.xla, tf32=setup.tf32, idle=idle,
        )  # fmt: skip
        self.compile_seconds = self._traces.seconds
        return result
