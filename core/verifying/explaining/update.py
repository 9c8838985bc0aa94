"""Which other update rule leaves these weights and slots, of the same state and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from paribus.adapter import Array
from paribus.optimizers import RULES
from paribus.verifying.explaining.explanation import (
    Explanation,
    Guess,
    explain,
    fitted_epsilon,
    power_of_ten,
)
from paribus.verifying.explaining.rules import (
    Update,
    Updated,
    clippings,
    corrections,
    decays,
    having,
    momenta,
    stepped,
)
from paribus.verifying.formula import Before, step

# Weights that an epsilon is fitted to; it is then tested on all of them.
FITTED = 200_000


def explain_update(before: Before, weights: Updated, slots: Updated) -> Explanation | None:
    """Return the changed rule that gives these weights and slots.

    Args:
        before: the step, with gradients on which the backends agree.
        weights: the trainable ones afterwards; slots: by ``slot/name``.
    """
    scale = _Scale(before)
    return explain(scale.of(weights, slots), scale.definition, _guesses(scale, weights, slots))


def deviates(before: Before, weights: Updated, slots: Updated) -> float:
    """Return how far an update is from the definition, relative to how far that moves."""
    scale = _Scale(before)
    actual = scale.of(weights, slots)
    return max(float(np.abs(actual[name] - a).max()) for name, a in scale.definition.items())


class _Scale:
    """Changes of weights, and slots, each kind divided by the largest value of the definition's.

    So that neither is drowned in the other: a rate of 1e-3 leaves small changes and large slots.

    Attributes:
        before: the step.
        definition: what the definition makes of it, scaled.
    """

    def __init__(self, before: Before) -> None:
        self.before = before
        weights, slots = step(before)
        self._old = {n: np.asarray(before.weights[n], dtype=np.float64) for n in weights}
        moves = {name: new - self._old[name] for name, new in weights.items()}
        self._move = _largest(moves)
        self._sizes = {
            slot: _largest({k: a for k, a in slots.items() if k.partition("/")[0] == slot})
            for slot in RULES[before.task.rule].slots
        }
        self._slots = list(slots)
        self.definition = self.of(weights, slots)

    def of(self, weights: Updated, slots: Updated) -> Updated:
        """Return weights and slots after the step, scaled; weights as changes."""
        found = {n: (np.asarray(weights[n]) - old) / self._move for n, old in self._old.items()}
        for key in self._slots:
            size = self._sizes[key.partition("/")[0]]
            found[key] = np.asarray(slots[key], dtype=np.float64) / size
        return found


def _largest(arrays: Updated) -> float:
    return max((float(np.abs(a).max()) for a in arrays.values() if a.size), default=0.0) or 1.0


def _guesses(scale: _Scale, weights: Updated, slots: Updated) -> Iterator[Guess]:
    before = scale.before
    for kind in (decays, momenta, clippings, corrections):
        for text, changed, update in kind(before):
            yield Guess(text, scale.of(*stepped(changed, update)))
    if "epsilon" in before.scalars:
        yield from _epsilons(scale, weights, slots)
    actual = scale.of(weights, slots)
    yield from _still(before, actual, scale.definition)
    yield from _rate(before, actual, scale.definition)


def _part(before: Before) -> Before:
    """Return a step of the smallest tensors alone, gradients clipped with the others' norm."""
    names: list[str] = []
    total = 0
    for name in sorted(before.task.trainable, key=lambda name: before.weights[name].size):
        total += before.weights[name].size
        if names and total > FITTED:
            break
        names.append(name)
    clipped = before.clipped()
    task = replace(
        before.task,
        trainable=tuple(names),
        decayed=tuple(name for name in before.task.decayed if name in names),
        clips=False,
    )
    return replace(before, task=task, gradients={name: clipped[name] for name in names})


def _epsilons(scale: _Scale, weights: Updated, slots: Updated) -> Iterator[Guess]:
    before, part = scale.before, _Scale(_part(scale.before))
    stated, name = before.scalars["epsilon"], before.task.rule
    adam = "root2" in before.scalars
    wanted = part.of(weights, slots)

    def inside(epsilon: float) -> Update:
        # √(v̂ + ε): the same rule with a root that adds it, and none outside.
        rule = RULES[name].update
        share = before.scalars["root2"] ** 2 if adam else 1.0

        def update(w: Array, g: Array, slots: Any, c: Any, decays: bool) -> Any:
            def root(square: Array) -> Array:
                return np.asarray(np.sqrt(square + epsilon * share))

            return rule(w, g, slots, {**c, "epsilon": 0.0}, decays, root)

        return update

    fitted, _ = fitted_epsilon(
        lambda e: part.of(*stepped(having(part.before, epsilon=e), None)), wanted
    )
    text = f"{name}'s epsilon is {fitted:.4g}, not {stated:g}"
    if adam and not power_of_ten(fitted):
        scaled = fitted * before.scalars["root2"]
        if power_of_ten(scaled):
            text = (
                f"{name}'s epsilon is {scaled:.4g}, added before the bias correction (Keras's form "
                f"lr·√(1 − β₂ᵗ)/(1 − β₁ᵗ)·m/(√v + ε)), not {stated:g} after it"
            )
    yield Guess(text, scale.of(*stepped(having(before, epsilon=fitted), None)))
    within, _ = fitted_epsilon(lambda e: part.of(*stepped(part.before, inside(e))), wanted)
    yield Guess(
        f"{name}'s epsilon is {within:.4g} inside of the root, not {stated:g} outside",
        scale.of(*stepped(before, inside(within))),
    )


def _still(before: Before, actual: Updated, definition: Updated) -> Iterator[Guess]:
    """Yield that some tensors do not move, if those that deviate do not."""
    still = [name for name in before.task.trainable if not actual[name].any()]
    moved = [name for name in still if definition[name].any()]
    if not moved:
        return
    slots = [key for key in definition if "/" in key and key.partition("/")[2] in moved]
    # Whether their slots moved is another matter; the weights are what is spoken of.
    same = {name: np.zeros_like(actual[name]) for name in moved}
    same |= {key: actual[key] for key in slots}
    listed = ", ".join(moved[:3]) + (f" and {len(moved) - 3} more" if len(moved) > 3 else "")
    yield Guess(f"weights that are trained do not move: {listed}", {**definition, **same})


def _rate(before: Before, actual: Updated, right: Updated) -> Iterator[Guess]:
    names = before.task.trainable
    size = sum(float((right[name] ** 2).sum()) for name in names)
    if size > 0:
        factor = sum(float((right[name] * actual[name]).sum()) for name in names) / size
        scaled = {n: factor * a if n in names else a for n, a in right.items()}
        yield Guess(f"the learning rate is {factor:.6g} times the one handed over", scaled)
