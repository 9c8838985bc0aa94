"""Files in a framework's own format, read by a backend that can, in a process of its own."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from paribus.errors import BackendError, BackendMissing

if TYPE_CHECKING:
    from paribus.adapter import Backend

Array = npt.NDArray[Any]


class ForeignFile:
    """What a backend read, by the names that it gave."""

    def __init__(self, file: Path, reader: str) -> None:
        stat = file.stat()
        self._tensors = _tensors(file.absolute(), reader, stat.st_mtime_ns, stat.st_size)

    @property
    def names(self) -> list[str]:
        """The tensors' names."""
        return list(self._tensors)

    def read(self, name: str) -> Array:
        """Return one tensor; shared between calls, so not to be written to."""
        return self._tensors[name]


def readers() -> dict[str, list[Backend]]:
    """Return the backends that read files of weights, installed or not, by suffix."""
    from paribus import registry

    found: dict[str, list[Backend]] = {}
    for name in registry.names():
        try:
            backend = registry.get(name)
        except BackendError:
            # A third party's broken entry is reported where it is asked for by name.
            continue
        for suffix in sorted(backend.reads):
            found.setdefault(suffix, []).append(backend)
    return found


def reader(suffix: str) -> str | None:
    """Return the first installed backend that reads files of a suffix; None where none ever does.

    Raises:
        BackendMissing: one does, but is not installed.
    """
    backends = readers().get(suffix, []) if suffix != ".safetensors" else []
    for backend in backends:
        if backend.available() is None:
            return backend.name
    if backends:
        installs = " or ".join(backend.install for backend in backends)
        raise BackendMissing(
            f"reading {suffix} files of weights needs a framework that is not installed: "
            f"{installs}. Or give a safetensors file"
        )
    return None


# A child that imports a framework takes seconds, and folds and trials read the same file again.
@lru_cache(maxsize=1)
def _tensors(file: Path, reader: str, changed: int, size: int) -> dict[str, Array]:
    from paribus.remote import RemoteBackend

    with RemoteBackend(reader, threads=1) as backend:
        return backend.read_tensors(file)
