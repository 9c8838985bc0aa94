"""Texts on every backend: what the definitions say, compared with plain NumPy and each other."""

from __future__ import annotations

from dataclasses import replace

import cases
import numpy as np
import pytest
from labs import PROMISED, Lab

from paribus import draws, reference
from paribus.architectures import Network, build
from paribus.plan import Preprocess

NETWORKS = {
    "bert": cases.BERT,
    "mean bert": cases.MEAN_BERT,
    "masked bert": cases.MASKED_BERT,
    "gpt2": cases.GPT2,
    "causal gpt2": cases.CAUSAL_GPT2,
    "regression": build("bert", cases.WORDS, (cases.LENGTH,), 2, "regression"),
}
# Float64, relative to the largest value.
CLOSE = 1e-12
FIRST, *OTHERS = PROMISED


def _labels(network: Network, x: cases.Array) -> cases.Array | None:
    return None if network.objective.endswith("lm") else cases.labels(network, len(x))


def _expected(network: Network, plan, x, y, smoothing: float = 0.0) -> float:
    """Return the loss of the plan's first step by the definitions."""
    tensors = cases.tensors(network)
    total = 0.0
    for shard, rows in enumerate(plan.indices[0]):
        stored, length = x[rows], network.input_shape[0]
        labels, counts, positions = None, None, None
        inputs = reference.preprocess(stored, plan.preprocess)
        if plan.targets is not None:
            own = plan.targets
            inputs, positions = own.tokens[0, shard], own.positions[0, shard]
            labels, counts = own.labels[0, shard], own.counts[0, shard]
        elif network.objective == "causal_lm":
            labels = stored[:, 1 : length + 1].astype(np.int64)
        else:
            labels = y[rows]
        outputs, _ = reference.forward(network, tensors, inputs, positions=positions)
        losses = reference.row_losses(network, outputs, labels, counts, smoothing)
        total += float((plan.weights[0, shard] * losses).sum())
    return total


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("pairs", [False, True])
def test_outputs_are_those_of_the_definition(lab: Lab, name: str, pairs: bool) -> None:
    network = NETWORKS[name]
    if pairs and (network.architecture == "gpt2" or network.objective == "masked_lm"):
        pairs = False
    tensors = cases.tensors(network)
    session = lab.session(network, cases.task(network))
    session.import_weights(tensors)
    x = cases.texts(network, 9, pairs=pairs)
    plan = cases.eval_plan(9, 4, cases.scaling(network))
    found = session.predict(session.put(x, None), plan)
    expected, _ = reference.forward(network, tensors, reference.preprocess(x, plan.preprocess))
    if network.objective in ("masked_lm", "causal_lm"):
        # What stands at padding reaches nobody, and is whatever it is.
        real = reference.preprocess(x, plan.preprocess) >= 0
        found, expected = found[real], expected[real]
    assert cases.distance(found, expected) <= CLOSE


def test_padding_changes_nothing(lab: Lab) -> None:
    """The same texts at their own length and far longer: equal to rounding."""
    for network in (cases.BERT, cases.MEAN_BERT, cases.GPT2):
        session = lab.session(network, cases.task(network))
        session.import_weights(cases.tensors(network))
        x = cases.texts(network, 6)
        x[:, 5:] = -1
        handle = session.put(x, None)
        long = session.predict(handle, cases.eval_plan(6, 6, Preprocess(length=cases.LENGTH)))
        short = session.predict(handle, cases.eval_plan(6, 6, Preprocess(length=5)))
        assert cases.distance(short, long) <= 1e-13


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_has_the_defined_loss_and_gradient(lab: Lab, name: str) -> None:
    """Two shards. The slope is a central difference, one direction per tensor."""
    network = NETWORKS[name]
    tensors = cases.tensors(network)
    session = lab.session(network, cases.task(network))
    session.import_weights(tensors)
    x = cases.texts(network, 8)
    y = _labels(network, x)
    plan = cases.steps(network, cases.batches(1, 2, 3, 8), x)
    loss, gradients = session.gradients(session.put(x, y), plan)
    assert loss == pytest.approx(_expected(network, plan, x, y), rel=CLOSE)
    handle = session.put(x, y)
    for number, (tensor, gradient) in enumerate(gradients.items()):
        if number % 5:
            continue
        direction = draws.normal(5, tensor, 0, gradient.shape)
        ends = []
        for sign in (1, -1):
            session.import_weights({**tensors, tensor: tensors[tensor] + sign * 1e-5 * direction})
            ends.append(session.gradients(handle, plan)[0])
        slope = (ends[0] - ends[1]) / 2e-5
        # Loss near 4 with 16 digits over 2e-5: 1e-10 at best, truncation about as much.
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("rule", ["sgd_momentum", "adamw"])
@pytest.mark.parametrize("name", NETWORKS)
def test_twenty_steps_agree(labs: dict[str, Lab], name: str, rule: str) -> None:
    network = NETWORKS[name]
    x = cases.texts(network, 32)
    rates = list(0.02 * (0.2 + np.sin(np.linspace(0, np.pi, 20))))
    plan = cases.steps(network, cases.batches(20, 1, 8, 32), x, rule=rule, rates=rates)
    losses, weights = [], []
    for backend in (FIRST, *OTHERS):
        session = labs[backend].session(network, cases.task(network, rule))
        session.import_weights(cases.tensors(network))
        handle = session.put(x, _labels(network, x))
        losses.append(session.train_steps(handle, plan).result().losses)
        weights.append(session.export_weights())
    assert len(set(losses[0])) == 20
    for other in (1, 2):
        assert losses[other] == pytest.approx(losses[0], rel=1e-10)
        assert cases.distance(weights[other], weights[0]) <= 1e-8


