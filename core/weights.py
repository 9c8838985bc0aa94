"""Canonical tensors: drawing, checking, reading and writing them.

Published checkpoints have canonical names already, so reading one is reading its file. A file in a
framework's own format needs that framework, which core never imports: a backend that says that it
reads the suffix does so in a child process (``paribus.remote``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from paribus import draws
from paribus.architectures import Network, Tensor
from paribus.errors import BackendError, BackendMissing, WeightsError

if TYPE_CHECKING:
    from paribus.adapter import Backend

Array = npt.NDArray[Any]
LISTED = 12


def draw(network: Network, seed: int, only: Iterable[str] | None = None) -> dict[str, Array]:
    """Draw initial tensors, each a function of (seed, canonical name) alone; float64.

    Args:
        network: whose tensors are drawn, with their published initialisers.
        seed: the experiment's seed.
        only: names to draw; all by default.
    """
    names = network.tensors if only is None else only
    return {name: _draw(network.tensors[name], seed) for name in names}


def _draw(tensor: Tensor, seed: int) -> Array:
    kind, scale = tensor.initializer.kind, tensor.initializer.scale
    stream = f"weights/{tensor.name}"
    if kind == "constant":
        return np.full(tensor.shape, scale)
    if kind == "normal":
        return scale * draws.normal(seed, stream, 0, tensor.shape)
    if kind == "truncated_normal":
        return scale * draws.truncated_normal(seed, stream, 0, tensor.shape, -2.0, 2.0)
    return scale * (2.0 * draws.uniform(seed, stream, 0, tensor.shape) - 1.0)


def check(
    tensors: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], what: str = "weights"
) -> None:
    """Require exactly the names and shapes of ``shapes``.

    Raises:
        WeightsError: it lists what is missing, extra or misshapen.
    """
    missing = [name for name in shapes if name not in tensors]
    extra = [name for name in tensors if name not in shapes]
    misshapen = [
        f"{name}: {tuple(tensors[name].shape)} instead of {shape}"
        for name, shape in shapes.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    problems = [
        f"{label} {len(names)}: {_listed(names)}"
        for label, names in (("missing", missing), ("extra", extra), ("misshapen", misshapen))
        if names
    ]
    if problems:
        raise WeightsError(f"{what} do not fit the network; " + "; ".join(problems))


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of every canonical tensor by name."""
    return {name: tensor.shape for name, tensor in network.tensors.items()}


def save(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write tensors and string metadata as one safetensors file, complete or not at all."""
    from safetensors.numpy import save_file

    staged = path.with_name(path.name + ".partial")
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    save_file(contiguous, staged, metadata=dict(metadata))
    staged.replace(path)


def load(path: Path) -> dict[str, Array]:
    """Read a file with canonical names: safetensors, that of a run folder, or a backend's format.

    Bookkeeping counters of published state dicts (``num_batches_tracked``) are left out: no
    arithmetic reads them. Arrays are shared between calls and must not be written to.

    Raises:
        WeightsError: no such file, unreadable, or a tensor that is not of finite floats.
        BackendMissing: the format needs a framework that is not installed.
    """
    file = path / "weights.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(f"no weights at {file}; allowed: {_formats()}")
    reader = _reader(file.suffix.lower())
    if reader is None:
        tensors = _safetensors(file)
    else:
        stat = file.stat()
        tensors = _foreign(file.absolute(), reader, stat.st_mtime_ns, stat.st_size)
    found = {n: a for n, a in tensors.items() if not n.endswith(".num_batches_tracked")}
    others = [f"{n} ({a.dtype})" for n, a in found.items() if a.dtype.kind != "f"]
    if others:
        raise WeightsError(f"{file}: weights are floats, but not all are: {_listed(others)}")
    bad = [name for name, array in found.items() if not np.isfinite(array).all()]
    if bad:
        raise WeightsError(f"{file}: NaN or infinite values, which cannot train: {_listed(bad)}")
    return found


def _safetensors(file: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(file))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{file} is not a readable safetensors file: {error}; allowed: {_formats()}"
        ) from error


def _readers() -> dict[str, list[Backend]]:
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


def _reader(suffix: str) -> str | None:
    """Return the first installed backend that reads files of a suffix; None where none ever does.

    Raises:
        BackendMissing: one does, but is not installed.
    """
    backends = _readers().get(suffix, []) if suffix != ".safetensors" else []
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


def _formats() -> str:
    own = ", ".join(_readers())
    return f"a run folder, a .safetensors file, or a framework's own ({own})"


# A child that imports a framework takes seconds, and folds and trials read the same file again.
@lru_cache(maxsize=1)
def _foreign(file: Path, reader: str, changed: int, size: int) -> dict[str, Array]:
    from paribus.remote import RemoteBackend

    with RemoteBackend(reader, threads=1) as backend:
        return backend.read_tensors(file)


def fingerprint(tensors: Mapping[str, Array]) -> str:
    """Return the SHA-256 of names, shapes, dtypes and every bit of the values, in hexadecimal."""
    digest = sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
