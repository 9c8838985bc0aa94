"""What features depend on, as one name: other weights, data or kernels are another name.

Everything that could change a bit is part of it: the body and its tensors, the examples and which
of them, how they are read, precision and numerics, the backend's versions, the device, and the
processor, whose kernels are chosen by what it can do.
"""

from __future__ import annotations

import json
import os
import platform
import weakref
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.adapter import Backend
from paribus.architectures.parts import Part
from paribus.machine import Machine

Array = npt.NDArray[Any]

# Folds, candidates and trials start from the same arrays, and each look at them is a pass.
_known: dict[int, tuple[weakref.ref[Array], str]] = {}


def name_of(machine: Machine, body: Part, tensors: Mapping[str, Array], **reading: Any) -> str:
    """Return the name of what a body computes; 64 hexadecimal digits.

    Args:
        machine: what computes it.
        body: the network below the boundary.
        tensors: canonical tensors, its own among them; they must not be written to any more.
        reading: JSON values: the examples, which of them, and how they are read.
    """
    whole = body.whole
    told = {
        "network": [whole.architecture, dict(whole.parameters), whole.input_shape, body.boundary],
        "nodes": [(node.name, node.op, node.inputs, node.shape, dict(node.attributes))
                  for node in body.nodes],
        "tensors": {name: content(tensors[name]) for name in body.tensors},
        "precision": [machine.precision, machine.numerics],
        "backend": [machine.backend.name, machine.device, versions(machine.backend)],
        "machine": described(machine.device),
        "reading": reading,
    }  # fmt: skip
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def content(array: Array) -> str:
    """Return the SHA-256 of an array's type, shape and values; remembered as long as it lives."""
    found = _known.get(id(array))
    if found is not None and found[0]() is array:
        return found[1]
    digest = sha256(f"{array.dtype.newbyteorder('<').str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
    number, told = id(array), digest.hexdigest()
    _known[number] = (weakref.ref(array, lambda _: _known.pop(number, None)), told)
    return told


def versions(backend: Backend) -> list[str]:
    """Return the packages that compute, with their versions."""
    return [f"{name} {_version(name)}" for name in ("paribus", "numpy", *backend.packages)]


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


@cache
def described(device: str) -> tuple[str, ...]:
    """Return what of this machine the choice of kernels may depend on."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = [f"{name}={value}" for name, value in sorted(os.environ.items())
               if name.endswith("NUM_THREADS") or name in ("NPROC", "PJRT_NPROC")]  # fmt: skip
    found = [platform.system(), platform.machine(), str(cpus), *threads, *_models("/proc/cpuinfo")]
    if device.startswith("cuda"):
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
            found += _models(str(path))
    return tuple(found)


def _models(path: str) -> list[str]:
    """Return what a file of the kernel's calls the processors, each once."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    named = (line.split(":", 1) for line in lines if ":" in line)
    wanted = ("model name", "flags", "model")
    return list(dict.fromkeys(v.strip() for k, v in named if k.strip().lower() in wanted))
