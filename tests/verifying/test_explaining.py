"""A changed definition is recognised from what it computes, in NumPy alone; nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cases
import numpy as np
import pytest

from paribus import draws, reference
from paribus.architectures import Network, Node
from paribus.optimizers import RULES
from paribus.verifying.explaining import Explanation
from paribus.verifying.explaining.forward import Stretch, explain_output
from paribus.verifying.explaining.moments import explain_statistics
from paribus.verifying.explaining.update import explain_update
from paribus.verifying.formula import Before, applied_rate, step

Change = Callable[[Node, cases.Array], tuple[Node, cases.Array]]
GPT2 = cases.CAUSAL_GPT2
COUNT = 6
RATE = 0.013


def _altered(node: Node, **attributes: float) -> Node:
    return replace(node, attributes={**node.attributes, **attributes})


def _explained(
    network: Network, target: str, node: Node | None, tensors: Any, training: bool = False,
    hidden: tuple[str, ...] = (),
) -> Explanation | None:  # fmt: skip
    """Explain ``target``'s value by a network with another node, or of other tensors."""
    own, x = cases.tensors(network), cases.stored(network, COUNT)
    inputs = reference.preprocess(x, cases.scaling(network))
    known, _ = reference.trace(network, own, inputs, training=training)
    nodes = tuple(
        node if node is not None and node.name == one.name else one for one in network.nodes
    )
    wrong = replace(network, nodes=nodes)
    actual, _ = reference.trace(wrong, {**own, **tensors}, inputs, training=training)
    order = [one.name for one in network.nodes]
    seen = {n: known[n] for n in order[: order.index(target)] if n not in hidden}
    stretch = Stretch(network, own, seen, inputs, None, target, training, frozenset())
    return explain_output(stretch, actual[target], ...)


def _op(network: Network, op: str) -> Node:
    return next(node for node in network.nodes if node.op == op)


def test_layouts_are_told_apart() -> None:
    node = _op(cases.PLAIN, "conv2d")
    name = f"{node.name}.weight"
    weight = cases.tensors(cases.PLAIN)[name]
    read = weight.transpose(2, 3, 1, 0).reshape(weight.shape)
    found = _explained(cases.PLAIN, node.name, None, {name: read})
    assert found is not None
    assert found.text == f"{name} is read as if its axes were stored (height, width, in, out)"
    turned = _explained(cases.PLAIN, node.name, None, {name: weight[:, :, ::-1, ::-1]})
    assert turned is not None
    assert "a convolution, not a cross-correlation" in turned.text


@pytest.mark.parametrize("epsilon", [1e-3, 1e-12, 3e-5, 1.234e-4])
@pytest.mark.parametrize("training", [False, True])
def test_an_epsilon_is_measured(epsilon: float, training: bool) -> None:
    node = _op(cases.CNN, "batch_norm")
    found = _explained(cases.CNN, node.name, _altered(node, eps=epsilon), {}, training)
    assert found is not None
    assert f"has epsilon {epsilon:.4g}, not 1e-05" in found.text


def test_a_node_that_nobody_saw_is_found_behind_it() -> None:
    """Its own value is hidden; what differs is the next one that is not."""
    norm = _op(cases.CNN, "batch_norm")
    after = next(node for node in cases.CNN.nodes if norm.name in node.inputs)
    found = _explained(cases.CNN, after.name, _altered(norm, eps=1e-3), {}, hidden=(norm.name,))
    assert found is not None
    assert found.text.startswith(f"{norm.name} (batch_norm) has epsilon 0.001")


def test_texts_are_explained() -> None:
    gelu = _op(GPT2, "gelu")
    found = _explained(GPT2, gelu.name, _altered(gelu, tanh=0.0), {})
    assert found is not None
    assert "GELU uses the error function where the definition has the tanh" in found.text
    attention = _op(GPT2, "dot_product_attention")
    found = _explained(GPT2, attention.name, _altered(attention, causal=0.0), {})
    assert found is not None
    assert "tokens see later ones" in found.text
    places = _op(GPT2, "token_positions")
    table = cases.tensors(GPT2)[f"{places.name}.weight"]
    moved = {f"{places.name}.weight": np.roll(table, -1, axis=0)}
    found = _explained(GPT2, places.name, None, moved)
    assert found is not None
    assert "positions count from 1, not from 0" in found.text


