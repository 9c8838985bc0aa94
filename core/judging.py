"""How a model is judged on rows: its loss, and every metric that the recipe asks for.

Of classes and numbers everything is computed here, in float64 from the model's outputs, so that it
means the same on every backend and one pass is enough. A language model's outputs are as many as
its vocabulary for each token; it is judged by sums that its device has taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from paribus.adapter import Array
from paribus.architectures import LANGUAGE
from paribus.draws import Floats
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
        return self._of(
            (_real_rows(part), np.asarray(feed.predict(part), dtype=np.float64))
            for plan in plans
            for part in _parts(plan, self.classes)
        )

    def sample(self, feed: Feed, rows: Integers) -> None:
        """Judge the first batch of each shape that ``evaluate`` would compute of ``rows``."""
        plans = self.inputs.evaluation(rows, EVALUATION_BATCH)
        for plan, found in zip(plans, self.firsts(feed, rows), strict=True):
            if self.inputs.objective not in LANGUAGE:
                self._of([(_real_rows(plan.first(1)), found)])

    def firsts(self, feed: Feed, rows: Integers) -> list[Floats]:
        """Return what ``evaluate`` would look at of the first batch of each shape of ``rows``."""
        language = self.inputs.objective in LANGUAGE
        return [
            np.asarray((feed.evaluate if language else feed.predict)(plan.first(1)), np.float64)
            for plan in self.inputs.evaluation(rows, EVALUATION_BATCH)
        ]

    def plan(self, rows: Integers) -> EvalPlan:
        """Return the batches that rows of images or a table are judged in."""
        (plan,) = self.inputs.evaluation(rows, EVALUATION_BATCH)
        return plan

    @property
    def names(self) -> list[str]:
        """What is reported besides the loss."""
        usual = ("accuracy",) if self.inputs.objective == "classification" else ()
        return [name for name in dict.fromkeys((*usual, *self.metrics)) if name != "loss"]

    def _of(self, parts: Iterable[tuple[Integers, Floats]]) -> Evaluation:
        """Return what outputs [n, C] of rows are worth, part by part."""
        scores = Scores(self.inputs.objective, self.names, self.classes)
        losses = weights = 0.0
        count = 0
        for judged, outputs in parts:
            labels = self.labels[judged]
            scores.add(outputs, labels)
            each = self.inputs.predictions(judged, None, None)
            losses += float((each * self._losses(outputs, labels)).sum())
            weights += float(each.sum())
            count += len(judged)
        return Evaluation(losses / weights, count, scores.result())

    def _losses(self, outputs: Array, labels: Array) -> Array:
        """Return each row's loss, as ``plan.TrainPlan`` defines it; float64 [n]."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self.inputs.objective == "regression":
                return np.asarray(np.square(outputs - labels).mean(axis=1))
            # Classes before rows: along a last, short axis NumPy takes several times as long.
            across = np.ascontiguousarray(outputs.T)
            across = across - across.max(axis=0)
            total = np.log(np.exp(across).sum(axis=0))
            own = total - across[labels, np.arange(len(labels))]
            smoothing = self.label_smoothing
            if not smoothing:
                return np.asarray(own)
            return np.asarray((1.0 - smoothing) * own + smoothing * (total - across.mean(axis=0)))


def judge_together(
    judges: Sequence[Judge], rows: Sequence[Integers], outputs: Sequence[Array]
) -> list[Evaluation]:
    """Return what each judge says of outputs [n, C] of its rows: ``Judge.evaluate``, to the bit.

    Those of the same rows that ask for nothing but the loss and the accuracy are judged at once.
    """
    found: list[Evaluation | None] = [None] * len(judges)
    alike: dict[Any, list[int]] = {}
    for index, judge in enumerate(judges):
        if judge.names == ["accuracy"] and judge.inputs.row_weights is None:
            key = id(rows[index]), id(judge.labels), judge.classes, judge.label_smoothing
            alike.setdefault(key, []).append(index)
        else:
            values = np.asarray(outputs[index], dtype=np.float64)
            found[index] = judge._of([(rows[index], values)])
    for members in alike.values():
        judge, own = judges[members[0]], rows[members[0]]
        stacked = np.stack([outputs[index] for index in members]).astype(np.float64)
        labels = np.tile(judge.labels[own], len(members))
        losses = judge._losses(stacked.reshape(-1, judge.classes), labels)
        losses = losses.reshape(len(members), -1).sum(axis=1) / len(own)
        right = np.sum(stacked.argmax(axis=2) == judge.labels[own], axis=1) / len(own)
        finite = np.all(np.isfinite(stacked).reshape(len(members), -1), axis=1)
        for index, loss, share, sound in zip(
            members, losses.tolist(), right.tolist(), finite.tolist(), strict=True
        ):
            found[index] = Evaluation(loss, len(own), {"accuracy": share if sound else None})
    return [one for one in found if one is not None]


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
