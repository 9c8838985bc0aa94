"""A network in two parts is the network: what its body computes trains its tail as the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paribus.adapter import Task
from paribus.architectures.parts import cut
from paribus.plan import EvalPlan, Preprocess
from paribus.testing import data, plans
from paribus.testing.bench import Bench, not_claimed
from paribus.testing.networks import NETWORKS

ROWS = 20


@pytest.mark.parametrize(
    "case",
    ["cnn-body", "cnn-block1", "resnet18-layer4", "vit-layer1", "bert-body", "dropped_mlp-body"],
)
def test_train_as_the_whole(bench: Bench, case: str) -> None:
    """Losses and weights of three steps, whatever the boundary: a vector, an image, tokens."""
    if not bench.descriptor.capabilities.parts:
        not_claimed("parts")
    network, _, freeze = case.partition("-")
    network, _, freeze = case.partition("-")
    own = NETWORKS[network]
    task, weights = bench.task(own, freeze), data.tensors(own)
    parts = cut(own, task.trainable)
    assert parts is not None
    bench.require(own, task.rule, bench.precision)
    x, y = data.stored(own, ROWS), data.labels(own, ROWS)
    plan = plans.steps(own, plans.batches(3, 1, 8, ROWS), x, rule=bench.rule())
    with bench.open(own, task) as session:
        session.import_weights(weights)
        losses = session.train_steps(session.put(x, y), plan).result().losses
        whole = session.export_weights()
    with bench.open(parts.body, Task(task.rule, ())) as session:
        session.import_weights({name: weights[name] for name in parts.body.tensors})
        read = EvalPlan(np.arange(ROWS)[None], np.array([ROWS]), plan.preprocess)
        found = session.forward(session.put(x, None), read, training=True)
    shape = parts.boundary.shape
    if len(shape) == 3:
        shape = (*shape[1:], shape[0])
    assert found.shape == (ROWS, *shape)
    if len(shape) == 2:
        found = found[:, :, None, :]
    with bench.open(parts.tail, task) as session:
        session.import_weights({name: weights[name] for name in parts.tail.tensors})
        reading = replace(plan, preprocess=Preprocess())
        again = session.train_steps(session.put(found, y), reading).result().losses
        tail = session.export_weights()
    assert again == pytest.approx(losses, rel=bench.rounding)
    assert list(tail) == list(parts.tail.tensors)
    for name, array in tail.items():
        np.testing.assert_allclose(array, whole[name], rtol=0, atol=bench.rounding, err_msg=name)
