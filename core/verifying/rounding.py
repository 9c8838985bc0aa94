"""What of a step's difference is more than rounding in its gradients makes.

Adam and RMSprop divide a gradient by its own size. Where one is zero by construction (of a shift
that the next BatchNorm takes away again, of an attention's keys' bias) what is left of it is
rounding, which is another one on every backend, and the division makes a step of it. Two backends
whose gradients agree may therefore move such a weight differently, and both are right. RMSprop with
momentum keeps the quotient in a slot, which differs in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from paribus.adapter import Array
from paribus.verifying.distances import SHARE
from paribus.verifying.formula import Before, step
from paribus.verifying.tolerances import GRADIENT


def beyond_rounding(
    before: Before,
    ours: Mapping[str, Array],
    theirs: Mapping[str, Array],
    names: Collection[str],
) -> dict[str, Array]:
    """Return what the others' step did, moved towards ours by what rounding may make of it.

    By the definition's own formula: as far as the step changes where every gradient is larger or
    smaller by what the gradients of two backends may differ.

    Args:
        before: the step, with one backend's gradients.
        ours, theirs: float64, how far each weight moved, by canonical name, and the slots that the
            step left, as ``slot/name``; either may be missing.
        names: of the weights that are in doubt, with their slots; of others all is returned as it
            is.
    """
    top = max((float(np.abs(g).max()) for g in before.gradients.values() if g.size), default=0.0)
    doubted = [name for name in before.gradients if name in names]
    # Where gradients are clipped, each has its part in the others' steps.
    moved = before.gradients if before.task.clips else doubted
    room = {
        name: GRADIENT * max(float(np.abs(before.gradients[name]).max(initial=0.0)), SHARE * top)
        for name in moved
    }
    found = dict(theirs)
    reached = [_step(before, room, sign, doubted) for sign in (-1.0, 0.0, 1.0)]
    for name in found.keys() & reached[0].keys():
        among = np.stack([one[name] for one in reached])
        allowed = among.max(axis=0) - among.min(axis=0)
        apart = theirs[name] - ours[name]
        left = np.maximum(np.abs(apart) - allowed, 0.0)
        found[name] = ours[name] + np.sign(apart) * left
    return found


def _step(
    before: Before, room: Mapping[str, float], sign: float, names: Collection[str]
) -> dict[str, Array]:
    gradients = before.gradients
    if not before.task.clips:
        gradients = {name: gradients[name] for name in names}
    moved = {name: np.asarray(g) + sign * room[name] for name, g in gradients.items()}
    weights, slots = step(replace(before, gradients=moved), names)
    return weights | slots
