"""Whole runs of paribus whose size is a setting, and calls of so many steps."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measuring.contenders import Run, Turn, clock

from paribus import draws, registry
from rivals.works import WORKS


def write(path: Path, count: int) -> None:
    """Write so many images of 28×28 noisy pixels with ten classes."""
    labels = np.arange(count, dtype=np.int64) % 10
    shades = draws.integers(0, "shades", 0, (10, 28, 28, 1), 150)
    noise = draws.integers(0, "noise", 0, (997, 28, 28, 1), 100)
    x = (shades[labels] + noise[np.arange(count) % 997]).astype(np.uint8)
    np.savez(path, x=x, y=labels)


def experiment(spec: dict[str, Any]) -> Run:
    """Return runs of an experiment from its spec to its result, framework imported before."""
    from paribus import run as run_spec
    from paribus.spec import Spec

    registry.get(spec["backend"]).devices()
    checked = Spec.model_validate(spec)

    def run(amount: int) -> Turn:
        began = clock()
        for _ in range(amount):
            with tempfile.TemporaryDirectory() as folder:
                run_spec(checked, out=Path(folder) / "run")
        return Turn(clock() - began)

    return run


def calls(work: str, backend: str, steps: int) -> Run:
    """Return optimizer steps of a work in calls of ``steps`` each, at least that many."""
    chosen = WORKS[work]
    session = registry.get(backend).open(
        chosen.network, chosen.task(), device="cpu", precision="float32", numerics="strict"
    )
    session.import_weights(chosen.weights())
    handle, epoch = session.put(*chosen.data()), chosen.schedule().epoch(0)
    plan = epoch.plan(0, steps)

    def run(amount: int) -> None:
        under_way = None
        for _ in range(amount // steps):
            upcoming = session.train_steps(handle, plan)
            if under_way is not None:
                under_way.result()
            under_way = upcoming
        if under_way is not None:
            under_way.result()

    return run
