"""What a session shows of its nodes is what the definitions compute, in the network's layout."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from labs import Lab

from paribus import reference
from paribus.architectures import Network

COUNT = 6
NETWORKS = {
    "cnn": cases.CNN,
    "plain": cases.PLAIN,
    "mlp": cases.MLP,
    "resnet": cases.RESNET,
    "vgg": cases.VGG,
    "vit": cases.VIT,
    "bert": cases.BERT,
}
CASES = [f"{name} {mode}" for name in NETWORKS for mode in ("evaluation", "training")]
# The conformance suite has the smallest ones in both modes, and not all that has to be seen.
SOME = {"cnn evaluation", "plain evaluation", "mlp evaluation", "resnet training",
        "vit evaluation", "bert evaluation"}  # fmt: skip


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case in SOME else [pytest.mark.full]) for case in CASES],
)
def test_activations_are_the_nodes_values(lab: Lab, case: str) -> None:
    name, mode = case.split()
    network, training = NETWORKS[name], mode == "training"
    tensors, x = cases.tensors(network), cases.stored(network, COUNT)
    session = lab.session(network, cases.task(network))
    session.import_weights(tensors)
    handle, plan = session.put(x, None), cases.eval_plan(COUNT, COUNT, cases.scaling(network))
    found = session.activations(handle, plan, training=training)
    inputs = reference.preprocess(x, plan.preprocess)
    exact, _ = reference.trace(network, tensors, inputs, training=training)
    # Everything with weights of its own and one output is seen, and the outputs always are.
    owners = [node.name for node in network.nodes if node.op in ("conv2d", "linear", "layer_norm")]
    assert {*owners, network.nodes[-1].name} <= set(found)
    order = [node.name for node in network.nodes if node.name in found]
    assert list(found) == order
    for node, value in found.items():
        assert value.shape == exact[node].shape
        left, right = _real(network, x, value), _real(network, x, exact[node])
        # Rounding of a product of up to 4608 terms, through twenty layers of BatchNorm over six.
        assert cases.distance(left, right) < 1e-11, node
    after = session.export_weights()
    assert all(np.array_equal(after[key], tensors[key]) for key in tensors)


def test_batches_follow_one_another(lab: Lab) -> None:
    """Each batch is normalised by itself, and rows stay in the plan's order."""
    network = cases.CNN
    session = lab.session(network, cases.task(network))
    session.import_weights(cases.tensors(network))
    handle, plan = session.put(cases.stored(network, 5), None), cases.eval_plan(5, 3)
    found = session.activations(handle, plan, training=True)
    outputs = session.forward(handle, plan, training=True)
    assert len(outputs) == 5
    assert np.array_equal(found[network.nodes[-1].name], outputs)


def _real(network: Network, x: cases.Array, value: cases.Array) -> cases.Array:
    """Return the places of texts that have a token; of anything else everything."""
    if not network.reads_tokens or value.ndim < 3:
        return value
    return np.asarray(value[x[:, : value.shape[1]] >= 0])
