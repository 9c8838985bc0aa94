"""A planned training with everything that it computes with, but no session and no weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from paribus import weights
from paribus.adapter import Array, Task
from paribus.architectures import Network
from paribus.batches import Schedule
from paribus.data import Dataset
from paribus.judging import Judge
from paribus.optimizers import RULES
from paribus.spec.sections import Spec
from paribus.steps.edges import Planned
from paribus.steps.examples import Examples, step_data
from paribus.steps.fitting import task_of
from paribus.steps.reading import reading

# Rows that preprocessing is fitted on: what comes out is not looked at.
FITTED = 64


@dataclass(frozen=True)
class Outline:
    """A planned training with what it computes."""

    planned: Planned
    dataset: Dataset
    network: Network
    task: Task
    schedule: Schedule
    judge: Judge

    @property
    def rows(self) -> int:
        """Rows that are computed at once."""
        return int(self.schedule.shard_counts(self.schedule.sizes[0])[0])

    @property
    def frozen(self) -> bool:
        """Whether a parameter is."""
        kinds = [tensor.kind for tensor in self.network.tensors.values()]
        return len(self.task.trainable) < kinds.count("parameter")

    def covers(self, other: Outline) -> bool:
        """Whether another training computes no more than this one, of the same network."""
        ours, theirs = (
            (n.architecture, n.parameters, n.input_shape, n.classes, n.objective)
            for n in (self.network, other.network)
        )
        free = set(other.task.trainable) <= set(self.task.trainable)
        return ours == theirs and free and other.rows <= self.rows

    @property
    def state(self) -> int:
        """Bytes of a checkpoint: weights, slots, and the best weights where they are kept."""
        network, recipe = self.network, self.schedule.recipe
        every = sum(prod(tensor.shape) for tensor in network.tensors.values())
        free = sum(prod(network.tensors[name].shape) for name in self.task.trainable)
        copies = 2 if recipe.keep == "best" else 1
        return 8 * (every * copies + free * len(RULES[self.task.rule].slots))


def outlined(spec: Spec, one: Planned, examples: Examples) -> Outline:
    """Return what a planned training computes with."""
    recipe, view = one.spec.recipe(one.step), step_data(one.spec, one.step)
    network, dataset = examples.network(one.spec, one.step), examples.dataset(view)
    freeze = one.spec.finetune.freeze if one.step == "finetune" else "none"
    task = task_of(network, recipe, freeze, one.spec.dropout_masks == "native")
    # Classes are counted in all training rows; what they weigh changes no shape.
    stated = recipe.model_copy(update={"class_weights": None})
    inputs = reading(dataset, one.rows[:FITTED], view, stated, spec.seed, one.step)
    schedule = Schedule(
        recipe, recipe.epochs, one.rows, spec.seed, one.step, inputs, len(network.noisy)
    )
    metrics = tuple(dict.fromkeys((recipe.monitor, *recipe.metrics, *one.metrics)))
    judge = Judge(inputs, dataset.y, network.classes, metrics, recipe.label_smoothing)
    return Outline(one, dataset, network, task, schedule, judge)


def zeros(network: Network) -> dict[str, Array]:
    """Return tensors of a network that take no memory: all zeros, one number each."""
    shapes = weights.shapes(network)
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
