"""The training loop, the only one: every step of an experiment on every backend runs it.

It decides what happens between epochs: validation, what is kept, when to stop. How the optimizer
steps of one epoch reach the adapter is ``paribus.stepping``.

The loop is a generator: it yields what it waits for and is sent the answer. So it does not matter
to it whether it is the only one (``train``) or one of many whose steps are made together
(``paribus.together``).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from paribus.adapter import Array
from paribus.errors import DataError, NonFiniteLoss
from paribus.feeding import Feed
from paribus.metrics import Evaluation
from paribus.position import Kept
from paribus.stepping import Judgement, Results, Steps, Training, Wanted


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
        skipped: optimizer steps that were left out, because their loss was not finite.
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
    skipped: int = 0

    @property
    def images_per_second(self) -> float | None:
        """Training throughput without compile time; None where too little was measured."""
        return self.examples / self.train_seconds if self.train_seconds > 0 else None


def train(work: Training) -> Trained:
    """Run a training, the only one of its session; what ``training`` returns and raises."""
    feed = work.feed
    assert isinstance(feed, Feed)  # only replicas, which share a device, have less
    with closing(training(work)) as going:
        answer: Any = None
        while True:
            try:
                wanted = going.send(answer)
            except StopIteration as end:
                trained: Trained = end.value
                return trained
            answer = None
            if isinstance(wanted, Results):
                answer = wanted.pending.result()
            elif isinstance(wanted, Judgement) and len(work.validation):
                try:
                    answer = work.judge.evaluate(feed, work.validation)
                except DataError:
                    # The steps are made; a run can go on when the rows can be read again.
                    work.keeping.save()
                    raise


def training(work: Training) -> Generator[Wanted, Any, Trained]:
    """Run a training from its position to its end, or until early stopping or ``after_epoch``.

    Raises:
        NonFiniteLoss: it names the first such step.
    """
    schedule, session, recipe, at = work.schedule, work.session, work.schedule.recipe, work.position
    steps = Steps(work)
    work.progress.begin(work.title, schedule.total_steps)
    try:
        if at.begun:
            done = (at.epoch - 1) * schedule.steps_per_epoch + at.start
            work.progress.advance(done, at.loss)
        while True:
            loss = yield from steps.epoch()
            validation = _validated(work, at.epoch, (yield Judgement()))
            at.validations.append(validation)
            if recipe.keep == "best" and (at.kept is None or at.kept.beaten_by(validation, recipe)):
                at.kept = Kept(at.epoch, loss, validation, session.export_weights())
            wanted = work.after_epoch(at.epoch, validation)
            last = at.epoch >= schedule.epochs
            if at.exhausted(validation, recipe) or wanted or last:
                break
            at.next_epoch()
        kept = at.kept or Kept(at.epoch, loss, validation, session.export_weights())
    finally:
        steps.take_time()
        work.progress.end()
    _require_finite(work, kept)
    return Trained(
        weights=kept.weights,
        kept_epoch=kept.epoch,
        epochs=at.epoch,
        optimizer_steps=at.epoch * schedule.steps_per_epoch,
        train_loss=kept.loss,
        validation=kept.validation,
        stopped=not last,
        seconds=at.seconds,
        train_seconds=at.train_seconds,
        compile_seconds=at.compile_seconds,
        examples=at.epoch * sum(schedule.sizes),
        skipped=at.skipped,
    )


def _require_finite(work: Training, kept: Kept) -> None:
    """The last step's loss is computed before its update, which nothing has looked at yet."""
    bad = [name for name, array in kept.weights.items() if not np.isfinite(array).all()]
    if bad:
        raise NonFiniteLoss(
            f"{work.title}: after epoch {kept.epoch}, {bad[0]} and "
            f"{len(bad) - 1} more tensors contain NaN or infinite values. Lower the learning rate "
            "or set clip_norm"
        )


def _validated(work: Training, epoch: int, found: Evaluation | None) -> Evaluation | None:
    if found is None:
        return None
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
