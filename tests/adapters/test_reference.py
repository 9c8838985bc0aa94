"""Each backend computes what the definitions say: compared with plain NumPy, not with another."""

from __future__ import annotations

from functools import cache

import cases
import numpy as np
import pytest
from labs import Lab

from paribus import draws, reference
from paribus.architectures import Network

NETWORKS = {
    "cnn": cases.CNN,
    "plain": cases.PLAIN,
    "mlp": cases.MLP,
    "resnet18": cases.RESNET,
    "vgg11_bn": cases.VGG,
    "mobilenet_v2": cases.MOBILENET,
    "vit": cases.VIT,
    "wide vit": cases.WIDE_VIT,
}
# Float64, relative to the largest logit.
CLOSE = 1e-12


def _stored(network: Network) -> tuple[cases.Array, cases.Array]:
    return cases.stored(network, 16), cases.labels(network, 16)


@cache
def _expected(architecture: str, training: bool) -> cases.Array:
    """Return the logits of 16 rows in batches of 8; one computation for all backends."""
    network = NETWORKS[architecture]
    inputs = reference.preprocess(_stored(network)[0], cases.scaling(network))
    parts = (inputs[:8], inputs[8:])
    tensors = cases.tensors(network)
    return np.concatenate(
        [reference.forward(network, tensors, part, training=training)[0] for part in parts]
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("architecture", NETWORKS)
def test_logits_are_those_of_the_definition(lab: Lab, architecture: str, training: bool) -> None:
    """Batches of 8; in training mode each is normalised by itself."""
    network = NETWORKS[architecture]
    tensors = cases.tensors(network)
    session = lab.session(network, cases.task(network))
    session.import_weights(tensors)
    x, y = _stored(network)
    plan = cases.eval_plan(16, 8, cases.scaling(network))
    logits = session.forward(session.put(x, y), plan, training=training)
    expected = _expected(architecture, training)
    assert cases.distance(logits, expected) <= CLOSE
    if not training:
        assert cases.distance(session.predict(session.put(x, None), plan), expected) <= CLOSE


@pytest.mark.parametrize("architecture", ["cnn", "resnet18"])
def test_a_step_leaves_the_defined_loss_and_statistics(lab: Lab, architecture: str) -> None:
    network = NETWORKS[architecture]
    tensors = cases.tensors(network)
    session = lab.session(network, cases.task(network))
    session.import_weights(tensors)
    x, y = _stored(network)
    plan = cases.train_plan(cases.batches(1, 1, 8, 16), preprocess=cases.scaling(network))
    rows = plan.indices[0, 0]
    inputs = reference.preprocess(x[rows], plan.preprocess)
    logits, statistics = reference.forward(network, tensors, inputs, training=True)
    loss = reference.cross_entropy(logits, y[rows]).mean()
    results = session.train_steps(session.put(x, y), plan).result()
    assert results.losses == pytest.approx([loss], rel=CLOSE)
    after = session.export_weights()
    for name, expected in statistics.items():
        assert cases.distance(after[name], expected) <= CLOSE, name


@pytest.mark.parametrize("architecture", ["cnn", "plain", "mlp", "vit", "wide vit"])
def test_gradients_are_the_slope_of_the_loss(lab: Lab, architecture: str) -> None:
    """Central differences of the NumPy loss, one direction per tensor.

    With steps of 1e-5 they are good to about 1e-8; a ReLU or a maximum seldom switches within.
    """
    network = NETWORKS[architecture]
    tensors = cases.tensors(network)
    session = lab.session(network, cases.task(network))
    session.import_weights(tensors)
    x, y = _stored(network)
    plan = cases.train_plan(cases.batches(1, 1, 8, 16), preprocess=cases.scaling(network))
    rows = plan.indices[0, 0]
    inputs = reference.preprocess(x[rows], plan.preprocess)
    _, gradients = session.gradients(session.put(x, y), plan)

    def loss(name: str, change: cases.Array) -> float:
        moved = {**tensors, name: tensors[name] + change}
        logits, _ = reference.forward(network, moved, inputs, training=True)
        return float(reference.cross_entropy(logits, y[rows]).mean())

    for name, gradient in gradients.items():
        direction = draws.normal(5, name, 0, gradient.shape)
        slope = (loss(name, 1e-5 * direction) - loss(name, -1e-5 * direction)) / 2e-5
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_batch_norm_s_epsilon_is_the_defined_one(lab: Lab, precision: str, training: bool) -> None:
    """Activations with a variance near 1e-5: an epsilon 0.1 % off is 5e-5 in the logits."""
    network = cases.CNN
    tensors = cases.tensors(network)
    for name in ("conv0.weight", "bn0.running_mean"):
        tensors[name] = tensors[name] * 1e-3
    tensors["bn0.running_var"] = tensors["bn0.running_var"] * 1e-5
    session = lab.session(network, cases.task(network), precision)
    session.import_weights(tensors)
    x, y = _stored(network)
    plan = cases.eval_plan(16, 16)
    logits = session.forward(session.put(x, y), plan, training=training)
    inputs = reference.preprocess(x, plan.preprocess)
    expected, _ = reference.forward(network, tensors, inputs, training=training)
    assert cases.distance(logits, expected) <= (1e-10 if precision == "float64" else 1e-5)


@pytest.mark.parametrize("architecture", ["cnn", "resnet18"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_statistics_follow_the_definition_in_every_precision(
    lab: Lab, architecture: str, precision: str
) -> None:
    """Other precisions take other kernels. A few rows show n/(n−1); ResNet-18 ends at n = 4."""
    network = NETWORKS[architecture]
    tensors = cases.tensors(network)
    session = lab.session(network, cases.task(network), precision)
    session.import_weights(tensors)
    x, y = _stored(network)
    plan = cases.train_plan(cases.batches(1, 1, 4, 16), preprocess=cases.scaling(network))
    rows = plan.indices[0, 0]
    inputs = reference.preprocess(x[rows], plan.preprocess)
    _, statistics = reference.forward(network, tensors, inputs, training=True)
    session.train_steps(session.put(x, y), plan).result()
    after = session.export_weights()
    for name, expected in statistics.items():
        # bfloat16 rounds by 0.4 %, a few times over; n instead of n − 1 is 25 % of the new share.
        assert cases.distance(after[name], expected) <= (1e-4 if precision == "float32" else 0.05)
