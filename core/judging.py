"""How a model is judged on rows: its loss, and every metric that the recipe asks for.

The loss, the accuracy and what follows from the loss come as sums from the device. Every other
metric is computed here in float64 from the model's outputs, so that it means the same on every
backend; the outputs are then computed a second time, and the loss stays what it is without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paribus.adapter import Array, Session
from paribus.inputs import Inputs
from paribus.metrics import Evaluation
from paribus.plan import EvalPlan, Integers, Sums
from paribus.scores import Scores

EVALUATION_BATCH = 256
# What an evaluation has without the outputs themselves.
FROM_SUMS = ("loss", "accuracy", "perplexity")


@dataclass(frozen=True)
class Judge:
    """The judging of one data set in one training.

    Attributes:
        inputs: how its rows are read.
        labels: of all its rows, as in ``Dataset.y``.
        classes: outputs of the network.
        metrics: what to report besides the loss.
        label_smoothing: of the loss.
    """

    inputs: Inputs
    labels: Array
    classes: int
    metrics: tuple[str, ...] = ()
    label_smoothing: float = 0.0

    def evaluate(self, session: Session, handle: Any, rows: Integers) -> Evaluation:
        """Return what the session's weights are worth on ``rows`` int64 [n] of a handle."""
        objective, inputs = self.inputs.objective, self.inputs
        plans = inputs.evaluation(rows, EVALUATION_BATCH)
        sums = [session.evaluate(handle, plan) for plan in plans]
        found = Evaluation.of(_added(sums), len(rows), objective)
        others = [name for name in self.metrics if name not in FROM_SUMS]
        if not others and inputs.row_weights is None:
            return found
        scores = Scores(objective, others, self.classes)
        weighted = weights = 0.0
        for plan in plans:
            judged = _real_rows(plan)
            outputs = np.asarray(session.predict(handle, plan), dtype=np.float64)
            labels = self.labels[judged]
            scores.add(outputs, labels)
            if inputs.row_weights is not None:
                each = inputs.row_weights[judged]
                weighted += float((each * _losses(outputs, labels, self.label_smoothing)).sum())
                weights += float(each.sum())
        loss = weighted / weights if weights else found.loss
        return Evaluation(loss, len(rows), {**found.scores, **scores.result()})


def _added(sums: Sequence[Sums]) -> Sums:
    return Sums(
        sum(one.loss for one in sums),
        sum(one.correct for one in sums),
        sum(one.predictions for one in sums),
    )


def _real_rows(plan: EvalPlan) -> Integers:
    real = np.arange(plan.indices.shape[1]) < plan.counts[:, None]
    return np.asarray(plan.indices[real])


def _losses(outputs: Array, labels: Integers, smoothing: float) -> Array:
    """Return each row's cross-entropy, as ``plan.TrainPlan`` defines it; float64 [n]."""
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    own = -logs[np.arange(len(labels)), labels]
    return np.asarray((1.0 - smoothing) * own - smoothing * logs.mean(axis=1))
