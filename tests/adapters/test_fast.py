"""Fast numerics choose by trying: that changes nothing, and what is chosen computes alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cases
import numpy as np
import pytest
from labs import Lab

from paribus.adapter import Session
from paribus.architectures import Network, build
from paribus.plan import Preprocess, evaluation_plan
from paribus.tolerances import TOLERANCE
from paribus.tuning import Choice, Tuning

TUNED = ("torch", "huggingface", "tensorflow", "jax")
EVALUATED = (
    "torch-vgg11_bn", "torch-resnet18", "torch-mobilenet_v2", "huggingface-resnet18",
    "tensorflow-cnn", "tensorflow-mobilenet_v2", "jax-cnn", "jax-mobilenet_v2",
)  # fmt: skip
DROPPING = build("mlp", {"hidden": [32], "dropout": 0.5}, (16,), 3)


@pytest.fixture(params=TUNED)
def tuned(request: pytest.FixtureRequest, labs: dict[str, Lab]) -> Lab:
    return labs[request.param]


def opened(lab: Lab, network: Network, numerics: str) -> Session:
    session = lab.open(network, cases.task(network, "adamw"), "float32", numerics)
    session.import_weights(cases.tensors(network))
    return session


def same(left: Mapping[str, Any], right: Mapping[str, Any]) -> None:
    assert {n: a.tobytes() for n, a in left.items()} == {n: a.tobytes() for n, a in right.items()}


def test_trying_leaves_everything_as_it_was(tuned: Lab) -> None:
    """Of the tuned session's first steps every bit is that of one that was told what to choose."""
    network = cases.CNN
    x, y = cases.stored(network, 16), cases.labels(network, 16)
    plan = cases.train_plan(cases.batches(3, 2, 4, 16), "adamw", preprocess=cases.scaling(network))
    found: list[Any] = []
    choices: tuple[Choice, ...] = ()
    for _ in range(2):
        with opened(tuned, network, "fast") as session:
            session.tune(Tuning(TOLERANCE, None, choices))
            handle = session.put(x, y)
            losses = session.train_steps(handle, plan).result().losses
            slots = session.export_optimizer()
            found.append((losses, session.export_weights(), slots))
            assert [one.origin for one in session.choices] == ["run" if choices else "measured"]
            choices = tuple(session.choices)
            # Nothing is tried a second time.
            session.train_steps(handle, plan).result()
            assert len(session.choices) == 1
    (first, weights, slots), (second, weights_again, slots_again) = found
    assert first.tobytes() == second.tobytes()
    same(weights, weights_again)
    for name, tensors in slots.items():
        same(tensors, slots_again[name])


def test_nothing_is_kept_that_is_too_far(tuned: Lab) -> None:
    """With no tolerance at all only what gives the same bits as strict numerics is left."""
    network = cases.CNN
    plan = cases.train_plan(cases.batches(2, 1, 8, 16), "adamw", preprocess=cases.scaling(network))
    with opened(tuned, network, "fast") as session:
        session.tune(Tuning(0.0, None))
        handle = session.put(cases.stored(network, 16), cases.labels(network, 16))
        session.train_steps(handle, plan).result()
        (choice,) = session.choices
        assert choice.settings["products"] == "float32"
        assert choice.error == 0.0
        assert "too far" in {one.verdict for one in choice.tried}


def test_strict_numerics_choose_nothing(tuned: Lab) -> None:
    network = cases.CNN
    plan = cases.train_plan(cases.batches(2, 1, 8, 16), "adamw", preprocess=cases.scaling(network))
    found = []
    for asked in (False, True):
        with opened(tuned, network, "strict") as session:
            if asked:
                session.tune(Tuning(1.0, None))
            handle = session.put(cases.stored(network, 16), cases.labels(network, 16))
            session.train_steps(handle, plan).result()
            assert list(session.choices) == []
            found.append(session.export_weights())
    same(*found)


def test_what_is_dropped_is_what_strict_numerics_drop(tuned: Lab) -> None:
    """The keys are the plan's, whatever was drawn while trying."""
    network = DROPPING
    plan = cases.train_plan(cases.batches(2, 1, 8, 16), "adamw", preprocess=Preprocess())
    keys = np.arange(2 * len(network.noisy) * 2, dtype=np.int32).reshape(2, len(network.noisy), 2)
    plan = type(plan)(**{**vars(plan), "noise": keys})
    losses = []
    for numerics in ("strict", "fast"):
        with opened(tuned, network, numerics) as session:
            session.tune(Tuning(1e-4, None))
            handle = session.put(cases.stored(network, 16), cases.labels(network, 16))
            losses.append(session.train_steps(handle, plan).result().losses)
    # Products of bfloat16 are too far for 1e-4.
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("case", EVALUATED)
def test_an_evaluation_in_another_way_is_as_close_as_is_said(
    labs: dict[str, Lab], case: str
) -> None:
    """Norms folded into every kind of convolution equal unfolded ones in float32 to rounding."""
    backend, name = case.split("-")
    tuned, network = labs[backend], cases.NETWORKS[name]
    x, y = cases.stored(network, 12), cases.labels(network, 12)
    plan = evaluation_plan(np.arange(12), 6, cases.scaling(network))
    with opened(tuned, network, "strict") as session:
        expected = session.predict(session.put(x, None), plan)
    with opened(tuned, network, "fast") as session:
        session.tune(Tuning(TOLERANCE, None, least_work=1))
        handle = session.put(x, y)
        outputs, sums = session.predict(handle, plan), session.evaluate(handle, plan)
        (choice,) = session.choices
        after = session.export_weights()
    folded = next(one for one in choice.tried if one.settings["folded"])
    assert folded.settings["products"] == "float32"
    assert folded.error is not None
    # Ten times the distance of the outputs, which is float32's through some twenty layers.
    assert 0 < folded.error < 1e-3
    apart = np.linalg.norm(outputs - expected) / np.linalg.norm(expected)
    # Of other rows than those that were compared.
    assert 10 * apart <= max(3 * choice.error, 1e-3)
    assert sums.predictions == 12
    given = cases.tensors(network)
    same(after, {tensor: given[tensor].astype(np.float32) for tensor in given})


def test_small_evaluations_are_computed_as_in_strict_numerics(tuned: Lab) -> None:
    network = cases.CNN
    x = cases.stored(network, 12)
    plan = evaluation_plan(np.arange(12), 6, cases.scaling(network))
    with opened(tuned, network, "fast") as session:
        session.tune(Tuning(TOLERANCE, None))
        session.predict(session.put(x, None), plan)
        assert list(session.choices) == []
