"""Golden tensors: what every scene leads to, in float64, on every promised backend alike.

A file holds the scenes of one network: ``weights/NAME`` once, and under each scene's name its
examples, its plan's arrays and what was found; an array that two scenes share is stored once. A
network whose tensors are too many to ship has its
weights drawn again, and is compared by what it computes. ``scripts/golden.py`` writes the files,
and only what PyTorch, TensorFlow and, for forward passes, ``paribus.reference`` agree on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from paribus.adapter import Task
from paribus.plan import Augmentation, EvalPlan, Preprocess, Targets, TrainPlan
from paribus.testing.data import Array, tensors
from paribus.testing.networks import LARGE, NETWORKS
from paribus.testing.scenes import Scene
from paribus.weights import fingerprint

FOLDER = files("paribus.testing") / "golden"


@dataclass(frozen=True)
class Golden:
    """A scene as it was stored, the weights that it starts from, and what was found, by phase."""

    scene: Scene
    weights: Mapping[str, Array]
    expected: Mapping[str, Mapping[str, Array]]


@cache
def load(network_name: str) -> Mapping[str, Golden]:
    """Return the stored scenes of a network, by name; arrays are shared and read-only.

    Raises:
        FileNotFoundError: there is no such network.
    """
    from safetensors import safe_open

    path = Path(str(FOLDER / f"{network_name}.safetensors"))
    with safe_open(path, "np") as file:
        text = json.loads(file.metadata()["described"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    described, same = text["scenes"], text["same"]
    arrays |= {name: arrays[other] for name, other in same.items()}
    for array in arrays.values():
        array.flags.writeable = False
    network = NETWORKS[network_name]
    if network_name in LARGE:
        weights = tensors(network)
    else:
        weights = {name: arrays[f"weights/{name}"] for name in network.tensors}
    return {
        name: Golden(_scene(name, network_name, values, _under(arrays, name)), weights,
                     {phase: _found(arrays, name, phase, names)
                      for phase, names in values["found"].items()})
        for name, values in described.items()
    }  # fmt: skip


def save(folder: Path, network_name: str, goldens: Mapping[str, Golden]) -> Path:
    """Write the scenes of a network and return the file; the same scenes give the same bytes."""
    from safetensors.numpy import save_file

    arrays: dict[str, Array] = {}
    described: dict[str, Any] = {}
    for name, golden in goldens.items():
        scene = golden.scene
        values, own = _flatten(scene)
        values["found"] = {phase: list(found) for phase, found in golden.expected.items()}
        for phase, found in golden.expected.items():
            own |= {f"{phase}/{tensor}": array for tensor, array in found.items()}
        described[name] = values
        arrays |= {f"{name}/{key}": array for key, array in own.items()}
        if network_name not in LARGE:
            arrays |= {f"weights/{tensor}": array for tensor, array in golden.weights.items()}
    once: dict[str, str] = {}
    same: dict[str, str] = {}
    for key in sorted(arrays):
        other = once.setdefault(fingerprint({"": arrays[key]}), key)
        if other != key:
            same[key] = other
    ready = {key: np.ascontiguousarray(arrays[key]) for key in once.values()}
    path = folder / f"{network_name}.safetensors"
    # One entry: safetensors writes several in an order of chance.
    text = json.dumps({"scenes": described, "same": same}, sort_keys=True)
    save_file(ready, path, metadata={"described": text})
    return path


def _under(arrays: Mapping[str, Array], name: str) -> dict[str, Array]:
    start = f"{name}/"
    return {
        key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)
    }


def _found(
    arrays: Mapping[str, Array], name: str, phase: str, names: list[str]
) -> dict[str, Array]:
    return {tensor: arrays[f"{name}/{phase}/{tensor}"] for tensor in names}


def _flatten(scene: Scene) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return a scene's JSON values and its arrays."""
    arrays = {"x": scene.x} | ({} if scene.y is None else {"y": scene.y})
    plan, looks = scene.plan, scene.looks
    arrays |= {f"plan/{key}": getattr(plan, key) for key in ("indices", "counts", "weights")}
    arrays |= {f"scalars/{key}": array for key, array in plan.scalars.items()}
    arrays |= {f"looks/{key}": getattr(looks, key) for key in ("indices", "counts")}
    parts = {"augmentation": plan.augmentation, "targets": plan.targets, "looked": looks.targets}
    for title, part in parts.items():
        if part is not None:
            arrays |= {f"{title}/{own.name}": getattr(part, own.name) for own in fields(part)}
    if plan.noise is not None:
        arrays["plan/noise"] = plan.noise
    preprocess = {own.name: getattr(plan.preprocess, own.name) for own in fields(Preprocess)}
    task = {own.name: getattr(scene.task, own.name) for own in fields(Task)}
    values = {
        "task": task,
        "preprocess": preprocess,
        "phases": scene.phases,
        "scalars": list(plan.scalars),
    }
    return values, arrays


def _scene(
    name: str, network_name: str, values: Mapping[str, Any], arrays: Mapping[str, Array]
) -> Scene:
    """Put a scene together again."""
    given = values["preprocess"]
    lists = {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
    preprocess = Preprocess(**{**given, **lists})
    names = {key: tuple(values["task"][key]) for key in ("trainable", "decayed")}
    task = Task(**{**values["task"], **names})

    def part(kind: Any, title: str) -> Any:
        own = {field.name: arrays.get(f"{title}/{field.name}") for field in fields(kind)}
        return None if any(array is None for array in own.values()) else kind(**own)

    plan = TrainPlan(
        arrays["plan/indices"],
        arrays["plan/counts"],
        arrays["plan/weights"],
        {key: arrays[f"scalars/{key}"] for key in values["scalars"]},
        preprocess,
        part(Augmentation, "augmentation"),
        part(Targets, "targets"),
        arrays.get("plan/noise"),
    )
    looks = EvalPlan(
        arrays["looks/indices"], arrays["looks/counts"], preprocess, part(Targets, "looked")
    )
    phases = tuple(values["phases"])
    return Scene(name, network_name, arrays["x"], arrays.get("y"), task, plan, looks, phases)
