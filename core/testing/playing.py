"""A scene on a session: the phases in their order, and what each leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from paribus import reference
from paribus.adapter import Session
from paribus.architectures import LANGUAGE
from paribus.testing.data import Array
from paribus.testing.scenes import Scene

Tensors = dict[str, Array]
# What each phase needs done before it, beyond the import of the weights.
AFTER_STEPS = ("losses", "norms", "weights", "slots", "frozen", "sums", "predictions")


def play(
    session: Session, scene: Scene, weights: Mapping[str, Array]
) -> dict[str, Tensors | Exception]:
    """Return what a session computes in each phase of a scene, or the error that ended it.

    Outputs at places where a text has no token are set to zero: what stands there is undefined.
    """
    found: dict[str, Tensors | Exception] = {}
    failure: Exception | None = None
    handle: Any = None
    results: Any = None
    try:
        session.import_weights(weights)
        handle = session.put(scene.x, scene.y)
    except Exception as error:  # whatever an adapter raises is each phase's failure
        failure = error

    def attempt(phase: str, make: Callable[[], Tensors]) -> None:
        if phase not in scene.phases:
            return
        try:
            found[phase] = failure or make()
        except Exception as error:  # the other phases are still observed
            found[phase] = error

    def outputs(training: bool) -> Tensors:
        return {"": defined(scene, session.forward(handle, scene.looks, training=training))}

    def gradients() -> Tensors:
        loss, tensors = session.gradients(handle, scene.plan)
        return {"loss": np.array([loss]), **tensors}

    attempt("outputs", lambda: outputs(False))
    attempt("training_outputs", lambda: outputs(True))
    attempt("gradients", gradients)
    if failure is None and set(AFTER_STEPS) & set(scene.phases):
        try:
            results = session.train_steps(handle, scene.plan).result()
        except Exception as error:  # nothing after the steps can be observed
            failure = error

    attempt("losses", lambda: {"": results.losses})
    attempt("norms", lambda: {"": results.gradient_norms})
    attempt("weights", lambda: session.export_weights())
    attempt("frozen", lambda: _kept(scene, session.export_weights()))
    attempt("slots", lambda: flat(session.export_optimizer()))
    attempt("sums", lambda: {"": np.array(session.evaluate(handle, scene.looks), np.float64)})
    attempt("predictions", lambda: {"": defined(scene, session.predict(handle, scene.looks))})
    return found


def defined(scene: Scene, outputs: Array) -> Array:
    """Return outputs with zeros where the contract says nothing about them."""
    network, targets = scene.network, scene.looks.targets
    if network.objective not in LANGUAGE:
        return outputs
    rows = scene.looks.indices.ravel()[: int(scene.looks.counts.sum())]
    if targets is not None:
        counts = targets.counts.ravel()[: len(rows)]
        real = np.arange(targets.positions.shape[-1]) < counts[:, None]
    else:
        real = reference.preprocess(scene.x[rows], scene.looks.preprocess) >= 0
    return np.where(real[..., None], outputs, 0.0)


def flat(slots: Mapping[str, Mapping[str, Array]]) -> Tensors:
    """Return an optimizer's state as one set of tensors, ``slot/name``."""
    return {f"{slot}/{name}": array for slot, own in slots.items() for name, array in own.items()}


def _kept(scene: Scene, after: Mapping[str, Array]) -> Tensors:
    """Return the tensors that no step may change: frozen parameters, and frozen statistics."""
    network, norms = scene.network, scene.task.frozen_norms(scene.network)
    return {
        name: after[name]
        for name, tensor in network.tensors.items()
        if name not in scene.task.trainable and (tensor.kind == "parameter" or tensor.node in norms)
    }
