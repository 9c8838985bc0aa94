"""The legs of a run: which backend, on which machine, ran which of its optimizer steps."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from paribus.adapter import Backend
from paribus.machine import Machine
from paribus.runstate.records import Leg, Source

# A disk that stays full is told each time, and written down as often as anybody would read it.
MOST_WARNINGS = 100


class CurrentLeg:
    """The leg under way.

    Args:
        machine: what runs it.
        after_step: optimizer steps of the legs before.
        say: told each warning.
        changes: what differs from the spec of the legs before, a sentence each.
    """

    def __init__(
        self,
        machine: Machine,
        after_step: int,
        say: Callable[[str], None] = lambda _: None,
        changes: Sequence[str] = (),
    ) -> None:
        self._machine, self._after, self._say = machine, after_step, say
        self.changes, self._warnings = list(changes), list[str]()
        self._versions = versions(machine.backend)
        self._began = time.perf_counter()

    def warn(self, message: str) -> None:
        """Tell people, and whoever reads ``result.json``, that something went wrong."""
        self._say(message)
        if len(self._warnings) < MOST_WARNINGS:
            self._warnings.append(message)

    def upto(self, steps: int) -> Leg:
        """Return the record of it after ``steps`` optimizer steps of the run."""
        machine = self._machine
        return Leg(
            backend=machine.backend.name,
            device=machine.device,
            versions=self._versions,
            machine=described(),
            after_step=self._after,
            to_step=steps,
            seconds=time.perf_counter() - self._began,
            compile_seconds=machine.compile_seconds,
            choices=machine.choices,
            changes=self.changes,
            warnings=list(self._warnings),
        )


@dataclass
class Ledger:
    """What a state says of the run as a whole.

    Attributes:
        spec: the experiment's tree, without what may change on the way.
        data: of the steps' examples.
        legs: those before this one; leg: this one.
    """

    spec: Mapping[str, Any]
    data: Mapping[str, Source]
    legs: list[Leg]
    leg: CurrentLeg

    def upto(self, steps: int) -> list[Leg]:
        """Return all legs of a run that has made ``steps`` optimizer steps."""
        return [*self.legs, self.leg.upto(steps)]


def described() -> str:
    """Return what kind of machine this is."""
    return f"{platform.system()} {platform.machine()}"


def versions(backend: Backend) -> dict[str, str]:
    """Return the versions of Python and of every package that a result may depend on."""
    found = {"python": platform.python_version()}
    for package in ("paribus", "numpy", "scikit-learn", "optuna", *backend.packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found
