"""Do backends train alike? One spec's training on each, compared quantity by quantity."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paribus import registry
from paribus.adapter import Precision
from paribus.errors import BackendError, RunFolderError, SpecError, Unsupported, nearest
from paribus.native.natives import Natives
from paribus.spec.sections import Spec
from paribus.verifying.checks import IMMEDIATE, Check, Noise, abstained, judge
from paribus.verifying.distances import Distances, between
from paribus.verifying.divergence import Divergence, diverge
from paribus.verifying.observing import Observation, observe, require_finite
from paribus.verifying.own_noise import own_noise
from paribus.verifying.party import Party
from paribus.verifying.subject import Subject, subject_of
from paribus.verifying.tolerances import GROWN_FACTOR, NOISE_FACTOR

PRECISIONS: tuple[Precision, ...] = ("float64", "float32", "bfloat16")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Verification:
    """What was compared, and what came of it.

    Attributes:
        name: the experiment's; reference: the backend that the others are compared with.
        precision: of all runs; steps: optimizer steps that were taken.
        checks: a row per other backend and quantity.
        divergences: of each backend with a FAIL, where and why it parts from the reference.
        noise: backend → kind (``threads``, ``order``, ``float64``) → its distances from itself,
            where they were measured.
        notes: what a reader has to know about the choice of the training.
    """

    name: str
    reference: str
    precision: str
    steps: int
    checks: tuple[Check, ...]
    divergences: tuple[Divergence, ...] = ()
    noise: dict[str, dict[str, Distances]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing failed; what could not be judged has not failed."""
        return all(check.verdict != "FAIL" for check in self.checks)

    def check(self, backend: str, quantity: str) -> Check:
        """Return one row; quantities are the keys of ``paribus.verifying.checks.TITLES``."""
        return next(
            one for one in self.checks if (one.backend, one.quantity) == (backend, quantity)
        )

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "name": self.name,
            "reference": self.reference,
            "precision": self.precision,
            "steps": self.steps,
            "passed": self.passed,
            "checks": [check.as_dict() for check in self.checks],
            "divergences": [divergence.as_dict() for divergence in self.divergences],
            "noise": {
                name: {kind: _worst(found) for kind, found in kinds.items()}
                for name, kinds in self.noise.items()
            },
            "notes": list(self.notes),
        }

    def save(self, path: str | Path) -> None:
        """Write ``as_dict`` as a JSON file.

        Raises:
            RunFolderError: it cannot be written.
        """
        try:
            Path(path).write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise RunFolderError(
                f"{path} cannot be written: {error.strerror or error}; choose another --out"
            ) from error


def verify(
    spec: Spec,
    backends: Sequence[str],
    *,
    steps: int = 20,
    precision: Precision = "float64",
    step: str | None = None,
    device: str | None = None,
    say: Say = lambda message: None,
    accept_names: bool = False,
) -> Verification:
    """Compare how backends train a spec, each in a process of its own.

    Args:
        spec: from ``paribus.load``.
        backends: at least two names; the first is the reference.
        steps: optimizer steps, at most those of the training.
        precision: ``float64`` proves; ``float32`` and ``bfloat16`` are judged against the noise
            that each backend has by itself.
        step: ``pretrain`` or ``finetune``; by default the last of them that the spec has.
        device: instead of the spec's.
        say: told what is being done.
        accept_names: of a spec with ``[native]``, compare by a proposed table of names.

    Raises:
        SpecError, DataError, WeightsError: the spec cannot be run.
        BackendError: a backend is unknown, missing or named twice, or the reference cannot run it.
        NonFiniteLoss: the reference diverges within these steps.
    """
    names = list(dict.fromkeys(backends))
    if len(names) < 2 or len(names) < len(backends):
        raise BackendError(
            f"verify needs at least two different backends, not {', '.join(backends) or 'none'}; "
            f"registered: {', '.join(registry.names())}"
        )
    if precision not in PRECISIONS:
        raise SpecError(
            f"precision = {precision!r}; allowed: {', '.join(PRECISIONS)}."
            f"{nearest(precision, PRECISIONS)}"
        )
    for name in names:
        registry.require(name)
    subject = None if spec.native else subject_of(spec, step, steps)
    with ExitStack() as stack:
        parties = [
            stack.enter_context(Party(name, device or spec.device, spec.numerics)) for name in names
        ]
        if subject is None and spec.native is not None:
            # What a model of the user's own is made of, its backend knows.
            remote = [party.backend for party in parties]
            natives = Natives(spec.native, remote, spec.seed, accept=accept_names)
            subject = subject_of(spec, step, steps, natives)
        assert subject is not None
        subject = subject.rounded(precision)
        return verify_parties(spec.name, subject, parties, precision, say)


