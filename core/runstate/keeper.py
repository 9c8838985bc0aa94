"""Keeps the state of a run while it goes on, and ends it where it was asked to stop.

A state is kept between two optimizer steps with none under way. Which step that is
(``paribus.runstate.cadence``) changes no arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paribus.errors import NonFiniteLoss, RunFolderError
from paribus.keeping import Keeping, Stopped
from paribus.loop import Trained, train
from paribus.runfolder import RunFolder
from paribus.runstate import tensors
from paribus.runstate.cadence import Cadence
from paribus.runstate.interruption import Interruption
from paribus.runstate.journal import (
    Journal,
    Listener,
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
)
from paribus.runstate.states import Attempt, States
from paribus.runstate.store import Checkpoint, Store
from paribus.runstate.waiting import Waiting
from paribus.spec.resuming import Checkpoints
from paribus.stepping import AfterEpoch, Training
from paribus.together import Ending

Together = Callable[[Sequence[Training], Keeping, Callable[[int, Ending], None]], None]


class Keeper(Keeping):
    """Runs the trainings of one leg.

    Attributes:
        steps: optimizer steps of the run so far, those of earlier legs included.
        earlier_seconds: wall time of trainings, or parts of them, that this leg was told of.
        store: where checkpoints are.
        good: of a run that a loss ended which is not finite: the steps before it, where they are
            no checkpoint yet and there are to be checkpoints.
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
        self.store = Store(folder.path, cadence.keep)
        self.steps = 0 if state is None else state.optimizer_steps
        self.earlier_seconds = 0.0
        self.good: int | None = None
        self._interruption, self._ledger = interruption, ledger
        self._keeps = bool(cadence.minutes) or cadence.steps is not None
        self._cadence = Cadence(cadence, self.steps, stop_after)
        changed = bool(ledger.leg.changes)
        self._journal = Journal([] if state is None else state.finished, changed=changed)
        self._waiting = Waiting(begun, changed=changed)
        self._states = States(
            folder, self.store, ledger, self._journal, self._waiting, begun, best=cadence.best
        )
        self._expected: list[dict[str, str | int]] = []
        self._current: list[Attempt] = []

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
            self._require_expected(identity)
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

    def train(
        self,
        identity: Identity,
        work: Training,
        *,
        lasting: bool,
        about: Mapping[str, str] | None = None,
    ) -> Trained:
        """Run a training, from where an earlier leg left it if one did.

        Args:
            identity: which one it is.
            work: the training; the session has its initial weights.
            lasting: whether later steps need its weights, so that a state has to hold them.
            about: the metadata of a file of its weights.
        """
        attempt = self._enter(identity, work, lasting, about)
        work.keeping = self
        try:
            trained = train(work)
        except NonFiniteLoss as error:
            if lasting:
                # The run ends by it; what is kept has to be from before.
                self.good = self._good()
                raise
            self._leave(attempt, error)
            self._keep_what_is_due()
            raise
        except Exception:
            if attempt.listener.raised:
                self._finish(attempt, "cut", seconds=work.position.seconds)
                self._keep_what_is_due()
            raise
        self._leave(attempt, trained)
        self._keep_what_is_due()
        return trained

    def train_together(
        self, works: Mapping[int, tuple[Identity, Training]], run: Together
    ) -> dict[int, Ending]:
        """Run trainings side by side, each from where an earlier leg left it if one did.

        None of them is lasting, and nobody listens to their epochs.

        Args:
            works: by number; their replicas have their initial weights.
            run: runs them: ``paribus.together.run`` with the arguments that it lacks.

        Returns:
            how each ended, by number.
        """
        numbers = list(works)
        attempts = [self._enter(*works[number], False) for number in numbers]
        found: dict[int, Ending] = {}

        def ended(index: int, ending: Ending) -> None:
            self._leave(attempts[index], ending)
            found[numbers[index]] = ending

        run([attempt.work for attempt in attempts], self, ended)
        self._keep_what_is_due()
        return found

    def expect(self, labels: Sequence[Mapping[str, str | int]]) -> None:
        """Say which trainings come next, in any order: what an earlier leg left is among them."""
        self._expected = [dict(own) for own in labels]

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
        return self._cadence.room(self.steps + ahead)

    def due(self, ahead: int) -> bool:
        """See ``Keeping``."""
        return self._cadence.due(self.steps + ahead) or self._interruption.received is not None

    def advance(self, steps: int) -> None:
        """See ``Keeping``.

        Raises:
            RunFolderError: a state that was kept before could not be written.
        """
        self.steps += steps
        self._states.saver.look()

    def save(self) -> None:
        """Keep the state of the run in the middle of a training, or of several.

        Raises:
            Stopped: the run was to stop here.
            KeyboardInterrupt, SystemExit: a signal was heard.
            RunFolderError: it cannot be written.
        """
        begun = [attempt for attempt in self._current if attempt.work.position.begun]
        stops = self._interruption.received is not None or self._cadence.stops(self.steps)
        self._states.keep(begun, self.steps, must=stops)
        self._cadence.rest(self.steps)
        self._interruption.deliver()
        if self._cadence.stops(self.steps):
            raise Stopped

    def heed(self) -> None:
        """Obey a signal that was heard while something else than optimizer steps goes on.

        Raises:
            KeyboardInterrupt, SystemExit: there was one; the state is kept.
        """
        if self._interruption.received is not None:
            self.save()

    def rescue(self) -> None:
        """Keep what has ended since the last checkpoint; what is under way has lost its session.

        Where it had begun, the checkpoint before is the one to go on from.
        """
        kept = self._states.saver.kept
        if self.steps > kept and not any(a.work.position.begun for a in self._current):
            self._current.clear()
            self._states.keep([], self.steps, must=True)

    def settle(self) -> None:
        """Wait until what was kept is on the disk.

        Raises:
            RunFolderError: it could not be written.
        """
        self._states.saver.settle()

    def close(self) -> None:
        """Wait until nothing is written any more."""
        self._states.saver.close()

    def _enter(
        self,
        identity: Identity,
        work: Training,
        lasting: bool,
        about: Mapping[str, str] | None = None,
    ) -> Attempt:
        """Begin a training, or go on with it."""
        self._waiting.go_on(identity, work)
        self.earlier_seconds += work.position.seconds
        listener = Listener(work.after_epoch)
        work.after_epoch = listener
        attempt = Attempt(identity, work, listener, lasting, about or {})
        self._current.append(attempt)
        return attempt

    def _leave(self, attempt: Attempt, ending: Ending) -> None:
        """Note that a training came to its end, or to a loss that is not finite."""
        seconds = attempt.work.position.seconds
        if isinstance(ending, NonFiniteLoss):
            self._finish(attempt, "diverged", error=str(ending), seconds=seconds)
            return
        if attempt.lasting:
            self._states.hold(len(self._journal.entries), ending.weights)
        outcome = Outcome.of(ending)
        self._finish(attempt, "complete", outcome=outcome, seconds=ending.seconds)

    def _finish(self, attempt: Attempt, how: Any, **values: Any) -> None:
        listener, at = attempt.listener, attempt.work.position
        heard = [Judged.of(one) for one in at.validations] if listener.listens else []
        entry = Finished(identity=attempt.identity, how=how, validations=heard, **values)
        self._journal.add(entry)
        self._current.remove(attempt)

    def _good(self) -> int | None:
        good = self.steps - 1
        return good if self._keeps and good > self._states.saver.kept else None

    def _keep_what_is_due(self) -> None:
        if self.due(0):
            self.save()

    def _require_expected(self, identity: Identity) -> None:
        """Require that what an earlier leg left belongs to the trainings that come next."""
        left = [*self._waiting.identities, *self._journal.unrecalled]
        for other in left:
            if other.labels not in (*self._expected, identity.labels):
                require_same(other, identity)
