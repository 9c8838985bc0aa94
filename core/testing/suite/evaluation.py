"""Evaluation adds up; it divides nothing, counts no padding and changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paribus import reference
from paribus.adapter import Session
from paribus.errors import DataError
from paribus.testing import data, plans
from paribus.testing.bench import Bench
from paribus.testing.closeness import agree
from paribus.weights import fingerprint

COUNT = 21


def test_sums_are_of_the_predictions(bench: Bench) -> None:
    """21 rows in batches of 8: the last batch has five real rows."""
    network = bench.first("cnn", "plain", "mlp", "bert")
    session = bench.session(network, bench.task(network))
    session.import_weights(data.tensors(network))
    x, y = data.stored(network, COUNT), data.labels(network, COUNT)
    assert y is not None
    plan = plans.eval_plan(COUNT, 8, data.scaling(network))
    outputs = session.predict(session.put(x, None), plan)
    sums = session.evaluate(session.put(x, y), plan)
    loss = reference.cross_entropy(outputs.astype(np.float64), y).sum()
    assert sums.loss == pytest.approx(loss, rel=bench.rounding)
    assert sums.correct == int((outputs.argmax(axis=1) == y).sum())
    assert sums.predictions == COUNT


def test_padding_is_not_counted(bench: Bench) -> None:
    """Whatever row stands behind the real ones."""
    network = bench.network
    session = bench.session(network, bench.task(network))
    session.import_weights(data.tensors(network))
    handle = session.put(data.stored(network, COUNT), data.labels(network, COUNT))
    plan = plans.eval_plan(COUNT, 8, data.scaling(network))
    other = plan.indices.copy()
    other[-1, 5:] = 0
    changed = replace(plan, indices=other)
    assert session.evaluate(handle, plan) == session.evaluate(handle, changed)
    before, after = session.predict(handle, plan), session.predict(handle, changed)
    assert len(before) == COUNT
    assert before.tobytes() == after.tobytes()


def test_batches_change_nothing(bench: Bench) -> None:
    """One batch of all rows, or several of four."""
    network = bench.network
    session = bench.session(network, bench.task(network))
    session.import_weights(data.tensors(network))
    handle = session.put(data.stored(network, COUNT), None)
    scaling = data.scaling(network)
    large, small = (
        session.predict(handle, plans.eval_plan(COUNT, size, scaling)) for size in (COUNT, 4)
    )
    agree(small, large, bench.rounding, "predictions")


def test_forward_is_predict(bench: Bench) -> None:
    """In evaluation mode ``forward`` returns what ``predict`` does."""
    network = bench.network
    session = bench.session(network, bench.task(network))
    session.import_weights(data.tensors(network))
    handle = session.put(data.stored(network, COUNT), None)
    plan = plans.eval_plan(COUNT, 8, data.scaling(network))
    seen = session.forward(handle, plan, training=False)
    agree(session.predict(handle, plan), seen, bench.rounding, "predictions")


def test_first_of_equals(bench: Bench) -> None:
    """Where every class is as likely, class 0 is the prediction, and the loss is log C."""
    network = bench.network
    session = bench.session(network, bench.task(network))
    given = data.tensors(network)
    head = network.nodes[-1].name
    for name in (f"{head}.weight", f"{head}.bias"):
        given[name] = np.zeros_like(given[name])
    session.import_weights(given)
    y = data.labels(network, COUNT)
    assert y is not None
    handle = session.put(data.stored(network, COUNT), y)
    sums = session.evaluate(handle, plans.eval_plan(COUNT, 8, data.scaling(network)))
    assert sums.correct == int((y == 0).sum())
    assert sums.loss == pytest.approx(COUNT * np.log(network.classes), rel=bench.rounding)


@pytest.mark.parametrize(
    "method", ["gradients", "forward", "training_forward", "evaluate", "predict", "activations"]
)
def test_looking_changes_nothing(bench: Bench, method: str) -> None:
    """Neither weights, statistics nor slots, nor the bits of the step that follows."""
    network, rule = bench.network, bench.rule()
    session = bench.session(network, bench.task(network))
    x = data.stored(network, 24)
    handle = session.put(x, data.labels(network, 24))
    first, second = (
        plans.steps(network, plans.batches(2, 1, 8, 24, seed=seed), x, rule=rule) for seed in (1, 2)
    )
    plan = plans.eval_plan(24, 8, data.scaling(network))
    ends = []
    for look in (False, True):
        session.import_weights(data.tensors(network))
        session.train_steps(handle, first).result()
        before = _state(session)
        if look:
            if method == "gradients":
                session.gradients(handle, second)
            elif method == "forward":
                session.forward(handle, plan, training=False)
            elif method == "training_forward":
                session.forward(handle, plan, training=True)
            elif method == "activations":
                session.activations(handle, plan, training=True)
            elif method == "evaluate":
                session.evaluate(handle, plan)
            else:
                session.predict(handle, plan)
            assert _state(session) == before
        losses = session.train_steps(handle, second).result().losses
        ends.append((losses.tobytes(), _state(session)))
    assert ends[0] == ends[1]


def _state(session: Session) -> list[str]:
    """Return the fingerprints of weights and slots."""
    weights = session.export_weights()
    slots = session.export_optimizer()
    return [fingerprint(weights), *(fingerprint(own) for own in slots.values())]


def test_unlabelled_data_is_only_predicted(bench: Bench) -> None:
    """Without labels there is nothing to evaluate or to train on, and that is said."""
    network = bench.network
    session = bench.session(network, bench.task(network))
    session.import_weights(data.tensors(network))
    x = data.stored(network, 8)
    handle = session.put(x, None)
    scaling = data.scaling(network)
    assert len(session.predict(handle, plans.eval_plan(8, 4, scaling))) == 8
    with pytest.raises(DataError, match="labels"):
        session.evaluate(handle, plans.eval_plan(8, 4, scaling))
    plan = plans.steps(network, plans.batches(1, 1, 4, 8), x, rule=bench.rule())
    with pytest.raises(DataError, match="labels"):
        session.train_steps(handle, plan).result()
