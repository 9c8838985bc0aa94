"""The first optimizer step that two backends take differently, from the same state.

Before each step the other backend is given the reference's weights and optimizer state, so that
what a step does is compared and not what earlier ones have left: rounding does not add up, and a
difference belongs to the step that makes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from paribus.adapter import Array, Session, Tensors
from paribus.verifying import distances
from paribus.verifying.formula import Before
from paribus.verifying.observing import State, flat
from paribus.verifying.rounding import beyond_rounding
from paribus.verifying.subject import Subject
from paribus.verifying.tolerances import STEP

# A weight of 1 in float64 is rounded to 1e-16, which is 1e-10 of a change of this size.
LEAST_CHANGE = 1e-6


@dataclass(frozen=True)
class Stepped:
    """One step of two backends from the same state.

    Attributes:
        number: from 0.
        before: the state; ours, theirs: what the reference and the other made of it.
        losses: of the reference and of the other.
        differences: quantity (``loss``, ``weights``, ``slots``, ``statistics``) → tensor →
            difference; of the weights relative to how far they moved, and without what rounding
            in the gradients explains.
    """

    number: int
    before: State
    ours: State
    theirs: State
    losses: tuple[float, float]
    differences: dict[str, dict[str, float]]

    @property
    def differs(self) -> bool:
        """Whether anything is further apart than rounding makes it."""
        return any(
            value > STEP[quantity]
            for quantity, values in self.differences.items()
            for value in values.values()
        )


def first_difference(reference: Session, other: Session, subject: Subject) -> Stepped | None:
    """Return the first step that differs; None where every step of the subject is the same.

    Args:
        reference, other: float64 sessions of the subject's network and task.
        subject: whose plans are run.
    """
    reference.import_weights(subject.weights)
    handles = [session.put(subject.x, subject.y) for session in (reference, other)]
    before = State.of(reference)
    for number in range(subject.steps):
        stepped = _step(reference, other, handles, subject, number, before)
        if stepped.differs:
            return stepped
        before = stepped.ours
    return None


def one_step(
    reference: Session, other: Session, subject: Subject, number: int, before: State
) -> Stepped:
    """Return step ``number`` (from 0) of a subject, from a state that both are given."""
    before.into(reference)
    handles = [session.put(subject.x, subject.y) for session in (reference, other)]
    return _step(reference, other, handles, subject, number, before)


def _step(
    reference: Session,
    other: Session,
    handles: list[object],
    subject: Subject,
    number: int,
    before: State,
) -> Stepped:
    before.into(other)
    plan = subject.plans[number]
    losses = tuple(
        float(session.train_steps(handle, plan).result().losses[0])
        for session, handle in zip((reference, other), handles, strict=True)
    )
    ours, theirs = State.of(reference), State.of(other)
    moves = _Moves.of(subject, before, ours, theirs)
    weights, left, right = moves.differences(), flat(ours.slots), flat(theirs.slots)
    slots = distances.by_slot(left, right)
    doubted = {name for name, value in weights.items() if value > STEP["weights"]}
    doubted |= {name.split("/", 1)[1] for name, value in slots.items() if value > STEP["slots"]}
    if doubted:
        before.into(reference)
        gradients = reference.gradients(handles[0], plan)[1]
        ours.into(reference)
        moment = Before(subject.task, before.weights, before.slots, gradients, plan)
        found = beyond_rounding(moment, moves.ours | left, moves.theirs | right, doubted)
        weights = replace(moves, theirs=found).differences()
        slots = distances.by_slot(left, found)
    differences = {
        "loss": {"": distances.array(np.array(losses[0]), np.array(losses[1]))},
        "weights": weights,
        "slots": slots,
        "statistics": distances.by_tensor(
            _kind(subject, ours.weights, "statistic"), _kind(subject, theirs.weights, "statistic")
        ),
    }
    return Stepped(number, before, ours, theirs, (losses[0], losses[1]), differences)


@dataclass(frozen=True)
class _Moves:
    """How far each parameter moved on either backend, float64; least: what counts as a move."""

    ours: dict[str, Array]
    theirs: dict[str, Array]
    least: float

    @classmethod
    def of(cls, subject: Subject, before: State, ours: State, theirs: State) -> _Moves:
        start = _kind(subject, before.weights, "parameter")
        size = max((float(np.abs(array).max()) for array in start.values()), default=0.0)
        left, right = (
            {
                name: np.asarray(after.weights[name], dtype=np.float64) - start[name]
                for name in start
            }
            for after in (ours, theirs)
        )
        return cls(left, right, LEAST_CHANGE * size)

    def differences(self) -> dict[str, float]:
        return distances.by_tensor(self.ours, self.theirs, self.least)


def _kind(subject: Subject, tensors: Tensors, kind: str) -> dict[str, Array]:
    wanted = [name for name, tensor in subject.network.tensors.items() if tensor.kind == kind]
    return {name: np.asarray(tensors[name], dtype=np.float64) for name in wanted}
