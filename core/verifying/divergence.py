"""Where and why a backend parts from the reference: the step, the stage, the tensor, the cause.

It is looked for in float64 wherever both have it, whatever precision failed: a wrong definition
shows there, and nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

from paribus.adapter import Session
from paribus.native.network import NativeNetwork
from paribus.native.pairs import Pair
from paribus.verifying.locating import Difference, Locator
from paribus.verifying.lockstep import first_difference
from paribus.verifying.observing import State
from paribus.verifying.party import Party
from paribus.verifying.subject import Subject


@dataclass(frozen=True)
class Divergence:
    """The first difference of a backend from the reference.

    Attributes:
        backend: whose; reference: of whom.
        step: the optimizer step, from 1; None where no step by itself differs.
        difference: the first stage of it that differs; None where none does by itself.
        reason: in words, where there is no difference to show.
    """

    backend: str
    reference: str
    step: int | None = None
    difference: Difference | None = None
    reason: str = ""

    @property
    def found(self) -> bool:
        """Whether a step by itself differs."""
        return self.step is not None

    @property
    def who(self) -> str:
        """The backend that departs from the definition; empty where that is not known."""
        if self.difference is None or not self.difference.deviates:
            return ""
        return self.backend if self.difference.deviates == "backend" else self.reference

    @property
    def cause(self) -> str:
        """What was done instead of the definition, or that nothing explains it."""
        if self.difference is None:
            return self.reason
        found, hints = self.difference.explanation, self.difference.hints
        if found is None and hints:
            return f"likely, by what the modules declare: {'; '.join(hints)}"
        return "unexplained" if found is None else found.text

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        one = self.difference
        found = None if one is None else one.explanation
        return {
            "backend": self.backend,
            "reference": self.reference,
            "step": self.step,
            "stage": None if one is None else one.stage,
            "name": None if one is None else one.name,
            "value": None if one is None or not isfinite(one.value) else one.value,
            "tolerance": None if one is None else one.tolerance,
            "departs_from_the_definition": self.who or None,
            "cause": self.cause,
            "declared_otherwise": [] if one is None else list(one.hints),
            "explained": found is not None,
            "left_unexplained": None if found is None else found.left,
        }


def diverge(subject: Subject, reference: Party, party: Party, at_once: bool) -> Divergence:
    """Return where a backend parts from the reference.

    Args:
        subject: what they ran; reference, party: the two.
        at_once: whether they differ before the first update, so that it is the first step.
    """
    names = (party.name, reference.name)
    for one in (reference, party):
        refusal = one.refusal(subject, "float64")
        if refusal is not None:
            return Divergence(*names, reason=f"the cause is looked for in float64, but {refusal}")
    pair = _pair(subject, reference, party)
    with reference.open(subject, "float64") as ours, party.open(subject, "float64") as theirs:
        if at_once:
            ours.import_weights(subject.weights)
            found = Locator(ours, theirs, subject, 0, State.of(ours), pair).find()
            if found is not None:
                return Divergence(*names, 1, found)
        return _stepwise(ours, theirs, subject, names, pair)


def _pair(subject: Subject, reference: Party, party: Party) -> Pair | None:
    """Return the two models where they are the user's own."""
    if not isinstance(subject.network, NativeNetwork):
        return None
    names = (reference.name, party.name)
    found = subject.inspections
    return Pair(subject.network, names, (found[names[0]], found[names[1]]))


def _stepwise(
    ours: Session, theirs: Session, subject: Subject, names: tuple[str, str], pair: Pair | None
) -> Divergence:
    stepped = first_difference(ours, theirs, subject)
    if stepped is None:
        reason = (
            "no step by itself differs in float64: from the same state both do the same, and what "
            "differs has grown from rounding, or is done only in the lower precision"
        )
        return Divergence(*names, reason=reason)
    found = Locator(ours, theirs, subject, stepped.number, stepped.before, pair).find()
    reason = "" if found else "the step differs, but none of its stages does by itself"
    return Divergence(*names, stepped.number + 1, found, reason)
