"""Contenders taking turns: A B C, B C A, C A B, …, until there are enough of each."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from measuring.contenders import Contender
from measuring.processes import Child, ContenderFailed

# A library's threads go on looking for work for a while after it is done (OpenMP's 0.2 s), and
# would take the next contender's processor in the meantime.
PAUSE = 0.3


@dataclass
class Measured:
    """What was measured of a contender.

    Attributes:
        title: the contender's.
        seconds: a unit of work, for every round.
        setup: seconds until it could begin; first: seconds of the first turn, in which frameworks
            trace and compile.
        loss: that it reported of the first turn, which begins from the same weights for all.
        peak: largest resident memory of its process, MiB, shared with others of the process.
        failed: why it was not measured; empty where it was.
    """

    title: str
    seconds: list[float] = field(default_factory=list)
    setup: float = 0.0
    first: float = 0.0
    loss: float | None = None
    peak: float = 0.0
    failed: str = ""

    @property
    def median(self) -> float:
        """Seconds a unit."""
        return median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles: half of the rounds lie between them."""
        if len(self.seconds) < 2:
            return self.median, self.median
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    def faster_than(self, other: Measured) -> float:
        """Return how many times: the median of the rounds' own ratios, which share the weather."""
        pairs = zip(other.seconds, self.seconds, strict=True)
        return median(theirs / own for theirs, own in pairs)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        found = dict(vars(self))
        return found if self.failed else {**found, "median": self.median, "spread": self.spread}


def interleaved(
    contenders: Sequence[Contender],
    amounts: int | Mapping[str, int],
    *,
    first: int,
    rounds: int,
    threads: int,
    timed_by: str = "wall",
    go_on: bool = False,
) -> list[Measured]:
    """Measure contenders in turn, each in the child process that it names.

    Args:
        contenders: with different titles.
        amounts: units of work of one turn, of all or by title; long enough for the clock, short
            enough for the weather.
        first: units of the first turn, which is timed apart.
        rounds: turns of each after that.
        threads: of every library.
        timed_by: ``wall`` or ``cpu``.
        go_on: where a contender fails, which is printed and noted, whether the others go on; not
            without the first one, which they are compared with.

    Raises:
        ChildFailed: a process ended with an error, or a contender that it cannot go on without.
    """
    found = [Measured(contender.title) for contender in contenders]
    work = {c.title: amounts if isinstance(amounts, int) else amounts[c.title] for c in contenders}
    with ExitStack() as stack:
        children: dict[str, Child] = {}
        for contender, measured in zip(contenders, found, strict=True):
            if contender.process not in children:
                children[contender.process] = stack.enter_context(Child(threads, timed_by))
            child = children[contender.process]
            with _noted(measured, go_on and measured is not found[0]):
                made = child.ask(
                    {
                        "do": "set up",
                        "title": contender.title,
                        "setup": contender.setup,
                        "given": dict(contender.given),
                    }
                )
                begun = child.ask({"do": "run", "title": contender.title, "amount": first})
                measured.setup, measured.first = made["seconds"], begun["seconds"]
                measured.loss = begun["loss"]
        for turn in range(rounds):
            for place in range(len(contenders)):
                at = (turn + place) % len(contenders)
                contender, measured = contenders[at], found[at]
                if measured.failed:
                    continue
                time.sleep(PAUSE)
                amount = work[contender.title]
                with _noted(measured, go_on and measured is not found[0]):
                    answer = children[contender.process].ask(
                        {"do": "run", "title": contender.title, "amount": amount}
                    )
                    measured.seconds.append(answer["seconds"] / amount)
                    measured.peak = answer["peak"]
    return found


@contextmanager
def _noted(measured: Measured, go_on: bool) -> Iterator[None]:
    """Note that a contender failed, if the others go on."""
    try:
        yield
    except ContenderFailed as error:
        if not go_on:
            raise
        measured.failed = str(error).strip().splitlines()[-1]
        print(f"  {measured.title} is left out: {error}", file=sys.stderr, flush=True)
