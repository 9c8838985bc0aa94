"""Keeps the state of a run while it goes on, and ends it where it was asked to stop.

A state is kept between two optimizer steps with none under way: by the clock, after so many steps,
when a signal was heard, and where the run is to stop. Which step that is changes no arithmetic.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from safetensors import SafetensorError

from paribus.adapter import Array
from paribus.errors import NonFiniteLoss, RunFolderError
from paribus.keeping import Keeping, Stopped
from paribus.learner import Learner
from paribus.loop import Trained, train
from paribus.position import Position
from paribus.runfolder import RunFolder
from paribus.runstate import tensors
from paribus.runstate.interruption import Interruption
from paribus.runstate.journal import (
    Journal,
    Listener,
    report,
    require_metrics,
    require_same,
    tell_again,
)
from paribus.runstate.legs import Ledger
from paribus.runstate.records import (
    Finished,
    Identity,
    Judged,
    Outcome,
    Place,
    State,
    UnderWay,
)
from paribus.runstate.store import Checkpoint, Store
from paribus.spec.resuming import Checkpoints
from paribus.stepping import AfterEpoch, Training


class Keeper(Keeping):
    """Runs the trainings of one leg.

    Attributes:
        steps: optimizer steps of the run so far, those of earlier legs included.
        earlier_seconds: wall time of trainings, or parts of them, that this leg was told of.
        store: where checkpoints are.
    """

    def __init__(
        self,
        folder: RunFolder,
        cadence: Checkpoints,
        interruption: Interruption,
        ledger: Ledger,
        begun: Checkpoint | None = None,
        stop_after: int | None = None,
    ) -> None:
        state = None if begun is None else begun.state
        self.store = Store(folder.path)
        self.steps = 0 if state is None else state.optimizer_steps
        self.earlier_seconds = 0.0
        self._folder, self._cadence, self._interruption = folder, cadence, interruption
        self._ledger, self._begun = ledger, begun
        self._journal = Journal([] if state is None else state.finished)
        self._training = None if state is None else state.training
        self._weights: dict[int, dict[str, Array]] = {}
        self._current: Identity | None = None
        self._stop_at = None if stop_after is None else self.steps + stop_after
        self._rest()

    def recall(
        self,
        identity: Identity,
        listener: AfterEpoch,
        metrics: Sequence[str],
        shapes: Mapping[str, tuple[int, ...]] | None,
    ) -> Trained | None:
        """Return a training that an earlier leg finished, or None; raise what ended it.

        Args:
            identity: which one it is.
            listener: told its epochs again, where somebody listens.
            metrics: what it was judged by.
            shapes: of its weights by name; None where they are not needed, and then are empty.

        Raises:
            RunError: it is not the training that the earlier leg finished.
            RunFolderError, WeightsError: the checkpoint lacks its weights or metrics.
        """
        found = self._journal.recall(identity)
        if found is None:
            return None
        judged = None if found.outcome is None else found.outcome.validation
        require_metrics(identity, metrics, [judged, *found.validations])
        self.earlier_seconds += found.seconds
        tell_again(found, listener)
        assert found.outcome is not None  # complete, or an exception was raised
        if shapes is None:
            return found.outcome.trained({})
        if found.model is None:
            raise RunFolderError(
                f"{self.store.path} lacks the weights of {identity.title}; run it anew with "
                "--overwrite"
            )
        return found.outcome.trained(tensors.model(self.store.model(found.model), shapes))

    def train(self, identity: Identity, work: Training, *, lasting: bool) -> Trained:
        """Run a training, from where an earlier leg left it if one did.

        Args:
            identity: which one it is.
            work: the training; the session has its initial weights.
            lasting: whether later steps need its weights, so that a state has to hold them.
        """
        self._current, work.keeping = identity, self
        self._go_on(identity, work)
        listener = Listener(work.after_epoch)
        work.after_epoch = listener
        at = work.position

        def finished(how: Any, **values: Any) -> None:
            heard = [Judged.of(one) for one in at.validations] if listener.listens else []
            self._finish(Finished(identity=identity, how=how, validations=heard, **values))

        try:
            trained = train(work)
        except NonFiniteLoss as error:
            finished("diverged", error=str(error), seconds=at.seconds)
            raise
        except Exception:
            if listener.raised:
                finished("cut", seconds=at.seconds)
            raise
        if lasting:
            self._weights[len(self._journal.entries)] = trained.weights
        finished("complete", outcome=Outcome.of(trained), seconds=trained.seconds)
        return trained

    def summary(self) -> dict[str, Any]:
        """Return what ``result.json`` says of the legs, and of the time that all of them took."""
        legs = self._ledger.upto(self.steps)
        return {
            "optimizer_steps": self.steps,
            "legs": [leg.model_dump(mode="json") for leg in legs],
            "seconds": sum(leg.seconds for leg in legs),
            "compile_seconds": sum(leg.compile_seconds for leg in legs),
        }

    def room(self, ahead: int) -> int | None:
        """See ``Keeping``."""
        stops = [stop for stop in (self._next, self._stop_at) if stop is not None]
        return max(1, min(stops) - self.steps - ahead) if stops else None

    def due(self, ahead: int) -> bool:
        """See ``Keeping``."""
        steps = self.steps + ahead
        late = self._late is not None and time.monotonic() >= self._late
        reached = any(stop is not None and steps >= stop for stop in (self._next, self._stop_at))
        return late or reached or self._interruption.received is not None

    def advance(self, steps: int) -> None:
        """See ``Keeping``."""
        self.steps += steps

    def save(self, session: Learner, at: Position) -> None:
        """Write a checkpoint of the run in the middle of a training.

        Raises:
            Stopped: the run was to stop here.
            KeyboardInterrupt, SystemExit: a signal was heard.
            RunFolderError: it cannot be written.
        """
        assert self._current is not None  # a training runs
        if not at.begun:
            self._write(None, {})
            return
        under_way = UnderWay(identity=self._current, place=Place.of(at))
        self._write(under_way, tensors.of_training(session, at))

    def _go_on(self, identity: Identity, work: Training) -> None:
        """Restore the training that a checkpoint was written in, if this is the one."""
        begun, self._training = self._training, None
        if begun is None or self._begun is None:
            return
        require_same(begun.identity, identity)
        place, schedule = begun.place, work.schedule
        judged = [*place.validations, *([] if place.kept is None else [place.kept[2]])]
        require_metrics(identity, work.judge.metrics, judged)
        reached = place.epoch <= schedule.epochs and place.start <= schedule.steps_per_epoch
        if not reached or len(place.validations) != place.epoch - 1:
            raise RunFolderError(
                f"{self._begun.path}: epoch {place.epoch}, step {place.start} is no place in "
                f"{identity.title}; run it anew with --overwrite"
            )
        kept = tensors.restore(self._begun.path, begun.place, work)
        work.position = begun.place.position(kept)
        self.earlier_seconds += work.position.seconds
        report(identity, begun.place.validations, work.after_epoch, raises=False)

    def _finish(self, entry: Finished) -> None:
        self._journal.add(entry)
        self._current = None
        if self.due(0):
            self._write(None, {})

    def _write(self, training: UnderWay | None, held: Mapping[str, Array]) -> None:
        try:
            for index, weights in self._weights.items():
                name = self.store.save_model(weights)
                entry = self._journal.entries[index]
                self._journal.entries[index] = entry.model_copy(update={"model": name})
            self._weights.clear()
            state = State(
                format=1,
                spec=dict(self._ledger.spec),
                data=dict(self._ledger.data),
                optimizer_steps=self.steps,
                metrics=self._folder.mark(),
                legs=self._ledger.upto(self.steps),
                finished=self._journal.entries,
                training=training,
            )
            self.store.write(state, held)
        except (OSError, SafetensorError) as error:
            raise RunFolderError(
                f"the checkpoint in {self.store.path} cannot be written: {error}; make room, or "
                "choose another place with --out"
            ) from error
        self._rest()
        self._interruption.deliver()
        if self._stop_at is not None and self.steps >= self._stop_at:
            raise Stopped

    def _rest(self) -> None:
        """Begin to wait for the next checkpoint."""
        cadence = self._cadence
        self._next = None if cadence.steps is None else self.steps + cadence.steps
        self._late = time.monotonic() + 60 * cadence.minutes if cadence.minutes else None
