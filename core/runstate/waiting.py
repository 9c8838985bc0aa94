"""The trainings that an earlier leg left under way: one, or several that were made together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from paribus.adapter import Array
from paribus.checkpoints.tensorfile import TensorFile
from paribus.errors import RunFolderError
from paribus.runstate import tensors
from paribus.runstate.journal import report, require_metrics, require_same
from paribus.runstate.records import Identity, UnderWay
from paribus.runstate.store import TENSORS, Checkpoint
from paribus.stepping import Training


class Waiting:
    """Those that this leg has not gone on with yet.

    Args:
        begun: the checkpoint that the leg began with; None for a run's first leg.
        changed: whether this leg goes on with another recipe than they had.
    """

    def __init__(self, begun: Checkpoint | None, *, changed: bool = False) -> None:
        self._begun, self._changed = begun, changed
        first = None if begun is None else begun.state.training
        beside = [] if begun is None else begun.state.beside
        found = [*([] if first is None else [first]), *beside]
        self._left = dict(enumerate(found))
        self._count = len(found)

    @property
    def identities(self) -> list[Identity]:
        """Which they are."""
        return [one.identity for one in self._left.values()]

    def go_on(self, identity: Identity, work: Training) -> None:
        """Bring a training to where it was left, if it is one of them.

        Raises:
            RunError: another training of these labels was left.
            RunFolderError, WeightsError: what the checkpoint says of it cannot be.
        """
        index = next(
            (i for i, one in self._left.items() if one.identity.labels == identity.labels), None
        )
        if index is None or self._begun is None:
            return
        left = self._left.pop(index)
        require_same(left.identity, identity, changed=self._changed)
        place, schedule = left.place, work.schedule
        judged = [*place.validations, *([] if place.kept is None else [place.kept[2]])]
        require_metrics(identity, work.judge.metrics, judged)
        reached = place.epoch <= schedule.epochs and place.start <= schedule.steps_per_epoch
        if not reached or len(place.validations) != place.epoch - 1:
            raise RunFolderError(
                f"{self._begun.path}: epoch {place.epoch}, step {place.start} is no place in "
                f"{identity.title}; run it anew with --overwrite"
            )
        kept = tensors.restore(self._file, index, self._count, place, work)
        work.position = place.position(kept)
        report(identity, place.validations, work.after_epoch, raises=False)

    def kept(
        self, held: Mapping[str, Array], first: int
    ) -> tuple[list[UnderWay], dict[str, Array]]:
        """Return what a new checkpoint says of them, whose turn comes later in this leg.

        Args:
            held: the tensors of the trainings before them there.
            first: the number that the first of them has there.
        """
        found: dict[str, Array] = {}
        for number, index in enumerate(self._left, first):
            before = {**held, **found}
            found |= tensors.moved(self._file, index, self._count, before, number)
        return list(self._left.values()), found

    @cached_property
    def _file(self) -> TensorFile:
        assert self._begun is not None  # something was under way
        return TensorFile(self._begun.path / TENSORS)
