"""The rules that choose among candidates."""

from __future__ import annotations

import pytest

from paribus.errors import RunError
from paribus.metrics import mean_and_standard_error
from paribus.steps.select import Score, choose


def score(mean, error, parameters) -> Score:
    return Score("x", [], mean, error, parameters, 0.0)


def test_best_takes_the_lowest_loss_and_the_highest_accuracy():
    scores = [score(0.3, 0.1, 10), score(0.2, 0.1, 20), score(0.4, 0.1, 5)]
    assert choose(scores, "loss", "best") == 1
    assert choose(scores, "accuracy", "best") == 2


def test_one_standard_error_takes_the_smallest_within_the_best_ones_error():
    scores = [score(0.20, 0.03, 100), score(0.22, 0.5, 50), score(0.24, 0.5, 1)]
    assert choose(scores, "loss", "one-standard-error") == 1


def test_one_standard_error_looks_upwards_for_accuracy():
    scores = [score(0.90, 0.02, 100), score(0.89, 0.0, 10), score(0.85, 0.0, 1)]
    assert choose(scores, "accuracy", "one-standard-error") == 1


def test_ties_go_to_the_better_mean_then_to_the_earlier():
    assert choose([score(0.2, 0.1, 5), score(0.1, 0.2, 5)], "loss", "one-standard-error") == 1
    assert choose([score(0.2, 0.1, 5), score(0.2, 0.1, 5)], "loss", "best") == 0


def test_a_diverged_candidate_is_never_chosen():
    assert choose([score(None, None, 1), score(9.0, 0.1, 100)], "loss", "one-standard-error") == 1
    with pytest.raises(RunError, match="every candidate"):
        choose([score(None, None, 1)], "loss", "best")


def test_standard_error_is_the_sample_deviation_over_root_n():
    mean, error = mean_and_standard_error([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert error == pytest.approx((5 / 3 / 4) ** 0.5)
    assert mean_and_standard_error([1.0]) == (1.0, None)
