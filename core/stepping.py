"""One training's optimizer steps on their way to the adapter and back.

An adapter gets as many steps at a time as fit into about half a second: enough to hide the cost of
a call, few enough for a live progress bar and a prompt Ctrl-C. How an epoch is cut changes no
arithmetic. One chunk is in flight while the next is prepared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from paribus.adapter import Pending, Session
from paribus.batches import Schedule
from paribus.errors import NonFiniteLoss
from paribus.feeding import Fed, Feed
from paribus.judging import Judge
from paribus.metrics import Evaluation
from paribus.plan import Integers, TrainPlan
from paribus.progress import Progress

CHUNK_SECONDS = 0.5
LARGEST_CHUNK = 1024

Row = dict[str, Any]
AfterEpoch = Callable[[int, Evaluation | None], bool]


@dataclass
class Training:
    """One training: a session that already has its weights, the data, and how to report.

    Attributes:
        schedule: every optimizer step, as a function of its number.
        feed: the dataset's way to the session.
        validation: int64 rows evaluated after each epoch; empty for none.
        judge: how they are judged.
        labels: put into every recorded row, ``step`` first (candidate, fold, trial …).
        record: takes rows for ``metrics.jsonl``.
        after_epoch: told each epoch's number (from 1) and validation; True stops the training.
    """

    session: Session
    schedule: Schedule
    feed: Feed
    validation: Integers
    judge: Judge
    labels: Mapping[str, Any]
    record: Callable[[list[Row]], None]
    progress: Progress
    after_epoch: AfterEpoch = field(default=lambda epoch, validation: False)

    @property
    def title(self) -> str:
        """What people call this training: its labels."""
        return " ".join(str(value) for value in self.labels.values())


class Steps:
    """Sends an epoch's plans to the session, one chunk ahead, and records what comes back.

    Attributes:
        seconds: wall time of optimizer steps so far, without compiling.
    """

    def __init__(self, work: Training) -> None:
        self._work = work
        self._size = 8
        self.seconds = 0.0
        self.total = work.schedule.total_steps

    def epoch(self, number: int) -> float:
        """Run epoch ``number`` (from 1); return its mean loss over examples or tokens."""
        work, session = self._work, self._work.session
        began, compiled = time.perf_counter(), session.compile_seconds
        under_way: tuple[int, Fed[TrainPlan], Pending, float] | None = None
        start, loss_sum, total = 0, 0.0, 0.0
        with closing(work.feed.fed(self._plans(number))) as plans:
            for fed in chain(plans, (None,)):
                upcoming = None
                if fed is not None:
                    sent = time.perf_counter()
                    pending = session.train_steps(fed.handle, fed.plan)
                    upcoming = (start, fed, pending, sent)
                    start += fed.plan.steps
                if under_way is not None:
                    losses, counted = self._collect(number, *under_way)
                    loss_sum, total = loss_sum + losses, total + counted
                under_way = upcoming
        self.seconds += max(0.0, time.perf_counter() - began - (session.compile_seconds - compiled))
        return loss_sum / total

    def _plans(self, number: int) -> Iterator[TrainPlan]:
        """Yield the plans of epoch ``number`` (from 1), each as long as is right when asked for."""
        schedule, start = self._work.schedule, 0
        epoch = schedule.epoch(number - 1)
        while start < schedule.steps_per_epoch:
            most = self._work.feed.steps(schedule.sizes[start]) or self._size
            plan = epoch.plan(start, min(self._size, most))
            start += plan.steps
            yield plan

    def _collect(
        self, epoch: int, start: int, fed: Fed[TrainPlan], pending: Pending, sent: float
    ) -> tuple[float, float]:
        """Record a chunk; return its sum of losses and what that is a sum over."""
        work, plan = self._work, fed.plan
        results = pending.result()
        work.feed.free(fed)
        self._adapt(plan.steps, time.perf_counter() - sent)
        losses, rates = results.losses, plan.scalars["learning_rate"]
        first = (epoch - 1) * work.schedule.steps_per_epoch + start + 1
        rows: list[Row] = [
            {
                **work.labels,
                "split": "train",
                "epoch": epoch,
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
        work.record(rows[: bad[0] + 1] if bad.size else rows)
        if bad.size:
            k = int(bad[0])
            raise NonFiniteLoss(
                f"{work.title}: the training loss became "
                f"{losses[k]} at optimizer step {first + k} (epoch {epoch}, learning rate "
                f"{rates[k]:g}). Lower the learning rate, add schedule.warmup_epochs, or set "
                "clip_norm"
            )
        work.progress.advance(plan.steps, float(losses[-1]))
        totals = work.schedule.totals(plan)
        return float((losses * totals).sum()), float(totals.sum())

    def _adapt(self, steps: int, seconds: float) -> None:
        """Aim at half a second a chunk; two are in flight, so ``seconds`` is at most doubled."""
        if seconds < CHUNK_SECONDS / 2 and steps == self._size:
            self._size = min(LARGEST_CHUNK, self._size * 2)
        elif seconds > CHUNK_SECONDS * 4:
            self._size = max(1, self._size // 2)
