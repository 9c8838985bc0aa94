"""What the definitions say of a scene: forward passes, the first loss and its statistics, by NumPy.

There is no backward pass in ``paribus.reference``; of gradients it is the judge by finite
differences alone, which the adapters' own tests do.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from paribus import reference
from paribus.testing.data import Array
from paribus.testing.playing import defined
from paribus.testing.scenes import Scene

Found = dict[str, dict[str, Array]]


def define(scene: Scene, weights: Mapping[str, Array]) -> Found:
    """Return what ``paribus.reference`` can say, by phase and tensor."""
    found: Found = {}
    for phase, training in (("outputs", False), ("training_outputs", True)):
        if phase in scene.phases:
            found[phase] = {"": defined(scene, outputs(scene, weights, training=training))}
    if "gradients" in scene.phases:
        found["gradients"] = {"loss": np.array([first_loss(scene, weights)])}
    return found


def outputs(scene: Scene, weights: Mapping[str, Array], *, training: bool) -> Array:
    """Return what the network makes of the scene's ``looks``, batch by batch."""
    looks, network = scene.looks, scene.network
    parts = []
    for batch, count in enumerate(looks.counts.tolist()):
        rows = looks.indices[batch, :count]
        inputs, positions = reference.preprocess(scene.x[rows], looks.preprocess), None
        if looks.targets is not None:
            inputs = looks.targets.tokens[batch, :count]
            positions = looks.targets.positions[batch, :count]
        found, _ = reference.forward(
            network, weights, inputs, training=training,
            frozen=scene.task.frozen_norms(network), positions=positions,
        )  # fmt: skip
        parts.append(found)
    return np.concatenate(parts)


def first_loss(scene: Scene, weights: Mapping[str, Array]) -> float:
    """Return the loss of the plan's first step."""
    plan, network, total = scene.plan, scene.network, 0.0
    keys, first_row = None if plan.noise is None else plan.noise[0], 0
    for shard, count in enumerate(plan.counts[0].tolist()):
        at = (0, shard, slice(count))
        rows = plan.indices[at]
        inputs = reference.preprocess(scene.x[rows], plan.preprocess, plan.augmentation, (0, shard))
        labels, counts, positions = None if scene.y is None else scene.y[rows], None, None
        if plan.targets is not None:
            own = plan.targets
            inputs, positions = own.tokens[at], own.positions[at]
            labels, counts = own.labels[at], own.counts[at]
        elif network.objective == "causal_lm":
            labels = scene.x[rows, 1 : network.input_shape[0] + 1].astype(np.int64)
        found, _ = reference.forward(
            network, weights, inputs, training=True,
            frozen=scene.task.frozen_norms(network), positions=positions,
            noise=keys, first_row=first_row,
        )  # fmt: skip
        if labels is None:
            raise ValueError(f"{scene.name} has nothing to compare its outputs with")
        losses = reference.row_losses(network, found, labels, counts, scene.task.label_smoothing)
        total += float((plan.weights[at] * losses).sum())
        first_row += count
    return total
