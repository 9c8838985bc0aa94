"""An optimizer step is the published formula, applied to the gradient and to nothing else."""

from __future__ import annotations

from dataclasses import replace

import cases
import numpy as np
import pytest
from labs import Lab

from paribus.optimizers import RULES

# Float64; a step has at most a dozen roundings per weight, 1e-12 leaves a factor of a thousand.
CLOSE = 1e-12


@pytest.mark.parametrize("rule", RULES)
def test_a_step_is_the_rule_on_the_gradients(lab: Lab, rule: str) -> None:
    network, task = cases.CNN, cases.task(cases.CNN, rule)
    session = lab.session(network, task)
    session.import_weights(cases.tensors(network))
    handle = session.put(cases.stored(network, 24), cases.labels(network, 24))
    for step in range(1, 4):
        plan = cases.train_plan(cases.batches(1, 1, 8, 24, seed=step), rule, first_step=step)
        w, slots = session.export_weights(), session.export_optimizer()
        loss, gradients = session.gradients(handle, plan)
        scalars = {name: values[0] for name, values in plan.scalars.items()}

        results = session.train_steps(handle, plan).result()

        assert results.gradient_norms is None
        assert results.losses == pytest.approx([loss], rel=CLOSE)
        assert list(gradients) == list(task.trainable)
        new, new_slots = session.export_weights(), session.export_optimizer()
        assert tuple(new_slots) == RULES[rule].slots
        for name in task.trainable:
            state = tuple(slots[slot][name] for slot in RULES[rule].slots)
            expected, expected_state = RULES[rule].update(
                w[name], gradients[name], state, scalars, name in task.decayed, np.sqrt
            )
            assert cases.distance(new[name], expected) <= CLOSE, name
            for slot, array in zip(RULES[rule].slots, expected_state, strict=True):
                assert cases.distance(new_slots[slot][name], array) <= CLOSE, (slot, name)


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_clipping_scales_the_whole_gradient(lab: Lab, share: float) -> None:
    """Half the norm clips, twice the norm leaves the gradient as it is (but for the 1e-6)."""
    network, task = cases.CNN, cases.task(cases.CNN, "sgd", clips=True, norms=True)
    session = lab.session(network, task)
    session.import_weights(cases.tensors(network))
    handle = session.put(cases.stored(network, 24), cases.labels(network, 24))
    rows = cases.batches(1, 1, 8, 24)
    _, gradients = session.gradients(handle, cases.train_plan(rows, "sgd", clip_norm=1.0))
    norm = np.sqrt(sum(float((g * g).sum()) for g in gradients.values()))
    w = session.export_weights()

    plan = cases.train_plan(rows, "sgd", clip_norm=share * norm)
    results = session.train_steps(handle, plan).result()

    assert results.gradient_norms is not None
    assert results.gradient_norms == pytest.approx([norm], rel=CLOSE)
    factor = min(1.0, share * norm / (norm + 1e-6))
    scalars = {name: values[0] for name, values in plan.scalars.items()}
    new = session.export_weights()
    for name, g in gradients.items():
        decay = name in task.decayed
        expected, _ = RULES["sgd"].update(w[name], g * factor, (), scalars, decay, np.sqrt)
        assert cases.distance(new[name], expected) <= CLOSE, name


def test_norms_are_measured_without_clipping(lab: Lab) -> None:
    network, task = cases.CNN, cases.task(cases.CNN, "sgd", norms=True)
    session = lab.session(network, task)
    session.import_weights(cases.tensors(network))
    handle = session.put(cases.stored(network, 24), cases.labels(network, 24))
    plan = cases.train_plan(cases.batches(3, 1, 8, 24), "sgd")
    _, gradients = session.gradients(handle, plan)
    norm = np.sqrt(sum(float((g * g).sum()) for g in gradients.values()))
    norms = session.train_steps(handle, plan).result().gradient_norms
    assert norms is not None
    assert norms.shape == (3,)
    assert norms.dtype == np.float64
    assert norms[0] == pytest.approx(norm, rel=CLOSE)


def test_scalars_that_a_rule_does_not_read_change_nothing(lab: Lab) -> None:
    network = cases.CNN
    session = lab.session(network, cases.task(network, "sgd"))
    handle = session.put(cases.stored(network, 24), cases.labels(network, 24))
    plan = cases.train_plan(cases.batches(1, 1, 8, 24), "sgd")
    ends = []
    for extra in ({}, {"momentum": np.array([0.9])}):
        session.import_weights(cases.tensors(network))
        full = replace(plan, scalars={**plan.scalars, **extra})
        session.train_steps(handle, full).result()
        ends.append(session.export_weights())
    assert cases.distance(ends[0], ends[1]) == 0.0
