"""What core hands to a session in fast numerics: how far it may go, and what is known already."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from paribus.tolerances import TOLERANCE
from paribus.tuning.choice import Choice
from paribus.tuning.memory import Memory, allowed
from paribus.tuning.trying import Axes, Trial, choose

# Multiply-adds: less is over on one core before anything could be tried, about a second.
LEAST_WORK = 20_000_000_000
# Counted up when trying changes so that older choices should not be believed.
FORMAT = 2


@dataclass(frozen=True)
class Subject:
    """What a choice is for.

    Attributes:
        purpose: training or evaluation.
        title: of the network, for people.
        depends: JSON values of all that matters to the choice: the network, the task, the device,
            the precision. The machine is added.
        packages: distributions whose versions matter.
        rows: JSON values of the batch's shape. A run that goes on keeps its choice whatever they
            are; what other runs remember is looked up by them as well.
    """

    purpose: Literal["training", "evaluation"]
    title: str
    depends: Mapping[str, Any]
    packages: tuple[str, ...]
    rows: Any

    @property
    def digest(self) -> str:
        """Return the hash of everything but ``rows``."""
        versions = {package: _version(package) for package in (*self.packages, "paribus")}
        return _digest([FORMAT, self.purpose, dict(self.depends), versions, machine()])


@dataclass
class Tuning:
    """Permission to choose.

    Attributes:
        tolerance: the largest distance from strict numerics (``paribus.tuning.trying.distance``).
        folder: the cache folder; None remembers nothing.
        earlier: what this run has chosen before, in earlier legs of it or in another session.
        least_work: multiply-adds of all rows of an evaluation below which nothing is tried for it.
        choices: what has been chosen with this permission.
        clock: seconds, for trying.
    """

    tolerance: float = TOLERANCE
    folder: Path | None = None
    earlier: tuple[Choice, ...] = ()
    least_work: int = LEAST_WORK
    choices: list[Choice] = field(default_factory=list)
    clock: Callable[[], float] = time.perf_counter

    def choose(self, subject: Subject, axes: Axes, trial: Callable[[], Trial]) -> Choice:
        """Return the choice for a subject: the run's own, one remembered, or one measured now.

        Args:
            subject: what for.
            axes: name → values, those of strict numerics first.
            trial: makes what tries; called only where nothing is known.
        """
        choice = self._chosen(subject, axes, trial)
        self.choices.append(choice)
        return choice

    def _chosen(self, subject: Subject, axes: Axes, trial: Callable[[], Trial]) -> Choice:
        digest, note = subject.digest, ""
        for choice in self.earlier:
            # Another tolerance makes another experiment: nothing of it goes on.
            if choice.subject == digest and allowed(choice, axes):
                return choice.model_copy(update={"origin": "run", "note": ""})
        memory = None if self.folder is None else Memory(self.folder)
        key = _digest([digest, subject.rows, self.tolerance, _plain(axes)])
        if memory is not None:
            remembered, note = memory.recall(key, digest, axes)
            if remembered is not None:
                return remembered.model_copy(update={"origin": "remembered"})
        found = choose(axes, trial(), self.tolerance, self.clock)
        choice = Choice(
            purpose=subject.purpose, title=subject.title, subject=digest,
            settings=found.settings, seconds=found.seconds,
            reference_seconds=found.reference_seconds, error=found.error,
            tolerance=self.tolerance, tried=found.tried,
        )  # fmt: skip
        if memory is not None:
            note = "; ".join(part for part in (note, memory.keep(key, choice)) if part)
        return choice.model_copy(update={"note": note})


@cache
def machine() -> str:
    """Return what tells this machine's processor from others."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass  # not Linux, or a processor without a name: what Python says has to do
    return f"{platform.system()} {platform.machine()} {name} × {os.cpu_count()}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _plain(axes: Axes) -> dict[str, list[Any]]:
    return {axis: list(values) for axis, values in axes.items()}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
