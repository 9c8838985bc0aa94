"""The golden tensors are what the definitions say, and their plans are what core makes."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from paribus import draws
from paribus.testing import data, shipped
from paribus.testing.bench import golden
from paribus.testing.closeness import agree, distance
from paribus.testing.defining import define, first_loss
from paribus.testing.networks import LARGE, NETWORKS
from paribus.testing.scenes import scenes

# Float64 in two orders of summation, through at most two dozen layers.
CLOSE = 1e-11


def _same(stored: Any, made: Any, where: str) -> None:
    """Require equal dataclasses; floats may differ in the last digits of a logarithm."""
    if is_dataclass(made):
        for own in fields(made):
            _same(getattr(stored, own.name), getattr(made, own.name), f"{where}.{own.name}")
    elif isinstance(made, dict):
        assert list(stored) == list(made), where
        for key in made:
            _same(stored[key], made[key], f"{where}[{key}]")
    elif isinstance(made, np.ndarray):
        assert stored.dtype == made.dtype, where
        if made.dtype.kind == "f":
            agree(stored, made, 1e-14, where)
        else:
            assert np.array_equal(stored, made), where
    else:
        assert stored == made, where


def test_every_scene_is_stored_and_nothing_else() -> None:
    stored = {name for network in NETWORKS for name in shipped.load(network)}
    assert stored == set(scenes())
    files = {path.name for path in shipped.FOLDER.iterdir()}
    assert files == {f"{network}.safetensors" for network in NETWORKS}


@pytest.mark.parametrize("name", scenes())
def test_scenes_are_made_again(name: str) -> None:
    """Core's generator, its plans and its coefficients are what they were."""
    _same(golden(name).scene, scenes()[name], name)


@pytest.mark.parametrize("network", [name for name in NETWORKS if name not in LARGE])
def test_weights_are_drawn_again(network: str) -> None:
    (stored, *_) = shipped.load(network).values()
    assert distance(stored.weights, data.tensors(NETWORKS[network])) <= 1e-14


@pytest.mark.parametrize("name", scenes())
def test_forward_passes_and_losses_are_those_of_the_definitions(name: str) -> None:
    stored = golden(name)
    for phase, found in define(stored.scene, stored.weights).items():
        for tensor, array in found.items():
            agree(stored.expected[phase][tensor], array, CLOSE, f"{phase} {tensor}")


SLOPES = [
    name
    for name, scene in scenes().items()
    if "gradients" in scene.phases and scene.group in ("architectures", "objectives", "dropout")
]


@pytest.mark.parametrize("name", SLOPES)
def test_gradients_are_the_slopes_of_the_loss(name: str) -> None:
    """Central differences of the NumPy loss in one direction through all tensors, and in each.

    With steps of 1e-5 they are good to about 1e-8; a ReLU or a maximum seldom switches within.
    """
    stored = golden(name)
    gradients = {key: g for key, g in stored.expected["gradients"].items() if key != "loss"}
    assert list(gradients) == list(stored.scene.task.trainable)
    # One tensor in three by itself, and all of them at once.
    chosen = [(key,) for key in list(gradients)[::3]] + [tuple(gradients)]
    for keys in chosen:
        directions = {key: draws.normal(5, key, 0, gradients[key].shape) for key in keys}
        ends = [
            first_loss(
                stored.scene,
                {**stored.weights,
                 **{key: stored.weights[key] + sign * 1e-5 * d for key, d in directions.items()}},
            )
            for sign in (1, -1)
        ]  # fmt: skip
        expected = sum(float((gradients[key] * d).sum()) for key, d in directions.items())
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(expected, rel=1e-5, abs=1e-8), keys


def test_they_are_small() -> None:
    """They are part of the package: two megabytes, and not more by accident."""
    assert sum(path.stat().st_size for path in shipped.FOLDER.iterdir()) < 2.2e6
