"""A backend that takes part: its process, its device, and sessions on it for one subject."""

from __future__ import annotations

import os

from paribus import registry
from paribus.adapter import Backend, Numerics, Precision, Session
from paribus.closing import Closing
from paribus.errors import Unsupported
from paribus.remote import RemoteBackend
from paribus.remote.backend import THREADS
from paribus.verifying.subject import Subject


class Party(Closing):
    """One backend of a verification.

    Args:
        name: a registered backend.
        device: as the user wrote it; resolved when a session is first opened.
        numerics: of all sessions.
        backend: an open backend to use, which stays the caller's; by default a new process.
    """

    def __init__(
        self, name: str, device: str, numerics: Numerics, backend: Backend | None = None
    ) -> None:
        self._own: RemoteBackend | None = None
        if backend is None:
            backend = self._own = RemoteBackend(name)
        self.backend: Backend = backend
        self.name = self.backend.name
        self._device, self._numerics = device, numerics

    def refusal(self, subject: Subject, precision: Precision) -> str | None:
        """Return why the backend cannot run a subject, or None; imports no framework."""
        try:
            registry.check(self.backend, subject.network, subject.task, precision, self._device)
        except Unsupported as error:
            return str(error)
        return None

    def open(self, subject: Subject, precision: Precision) -> Session:
        """Open a session in the party's process; close it.

        Raises:
            DeviceMissing, Unsupported, BackendError: as ``Backend.open``.
        """
        device = registry.resolve_device(self.backend, self._device)
        return self.backend.open(
            subject.network,
            subject.task,
            device=device,
            precision=precision,
            numerics=self._numerics,
        )

    def on_other_threads(self) -> Party:
        """Return the same backend in a process with another number of threads; close it."""
        backend = RemoteBackend(self.name, threads=other_threads())
        party = Party(self.name, self._device, self._numerics, backend)
        party._own = backend
        return party

    def close(self) -> None:
        """End the process, where it is the party's own."""
        if self._own is not None:
            self._own.close()


def other_threads() -> int:
    """Return a number of threads that a process would not choose by itself: one, or two for one."""
    stated = next((os.environ[name] for name in THREADS if os.environ.get(name)), "")
    usual = int(stated) if stated.isdigit() else os.cpu_count() or 1
    return 2 if usual == 1 else 1
