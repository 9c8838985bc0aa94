"""Update rules that a backend may have instead of its task's, in words and as computations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from paribus.adapter import Array
from paribus.optimizers import RULES
from paribus.verifying.formula import Before, global_norm, step

Updated = dict[str, Array]
# (weight, gradient, slots, scalars, decays) → (weight, slots); as ``Rule.update``
Update = Callable[
    [Array, Array, tuple[Array, ...], Mapping[str, float], bool], tuple[Array, tuple[Array, ...]]
]


def stepped(before: Before, update: Update | None) -> tuple[Updated, Updated]:
    """Return weights and slots after a step by ``update``, or by the task's rule without one."""
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


def decays(before: Before) -> Iterator[Found]:
    """Yield other ways of weight decay."""
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


def momenta(before: Before) -> Iterator[Found]:
    """Yield other conventions of momentum."""
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


def clippings(before: Before) -> Iterator[Found]:
    """Yield other ways of clipping."""
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


def having(before: Before, **scalars: float) -> Before:
    """Return the step with some scalars replaced."""
    changed = {name: np.array([value]) for name, value in scalars.items()}
    return replace(before, plan=replace(before.plan, scalars={**before.plan.scalars, **changed}))


def corrections(before: Before) -> Iterator[Found]:
    """Yield other bias corrections of Adam's."""
    c = before.scalars
    if "step_size" not in c:
        return
    bare = having(before, step_size=c["learning_rate"], root2=1.0)
    yield "Adam's bias corrections are missing", bare, None
    # 1 − β₂ᵗ of a β that is kept in single precision, and t from what the double one gives.
    steps = round(float(np.log1p(-(c["root2"] ** 2)) / np.log(c["beta2"]))) if c["beta2"] else 1
    single = {name: float(np.float32(c[name])) for name in ("beta1", "beta2")}
    rounded = having(
        before,
        **single,
        new1=1.0 - single["beta1"],
        new2=1.0 - single["beta2"],
        step_size=c["learning_rate"] / (1.0 - single["beta1"] ** steps),
        root2=float(np.sqrt(1.0 - single["beta2"] ** steps)),
    )
    yield "β₁ and β₂ are in single precision", rounded, None
