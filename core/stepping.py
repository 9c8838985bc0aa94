"""One training's optimizer steps on their way to the adapter and back.

How an epoch is cut changes no arithmetic. One chunk is in flight while the next is prepared, except
where the state of the run is kept: then none is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from paribus.adapter import Pending
from paribus.batches import Schedule
from paribus.errors import DataError
from paribus.feeding import Fed, Supply
from paribus.judging import Judge
from paribus.keeping import Keeping
from paribus.learner import Learner
from paribus.metrics import Evaluation
from paribus.pace import Pace
from paribus.plan import Integers, TrainPlan
from paribus.position import Position
from paribus.progress import Progress
from paribus.skipping import Found, Skipping, bad_steps
from paribus.steprows import Row, diverged, step_rows

AfterEpoch = Callable[[int, Evaluation | None], bool]


def silent(epoch: int, validation: Evaluation | None) -> bool:
    """Let a training go on; the ``after_epoch`` of those that nobody listens to."""
    return False


@dataclass(frozen=True)
class Turn:
    """A training is about to send its next steps; what it sent before may be under way."""


@dataclass(frozen=True)
class Results:
    """A training waits for the ``StepResults`` of what it has sent."""

    pending: Pending


@dataclass(frozen=True)
class Judgement:
    """A training's epoch is over; it waits for its ``Evaluation``, None without validation rows."""


Wanted = Turn | Results | Judgement


@dataclass
class Training:
    """One training: a session that has its weights and slots, the data, and how to report.

    Attributes:
        schedule: every optimizer step, as a function of its number.
        feed: the dataset's way to the session; a ``Feed`` where the session is its own.
        validation: int64 rows evaluated after each epoch; empty for none.
        judge: how they are judged.
        labels: put into every recorded row, ``step`` first (candidate, fold, trial …).
        record: takes rows for ``metrics.jsonl``.
        after_epoch: told each epoch's number (from 1) and validation; True stops the training.
        keeping: keeps the state of the run now and then.
        position: where the training goes on; the beginning by default.
        pace: how many steps are sent at a time.
        clock: seconds, of which the differences are this training's.
    """

    session: Learner
    schedule: Schedule
    feed: Supply
    validation: Integers
    judge: Judge
    labels: Mapping[str, Any]
    record: Callable[[list[Row]], None]
    progress: Progress
    after_epoch: AfterEpoch = field(default=silent)
    keeping: Keeping = field(default_factory=Keeping)
    position: Position = field(default_factory=Position)
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], float] = time.perf_counter

    @property
    def title(self) -> str:
        """What people call this training: its labels."""
        return " ".join(str(value) for value in self.labels.values())


