"""One training's optimizer steps on their way to the adapter and back.

An adapter gets as many steps at a time as fit into about half a second: enough to hide the cost of
a call, few enough for a live progress bar and a prompt Ctrl-C. How an epoch is cut changes no
arithmetic. One chunk is in flight while the next is prepared, except where the state of the run is
kept: then none is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paribus.adapter import Pending
from paribus.batches import Schedule
from paribus.errors import NonFiniteLoss
from paribus.feeding import Fed, Supply
from paribus.judging import Judge
from paribus.keeping import Keeping
from paribus.learner import Learner
from paribus.metrics import Evaluation
from paribus.places import LARGEST_CHUNK
from paribus.plan import Integers, TrainPlan
from paribus.position import Position
from paribus.progress import Progress

CHUNK_SECONDS = 0.5

Row = dict[str, Any]
AfterEpoch = Callable[[int, Evaluation | None], bool]


def silent(epoch: int, validation: Evaluation | None) -> bool:
    """Let a training go on; the ``after_epoch`` of those that nobody listens to."""
    return False


class Pace:
    """How many steps are sent at a time: about half a second's worth.

    Args:
        size: steps of the first plan.
        seconds: what a plan should take.

    Attributes:
        size: steps of the next plan, at most.
        ahead: whether it may be sent while the one before is under way.
    """

    ahead = True

    def __init__(self, size: int = 8, seconds: float = CHUNK_SECONDS) -> None:
        self.size, self._seconds = size, seconds

    def adapt(self, steps: int, seconds: float) -> None:
        """Learn from a plan that took so long; two are in flight, so it is at most doubled."""
        if seconds < self._seconds / 2 and steps == self.size:
            self.size = min(LARGEST_CHUNK, self.size * 2)
        elif seconds > self._seconds * 4:
            self.size = max(1, self.size // 2)


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

    def epoch(self) -> Generator[Wanted, Any, float]:
        """Run what is left of the epoch under way; return its mean loss over examples or tokens."""
        work, at, session = self._work, self._at, self._work.session
        under_way: tuple[Fed[TrainPlan], Pending, float] | None = None
        sent, lap = at.start, _Lap(work)
        with closing(work.feed.fed(self._plans())) as plans:
            while True:
                yield Turn()
                fed = next(plans, None)
                if work.keeping.due(sent - at.start):
                    if under_way is not None:
                        yield from self._collect(*under_way)
                        under_way = None
                    at.train_seconds += lap.seconds()
                    self.take_time()
                    work.keeping.save()
                    lap = _Lap(work)
                upcoming = None
                if fed is not None:
                    began = work.clock()
                    pending = session.train_steps(fed.handle, fed.plan)
                    upcoming = (fed, pending, began)
                    sent += fed.plan.steps
                if under_way is not None:
                    yield from self._collect(*under_way)
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

    def _plans(self) -> Iterator[TrainPlan]:
        """Yield the epoch's plans from its start, each as long as is right when asked for."""
        work, at = self._work, self._at
        start = at.start
        epoch = work.schedule.epoch(at.epoch - 1)
        while start < work.schedule.steps_per_epoch:
            size = work.pace.size
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
        losses, rates = results.losses, plan.scalars["learning_rate"]
        first = (at.epoch - 1) * work.schedule.steps_per_epoch + at.start + 1
        rows: list[Row] = [
            {
                **work.labels,
                "split": "train",
                "epoch": at.epoch,
                "optimizer_step": first + k,
                "loss": float(losses[k]),
                "learning_rate": float(rates[k]),
            }
            for k in range(plan.steps)
        ]
        if results.gradient_norms is not None:
            for row, norm in zip(rows, results.gradient_norms, strict=True):
                row["gradient_norm"] = float(norm)
        bad = np.flatnonzero(~np.isfinite(losses))
        # Steps after the first bad one mean nothing, and how many there are depends on the chunk.
        rows = rows[: bad[0] + 1] if bad.size else rows
        work.record(rows)
        work.keeping.advance(len(rows))
        if bad.size:
            k = int(bad[0])
            raise NonFiniteLoss(
                f"{work.title}: the training loss became "
                f"{losses[k]} at optimizer step {first + k} (epoch {at.epoch}, learning rate "
                f"{rates[k]:g}). Lower the learning rate, add schedule.warmup_epochs, or set "
                "clip_norm"
            )
        work.progress.advance(plan.steps, float(losses[-1]))
        at.start += plan.steps
        totals = work.schedule.totals(fed.asked).tolist()
        for loss, total in zip(losses.tolist(), totals, strict=True):
            at.loss_sum += loss * total
            at.counted += total


class _Lap:
    """Wall time from now on, without compiling."""

    def __init__(self, work: Training) -> None:
        self._work = work
        self._began, self._compiled = work.clock(), work.session.compile_seconds

    def seconds(self) -> float:
        compiled = self._work.session.compile_seconds - self._compiled
        return max(0.0, self._work.clock() - self._began - compiled)
