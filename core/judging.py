"""How a model is judged on rows: its loss, and every metric that the recipe asks for.

Of classes and numbers everything is computed here, in float64 from the model's outputs, so that it
means the same on every backend and one pass is enough. A language model's outputs are as many as
its vocabulary for each token; it is judged by sums that its device has taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from paribus.adapter import Array
from paribus.architectures import LANGUAGE
from paribus.feeding import Feed
from paribus.inputs import Inputs
from paribus.metrics import Evaluation
from paribus.plan import EvalPlan, Integers, Sums
from paribus.scores import Scores

EVALUATION_BATCH = 256
# Bytes of outputs that are looked at together.
OUTPUT_BYTES = 1 << 26


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

    def evaluate(self, feed: Feed, rows: Integers) -> Evaluation:
        """Return what a session's weights are worth on ``rows`` int64 [n] of its examples."""
        plans = self.inputs.evaluation(rows, EVALUATION_BATCH)
        if self.inputs.objective in LANGUAGE:
            sums = _added([feed.evaluate(plan) for plan in plans])
            return Evaluation.of(sums, len(rows), self.inputs.objective)
        usual = ("accuracy",) if self.inputs.objective == "classification" else ()
        names = [name for name in dict.fromkeys((*usual, *self.metrics)) if name != "loss"]
        scores = Scores(self.inputs.objective, names, self.classes)
        losses = weights = 0.0
        for plan in plans:
            for part in _parts(plan, self.classes):
                judged = _real_rows(part)
                outputs = np.asarray(feed.predict(part), dtype=np.float64)
                labels = self.labels[judged]
                scores.add(outputs, labels)
                each = self.inputs.predictions(judged, None, None)
                losses += float((each * self._losses(outputs, labels)).sum())
                weights += float(each.sum())
        return Evaluation(losses / weights, len(rows), scores.result())

    def _losses(self, outputs: Array, labels: Array) -> Array:
        """Return each row's loss, as ``plan.TrainPlan`` defines it; float64 [n]."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self.inputs.objective == "regression":
                return np.asarray(np.square(outputs - labels).mean(axis=1))
            shifted = outputs - outputs.max(axis=1, keepdims=True)
            logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            own = -logs[np.arange(len(labels)), labels]
            smoothing = self.label_smoothing
            if not smoothing:
                return np.asarray(own)
            return np.asarray((1.0 - smoothing) * own - smoothing * logs.mean(axis=1))


def _added(sums: Sequence[Sums]) -> Sums:
    return Sums(
        sum(one.loss for one in sums),
        sum(one.correct for one in sums),
        sum(one.predictions for one in sums),
    )


def _parts(plan: EvalPlan, classes: int) -> Iterator[EvalPlan]:
    """Cut a plan so that the outputs of a part fit ``OUTPUT_BYTES``."""
    batches = max(1, OUTPUT_BYTES // (8 * classes * plan.indices.shape[1]))
    for start in range(0, len(plan.indices), batches):
        part = slice(start, start + batches)
        yield replace(plan, indices=plan.indices[part], counts=plan.counts[part])


def _real_rows(plan: EvalPlan) -> Integers:
    real = np.arange(plan.indices.shape[1]) < plan.counts[:, None]
    return np.asarray(plan.indices[real])
