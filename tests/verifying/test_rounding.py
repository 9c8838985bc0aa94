"""Adam makes steps of rounding: what it may make of it is no difference, and all else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paribus.adapter import Task
from paribus.optimizers import RULES
from paribus.plan import TrainPlan
from paribus.verifying.formula import Before, step
from paribus.verifying.rounding import beyond_rounding

# The first step of Adam with a rate of 1e-3.
SCALARS = {"beta1": 0.9, "beta2": 0.999, "new1": 0.1, "new2": 0.001, "step_size": 1e-2,
           "root2": np.sqrt(0.001), "epsilon": 1e-8}  # fmt: skip
# Of a shift that is taken away again: zero, but for rounding.
NOTHING = np.array([3e-13, -6e-13])
REAL = np.array([0.4, -0.02])


def _before(nothing: Any, **scalars: float) -> Before:
    zeros = {"nothing": np.zeros(2), "real": np.zeros(2)}
    task = Task("adam", ("nothing", "real"))
    plan = TrainPlan(
        np.zeros((1, 1, 1), np.int64),
        np.ones((1, 1), np.int64),
        np.ones((1, 1, 1)),
        {name: np.array([value]) for name, value in {**SCALARS, **scalars}.items()},
    )
    slots = {slot: dict(zeros) for slot in ("mean", "square")}
    return Before(task, dict(zeros), slots, {"nothing": nothing, "real": REAL}, plan)


def _moves(nothing: Any, **scalars: float) -> dict[str, Any]:
    return step(_before(nothing, **scalars))[0]


def test_steps_made_of_rounding_are_no_difference() -> None:
    ours, theirs = _moves(NOTHING), _moves(-NOTHING)
    assert np.abs(ours["nothing"] - theirs["nothing"]).max() > 1e-9
    found = beyond_rounding(_before(NOTHING), ours, theirs, ["nothing"])
    assert found["nothing"] == pytest.approx(ours["nothing"], abs=0)
    # Nobody was in doubt of the other one.
    assert found["real"] is theirs["real"]


def test_another_epsilon_still_is_one() -> None:
    ours, theirs = _moves(NOTHING), _moves(NOTHING, epsilon=1e-7)
    found = beyond_rounding(_before(NOTHING), ours, theirs, ["nothing", "real"])
    apart = np.abs(theirs["real"] - ours["real"])
    # The room is a hundred thousandth of what an epsilon ten times larger does here.
    np.testing.assert_allclose(np.abs(found["real"] - ours["real"]), apart, rtol=0.05)


def _quotients(nothing: Any, real: Any = REAL) -> tuple[Before, dict[str, Any]]:
    """The first step of RMSprop with momentum, which divides and keeps the quotient in a slot."""
    zeros = {"nothing": np.zeros(2), "real": np.zeros(2)}
    rule = RULES["rmsprop_momentum"]
    values = {"weight_decay": 0.0, "momentum": 0.9, "alpha": 0.99, "epsilon": 1e-8}
    plan = TrainPlan(
        np.zeros((1, 1, 1), np.int64),
        np.ones((1, 1), np.int64),
        np.ones((1, 1, 1)),
        rule.coefficients(values, np.array([1e-4]), np.array([1.0])),
    )
    task = Task("rmsprop_momentum", ("nothing", "real"))
    gradients = {"nothing": nothing, "real": real}
    before = Before(task, zeros, dict.fromkeys(rule.slots, zeros), gradients, plan)
    return before, step(before)[1]


def test_slots_made_of_rounding_are_no_difference() -> None:
    before, ours = _quotients(NOTHING)
    theirs = _quotients(-NOTHING, 1.001 * REAL)[1]
    apart = np.abs(ours["momentum/nothing"] - theirs["momentum/nothing"]).max()
    assert apart > 1e-6 * np.abs(ours["momentum/real"]).max()
    found = beyond_rounding(before, ours, theirs, ["nothing", "real"])
    assert found["momentum/nothing"] == pytest.approx(ours["momentum/nothing"], abs=0)
    # A gradient that is a thousandth larger is no rounding.
    apart = np.abs(ours["square/real"] - theirs["square/real"])
    np.testing.assert_allclose(np.abs(found["square/real"] - ours["square/real"]), apart, rtol=1e-3)
