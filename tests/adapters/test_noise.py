"""What a backend drops is what the definition says, and what that does is the same on all.

That its masks are the defined ones, value by value, is in the conformance suite. Float64 where
nothing else is said: one mask that differs is a loss that differs in the third digit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import cases
import dropping
import numpy as np
import pytest
from labs import PROMISED, Lab

from paribus.architectures import Network, build

FIRST, *OTHERS = PROMISED
# Their own generator is no faster than the definition, so they keep to it.
DEFINED = ("jax",)
CLOSE = 1e-10


@cache
def _expected(name: str, dropped: bool = True) -> float:
    """Return a step's loss by the definitions."""
    network, given = dropping.NETWORKS[name], _plan(name)
    return dropping.loss(
        network, given if dropped else replace(given, noise=None), cases.tensors(network)
    )


def _plan(name: str) -> Any:
    network = dropping.NETWORKS[name]
    ragged = {} if network.objective == "causal_lm" else {"counts": np.array([[6, 4]])}
    return dropping.plan(network, 1, 2, 6, **ragged)


def _ready(lab: Lab, network: Network) -> tuple[Any, Any]:
    session = lab.session(network, cases.task(network, "adamw"))
    session.import_weights(cases.tensors(network))
    return session, session.put(*dropping.data(network))


def named(chosen: Iterable[str], names: Iterable[str]) -> list[Any]:
    """Return names as parameters; those that are not chosen are for full-size runs alone."""
    rest = [pytest.mark.full]
    return [pytest.param(name, marks=() if name in chosen else rest) for name in names]


# ResNet-18 has images, BatchNorm and whole branches that are dropped; what these add is a
# forward pass that is shown elsewhere.
MORE = {"vgg11_bn", "mobilenet_v2", "mean bert"}


@pytest.mark.parametrize("name", named(dropping.NETWORKS.keys() - MORE, dropping.NETWORKS))
def test_a_step_has_the_defined_loss_and_everyones_gradient(
    labs: dict[str, Lab], name: str
) -> None:
    """Two shards with padding; a repeat is the same to the bit."""
    network, given = dropping.NETWORKS[name], _plan(name)
    found = {}
    for backend, lab in labs.items():
        session, handle = _ready(lab, network)
        loss, found[backend] = session.gradients(handle, given)
        assert loss == pytest.approx(_expected(name), rel=CLOSE), backend
        again, same = session.gradients(handle, given)
        assert again == loss
        assert cases.distance(same, found[backend]) == 0.0
    # Some gradients are 0 but for rounding (a bias before BatchNorm): one scale for all of them.
    largest = max(np.abs(g).max() for g in found[FIRST].values())
    for other in OTHERS:
        for tensor, gradient in found[other].items():
            apart = np.abs(gradient - found[FIRST][tensor]).max() / largest
            assert apart <= CLOSE, (other, tensor)


@pytest.mark.parametrize("name", ["mlp", "vit", "bert"])
def test_without_keys_nothing_is_dropped(lab: Lab, name: str) -> None:
    network, given = dropping.NETWORKS[name], replace(_plan(name), noise=None)
    session, handle = _ready(lab, network)
    loss, _ = session.gradients(handle, given)
    assert loss == pytest.approx(_expected(name, dropped=False), rel=CLOSE)
    assert abs(loss - _expected(name)) > 1e-5


STEPPED = ("mlp", "bert", "vit", "causal gpt2", "vgg11_bn", "resnet18", "mobilenet_v2")