def test_what_no_definition_gives_stays_unexplained() -> None:
    node = _op(cases.PLAIN, "conv2d")
    name = f"{node.name}.weight"
    weight = cases.tensors(cases.PLAIN)[name]
    noise = draws.normal(3, "noise", 0, weight.shape)
    assert _explained(cases.PLAIN, node.name, None, {name: weight + 0.1 * noise}) is None
    assert _explained(cases.PLAIN, node.name, None, {name: weight + 1e-9 * noise}) is None


def _before(rule: str) -> Before:
    """Return the third step of a training, from slots that are not zero."""
    network = cases.MLP
    task = cases.task(network, rule)
    weights = cases.tensors(network)
    draw = {n: 0.01 * draws.normal(1, n, 0, weights[n].shape) for n in task.trainable}
    slots = {
        slot: {n: draw[n] ** 2 if slot == "square" else draw[n][...] * 0.5 for n in draw}
        for slot in RULES[rule].slots
    }
    gradients = {n: 0.01 * draws.normal(2, n, 0, weights[n].shape) for n in task.trainable}
    plan = cases.train_plan(np.zeros((1, 1, 4)), rule, first_step=3, rates=[RATE])
    # Core's own plans say it of every rule.
    plan = replace(plan, scalars={**plan.scalars, "learning_rate": np.array([RATE])})
    return Before(task, weights, slots, gradients, plan)


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_itself_is_not_explained_away_and_shows_its_rate(rule: str) -> None:
    before = _before(rule)
    weights, slots = step(before)
    assert explain_update(before, weights, slots) is None
    after = {**before.weights, **weights}
    rate = before.scalars["learning_rate"]
    assert applied_rate(before, after, "float64") == pytest.approx(rate, rel=1e-9)


def _wrong(before: Before, **scalars: float) -> Explanation | None:
    changed = {name: np.array([value]) for name, value in scalars.items()}
    plan = replace(before.plan, scalars={**before.plan.scalars, **changed})
    return explain_update(before, *step(replace(before, plan=plan)))


def test_single_precision_powers_and_missing_corrections_are_recognised() -> None:
    before = _before("adam")
    c = before.scalars
    one, two = (float(np.float32(beta)) for beta in (0.9, 0.999))
    found = _wrong(
        before, beta1=one, beta2=two, new1=1 - one, new2=1 - two,
        step_size=c["learning_rate"] / (1 - one**3), root2=float(np.sqrt(1 - two**3)),
    )  # fmt: skip
    assert found is not None
    assert found.text == "β₁ and β₂ are in single precision"
    found = _wrong(before, step_size=c["learning_rate"], root2=1.0)
    assert found is not None
    assert found.text == "Adam's bias corrections are missing"


@pytest.mark.parametrize("rule", ["sgd", "sgd_momentum", "rmsprop"])
def test_another_rate_and_decay_are_recognised(rule: str) -> None:
    before = _before(rule)
    found = _wrong(before, learning_rate=2 * before.scalars["learning_rate"])
    assert found is not None
    assert found.text == "the learning rate is 2 times the one handed over"
    everything = replace(before, task=replace(before.task, decayed=before.task.trainable))
    found = explain_update(before, *step(everything))
    assert found is not None
    assert found.text == "weight decay applies to every tensor, biases and norms too"


def test_frozen_weights_are_recognised() -> None:
    before = _before("adamw")
    weights, slots = step(before)
    still = before.task.trainable[0]
    found = explain_update(before, {**weights, still: before.weights[still]}, slots)
    assert found is not None
    assert found.text == f"weights that are trained do not move: {still}"


def test_statistics_that_stay_or_move_otherwise_are_recognised() -> None:
    network, count = cases.CNN, 8
    before = cases.tensors(network)
    inputs = reference.preprocess(cases.stored(network, count), cases.scaling(network))
    plan = cases.train_plan(np.arange(count).reshape(1, 1, count))
    _, right = reference.forward(network, before, inputs, training=True)
    found = explain_statistics(network, plan, before, right, before)
    assert found is not None
    assert found.text == "the running statistics are not updated"
    assert explain_statistics(network, plan, before, right, right) is None
    keras = {name: before[name] + 0.1 * (value - before[name]) for name, value in right.items()}
    found = explain_statistics(network, plan, before, right, keras)
    assert found is not None
    assert "take 0.01 of each batch and keep 0.99, not 0.1 and 0.9" in found.text
