"""Plans on their way into a graph, examples on the device, and results on their way back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from paribus.backends.tensorflow.forwards import Targets
from paribus.backends.tensorflow.inputs import draws_of
from paribus.backends.tensorflow.memory import memory
from paribus.backends.tensorflow.noise import keys_of
from paribus.backends.tensorflow.steps import Batches
from paribus.plan import StepResults, TrainPlan
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

    @memory
    def result(self) -> StepResults:
        """Wait and return losses float64 [K] and, where asked for, norms float64 [K]."""
        rows = self._rows.numpy()
        return StepResults(rows[:, 0].copy(), rows[:, 1].copy() if self._norms else None)


def batches_of(plan: TrainPlan, dtype: Any) -> Batches:
    """Return a plan's shards as arrays; weights in the parameters' ``dtype``."""
    return Batches(
        plan.indices,
        plan.counts.astype(np.int32),
        plan.weights.astype(dtype),
        draws_of(plan.augmentation, plan.indices.shape),
        targets_of(plan.targets, plan.indices.shape),
        keys_of(plan),
    )


def targets_of(targets: PlanTargets | None, shape: tuple[int, ...]) -> Targets:
    """Return a plan's targets as arrays; of width 0 where it has none."""
    if targets is None:
        empty = np.zeros((*shape, 0), np.int64)
        return Targets(empty.astype(np.int32), empty, empty, empty.astype(np.bool_))
    counted = np.arange(targets.labels.shape[-1]) < targets.counts[..., None]
    return Targets(targets.tokens, targets.positions, targets.labels, counted)
