"""One run of a subject on one session, and everything about it that is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from paribus.adapter import Array, Session, Tensors
from paribus.draws import Floats
from paribus.errors import NonFiniteLoss
from paribus.verifying.formula import Before, applied_rate
from paribus.verifying.subject import Subject

Slots = Mapping[str, Tensors]


@dataclass(frozen=True)
class State:
    """Weights and statistics, and the optimizer's slots; all by canonical names."""

    weights: dict[str, Array]
    slots: dict[str, dict[str, Array]]

    @classmethod
    def of(cls, session: Session) -> State:
        """Return a session's state now."""
        return cls(session.export_weights(), session.export_optimizer())

    def into(self, session: Session) -> None:
        """Give a session this state."""
        session.import_weights(self.weights)
        session.import_optimizer(self.slots)


@dataclass(frozen=True)
class Observation:
    """What a subject looks like on one session.

    Attributes:
        forward_evaluation, forward_training: outputs of the probe [rows, C] or [rows, M, C].
        loss, gradients: of the first step.
        losses: float64 [N], of every step.
        handed, applied: float64 [2], the learning rates of the first and the last step: what the
            plan says, and what the change of the weights shows; NaN where it shows none.
        weights, statistics: parameters and statistics after the last step, by canonical name.
        slots: the optimizer's state after the last step, by ``slot/name``.
    """

    forward_evaluation: Array
    forward_training: Array
    loss: float
    gradients: dict[str, Array]
    losses: Floats
    handed: Floats
    applied: Floats
    weights: dict[str, Array]
    slots: dict[str, Array]
    statistics: dict[str, Array]


def observe(session: Session, subject: Subject, precision: str) -> Observation:
    """Run a subject on a session from its first weights and return what came of it.

    Raises:
        ParibusError: whatever the session raises.
    """
    network = subject.network
    session.import_weights(subject.weights)
    handle = session.put(subject.x, subject.y)
    evaluation = session.forward(handle, subject.probe, training=False)
    training = session.forward(handle, subject.probe, training=True)
    loss, gradients = session.gradients(handle, subject.plans[0])
    losses, rates = np.zeros(subject.steps), []
    state = State.of(session)
    for step, plan in enumerate(subject.plans):
        first, last = step == 0, step == subject.steps - 1
        if last and not first:
            state = State.of(session)
            here = session.gradients(handle, plan)[1]
        else:
            here = gradients
        losses[step] = session.train_steps(handle, plan).result().losses[0]
        if first or last:
            before = Before(subject.task, state.weights, state.slots, here, plan)
            state = State.of(session)
            rates.append(applied_rate(before, state.weights, precision))
    session.free(handle)
    handed = [float(p.scalars["learning_rate"][0]) for p in (subject.plans[0], subject.plans[-1])]
    kinds = {name: tensor.kind for name, tensor in network.tensors.items()}
    return Observation(
        evaluation,
        training,
        loss,
        gradients,
        losses,
        np.array(handed),
        np.array([rates[0], rates[-1]]),
        {name: a for name, a in state.weights.items() if kinds[name] == "parameter"},
        flat(state.slots),
        {name: a for name, a in state.weights.items() if kinds[name] == "statistic"},
    )


def flat(slots: Slots) -> dict[str, Array]:
    """Return slots by ``slot/name``."""
    return {f"{slot}/{n}": a for slot, tensors in slots.items() for n, a in tensors.items()}


def require_finite(observation: Observation, name: str) -> None:
    """Require a reference that has not diverged.

    Raises:
        NonFiniteLoss: it names the first step whose loss is no finite number.
    """
    bad = np.flatnonzero(~np.isfinite(observation.losses))
    if bad.size:
        raise NonFiniteLoss(
            f"the loss of the reference {name} became {observation.losses[bad[0]]} at optimizer "
            f"step {bad[0] + 1}, so nothing can be compared with it; lower the learning rate, set "
            "clip_norm, or verify fewer --steps"
        )
