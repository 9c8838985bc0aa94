"""Where inside of one optimizer step two backends part: the first stage, and its first tensor.

Both are given the reference's state before the step. Stages are gone through in the order in which
they depend on one another: what every node computes in evaluation and in training mode, the loss,
the gradients from the output side, the update, the running statistics. The first that differs is
named, and everything after it follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paribus.adapter import Array, Session
from paribus.native.network import NATIVE
from paribus.native.pairs import Pair
from paribus.plan import EvalPlan, TrainPlan
from paribus.verifying import distances
from paribus.verifying.explaining import Explanation
from paribus.verifying.explaining.backward import explain_gradients, explain_loss, plan_rows
from paribus.verifying.explaining.forward import Stretch, explain_output, inputs_of
from paribus.verifying.explaining.moments import explain_statistics
from paribus.verifying.explaining.own import Parted, explain_own_statistics
from paribus.verifying.explaining.update import deviates, explain_update
from paribus.verifying.formula import Before
from paribus.verifying.lockstep import one_step
from paribus.verifying.observing import State, flat
from paribus.verifying.subject import Subject, probe
from paribus.verifying.tolerances import ACTIVATION, FIXED, GRADIENT, STEP

OUTPUTS = "outputs"


@dataclass(frozen=True)
class Difference:
    """The first stage of a step that differs.

    Attributes:
        stage: in words.
        name: the node or tensor, or ``outputs`` where nothing is known of the inside; may be empty.
        value, tolerance: its relative difference, and what it may be at most.
        deviates: ``reference`` or ``backend``: who departs from the definition; empty where that
            is not known.
        explanation: what was done instead, where that is known.
        hints: of models of the user's own, what their modules declare otherwise just there.
    """

    stage: str
    name: str
    value: float
    tolerance: float
    deviates: str = ""
    explanation: Explanation | None = None
    hints: tuple[str, ...] = ()


class Locator:
    """Two float64 sessions in the same state, before the same step.

    Args:
        reference, other: sessions of the subject's network and task.
        subject: what they run.
        number: the step, from 0.
        state: before it.
        pair: of models of the user's own, the two; else None.
    """

    def __init__(
        self,
        reference: Session,
        other: Session,
        subject: Subject,
        number: int,
        state: State,
        pair: Pair | None = None,
    ) -> None:
        self._pair = pair
        self._outputs: dict[str, Array] = {}
        self._sessions = (reference, other)
        self._subject, self._number, self._state = subject, number, state
        self._plan: TrainPlan = subject.plans[number]
        self._handles = [session.put(subject.x, subject.y) for session in self._sessions]
        for session in self._sessions:
            state.into(session)

    def find(self) -> Difference | None:
        """Return the first stage that differs; None where all of them agree."""
        for training in (False, True):
            found = self._forward(training)
            if found is not None:
                return found
        ours, theirs = (
            session.gradients(handle, self._plan)
            for session, handle in zip(self._sessions, self._handles, strict=True)
        )
        return (
            self._loss(ours[0], theirs[0])
            or self._gradients(ours[1], theirs[1])
            or self._step(ours[1])
        )

    def _each(self, method: str, plan: EvalPlan, training: bool) -> tuple[Any, Any]:
        first, second = (
            getattr(session, method)(handle, plan, training=training)
            for session, handle in zip(self._sessions, self._handles, strict=True)
        )
        return first, second

    def _forward(self, training: bool) -> Difference | None:
        stage = f"forward, {'training' if training else 'evaluation'} mode"
        plan, network = probe(self._plan), self._subject.network
        x, positions = inputs_of(network, plan, self._subject.x)
        ours, theirs = self._each("activations", plan, training)
        agreed: dict[str, Array] = {}
        self._outputs = ours
        for node in network.nodes:
            name = node.name
            if name not in ours or name not in theirs:
                continue
            real = self._real(name, ours[name], x)
            value = distances.array(ours[name][real], theirs[name][real])
            if value > ACTIVATION and self._pair is not None:
                parted = Parted(self._pair, name, agreed, ours, theirs, self._state.weights,
                                training)  # fmt: skip
                return Difference(stage, name, value, ACTIVATION, "", parted.explanation(),
                                  parted.hints())  # fmt: skip
            if value > ACTIVATION:
                frozen = self._subject.task.frozen_norms(network)
                stretch = Stretch(network, self._state.weights, agreed, x, positions, name,
                                  training, frozen)  # fmt: skip
                return self._explained(stage, name, value, stretch, ours, theirs, real)
            agreed[name] = ours[name]
        left, right = self._each("forward", plan, training)
        value, most = distances.array(left, right), FIXED["forward_evaluation"]
        return Difference(stage, OUTPUTS, value, most) if value > most else None

    def _explained(
        self,
        stage: str,
        name: str,
        value: float,
        stretch: Stretch,
        ours: Mapping[str, Array],
        theirs: Mapping[str, Array],
        real: Any,
    ) -> Difference:
        exact = stretch.output()[real]
        off = tuple(distances.array(exact, one[name][real]) for one in (ours, theirs))
        wrong = _who(off[0], off[1], ACTIVATION)
        found = None
        if wrong:
            actual = ours[name] if wrong == "reference" else theirs[name]
            found = explain_output(stretch, actual, real)
        return Difference(stage, name, value, ACTIVATION, wrong, found)

    def _real(self, name: str, value: Array, x: Array) -> Any:
        """Return the index of what counts of a value: of texts what is no padding."""
        network = self._subject.network
        if not network.reads_tokens or name in self._after_prediction() or value.ndim < 3:
            return ...
        numbers = x[..., 0] if x.ndim == 3 else x
        return numbers[:, : value.shape[1]] >= 0

    def _after_prediction(self) -> set[str]:
        """Return the nodes whose rows are predictions, not the places of a text."""
        found: set[str] = set()
        for node in self._subject.network.nodes:
            if node.op == "predicted_tokens" or found.intersection(node.inputs):
                found.add(node.name)
        return found

    def _loss(self, ours: float, theirs: float) -> Difference | None:
        value = distances.array(np.array(ours), np.array(theirs))
        if value <= STEP["loss"]:
            return None
        outputs = None
        plan = self._plan
        drops = plan.noise is not None and self._subject.network.architecture != NATIVE
        drawn = plan.augmentation is not None or drops
        if plan.counts.shape[1] == 1 and not drawn and plan.targets is None:
            whole = probe(plan, int(plan_rows(plan).sum()))
            outputs = self._sessions[0].forward(self._handles[0], whole, training=True)
        found = explain_loss(self._subject, plan, ours, theirs, outputs)
        wrong = "backend"
        if found is None:
            found = explain_loss(self._subject, plan, theirs, ours, outputs)
            wrong = "reference" if found else ""
        return Difference("loss", "", value, STEP["loss"], wrong, found)

    def _gradients(
        self, ours: Mapping[str, Array], theirs: Mapping[str, Array]
    ) -> Difference | None:
        values = distances.by_tensor(ours, theirs)
        differing = [name for name in reversed(list(ours)) if values[name] > GRADIENT]
        if not differing:
            return None
        found = explain_gradients(ours, theirs, differing)
        wrong = "backend" if found else ""
        return Difference("gradients", differing[0], values[differing[0]], GRADIENT, wrong, found)

    def _step(self, gradients: Mapping[str, Array]) -> Difference | None:
        subject, state = self._subject, self._state
        stepped = one_step(*self._sessions, subject, self._number, state)
        before = Before(subject.task, state.weights, state.slots, gradients, self._plan)
        for quantity in ("weights", "slots"):
            values = stepped.differences[quantity]
            differing = [name for name, value in values.items() if value > STEP[quantity]]
            if differing:
                ours, theirs = (
                    (after.weights, flat(after.slots)) for after in (stepped.ours, stepped.theirs)
                )
                off = tuple(deviates(before, *one) for one in (ours, theirs))
                wrong = _who(off[0], off[1], STEP[quantity])
                found = None
                if wrong:
                    found = explain_update(before, *(ours if wrong == "reference" else theirs))
                worst = max(differing, key=lambda name: values[name])
                return Difference("update", worst, values[worst], STEP[quantity], wrong, found)
        values = stepped.differences["statistics"]
        differing = [name for name, value in values.items() if value > STEP["statistics"]]
        if not differing:
            return None
        first, second = stepped.ours.weights, stepped.theirs.weights
        name = differing[0]
        if self._pair is not None:
            found = explain_own_statistics(
                self._pair, self._plan, state.weights, first, second, self._outputs
            )
            hints = tuple(self._pair.declared(subject.network.tensors[name].node, ""))[:1]
            return Difference("statistics", name, values[name], STEP["statistics"], "", found,
                              hints)  # fmt: skip
        found = explain_statistics(subject.network, self._plan, state.weights, first, second)
        wrong = "backend"
        if found is None:
            found = explain_statistics(subject.network, self._plan, state.weights, second, first)
            wrong = "reference" if found else ""
        return Difference("statistics", name, values[name], STEP["statistics"], wrong, found)


def _who(reference: float, other: float, tolerance: float) -> str:
    """Return who departs from the definition, by how far each is from it."""
    if other > tolerance and other >= reference:
        return "backend"
    return "reference" if reference > tolerance else ""
