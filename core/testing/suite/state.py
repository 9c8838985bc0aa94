"""Weights and optimizer state go in and come out unchanged, and nothing goes in by half."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from paribus.adapter import Array, Session
from paribus.errors import WeightsError
from paribus.optimizers import RULES
from paribus.testing import data, plans
from paribus.testing.bench import Bench
from paribus.testing.networks import LARGE, NETWORKS
from paribus.weights import fingerprint

COUNT = 24


def _slots(session: Session) -> dict[str, str]:
    return {slot: fingerprint(own) for slot, own in session.export_optimizer().items()}


def _dtype(precision: str) -> type[np.floating]:
    return np.float64 if precision == "float64" else np.float32


def _train(bench: Bench, session: Session, steps: int, rule: str, first_step: int = 1) -> None:
    network = bench.network
    x = data.stored(network, COUNT)
    rows = plans.batches(steps, 1, 8, COUNT, seed=first_step)
    plan = plans.steps(network, rows, x, rule=rule, first_step=first_step)
    session.train_steps(session.put(x, data.labels(network, COUNT)), plan).result()


@pytest.mark.parametrize("network", [*(n for n in NETWORKS if n not in LARGE), "mobilenet_v2"])
def test_round_trip(bench: Bench, network: str) -> None:
    """Canonical names in canonical order, shapes, dtypes, and every bit of the values."""
    own = NETWORKS[network]
    session = bench.session(own, bench.task(own))
    dtype = _dtype(bench.precision)
    given = {name: array.astype(dtype) for name, array in data.tensors(own).items()}
    session.import_weights(given)
    back = session.export_weights()
    assert list(back) == list(own.tensors)
    assert {array.dtype for array in back.values()} == {np.dtype(dtype)}
    assert fingerprint(back) == fingerprint(given)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_rounded_once(bench: Bench, precision: str) -> None:
    """Parameters are float32 in both precisions, rounded from what is given and no further."""
    network = bench.network
    given = data.tensors(network)
    with bench.open(network, bench.task(network), precision) as session:
        session.import_weights(given)
        back = session.export_weights()
    rounded = {name: array.astype(np.float32) for name, array in given.items()}
    assert fingerprint(back) == fingerprint(rounded)


def test_exports_copies(bench: Bench) -> None:
    """What was exported does not move when training goes on; what was imported is not changed."""
    network, rule = bench.network, bench.rule()
    session = bench.session(network, bench.task(network))
    given = data.tensors(network)
    before = fingerprint(given)
    session.import_weights(given)
    exported, state = session.export_weights(), session.export_optimizer()
    kept = fingerprint(exported)
    _train(bench, session, 2, rule)
    assert fingerprint(given) == before
    assert fingerprint(exported) == kept
    assert not any(array.any() for own in state.values() for array in own.values())
    assert fingerprint(session.export_weights()) != kept


def test_imports_nothing_unfitting(bench: Bench) -> None:
    """Missing, extra and misshapen tensors are listed together, and the weights stay."""
    network = bench.network
    session = bench.session(network, bench.task(network))
    given = data.tensors(network)
    session.import_weights(given)
    before = fingerprint(session.export_weights())
    missing, misshapen, *_ = list(given)
    wrong: dict[str, Array] = {name: array for name, array in given.items() if name != missing}
    wrong["no.such.tensor"] = np.zeros(3)
    wrong[misshapen] = np.zeros((*given[misshapen].shape, 2))
    with pytest.raises(WeightsError) as refused:
        session.import_weights(wrong)
    for word in ("missing", missing, "extra", "no.such.tensor", "misshapen", misshapen):
        assert word in str(refused.value)
    assert fingerprint(session.export_weights()) == before


def test_slots_start_at_zero(bench: Bench) -> None:
    """Importing weights sets the optimizer's state to zero; its names and shapes are canonical."""
    network, rule = bench.network, bench.rule(slots=True)
    session = bench.session(network, plans.task(network, rule))
    session.import_weights(data.tensors(network))
    _train(bench, session, 2, rule)
    moved = session.export_optimizer()
    assert all(array.any() for own in moved.values() for array in own.values())
    session.import_weights(data.tensors(network))
    state = session.export_optimizer()
    assert list(state) == list(RULES[rule].slots)
    for own in state.values():
        assert list(own) == list(network.trainable("none"))
        for name, array in own.items():
            assert array.shape == network.tensors[name].shape
            assert array.dtype == _dtype(bench.precision)
            assert not array.any()


def test_goes_on(bench: Bench) -> None:
    """Stopped, exported, imported into a new session: the same bits as without the stop."""
    network, rule = bench.network, bench.rule(slots=True)
    task = plans.task(network, rule)
    session = bench.session(network, task)
    session.import_weights(data.tensors(network))
    _train(bench, session, 2, rule)
    middle, state = session.export_weights(), session.export_optimizer()
    _train(bench, session, 2, rule, first_step=3)
    end, end_state = fingerprint(session.export_weights()), _slots(session)
    with bench.open(network, task) as other:
        other.import_weights(middle)
        other.import_optimizer(state)
        assert _slots(other) == {slot: fingerprint(own) for slot, own in state.items()}
        _train(bench, other, 2, rule, first_step=3)
        assert fingerprint(other.export_weights()) == end
        assert _slots(other) == end_state


def test_imports_no_unfitting_slots(bench: Bench) -> None:
    """A slot or a tensor too few, too many or misshapen is named, and the state stays."""
    network, rule = bench.network, bench.rule(slots=True)
    session = bench.session(network, plans.task(network, rule))
    session.import_weights(data.tensors(network))
    _train(bench, session, 1, rule)
    state, before = session.export_optimizer(), _slots(session)
    slot, name = next(iter(state)), network.trainable("none")[0]
    without = {key: array for key, array in state[slot].items() if key != name}
    wrong: list[tuple[str, Mapping[str, Mapping[str, Array]]]] = [
        (slot, {key: own for key, own in state.items() if key != slot}),
        ("no_such_slot", {**state, "no_such_slot": state[slot]}),
        (name, {**state, slot: without}),
        (name, {**state, slot: {**state[slot], name: np.zeros(2)}}),
    ]
    for word, slots in wrong:
        with pytest.raises(WeightsError) as refused:
            session.import_optimizer(slots)
        assert word in str(refused.value)
        assert _slots(session) == before


def test_no_slots(bench: Bench) -> None:
    """A rule without state has none to export, and takes none."""
    network = bench.network
    task = plans.task(network, "sgd")
    session = bench.session(network, task)
    session.import_weights(data.tensors(network))
    assert session.export_optimizer() == {}
    session.import_optimizer({})
