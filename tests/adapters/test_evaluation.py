"""Evaluation adds up; it divides nothing, counts no padding and changes nothing."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from labs import Lab

from paribus import reference, weights
from paribus.errors import DataError


def test_sums_are_those_of_the_predicted_logits(lab: Lab) -> None:
    """21 rows in batches of 8: the last batch has 5 real rows."""
    network = cases.CNN
    session = lab.session(network, cases.task(network))
    session.import_weights(cases.tensors(network))
    x, y = cases.stored(network, 21), cases.labels(network, 21)
    plan = cases.eval_plan(21, 8)
    logits = session.predict(session.put(x, None), plan)
    assert logits.shape == (21, network.classes)
    assert logits.dtype == np.float64
    sums = session.evaluate(session.put(x, y), plan)
    assert sums.loss == pytest.approx(reference.cross_entropy(logits, y).sum(), rel=1e-12)
    assert sums.correct == int((logits.argmax(axis=1) == y).sum())
    assert sums.predictions == 21


def test_the_batch_size_does_not_change_a_prediction(lab: Lab) -> None:
    network = cases.CNN
    session = lab.session(network, cases.task(network))
    session.import_weights(cases.tensors(network))
    handle = session.put(cases.stored(network, 21), None)
    large, small = (session.predict(handle, cases.eval_plan(21, size)) for size in (21, 4))
    assert cases.distance(large, small) <= 1e-13


def test_the_first_of_equal_logits_counts(lab: Lab) -> None:
    network = cases.CNN
    session = lab.session(network, cases.task(network))
    given = cases.tensors(network)
    for name in ("fc.weight", "fc.bias"):
        given[name] = np.zeros_like(given[name])
    session.import_weights(given)
    y = cases.labels(network, 21)
    sums = session.evaluate(session.put(cases.stored(network, 21), y), cases.eval_plan(21, 8))
    assert sums.correct == int((y == 0).sum())
    assert sums.loss == pytest.approx(21 * np.log(network.classes), rel=1e-12)


def test_looking_changes_nothing(lab: Lab) -> None:
    """Neither weights, statistics nor slots, nor the bits of the step that follows."""
    network = cases.CNN
    session = lab.session(network, cases.task(network))
    handle = session.put(cases.stored(network, 24), cases.labels(network, 24))
    first, second = (cases.train_plan(cases.batches(2, 1, 8, 24, seed=s)) for s in (1, 2))
    plan = cases.eval_plan(24, 8)
    ends = []
    for look in (False, True):
        session.import_weights(cases.tensors(network))
        session.train_steps(handle, first).result()
        before = session.export_weights(), session.export_optimizer()["momentum"]
        if look:
            session.gradients(handle, second)
            session.forward(handle, plan, training=True)
            session.forward(handle, plan, training=False)
            session.evaluate(handle, plan)
            session.predict(handle, plan)
            after = session.export_weights(), session.export_optimizer()["momentum"]
            assert [weights.fingerprint(t) for t in after] == [
                weights.fingerprint(t) for t in before
            ]
        session.train_steps(handle, second).result()
        ends.append(weights.fingerprint(session.export_weights()))
    assert ends[0] == ends[1]


def test_data_without_labels_can_only_be_predicted(lab: Lab) -> None:
    network = cases.CNN
    session = lab.session(network, cases.task(network))
    session.import_weights(cases.tensors(network))
    handle = session.put(cases.stored(network, 8), None)
    with pytest.raises(DataError, match="labels"):
        session.evaluate(handle, cases.eval_plan(8, 4))
    with pytest.raises(DataError, match="labels"):
        session.train_steps(handle, cases.train_plan(cases.batches(1, 1, 4, 8))).result()
