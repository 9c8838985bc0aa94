"""Which other update rule leaves these weights and slots, of the same state and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from paribus.verifying.formula import Before, global_norm, step

Updated = dict[str, Array]
# (weight, gradient, slots, scalars, decays) → (weight, slots); as ``Rule.update``
Update = Callable[
    [Array, Array, tuple[Array, ...], Mapping[str, float], bool], tuple[Array, tuple[Array, ...]]
]


def explain_update(before: Before, weights: Updated, slots: Updated) -> Explanation | None:
    """Return the changed rule that gives these weights and slots.

    Args:
        before: the step, with gradients on which the backends agree.
        weights: the trainable ones afterwards; slots: by ``slot/name``.
    """
    actual = _together(before, weights, slots)
    definition = _together(before, *step(before))
    return explain(actual, definition, _guesses(before, actual, definition))


def deviates(before: Before, weights: Updated, slots: Updated) -> float:
    """Return how far an update is from the definition, relative to how far that moves."""
    actual = _together(before, weights, slots)
    definition = _together(before, *step(before))
    return max(float(np.abs(actual[name] - definition[name]).max()) for name in definition)


def _together(before: Before, weights: Updated, slots: Updated) -> Updated:
    """Return changes of weights, and slots, each kind divided by its largest value.

    So that neither is drowned in the other: a rate of 1e-3 leaves small changes and large slots.
    """
    found: Updated = {}
    exact = step(before)
    moves = {n: np.asarray(weights[n], dtype=np.float64) - before.weights[n] for n in exact[0]}
    truth = {n: exact[0][n] - before.weights[n] for n in exact[0]}
    found |= _scaled(moves, truth)
    for slot in RULES[before.task.rule].slots:
        names = [key for key in exact[1] if key.startswith(f"{slot}/")]
        found |= _scaled({k: slots[k] for k in names}, {k: exact[1][k] for k in names})
    return found


def _scaled(arrays: Updated, truth: Updated) -> Updated:
    size = max((float(np.abs(a).max()) for a in truth.values() if a.size), default=0.0) or 1.0
    return {name: np.asarray(array, dtype=np.float64) / size for name, array in arrays.items()}


def _guesses(before: Before, actual: Updated, definition: Updated) -> Iterator[Guess]:
    def guess(text: str, changed: Before, update: Update | None = None) -> Guess:
        return Guess(text, _together(before, *_stepped(changed, update)))

    yield from (guess(*found) for found in _decays(before))
    yield from (guess(*found) for found in _momenta(before))
    yield from (guess(*found) for found in _clippings(before))
    yield from (guess(*found) for found in _corrections(before))
    if "epsilon" in before.scalars:
        yield from _epsilons(before, actual)
    yield from _still(before, actual, definition)
    yield from _rate(before, actual)


def _stepped(before: Before, update: Update | None) -> tuple[Updated, Updated]:
    if update is None:
        return step(before)
    names, weights, slots = RULES[before.task.rule].slots, {}, {}
    for name, gradient in before.clipped().items():
        old = tuple(np.asarray(before.slots[s][name], dtype=np.float64) for s in names)
        weight = np.asarray(before.weights[name], dtype=np.float64)
        decays = name in before.task.decayed
        weights[name], new = update(weight, gradient, old, before.scalars, decays)
        slots.update({f"{s}/{name}": a for s, a in zip(names, new, strict=True)})
    return weights, slots


# in words, what is given, and the update where it is another one
Found = tuple[str, Before, Update | None]


def _rule(before: Before) -> Update:
    update = RULES[before.task.rule].update
    return lambda w, g, slots, c, decays: update(w, g, slots, c, decays, np.sqrt)


def _decays(before: Before) -> Iterator[Found]:
    task, rule = before.task, _rule(before)
    if not task.decayed:
        return
    everything, nothing = replace(task, decayed=task.trainable), replace(task, decayed=())
    if task.rule == "adamw":
        update = RULES["adam"].update

        def coupled(w: Array, g: Array, slots: Any, c: Any, decays: bool) -> Any:
            # keep = 1 − lr·λ
            decay = (1.0 - c["keep"]) / c["learning_rate"]
            return update(w, g, slots, {**c, "weight_decay": decay}, decays, np.sqrt)

        if before.scalars.get("learning_rate", 0.0) > 0:
            said = "weight decay is coupled (g ← g + λ·w, L2), not decoupled as AdamW's"
            yield said, before, coupled
    else:

        def decoupled(w: Array, g: Array, slots: Any, c: Any, decays: bool) -> Any:
            new, after = rule(w, g, slots, c, False)
            return (new - c["learning_rate"] * c["weight_decay"] * w if decays else new), after

        yield (
            "weight decay is decoupled (w ← w − lr·λ·w, as AdamW's and Keras's), not coupled "
            "(g ← g + λ·w)",
            before,
            decoupled,
        )
    if task.decayed != task.trainable:
        more = replace(before, task=everything)
        yield "weight decay applies to every tensor, biases and norms too", more, None
    yield "weight decay is not applied", replace(before, task=nothing), None


def _momenta(before: Before) -> Iterator[Found]:
    rule = before.task.rule
    if rule not in ("sgd_momentum", "sgd_nesterov"):
        return
    nesterov = rule == "sgd_nesterov"
    other = RULES["sgd_momentum" if nesterov else "sgd_nesterov"].update
    said = (
        "plain momentum, not Nesterov's" if nesterov else "Nesterov's momentum, not the plain one"
    )
    yield said, before, lambda w, g, s, c, d: other(w, g, s, c, d, np.sqrt)

    def inside(sign: float) -> Update:
        def update(w: Array, g: Array, slots: Any, c: Any, decays: bool) -> Any:
            g = g + c["weight_decay"] * w if decays else g
            velocity = c["momentum"] * slots[0] + sign * c["learning_rate"] * g
            moved = sign * velocity
            if nesterov:
                moved = c["learning_rate"] * g + c["momentum"] * moved
            return w - moved, (velocity,)

        return update

    for sign, form in ((1.0, "v ← μ·v + lr·g; w ← w − v"), (-1.0, "v ← μ·v − lr·g; w ← w + v")):
        yield (
            f"the learning rate is inside of the velocity ({form}), not outside (b ← μ·b + g; "
            "w ← w − lr·b); the same only while the rate is constant",
            before,
            inside(sign),
        )

    def dampened(w: Array, g: Array, slots: Any, c: Any, decays: bool) -> Any:
        g = g + c["weight_decay"] * w if decays else g
        buffer = c["momentum"] * slots[0] + (1.0 - c["momentum"]) * g
        moved = g + c["momentum"] * buffer if nesterov else buffer
        return w - c["learning_rate"] * moved, (buffer,)

    yield "momentum is dampened (b ← μ·b + (1 − μ)·g)", before, dampened


def _clippings(before: Before) -> Iterator[Found]:
    if not before.task.clips:
        norm = global_norm(before.clipped())
        clipped = {n: g * min(1.0, 1.0 / (norm + 1e-6)) for n, g in before.clipped().items()}
        if norm > 1.0:
            changed = replace(before, gradients=clipped)
            yield "gradients are clipped at a norm of 1, which nobody asked for", changed, None
        return
    free = replace(before, task=replace(before.task, clips=False))
    yield "gradients are not clipped", free, None
    limit = before.scalars["clip_norm"]
    each = {
        name: np.asarray(g) * min(1.0, limit / (float(np.sqrt((g**2).sum())) + 1e-6))
        for name, g in before.gradients.items()
    }
    said = "each gradient is clipped by its own norm, not by that of all together"
    yield said, replace(free, gradients=each), None


def _with(before: Before, **scalars: float) -> Before:
    changed = {name: np.array([value]) for name, value in scalars.items()}
    return replace(before, plan=replace(before.plan, scalars={**before.plan.scalars, **changed}))


def _corrections(before: Before) -> Iterator[Found]:
    c = before.scalars
    if "step_size" not in c:
        return
    bare = _with(before, step_size=c["learning_rate"], root2=1.0)
    yield "Adam's bias corrections are missing", bare, None
    # 1 − β₂ᵗ of a β that is kept in single precision, and t from what the double one gives.
    steps = round(float(np.log1p(-(c["root2"] ** 2)) / np.log(c["beta2"]))) if c["beta2"] else 1
    single = {name: float(np.float32(c[name])) for name in ("beta1", "beta2")}
    rounded = _with(
        before,
        **single,
        new1=1.0 - single["beta1"],
        new2=1.0 - single["beta2"],
        step_size=c["learning_rate"] / (1.0 - single["beta1"] ** steps),
        root2=float(np.sqrt(1.0 - single["beta2"] ** steps)),
    )
    yield "β₁ and β₂ are in single precision", rounded, None


def _epsilons(before: Before, actual: Updated) -> Iterator[Guess]:
    stated, name = before.scalars["epsilon"], before.task.rule
    adam = "root2" in before.scalars

    def inside(epsilon: float) -> Update:
        # √(v̂ + ε): the same rule with a root that adds it, and none outside.
        rule = RULES[name].update
        share = before.scalars["root2"] ** 2 if adam else 1.0

        def update(w: Array, g: Array, slots: Any, c: Any, decays: bool) -> Any:
            def root(square: Array) -> Array:
                return np.asarray(np.sqrt(square + epsilon * share))

            return rule(w, g, slots, {**c, "epsilon": 0.0}, decays, root)

        return update

    def predicted(changed: Before, update: Update | None = None) -> Updated:
        return _together(before, *_stepped(changed, update))

    fitted, found = fitted_epsilon(lambda e: predicted(_with(before, epsilon=e)), actual)
    text = f"{name}'s epsilon is {fitted:.4g}, not {stated:g}"
    if adam and not power_of_ten(fitted):
        scaled = fitted * before.scalars["root2"]
        if power_of_ten(scaled):
            text = (
                f"{name}'s epsilon is {scaled:.4g}, added before the bias correction (Keras's form "
                f"lr·√(1 − β₂ᵗ)/(1 − β₁ᵗ)·m/(√v + ε)), not {stated:g} after it"
            )
    yield Guess(text, found)
    within, also = fitted_epsilon(lambda e: predicted(before, inside(e)), actual)
    yield Guess(
        f"{name}'s epsilon is {within:.4g} inside of the root, not {stated:g} outside", also
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


def _rate(before: Before, actual: Updated) -> Iterator[Guess]:
    names = before.task.trainable
    right = _together(before, *step(before))
    size = sum(float((right[name] ** 2).sum()) for name in names)
    if size > 0:
        factor = sum(float((right[name] * actual[name]).sum()) for name in names) / size
        scaled = {n: factor * a if n in names else a for n, a in right.items()}
        yield Guess(f"the learning rate is {factor:.6g} times the one handed over", scaled)
