"""A third party's distribution with a backend of its own, written into a folder for a test."""

from __future__ import annotations

import sys
from pathlib import Path

# A whole adapter that computes nothing: it returns what it was given, or fails as it is told.
ECHO = """
import os
import sys

import numpy as np

from paribus.adapter import Backend, Capabilities, Session
from paribus.errors import DeviceMissing
from paribus.plan import StepResults, Sums

class Done:
    def __init__(self, losses):
        self.losses = losses

    def result(self):
        return StepResults(self.losses, None)


class Echo(Session):
    def __init__(self, network, task):
        self.network, self.task = network, task

    def import_weights(self, tensors):
        self.tensors = dict(tensors)

    def export_weights(self):
        print("noise on standard output")
        os.system("echo noise of a grandchild")
        return self.tensors

    def import_optimizer(self, slots):
        self.slots = slots

    def export_optimizer(self):
        return self.slots

    def put(self, x, y):
        return x, y

    def train_steps(self, handle, plan):
        self.compile_seconds += 0.5
        self.remarks = ["echo is slow"]
        return Done(plan.weights.sum(axis=(1, 2)))

    def evaluate(self, handle, plan):
        return Sums(float("nan"), int(plan.counts.sum()), len(handle[0]))

    def predict(self, handle, plan):
        return handle[0]

    def gradients(self, handle, plan):
        drawn = plan.augmentation
        return 0.1, {"top": drawn.top, "flip": drawn.flip_horizontal}

    def forward(self, handle, plan, *, training):
        if training:
            sys.stderr.write("something terrible\\n")
            sys.stderr.flush()
            os.abort()
        raise ZeroDivisionError("an adapter's own defect")

    def native(self):
        return self

    def save_native(self, folder, belongings=None):
        folder.mkdir()
        return folder

    def close(self):
        self.tensors = None


class EchoBackend(Backend):
    name = "NAME"
    title = "Echo"
    packages = ("numpy",)
    install = "pip install echo"
    capabilities = Capabilities(
        frozenset({"linear"}), frozenset({"sgd"}), frozenset({"float32"}), frozenset({"cpu"})
    )

    def available(self):
        return REASON

    def devices(self):
        return ["cpu"]

    def open(self, network, task, *, device, precision, numerics):
        if device != "cpu":
            raise DeviceMissing(f"no device {device!r} here")
        return Echo(network, task)


backend = EchoBackend()
"""


def install(
    folder: Path,
    distribution: str,
    backend: str,
    *,
    reason: str | None = None,
    source: str | None = None,
    says: str | None = None,
) -> None:
    """Write a distribution into ``folder``, which the test has put on the module path.

    ``reason`` makes the backend unavailable, ``source`` replaces its module, and ``says`` is the
    name that its descriptor bears, where that is not ``backend``.
    """
    module = distribution.replace("-", "_")
    # Another test's module of the same name must not answer for this one.
    sys.modules.pop(module, None)
    text = source or ECHO.replace('"NAME"', repr(says or backend)).replace("REASON", repr(reason))
    (folder / f"{module}.py").write_text(text)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    entry = f"[paribus.backends]\n{backend} = {module}:backend\n"
    (info / "entry_points.txt").write_text(entry)
