"""Identities that any right arithmetic has, and the constants that frameworks differ in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paribus import reference
from paribus.adapter import Session
from paribus.architectures import Network
from paribus.errors import Unsupported
from paribus.plan import Preprocess, TrainPlan
from paribus.testing import data, plans
from paribus.testing.bench import Bench
from paribus.testing.closeness import agree
from paribus.testing.networks import NETWORKS

COUNT = 32
CASES = ["mlp", "cnn", "bert"]
EMBEDDINGS = {
    "conv2d", "class_token", "position_embedding",
    "token_embedding", "segment_embedding", "token_positions",
}  # fmt: skip
# Ends in maps of one pixel: there BatchNorm sees one value per channel and example.
POINTWISE = NETWORKS["mobilenet_v2"]


def _ready(bench: Bench, network: Network) -> tuple[Session, object]:
    session = bench.session(network, bench.task(network))
    session.import_weights(data.tensors(network))
    return session, session.put(data.stored(network, COUNT), data.labels(network, COUNT))


def _plan(bench: Bench, network: Network, rows: object, **options: object) -> TrainPlan:
    x = data.stored(network, COUNT)
    return plans.steps(network, rows, x, rule=bench.rule(), **options)


@pytest.mark.parametrize("network", CASES)
def test_shards_are_summed(bench: Bench, network: str) -> None:
    """The gradient of four shards is the sum of each one's."""
    own = NETWORKS[network]
    session, handle = _ready(bench, own)
    plan = _plan(bench, own, plans.batches(1, 4, 4, COUNT))
    loss, gradients = session.gradients(handle, plan)
    parts = [
        session.gradients(
            handle,
            replace(
                plan,
                indices=plan.indices[:, s : s + 1],
                counts=plan.counts[:, s : s + 1],
                weights=plan.weights[:, s : s + 1],
            ),
        )
        for s in range(4)
    ]
    assert loss == pytest.approx(sum(part[0] for part in parts), rel=bench.rounding)
    total = {name: np.sum([part[1][name] for part in parts], axis=0) for name in gradients}
    agree(gradients, total, bench.rounding, "gradient of four shards")


@pytest.mark.parametrize("network", ["mlp", "plain", "bert"])
def test_shards_make_no_difference(bench: Bench, network: str) -> None:
    """Without BatchNorm, four shards of four rows are one of sixteen."""
    own = NETWORKS[network]
    session, handle = _ready(bench, own)
    rows = plans.batches(1, 4, 4, COUNT)
    loss, gradients = session.gradients(handle, _plan(bench, own, rows))
    one_loss, one = session.gradients(handle, _plan(bench, own, rows.reshape(1, 1, 16)))
    assert loss == pytest.approx(one_loss, rel=bench.rounding)
    agree(gradients, one, bench.rounding, "gradient of four shards")


@pytest.mark.parametrize("network", CASES)
def test_padding_has_no_influence(bench: Bench, network: str) -> None:
    """Whatever stands in padding rows, losses, weights and statistics have the same bits."""
    own = NETWORKS[network]
    rows = plans.batches(2, 2, 6, COUNT)
    counts = np.array([[5, 3], [6, 2]])
    others = np.where(np.arange(6) < counts[:, :, None], rows, 31)
    outcomes = []
    for indices in (rows, others):
        session, handle = _ready(bench, own)
        plan = _plan(bench, own, indices, counts=counts)
        losses = session.train_steps(handle, plan).result().losses
        outcomes.append((losses, session.export_weights()))
    assert outcomes[0][0].tobytes() == outcomes[1][0].tobytes()
    agree(outcomes[0][1], outcomes[1][1], 0.0, "weights after steps with other padding")


@pytest.mark.parametrize("network", CASES)
def test_padding_is_as_if_absent(bench: Bench, network: str) -> None:
    """Four real rows among six places train as four rows do, statistics included."""
    own = NETWORKS[network]
    rows = plans.batches(1, 1, 6, COUNT)
    ends = []
    for indices in (rows, rows[:, :, :4]):
        session, handle = _ready(bench, own)
        session.train_steps(handle, _plan(bench, own, indices, counts=[[4]])).result()
        ends.append(session.export_weights())
    agree(ends[0], ends[1], bench.rounding, "weights after a step with padding")


def test_statistics_follow_each_shard(bench: Bench) -> None:
    """Running statistics after three shards, by the definition, in order."""
    own = NETWORKS["cnn"]
    session, handle = _ready(bench, own)
    plan = _plan(bench, own, plans.batches(1, 3, 4, COUNT))
    tensors, x = data.tensors(own), data.stored(own, COUNT)
    statistics: dict[str, data.Array] = {}
    for shard in plan.indices[0]:
        inputs = reference.preprocess(x[shard], plan.preprocess)
        _, statistics = reference.forward(own, tensors, inputs, training=True)
        tensors |= statistics
    session.train_steps(handle, plan).result()
    after = session.export_weights()
    found = {name: after[name] for name in statistics}
    agree(found, {n: tensors[n] for n in found}, bench.rounding, "statistics after three shards")


