"""Texts on every backend: many steps, and the published sizes, agree with each other."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from labs import PROMISED, Lab

from paribus import reference
from paribus.architectures import Network, build

NETWORKS = {
    "bert": cases.BERT,
    "mean bert": cases.MEAN_BERT,
    "masked bert": cases.MASKED_BERT,
    "gpt2": cases.GPT2,
    "causal gpt2": cases.CAUSAL_GPT2,
    "regression": build("bert", cases.WORDS, (cases.LENGTH,), 2, "regression"),
}
FIRST, *OTHERS = PROMISED


def _labels(network: Network, x: cases.Array) -> cases.Array | None:
    return None if network.objective.endswith("lm") else cases.labels(network, len(x))


# Two steps of every network and four by AdamW are golden scenes of the conformance suite.
TWENTY = {"masked bert adamw", "causal gpt2 sgd_momentum"}
CROSSED = [f"{name} {rule}" for name in NETWORKS for rule in ("sgd_momentum", "adamw")]


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case in TWENTY else [pytest.mark.full]) for case in CROSSED],
)
def test_twenty_steps_agree(labs: dict[str, Lab], case: str) -> None:
    name, _, rule = case.rpartition(" ")
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
    for other in range(1, len(PROMISED)):
        assert losses[other] == pytest.approx(losses[0], rel=1e-10), PROMISED[other]
        assert cases.distance(weights[other], weights[0]) <= 1e-8, PROMISED[other]


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
@pytest.mark.usefixtures("ended")
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
@pytest.mark.usefixtures("ended")
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
