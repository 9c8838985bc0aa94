"""What nodes compute, where a backend can observe it: by name, in the network's layout."""

from __future__ import annotations

import numpy as np
import pytest

from paribus import reference
from paribus.testing import data, plans
from paribus.testing.bench import Bench, not_claimed
from paribus.testing.closeness import agree
from paribus.testing.networks import NETWORKS

CASES = [
    f"{network}-{mode}"
    for network in ("mlp", "cnn", "vit", "bert")
    for mode in ("evaluation", "training")
]


@pytest.mark.parametrize("case", CASES)
def test_are_those_of_the_definitions(bench: Bench, case: str) -> None:
    """Every observed node's values for 13 rows in batches of eight, nothing dropped."""
    network, mode = case.split("-")
    own, training = NETWORKS[network], mode == "training"
    tensors = data.tensors(own)
    session = bench.session(own, bench.task(own))
    session.import_weights(tensors)
    x = data.stored(own, 13)
    plan = plans.eval_plan(13, 8, data.scaling(own))
    found = session.activations(session.put(x, None), plan, training=training)
    if not found:
        not_claimed("activations")
    inputs = reference.preprocess(x, plan.preprocess)
    parts = [
        reference.trace(own, tensors, inputs[rows], training=training)[0]
        for rows in (slice(8), slice(8, 13))
    ]
    order = [node.name for node in own.nodes]
    assert list(found) == [name for name in order if name in found]
    real = inputs >= 0 if own.reads_tokens else None
    for name, values in found.items():
        expected = np.concatenate([part[name] for part in parts])
        if real is not None and expected.shape[:2] == real.shape:
            # What stands at padding reaches nobody, and is whatever it is.
            assert values.shape == expected.shape, name
            values, expected = values[real], expected[real]
        agree(values, expected, bench.tolerance, name)