def test_one_value_has_no_variance(bench: Bench) -> None:
    """A shard of one example, where BatchNorm sees one value per channel, is refused."""
    session = bench.session(POINTWISE, bench.task(POINTWISE))
    session.import_weights(data.tensors(POINTWISE))
    x = data.stored(POINTWISE, 4)
    handle = session.put(x, data.labels(POINTWISE, 4))
    rows, counts = [[[0, 1], [2, 2]]], [[2, 1]]
    plan = plans.steps(POINTWISE, rows, x, rule=bench.rule(), counts=counts)
    with pytest.raises(Unsupported, match="example"):
        session.train_steps(handle, plan).result()


def test_one_example_trains_a_head(bench: Bench) -> None:
    """Where BatchNorm is frozen, shards of one example are as good as any."""
    own = NETWORKS["cnn"]
    task = bench.task(own, "body")
    session = bench.session(own, task)
    session.import_weights(data.tensors(own))
    handle = session.put(data.stored(own, COUNT), data.labels(own, COUNT))
    single = [session.gradients(handle, _plan(bench, own, [[[row]]]))[0] for row in (0, 1)]
    losses = session.train_steps(handle, _plan(bench, own, [[[0], [1]]])).result().losses
    assert losses == pytest.approx([sum(single) / 2], rel=bench.rounding)


def test_unread_scalars_change_nothing(bench: Bench) -> None:
    """A plan may hold scalars that the rule does not read."""
    network = bench.network
    session = bench.session(network, bench.task(network))
    plan = _plan(bench, network, plans.batches(1, 1, 8, COUNT))
    ends = []
    for extra in ({}, {"unheard_of": np.array([0.9])}):
        session, handle = _ready(bench, network)
        full = replace(plan, scalars={**plan.scalars, **extra})
        session.train_steps(handle, full).result()
        ends.append(session.export_weights())
    agree(ends[0], ends[1], 0.0, "weights after a step with another scalar")


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_batch_norm_s_epsilon(bench: Bench, mode: str) -> None:
    """Inputs with a variance near 1e-5: an ε that is 0.1 % off is 5e-5 in the outputs."""
    own, training = NETWORKS["cnn"], mode == "training"
    tensors = data.tensors(own)
    for name in ("conv0.weight", "bn0.running_mean"):
        tensors[name] = tensors[name] * 1e-3
    tensors["bn0.running_var"] = tensors["bn0.running_var"] * 1e-5
    _outputs_agree(bench, own, tensors, training=training)


@pytest.mark.parametrize("network", ["vit", "bert", "gpt2"])
def test_layer_norm_s_epsilon(bench: Bench, network: str) -> None:
    """Tokens with a variance near 1e-5, where the ε of each architecture decides."""
    own = NETWORKS[network]
    tensors = data.tensors(own)
    for name, tensor in own.tensors.items():
        if own.node[tensor.node].op in EMBEDDINGS and tensor.role != "norm":
            tensors[name] = tensors[name] * 1e-3
    _outputs_agree(bench, own, tensors, training=False)


@pytest.mark.parametrize("network", ["bert", "mean_bert", "gpt2"])
def test_padded_tokens_change_nothing(bench: Bench, network: str) -> None:
    """The same texts at their own length and far longer."""
    own = NETWORKS[network]
    session = bench.session(own, bench.task(own))
    session.import_weights(data.tensors(own))
    x = data.stored(own, 6)
    x[:, 5:] = -1
    handle = session.put(x, None)
    long, short = (
        session.predict(handle, plans.eval_plan(6, 6, Preprocess(length=length)))
        for length in (own.input_shape[0], 5)
    )
    agree(short, long, bench.rounding, "outputs of padded texts")


def _outputs_agree(
    bench: Bench, network: Network, tensors: dict[str, data.Array], *, training: bool
) -> None:
    session = bench.session(network, bench.task(network))
    session.import_weights(tensors)
    x = data.stored(network, 16)
    plan = plans.eval_plan(16, 16, data.scaling(network))
    outputs = session.forward(session.put(x, None), plan, training=training)
    inputs = reference.preprocess(x, plan.preprocess)
    expected, _ = reference.forward(network, tensors, inputs, training=training)
    # Small numbers are normalised: rounding of float32 is a thousand times larger than elsewhere.
    agree(outputs, expected, 1e-10 if bench.precision == "float64" else 1e-5, "outputs")
