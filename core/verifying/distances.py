"""How far two observations are apart: relative differences, each with the scale that it is of.

A tensor's differences are divided by its own largest value, but by no less than a share of the
largest value of all tensors of its kind. Some gradients are zero by construction (of a bias before
BatchNorm, of an attention's keys' bias), and what a backend has there is rounding alone, without a
scale of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from paribus.adapter import Array
from paribus.verifying.observing import Observation

SHARE = 1e-2


@dataclass(frozen=True)
class Distances:
    """Relative differences of an observation from a reference.

    Attributes:
        forward_evaluation, forward_training: of the outputs, to their largest value.
        loss: of the first step's loss.
        gradients: of the first step's, by canonical name.
        losses: of every step's loss.
        learning_rates: of what the first and the last update applied; NaN where none can be read.
        weights, statistics: of parameters and statistics after the last step, by canonical name.
        slots: of the optimizer's state after the last step, by ``slot/name``.
    """

    forward_evaluation: float
    forward_training: float
    loss: float
    gradients: dict[str, float]
    losses: Array
    learning_rates: Array
    weights: dict[str, float]
    slots: dict[str, float]
    statistics: dict[str, float]


def between(reference: Observation, other: Observation) -> Distances:
    """Return how far ``other`` is from ``reference``; what is not a finite number is ∞ away."""
    return Distances(
        array(reference.forward_evaluation, other.forward_evaluation),
        array(reference.forward_training, other.forward_training),
        array(np.array(reference.loss), np.array(other.loss)),
        by_tensor(reference.gradients, other.gradients),
        np.array([array(a, b) for a, b in zip(reference.losses, other.losses, strict=True)]),
        _rates(other.handed, other.applied),
        by_tensor(reference.weights, other.weights),
        by_slot(reference.slots, other.slots),
        by_tensor(reference.statistics, other.statistics),
    )


def array(reference: Array, other: Array, least: float = 0.0) -> float:
    """Return the largest difference relative to the reference's largest value, or to ``least``.

    Where both are zero everywhere they are 0 apart.
    """
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.shape != b.shape:
        return float("inf")
    if a.size == 0:
        return 0.0
    difference = float(np.abs(a - b).max())
    if not np.isfinite(difference):
        return float("inf")
    scale = max(float(np.abs(a).max()), least)
    return difference if scale == 0.0 else difference / scale


def by_tensor(
    reference: Mapping[str, Array], other: Mapping[str, Array], least: float = 0.0
) -> dict[str, float]:
    """Return each tensor's distance; their scales are at least ``SHARE`` of the largest one."""
    top = max((float(np.abs(a).max()) for a in reference.values() if a.size), default=0.0)
    floor = max(SHARE * top, least)
    return {name: array(a, other[name], floor) for name, a in reference.items()}


def by_slot(reference: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
    """Return the distances of slots by ``slot/name``; each slot is a kind of its own."""
    found: dict[str, float] = {}
    for slot in dict.fromkeys(key.partition("/")[0] for key in reference):
        own = {key: a for key, a in reference.items() if key.partition("/")[0] == slot}
        found |= by_tensor(own, other)
    return found


def largest(parts: list[Distances]) -> Distances:
    """Return the largest of several distances, quantity by quantity and tensor by tensor."""
    found = parts[0]
    for part in parts[1:]:
        merged: dict[str, Any] = {}
        for field in fields(Distances):
            a, b = getattr(found, field.name), getattr(part, field.name)
            merged[field.name] = (
                {name: max(value, b[name]) for name, value in a.items()}
                if isinstance(a, dict)
                else np.fmax(a, b)
            )
        found = replace(found, **merged)
    return found


def _rates(handed: Array, applied: Array) -> Array:
    # A rate of 0 leaves nothing to read it from, and is NaN in ``applied`` already.
    return np.asarray(np.abs(applied - handed) / np.where(handed == 0, 1.0, handed))
