"""Write the golden tensors of the conformance suite, where everyone agrees on them.

    python scripts/golden.py            writes core/testing/golden/*.safetensors
    python scripts/golden.py --check    computes everything again and compares, writes nothing

Every scene is played on each promised backend, in float64, each backend in a process of its own on
one thread; forward passes and losses are also computed by ``paribus.reference``. Unless all
of them are within 1e-11 of the first backend, nothing is written. On one machine with the same
versions the files come out the same to the byte.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from paribus import reference
from paribus.remote import RemoteBackend
from paribus.testing import shipped
from paribus.testing.closeness import distances
from paribus.testing.data import Array, tensors
from paribus.testing.defining import define
from paribus.testing.networks import NETWORKS
from paribus.testing.playing import play
from paribus.testing.scenes import Scene, scenes
from paribus.testing.shipped import Golden

BACKENDS = ("torch", "tensorflow")
CLOSE = 1e-11
FOLDER = Path(__file__).parents[1] / "core" / "testing" / "golden"

Found = dict[str, dict[str, Array]]


def observe(backend: RemoteBackend, scene: Scene, weights: Mapping[str, Array]) -> Found:
    """Return every phase of a scene on one backend; an error ends the program."""
    with backend.open(
        scene.network, scene.task, device="cpu", precision="float64", numerics="strict"
    ) as session:
        found = play(session, scene, weights)
    for phase, result in found.items():
        if isinstance(result, Exception):
            raise SystemExit(f"{scene.name}, {phase}, {backend.name}: {result}") from result
    return {phase: dict(result) for phase, result in found.items()}  # type: ignore[arg-type]


def disagreements(name: str, first: Found, other: Found, whose: str) -> list[str]:
    """Return what of a scene is further apart than allowed, in words."""
    return [
        f"{name}, {phase} {tensor}: {whose} is {apart:.1e} away"
        for phase in other
        for tensor, apart in distances(
            {key: first[phase][key] for key in other[phase]}, other[phase]
        ).items()
        if apart > CLOSE
    ]


def compute() -> dict[str, dict[str, Golden]]:
    """Return every scene's golden tensors by network; ends the program where backends differ."""
    children = {name: RemoteBackend(name, threads=1) for name in BACKENDS}
    found: dict[str, dict[str, Golden]] = {name: {} for name in NETWORKS}
    wrong: list[str] = []
    weights = {name: tensors(network) for name, network in NETWORKS.items()}
    for name, scene in scenes().items():
        given = weights[scene.network_name]
        results = {own: observe(child, scene, given) for own, child in children.items()}
        first = results[BACKENDS[0]]
        for own in BACKENDS[1:]:
            wrong += disagreements(name, first, results[own], own)
        wrong += disagreements(name, first, define(scene, given), reference.__name__)
        # What is frozen is compared with the weights themselves.
        expected = {phase: own for phase, own in first.items() if phase != "frozen"}
        found[scene.network_name][name] = Golden(scene, given, expected)
        print(f"{name}: {', '.join(scene.phases)}", flush=True)
    for child in children.values():
        child.close()
    if wrong:
        raise SystemExit("not written, because they disagree:\n  " + "\n  ".join(wrong))
    return found


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with what is stored")
    check = parser.parse_args().check
    wrong = []
    for name, goldens in compute().items():
        if check:
            for scene, stored in shipped.load(name).items():
                for phase, expected in stored.expected.items():
                    apart = distances(goldens[scene].expected[phase], expected)
                    wrong += [f"{scene}, {phase} {t}: {by:.1e}" for t, by in apart.items()
                              if by > CLOSE]  # fmt: skip
        else:
            path = shipped.save(FOLDER, name, goldens)
            print(f"{path.name}: {path.stat().st_size:,} bytes")
    if wrong:
        sys.exit("what is stored is not what is computed:\n  " + "\n  ".join(wrong))


if __name__ == "__main__":
    main()
