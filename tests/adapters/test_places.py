"""Plans of any length run through a loop that was compiled once, where compiling is slow."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from labs import Lab


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_a_shorter_or_longer_plan_compiles_nothing(labs: dict[str, Lab], backend: str) -> None:
    """And ends where the steps one by one end: places without a step change nothing."""
    network = cases.NETWORKS["mlp"]
    rows = cases.batches(9, 1, 4, 16)
    plan = cases.train_plan(rows, "adamw", preprocess=cases.scaling(network))
    ends = []
    # TensorFlow compiles with XLA in fast numerics.
    numerics = "strict" if backend == "jax" else "fast"
    for cuts in ([9], [1, 6, 2]):
        with labs[backend].open(
            network, cases.task(network, "adamw"), "float32", numerics
        ) as session:
            session.import_weights(cases.tensors(network))
            handle = session.put(cases.stored(network, 16), cases.labels(network, 16))
            start, spent = 0, set()
            for count in cuts:
                part = plan.taken(slice(start, start + count))
                assert len(session.train_steps(handle, part).result().losses) == count
                spent.add(session.compile_seconds)
                start += count
            assert len(spent) == 1
            ends.append(session.export_weights())
    for name, expected in ends[0].items():
        np.testing.assert_array_equal(ends[1][name], expected)