# Three steps of the others are golden scenes of the conformance suite.
@pytest.mark.parametrize("name", named({"mlp", "bert"}, STEPPED))
def test_twenty_steps_agree(labs: dict[str, Lab], name: str) -> None:
    """Every step has other keys.

    The last maps of the images' networks are single pixels: in a small batch BatchNorm amplifies
    rounding, and so does what each step adds.
    """
    network = dropping.NETWORKS[name]
    batch, peak = (8, 0.002) if name in ("mlp", "vit", "bert", "causal gpt2") else (32, 0.0002)
    rates = list(peak * (0.2 + np.sin(np.linspace(0, np.pi, 20))))
    given = dropping.plan(network, 20, 1, batch, rule="adamw", rates=rates)
    losses = {}
    for backend, lab in labs.items():
        session, handle = _ready(lab, network)
        losses[backend] = session.train_steps(handle, given).result().losses
    assert len(set(losses[FIRST])) == 20
    for other in OTHERS:
        assert losses[other] == pytest.approx(losses[FIRST], rel=1e-9), other


def test_dropping_is_for_training_alone(lab: Lab) -> None:
    """The same weights in a network that drops and in one that does not: the same answers."""
    plain = build("bert", cases.WORDS, (cases.LENGTH,), 3)
    answers = []
    for network in (dropping.NETWORKS["bert"], plain):
        session, handle = _ready(lab, network)
        if network.noisy:
            session.train_steps(handle, dropping.plan(network, 1, 1, 8, rule="adamw")).result()
            session.import_weights(cases.tensors(network))
        evaluation = cases.eval_plan(dropping.EXAMPLES, 7, cases.scaling(network))
        answers.append(
            (session.predict(handle, evaluation), session.evaluate(handle, evaluation).loss,
             session.forward(handle, evaluation, training=True))
        )  # fmt: skip
    for left, right in zip(*answers, strict=True):
        assert left == pytest.approx(right, rel=1e-12)


LOWER = {"float32": 1e-5, "bfloat16": 0.03}
CROSSED = [f"{name} {precision}" for name in ("mlp", "vit", "bert") for precision in LOWER]


@pytest.mark.parametrize("case", named({"vit float32", "mlp bfloat16", "bert bfloat16"}, CROSSED))
def test_lower_precisions_drop_the_same(lab: Lab, case: str) -> None:
    """float32 rounds by 6e-8, bfloat16 by 4e-3; keys of another seed are 1e-2 off and more."""
    name, precision = case.split()
    network, given = dropping.NETWORKS[name], _plan(name)
    session = lab.session(network, cases.task(network), precision)
    session.import_weights(cases.tensors(network))
    loss, _ = session.gradients(session.put(*dropping.data(network)), given)
    assert loss == pytest.approx(_expected(name), rel=LOWER[precision])


@pytest.mark.parametrize("name", ["mlp", "bert"])
def test_fast_numerics_drop_the_same(lab: Lab, name: str) -> None:
    """Compiled or not."""
    network = dropping.NETWORKS[name]
    with lab.open(network, cases.task(network), numerics="fast") as session:
        session.import_weights(cases.tensors(network))
        loss, _ = session.gradients(session.put(*dropping.data(network)), _plan(name))
    assert loss == pytest.approx(_expected(name), rel=1e-9)


@pytest.mark.parametrize("name", named({"mlp", "vit", "bert"}, ["mlp", "resnet18", "vit", "bert"]))
def test_a_framework_s_own_generator_starts_from_the_keys(lab: Lab, name: str) -> None:
    """Equal keys drop the same, others something else; it may differ from the definition's."""
    network = dropping.NETWORKS[name]
    task = cases.task(network, native_noise=True)
    given = _plan(name)
    other = dropping.keyed(network, given, seed=4)
    with lab.open(network, task, numerics="fast") as session:
        session.import_weights(cases.tensors(network))
        handle = session.put(*dropping.data(network))
        one, again, two, none = (
            session.gradients(handle, plan)[0]
            for plan in (given, given, other, replace(given, noise=None))
        )
    expected, whole = _expected(name), _expected(name, dropped=False)
    # Fast numerics need not repeat to the bit.
    assert again == pytest.approx(one, rel=1e-9)
    assert none == pytest.approx(whole, rel=1e-6)
    assert (one == pytest.approx(expected, rel=1e-6)) == (lab.name in DEFINED)
    apart = [one, two, none]
    assert all(abs(a - b) > 1e-6 for i, a in enumerate(apart) for b in apart[:i])
