"""A backend on a device, with the sessions that are open on it.

Folds, trials and candidates ask for the same network and task again and again; opening a session
may trace and compile, so the last few stay open and take new weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from paribus import registry
from paribus.adapter import Array, Backend, Numerics, Precision, Session, Task
from paribus.architectures import Network
from paribus.closing import Closing
from paribus.data import Dataset, Streamed
from paribus.feeding import Feed, Supply
from paribus.native.ported import open_session
from paribus.replicas import Replicas
from paribus.thrift import Thrift
from paribus.tuning import Choice, Tuning

OPEN_SESSIONS = 3


class Machine(Closing):
    """Opens sessions, and replicas, on one backend and device, and keeps the last few.

    Attributes:
        backend: the descriptor; device: resolved, never ``auto``; precision; numerics.
        compile_seconds: spent by all sessions so far, closed ones included.
        tuning: how far ``fast`` numerics may go, and what the run has chosen before.
        thrift: what it gives up for want of memory.
    """

    def __init__(
        self,
        backend: Backend,
        device: str,
        precision: Precision,
        numerics: Numerics,
        tuning: Tuning | None = None,
        thrift: Thrift | None = None,
    ) -> None:
        self.backend = backend
        self.device = device
        self.precision: Precision = precision
        self.numerics: Numerics = numerics
        self.tuning = tuning or Tuning()
        self.thrift = thrift or Thrift()
        self._open: OrderedDict[str, _Open] = OrderedDict()
        # The replicas that were asked for last: the next trial asks for the same again.
        self._shared: dict[str, _Shared] = {}
        self._tuned: list[Session] = []
        self._choices: dict[str, Choice] = {}
        # In the order in which they were made.
        self._remarks: dict[str, None] = {}
        self._closed_compile_seconds = 0.0

    @property
    def compile_seconds(self) -> float:
        """Wall seconds spent on tracing and compiling."""
        return (
            self._closed_compile_seconds
            + sum(entry.session.compile_seconds for entry in self._open.values())
            + sum(entry.replicas.compile_seconds for entry in self._shared.values())
        )

    @property
    def choices(self) -> list[Choice]:
        """What all sessions have chosen so far."""
        for session in self._tuned:
            for choice in session.choices:
                # The first one of a subject stays the run's.
                self._choices.setdefault(choice.subject, choice)
        return list(self._choices.values())

    @property
    def remarks(self) -> list[str]:
        """What all sessions and replicas have remarked so far, each once."""
        for entry in self._open.values():
            self._remarks |= dict.fromkeys(entry.session.remarks)
        for shared in self._shared.values():
            self._remarks |= dict.fromkeys(shared.replicas.remarks)
        return list(self._remarks)

    def tune(self, session: Session) -> None:
        """Let a session of fast numerics choose, as the run's other sessions have chosen."""
        if self.numerics == "fast":
            session.tune(
                replace(self.tuning, earlier=(*self.tuning.earlier, *self.choices), choices=[])
            )
            self._tuned.append(session)

    def forget(self, session: Session) -> None:
        """Keep what a session has chosen and remarked; it is about to be closed."""
        self._remarks |= dict.fromkeys(session.remarks)
        if session in self._tuned:
            _ = self.choices
            self._tuned.remove(session)

    def session(self, network: Network, task: Task) -> Session:
        """Return an open session for a network and task; its weights are undefined.

        Raises:
            Unsupported: the backend cannot honour it.
        """
        key = _key(network, task)
        if key not in self._open:
            registry.check(self.backend, network, task, self.precision, self.device)
            while len(self._open) >= (1 if self.thrift.alone else OPEN_SESSIONS):
                self._close(next(iter(self._open)))
            self._open[key] = _Open(self.apart(network, task))
            self.tune(self._open[key].session)
        self._open.move_to_end(key)
        self._open[key].holds = ()
        return self._open[key].session

    def loaded(self, network: Network, task: Task, tensors: Mapping[str, Array]) -> Session:
        """Return an open session that has these weights, for computing alone.

        They are imported where it has others; whoever asks for it in another way undefines them.

        Args:
            network, task: the session's.
            tensors: canonical tensors, which nobody writes to any more.

        Raises:
            Unsupported: the backend cannot honour it.
        """
        known = self._open.get(_key(network, task))
        wanted = tuple(tensors.values())
        held = () if known is None else known.holds
        same = len(held) == len(wanted) and all(a is b for a, b in zip(held, wanted, strict=True))
        session = self.session(network, task)
        if not same:
            session.import_weights(tensors)
        self._open[_key(network, task)].holds = wanted
        return session

    def apart(self, network: Network, task: Task) -> Session:
        """Open a session that is the caller's own to close; it chooses nothing."""
        return open_session(
            self.backend,
            network,
            task,
            device=self.device,
            precision=self.precision,
            numerics=self.numerics,
        )

    def replicas(self, network: Network, task: Task, count: int) -> Replicas:
        """Return ``count`` open replicas of a network and task; their weights are undefined.

        Raises:
            Unsupported: the backend cannot honour it.
        """
        key = f"{count} replicas of {_key(network, task)}"
        if key not in self._shared:
            registry.check(self.backend, network, task, self.precision, self.device)
            while self._shared:
                self._close_replicas()
            opened = self.backend.open_replicas(
                network,
                task,
                count,
                device=self.device,
                precision=self.precision,
                numerics=self.numerics,
            )
            self._shared[key] = _Shared(opened)
        return self._shared[key].replicas

    def supply(self, replicas: Replicas, dataset: Dataset) -> Supply:
        """Return the way of a dataset in memory to replicas; it is put there at the first call."""
        supplies = self.supplies(replicas)
        if dataset.fingerprint not in supplies:
            supplies[dataset.fingerprint] = Supply(replicas, dataset.x, dataset.y)
        return supplies[dataset.fingerprint]

    def supplies(self, replicas: Replicas) -> dict[str, Supply]:
        """Return what is on its way to open replicas, by a name; it may be added to."""
        return next(e for e in self._shared.values() if e.replicas is replicas).supplies

    def feed(self, session: Session, dataset: Dataset) -> Feed:
        """Return the dataset's way to the session; in memory it is put there at the first call."""
        x = self.thrift.examples(dataset.x)
        if isinstance(x, Streamed):
            return Feed(session, x, dataset.y, self.thrift.rows)
        feeds = self.feeds(session)
        if dataset.fingerprint not in feeds:
            feeds[dataset.fingerprint] = Feed(session, dataset.x, dataset.y)
        return feeds[dataset.fingerprint]

    def feeds(self, session: Session) -> dict[str, Feed]:
        """Return what is on its way to a session that is open, by a name; it may be added to."""
        return next(entry for entry in self._open.values() if entry.session is session).feeds

    def close(self) -> None:
        """Close every session."""
        for key in list(self._open):
            self._close(key)
        while self._shared:
            self._close_replicas()

    def _close_replicas(self) -> None:
        _, entry = self._shared.popitem()
        self._closed_compile_seconds += entry.replicas.compile_seconds
        self._remarks |= dict.fromkeys(entry.replicas.remarks)
        entry.supplies.clear()
        entry.replicas.close()

    def _close(self, key: str) -> None:
        entry = self._open.pop(key)
        self._closed_compile_seconds += entry.session.compile_seconds
        self.forget(entry.session)
        entry.feeds.clear()
        entry.session.close()


class _Open:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.feeds: dict[str, Feed] = {}
        # The arrays that its weights were imported from, where they still are its weights.
        self.holds: tuple[Array, ...] = ()


class _Shared:
    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas
        self.supplies: dict[str, Supply] = {}


def _key(network: Network, task: Task) -> str:
    return repr((network.architecture, network.parameters, network.input_shape, network.classes,
                 network.objective, network.part, task))  # fmt: skip
