"""The same seed is the same bits, however the steps are handed over."""

from __future__ import annotations

from dataclasses import replace

import cases
import numpy as np
from labs import Lab

from paribus import weights
from paribus.plan import TrainPlan

PLAN = cases.train_plan(cases.batches(6, 2, 8, 24))


def _part(plan: TrainPlan, start: int, stop: int) -> TrainPlan:
    return replace(
        plan,
        indices=plan.indices[start:stop],
        counts=plan.counts[start:stop],
        weights=plan.weights[start:stop],
        scalars={name: values[start:stop] for name, values in plan.scalars.items()},
    )


def test_a_repeat_has_the_same_bits(lab: Lab) -> None:
    network, task = cases.CNN, cases.task(cases.CNN)
    outcomes = []
    for seed in (1, 1, 2):
        with lab.open(network, task, precision="float32") as session:
            session.import_weights(cases.tensors(network, seed))
            handle = session.put(cases.stored(network, 24), cases.labels(network, 24))
            losses = session.train_steps(handle, PLAN).result().losses
            outcomes.append((losses.tobytes(), weights.fingerprint(session.export_weights())))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] != outcomes[2]


def test_k_steps_in_one_call_are_k_calls(lab: Lab) -> None:
    """One call of six, six calls of one, and calls of four and two that overlap."""
    network = cases.CNN
    session = lab.session(network, cases.task(network), "float32")
    handle = session.put(cases.stored(network, 24), cases.labels(network, 24))
    outcomes = []
    for cuts in ([(0, 6)], [(k, k + 1) for k in range(6)], [(0, 4), (4, 6)]):
        session.import_weights(cases.tensors(network))
        under_way = [session.train_steps(handle, _part(PLAN, *cut)) for cut in cuts]
        results = [pending.result() for pending in under_way]
        losses = np.concatenate([result.losses for result in results])
        assert losses.shape == (6,)
        assert losses.dtype == np.float64
        end = session.export_weights(), session.export_optimizer()["momentum"]
        outcomes.append((losses.tobytes(), *(weights.fingerprint(tensors) for tensors in end)))
    assert outcomes[0] == outcomes[1] == outcomes[2]
