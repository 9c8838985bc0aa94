"""The same training on every backend: forward passes, steps and losses agree in float64."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from labs import PROMISED, Lab

from paribus.architectures import Network, build
from paribus.plan import TrainPlan

RESNET = build("resnet18", {}, (3, 64, 64), 10)
CNN = build("cnn", {"channels": [8, 16], "hidden": 16}, (1, 28, 28), 10)
FIRST, *OTHERS = PROMISED
EXAMPLES, BATCH = 64, 32


def _plan(network: Network, steps: int, rule: str = "sgd_momentum") -> TrainPlan:
    """Learning rates that rise and fall: a momentum that absorbs the rate would show."""
    phase = np.arange(steps) / max(1, steps - 1)
    peak = 0.002 if rule == "adamw" else 0.02
    return cases.train_plan(
        cases.batches(steps, 1, BATCH, EXAMPLES),
        rule,
        rates=list(peak * (0.2 + np.sin(np.pi * phase))),
        preprocess=cases.scaling(network),
    )


def _losses(lab: Lab, network: Network, plan: TrainPlan, rule: str = "sgd_momentum") -> cases.Array:
    session = lab.session(network, cases.task(network, rule))
    session.import_weights(cases.tensors(network))
    handle = session.put(cases.stored(network, EXAMPLES), cases.labels(network, EXAMPLES))
    return session.train_steps(handle, plan).result().losses


def _logits(lab: Lab, network: Network, batch: int, training: bool) -> cases.Array:
    with lab.open(network, cases.task(network)) as session:
        session.import_weights(cases.tensors(network))
        plan = cases.eval_plan(batch, batch, cases.scaling(network))
        return session.forward(
            session.put(cases.stored(network, batch), None), plan, training=training
        )


@pytest.mark.parametrize("training", [False, True])
def test_forward_agrees(labs: dict[str, Lab], training: bool) -> None:
    """Of ResNet-18 the conformance suite says it on smaller images; of all five, in full."""
    first = _logits(labs[FIRST], CNN, 16, training)
    for other in OTHERS:
        assert cases.distance(_logits(labs[other], CNN, 16, training), first) <= 1e-10, other


def test_ten_steps_agree(labs: dict[str, Lab]) -> None:
    """Of ResNet-18 two steps are a golden scene, and a gradient is compared in test_noise.py."""
    plan = _plan(CNN, 10)
    first = _losses(labs[FIRST], CNN, plan)
    assert len(set(first)) == 10
    for other in OTHERS:
        assert _losses(labs[other], CNN, plan) == pytest.approx(first, rel=1e-9), other


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("rule", "steps"), [("sgd_momentum", 50), ("adamw", 20)])
def test_many_steps_agree(labs: dict[str, Lab], rule: str, steps: int) -> None:
    plan = _plan(RESNET, steps, rule)
    first = _losses(labs[FIRST], RESNET, plan, rule)
    for other in OTHERS:
        assert _losses(labs[other], RESNET, plan, rule) == pytest.approx(first, rel=1e-9), other


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_every_resnet_s_forward_agrees(labs: dict[str, Lab], depth: int, training: bool) -> None:
    network = build(f"resnet{depth}", {}, (3, 64, 64), 10)
    first = _logits(labs[FIRST], network, 8, training)
    for other in OTHERS:
        assert cases.distance(_logits(labs[other], network, 8, training), first) <= 1e-10, other
