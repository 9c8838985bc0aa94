"""Weights and optimizer state go in and come out unchanged, and nothing goes in by half."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from labs import Lab

from paribus import weights
from paribus.errors import WeightsError
from paribus.optimizers import RULES

NETWORKS = {
    "cnn": cases.CNN,
    "plain": cases.PLAIN,
    "mlp": cases.MLP,
    "resnet18": cases.RESNET,
    "vgg11_bn": cases.VGG,
    "mobilenet_v2": cases.MOBILENET,
    "vit": cases.VIT,
    "wide vit": cases.WIDE_VIT,
}


@pytest.mark.parametrize("architecture", NETWORKS)
def test_weights_come_out_as_they_went_in(lab: Lab, architecture: str) -> None:
    network = NETWORKS[architecture]
    given = cases.tensors(network)
    with lab.open(network, cases.task(network)) as session:
        session.import_weights(given)
        back = session.export_weights()
    assert list(back) == list(network.tensors)
    assert all(back[name].dtype == np.float64 for name in back)
    assert weights.fingerprint(back) == weights.fingerprint(given)


def test_weights_are_rounded_to_the_precision_once(lab: Lab) -> None:
    given = cases.tensors(cases.CNN)
    with lab.open(cases.CNN, cases.task(cases.CNN), precision="float32") as session:
        session.import_weights(given)
        back = session.export_weights()
    rounded = {name: array.astype(np.float32) for name, array in given.items()}
    assert weights.fingerprint(back) == weights.fingerprint(rounded)


def test_exported_weights_are_copies(lab: Lab) -> None:
    session = lab.session(cases.CNN, cases.task(cases.CNN))
    session.import_weights(cases.tensors(cases.CNN))
    before = session.export_weights()
    kept = weights.fingerprint(before)
    _train(lab, steps=2)
    assert weights.fingerprint(before) == kept
    assert weights.fingerprint(session.export_weights()) != kept


def test_unfitting_weights_are_listed_and_nothing_is_changed(lab: Lab) -> None:
    session = lab.session(cases.CNN, cases.task(cases.CNN))
    given = cases.tensors(cases.CNN)
    session.import_weights(given)
    wrong = dict(given)
    del wrong["bn0.bias"]
    wrong["conv9.weight"] = np.zeros(3)
    wrong["conv1.weight"] = wrong["conv1.weight"].transpose(2, 3, 1, 0)
    with pytest.raises(WeightsError) as refused:
        session.import_weights(wrong)
    for word in ("missing", "bn0.bias", "extra", "conv9.weight", "misshapen", "conv1.weight"):
        assert word in str(refused.value)
    assert weights.fingerprint(session.export_weights()) == weights.fingerprint(given)


def test_optimizer_state_starts_at_zero_and_follows_the_weights(lab: Lab) -> None:
    session = lab.session(cases.CNN, cases.task(cases.CNN, "adamw"))
    session.import_weights(cases.tensors(cases.CNN))
    _train(lab, steps=2, rule="adamw")
    assert all(
        array.any() for slot in session.export_optimizer().values() for array in slot.values()
    )
    session.import_weights(cases.tensors(cases.CNN))
    state = session.export_optimizer()
    assert list(state) == ["mean", "square"]
    for slot in state.values():
        assert list(slot) == list(cases.CNN.trainable("none"))
        for name, array in slot.items():
            assert array.shape == cases.CNN.tensors[name].shape
            assert not array.any()


def test_a_run_goes_on_from_exported_state_with_the_same_bits(lab: Lab) -> None:
    session = lab.session(cases.CNN, cases.task(cases.CNN, "adamw"))
    session.import_weights(cases.tensors(cases.CNN))
    _train(lab, steps=2, rule="adamw")
    middle, state = session.export_weights(), session.export_optimizer()
    _train(lab, steps=2, rule="adamw", first_step=3)
    end, end_state = session.export_weights(), session.export_optimizer()

    session.import_weights(middle)
    session.import_optimizer(state)
    again = session.export_optimizer()
    for slot in RULES["adamw"].slots:
        assert weights.fingerprint(again[slot]) == weights.fingerprint(state[slot])
    _train(lab, steps=2, rule="adamw", first_step=3)
    assert weights.fingerprint(session.export_weights()) == weights.fingerprint(end)
    for slot, arrays in session.export_optimizer().items():
        assert weights.fingerprint(arrays) == weights.fingerprint(end_state[slot])


def test_unfitting_optimizer_state_is_refused(lab: Lab) -> None:
    session = lab.session(cases.CNN, cases.task(cases.CNN, "adamw"))
    session.import_weights(cases.tensors(cases.CNN))
    state = session.export_optimizer()
    with pytest.raises(WeightsError, match="square"):
        session.import_optimizer({"mean": state["mean"]})
    without = {name: array for name, array in state["square"].items() if name != "fc.bias"}
    with pytest.raises(WeightsError, match=r"fc\.bias"):
        session.import_optimizer({"mean": state["mean"], "square": without})


def test_a_rule_without_state_has_no_slots(lab: Lab) -> None:
    session = lab.session(cases.CNN, cases.task(cases.CNN, "sgd"))
    session.import_weights(cases.tensors(cases.CNN))
    assert session.export_optimizer() == {}
    session.import_optimizer({})


def _train(lab: Lab, steps: int, rule: str = "sgd_momentum", first_step: int = 1) -> None:
    session = lab.session(cases.CNN, cases.task(cases.CNN, rule))
    handle = session.put(cases.stored(cases.CNN, 24), cases.labels(cases.CNN, 24))
    rows = cases.batches(steps, 1, 8, 24, seed=first_step)
    session.train_steps(handle, cases.train_plan(rows, rule, first_step=first_step)).result()
