"""Between a plan and a session: the rows that the plan reads, on the device when it runs.

Examples in memory are put on the device once, and plans pass as they are. Streamed examples are put
there plan by plan: a plan's rows are read, each once, the plan is numbered anew over them, and what
was put is let go of when the plan has run. While one plan runs, a thread reads the rows of the
next. Neither changes any arithmetic: the same rows meet in the same batches in the same order.

A session belongs to one thread, so the other one only ever reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from paribus.adapter import Array, Session
from paribus.data.memory import too_large
from paribus.data.streamed import Examples, Streamed, row_bytes
from paribus.errors import OutOfMemory, SpecError
from paribus.plan import EvalPlan, Sums, Targets, TrainPlan, narrowed

# What a plan reads at most. Three such pieces exist at a time: one that runs, one that waits for
# it, one that is being read.
CHUNK_BYTES = 64 << 20

Plan = TypeVar("Plan", TrainPlan, EvalPlan)


class Fed(NamedTuple, Generic[Plan]):
    """A plan that can run, with the handle to run it on; for ``Feed.free`` when it has run.

    Attributes:
        plan: as the session reads it; of streamed examples its rows are numbered anew.
        handle: what it runs on.
        asked: the plan as it was asked for, with the rows of the data set.
    """

    plan: Plan
    handle: Any
    asked: Plan


class Holder(Protocol):
    """What examples are put on: a session, or the replicas of many trainings."""

    def put(self, x: Array, y: Array | None) -> Any:
        """See ``Session.put``."""

    def free(self, handle: Any) -> None:
        """See ``Session.free``."""


class Supply:
    """The examples of a data set on their way to a device.

    Attributes:
        streamed: whether they are read when they are needed.
    """

    def __init__(self, holder: Holder, x: Examples, y: Array | None) -> None:
        """Put examples on the device if they are in memory, all of them.

        Args:
            holder: where they go.
            x: as in ``Dataset``; y: as ``Session.put`` takes it.
        """
        self._holder = holder
        self.streamed = isinstance(x, Streamed)
        self._x, self._y = x, y
        self._handle = None if isinstance(x, Streamed) else holder.put(x, y)

    @property
    def handle(self) -> Any:
        """The handle of all examples; None of streamed ones."""
        return self._handle

    def steps(self, rows: int) -> int | None:
        """Return how many steps of ``rows`` rows a plan may have; None for any number."""
        return self._batches(rows) if self.streamed else None

    def fed(self, plans: Iterable[Plan]) -> Generator[Fed[Plan], None, None]:
        """Yield the plans in order, each when its rows are on the device.

        Of streamed examples the next plan is asked for before one is yielded. Close the iterator
        (``contextlib.closing``) where it may not be exhausted.

        Raises:
            DataError: rows cannot be read.
            SpecError: a plan's rows are too many for the memory.
        """
        if not isinstance(self._x, Streamed):
            for plan in plans:
                yield Fed(plan, self._handle, plan)
            return
        reader: _Reader[Plan] = _Reader(self._x, self._y)
        with closing(reader):
            for plan in plans:
                reader.ask(plan)
                if reader.waiting > 1:
                    yield self._put(*reader.next())
            while reader.waiting:
                yield self._put(*reader.next())

    def free(self, fed: Fed[Plan]) -> None:
        """Let go of a plan's rows, once its results are there."""
        if self.streamed:
            self._holder.free(fed.handle)

    def _put(self, asked: Plan, plan: Plan, x: Array, y: Array | None) -> Fed[Plan]:
        return Fed(plan, self._holder.put(x, y), asked)

    def _batches(self, rows: int) -> int:
        return max(1, CHUNK_BYTES // max(1, rows * row_bytes(self._x)))


class Feed(Supply):
    """A supply for one session, which also judges the session's weights on its examples.

    Args:
        rows: that are judged at a time, at most; None for as many as a plan's batches have.

    Where memory runs out in that, ``OutOfMemory`` has its ``judging``.
    """

    def __init__(
        self, session: Session, x: Examples, y: Array | None, rows: int | None = None
    ) -> None:
        super().__init__(session, x, y)
        self.session = session
        self._rows = rows

    def evaluate(self, plan: EvalPlan) -> Sums:
        """Return the sums over a plan's real rows, as ``Session.evaluate`` does.

        They are added up piece by piece, and the pieces are the same for examples in memory:
        sums of another grouping would differ in the last bits.
        """
        with _judging():
            found = [self.session.evaluate(fed.handle, fed.plan) for fed in self._pieces(plan)]
        return Sums(*(sum(parts) for parts in zip(*found, strict=True)))

    def predict(self, plan: EvalPlan) -> Array:
        """Return the real rows' outputs, as ``Session.predict`` does."""
        with _judging():
            found = [self.session.predict(fed.handle, fed.plan) for fed in self._pieces(plan)]
        return np.concatenate(found)

    def _pieces(self, plan: EvalPlan) -> Iterator[Fed[EvalPlan]]:
        parts: Iterator[EvalPlan]
        batches, rows = plan.indices.shape
        step = self._batches(rows)
        parts = (_part(plan, at, at + step) for at in range(0, batches, step))
        if self._rows is not None and self._rows < rows:
            parts = (narrowed(part, self._rows) for part in parts)
        with closing(self.fed(parts)) as pieces:
            for fed in pieces:
                yield fed
                self.free(fed)


@contextmanager
def _judging() -> Iterator[None]:
    try:
        yield
    except OutOfMemory as error:
        error.judging = True
        raise


class _Reader(Generic[Plan]):
    """A thread that reads the rows of plans, in the order in which it is asked."""

    def __init__(self, x: Streamed, y: Array | None) -> None:
        self._x, self._y = x, y
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="paribus-reader")
        self._asked: deque[Future[tuple[Plan, Plan, Array, Array | None]]] = deque()

    @property
    def waiting(self) -> int:
        """Plans that were asked for and not taken."""
        return len(self._asked)

    def ask(self, plan: Plan) -> None:
        """Begin to read a plan's rows, after those asked for before."""
        self._asked.append(self._thread.submit(self._read, plan))

    def next(self) -> tuple[Plan, Plan, Array, Array | None]:
        """Wait for the first plan asked for; return it, it numbered anew, and its rows' x and y."""
        return self._asked.popleft().result()

    def close(self) -> None:
        """Stop reading."""
        self._thread.shutdown(cancel_futures=True)

    def _read(self, plan: Plan) -> tuple[Plan, Plan, Array, Array | None]:
        rows, places = np.unique(plan.indices, return_inverse=True)
        require_rows(self._x, len(rows), "data.memory")
        rebased = replace(plan, indices=places.reshape(plan.indices.shape).astype(np.int64))
        return plan, rebased, self._x[rows], None if self._y is None else self._y[rows]


def require_rows(x: Examples, rows: int, where: str) -> None:
    """Require that so many rows at once fit the memory, where examples are streamed.

    Args:
        x: the examples.
        rows: that one optimizer step or one batch reads.
        where: for the message.

    Raises:
        SpecError: they do not.
    """
    size = rows * row_bytes(x)
    if isinstance(x, Streamed) and size > CHUNK_BYTES and too_large(size):
        raise SpecError(
            f"{where}: one optimizer step or batch reads {rows} rows at once, {size / 2**30:.1f} "
            "GiB, but data that is streamed (data.memory) should not be in memory as a whole; use "
            "an optimizer that takes batches (sgd, adam, …), and a smaller batch_size"
        )


def _part(plan: EvalPlan, start: int, stop: int) -> EvalPlan:
    """Return the batches ``start`` to ``stop`` of a plan."""
    targets = plan.targets
    if targets is not None:
        targets = Targets(**{name: array[start:stop] for name, array in vars(targets).items()})
    part = slice(start, stop)
    return replace(plan, indices=plan.indices[part], counts=plan.counts[part], targets=targets)
