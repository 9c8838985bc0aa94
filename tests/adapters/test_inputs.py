"""From stored bytes to network inputs: scaled, cropped and flipped by core's draws alone."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from labs import Lab

from paribus import reference
from paribus.plan import Augmentation, Preprocess

CROPPING = Preprocess(cases.SCALING.scale, cases.SCALING.shift, crop=(8, 8))


def _augmentation(shape: tuple[int, ...]) -> Augmentation:
    """Windows of 8×8 in 11×10: inside, over each edge, and almost outside."""
    generator = np.random.default_rng(3)
    return Augmentation(
        top=generator.integers(-6, 10, shape),
        left=generator.integers(-6, 9, shape),
        flip_horizontal=generator.integers(0, 2, shape).astype(bool),
        flip_vertical=generator.integers(0, 2, shape).astype(bool),
    )


def test_augmentation_is_what_the_draws_say(lab: Lab) -> None:
    """Gradients of augmented bytes equal those of the same windows cut out by NumPy."""
    network = cases.CNN
    session = lab.session(network, cases.task(network))
    session.import_weights(cases.tensors(network))
    x, y = cases.images(24, 11, 10, 2), cases.labels(network, 24)
    rows = cases.batches(1, 2, 8, 24)
    drawn = _augmentation(rows.shape)
    plan = cases.train_plan(rows, preprocess=CROPPING, augmentation=drawn)
    loss, gradients = session.gradients(session.put(x, y), plan)

    cut = [
        reference.preprocess(x[rows[0, shard]], CROPPING, drawn, (0, shard)) for shard in range(2)
    ]
    ready = np.concatenate(cut).transpose(0, 2, 3, 1)
    plain = cases.train_plan(np.arange(16).reshape(1, 2, 8), preprocess=Preprocess())
    expected_loss, expected = session.gradients(session.put(ready, y[rows[0].ravel()]), plain)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    assert cases.distance(gradients, expected) <= 1e-12


def test_training_uses_each_step_s_own_draws(lab: Lab) -> None:
    network = cases.CNN
    session = lab.session(network, cases.task(network))
    x, y = cases.images(24, 11, 10, 2), cases.labels(network, 24)
    rows = cases.batches(3, 2, 4, 24)
    drawn = _augmentation(rows.shape)
    session.import_weights(cases.tensors(network))
    plan = cases.train_plan(rows, preprocess=CROPPING, augmentation=drawn)
    losses = session.train_steps(session.put(x, y), plan).result().losses
    end = session.export_weights()

    session.import_weights(cases.tensors(network))
    cut = [
        reference.preprocess(x[rows[k, s]], CROPPING, drawn, (k, s))
        for k in range(3)
        for s in range(2)
    ]
    ready = np.concatenate(cut).transpose(0, 2, 3, 1)
    plain = cases.train_plan(np.arange(24).reshape(3, 2, 4), preprocess=Preprocess())
    expected = session.train_steps(session.put(ready, y[rows.ravel()]), plain).result().losses
    assert losses == pytest.approx(expected, rel=1e-11)
    assert cases.distance(end, session.export_weights()) <= 1e-11


def test_without_draws_a_crop_is_central(lab: Lab) -> None:
    """11 → 8 rounds down to row 1, 10 → 8 starts in column 1; in evaluation and in training."""
    network = cases.CNN
    session = lab.session(network, cases.task(network))
    session.import_weights(cases.tensors(network))
    x, y = cases.images(12, 11, 10, 2), cases.labels(network, 12)
    whole = session.put(x, y)
    middle = session.put(np.ascontiguousarray(x[:, 1:9, 1:9]), y)
    logits = session.predict(whole, cases.eval_plan(12, 6, CROPPING))
    assert cases.distance(logits, session.predict(middle, cases.eval_plan(12, 6))) <= 1e-13
    rows = cases.batches(1, 1, 8, 12)
    loss, _ = session.gradients(whole, cases.train_plan(rows, preprocess=CROPPING))
    expected, _ = session.gradients(middle, cases.train_plan(rows))
    assert loss == pytest.approx(expected, rel=1e-13)


def test_scale_and_shift_are_per_channel(lab: Lab) -> None:
    network = cases.CNN
    session = lab.session(network, cases.task(network))
    session.import_weights(cases.tensors(network))
    x = cases.stored(network, 10)
    by_hand = x * np.array(cases.SCALING.scale) - np.array(cases.SCALING.shift)
    scaled = session.predict(session.put(x, None), cases.eval_plan(10, 5))
    plain = session.predict(session.put(by_hand, None), cases.eval_plan(10, 5, Preprocess()))
    assert cases.distance(scaled, plain) <= 1e-13


def test_one_number_scales_every_channel(lab: Lab) -> None:
    network = cases.CNN
    session = lab.session(network, cases.task(network))
    session.import_weights(cases.tensors(network))
    handle = session.put(cases.stored(network, 10), None)
    one = session.predict(handle, cases.eval_plan(10, 5, Preprocess((0.01,), (1.2,))))
    each = session.predict(handle, cases.eval_plan(10, 5, Preprocess((0.01,) * 2, (1.2,) * 2)))
    assert cases.distance(one, each) <= 1e-13
