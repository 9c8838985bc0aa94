"""Recorded steps of PyTorch: what is played is what is made step by step.

Recording takes a GPU; on a CPU the operations that would be recorded are executed instead, on the
memory that a recording would read. On a GPU the same checks look at the bits.
"""

from __future__ import annotations

from typing import Any

import pytest
from command import python

SCRIPT = """
import json, sys
from dataclasses import replace
import numpy as np
import torch
from paribus import architectures, registry, weights
from paribus.adapter import Task
from paribus.backends.torch import backward, captured, fast
from paribus.optimizers import RULES
from paribus.plan import Augmentation, EvalPlan, Preprocess, TrainPlan

device = sys.argv[1]
recordings, record = [], captured.recorded
captured.recorded = lambda work, where: recordings.append(1) or record(work, where)
rng = np.random.default_rng(0)
BERT = {"vocabulary": 40, "layers": 1, "heads": 2, "hidden": 16, "intermediate": 32}
DROPPING = {**BERT, "dropout": 0.2, "attention_dropout": 0.1}


def plan(shape, steps, rates, rule, given, padded=False, draws=False, clip=None, noisy=0):
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
    drawn = noise = None
    if draws:
        drawn = Augmentation(*[rng.integers(-1, 2, indices.shape) for _ in range(2)],
                             *[rng.integers(0, 2, indices.shape).astype(bool) for _ in range(2)])
    if noisy:
        noise = rng.integers(-2**31, 2**31, (steps, noisy, 2)).astype(np.int32)
    return TrainPlan(indices, counts, each, scalars, given, drawn, noise=noise)


def session(network, rule, clips=False, precision="float64", numerics="strict"):
    free = network.trainable("none")
    decayed = tuple(n for n in free if network.tensors[n].role == "weight")
    found = registry.get("torch").open(
        network, Task(rule, free, decayed, clips=clips, norms=True), device=device,
        precision=precision, numerics=numerics)
    found.import_weights(weights.draw(network, 0))
    return found


def state(one, told):
    return [np.concatenate([r.losses for r in told]),
            np.concatenate([r.gradient_norms for r in told]),
            *one.export_weights().values(),
            *[v for s in one.export_optimizer().values() for v in s.values()]]


def disturb():
    # What others may do between two calls: let go of libraries' workspaces, and take the memory.
    if device == "cuda":
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()
        taken = [torch.full((2**20,), float("nan"), device=device) for _ in range(64)]
        torch.cuda.synchronize()
        del taken


def apart(left, right):
    # What only rounding moves, like the bias of keys, is near nothing.
    return max(float(abs(a - b).max() / max(abs(a).max(), 1e-3)) for a, b in zip(left, right))


CASES = {
    "mlp adamw": ("mlp", {"hidden": [8]}, (6,), "adamw", (1, 8), {}),
    "cnn, windows and shards": ("cnn", {"channels": [4]}, (1, 8, 8), "sgd_momentum", (2, 6),
                                {"padded": True, "draws": True}),
    "bert, clipped": ("bert", BERT, (7,), "sgd_momentum", (1, 5), {"clip": 0.05}),
    "bert, dropping": ("bert", DROPPING, (7,), "adam", (2, 4), {"padded": True}),
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
    more = {**more, "noisy": len(network.noisy)}
    plans = [plan(batch, steps, rates, rule, given, **more) for steps, rates in
             ((6, [0.02] * 6), (2, [0.01, 0.03]), (1, [0.05]), (70, [0.001] * 70))]
    results = []
    for precision in ("float64", "float32"):
        recordings.clear()
        results = []
        for recorded in (False, True):
            one = session(network, rule, bool(more.get("clip")), precision)
            one._stepper.change(replace(one._stepper.setup, captured=recorded))
            handle = one.put(x, y)
            told = []
            for part in plans:
                told.append(one.train_steps(handle, part))
                disturb()
            results.append(state(one, [part.result() for part in told]))
            trained = len(recordings)
            b = batch[1]
            looks = EvalPlan((np.arange(30 * b) * 5 % 24).reshape(30, b),
                             np.array([b] * 29 + [b - 1]), given)
            sums = one.evaluate(handle, looks)
            results[-1] += [np.array([sums.loss]), np.array([sums.correct, sums.predictions])]
            results[-1].append(one.predict(handle, looks))
            if not recorded:
                one.close()
        found.setdefault(title, []).append([apart(*results), trained])
        # Of batches that look alike, in two ways.
        assert len(recordings) == trained + 2
        assert results[0][-1].shape[0] == 30 * b - 1 and results[0][-2][1] == 30 * b - 1
        drawn = list(weights.draw(network, 0).values())[0]
        found[title][-1].append(float(abs(results[0][2] - drawn).max()))
        # A step with fewer rows is not played, nor is what is elsewhere; what is over is forgotten.
        fewer = plans[0].counts - (np.arange(6) == 3)[:, None]
        one.train_steps(handle, replace(plans[0], counts=fewer)).result()
        other = one.put(x, y)
        one.train_steps(other, plans[1]).result()
        found[title][-1].append(len(recordings))
        one.free(handle)
        one.free(other)
        found[title][-1].append(len(one._stepper.recordings))
        one.close()

# What cannot be recorded is made step by step, and not tried again.
network = architectures.build("mlp", {"hidden": [8]}, (6,), 3)
x, y = rng.standard_normal((24, 6)).astype(np.float32), rng.integers(0, 3, 24)
steps = plan((1, 8), 9, [0.1] * 9, "adamw", Preprocess())
results, attempts, remarks = [], [], []


def refuse(work, where):
    attempts.append(1)
    raise captured.NotRecorded("no")


for recording in (record, refuse):
    captured.recorded = recording
    one = session(network, "adamw")
    one._stepper.change(replace(one._stepper.setup, captured=True))
    handle = one.put(x, y)
    results.append(state(one, [one.train_steps(handle, steps).result() for _ in range(2)]))
    remarks.append(list(one.remarks))
captured.recorded = record
# A module that looks at what it computes: on a CPU nothing is in its way.
one = session(network, "adamw")
one._stepper.change(replace(one._stepper.setup, captured=True))
logits = one._stepper.model.logits
looking = lambda module, x, p: (float(x.sum()), logits(module, x, p))[1]
one._stepper.model = replace(one._stepper.model, logits=looking)
handle = one.put(x, y)
results.append(state(one, [one.train_steps(handle, steps).result() for _ in range(2)]))
found["refused"] = [apart(results[0], results[1]), apart(results[0], results[2]), len(attempts)]
found["remarks"] = remarks

# A gradient that is given is that of the weighted sum, to the bit.
gradients = []
for engine in (backward._ENGINE, None):
    backward._ENGINE = engine
    w = torch.linspace(-1, 1, 30, device=device).view(5, 6).requires_grad_()
    rows = torch.nn.functional.cross_entropy(
        torch.eye(6, device=device)[:4] @ w.t(), torch.arange(4, device=device), reduction="none")
    backward.backward(rows, torch.tensor([0.1, 0.7, 0.0, 0.2], device=device))
    gradients.append(w.grad)
found["backward"] = [bool(gradients[0].equal(gradients[1])), float(gradients[0].abs().max())]

# As it is tried: from the state at the beginning, and compared with the first step made otherwise.
one = session(network, "adamw", numerics="fast")
handle = one.put(x, y)
one._stepper.change(replace(one._stepper.setup, captured=False))
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
# On a CPU a number and a tensor are not multiplied alike; on a GPU the scalars are tensors always.
DEVICES = [pytest.param(("cpu", 1e-12, 1e-4), id="cpu"),
           pytest.param(("cuda", 0.0, 0.0), id="cuda", marks=pytest.mark.cuda)]  # fmt: skip


@pytest.fixture(scope="module", params=DEVICES)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    device, *allowed = request.param
    told = python(SCRIPT, device, cwd=tmp_path_factory.mktemp("captured"))
    return {**told, "allowed": allowed}


@pytest.mark.parametrize(
    "title", ["mlp adamw", "cnn, windows and shards", "bert, clipped", "bert, dropping"]
)
def test_what_is_played_is_what_is_made_step_by_step(found: Any, title: str) -> None:
    for allowed, told in zip(found["allowed"], found[title], strict=True):
        apart, recordings, moved, after, kept = told
        assert apart <= allowed
        assert moved > 1e-3
        assert recordings == 1
        assert after == 3, "rows elsewhere and steps with fewer rows are not played"
        assert kept == 0


def test_what_cannot_be_recorded_is_made_step_by_step(found: Any) -> None:
    refused, looked, attempts = found["refused"]
    assert max(refused, looked) <= found["allowed"][0]
    assert attempts == 1
    played, refused = found["remarks"]
    assert played == []
    (remark,) = refused
    assert "launched operation by operation" in remark
    assert remark.endswith("(no)")


def test_a_gradient_that_is_given_is_the_weighted_sums(found: Any) -> None:
    same, largest = found["backward"]
    assert same
    assert largest > 0.01


def test_it_is_tried_from_the_state_at_the_beginning(found: Any) -> None:
    apart, captured = found["tried"]
    assert max(apart) <= max(found["allowed"][0], 1e-12)
    assert not captured
