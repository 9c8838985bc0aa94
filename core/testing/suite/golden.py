"""Scenes, compared with their golden tensors phase by phase; the groups are the scenes' own."""

from __future__ import annotations

import numpy as np
import pytest

from paribus import weights
from paribus.testing.bench import Bench, golden
from paribus.testing.closeness import agree
from paribus.testing.scenes import scenes


def _with(phase: str) -> list[str]:
    return [name for name, scene in scenes().items() if phase in scene.phases]


def _compare(bench: Bench, scene: str, phase: str) -> None:
    __tracebackhide__ = True
    stored = golden(scene)
    found = bench.found(stored, phase)
    agree(found, stored.expected[phase], bench.tolerance, f"{scene}, {phase}")


@pytest.mark.parametrize("scene", _with("outputs"))
def test_outputs(bench: Bench, scene: str) -> None:
    """Outputs in evaluation mode."""
    _compare(bench, scene, "outputs")


@pytest.mark.parametrize("scene", _with("training_outputs"))
def test_training_outputs(bench: Bench, scene: str) -> None:
    """Outputs in training mode, each batch normalised by itself."""
    _compare(bench, scene, "training_outputs")


@pytest.mark.parametrize("scene", _with("gradients"))
def test_gradients(bench: Bench, scene: str) -> None:
    """Loss and gradients of the first step, before clipping and weight decay."""
    _compare(bench, scene, "gradients")


@pytest.mark.parametrize("scene", _with("losses"))
def test_losses(bench: Bench, scene: str) -> None:
    """The loss of each step."""
    _compare(bench, scene, "losses")


@pytest.mark.parametrize("scene", _with("norms"))
def test_norms(bench: Bench, scene: str) -> None:
    """The gradient's norm in each step, before clipping."""
    _compare(bench, scene, "norms")


@pytest.mark.parametrize("scene", _with("weights"))
def test_weights(bench: Bench, scene: str) -> None:
    """Parameters and statistics after the steps."""
    _compare(bench, scene, "weights")


@pytest.mark.parametrize("scene", _with("slots"))
def test_slots(bench: Bench, scene: str) -> None:
    """The optimizer's state after the steps."""
    _compare(bench, scene, "slots")


@pytest.mark.parametrize("scene", _with("frozen"))
def test_frozen(bench: Bench, scene: str) -> None:
    """Frozen parameters and statistics have the very bits that went in."""
    stored = golden(scene)
    kept = bench.found(stored, "frozen")
    dtype = np.float64 if bench.precision == "float64" else np.float32
    given = {name: stored.weights[name].astype(dtype) for name in kept}
    changed = [
        name
        for name in kept
        if weights.fingerprint({name: kept[name]}) != weights.fingerprint({name: given[name]})
    ]
    assert kept, "nothing of this scene is frozen"
    assert not changed, f"frozen, but changed: {changed}"


@pytest.mark.parametrize("scene", _with("sums"))
def test_sums(bench: Bench, scene: str) -> None:
    """The evaluation's loss, right predictions and number of predictions, after the steps."""
    _compare(bench, scene, "sums")


@pytest.mark.parametrize("scene", _with("predictions"))
def test_predictions(bench: Bench, scene: str) -> None:
    """Predictions after the steps."""
    _compare(bench, scene, "predictions")
