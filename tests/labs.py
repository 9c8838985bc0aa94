"""One backend each, in a child process, so that the tests' own process imports no framework."""

from __future__ import annotations

from typing import Any

from paribus import registry
from paribus.adapter import Session, Task
from paribus.architectures import Network
from paribus.remote import RemoteBackend

# Promised, whatever is installed: an absent framework fails these tests, it does not skip them.
PROMISED = ("torch", "tensorflow", "huggingface", "jax")


class Pool:
    """Children and sessions that stay open, because compiling a step costs more than a test.

    Sessions are shared: a test that takes one imports the weights that it needs first, which also
    sets the optimizer's state to zero.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._children: dict[str, RemoteBackend] = {}
        self._sessions: dict[tuple[Any, ...], Session] = {}

    def backend(self, name: str) -> RemoteBackend:
        if name not in self._children:
            # One thread: the networks are tiny, and threads that wait for each other cost more.
            self._children[name] = RemoteBackend(name, threads=1)
        return self._children[name]

    def device(self, name: str) -> str:
        return registry.resolve_device(self.backend(name), self._device)

    def session(self, name: str, network: Network, task: Task, precision: Any) -> Session:
        key = (name, id(network), task, precision)
        if key not in self._sessions:
            self._sessions[key] = self.backend(name).open(
                network, task, device=self.device(name), precision=precision, numerics="strict"
            )
        return self._sessions[key]

    def close(self) -> None:
        """End the children; who is asked again is started again."""
        for child in self._children.values():
            child.close()
        self._children.clear()
        self._sessions.clear()


class Lab:
    """One backend and its shared sessions."""

    def __init__(self, pool: Pool, name: str) -> None:
        self._pool = pool
        self.name = name

    @property
    def backend(self) -> RemoteBackend:
        return self._pool.backend(self.name)

    def session(self, network: Network, task: Task, precision: str = "float64") -> Session:
        """Return a shared strict session; import weights before anything else."""
        return self._pool.session(self.name, network, task, precision)

    def open(
        self, network: Network, task: Task, precision: Any = "float64", numerics: Any = "strict"
    ) -> Session:
        """Return a new session; close it."""
        return self.backend.open(
            network,
            task,
            device=self._pool.device(self.name),
            precision=precision,
            numerics=numerics,
        )
