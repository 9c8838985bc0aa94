"""Where a network is cut: at the last node below everything that trains or drops."""

from __future__ import annotations

import pytest
from cases import BERT, CAUSAL_GPT2, CNN, MASKED_BERT, MOBILENET, RESNET, VIT

from paribus.architectures import Network, build
from paribus.architectures.parts import cut, part, why_not


@pytest.mark.parametrize(
    ("network", "freeze", "boundary", "shape"),
    [
        (RESNET, "body", "avgpool", (512,)),
        (RESNET, "layer4", "layer3.1.relu", (256, 2, 2)),
        (RESNET, "layer1", "maxpool", (64, 8, 8)),
        (CNN, "block1", "pool0", (4, 4, 4)),
        (MOBILENET, "neck", "features.17.conv.3", (80, 1, 1)),
        # A sequence goes over as an image of one column.
        (VIT, "layer1", "encoder.layers.encoder_layer_0.add_2", (8, 5, 1)),
        (VIT, "body", "first", (8,)),
        (BERT, "body", "pooler", (8,)),
    ],
)
def test_the_boundary(network: Network, freeze: str, boundary: str, shape: tuple[int, ...]) -> None:
    free = network.trainable(freeze)
    found = cut(network, free)
    assert found is not None
    assert found.boundary.name == boundary
    assert found.tail.input_shape == shape
    assert set(free) <= set(found.tail.tensors)
    assert not set(found.body.tensors) & set(found.tail.tensors)
    assert {**found.body.tensors, **found.tail.tensors} == dict(network.tensors)
    assert found.body.part != found.tail.part != network.part == ""
    # What takes a part to another process is its boundary's name.
    assert part(network, "tail", boundary) == found.tail


def test_what_drops_stays_in_the_tail_with_its_keys() -> None:
    network = build("mlp", {"hidden": [7, 5], "dropout": 0.3}, (6,), 3)
    found = cut(network, network.trainable("body"))
    assert found is not None
    assert found.boundary.name == "activation.0"
    assert found.tail.noisy == network.noisy


def test_without_a_boundary_nothing_is_cut_and_the_reason_is_known() -> None:
    dropped = build("bert", {**BERT.parameters, "dropout": 0.1}, (10,), 3)
    for network, freeze, why in (
        (RESNET, "none", "too little"),
        (BERT, "layer1", "reads the texts' tokens too"),
        (MASKED_BERT, "body", "reads the texts' tokens too"),
        (CAUSAL_GPT2, "norm", "reads the texts' tokens too"),
        (dropped, "body", "'embeddings.dropout' drops values"),
    ):
        free = network.trainable(freeze)
        assert cut(network, free) is None
        assert why in why_not(network, free)
