"""Every claimed precision trains the model that float64 trains, within what its digits allow."""

from __future__ import annotations

import numpy as np
import pytest

from paribus import reference
from paribus.adapter import Numerics
from paribus.testing import data, plans
from paribus.testing.bench import Bench, golden
from paribus.testing.closeness import agree
from paribus.testing.networks import NETWORKS

SCENES = ("mlp", "cnn", "resnet18", "vit", "bert")
# Float32 rounds by 6e-8 and bfloat16's products by 0.4 %, a few dozen times over.
CLOSE = {"float32": 1e-5, "bfloat16": 0.1}
# What is new is a tenth of a running statistic; n instead of n − 1 is 25 % of it where n is 4, and
# 0.4 % in the CNN's larger maps.
STATISTICS = {"float32-cnn": 1e-5, "float32-resnet18": 1e-4, "bfloat16-resnet18": 0.05}
CASES = [f"{precision}-{name}" for precision in CLOSE for name in SCENES]
# Of a scene, what is played in these precisions.
SEEN = ("outputs", "losses")


@pytest.mark.parametrize("case", CASES)
def test_outputs(bench: Bench, case: str) -> None:
    """Outputs in evaluation mode."""
    precision, name = case.split("-")
    stored = golden(f"architectures/{name}")
    found = bench.found(stored, "outputs", precision, SEEN)
    agree(found, stored.expected["outputs"], CLOSE[precision], f"outputs in {precision}")


@pytest.mark.parametrize("case", CASES)
def test_first_loss(bench: Bench, case: str) -> None:
    """The first step's loss, before rounding could be amplified."""
    precision, name = case.split("-")
    stored = golden(f"architectures/{name}")
    found = bench.found(stored, "losses", precision, SEEN)[""]
    assert found.dtype == np.float64
    assert found[0] == pytest.approx(stored.expected["losses"][""][0], rel=CLOSE[precision])


@pytest.mark.parametrize("case", ["float32-cnn", "float32-resnet18", "bfloat16-resnet18"])
def test_statistics(bench: Bench, case: str) -> None:
    """BatchNorm's running statistics after one step: other precisions take other kernels.

    Four rows, so that n / (n − 1) shows: ResNet-18 ends in maps of one pixel.
    """
    precision, name = case.split("-")
    network = NETWORKS[name]
    tensors, x = data.tensors(network), data.stored(network, 4)
    session = bench.session(network, bench.task(network), precision)
    session.import_weights(tensors)
    plan = plans.steps(network, [[[0, 1, 2, 3]]], x, rule=bench.rule())
    session.train_steps(session.put(x, data.labels(network, 4)), plan).result()
    after = session.export_weights()
    inputs = reference.preprocess(x, plan.preprocess)
    _, statistics = reference.forward(network, tensors, inputs, training=True)
    found = {name: after[name] for name in statistics}
    agree(found, statistics, STATISTICS[case], f"statistics in {precision}")


def _losses(bench: Bench, precision: str, numerics: Numerics) -> data.Array:
    """Return the losses of twelve steps."""
    network = bench.first("mlp", "plain", "cnn", "bert")
    task = bench.task(network)
    session = (
        bench.session(network, task, precision)
        if numerics == "strict"
        else bench.open(network, task, precision, numerics)
    )
    session.import_weights(data.tensors(network))
    x = data.stored(network, 24)
    handle = session.put(x, data.labels(network, 24))
    rows = plans.batches(12, 1, 12, 24)
    plan = plans.steps(network, rows, x, rule=bench.rule(), rates=[0.02] * 12)
    losses = session.train_steps(handle, plan).result().losses
    if numerics == "fast":
        session.close()
    return losses


# How far twelve steps may be from the most exact ones; ``fast`` may have products of ten bits.
TRAINED = {"float32-strict": 1e-4, "float32-fast": 1e-2, "bfloat16-strict": 0.05}


@pytest.mark.parametrize("case", TRAINED)
def test_trains_alike(bench: Bench, case: str) -> None:
    """Twelve steps of a small network."""
    precision, numerics = case.split("-")
    exact = _losses(bench, bench.precision, "strict")
    losses = _losses(bench, precision, "fast" if numerics == "fast" else "strict")
    assert exact[-1] < exact[0]
    assert losses == pytest.approx(exact, rel=TRAINED[case])
    if precision == "bfloat16":
        # Products of eight bits leave their trace: were the losses equal, there would be none.
        assert not np.allclose(losses, exact, rtol=1e-5)
