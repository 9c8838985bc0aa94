"""The published image architectures: training agrees, and what is saved opens without paribus."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cases
import numpy as np
import pytest
from labs import PROMISED, Lab

from paribus import reference
from paribus.architectures import Network, build
from paribus.plan import TrainPlan

FIRST, *OTHERS = PROMISED
PROGRAM = Path(__file__).parents[1] / "opened.py"
OPENED = ("vgg11_bn", "mobilenet_v2", "vit")

# network, rows of a batch, steps
SMALL: dict[str, tuple[Network, int, int]] = {
    "vgg11_bn": (cases.VGG, 4, 2),
    "mobilenet_v2": (cases.MOBILENET, 16, 4),
    "vit": (cases.VIT, 8, 10),
    "wide vit": (cases.WIDE_VIT, 8, 10),
}
# As published, but for VGG's classifier, which is large and not where its arithmetic is.
FULL: dict[str, tuple[str, dict[str, int], tuple[int, int, int]]] = {
    **{
        f"vgg{depth}{norm}": (f"vgg{depth}{norm}", {"hidden": 256}, (3, 64, 32))
        for depth in (11, 13, 16, 19)
        for norm in ("", "_bn")
    },
    "mobilenet_v2": ("mobilenet_v2", {}, (3, 64, 64)),
    "vit": ("vit", {}, (3, 64, 64)),
    "vit_b_16": ("vit_b_16", {}, (3, 64, 64)),
    "vit_b_32": ("vit_b_32", {}, (3, 64, 64)),
}


def _plan(network: Network, batch: int, steps: int) -> TrainPlan:
    """Small learning rates: BatchNorm over few rows amplifies rounding from step to step."""
    rates = list(0.002 * (0.2 + np.sin(np.pi * np.arange(steps) / max(1, steps - 1))))
    return cases.train_plan(
        cases.batches(steps, 1, batch, 2 * batch), rates=rates, preprocess=cases.scaling(network)
    )


def _losses(lab: Lab, network: Network, plan: TrainPlan) -> cases.Array:
    session = lab.session(network, cases.task(network))
    session.import_weights(cases.tensors(network))
    count = 2 * plan.indices.shape[2]
    handle = session.put(cases.stored(network, count), cases.labels(network, count))
    return session.train_steps(handle, plan).result().losses


# Two steps of the others are golden scenes of the conformance suite.
@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=[] if name == "vit" else [pytest.mark.full]) for name in SMALL],
)
def test_steps_agree(labs: dict[str, Lab], architecture: str) -> None:
    network, batch, steps = SMALL[architecture]
    plan = _plan(network, batch, steps)
    first = _losses(labs[FIRST], network, plan)
    assert len(set(first)) == steps
    for other in OTHERS:
        assert _losses(labs[other], network, plan) == pytest.approx(first, rel=1e-8), other


def test_what_is_saved_opens_with_the_framework_alone(lab: Lab, tmp_path: Path) -> None:
    expected = {}
    for architecture in OPENED:
        network = SMALL[architecture][0]
        session = lab.session(network, cases.task(network))
        session.import_weights(cases.tensors(network))
        x, scaling = cases.stored(network, 4), cases.scaling(network)
        plan = cases.eval_plan(4, 4, scaling)
        expected[architecture] = session.predict(session.put(x, None), plan)
        session.save_native(tmp_path / architecture / "native")
        np.save(tmp_path / architecture / "inputs.npy", reference.preprocess(x, scaling))
    done = subprocess.run(
        [sys.executable, PROGRAM, lab.name, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for architecture, logits in expected.items():
        found = np.load(tmp_path / architecture / "logits.npy")
        # Keras's own GELU has a constant of single precision.
        close = 1e-7 if (lab.name, architecture) == ("tensorflow", "vit") else 1e-12
        assert cases.distance(found, logits) <= close, architecture


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("architecture", FULL)
def test_full_size_forward_agrees(labs: dict[str, Lab], architecture: str, training: bool) -> None:
    network = build(*FULL[architecture], 10)
    plan = cases.eval_plan(4, 4, cases.scaling(network))
    logits = []
    for name in (FIRST, *OTHERS):
        with labs[name].open(network, cases.task(network)) as session:
            session.import_weights(cases.tensors(network))
            handle = session.put(cases.stored(network, 4), None)
            logits.append(session.forward(handle, plan, training=training))
    for other, found in zip(OTHERS, logits[1:], strict=True):
        assert cases.distance(found, logits[0]) <= 1e-10, other


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize("architecture", ["vgg16", "vgg11_bn", "mobilenet_v2", "vit", "vit_b_32"])
def test_full_size_training_agrees(labs: dict[str, Lab], architecture: str) -> None:
    network = build(*FULL[architecture], 10)
    plan = _plan(network, 16 if architecture == "mobilenet_v2" else 8, 20)
    first = _losses(labs[FIRST], network, plan)
    for other in OTHERS:
        assert _losses(labs[other], network, plan) == pytest.approx(first, rel=1e-8), other
