"""The child's side: one backend, its sessions, and a loop that answers requests in order.

A request is {"method", "arguments"}, a reply {"value", "error", "compile_seconds", "remarks"}.
Sessions, dataset handles and pending steps stay here and are known to the parent by number. The
methods that can be called are a closed table of ``_Server``; nothing is looked up by a name that
was sent.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from paribus import errors, registry
from paribus.adapter import Session
from paribus.channel import Closed, claim, receive, send
from paribus.native.builder import Builder
from paribus.native.ported import open_session
from paribus.remote.native import from_inspection
from paribus.remote.values import (
    to_belongings,
    to_eval_plan,
    to_network,
    to_task,
    to_train_plan,
    to_tuning,
)
from paribus.replicas import Replicas

Values = dict[str, Any]

ERRORS: dict[str, type[errors.ParibusError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.ParibusError)
}


class _Guest:
    """A session, or replicas, with what the parent knows of it by number."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.handles: dict[int, Any] = {}
        self.pending: dict[int, Any] = {}


class _Server:
    def __init__(self, name: str) -> None:
        self._backend = registry.require(name)
        self._guests: dict[int, _Guest] = {}
        self._numbers = count()
        self._methods: dict[str, Callable[..., Any]] = {
            "put": self._put,
            "train_steps": self._train_steps,
            "result": self._result,
            "evaluate": self._evaluate,
            "predict": self._predict,
            "gradients": self._gradients,
            "forward": self._forward,
            "activations": self._activations,
            "import_weights": lambda guest, tensors: guest.session.import_weights(tensors),
            "export_weights": lambda guest: guest.session.export_weights(),
            "import_optimizer": lambda guest, slots: guest.session.import_optimizer(slots),
            "export_optimizer": lambda guest: guest.session.export_optimizer(),
            "save_native": lambda guest, folder, belongings: str(
                guest.session.save_native(Path(folder), to_belongings(belongings))
            ),
            "tune": lambda guest, tuning: guest.session.tune(to_tuning(tuning)),
            "choices": lambda guest: [one.model_dump() for one in guest.session.choices],
            "free": lambda guest, handle: guest.session.free(guest.handles.pop(handle)),
            "replica_import_weights": lambda guest, replica, tensors: guest.session.import_weights(
                replica, tensors
            ),
            "replica_export_weights": lambda guest, replica: guest.session.export_weights(replica),
            "replica_import_optimizer": lambda guest, replica, slots: (
                guest.session.import_optimizer(replica, slots)
            ),
            "replica_export_optimizer": lambda guest, replica: guest.session.export_optimizer(
                replica
            ),
            "replicas_train_steps": self._train_replicas,
            "replicas_predict": self._predict_replicas,
        }

    def answer(self, method: str, arguments: Values) -> tuple[Any, Session | Replicas | None]:
        """Return a method's value, and the session or the replicas that were asked."""
        if method == "devices":
            return self._backend.devices(), None
        if method == "open":
            return self._open(arguments), None
        if method == "open_replicas":
            return self._open_replicas(arguments), None
        if method == "inspect":
            builder = Builder(**arguments.pop("builder"))
            shape = tuple(arguments["input_shape"])
            return from_inspection(self._backend.inspect(builder, shape, arguments["seed"])), None
        if method == "read_tensors":
            return self._backend.read_tensors(Path(arguments["path"])), None
        number = arguments.pop("session")
        if method == "close":
            guest = self._guests.pop(number)
            guest.session.close()
            return None, guest.session
        if number not in self._guests:
            raise errors.BackendError(f"{method}: this session is closed; open a new one")
        guest = self._guests[number]
        value = self._methods[method](guest, **arguments)
        return value, guest.session

    def _open(self, arguments: Values) -> int:
        network, task = to_network(arguments.pop("network")), to_task(arguments.pop("task"))
        number = next(self._numbers)
        self._guests[number] = _Guest(open_session(self._backend, network, task, **arguments))
        return number

    def _open_replicas(self, arguments: Values) -> int:
        network, task = to_network(arguments.pop("network")), to_task(arguments.pop("task"))
        number = next(self._numbers)
        self._guests[number] = _Guest(self._backend.open_replicas(network, task, **arguments))
        return number

    def _put(self, guest: _Guest, x: Any, y: Any) -> int:
        number = next(self._numbers)
        guest.handles[number] = guest.session.put(x, y)
        return number

    def _train_steps(self, guest: _Guest, handle: int, plan: Values) -> int:
        number = next(self._numbers)
        started = guest.session.train_steps(guest.handles[handle], to_train_plan(plan))
        guest.pending[number] = started
        return number

    def _result(self, guest: _Guest, pending: int) -> Any:
        return guest.pending.pop(pending).result()

    def _train_replicas(
        self, guest: _Guest, handle: int, replicas: list[int], plans: list[Values]
    ) -> Any:
        given = {r: to_train_plan(plan) for r, plan in zip(replicas, plans, strict=True)}
        return list(guest.session.train_steps(guest.handles[handle], given).values())

    def _predict_replicas(
        self, guest: _Guest, handle: int, replicas: list[int], plans: list[Values]
    ) -> Any:
        given = {r: to_eval_plan(plan) for r, plan in zip(replicas, plans, strict=True)}
        return list(guest.session.predict(guest.handles[handle], given).values())

    def _evaluate(self, guest: _Guest, handle: int, plan: Values) -> Any:
        return guest.session.evaluate(guest.handles[handle], to_eval_plan(plan))

    def _predict(self, guest: _Guest, handle: int, plan: Values) -> Any:
        return guest.session.predict(guest.handles[handle], to_eval_plan(plan))

    def _gradients(self, guest: _Guest, handle: int, plan: Values) -> Any:
        return guest.session.gradients(guest.handles[handle], to_train_plan(plan))

    def _forward(self, guest: _Guest, handle: int, plan: Values, training: bool) -> Any:
        eval_plan = to_eval_plan(plan)
        return guest.session.forward(guest.handles[handle], eval_plan, training=training)

    def _activations(self, guest: _Guest, handle: int, plan: Values, training: bool) -> Any:
        eval_plan = to_eval_plan(plan)
        return guest.session.activations(guest.handles[handle], eval_plan, training=training)


def serve(name: str) -> None:
    """Answer requests on stdin until the parent closes it; returns no more.

    Args:
        name: a registered backend. That it cannot be used is the answer to the first request.
    """
    reader, writer = claim()
    # Ctrl-C reaches the whole process group; the parent decides what it means and ends the child.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server: _Server | None = None
    while True:
        try:
            request = receive(reader)
            try:
                server = server or _Server(name)
                value, asked = server.answer(request["method"], request["arguments"])
                reply = _reply(value, None, asked)
            except Exception as error:  # whatever happened here is the parent's to hear
                trace = traceback.format_exc()
                failed = [type(error).__name__, str(error), trace]
                reply = _reply(None, failed, None)
            send(writer, reply)
        except Closed:
            # The parent is gone. Frameworks' threads and atexit handlers have nothing to save.
            os._exit(0)


def _reply(value: Any, failed: list[str] | None, asked: Session | Replicas | None) -> Values:
    seconds, remarks = (0.0, ()) if asked is None else (asked.compile_seconds, asked.remarks)
    return {
        "value": value, "error": failed, "compile_seconds": seconds, "remarks": list(remarks),
    }  # fmt: skip
