"""Trying candidates: which are close enough, and which of those is the fastest.

Candidates differ from the reference along axes, and are tried axis by axis, each with the best of
the axes before: as many as there are values, not as there are combinations. Whatever is timed is
timed in turns, because what else the machine does changes from second to second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, isfinite
from statistics import median
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from paribus.tuning.choice import Setting, Settings, Tried

Axes = Mapping[str, Sequence[Setting]]
# How much closer outputs have to be than a gradient.
OUTPUTS = 10.0
# Of one timing; shorter ones measure the clock.
TURN_SECONDS = 0.05
TURNS = 5
MOST_STEPS = 1024
# A candidate that is so much slower in its first turn gets no other one.
HOPELESS = 1.5
# What a candidate has to gain; less may be noise, and strict numerics are worth something.
WORTH = 0.97
# What gains from nothing to this much has so many more turns, if they are over in so many seconds.
CLOSE, MORE_TURNS, MORE_SECONDS = 0.9, 10, 3.0


class Answer(NamedTuple):
    """What a candidate computes.

    ``outputs`` float [n]: the loss of a step, or the outputs of an evaluation. ``gradient``
    float [m]: of a step, all of it in one vector; of an evaluation empty.
    """

    outputs: npt.NDArray[Any]
    gradient: npt.NDArray[Any]


class Trial(Protocol):
    """An adapter's way of trying; whatever it changes it puts back to the bit when it is over."""

    def use(self, settings: Settings) -> None:
        """Compute with these settings from now on, from the same state each time; not timed."""

    def answer(self) -> Answer:
        """Compute what is compared; compiles what has to be compiled."""

    def run(self, count: int) -> None:
        """Compute ``count`` steps or batches and wait for them; timed."""


@dataclass(frozen=True)
class Found:
    """The best candidate, its numbers and the reference's, and every one tried."""

    settings: dict[str, Setting]
    seconds: float
    reference_seconds: float
    error: float
    tried: list[Tried]


def distance(found: Answer, reference: Answer) -> float:
    """Return how far an answer is from the reference's.

    The larger of ‖Δg‖₂ / ‖g‖₂, g being the whole gradient of a step, and ten times the same of its
    loss or of an evaluation's outputs; infinite where anything is not finite. A gradient is drawn
    anew with every batch, and is much further from that of the next one; nothing averages out
    what is wrong with an output.
    """
    outputs = OUTPUTS * _relative(found.outputs, reference.outputs)
    gradient = _relative(found.gradient, reference.gradient)
    # Not the larger one alone: it would not be NaN where only one of them is.
    return max(outputs, gradient) if isfinite(outputs + gradient) else float("inf")


def _relative(found: npt.NDArray[Any], reference: npt.NDArray[Any]) -> float:
    expected = np.asarray(reference, np.float64)
    difference = np.linalg.norm(np.asarray(found, np.float64) - expected)
    return float(difference) / (float(np.linalg.norm(expected)) or 1.0)


