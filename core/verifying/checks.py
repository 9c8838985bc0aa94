"""Rows of a verification: a value, what it may be at most, and PASS, FAIL or ABSTAIN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, isnan
from typing import Any, Literal

import numpy as np

from paribus.verifying.distances import Distances
from paribus.verifying.tolerances import (
    BLIND_FLOOR,
    DROWNED,
    FIXED,
    FLOOR,
    NOISE_FACTOR,
    RATE_FLOOR,
)

Verdict = Literal["PASS", "FAIL", "ABSTAIN"]

TITLES = {
    "forward_evaluation": "forward, evaluation",
    "forward_training": "forward, training",
    "loss": "loss, first step",
    "gradients": "gradients, first step",
    "learning_rates": "learning rates",
    "losses": "loss, every step",
    "weights": "weights",
    "slots": "optimizer slots",
    "statistics": "BatchNorm statistics",
}
# These are of one pass, from weights that are equal: nothing has had time to grow.
IMMEDIATE = ("forward_evaluation", "forward_training", "loss", "gradients")


@dataclass(frozen=True)
class Check:
    """One quantity of one backend.

    Attributes:
        backend: whose.
        quantity: a key of ``TITLES``.
        verdict: the judgement.
        value: the relative difference that decided; None where there is none.
        tolerance: what it may be at most; None where nothing was judged.
        where: the tensor or the step of ``value``, or an empty string.
        reason: of an ABSTAIN, or what else there is to say.
        noise: relative differences from oneself, of the reference and of the backend, where they
            were measured.
        details: every tensor's or step's difference.
    """

    backend: str
    quantity: str
    verdict: Verdict
    value: float | None = None
    tolerance: float | None = None
    where: str = ""
    reason: str = ""
    noise: tuple[float, float] | None = None
    details: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; a number that is not finite is null."""
        return {
            "backend": self.backend,
            "quantity": self.quantity,
            "verdict": self.verdict,
            "value": _number(self.value),
            "tolerance": _number(self.tolerance),
            "where": self.where,
            "reason": self.reason,
            "noise": None
            if self.noise is None
            else {"reference": _number(self.noise[0]), "own": _number(self.noise[1])},
            "details": {name: _number(value) for name, value in self.details.items()},
        }


def abstained(backend: str, reason: str) -> list[Check]:
    """Return a row for every quantity, none of them judged."""
    return [Check(backend, quantity, "ABSTAIN", reason=reason) for quantity in TITLES]


@dataclass(frozen=True)
class Noise:
    """What two backends differ from themselves by.

    Attributes:
        reference, own: of the reference and of the backend that is judged.
        precision: of the runs.
        blind: whether either could not be compared with its own float64.
        factor: how many times the noise is allowed.
    """

    reference: Distances
    own: Distances
    precision: str
    blind: bool = False
    factor: float = NOISE_FACTOR

    @property
    def floor(self) -> float:
        """A difference that is always allowed."""
        return (BLIND_FLOOR if self.blind else FLOOR)[self.precision]


def judge(backend: str, distances: Distances, noise: Noise | None = None) -> list[Check]:
    """Return a row for every quantity: by fixed tolerances, or by noise where it is given.

    In float64 noise only ever widens the fixed tolerance.
    """
    return [judge_one(backend, quantity, distances, noise) for quantity in TITLES]


def judge_one(backend: str, quantity: str, distances: Distances, noise: Noise | None) -> Check:
    """Return the row of one quantity; see ``judge``."""
    values = _values(getattr(distances, quantity), quantity)
    if not values:
        return Check(
            backend, quantity, "ABSTAIN", reason=_NOTHING.get(quantity, "nothing to compare")
        )
    if quantity == "learning_rates" and any(isnan(value) for value in values.values()):
        reason = "the rate is 0, or the update does not follow the rule, so no rate can be read"
        return Check(backend, quantity, "ABSTAIN", reason=reason, details=values)
    if noise is None:
        worst = max(values, key=lambda name: values[name])
        verdict: Verdict = "PASS" if values[worst] <= FIXED[quantity] else "FAIL"
        return Check(
            backend, quantity, verdict, values[worst], FIXED[quantity], worst, details=values
        )
    return _by_noise(backend, quantity, values, noise)


def _by_noise(backend: str, quantity: str, values: dict[str, float], noise: Noise) -> Check:
    ours, theirs = (
        _grown(_values(getattr(one, quantity), quantity), quantity)
        for one in (noise.reference, noise.own)
    )
    loud = {name: max(ours[name], theirs[name]) for name in values}
    if noise.blind and quantity != "losses":
        # Samples of two runs: those of all tensors together say more than a single one's.
        loud = dict.fromkeys(values, max(loud.values()))
    exact = noise.precision == "float64"
    least = FIXED[quantity] if exact else noise.floor
    if quantity == "learning_rates" and not exact:
        least = max(least, RATE_FLOOR)
    judged = [name for name in values if loud[name] <= DROWNED]
    if not judged:
        name = max(values, key=lambda name: values[name])
        reason = f"own noise of {loud[name]:.1e} leaves nothing to compare"
        return Check(backend, quantity, "ABSTAIN", values[name], None, name, reason,
                     (ours[name], theirs[name]), values)  # fmt: skip
    allowed = {name: max(least, noise.factor * loud[name]) for name in judged}
    worst = max(judged, key=lambda name: values[name] / allowed[name])
    verdict: Verdict = "PASS" if values[worst] <= allowed[worst] else "FAIL"
    return Check(backend, quantity, verdict, values[worst], allowed[worst], worst,
                 _drowned(quantity, values, judged),
                 (ours[worst], theirs[worst]), values)  # fmt: skip


def _drowned(quantity: str, values: dict[str, float], judged: list[str]) -> str:
    left = [name for name in values if name not in judged]
    if not left:
        return ""
    if quantity == "losses":
        return f"from {left[0]} on its own noise leaves nothing to compare"
    return f"{len(left)} of {len(values)} tensors have more noise than can be compared"


def _grown(values: dict[str, float], quantity: str) -> dict[str, float]:
    """Return noise of steps as what it has been up to each; of anything else as it is."""
    if quantity != "losses":
        return {name: 0.0 if isnan(value) else value for name, value in values.items()}
    return dict(zip(values, np.maximum.accumulate(list(values.values())).tolist(), strict=True))


def _values(found: Any, quantity: str) -> dict[str, float]:
    """Return a quantity's differences by tensor or step."""
    if isinstance(found, Mapping):
        return {name: float(value) for name, value in found.items()}
    if isinstance(found, float):
        return {"": found}
    titles = (
        ["first step", "last step"]
        if quantity == "learning_rates"
        else [f"step {number}" for number in range(1, len(found) + 1)]
    )
    return dict(zip(titles, (float(value) for value in found), strict=True))


def _number(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else value


_NOTHING = {
    "slots": "the update rule keeps no state",
    "statistics": "the network has no statistics",
    "gradients": "nothing is trained",
    "weights": "the network has no parameters",
}
