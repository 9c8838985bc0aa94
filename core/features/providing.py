"""The features of one training's frozen body: known, or computed, and on their way to a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from paribus import weights
from paribus.adapter import Array, Session, Task
from paribus.architectures import Network
from paribus.architectures.parts import Cut
from paribus.batches import Schedule
from paribus.data import Dataset
from paribus.data.memory import too_large
from paribus.data.streamed import Streamed
from paribus.features import keys
from paribus.features.computing import BATCH, Body, Shape, groups_of, same
from paribus.features.entry import Kept
from paribus.features.store import NoRoom, Store
from paribus.features.tail import Places, TailSession
from paribus.features.together import TailReplicas
from paribus.feeding import Feed, Supply
from paribus.plan import Augmentation, Integers, TrainPlan
from paribus.replicas import Replicas
from paribus.steps.experiment import Experiment

# What a session that only computes is opened with: it has no step, and nothing is free.
NO_STEP = Task("sgd", ())


@dataclass(frozen=True)
class Work:
    """One training, as far as its frozen body is concerned.

    Attributes:
        dataset: the examples; rows: int64, of those that may be trained or validated on, sorted.
        schedule: its optimizer steps, with how rows are read.
        tensors: canonical tensors that it starts from; they must not be written to any more.
    """

    network: Network
    task: Task
    dataset: Dataset
    rows: Integers
    schedule: Schedule
    tensors: dict[str, Array]


class Features:
    """The features of one training's frozen body."""

    def __init__(self, experiment: Experiment, work: Work, parts: Cut, store: Store) -> None:
        self._experiment, self._machine = experiment, experiment.machine
        self._work, self._parts, self._store = work, parts, store
        self._inputs, self._x = work.schedule.inputs, work.dataset.x
        self._copies = self._inputs.all_copies(np.arange(len(work.dataset)))
        rows = work.rows
        drawn = [_at(copy, rows) for copy in self._copies]
        self._groups = groups_of(rows, self._inputs, drawn)
        self._shapes = frozenset(
            Shape(count, width)
            for size in set(work.schedule.sizes)
            for count in set(work.schedule.shard_counts(size).tolist())
            for width in (self._inputs.widths if self._inputs.lengths is not None
                          else (self._inputs.preprocess.length,))
        )  # fmt: skip
        self._dtype = np.dtype("float64" if self._machine.precision == "float64" else "float32")
        self._strict = self._machine.numerics == "strict"

    def feed(self) -> tuple[Session, Feed]:
        """Return the tail's session and the features' way to it.

        Raises:
            NoRoom: they cannot be kept.
        """
        largest = max(self._shapes, key=lambda shape: shape.rows).rows
        for batch in dict.fromkeys((BATCH, largest)):
            name = self._name(batch)
            kept = self._kept(name, batch)
            if any(kept.same[shape.name] for shape in self._shapes if shape.rows == largest):
                break
        else:
            raise NoRoom(
                f"with {self._machine.backend.name}, the last bits of what it computes depend on a "
                f"row's place in a batch of {largest}"
            )
        session = self._machine.session(self._parts.tail, self._work.task)
        feeds = self._machine.feeds(session)
        if name not in feeds:
            feeds[name] = self._new(session, kept)
        feed = feeds[name]
        return feed.session, feed

    @property
    def name(self) -> str:
        """What the features are called that whole batches of the usual size compute."""
        return self._name(BATCH)

    def together(self, count: int) -> tuple[Replicas, Supply]:
        """Return replicas of the tail, as replicas of the whole, and the features' way to them.

        Raises:
            NoRoom: the features cannot be kept, or are larger than the memory.
        """
        machine, task, tensors = self._machine, self._work.task, self._work.tensors
        kept = self._kept(self.name, BATCH)
        if too_large(kept.values.nbytes):
            raise NoRoom("they are larger than the memory")
        replicas = machine.replicas(self._parts.tail, task, count)
        supplies = machine.supplies(replicas)
        if self.name not in supplies:
            supplies[self.name] = Supply(replicas, kept.values, self._labels())
        places, rows = self._places()
        frozen = {n: np.array(tensors[n], dtype=self._dtype) for n in self._parts.body.tensors}
        for array in frozen.values():
            array.setflags(write=False)
        whole = TailReplicas(
            replicas, self._parts, frozen, Places(places, rows, self._copies, kept.same)
        )
        return whole, supplies[self.name]

    def _name(self, batch: int) -> str:
        work, inputs = self._work, self._inputs
        preprocess = inputs.preprocess
        numbers = [list(map(float, values)) for values in (preprocess.scale, preprocess.shift)]
        return keys.name_of(
            self._machine,
            self._parts.body,
            work.tensors,
            examples=work.dataset.fingerprint,
            rows=weights.fingerprint({"rows": work.rows}),
            preprocess=[*numbers, preprocess.crop, preprocess.length, list(inputs.widths)],
            copies=[weights.fingerprint(vars(copy)) for copy in self._copies],
            batch=batch,
        )

    def _kept(self, name: str, batch: int) -> Kept:
        """Return features that are known, or compute them; all of ``same`` is found out."""
        known = self._experiment.features
        kept = known.get(name) or self._store.find(name)
        if kept is None:
            kept = self._computed(name, batch)
        elif missing := [shape for shape in self._shapes if shape.name not in kept.same]:
            values = kept.values
            kept.same |= self._agreeing(self._body(), missing, lambda places: values[places])
            self._store.note(name, kept.same)
        known[name] = kept
        return kept

    def _computed(self, name: str, batch: int) -> Kept:
        boundary, rows = self._parts.boundary, sum(len(group.rows) for group in self._groups)
        with self._store.writing(name, (rows, *self._stored), self._dtype) as writer:
            body = self._body()
            for group in self._groups:
                for values in body.compute(group, batch):
                    writer.write(values)
                    self._experiment.keeper.heed()
            found = self._agreeing(body, list(self._shapes), writer.read)
            about = {
                "model": self._parts.whole.architecture,
                "boundary": boundary.name,
                "rows": rows,
                "backend": self._machine.backend.name,
                "device": self._machine.device,
                "precision": self._machine.precision,
            }
            kept = writer.finish(about, found)
        self._experiment.progress.note(
            f"{about['model']} is frozen up to {boundary.name!r}: computed once for "
            f"{rows:,} examples, {kept.values.nbytes / 2**20:,.1f} MiB in {self._store.folder}"
        )
        return kept

    def _body(self) -> Body:
        tensors = {n: self._work.tensors[n] for n in self._parts.body.tensors}
        session = self._machine.loaded(self._parts.body, NO_STEP, tensors)
        return Body(session, self._parts.body, self._x, self._inputs, self._strict)

    def _agreeing(
        self, body: Body, shapes: Sequence[Shape], stored: Callable[[Integers], Array]
    ) -> dict[str, bool]:
        """Return which shapes of batches have the arithmetic of what is stored."""
        found = {}
        for shape in shapes:
            start, agrees = 0, True
            for group in self._groups:
                fits = shape.width is None or group.width is None or group.width <= shape.width
                if self._strict and fits and agrees:
                    agrees = same(body, group, shape, partial(_behind, stored, start))
                start += len(group.rows)
            found[shape.name] = agrees
        return found

    def _new(self, session: Session, kept: Kept) -> Feed:
        """Return a new way of the features to a session of the tail."""
        work, values = self._work, kept.values
        places, rows = self._places()
        streamed = too_large(values.nbytes)
        if streamed and (self._copies or not all(kept.same[s.name] for s in self._shapes)):
            raise NoRoom("they are larger than the memory, and some batches need more than them")
        whole = partial(self._machine.session, work.network, work.task)
        wrapped = TailSession(
            session, self._parts, work.tensors, self._dtype,
            None if streamed else Places(places, rows, self._copies, kept.same),
            self._anew, whole,
        )  # fmt: skip
        if streamed:
            x = Streamed(lambda rows: values[places[rows]], (len(places), *values.shape[1:]),
                         values.dtype, lambda: "features")  # fmt: skip
            return Feed(wrapped, x, work.dataset.y)
        return Feed(wrapped, values, self._labels())

    def _places(self) -> tuple[Integers, int]:
        """Return the place of each row's features, int64 [N], −1 for none; and how many have."""
        order = np.concatenate([group.rows for group in self._groups if group.draws is None])
        places = np.full(len(self._work.dataset), -1, dtype=np.int64)
        places[order] = np.arange(len(order))
        return places, len(order)

    def _labels(self) -> Array:
        return np.concatenate([self._work.dataset.y[group.rows] for group in self._groups])

    @property
    def _stored(self) -> tuple[int, ...]:
        """The shape of an example's features, as examples are put."""
        shape = tuple(self._parts.tail.input_shape)
        return (*shape[1:], shape[0]) if len(shape) == 3 else shape

    def _anew(self, plan: TrainPlan) -> tuple[Array, Array]:
        """Return the features of a plan's real rows in its own batches, and their labels."""
        real = np.arange(plan.indices.shape[2]) < plan.counts[..., None]
        features = self._body().batches(plan).reshape(-1, *self._stored)
        return features, self._work.dataset.y[plan.indices[real]]


def _at(draws: Augmentation, rows: Integers) -> Augmentation:
    return Augmentation(**{name: array[rows] for name, array in vars(draws).items()})


def _behind(stored: Callable[[Integers], Array], start: int, places: Integers) -> Array:
    return stored(places + start)
