"""Which backends there are: entry points in, descriptors out.

The adapters that come with paribus register as a third party's does, through one entry-point
group, so core names no framework. An entry that is broken, or claimed by two distributions, is
reported when it is asked for by name; the others go on working.

``auto`` takes the first installed backend of ``names()``: paribus' own in the order in which its
distribution declares its extras (the file of entry points is sorted when a package is built, the
extras are not), then third parties' alphabetically.

``probe`` looks at a backend from outside: importing a framework takes seconds, may print, and may
even abort the process, so it happens in a child: ``python -m paribus.registry NAME``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions, entry_points, metadata, version

from paribus.adapter import Backend, Task
from paribus.architectures import Network
from paribus.channel import claim
from paribus.errors import (
    BackendError,
    BackendMissing,
    DeviceMissing,
    ParibusError,
    UnknownBackend,
    Unsupported,
    nearest,
)

GROUP, DISTRIBUTION, AUTO = "paribus.backends", "paribus", "auto"


@dataclass(frozen=True)
class Probe:
    """What is known about a backend on this machine.

    Attributes:
        name, title: the descriptor's; the title is the name where there is no descriptor.
        versions: of the packages that are installed, by distribution.
        devices: best first; empty where there is a ``reason`` why it cannot be used.
        install: the command that installs what is missing, where that is the reason.
    """

    name: str
    title: str
    versions: dict[str, str]
    devices: tuple[str, ...]
    reason: str | None
    install: str | None


def names() -> list[str]:
    """Return the names of all registered backends, in the order in which ``auto`` tries them."""
    extras = metadata(DISTRIBUTION).get_all("Provides-Extra") or []

    def rank(entry: EntryPoint) -> tuple[bool, int, str]:
        own = _distribution(entry) == DISTRIBUTION
        position = extras.index(entry.name) if own and entry.name in extras else len(extras)
        return not own, position, entry.name

    return list(dict.fromkeys(entry.name for entry in sorted(entry_points(group=GROUP), key=rank)))


def get(name: str) -> Backend:
    """Return the descriptor of a backend, installed or not; imports no framework.

    Raises:
        UnknownBackend: nothing is registered under that name.
        BackendError: two distributions register it, or its descriptor cannot be loaded.
    """
    entries = list(entry_points(group=GROUP, name=name))
    if not entries:
        known = names()
        raise UnknownBackend(
            f"unknown backend {name!r}; registered: {', '.join(known) or 'none'}."
            f"{nearest(name, known)}"
        )
    if len(entries) > 1:
        claimants = " and ".join(sorted(_distribution(entry) for entry in entries))
        raise BackendError(
            f"backend {name!r} is registered by {claimants}; uninstall all but one of them"
        )
    return _load(entries[0])


def require(name: str) -> Backend:
    """Return the descriptor of a backend whose framework can be imported.

    Raises:
        BackendMissing: it cannot; the message has the reason and the command that installs it.
        UnknownBackend, BackendError: as ``get``.
    """
    backend = get(name)
    reason = backend.available()
    if reason is not None:
        raise BackendMissing(
            f"backend {name!r} is not installed: {reason}. Install it with: {backend.install}"
        )
    return backend


def choose(name: str) -> Backend:
    """Return the backend called ``name``, or for ``auto`` the first one that is installed.

    Raises:
        BackendMissing: ``auto``, and none is installed; the message lists every install command.
        UnknownBackend, BackendMissing, BackendError: as ``require``.
    """
    if name != AUTO:
        return require(name)
    refusals = []
    for candidate in names():
        try:
            backend = get(candidate)
        except BackendError as error:
            refusals.append(f"  {candidate}: {error}")
            continue
        reason = backend.available()
        if reason is None:
            return backend
        refusals.append(f"  {candidate}: {reason}; {backend.install}")
    listed = "\n".join(refusals) or "  none is registered; reinstall paribus"
    raise BackendMissing(f"no backend is installed; install one of these:\n{listed}")


def resolve_device(backend: Backend, device: str) -> str:
    """Return one of ``backend.devices()``: the best for ``auto``, or the one that is meant.

    A type stands for its first device, and its first device for the type: ``cuda`` and ``cuda:0``
    are the same. Imports the framework.

    Raises:
        DeviceMissing: this machine has no such device; the message lists those it has.
    """
    present = backend.devices()
    if device == AUTO:
        return present[0]
    for candidate in (device, f"{device}:0", device.removesuffix(":0")):
        if candidate in present:
            return candidate
    raise DeviceMissing(
        f"device {device!r} is not available to backend {backend.name!r} on this machine; "
        f"available: {AUTO}, {', '.join(present)}.{nearest(device, present)}"
    )


def check(backend: Backend, network: Network, task: Task, precision: str, device: str) -> None:
    """Refuse by name what a backend's capabilities exclude; imports no framework.

    Args:
        device: as the user wrote it; ``auto`` is always allowed.

    Raises:
        Unsupported: it lists every value that the backend cannot honour, and what it can.
    """
    can = backend.capabilities
    requests = [
        ("operation", network.operations, can.operations),
        ("update rule", {task.rule}, can.rules),
        ("precision", {precision}, can.precisions),
        ("device", {device.partition(":")[0]} - {AUTO}, can.device_types),
    ]
    refused = [
        f"{what} {', '.join(sorted(wanted - allowed))} (it can: {', '.join(sorted(allowed))})"
        for what, wanted, allowed in requests
        if wanted - allowed
    ]
    if refused:
        raise Unsupported(f"backend {backend.name!r} cannot honour {'; '.join(refused)}")


def probe(name: str, timeout: float = 120.0) -> Probe:
    """Look at a backend from outside, its framework imported in a child process only.

    Never raises for a backend that is broken: what is wrong is the ``reason``. After ``timeout``
    seconds the child is ended and the backend counts as unusable.
    """
    try:
        backend = get(name)
    except BackendError as error:
        return Probe(name, name, {}, (), str(error), None)
    versions = {package: version(package) for package in backend.packages if _present(package)}
    missing = backend.available()
    if missing is not None:
        return Probe(name, backend.title, versions, (), missing, backend.install)
    devices, reason = _devices(name, timeout)
    return Probe(name, backend.title, versions, devices, reason, None)


def _devices(name: str, timeout: float) -> tuple[tuple[str, ...], str | None]:
    # -P: a file in the user's folder must not pass for one of a framework's modules.
    command = [sys.executable, "-P", "-m", "paribus.registry", name]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return (), f"its framework did not answer within {timeout:g} seconds"
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return (), f"its process ended with code {done.returncode}: {' '.join(last)}"
    answer = json.loads(done.stdout)
    return tuple(answer["devices"]), answer["reason"]


def _present(package: str) -> bool:
    return any(True for _ in distributions(name=package))


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unnamed distribution"


def _load(entry: EntryPoint) -> Backend:
    where = f"backend {entry.name!r} ({entry.value}, from {_distribution(entry)})"
    try:
        backend = entry.load()
    except Exception as error:  # a third party's module may raise anything
        raise BackendError(
            f"{where} cannot be loaded: {type(error).__name__}: {error}; update or uninstall it"
        ) from error
    if not isinstance(backend, Backend):
        raise BackendError(f"{where} is a {type(backend).__name__}, not a paribus.adapter.Backend")
    if backend.name != entry.name:
        raise BackendError(f"{where} calls itself {backend.name!r}; the two names must be equal")
    return backend


def main(name: str) -> None:
    """Import the framework of a backend and write its devices as JSON: the child of ``probe``."""
    _, writer = claim()
    try:
        devices, reason = require(name).devices(), None
    except ParibusError as error:
        devices, reason = [], str(error)
    except Exception as error:  # a framework that does not import is what a probe is for
        devices, reason = [], f"{type(error).__name__}: {error}"
    writer.write(json.dumps({"devices": devices, "reason": reason}).encode())
    writer.flush()


if __name__ == "__main__":
    main(sys.argv[1])
