"""The parent's side of a backend: start the child, send requests, raise what comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paribus import registry
from paribus.adapter import Array, Backend, Numerics, Precision, Task
from paribus.architectures import Network, Shape
from paribus.channel import Closed, receive, send
from paribus.closing import Closing
from paribus.errors import BackendError
from paribus.native.builder import Builder
from paribus.native.inspection import Inspection
from paribus.remote.native import to_inspection
from paribus.remote.replicas import RemoteReplicas
from paribus.remote.server import ERRORS
from paribus.remote.session import RemoteSession
from paribus.remote.values import from_network, from_task

# What the numerical libraries read when they start; a framework's own variables win over OMP's.
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",
    "PJRT_NPROC",
)
STDERR_LINES = 20


class RemoteBackend(Closing, Backend):
    """A registered backend, executed by a child process; a context manager that ends the child.

    Sessions of one ``RemoteBackend`` share its child and are used by one thread.

    Args:
        name: a registered backend, or ``auto``.
        threads: how many threads the child computes with; None leaves the machine's default.

    Raises:
        UnknownBackend, BackendMissing, BackendError: as ``registry.choose``.
    """

    def __init__(self, name: str, *, threads: int | None = None) -> None:
        descriptor = registry.choose(name)
        self.name = descriptor.name
        self.title = descriptor.title
        self.packages = descriptor.packages
        self.install = descriptor.install
        self.capabilities = descriptor.capabilities
        self.reads = descriptor.reads
        self._descriptor = descriptor
        environment = dict(os.environ)
        if threads is not None:
            environment |= dict.fromkeys(THREADS, str(threads))
        # A file and not a pipe: a child that prints a lot must not block on a reader.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (close() closes it)
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-X", "faulthandler", "-m", "paribus.remote", self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
        )

    def available(self) -> str | None:
        """Return the descriptor's answer; asks no child."""
        return self._descriptor.available()

    def devices(self) -> list[str]:
        """Return the child's devices, best first."""
        return [str(device) for device in self.call("devices")["value"]]

    def open(
        self,
        network: Network,
        task: Task,
        *,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> RemoteSession:
        """Open a session in the child; the arguments and errors of ``Backend.open``.

        A network of the user's own models is in canonical names, here and in the session.
        """
        reply = self.call(
            "open",
            network=from_network(network),
            task=from_task(task),
            device=device,
            precision=precision,
            numerics=numerics,
        )
        return RemoteSession(self, reply["value"])

    def open_replicas(
        self,
        network: Network,
        task: Task,
        count: int,
        *,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> RemoteReplicas:
        """Open replicas in the child; the arguments and errors of ``Backend.open_replicas``."""
        reply = self.call(
            "open_replicas",
            network=from_network(network),
            task=from_task(task),
            count=count,
            device=device,
            precision=precision,
            numerics=numerics,
        )
        return RemoteReplicas(self, reply["value"])

    def inspect(self, builder: Builder, input_shape: Shape, seed: int) -> Inspection:
        """Look at a user's model in the child; the errors of ``Backend.inspect``."""
        given = {"builder": asdict(builder), "input_shape": input_shape, "seed": seed}
        return to_inspection(self.call("inspect", **given)["value"])

    def read_tensors(self, path: Path) -> dict[str, Array]:
        """Read a file of weights in the child; the errors of ``Backend.read_tensors``."""
        return dict(self.call("read_tensors", path=str(path.absolute()))["value"])

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Send one request to the child and return its reply.

        Raises:
            ParibusError: whatever the adapter raised, as its own class.
            BackendError: the adapter failed with an error that is not ours (its traceback is a
                note), or the child is dead or closed.
        """
        reader, writer = self._child.stdout, self._child.stdin
        if reader is None or writer is None or not self.alive:
            raise BackendError(f"the process of backend {self.name!r} is closed; open a new one")
        try:
            send(writer, {"method": method, "arguments": arguments})
            reply: dict[str, Any] = receive(reader)
        except Closed as closed:
            raise self._died(method) from closed
        except KeyboardInterrupt:
            # Half a frame may be on its way: nothing sensible can follow on this channel.
            self.close()
            raise
        if reply["error"] is None:
            return reply
        kind, message, trace = reply["error"]
        error = ERRORS.get(kind)
        if error is not None:
            raise error(message)
        failure = BackendError(f"backend {self.name!r} failed in {method}: {kind}: {message}")
        failure.add_note(trace)
        raise failure

    @property
    def alive(self) -> bool:
        """Whether the child can still be asked."""
        return self._child.stdin is not None and not self._child.stdin.closed

    @property
    def process_id(self) -> int:
        """The child's, for measuring its memory."""
        return self._child.pid

    def close(self) -> None:
        """End the child; safe to call twice."""
        if self.alive:
            # Killed, not asked: a framework's shutdown takes seconds and saves nothing.
            self._child.kill()
            self._child.wait()
            for stream in (self._child.stdin, self._child.stdout, self._stderr):
                _release(stream)

    def _died(self, method: str) -> BackendError:
        self._child.kill()
        code = self._child.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()[-STDERR_LINES:]
        self.close()
        said = "\n  ".join(lines) or "(nothing)"
        if code == -signal.SIGKILL:
            said += "\nIt was killed from outside, as a system does that has no memory left"
        return BackendError(
            f"the process of backend {self.name!r} ended with code {code} during {method}; "
            f"its last words:\n  {said}"
        )


def _release(stream: Any) -> None:
    if stream is not None:
        try:
            stream.close()
        except BrokenPipeError:
            # A half-written frame of a child that is gone; there is nobody left to read it.
            return
