"""States on their way to the disk: written beside the training, and what happens if they cannot be.

A state is a copy, so the next optimizer steps need not wait for the disk; one state is written at
a time. A full disk is no reason to lose the hours since: the run says so, goes on with the states
that it has, and tries again when the next one is due. Whatever else fails ends the run, because
what has gone (the folder, the right to write) would be missed at the end, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from paribus import durable
from paribus.adapter import Array
from paribus.errors import RunFolderError
from paribus.runstate.records import State
from paribus.runstate.store import Store

Tensors = Mapping[str, Array]


@dataclass(frozen=True)
class Best:
    """The weights of the best epoch so far of a training whose weights are wanted.

    Attributes:
        key: tells this training and epoch from others.
        metadata: of the file.
    """

    key: tuple[str, int]
    weights: Tensors
    metadata: Mapping[str, str]


@dataclass
class Saver:
    """Writes the states of one run, one at a time, and the best weights so far.

    Attributes:
        store: where they go.
        warn: told what a person should know.
        kept: optimizer steps of the last state that is on the disk, 0 before the first.
    """

    store: Store
    warn: Callable[[str], None]
    kept: int = 0
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _under_way: tuple[Future[None], int] | None = None
    _best: tuple[str, int] | None = None

    def write(self, state: State, tensors: Tensors, best: Best | None, *, wait: bool) -> None:
        """Write a state; where nobody waits, what goes wrong is told by a later call.

        Args:
            state: everything but tensors.
            tensors: by their names in the checkpoint; nobody changes them any more.
            best: weights to write beside it.
            wait: return when it is on the disk, and accept no failure.

        Raises:
            RunFolderError: it, or the one before, cannot be written.
        """
        self.settle()
        work = self._pool.submit(self._write, state, tensors, best)
        self._under_way = work, state.optimizer_steps
        if wait:
            self.settle(must=True)

    def look(self) -> None:
        """Tell of the state under way if it is done.

        Raises:
            RunFolderError: it could not be written.
        """
        if self._under_way is not None and self._under_way[0].done():
            self.settle()

    def settle(self, *, must: bool = False) -> None:
        """Wait for the state under way.

        Raises:
            RunFolderError: it could not be written, by more than a full disk or if it ``must``.
        """
        if self._under_way is None:
            return
        (work, steps), self._under_way = self._under_way, None
        try:
            work.result()
        except OSError as error:
            self.failed(error, steps, must=must)
        else:
            self.kept = steps

    def failed(self, error: OSError, steps: int, *, must: bool) -> None:
        """Tell that the state after ``steps`` could not be kept.

        Raises:
            RunFolderError: by more than a full disk, or it ``must`` be.
        """
        why = error.strerror or str(error)
        has = (
            f"the last one that is kept is that after optimizer step {self.kept}"
            if self.kept
            else "none is kept yet"
        )
        if must or not durable.full(error):
            raise RunFolderError(
                f"the checkpoint in {self.store.path} cannot be written: {why}; {has}. Make room, "
                "or bring the folder back, or choose another place with --out"
            ) from error
        self.warn(
            f"the state after optimizer step {steps} could not be kept in {self.store.path}: "
            f"{why}; {has}. The run goes on and tries again when the next one is due; make room"
        )

    def close(self) -> None:
        """Wait for the state under way, and say nothing of it."""
        self._pool.shutdown()
        if self._under_way is not None and self._under_way[0].exception() is None:
            self.kept = self._under_way[1]
        self._under_way = None

    def _write(self, state: State, tensors: Tensors, best: Best | None) -> None:
        self.store.write(state, tensors)
        if best is not None and best.key != self._best:
            self.store.save_best(best.weights, best.metadata)
            self._best = best.key
