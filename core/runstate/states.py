"""The state of a run between two optimizer steps, put together from the trainings under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from paribus.adapter import Array
from paribus.runfolder import RunFolder
from paribus.runstate import tensors
from paribus.runstate.journal import Journal, Listener
from paribus.runstate.legs import Ledger
from paribus.runstate.records import Identity, Place, State, UnderWay
from paribus.runstate.saving import Best, Saver
from paribus.runstate.store import Checkpoint, Store
from paribus.runstate.waiting import Waiting
from paribus.stepping import Training


@dataclass
class Attempt:
    """A training under way.

    Attributes:
        lasting: whether its weights are wanted after it.
        about: the metadata of a file of them.
    """

    identity: Identity
    work: Training
    listener: Listener
    lasting: bool
    about: Mapping[str, str] = field(default_factory=dict)


class States:
    """Puts states together and has them written.

    Args:
        folder: of the run.
        store: where they go.
        ledger, journal, waiting: what they say besides the trainings under way.
        begun: the checkpoint that this leg began with, or None.
        best: whether the best weights so far are written beside them.
    """

    def __init__(
        self,
        folder: RunFolder,
        store: Store,
        ledger: Ledger,
        journal: Journal,
        waiting: Waiting,
        begun: Checkpoint | None,
        *,
        best: bool,
    ) -> None:
        self.saver = Saver(
            store, ledger.leg.warn, 0 if begun is None else begun.state.optimizer_steps
        )
        self._folder, self._store, self._ledger = folder, store, ledger
        self._journal, self._waiting, self._begun, self._best = journal, waiting, begun, best
        self._models: dict[int, dict[str, Array]] = {}

    def hold(self, entry: int, weights: dict[str, Array]) -> None:
        """Hold the weights of a finished training, by its place in the journal, until a state."""
        self._models[entry] = weights

    def keep(self, attempts: Sequence[Attempt], steps: int, *, must: bool) -> None:
        """Keep the state in the middle of trainings.

        Args:
            attempts: those that have begun; none of their steps is under way.
            steps: optimizer steps of the run so far.
            must: wait for it, and accept no failure.

        Raises:
            RunFolderError: it cannot be written.
        """
        # One writer in the folder: who begins sweeps away what is there under half a name.
        self.saver.settle()
        held = tensors.of_trainings(
            (attempt.work.session, attempt.work.position) for attempt in attempts
        )
        under_way = [
            UnderWay(identity=attempt.identity, place=Place.of(attempt.work.position))
            for attempt in attempts
        ]
        waiting, theirs = self._waiting.kept(held, len(under_way))
        # A training that waits for its turn is read from the state that this leg began with.
        left = self._begun is not None and bool(self._waiting.identities)
        self._store.needed = self._begun.number if left and self._begun else None
        try:
            self._save_models()
            state = self._state([*under_way, *waiting], steps)
        except OSError as error:
            self.saver.failed(error, steps, must=must)
        else:
            self.saver.write(state, held | theirs, self._best_of(attempts), wait=must)

    def _save_models(self) -> None:
        """Write finished models: a state names them, so they are on the disk before it is."""
        for index in list(self._models):
            name = self._store.save_model(self._models[index])
            entry = self._journal.entries[index]
            self._journal.entries[index] = entry.model_copy(update={"model": name})
            del self._models[index]

    def _state(self, trainings: Sequence[UnderWay], steps: int) -> State:
        return State(
            format=1,
            spec=dict(self._ledger.spec),
            data=dict(self._ledger.data),
            optimizer_steps=steps,
            metrics=self._folder.mark(),
            legs=self._ledger.upto(steps),
            finished=self._journal.entries,
            training=trainings[0] if trainings else None,
            beside=list(trainings[1:]),
        )

    def _best_of(self, attempts: Sequence[Attempt]) -> Best | None:
        """Return the weights of the best epoch so far, where a training's weights are wanted."""
        for attempt in attempts:
            kept = attempt.work.position.kept
            if self._best and attempt.lasting and kept is not None:
                return Best((attempt.identity.title, kept.epoch), kept.weights, attempt.about)
        return None
