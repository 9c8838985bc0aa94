"""What is frozen stays as it is, to the bit."""

from __future__ import annotations

import cases
import pytest
from labs import Lab

from paribus import reference, weights
from paribus.architectures import Network


@pytest.mark.parametrize(
    ("network", "freeze"),
    [
        (cases.CNN, "body"),
        (cases.CNN, "block1"),
        (cases.VGG, "classifier"),
        (cases.MOBILENET, "neck"),
        (cases.VIT, "body"),
        (cases.VIT, "layer1"),
    ],
    ids=lambda value: getattr(value, "architecture", value),
)
def test_frozen_tensors_keep_every_bit(lab: Lab, network: Network, freeze: str) -> None:
    task = cases.task(network, freeze=freeze)
    session = lab.session(network, task)
    given = cases.tensors(network)
    session.import_weights(given)
    handle = session.put(cases.stored(network, 24), cases.labels(network, 24))
    plan = cases.train_plan(cases.batches(4, 1, 8, 24), preprocess=cases.scaling(network))
    session.train_steps(handle, plan).result()
    after = session.export_weights()

    frozen_norms = task.frozen_norms(network)
    moving = set(task.trainable) | {
        name
        for name, tensor in network.tensors.items()
        if tensor.kind == "statistic" and tensor.node not in frozen_norms
    }
    for name in network.tensors:
        same = weights.fingerprint({"": after[name]}) == weights.fingerprint({"": given[name]})
        assert same == (name not in moving), name
    assert all(list(slot) == list(task.trainable) for slot in session.export_optimizer().values())


@pytest.mark.parametrize("freeze", ["body", "block1"])
def test_frozen_batch_norm_normalises_with_its_statistics(lab: Lab, freeze: str) -> None:
    network = cases.CNN
    task = cases.task(network, freeze=freeze)
    session = lab.session(network, task)
    tensors = cases.tensors(network)
    session.import_weights(tensors)
    x, y = cases.stored(network, 24), cases.labels(network, 24)
    plan = cases.train_plan(cases.batches(1, 1, 8, 24))
    rows = plan.indices[0, 0]
    logits, _ = reference.forward(
        network,
        tensors,
        reference.preprocess(x[rows], plan.preprocess),
        training=True,
        frozen=task.frozen_norms(network),
    )
    expected = reference.cross_entropy(logits, y[rows]).mean()
    handle = session.put(x, y)
    loss, gradients = session.gradients(handle, plan)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert list(gradients) == list(task.trainable)
    assert session.train_steps(handle, plan).result().losses == pytest.approx([loss], rel=1e-12)
