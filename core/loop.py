"""The training loop, the only one: every step of an experiment on every backend runs it.

It hands an adapter as many optimizer steps at a time as fit into about half a second: enough to
hide the cost of a call, few enough for a live progress bar and a prompt Ctrl-C. How an epoch is
cut changes no arithmetic. One chunk is in flight while the next is prepared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from paribus.adapter import Array, Pending, Session
from paribus.batches import Schedule
from paribus.errors import NonFiniteLoss
from paribus.metrics import Evaluation, better
from paribus.plan import Integers, Preprocess, TrainPlan, evaluation_plan
from paribus.progress import Progress
from paribus.spec.training import Recipe

CHUNK_SECONDS = 0.5
LARGEST_CHUNK = 1024
EVALUATION_BATCH = 256

Row = dict[str, Any]
AfterEpoch = Callable[[int, Evaluation | None], bool]


@dataclass
class Training:
    """One training: a session that already has its weights, the data, and how to report.

    Attributes:
        schedule: every optimizer step, as a function of its number.
        handle: the dataset on the session's device.
        validation: int64 rows evaluated after each epoch; empty for none.
        labels: put into every recorded row, ``step`` first (candidate, fold, trial …).
        record: takes rows for ``metrics.jsonl``.
        after_epoch: told each epoch's number (from 1) and validation; True stops the training.
    """

    session: Session
    schedule: Schedule
    handle: Any
    validation: Integers
    labels: Mapping[str, Any]
    record: Callable[[list[Row]], None]
    progress: Progress
    after_epoch: AfterEpoch = field(default=lambda epoch, validation: False)


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        weights: canonical tensors of the epoch that was kept.
        kept_epoch: its number, from 1.
        epochs, optimizer_steps: how many were run.
        train_loss: mean loss over the kept epoch's optimizer steps, by examples.
        validation: of the kept epoch, or None without validation rows.
        stopped: whether training ended before its last epoch.
        seconds: wall time of everything; train_seconds: of optimizer steps only, without
            compile_seconds.
        examples: rows that went through optimizer steps.
    """

    weights: dict[str, Array]
    kept_epoch: int
    epochs: int
    optimizer_steps: int
    train_loss: float
    validation: Evaluation | None
    stopped: bool
    seconds: float
    train_seconds: float
    compile_seconds: float
    examples: int

    @property
    def images_per_second(self) -> float | None:
        """Training throughput without compile time; None where too little was measured."""
        return self.examples / self.train_seconds if self.train_seconds > 0 else None


def train(work: Training) -> Trained:
    """Run a training to its end, or until early stopping or ``after_epoch`` ends it.

    Raises:
        NonFiniteLoss: it names the first such step.
    """
    schedule, session, recipe = work.schedule, work.session, work.schedule.recipe
    began, compiled = time.perf_counter(), session.compile_seconds
    patience = _Patience(recipe)
    steps = _Steps(work)
    kept: _Kept | None = None
    stopped = False
    epoch = 0
    work.progress.begin(" ".join(str(value) for value in work.labels.values()), steps.total)
    try:
        while epoch < schedule.epochs and not stopped:
            epoch += 1
            loss = steps.epoch(epoch)
            validation = _validate(work, epoch)
            if recipe.keep == "best" and (kept is None or kept.beaten_by(validation, recipe)):
                kept = _Kept(epoch, loss, validation, session.export_weights())
            wanted = work.after_epoch(epoch, validation)
            stopped = (patience.exhausted(validation) or wanted) and epoch < schedule.epochs
        if kept is None:
            kept = _Kept(epoch, loss, validation, session.export_weights())
    finally:
        work.progress.end()
    _require_finite(work, kept)
    return Trained(
        weights=kept.weights,
        kept_epoch=kept.epoch,
        epochs=epoch,
        optimizer_steps=epoch * schedule.steps_per_epoch,
        train_loss=kept.loss,
        validation=kept.validation,
        stopped=stopped,
        seconds=time.perf_counter() - began,
        train_seconds=steps.seconds,
        compile_seconds=session.compile_seconds - compiled,
        examples=epoch * sum(schedule.sizes),
    )


def evaluate(session: Session, handle: Any, rows: Integers, preprocess: Preprocess) -> Evaluation:
    """Evaluate ``rows`` int64 [n] of a handle with the session's weights."""
    return Evaluation.of(
        session.evaluate(handle, evaluation_plan(rows, EVALUATION_BATCH, preprocess))
    )


