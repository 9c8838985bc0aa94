"""Learning rates follow the stated formulas, for any step without those before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus.schedules import learning_rates
from paribus.spec.training import Constant, Cosine, Linear, Step

kinds = st.sampled_from(
    [
        Constant(),
        Constant(warmup_epochs=1.5),
        Step(every_epochs=2, gamma=0.5),
        Linear(final=0.1),
        Cosine(warmup_epochs=2),
    ]
)


@given(kinds, st.integers(1, 50), st.integers(1, 20), st.data())
def test_any_window_equals_the_whole(kind, per_epoch, epochs, data):
    total = per_epoch * epochs
    whole = learning_rates(kind, 0.3, 0, total, per_epoch, total)
    first = data.draw(st.integers(0, total - 1))
    count = data.draw(st.integers(1, total - first))
    window = learning_rates(kind, 0.3, first, count, per_epoch, total)
    assert (window == whole[first : first + count]).all()
    assert (whole >= 0).all()
    assert (whole <= 0.3).all()


def test_warm_up_rises_in_equal_steps_and_ends_at_the_full_rate():
    rates = learning_rates(Constant(warmup_epochs=0.5), 1.0, 0, 10, 8, 16)
    assert rates.tolist() == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1])


def test_step_falls_by_gamma_at_whole_epochs():
    rates = learning_rates(Step(every_epochs=2, gamma=0.1), 1.0, 0, 12, 2, 12)
    assert rates.tolist() == pytest.approx([1] * 4 + [0.1] * 4 + [0.01] * 4)


def test_cosine_is_half_way_in_the_middle_and_ends_near_final():
    rates = learning_rates(Cosine(final=0.2), 1.0, 0, 1000, 10, 1000)
    assert rates[500] == pytest.approx(0.6)
    assert rates[-1] == pytest.approx(0.2, abs=1e-4)


def test_a_warm_up_longer_than_the_training_never_exceeds_the_rate():
    rates = learning_rates(Linear(warmup_epochs=99), 1.0, 0, 20, 10, 20)
    assert np.isfinite(rates).all()
    assert rates[-1] == pytest.approx(1.0)
