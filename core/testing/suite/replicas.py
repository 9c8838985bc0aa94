"""Many trainings as one computation are what sessions of their own would have made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from paribus import noise
from paribus.adapter import Task
from paribus.architectures import Network, build
from paribus.optimizers import RULES
from paribus.plan import StepResults, TrainPlan
from paribus.replicas import Replicas
from paribus.testing import data, plans
from paribus.testing.bench import Bench, not_claimed
from paribus.testing.closeness import agree
from paribus.testing.networks import NETWORKS
from paribus.weights import fingerprint

COUNT, REPLICAS, STEPS = 24, 3, 5
# Hidden layers that drop, of an odd width; tanh; numbers instead of classes; images; convolutions.
OWN: Mapping[str, Network] = {
    "dropped_mlp": NETWORKS["dropped_mlp"],
    "mlp": NETWORKS["mlp"],
    "mlp_regression": NETWORKS["mlp_regression"],
    "image_mlp": build("mlp", {"hidden": [9]}, (2, 4, 5), 3),
    "cnn": build("cnn", {"channels": [3, 4], "hidden": 5, "dropout": 0.4}, (2, 8, 6), 3),
    "averaged_cnn": build(
        "cnn", {"channels": [4], "batch_norm": False, "pooling": "average"}, (1, 6, 6), 3
    ),
}


@pytest.mark.parametrize("rule", list(RULES))
def test_rules(bench: Bench, rule: str) -> None:
    """Orders, rates, decay, limits of the norm, masks and weights of their own; two shards."""
    _require(bench, OWN["dropped_mlp"], rule)
    _compare(bench, OWN["dropped_mlp"], rule, shards=2, clips=True, norms=True)


@pytest.mark.parametrize("network", list(OWN))
def test_networks(bench: Bench, network: str) -> None:
    """Free or with a body that is frozen; classes with smoothed labels."""
    own, rule = OWN[network], bench.rule()
    _require(bench, own, rule)
    smoothing = 0.1 if own.objective == "classification" else 0.0
    for freeze in ("none", "body"):
        _compare(bench, own, rule, freeze=freeze, shards=1, label_smoothing=smoothing)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_independent(bench: Bench, name: str) -> None:
    """No bit depends on who is beside: others that diverge, or nobody."""
    network, rule = OWN[name], bench.rule(slots=True)
    _require(bench, network, rule)
    task = bench.task(network)
    given = _plans(network, rule, 1, task)
    wild = replace(given[1], scalars=given[1].scalars | {"learning_rate": np.full(STEPS, np.inf)})
    if "step_size" in wild.scalars:
        wild.scalars["step_size"] = np.full(STEPS, np.inf)
    found = []
    for own in (given, {**given, 1: wild}, {0: given[0], 2: given[2]}, {2: given[2]}):
        with _open(bench, network, task) as replicas:
            handle = _begin(replicas, network)
            losses = replicas.train_steps(handle, own)
            found.append((_bits(replicas, 2), losses[2].losses.tobytes()))
            if own.get(1) is wild:
                assert not np.isfinite(losses[1].losses).all()
    assert len(set(found)) == 1


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_shapes(bench: Bench, name: str) -> None:
    """Asked together, looks of other lengths, and steps with other padding, are each its own."""
    network, rule = OWN[name], bench.rule(slots=True)
    _require(bench, network, rule)
    task = bench.task(network)
    given = _plans(network, rule, 2, task)
    looks = {
        replica: replace(
            plans.eval_plan(COUNT - 3 * replica, 8 - replica), preprocess=data.scaling(network)
        )
        for replica in range(REPLICAS)
    }
    with _open(bench, network, task) as replicas:
        handle = _begin(replicas, network)
        losses, found = replicas.train_steps(handle, given), replicas.predict(handle, looks)
        whole = {r: (_bits(replicas, r), losses[r].losses.tobytes()) for r in given}
        for replica in range(REPLICAS):
            alone = replicas.predict(handle, {replica: looks[replica]})[replica]
            assert found[replica].shape == alone.shape
            assert found[replica].tobytes() == alone.tobytes()
    for replica, plan in given.items():
        with _open(bench, network, task) as replicas:
            own = replicas.train_steps(_begin(replicas, network), {replica: plan})[replica]
            assert whole[replica] == (_bits(replicas, replica), own.losses.tobytes())


def test_state(bench: Bench) -> None:
    """Stopped after some steps and gone on with from what was exported: the same bits."""
    network, rule = OWN["dropped_mlp"], bench.rule(slots=True)
    _require(bench, network, rule)
    task = bench.task(network)
    whole = _plans(network, rule, 1, task)
    parts = [{r: _cut(plan, part) for r, plan in whole.items()} for part in _HALVES]
    with _open(bench, network, task) as replicas:
        replicas.train_steps(_begin(replicas, network), whole)
        expected = [_bits(replicas, r) for r in range(REPLICAS)]
        handle = _begin(replicas, network)
        replicas.train_steps(handle, parts[0])
        kept = [(replicas.export_weights(r), replicas.export_optimizer(r)) for r in range(REPLICAS)]
        assert [list(weights) for weights, _ in kept] == [list(network.tensors)] * REPLICAS
    with _open(bench, network, task) as replicas:
        handle = _begin(replicas, network)
        for r, (tensors, slots) in enumerate(kept):
            replicas.import_weights(r, tensors)
            replicas.import_optimizer(r, slots)
        replicas.train_steps(handle, parts[1])
        assert [_bits(replicas, r) for r in range(REPLICAS)] == expected


_HALVES = slice(0, 2), slice(2, STEPS)


def _cut(plan: TrainPlan, part: slice) -> TrainPlan:
    scalars = {name: values[part] for name, values in plan.scalars.items()}
    drawn = None if plan.noise is None else plan.noise[part]
    return replace(
        plan, indices=plan.indices[part], counts=plan.counts[part], weights=plan.weights[part],
        scalars=scalars, noise=drawn,
    )  # fmt: skip


def _require(bench: Bench, network: Network, rule: str) -> None:
    bench.require(network, rule, bench.precision)
    missing = network.operations - bench.descriptor.capabilities.replicated
    if missing:
        not_claimed(f"replicas of operation {', '.join(sorted(missing))}")


def _open(bench: Bench, network: Network, task: Task) -> Replicas:
    precision: Any = bench.precision
    return bench.backend.open_replicas(
        network, task, REPLICAS, device=bench.device, precision=precision, numerics="strict"
    )


def _begin(replicas: Replicas, network: Network) -> Any:
    for replica in range(REPLICAS):
        replicas.import_weights(replica, data.tensors(network, replica))
    return replicas.put(data.stored(network, COUNT), data.labels(network, COUNT))


def _plans(network: Network, rule: str, shards: int, task: Task) -> dict[int, TrainPlan]:
    """Return plans that differ in everything but their shapes."""
    found = {}
    for replica in range(REPLICAS):
        rows = plans.batches(STEPS, shards, 5, COUNT, seed=replica)
        # In two shards the second one has a row of padding, in some replicas two.
        counts = None if shards == 1 else [[5, 4 - replica % 2]] * STEPS
        plan = plans.train_plan(
            rows,
            rule,
            rates=[0.02 * (1 + replica) / (1 + k) for k in range(STEPS)],
            counts=counts,
            clip_norm=0.4 + 0.3 * replica if task.clips else None,
            preprocess=data.scaling(network),
            values=plans.HYPERPARAMETERS | {"weight_decay": 0.05 * replica},
        )
        if network.noisy:
            keys = noise.keys(replica, "replicas", 0, STEPS, len(network.noisy))
            plan = replace(plan, noise=keys)
        found[replica] = plan
    return found


def _compare(
    bench: Bench, network: Network, rule: str, *, shards: int, freeze: str = "none", **options: Any
) -> None:
    """Require of each replica what a session of its own does with the same plan."""
    task = plans.task(network, rule, freeze, **options)
    given, looks = _plans(network, rule, shards, task), plans.eval_plan(COUNT - 3, 8)
    looks = replace(looks, preprocess=data.scaling(network))
    with _open(bench, network, task) as replicas:
        handle = _begin(replicas, network)
        steps = replicas.train_steps(handle, given)
        outputs = replicas.predict(handle, dict.fromkeys(range(REPLICAS), looks))
        found = [
            _state(replicas.export_weights(r), replicas.export_optimizer(r), steps[r])
            | {"outputs": outputs[r]}
            for r in range(REPLICAS)
        ]
    session = bench.session(network, task)
    handle = session.put(data.stored(network, COUNT), data.labels(network, COUNT))
    for replica, plan in given.items():
        session.import_weights(data.tensors(network, replica))
        alone = session.train_steps(handle, plan).result()
        own = _state(session.export_weights(), session.export_optimizer(), alone)
        own["outputs"] = session.predict(handle, looks)
        agree(found[replica], own, bench.rounding, f"replica {replica}")


def _state(weights: Any, slots: Any, steps: StepResults) -> dict[str, Any]:
    found = {**weights, "losses": steps.losses}
    if steps.gradient_norms is not None:
        found["norms"] = steps.gradient_norms
    return found | {f"{s}/{n}": array for s, own in slots.items() for n, array in own.items()}


def _bits(replicas: Replicas, replica: int) -> str:
    return fingerprint(_state(replicas.export_weights(replica),
                              replicas.export_optimizer(replica), _NOTHING))  # fmt: skip


_NOTHING = StepResults(np.zeros(0), None)
