"""The adapter under test, with sessions that stay open, and what it claims.

Compiling a step costs more than a check, so sessions are shared: whoever takes one imports weights
first, which also sets the optimizer's state to zero. A child that died is started again, so that
one crash is one failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, NoReturn

import pytest

from paribus import registry
from paribus.adapter import Array, Backend, Numerics, Session, Task
from paribus.architectures import Network
from paribus.errors import BackendError
from paribus.optimizers import RULES
from paribus.remote import RemoteBackend
from paribus.testing.networks import NETWORKS
from paribus.testing.plans import task
from paribus.testing.playing import play
from paribus.testing.scenes import scenes
from paribus.testing.shipped import Golden, load

# Two implementations of the same float64 arithmetic, a few layers and steps deep, are 1e-13 apart;
# those that wrote the golden tensors agree to 1e-11. Any other definition is 1e-6 off or more.
# Float32 has nine digits less; its noise grows with depth and steps.
TOLERANCES: Mapping[str, float] = {"float64": 1e-10, "float32": 1e-3}
# The same kernels on the same rows in another grouping: rounding, no more.
ROUNDING: Mapping[str, float] = {"float64": 1e-12, "float32": 1e-4}
PREFERRED = ("sgd_momentum", "adamw", "adam", "rmsprop", "sgd")


NOT_CLAIMED = "not claimed"


def not_claimed(reason: str) -> NoReturn:
    """End a check that needs what the capabilities exclude; neither passed nor skipped."""
    pytest.skip(f"{NOT_CLAIMED}: {reason}")


class Bench:
    """One backend; see the module.

    Args:
        name: a registered backend.
        device: where its sessions run, as a user writes it.
        in_process: whether in this process, and not in a child.
    """

    def __init__(self, name: str, device: str = "cpu", *, in_process: bool = False) -> None:
        self.name, self._wanted = name, device
        self._in_process = in_process
        self._backend: Backend | None = None
        self._sessions: dict[tuple[Any, ...], Session] = {}
        self._played: dict[tuple[str, str, tuple[str, ...]], dict[str, Any]] = {}

    @cached_property
    def descriptor(self) -> Backend:
        """What is registered, in this process; imports no framework."""
        return registry.get(self.name)

    @cached_property
    def device(self) -> str:
        """Where its sessions run, by the backend's own name."""
        return registry.resolve_device(self.backend, self._wanted)

    @property
    def backend(self) -> Backend:
        """The backend, ready to be asked."""
        if self._backend is None or not self._alive:
            self._sessions.clear()
            # One thread: the networks are tiny, and threads that wait for each other cost more.
            self._backend = (
                registry.require(self.name)
                if self._in_process
                else RemoteBackend(self.name, threads=1)
            )
        return self._backend

    @property
    def _alive(self) -> bool:
        return not isinstance(self._backend, RemoteBackend) or self._backend.alive

    @property
    def precision(self) -> str:
        """The most exact precision that is claimed, of float64 and float32."""
        for precision in TOLERANCES:
            if precision in self.descriptor.capabilities.precisions:
                return precision
        not_claimed("precision float64 or float32")

    @property
    def tolerance(self) -> float:
        """How far from the golden tensors is the same, in ``precision``."""
        return TOLERANCES[self.precision]

    @property
    def rounding(self) -> float:
        """How far the same sums in another order are apart, in ``precision``."""
        return ROUNDING[self.precision]

    @property
    def network(self) -> Network:
        """The first of a few networks that is claimed; for checks of any network."""
        return self.first("cnn", "plain", "mlp", "bert")

    def first(self, *names: str) -> Network:
        """Return the first claimed network of ``NETWORKS`` by these names."""
        operations = self.descriptor.capabilities.operations
        for name in names:
            if NETWORKS[name].operations <= operations:
                return NETWORKS[name]
        not_claimed(f"operations of {' or '.join(names)}")

    def rule(self, *, slots: bool = False) -> str:
        """Return an update rule that is claimed, with slots where they matter."""
        rules = self.descriptor.capabilities.rules
        for name in (*PREFERRED, *sorted(rules)):
            if name in rules and (RULES[name].slots or not slots):
                return name
        not_claimed("an update rule with slots" if slots else "any update rule")

    def task(self, network: Network, freeze: str = "none", **options: Any) -> Task:
        """Return a task of ``rule()``."""
        return task(network, self.rule(), freeze, **options)

    def require(self, network: Network, rule: str, precision: str) -> None:
        """End the check as not claimed unless all of it is."""
        can = self.descriptor.capabilities
        missing = [
            f"{what} {', '.join(sorted(wanted - claimed))}"
            for what, wanted, claimed in (
                ("operation", network.operations, can.operations),
                ("update rule", {rule}, can.rules),
                ("precision", {precision}, can.precisions),
            )
            if wanted - claimed
        ]
        if missing:
            not_claimed("; ".join(missing))

    def open(
        self,
        network: Network,
        task: Task,
        precision: str | None = None,
        numerics: Numerics = "strict",
    ) -> Session:
        """Return a new session; close it."""
        precision = precision or self.precision
        self.require(network, task.rule, precision)
        return self.backend.open(
            network,
            task,
            device=self.device,
            precision=precision,  # type: ignore[arg-type]  # checked against the claims
            numerics=numerics,
        )

    def session(self, network: Network, task: Task, precision: str | None = None) -> Session:
        """Return a shared session; import weights before anything else."""
        precision = precision or self.precision
        key = (id(network), task, precision)
        if key not in self._sessions or not self._alive:
            opened = self.open(network, task, precision)
            self._sessions[key] = opened
        return self._sessions[key]

    def found(
        self, golden: Golden, phase: str, precision: str | None = None, only: Iterable[str] = ()
    ) -> Mapping[str, Array]:
        """Return what the backend computes in a phase of a scene; a scene is played once.

        ``only`` are the phases that are played, where not all of the scene's are wanted.

        Raises:
            whatever the adapter raised in that phase.
        """
        precision = precision or self.precision
        phases = tuple(only) or golden.scene.phases
        key = (golden.scene.name, precision, phases)
        if key not in self._played:
            scene = replace(golden.scene, phases=phases)
            self.require(scene.network, scene.task.rule, precision)
            try:
                session = self.session(scene.network, scene.task, precision)
            except BackendError as error:
                self._played[key] = dict.fromkeys(scene.phases, error)
            else:
                self._played[key] = play(session, scene, golden.weights)
        result = self._played[key][phase]
        if isinstance(result, Exception):
            raise result
        return dict(result)

    def close(self) -> None:
        """End the child, or the sessions that were opened in this process."""
        if isinstance(self._backend, RemoteBackend):
            self._backend.close()
        else:
            for session in self._sessions.values():
                session.close()
        self._sessions.clear()
        self._backend = None


def golden(name: str) -> Golden:
    """Return a stored scene by its name.

    Raises:
        KeyError: none is called so.
    """
    return load(scenes()[name].network_name)[name]