@pytest.mark.parametrize("name", NETWORKS)
def test_an_evaluation_sums_what_the_definitions_say(lab: Lab, name: str) -> None:
    network = NETWORKS[name]
    tensors = cases.tensors(network)
    session = lab.session(network, cases.task(network))
    session.import_weights(tensors)
    x = cases.texts(network, 7)
    y = _labels(network, x)
    plan = cases.eval_plan(7, 3, cases.scaling(network))
    inputs = reference.preprocess(x, plan.preprocess)
    labels, counts, positions, predictions = y, None, None, 7
    if network.objective == "masked_lm":
        own = cases.targets(network, x, plan.indices)
        plan = replace(plan, targets=own)
        flat = [array.reshape(9, *array.shape[2:])[:7] for array in vars(own).values()]
        inputs, positions, labels, counts = flat
        predictions = int(counts.sum())
    elif network.objective == "causal_lm":
        labels, predictions = x[:, 1:].astype(np.int64), 7 * cases.LENGTH
    sums = session.evaluate(session.put(x, y), plan)
    outputs, _ = reference.forward(network, tensors, inputs, positions=positions)
    losses = reference.row_losses(network, outputs, labels, counts)
    assert sums.loss == pytest.approx(losses.sum(), rel=CLOSE)
    assert sums.predictions == predictions
    if network.objective == "regression":
        assert sums.correct == 0
        return
    hits = outputs.argmax(axis=-1) == labels
    if counts is not None:
        hits &= np.arange(labels.shape[1]) < counts[:, None]
    assert sums.correct == hits.sum()


def test_label_smoothing_is_the_published_one(lab: Lab) -> None:
    network = cases.CNN
    session = lab.session(network, cases.task(network, label_smoothing=0.1))
    tensors = cases.tensors(network)
    session.import_weights(tensors)
    x, y = cases.stored(network, 8), cases.labels(network, 8)
    plan = cases.train_plan(cases.batches(1, 1, 8, 8))
    rows = plan.indices[0, 0]
    inputs = reference.preprocess(x[rows], plan.preprocess)
    outputs, _ = reference.forward(network, tensors, inputs, training=True)
    expected = reference.row_losses(network, outputs, y[rows], smoothing=0.1).mean()
    loss, _ = session.gradients(session.put(x, y), plan)
    assert loss == pytest.approx(expected, rel=CLOSE)


PUBLISHED = {
    "bert": build("bert", {"vocabulary": 30522}, (64,), 3),
    "masked bert": build("bert", {"vocabulary": 30522}, (64,), 30522, "masked_lm"),
    "gpt2": build("gpt2", {"vocabulary": 50257}, (64,), 3),
    "causal gpt2": build("gpt2", {"vocabulary": 50257}, (64,), 50257, "causal_lm"),
}
SIZES = {"vocabulary": 8192, "positions": 128, "layers": 4, "heads": 4, "hidden": 256,
         "intermediate": 1024}  # fmt: skip
MEDIUM = {
    "bert": build("bert", SIZES, (128,), 4),
    "masked bert": build("bert", SIZES, (128,), 8192, "masked_lm"),
    "causal gpt2": build("gpt2", SIZES, (128,), 8192, "causal_lm"),
}


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_agree(labs: dict[str, Lab], name: str) -> None:
    network = PUBLISHED[name]
    tensors = cases.tensors(network)
    x = cases.texts(network, 3)
    plan = cases.eval_plan(3, 3, cases.scaling(network))
    real = reference.preprocess(x, plan.preprocess) >= 0
    outputs = []
    for backend in (FIRST, *OTHERS):
        with labs[backend].open(network, cases.task(network, "sgd")) as session:
            session.import_weights(tensors)
            found = session.predict(session.put(x, None), plan)
            outputs.append(found[real] if found.ndim == 3 else found)
    assert cases.distance(outputs[1], outputs[0]) <= 1e-10
    assert cases.distance(outputs[2], outputs[0]) <= 1e-10


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", MEDIUM)
def test_full_size_training_agrees(labs: dict[str, Lab], name: str) -> None:
    network = MEDIUM[name]
    x = cases.texts(network, 64)
    rates = list(0.002 * (0.2 + np.sin(np.linspace(0, np.pi, 20))))
    plan = cases.steps(network, cases.batches(20, 1, 8, 64), x, rule="adamw", rates=rates)
    losses = []
    for backend in (FIRST, *OTHERS):
        with labs[backend].open(network, cases.task(network, "adamw")) as session:
            session.import_weights(cases.tensors(network))
            handle = session.put(x, _labels(network, x))
            losses.append(session.train_steps(handle, plan).result().losses)
    assert len(set(losses[0])) == 20
    for other in (1, 2):
        assert losses[other] == pytest.approx(losses[0], rel=1e-8)
