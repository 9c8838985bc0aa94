"""What a loss or a gradient looks like that differs although the outputs do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from paribus import reference
from paribus.adapter import Array
from paribus.architectures import LANGUAGE
from paribus.plan import TrainPlan
from paribus.verifying.explaining.explanation import Explanation, Guess, explain
from paribus.verifying.subject import Subject

ONE = "loss"


def explain_loss(
    subject: Subject, plan: TrainPlan, right: float, actual: float, outputs: Array | None
) -> Explanation | None:
    """Return another reduction or definition of the loss that gives ``actual``.

    Args:
        subject, plan: what was computed, of one step.
        right: the loss by the definition.
        outputs: of all real rows in training mode, where they are known.
    """

    def guesses() -> Iterator[Guess]:
        rows = float(plan.counts.sum())
        shards = float(plan.counts.shape[1])
        tokens = 1.0 / float(plan.weights.max())
        named = {
            "a sum over the rows, not their mean": rows,
            "a sum over the tokens, not their mean": tokens,
            "a mean over the shards' sums": rows / shards,
            "a sum of the shards' means, not the batch's mean": shards,
            "a mean over all classes or tokens of the vocabulary": 1 / subject.network.classes,
            "half of what it should be": 0.5,
            "twice what it should be": 2.0,
            "in bits, not in natural units": 1 / float(np.log(2.0)),
        }
        for text, factor in named.items():
            if factor != 1.0:
                yield _one(f"the loss is {text} ({factor:.6g} times as large)", right * factor)
        if outputs is not None:
            yield from _of_rows(subject, plan, outputs)

    return explain({ONE: np.array(actual)}, {ONE: np.array(right)}, guesses())


def _one(text: str, value: float) -> Guess:
    return Guess(text, {ONE: np.array(value)})


def _of_rows(subject: Subject, plan: TrainPlan, outputs: Array) -> Iterator[Guess]:
    network = subject.network
    if network.objective in LANGUAGE or subject.y is None:
        return
    labels = subject.y[plan.indices[plan_rows(plan)]]
    weights = plan.weights[plan_rows(plan)]
    smoothing = subject.task.label_smoothing
    if smoothing:
        plain = reference.row_losses(network, outputs, labels)
        yield _one("label smoothing is left out", float((plain * weights).sum()))
    losses = reference.row_losses(network, outputs, labels, smoothing=smoothing)
    if np.ptp(weights) > 0:
        yield _one("the rows' weights are left out: a plain mean", float(losses.mean()))
    if network.objective == "regression":
        absolute = np.abs(outputs - labels).mean(axis=1)
        yield _one("the absolute error, not the square", float((absolute * weights).sum()))


def plan_rows(plan: TrainPlan) -> Array:
    """Return which places of a plan of one step hold real rows: bool [1, S, b]."""
    return np.arange(plan.indices.shape[2]) < plan.counts[..., None]


def explain_gradients(
    right: Mapping[str, Array], actual: Mapping[str, Array], differing: list[str]
) -> Explanation | None:
    """Return what became of the gradients that differ, of which the first is the one to explain."""
    first = differing[0]
    one = {first: np.asarray(actual[first], dtype=np.float64)}
    definition = {first: np.asarray(right[first], dtype=np.float64)}

    def guesses() -> Iterator[Guess]:
        gradient = definition[first]
        yield Guess(
            f"the gradient of {first} is zero: it does not reach the tensor",
            {first: np.zeros_like(gradient)},
        )
        if gradient.ndim == 2 and gradient.shape[0] == gradient.shape[1]:
            yield Guess(f"the gradient of {first} is transposed", {first: gradient.T})
        size = float((gradient**2).sum())
        if size > 0 and gradient.shape == one[first].shape:
            factor = float((gradient * one[first]).sum()) / size
            several = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
            yield Guess(
                f"the gradient of {first}{several} is {factor:.6g} times what it should be",
                {first: factor * gradient},
            )

    return explain(one, definition, guesses())
