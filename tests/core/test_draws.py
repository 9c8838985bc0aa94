"""Draws are a pure function of (seed, stream, epoch), with the distributions they claim."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus import draws

seeds = st.integers(0, 2**63 - 1)


@given(seeds, st.text(max_size=20), st.integers(0, 2**40), st.integers(1, 300))
def test_the_same_key_gives_the_same_words(seed, stream, epoch, count):
    first = draws.words(seed, stream, epoch, count)
    assert (first == draws.words(seed, stream, epoch, count)).all()
    # A longer request begins with the shorter one: position i does not depend on how many follow.
    assert (first == draws.words(seed, stream, epoch, count + 7)[:count]).all()


def test_seed_stream_and_epoch_each_matter():
    base = draws.words(1, "order", 0, 64)
    for other in (
        draws.words(2, "order", 0, 64),
        draws.words(1, "augment", 0, 64),
        draws.words(1, "order", 1, 64),
    ):
        assert not (base == other).any()


def test_the_words_never_change_between_releases():
    # These numbers are part of the promise: initial weights and batches of a seed stay the same.
    assert draws.words(0, "order", 0, 2).tolist() == [17771655483094977858, 12919897858607693250]
    assert draws.permutation(0, "order", 3, 8).tolist() == [7, 3, 6, 5, 1, 2, 0, 4]


@given(seeds, st.integers(0, 1000), st.integers(0, 500))
def test_a_permutation_holds_every_number_once(seed, epoch, count):
    assert sorted(draws.permutation(seed, "order", epoch, count).tolist()) == list(range(count))


def test_uniform_is_open_and_even():
    values = draws.uniform(3, "u", 0, (100_000,))
    assert values.min() > 0
    assert values.max() < 1
    counts = np.histogram(values, 10, (0, 1))[0]
    # Ten bins of expectation 10 000 and standard deviation 95; five of them.
    assert np.abs(counts - 10_000).max() < 475


def test_normal_has_its_moments():
    values = draws.normal(3, "n", 0, (200_000,))
    # Standard errors: mean 1/√n, variance √(2/n); five of them.
    assert abs(values.mean()) < 5 / np.sqrt(values.size)
    assert abs(values.var() - 1) < 5 * np.sqrt(2 / values.size)


def test_truncated_normal_stays_inside_and_keeps_its_shape():
    values = draws.truncated_normal(3, "t", 0, (200_000,), -2, 2)
    assert np.abs(values).max() <= 2
    # Variance of a standard normal cut at ±2 is 1 − 4·φ(2)/(Φ(2) − Φ(−2)) = 0.7737.
    assert values.var() == pytest.approx(0.7737, abs=0.01)


@given(seeds, st.integers(1, 2**31))
def test_integers_stay_below_high(seed, high):
    values = draws.integers(seed, "i", 0, (50,), high)
    assert values.min() >= 0
    assert values.max() < high


@given(seeds, st.integers(0, 2**40), st.lists(st.integers(0, 60), max_size=12), st.integers(1, 9))
def test_any_rows_are_drawn_without_those_before(seed, epoch, positions, count):
    everything = draws.uniform(seed, "mask", epoch, (61, count))
    rows = draws.uniform_rows(seed, "mask", epoch, np.array(positions, dtype=np.int64), count)
    assert rows.shape == (len(positions), count)
    assert (rows == everything[positions]).all()


def test_a_row_far_away_takes_no_time():
    far = draws.uniform_rows(1, "mask", 0, np.array([2**50, 2**50 + 1]), 3)
    assert (draws.uniform_rows(1, "mask", 0, np.array([2**50 + 1]), 3)[0] == far[1]).all()


@given(seeds, st.integers(0, 500), st.integers(1, 50))
def test_words_may_start_anywhere(seed, start, count):
    later = draws.words(seed, "order", 0, count, start)
    assert (later == draws.words(seed, "order", 0, start + count)[start:]).all()


def test_the_largest_word_is_below_one() -> None:
    """The half that keeps numbers off 0 rounds up at the other end."""
    largest = np.array([2**64 - 1, 0], dtype=np.uint64)
    assert draws._fractions(largest).tolist() == [1.0 - 2.0**-53, 2.0**-54]
