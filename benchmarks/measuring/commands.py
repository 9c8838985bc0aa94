"""Whole commands taking turns: wall time, and the processor time that they used."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from measuring.processes import ChildFailed, environment


@dataclass
class Commanded:
    """What a command took, in every round; seconds.

    Attributes:
        title: for tables.
        wall: between start and end.
        processor: of the process and its children, all threads added.
    """

    title: str
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def spread(self) -> tuple[float, float]:
        """The quartiles of the wall times."""
        if len(self.wall) < 2:
            return self.wall[0], self.wall[0]
        low, _, high = quantiles(self.wall, n=4, method="inclusive")
        return low, high

    def beyond(self, other: Commanded) -> float:
        """Return by how much longer it took, wall; the median over the rounds."""
        return median(own - its for own, its in zip(self.wall, other.wall, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return vars(self)


def take_turns(
    commands: Mapping[str, Sequence[str]], rounds: int, threads: int, folder: Path
) -> list[Commanded]:
    """Run each command once unmeasured, so that files are in memory, then in turn.

    Args:
        commands: title → words, the first of them a program.
        rounds: runs of each.
        threads: of every library in them.
        folder: where they run.

    Raises:
        ChildFailed: a command does not end with 0.
    """
    found = [Commanded(title) for title in commands]
    for turn in range(rounds + 1):
        for place in range(len(found)):
            commanded = found[(turn + place) % len(found)]
            wall, processor = _run(commands[commanded.title], threads, folder)
            if turn:
                commanded.wall.append(wall)
                commanded.processor.append(processor)
    return found


def python(*words: str) -> list[str]:
    """Return a command of this Python."""
    return [sys.executable, *words]


def installed(name: str, *words: str) -> list[str]:
    """Return a command that stands beside this Python."""
    return [str(Path(sys.executable).parent / name), *words]


def _run(words: Sequence[str], threads: int, folder: Path) -> tuple[float, float]:
    with tempfile.TemporaryFile("w+") as log:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        code = subprocess.run(
            words, cwd=folder, env={**os.environ, **environment(threads)}, stdout=log, stderr=log
        ).returncode
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        if code:
            log.seek(0)
            raise ChildFailed(f"{' '.join(words)} ended with {code}:\n{log.read()[-2000:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used
