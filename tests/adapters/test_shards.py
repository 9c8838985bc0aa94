"""A batch in S shards is one arithmetic, and rows that are padding take no part in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cases
import numpy as np
import pytest
from labs import Lab

from paribus import reference
from paribus.adapter import Session
from paribus.architectures import Network
from paribus.errors import Unsupported

# Sums of the same float64 numbers in another order.
CLOSE = 1e-12
NETWORKS = {"batch_norm": cases.CNN, "plain": cases.PLAIN}


def _ready(lab: Lab, network: Network) -> tuple[Session, Any]:
    session = lab.session(network, cases.task(network))
    session.import_weights(cases.tensors(network))
    return session, session.put(cases.stored(network, 32), cases.labels(network, 32))


@pytest.mark.parametrize("kind", NETWORKS)
def test_four_shards_are_the_sum_of_their_gradients(lab: Lab, kind: str) -> None:
    session, handle = _ready(lab, NETWORKS[kind])
    rows = cases.batches(1, 4, 4, 32)
    plan = cases.train_plan(rows)
    loss, gradients = session.gradients(handle, plan)
    parts = [
        session.gradients(
            handle,
            replace(
                plan,
                indices=rows[:, s : s + 1],
                counts=plan.counts[:, s : s + 1],
                weights=plan.weights[:, s : s + 1],
            ),
        )
        for s in range(4)
    ]
    assert loss == pytest.approx(sum(part[0] for part in parts), rel=CLOSE)
    total = {name: sum(part[1][name] for part in parts) for name in gradients}
    assert cases.distance(gradients, total) <= CLOSE


def test_without_batch_norm_the_number_of_shards_changes_nothing(lab: Lab) -> None:
    session, handle = _ready(lab, cases.PLAIN)
    rows = cases.batches(1, 4, 4, 32)
    loss, gradients = session.gradients(handle, cases.train_plan(rows))
    whole = cases.train_plan(rows.reshape(1, 1, 16))
    one_loss, one = session.gradients(handle, whole)
    assert loss == pytest.approx(one_loss, rel=CLOSE)
    assert cases.distance(gradients, one) <= CLOSE


def test_a_trained_step_of_shards_uses_the_summed_gradient(lab: Lab) -> None:
    session, handle = _ready(lab, cases.CNN)
    plan = cases.train_plan(cases.batches(1, 4, 4, 32), rates=[0.5])
    w = session.export_weights()
    loss, gradients = session.gradients(handle, plan)
    losses = session.train_steps(handle, plan).result().losses
    assert losses == pytest.approx([loss], rel=CLOSE)
    new = session.export_weights()
    decayed = cases.task(cases.CNN).decayed
    for name, g in gradients.items():
        decay = cases.HYPERPARAMETERS["weight_decay"] * w[name] if name in decayed else 0.0
        assert cases.distance(new[name], w[name] - 0.5 * (g + decay)) <= CLOSE, name


def test_statistics_are_updated_shard_by_shard(lab: Lab) -> None:
    session, handle = _ready(lab, cases.CNN)
    plan = cases.train_plan(cases.batches(1, 3, 4, 32))
    tensors, x = cases.tensors(cases.CNN), cases.stored(cases.CNN, 32)
    for shard in plan.indices[0]:
        inputs = reference.preprocess(x[shard], plan.preprocess)
        _, statistics = reference.forward(cases.CNN, tensors, inputs, training=True)
        tensors |= statistics
    session.train_steps(handle, plan).result()
    after = session.export_weights()
    for name in statistics:
        assert cases.distance(after[name], tensors[name]) <= CLOSE, name


@pytest.mark.parametrize("kind", NETWORKS)
def test_padding_rows_change_nothing(lab: Lab, kind: str) -> None:
    """Shards of 5 and 3 real rows among 6 places; other rows as padding; no padding at all."""
    network = NETWORKS[kind]
    rows = cases.batches(2, 2, 6, 32)
    counts = np.array([[5, 3], [6, 2]])
    others = np.where(np.arange(6) < counts[:, :, None], rows, 31)
    outcomes = []
    for indices in (rows, others):
        session, handle = _ready(lab, network)
        results = session.train_steps(handle, cases.train_plan(indices, counts=counts)).result()
        outcomes.append((results.losses, session.export_weights()))
    assert np.array_equal(outcomes[0][0], outcomes[1][0])
    assert cases.distance(outcomes[0][1], outcomes[1][1]) == 0.0

    session, handle = _ready(lab, network)
    ragged, _ = session.gradients(handle, cases.train_plan(rows[:1], counts=counts[:1]))
    padded = session.gradients(handle, cases.train_plan(rows[:1], counts=counts[:1]))[1]
    parts = []
    for shard, count in enumerate(counts[0]):
        exact = cases.train_plan(rows[:1, shard : shard + 1, :count])
        share = count / counts[0].sum()
        loss, gradients = session.gradients(handle, exact)
        parts.append((share * loss, {name: share * g for name, g in gradients.items()}))
    assert ragged == pytest.approx(parts[0][0] + parts[1][0], rel=CLOSE)
    total = {name: parts[0][1][name] + parts[1][1][name] for name in padded}
    assert cases.distance(padded, total) <= CLOSE


def test_padding_rows_do_not_enter_the_statistics(lab: Lab) -> None:
    network = cases.CNN
    rows = cases.batches(1, 1, 6, 32)
    ends = []
    for indices, counts in ((rows, [[4]]), (rows[:, :, :4], [[4]])):
        session, handle = _ready(lab, network)
        session.train_steps(handle, cases.train_plan(indices, counts=counts)).result()
        ends.append(session.export_weights())
    assert cases.distance(ends[0], ends[1]) <= CLOSE


def test_one_value_per_channel_has_no_variance_and_is_refused(lab: Lab) -> None:
    """ResNet-18 ends in 1×1 maps on 32×32 images; one example leaves BatchNorm one value."""
    network = cases.RESNET
    session = lab.session(network, cases.task(network))
    session.import_weights(cases.tensors(network))
    handle = session.put(cases.stored(network, 4), cases.labels(network, 4))
    scaling = cases.scaling(network)
    plan = cases.train_plan([[[0, 1], [2, 2]]], counts=[[2, 1]], preprocess=scaling)
    with pytest.raises(Unsupported, match="one example"):
        session.train_steps(handle, plan).result()


def test_one_example_is_enough_where_batch_norm_is_frozen(lab: Lab) -> None:
    network = cases.CNN
    session = lab.session(network, cases.task(network, freeze="body"))
    session.import_weights(cases.tensors(network))
    handle = session.put(cases.stored(network, 4), cases.labels(network, 4))
    parts = [session.gradients(handle, cases.train_plan([[[row]]]))[0] for row in (0, 1)]
    losses = session.train_steps(handle, cases.train_plan([[[0], [1]]])).result().losses
    assert losses == pytest.approx([sum(parts) / 2], rel=CLOSE)
