"""The training loop, the only one: every step of an experiment on every backend runs it.

It decides what happens between epochs: validation, what is kept, when to stop. How the optimizer
steps of one epoch reach the adapter is ``paribus.stepping``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import isfinite

import numpy as np

from paribus.adapter import Array
from paribus.errors import NonFiniteLoss
from paribus.measures import better
from paribus.metrics import Evaluation
from paribus.spec.training import Recipe
from paribus.stepping import Steps, Training


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        weights: canonical tensors of the epoch that was kept.
        kept_epoch: its number, from 1.
        epochs, optimizer_steps: how many were run.
        train_loss: mean loss over the kept epoch's optimizer steps, by examples or tokens.
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
    steps = Steps(work)
    kept: _Kept | None = None
    stopped = False
    epoch = 0
    work.progress.begin(work.title, steps.total)
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
        value, old = new.metric(metric), self.validation.metric(metric)
        return value is not None and (old is None or better(metric, value, old))


class _Patience:
    """Counts epochs without an improvement by more than ``min_delta``."""

    def __init__(self, recipe: Recipe) -> None:
        self._metric, self._stopping = recipe.monitor, recipe.early_stopping
        self._best: float | None = None
        self._waited = 0

    def exhausted(self, validation: Evaluation | None) -> bool:
        if self._stopping is None or validation is None:
            return False
        value, delta = validation.metric(self._metric), self._stopping.min_delta
        if value is not None and (
            self._best is None or better(self._metric, value, self._best, delta)
        ):
            self._best, self._waited = value, 0
        else:
            self._waited += 1
        return self._waited >= self._stopping.patience


def _require_finite(work: Training, kept: _Kept) -> None:
    """The last step's loss is computed before its update, which nothing has looked at yet."""
    bad = [name for name, array in kept.weights.items() if not np.isfinite(array).all()]
    if bad:
        raise NonFiniteLoss(
            f"{work.title}: after epoch {kept.epoch}, {bad[0]} and "
            f"{len(bad) - 1} more tensors contain NaN or infinite values. Lower the learning rate "
            "or set clip_norm"
        )


def _validate(work: Training, epoch: int) -> Evaluation | None:
    if len(work.validation) == 0:
        return None
    found = work.judge.evaluate(work.feed, work.validation)
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
            f"{work.title}: the validation loss became {found.loss} "
            f"after epoch {epoch}. Lower the learning rate or set clip_norm"
        )
    return found
