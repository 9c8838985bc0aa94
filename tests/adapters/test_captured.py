"""Recorded steps of PyTorch: what is played is what is made step by step.

Recording takes a GPU; on a CPU the operations that would be recorded are executed instead, on the
memory that a recording would read.
"""

from __future__ import annotations

from typing import Any

import pytest
from command import python

SCRIPT = """
import json
from dataclasses import replace
import numpy as np
import torch
from paribus import architectures, registry, weights
from paribus.adapter import Task
from paribus.backends.torch import captured, fast, stepper
from paribus.optimizers import RULES
from paribus.plan import Augmentation, Preprocess, TrainPlan

recordings = []
captured.recorded = lambda work, device: recordings.append(1) or work
rng = np.random.default_rng(0)
BERT = {"vocabulary": 40, "layers": 1, "heads": 2, "hidden": 16, "intermediate": 32}


def plan(shape, steps, rates, rule, given, padded=False, draws=False, clip=None):
    S, b = shape
    indices = rng.integers(0, 24, (steps, S, b))
    counts = np.full((steps, S), b)
    if padded:
        counts[:, -1] -= 1
    real = np.arange(b) < counts[..., None]
    each = real / counts.sum(1)[:, None, None]
    t = np.arange(1.0, steps + 1)
    values = {"weight_decay": 0.1, "momentum": 0.9, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
    scalars = RULES[rule].coefficients(values, np.asarray(rates), t)
    if clip:
        scalars["clip_norm"] = np.full(steps, clip)
    drawn = None
    if draws:
        drawn = Augmentation(*[rng.integers(-1, 2, indices.shape) for _ in range(2)],
                             *[rng.integers(0, 2, indices.shape).astype(bool) for _ in range(2)])
    return TrainPlan(indices, counts, each, scalars, given, drawn)


def session(network, rule, clips=False):
    free = network.trainable("none")
    decayed = tuple(n for n in free if network.tensors[n].role == "weight")
    found = registry.get("torch").open(
        network, Task(rule, free, decayed, clips=clips, norms=True), device="cpu",
        precision="float64", numerics="fast")
    found.import_weights(weights.draw(network, 0))
    return found


CASES = {
    "mlp adamw": ("mlp", {"hidden": [8]}, (6,), "adamw", (1, 8), {}),
    "cnn, windows and shards": ("cnn", {"channels": [4]}, (1, 8, 8), "sgd_momentum", (2, 6),
                                {"padded": True, "draws": True}),
    "bert, clipped": ("bert", BERT, (7,), "sgd_momentum", (1, 5), {"clip": 0.05}),
}
found = {}
for title, (name, settings, shape, rule, batch, more) in CASES.items():
    network = architectures.build(name, settings, shape, 3)
    size = (24, *shape[1:], shape[0]) if len(shape) == 3 else (24, *shape)
    text = name == "bert"
    x = rng.integers(5, 40, size).astype(np.int32)
    if not text:
        x = x.astype(np.uint8) if len(shape) == 3 else rng.standard_normal(size).astype("f4")
    y = rng.integers(0, 3, 24)
    given = Preprocess((0.1,), (0.3,)) if len(shape) == 3 else Preprocess()
    plans = [plan(batch, steps, rates, rule, given, **more) for steps, rates in
             ((6, [0.1] * 6), (2, [0.05, 0.02]), (1, [0.3]))]
    results = []
    recordings.clear()
    for recorded in (False, True):
        one = session(network, rule, bool(more.get("clip")))
        one._stepper.change(replace(one._stepper.setup, captured=recorded))
        handle = one.put(x, y)
        told = [one.train_steps(handle, part).result() for part in plans]
        results.append([np.concatenate([r.losses for r in told]),
                        np.concatenate([r.gradient_norms for r in told]),
                        *one.export_weights().values(),
                        *[v for s in one.export_optimizer().values() for v in s.values()]])
        if recorded:
            before = len(recordings)
            other = one.train_steps(one.put(x, y), plans[1]).result()  # other memory: not played
            fewer = plans[0].counts - (np.arange(6) == 3)[:, None]
            uneven = replace(plans[0], counts=fewer)
            noisy = replace(plans[0], noise=np.zeros((6, 0, 2), np.int32))
            one.train_steps(handle, uneven).result(), one.train_steps(handle, noisy).result()
            again = len(recordings) - before
            one.free(handle)
            again += len(one._stepper._recorded)
        one.close()
    apart = max(float(abs(a - b).max() / (abs(a).max() or 1)) for a, b in zip(*results))
    moved = float(abs(results[0][2] - list(weights.draw(network, 0).values())[0]).max())
    found[title] = [apart, moved, before, again]

# A gradient that is given is that of the weighted sum, to the bit.
gradients = []
for engine in (stepper._ENGINE, None):
    stepper._ENGINE = engine
    w = torch.linspace(-1, 1, 30).view(5, 6).requires_grad_()
    rows = torch.nn.functional.cross_entropy(torch.eye(6)[:4] @ w.t(), torch.arange(4),
                                             reduction="none")
    stepper.backward(rows, torch.tensor([0.1, 0.7, 0.0, 0.2]))
    gradients.append(w.grad)
found["backward"] = [bool(gradients[0].equal(gradients[1])), float(gradients[0].abs().max())]

# As it is tried: from the state at the beginning, and compared with the first step made otherwise.
network = architectures.build("mlp", {"hidden": [8]}, (6,), 3)
one = session(network, "adamw")
handle = one.put(rng.standard_normal((24, 6)).astype(np.float32), rng.integers(0, 3, 24))
trial = fast.Training(one._stepper, one._stepper.setup, handle,
                      plan((1, 8), 5, [0.1] * 5, "adamw", Preprocess()))
answers = []
for settings in ({}, {"captured": True}, {}):
    trial.use(settings)
    answers.append(trial.answer())
    trial.run(7)
apart = [max(float(abs(a - b).max()) for a, b in zip(answers[0], other)) for other in answers[1:]]
found["tried"] = [apart, one._stepper.setup.captured]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return python(SCRIPT, cwd=tmp_path_factory.mktemp("captured"))


@pytest.mark.parametrize("title", ["mlp adamw", "cnn, windows and shards", "bert, clipped"])
def test_what_is_played_is_what_is_made_step_by_step(found: Any, title: str) -> None:
    apart, moved, recordings, again = found[title]
    assert apart < 1e-12
    assert moved > 1e-3
    assert recordings == 1
    assert again == 0, "rows elsewhere, uneven shards and noise are not played"


def test_a_gradient_that_is_given_is_the_weighted_sums(found: Any) -> None:
    same, largest = found["backward"]
    assert same
    assert largest > 0.01


def test_it_is_tried_from_the_state_at_the_beginning(found: Any) -> None:
    apart, captured = found["tried"]
    assert max(apart) < 1e-12
    assert not captured
