"""The session: variables and slots, and NumPy on either side of the traced functions.

The Keras model is the container of the variables. Step counts, data sets, learning rates and
hyperparameters are arguments of the traced functions, so that a search over them traces once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from paribus import weights
from paribus.adapter import Array, Numerics, Precision, Session, Task, Tensors
from paribus.architectures import LANGUAGE, Network
from paribus.backends.tensorflow import models
from paribus.backends.tensorflow.inputs import Layout, draws_of
from paribus.backends.tensorflow.noise import keys_of
from paribus.backends.tensorflow.steps import Batches, Inputs, Steps, Targets
from paribus.backends.tensorflow.tracing import Traces
from paribus.belongings import NOTHING, Belongings
from paribus.errors import DataError, Unsupported, WeightsError
from paribus.optimizers import RULES
from paribus.plan import EvalPlan, Preprocess, StepResults, Sums, TrainPlan
from paribus.plan import Targets as PlanTargets


class Handle(NamedTuple):
    """Examples on the device: ``x`` as stored, ``y`` as put; ``labelled`` if y was given."""

    x: Any
    y: Any
    labelled: bool


class UnderWay:
    """K steps under way; implements ``paribus.adapter.Pending``."""

    def __init__(self, rows: Any, norms: bool) -> None:
        self._rows, self._norms = rows, norms

    def result(self) -> StepResults:
        """Wait and return losses float64 [K] and, where asked for, norms float64 [K]."""
        rows = self._rows.numpy()
        return StepResults(rows[:, 0].copy(), rows[:, 1].copy() if self._norms else None)


class TensorFlowSession(Session):
    """See ``paribus.adapter.Session``."""

    def __init__(
        self, network: Network, task: Task, device: str, precision: Precision, numerics: Numerics
    ) -> None:
        self._network, self._task = network, task
        operations = {node.op for node in network.nodes}
        strict = numerics == "strict"
        # XLA makes one kernel of a small network's step, but its convolutions on a CPU are an
        # order of magnitude slower than TensorFlow's.
        xla = not strict and not operations & {"conv2d", "batch_norm", "native"}
        place = device.replace("cuda", "GPU").upper()
        self._traces = Traces(place, strict=strict, xla=xla)
        self._numpy = np.dtype("float64" if precision == "float64" else "float32")
        with self._traces.computing():
            self._model, self._places = self._build()
            variables = {name: place.variable for name, place in self._places.items()}
            rule = RULES[task.rule]
            slots = {
                name: tuple(tf.Variable(tf.zeros_like(variables[name])) for _ in rule.slots)
                for name in task.trainable
            }
        dtype = tf.as_dtype(self._numpy)
        products = tf.bfloat16 if precision == "bfloat16" else dtype
        frozen = task.frozen_norms(network)
        moving = [n for n in network.nodes if n.op == "batch_norm" and n.name not in frozen]
        self._steps = self._traced(variables, slots, dtype, products, sliced=bool(moving))
        # These see one value per channel and example.
        self._pointwise = [node.name for node in moving if prod(node.shape[1:]) == 1]

    def _build(self) -> tuple[Any, Mapping[str, models.Place]]:
        """Return a new ``keras.Model`` of the network, and where its tensors live in it."""
        return models.build(self._network, self._numpy.name)

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

    def import_weights(self, tensors: Tensors) -> None:
        """Assign every variable; slots become zero."""
        weights.check(tensors, weights.shapes(self._network))
        with self._traces.computing():
            for name, place in self._places.items():
                place.variable.assign(place.native(tensors[name]))
            for slots in self._steps.slots.values():
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
                for slot, variable in zip(names, self._steps.slots[name], strict=True):
                    variable.assign(self._places[name].native(slots[slot][name]))

    def export_optimizer(self) -> dict[str, dict[str, Array]]:
        """Return copies of all slots."""
        return {
            slot: {
                name: self._places[name].canonical(self._steps.slots[name][index].numpy())
                for name in self._task.trainable
            }
            for index, slot in enumerate(RULES[self._task.rule].slots)
        }

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
        """Start K steps in one call of a traced function, compiled by a call of no steps."""
        columns = [plan.scalars[name] for name in self._steps.scalar_names()]
        shards = plan.indices.shape[1]
        rows = self._call(
            ("train", shards),
            lambda layout: self._steps.train(layout, shards),
            self._inputs(handle, plan.preprocess, labels=True),
            plan,
            self._batches(plan),
            np.stack(columns, axis=1).astype(self._numpy),
            np.int32(plan.steps),
            idle=lambda *given: (*given[:-1], tf.zeros_like(given[-1])),
        )
        return UnderWay(rows, self._task.norms)

    def gradients(self, handle: Handle, plan: TrainPlan) -> tuple[float, dict[str, Array]]:
        """Return the first step's loss and gradients."""
        shards = plan.indices.shape[1]
        loss, found = self._call(
            ("gradients", shards),
            lambda layout: self._steps.gradients(layout, shards),
            self._inputs(handle, plan.preprocess, labels=True),
            plan,
            tf.nest.map_structure(lambda array: array[0], self._batches(plan)),
        )
        return float(loss), {n: self._places[n].canonical(g.numpy()) for n, g in found.items()}

    def evaluate(self, handle: Handle, plan: EvalPlan) -> Sums:
        """Return the sums over all batches, from one call of a traced function."""
        loss, correct = self._call(
            ("evaluate",),
            self._steps.evaluate,
            self._inputs(handle, plan.preprocess, labels=True),
            plan,
            plan.indices,
            plan.counts.astype(np.int32),
            _targets(plan.targets, plan.indices.shape),
        )
        predictions = int(plan.counts.sum())
        if self._network.objective == "causal_lm":
            predictions *= plan.preprocess.length or handle.x.shape[1] - 1
        if plan.targets is not None:
            real = np.arange(plan.indices.shape[1]) < plan.counts[:, None]
            predictions = int(plan.targets.counts[real].sum())
        return Sums(float(loss), int(correct), predictions)

    def predict(self, handle: Handle, plan: EvalPlan) -> Array:
        """Return the real rows' logits."""
        return self.forward(handle, plan, training=False)

    def forward(self, handle: Handle, plan: EvalPlan, *, training: bool) -> Array:
        """Return the real rows' logits, batch by batch."""
        found = self._each_batch("logits", self._steps.logits, handle, plan, training)
        return np.concatenate([logits.numpy() for logits in found])

    def activations(self, handle: Handle, plan: EvalPlan, *, training: bool) -> dict[str, Array]:
        """Return every node's output for the real rows, batch by batch."""
        found = self._each_batch("activations", self._steps.activations, handle, plan, training)
        return {name: np.concatenate([one[name].numpy() for one in found]) for name in found[0]}

    def _each_batch(
        self,
        what: str,
        make: Callable[[Layout, bool], Callable[..., Any]],
        handle: Handle,
        plan: EvalPlan,
        training: bool,
    ) -> list[Any]:
        inputs = self._inputs(handle, plan.preprocess, labels=False)
        targets = _targets(plan.targets, plan.indices.shape)
        return [
            self._call(
                (what, training),
                lambda layout: make(layout, training),
                inputs,
                plan,
                plan.indices[batch, :count],
                tf.nest.map_structure(lambda t, b=batch, c=count: t[b, :c], targets),
            )
            for batch, count in enumerate(plan.counts.tolist())
        ]

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

    def close(self) -> None:
        """Let go of everything; a model that ``native`` returned lives on with its user."""
        self._traces.clear()
        self._places, self._model = {}, None
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
            raise Unsupported(
                f"a shard of one example: {self._pointwise[0]!r} sees one value per channel, which "
                "has no variance to normalise with; choose a batch size or number of shards that "
                "leaves no single example, or larger images"
            )
        return Batches(
            plan.indices,
            plan.counts.astype(np.int32),
            plan.weights.astype(self._numpy),
            draws_of(plan.augmentation, plan.indices.shape),
            _targets(plan.targets, plan.indices.shape),
            keys_of(plan),
        )

    def _call(
        self,
        key: tuple[Any, ...],
        make: Callable[[Layout], Callable[..., Any]],
        inputs: Inputs,
        plan: TrainPlan | EvalPlan,
        *arguments: Any,
        idle: Callable[..., tuple[Any, ...]] | None = None,
    ) -> Any:
        layout = Layout.of(plan, tuple(inputs.x.shape[1:]), self._network.reads_tokens)
        result = self._traces.call(
            (*key, layout), lambda: make(layout), inputs, *arguments, idle=idle
        )
        self.compile_seconds = self._traces.seconds
        return result


def _targets(targets: PlanTargets | None, shape: tuple[int, ...]) -> Targets:
    """Return a plan's targets as arrays; of width 0 where it has none."""
    if targets is None:
        empty = np.zeros((*shape, 0), np.int64)
        return Targets(empty.astype(np.int32), empty, empty, empty.astype(np.bool_))
    counted = np.arange(targets.labels.shape[-1]) < targets.counts[..., None]
    return Targets(targets.tokens, targets.positions, targets.labels, counted)
