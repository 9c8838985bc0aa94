"""What each framework raises when memory is not there comes out as one error."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import python

# More rows than there are addresses for: what a convolution makes of them takes 5 GB, and what may
# be taken is 400 MiB more than what is.
_EXHAUSTED = """
import json, resource, sys
import numpy as np
from paribus import registry, weights
from paribus.adapter import Task
from paribus.architectures import build
from paribus.errors import OutOfMemory
from paribus.plan import TrainPlan

backend = registry.require(sys.argv[1])
backend.devices()
network = build("cnn", {"channels": [64, 64]}, (3, 32, 32), 3)
free = tuple(name for name, t in network.tensors.items() if t.kind == "parameter")
session = backend.open(
    network, Task("sgd", free), device="cpu", precision="float32", numerics="strict"
)
session.import_weights(weights.draw(network, 0))
handle = session.put(np.zeros((64, 32, 32, 3), np.uint8), np.zeros(64, np.int64))

def step(rows):
    indices = (np.arange(rows) % 64).reshape(1, 1, rows)
    plan = TrainPlan(indices, np.full((1, 1), rows), np.full((1, 1, rows), 1 / rows),
                     {"learning_rate": np.full(1, 0.1), "weight_decay": np.zeros(1)})
    return session.train_steps(handle, plan).result()

step(16)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)
try:
    step(20_000)
except OutOfMemory as error:
    said = str(error)
session.close()
print(json.dumps(said))
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_process_that_may_take_no_more(backend: str, tmp_path: Path) -> None:
    said = python(_EXHAUSTED, backend, cwd=tmp_path)
    assert said.startswith(f"backend '{backend}' ran out of memory: ")
    assert "allocat" in said


# TensorFlow's own error; on a CPU its allocator ends the process instead of raising it.
_RAISED = """
import json
import tensorflow as tf
from paribus.backends.tensorflow.memory import memory
from paribus.errors import OutOfMemory

try:
    with memory:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor")
except OutOfMemory as error:
    print(json.dumps(str(error)))
"""


def test_tensorflow_by_its_own_error(tmp_path: Path) -> None:
    said = python(_RAISED, cwd=tmp_path)
    assert said == "backend 'tensorflow' ran out of memory: OOM when allocating a tensor"
