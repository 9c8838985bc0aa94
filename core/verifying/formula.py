"""One optimizer step by ``paribus.optimizers.RULES`` in float64 NumPy, and what it is given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from paribus.adapter import Array, Task, Tensors
from paribus.optimizers import RULES
from paribus.plan import TrainPlan

# How far a change of the weights may be from the formula's direction, as a share of it, for a
# learning rate to be read from it. Below float64 a weight of 1 is rounded to 6e-8, next to which
# the change itself may be small.
DIRECTION = {"float64": 1e-6}
COARSE_DIRECTION = 1e-2
CLIPPING = 1e-6


@dataclass(frozen=True)
class Before:
    """A step about to be taken.

    Attributes:
        task: whose rule, clipping and decay apply.
        weights: all canonical tensors; slots: slot → name → array; gradients: of the trainable.
        plan: of this one step.
    """

    task: Task
    weights: Tensors
    slots: Mapping[str, Tensors]
    gradients: Tensors
    plan: TrainPlan

    @property
    def scalars(self) -> dict[str, float]:
        """The step's scalars by name."""
        return {name: float(values[0]) for name, values in self.plan.scalars.items()}

    def clipped(self) -> dict[str, Array]:
        """Return the gradients in float64, clipped where the task clips."""
        found = {n: np.asarray(g, dtype=np.float64) for n, g in self.gradients.items()}
        if not self.task.clips:
            return found
        norm = global_norm(found)
        factor = min(1.0, self.scalars["clip_norm"] / (norm + CLIPPING))
        return {name: factor * gradient for name, gradient in found.items()}


def global_norm(gradients: Mapping[str, Array]) -> float:
    """Return the L2 norm over all gradients together."""
    return float(np.sqrt(sum(float((g**2).sum()) for g in gradients.values())))


def step(
    before: Before, names: Collection[str] | None = None
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the trainable weights and the slots (``slot/name``) that the definition leaves.

    Args:
        before: the step.
        names: of the weights that are asked for; None for all.
    """
    rule, weights, slots = RULES[before.task.rule], {}, {}
    for name, gradient in before.clipped().items():
        if names is not None and name not in names:
            continue
        old = tuple(np.asarray(before.slots[s][name], dtype=np.float64) for s in rule.slots)
        weight = np.asarray(before.weights[name], dtype=np.float64)
        decays = name in before.task.decayed
        weights[name], new = rule.update(weight, gradient, old, before.scalars, decays, np.sqrt)
        slots.update({f"{s}/{name}": a for s, a in zip(rule.slots, new, strict=True)})
    return weights, slots


def applied_rate(before: Before, after: Tensors, precision: str) -> float:
    """Return the learning rate that the weights' change shows, fitted by least squares.

    All rules change weights in proportion to the learning rate. NaN where the rate is 0, or where
    the change does not have the formula's direction, so that no rate explains it.
    """
    rate = before.scalars["learning_rate"]
    exact, _ = step(before)
    moved = wanted = other = 0.0
    for name, new in exact.items():
        old = np.asarray(before.weights[name], dtype=np.float64)
        direction, change = new - old, np.asarray(after[name], dtype=np.float64) - old
        moved += float((direction * change).sum())
        wanted += float((direction**2).sum())
        other += float((change**2).sum())
    if wanted == 0.0 or other == 0.0 or rate == 0.0 or not np.isfinite(other):
        return float("nan")
    # Of a change = c·direction + rest, the rest's share.
    rest = np.sqrt(max(0.0, 1.0 - moved**2 / (wanted * other)))
    if rest > DIRECTION.get(precision, COARSE_DIRECTION):
        return float("nan")
    return rate * moved / wanted
