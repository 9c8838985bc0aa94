"""paribus: the loop that every experiment runs, on any backend.

Only the writing of ``metrics.jsonl`` is missing.
"""

from __future__ import annotations

import numpy as np
from measuring.contenders import Run, Turn, clock

from paribus import registry
from paribus.adapter import Numerics, Precision
from paribus.feeding import Feed
from paribus.judging import Judge
from paribus.progress import Progress
from paribus.stepping import Results, Steps, Training
from paribus.steprows import Row
from paribus.tuning import Tuning
from rivals.works import WORKS


def setup(
    work: str,
    backend: str,
    numerics: Numerics = "strict",
    precision: Precision = "float32",
    device: str = "cpu",
) -> Run:
    """Return epochs of the loop."""
    chosen = WORKS[work]
    where = "cuda:0" if device == "cuda" else device
    session = registry.get(backend).open(
        chosen.network, chosen.task(), device=where, precision=precision, numerics=numerics
    )
    # As a run does; a session in strict numerics chooses nothing.
    session.tune(Tuning(clock=clock))
    session.import_weights(chosen.weights())
    schedule, (x, y) = chosen.schedule(), chosen.data()
    judge = Judge(schedule.inputs, y, chosen.classes)
    feed, unjudged = Feed(session, x, y), np.empty(0, np.int64)
    training = Training(session, schedule, feed, unjudged, judge, {}, _forget, Progress())
    steps = Steps(training)

    def run(amount: int) -> Turn:
        loss = float("nan")
        for _ in range(amount // chosen.epoch_steps):
            loss = epoch(steps)
            training.position.next_epoch()
        return Turn(loss=loss)

    return run


def epoch(steps: Steps) -> float:
    """Run an epoch, answering what the loop waits for; return its mean loss."""
    going, answer = steps.epoch(), None
    while True:
        try:
            wanted = going.send(answer)
        except StopIteration as end:
            return float(end.value)
        answer = wanted.pending.result() if isinstance(wanted, Results) else None


def _forget(rows: list[Row]) -> None:
    """Take rows of ``metrics.jsonl``; rivals write none either."""