def choose(
    axes: Axes,
    trial: Trial,
    tolerance: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Found:
    """Return the fastest candidate that stays within ``tolerance`` of the reference.

    Axis by axis, each with the best of the axes before, and with what the one before has besides.
    The reference is the first candidate, and what does not gain on it is not kept: not where it was
    found, and not against it alone in the end.

    Args:
        axes: name → values, the first of which are the reference's: strict numerics.
        trial: how one is tried. One that raises is out; the reference may not.
        tolerance: the largest ``distance``.
        clock: seconds.
    """
    reference = {axis: values[0] for axis, values in axes.items()}
    trial.use(reference)
    expected = trial.answer()
    count = _count(trial, clock)
    best, tried = reference, [Tried(settings=reference, verdict="kept", error=0.0)]
    errors, seconds = {_key(reference): 0.0}, {_key(reference): 0.0}
    passed: list[Settings] = []
    for axis, values in axes.items():
        candidates: list[dict[str, Setting]] = []
        # What gained nothing on the axis before may gain with this one: bfloat16 products, say,
        # once images are in the order that they want. And what gained may be in this one's way:
        # XLA, say, where the products that it has for bfloat16 are slow.
        for start_from, value in product(({}, *passed), values[1:]):
            settings = {**best, **start_from, axis: value}
            judged = _judge(settings, trial, expected, tolerance)
            tried.append(judged)
            if judged.verdict != "slower":
                continue
            assert judged.error is not None
            errors[_key(settings)] = judged.error
            candidates.append(settings)
        if candidates:
            race = _race([best, *candidates], trial, count, clock)
            seconds |= race.seconds
            if race.gain < WORTH:
                best = race.fastest
        close = [values[0], *(one[axis] for one in candidates)]
        passed = [{axis: value} for value in values if value in close and value != best[axis]]
    if best != reference:
        # Against each other at the end: each step of the way may have been luck.
        race = _race([reference, best], trial, count, clock)
        seconds |= race.seconds
        if race.gain >= WORTH:
            best = reference
    tried = [_told(one, best, seconds.get(_key(one.settings))) for one in tried]
    return Found(best, seconds[_key(best)], seconds[_key(reference)], errors[_key(best)], tried)


def _count(trial: Trial, clock: Callable[[], float]) -> int:
    """Return how many steps make a turn; the first ones are not timed, for they may compile."""
    trial.run(1)
    count = 1
    while True:
        start = clock()
        trial.run(count)
        seconds = clock() - start
        if seconds >= TURN_SECONDS or count == MOST_STEPS:
            return count
        # At most eight times as many: what one step takes says little where calls cost more.
        more = min(8.0, 1.25 * TURN_SECONDS / max(seconds, 1e-6))
        count = min(MOST_STEPS, ceil(count * more))


def _judge(settings: dict[str, Setting], trial: Trial, expected: Answer, allowed: float) -> Tried:
    """Return a candidate that is close enough as slower, which it is until it has won."""
    try:
        trial.use(settings)
        error = distance(trial.answer(), expected)
    except Exception as failure:  # a framework's compiler may raise anything, and none is needed
        why = f"{type(failure).__name__}: {failure}"[:200]
        return Tried(settings=settings, verdict="failed", why=why)
    if not error <= allowed:
        known = error if isfinite(error) else None
        return Tried(settings=settings, verdict="too far", error=known)
    return Tried(settings=settings, verdict="slower", error=error)


class _Race(NamedTuple):
    """What came of turns that candidates took one after the other.

    Attributes:
        seconds: a step takes, by candidate: the median.
        fastest: of all but the first.
        gain: its time as a share of the first one's, the median of the turns that both took: what
            else the machine does changes both times of a turn alike.
    """

    seconds: dict[str, float]
    fastest: dict[str, Setting]
    gain: float


def _race(
    candidates: Sequence[dict[str, Setting]], trial: Trial, count: int, clock: Callable[[], float]
) -> _Race:
    """Let candidates take turns, the first of which is what the others are compared with."""
    times: dict[str, list[float]] = {_key(one): [] for one in candidates}

    def turn(settings: dict[str, Setting]) -> None:
        trial.use(settings)
        if not times[_key(settings)]:
            # Shapes are compiled, and what was computed before is still in the caches.
            trial.run(count)
        start = clock()
        trial.run(count)
        times[_key(settings)].append((clock() - start) / count)

    def found() -> _Race:
        seconds = {name: median(own) for name, own in times.items()}
        fastest = min(candidates[1:], key=lambda one: seconds[_key(one)])
        pairs = zip(times[_key(fastest)], times[_key(first)], strict=False)
        return _Race(seconds, fastest, median(a / (b or 1e-9) for a, b in pairs))

    first, running = candidates[0], list(candidates)
    for _ in range(TURNS):
        for settings in running:
            turn(settings)
        limit = HOPELESS * min(median(own) for own in times.values())
        running = [one for one in running if times[_key(one)][-1] <= limit]
        if len(running) < 2:
            break
    race = found()
    pair = (first, race.fastest)
    needed = MORE_TURNS * count * sum(race.seconds[_key(one)] for one in pair)
    if CLOSE < race.gain < 1.0 and needed <= MORE_SECONDS:
        for _ in range(MORE_TURNS):
            for settings in pair:
                turn(settings)
        race = found()
    return race


def _told(one: Tried, best: Settings, seconds: float | None) -> Tried:
    kept = one.settings == best
    verdict = one.verdict if one.verdict in ("failed", "too far") else "kept" if kept else "slower"
    return one.model_copy(update={"verdict": verdict, "seconds": seconds or None})


def _key(settings: Settings) -> str:
    return repr(sorted(settings.items()))