def verify_parties(
    name: str,
    subject: Subject,
    parties: Sequence[Party],
    precision: Precision,
    say: Say = lambda message: None,
) -> Verification:
    """Compare parties that are open; the first is the reference. See ``verify``."""
    reference, *others = parties
    refusal = reference.refusal(subject, precision)
    if refusal is not None:
        raise Unsupported(f"{refusal}; nothing can be compared with it, name another one first")
    work = _Work(subject, reference, precision, say)
    found = [work.verify(party) for party in others]
    return Verification(
        name,
        reference.name,
        precision,
        subject.steps,
        tuple(check for checks, _ in found for check in checks),
        tuple(divergence for _, divergence in found if divergence is not None),
        work.kinds,
        subject.notes,
    )


class _Work:
    """A subject on its reference, observed once, and what the others are compared with."""

    def __init__(self, subject: Subject, reference: Party, precision: Precision, say: Say) -> None:
        self._subject, self._reference = subject, reference
        self._precision: Precision = precision
        self._say = say
        self.kinds: dict[str, dict[str, Distances]] = {}
        self._noise: dict[str, Distances] = {}
        self._exact = self._observe(reference)
        require_finite(self._exact, reference.name)

    def verify(self, party: Party) -> tuple[list[Check], Divergence | None]:
        """Return a backend's rows, and where it parts from the reference if one failed."""
        refusal = party.refusal(self._subject, self._precision)
        if refusal is not None:
            return abstained(party.name, refusal), None
        seen = self._observe(party)
        distances = between(self._exact, seen)
        if self._precision != "float64":
            checks = judge(party.name, distances, self._between_selves(party, seen))
            return checks, self._parted(party, checks)
        checks = judge(party.name, distances)
        parted = self._parted(party, checks)
        if parted is not None and not parted.found:
            # Each step by itself is the same: what is left has grown out of rounding.
            checks = judge(party.name, distances, self._between_selves(party, seen))
            parted = parted if any(check.verdict == "FAIL" for check in checks) else None
        return checks, parted

    def _observe(self, party: Party) -> Observation:
        self._say(f"{self._subject.steps} steps on {party.name}, {self._precision}")
        with party.open(self._subject, self._precision) as session:
            return observe(session, self._subject, self._precision)

    def _parted(self, party: Party, checks: Sequence[Check]) -> Divergence | None:
        if all(check.verdict != "FAIL" for check in checks):
            return None
        self._say(f"looking for the first difference of {party.name} from {self._reference.name}")
        return diverge(self._subject, self._reference, party, _immediate(checks))

    def _between_selves(self, party: Party, seen: Observation) -> Noise:
        mine = self._own(self._reference, self._exact)
        theirs = self._own(party, seen)
        blind = self._precision != "float64" and any(
            "float64" not in self.kinds[name] for name in (self._reference.name, party.name)
        )
        factor = GROWN_FACTOR if self._precision == "float64" else NOISE_FACTOR
        return Noise(mine, theirs, self._precision, blind, factor)

    def _own(self, party: Party, seen: Observation) -> Distances:
        if party.name not in self._noise:
            self._say(f"how far {party.name} is from itself")
            found, kinds = own_noise(party, self._subject, self._precision, seen)
            self._noise[party.name], self.kinds[party.name] = found, kinds
        return self._noise[party.name]


def _immediate(checks: Sequence[Check]) -> bool:
    return any(check.verdict == "FAIL" for check in checks if check.quantity in IMMEDIATE)


def _worst(found: Distances) -> dict[str, float | None]:
    """Return the largest distance of each quantity."""
    worst: dict[str, float | None] = {}
    for quantity, value in vars(found).items():
        values = list(value.values()) if isinstance(value, dict) else [*_listed(value)]
        known = [float(one) for one in values if one == one and abs(one) != float("inf")]
        worst[quantity] = max(known, default=None)
    return worst


def _listed(value: Any) -> list[float]:
    return [float(value)] if isinstance(value, float) else [float(one) for one in value]
