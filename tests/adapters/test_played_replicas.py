"""Replicas of PyTorch on a GPU: all of a group compute, and their steps are recorded and played.

On a CPU the same operations are executed each time, as in ``test_captured``.
"""

from __future__ import annotations

from typing import Any

import pytest
from command import python

SCRIPT = """
import json, sys
import numpy as np
from dataclasses import replace
from paribus import architectures, noise, registry, weights
from paribus.adapter import Task
from paribus.backends.torch import captured, many, replicas
from paribus.grouping import Groups
from paribus.optimizers import RULES
from paribus.plan import EvalPlan, Preprocess, TrainPlan

device = sys.argv[1]
recordings, record = [], captured.recorded
captured.recorded = lambda work, where: recordings.append(1) or record(work, where)
R, N = 5, 24
rng = np.random.default_rng(0)
CASES = {
    "mlp": ("mlp", {"hidden": [8], "dropout": 0.25}, (6,), 2, True),
    "cnn": ("cnn", {"channels": [4]}, (1, 8, 8), 1, False),
}


def plan(network, task, replica, steps, shards):
    # The last step of the plan has a row less.
    indices = rng.integers(0, N, (steps, shards, 5))
    counts = np.full((steps, shards), 5)
    counts[-1, -1] = 4
    real = np.arange(5) < counts[..., None]
    values = {"weight_decay": 0.1 * replica, "momentum": 0.9}
    scalars = RULES[task.rule].coefficients(values, np.full(steps, 0.02 * (1 + replica)),
                                            np.arange(1.0, steps + 1))
    if task.clips:
        scalars["clip_norm"] = np.full(steps, 0.4)
    drawn = noise.keys(replica, "", 0, steps, len(network.noisy)) if network.noisy else None
    return TrainPlan(indices, counts, real / counts.sum(1)[:, None, None], scalars, Preprocess(),
                     noise=drawn)


def opened(network, task, played):
    made = registry.get("torch").open_replicas(network, task, R, device=device,
                                               precision="float64", numerics="strict")
    if played:
        # What a GPU does by itself.
        made._cuda = True
        made._fixed = made._fixed or Groups(1, R)
    for replica in range(R):
        made.import_weights(replica, weights.draw(network, replica))
    return made


def told(found):
    return [found.losses, *([] if found.gradient_norms is None else [found.gradient_norms])]


answers = {}
for title, (name, settings, shape, shards, clips) in CASES.items():
    network = architectures.build(name, settings, shape, 3)
    free = network.trainable("none")
    task = Task("sgd_momentum", free, free[:1], clips=clips, norms=True)
    size = (N, *shape[1:], shape[0]) if len(shape) == 3 else (N, *shape)
    x, y = rng.standard_normal(size).astype(np.float32), rng.integers(0, 3, N)
    plans = [{r: plan(network, task, r, steps, shards) for r in range(R)} for steps in (6, 70)]
    # Some of them alone: the others stay as they are.
    plans.append({r: plan(network, task, r, 3, shards) for r in (1, 4)})
    looks = EvalPlan(np.arange(N).reshape(4, 6), np.array([6, 6, 6, 5]), Preprocess())
    states = []
    for played in (False, True):
        recordings.clear()
        many_of = opened(network, task, played)
        handle = many_of.put(x, y)
        found = [many_of.train_steps(handle, some) for some in plans]
        outputs = many_of.predict(handle, dict.fromkeys(range(R), looks))
        states.append([
            [*sum((told(some[r]) for some in found if r in some), []), outputs[r],
             *many_of.export_weights(r).values(),
             *[v for s in many_of.export_optimizer(r).values() for v in s.values()]]
            for r in range(R)])
        if played:
            before = len(recordings)
            many_of.free(handle)
            kept = len(many_of._play._recordings)
        many_of.close()
    alone = []
    with registry.get("torch").open(network, task, device=device, precision="float64",
                                    numerics="strict") as session:
        own = session.put(x, y)
        for r in range(R):
            session.import_weights(weights.draw(network, r))
            own_told = [told(session.train_steps(own, some[r]).result())
                        for some in plans if r in some]
            alone.append([*sum(own_told, []), session.predict(own, looks),
                          *session.export_weights().values(),
                          *[v for s in session.export_optimizer().values() for v in s.values()]])
    apart = [max(float(abs(a - b).max() / max(abs(a).max(), 1e-3))
                 for left, right in zip(one, states[1]) for a, b in zip(left, right))
             for one in (states[0], alone)]
    answers[title] = [apart, before, kept]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return python(SCRIPT, request.param, cwd=tmp_path_factory.mktemp("played"))


@pytest.mark.parametrize("title", ["mlp", "cnn"])
def test_replicas_that_are_played_are_what_sessions_are(found: Any, title: str) -> None:
    apart, recordings, kept = found[title]
    assert max(apart) < 1e-12
    # Of the CNN, whose moments are taken of real rows alone, full steps are; the last ones are few.
    assert recordings == 1
    assert kept == 0