@dataclass(frozen=True)
class _Kept:
    epoch: int
    loss: float
    validation: Evaluation | None
    weights: dict[str, Array]

    def beaten_by(self, new: Evaluation | None, recipe: Recipe) -> bool:
        if new is None or self.validation is None:
            return True
        metric = recipe.monitor
        return better(metric, new.metric(metric), self.validation.metric(metric))


class _Patience:
    """Counts epochs without an improvement by more than ``min_delta``."""

    def __init__(self, recipe: Recipe) -> None:
        self._metric, self._stopping = recipe.monitor, recipe.early_stopping
        self._best: float | None = None
        self._waited = 0

    def exhausted(self, validation: Evaluation | None) -> bool:
        if self._stopping is None or validation is None:
            return False
        value = validation.metric(self._metric)
        if self._best is None or better(self._metric, value, self._best, self._stopping.min_delta):
            self._best, self._waited = value, 0
        else:
            self._waited += 1
        return self._waited >= self._stopping.patience


class _Steps:
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
        """Run epoch ``number`` (from 1); return its mean loss over examples."""
        work, per_epoch = self._work, self._work.schedule.steps_per_epoch
        session = work.session
        began, compiled = time.perf_counter(), session.compile_seconds
        epoch = work.schedule.epoch(number - 1)
        under_way: tuple[int, TrainPlan, Pending, float] | None = None
        start, loss_sum = 0, 0.0
        while start < per_epoch or under_way is not None:
            upcoming = None
            if start < per_epoch:
                plan = epoch.plan(start, self._size)
                sent = time.perf_counter()
                upcoming = (start, plan, session.train_steps(work.handle, plan), sent)
                start += plan.steps
            if under_way is not None:
                loss_sum += self._collect(number, *under_way)
            under_way = upcoming
        self.seconds += max(0.0, time.perf_counter() - began - (session.compile_seconds - compiled))
        return loss_sum / sum(work.schedule.sizes)

    def _collect(
        self, epoch: int, start: int, plan: TrainPlan, pending: Pending, sent: float
    ) -> float:
        work = self._work
        results = pending.result()
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
                f"{' '.join(map(str, work.labels.values()))}: the training loss became "
                f"{losses[k]} at optimizer step {first + k} (epoch {epoch}, learning rate "
                f"{rates[k]:g}). Lower the learning rate, add schedule.warmup_epochs, or set "
                "clip_norm"
            )
        work.progress.advance(plan.steps, float(losses[-1]))
        return float((losses * plan.counts.sum(axis=1)).sum())

    def _adapt(self, steps: int, seconds: float) -> None:
        """Aim at half a second a chunk; two are in flight, so ``seconds`` is at most doubled."""
        if seconds < CHUNK_SECONDS / 2 and steps == self._size:
            self._size = min(LARGEST_CHUNK, self._size * 2)
        elif seconds > CHUNK_SECONDS * 4:
            self._size = max(1, self._size // 2)


def _require_finite(work: Training, kept: _Kept) -> None:
    """The last step's loss is computed before its update, which nothing has looked at yet."""
    bad = [name for name, array in kept.weights.items() if not np.isfinite(array).all()]
    if bad:
        raise NonFiniteLoss(
            f"{' '.join(map(str, work.labels.values()))}: after epoch {kept.epoch}, {bad[0]} and "
            f"{len(bad) - 1} more tensors contain NaN or infinite values. Lower the learning rate "
            "or set clip_norm"
        )


def _validate(work: Training, epoch: int) -> Evaluation | None:
    if len(work.validation) == 0:
        return None
    found = evaluate(work.session, work.handle, work.validation, work.schedule.preprocess)
    work.record(
        [
            {
                **work.labels,
                "split": "validation",
                "epoch": epoch,
                "optimizer_step": epoch * work.schedule.steps_per_epoch,
                **found.as_dict(),
            }
        ]
    )
    if not isfinite(found.loss):
        raise NonFiniteLoss(
            f"{' '.join(map(str, work.labels.values()))}: the validation loss became {found.loss} "
            f"after epoch {epoch}. Lower the learning rate or set clip_norm"
        )
    return found