class Steps:
    """Sends an epoch's plans to the session, one chunk ahead, and records what comes back.

    Its place and the time spent are kept in the training's ``position``.
    """

    def __init__(self, work: Training) -> None:
        self._work, self._at = work, work.position
        self._began = work.clock() - self._at.seconds
        self._compiled = work.session.compile_seconds - self._at.compile_seconds
        skips = work.schedule.recipe.on_nonfinite == "skip"
        self._skipping = Skipping(work.session, work.position) if skips else None

    def epoch(self) -> Generator[Wanted, Any, float]:
        """Run what is left of the epoch under way; return its mean loss over examples or tokens."""
        if self._skipping is None:
            return (yield from self._epoch())
        self._skipping.begin()
        while True:
            try:
                return (yield from self._epoch())
            except Found as found:
                self._skipping.leave_out(found.step)

    def _epoch(self) -> Generator[Wanted, Any, float]:
        """Run what is left of the epoch.

        Raises:
            Found: a step is to be left out; nothing is under way.
        """
        work, at, session = self._work, self._at, self._work.session
        under_way: tuple[Fed[TrainPlan], Pending, float] | None = None
        lap = _Lap(work)
        with closing(work.feed.fed(self._plans())) as plans:
            while True:
                yield Turn()
                fed = yield from self._next(plans, under_way)
                ahead = 0 if under_way is None else under_way[0].plan.steps
                copies = self._skipping is not None and self._skipping.due(ahead)
                if copies or self._keeps(ahead):
                    if under_way is not None:
                        yield from self._collect(*under_way)
                        under_way = None
                    at.train_seconds += lap.seconds()
                    self.take_time()
                    if copies and self._skipping is not None:
                        self._skipping.copy()
                    if self._keeps(0):
                        work.keeping.save()
                    lap = _Lap(work)
                upcoming = None
                if fed is not None:
                    began = work.clock()
                    pending = session.train_steps(fed.handle, fed.plan)
                    upcoming = (fed, pending, began)
                if under_way is not None:
                    try:
                        yield from self._collect(*under_way)
                    except Found:
                        if upcoming is not None:
                            yield Results(upcoming[1])
                            work.feed.free(upcoming[0])
                        raise
                under_way = upcoming
                if under_way is not None and not work.pace.ahead:
                    yield from self._collect(*under_way)
                    under_way = None
                    # The state may be kept now, and whoever keeps it does not know this loop.
                    at.train_seconds += lap.seconds()
                    self.take_time()
                    lap = _Lap(work)
                if fed is None:
                    break
        at.train_seconds += lap.seconds()
        return at.loss

    def take_time(self) -> None:
        """Write the time spent so far into the position."""
        self._at.seconds = self._work.clock() - self._began
        self._at.compile_seconds = self._work.session.compile_seconds - self._compiled

    def _keeps(self, ahead: int) -> bool:
        """Whether the state is to be kept; not while steps are made for a second time."""
        replaying = self._skipping is not None and self._skipping.replaying(ahead)
        return not replaying and self._work.keeping.due(ahead)

    def _next(
        self,
        plans: Iterator[Fed[TrainPlan]],
        under_way: tuple[Fed[TrainPlan], Pending, float] | None,
    ) -> Generator[Wanted, Any, Fed[TrainPlan] | None]:
        """Return the next plan with its rows, or None.

        Where rows cannot be read any more, the state is kept first: a run can go on when they can.
        """
        try:
            return next(plans, None)
        except DataError:
            if under_way is not None:
                yield from self._collect(*under_way)
            self.take_time()
            if self._skipping is None or not self._skipping.replaying(0):
                self._work.keeping.save()
            raise

    def _plans(self) -> Iterator[TrainPlan]:
        """Yield the epoch's plans from its start, each as long as is right when asked for."""
        work, at = self._work, self._at
        start = at.start
        epoch = work.schedule.epoch(at.epoch - 1)
        while start < work.schedule.steps_per_epoch:
            free = None if self._skipping is None else self._skipping.until(start)
            if free == 0:
                start += 1
                continue
            size = work.pace.size if free is None else min(work.pace.size, free)
            most = work.feed.steps(work.schedule.sizes[start]) or size
            room = work.keeping.room(start - at.start) or size
            plan = epoch.plan(start, min(size, most, room))
            start += plan.steps
            yield plan

    def _collect(
        self, fed: Fed[TrainPlan], pending: Pending, sent: float
    ) -> Generator[Wanted, Any, None]:
        """Wait for a chunk, record it and move the position past it."""
        work, at, plan = self._work, self._at, fed.plan
        results = yield Results(pending)
        work.feed.free(fed)
        work.pace.adapt(plan.steps, work.clock() - sent)
        first = (at.epoch - 1) * work.schedule.steps_per_epoch + at.start + 1
        rows = step_rows(work.labels, at.epoch, first, plan, results)
        skipping, losses = self._skipping, results.losses.tolist()
        bad = _not_finite(losses) if skipping is None else bad_steps(results).tolist()
        # Steps after the first bad one mean nothing, and how many there are depends on the chunk.
        rows = rows[: bad[0] + 1] if bad else rows
        new = rows if skipping is None else skipping.new(rows, bad=bool(bad))
        work.record(new)
        work.keeping.advance(len(new))
        if bad:
            if skipping is not None and skipping.in_a_row < work.schedule.recipe.most_skipped:
                raise Found(at.start + bad[0])
            before = 0 if skipping is None else skipping.in_a_row - 1
            raise diverged(work.title, rows[-1], before, work.session.export_weights())
        work.progress.advance(len(new), losses[-1])
        at.start += plan.steps
        if skipping is not None:
            skipping.made()
        totals = work.schedule.totals(fed.asked).tolist()
        for loss, total in zip(losses, totals, strict=True):
            at.loss_sum += loss * total
            at.counted += total


def _not_finite(losses: Sequence[float]) -> list[int]:
    """Return which losses are infinite or NaN; most often one sum tells that none is."""
    if isfinite(sum(losses)):
        return []
    return [step for step, loss in enumerate(losses) if not isfinite(loss)]


class _Lap:
    """Wall time from now on, without compiling."""

    def __init__(self, work: Training) -> None:
        self._work = work
        self._began, self._compiled = work.clock(), work.session.compile_seconds

    def seconds(self) -> float:
        compiled = self._work.session.compile_seconds - self._compiled
        return max(0.0, self._work.clock() - self._began - compiled)
