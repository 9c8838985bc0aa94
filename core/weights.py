"""Canonical tensors: drawing, checking, reading and writing them.

What others publish is read by ``paribus.checkpoints``; here are the tensors themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus import draws, durable
from paribus.architectures import Network, Tensor
from paribus.checkpoints.reading import read
from paribus.checkpoints.writing import write
from paribus.errors import SpecError, WeightsError, listed

Array = npt.NDArray[Any]


def draw(network: Network, seed: int, only: Iterable[str] | None = None) -> dict[str, Array]:
    """Draw initial tensors, each a function of (seed, canonical name) alone; float64.

    Args:
        network: whose tensors are drawn, with their published initialisers.
        seed: the experiment's seed.
        only: names to draw; all by default.

    Raises:
        SpecError: a model of the user's own, whose code draws its tensors.
    """
    if any(node.op == "native" for node in network.nodes):
        raise SpecError("the tensors of a model of your own are drawn by its code, not by paribus")
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
        f"{label} {len(names)}: {listed(names)}"
        for label, names in (("missing", missing), ("extra", extra), ("misshapen", misshapen))
        if names
    ]
    if problems:
        raise WeightsError(f"{what} do not fit the network; " + "; ".join(problems))


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of every canonical tensor by name."""
    return {name: tensor.shape for name, tensor in network.tensors.items()}


def save(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write tensors and string metadata as one safetensors file, complete or not at all.

    It is on the disk when this returns.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    staged = path.with_name(path.name + ".partial")
    try:
        write(staged, tensors, metadata)
        durable.replace(staged, path)
    except OSError:
        durable.discard(staged)
        raise


def described(network: Network) -> dict[str, str]:
    """Return what a file of a network's tensors says of the network, as its metadata."""
    told = {
        "architecture": network.architecture,
        "parameters": dict(network.parameters),
        "input_shape": list(network.input_shape),
        "classes": network.classes,
        "objective": network.objective,
    }
    return {"paribus": json.dumps(told, sort_keys=True)}


def load(path: Path) -> dict[str, Array]:
    """Read weights under canonical names, whoever published them.

    Args:
        path: a safetensors file with canonical names; a run folder; a folder as Hugging Face
            transformers saves a BERT, GPT-2, ViT or ResNet, whole or in shards;
            ``hub:owner/name[@revision]`` for one of Hugging Face's hub; or a file in a framework's
            own format, which a backend reads.

    Sixteen-bit floats arrive as float32. Bookkeeping counters of published state dicts
    (``num_batches_tracked``) are left out: no arithmetic reads them. Arrays are shared between
    calls and must not be written to.

    Raises:
        WeightsError: no such file, unreadable, tensors that the architecture does not have, or a
            tensor that is not of finite floats.
        BackendMissing: the format needs a framework that is not installed.
    """
    found = read(path)
    others = [f"{n} ({a.dtype})" for n, a in found.items() if a.dtype.kind != "f"]
    if others:
        raise WeightsError(f"{path}: weights are floats, but not all are: {listed(others)}")
    bad = [name for name, array in found.items() if not np.isfinite(array).all()]
    if bad:
        raise WeightsError(f"{path}: NaN or infinite values, which cannot train: {listed(bad)}")
    return found


def fingerprint(tensors: Mapping[str, Array]) -> str:
    """Return the SHA-256 of names, shapes, dtypes and every bit of the values, in hexadecimal."""
    digest = sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        if array.nbytes:
            digest.update(array.data)
    return digest.hexdigest()
