"""A dry pass of what trainings do besides their own session, once for each kind of it.

A frozen body is computed for some rows, and what trains makes a step and an evaluation on what came
out. Trainings that would be made together are opened together, as many as a run would, make a step
and are judged. Where many do not fit the memory, fewer are tried, and the run then begins with
those (``paribus.thrift``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from paribus.adapter import Array
from paribus.architectures.parts import Cut
from paribus.errors import OutOfMemory, ParibusError
from paribus.features.computing import BATCH, Body, groups_of
from paribus.features.opening import parts_of
from paribus.features.providing import NO_STEP
from paribus.machine import Machine
from paribus.plan import EvalPlan, Preprocess, TrainPlan
from paribus.replicas import Replicas
from paribus.steps.batching import kind_of, wave
from paribus.steps.examples import step_data
from paribus.steps.outlined import Outline, zeros


class Besides:
    """What was tried besides on one machine.

    Args:
        cached: whether the spec wants the features of frozen bodies kept.
    """

    def __init__(self, machine: Machine, cached: bool) -> None:
        self._machine, self._cached = machine, cached
        self._known: set[str] = set()

    def features(self, one: Outline) -> ParibusError | None:
        """Return what fails of a frozen body; None where nothing does, or it was tried before."""
        parts = self._parts(one)
        if parts is None or not self._new("features", parts.boundary.name, one):
            return None
        return self._failure(lambda: self._tail(one, parts))

    def together(self, one: Outline) -> ParibusError | None:
        """Return what fails of trainings like one; None where nothing does, or it was tried."""
        return self._failure(lambda: self._together(one, self._parts(one)))

    def _parts(self, one: Outline) -> Cut | None:
        inputs = one.schedule.inputs
        return parts_of(self._machine, self._cached, one.network, one.task, inputs)

    def _failure(self, attempt: Callable[[], Any]) -> ParibusError | None:
        try:
            attempt()
        except OutOfMemory as error:
            # The run then computes without, and what that needs is tried by itself.
            self._machine.close()
            self._machine.thrift.give_up(error)
        except ParibusError as error:
            return error
        return None

    def _new(self, *what: Any) -> bool:
        *told, one = what
        network = one.network
        key = repr((*told, network.architecture, dict(network.parameters), network.input_shape,
                    network.classes, network.objective))  # fmt: skip
        known, self._known = key in self._known, self._known | {key}
        return not known

    def _tail(self, one: Outline, parts: Cut) -> Array:
        """Compute features of some rows, train the tail on them and judge it; return them."""
        machine, inputs = self._machine, one.schedule.inputs
        rows = one.planned.rows[: 2 * BATCH]
        with machine.apart(parts.body, NO_STEP) as session:
            session.import_weights(zeros(parts.body))
            strict = machine.numerics == "strict"
            body = Body(session, parts.body, one.dataset.x, inputs, strict)
            group = groups_of(rows, inputs, [])[-1]
            found = next(body.compute(group, BATCH))
        labels = one.dataset.y[group.rows[: len(found)]]
        with machine.apart(parts.tail, one.task) as tail:
            tail.import_weights(zeros(parts.tail))
            handle = tail.put(found, labels)
            tail.train_steps(handle, _moved(one, len(found))).result()
            tail.predict(handle, _judged(len(found)))
            tail.export_weights()
            tail.export_optimizer()
        return found

    def _together(self, one: Outline, parts: Cut | None) -> None:
        machine, spec = self._machine, one.planned.spec
        view, recipe = step_data(spec, one.planned.step), one.schedule.recipe
        while one.planned.alike > 1 and spec.native is None:
            kind = kind_of(
                machine, self._cached, spec, view, one.dataset, one.network, one.task, recipe
            )
            if kind is None or kind.most < 2:
                return
            count = wave(one.planned.alike, kind.most)
            if not self._new(kind.key, count, one):
                return
            try:
                self._replicas(one, parts, count)
                return
            except OutOfMemory as error:
                machine.close()
                error.trainings = count
                machine.thrift.give_up(error)

    def _replicas(self, one: Outline, parts: Cut | None, count: int) -> None:
        machine = self._machine
        if parts is None:
            replicas = machine.replicas(one.network, one.task, count)
            handle = machine.supply(replicas, one.dataset).handle
            plan, judged = one.schedule.epoch(0).plan(0, 1), one.judge.plan(one.planned.validation)
            _make(replicas, handle, one.network, count, plan, judged.first(1))
            return
        features = self._tail(one, parts)
        with machine.backend.open_replicas(
            parts.tail, one.task, count, device=machine.device, precision=machine.precision,
            numerics=machine.numerics,
        ) as tails:  # fmt: skip
            handle = tails.put(features, one.dataset.y[one.planned.rows[: len(features)]])
            plan, judged = _moved(one, len(features)), _judged(len(features))
            _make(tails, handle, parts.tail, count, plan, judged)


def _make(
    replicas: Replicas, handle: Any, network: Any, count: int, plan: TrainPlan, judged: EvalPlan
) -> None:
    """Do with replicas what trainings made together do."""
    numbers = range(count)
    for number in numbers:
        replicas.import_weights(number, zeros(network))
    replicas.train_steps(handle, dict.fromkeys(numbers, plan))
    replicas.predict(handle, dict.fromkeys(numbers, judged))
    for number in numbers:
        replicas.export_weights(number)
        replicas.export_optimizer(number)


def _moved(one: Outline, rows: int) -> TrainPlan:
    """Return a training's first step, on ``rows`` rows of features."""
    plan = one.schedule.epoch(0).plan(0, 1)
    plain = replace(plan, preprocess=Preprocess(), augmentation=None, targets=None)
    return replace(plain, indices=plan.indices % rows)


def _judged(rows: int) -> EvalPlan:
    return EvalPlan(np.arange(rows, dtype=np.int64)[None], np.array([rows], dtype=np.int64))
